"""Single flight: what several want at once, in threads or on event loops, is asked for once."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from concurrent.futures import Future
from typing import Any

LEFT: Any = object()  # whoever asked was cancelled: the answer is still missing


class Flight:
    """A key that somebody is asking for. ``mine`` says that it is us."""

    __slots__ = ("future", "loop", "mine")

    def __init__(self, future: Future[Any], loop: asyncio.AbstractEventLoop | None, mine: bool) -> None:
        self.future, self.loop, self.mine = future, loop, mine

    def on_this_loop(self) -> bool:
        """Whether whoever asks does so on the event loop that runs here."""
        return self.loop is not None and self.loop is _running_loop()


class Flights:
    """The keys in flight in this process, and how many were served."""

    def __init__(self) -> None:
        self.hits = self.misses = 0
        self.forget()
        _ALL.add(self)

    def forget(self) -> None:
        """Starts anew: in a forked process nobody is asking."""
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}

    def count(self, *, hit: bool) -> None:
        """Counts an answer."""
        with self._lock:
            self.hits += hit
            self.misses += not hit

    def board(self, key: str) -> Flight:
        """The flight of a key, a new one of ours where nobody is asking."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return Flight(flight.future, flight.loop, False)
            future: Future[Any] = Future()
            future.set_running_or_notify_cancel()  # so that nobody who waits can cancel it for the others
            flight = self._flights[key] = Flight(future, _running_loop(), True)
            return flight

    def land(self, key: str, flight: Flight, landing: Any) -> None:
        """Ends a flight of ours; all who wait get ``landing``."""
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
        flight.future.set_result(landing)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    return asyncio._get_running_loop()


_ALL: weakref.WeakSet[Flights] = weakref.WeakSet()


def _forget_flights() -> None:
    for flights in list(_ALL):
        flights.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_flights)
