"""A local checkpoint plays: the tiny base model of this repository, as the trainers' own sampler has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="a local model needs the extra train")
pytest.importorskip("transformers", reason="a local model needs the extra train")

from mtr_env.cli import main
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.evaluate import Budget, read_traces, run
from mtr_env.policies.local import LocalModel, load_local, weights_digest
from mtr_env.registration import make_game
from mtr_env.rollout import play
from mtr_env.trace import Trace
from mtr_env.transcript import messages

pytestmark = pytest.mark.adapters
BASE = str(Path(__file__).resolve().parents[1] / "train" / "base")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def game() -> Game:
    return make_game("MTR-Synthetic-v0", limit=4, grammar="hermes-compact", max_steps=3)


@pytest.fixture(scope="module")
def base() -> LocalModel:
    loaded = load_local(BASE, "hermes-compact")
    loaded.most = 60
    return loaded


def episode(game: Game, policy: Any, seed: int = 0, number: int = 0) -> Trace:
    return play(MTREnv(game), policy, question_id=game.world.ids[number], seed=seed)


def said(trace: Trace) -> list[str]:
    return [step.action for step in trace.steps]


def test_greedy_play_is_what_generate_makes_of_the_conversation(game: Game, base: LocalModel) -> None:
    """The key-value cache that goes on through an episode changes nothing: each action is generated anew here."""
    import torch

    model, encoder, context = base.model, base.encoder, base.context or 0
    for number in range(3):
        trace = episode(game, base, number=number)
        stage = game.begin(trace.question.id, 0)[0]
        ids = encoder.prompt(messages(trace.upto(0), stage.prompt))
        for step in trace.steps:
            room = min(base.most, context - len(ids))
            with torch.inference_mode():
                out = model.generate(torch.tensor([ids]), max_new_tokens=room, do_sample=False)
            new = out[0, len(ids) :].tolist()
            assert step.action == encoder.text(new)
            closing = [] if new[-1] == encoder.eos else [encoder.eos]
            ids = [*ids, *new, *closing, *encoder.between(step.observation)]


def test_what_is_sampled_depends_on_the_episode_alone(game: Game, base: LocalModel) -> None:
    warm, again = (
        LocalModel(base.model, base.encoder.tokenizer, "hermes-compact", temperature=1.5, most=30) for _ in range(2)
    )
    first = episode(game, warm, seed=1)
    assert said(episode(game, warm, seed=2)) != said(first)
    assert said(episode(game, warm, seed=1)) == said(first) == said(episode(game, again, seed=1))
    assert said(episode(game, base, seed=1)) != said(first)


def test_an_action_has_at_most_so_many_tokens_and_none_that_do_not_fit(game: Game, base: LocalModel) -> None:
    short = LocalModel(base.model, base.encoder.tokenizer, "hermes-compact", most=3)
    trace = episode(game, short)
    used = short.usage(trace.question.id, 0)
    assert (trace.stop_reason, used.requests, used.output_tokens) == ("max_steps", 3, 9)
    full = LocalModel(base.model, base.encoder.tokenizer, "hermes-compact")
    full.context = 50
    trace = episode(game, full)
    assert said(trace) == ["", "", ""]
    assert [fault.kind for fault in trace.faults] == ["malformed_action"] * 3
    assert full.usage(trace.question.id, 0).output_tokens == 0


def test_a_run_of_it_counts_tokens_and_goes_on(game: Game, base: LocalModel, tmp_path: Path) -> None:
    whole = run(game, base, tmp_path / "whole", policy_name=base.name)
    assert whole.usage is not None
    assert whole.usage.player.requests == sum(len(t.steps) for t in read_traces(tmp_path / "whole" / "traces.jsonl"))
    assert whole.usage.player.input_tokens > 0
    assert whole.usage.player.output_tokens > 0
    assert whole.usage.player.cost is None
    assert whole.usage.seconds_median > 0
    for tokens in (1, 10**9):
        run(game, base, tmp_path / "parts", policy_name=base.name, budget=Budget(tokens=tokens), say=lambda text: None)
    assert (tmp_path / "parts" / "traces.jsonl").read_bytes() == (tmp_path / "whole" / "traces.jsonl").read_bytes()


def test_its_name_holds_a_digest_of_the_weights(base: LocalModel) -> None:
    import torch

    again = load_local(BASE)
    assert weights_digest(again.model) == weights_digest(base.model)
    with torch.no_grad():
        next(again.model.parameters())[0, 0] += 0.01
    assert weights_digest(again.model) != weights_digest(base.model)
    assert weights_digest(base.model) in base.name
    assert base.name.startswith(f"local({BASE}, weights=")


def test_the_command_plays_a_checkpoint(tmp_path: Path, capsys: Capture) -> None:
    argv = ["run", "MTR-Synthetic-v0", "--limit", "2", "--grammar", "hermes-compact", "--max-steps", "2"]
    local = [*argv, "--policy", "local", "--policy-model", BASE, "--out", str(tmp_path)]
    assert main(local) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2 episodes, 2 scored, 0 unscored" in out
    assert "used: player" in out
    assert "median" in out
    info = json.loads((tmp_path / "run.json").read_text())
    assert info["policy"].startswith("local(")
    assert (tmp_path / "usage.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([], "--policy local needs --policy-model"),
        (
            ["--policy-model", BASE, "--policy-base-url", "http://127.0.0.1:1/v1"],
            "--policy-base-url is for --policy chat",
        ),
        (["--policy-model", BASE, "--policy-temperature", "none"], "a local model needs a number"),
        (["--policy-model", BASE, "--policy-temperature", "-1"], "a number of at least 0, found -1.0"),
        (["--policy-model", BASE, "--max-cost", "1"], "a local model has no price"),
    ],
)
def test_what_a_local_model_cannot_be_told_is_one_line(
    more: list[str], expected: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["run", "MTR-Synthetic-v0", "--policy", "local", *more, "--out", str(tmp_path / "o")]) == 2
    assert expected in capsys.readouterr().err


def test_a_folder_without_a_checkpoint_and_another_grammar_are_said(
    game: Game, tmp_path: Path, capsys: Capture, base: LocalModel
) -> None:
    argv = [
        "run",
        "MTR-Synthetic-v0",
        "--policy",
        "local",
        "--policy-model",
        str(tmp_path),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(argv) == 2
    assert capsys.readouterr().err.startswith("mtr-env: error: ")
    with pytest.raises(ValueError, match="The model writes 'hermes-compact'; the episode speaks 'hermes'"):
        episode(make_game("MTR-Synthetic-v0", limit=1), base)
