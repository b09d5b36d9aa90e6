"""Supervised fine-tuning on collected traces: the policy learns the trace grammar.

    python -m train.sft --recipe tiny

TRL's ``SFTTrainer`` on ids and labels that :class:`mtr_env.encoding.Encoder` makes, the same encoder that makes the ids
of reinforcement learning; the loss is on the policy's own tokens only.

With ``--eval-questions N --eval-split NAME`` the model plays held-out questions of the traces' world before and after,
with the most likely tokens: which share of its traces is well-formed, and which keeps the contract.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from mtr_env.adapters.trl import Rollouts
from mtr_env.encoding import Encoder, Tokenizer
from mtr_env.evaluate import read_traces
from mtr_env.grammar import get_grammar
from mtr_env.registration import SYNTHETIC
from mtr_env.trace import Trace
from mtr_env.transcript import messages
from train.filters import kept
from train.measure import play_all, well_formed
from train.models import adapter, check_tokenizer, load, save
from train.options import HeldOutOptions, TrainerOptions, WorldOptions, check_extra, option, parse, processes


@dataclass
class Args(TrainerOptions, HeldOutOptions):
    """What is trained on what, and how."""

    out: Path = option(Path("runs/sft"), "where the checkpoint goes")
    traces: Path = option(Path("runs/traces/kept.jsonl"), "the collected traces")
    least_reward: float = option(0.0, "train on traces whose reward is above this; -1: on all")
    epochs: float = option(1.0, "passes over the traces")
    batch: int = option(32, "sequences a step and device")
    schedule: str = option("cosine", "of the learning rate, after 5% warm-up: a name that transformers knows")
    max_tokens: int = option(1024, "longer sequences are left out (and counted)")
    exchange_names: bool = option(False, "exchange the words of names in each trace (synthetic world, its tokenizer)")
    eval_questions: int = option(0, "held-out questions to play before and after, each once; 0: none")
    max_turn_tokens: int = option(64, "the most tokens of an action, when it plays")
    stop_file: Path | None = option(None, "end after the step during which this file appears")


def check(args: Args) -> None:
    """Raises ``SystemExit`` with the fix for options that do not fit each other."""
    if args.eval_questions:
        args.check_held_out("--eval-questions 0")
    if args.eval_questions and processes() > 1:
        raise SystemExit("Evaluation needs one device: --eval-questions 0, then train.measure.")


def player_of(args: Args, tokenizer: Tokenizer) -> Rollouts:
    """Plays the held-out questions as the traces were played: their environment, grammar, steps and families."""
    some = list(islice(read_traces(args.traces), 500))
    if not some:
        raise SystemExit(f"{args.traces} holds no trace.")
    setup = some[0].setup
    families = sorted({trace.question.family for trace in some if trace.question.family})
    played = WorldOptions(
        env_id=setup.env_id,
        families=",".join(families) if setup.env_id == SYNTHETIC else None,
        grammar=setup.grammar,
        max_steps=setup.max_steps,
    )
    game = args.held_out(played).game(args.eval_questions)
    return Rollouts(game, tokenizer, max_turn_tokens=args.max_turn_tokens, max_tokens=args.max_tokens)


def form(traces: Sequence[Trace]) -> dict[str, float]:
    """``well_formed`` (every action valid, at least one call, an answer) and ``contract_valid`` (no malformed action,
    unknown tool or invalid arguments), as shares of the traces."""
    kept_contract = [not any(fault.blame == "policy" for fault in trace.faults) for trace in traces]
    return {
        "well_formed": sum(map(well_formed, traces)) / len(traces),
        "contract_valid": sum(kept_contract) / len(traces),
    }


def report(log: Sequence[dict[str, Any]], questions: int) -> str:
    """What :func:`form` was before and after, in a sentence."""
    found = [entry for entry in log if "eval/well_formed" in entry]
    before, after = found[0], found[-1]
    shares = {"well-formed": "eval/well_formed", "within the contract": "eval/contract_valid"}
    said = [f"{before[key]:.1%} {name} before, {after[key]:.1%} after" for name, key in shares.items()]
    return f"{questions} held-out questions: {'; '.join(said)}"


def make_rows(
    path: Path, tokenizer: Tokenizer, least_reward: float, max_tokens: int, names: Random | None = None
) -> tuple[list[dict[str, Any]], int]:
    """Rows of ``input_ids`` and ``labels`` (-100 where the policy did not write), and how many were too long. With
    ``names``, which draws them, the words of names are exchanged in each row. Raises ``SystemExit`` for a tokenizer
    that loses the tags of the traces' grammar."""
    if names is not None:
        from train.names import exchange  # it needs the extra
    encoder = Encoder(tokenizer)
    rows, too_long, grammars = [], 0, set[str]()
    for trace in kept(read_traces(path), least_reward):
        if trace.setup.grammar not in grammars:
            grammars.add(trace.setup.grammar)
            check_tokenizer(tokenizer, trace.setup.grammar)
        prompt = get_grammar(trace.setup.grammar).render_prompt(trace.question.text, trace.toolset)
        encoded = encoder.trace(trace, messages(trace.upto(0), prompt))
        ids = encoded.prompt + encoded.completion
        if names is not None:
            to = exchange(ids, names)
            ids = [to.get(token, token) for token in ids]
        completion = ids[len(encoded.prompt) :]
        own = [token if masked else -100 for token, masked in zip(completion, encoded.mask, strict=True)]
        if len(ids) > max_tokens:
            too_long += 1
        else:
            rows.append({"input_ids": ids, "labels": [-100] * len(encoded.prompt) + own})
    return rows, too_long


