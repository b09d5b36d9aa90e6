"""Pretraining of the tiny base model: it learns to copy and to read, and sees no trace, no tool call and no answer tag.

    python -m train.pretrain --out runs/base
    python -m train.pretrain --start runs/base --steps 4000 --lr 2e-3 --seed 1 --out train/base

The first steps are *copying* alone, because reading builds on it: random tokens, pieces of which come again later. To
predict them is to find where this token stood before and to say what followed it. The grammar's tags occur here as
random tokens among all others, and nowhere else. Then most rows are texts, and only what can be known has a label:

- *reading*: paragraphs of the embedded world, then plain questions about them with their answers ("Who directed The
  Silver Harbor? Ida Sexton.");
- *remembering*: the same about facts on lines, as questions with answers or as records;
- *using*: a manual of tools, then single questions and which tool answers each;
- *decomposing*: single facts, then a multi-hop question and the simple questions that it is made of, answered;
- *following*: a multi-hop question and its simple questions, where a record that answers stands after each.

The second command goes on with the words of names exchanged for one another, row by row: names come from few words, and
a model that has learnt which follow each other guesses a name instead of reading it. Its simple questions stand in the
order in which the oracle asks them, half of its questions after a manual of tools, and some rows are for

- *comparing*: two dates or numbers, which is the smaller or the larger, and what is to be subtracted from what.

In the end the grammar's tags, which no text holds, get the embeddings of what stands in their places in plain text. The
world's seed is another than that of any split of it, and the names are those of its training split.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from agents.thoughts import thought
from mtr_env.question import Fact, Question
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.tool import ToolSpec
from mtr_env.toolmakers.specs import CALCULATE, FIND_IN_PAGE, OPEN_PAGE, SEARCH, inverse_tool, relation_tool
from mtr_env.trace import Call
from mtr_env.worlds.synthetic_text import ASK, COMPARE, DIFFERENCE, EVENT, PICK
from train.names import exchange
from train.options import option, parse
from train.tokenizer import build

ROPE_THETA = 10_000.0
WORLD_SEED = 1_000_003  # no split of the world that anything is trained or measured on
LENGTHS = (224, 224, 224, 448)  # tokens a row, by turns: as long as episodes are


@dataclass
class Args:
    """The recipe of the base model."""

    out: Path = option(Path("train/base"), "where the checkpoint goes")
    start: Path | None = option(None, "a checkpoint of this program to go on from, with the names exchanged")
    steps: int = option(8000, "optimisation steps")
    copying: int = option(250, "the first steps, on random tokens only")
    batch_tokens: int = option(4480, "tokens a step")
    lr: float = option(3e-3, "peak learning rate")
    seed: int = option(0, "weights and data follow from it")
    families: str | None = option(None, "the multi-hop questions' families, with commas between them (all)")
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


COMPARED = ("date of birth", "publication date", "inception", "population")
Pieces = list[tuple[str, bool]]  # a text in pieces, and whether one that has read so far can know the piece


class Author:
    """Writes the rows that are text, without end."""

    def __init__(self, seed: int, later: bool = False, families: Sequence[str] | None = None) -> None:
        self.tokenizer = build()
        self.random = Random(seed)
        self.later = later
        """Whether these are the rows of the commands that go on from a checkpoint."""
        world = make_game(SYNTHETIC, split="train", world_seed=WORLD_SEED, limit=10_000_000, families=families).world
        self.questions = (world.question(question_id) for question_id in world.ids)
        self.kinds = {self.reading: 1, self.remembering: 2, self.using: 1, self.decomposing: 1, self.following: 4}
        if later:
            self.kinds[self.comparing] = 2

    def row(self, length: int) -> tuple[list[int], list[int]]:
        """(ids, labels) of ``length`` tokens: as many texts as it takes, of any kind, the last one cut off."""
        ids: list[int] = []
        labels: list[int] = []
        while len(ids) < length:
            (write,) = self.random.choices([*self.kinds], [*self.kinds.values()])
            for text, known in [*write(), (self.tokenizer.eos_token, False)]:
                tokens = self.tokenizer.encode(text)
                ids += tokens
                labels += tokens if known else [-100] * len(tokens)
        ids, labels = ids[:length], labels[:length]
        if self.later:
            to = exchange(ids, self.random)
            ids, labels = [to.get(token, token) for token in ids], [to.get(label, label) for label in labels]
        return ids, labels

    def reading(self) -> Pieces:
        """One or two paragraphs with questions about their facts; the answers can be known."""
        question, pick = next(self.questions), self.random
        pages = pick.sample(range(len(question.paragraphs)), pick.randint(1, 2))
        told = [sentence for page in pages for sentence in question.paragraphs[page].sentences]
        facts = [fact for fact in question.facts if int(fact.sources[0][1:].partition("s")[0]) in pages]
        asked = pick.sample(facts, min(len(facts), 8))
        return [(" ".join(told), False), *[piece for fact in asked for piece in self._asked_and_answered(fact)]]

    def remembering(self) -> Pieces:
        """Facts on lines with questions about some; the answers can be known."""
        question, pick = next(self.questions), self.random
        facts = pick.sample(question.facts, min(len(question.facts), pick.randint(2, 8)))
        asked = pick.sample(facts, min(len(facts), 5))
        told = "\n".join(map(self._told, facts))
        return [(told, False), *[piece for fact in asked for piece in self._asked_and_answered(fact)]]

    def using(self) -> Pieces:
        """A manual of tools, then single questions and which tool answers them; what is to be done can be known."""
        question, pick = next(self.questions), self.random
        asked = pick.sample(question.facts, min(len(question.facts), 5))
        others = pick.sample(sorted(ASK), 3)
        uses = [(relation_tool(fact.relation), {0: fact.subject}) for fact in asked]
        uses += [(inverse_tool(fact.relation), {0: fact.object}) for fact in pick.sample(asked, min(len(asked), 2))]
        uses.append((SEARCH, {0: asked[0].subject}))
        uses.append((OPEN_PAGE, {0: asked[-1].subject}))
        uses.append((FIND_IN_PAGE, {0: asked[0].subject, 1: asked[0].object}))
        uses.append((CALCULATE, {0: f"{pick.randint(1800, 2020)} - {pick.randint(1800, 2020)}"}))
        uses = pick.sample(uses, min(len(uses), 6))
        text: Pieces = [(self._manual([*[use[0] for use in uses], *map(relation_tool, others)]), False)]
        for tool, values in uses:
            arguments = dict(zip(tool.parameters["properties"], values.values(), strict=True))
            text.append((f"\n{thought(Call(tool.name, arguments), tool)}", False))
            text.append((f" {tool.name}, " + ", ".join(f"{name}: {value}" for name, value in arguments.items()), True))
        return text

    def decomposing(self) -> Pieces:
        """Single facts, then a multi-hop question and its simple questions with their answers, which can be known."""
        question, pick = next(self.questions), self.random
        gold, others = self._facts(question)
        facts = gold + pick.sample(others, max(0, min(len(others), 9 - len(gold))))
        text = [(f"{self._told(fact)}\n", False) for fact in pick.sample(facts, len(facts))]
        text.append((question.text, False))
        for asked, answer in self._simple_questions(question):
            text += [(f"\n{asked}", True), (f" {answer}.", True)]
        return [*text, (f"\n{question.answer}.", True)]

    def following(self) -> Pieces:
        """A multi-hop question and the simple questions that lead to its answer, which can be known; what answers each
        stands after it, now and then among other facts. Half of the questions stand after a manual of tools."""
        question, pick = next(self.questions), self.random
        gold, others = self._facts(question)
        text: Pieces = [(question.text, False)]
        if self.later and pick.random() < 0.5:
            some = pick.sample(question.facts, min(len(question.facts), pick.randint(2, 6)))
            text.insert(0, (self._manual([relation_tool(fact.relation) for fact in some]) + "\n", False))
        for asked, answer in self._simple_questions(question):
            for simple, told in self._looked_up(question, gold, asked, answer):
                lines = [told, *map(self._told, pick.sample(others, min(len(others), pick.choice((0, 0, 0, 0, 1, 2)))))]
                text.append((f"\n{simple}", True))
                text += [(f"\n{line}", False) for line in pick.sample(lines, len(lines))]
        return [*text, (f"\n{question.answer}.", True)]

    def comparing(self) -> Pieces:
        """Pairs of dates or numbers: which is the smaller or the larger, or what to subtract; both can be known."""
        question, pick = next(self.questions), self.random
        text: Pieces = []
        for relation in pick.sample(COMPARED, len(COMPARED)):
            facts = pick.sample(stated := [f for f in question.facts if f.relation == relation], len(stated))
            for pair in zip(facts[::2], facts[1::2], strict=False):
                if _number(pair[0]) != _number(pair[1]):
                    text += pick.choice((self._picked, self._chosen, self._subtracted))(*pair)
        return text

    def _picked(self, one: Fact, other: Fact) -> Pieces:
        wanted = self.random.choice(("min", "max"))
        asked = PICK[one.relation, wanted].format(one.subject, one.object, other.subject, other.object)
        return [
            (f"\n{asked}", False),
            (f" {(min if wanted == 'min' else max)(one, other, key=_number).subject}.", True),
        ]

    def _chosen(self, one: Fact, other: Fact) -> Pieces:
        wanted = self.random.choice(("min", "max"))
        asked = self.random.choice(COMPARE[one.relation, wanted]).format(one.subject, other.subject)
        told = "\n".join(map(self._told, self.random.sample((one, other), 2)))
        return [(f"\n{asked}\n{told}", False), (f"\n{_winner(wanted, one, other)}.", True)]

    def _subtracted(self, one: Fact, other: Fact) -> Pieces:
        if one.relation == "population":
            return self._picked(one, other)
        events = [EVENT[fact.relation].format(fact.subject) for fact in (one, other)]
        told = "\n".join(map(self._told, self.random.sample((one, other), 2)))
        less, more = sorted(map(_number, (one, other)))
        asked = self.random.choice(DIFFERENCE).format(*events)
        return [(f"\n{asked}\n{told}", False), (f"\nWhat is {more} - {less}?", True)]

    def _manual(self, tools: list[ToolSpec]) -> str:
        """The signatures of tools, a line each, in any order."""
        signatures = sorted({tool.name: tool.signature() for tool in tools}.values())
        return "\n".join(self.random.sample(signatures, len(signatures)))

    def _looked_up(self, question: Question, gold: list[Fact], asked: str, answer: str) -> Iterator[tuple[str, str]]:
        """What is asked for one step of a decomposition, and what is told: the fact, the lists that the answer stands
        in, the difference of two years; nothing for a step that is thinking only."""
        facts = [fact for fact in gold if fact.subject in asked and fact.object == answer]
        if facts:
            yield asked, self._told(facts[0])
        elif question.family == "temporal":
            first, second = sorted(re.findall(r"\b\d{4}\b", asked), reverse=True)
            yield f"What is {first} - {second}?", f'"result":{answer}'
        elif question.family in ("intersection", "count"):
            listed = [(fact.relation, fact.object) for fact in gold if fact.object in asked]
            if question.family == "intersection":
                of_answer = [(fact.relation, fact.object) for fact in gold if fact.subject == answer]
                wanted = [pair for pair in of_answer if pair in listed]
            else:
                wanted = [pair for pair in listed if listed.count(pair) == int(answer)]
            for relation, object_ in dict.fromkeys(wanted):
                tool = inverse_tool(relation)
                yield thought(Call(tool.name, {"value": object_}), tool), self._listed(question, relation, object_)

    def _listed(self, question: Question, relation: str, object_: str) -> str:
        """A record of everything that has this object."""
        value, found = list(inverse_tool(relation).response["properties"])[1:3]
        names = [fact.subject for fact in question.facts if (fact.relation, fact.object) == (relation, object_)]
        names = self.random.sample(names, len(names))
        works = '","'.join(names)
        return f'"{value}":"{object_}","{found}":["{works}"],"total":{len(names)}'

    def _facts(self, question: Question) -> tuple[list[Fact], list[Fact]]:
        """Those that answer the question, and the others."""
        named = {ref for unit in question.evidence for ref in unit.any_of}
        gold = [fact for i, fact in enumerate(question.facts) if f"t{i}" in named]
        return gold, [fact for fact in question.facts if fact not in gold]

    def _simple_questions(self, question: Question) -> Iterator[tuple[str, str]]:
        """The decomposition with names in the place of numbers, in an order in which each can be answered."""
        steps = dict(enumerate(question.decomposition, 1))
        answers: dict[int, str] = {}
        while steps:
            ready = [n for n, step in steps.items() if {*map(int, re.findall(r"#(\d+)", step.text))} <= {*answers}]
            number = ready[0] if self.later else self.random.choice(ready)
            step = steps.pop(number)
            yield re.sub(r"#(\d+)", lambda found: answers[int(found[1])], step.text), step.answer
            answers[number] = step.answer

    def _asked_and_answered(self, fact: Fact) -> Pieces:
        question = self.random.choice(ASK[fact.relation]).format(fact.subject)
        return [(f"\n{question}", False), (f" {fact.object}.", True)]

    def _told(self, fact: Fact) -> str:
        """A fact on a line: as a question with its answer, or as a record."""
        if self.random.random() < 0.5:
            return self.random.choice(ASK[fact.relation]).format(fact.subject) + f" {fact.object}."
        subject, value = list(relation_tool(fact.relation).response["properties"])[1:3]
        return f'"{subject}":"{fact.subject}","{value}":["{fact.object}"]'


def _number(fact: Fact) -> int:
    """The year or the number that a fact states."""
    return int(re.findall(r"\d+", fact.object)[-1])


def _winner(wanted: str, one: Fact, other: Fact) -> str:
    return (min if wanted == "min" else max)(one, other, key=_number).subject


def make_batch(
    generator: torch.Generator, rows: int, length: int, vocabulary: int, author: Author | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels, both (rows, length): one row of eight is to copy, the others are text; without an author all are
    to copy."""
    ids = torch.randint(6, vocabulary, (rows, length), generator=generator)
    labels = torch.full_like(ids, -100)
    for row in range(rows):
        if author is None or row % 8 == 0:
            copy_row(ids[row], labels[row], generator)
        else:
            ids[row], labels[row] = map(torch.tensor, author.row(length))
    return ids, labels


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean loss of the known tokens, and which of them, (known,), the model would have written."""
    known = labels[:, 1:] != -100
    with torch.autocast("cpu", torch.bfloat16):
        states = model.model(input_ids=ids).last_hidden_state[:, :-1][known]
        logits = model.lm_head(states).float()
    wanted = labels[:, 1:][known]
    return torch.nn.functional.cross_entropy(logits, wanted), logits.argmax(-1) == wanted


def rate(step: int, steps: int) -> float:
    """The learning rate's factor: up over 2% of the steps, then down to a fiftieth."""
    return max(0.02, min((step + 1) / (0.02 * steps), 1 - step / steps))


