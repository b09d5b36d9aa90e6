"""World files: questions, toolsets and responses frozen into one folder whose hash says what is in it.

    world.json       what it is: :class:`Manifest`, with the sha256 of every other file and the world's hash over it all
    index.json       where each line of the ``.jsonl`` files is, and its digest: :class:`Index`
    questions.jsonl  a question a line, gold included
    toolsets.jsonl   its tools, in the same order
    oracle.jsonl     how the oracle did with it when the folder was built: :class:`OracleLine`
    responses.jsonl  recorded responses, where there are any: then nothing else answers
    corpus.jsonl     the documents that are searched, where the world was built with a corpus

Opening a folder reads ``world.json`` and ``index.json``; a question is read when it is asked for and checked against
its digest, so a damaged line is an error that names file and line, and never another question.
``mtr_env.world_build`` makes these folders and proves them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mtr_env.errors import DatasetError, InfrastructureError
from mtr_env.question import Question, WorldInfo
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.cassette import CassetteToolActor, RecordedActor
from mtr_env.toolactors.corpus import Corpus
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.worlds.base import unknown_question

FORMAT = 1
MANIFEST, INDEX = "world.json", "index.json"
QUESTIONS, TOOLSETS, RESPONSES = "questions.jsonl", "toolsets.jsonl", "responses.jsonl"
ORACLE, CORPUS = "oracle.jsonl", "corpus.jsonl"
KEPT = 256  # questions that a world remembers

Decoded = TypeVar("Decoded")


class FileInfo(Struct, frozen=True):
    """One file of the folder."""

    bytes: int
    sha256: str


class OracleInfo(Struct, frozen=True):
    """The rules under which the oracle played, every question with the episode seed 0, and what came of it."""

    grammar: str
    rubric: str
    max_steps: int
    scored: int
    mean_reward: float | None


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """``world.json``. ``world`` is where the questions came from; ``source_sha256`` is that of the file they were read
    from (empty for the bundled sample, the hub and the synthetic world). ``recorded`` has the policies whose calls were
    recorded; without any, the grounded ToolActor answers. ``hash`` is the sha256 of all the rest."""

    format: int
    env_id: str
    title: str
    licence: str
    citation: str
    world: WorldInfo
    source_sha256: str
    questions: int
    tool_maker: str
    tool_actor: str
    uses_history: bool
    recorded: tuple[str, ...]
    oracle: OracleInfo
    files: dict[str, FileInfo]
    hash: str = ""

    def hashed(self) -> Manifest:
        """This manifest with its hash."""
        return replace(self, hash=sha256(encode_pretty(replace(self, hash=""))).hexdigest())


class OracleLine(Struct, frozen=True):
    """How the oracle did with a question: its reward, or why the episode is unscored."""

    question_id: str
    reward: float | None
    unscored: str | None = None


class ResponseLine(Struct, frozen=True):
    """A recorded response (or outage) and its key."""

    key: str
    value: msgspec.Raw


class Index(Struct, frozen=True, forbid_unknown_fields=True):
    """For each ``.jsonl`` file that is read by line: (question id or response key, bytes of the line, its digest)."""

    lines: dict[str, list[tuple[str, int, str]]]


class Line(NamedTuple):
    """Where a line is: its number from 1, its first byte, its length, and its digest."""

    number: int
    start: int
    length: int
    digest: str


def encode_pretty(value: Struct) -> bytes:
    """JSON for people, the same bytes on every machine."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def line_digest(line: bytes) -> str:
    """The digest of a line, its newline included."""
    return blake2b(line, digest_size=8).hexdigest()


