"""A cassette of toolsets: what an expensive ToolMaker wrote once is replayed for nothing."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Any

import msgspec

from mtr_env.question import Question
from mtr_env.recording import Mode, Recorder, Served, Shelf, only_plug, open_shelf
from mtr_env.tool import Toolset
from mtr_env.toolmakers.base import ToolMaker


class CassetteToolMaker:
    """Records the toolsets of ``inner`` in ``store`` (a path, or a :class:`~mtr_env.store.Store`) and replays them.

    The modes are those of :class:`~mtr_env.toolactors.cassette.CassetteToolActor`, which may share the store. A toolset
    is that of one question (all of it, not its id), key and maker (its name). A maker's failure is recorded too:
    ``replay`` repeats it, and this object in ``record`` repeats an outage; another one asks again. A miss in a replay
    raises :class:`~mtr_env.errors.InfrastructureError` that names the question. ``inner`` may be left out in a replay
    when the cassette holds one maker's toolsets.
    """

    def __init__(
        self, inner: ToolMaker | None, store: Shelf | str | os.PathLike[str] | None = None, mode: Mode = "record"
    ) -> None:
        shelf = open_shelf(store, mode)
        self._given = (inner, store, mode)
        self.inner = inner
        self.mode = mode
        self.name: str = _only_maker(shelf, mode) if inner is None else inner.name
        self._recorder: Recorder[Toolset] = Recorder(
            shelf, mode, "toolset", msgspec.json.encode, msgspec.json.Decoder(Toolset).decode
        )
        if mode == "record" and shelf is not None:
            name = self.name.encode()
            shelf.put(f"maker:{blake2b(name, digest_size=16).hexdigest()}", name)

    @property
    def served(self) -> Served:
        """How many toolsets came from the cassette (or from a request under way) and how many did not."""
        return self._recorder.served

    def __deepcopy__(self, memo: object) -> CassetteToolMaker:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return CassetteToolMaker, self._given

    def make(self, question: Question, key: str = "") -> Toolset:
        """See :class:`~mtr_env.toolmakers.base.ToolMaker`."""
        return self._recorder.play(
            self._key(question, key), lambda: f"for question {question.id!r}", lambda: self._inner().make(question, key)
        )

    async def amake(self, question: Question, key: str = "") -> Toolset:
        """:meth:`make`, awaiting ``inner.amake`` where there is one."""

        async def ask() -> Toolset:
            inner: Any = self._inner()
            if hasattr(inner, "amake"):
                return await inner.amake(question, key)  # type: ignore[no-any-return]
            return inner.make(question, key)  # type: ignore[no-any-return]

        return await self._recorder.aplay(self._key(question, key), lambda: f"for question {question.id!r}", ask)

    def _inner(self) -> ToolMaker:
        assert self.inner is not None  # only a replay has none, and it never asks
        return self.inner

    def _key(self, question: Question, key: str) -> str:
        if self.mode == "live":
            return ""
        return blake2b(msgspec.json.encode((question, key, self.name)), digest_size=16).hexdigest()


def _only_maker(shelf: Shelf | None, mode: Mode) -> str:
    return only_plug(shelf, mode, "maker:", "ToolMaker", bytes.decode, str, "the maker")
