"""A run: a policy plays a world into a folder that a kill at any byte cannot spoil.

The folder holds ``run.json`` (what is being played; written first), ``traces.jsonl`` (one finished episode a line,
append-only), ``summary.json`` and, where a model is asked, ``usage.jsonl``. Episode ``i`` plays the world's question
``i`` modulo their number with the episode seed ``seed + i``. The summary is computed from the files, never from what
was in memory, so scoring them again gives the same numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import DatasetError
from mtr_env.evaluate.folder import (
    UNSCORED_ALARM,
    RunInfo,
    Say,
    cut_torn_line,
    is_outage,
    lock,
    logger,
    read_each_once,
    read_info,
    sort_traces,
    traces_file,
    write_json,
)
from mtr_env.evaluate.players import load_policy, source_digest
from mtr_env.evaluate.resume import forget_outages, resume, said_of
from mtr_env.evaluate.spending import Budget, Meter, read_usage, summarize_usage
from mtr_env.evaluate.start import start_now
from mtr_env.evaluate.summary import Summary, summarize
from mtr_env.llm import Spent
from mtr_env.policies.base import AnyPolicy, is_async
from mtr_env.reward import Rubric, unscored
from mtr_env.rollout import aplay_many, note, play, wait
from mtr_env.trace import Trace, encode

OUTAGES_IN_A_ROW = 10
"""With which a start may begin: after so many, and before any other episode, no further one begins."""


def score_file(path: str | os.PathLike[str], rubric: str | Rubric | None = None, say: Say = logger.warning) -> Summary:
    """Scores saved traces again: the file, or ``traces.jsonl`` of the folder ``path``. The policy's name comes from
    ``run.json`` beside it, if there is one. Raises as
    :func:`~mtr_env.evaluate.folder.read_each_once` and :func:`summarize`, :class:`DatasetError`
    when no episode is finished, and ``OSError``."""
    file = traces_file(path)
    summary = _summary(file, rubric, read_info(file.with_name("run.json")), say)
    if not summary.episodes:
        raise DatasetError(f"{file} holds no finished episode.")
    return summary


def _summary(file: Path, rubric: str | Rubric | None, info: RunInfo | None, say: Say) -> Summary:
    """Of a file of traces; ``traces.jsonl`` of a run knows what is still to be played and what was used."""
    summary = summarize(
        read_each_once(file, say),
        rubric,
        info.policy if info else None,
        unscored_alarm=info.unscored_alarm if info else UNSCORED_ALARM,
    )
    return with_usage(summary, file, info)


def with_usage(summary: Summary, file: Path, info: RunInfo | None) -> Summary:
    """The summary of this file of traces, with what stands beside it where it is that of a run."""
    if info is None or file.name != "traces.jsonl":
        return summary
    return msgspec.structs.replace(
        summary,
        unplayed=max(0, info.episodes - summary.episodes),
        usage=summarize_usage(read_usage(file.with_name("usage.jsonl"))),
    )


def run(
    game: Game,
    policy: str | AnyPolicy,
    out: str | os.PathLike[str],
    *,
    policy_name: str | None = None,
    episodes: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    concurrency: int = 64,
    budget: Budget | None = None,
    tool_spent: Callable[[], Spent] | None = None,
    unscored_alarm: float = UNSCORED_ALARM,
    retry_unscored: bool = False,
    command: Sequence[str] = (),
    on_episode: Callable[[int, int, Trace], None] | None = None,
    say: Say = logger.warning,
) -> Summary:
    """Plays ``episodes`` episodes, or ``samples`` of each question (each question once unless given), into the folder
    ``out`` and summarizes them.

    ``policy`` is one, or its name for :func:`~mtr_env.evaluate.players.load_policy`; ``policy_name`` stands in the
    files (for a policy without a name its class or function is named).
    Episodes that the folder holds already are not played again, so the same call goes on after an interruption, and
    one with more ``episodes`` or ``samples`` goes further. An asynchronous policy, and any policy where the ToolActor
    waits for a network (``remote``), plays ``concurrency`` episodes at a time; lines are written as episodes end, and
    put into the order of the episodes when all have. After each episode ``on_episode(done, episodes, trace)`` is
    called; what a user should know otherwise is passed to ``say``. The result is that of an uninterrupted run, byte for
    byte, when the policy's actions depend on the episode only (those of this package's do).

    What a policy says of an episode (``policy.usage(question_id, seed)``, as
    :class:`~mtr_env.policies.chat.AutoAgent`'s), and what ``tool_spent`` says of the tools' model, goes to
    ``usage.jsonl``. When the ``budget`` is used up no other episode begins: what is left is neither played nor scored,
    ``Summary.unplayed`` counts it, and the same call plays it later. Where more than the share ``unscored_alarm`` of
    the episodes are unscored, ``Summary.alarm`` and ``say`` say so.

    With ``retry_unscored`` the episodes of the folder that an outage ended are played again, once; what they used still
    counts. Where the first :data:`OUTAGES_IN_A_ROW` episodes of a start all end in an outage, no other begins.

    Raises :class:`DatasetError` when the folder holds another run (it says what differs), one of a policy whose source
    file was edited since, or is in use, ``ValueError`` for ``episodes`` or ``samples`` below 1 or both, and for a
    budget of what the policy does not count, ``OSError`` when it cannot be written, and what the policy raises, with a
    note of the episode and of what is kept.
    """
    player = load_policy(policy, game) if isinstance(policy, str) else policy
    name = policy if isinstance(policy, str) else getattr(policy, "__qualname__", type(policy).__qualname__)
    name = policy_name or name
    ids = game.world.ids
    episodes = _episodes(len(ids), episodes, samples)
    budget = budget or Budget()
    meter = Meter(player, tool_spent)
    budget.check(meter)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"--out is a folder, for the run's files; {str(folder)!r} is a file.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "traces.jsonl"
    start = start_now(command)
    info = RunInfo(
        name, seed, episodes, start.command, game.setup, len(ids), unscored_alarm, (start,), source_digest(name)
    )
    if retry_unscored:
        forget_outages(folder, info, ids, say)
    with open(path, "a+b") as file:
        lock(file, path)
        kept = resume(folder, file, info, ids, say)
        there = said_of(folder, kept, info)
        if there is not None:
            say(there)
        info = msgspec.structs.replace(info, starts=(*kept.starts, start))
        write_json(folder / "run.json", info)
        todo = [i for i in range(episodes) if i not in kept.done]
        if todo:
            (folder / "summary.json").unlink(missing_ok=True)  # it speaks of fewer episodes
        usage = _open_usage(folder / "usage.jsonl", meter, budget)
        playing = _Playing(file, usage, meter, budget, episodes - len(todo), episodes, on_episode)
        starts = playing.within((ids[i % len(ids)], seed + i) for i in todo)
        try:
            if is_async(player) or getattr(game.tool_actor, "remote", False):
                wait(_play_many(game, player, starts, concurrency, playing.keep))
            else:
                _play_each(game, player, starts, playing.keep)
        except Exception as error:
            kept_in = f"{playing.kept} finished episodes are kept in {path}"
            error.add_note(f"mtr-env: {kept_in}; the same command goes on there.")
            raise
        finally:
            if usage is not None:
                usage.close()
        sort_traces(path)
        summary = _summary(path, game.rubric, info, say)
        write_json(folder / "summary.json", summary)
    for text in filter(None, (playing.stopped_by(summary.unplayed), playing.exceeded(), summary.alarm)):
        say(f"{folder}: {text}")
    return summary


class _Playing:
    """The episodes of one start: which ones begin, and what is kept of each that has ended."""

    def __init__(
        self,
        file: IO[bytes],
        usage: IO[bytes] | None,
        meter: Meter,
        budget: Budget,
        kept: int,
        episodes: int,
        on_episode: Callable[[int, int, Trace], None] | None,
    ) -> None:
        self._file, self._usage, self._meter, self._budget = file, usage, meter, budget
        self.kept, self._episodes, self._on_episode = kept, episodes, on_episode
        self._begun = self._ended = 0
        self._outages: list[str] = []  # that the start began with, until something else ends
        self._works = False

    @property
    def _given_up(self) -> bool:
        return not self._works and len(self._outages) >= OUTAGES_IN_A_ROW

    def within(self, starts: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int] | None]:
        """The starts until the budget is used up, or nothing but outages came of the first ones; ``None`` while it
        admits no other beside those under way."""
        for start in starts:
            while not self._budget.admits(self._begun - self._ended):
                yield None
            if self._budget.used_up() is not None or self._given_up:
                return
            self._begun += 1
            yield start

    def keep(self, trace: Trace) -> None:
        """Writes down an episode that has ended."""
        used = self._meter.line(trace.question.id, trace.seed)
        if self._usage is not None:
            _append(self._usage, msgspec.json.encode(used))
        _append(self._file, encode(trace))
        self.kept += 1
        self._ended += 1
        if is_outage(trace):
            self._outages.append(unscored(trace) or "")
        else:
            self._works = True
        if self._on_episode is not None:
            self._on_episode(self.kept, self._episodes, trace)
        self._budget.add(used)

    def stopped_by(self, unplayed: int) -> str | None:
        """Why so many episodes are left, in words; ``None`` where none is."""
        if not unplayed:
            return None
        left = f"{unplayed} of {self._episodes} episodes are left unplayed"
        if self._given_up:
            reason = self._outages[-1].rstrip(".")
            return (
                f"stopped, since the first {len(self._outages)} episodes all ended in an outage ({reason}); {left}. "
                "What has ended is kept; once that works again, the same command with --retry-unscored plays them all."
            )
        return (
            f"{left}, the budget of {self._budget.used_up()} is used up; they count nowhere. The same command goes on "
            "with a new budget."
        )

    def exceeded(self) -> str | None:
        """By how much the budget was exceeded, in words."""
        over = self._budget.exceeded()
        return over and f"the budget was exceeded by {over}: episodes that had begun were played to their end."


def _episodes(questions: int, episodes: int | None, samples: int | None) -> int:
    if episodes is not None and samples is not None:
        raise ValueError("Give episodes (how many in all) or samples (of each question), not both.")
    for name, number in (("episodes", episodes), ("samples", samples)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, found {number}.")
    return questions * (samples or 1) if episodes is None else episodes


def _open_usage(path: Path, meter: Meter, budget: Budget) -> IO[bytes] | None:
    """The file to append to, ``None`` where nothing is counted; what it holds already counts in the budget."""
    if not meter.counts:
        return None
    used = list(read_usage(path))
    try:
        for line in used:
            budget.add(line)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    file = open(path, "a+b")  # noqa: SIM115 - it is closed when the episodes have ended
    cut_torn_line(file)
    return file


def _append(file: IO[bytes], line: bytes) -> None:
    file.write(line + b"\n")
    file.flush()


def _play_each(
    game: Game, policy: Any, starts: Iterable[tuple[str, int] | None], keep: Callable[[Trace], None]
) -> None:
    env = MTREnv(game)
    for question_id, seed in filter(None, starts):
        try:
            trace = play(env, policy, question_id=question_id, seed=seed)
        except Exception as error:
            error.add_note(note(question_id, seed))
            raise
        keep(trace)


async def _play_many(
    game: Game,
    policy: AnyPolicy,
    starts: Iterable[tuple[str, int] | None],
    concurrency: int,
    keep: Callable[[Trace], None],
) -> None:
    from contextlib import aclosing

    async with aclosing(aplay_many(game, policy, starts, concurrency=concurrency)) as episodes:
        async for trace in episodes:
            keep(trace)
