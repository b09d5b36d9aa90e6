"""The paper's chain on a tiny model: tools that a model writes, traces of a model, SFT, GRPO with simulated tools, and
evaluation with tools that are not. Every model but the trained one stands behind a server on loopback."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from simulated_model import part
from test_auto_agent import served

from mtr_env.cli import main
from mtr_env.evaluate import read_traces, run
from mtr_env.registration import make_game
from mtr_env.toolactors.base import exchanges
from mtr_env.world_files import WorldFolder
from tests.faulty_world import Model

pytest.importorskip("trl", reason="the train extra is not installed (pip install -e '.[train]')")
pytest.importorskip("openai", reason="the llm extra is not installed (pip install -e '.[llm]')")
pytestmark = [
    pytest.mark.adapters,
    pytest.mark.filterwarnings("default"),  # those of torch, transformers and trl are not ours
]

ENV = "MTR-Synthetic-v0"
QUESTIONS = 6
PLAYED = ["--grammar", "hermes-compact"]
LIMITS = ["--max-turn-tokens", "40", "--max-tokens", "1024"]


class Models:
    """The models of the chain: one writes tools and plays them, and later one teaches."""

    def __init__(self) -> None:
        world = make_game(ENV, split="train", limit=QUESTIONS).world
        self.simulator = Model(world)
        self.expert: Any = None

    def __call__(self, body: dict[str, Any]) -> Any:
        if body.get("tools"):
            return self.expert(body)
        if not part(body["messages"], "relations"):
            return self.simulator(body)
        relations = json.loads(part(body["messages"], "relations"))[:8]
        tools = [
            {"name": f"get_{r.replace(' ', '_')}", "description": f"Looks up the {r} of it.", "relation": r}
            for r in relations
        ]
        task = {"family": "bridge", "answer_type": "entity"}
        return json.dumps({"task": task, "utilities": ["find_in_page", "calculate", "compare_dates"], "tools": tools})


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(Models()) as running:
        yield running


def logged(folder: Path, name: str) -> list[float]:
    entries: list[dict[str, float]] = json.loads((folder / "log.json").read_text())
    return [entry[name] for entry in entries if name in entry]


def test_tools_and_traces_of_models_train_a_policy_that_is_then_evaluated_without_them(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import sim_to_real
    from train import collect, grpo, sft

    world, traces, warm, out = (tmp_path / name for name in ("world", "traces", "sft", "grpo"))
    model = ["--tool-model", "m", "--tool-base-url", server.url, "--tool-prices", "1,2"]
    simulated = ["--tool-actor", "llm", *model, "--cassette", str(tmp_path / "cassette.sqlite")]

    # A model writes the tools; they are frozen.
    build = ["world", "build", ENV, "--split", "train", "--limit", str(QUESTIONS), "--quiet"]
    assert main([*build, "--tool-maker", "llm", *model, "--out", str(world)]) == 0
    assert server.requests == QUESTIONS
    frozen = ["--world", str(world), *PLAYED]
    game = make_game(ENV, world=world, grammar="hermes-compact")
    stages = [game.begin(question_id, 0)[0] for question_id in game.world.ids]
    assert all(stage.toolset.maker == WorldFolder(world).manifest.tool_maker for stage in stages)
    assert not any(note.startswith("in place of") for stage in stages for note in stage.toolset.notes)

    # A model plays, another one plays its tools; what is good is kept.
    run(game, "oracle", tmp_path / "expert")
    server.content.expert = served(game, list(read_traces(tmp_path / "expert/traces.jsonl")), "native")
    teach = ["--teacher", "chat", "--policy-model", "m", "--policy-base-url", server.url, "--correct"]
    collect.main([*frozen, *simulated, *teach, "--episodes", str(QUESTIONS), "--out", str(traces)])
    kept = list(read_traces(traces / "kept.jsonl"))
    assert len(kept) >= QUESTIONS - 1
    answered = [response for trace in kept for _, response in exchanges(trace, trace.question.view())]
    assert {response.origin for response in answered} == {"llm"}

    # Supervised fine-tuning, then reinforcement learning; the simulator is down for half of the questions.
    teaching = ["--model", "train/base", "--traces", str(traces / "kept.jsonl"), "--max-tokens", "1024"]
    sft.main([*teaching, "--epochs", "30", "--batch", "3", "--lr", "2e-3", "--out", str(warm)])
    assert logged(warm, "loss")[-1] < 0.5 * logged(warm, "loss")[0]
    down = [game.world.question(question_id).paragraphs for question_id in game.world.ids[::2]]
    pages = [next(p.title for p in pages if p.title.replace(" ", "").isalpha()).encode() for pages in down]
    monkeypatch.setattr(server, "draw", lambda body: "403" if any(page in body for page in pages) else "")
    server.peak, server.latency = 0, 0.1
    requests = server.requests
    capsys.readouterr()
    step = ["--steps", "2", "--groups", "4", "--group-size", "4", "--save-every", "2", "--eval-every", "0"]
    training = [*frozen, *simulated, *step, *LIMITS, "--questions", str(QUESTIONS), "--least-variance", "0"]
    grpo.main([*training, "--model", str(warm), "--temperature", "0.8", "--out", str(out)])
    assert server.requests > requests
    assert server.peak > 1  # the episodes that wait are asked for at once
    assert "spent on the tools: " in capsys.readouterr().out
    assert len(logged(out, "mtr/reward")) == 2
    assert all(math.isfinite(value) for value in [*logged(out, "mtr/reward"), *logged(out, "loss")])
    assert 0 < max(logged(out, "mtr/unscored")) < 1
    assert max(logged(out, "mtr/calls")) > 0
    assert max(logged(out, "grad_norm")) > 0  # and there was something to learn

    # Evaluation: simulated, and not simulated; a second time from the cassette alone.
    monkeypatch.undo()
    server.latency = 0.0
    compare = [*frozen, "--checkpoint", str(out), "--episodes", str(QUESTIONS), *LIMITS, *simulated]
    sim_to_real.main([*compare, "--out", str(tmp_path / "a"), "--results", str(tmp_path)])
    printed, requests = capsys.readouterr().out, server.requests
    for column in sim_to_real.COLUMNS:
        assert f"| {column} | {QUESTIONS} | 0 |" in printed
    sim_to_real.main([*compare, "--replay", "--out", str(tmp_path / "b"), "--results", str(tmp_path)])
    assert server.requests == requests
    files = [tmp_path / start / "simulated/traces.jsonl" for start in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
