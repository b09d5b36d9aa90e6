"""The training programs with real models: tiny random ones, a step or two. They need the extra ``train``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("trl", reason="the train extra is not installed (pip install -e '.[train]')")
pytestmark = [
    pytest.mark.adapters,
    pytest.mark.filterwarnings("default"),  # those of torch, transformers and trl are not ours
]

ROOT = Path(__file__).parent.parent
WORLD = ["--split", "train", "--grammar", "hermes-compact"]


@pytest.fixture
def model(random_checkpoint: Path) -> Path:
    """A checkpoint with random weights."""
    return random_checkpoint


def program(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"train.{name}", *map(str, arguments)]


def run(name: str, *arguments: object) -> str:
    command = program(name, *arguments)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_base_that_goes_on_from_another_tells_how_both_were_made(model: Path, tmp_path: Path) -> None:
    from train import pretrain

    settings = ["--steps", "1", "--batch-tokens", "640", "--families", "bridge", "--seed", "2"]
    pretrain.main(["--start", str(model), *settings, "--out", str(tmp_path)])
    made = json.loads((tmp_path / "recipe.json").read_text())
    assert made["families"] == "bridge"
    assert made["start"] == json.loads((model / "recipe.json").read_text())
    assert made["start"]["width"] == 32


def test_the_first_block_of_a_new_base_model_looks_at_the_last_tokens(model: Path) -> None:
    import torch

    from train.models import load

    loaded, tokenizer = load(str(model), 1024)
    torch.manual_seed(0)
    ids = torch.randint(6, len(tokenizer), (32, 60))
    loaded.set_attn_implementation("eager")
    first = loaded(input_ids=ids, output_attentions=True).attentions[0].mean(0)  # (heads, queries, keys)
    near = first[:, -1, -4:].sum(-1)  # 4 of 60 tokens, so 0.07 by chance
    assert near.min() > 0.15
    assert near.mean() > 0.4


def test_the_texts_of_the_base_model_hold_no_trace_and_label_only_what_can_be_known() -> None:
    from train.pretrain import Author

    author = Author(seed=3)
    marks = [piece for piece in author.tokenizer.get_added_vocab() if "tool_call" in piece or "tool_response" in piece]
    marks += ["<think>", "<answer>", "</answer>"]
    forbidden = {author.tokenizer.convert_tokens_to_ids(mark) for mark in marks}
    assert len(forbidden) > 5 and author.tokenizer.unk_token_id not in forbidden
    for _ in range(60):
        ids, labels = author.row(224)
        assert len(ids) == len(labels) == 224
        assert forbidden.isdisjoint(ids) and author.tokenizer.unk_token_id not in ids
        known = [label for label in labels if label != -100]
        assert 0 < len(known) < 150
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))


def test_exchanged_words_make_new_names_and_none_of_another_split() -> None:
    from mtr_env.worlds.synthetic_words import names
    from train.names import exchange
    from train.pretrain import Author

    author, pick = Author(seed=5), Random(0)
    others = [name for split, kinds in names().items() if split != "train" for kind in kinds.values() for name in kind]
    ours = [name for kind in names()["train"].values() for name in kind if " " in name]
    for _ in range(20):
        ids, _ = author.row(224)
        to = exchange(ids, pick)
        assert len({*to.values()}) == len(to) > 5
        text = author.tokenizer.decode([to.get(token, token) for token in ids])
        assert not any(name in text for name in others)
    first, second = (
        " ".join(author.tokenizer.decode(author.row(224)[0]) for _ in range(10))
        for author in (Author(seed=5), Author(seed=5, later=True))
    )
    assert sum(name in second for name in ours) < sum(name in first for name in ours) / 4  # exchanged, too


def test_the_second_round_compares_and_subtracts_rightly() -> None:
    from train.pretrain import Author

    author = Author(seed=6, later=True)
    checked = 0
    for _ in range(30):
        for (asked, _), (answer, known) in batched_pairs(author.comparing()):
            assert known
            numbers = [int(n) for n in re.findall(r"\d{4,}", asked)]
            if answer.startswith("\nWhat is"):
                more, less = map(int, re.findall(r"\d+", answer))
                assert sorted(numbers) == [less, more] and less < more
                checked += 1
            elif "which is the" in asked:
                small = "older" in asked or "earlier" in asked or "smaller" in asked
                winner = min(numbers) if small else max(numbers)
                named = answer.strip(" .")
                assert re.search(re.escape(named) + rf" \([^)]*{winner}\)", asked), (asked, answer)
                checked += 1
    assert checked > 50


def batched_pairs(pieces: list[tuple[str, bool]]) -> list[tuple[tuple[str, bool], tuple[str, bool]]]:
    return list(zip(pieces[::2], pieces[1::2], strict=True))


def test_the_grammars_tags_begin_as_what_stands_in_their_places(model: Path) -> None:
    from train.models import load
    from train.pretrain import PLACES

    loaded, tokenizer = load(str(model), 1024)
    embeddings = loaded.get_input_embeddings().weight
    for tag, known in PLACES.items():
        (at,), (like,) = tokenizer.encode(tag), tokenizer.encode(known)
        assert at != like and at != tokenizer.unk_token_id
        assert embeddings[at].equal(embeddings[like])


def test_an_example_of_the_base_model_tells_what_its_answer_follows_from() -> None:
    from train.pretrain import Author

    author = Author(seed=4)
    found = 0
    for _ in range(200):
        text = author.following()
        answer = text[-1][0].strip("\n.")
        text = text[1:] if text[0][0].endswith("\n") else text  # without the manual
        told = [piece.removeprefix("\n") for piece, known in text[1:] if not known]
        if answer not in ("yes", "no"):
            found += 1
            assert any(answer in line for line in told), text
        assert [known for piece, known in text[1:-1] if piece.endswith("?")] == [
            True for piece, known in text[1:-1] if known
        ]
    assert found > 100


def test_the_cached_sampler_samples_what_generate_does(model: Path) -> None:
    import torch
    from transformers import GenerationConfig

    from mtr_env.adapters.trl import Rollouts, generate
    from mtr_env.registration import make_game
    from train.models import load
    from train.sampler import CachedSampler

    loaded, tokenizer = load(str(model), 1024)
    game = make_game("MTR-Synthetic-v0", split="train", limit=6, grammar="hermes-compact", max_steps=4)
    rollouts = Rollouts(game, tokenizer, max_turn_tokens=12, max_tokens=1024)
    starts = [(question_id, 1) for question_id in game.world.ids]
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    greedy = GenerationConfig(do_sample=False, **ends)
    plain = rollouts.play(starts, lambda contexts, most: generate(loaded, tokenizer, contexts, most, greedy))
    sampler = CachedSampler(loaded, tokenizer, temperature=0.0)
    for _ in range(2):  # the second time, nothing of the first is used by mistake
        cached = rollouts.play(starts, sampler)
        assert [episode.completion_ids for episode in cached] == [episode.completion_ids for episode in plain]
    assert max(len(episode.trace.steps) for episode in plain) > 1
    torch.manual_seed(3)
    sampled = rollouts.play(starts, CachedSampler(loaded, tokenizer, temperature=1.0))
    assert [episode.completion_ids for episode in sampled] != [episode.completion_ids for episode in plain]


def test_fine_tuning_lowers_the_loss_and_ends_when_the_file_appears(model: Path, tmp_path: Path) -> None:
    run("collect", *WORLD, "--teacher", "oracle", "--episodes", 64, "--out", tmp_path / "traces")
    traces = ("--model", model, "--traces", tmp_path / "traces/traces.jsonl")
    run("sft", *traces, "--out", tmp_path / "sft", "--epochs", 12, "--batch", 16, "--lr", 5e-3)
    losses = [float(entry["loss"]) for entry in log(tmp_path / "sft") if "loss" in entry]
    assert losses[-1] < 0.8 * losses[0]
    (tmp_path / "stop").touch()
    run("sft", *traces, "--out", tmp_path / "stopped", "--epochs", 50, "--stop-file", tmp_path / "stop")
    assert log(tmp_path / "stopped")[-1]["step"] == 1


def log(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "log.json").read_text())
    return entries


GRPO: list[object] = [
    *WORLD,
    "--questions",
    8,
    "--steps",
    4,
    "--groups",
    2,
    "--group-size",
    2,
    "--save-every",
    1,
    "--lr",
    1e-2,
]
GRPO += ["--max-turn-tokens", 8, "--least-variance", 0, "--eval-split", "validation", "--eval-every", 2]
GRPO += ["--eval-questions", 2]


def test_grpo_goes_on_after_a_kill_as_if_nothing_had_happened(model: Path, tmp_path: Path) -> None:
    run("grpo", *GRPO, "--model", model, "--out", tmp_path / "whole")
    command = program("grpo", *GRPO, "--model", model, "--out", tmp_path / "killed")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = tmp_path / "killed/checkpoint-2/trainer_state.json"
    until = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed/log.json").exists()
    run("grpo", *GRPO, "--model", model, "--out", tmp_path / "killed", "--resume")
    curves = []
    for folder in ("whole", "killed"):
        entries = [entry for entry in log(tmp_path / folder) if "loss" in entry]
        names = ("step", "loss", "grad_norm", "reward", "mtr/calls", "mtr/policy_faults", "entropy")
        curves.append([[entry[name] for name in names] for entry in entries])
        assert [entry["step"] for entry in entries] == [1, 2, 3, 4]
        assert [e["step"] for e in log(tmp_path / folder) if "eval/em" in e] == [0, 2, 4]
    assert curves[0] == curves[1]


def test_sorting_and_cutting_keeps_every_sequence_and_leaves_little_padding() -> None:
    import torch

    from train.trainer import sorted_and_cut

    generator = torch.Generator().manual_seed(0)
    prompts, completions = (torch.randint(1, most + 1, (12,), generator=generator) for most in (5, 9))
    step = {
        "prompt_mask": (torch.arange(5) >= 5 - prompts[:, None]).long(),
        "completion_mask": (torch.arange(9) < completions[:, None]).long(),
        "advantages": torch.arange(12.0),
        "num_items_in_batch": torch.tensor(40),
        "images": None,
        "names": [str(i) for i in range(12)],
    }
    step["prompt_ids"] = step["prompt_mask"] * torch.randint(10, 99, (12, 5), generator=generator)
    step["completion_ids"] = step["completion_mask"] * torch.randint(10, 99, (12, 9), generator=generator)

    def sequences(batches: list[dict[str, Any]]) -> dict[str, list[int]]:
        found = {}
        for batch in batches:
            masks = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1).bool()
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
            for i, name in enumerate(batch["names"]):
                assert batch["advantages"][i] == int(name)
                found[name] = ids[i][masks[i]].tolist()
        return found

    def part(value: Any, rows: slice) -> Any:
        return value if value is None or value is step["num_items_in_batch"] else value[rows]

    batches = [{k: part(v, slice(i, i + 4)) for k, v in step.items()} for i in (0, 4, 8)]
    after = sorted_and_cut(batches)
    assert sequences(after) == sequences([step])
    for batch in after:
        assert batch["prompt_mask"].any(0).all() and batch["completion_mask"].any(0).all()
        assert batch["num_items_in_batch"] == 40 and batch["images"] is None
    widths = [batch["prompt_ids"].shape[1] + batch["completion_ids"].shape[1] for batch in after]
    assert widths == sorted(widths) and widths[0] < widths[-1]


def test_cutting_the_padding_leaves_the_step_as_it_was(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import load_file

    from mtr_env.adapters.trl import Rollouts
    from train import grpo, trainer

    def unequal(self: Rollouts, mtr_reward: list[float], **_: Any) -> list[float]:
        return [float(i % 3) for i in range(len(mtr_reward))]  # a random model's rewards are all 0

    monkeypatch.setattr(Rollouts, "reward", unequal)

    def weights(name: str) -> torch.Tensor:
        out = tmp_path / name
        options = [*GRPO, "--steps", 1, "--groups", 4, "--accumulate", 4, "--max-turn-tokens", 40, "--eval-every", 0]
        grpo.main([*map(str, options), "--model", str(model), "--out", str(out)])
        return torch.cat([tensor.flatten() for tensor in load_file(out / "model.safetensors").values()])

    cut = weights("cut")
    monkeypatch.setattr(trainer, "sorted_and_cut", lambda batches: batches)
    whole = weights("whole")
    begun = torch.cat([tensor.flatten() for tensor in load_file(model / "model.safetensors").values()])
    assert (whole - begun).norm() > 0.1
    assert (whole - cut).norm() < 0.02 * (whole - begun).norm()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--group-size", "1"], "--group-size must be at least 2"),
        (["--accumulate", "3"], "--accumulate 3 does not divide the 32 rollouts"),
        (["--accumulate", "0"], "--accumulate must be at least 1"),
        (["--groups", "0"], "--groups must be at least 1"),
        (["--eval-every", "0", "--groups", "8"], "A step takes 8 different questions .*; there are 4"),
        (["--vllm", "yes"], "--vllm is colocate or server, found 'yes'"),
        (["--eval-every", "5"], "Say the held-out questions"),
        (["--eval-every", "0", "--env-id", "MTR-Nothing-v0"], "MTR-Nothing-v0"),
        (["--eval-every", "0", "--max-tokens", "60"], "has .* tokens and an action up to .*, but max_tokens is 60"),
        (["--eval-every", "0", "--max-tokens", "2048"], "reads at most 1024 tokens; lower it to that"),
        (["--eval-every", "0"], "Only 0% of the groups have different rewards"),
    ],
)
def test_grpo_refuses_what_cannot_work_and_says_what_would(
    options: list[str], message: str, model: Path, tmp_path: Path
) -> None:
    from train import grpo

    where = ["--model", str(model), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=message):
        grpo.main([*WORLD, "--questions", "4", "--groups", "4", *where, *options])
    assert not (tmp_path / "out").exists()


def test_grpo_does_not_mix_two_trainings_in_one_folder(model: Path, tmp_path: Path) -> None:
    from train import grpo

    (tmp_path / "checkpoint-20").mkdir()
    with pytest.raises(SystemExit, match="checkpoint-20 is of an earlier training: --resume goes on with it; or"):
        grpo.main([*map(str, GRPO), "--model", str(model), "--out", str(tmp_path)])


def test_a_measurement_whose_prompts_are_too_long_is_refused(model: Path, tmp_path: Path) -> None:
    from train import measure

    with pytest.raises(
        SystemExit, match="but max_tokens is 100: raise it, or list the tools with a '-compact' grammar"
    ):
        measure.main([*WORLD, "--model", str(model), "--max-tokens", "100", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.fixture
def recipe(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of a recipe that runs in seconds."""
    file = tmp_path_factory.mktemp("recipe") / "seconds.toml"
    world = 'split = "{}"\ngrammar = "hermes-compact"\n'
    few = (
        "questions = 8\nsteps = 2\ngroups = 2\ngroup_size = 2\naccumulate = 2\nleast_variance = 0\neval_questions = 2\n"
    )
    file.write_text(
        f"[collect]\n{world.format('train')}episodes = 40\n"
        f'[sft]\nmodel = "{model}"\nbatch = 8\n'
        f'[grpo]\n{world.format("train")}{few}max_turn_tokens = 8\neval_split = "validation"\n'
        f"[measure]\n{world.format('test')}max_turn_tokens = 8\n"
    )
    return str(file)


