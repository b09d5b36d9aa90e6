"""The files of a run's folder, which a kill at any byte cannot spoil."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import Struct

from mtr_env.errors import DatasetError
from mtr_env.evaluate.start import Start
from mtr_env.question import WorldInfo
from mtr_env.trace import Setup, Trace, decode, encode

logger = logging.getLogger("mtr_env")

Say = Callable[[str], None]
UNSCORED_ALARM = 0.05
"""The share of unscored episodes above which a summary raises its alarm, unless told."""


class RunInfo(Struct, frozen=True):
    """``run.json``: what a folder's traces are episodes of.

    ``questions`` is how many the world has, so that episode ``i`` is sample ``i // questions`` of question
    ``i % questions``. ``command`` and ``starts`` (those that had something to play, the first one first) are for the
    reader. A folder of an older version lacks what has a default here.
    """

    policy: str
    seed: int
    episodes: int
    command: tuple[str, ...]
    setup: Setup
    questions: int | None = None
    unscored_alarm: float = UNSCORED_ALARM
    starts: tuple[Start, ...] = ()
    policy_source: str | None = None
    """A digest of the file that a policy of somebody's own, ``module:attr``, was read from."""

    def identity(self) -> dict[str, Any]:
        """What must not change between two starts of one run."""
        return {"policy": self.policy, "seed": self.seed, **setup_identity(self.setup)}


def setup_identity(setup: Setup) -> dict[str, Any]:
    """What two episodes of one run have in common, by name; the world as its fingerprint."""
    fields: dict[str, Any] = msgspec.structs.asdict(setup)
    return {**fields, "world": setup.world.fingerprint}


def why_worlds_differ(there: WorldInfo, here: WorldInfo, questions: tuple[int | None, int | None]) -> str:
    """Which option makes two worlds of different fingerprints, in words; empty where nobody knows. ``questions`` is how
    many each has."""
    options = {"name": "another world", "split": "--split", "source": "--source, or the knobs of the synthetic world"}
    found = [
        f"{name} {getattr(there, name)!r} and {getattr(here, name)!r}: {option}"
        for name, option in options.items()
        if getattr(there, name) != getattr(here, name)
    ]
    if None not in questions and questions[0] != questions[1]:
        found.append(f"{questions[0]} and {questions[1]} questions: --limit")
    return f" ({'; '.join(found)})" if found else ""


def read_traces(path: str | os.PathLike[str], say: Say = logger.warning) -> Iterator[Trace]:
    """The finished episodes of a file, one at a time. A torn last line (a kill) is left out, and ``say`` told.

    Raises :class:`DatasetError` that names file and line for anything else that is not a finished trace, and says of a
    file which does not begin as one of traces does that it is none.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if number == 1 and not (line.startswith(_BEGINNING) or _BEGINNING.startswith(line)):
                raise DatasetError(f"{os.fspath(path)} is no file of traces: `mtr-env run` writes those, one a line.")
            place = f"{os.fspath(path)}, line {number}"
            try:
                trace = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    say(f"{place}: left out, its end is missing (the run was interrupted).")
                    return
                raise DatasetError(
                    f"{place}: expected an episode as `mtr-env run` writes it; {error}. {_MEND}"
                ) from error
            if trace.stop_reason is None:
                raise DatasetError(f"{place}: the episode is not finished. {_MEND}")
            yield trace


def read_each_once(path: str | os.PathLike[str], say: Say = logger.warning) -> Iterator[Trace]:
    """As :func:`read_traces`, without an episode that stands there again word for word, as in files that were joined:
    it is no second sample. ``say`` is told how many were left out."""
    seen: set[bytes] = set()
    copies = 0
    for trace in read_traces(path, say):
        digest = blake2b(encode(trace), digest_size=16).digest()
        copies += digest in seen
        if digest not in seen:
            seen.add(digest)
            yield trace
    if copies:
        say(f"{os.fspath(path)}: {copies} episodes stand there again word for word (joined files?); each counts once.")


_BEGINNING = f'{{"{Trace.__struct_fields__[0]}":'.encode()
_MEND = "Delete that line (the run's command, given again, plays its episode again), or restore the file."


def traces_file(path: str | os.PathLike[str]) -> Path:
    """The file of traces ``path``, or the one in the folder ``path``; raises :class:`DatasetError` for neither, which
    names runs that lie in the folder."""
    folder = Path(path)
    file = folder / "traces.jsonl" if folder.is_dir() else folder
    if file.exists():
        return file
    files = [found for depth in ("*", "*/*") for found in sorted(folder.glob(f"{depth}/traces.jsonl"))]
    runs = [str(found.parent) for found in files if _has_episode(found)]
    inside = f" Runs in there: {', '.join(runs[:5])}{', ...' if len(runs) > 5 else ''}." if runs else ""
    raise DatasetError(f"No file {str(file)!r}; expected a file of traces or the --out folder of a run.{inside}")


def _has_episode(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.readline().endswith(b"\n")


def read_info(path: Path) -> RunInfo | None:
    """What a ``run.json`` says, ``None`` where there is no such file. Raises :class:`DatasetError` for another."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunInfo)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise DatasetError(f"{path}: expected what `mtr-env run` writes there; {error}.") from error


