"""The question: one multi-hop question with its paragraphs, facts, gold answer and evidence.

A *reference* names a place of the question's evidence and is a short string:

- ``"p3"``: the title of paragraph 3 (counted from 0); ``"p3s1"``: its sentence 1;
- ``"t5"``: fact 5, a (subject, relation, object) triple;
- ``"c12"``, ``"c12s0"``: the same for document 12 of an external corpus;
- ``"m1f09c2d4"``: something that a model told of itself, where the question has no evidence (a digest of the value);
- ``"q"``: the question's own text.
"""

from __future__ import annotations

from msgspec import Struct


class Paragraph(Struct, frozen=True, gc=False):
    """A titled paragraph, already split into sentences (at least one, without outer white space)."""

    title: str
    sentences: tuple[str, ...]


class Fact(Struct, frozen=True):
    """A (subject, relation, object) triple; ``sources`` are the sentences (``"p3s1"``) that state it, if known."""

    subject: str
    relation: str
    object: str
    sources: tuple[str, ...] = ()


class Evidence(Struct, frozen=True):
    """One thing that has to be seen before the answer is justified; seeing any one of ``any_of`` is enough."""

    any_of: tuple[str, ...]


class SubQuestion(Struct, frozen=True):
    """One hop of an annotated decomposition; ``#1`` in the text stands for the answer of the first hop."""

    text: str
    answer: str


class Question(Struct, frozen=True):
    """A multi-hop question. Everything of it but :class:`View`'s fields is gold and never reaches an actor.

    ``family`` is the data set's own word (``"bridge"``, ``"comparison"``, ``"3hop1"``, ...), ``hops`` the number of
    reasoning steps it needs, or ``None`` where the data set does not say. ``evidence`` is empty when the question has
    no annotation. ``dropped`` lists annotations that could not be used and why (for the audit).
    """

    id: str
    text: str
    answer: str
    aliases: tuple[str, ...] = ()
    family: str = "bridge"
    hops: int | None = None
    paragraphs: tuple[Paragraph, ...] = ()
    facts: tuple[Fact, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    decomposition: tuple[SubQuestion, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def golds(self) -> tuple[str, ...]:
        """The gold answer and its aliases."""
        return (self.answer, *self.aliases)

    def view(self) -> View:
        """What a ToolActor may know: the question's world without its gold."""
        return View(id=self.id, text=self.text, paragraphs=self.paragraphs, facts=self.facts)


class View(Struct, frozen=True):
    """A question without answer, aliases, evidence and decomposition: what a ToolActor is given."""

    id: str
    text: str
    paragraphs: tuple[Paragraph, ...]
    facts: tuple[Fact, ...]


class WorldInfo(Struct, frozen=True):
    """Where a question came from; stands in every trace, summary and report.

    ``fingerprint`` is a content hash: two worlds with the same fingerprint hold the same questions.
    """

    name: str
    split: str
    source: str
    fingerprint: str
