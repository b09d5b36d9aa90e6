"""Runs as one HTML file: see :func:`build_report`.

    from mtr_env.report import build_report

    built = build_report(["runs/oracle", "runs/mine"], "report.html")
    print(built.episodes, built.size)

The file refers to no other, so it opens anywhere.
"""

from __future__ import annotations

from mtr_env.report.build import Built, build_report

__all__ = ["Built", "build_report"]
