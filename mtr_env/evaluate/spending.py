"""What a run's models have used: ``usage.jsonl``, its sums, and the budget that ends a run before it is spent twice."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from mtr_env.errors import DatasetError
from mtr_env.evaluate.statistics import quantile
from mtr_env.llm import Spent
from mtr_env.policies.usage import EpisodeUsage

AT_FIRST = 2
"""So many episodes are under way, under a budget of tokens or cost, until it is known what one takes."""


class UsageLine(Struct, frozen=True):
    """A line of ``usage.jsonl``, written before the episode's trace: what the model that played the episode has used,
    and in ``tools`` what the tools' model has used since the line before (with several episodes under way at once only
    the sum of these means something). An episode whose trace a kill has lost has a line for each time it was played."""

    question_id: str
    seed: int
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    seconds: float = 0.0
    failed: int = 0
    tools: Spent | None = None

    @property
    def tokens(self) -> int:
        """Of both models, in and out."""
        tools = self.tools or Spent()
        return self.input_tokens + self.output_tokens + tools.input_tokens + tools.output_tokens


class UsageSummary(Struct, frozen=True):
    """What the models of a run have used, in all its starts: the one that ``player`` is, and the one of the ``tools``
    (``None``: there is none). Cost in USD, ``None`` without prices. ``seconds_median`` and ``seconds_p95`` are an
    episode's seconds of waiting for the player's model."""

    player: EpisodeUsage
    tools: Spent | None
    seconds_median: float
    seconds_p95: float


def read_usage(path: str | os.PathLike[str]) -> Iterator[UsageLine]:
    """The lines of ``usage.jsonl``, none where there is no such file; a torn last line is left out. Raises
    :class:`DatasetError` that names file and line for another that cannot be read."""
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield msgspec.json.decode(line, type=UsageLine)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if not line.endswith(b"\n"):
                    return
                place = f"{os.fspath(path)}, line {number}"
                raise DatasetError(f"{place}: expected what `mtr-env run` writes there; {error}.") from error


def summarize_usage(lines: Iterable[UsageLine]) -> UsageSummary | None:
    """The sums of the lines; ``None`` without any."""
    every = list(lines)
    if not every:
        return None
    tools = [line.tools for line in every if line.tools is not None]
    player = EpisodeUsage(
        sum(line.requests for line in every),
        sum(line.input_tokens for line in every),
        sum(line.output_tokens for line in every),
        _cost(line.cost for line in every),
        math.fsum(line.seconds for line in every),
        sum(line.failed for line in every),
    )
    seconds = [line.seconds for line in {(line.question_id, line.seed): line for line in every}.values()]
    return UsageSummary(
        player,
        _total(tools) if tools else None,
        quantile(seconds, 0.5) or 0.0,
        quantile(seconds, 0.95) or 0.0,
    )


def _total(spent: list[Spent]) -> Spent:
    return Spent(
        sum(one.requests for one in spent),
        sum(one.retries for one in spent),
        sum(one.input_tokens for one in spent),
        sum(one.output_tokens for one in spent),
        _cost(one.cost for one in spent),
    )


def _cost(costs: Iterable[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if known else None


class Meter:
    """Makes the lines of one run: asks the policy and the tools' model what they have used."""

    def __init__(self, policy: Any, tool_spent: Callable[[], Spent] | None) -> None:
        of = getattr(policy, "usage", None)
        self._of: Callable[[str, int], EpisodeUsage] | None = of if callable(of) else None
        self._tool_spent = tool_spent
        self._before = Spent() if tool_spent is None else tool_spent()
        self.counts = self._of is not None or tool_spent is not None

    def line(self, question_id: str, seed: int) -> UsageLine:
        """The line of an episode that has ended."""
        used = EpisodeUsage() if self._of is None else self._of(question_id, seed)
        return UsageLine(question_id, seed, **msgspec.structs.asdict(used), tools=self._tools())

    def _tools(self) -> Spent | None:
        if self._tool_spent is None:
            return None
        now, before = self._tool_spent(), self._before
        self._before = now
        return Spent(
            now.requests - before.requests,
            now.retries - before.retries,
            now.input_tokens - before.input_tokens,
            now.output_tokens - before.output_tokens,
            None if now.cost is None else now.cost - (before.cost or 0.0),
        )


