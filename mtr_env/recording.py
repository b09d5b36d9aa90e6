"""Recording and replay of what a plug answers: what the cassettes of ToolActors and of ToolMakers share.

A :class:`Recorder` finds an answer by its key, or has it asked for and keeps it. The same key in flight at once is
asked for once, in threads and in asyncio. What it hands out is always what the store gives back later, also the first
time, so a replayed trace is the recorded one byte for byte.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, get_args

import msgspec
from msgspec import Struct

from mtr_env.errors import InfrastructureError, ToolsetError
from mtr_env.single_flight import LEFT, Flight, Flights
from mtr_env.store import Store
from mtr_env.text import as_unicode

Mode = Literal["live", "record", "replay"]
"""``live`` never reads and never writes; ``record`` reads, else asks and writes; ``replay`` reads, and never asks."""

Value = TypeVar("Value")
Found = TypeVar("Found")


class Shelf(Protocol):
    """Where a recorder finds and keeps entries: a :class:`~mtr_env.store.Store`, or a world's frozen responses."""

    def get(self, key: str) -> bytes | None:
        """The value of a key, or ``None``."""

    def put(self, key: str, value: bytes, *, replace: bool = False) -> None:
        """Keeps a value."""

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin so, sorted."""


class Served(NamedTuple):
    """How many answers came from the store, and how many did not (asked for, or missing in a replay)."""

    hits: int
    misses: int


class _Failure(Struct, frozen=True):
    """A recorded exception: its class's name, and its text where that is meant to be read (see ``episode``)."""

    kind: str
    text: str
    toolset: bool = False


# What encoding raises on a Python value that is not JSON, or holds a lone surrogate.
_NOT_JSON = (TypeError, ValueError, OverflowError, RecursionError)
_FAILURE = msgspec.json.Decoder(_Failure).decode


@lru_cache(256)
def _outage(kind: str) -> type[InfrastructureError]:
    """A class of this name: a trace says of an outage its class's name and an InfrastructureError's text."""
    return InfrastructureError if kind == "InfrastructureError" else type(kind, (InfrastructureError,), {})


def _raisable(failure: _Failure) -> Exception:
    return ToolsetError(failure.text) if failure.toolset else _outage(failure.kind)(failure.text)


def open_shelf(store: Shelf | str | os.PathLike[str] | None, mode: Mode) -> Shelf | None:
    """The store of a cassette, opened as its mode needs it; ``None`` in mode ``live``, which never looks at it.

    Raises ``ValueError`` for another mode, a missing store, or one that is read-only in mode ``record``."""
    if mode not in get_args(Mode):
        raise ValueError(f"mode is one of {', '.join(map(repr, get_args(Mode)))}, found {mode!r}.")
    if mode == "live":
        return None
    if store is None:
        raise ValueError(f"mode {mode!r} needs a store: the path of a cassette, or a Store.")
    if isinstance(store, str | os.PathLike):
        return Store(store, readonly=mode == "replay")
    if mode == "record" and getattr(store, "readonly", False):
        raise ValueError("mode 'record' needs a store that can be written; this one is readonly.")
    return store


def only_plug(
    shelf: Shelf | None,
    mode: Mode,
    prefix: str,
    what: str,
    decode: Callable[[bytes], Value],
    name: Callable[[Value], str],
    fix: str,
) -> Value:
    """The plug (``what``) that a cassette was recorded with, of those whose keys begin with ``prefix``, for a replay
    without it. Raises ``ValueError`` in another mode, and when there is not just one; ``fix`` says what to give."""
    if mode != "replay" or shelf is None:
        raise ValueError(f"mode {mode!r} needs an inner {what} to ask.")
    found = [decode(data) for key in shelf.keys(prefix) if (data := shelf.get(key)) is not None]
    if len(found) != 1:
        names = ", ".join(repr(name(plug)) for plug in found) or "none"
        raise ValueError(
            f"A cassette is replayed without its {what} when it was recorded with one; this one with {names}. "
            f"Give inner=, {fix}."
        )
    return found[0]


def _or_error(step: Callable[[], Found]) -> Found | Exception:
    """What a step returns, or what it raises, of whatever class: in a batch the failure of one is a value. A
    ``ToolsetError`` is a mistake in the set-up and is raised."""
    try:
        return step()
    except ToolsetError:
        raise
    except Exception as error:
        return error


