"""2WikiMultiHopQA: HotpotQA's layout plus the reasoning path as (subject, relation, object) triples from Wikidata.

A row of ``dev.json`` (a JSON list), shortened::

    {
        "_id": "7d1e0c5a0baf11ebab90acde48001122",
        "type": "compositional",
        "question": "Where was the director of film Low Tide (1952 Film) born?",
        "answer": "Bergen",
        "supporting_facts": [["Low Tide (1952 film)", 0], ["Nils Aker", 1]],
        "evidences": [["Low Tide", "director", "Nils Aker"], ["Nils Aker", "place of birth", "Bergen"]],
        "context": [["Low Tide (1952 film)", ["Low Tide is a film directed by Nils Aker.", "It won a prize."]], ...],
    }

The hub's mirrors store ``context``, ``supporting_facts`` and ``evidences`` as HotpotQA's columns or as JSON strings.

Quirks: questions are title-cased ("God'S Gift To Women"), hyphens and brackets have odd spaces ("Rim- Sin II("), 1% of
the rows have a supporting sentence index out of range, 4% have the same paragraph twice, a triple's subject need not be
spelt like the title of its paragraph (``"Limehouse Blues`` for ``Limehouse Blues (song)``), and its object need not be
spelt like the sentence that states it ("January 9, 1893", "9 January 1893"). The test split has no answers.

Licence Apache-2.0. Ho, Duong Nguyen, Sugawara and Aizawa: Constructing A Multi-hop QA Dataset for Comprehensive
Evaluation of Reasoning Steps. COLING 2020.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Struct

from mtr_env.question import Evidence, Fact, Question
from mtr_env.text import contains_words, fold, name_key
from mtr_env.worlds.hotpotqa import (
    Context,
    ContextColumns,
    FactColumns,
    Passages,
    Support,
    SupportingFacts,
    context_pairs,
    fact_pairs,
    read_passages,
    read_support,
    require,
)

Triples = list[tuple[str, str, str]]

EXPECTED = (
    "_id (or id), question, answer, type, context [[title, [sentence, ...]], ...], supporting_facts [[title, n], ...], "
    "evidences [[subject, relation, object], ...]"
)


class TripleColumns(Struct):
    """The evidence triples as columns."""

    fact: list[str]
    relation: list[str]
    entity: list[str]


def triples(value: Triples | TripleColumns | str) -> Triples:
    """The evidence triples from any of the layouts: lists of three, columns, or one of them as a JSON string."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return triples(msgspec.json.decode(value, type=Triples | TripleColumns))
    if not len(value.fact) == len(value.relation) == len(value.entity):
        raise ValueError("`evidences` has columns of different lengths")
    return list(zip(value.fact, value.relation, value.entity, strict=True))


class _Sentence(NamedTuple):
    ref: str
    title: str
    key: str


def _supporting(passages: Passages, support: Support) -> list[_Sentence]:
    sentences = []
    for ref in [ref for unit in support.units for ref in unit]:
        paragraph, index = ref[1:].split("s")
        title, texts = passages.paragraphs[int(paragraph)].title, passages.paragraphs[int(paragraph)].sentences
        sentences.append(_Sentence(ref, title, fold(texts[int(index)])))
    return sentences


def _stated_by(subject: str, obj: str, supporting: list[_Sentence]) -> tuple[str, ...]:
    """The supporting sentences that state a triple: those of the subject's paragraph, best those that name the object.

    Without a paragraph titled like the subject ("Albert II" may be titled "Albert II, Prince of Monaco"): those that
    name both, or at least the object in a paragraph that is not about it. ``()`` when nothing does.
    """
    exact, name, value, object_name = fold(subject), name_key(subject), fold(obj), name_key(obj)
    titled = (
        [s for s in supporting if fold(s.title) == exact]
        or [s for s in supporting if name_key(s.title) == name]
        or [s for s in supporting if name_key(s.title).startswith(name + " ")]
    )
    naming = [s for s in titled or supporting if contains_words(s.key, value)]
    if not titled:
        elsewhere = [s for s in naming if name_key(s.title) != object_name]
        naming = [s for s in naming if contains_words(s.key, name)] or elsewhere
    return tuple([s.ref for s in naming or titled])


class TwoWikiRow(Struct, gc=False):
    """A row in the official layout or one of the hub's."""

    question: str
    answer: str
    context: Context | ContextColumns | str
    supporting_facts: SupportingFacts | FactColumns | str
    evidences: Triples | TripleColumns | str
    type: str = "compositional"
    official_id: str = msgspec.field(name="_id", default="")
    hub_id: str = msgspec.field(name="id", default="")

    def __post_init__(self) -> None:
        require(question=self.question, answer=self.answer, _id=self.question_id)
        self.context = context_pairs(self.context)
        self.supporting_facts = fact_pairs(self.supporting_facts)
        self.evidences = triples(self.evidences)

    @property
    def question_id(self) -> str:
        """``_id`` upstream, ``id`` on the hub."""
        return self.official_id or self.hub_id

    def to_question(self) -> Question:
        """One unit of evidence per triple: the triple itself (``t0`` is the first) or a sentence that states it."""
        passages = read_passages(context_pairs(self.context))
        support = read_support(fact_pairs(self.supporting_facts), passages)
        supporting = _supporting(passages, support)
        facts: list[Fact] = []
        dropped = list(support.dropped)
        for subject, relation, obj in dict.fromkeys(triples(self.evidences)):
            if fold(subject) and relation.strip() and fold(obj):
                sources = _stated_by(subject, obj, supporting)
                facts.append(Fact(subject.strip(), relation.strip(), obj.strip(), sources))
            else:
                dropped.append(f"evidence triple ({subject!r}, {relation!r}, {obj!r}): a part is empty")
        return Question(
            id=self.question_id,
            text=self.question.strip(),
            answer=self.answer.strip(),
            family=self.type,
            hops=len(facts) or None,
            paragraphs=passages.paragraphs,
            facts=tuple(facts),
            evidence=tuple([Evidence((f"t{i}", *fact.sources)) for i, fact in enumerate(facts)]),
            dropped=tuple(dropped),
        )
