"""What an episode of a policy that asks a model has used, and a memory of it."""

from __future__ import annotations

from msgspec import Struct

EPISODES = 65_536
"""Whose use is remembered."""


class EpisodeUsage(Struct, frozen=True):
    """What one episode has used: requests, tokens, USD (``None`` without prices), and the seconds that its requests
    took, with retries and the wait for a free connection. ``failed`` counts the requests that no retry got an answer
    to; a server that was paid for one does not say so."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    seconds: float = 0.0
    failed: int = 0


class UsageBook:
    """The use of the episodes of a policy, by question and seed; of the last :data:`EPISODES` of them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], EpisodeUsage] = {}

    def begin(self, question_id: str, seed: int) -> None:
        """An episode begins, and counts anew."""
        self._known.pop((question_id, seed), None)

    def of(self, question_id: str, seed: int) -> EpisodeUsage:
        """What the episode has used so far; 0 when it is not known."""
        return self._known.get((question_id, seed), EpisodeUsage())

    def add(
        self,
        question_id: str,
        seed: int,
        read: int,
        written: int,
        seconds: float,
        prices: tuple[float, float] | None,
        *,
        failed: bool = False,
    ) -> None:
        """Counts a request with its tokens, or one that ``failed``; ``prices`` are USD per million input and output
        tokens."""
        used = self.of(question_id, seed)
        cost = None if prices is None else (used.cost or 0.0) + (read * prices[0] + written * prices[1]) / 1e6
        self.begin(question_id, seed)  # so that the one used last stands last
        self._known[question_id, seed] = EpisodeUsage(
            used.requests + 1,
            used.input_tokens + read,
            used.output_tokens + written,
            cost,
            used.seconds + seconds,
            used.failed + failed,
        )
        if len(self._known) > EPISODES:
            del self._known[next(iter(self._known))]
