"""A run: a policy plays a world into a folder that a kill at any byte cannot spoil.

The folder holds ``run.json`` (what is being played; written first), ``traces.jsonl`` (one finished episode a line,
append-only) and ``summary.json``. Episode ``i`` plays the world's question ``i`` modulo its size with the episode seed
``seed + i``. The summary is computed from the file, never from what was in memory, so scoring the file again gives the
same numbers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import Struct

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import DatasetError
from mtr_env.evaluate.players import load_policy
from mtr_env.evaluate.summary import Summary, summarize
from mtr_env.llm.endpoint import without_credentials
from mtr_env.policies.base import AnyPolicy, is_async
from mtr_env.reward import Rubric
from mtr_env.rollout import aplay_many, note, play
from mtr_env.trace import Setup, Trace, decode, encode

logger = logging.getLogger("mtr_env")

Say = Callable[[str], None]


class RunInfo(Struct, frozen=True):
    """``run.json``: what a folder's traces are episodes of. ``command`` is for the reader."""

    policy: str
    seed: int
    episodes: int
    command: tuple[str, ...]
    setup: Setup

    def identity(self) -> dict[str, Any]:
        """What must not change between two starts of one run."""
        return {"policy": self.policy, "seed": self.seed, **_identity(self.setup)}


def _identity(setup: Setup) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.structs.asdict(setup)
    return {**fields, "world": setup.world.fingerprint}


def read_traces(path: str | os.PathLike[str], say: Say = logger.warning) -> Iterator[Trace]:
    """The finished episodes of a file, one at a time. A torn last line (a kill) is left out, and ``say`` told.

    Raises :class:`DatasetError` that names file and line for anything else that is not a finished trace.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
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


_MEND = "Delete that line (the run's command, given again, plays its episode again), or restore the file."


def score_file(path: str | os.PathLike[str], rubric: str | Rubric | None = None, say: Say = logger.warning) -> Summary:
    """Scores saved traces again: the file, or ``traces.jsonl`` of the folder ``path``. The policy's name comes from
    ``run.json`` beside it, if there is one. Raises as :func:`read_traces` and :func:`summarize`, :class:`DatasetError`
    when no episode is finished, and ``OSError``."""
    file = traces_file(path)
    info = read_info(file.with_name("run.json"))
    summary = summarize(read_traces(file, say), rubric, info.policy if info else None)
    if not summary.episodes:
        raise DatasetError(f"{file} holds no finished episode.")
    return summary


def traces_file(path: str | os.PathLike[str]) -> Path:
    """The file of traces ``path``, or the one in the folder ``path``; raises :class:`DatasetError` for neither."""
    file = Path(path)
    file = file / "traces.jsonl" if file.is_dir() else file
    if not file.exists():
        raise DatasetError(f"No file {str(file)!r}; expected a file of traces or the --out folder of a run.")
    return file


def read_info(path: Path) -> RunInfo | None:
    """What a ``run.json`` says, ``None`` where there is no such file. Raises :class:`DatasetError` for another."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunInfo)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise DatasetError(f"{path}: expected what `mtr-env run` writes there; {error}.") from error


def write_json(path: str | os.PathLike[str], value: Struct | Mapping[str, Any]) -> None:
    """Writes JSON for people to read; a reader (or a kill) sees the old file or the new one, never a part."""
    file = Path(path)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    os.replace(beside, file)


def _lock(file: IO[bytes], path: Path) -> None:
    """Holds the file for this process alone; the lock goes when the process does, however it ends."""
    try:
        import fcntl
    except ImportError:  # not on this system: then nothing guards two runs against each other
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DatasetError(f"Another run is writing {str(path)!r}; wait for it, or give another --out.") from None


def _cut_torn_line(file: IO[bytes]) -> int:
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


# ------------------------------------------------------------------------------------------------------------ running


