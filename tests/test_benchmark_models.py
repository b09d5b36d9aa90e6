"""The benchmark of the model side measures all it names, and writes a page with the command beside the figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import models


def test_a_small_run_has_every_figure_and_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openai", reason="the llm extra is not installed (pip install -e '.[llm]')")
    assert models.main(["--small", "--out", "--results", str(tmp_path)]) == 0
    text = (tmp_path / "models.md").read_text(encoding="utf-8")
    assert "`python -m benchmarks.models --small --out --results" in text
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert [heading.split(" (")[0] for heading in headings] == [
        "## Episodes, in process",
        "## Episodes, over HTTP",
        "## Cassette",
        "## Memory",
        "## Faults",
        "## Audit",
        "## Synthesis",
    ]
    for row in ("lost | 0 | 0 | yes", "wronged | 0 | 0 | yes", "the same, byte for byte | yes | yes | yes"):
        assert f"{row} |" in text
    assert "HTTP itself: CPU of the client" in capsys.readouterr().out
    figures = json.loads((tmp_path / "models.json").read_bytes())
    assert figures["Faults"]["scored"] + sum(figures["Faults"]["unscored"].values()) == figures["Faults"]["episodes"]
    assert min(figures["Episodes, in process"]["20"]["bare"]) >= 1.0


def test_without_the_real_questions_the_page_says_so(tmp_path: Path) -> None:
    section = models.synthesis(models.SMALL, tmp_path / "nowhere")
    assert section.rows[0].value.startswith("not run: no ")
    assert section.rows[0].met is None
