"""World files: the same build has the same hash anywhere, any changed byte is found and named, and a frozen world plays
as the one it was frozen from."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import msgspec
import pytest
from gymnasium.utils.env_checker import check_env
from msgspec.structs import replace

from mtr_env import ENV_IDS
from mtr_env.cli import main
from mtr_env.env import MTREnv
from mtr_env.errors import DatasetError, InfrastructureError, ToolsetError, UnknownQuestionError
from mtr_env.evaluate import score_file
from mtr_env.frozen import FrozenResponses, FrozenToolMaker, FrozenWorld
from mtr_env.policies import make_policy
from mtr_env.question import Question, View
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.rollout import play
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors.base import CallKey, History, ToolRequest
from mtr_env.toolactors.corpus import Corpus
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolmakers.template import TemplateToolMaker
from mtr_env.trace import Call, Response, Trace, encode
from mtr_env.world_build import build, verify
from mtr_env.world_files import FileInfo, Index, WorldFolder, encode_pretty, line_digest

HOTPOT, SYNTHETIC = "MTR-HotpotQA-v0", "MTR-Synthetic-v0"
EVERY_ID = pytest.mark.parametrize("env_id", ENV_IDS)
Capture = pytest.CaptureFixture[str]


class Model:
    """A stand-in for a model that simulates tools: it looks at the history, never answers twice alike, and fails."""

    name = "model(prompt 1)"
    uses_history = True

    def __init__(self) -> None:
        self.inner = GroundedToolActor()
        self.asked = 0

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        self.asked += 1
        if self.asked % 9 == 8:
            raise InfrastructureError(f"outage {self.asked}")
        response = self.inner.respond(call, spec, view, history, key)
        return replace(response, origin="llm", note=f"asked {self.asked}, {len(history)} before")


class AsyncModel(Model):
    async def arespond(self, request: ToolRequest) -> Response:
        return self.respond(request.call, request.spec, request.view, request.history, request.key)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small worlds of every id from bundled questions, one that was recorded, one with a corpus."""
    folder = tmp_path_factory.mktemp("worlds")
    for env_id in ENV_IDS:
        build(env_id, folder / env_id, limit=6)
    build(HOTPOT, folder / "recorded", limit=6, tool_actor=Model(), record=["oracle", "first-search"])
    corpus = folder / "pages.jsonl"
    corpus.write_text("".join(json.dumps({"title": f"Page {i}", "text": f"Text {i}. Film."}) + "\n" for i in range(20)))
    build("MTR-Bamboogle-v0", folder / "corpus", limit=3, corpus=corpus)
    return folder


@pytest.fixture
def copied(worlds: Path, tmp_path: Path) -> Callable[[str], Path]:
    def copy_of(name: str) -> Path:
        return Path(shutil.copytree(worlds / name, tmp_path / name))

    return copy_of


# -------------------------------------------------------------------------------------------------------------- build


@EVERY_ID
def test_a_build_is_verified_and_says_what_it_holds(worlds: Path, env_id: str) -> None:
    folder = WorldFolder(worlds / env_id)
    manifest = folder.manifest
    assert (manifest.env_id, manifest.questions, manifest.recorded, manifest.format) == (env_id, 6, (), 1)
    assert (manifest.tool_actor, manifest.oracle.mean_reward, manifest.oracle.scored) == ("grounded", 1.0, 6)
    assert sorted(os.listdir(worlds / env_id)) == sorted(["world.json", *manifest.files])
    assert verify(worlds / env_id) == []


@EVERY_ID
def test_a_frozen_world_plays_as_the_one_it_was_frozen_from(worlds: Path, env_id: str) -> None:
    thawed, frozen = make_game(env_id, limit=6), make_game(env_id, world=worlds / env_id)
    assert tuple(frozen.world.ids) == tuple(thawed.world.ids)
    assert frozen.setup.world.fingerprint == WorldFolder(worlds / env_id).manifest.hash
    assert replace(frozen.setup, world=thawed.setup.world) == thawed.setup
    for i, question_id in enumerate(thawed.world.ids):
        for name in ("oracle", "chaser"):
            player = make_policy(name)
            old, new = (play(MTREnv(game), player, question_id=question_id, seed=i) for game in (thawed, frozen))
            assert encode(replace(new, setup=old.setup)) == encode(old)


