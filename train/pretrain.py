"""Pretraining of the tiny base model: it learns to copy and to read, and sees no trace, no tool call and no answer.

    python -m train.pretrain --out train/base --steps 600 --seed 0

A sequence is made of random tokens (half of them names of the synthetic world in small groups) that come again later in
it, in whole or in pieces. Predicting them needs induction: find where this token stood before, say what followed. The
tags of the grammar occur only as random tokens among all others.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from train.options import option, parse
from train.tokenizer import build


@dataclass
class Args:
    """The recipe of the base model."""

    out: Path = option(Path("train/base"), "where the checkpoint goes")
    steps: int = option(600, "optimisation steps")
    batch: int = option(32, "sequences a step")
    length: int = option(256, "tokens a sequence")
    lr: float = option(1e-3, "peak learning rate (warm-up over 5% of the steps, then cosine to a tenth)")
    seed: int = option(0, "weights and data follow from it")
    width: int = option(128, "size of the hidden states")
    layers: int = option(4, "transformer blocks")
    heads: int = option(4, "attention heads")


def make_model(args: Args, vocabulary: int) -> LlamaForCausalLM:
    """A Llama model with tied embeddings and random weights."""
    tokenizer = build()
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=args.width,
        intermediate_size=3 * args.width,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def make_batch(
    generator: torch.Generator, args: Args, vocabulary: int, progress: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels, both (batch, length): passages of random tokens that come again until the row is full.

    In the first third of the training (``progress`` is its share done) a passage is half a row, so that "so many tokens
    ago" is enough and copying is learnt quickly; then it has any length, so that only reading helps. The first token of
    a repetition cannot be known and has no label, nor has the passage itself.
    """
    ids = torch.randint(6, vocabulary, (args.batch, args.length), generator=generator)
    labels = torch.full_like(ids, -100)
    for row in range(args.batch):
        size = args.length // 2
        if progress > 1 / 3:
            size = int(torch.randint(6, args.length // 2 + 1, (1,), generator=generator))
        for at in range(size, args.length, size):
            end = min(at + size, args.length)
            ids[row, at:end] = ids[row, : end - at]
            labels[row, at + 1 : end] = ids[row, at + 1 : end]
    return ids, labels


def main(argv: list[str] | None = None) -> None:
    """Trains and saves the base model."""
    args = parse(Args, "pretrain", __doc__.split("\n", 1)[0], argv)
    torch.manual_seed(args.seed)
    tokenizer = build()
    model = make_model(args, len(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.01)
    warm = max(1, args.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: (s + 1) / warm if s < warm else 0.1 + 0.45 * (1 + math.cos(math.pi * s / args.steps)),
    )
    generator = torch.Generator().manual_seed(args.seed)
    started = time.perf_counter()
    for step in range(args.steps):
        ids, labels = make_batch(generator, args, len(tokenizer), step / args.steps)
        output = model(input_ids=ids, labels=labels)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == args.steps - 1:
            known = labels[:, 1:] != -100
            right = (output.logits[:, :-1].argmax(-1) == labels[:, 1:])[known].float().mean()
            print(
                f"step {step:4d}  loss {output.loss.item():.3f}  copied {right:.3f}  "
                f"{time.perf_counter() - started:.0f} s",
                flush=True,
            )
    args.out.mkdir(parents=True, exist_ok=True)
    model.to(torch.float32).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (args.out / "recipe.json").write_text(json.dumps({**asdict(args), "out": str(args.out)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
