"""The training programs: the tokenizer of the tiny model, collected traces, what is trained on."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agents.neutral import NeutralTeacher
from mtr_env.env import MTREnv
from mtr_env.policies.oracle import Oracle
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.rollout import play
from mtr_env.trace import Trace
from mtr_env.worlds.synthetic import SyntheticWorld
from train import collect, demo, filters, options

WITHOUT_TRANSFORMERS = "the train extra is not installed (pip install -e '.[train]')"


def traces(p_gold: float, count: int = 40, p_later: float | None = None) -> list[Trace]:
    game = make_game("MTR-Synthetic-v0", split="train", limit=count, grammar="hermes-compact")
    teacher = NeutralTeacher(game.grammar, p_gold, actor=game.tool_actor, p_later=p_later)
    return [play(MTREnv(game), teacher, question_id=question_id) for question_id in game.world.ids]


def test_the_neutral_teacher_keeps_the_contract_and_answers_in_the_last_step_at_latest() -> None:
    played = traces(0.4)
    assert all(score(trace).parts["contract"] == 1.0 and trace.answer is not None for trace in played)
    right = [trace for trace in played if score(trace).parts["answer"] == 1.0]
    assert 10 < len(right) < 35
    assert all(len(trace.steps) == 8 for trace in played if trace not in right)
    game = make_game("MTR-Synthetic-v0", split="train", limit=40, grammar="hermes-compact")
    direct = [play(MTREnv(game), Oracle(game.grammar), question_id=i) for i in game.world.ids]
    assert sum(len(t.steps) for t in played) > 1.3 * sum(len(t.steps) for t in direct)


def test_without_detours_the_neutral_teacher_is_the_oracle() -> None:
    game = make_game("MTR-Synthetic-v0", split="train", limit=40, grammar="hermes-compact")
    direct = [play(MTREnv(game), Oracle(game.grammar), question_id=i) for i in game.world.ids]
    assert [[s.action for s in t.steps] for t in traces(1.0)] == [[s.action for s in t.steps] for t in direct]


def test_a_plan_that_has_begun_is_carried_through_as_often_as_asked() -> None:
    game = make_game("MTR-Synthetic-v0", split="train", limit=40, grammar="hermes-compact")
    detours = 0
    for question_id, trace in zip(game.world.ids, traces(0.4, p_later=1.0), strict=True):
        direct = [s.action for s in play(MTREnv(game), Oracle(game.grammar), question_id=question_id).steps]
        actions = [step.action for step in trace.steps]
        made = [i for i, action in enumerate(actions) if action == direct[0]]  # a detour may be the same call
        begun = made[-1] if made else len(actions)
        assert actions[begun:-1] == direct[: len(actions) - begun][:-1]  # the last one may be a guess
        detours += begun
    assert 20 < detours < 120  # 60 before the first calls of 40 plans at 0.4


@pytest.mark.parametrize("probabilities", [{"p_gold": 0.0}, {"p_later": 1.2}])
def test_a_probability_outside_its_range_is_refused(probabilities: dict[str, float]) -> None:
    (name, value) = next(iter(probabilities.items()))
    with pytest.raises(ValueError, match=rf"{name} is in \(0, 1\], found {value}"):
        NeutralTeacher("hermes", **probabilities)


def test_a_collection_keeps_good_traces_once_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    arguments = ["--split", "train", "--grammar", "hermes-compact", "--episodes", "30", "--out", str(tmp_path)]
    arguments += ["--teacher", "oracle"]
    collect.main(arguments)
    first = (tmp_path / "sft.jsonl").read_bytes()
    rows = [json.loads(line) for line in first.splitlines()]
    assert len({row["question_id"] for row in rows}) == len(rows) == 30
    assert [m["role"] for m in rows[0]["messages"][:3]] == ["system", "user", "assistant"]
    assert all("tools" not in row for row in rows)  # the system message lists them
    traces_file = tmp_path / "traces.jsonl"
    traces_file.write_bytes(traces_file.read_bytes()[:-1000])
    collect.main(arguments)
    assert (tmp_path / "sft.jsonl").read_bytes() == first
    with pytest.raises(SystemExit, match=r"holds another run.*Give another --out"):
        collect.main([*arguments[:-1], "neutral"])
    doubled = [trace for trace in traces(1.0, 5) for _ in range(2)]
    assert len(list(filters.kept(iter(doubled), 0.0))) == 5
    assert list(filters.kept(iter(doubled), 1.0)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say which questions"),
        (["--split", "train", "--p-gold", "0"], r"p_gold is in \(0, 1\], found 0\.0"),
        (
            ["--split", "train", "--detours", "search, serach"],
            "--detours: no tool is called 'serach'; there are .*search",
        ),
        (["--split", "train", "--teacher", "oracle", "--detours", "search"], "--detours is for --teacher neutral"),
        (["--split", "train", "--env-id", "MTR-HotpotQA-v0", "--families", "bridge"], "has no argument 'families'"),
        (
            ["--split", "train", "--teacher", "nobody"],
            "Unknown teacher 'nobody'; expected one of 'neutral', 'oracle', 'chat'",
        ),
    ],
)
def test_a_collection_refuses_what_it_cannot_do(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=message):
        collect.main([*arguments, "--out", str(tmp_path)])


def test_a_recipe_gives_options_that_the_command_line_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(options, "RECIPES", tmp_path)
    (tmp_path / "small.toml").write_text('[collect]\nsplit = "train"\nepisodes = 7\np_gold = 1\nout = "here"\n')
    args = options.parse(collect.Args, "collect", "", ["--recipe", "small", "--episodes", "8"])
    assert (args.split, args.episodes, args.p_gold, args.out) == ("train", 8, 1.0, Path("here"))
    (tmp_path / "bad.toml").write_text("[collect]\nepisode = 7\n")
    (tmp_path / "other.toml").write_text("[sft]\nepochs = 1\n[grpo]\n")
    for recipe, message in (
        ("bad", "there is no option 'episode'"),
        ("none", "there is no recipe 'none'"),
        ("other", "recipe other has no table [collect]; it has [sft], [grpo]"),
    ):
        with pytest.raises(SystemExit):
            options.parse(collect.Args, "collect", "", ["--recipe", recipe])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("program", ["collect", "measure", "sft", "grpo", "pretrain", "scratch", "demo"])
def test_every_program_lists_its_options(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    if program == "pretrain":
        pytest.importorskip("transformers", reason=WITHOUT_TRANSFORMERS)
    module = importlib.import_module(f"train.{program}")
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in listed for name in module.Args.__dataclass_fields__)


def test_every_text_of_the_synthetic_world_is_read_and_written_unchanged() -> None:
    pytest.importorskip("transformers", reason=WITHOUT_TRANSFORMERS)
    from train.tokenizer import build

    tokenizer = build()
    assert len(tokenizer) < 2000
    for trace in traces(0.5):
        for text in [text for step in trace.steps for text in (step.action, step.observation)]:
            assert tokenizer.decode(tokenizer.encode(text)) == text
    world = SyntheticWorld("test", size=50)
    for question in map(world.question, world.ids):
        for text in (question.text, *[" ".join(p.sentences) for p in question.paragraphs]):
            ids = tokenizer.encode(text)
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


def test_a_name_is_the_same_tokens_wherever_it_stands() -> None:
    pytest.importorskip("transformers", reason=WITHOUT_TRANSFORMERS)
    from train.tokenizer import build

    tokenizer = build()
    world = SyntheticWorld("test", size=5)
    name = world.question(world.ids[0]).paragraphs[0].title
    ids = tokenizer.encode(name)
    for text in (f'"{name}"', f"\n{name}", f"of {name}.", f'{{"title":"{name}"}}'):
        whole = tokenizer.encode(text)
        assert any(whole[i : i + len(ids)] == ids for i in range(len(whole))), text


def scripted(samples: list[Any]) -> Callable[[Sequence[Sequence[int]], int], list[Any]]:
    """A sampler that gives these samples in turn."""
    remaining = iter(samples)
    return lambda contexts, most: [next(remaining)]


def test_fine_tuning_and_rollouts_use_the_same_ids_and_masks(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason=WITHOUT_TRANSFORMERS)
    from mtr_env.adapters.trl import Rollouts, Sampled
    from train.sft import make_rows
    from train.tokenizer import build

    tokenizer = build()
    collect.main(
        [
            "--split",
            "train",
            "--grammar",
            "hermes-compact",
            "--episodes",
            "6",
            "--teacher",
            "oracle",
            "--out",
            str(tmp_path),
        ]
    )
    rows, too_long = make_rows(tmp_path / "traces.jsonl", tokenizer, 0.0, 1024)
    assert (len(rows), too_long) == (6, 0)
    exchanged, _ = make_rows(tmp_path / "traces.jsonl", tokenizer, 0.0, 1024, Random(0))
    for row, other in zip(rows, exchanged, strict=True):
        to = dict(zip(row["input_ids"], other["input_ids"], strict=True))
        assert [to[token] for token in row["input_ids"]] == other["input_ids"] != row["input_ids"]
        assert [-100 if label == -100 else to[label] for label in row["labels"]] == other["labels"]
        same = [token for token in to if to[token] == token]
        assert {*tokenizer.encode("Who was <answer></answer>")} & {*to} <= {*same}
    game = make_game("MTR-Synthetic-v0", split="train", limit=6, grammar="hermes-compact")
    rollouts = Rollouts(game, tokenizer, max_tokens=1024)
    for row, question_id in zip(rows, game.world.ids, strict=True):
        trace = play(MTREnv(game), Oracle(game.grammar, game.tool_actor), question_id=question_id)
        samples = [Sampled([*tokenizer.encode(step.action), tokenizer.eos_token_id], None) for step in trace.steps]
        [episode] = rollouts.play([(question_id, 0)], scripted(samples))
        assert episode.context == row["input_ids"]
        own = [token for token, masked in zip(episode.completion_ids, episode.mask, strict=True) if masked]
        assert own == [label for label in row["labels"] if label != -100]


def test_a_world_folder_takes_the_place_of_a_recipes_split_and_brings_its_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtr_env.world_build import build
    from train import grpo

    manifest = build("MTR-Synthetic-v0", tmp_path / "world", split="train", limit=3)
    monkeypatch.setattr(options, "RECIPES", tmp_path)
    (tmp_path / "small.toml").write_text('[grpo]\nsplit = "validation"\nquestions = 2\n')
    args = options.parse(grpo.Args, "grpo", "", ["--recipe", "small", "--world", str(tmp_path / "world")])
    game = args.game(args.questions)
    assert len(game.world.ids) == 2
    assert game.setup.world.split == "train"
    assert game.setup.tool_maker == manifest.tool_maker
    (tmp_path / "small.toml").write_text(
        '[grpo]\nsplit = "train"\nfamilies = "bridge"\nworld_seed = 3\nquestions = 2\n'
    )
    args = options.parse(grpo.Args, "grpo", "", ["--recipe", "small", "--world", str(tmp_path / "world")])
    assert args.game(2).world.info.fingerprint == game.world.info.fingerprint  # instead of the recipe's questions
    args = options.parse(grpo.Args, "grpo", "", ["--world", str(tmp_path / "world"), "--split", "train"])
    with pytest.raises(SystemExit, match="give either world= or split=, not both"):
        args.game(2)
    argv = ["--split", "train", "--families", "bridge", "--world-seed", "3", "--eval-world", str(tmp_path / "world")]
    args = options.parse(grpo.Args, "grpo", "", argv)
    assert args.held_out(args).game(2).world.info.fingerprint == game.world.info.fingerprint
    args = options.parse(grpo.Args, "grpo", "", [*argv[:-2], "--eval-split", "validation"])
    questions = [*args.held_out(args).game(2).world.ids]
    assert questions == ["synthetic-validation-3-0", "synthetic-validation-3-1"]
    with pytest.raises(SystemExit, match="--tool-actor llm needs --tool-model NAME"):
        options.parse(grpo.Args, "grpo", "", ["--split", "train", "--tool-actor", "llm"]).game(2)
    makes = ["--split", "train", "--eval-every", "0", "--tool-maker", "llm", "--tool-model", "m"]
    with pytest.raises(SystemExit, match="world build --tool-maker llm"):
        grpo.check(options.parse(grpo.Args, "grpo", "", makes))
    grpo.check(options.parse(grpo.Args, "grpo", "", [*makes, "--cassette", str(tmp_path / "c.sqlite")]))


def test_the_share_of_noise_rises_with_the_step_of_the_training() -> None:
    from mtr_env import draw
    from train import grpo

    argv = ["--split", "train", "--eval-every", "0", "--steps", "100", "--noise", "0.1", "--noise-end", "0.7"]
    args = options.parse(grpo.Args, "grpo", "", argv)
    grpo.check(args)
    game = grpo.with_noise(args.game(60), args)
    assert "tool_failure=0.175" in game.setup.tool_actor  # at the end, a quarter of 0.7

    def share(step: int) -> float:
        env, seen = MTREnv(game), list[bool]()
        for question_id in game.world.ids:
            seed = draw.group_seed(args.seed, step, question_id)
            trace = play(env, Oracle(game.grammar), seed=seed, question_id=question_id)
            seen += [r.origin == "noise" for s in trace.steps for r in s.responses if r is not None]
        return sum(seen) / len(seen)

    shares = [share(step) for step in (0, 50, 99)]
    assert shares == sorted(shares)
    assert shares[0] < 0.15 < shares[1] < shares[2] - 0.05  # some noise cannot apply, and leaves its response as it is
    plain = options.parse(grpo.Args, "grpo", "", ["--split", "train"])
    assert "noise" not in grpo.with_noise(plain.game(2), plain).setup.tool_actor
    with pytest.raises(SystemExit, match=r"--noise-end is a share from 0 to 1, found 1\.5"):
        grpo.check(options.parse(grpo.Args, "grpo", "", ["--noise-end", "1.5"]))


@pytest.mark.parametrize("recipe", sorted(path.stem for path in options.RECIPES.glob("*.toml")))
def test_every_recipe_can_be_read_by_its_programs(recipe: str) -> None:
    programs = {*tomllib.loads(options.recipe_file(recipe).read_text())}
    assert {"collect", "sft", "grpo", "measure"} <= programs
    for program in programs:
        module = importlib.import_module(f"train.{program}")
        args = options.parse(module.Args, program, "", ["--recipe", recipe])
        if program == "collect":
            args.check()
        if program == "grpo":
            module.check(args)


def test_the_demonstration_of_an_unknown_recipe_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        demo.main(["--recipe", "nothing", "--out", str(tmp_path / "run")])
    assert "there is no recipe 'nothing'; expected one of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


SCRIPTS = {
    "fails": "raise SystemExit('no such thing')",
    "lasts": "import pathlib, time; time.sleep(60); pathlib.Path('ended').touch()",
    "makes": "import os, pathlib; pathlib.Path(os.environ['STAGE'], 'result').touch()",
    # GRPO, and the control, which must not be stopped before GRPO has its result
    "grpo": "import pathlib, time; time.sleep(0.5); pathlib.Path('grpo/log.json').touch()",
    "sft": "import pathlib, time\nwhile not pathlib.Path('grpo_is_done').exists(): time.sleep(0.02)\n"
    "assert pathlib.Path('grpo/log.json').exists()\npathlib.Path('control/log.json').touch()",
}


@pytest.fixture(autouse=True)
def _results_of_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("fails", "lasts", "makes"):
        monkeypatch.setitem(demo.WRITTEN_LAST, program, "result")


class Scripts(demo.Stages):
    """Stages whose programs are scripts; counts those that were started, and notes the threads of each."""

    def __init__(self, out: Path, cores: int) -> None:
        super().__init__(demo.Args(out=out))
        self.cores = cores
        self.started: list[tuple[str, int]] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, job: demo.Job, cores: int) -> subprocess.Popen[bytes]:
        out = self.args.out
        self.started.append((job.stage, cores))
        (out / job.stage).mkdir(exist_ok=True)
        environment = os.environ | {"STAGE": job.stage}
        with (out / f"{job.stage}.log").open("wb") as log:
            command = [sys.executable, "-c", SCRIPTS[job.program]]
            self.processes.append(subprocess.Popen(command, cwd=out, stdout=log, stderr=log, env=environment))
        return self.processes[-1]


def test_a_stage_of_the_demonstration_that_fails_says_why_and_stops_what_runs_beside_it(tmp_path: Path) -> None:
    stages = Scripts(tmp_path, cores=2)
    jobs = [demo.Job(stage, program) for stage, program in (("a", "lasts"), ("b", "fails"), ("c", "makes"))]
    with pytest.raises(SystemExit, match=r"b failed \(exit 1\):\nno such thing\n\(all of it: .*b\.log\)"):
        stages.run(*jobs)
    assert [stage for stage, _ in stages.started] == ["a", "b"]  # c is not begun
    assert not (tmp_path / "ended").exists()
    assert all(process.poll() is not None for process in stages.processes)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (16, 5)])
def test_stages_of_the_demonstration_share_the_cores(cores: int, threads: int, tmp_path: Path) -> None:
    stages, done = Scripts(tmp_path, cores), list[str]()
    jobs = [demo.Job(stage, "makes") for stage in "abc"]
    stages.run(*jobs, on_done=done.append)
    assert sorted(stages.started) == [(stage, threads) for stage in "abc"]
    assert sorted(done) == ["a", "b", "c"]
    stages.run(*jobs)  # all complete
    assert len(stages.started) == 3
    alone = demo.Job("d", "makes")
    stages.run(alone)
    assert stages.started[-1] == ("d", cores)


def test_grpo_and_its_control_are_made_together_or_not_at_all(tmp_path: Path) -> None:
    stages = Scripts(tmp_path, cores=1)
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft/log.json").touch()
    (tmp_path / "grpo_is_done").touch()  # of a run that was killed
    both = [("grpo", 1), ("control", 1)]
    demo.train_and_control(stages.args, stages)
    assert stages.started == both
    demo.train_and_control(stages.args, stages)
    assert stages.started == both  # complete
    (tmp_path / "control/log.json").unlink()
    (tmp_path / "grpo/checkpoint-4").mkdir()
    demo.train_and_control(stages.args, stages)
    assert stages.started == both * 2
    assert not (tmp_path / "grpo/checkpoint-4").exists()


def test_what_was_made_from_another_result_is_made_again(tmp_path: Path) -> None:
    stages = Scripts(tmp_path, cores=1)
    first = demo.Job("a", "makes")
    second = demo.Job("b", "makes", made_from=(tmp_path / "a/result",))
    stages.run(first)
    stages.run(second)
    os.utime(tmp_path / "a/result", (time.time() + 9,) * 2)
    stages.run(second)
    assert [stage for stage, _ in stages.started] == ["a", "b", "b"]


def test_without_the_extra_a_program_says_what_to_install_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda name: None if name == "trl" else found(name))
    for program in ("demo", "measure", "grpo"):
        module = importlib.import_module(f"train.{program}")
        with pytest.raises(SystemExit, match=r"needs .*trl: pip install -c constraints.txt -e '\.\[train\]'"):
            module.main(
                ["--out", str(tmp_path / "out"), *([] if program == "demo" else ["--split", "train"])]
                + (["--eval-every", "0"] if program == "grpo" else [])
            )
    assert not (tmp_path / "out").exists()


def test_make_writes_the_seconds_of_the_set_up_and_the_demonstration_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    shutil.copy(Path(__file__).parents[1] / "Makefile", tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    for needed in ("pyproject.toml", "constraints.txt"):
        (tmp_path / needed).touch()
    monkeypatch.setattr(demo.sys, "prefix", str(tmp_path / ".venv"))

    def make(script: str) -> int:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        command = ["make", "--no-print-directory", ".venv/.installed-train"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    assert make("exit 1") != 0  # an installation that fails leaves no stamp
    assert demo.set_up_seconds() is None
    assert make("sleep 1.1") == 0
    assert demo.set_up_seconds() in (1.0, 2.0)  # an installation of a second, rounded
    (tmp_path / ".venv/.installed-train").write_text("")  # as earlier stamps were
    assert demo.set_up_seconds() is None
