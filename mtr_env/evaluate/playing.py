"""The episodes of one start of a run: which ones begin, and what is written down of each that has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import DatasetError
from mtr_env.evaluate.folder import cut_torn_line, is_outage
from mtr_env.evaluate.spending import Budget, Meter, read_usage
from mtr_env.policies.base import AnyPolicy, is_async
from mtr_env.reward import unscored
from mtr_env.rollout import aplay_many, note, play, wait
from mtr_env.trace import Trace, encode

OUTAGES_IN_A_ROW = 10
"""With which a start may begin: after so many, and before any other episode, no further one begins."""


class Playing:
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

    def play(self, game: Game, policy: AnyPolicy, starts: Iterable[tuple[str, int]], concurrency: int) -> None:
        """Plays and keeps them, many at a time where the policy or the tools wait for something."""
        begun = self._within(starts)
        if is_async(policy) or getattr(game.tool_actor, "remote", False):
            wait(_play_many(game, policy, begun, concurrency, self._keep))
        else:
            _play_each(game, policy, begun, self._keep)

    def _within(self, starts: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int] | None]:
        """The starts until the budget is used up, or nothing but outages came of the first ones; ``None`` while it
        admits no other beside those under way."""
        for start in starts:
            while not self._budget.admits(self._begun - self._ended):
                yield None
            if self._budget.used_up() is not None or self._given_up:
                return
            self._begun += 1
            yield start

    def _keep(self, trace: Trace) -> None:
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


@contextmanager
def open_usage(path: Path, meter: Meter, budget: Budget) -> Iterator[IO[bytes] | None]:
    """The file to append to, ``None`` where nothing is counted; what it holds already counts in the budget."""
    if not meter.counts:
        yield None
        return
    used = list(read_usage(path))
    try:
        for line in used:
            budget.add(line)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    with open(path, "a+b") as file:
        cut_torn_line(file)
        yield file


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
    async with aclosing(aplay_many(game, policy, starts, concurrency=concurrency)) as episodes:
        async for trace in episodes:
            keep(trace)