class WorldFolder:
    """An open folder. Raises :class:`~mtr_env.errors.DatasetError` for a folder that is not a world, or whose
    ``world.json``, ``index.json`` or list of files is not as it was built."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.manifest = _read_manifest(self.path)
        for name, info in self.manifest.files.items():
            _check_size(self.path / name, info)
        index = self.path / INDEX
        data = index.read_bytes()
        if sha256(data).hexdigest() != self.manifest.files[INDEX].sha256:
            raise DatasetError(f"{index} is not as it was built. {MEND}")
        self.index = msgspec.json.decode(data, type=Index)

    def __reduce__(self) -> tuple[type[WorldFolder], tuple[Path]]:
        return WorldFolder, (self.path,)

    def __deepcopy__(self, memo: object) -> WorldFolder:
        return self

    def lines(self, name: str) -> dict[str, Line]:
        """Where the lines of a file are, by question id or response key, in order."""
        places: dict[str, Line] = {}
        start = 0
        for number, (key, length, digest) in enumerate(self.index.lines[name], 1):
            places[key] = Line(number, start, length, digest)
            start += length
        return places

    @cached_property
    def questions(self) -> dict[str, Line]:
        """The lines of ``questions.jsonl``."""
        return self.lines(QUESTIONS)

    @cached_property
    def toolsets(self) -> dict[str, Line]:
        """The lines of ``toolsets.jsonl``."""
        return self.lines(TOOLSETS)

    def read(self, name: str, line: Line, decode: Callable[[bytes], Decoded]) -> Decoded:
        """One line, checked and decoded. Raises :class:`~mtr_env.errors.DatasetError` that names file and line."""
        path = self.path / name
        try:
            with open(path, "rb") as file:
                file.seek(line.start)
                data = file.read(line.length)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
        if line_digest(data) != line.digest:
            raise DatasetError(f"{path}, line {line.number}: it is not as it was built. {MEND}")
        return decode(data)


MEND = "Restore the folder or build it again; `mtr-env world verify` checks all of it."


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DatasetError(f"{folder} {what}; expected a world folder, as `mtr-env world build` makes it.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror or error}); expected a world folder, as `mtr-env world build` "
            "makes it."
        ) from error
    try:
        number = msgspec.json.decode(data, type=_Format).format
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not as it was built: {error}. {MEND}") from error
    if number != FORMAT:
        raise DatasetError(f"{path}: a world file of format {number}; this version of mtr-env reads format {FORMAT}.")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not as it was built: {error}. {MEND}") from error
    if encode_pretty(manifest) != data or manifest.hashed() != manifest:
        raise DatasetError(f"{path} is not as it was built: its hash is another one. {MEND}")
    return manifest


class _Format(Struct):
    format: int


def _check_size(path: Path, info: FileInfo) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DatasetError(f"{path} is missing ({error.strerror or error}). {MEND}") from error
    if size != info.bytes:
        raise DatasetError(f"{path} is not as it was built: it has {size} bytes, and had {info.bytes}. {MEND}")


# ----------------------------------------------------------------------------------------------------------- the plugs


class FrozenWorld:
    """The questions of a world folder, or the first ``limit`` of them; implements
    :class:`mtr_env.worlds.base.World`. Its fingerprint is the folder's hash, with the limit where there is one."""

    def __init__(self, folder: WorldFolder, limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise DatasetError(f"limit must be at least 1 or None, found {limit}.")
        self.folder = folder
        self._limit = limit
        ids = tuple(folder.questions)
        self._ids = ids[:limit]
        self._known = frozenset(self._ids)
        manifest = folder.manifest
        cut = f":first{len(self._ids)}" if len(self._ids) < len(ids) else ""
        self._info = replace(manifest.world, fingerprint=f"{manifest.hash}{cut}")
        self._decode = msgspec.json.Decoder(Question).decode
        self._kept: dict[str, Question] = {}  # the question used last stands last

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
        question = self._kept.pop(question_id, None)
        if question is None:
            if question_id not in self._known:
                raise unknown_question(question_id, self._ids)
            question = self.folder.read(QUESTIONS, self.folder.questions[question_id], self._decode)
        self._kept[question_id] = question
        if len(self._kept) > KEPT:
            for oldest in list(self._kept)[:-KEPT]:
                self._kept.pop(oldest, None)
        return question

    def __deepcopy__(self, memo: object) -> FrozenWorld:
        return self

    def __reduce__(self) -> tuple[type[FrozenWorld], tuple[WorldFolder, int | None]]:
        return FrozenWorld, (self.folder, self._limit)

    def __repr__(self) -> str:
        return f"FrozenWorld({str(self.folder.path)!r}, {len(self._ids)} questions)"


class FrozenToolMaker:
    """The toolsets of a world folder; ``name`` is that of the ToolMaker that wrote them."""

    def __init__(self, folder: WorldFolder) -> None:
        self.folder = folder
        self.name = folder.manifest.tool_maker
        self._decode = msgspec.json.Decoder(Toolset).decode

    def make(self, question: Question, key: str = "") -> Toolset:
        """The toolset of the question with this id, whatever the key. Raises
        :class:`~mtr_env.errors.UnknownQuestionError` for one that the folder does not hold."""
        line = self.folder.toolsets.get(question.id)
        if line is None:
            raise unknown_question(question.id, tuple(self.folder.toolsets))
        return self.folder.read(TOOLSETS, line, self._decode)

    def __deepcopy__(self, memo: object) -> FrozenToolMaker:
        return self

    def __reduce__(self) -> tuple[type[FrozenToolMaker], tuple[WorldFolder]]:
        return FrozenToolMaker, (self.folder,)


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
        inner = RecordedActor(manifest.tool_actor, manifest.uses_history)
        return CassetteToolActor(inner, FrozenResponses(folder), "replay", frozen=True)
    actor = grounded_actor(folder.path) if CORPUS in manifest.files else GroundedToolActor()
    if actor.name != manifest.tool_actor:
        raise DatasetError(f"{folder.path / CORPUS} is not as it was built. {MEND}")
    return actor


def grounded_actor(folder: Path) -> GroundedToolActor:
    """The grounded ToolActor that searches the corpus of a folder."""
    return GroundedToolActor(Corpus.read(folder / CORPUS))


def dump_lines(path: Path, lines: Iterable[tuple[str, Any]]) -> list[tuple[str, int, str]]:
    """Writes values as JSON lines; returns what the index says of each."""
    index = []
    with open(path, "wb") as file:
        for key, value in lines:
            line = msgspec.json.encode(value) + b"\n"
            file.write(line)
            index.append((key, len(line), line_digest(line)))
    return index
