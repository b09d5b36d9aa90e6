"""Bamboogle: 125 two-hop questions written by hand so that a search engine's first answer is wrong. No paragraphs.

A row of the hub's ``chiayewken/bamboogle`` or of the CSV the authors publish::

    {"Question": "Who led the country whose capital hosted the 1900 exhibition in 1960?", "Answer": "Charles de Gaulle"}

JSONL copies have lower-case names and an ``id``. Upstream there is only a "test" split, and neither paragraphs nor
annotations: such a question has no evidence, and its tools need a corpus. The sample bundled with this package adds
``context`` and ``supporting_facts`` in HotpotQA's layout.

A row without an id gets one from its question's text (``bamboogle_`` and 8 hex digits), so that a question has the
same id in any file and in any order.

Licence MIT (data set card). Press, Zhang, Min, Schmidt, Smith and Lewis: Measuring and Narrowing the Compositionality
Gap in Language Models. Findings of EMNLP 2023.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
from msgspec import Struct

from mtr_env.question import Evidence, Question
from mtr_env.worlds.hotpotqa import (
    Context,
    ContextColumns,
    FactColumns,
    SupportingFacts,
    context_pairs,
    fact_pairs,
    read_passages,
    read_support,
    require,
)

EXPECTED = "question, answer (in a CSV: Question,Answer), optionally id, context, supporting_facts"


class BamboogleRow(Struct, gc=False):
    """A row with lower-case names or the hub's capitals."""

    question: str = ""
    answer: str = ""
    hub_question: str = msgspec.field(name="Question", default="")
    hub_answer: str = msgspec.field(name="Answer", default="")
    id: str = ""
    context: Context | ContextColumns | str = msgspec.field(default_factory=list)
    supporting_facts: SupportingFacts | FactColumns | str = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        self.question = self.question or self.hub_question
        self.answer = self.answer or self.hub_answer
        require(question=self.question, answer=self.answer)
        self.id = self.id or "bamboogle_" + blake2b(self.question.strip().encode(), digest_size=4).hexdigest()
        self.context = context_pairs(self.context)
        self.supporting_facts = fact_pairs(self.supporting_facts)

    @property
    def question_id(self) -> str:
        """``id``, or one made from the question's text."""
        return self.id

    def to_question(self) -> Question:
        """One unit of evidence per supporting sentence, where the row has paragraphs."""
        passages = read_passages(context_pairs(self.context))
        support = read_support(fact_pairs(self.supporting_facts), passages)
        return Question(
            id=self.id,
            text=self.question.strip(),
            answer=self.answer.strip(),
            family="bridge",
            hops=2,
            paragraphs=passages.paragraphs,
            evidence=tuple([Evidence(refs) for refs in support.units]),
            dropped=tuple(support.dropped),
        )
