"""Supervised fine-tuning on collected traces: the policy learns the trace grammar.

    python -m train.sft --recipe tiny

TRL's ``SFTTrainer`` on ids and labels that :class:`mtr_env.encoding.Encoder` makes, the same encoder that makes the ids
of reinforcement learning; the loss is on the policy's own tokens only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from mtr_env.encoding import Encoder, Tokenizer
from mtr_env.evaluate import read_traces
from mtr_env.grammar import get_grammar
from mtr_env.transcript import messages
from train.filters import kept
from train.models import adapter, check_tokenizer, load, save
from train.options import TrainerOptions, option, parse


@dataclass
class Args(TrainerOptions):
    """What is trained on what, and how."""

    out: Path = option(Path("runs/sft"), "where the checkpoint goes")
    traces: Path = option(Path("runs/traces/traces.jsonl"), "the collected traces")
    least_reward: float = option(0.0, "train on traces whose reward is above this; -1: on all")
    epochs: float = option(1.0, "passes over the traces")
    batch: int = option(32, "sequences a step and device")
    schedule: str = option("cosine", "of the learning rate, after 5% warm-up: a name that transformers knows")
    max_tokens: int = option(1024, "longer sequences are left out (and counted)")
    exchange_names: bool = option(False, "exchange the words of names in each trace (synthetic world, its tokenizer)")
    stop_file: Path | None = option(None, "end after the step during which this file appears")


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
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from train.callbacks import StopAt
    from train.tokenizer import build

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
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(in_batches(rows, args.batch, args.seed)),
        processing_class=tokenizer,
        peft_config=adapter(args.lora_rank),
        callbacks=[StopAt(args.stop_file)] if args.stop_file else [],
    )
    trainer.train()
    save(trainer, tokenizer, args.out)


if __name__ == "__main__":
    main()
