"""What TRL's trainers optimise, position by position: the ids that the trace records, and no gradient on any other.

A BPE tokenizer, and sampled ids that encoding their text would not give."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("trl", reason="the train extra is not installed (pip install -e '.[train]')")
import torch
import trl
from trl.trainer import utils as trl_utils

from benchmarks.parity_drivers.trl import Kept
from benchmarks.tiny_trl import chat_tokenizer, tiny_model
from mtr_env.adapters.trl import Sampled
from mtr_env.encoding import Encoder
from mtr_env.env import MTREnv
from mtr_env.policies.oracle import Oracle
from mtr_env.registration import make_game
from mtr_env.rollout import play
from mtr_env.trace import Trace, encode
from mtr_env.transcript import messages
from train.trainer import LabelledSFTTrainer, TrimmedGRPOTrainer

pytestmark = [
    pytest.mark.adapters,
    pytest.mark.filterwarnings("default"),  # those of torch, transformers and trl are not ours
]

GAME = make_game("MTR-Synthetic-v0", split="train", limit=2, grammar="hermes-compact")
SOLVED = {i: play(MTREnv(GAME), Oracle(GAME.grammar), question_id=i) for i in GAME.world.ids}
MOST = 4096


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    texts = [step.action + step.observation for trace in SOLVED.values() for step in trace.steps]
    prompts = [GAME.begin(question_id, 0)[0].prompt for question_id in SOLVED]
    return chat_tokenizer([*texts, *[prompt.system + prompt.user for prompt in prompts]])


class Scripted:
    """Samples what the oracle writes, every second episode a wrong answer in the end; in ids of its own."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, contexts: Sequence[Sequence[int]], most: int) -> list[Sampled]:
        return [Sampled(self.ids(self.tokenizer.decode(c), i % 2 == 0), None) for i, c in enumerate(contexts)]

    def ids(self, context: str, right: bool) -> list[int]:
        trace = next(trace for trace in SOLVED.values() if trace.question.text in context)
        step = trace.steps[context.count("<|im_start|>assistant") - 1]
        action = step.action if right or step.calls else GAME.grammar.render_answer("nobody")
        ids = []
        for number, token in enumerate(self.tokenizer.encode(action)):
            letters = self.tokenizer.convert_tokens_to_ids(list(self.tokenizer.convert_ids_to_tokens(token)))
            ids += letters if number % 3 == 0 else [token]
        return [*ids, self.tokenizer.eos_token_id]


class Seen(NamedTuple):
    """A sequence that a trainer optimised, without padding: its ids, 1 where they count towards the loss, and the
    largest gradient on what predicts each of them."""

    ids: list[int]
    own: list[int]
    gradient: list[float]


@contextmanager
def watched(model: Any) -> Iterator[list[Any]]:
    """The last hidden states of each forward pass that is learnt from, (rows, columns, width). What stands in a column
    predicts the token of the next one and nothing else, so its gradient is that of the prediction's logits."""
    states: list[Any] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        if output.requires_grad:
            output.retain_grad()
            states.append(output)

    handle = model.model.norm.register_forward_hook(keep)
    yield states
    handle.remove()


def seen(ids: Any, attended: Any, own: Any, states: Any) -> list[Seen]:
    """The rows of a batch; all arguments are (rows, columns), ``states`` with a width."""
    gradient = states.grad.abs().amax(-1)
    gradient = torch.cat([torch.zeros(len(ids), 1), gradient[:, :-1]], 1)  # what predicts a token stands before it
    assert not gradient[attended == 0].any(), "padding carries a gradient"
    rows = zip(ids, attended.bool(), own, gradient, strict=True)
    return [Seen(i[a].tolist(), o[a].tolist(), g[a].tolist()) for i, a, o, g in rows]


def recorded(trace: Trace, encoder: Encoder) -> tuple[list[int], list[int]]:
    """The ids of a trace and its mask: of each step those that it records, then those of the observation."""
    prompt = encoder.prompt(messages(trace.upto(0), GAME.begin(trace.question.id, 0)[0].prompt))
    ids, own = list(prompt), [0] * len(prompt)
    for number, step in enumerate(trace.steps, 1):
        assert step.tokens is not None
        between = encoder.between(step.observation) if number < len(trace.steps) else []
        ids += [*step.tokens.ids, *between]
        own += [1] * len(step.tokens.ids) + [0] * len(between)
    return ids, own


def assert_the_same(found: list[Seen], traces: Sequence[Trace], encoder: Encoder) -> None:
    """Every trace was optimised as it is recorded, and the policy's tokens carry a gradient, exactly those."""
    assert sorted((row.ids, row.own) for row in found) == sorted(recorded(trace, encoder) for trace in traces)
    for row in found:
        assert [float(own) for own in row.own] == [float(value != 0.0) for value in row.gradient]


