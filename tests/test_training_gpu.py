"""The recipe for a GPU, shrunken to a step on the CPU: a model from nothing, real questions, bf16."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="the train extra is not installed (pip install -e '.[train]')")
pytestmark = [
    pytest.mark.adapters,
    pytest.mark.filterwarnings("default"),  # those of torch, transformers and trl are not ours
]

RECIPE = ["--recipe", "gpu"]


def test_a_shrunken_step_of_the_gpus_recipe_runs_on_the_cpu(
    shared_data: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mtr_env.world_build import build
    from train import collect, grpo, scratch, sft

    source = ["--source", str(shared_data("2wikimultihopqa/train_extra.jsonl"))]
    held_out = ["--eval-source", str(shared_data("2wikimultihopqa/dev_shared.jsonl"))]
    build("MTR-Synthetic-v0", tmp_path / "world", split="train", limit=8)
    synthetic = ["--env-id", "MTR-Synthetic-v0", "--world", str(tmp_path / "world")]
    with (tmp_path / "traces.jsonl").open("wb") as both:
        for world in (source, synthetic):
            out = tmp_path / world[0]
            collect.main([*RECIPE, *world, "--episodes", "8", "--out", str(out)])
            both.write((out / "kept.jsonl").read_bytes())
    traces, base, tuned = (str(tmp_path / name) for name in ("traces.jsonl", "base", "sft"))
    small = ["--vocabulary", "500", "--width", "32", "--layers", "2", "--heads", "2"]
    scratch.main([*RECIPE, "--traces", traces, "--out", base, *small])
    sft.main([*RECIPE, "--model", base, "--traces", traces, "--epochs", "1", "--batch", "8", "--out", tuned])
    assert "16 sequences; 0 were longer" in capsys.readouterr().out
    few = ["--model", tuned, "--questions", "4", "--steps", "2", "--groups", "2", "--group-size", "2"]
    few += ["--accumulate", "2", "--max-turn-tokens", "8", "--eval-questions", "2", "--save-every", "5"]
    grpo.main([*RECIPE, *source, *held_out, *few, "--out", str(tmp_path / "real")])
    grpo.main([*RECIPE, *synthetic, *few, "--eval-every", "0", "--out", str(tmp_path / "synthetic")])
    for name in ("real", "synthetic"):
        log = json.loads((tmp_path / name / "log.json").read_text())
        steps = [entry for entry in log if "step_time" in entry]
        assert len(steps) == 2
        wanted = {"num_tokens", "mtr/seconds/sample", "mtr/seconds/world", "mtr/em"}  # of benchmarks/results/gpu.md
        assert all(wanted <= set(entry) for entry in steps)


def test_a_model_from_nothing_has_the_size_that_the_recipe_says() -> None:
    from types import SimpleNamespace

    from train.options import parse
    from train.scratch import Args, make_model

    model = make_model(parse(Args, "scratch", "", RECIPE), SimpleNamespace(eos_token_id=0, pad_token_id=1))
    assert sum(weight.numel() for weight in model.parameters()) > 30_000_000


def test_without_traces_there_is_no_model_from_nothing(tmp_path: Path) -> None:
    from train import scratch

    with pytest.raises(SystemExit, match=r"there is no such file; `python -m train.collect` makes one"):
        scratch.main(["--traces", str(tmp_path / "none.jsonl"), "--out", str(tmp_path)])
