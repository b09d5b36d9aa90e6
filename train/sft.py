"""Supervised fine-tuning on collected traces: the policy learns the trace grammar.

    python -m train.sft --recipe tiny

TRL's ``SFTTrainer`` on ids and labels that :class:`mtr_env.encoding.Encoder` makes, the same encoder that makes the ids
of reinforcement learning; the loss is on the policy's own tokens only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtr_env.encoding import Encoder, Tokenizer
from mtr_env.evaluate import read_traces
from mtr_env.grammar import get_grammar
from mtr_env.transcript import messages
from train.collect import kept
from train.options import option, parse


@dataclass
class Args:
    """What is trained on what, and how."""

    model: str = option("train/base", "the model to start from: a folder, or a hub id")
    traces: Path = option(Path("runs/traces/traces.jsonl"), "the collected traces")
    out: Path = option(Path("runs/sft"), "where the checkpoint goes")
    least_reward: float = option(0.0, "train on traces whose reward is above this")
    epochs: float = option(1.0, "passes over the traces")
    batch: int = option(32, "sequences a step and device")
    lr: float = option(1e-3, "peak learning rate (cosine, 5% warm-up)")
    max_tokens: int = option(1024, "longer sequences are left out (and counted)")
    bf16: bool = option(False, "compute in bfloat16")
    seed: int = option(0, "order of the traces")


def make_rows(
    path: Path, tokenizer: Tokenizer, least_reward: float, max_tokens: int
) -> tuple[list[dict[str, Any]], int]:
    """Rows of ``input_ids`` and ``labels`` (-100 where the policy did not write), and how many were too long."""
    encoder = Encoder(tokenizer)
    rows, too_long = [], 0
    for trace in kept(read_traces(path), least_reward):
        prompt = get_grammar(trace.setup.grammar).render_prompt(trace.question.text, trace.toolset)
        encoded = encoder.trace(trace, messages(trace.upto(0), prompt))
        ids = encoded.prompt + encoded.completion
        own = [token if masked else -100 for token, masked in zip(encoded.completion, encoded.mask, strict=True)]
        if len(ids) > max_tokens:
            too_long += 1
        else:
            rows.append({"input_ids": ids, "labels": [-100] * len(encoded.prompt) + own})
    return rows, too_long


def main(argv: list[str] | None = None) -> None:
    """Runs the training."""
    args = parse(Args, "sft", __doc__.split("\n", 1)[0], argv)
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    rows, too_long = make_rows(args.traces, tokenizer, args.least_reward, args.max_tokens)
    if not rows:
        raise SystemExit(
            f"{args.traces}: no trace with a reward above {args.least_reward} in {args.max_tokens} tokens."
        )
    print(f"{len(rows)} sequences; {too_long} were longer than {args.max_tokens} tokens and are left out", flush=True)
    config = SFTConfig(
        output_dir=str(args.out / "checkpoints"),
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch,
        learning_rate=args.lr,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,  # a share of all steps
        max_length=args.max_tokens,
        bf16=args.bf16,
        use_cpu=not args.bf16,
        activation_checkpointing=False,
        train_sampling_strategy="group_by_length",
        logging_steps=20,
        save_strategy="no",
        report_to=[],
        seed=args.seed,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(args.model),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(args.out))
    tokenizer.save_pretrained(args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