def write_json(path: str | os.PathLike[str], value: Struct | Mapping[str, Any] | Sequence[Any]) -> None:
    """Writes JSON for people to read; a reader (or a kill) sees the old file or the new one, never a part."""
    file = Path(path)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    os.replace(beside, file)


def lock(file: IO[bytes], path: Path) -> None:
    """Holds the file for this process alone; the lock goes when the process does, however it ends."""
    try:
        import fcntl
    except ImportError:  # not on this system: then nothing guards two runs against each other
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.path.samestat(os.fstat(file.fileno()), os.stat(path))  # not one that was put in order since
    except (BlockingIOError, FileNotFoundError):
        held = False
    if not held:
        raise DatasetError(f"Another run is writing {str(path)!r}; wait for it, or give another --out.")


def cut_torn_line(file: IO[bytes]) -> int:
    """Cuts off what follows the last newline; returns how many bytes that were."""
    size = end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        end = start + newline + 1 if newline >= 0 else start
        if newline >= 0:
            break
    if end < size:
        file.truncate(end)
    return size - end


def is_outage(trace: Trace) -> bool:
    """Whether an outage ended the episode, which says nothing about the policy or the simulator."""
    return trace.stop_reason == "infrastructure"


def sort_traces(path: Path) -> None:
    """Puts the lines of a file of traces into the order of their episode seeds; a kill leaves the old file or the new
    one. So the same episodes make the same file, whichever ended first."""
    places = _places(path)
    if not all(a < b for a, b in pairwise(places)):
        _rewrite(path, sorted(places))


def drop_traces(path: Path, seeds: Collection[int]) -> None:
    """Leaves the episodes with these seeds out of a file of traces; a kill leaves the old file or the new one."""
    _rewrite(path, [place for place in _places(path) if place[0] not in seeds])


def _places(path: Path) -> list[tuple[int, int, int]]:
    """Seed, start and end of each line."""
    places: list[tuple[int, int, int]] = []
    with open(path, "rb") as file:
        start = 0
        for line in file:
            places.append((_SEED.decode(line).seed, start, start + len(line)))
            start += len(line)
    return places


def _rewrite(path: Path, places: list[tuple[int, int, int]]) -> None:
    """The file with these lines, in this order."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(path, "rb") as file, open(beside, "wb") as new:
        for _, start, end in places:
            file.seek(start)
            new.write(file.read(end - start))
    os.replace(beside, path)


class _Seed(Struct):
    """What a trace's place in its file follows from."""

    seed: int


_SEED = msgspec.json.Decoder(_Seed)
