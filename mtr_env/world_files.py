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
``mtr_env.frozen`` plays these folders, ``mtr_env.world_build`` makes and proves them.
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

from mtr_env.errors import DatasetError, ToolsetError
from mtr_env.question import WorldInfo

FORMAT = 1
MANIFEST, INDEX = "world.json", "index.json"
QUESTIONS, TOOLSETS, RESPONSES = "questions.jsonl", "toolsets.jsonl", "responses.jsonl"
ORACLE, CORPUS = "oracle.jsonl", "corpus.jsonl"

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
    recorded; without any, the grounded ToolActor answers. ``fallbacks`` is how many toolsets stand in place of one that
    the ToolMaker could not write. ``hash`` is the sha256 of all the rest."""

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
    fallbacks: int = 0
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
        self.index = _read_index(self.path / INDEX, self.manifest)

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
        try:
            return decode(data)
        except _UNREADABLE as error:
            raise DatasetError(f"{path}, line {line.number}: {error}.") from error


MEND = "Restore the folder or build it again; `mtr-env world verify` checks all of it."


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ToolsetError)


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
    except _UNREADABLE as error:
        raise DatasetError(f"{path} is not as it was built: {error}. {MEND}") from error
    if number != FORMAT:
        raise DatasetError(f"{path}: a world file of format {number}; this version of mtr-env reads format {FORMAT}.")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except _UNREADABLE as error:
        raise DatasetError(f"{path} is not as it was built: {error}. {MEND}") from error
    if encode_pretty(manifest) != data or manifest.hashed() != manifest:
        raise DatasetError(f"{path} is not as it was built: its hash is another one. {MEND}")
    known = {INDEX, QUESTIONS, TOOLSETS, ORACLE, RESPONSES, CORPUS}
    if manifest.questions < 1 or not {INDEX, QUESTIONS, TOOLSETS} <= manifest.files.keys() <= known:
        raise DatasetError(f"{path}: a world holds questions and the files {', '.join(sorted(known))}, no others.")
    return manifest


class _Format(Struct):
    format: int


def _read_index(path: Path, manifest: Manifest) -> Index:
    data = path.read_bytes()
    if sha256(data).hexdigest() != manifest.files[INDEX].sha256:
        raise DatasetError(f"{path} is not as it was built. {MEND}")
    try:
        index = msgspec.json.decode(data, type=Index)
    except _UNREADABLE as error:
        raise DatasetError(f"{path}: {error}.") from error
    counts = [len(index.lines.get(name, ())) for name in (QUESTIONS, TOOLSETS)]
    if counts != [manifest.questions] * 2 or (manifest.recorded and RESPONSES not in index.lines):
        raise DatasetError(f"{path} does not fit {MANIFEST}, which says {manifest.questions} questions.")
    return index


def _check_size(path: Path, info: FileInfo) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DatasetError(f"{path} is missing ({error.strerror or error}). {MEND}") from error
    if size != info.bytes:
        raise DatasetError(f"{path} is not as it was built: it has {size} bytes, and had {info.bytes}. {MEND}")


def dump_lines(path: Path, lines: Iterable[tuple[str, Any]]) -> list[tuple[str, int, str]]:
    """Writes values as JSON lines; returns what the index says of each."""
    index = []
    with open(path, "wb") as file:
        for key, value in lines:
            line = msgspec.json.encode(value) + b"\n"
            file.write(line)
            index.append((key, len(line), line_digest(line)))
    return index
