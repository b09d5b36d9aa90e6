"""Makes the report's pictures in the documentation anew.

    python tests/screenshots.py

Three policies play 200 questions with noise 0.1. It needs Debian's package `chromium`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from browser import browser, find_browser

from mtr_env.evaluate import run
from mtr_env.registration import make_game
from mtr_env.report import build_report

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
PICTURES = {"report-summary": ("#/", 860), "report-episode": ("#/episode/1.4", 1000)}
"""What each shows, and its height in pixels."""


def main() -> None:
    path = find_browser() or sys.exit("found no browser: install Debian's package chromium")
    with tempfile.TemporaryDirectory() as folder, browser(path) as chromium:
        runs = [Path(folder) / policy for policy in ("oracle", "first-search", "chaser")]
        for out in runs:
            run(make_game("MTR-Synthetic-v0", limit=200, noise=0.1), out.name, out)
        file = Path(folder) / "report.html"
        build_report(runs, file)
        page = chromium.page()
        page.prefer("light")
        for name, (where, height) in PICTURES.items():
            page.size(1180, height)
            page.open(file.as_uri() + where)
            page.wait_for("document.querySelector('.trace-head') || document.querySelector('#view').hidden")
            page.screenshot(IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
