"""Pretraining of the tiny base model: it learns to copy and to read, and sees no trace, no tool call and no answer tag.

    python -m train.pretrain --out train/base

The rows are of three kinds; only what can be known has a label. The first steps have the first kind only, because
reading builds on copying.

- *copying*: random tokens, pieces of which come again later. To predict them is to find where this token stood before
  and to say what followed it. The grammar's tags occur here as random tokens among all others, and nowhere else.
- *reading*: two paragraphs of the embedded world, then plain questions about them with their answers ("Who directed The
  Silver Harbor? Ida Sexton.").
- *following*: a multi-hop question and, as plain text, the simple questions that it is made of. Single facts stand
  before it, and each simple question has its answer; or the facts stand after the simple question that they answer.

The world's seed is another than that of any split of it, and the names are those of its training split.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mtr_env.question import Fact
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
    copying: int = option(250, "the first steps, on random tokens only")
    batch: int = option(32, "sequences a step")
    length: int = option(224, "tokens a sequence")
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


class Author:
    """Writes the rows that are text, without end: (ids, labels), both of ``length`` tokens."""

    def __init__(self, seed: int, length: int) -> None:
        self.tokenizer = build()
        self.length = length
        self.random = Random(seed)
        world = make_game(SYNTHETIC, split="train", world_seed=WORLD_SEED, limit=10_000_000).world
        self.questions = (world.question(question_id) for question_id in world.ids)

    def reading(self) -> tuple[list[int], list[int]]:
        """Two paragraphs with questions about their facts; the answers have labels."""
        question, pick = next(self.questions), self.random
        pages = pick.sample(range(len(question.paragraphs)), min(2, len(question.paragraphs)))
        told = [sentence for page in pages for sentence in question.paragraphs[page].sentences]
        facts = [fact for fact in question.facts if int(fact.sources[0][1:].partition("s")[0]) in pages]
        row = [(" ".join(told), False)]
        for fact in pick.sample(facts, len(facts)):
            row += [(f"\n{self._ask(fact)}", False), (f" {fact.object}.", True)]
        return self._row(row)

    def following(self, *, asked_first: bool) -> tuple[list[int], list[int]]:
        """A multi-hop question and its decomposition, which has labels; the facts stand before the question, or each
        where its part of the question is asked."""
        question, pick = next(self.questions), self.random
        named = {ref for unit in question.evidence for ref in unit.any_of}
        gold = [fact for i, fact in enumerate(question.facts) if f"t{i}" in named]
        others = [fact for fact in question.facts if fact not in gold]
        row: list[tuple[str, bool]] = []
        if not asked_first:
            facts = gold + pick.sample(others, max(0, min(len(others), 9 - len(gold))))
            row += [(f"{self._ask(fact)} {fact.object}.\n", False) for fact in pick.sample(facts, len(facts))]
        row.append((question.text, False))
        answers: list[str] = []
        for step in question.decomposition:
            text = step.text
            for number, answer in enumerate(answers, 1):
                text = text.replace(f"#{number}", answer)
            answers.append(step.answer)
            row.append((f"\n{text}", True))
            if asked_first:
                told = [fact for fact in gold if fact.subject in text or fact.object in text]
                told += pick.sample(others, min(len(others), pick.randrange(3)))
                row += [(f"\n{self._ask(fact)} {fact.object}.", False) for fact in pick.sample(told, len(told))]
            else:
                row.append((f" {step.answer}.", True))
        return self._row([*row, (f"\n{question.answer}.", True)])

    def _ask(self, fact: Fact) -> str:
        return self.random.choice(ASK[fact.relation]).format(fact.subject)

    def _row(self, pieces: list[tuple[str, bool]]) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        labels: list[int] = []
        for text, known in pieces:
            tokens = self.tokenizer.encode(text)
            ids += tokens
            labels += tokens if known else [-100] * len(tokens)
        short = self.length - len(ids)
        ids += [self.tokenizer.pad_token_id] * short
        labels += [-100] * short
        return ids[: self.length], labels[: self.length]


def make_batch(
    generator: torch.Generator, args: Args, vocabulary: int, author: Author | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels, both (batch, length): of four rows one is to copy, one to read, one to follow in each form;
    without an author all are to copy."""
    ids = torch.randint(6, vocabulary, (args.batch, args.length), generator=generator)
    labels = torch.full_like(ids, -100)
    for row in range(args.batch):
        if author is None or row % 4 == 0:
            copy_row(ids[row], labels[row], generator)
        else:
            text = author.reading() if row % 4 == 1 else author.following(asked_first=row % 4 == 3)
            ids[row], labels[row] = map(torch.tensor, text)
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
    author = Author(args.seed, args.length)
    started = time.perf_counter()
    for step in range(args.steps):
        ids, labels = make_batch(generator, args, len(tokenizer), author if step >= args.copying else None)
        output = model(input_ids=ids, labels=labels)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == args.steps - 1:
            right = (output.logits[:, :-1].argmax(-1) == labels[:, 1:]).float()
            known = (labels[:, 1:] != -100).float()
            shares = [(right[rows::4].sum() / known[rows::4].sum()).item() for rows in range(4)]
            kinds = ("copying", "reading", "following", "asking") if step >= args.copying else ("copying",)
            print(
                f"step {step:4d}  loss {output.loss.item():.3f}  right: "
                + ", ".join(f"{kind} {share:.3f}" for kind, share in zip(kinds, shares, strict=False))
                + f"  {time.perf_counter() - started:.0f} s",
                flush=True,
            )
    args.out.mkdir(parents=True, exist_ok=True)
    model.to(torch.float32).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (args.out / "recipe.json").write_text(json.dumps({**asdict(args), "out": str(args.out)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
