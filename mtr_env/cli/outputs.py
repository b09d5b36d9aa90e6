"""Where a command may write: not over what it reads, a run's own files, or anything that is not its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mtr_env.cli.arguments import UsageError

RUN_FILES = ("run.json", "traces.jsonl", "summary.json", "usage.jsonl")
_BEGINNING = 4096  # bytes, in which each kind of file says what it is
_REPORT = re.compile(r"<!doctype html>\n.*<title>mtr-env report</title>", re.S)


def check_json(out: str | None, *kinds: Sequence[str], reads: Iterable[str | None]) -> None:
    """As :func:`check_html` for ``--json``, which writes an object of one of these ``kinds``, told by the names of its
    fields in their order; ``None`` is fine."""
    if out is not None:
        _check("--json", Path(out), tuple(map(_written, kinds)), "no such JSON file of mtr-env", reads)


def check_html(out: str, reads: Iterable[str | None]) -> None:
    """Raises :class:`UsageError` now, before the work, when ``--out`` cannot or must not be written: in no folder, over
    what the command ``reads``, over a file of a run, or over one that exists and is no report of ``mtr-env``."""
    _check("--out", Path(out), (_REPORT,), "no report of mtr-env", reads)


def _check(option: str, out: Path, own: tuple[re.Pattern[str], ...], other: str, reads: Iterable[str | None]) -> None:
    refused = f"{option} {out}"
    if not out.parent.is_dir():
        raise UsageError(f"{refused}: there is no folder {str(out.parent)!r}.")
    if out.is_dir():
        raise UsageError(f"{refused}: that is a folder; name a file in it.")
    if out.name in RUN_FILES and (out.parent / "run.json").exists():
        raise UsageError(f"{refused}: that is one of the files of the run in {str(out.parent)!r}; name another file.")
    if not out.exists():
        return
    if any(path is not None and Path(path).exists() and out.samefile(path) for path in reads):
        raise UsageError(f"{refused}: that is what the command reads; name another file.")
    if not out.is_file() or not _is_one_of(own, out):
        raise UsageError(f"{refused}: there is something else, {other}; name another file, or move it away.")


def _written(names: Sequence[str]) -> re.Pattern[str]:
    """How the JSON of an object with these fields begins, as :func:`mtr_env.evaluate.write_json` writes it."""
    return re.compile("\\{" + ".*".join(rf'\n  "{name}": ' for name in names[:2]), re.S)


def _is_one_of(own: tuple[re.Pattern[str], ...], file: Path) -> bool:
    """Whether a file begins as one of our own, or is empty: then nothing is lost."""
    with file.open("rb") as opened:
        beginning = opened.read(_BEGINNING).decode(errors="replace")
    return not beginning or any(pattern.match(beginning) for pattern in own)
