"""LoRA: what one program trained is what the next one begins with, and what is saved stands alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtr_env.policies.local import load_local

pytest.importorskip("trl", reason="the train extra is not installed (pip install -e '.[train]')")
pytestmark = [
    pytest.mark.adapters,
    pytest.mark.filterwarnings("default"),  # those of torch, transformers and trl are not ours
]

ROOT = Path(__file__).resolve().parents[1]
WORLD = ["--split", "train", "--grammar", "hermes-compact"]
GRPO = [*WORLD, "--questions", "4", "--steps", "1", "--groups", "1", "--group-size", "2", "--max-turn-tokens", "8"]
GRPO += ["--least-variance", "0", "--eval-every", "0", "--save-every", "1", "--lr", "0", "--lora-rank", "4"]


@pytest.fixture(scope="module")
def tuned(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an SFT with LoRA."""
    from train import collect, sft

    out = tmp_path_factory.mktemp("lora")
    collect.main([*WORLD, "--teacher", "oracle", "--episodes", "16", "--out", str(out / "traces")])
    traces = ["--model", str(random_checkpoint), "--traces", str(out / "traces/traces.jsonl")]
    sft.main([*traces, "--epochs", "2", "--batch", "8", "--lr", "2e-2", "--lora-rank", "4", "--out", str(out / "sft")])
    return out / "sft"


def logits(folder: Path) -> Any:
    from train.models import load

    return logits_of(load(str(folder), 1024)[0])


def logits_of(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(6, 40)[None]).logits


def close(one: Any, other: Any) -> bool:
    return bool((one - other).abs().max() < 1e-4)


def test_grpo_begins_with_what_a_lora_warm_start_has_learnt(
    tuned: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    from train import grpo

    learnt = logits(tuned)
    assert (learnt - logits(random_checkpoint)).abs().max() > 0.1
    grpo.main([*GRPO, "--model", str(tuned), "--out", str(tmp_path)])  # the learning rate is 0
    assert close(logits(tmp_path), learnt)
    assert close(logits_of(load_local(str(tmp_path), "hermes-compact").model), learnt)
    assert not (tmp_path / "adapter_config.json").exists()
    assert (tmp_path / "checkpoint-1/adapter_config.json").exists()  # on its way it saves the adapter alone
    assert close(logits(tmp_path / "checkpoint-1"), learnt)


def test_the_folder_of_an_adapter_is_its_base_with_the_adapter_merged(
    tuned: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    """Checkpoints in the middle of a training hold adapters; so does what several devices save, and other programs."""
    from peft import LoraConfig, get_peft_model

    from train.models import load

    for base, folder in ((tuned, tmp_path / "first"), (tmp_path / "first", tmp_path / "second")):
        model, tokenizer = load(str(base), 1024)
        config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        with_adapter = get_peft_model(model, config)
        with_adapter.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        said = logits_of(with_adapter)
        assert close(logits(folder), said)
        assert close(logits_of(load_local(str(folder), "hermes-compact").model), said)
        assert not close(said, logits(base))
    loaded, _ = load(str(folder), 1024)
    assert all(weight.requires_grad for weight in loaded.parameters())
    shutil.rmtree(tmp_path / "first")
    with pytest.raises(OSError, match=r"second holds a LoRA adapter for .*first', which is no checkpoint here: put it"):
        load(str(tmp_path / "second"), 1024)


def test_a_whole_model_that_is_saved_where_an_adapter_was_is_read_as_one(
    tuned: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    from train import sft

    (tmp_path / "adapter_config.json").write_text("{}")
    traces = tuned.parent / "traces/traces.jsonl"
    sft.main(["--model", str(tuned), "--traces", str(traces), "--lr", "0", "--out", str(tmp_path)])
    assert close(logits(tmp_path), logits(tuned))


def test_two_processes_train_together_and_save_one_whole_model(tuned: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "train.grpo", *GRPO, "--model", str(tuned), "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"saved {tmp_path}") == 1
    [step] = [entry for entry in json.loads((tmp_path / "log.json").read_text()) if "step_time" in entry]
    assert step["mtr/steps"] > 0
    assert step["num_tokens"] > 1.5 * step_of_one(tuned, tmp_path / "alone")["num_tokens"]  # each has a group
    assert not (tmp_path / "adapter_config.json").exists()
    assert close(logits(tmp_path), logits(tuned))  # the learning rate is 0


def step_of_one(model: Path, out: Path) -> dict[str, Any]:
    """What one process logs of its step."""
    from train import grpo

    grpo.main([*GRPO, "--model", str(model), "--out", str(out)])
    return next(entry for entry in json.loads((out / "log.json").read_text()) if "step_time" in entry)
