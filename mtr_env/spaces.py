"""The space of text: Gymnasium's own ``Text`` rejects spaces and JSON, and one with all of Unicode is slow to build."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class AnyText(gym.Space[str]):
    """Every Python string. ``sample`` gives a few printable ASCII characters."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(shape=(), dtype=None, seed=seed)

    def sample(self, mask: None = None, probability: None = None) -> str:
        """A random string of 0 to 40 printable ASCII characters."""
        codes = self.np_random.integers(32, 127, size=int(self.np_random.integers(0, 41)))
        return bytes(codes.tolist()).decode("ascii")

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a string."""
        return isinstance(x, str)

    @property
    def is_np_flattenable(self) -> bool:
        """Text has no fixed size."""
        return False

    def __repr__(self) -> str:
        return "AnyText()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyText)

    def __hash__(self) -> int:
        return hash(AnyText)
