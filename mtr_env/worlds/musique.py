"""MuSiQue-Ans: questions of 2 to 4 hops with their decomposition, 20 paragraphs each, not split into sentences.

A line of ``musique_ans_v1.0_dev.jsonl``, shortened::

    {
        "id": "2hop__41207_90332",
        "question": "Who is the mayor of the city where Jan Brouwer works?",
        "answer": "Ana Costa",
        "answer_aliases": ["A. Costa"],
        "answerable": true,
        "question_decomposition": [
            {"id": 41207, "question": "Jan Brouwer >> employer", "answer": "Port Office", "paragraph_support_idx": 7},
            {
                "id": 90332,
                "question": "Who is the mayor of the city of #1 ?",
                "answer": "Ana Costa",
                "paragraph_support_idx": 12,
            },
        ],
        "paragraphs": [{"idx": 0, "title": "Jan Brouwer", "paragraph_text": "Jan ...", "is_supporting": false}, ...],
    }

Quirks: about a third of the hops read "Entity >> relation" (Wikidata's words), the rest are sentences; ``#1`` is the
answer of the first hop; hops are linked by answers, not by titles; several paragraphs may have the same title;
quotation marks are often ``''`` with odd spaces; aliases may be odd. MuSiQue-Full adds unanswerable twins of the
questions under the same ids (``"answerable": false``); they cannot be used here. The test split has no answers.

Licence CC BY 4.0. Trivedi, Balasubramanian, Khot and Sabharwal: MuSiQue: Multihop Questions via Single-hop Question
Composition. TACL 2022.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec import Struct

from mtr_env.question import Evidence, Fact, Paragraph, Question, SubQuestion
from mtr_env.sentences import split_sentences
from mtr_env.text import contains_words, fold
from mtr_env.worlds.hotpotqa import require
from mtr_env.worlds.subquestions import sub_question_relation

EXPECTED = (
    "id, question, answer, paragraphs [{idx, title, paragraph_text}, ...], "
    "question_decomposition [{question, answer, paragraph_support_idx}, ...]"
)

_FAMILY = re.compile(r"(\dhop\d?)__")
_EARLIER = re.compile(r"#(\d+)")


class Passage(Struct, gc=False):
    """A paragraph of a row."""

    idx: int
    title: str
    paragraph_text: str


class Hop(Struct, gc=False):
    """A hop of a row's decomposition; ``paragraph_support_idx`` is the ``idx`` of the paragraph that answers it."""

    question: str
    answer: str
    paragraph_support_idx: int | None = None


class _Gold(NamedTuple):
    facts: list[Fact]
    units: list[Evidence]
    dropped: list[str]


class MusiqueRow(Struct, gc=False):
    """A row of MuSiQue-Ans."""

    id: str
    question: str
    answer: str
    paragraphs: list[Passage]
    question_decomposition: list[Hop]
    answer_aliases: list[str] = []
    answerable: bool = True

    def __post_init__(self) -> None:
        if not self.answerable:
            raise ValueError("`answerable` is false: unanswerable questions cannot be used, take MuSiQue-Ans")
        require(id=self.id, question=self.question, answer=self.answer)

    @property
    def question_id(self) -> str:
        """The row's ``id``."""
        return self.id

    def to_question(self) -> Question:
        """One unit of evidence per hop: the sentences that hold its answer, or its fact where the hop is a relation."""
        paragraphs: list[Paragraph] = []
        numbers: dict[int, int] = {}  # a paragraph's idx in the row -> its number in the question
        for passage in self.paragraphs:
            sentences = split_sentences(passage.paragraph_text)
            if sentences:
                numbers[passage.idx] = len(paragraphs)
                paragraphs.append(Paragraph(passage.title.strip(), sentences))
        gold = self._gold(paragraphs, numbers)
        family = _FAMILY.match(self.id)
        answer = self.answer.strip()
        aliases = dict.fromkeys([alias.strip() for alias in self.answer_aliases])
        hops = self.question_decomposition
        return Question(
            id=self.id,
            text=self.question.strip(),
            answer=answer,
            aliases=tuple([alias for alias in aliases if alias and alias != answer]),
            family=family[1] if family else f"{len(hops)}hop",
            hops=int(self.id[0]) if family else len(hops) or None,
            paragraphs=tuple(paragraphs),
            facts=tuple(gold.facts),
            evidence=tuple(gold.units),
            decomposition=tuple([SubQuestion(hop.question.strip(), hop.answer.strip()) for hop in hops]),
            dropped=tuple(gold.dropped),
        )

    def _gold(self, paragraphs: list[Paragraph], numbers: dict[int, int]) -> _Gold:
        gold = _Gold([], [], [])
        for place, hop in enumerate(self.question_decomposition):
            number = numbers.get(-1 if hop.paragraph_support_idx is None else hop.paragraph_support_idx)
            refs: tuple[str, ...] = ()
            if number is None:
                gold.dropped.append(f"hop {place + 1}: there is no paragraph {hop.paragraph_support_idx}")
            else:
                refs = _sentences_with(hop.answer, number, paragraphs[number])
            relation = hop_relation(hop.question, [earlier.answer for earlier in self.question_decomposition[:place]])
            if relation is not None and hop.answer.strip():
                gold.facts.append(Fact(*relation, hop.answer.strip(), refs))
                refs = (f"t{len(gold.facts) - 1}", *refs)
            if refs:
                gold.units.append(Evidence(refs))
        return gold


def _sentences_with(answer: str, number: int, paragraph: Paragraph) -> tuple[str, ...]:
    """References to the sentences that hold the answer's words; to all of them when none does."""
    key = fold(answer)
    holding = [i for i, sentence in enumerate(paragraph.sentences) if contains_words(fold(sentence), key)]
    return tuple([f"p{number}s{i}" for i in holding or range(len(paragraph.sentences))])


def hop_relation(text: str, answers: list[str]) -> tuple[str, str] | None:
    """(subject, relation) that a hop asks for, with ``#n`` replaced by the n-th of ``answers``; ``None`` if unclear.

    >>> hop_relation("#1 >> capital of", ["Lima"])
    ('Lima', 'capital of')
    """
    subject, arrow, relation = text.partition(">>")
    if not arrow:
        mapped = sub_question_relation(text)
        if mapped is None:
            return None
        subject, relation = mapped

    def earlier(match: re.Match[str]) -> str:
        number = int(match[1])
        return answers[number - 1] if 1 <= number <= len(answers) else match[0]

    subject = _EARLIER.sub(earlier, subject).strip()
    return (subject, relation.strip()) if subject and relation.strip() and not _EARLIER.search(subject) else None