def test_the_demonstration_runs_every_stage_once(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from train import demo

    arguments = ["--recipe", recipe, "--episodes", "8", "--out", str(tmp_path)]
    first = demo.main(arguments)
    rows = ["base", "sft", "sft_control", "grpo", "oracle", "random"]
    assert [*first] == [*rows, "sampled", "minutes", "set_up_minutes"]
    assert first["oracle"] == {"em": 1.0, "f1": 1.0, "reward": 1.0, "well_formed": 1.0, "episodes": 8}
    assert all(set(first["sampled"][row]) == set(demo.SHOWN) for row in demo.MODELS)
    assert json.loads((tmp_path / "summary.json").read_text()) == first
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(demo.Stages, "start", None)  # nothing is left to start
    assert demo.main(arguments) == first
    with pytest.raises(SystemExit, match="was made with other settings"):
        demo.main([*arguments, "--seed", "1"])


def test_a_recorded_world_gives_the_same_training(recipe: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import rollout_cost

    # It asserts itself that every token is the same.
    rollout_cost.main(["--recipe", recipe, "--model", str(model), "--steps", "3", "--pairs", "1"])
    assert "GRPO steps a minute, played / recorded world" in capsys.readouterr().out


def test_the_reward_ablation_measures_every_rubric_in_one_way(
    recipe: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import reward_ablation

    monkeypatch.setattr(reward_ablation, "RESULTS", tmp_path)
    arguments = ["--model", str(model), "--recipe", recipe, "--seeds", "0", "--steps", "1", "--episodes", "4"]
    reward_ablation.main([*arguments, "--out", str(tmp_path / "runs")])
    rows = json.loads((tmp_path / "reward_ablation.json").read_text())["rows"]
    assert [*rows] == ["warm start", *reward_ablation.RUBRICS]
    assert all(row[0]["episodes"] == 4 for row in rows.values())
    table = (tmp_path / "reward_ablation.md").read_text().splitlines()
    assert len({line.count("|") for line in table if line.startswith("|")}) == 1


def test_intervals_over_seeds_are_those_of_students_t() -> None:
    from benchmarks import training

    assert training.interval([0.5]) == (0.5, 0.0)
    middle, half = training.interval([1.0, 2.0, 3.0])
    assert (middle, round(half, 3)) == (2.0, 2.484)  # 4.303 * 1 / sqrt(3)
    row = {"em": 0.5, "f1": 0.5, "reward": 0.5, "well_formed": 1.0, "episodes": 8}
    rows = dict.fromkeys(("base", "sft", "sft_control", "grpo"), row)
    result = {**rows, "oracle": row, "random": row, "sampled": rows, "minutes": 3.0, "set_up_minutes": 1.25}
    assert [training.minutes(r) for r in (result, {"minutes": 3.0})] == ["1.75", "3.00"]
    lines = training.table([result, result, result])
    assert "| grpo | 50.0 | 100.0 | 50.0 | 100.0 |" in lines
    assert "| oracle | 50.0 | 100.0 |  |  |" in lines
    assert training.gains([result])[0] == "- GRPO over sft, greedy: 0.0 points of EM"
