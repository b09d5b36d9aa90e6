"""HotpotQA, distractor setting: 10 paragraphs a question, split into sentences, two of the paragraphs hold the answer.

A row of ``hotpot_dev_distractor_v1.json`` (a JSON list), shortened::

    {
        "_id": "5ab2f0cc5542991e3a4c0d17",
        "type": "bridge",
        "level": "hard",
        "question": "In which year was the brewery that owns the Old Swan founded?",
        "answer": "1841",
        "supporting_facts": [["Old Swan", 0], ["Harland Brewery", 1]],
        "context": [
            ["Old Swan", ["The Old Swan is a pub owned by Harland Brewery.", " It has two floors."]],
            ["Harland Brewery", ["Harland Brewery is in Leeds.", " It was founded in 1841."]],
            ...,
        ],
    }

The hub's ``hotpotqa/hotpot_qa`` has ``id`` for ``_id`` and columns of lists for the two nested fields:
``{"title": ["Old Swan", ...], "sent_id": [0, ...]}`` and ``{"title": [...], "sentences": [[...], ...]}``.

Quirks: every sentence but the first starts with a space, some sentences are empty, under 1% of the questions have
fewer than 10 paragraphs, the answer of a comparison may be "yes" or "no" and then stands in no paragraph. The test
split has no answers.

Licence CC BY-SA 4.0. Yang, Qi, Zhang, Bengio, Cohen, Salakhutdinov and Manning: HotpotQA: A Dataset for Diverse,
Explainable Multi-hop Question Answering. EMNLP 2018.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from mtr_env.question import Evidence, Paragraph, Question

Context = list[tuple[str, list[str]]]
SupportingFacts = list[tuple[str, int]]

EXPECTED = "_id (or id), question, answer, context [[title, [sentence, ...]], ...], supporting_facts [[title, n], ...]"


class ContextColumns(Struct):
    """The paragraphs as the hub stores them."""

    title: list[str]
    sentences: list[list[str]]


class FactColumns(Struct):
    """The supporting facts as the hub stores them."""

    title: list[str]
    sent_id: list[int]


def context_pairs(value: Context | ContextColumns | str) -> Context:
    """(title, sentences) pairs from any of the three layouts: pairs, columns, or one of them as a JSON string."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return context_pairs(msgspec.json.decode(value, type=Context | ContextColumns))
    if len(value.title) != len(value.sentences):
        raise ValueError(f"`context` has {len(value.title)} titles and {len(value.sentences)} lists of sentences")
    return list(zip(value.title, value.sentences, strict=True))


def fact_pairs(value: SupportingFacts | FactColumns | str) -> SupportingFacts:
    """(title, sentence index) pairs from any of the three layouts."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return fact_pairs(msgspec.json.decode(value, type=SupportingFacts | FactColumns))
    if len(value.title) != len(value.sent_id):
        raise ValueError(f"`supporting_facts` has {len(value.title)} titles and {len(value.sent_id)} sentence indices")
    return list(zip(value.title, value.sent_id, strict=True))


def plain_title(title: str) -> str:
    """A title as people write it: HotpotQA's have HTML entities (``Simon &amp; Simon``), though its text has none."""
    return html.unescape(title).strip() if "&" in title else title.strip()


class Passages(NamedTuple):
    """The paragraphs of a question and, for every title, (paragraph number, upstream sentences) of those called so."""

    paragraphs: tuple[Paragraph, ...]
    places: dict[str, list[tuple[int, list[str]]]]


def read_passages(context: Iterable[tuple[str, list[str]]]) -> Passages:
    """The paragraphs without empty sentences; one that has no other sentences is left out."""
    paragraphs: list[Paragraph] = []
    places: dict[str, list[tuple[int, list[str]]]] = {}
    for title, sentences in context:
        title = plain_title(title)
        kept = tuple([kept for sentence in sentences if (kept := sentence.strip())])
        if kept:
            places.setdefault(title, []).append((len(paragraphs), sentences))
            paragraphs.append(Paragraph(title, kept))
    return Passages(tuple(paragraphs), places)


class Support(NamedTuple):
    """Supporting sentences as references: one unit per usable fact (two paragraphs may share the title), the rest."""

    units: list[tuple[str, ...]]
    dropped: list[str]


def read_support(facts: SupportingFacts, passages: Passages) -> Support:
    """Maps (title, upstream sentence index) to references; what cannot be mapped is ``dropped``, with the reason."""
    units = []
    dropped = []
    for title, index in dict.fromkeys(facts):
        places = passages.places.get(plain_title(title), [])
        refs = [
            f"p{number}s{sum([1 for sentence in sentences[:index] if sentence.strip()])}"
            for number, sentences in places
            if 0 <= index < len(sentences) and sentences[index].strip()
        ]
        if refs:
            units.append(tuple(refs))
        elif not places:
            dropped.append(f"supporting fact ({title!r}, {index}): no paragraph has this title")
        elif 0 <= index < len(places[0][1]):
            dropped.append(f"supporting fact ({title!r}, {index}): that sentence is empty")
        else:
            dropped.append(f"supporting fact ({title!r}, {index}): the paragraph has {len(places[0][1])} sentences")
    return Support(units, dropped)


def require(**fields: str) -> None:
    """Raises ValueError naming the first field that is empty (msgspec adds it to the row's error)."""
    for name, value in fields.items():
        if not value.strip():
            raise ValueError(f"`{name}` is missing or empty")


class HotpotRow(Struct, gc=False):
    """A row in the official layout or the hub's."""

    question: str
    answer: str
    context: Context | ContextColumns | str
    supporting_facts: SupportingFacts | FactColumns | str
    type: str = "bridge"
    official_id: str = msgspec.field(name="_id", default="")
    hub_id: str = msgspec.field(name="id", default="")

    def __post_init__(self) -> None:
        require(question=self.question, answer=self.answer, _id=self.question_id)
        self.context = context_pairs(self.context)
        self.supporting_facts = fact_pairs(self.supporting_facts)

    @property
    def question_id(self) -> str:
        """``_id`` upstream, ``id`` on the hub."""
        return self.official_id or self.hub_id

    def to_question(self) -> Question:
        """One unit of evidence per supporting sentence; a comparison answered by yes or no is of family ``yes_no``."""
        passages = read_passages(context_pairs(self.context))
        support = read_support(fact_pairs(self.supporting_facts), passages)
        answer = self.answer.strip()
        yes_no = self.type == "comparison" and answer.lower() in ("yes", "no")
        return Question(
            id=self.question_id,
            text=self.question.strip(),
            answer=answer,
            family="yes_no" if yes_no else self.type,
            hops=2,
            paragraphs=passages.paragraphs,
            evidence=tuple([Evidence(refs) for refs in support.units]),
            dropped=tuple(support.dropped),
        )