def grpo(trainer_class: type[Any], tokenizer: Any, out: Path) -> tuple[list[Seen], list[Trace]]:
    """One step of two groups of two, in two batches."""
    rollouts = Kept(GAME, tokenizer, max_tokens=MOST, sampler=lambda trainer: Scripted(tokenizer))
    batches: list[dict[str, Any]] = []

    class Watched(trainer_class):  # type: ignore[misc]
        def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
            batches.append(inputs)
            return super()._compute_loss(model, inputs)

    model = tiny_model(tokenizer)
    settings = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no", "output_dir": str(out)}
    trainer = Watched(
        model=model,
        processing_class=tokenizer,
        args=trl.GRPOConfig(
            **settings,
            max_steps=1,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            num_generations=2,
            max_completion_length=MOST,
        ),
        train_dataset=rollouts.dataset(),
        rollout_func=rollouts,
        reward_funcs=[rollouts.reward],
    )
    with watched(model) as states:
        trainer.train()
    assert len(batches) == len(states) == 2
    found = []
    for batch, state in zip(batches, states, strict=True):
        ids, attended = (
            torch.cat([batch[f"{part}_{kind}"] for part in ("prompt", "completion")], 1) for kind in ("ids", "mask")
        )
        own = torch.cat([0 * batch["prompt_mask"], batch["completion_mask"] * batch["tool_mask"]], 1)
        found += seen(ids, attended, own, state)
    return found, [episode.trace for episode in rollouts.episodes]


@pytest.mark.parametrize("trainer_class", [trl.GRPOTrainer, TrimmedGRPOTrainer])
def test_grpo_optimises_the_ids_that_the_traces_record(
    trainer_class: type[Any], tokenizer: Any, tmp_path: Path
) -> None:
    found, traces = grpo(trainer_class, tokenizer, tmp_path)
    assert len(found) == len(traces) == 4
    assert len({len(trace.steps) for trace in traces}) == 2  # of different length, so that there is padding
    assert_the_same(found, traces, Encoder(tokenizer))
    for trace in traces:
        for step in trace.steps:
            assert list(step.tokens.ids) != Encoder(tokenizer).action(step.action)  # type: ignore[union-attr]
    assert any(step.observation for step in traces[0].steps[:-1])


def sft(traces: Sequence[Trace], tokenizer: Any, out: Path) -> dict[str, torch.Tensor]:
    """The weights after `train.sft` on the traces, two a step; the model is the same every time."""
    from train import sft
    from train.models import load

    out.mkdir(exist_ok=True)
    (out / "traces.jsonl").write_bytes(b"".join(encode(trace) + b"\n" for trace in traces))
    torch.manual_seed(0)
    tiny_model(tokenizer).save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    options = ["--model", str(out / "model"), "--traces", str(out / "traces.jsonl"), "--least-reward", "-1"]
    sft.main([*options, "--batch", "2", "--max-tokens", str(MOST), "--lr", "1e-2", "--out", str(out / "sft")])
    weights: dict[str, torch.Tensor] = load(str(out / "sft"), MOST)[0].state_dict()
    return weights


def test_positions_without_a_label_change_nothing_that_sft_learns(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train import trainer as trainers

    _, traces = grpo(trl.GRPOTrainer, tokenizer, tmp_path / "grpo")
    lean = sft(traces, tokenizer, tmp_path / "lean")
    monkeypatch.setattr(trainers, "LabelledSFTTrainer", trl.SFTTrainer)
    whole = sft(traces, tokenizer, tmp_path / "whole")
    torch.manual_seed(0)
    assert not torch.equal(lean["lm_head.weight"], tiny_model(tokenizer).state_dict()["lm_head.weight"])
    for name, weight in whole.items():
        torch.testing.assert_close(lean[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trainer_class", [LabelledSFTTrainer, TrimmedGRPOTrainer])
def test_only_labelled_positions_meet_the_vocabulary_while_it_trains(
    trainer_class: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    cpu = torch.device("cpu")
    monkeypatch.setattr(trainer_class.__bases__[0], "train", lambda self: seen.append(trl_utils._use_triton(cpu)))
    trainer_class.train(object.__new__(trainer_class))
    assert seen == [True]
    assert not trl_utils._use_triton(cpu)


def test_sft_optimises_the_ids_that_the_traces_record(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train import trainer as trainers

    _, traces = grpo(trl.GRPOTrainer, tokenizer, tmp_path / "grpo")
    found: list[Seen] = []

    class Watched(trainers.LabelledSFTTrainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            batch = {name: value.clone() for name, value in inputs.items()}
            with watched(model) as states:
                loss = super().training_step(model, inputs, *args, **kwargs)
            own = (batch["labels"] != -100).long()
            assert (batch["labels"] == batch["input_ids"])[own.bool()].all()
            found.extend(seen(batch["input_ids"], batch["attention_mask"], own, states[0]))
            return loss

    monkeypatch.setattr(trainers, "LabelledSFTTrainer", Watched)
    sft(traces, tokenizer, tmp_path)
    assert len(found) == 4
    assert_the_same(found, traces, Encoder(tokenizer))


def test_the_vllm_engine_of_trl_is_asked_as_its_signature_says() -> None:
    """What tests/test_adapter_trl.py has a stand-in for."""
    from trl.generation.vllm_generation import VLLMGeneration

    inspect.signature(VLLMGeneration.generate).bind(None, prompts=[[1]], images=None, num_generations=1)
    assert "max_completion_length" in inspect.signature(VLLMGeneration).parameters
