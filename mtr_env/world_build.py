"""Building world folders (:mod:`mtr_env.world_files`) and proving that one is as it was built.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = build("MTR-Synthetic-v0", f"{folder}/mine", limit=3)
    ...     problems = verify(f"{folder}/mine")
    >>> manifest.questions, manifest.oracle.mean_reward, problems
    (3, 1.0, [])

What is written depends on the questions, the plugs and their answers alone: with a deterministic ToolMaker and
ToolActor the same build gives the same bytes, and so the same hash, on every machine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from mtr_env.contract import check_toolset
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import DatasetError, ToolsetError
from mtr_env.evaluate import load_policy, mean
from mtr_env.frozen import FrozenToolMaker, FrozenWorld, frozen_actor, grounded_actor
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.rollout import play
from mtr_env.store import Store
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.cassette import CassetteToolActor
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolmakers.base import is_fallback
from mtr_env.trace import Trace
from mtr_env.world_files import (
    CORPUS,
    FORMAT,
    INDEX,
    MANIFEST,
    ORACLE,
    QUESTIONS,
    RESPONSES,
    TOOLSETS,
    FileInfo,
    Index,
    Manifest,
    OracleInfo,
    OracleLine,
    ResponseLine,
    WorldFolder,
    dump_lines,
    encode_pretty,
    line_digest,
)
from mtr_env.worlds.base import questions
from mtr_env.worlds.files import choose_file
from mtr_env.worlds.rights import rights_of

SEED = 0  # of every episode that the oracle plays here
_AT_ONCE = 32  # toolsets and episodes under way where a plug waits for a network
_PLAYING = ("noise", "rubric", "grammar", "max_steps", "world")
_RULES = OracleInfo("hermes", "mtr-v0", 8, 0, None)

Item = TypeVar("Item")
Made = TypeVar("Made")
OnQuestion = Callable[[str, int, int], None]


def build(
    env_id: str,
    out: str | os.PathLike[str],
    *,
    record: Sequence[str] = (),
    on_question: OnQuestion | None = None,
    **options: Any,
) -> Manifest:
    """Freezes a world into the folder ``out`` and returns its manifest.

    ``options`` are those of :func:`~mtr_env.registration.make_game` that choose questions and tools. With ``record``,
    names of policies for :func:`~mtr_env.evaluate.load_policy`, the responses to their calls and to the oracle's are
    recorded, and the world is replayed from them alone; a ToolActor that is not the grounded one has to be recorded.
    ``on_question(what, done, questions)`` is called as the work goes on.

    The folder appears when it is complete. Raises :class:`~mtr_env.errors.DatasetError` when ``out`` holds something
    already, ``ValueError`` for options that are of playing, :class:`~mtr_env.errors.ToolsetError` that names the
    question whose tools break a rule, and what ``make_game`` and the plugs raise (an outage of the ToolMaker among it).
    """
    return planned(env_id, out, record=record, **options)(on_question)


def planned(
    env_id: str, out: str | os.PathLike[str], *, record: Sequence[str] = (), **options: Any
) -> Callable[[OnQuestion | None], Manifest]:
    """As :func:`build`, in two steps: what is wrong with the arguments is raised here; what is returned then builds,
    and raises what the plugs do."""
    for name in _PLAYING:
        if options.get(name) is not None:
            raise ValueError(f"{name}= is of playing a world, not of building one: give it to gym.make(id, world=...).")
    game = make_game(env_id, **options)
    if not record and type(game.tool_actor) is not GroundedToolActor:
        raise ValueError(
            f"The responses of {game.tool_actor.name!r} are not in the folder unless they are recorded: say whose "
            'calls to record, record=("oracle",) at least.'
        )
    for name in record:
        load_policy(name, game)

    def write(on_question: OnQuestion | None = None) -> Manifest:
        with _beside(Path(out)) as folder:
            return _Build(env_id, game, folder, tuple(record), on_question or (lambda *_: None)).run(options)

    return write


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when all went well."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out} exists already and is not an empty folder; give another one.")
    beside = out.absolute().parent / f".{out.name}.{os.getpid()}"
    beside.mkdir(parents=True)
    try:
        yield beside
        if out.exists():
            out.rmdir()
        os.rename(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class _Build:
    def __init__(self, env_id: str, game: Game, folder: Path, record: tuple[str, ...], on_question: OnQuestion) -> None:
        self.env_id = env_id
        self.world = game.world
        self.maker = game.tool_maker
        self.actor = game.tool_actor
        self.folder = folder
        self.record = record
        self.on_question = on_question
        self.index: dict[str, list[tuple[str, int, str]]] = {}
        self.files: dict[str, FileInfo] = {}
        self.fallbacks = 0

    def run(self, options: dict[str, Any]) -> Manifest:
        self._dump(QUESTIONS, ((question.id, question) for question in questions(self.world)))
        self._dump(TOOLSETS, self._toolsets())
        if self.record:
            self.index[RESPONSES] = []
        elif isinstance(self.actor, GroundedToolActor) and self.actor.corpus is not None:
            dump_lines(self.folder / CORPUS, (("", document) for document in self.actor.corpus.documents))
            self._measure(CORPUS)
            self.actor = grounded_actor(self.folder)  # whose name says nothing of the file it came from
        manifest = self._manifest(options)
        self._seal(manifest)
        oracle = self._play(WorldFolder(self.folder))
        rewards = [line.reward for line in oracle if line.reward is not None]
        dump_lines(self.folder / ORACLE, ((line.question_id, line) for line in oracle))
        self._measure(ORACLE)
        played = replace(manifest.oracle, scored=len(rewards), mean_reward=mean(rewards))
        return self._seal(replace(manifest, oracle=played))

    def _dump(self, name: str, lines: Iterable[tuple[str, Any]]) -> None:
        self.index[name] = dump_lines(self.folder / name, lines)
        self._measure(name)

    def _measure(self, name: str) -> None:
        path = self.folder / name
        self.files[name] = FileInfo(path.stat().st_size, _sha256(path))

    def _toolsets(self) -> Iterator[tuple[str, Toolset]]:
        def make(question_id: str) -> Toolset:
            question = self.world.question(question_id)
            try:
                toolset = self.maker.make(question)
                check_toolset(toolset, question.text, question.golds)
            except ToolsetError as error:
                raise ToolsetError(f"Question {question_id!r}: {error}") from error
            return toolset

        made = _each(self.world.ids, make, at_once=hasattr(self.maker, "amake"))
        for done, (question_id, toolset) in enumerate(zip(self.world.ids, made, strict=True), 1):
            self.fallbacks += is_fallback(toolset)
            yield question_id, toolset
            self.on_question("toolsets", done, len(self.world.ids))

    def _manifest(self, options: dict[str, Any]) -> Manifest:
        info = self.world.info
        source = options.get("source")
        digest = ""
        if source is not None:
            path = choose_file(source, info.split)
            digest, info = _sha256(path), replace(info, source=path.name)  # the same on every machine
        rights = rights_of(info)
        return Manifest(
            format=FORMAT,
            env_id=self.env_id,
            title=rights.title,
            licence=rights.licence,
            citation=rights.citation,
            world=info,
            source_sha256=digest,
            questions=len(self.world.ids),
            tool_maker=self.maker.name,
            tool_actor=self.actor.name,
            uses_history=bool(getattr(self.actor, "uses_history", False)),
            recorded=tuple(dict.fromkeys(("oracle", *self.record))) if self.record else (),
            oracle=_RULES,
            files={},
            fallbacks=self.fallbacks,
        )

    def _seal(self, manifest: Manifest) -> Manifest:
        """Writes the index and the manifest."""
        (self.folder / INDEX).write_bytes(msgspec.json.encode(Index(self.index)))
        self._measure(INDEX)
        manifest = replace(manifest, files=dict(sorted(self.files.items()))).hashed()
        (self.folder / MANIFEST).write_bytes(encode_pretty(manifest))
        return manifest

    def _play(self, folder: WorldFolder) -> list[OracleLine]:
        """Plays the oracle, and whoever else is to be recorded, over what was written."""
        if not self.record:
            return list(_oracle_lines(_game(folder, self.actor), self.on_question))
        with Store(self.folder / "recording.sqlite") as store:
            game = _game(folder, CassetteToolActor(self.actor, store, "record", frozen=True))
            for name in folder.manifest.recorded:
                for _ in _traces(game, load_policy(name, game), name, self.on_question):
                    pass
            self._dump(RESPONSES, _responses(store))
        (self.folder / "recording.sqlite").unlink()
        # What counts is what the recorded responses give: the oracle may have been disturbed while it recorded them.
        self._seal(folder.manifest)
        written = WorldFolder(self.folder)
        return list(_oracle_lines(_game(written, frozen_actor(written)), self.on_question))


def _responses(store: Store) -> Iterator[tuple[str, ResponseLine]]:
    """What was recorded, sorted; an outage that did not last is no part of the world."""
    responses = store.keys("response:")
    answered = {key.partition(":")[2] for key in responses}
    outages = [key for key in store.keys("outage:") if key.partition(":")[2] not in answered]
    for key in sorted([*responses, *outages]):
        value = store.get(key)
        if value is not None:
            yield key, ResponseLine(key, msgspec.Raw(value))


def _game(folder: WorldFolder, actor: ToolActor) -> Game:
    rules, env_id = folder.manifest.oracle, folder.manifest.env_id
    world, maker = FrozenWorld(folder), FrozenToolMaker(folder)
    return Game(world, maker, actor, rules.rubric, rules.grammar, rules.max_steps, env_id=env_id)


def _oracle_lines(game: Game, on_question: OnQuestion) -> Iterator[OracleLine]:
    for trace in _traces(game, load_policy("oracle", game), "oracle", on_question):
        reward = score(trace, game.rubric)
        yield OracleLine(trace.question.id, reward.total, reward.unscored)


def _traces(game: Game, policy: Any, name: str, on_question: OnQuestion) -> Iterator[Trace]:
    """Every question's episode, in order; many at once where the ToolActor waits for a network, and the policy is one
    of ours, which can be played so."""

    def episode(question_id: str) -> Trace:
        return play(MTREnv(game), policy, question_id=question_id, seed=SEED)

    inner = game.tool_actor.inner if isinstance(game.tool_actor, CassetteToolActor) else game.tool_actor
    ids = game.world.ids
    for done, trace in enumerate(_each(ids, episode, at_once=hasattr(inner, "arespond") and ":" not in name), 1):
        yield trace
        on_question(name, done, len(ids))


def _each(items: Iterable[Item], make: Callable[[Item], Made], *, at_once: bool) -> Iterator[Made]:
    """``make`` of each item, in order."""
    if not at_once:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rest = iter(items)
        try:
            while batch := list(islice(rest, 8 * _AT_ONCE)):
                yield from pool.map(make, batch)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what has not begun is not paid for
            raise


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# -------------------------------------------------------------------------------------------------------------- verify


def verify(path: str | os.PathLike[str], on_question: OnQuestion | None = None) -> list[str]:
    """What is not as it was built, nothing if all is: every byte of every file, then every oracle reward.

    Each finding names the file and line, or the question. Raises :class:`~mtr_env.errors.DatasetError` when there is no
    such folder.
    """
    if not Path(path).is_dir():
        WorldFolder(path)
    try:
        folder = WorldFolder(path)
    except DatasetError as error:
        return [str(error)]
    damaged = [
        _damage(folder, name) for name, info in folder.manifest.files.items() if not _as_built(folder, name, info)
    ]
    return damaged or list(_other_rewards(folder, on_question or (lambda *_: None)))


def _as_built(folder: WorldFolder, name: str, info: FileInfo) -> bool:
    return _sha256(folder.path / name) == info.sha256


def _damage(folder: WorldFolder, name: str) -> str:
    if name in folder.index.lines:
        data = (folder.path / name).read_bytes()
        for key, line in folder.lines(name).items():
            if line_digest(data[line.start : line.start + line.length]) != line.digest:
                return f"{folder.path / name}, line {line.number} ({key}): it is not as it was built."
    return f"{folder.path / name} is not as it was built."


def _other_rewards(folder: WorldFolder, on_question: OnQuestion) -> Iterator[str]:
    decode = msgspec.json.Decoder(OracleLine).decode
    built = [decode(line) for line in (folder.path / ORACLE).read_bytes().splitlines()]
    if [line.question_id for line in built] != list(folder.questions):
        yield f"{folder.path / ORACLE} is not about the questions of {QUESTIONS}."
        return
    now = _oracle_lines(_game(folder, frozen_actor(folder)), on_question)
    for then, line in zip(built, now, strict=True):
        if line != then:
            yield f"question {then.question_id!r}: the oracle's reward is {_said(line)}, and was {_said(then)}."


def _said(line: OracleLine) -> str:
    return f"none ({line.unscored})" if line.reward is None else f"{line.reward}"
