"""Pretraining of the tiny base model: it learns to copy and to read, and sees no trace, no tool call and no answer tag.

    python -m train.pretrain --out train/base

Half of the rows are random tokens, pieces of which come again later: predicting them needs induction, that is to find
where this token stood before and to say what followed it. The grammar's tags occur there as random tokens among all
others, and nowhere else. The other rows are paragraphs of the embedded world (another world seed than any split of it)
and then plain questions about them, each with its answer ("Who directed The Silver Harbor? Ida Sexton."). The first
steps are on random tokens only, because reading builds on induction.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.worlds.synthetic_text import ASK
from train.options import option, parse
from train.tokenizer import build

ROPE_THETA = 10_000.0
WORLD_SEED = 1_000_003  # no split of the world that anything is trained or measured on


@dataclass
class Args:
    """The recipe of the base model."""

    out: Path = option(Path("train/base"), "where the checkpoint goes")
    steps: int = option(1500, "optimisation steps")
    copying: int = option(300, "the first steps, on random tokens only")
    batch: int = option(32, "sequences a step")
    length: int = option(192, "tokens a sequence")
    lr: float = option(3e-3, "peak learning rate (warm-up over 5% of the steps, then cosine to a tenth)")
    seed: int = option(0, "weights and data follow from it")
    width: int = option(128, "size of the hidden states")
    layers: int = option(4, "transformer blocks")
    heads: int = option(4, "attention heads")


def make_model(args: Args, vocabulary: int) -> LlamaForCausalLM:
    """A Llama model with tied embeddings and random weights, whose first block starts as a look at the last tokens.

    To read is to find where a token stood before and to say what followed it, which takes a head that knows the token
    before its own. Random weights find that head after a thousand steps or never; here the first block's heads begin
    with it: their query and key biases are one vector, so that
    the rotary embedding lets attention fall with the distance, each head at its own rate.
    """
    tokenizer = build()
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=args.width,
        intermediate_size=3 * args.width,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.heads,
        max_position_embeddings=1024,
        initializer_range=0.05,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        attention_bias=True,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    first, size = model.model.layers[0].self_attn, args.width // args.heads
    with torch.no_grad():
        for head in range(args.heads):
            at = slice(head * size, head * size + size // 2)  # the other half is rotated into it
            first.q_proj.bias[at] = first.k_proj.bias[at] = 2.0 + head
    return model


def copy_row(ids: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> None:
    """Turns random ids, (length,), into a row to copy: after a beginning, pieces of what came before until it is full.

    A piece has 4 to 15 tokens and begins anywhere, so only reading helps. Its first token cannot be known and has no
    label, nor has what is new.
    """
    length = len(ids)

    def below(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    at = below(8, length // 2)
    while at < length:
        start = below(0, at - 3)
        size = min(below(4, 16), length - at, at - start)
        ids[at : at + size] = ids[start : start + size].clone()
        labels[at + 1 : at + size] = ids[at + 1 : at + size]
        at += size


def documents(seed: int, length: int) -> Iterator[list[int]]:
    """Ids of paragraphs with questions and answers about them, each of ``length`` tokens, without end."""
    tokenizer = build()
    random = Random(seed)
    world = make_game(SYNTHETIC, split="train", world_seed=WORLD_SEED, limit=1_000_000).world
    row: list[int] = []
    for question_id in world.ids:
        question = world.question(question_id)
        pages = random.sample(range(len(question.paragraphs)), min(2, len(question.paragraphs)))
        told = [sentence for page in pages for sentence in question.paragraphs[page].sentences]
        facts = [fact for fact in question.facts if int(fact.sources[0][1:].partition("s")[0]) in pages]
        asked = [
            f"{random.choice(ASK[fact.relation]).format(fact.subject)} {fact.object}."
            for fact in random.sample(facts, len(facts))
        ]
        row += [*tokenizer.encode("\n".join([" ".join(told), *asked])), tokenizer.eos_token_id]
        if len(row) >= length:
            yield row[:length]
            row = []


def make_batch(
    generator: torch.Generator, args: Args, vocabulary: int, pages: Iterator[list[int]] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels, both (batch, length); with ``pages``, every other row is one of them."""
    ids = torch.randint(6, vocabulary, (args.batch, args.length), generator=generator)
    labels = torch.full_like(ids, -100)
    for row in range(args.batch):
        if pages is not None and row % 2:
            ids[row] = labels[row] = torch.tensor(next(pages))
        else:
            copy_row(ids[row], labels[row], generator)
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
    pages = documents(args.seed, args.length)
    started = time.perf_counter()
    for step in range(args.steps):
        ids, labels = make_batch(generator, args, len(tokenizer), pages if step >= args.copying else None)
        output = model(input_ids=ids, labels=labels)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == args.steps - 1:
            right = (output.logits[:, :-1].argmax(-1) == labels[:, 1:]).float()
            known = (labels[:, 1:] != -100).float()
            copied, read = [(right[rows::2].sum() / known[rows::2].sum()).item() for rows in (0, 1)]
            print(
                f"step {step:4d}  loss {output.loss.item():.3f}  right: copying {copied:.3f}, "
                f"{'reading' if step >= args.copying else 'copying'} {read:.3f}  {time.perf_counter() - started:.0f} s",
                flush=True,
            )
    args.out.mkdir(parents=True, exist_ok=True)
    model.to(torch.float32).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (args.out / "recipe.json").write_text(json.dumps({**asdict(args), "out": str(args.out)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
