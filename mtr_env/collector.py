"""Python's cyclic garbage collector while many episodes wait.

The collector looks at what has been made since its last look, after every 700 new objects, and promotes it; every
episode under way is a dozen objects that live on. With ten thousand of them it takes a third of the whole time and
finds nothing: episodes hold no cycles, and are freed by their reference counts.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_AN_EPISODE = 20  # objects that the collector counts, of one that waits
_MOST = 1_000_000  # of garbage that does hold cycles, so much may pile up

_lock = Lock()
_under_way: list[int] = []
_before: tuple[int, int, int] | None = None


@contextmanager
def seldom(episodes: int) -> Iterator[None]:
    """Lets the collector look only after as many new objects as ``episodes`` under way have, until the end of the
    ``with``; for all of the process, and where several are inside at once, for the largest of them.

    It never looks more often than before, stays off where it is off, and has its former threshold afterwards.
    """
    _enter(episodes)
    try:
        yield
    finally:
        _leave(episodes)


def _enter(episodes: int) -> None:
    global _before
    with _lock:
        if _before is None:
            _before = gc.get_threshold()
        _under_way.append(episodes)
        _set(_before)


def _leave(episodes: int) -> None:
    global _before
    with _lock:
        _under_way.remove(episodes)
        assert _before is not None
        _set(_before)
        if not _under_way:
            _before = None


def _set(before: tuple[int, int, int]) -> None:
    young, *older = before
    if young:  # 0: the collector is off
        seldom = min(_MOST, _AN_EPISODE * max(_under_way, default=0))
        gc.set_threshold(max(young, seldom), *older)