REAL = {
    "MTR-HotpotQA-v0": {"source": "hotpotqa/dev_shared.jsonl"},
    "MTR-MuSiQue-v0": {"source": "musique/dev_shared.jsonl"},
    "MTR-2WikiMultiHopQA-v0": {"source": "2wikimultihopqa/raw/dev.sample50.json"},
    "MTR-Bamboogle-v0": {"source": "bamboogle/dev_shared.jsonl", "corpus": "2wikimultihopqa/corpus_shared.jsonl"},
}


@pytest.mark.parametrize("env_id", REAL)
def test_real_questions_are_frozen_with_their_licence_and_source(
    env_id: str, tmp_path: Path, shared_data: Callable[[str], Path], capsys: Capture
) -> None:
    options = {name: shared_data(path) for name, path in REAL[env_id].items()}
    manifest = build(env_id, tmp_path / "w", limit=20, **options)
    assert verify(tmp_path / "w") == []
    assert (manifest.questions, manifest.world.source) == (20, options["source"].name)
    listed = json.loads(shared_data("MANIFEST.json").read_text())
    assert manifest.source_sha256 in [entry["sha256"] for entry in listed if entry["path"] == REAL[env_id]["source"]]
    assert manifest.licence in ("CC BY-SA 4.0", "CC BY 4.0", "Apache-2.0", "MIT")
    assert manifest.citation.rstrip(".")[-4:].isdigit()
    assert ("corpus.jsonl" in manifest.files) == ("corpus" in options)
    assert main(["world", "info", str(tmp_path / "w")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for said in (manifest.hash, manifest.source_sha256, f"licence {manifest.licence}", options["source"].name):
        assert said in printed
    env = gym.make(env_id, world=tmp_path / "w")
    _, info = env.reset(seed=0)
    assert info["world"]["fingerprint"] == manifest.hash


def test_a_bundled_sample_is_not_given_the_licence_of_the_data_set(worlds: Path) -> None:
    manifest = WorldFolder(worlds / HOTPOT).manifest
    assert (manifest.licence, manifest.world.source, manifest.source_sha256) == ("Apache-2.0", "bundled", "")


BUILD = """
import sys
from mtr_env.registration import ENV_IDS
from mtr_env.world_build import build
for env_id in ENV_IDS:
    print(build(env_id, f"{sys.argv[1]}/{env_id}", limit=6).hash)
print(build(ENV_IDS[0], sys.argv[1] + "/recorded", limit=4, record=["chaser"]).hash)
"""


def test_two_builds_have_the_same_hash_whatever_the_hash_seed_and_the_folder(worlds: Path, tmp_path: Path) -> None:
    printed = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        ran = subprocess.run(
            [sys.executable, "-c", BUILD, str(out)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        assert ran.returncode == 0, ran.stderr
        printed.append(ran.stdout.split())
    assert printed[0] == printed[1]
    assert printed[0][:-1] == [WorldFolder(worlds / env_id).manifest.hash for env_id in ENV_IDS]
    assert len(set(printed[0])) == 6


def test_a_source_has_the_same_hash_in_any_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": f"q{i}", "question": f"Who {i}?", "answer": "Jan", "context": CONTEXT} for i in range(3)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    hashes = []
    for folder in ("a", "b/c"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "mine.jsonl").write_text(lines)
        monkeypatch.chdir(tmp_path / folder)
        for source in ("mine.jsonl", tmp_path / folder / "mine.jsonl", "."):
            out = tmp_path / folder / f"out{len(hashes)}"
            hashes.append(build("MTR-Bamboogle-v0", out, source=source).hash)
            assert str(tmp_path).encode() not in (out / "world.json").read_bytes()
    assert len(set(hashes)) == 1


CONTEXT = [["Kolya", ["Kolya is a film by Jan."]], ["Jan", ["Jan is a director."]]]


def test_a_folder_that_holds_something_is_left_alone(worlds: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    for out in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(DatasetError, match="exists already and is not an empty folder"):
            build(SYNTHETIC, out, limit=2)
    assert os.listdir(tmp_path) == ["mine"]
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not lose"
    (tmp_path / "empty").mkdir()
    assert build(SYNTHETIC, tmp_path / "empty", limit=2).questions == 2
    assert build(SYNTHETIC, tmp_path / "deep" / "er", limit=2).questions == 2
    assert sorted(os.listdir(tmp_path)) == ["deep", "empty", "mine"]


class Leaky:
    """Gives the answer of one question away."""

    name = "leaky"

    def make(self, question: Question, key: str = "") -> Toolset:
        toolset = TemplateToolMaker().make(question)
        if question.id != "sample-hotpotqa-03":
            return toolset
        leak = replace(toolset.tools[0], description=f"Finds {question.answer}.")
        return replace(toolset, tools=(leak, *toolset.tools[1:]))


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ToolsetError, match="Question 'sample-hotpotqa-03': "):
        build(HOTPOT, tmp_path / "w", tool_maker=Leaky())
    assert os.listdir(tmp_path) == []


def test_what_is_of_playing_is_not_frozen(tmp_path: Path) -> None:
    for name, value in (("noise", 0.1), ("rubric", "f1"), ("grammar", "react"), ("max_steps", 3), ("world", "x")):
        with pytest.raises(ValueError, match=f"{name}= is of playing a world"):
            build(SYNTHETIC, tmp_path / "w", **{name: value})
    with pytest.raises(ValueError, match=r"responses of 'model\(prompt 1\)' are not in the folder unless"):
        build(HOTPOT, tmp_path / "w", tool_actor=Model())
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------------------- damage


def flipped(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x01
    path.write_bytes(data)


FILES = ("world.json", "index.json", "questions.jsonl", "toolsets.jsonl", "oracle.jsonl")
DAMAGED = [
    (world, name)
    for world, extra in ((HOTPOT, ()), ("recorded", ("responses.jsonl",)), ("corpus", ("corpus.jsonl",)))
    for name in (*FILES, *extra)
]


@pytest.mark.parametrize(("world", "name"), DAMAGED)
def test_a_flipped_byte_is_found_and_its_file_named(
    copied: Callable[[str], Path], world: str, name: str, capsys: Capture
) -> None:
    folder = copied(world)
    size = (folder / name).stat().st_size
    original = (folder / name).read_bytes()
    for place in (0, size // 3, size // 2, size - 2, size - 1):
        flipped(folder / name, place)
        [problem] = verify(folder)
        assert str(folder / name) in problem
        (folder / name).write_bytes(original)
    flipped(folder / name, size // 2)
    assert main(["world", "verify", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert name in err
    (folder / name).write_bytes(original)
    assert main(["world", "verify", str(folder)]) == 0
    assert "every byte and all" in capsys.readouterr().out


@pytest.mark.parametrize(("world", "name"), DAMAGED)
def test_a_missing_or_shortened_file_is_found_when_the_world_is_opened(
    copied: Callable[[str], Path], world: str, name: str
) -> None:
    folder = copied(world)
    env_id = WorldFolder(folder).manifest.env_id
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    for problem in ("as it was built", "cannot be read|is missing"):
        with pytest.raises(DatasetError, match=problem) as error:
            make_game(env_id, world=folder)
        assert str(path) in str(error.value)
        [found] = verify(folder)
        assert str(path) in found
        path.unlink(missing_ok=True)


def test_a_damaged_question_is_an_error_that_names_its_line_and_the_others_can_be_played(
    copied: Callable[[str], Path],
) -> None:
    folder = copied(HOTPOT)
    lines = (folder / "questions.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"a", b"o", 1)
    (folder / "questions.jsonl").write_bytes(b"".join(lines))
    game = make_game(HOTPOT, world=folder)
    ids = game.world.ids
    for i in (0, 1, 2, 4, 5):
        game.begin(ids[i], 0)
    with pytest.raises(DatasetError, match=r"questions\.jsonl, line 4: it is not as it was built"):
        game.begin(ids[3], 0)
    assert verify(folder) == [f"{folder}/questions.jsonl, line 4 ({ids[3]}): it is not as it was built."]
    (folder / "questions.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"questions\.jsonl cannot be read"):
        game.world.question(ids[3])


def test_a_damaged_toolset_is_an_error_that_names_its_line(copied: Callable[[str], Path]) -> None:
    folder = copied(HOTPOT)
    flipped(folder / "toolsets.jsonl", 40)
    game = make_game(HOTPOT, world=folder)
    with pytest.raises(DatasetError, match=r"toolsets\.jsonl, line 1: it is not as it was built"):
        game.begin(game.world.ids[0], 0)
    game.begin(game.world.ids[1], 0)


def test_a_damaged_response_is_an_outage_of_its_episode(copied: Callable[[str], Path]) -> None:
    folder = copied("recorded")
    size = (folder / "responses.jsonl").stat().st_size
    (folder / "responses.jsonl").write_bytes(b"#" * size)
    game = make_game(HOTPOT, world=folder)
    trace = play(MTREnv(game), make_policy("first-search"), question_id=game.world.ids[0])
    [fault] = trace.faults
    assert fault.kind == "infrastructure"
    assert "InfrastructureError: responses.jsonl, line " in fault.message
    assert str(folder) not in fault.message


def test_a_changed_rule_is_found_by_playing_the_oracle_again(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = copied(HOTPOT)
    ids = make_game(HOTPOT, world=folder).world.ids
    respond = GroundedToolActor.respond

    def other(self: GroundedToolActor, *request: Any) -> Response:
        response = respond(self, *request)
        return replace(response, sources=()) if request[-1].question_id == ids[2] else response

    monkeypatch.setattr(GroundedToolActor, "respond", other)
    [problem] = verify(folder)
    assert problem == f"question {ids[2]!r}: the oracle's reward is 0.0, and was 1.0."
    assert main(["world", "verify", str(folder)]) == 1
    assert ids[2] in capsys.readouterr().err


def test_a_folder_that_is_no_world_is_said(worlds: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, message in (
        (tmp_path / "none", "does not exist; expected a world folder"),
        (tmp_path / "file", "is a file; expected a world folder"),
        (tmp_path, r"world\.json cannot be read"),
    ):
        with pytest.raises(DatasetError, match=message):
            make_game(HOTPOT, world=path)
    (tmp_path / "world.json").write_text('{"format": 2, "more": 1}')
    with pytest.raises(DatasetError, match="a world file of format 2; this version of mtr-env reads format 1"):
        make_game(HOTPOT, world=tmp_path)
    for text in ("", "[]", '{"format": 1}', '{"format": "\udcff"}', "[" * 5000):
        (tmp_path / "world.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(DatasetError, match=r"world\.json is not as it was built"):
            make_game(HOTPOT, world=tmp_path)


def forged(folder: Path, **changes: Any) -> None:
    """A manifest that somebody wrote whose hash is right."""
    manifest = replace(WorldFolder(folder).manifest, **changes)
    (folder / "world.json").write_bytes(encode_pretty(manifest.hashed()))


def forged_index(folder: Path, data: bytes) -> None:
    files = WorldFolder(folder).manifest.files
    info = FileInfo(len(data), hashlib.sha256(data).hexdigest())
    forged(folder, files={**files, "index.json": info})
    (folder / "index.json").write_bytes(data)


def test_a_forged_folder_with_a_right_hash_is_an_error_and_never_a_crash(copied: Callable[[str], Path]) -> None:
    folder = copied(HOTPOT)
    files = WorldFolder(folder).manifest.files
    outside = {**files, "../../secret": FileInfo(1, "")}
    for changes in ({"files": {}}, {"files": outside}, {"questions": 0}, {"questions": 5}, {"recorded": ("oracle",)}):
        forged(folder, **changes)
        with pytest.raises(DatasetError, match=r"a world holds questions and the files|does not fit world\.json"):
            make_game(HOTPOT, world=folder)
        assert len(verify(folder)) == 1
        shutil.rmtree(folder)
        copied(HOTPOT)
    for data in (b"[", b'{"lines": {"questions.jsonl": [["a", 1]]}}', b'{"lines": {}}'):
        forged_index(folder, data)
        with pytest.raises(DatasetError, match=r"index\.json"):
            make_game(HOTPOT, world=folder)
        shutil.rmtree(folder)
        copied(HOTPOT)
    index = WorldFolder(folder).index.lines
    swapped = [(name, *line[1:]) for name, line in zip(["x", "y"], index["questions.jsonl"], strict=False)]
    lines = {**index, "questions.jsonl": [*swapped, *index["questions.jsonl"][2:]]}
    forged_index(folder, msgspec.json.encode(Index(lines)))
    game = make_game(HOTPOT, world=folder)
    with pytest.raises(DatasetError, match=r"questions\.jsonl, line 1: it has the id 'sample-hotpotqa-"):
        game.begin("x", 0)
    assert verify(folder) == [f"{folder}/oracle.jsonl is not about the questions of questions.jsonl."]


def test_a_line_that_is_no_toolset_is_an_error_that_names_it(copied: Callable[[str], Path]) -> None:
    folder = copied(HOTPOT)
    index = WorldFolder(folder).index.lines
    first, *rest = index["toolsets.jsonl"]
    deep = b'{"tools":[{"name":"a","description":"","response":{},"parameters":' + b'{"a":' * 2000 + b"1"
    data = (folder / "toolsets.jsonl").read_bytes()
    for bad in (b"not JSON", deep, b'{"tools":[1]}'):
        line = bad.ljust(first[1] - 1) + b"\n"
        if len(line) != first[1]:
            line = line[: first[1] - 1] + b"\n"
        (folder / "toolsets.jsonl").write_bytes(line + data[first[1] :])
        entry = (first[0], first[1], line_digest(line))
        forged_index(folder, msgspec.json.encode(Index({**index, "toolsets.jsonl": [entry, *rest]})))
        game = make_game(HOTPOT, world=folder)
        with pytest.raises(DatasetError, match=r"toolsets\.jsonl, line 1: "):
            game.begin(game.world.ids[0], 0)


# --------------------------------------------------------------------------------------------------- gym.make(world=)


def test_a_world_of_another_id_is_refused_and_both_are_named(worlds: Path) -> None:
    with pytest.raises(DatasetError, match=f"is a world of {HOTPOT}, not of MTR-MuSiQue-v0"):
        gym.make("MTR-MuSiQue-v0", world=worlds / HOTPOT)


@pytest.mark.parametrize("name", ["source", "split", "corpus", "tool_maker"])
@EVERY_ID
def test_a_world_is_not_given_together_with_what_it_holds(worlds: Path, env_id: str, name: str) -> None:
    value = TemplateToolMaker() if name == "tool_maker" else "sample"
    with pytest.raises(ValueError, match=f"give either world= or {name}=, not both"):
        make_game(env_id, world=worlds / env_id, **{name: value})


def test_knobs_of_the_synthetic_world_are_not_given_with_a_world(worlds: Path) -> None:
    knobs = {"hops": 2, "distractors": 3, "extra_tools": 0, "families": ["bridge"], "world_seed": 0}
    for name, value in knobs.items():
        with pytest.raises(ValueError, match=f"give either world= or {name}=, not both"):
            make_game(SYNTHETIC, world=worlds / SYNTHETIC, **{name: value})
        with pytest.raises(TypeError, match=f"{name}= is for {SYNTHETIC}"):
            make_game(HOTPOT, world=worlds / HOTPOT, **{name: value})
    noisy = make_game(SYNTHETIC, world=worlds / SYNTHETIC, noise=0.2)
    assert noisy.setup.tool_actor.startswith("grounded + noise(")
    mine = make_game(HOTPOT, world=worlds / "recorded", tool_actor=GroundedToolActor(), max_steps=3, rubric="f1")
    assert (mine.setup.tool_actor, mine.setup.max_steps, mine.setup.rubric) == ("grounded", 3, "f1")


def test_a_limit_gives_the_first_questions_and_another_fingerprint(worlds: Path) -> None:
    whole, first, more = (make_game(HOTPOT, world=worlds / HOTPOT, limit=limit) for limit in (None, 2, 99))
    assert tuple(first.world.ids) == tuple(whole.world.ids[:2])
    assert first.setup.world.fingerprint == f"{whole.setup.world.fingerprint}:first2"
    assert more.setup == whole.setup
    with pytest.raises(UnknownQuestionError, match="this world holds 2 questions"):
        first.world.question(whole.world.ids[2])
    with pytest.raises(DatasetError, match="limit must be an integer of at least 1"):
        make_game(HOTPOT, world=worlds / HOTPOT, limit=0)


@pytest.mark.parametrize("world", [*ENV_IDS, "recorded", "corpus"])
def test_gymnasiums_checker_finds_nothing(worlds: Path, world: str) -> None:
    env_id = WorldFolder(worlds / world).manifest.env_id
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(env_id, world=worlds / world))


@EVERY_ID
def test_a_vector_environment_plays_a_world(worlds: Path, env_id: str) -> None:
    envs = gym.make_vec(env_id, num_envs=3, world=worlds / env_id)
    _, infos = envs.reset(seed=5)
    single = gym.make(env_id, world=worlds / env_id)
    for i in range(3):
        _, info = single.reset(seed=5 + i)
        assert info["question_id"] == infos["question_id"][i]
    envs.step(["<answer>x</answer>"] * 3)


@pytest.mark.parametrize("world", [HOTPOT, "recorded", "corpus"])
def test_an_environment_of_a_world_can_be_copied_and_pickled(worlds: Path, world: str) -> None:
    env = gym.make(WorldFolder(worlds / world).manifest.env_id, world=worlds / world)
    assert isinstance(env, MTREnv)
    env.reset(seed=3)
    action = '<tool_call>{"name": "search", "arguments": {"query": "film"}}</tool_call>'
    for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        assert other.step(action)[:4] == copy.deepcopy(env).step(action)[:4]
        assert other.reset(seed=4) == copy.deepcopy(env).reset(seed=4)
        assert other.game.setup == env.game.setup
    assert len(pickle.dumps(env.game.world)) < 1000
    assert env.spec is not None
    assert env.spec.kwargs["world"] == worlds / world


def test_a_run_over_a_world_has_the_hash_in_its_traces_and_its_summary(
    worlds: Path, tmp_path: Path, capsys: Capture
) -> None:
    world, out = worlds / HOTPOT, tmp_path / "run"
    assert main(["run", HOTPOT, "--world", str(world), "--policy", "oracle", "--out", str(out)]) == 0
    digest = WorldFolder(world).manifest.hash
    assert digest in capsys.readouterr().out
    assert score_file(out).fingerprint == digest
    assert main(["audit", HOTPOT, "--world", str(world), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert digest in printed
    assert "questions 6, provable 6" in printed


# ----------------------------------------------------------------------------------------------------------- recorded


class WithAFreeTool(TemplateToolMaker):
    """Adds a tool that only a model can play, as a model writes them."""

    def make(self, question: Question, key: str = "") -> Toolset:
        free = ToolSpec("get_reviews", "Reviews.", {"type": "object", "properties": {}}, {"type": "object"})
        return Toolset((*super().make(question, key).tools, free))


def test_where_no_model_plays_a_frozen_world_lacks_the_tools_that_only_a_model_can_play(tmp_path: Path) -> None:
    build(HOTPOT, tmp_path / "world", tool_maker=WithAFreeTool(), limit=2)
    verify(tmp_path / "world")
    game = make_game(HOTPOT, world=tmp_path / "world")
    env = MTREnv(pickle.loads(pickle.dumps(game)))
    _, info = env.reset(seed=0)
    assert "get_reviews" not in [tool["function"]["name"] for tool in info["tools"]]
    call = '<tool_call>{"name": "get_reviews", "arguments": {}}</tool_call>'
    assert env.step(call)[2:4] == (False, False), "a policy cannot get out of its score by calling it"
    assert [fault.kind for fault in play(env, lambda messages, tools: call, seed=0).faults] == ["unknown_tool"] * 8
    assert score(play(env, make_policy("oracle"), seed=0)).total == 1.0
    own = MTREnv(make_game(HOTPOT, world=tmp_path / "world", tool_actor=Model()))
    assert "get_reviews" in [tool["function"]["name"] for tool in own.reset(seed=0)[1]["tools"]]


def test_a_recorded_world_is_replayed_from_its_responses_alone(worlds: Path, tmp_path: Path) -> None:
    model = Model()
    manifest = build(HOTPOT, tmp_path / "w", limit=6, tool_actor=model, record=["first-search"])
    assert (manifest.recorded, manifest.tool_actor) == (("oracle", "first-search"), "model(prompt 1)")
    assert manifest.uses_history
    assert sorted(os.listdir(tmp_path / "w")) == sorted(["world.json", *manifest.files])  # no database is left
    asked = model.asked
    game = make_game(HOTPOT, world=tmp_path / "w")
    assert game.setup.tool_actor == model.name
    for i, question_id in enumerate(game.world.ids):
        trace = play(MTREnv(game), make_policy("first-search"), question_id=question_id, seed=100 + i)
        recorded = [response for _, response in trace.exchanges()]
        assert all(response.origin == "llm" and response.note.startswith("asked ") for response in recorded)
        assert recorded or trace.stop_reason == "infrastructure"
    trace = play(MTREnv(game), make_policy("chaser"), question_id=game.world.ids[0])
    assert trace.stop_reason == "infrastructure"
    assert "The cassette holds no response to [" in trace.faults[-1].message
    assert model.asked == asked
    assert verify(tmp_path / "w") == []


def test_recorded_outages_are_part_of_the_world(worlds: Path) -> None:
    folder = WorldFolder(worlds / "recorded")
    responses = FrozenResponses(folder)
    assert len(responses.keys("response:")) > 20
    [outage, *_] = outages = responses.keys("outage:")
    assert {key.partition(":")[2] for key in outages}.isdisjoint(
        key.partition(":")[2] for key in responses.keys("response:")
    )
    assert b"InfrastructureError" in (responses.get(outage) or b"")
    assert responses.get("response:none") is None
    with pytest.raises(InfrastructureError, match="cannot be written"):
        responses.put("a", b"")
    assert copy.deepcopy(responses) is responses
    assert pickle.loads(pickle.dumps(responses)).get(outage) == responses.get(outage)
    oracle = (folder.path / "oracle.jsonl").read_bytes().splitlines()
    lines: list[dict[str, Any]] = [msgspec.json.decode(line) for line in oracle]
    unscored = [line for line in lines if line["reward"] is None]
    assert folder.manifest.oracle.scored == 6 - len(unscored)
    assert all(
        ": InfrastructureError: outage " in line["unscored"] or "no response" in line["unscored"] for line in unscored
    )


def test_actors_that_wait_for_a_network_are_recorded_many_at_once(tmp_path: Path) -> None:
    import asyncio
    import threading

    seen: set[int] = set()

    class Slow(AsyncModel):
        def respond(self, *request: Any) -> Response:
            seen.add(threading.get_ident())
            time.sleep(0.01)
            return self.inner.respond(*request)

    class SlowMaker(TemplateToolMaker):
        async def amake(self, question: Question, key: str = "") -> Toolset:
            await asyncio.sleep(0)
            return self.make(question, key)

    one = build(HOTPOT, tmp_path / "one", limit=12, tool_actor=Slow(), tool_maker=SlowMaker(), record=["oracle"])
    two = build(HOTPOT, tmp_path / "two", limit=12, tool_actor=Slow(), tool_maker=SlowMaker(), record=["oracle"])
    assert len(seen) > 1
    assert one.hash == two.hash
    assert verify(tmp_path / "one") == []


def test_a_corpus_travels_with_its_world(worlds: Path, copied: Callable[[str], Path]) -> None:
    folder = copied("corpus")
    game = make_game("MTR-Bamboogle-v0", world=folder)
    assert isinstance(game.tool_actor, GroundedToolActor)
    assert isinstance(game.tool_actor.corpus, Corpus)
    assert game.setup.tool_actor == WorldFolder(folder).manifest.tool_actor
    assert game.setup.tool_actor.startswith("grounded(corpus=corpus.jsonl, 20 documents, ")
    path = folder / "corpus.jsonl"
    path.write_text(path.read_text().replace("Text 7", "Text 8"))  # of the same size
    with pytest.raises(DatasetError, match=r"corpus\.jsonl is not as it was built"):
        make_game("MTR-Bamboogle-v0", world=folder)


def test_the_frozen_plugs_keep_to_their_folder(worlds: Path) -> None:
    folder = WorldFolder(worlds / HOTPOT)
    world, maker = FrozenWorld(folder), FrozenToolMaker(folder)
    assert copy.deepcopy(world) is world
    assert copy.deepcopy(maker) is maker
    assert maker.name == TemplateToolMaker().name
    question = world.question(world.ids[0])
    assert maker.make(question, "any key") == TemplateToolMaker().make(question)
    with pytest.raises(UnknownQuestionError, match="No question with id 'other'"):
        maker.make(replace(question, id="other"))
    with pytest.raises(UnknownQuestionError, match="Did you mean"):
        world.question(f"{world.ids[0]}x")
    assert repr(world) == f"FrozenWorld({str(folder.path)!r}, 6 questions)"


# ------------------------------------------------------------------------------------------------------- command line


def test_the_command_builds_verifies_and_shows(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "w")
    assert main(["world", "build", HOTPOT, "--split", "sample", "--limit", "3", "--out", out]) == 0
    built = capsys.readouterr().out
    assert "MTR-HotpotQA-v0: Sample in the layout of HotpotQA, distractor setting, 3 questions" in built
    assert "oracle: mean reward 1.000, 3 of 3 scored" in built
    assert main(["world", "info", out]) == 0
    assert capsys.readouterr().out == built
    assert main(["world", "verify", out]) == 0
    digest = WorldFolder(out).manifest.hash
    assert capsys.readouterr().out == f"{digest}: every byte and all 3 oracle rewards are as built.\n"
    assert all(len(line) <= 100 for line in built.splitlines())


PLUGS = """
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolmakers.template import TemplateToolMaker

class Actor(GroundedToolActor):
    def __init__(self):
        super().__init__()
        self.name = "mine"

def maker():
    return TemplateToolMaker(extra_tools=0)

nothing = 3
"""


def test_the_command_takes_plugs_and_records_policies(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "frozen_plugs.py").write_text(PLUGS)
    plugs = ["--tool-maker", "frozen_plugs:maker", "--tool-actor", "frozen_plugs:Actor"]
    start = ["world", "build", SYNTHETIC, "--limit", "3", "--hops", "2", "--out", "w"]
    assert main([*start, *plugs]) == 2
    assert "'mine' are not in the folder unless they are recorded: say whose" in capsys.readouterr().err
    assert main([*start, *plugs, "--record-policy", "oracle,chaser"]) == 0
    manifest = WorldFolder("w").manifest
    assert (manifest.recorded, manifest.tool_actor) == (("oracle", "chaser"), "mine")
    assert manifest.tool_maker.startswith("template(extra_tools=0")
    assert "recorded: calls of oracle, chaser" in " ".join(capsys.readouterr().out.split())
    for plug, message in (("nothing", "expected an object with `name` and `respond`"), ("none", "has no 'none'")):
        assert main([*start[:-1], "v", "--tool-actor", f"frozen_plugs:{plug}"]) == 2
        assert message in capsys.readouterr().err


def test_a_bug_of_a_users_plug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "buggy_plugs.py").write_text(
        "class Maker:\n    name = 'buggy'\n\n    def make(self, *_):\n        raise ValueError('my bug')\n"
    )
    for argv in (
        ["world", "build", SYNTHETIC, "--limit", "2", "--out", "w"],
        ["audit", SYNTHETIC, "--limit", "2", "--actor", "grounded", "--quiet"],
    ):
        with pytest.raises(ValueError, match="my bug"):
            main([*argv, "--tool-maker", "buggy_plugs:Maker"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["build", HOTPOT, "--out", "w"], "Say which questions of MTR-HotpotQA-v0"),
        (["build", HOTPOT, "--split", "sample", "--hops", "2", "--out", "w"], "--hops is for MTR-Synthetic-v0"),
        (["build", HOTPOT, "--split", "sample"], "the following arguments are required: --out"),
        (["build", HOTPOT, "--split", "sample", "--record-policy", "oracel", "--out", "w"], "Did you mean 'oracle'?"),
        (["build", SYNTHETIC, "--tool-actor", "llm", "--out", "w"], "--tool-actor llm needs --tool-model NAME"),
        (
            ["build", SYNTHETIC, "--tool-maker", "mine", "--out", "w"],
            "unknown ToolMaker 'mine'; expected template, llm",
        ),
        (["info", "none"], "does not exist; expected a world folder"),
        (["verify", "none"], "does not exist; expected a world folder"),
        (["melt", "none"], "invalid choice: 'melt'"),
    ],
)
def test_mistakes_on_the_command_line_are_said(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["world", *argv]) == 2
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


# -------------------------------------------------------------------------------------------------------------- speed


@pytest.mark.stress
def test_7400_questions_open_in_well_under_a_second(tmp_path: Path) -> None:
    build(SYNTHETIC, tmp_path / "w", limit=7400)
    started = time.perf_counter()
    game = make_game(SYNTHETIC, world=tmp_path / "w")
    _, trace = game.begin(game.world.ids[7000], 0)
    assert time.perf_counter() - started < 0.5
    assert isinstance(trace, Trace)
    assert len(game.world.ids) == 7400