def in_batches(rows: list[dict[str, Any]], size: int, seed: int) -> list[dict[str, Any]]:
    """The rows in the order in which to train on them: batches of similar length, the batches in random order.

    (``group_by_length`` has the long ones before the short ones, fifty batches at a time.)
    """
    pick = Random(seed)
    rows = pick.sample(rows, len(rows))
    window = 50 * size
    ordered = [
        row
        for start in range(0, len(rows), window)
        for row in sorted(rows[start : start + window], key=lambda row: len(row["input_ids"]))
    ]
    full = len(ordered) // size * size
    batches = [ordered[start : start + size] for start in range(0, full, size)]
    return [row for batch in pick.sample(batches, len(batches)) for row in batch] + ordered[full:]


def main(argv: list[str] | None = None) -> None:
    """Runs the training."""
    args = parse(Args, "sft", __doc__.split("\n", 1)[0], argv)
    check(args)
    check_extra("sft")
    from datasets import Dataset
    from trl import SFTConfig

    from train.callbacks import Evaluate, StopAt
    from train.sampler import CachedSampler
    from train.tokenizer import build
    from train.trainer import LabelledSFTTrainer

    model, tokenizer = load(args.model, args.max_tokens)
    names = Random(args.seed) if args.exchange_names else None
    if names is not None and tokenizer.get_vocab() != build().get_vocab():
        raise SystemExit("--exchange-names needs the tokenizer of train/base: each word of a name a token.")
    rows, too_long = make_rows(args.traces, tokenizer, args.least_reward, args.max_tokens, names)
    if not rows:
        raise SystemExit(
            f"{args.traces}: no trace with a reward above {args.least_reward} in {args.max_tokens} tokens."
        )
    print(f"{len(rows)} sequences; {too_long} were longer than {args.max_tokens} tokens and are left out", flush=True)
    config = SFTConfig(
        **args.settings(),
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch,
        lr_scheduler_type=args.schedule,
        warmup_steps=0.05,  # a share of all steps
        max_length=args.max_tokens,
        train_sampling_strategy="sequential",
        logging_steps=10,
        save_strategy="no",
    )
    callbacks: list[Any] = [StopAt(args.stop_file)] if args.stop_file else []
    if args.eval_questions:
        player, greedy = player_of(args, tokenizer), CachedSampler(model, tokenizer, temperature=0.0)
        evaluation = Evaluate(
            lambda: form(play_all(player, greedy, args.eval_questions, seed=0, batch=args.eval_questions)),
            every=sys.maxsize,  # before the first step, and after the last
        )
        callbacks.append(evaluation)
    trainer = LabelledSFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(in_batches(rows, args.batch, args.seed)),
        processing_class=tokenizer,
        peft_config=adapter(args.lora_rank),
        callbacks=callbacks,
    )
    if args.eval_questions:
        evaluation.trainer = trainer
        greedy.model = trainer.model  # with LoRA, another than was loaded
    trainer.train()
    save(trainer, tokenizer, args.out)
    if args.eval_questions:
        print(report(trainer.state.log_history, args.eval_questions), flush=True)


if __name__ == "__main__":
    main()
