"""Small caches: what was derived once from a question serves every episode of it, and what is asked again is
remembered."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_PLACES, _MARKS = 1024, 65521  # a key's mark in 16 bits; no common divisor, so that place and mark say more than one

Source = TypeVar("Source")
Derived = TypeVar("Derived")
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


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


class Recent(Generic[Key, Value]):
    """Remembers ``make(key)`` for the ``size`` keys used last. Each call on the dict is atomic, so no lock is needed.

    >>> recent = Recent(2)
    >>> [recent.get(key, str.upper) for key in ("a", "b", "a", "c")], recent.get("a", str.title)
    (['A', 'B', 'A', 'C'], 'A')
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[Key, Value] = {}  # the one used last stands last

    def get(self, key: Key, make: Callable[[Key], Value]) -> Value:
        """What ``make`` returned for this key, or returns now; what it raises is not remembered."""
        value = self._entries.pop(key, None)
        if value is None:
            value = make(key)
        self._entries[key] = value
        if len(self._entries) > self._size:
            for oldest in list(self._entries)[: -self._size]:
                self._entries.pop(oldest, None)
        return value


class Memo(Generic[Key, Value]):
    """Remembers the values of keys that come up more than once, at most ``size`` of them.

    The first time a key only leaves a mark in a small table, so what never comes again costs nothing: most actions of
    an exploring policy are new, and the actions of a group of rollouts are alike.

    >>> memo = Memo(10)
    >>> [memo.comes_again("a"), memo.comes_again("a")]
    [False, True]
    >>> memo.put("a", 1)
    >>> memo.get("a")
    1
    """

    __slots__ = ("_entries", "_marks", "_size", "get")

    def __init__(self, size: int) -> None:
        self._size = size
        self._marks = array("H", bytes(2 * _PLACES))
        self._entries: dict[Key, Value] = {}
        self.get = self._entries.get
        """The remembered value, or ``None``."""

    def comes_again(self, key: Key) -> bool:
        """Whether this was asked of the key (or, seldom, of one with its mark) lately: then its value is worth a
        :meth:`put`."""
        digest = hash(key)
        place, mark = digest % _PLACES, digest % _MARKS + 1
        if self._marks[place] == mark:
            return True
        self._marks[place] = mark
        return False

    def put(self, key: Key, value: Value) -> None:
        """Remembers a value."""
        if len(self._entries) >= self._size:
            self._entries.clear()
        self._entries[key] = value
