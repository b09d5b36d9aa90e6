"""A small cache keyed by object identity: what was derived once from a question serves every episode of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Source = TypeVar("Source")
Derived = TypeVar("Derived")


class IdentityCache(Generic[Source, Derived]):
    """Remembers ``make(source)`` for the last ``size`` sources, found by identity (hashing a question would walk all
    its text). An entry keeps its source alive, so an id is never reused while it is in the cache.

    >>> cache = IdentityCache(2)
    >>> text = "abc"
    >>> cache.get(text, len), cache.get(text, lambda _: -1)
    (3, 3)
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[int, tuple[Source, Derived]] = {}

    def get(self, source: Source, make: Callable[[Source], Derived]) -> Derived:
        """What ``make`` returned for this very object, calling it at most once while the entry lives."""
        entry = self._entries.get(id(source))
        if entry is not None:
            return entry[1]
        derived = make(source)
        if len(self._entries) >= self._size:
            # First in, first out. Another thread may have removed the same key: then there is nothing to do.
            self._entries.pop(next(iter(tuple(self._entries)), 0), None)
        self._entries[id(source)] = (source, derived)
        return derived
