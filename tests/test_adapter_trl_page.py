"""The examples of TRL's page: each is run, but for the one that needs a GPU server, whose names are TRL's."""

from __future__ import annotations

import ast
import inspect
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from test_readme import ROOT, blocks

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
WITHOUT = "openenv or trl is not installed (pip install -e '.[train,openenv]')"
pytest.importorskip("trl", reason=WITHOUT)
pytest.importorskip("openenv.core.harness", reason=WITHOUT)

from transformers import AutoModelForCausalLM
from trl.experimental.async_grpo import AsyncGRPOTrainer
from trl.experimental.async_grpo.async_rollout_worker import AsyncRolloutWorker
from trl.experimental.async_grpo.openenv_harness import HarnessRolloutWorker, _HarnessRolloutLoop

from mtr_env.adapters import trl as adapter
from mtr_env.registration import make_game

pytestmark = [pytest.mark.adapters, pytest.mark.page, pytest.mark.filterwarnings("ignore")]  # other people's
PAGE = ROOT / "docs/adapters/trl.md"
SMALLER = {
    "Qwen/Qwen3-0.6B": str(ROOT / "train/base"),
    "limit=1000, max_turn_tokens=256": "limit=1, max_turn_tokens=12, grammar='hermes-compact'",
    "dataset(1000)": "dataset(1)",
    "GRPOConfig(": "GRPOConfig(max_steps=2, learning_rate=1e-3, use_cpu=True, logging_steps=1, report_to='none', ",
}


def example(mark: str) -> str:
    [found] = [block.code for block in blocks(PAGE.read_text()) if block.language == "python" and mark in block.code]
    return found


def test_grpo_takes_two_steps_as_the_page_shows_on_the_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model samples; half of a group is told the gold answer, so that there is something to learn."""
    code = example("rollout_func=rollouts")
    for shown, small in SMALLER.items():
        assert code.count(shown) == 1, shown
        code = code.replace(shown, small)
    game = make_game("MTR-Synthetic-v0", split="train", limit=1)
    told = f"<answer>{game.world.question(game.world.ids[0]).answer}</answer>"
    generate, sizes = adapter.generate, []

    def half_told(model: Any, tokenizer: Any, contexts: Any, most: int, config: Any) -> list[adapter.Sampled]:
        samples = generate(model, tokenizer, contexts, most, config)
        sizes.append(len(samples))
        if len(samples) == 8:  # the first action of a group
            ids = [*tokenizer.encode(told), tokenizer.eos_token_id]
            samples[::2] = [adapter.Sampled(ids, None)] * 4
        return samples

    monkeypatch.setattr(adapter, "generate", half_told)
    monkeypatch.chdir(tmp_path)  # for its checkpoint
    space: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, str(PAGE), "exec"), space)
    assert sizes.count(8) == 2 and min(sizes) == 4
    trainer = space["trainer"]
    assert trainer.state.global_step == 2
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["mtr/answer"] for entry in steps] == [0.5, 0.5]
    assert all(entry["grad_norm"] > 0 and entry["reward_std"] > 0 for entry in steps)
    before = AutoModelForCausalLM.from_pretrained(ROOT / "train/base").state_dict()
    after = trainer.model.state_dict()
    assert any((before[name] != after[name]).any() for name in before)


def test_the_other_examples_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    for mark in ("MTRSpec(", "functools.partial"):
        exec(compile(example(mark), str(PAGE), "exec"), {"__name__": "page"})
    rows, tools, reward = capsys.readouterr().out.splitlines()
    assert rows == "100 100 ['prompt', 'environment', 'question_id']"
    assert tools.endswith(" True") and reward == "0.0"


def test_the_example_that_needs_a_gpu_server_gives_what_trls_worker_and_trainer_take() -> None:
    calls = {
        call.func.id: {keyword.arg for keyword in call.keywords if keyword.arg}
        for call in ast.walk(ast.parse(example("HarnessRolloutWorker")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }
    assert issubclass(HarnessRolloutWorker, AsyncRolloutWorker)  # whose keywords are those of its loop
    for name, takes in (("HarnessRolloutWorker", _HarnessRolloutLoop), ("AsyncGRPOTrainer", AsyncGRPOTrainer)):
        inherited = [inspect.signature(kind.__init__).parameters for kind in takes.__mro__]
        assert calls[name] and calls[name] <= {*itertools.chain(*inherited)}, name