def run(
    game: Game,
    policy: str | AnyPolicy,
    out: str | os.PathLike[str],
    *,
    policy_name: str | None = None,
    episodes: int | None = None,
    seed: int = 0,
    concurrency: int = 64,
    command: Sequence[str] = (),
    on_episode: Callable[[int, int, Trace], None] | None = None,
    say: Say = logger.warning,
) -> Summary:
    """Plays ``episodes`` episodes (each question once unless given) into the folder ``out`` and summarizes them.

    ``policy`` is one, or its name for :func:`~mtr_env.evaluate.players.load_policy`; ``policy_name`` stands in the
    files (for a policy without a name its class or function is named).
    Episodes that the folder holds already are not played again, so the same call goes on after an interruption, and
    one with more ``episodes`` goes further. An asynchronous policy, and any policy where the ToolActor waits for a
    network (``remote``), plays ``concurrency`` episodes at a time; lines are written as episodes end, and put into the
    order of the episodes when all have. After each episode ``on_episode(done, episodes, trace)`` is called; what a
    user should know otherwise is passed to ``say``. The result is that of an uninterrupted run, byte for byte, when
    the policy's actions depend on the episode only (those of this package's do).

    Raises :class:`DatasetError` when the folder holds another run (it says what differs) or is in use, ``ValueError``
    for ``episodes`` below 1, ``OSError`` when it cannot be written, and what the policy raises, with a note of the
    episode and of what is kept.
    """
    player = load_policy(policy, game) if isinstance(policy, str) else policy
    name = policy if isinstance(policy, str) else getattr(policy, "__qualname__", type(policy).__qualname__)
    name = policy_name or name
    ids = game.world.ids
    episodes = len(ids) if episodes is None else episodes
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, found {episodes}.")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"--out is a folder, for the run's files; {str(folder)!r} is a file.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "traces.jsonl"
    info = RunInfo(name, seed, episodes, tuple(map(without_credentials, command)), game.setup)
    with open(path, "a+b") as file:
        _lock(file, path)
        done = _resume(folder, file, info, ids, say)
        write_json(folder / "run.json", info)
        todo = [i for i in range(episodes) if i not in done]
        if todo:
            (folder / "summary.json").unlink(missing_ok=True)  # it speaks of fewer episodes
        kept = episodes - len(todo)

        def keep(trace: Trace) -> None:
            nonlocal kept
            file.write(encode(trace) + b"\n")
            file.flush()
            kept += 1
            if on_episode is not None:
                on_episode(kept, episodes, trace)

        starts = ((ids[i % len(ids)], seed + i) for i in todo)
        try:
            if is_async(player) or getattr(game.tool_actor, "remote", False):
                _wait(_play_many(game, player, starts, concurrency, keep))
            else:
                _play_each(game, player, starts, keep)
        except Exception as error:
            error.add_note(f"mtr-env: {kept} finished episodes are kept in {path}; the same command goes on there.")
            raise
        _sort(path)
        summary = summarize(read_traces(path, say), game.rubric, name)
        write_json(folder / "summary.json", summary)
    return summary


def _play_each(game: Game, policy: Any, starts: Iterable[tuple[str, int]], keep: Callable[[Trace], None]) -> None:
    env = MTREnv(game)
    for question_id, seed in starts:
        try:
            trace = play(env, policy, question_id=question_id, seed=seed)
        except Exception as error:
            error.add_note(note(question_id, seed))
            raise
        keep(trace)


async def _play_many(
    game: Game, policy: AnyPolicy, starts: Iterable[tuple[str, int]], concurrency: int, keep: Callable[[Trace], None]
) -> None:
    from contextlib import aclosing

    async with aclosing(aplay_many(game, policy, starts, concurrency=concurrency)) as episodes:
        async for trace in episodes:
            keep(trace)


def _wait(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end, in a thread where this one has an event loop that runs already (a notebook)."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(coroutine)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


def _sort(path: Path) -> None:
    """Puts the lines of a file of traces into the order of their episode seeds; a kill leaves the old file or the new
    one. So the same episodes make the same file, whichever ended first."""
    places: list[tuple[int, int, int]] = []  # seed, start, end of a line
    with open(path, "rb") as file:
        start = 0
        for line in file:
            places.append((_SEED.decode(line).seed, start, start + len(line)))
            start += len(line)
        if all(a < b for a, b in pairwise(places)):
            return
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        with open(beside, "wb") as sorted_file:
            for _, start, end in sorted(places):
                file.seek(start)
                sorted_file.write(file.read(end - start))
    os.replace(beside, path)


class _Seed(Struct):
    """What a trace's place in its file follows from."""

    seed: int


_SEED = msgspec.json.Decoder(_Seed)


def _resume(folder: Path, file: IO[bytes], info: RunInfo, ids: Sequence[str], say: Say) -> set[int]:
    """Which episodes the folder holds already, after a torn last line was cut off; refuses those of another run."""
    path = folder / "traces.jsonl"
    if file.seek(0, os.SEEK_END) == 0:
        return set()
    before = read_info(folder / "run.json")
    if before is None:
        raise DatasetError(f"{path} has traces, but no run.json beside it says whose; give another --out.")
    _refuse_other(before.identity(), info.identity(), f"{folder} holds another run")
    cut = _cut_torn_line(file)
    if cut:
        say(f"{path}: the last line was torn (the run was killed); cut off {cut} bytes, the episode is played again.")
    done: set[int] = set()
    for trace in read_traces(path, say):
        i = trace.seed - info.seed
        episode = f"{path} holds an episode (question {trace.question.id!r}, seed {trace.seed}) that"
        _refuse_other(_identity(trace.setup), _identity(info.setup), f"{episode} is not of this run")
        if i < 0 or trace.question.id != ids[i % len(ids)]:
            raise DatasetError(f"{episode} is not of this run; give another --out.")
        if i in done:
            raise DatasetError(f"{episode} stands in it twice.")
        done.add(i)
    if done and len(done) >= info.episodes:
        say(f"{folder} holds {len(done)} episodes already ({info.episodes} asked for): nothing to play.")
    elif done:
        say(f"{folder} holds {len(done)} episodes already; going on.")
    return done


def _refuse_other(there: Mapping[str, Any], here: Mapping[str, Any], what: str) -> None:
    names = {"world": "world fingerprint"}
    differences = [
        f"{names.get(name, name)} is {there[name]!r} there and {here[name]!r} here"
        for name in here
        if there[name] != here[name]
    ]
    if differences:
        raise DatasetError(f"{what}: {'; '.join(differences)}. Give another --out.")