# What stands in plain text where a tag stands in a trace. No text has tags, so their own embeddings say nothing.
PLACES = {
    "<think>": "\n",
    "<answer>": "\n",
    "</answer>": ".",
    '<tool_call>\n{"name":"': " ",
    '</think>\n<tool_call>\n{"name":"': " ",
    '","arguments":{"': " ",
}


def begin_tags(model: LlamaForCausalLM, tokenizer: Any) -> None:
    """Gives the grammar's tags, as is usual for new tokens, the embeddings of tokens already known: what follows a tag
    is then what follows there in plain text, for instance a name in the place of an answer."""
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        for tag, known in PLACES.items():
            (at,), (like,) = tokenizer.encode(tag), tokenizer.encode(known)
            embeddings[at] = embeddings[like]


def recipe_of(args: Args) -> dict[str, Any]:
    """How the checkpoint is made, from the first command on."""
    made = {**asdict(args), "out": args.out.name}
    if args.start is not None:
        made["start"] = json.loads((args.start / "recipe.json").read_text())
    return made


def save(model: LlamaForCausalLM, tokenizer: Any, out: Path, recipe: dict[str, Any]) -> None:
    """The checkpoint and how it was made."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")


def main(argv: list[str] | None = None) -> None:
    """Trains and saves the base model."""
    args = parse(Args, "pretrain", __doc__.split("\n", 1)[0], argv)
    recipe = recipe_of(args)
    torch.manual_seed(args.seed)
    tokenizer = build()
    model = LlamaForCausalLM.from_pretrained(args.start) if args.start else make_model(args, len(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, args.steps))
    generator = torch.Generator().manual_seed(args.seed)
    families = args.families.split(",") if args.families else None
    author = Author(args.seed, later=args.start is not None, families=families)
    started = time.perf_counter()
    for step in range(args.steps):
        length = LENGTHS[step % len(LENGTHS)]
        writes = author if args.start or step >= args.copying else None
        ids, labels = make_batch(generator, args.batch_tokens // length, length, len(tokenizer), writes)
        loss, right = loss_of(model, ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == args.steps - 1:
            spent = time.perf_counter() - started
            print(
                f"step {step:5d}  loss {loss.item():.3f}  right {right.float().mean():.3f}  {spent:.0f} s", flush=True
            )
    begin_tags(model, tokenizer)
    save(model, tokenizer, args.out, recipe)


if __name__ == "__main__":
    main()
