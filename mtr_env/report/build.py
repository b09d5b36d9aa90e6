"""Writing the report: one HTML file without any reference to another.

The page holds the list of episodes as JSON, and the traces as chunks, deflated and in base64, of which the page opens
the one that somebody looks at. Whatever came from a model or a data set is in one of these two, never in the markup:
the script puts it on the page as text.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mtr_env.errors import DatasetError
from mtr_env.evaluate import read_info, read_traces, summarize, traces_file
from mtr_env.grammar.base import to_json
from mtr_env.report.explain import Explanation, explain
from mtr_env.report.rows import Columns, Run, labels, run_of
from mtr_env.reward import Rubric, get_rubric
from mtr_env.trace import BLAME, Trace, encode
from mtr_env.version import __version__

SCRIPTS = ("dom", "data", "charts", "overview", "episodes", "evidence", "trace", "views", "app")
"""The page's scripts in the order in which they run; they are joined into one."""
_CHUNK = 200_000  # bytes of traces that are deflated together
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
    say: Callable[[str], None] = lambda text: None,
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
        summary = summarize(report.episodes(file, say), rubric, policy)
        if not summary.episodes:
            raise DatasetError(f"{file} holds no finished episode.")
        paid_by = rubric if rubric is not None else summary.rubric
        report.runs.append(run_of(folder, label, summary, info, None if paid_by is None else get_rubric(paid_by)))
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
        self.chunks: list[str] = []
        self.starts: list[int] = []  # the row of each chunk's first trace
        self._open: list[bytes] = []

    def episodes(self, file: Path, say: Callable[[str], None]) -> Iterator[Trace]:
        """The traces of a run's file, each taken into the report."""
        for trace in read_traces(file, say):
            why = explain(trace, self.rubric)
            if not self._open:
                self.starts.append(len(self.columns))
            self.columns.add(len(self.runs), trace, why)
            self._open.append(_encode(trace, why))
            if sum(map(len, self._open)) > _CHUNK:
                self._close_chunk()
            yield trace
        self._close_chunk()

    def _close_chunk(self) -> None:
        if self._open:
            packed = zlib.compress(b"[" + b",".join(self._open) + b"]", 9)
            self.chunks.append(base64.b64encode(packed).decode())
            self._open.clear()

    def page(self) -> Iterator[str]:
        """The page, piece by piece."""
        style, script = _asset("report.css"), "".join(_asset(f"{name}.js") for name in SCRIPTS)
        slots = {"style": style, "script": script, "policy": _policy(style, script), "index": to_json(self._index())}
        before, after = _asset("page.html").split("{{chunks}}")
        yield _SLOT.sub(lambda slot: slots[slot[1]], before)
        for i, chunk in enumerate(self.chunks):
            yield f'<script type="application/octet-stream" id="chunk{i}">{chunk}</script>\n'
        yield after

    def _index(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "runs": self.runs,
            "columns": self.columns.columns,
            "chunks": self.starts,
            "blame": BLAME,
        }


class _Entry(Struct):
    trace: msgspec.Raw
    why: Explanation
    tokens: list[int] | None


def _encode(trace: Trace, why: Explanation) -> bytes:
    """A trace as the page reads it: what a trainer sampled is counted and left out."""
    tokens = None
    if any(step.tokens is not None for step in trace.steps):
        tokens = [0 if step.tokens is None else len(step.tokens.ids) for step in trace.steps]
        trace = replace(trace, steps=tuple([replace(step, tokens=None) for step in trace.steps]))
    return msgspec.json.encode(_Entry(msgspec.Raw(encode(trace)), why, tokens))


def _policy(style: str, script: str) -> str:
    """The content security policy: this script and this style sheet, nothing else, and no connection anywhere."""
    sources = [f"{kind} 'sha256-{_digest(text)}'" for kind, text in (("script-src", script), ("style-src", style))]
    forbidden = [f"{kind} 'none'" for kind in ("default-src", "connect-src", "base-uri", "form-action")]
    return "; ".join([*forbidden, *sources, "require-trusted-types-for 'script'", "trusted-types 'none'"])


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files("mtr_env.report") / "assets" / name).read_text(encoding="utf-8")