class Budget:
    """What a run, or several of them together, may use before no other episode begins; those under way end.

    ``minutes`` count from now; ``tokens`` (in and out, of the model that plays and of the tools' model) and ``cost``
    (USD) count what the run's folder has used in all its starts. Under these two, no more episodes are under way than
    are likely to fit: by the mean of what those have used that ended, :data:`AT_FIRST` before any has. Raises
    ``ValueError`` for a limit that is not above 0.
    """

    def __init__(
        self,
        minutes: float | None = None,
        tokens: int | None = None,
        cost: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, limit in (("minutes", minutes), ("tokens", tokens), ("cost", cost)):
            if limit is not None and not 0 < limit < math.inf:
                raise ValueError(f"A budget of {name} is a number above 0, found {limit!r}.")
        self.minutes, self.tokens, self.cost = minutes, tokens, cost
        self._clock, self._began = clock, clock()
        self._tokens, self._cost, self._lines = 0, 0.0, 0

    def check(self, meter: Meter) -> None:
        """Raises ``ValueError`` when it limits what the meter does not count, and would never be used up."""
        if (self.tokens is not None or self.cost is not None) and not meter.counts:
            raise ValueError("A budget of tokens or cost needs a model that counts them: this policy asks none.")

    def add(self, line: UsageLine) -> None:
        """Counts what an episode has used. Raises ``ValueError`` for tokens without a price under a limit of cost."""
        tools = line.tools or Spent()
        unpriced = (line.requests and line.cost is None) or (tools.requests and tools.cost is None)
        if self.cost is not None and unpriced:
            raise ValueError("A budget of cost needs the prices of each model that is asked.")
        self._lines += line.tokens > 0 or bool(line.cost)  # what failed says nothing of the others
        self._tokens += line.tokens
        self._cost = math.fsum([self._cost, line.cost or 0.0, tools.cost or 0.0])

    def admits(self, under_way: int) -> bool:
        """Whether another episode may begin beside those under way; one alone always may, while nothing is used up."""
        if under_way == 0 or (self.tokens is None and self.cost is None):
            return True
        if not self._lines:
            return under_way < AT_FIRST
        return all(used + (under_way + 1) * used / self._lines <= limit for used, limit, _ in self._limits())

    def exceeded(self) -> str | None:
        """By how much a limit was exceeded, in words; ``None`` while none is."""
        over = [unit(used - limit) for used, limit, unit in self._limits() if used > limit * (1 + 1e-9)]
        return " and ".join(over) or None

    def _limits(self) -> list[tuple[float, float, Callable[[float], str]]]:
        """What was used, its limit, and how a number of it is written."""
        return [
            *([] if self.tokens is None else [(self._tokens, self.tokens, lambda n: f"{n:,.0f} tokens")]),
            *([] if self.cost is None else [(self._cost, self.cost, lambda n: f"{_dollars(n)} USD")]),
        ]

    def used_up(self) -> str | None:
        """Which limit is reached, in words; ``None`` while none is."""
        minutes = (self._clock() - self._began) / 60
        if self.minutes is not None and minutes >= self.minutes:
            return f"{self.minutes:g} minutes"
        if self.tokens is not None and self._tokens >= self.tokens:
            return f"{self.tokens:,} tokens ({self._tokens:,} used)"
        if self.cost is not None and self._cost >= self.cost:
            return f"{self.cost:g} USD ({_dollars(self._cost)} used)"
        return None


def _dollars(amount: float) -> str:
    return f"{amount:.{4 if amount >= 0.01 else 6}f}"
