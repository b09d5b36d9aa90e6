"""A cassette of tool responses: what an expensive ToolActor answered once is replayed for nothing, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mtr_env.errors import InfrastructureError
from mtr_env.memo import IdentityCache
from mtr_env.question import View
from mtr_env.recording import Mode, Recorder, Served, Shelf, only_plug, open_shelf
from mtr_env.tool import ToolSpec
from mtr_env.toolactors.base import CallKey, History, ToolActor, ToolRequest
from mtr_env.toolactors.border import ask, checked, respond_many
from mtr_env.trace import Call, Response

_SPECS = 4096  # digests of tools that are remembered


class RecordedActor(Struct):
    """Stands for an actor that is not here and whose responses were recorded: its name, and whether they depend on
    earlier exchanges."""

    name: str
    uses_history: bool = False

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        """Always an outage: only what was recorded can be replayed."""
        raise InfrastructureError(f"{self.name} is not here; only its recorded responses are.")


class CassetteToolActor:
    """Records the responses of ``inner`` in ``store`` (a path, or a :class:`~mtr_env.store.Store`) and replays them.

    - ``mode="record"``: a recorded response is given back, any other call is asked of ``inner`` and written.
    - ``mode="replay"``: a call that was not recorded is an outage that names it; ``inner`` may be left out.
    - ``mode="live"``: as without a cassette.

    A response is that of one world, question, tool (its whole spec), call, attempt, actor (its name) and seed, and of
    the history where ``inner.uses_history``. ``seeded=False`` leaves out the seed, in the replay too: for a trainer,
    each of whose steps has seeds of its own. ``frozen=True`` leaves out the world's fingerprint as well: the responses
    belong to one world, whoever plays it.

    The name in traces is ``inner``'s, and a response keeps its origin, usage and sources, so a replayed trace is the
    recorded one. An outage is recorded too: ``replay`` repeats it, and so does this object in ``record``; another one
    asks again (and so does this one where the key has no seed). A store that cannot be written is an outage of the
    episode that met it.

    Raises ``ValueError`` for an unknown mode or an ``inner`` that is missing, and what
    :class:`~mtr_env.store.Store` raises.
    """

    def __init__(
        self,
        inner: ToolActor | None,
        store: Shelf | str | os.PathLike[str] | None = None,
        mode: Mode = "record",
        *,
        frozen: bool = False,
        seeded: bool = True,
    ) -> None:
        shelf = open_shelf(store, mode)
        self._given = (inner, store, mode, frozen, seeded)
        self.inner: ToolActor = _only_actor(shelf, mode) if inner is None else inner
        self.mode = mode
        self.name: str = self.inner.name
        self.uses_history: bool = getattr(self.inner, "uses_history", False)
        self.remote: bool = mode != "replay" and getattr(self.inner, "remote", False)
        self._frozen, self._seeded = frozen, seeded and not frozen
        self._specs: IdentityCache[ToolSpec, str] = IdentityCache(_SPECS)
        self._recorder: Recorder[Response] = Recorder(shelf, mode, "response", _encode, _decode, lasting=self._seeded)
        if mode == "record" and shelf is not None:
            described = RecordedActor(self.name, self.uses_history)
            shelf.put(f"actor:{_digest(self.name)}", msgspec.json.encode(described), replace=True)

    @property
    def served(self) -> Served:
        """How many responses came from the cassette (or from a request under way) and how many did not."""
        return self._recorder.served

    def __deepcopy__(self, memo: object) -> CassetteToolActor:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return _again, self._given

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        """See :class:`~mtr_env.toolactors.base.ToolActor`."""
        return self._recorder.play(
            self._key(spec, history, key),
            lambda: _described(key),
            lambda: checked(self.inner.respond(call, spec, view, history, key)),
        )

    def respond_many(self, requests: Sequence[ToolRequest]) -> list[Response | Exception]:
        """See :class:`~mtr_env.toolactors.base.BatchToolActor`; what is not recorded is asked in one batch."""

        def ask_all(places: Sequence[int]) -> list[Response | Exception]:
            return list(respond_many(self.inner, [requests[i] for i in places]))

        keys = [self._key(r.spec, r.history, r.key) for r in requests]
        names: list[Callable[[], str]] = [lambda key=r.key: _described(key) for r in requests]  # type: ignore[misc]
        return self._recorder.play_many(keys, names, ask_all)

    async def arespond(self, request: ToolRequest) -> Response:
        """:meth:`respond`, awaiting ``inner.arespond`` where there is one."""
        r = request

        async def awaited() -> Response:
            return await ask(self.inner, r)

        return await self._recorder.aplay(self._key(r.spec, r.history, r.key), lambda: _described(r.key), awaited)

    def _key(self, spec: ToolSpec, history: History, key: CallKey) -> str:
        if self.mode == "live":
            return ""
        return _digest(
            None if self._frozen else (history.trace.setup.world.fingerprint, key.seed if self._seeded else None),
            self.name,
            key.question_id,
            self._specs.get(spec, _digest),
            key.call,
            key.attempt,
            list(history) if self.uses_history else None,
        )


def _again(inner: ToolActor | None, store: Any, mode: Mode, frozen: bool, seeded: bool) -> CassetteToolActor:
    return CassetteToolActor(inner, store, mode, frozen=frozen, seeded=seeded)


def _only_actor(shelf: Shelf | None, mode: Mode) -> RecordedActor:
    """Whose responses a cassette holds."""
    decode = msgspec.json.Decoder(RecordedActor).decode
    fix = "the actor or RecordedActor(name)"
    return only_plug(shelf, mode, "actor:", "ToolActor", decode, lambda actor: actor.name, fix)


def _described(key: CallKey) -> str:
    call = key.call if len(key.call) <= 160 else f"{key.call[:160]}..."
    return f"to {call} (question {key.question_id!r}, attempt {key.attempt}, seed {key.seed})"


_KEY = msgspec.json.Encoder(order="sorted")
_PLAIN = msgspec.json.Encoder()


def _digest(*parts: Any) -> str:
    # A tool's arguments are an ordered list to whoever reads them by position: its spec is taken as it is written.
    encode = _PLAIN.encode if type(parts[0]) is ToolSpec else _KEY.encode
    return blake2b(encode(parts), digest_size=16).hexdigest()


# ------------------------------------------------------------------------------------------------- responses as entries


class _Entry(Struct, frozen=True, omit_defaults=True):
    response: Response
    not_json: str = ""


class _NotJson:
    """A value that was not JSON when it was recorded, and is not when it is replayed: the simulator's fault."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


_DECODER = msgspec.json.Decoder(_Entry)


def _encode(response: Response) -> bytes:
    try:
        return _PLAIN.encode(_Entry(response))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _PLAIN.encode(_Entry(replace(response, value=None), ascii(response.value)[:1000]))


def _decode(data: bytes) -> Response:
    entry = _DECODER.decode(data)
    return replace(entry.response, value=_NotJson(entry.not_json)) if entry.not_json else entry.response