class Recorder(Generic[Value]):
    """Plays answers of one type from a shelf, as ``mode`` says; ``what`` (``"response"``) names them in errors.

    ``decode`` is the inverse of ``encode`` and raises ``msgspec.DecodeError``. An outage lasts as long as this object:
    whoever asks for the same key later meets it too, and not an answer that a replay would then give to both. With
    ``lasting=False`` it is asked again.
    """

    def __init__(
        self,
        shelf: Shelf | None,
        mode: Mode,
        what: str,
        encode: Callable[[Value], bytes],
        decode: Callable[[bytes], Value],
        *,
        lasting: bool = True,
    ) -> None:
        self.shelf = shelf
        self.mode = mode
        self._what = what
        self._encode = encode
        self._decode = decode
        self._flights = Flights()
        self._lasting = lasting
        self._outages: dict[str, _Failure] = {}

    @property
    def served(self) -> Served:
        """The answers of this object so far."""
        return Served(self._flights.hits, self._flights.misses)

    def play(self, key: str, name: Callable[[], str], ask: Callable[[], Value]) -> Value:
        """The answer of a key: recorded, or else what ``ask`` returns. Raises what ``ask`` raises (or raised, in a
        replay), and :class:`~mtr_env.errors.InfrastructureError` for a miss in a replay; ``name()`` says of what."""
        if self.mode == "live":
            return ask()
        while True:
            found = self._find(key, name)
            if found is not None:
                return found
            flight = self._flights.board(key)
            if flight.mine:
                return self._lead(flight, key, ask)
            if flight.on_this_loop():  # to wait for it here would be to wait for ourselves
                return self._ask(key, ask)
            landed = flight.future.result()
            if landed is not LEFT:
                return self._shared(landed)

    async def aplay(self, key: str, name: Callable[[], str], ask: Callable[[], Awaitable[Value]]) -> Value:
        """:meth:`play` where ``ask`` is awaited."""
        if self.mode == "live":
            return await ask()
        while True:
            found = self._find(key, name)
            if found is not None:
                return found
            flight = self._flights.board(key)
            if flight.mine:
                return await self._alead(flight, key, ask)
            landed = await asyncio.wrap_future(flight.future)
            if landed is not LEFT:
                return self._shared(landed)

    def play_many(
        self,
        keys: Sequence[str],
        names: Sequence[Callable[[], str]],
        ask_many: Callable[[Sequence[int]], Sequence[Value | Exception]],
    ) -> list[Value | Exception]:
        """:meth:`play` for many at once; ``ask_many`` gets the places of those that have to be asked for. A failure is
        the exception in its place."""
        if self.mode == "live":
            return list(ask_many(range(len(keys))))
        done: dict[str, Value | Exception] = {}
        mine: dict[str, tuple[int, Flight]] = {}
        others: dict[str, int] = {}
        try:
            for i, key in enumerate(keys):
                if key in done or key in mine or key in others:
                    continue
                found = self._found(key, names[i])
                if found is None:
                    flight = self._flights.board(key)
                    if not flight.mine:
                        others[key] = i
                        continue
                    mine[key] = i, flight
                    found = self._again_found(key)
                    if found is not None:
                        self._flights.land(key, flight, found)
                        del mine[key]
                if found is not None:
                    done[key] = found
            answers = ask_many([i for i, _ in mine.values()]) if mine else ()
            for (key, (_, flight)), answer in zip(list(mine.items()), answers, strict=True):
                done[key] = self._kept(key, answer)
                self._flights.land(key, flight, done[key])
                del mine[key]
        finally:
            for key, (_, flight) in mine.items():
                self._flights.land(key, flight, LEFT)
        for key, i in others.items():  # after our own have landed: two batches never wait for each other
            done[key] = self._one(key, names[i], ask_many, i)
        return [done[key] for key in keys]

    # ------------------------------------------------------------------------------------------------- one key's steps

    def _one(self, key: str, name: Callable[[], str], ask_many: Callable[..., Any], i: int) -> Value | Exception:
        def ask() -> Value:
            answer = ask_many([i])[0]
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]

        return _or_error(lambda: self.play(key, name, ask))

    def _find(self, key: str, name: Callable[[], str]) -> Value | None:
        """What is recorded; in a replay an outage is raised again, and a miss is one."""
        found = self._read(key)
        if found is not None:
            self._flights.count(hit=True)
            return found
        if self.mode == "replay":
            failure = self._failure(key)
            if failure is not None:
                self._flights.count(hit=True)
                raise failure
            self._flights.count(hit=False)
            raise InfrastructureError(f"The cassette holds no {self._what} {name()}.")
        self._raise_outage(key)
        return None

    def _raise_outage(self, key: str) -> None:
        failure = self._outages.get(key)
        if failure is not None:
            self._flights.count(hit=True)
            raise _raisable(failure)

    def _found(self, key: str, name: Callable[[], str]) -> Value | Exception | None:
        return _or_error(lambda: self._find(key, name))

    def _again(self, key: str) -> Value | None:
        """Looks once more when the flight is ours: somebody's may have landed since the first look."""
        found = self._read(key)
        if found is None:
            self._raise_outage(key)
        self._flights.count(hit=found is not None)
        return found

    def _again_found(self, key: str) -> Value | Exception | None:
        return _or_error(lambda: self._again(key))

    def _shared(self, landed: Value | Exception) -> Value:
        self._flights.count(hit=True)
        if isinstance(landed, Exception):
            raise landed
        return landed

    def _lead(self, flight: Flight, key: str, ask: Callable[[], Value]) -> Value:
        landing: Any = LEFT
        try:
            found = self._again(key)
            landing = found if found is not None else self._ask(key, ask)
            return landing  # type: ignore[no-any-return]
        except Exception as error:
            landing = error
            raise
        finally:
            self._flights.land(key, flight, landing)

    async def _alead(self, flight: Flight, key: str, ask: Callable[[], Awaitable[Value]]) -> Value:
        landing: Any = LEFT  # where we are cancelled, the next in line asks
        try:
            found = self._again(key)
            if found is None:
                try:
                    answer: Value | Exception = await ask()
                except Exception as error:
                    answer = error
                found = self._raised(self._kept(key, answer))
            landing = found
            return found
        except Exception as error:
            landing = error
            raise
        finally:
            self._flights.land(key, flight, landing)

    def _ask(self, key: str, ask: Callable[[], Value]) -> Value:
        try:
            answer: Value | Exception = ask()
        except Exception as error:
            answer = error
        return self._raised(self._kept(key, answer))

    def _raised(self, answer: Value | Exception) -> Value:
        if isinstance(answer, Exception):
            raise answer
        return answer

    # ------------------------------------------------------------------------------------------------------- the shelf

    def _read(self, key: str) -> Value | None:
        assert self.shelf is not None
        data = self.shelf.get(f"{self._what}:{key}")
        try:
            return None if data is None else self._decode(data)
        except msgspec.DecodeError as error:
            raise InfrastructureError(
                f"The cassette's {self._what} is not as this version writes it: {error}."
            ) from error

    def _failure(self, key: str) -> Exception | None:
        assert self.shelf is not None
        data = self.shelf.get(f"outage:{key}")
        if data is None:
            return None
        return _raisable(_FAILURE(data))

    def _kept(self, key: str, answer: Value | Exception) -> Value | Exception:
        """Writes an answer; returns what a replay will give, or the failure of either."""
        assert self.shelf is not None
        try:
            data = b"" if isinstance(answer, Exception) else self._encode(answer)
        except _NOT_JSON as error:
            answer = InfrastructureError(f"The {self._what} cannot be recorded: {type(error).__name__}.")
        try:
            if isinstance(answer, Exception):
                readable = as_unicode(str(answer)) if isinstance(answer, InfrastructureError | ToolsetError) else ""
                failure = _Failure(type(answer).__name__, readable, isinstance(answer, ToolsetError))
                if self._lasting and not failure.toolset:
                    self._outages[key] = failure
                self.shelf.put(f"outage:{key}", msgspec.json.encode(failure), replace=True)
                return answer
            self.shelf.put(f"{self._what}:{key}", data)
            kept = self._read(key)  # another process may have been first: then its answer is the one that is replayed
            return self._decode(data) if kept is None else kept
        except InfrastructureError as error:  # the disk
            return answer if isinstance(answer, Exception) else error
