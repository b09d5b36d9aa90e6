"""The plugs of a world folder (:mod:`mtr_env.world_files`): its questions, its toolsets, and who answers."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from mtr_env.errors import DatasetError, InfrastructureError
from mtr_env.memo import Recent
from mtr_env.question import Question, WorldInfo
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.corpus import Corpus
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.world_files import CORPUS, MEND, QUESTIONS, RESPONSES, TOOLSETS, Line, ResponseLine, WorldFolder
from mtr_env.worlds.base import check_limit, unknown_question

KEPT = 256  # questions that a world remembers


class FrozenWorld:
    """The questions of a world folder, or the first ``limit`` of them; implements
    :class:`mtr_env.worlds.base.World`. Its fingerprint is the folder's hash, with the limit where there is one."""

    def __init__(self, folder: WorldFolder, limit: int | None = None) -> None:
        check_limit(limit)
        self.folder = folder
        self._limit = limit
        ids = tuple(folder.questions)
        self._ids = ids[:limit]
        self._known = frozenset(self._ids)
        manifest = folder.manifest
        cut = f":first{len(self._ids)}" if len(self._ids) < len(ids) else ""
        self._info = replace(manifest.world, fingerprint=f"{manifest.hash}{cut}")
        self._decode = msgspec.json.Decoder(Question).decode
        self._kept: Recent[str, Question] = Recent(KEPT)

    @property
    def info(self) -> WorldInfo:
        """Name, split and source of the questions, and the folder's hash."""
        return self._info

    @property
    def ids(self) -> tuple[str, ...]:
        """The question ids in order."""
        return self._ids

    def question(self, question_id: str) -> Question:
        """The question with this id; raises :class:`UnknownQuestionError` for an unknown one, and
        :class:`~mtr_env.errors.DatasetError` when its line is damaged."""
        return self._kept.get(question_id, self._read)

    def _read(self, question_id: str) -> Question:
        if question_id not in self._known:
            raise unknown_question(question_id, self._ids)
        line = self.folder.questions[question_id]
        question = self.folder.read(QUESTIONS, line, self._decode)
        if question.id != question_id:
            raise DatasetError(f"{self.folder.path / QUESTIONS}, line {line.number}: it has the id {question.id!r}.")
        return question

    def __deepcopy__(self, memo: object) -> FrozenWorld:
        return self

    def __reduce__(self) -> tuple[type[FrozenWorld], tuple[WorldFolder, int | None]]:
        return FrozenWorld, (self.folder, self._limit)

    def __repr__(self) -> str:
        return f"FrozenWorld({str(self.folder.path)!r}, {len(self._ids)} questions)"


class FrozenToolMaker:
    """The toolsets of a world folder; ``name`` is that of the ToolMaker that wrote them. With ``grounded`` they lack
    the tools that only a model can play, which a model has written and to which the evidence has no answer."""

    def __init__(self, folder: WorldFolder, *, grounded: bool = False) -> None:
        self.folder = folder
        self.grounded = grounded
        self.name = folder.manifest.tool_maker
        self._decode = msgspec.json.Decoder(Toolset).decode

    def make(self, question: Question, key: str = "") -> Toolset:
        """The toolset of the question with this id, whatever the key. Raises
        :class:`~mtr_env.errors.UnknownQuestionError` for one that the folder does not hold."""
        line = self.folder.toolsets.get(question.id)
        if line is None:
            raise unknown_question(question.id, tuple(self.folder.toolsets))
        toolset = self.folder.read(TOOLSETS, line, self._decode)
        if self.grounded and not all(tool.binding for tool in toolset.tools):
            return replace(toolset, tools=tuple([tool for tool in toolset.tools if tool.binding]))
        return toolset

    def __deepcopy__(self, memo: object) -> FrozenToolMaker:
        return self

    def __reduce__(self) -> tuple[partial[FrozenToolMaker], tuple[WorldFolder]]:
        return partial(FrozenToolMaker, grounded=self.grounded), (self.folder,)


class FrozenResponses:
    """The recorded responses of a world folder, for a cassette to replay."""

    def __init__(self, folder: WorldFolder) -> None:
        self.folder = folder
        self._decode = msgspec.json.Decoder(ResponseLine).decode

    @cached_property
    def _lines(self) -> dict[str, Line]:
        return self.folder.lines(RESPONSES)

    def get(self, key: str) -> bytes | None:
        """The value of a key, or ``None``. A damaged line is an outage that names file and line."""
        line = self._lines.get(key)
        if line is None:
            return None
        try:
            return bytes(self.folder.read(RESPONSES, line, self._decode).value)
        except DatasetError as error:
            # It stands in a trace, which says nothing of this machine's folders.
            raise InfrastructureError(f"{RESPONSES}, line {line.number}, is not as it was built.") from error

    def put(self, key: str, value: bytes, *, replace: bool = False) -> None:
        """A frozen world takes nothing."""
        raise InfrastructureError("A frozen world cannot be written.")

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin so, sorted."""
        return sorted(key for key in self._lines if key.startswith(prefix))

    def __deepcopy__(self, memo: object) -> FrozenResponses:
        return self

    def __reduce__(self) -> tuple[type[FrozenResponses], tuple[WorldFolder]]:
        return FrozenResponses, (self.folder,)


def frozen_actor(folder: WorldFolder) -> ToolActor:
    """Who answers in a frozen world: its recorded responses in strict replay, or the grounded ToolActor."""
    manifest = folder.manifest
    if manifest.recorded:
        from mtr_env.toolactors.cassette import CassetteToolActor, RecordedActor  # loads asyncio and sqlite3

        inner = RecordedActor(manifest.tool_actor, manifest.uses_history)
        return CassetteToolActor(inner, FrozenResponses(folder), "replay", frozen=True)
    actor = grounded_actor(folder.path) if CORPUS in manifest.files else GroundedToolActor()
    if actor.name != manifest.tool_actor:
        raise DatasetError(f"{folder.path / CORPUS} is not as it was built. {MEND}")
    return actor


def grounded_actor(folder: Path) -> GroundedToolActor:
    """The grounded ToolActor that searches the corpus of a folder."""
    return GroundedToolActor(Corpus.read(folder / CORPUS))
