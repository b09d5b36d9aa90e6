"""What the training programs refuse at their start about a tokenizer, and what they make do with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="the train extra is not installed (pip install -e '.[train]')")
pytestmark = [
    pytest.mark.adapters,
    pytest.mark.filterwarnings("default"),  # those of torch, transformers and trl are not ours
]

WORLD = ["--split", "train", "--grammar", "hermes-compact"]
GRPO = [*WORLD, "--questions", "4", "--steps", "1", "--groups", "1", "--group-size", "2", "--max-turn-tokens", "8"]
GRPO += ["--least-variance", "0", "--eval-every", "0"]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from train import collect

    out = tmp_path_factory.mktemp("traces")
    collect.main([*WORLD, "--teacher", "oracle", "--episodes", "8", "--out", str(out)])
    return out / "traces.jsonl"


def play(program: str, model: Path, out: Path, traces: Path) -> None:
    """Runs a program of one step."""
    from train import grpo, measure, sft

    where = ["--model", str(model), "--out", str(out)]
    if program == "sft":
        sft.main([*where, "--traces", str(traces), "--batch", "8"])
    elif program == "grpo":
        grpo.main([*where, *GRPO])
    else:
        measure.main([*where, *WORLD, "--episodes", "2", "--max-turn-tokens", "8"])


PROGRAMS = ("sft", "grpo", "measure")


def changed(checkpoint: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a checkpoint with another tokenizer."""
    from transformers import AutoTokenizer

    shutil.copytree(checkpoint, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    change(tokenizer)
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    return folder


def without_tags(tokenizer: Any) -> None:
    """A tokenizer that knows words and nothing of the grammar."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<unk>": 0, "search": 1, "query": 2, "name": 3, "1": 4, "system": 5, "user": 6, "assistant": 7}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer._tokenizer = plain
    tokenizer.unk_token = "<unk>"
    tokenizer.add_special_tokens({"eos_token": "<|end|>", "pad_token": "<|pad|>"})


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_tokenizer_that_reads_a_tag_as_unknown_is_refused_before_the_first_step(
    program: str, random_checkpoint: Path, traces: Path, tmp_path: Path
) -> None:
    model = changed(random_checkpoint, tmp_path / "model", without_tags)
    with pytest.raises(SystemExit, match=r"loses '<think>' of the grammar 'hermes-compact'.* or add it"):
        play(program, model, tmp_path / "out", traces)
    assert not (tmp_path / "out").exists()


def test_make_rollout_func_refuses_it_too(random_checkpoint: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from mtr_env.adapters.trl import make_rollout_func
    from mtr_env.policies.local import load_local

    model = changed(random_checkpoint, tmp_path / "model", without_tags)
    with pytest.raises(ValueError, match="loses '<think>' of the grammar 'hermes'"):
        make_rollout_func("MTR-Synthetic-v0", AutoTokenizer.from_pretrained(model), split="train")
    with pytest.raises(ValueError, match="loses '<think>' of the grammar 'hermes-compact'"):
        load_local(str(model), "hermes-compact")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_tokenizer_without_a_template_or_an_end_of_turn_is_refused(
    program: str, random_checkpoint: Path, traces: Path, tmp_path: Path
) -> None:
    def without(name: str) -> Callable[[Any], None]:
        return lambda tokenizer: setattr(tokenizer, name, None)

    for name, message in (
        ("chat_template", "has no chat template: set"),
        ("eos_token", "has no eos_token: it is what"),
    ):
        model = changed(random_checkpoint, tmp_path / name, without(name))
        with pytest.raises(SystemExit, match=message):
            play(program, model, tmp_path / "out", traces)


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_a_padding_token_the_end_of_turn_pads_and_changes_nothing(
    program: str, random_checkpoint: Path, traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = changed(random_checkpoint, tmp_path / "model", lambda tokenizer: setattr(tokenizer, "pad_token", None))
    play(program, model, tmp_path / "out", traces)
    assert "has no padding token; '<|end|>' takes its place" in capsys.readouterr().out
    play(program, random_checkpoint, tmp_path / "with", traces)
    if program == "measure":
        said = [(folder / "traces.jsonl").read_bytes() for folder in (tmp_path / "out", tmp_path / "with")]
    else:
        logs = [json.loads((tmp_path / name / "log.json").read_text()) for name in ("out", "with")]
        said = [[e[key] for e in log for key in ("entropy", "train_loss") if key in e] for log in logs]
    assert said[0] == said[1]
    assert said[0]
