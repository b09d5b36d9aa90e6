"""Writing the report: one HTML file without any reference to another.

The page holds the list of episodes as JSON, and the traces in packed chunks, of which it opens the one that somebody
looks at. Whatever came from a model or a data set is in one of these two, never in the markup: the script puts it on
the page as text.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from msgspec import Struct

from mtr_env.errors import DatasetError
from mtr_env.evaluate import read_info, summarize, traces_file
from mtr_env.evaluate.folder import UNSCORED_ALARM, read_each_once
from mtr_env.evaluate.runs import with_usage
from mtr_env.grammar.base import to_json
from mtr_env.report.chunks import Chunks
from mtr_env.report.explain import explain
from mtr_env.report.rows import Columns, Run, labels, run_of
from mtr_env.reward import Rubric, get_rubric
from mtr_env.trace import BLAME, Trace
from mtr_env.version import __version__

logger = logging.getLogger("mtr_env")

SCRIPTS = "dom data charts plots measures overview episodes evidence panels trace views app".split()
"""The page's scripts in the order in which they run; they are joined into one."""
_SLOT = re.compile(r"\{\{(\w+)\}\}")


class Built(Struct, frozen=True):
    """What was written: episodes and runs in the report, and the file's size in bytes."""

    episodes: int
    runs: int
    size: int


def build_report(
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    rubric: str | Rubric | None = None,
    say: Callable[[str], None] = logger.warning,
) -> Built:
    """Writes the report of one or more runs to the file ``out``.

    A run is a folder that :func:`mtr_env.evaluate.run` wrote, or a file of traces. The episodes are scored again, by
    ``rubric`` or by the one that each names. The same runs give the same bytes. ``say`` is told of an episode that a
    kill left torn. A reader of ``out`` sees the old file or the whole new one.

    Raises :class:`~mtr_env.errors.DatasetError` for what is not a run, or one without a finished episode,
    ``ValueError`` for an unknown rubric or no folder at all, and ``OSError``.
    """
    paths = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    if not paths:
        raise ValueError("expected at least one run, found none.")
    runs = [traces_file(path) for path in paths]
    report = _Report(rubric)
    infos = [read_info(file.with_name("run.json")) for file in runs]
    names = [(None if info is None else info.policy, _folder(file)) for file, info in zip(runs, infos, strict=True)]
    for file, info, (policy, folder), label in zip(runs, infos, names, labels(names), strict=True):
        alarm = UNSCORED_ALARM if info is None else info.unscored_alarm
        summary = summarize(report.episodes(file, say), rubric, policy, unscored_alarm=alarm)
        if not summary.episodes:
            raise DatasetError(f"{file} holds no finished episode.")
        summary = with_usage(summary, file, info)
        paid_by = rubric if rubric is not None else summary.rubric
        report.runs.append(run_of(folder, label, summary, info, None if paid_by is None else get_rubric(paid_by)))
    report.chunks.close()
    path = Path(out)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(beside, "w", encoding="utf-8", newline="\n") as page:
        page.writelines(report.page())
    os.replace(beside, path)
    return Built(len(report.columns), len(report.runs), path.stat().st_size)


def _folder(file: Path) -> str:
    return file.parent.name if file.name == "traces.jsonl" and file.parent.name else file.stem


class _Report:
    """What the page will hold, gathered trace by trace; of the traces only the deflated text is kept."""

    def __init__(self, rubric: str | Rubric | None) -> None:
        self.rubric = rubric
        self.runs: list[Run] = []
        self.columns = Columns()
        self.chunks = Chunks()

    def episodes(self, file: Path, say: Callable[[str], None]) -> Iterator[Trace]:
        """The traces of a run's file, each taken into the report."""
        for trace in read_each_once(file, say):
            why = explain(trace, self.rubric)
            self.chunks.add(len(self.columns), trace, why)
            self.columns.add(len(self.runs), trace, why)
            yield trace

    def page(self) -> Iterator[str]:
        """The page, piece by piece."""
        style, script = _asset("report.css"), "".join(_asset(f"{name}.js") for name in SCRIPTS)
        slots = {"style": style, "script": script, "policy": _policy(style, script), "index": to_json(self._index())}
        before, after = _asset("page.html").split("{{chunks}}")
        yield _SLOT.sub(lambda slot: slots[slot[1]], before)
        for i, chunk in enumerate(self.chunks.packed):
            yield f'<script type="text/plain" id="chunk{i}" data-size="{chunk.size}">{chunk.text}</script>\n'
        yield after

    def _index(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "runs": self.runs,
            "columns": self.columns.columns,
            "chunks": self.chunks.starts,
            "blame": BLAME,
        }


def _policy(style: str, script: str) -> str:
    """The content security policy: this script and this style sheet, nothing else, and no connection anywhere."""
    sources = [f"{kind} 'sha256-{_digest(text)}'" for kind, text in (("script-src", script), ("style-src", style))]
    forbidden = [f"{kind} 'none'" for kind in ("default-src", "connect-src", "base-uri", "form-action")]
    return "; ".join([*forbidden, *sources, "require-trusted-types-for 'script'", "trusted-types 'none'"])


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files("mtr_env.report") / "assets" / name).read_text(encoding="utf-8")
