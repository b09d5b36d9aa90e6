"""What `train.sft` reports of the form of traces, with a tiny model of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="the train extra is not installed (pip install -e '.[train]')")
pytestmark = [
    pytest.mark.adapters,
    pytest.mark.filterwarnings("default"),  # those of torch, transformers and trl are not ours
]

WORLD = ["--split", "train", "--grammar", "hermes-compact"]


def test_fine_tuning_says_how_many_traces_have_the_form_before_and_after(
    random_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    from mtr_env.evaluate import read_traces
    from train import collect, sft

    world = [*WORLD, "--families", "bridge", "--max-steps", "5"]
    collect.main([*world, "--teacher", "oracle", "--episodes", "32", "--out", str(tmp_path / "traces")])
    traces = tmp_path / "traces/traces.jsonl"
    base = ["--model", str(random_checkpoint), "--traces", str(traces), "--lr", "5e-3"]
    held_out = ["--eval-questions", "4", "--eval-split", "validation", "--max-turn-tokens", "8"]
    sft.main([*base, *held_out, "--out", str(tmp_path / "with")])
    said = "4 held-out questions: 0.0% well-formed before, 0.0% after; 0.0% within the contract before, 0.0% after"
    assert said in capsys.readouterr().out
    log = json.loads((tmp_path / "with/log.json").read_text())
    entries = [entry for entry in log if "eval/contract_valid" in entry]
    assert [entry["step"] for entry in entries] == [0, 1]
    sft.main([*base, "--out", str(tmp_path / "without")])
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("with", "without")]
    assert all(weight.equal(weights[1][name]) for name, weight in weights[0].items())  # it changes nothing
    game = sft.player_of(
        sft.Args(traces=traces, eval_questions=4, eval_split="validation"), tokenizer_of(random_checkpoint)
    ).game
    assert {game.world.question(question_id).family for question_id in game.world.ids} == {"bridge"}
    assert (game.setup.grammar, game.setup.max_steps) == ("hermes-compact", 5)
    assert sft.form(list(read_traces(traces))) == {"well_formed": 1.0, "contract_valid": 1.0}
    with pytest.raises(SystemExit, match="Say the held-out questions: --eval-split NAME"):
        sft.main([*base, "--eval-questions", "4"])


def tokenizer_of(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)
