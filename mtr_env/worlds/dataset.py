"""Worlds of questions that people or programs wrote: HotpotQA, MuSiQue, 2WikiMultiHopQA and Bamboogle.

    >>> world = open_world("hotpotqa")  # the bundled sample: no file, no network
    >>> world.question(world.ids[0]).hops
    2

Rows are decoded at once and become questions one at a time, when they are asked for.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from hashlib import blake2b
from importlib import resources
from typing import Any, NamedTuple

from msgspec.structs import replace

from mtr_env.errors import DatasetError
from mtr_env.memo import Recent
from mtr_env.question import Evidence, Fact, Question, WorldInfo
from mtr_env.text import contains_words, fold, name_key
from mtr_env.worlds import bamboogle, hotpotqa, hub, musique, twowiki
from mtr_env.worlds.base import check_limit, unknown_question
from mtr_env.worlds.files import Row, choose_file, decode_rows, read_bytes

# Raise it when a row's conversion changes, so that fingerprints of worlds that hold different questions differ.
LAYOUT_VERSION = 1
KEPT = 256  # converted questions that a world remembers


class Dataset(NamedTuple):
    """How a world's rows look: the Struct they are decoded to, its fields in words, the bundled sample's name."""

    row: type[Row]
    expected: str
    sample: str


DATASETS: dict[str, Dataset] = {
    "hotpotqa": Dataset(hotpotqa.HotpotRow, hotpotqa.EXPECTED, "hotpotqa"),
    "musique": Dataset(musique.MusiqueRow, musique.EXPECTED, "musique"),
    "2wikimultihopqa": Dataset(twowiki.TwoWikiRow, twowiki.EXPECTED, "twowiki"),
    "bamboogle": Dataset(bamboogle.BamboogleRow, bamboogle.EXPECTED, "bamboogle"),
}


class DatasetWorld:
    """A world over decoded rows; implements :class:`mtr_env.worlds.base.World`.

    Safe to read from several threads, and immutable to its users: a deep copy is the world itself.
    """

    def __init__(self, info: WorldInfo, rows: Sequence[Row]) -> None:
        self._info = info
        self._rows = {row.question_id: row for row in rows}
        self._ids = tuple(self._rows)
        self._kept: Recent[str, Question] = Recent(KEPT)

    @property
    def info(self) -> WorldInfo:
        """Name, split, source and fingerprint."""
        return self._info

    @property
    def ids(self) -> tuple[str, ...]:
        """The question ids in the file's order."""
        return self._ids

    def question(self, question_id: str) -> Question:
        """The question with this id; raises :class:`UnknownQuestionError` for an unknown one."""
        return self._kept.get(question_id, self._make)

    def _make(self, question_id: str) -> Question:
        row = self._rows.get(question_id)
        if row is None:
            raise unknown_question(question_id, self._ids)
        from mtr_env.worlds.extract import extract_facts  # its patterns take long to compile

        question = row.to_question()
        return with_stating_facts(with_facts(question, extract_facts(question.paragraphs)))

    def __deepcopy__(self, memo: dict[int, Any]) -> DatasetWorld:
        return self

    def __repr__(self) -> str:
        return f"DatasetWorld({self._info.name!r}, split={self._info.split!r}, {len(self._ids)} questions)"


def open_world(
    name: str, source: str | os.PathLike[str] | None = None, split: str = "sample", limit: int | None = None
) -> DatasetWorld:
    """The questions of a data set.

    Args:
        name: ``"hotpotqa"``, ``"musique"``, ``"2wikimultihopqa"`` or ``"bamboogle"``.
        source: A file in one of the upstream layouts, or a folder with one file per split. Without it, ``"sample"``
            is bundled and any other split comes from the Hugging Face hub (extra ``data``).
        split: ``"sample"``, ``"train"`` or ``"validation"`` (Bamboogle: ``"sample"``, ``"validation"`` or ``"test"``).
            With a ``source`` and no split, the file decides and the split is recorded as ``"local"``.
        limit: Keep the first so many questions.

    Raises :class:`DatasetError` for an unknown name or split and for files that cannot be used, ImportError when the
    hub is asked for without ``datasets``.
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise DatasetError(f"Unknown data set {name!r}; known are {_listed(DATASETS)}.{_near(name, DATASETS)}")
    check_limit(limit)
    if source is not None and split in ("sample", "local"):
        split = "local"
    else:
        _check_split(name, split)
    as_csv = False
    if source is not None:
        path = choose_file(source, split)
        shown = os.fspath(source) if path.name == os.path.basename(source) else os.path.join(source, path.name)
        data, as_csv = read_bytes(path, shown), path.suffix.lower() == ".csv"
    elif split == "sample":
        shown = "bundled"
        data = resources.files("mtr_env.worlds").joinpath("samples", f"{dataset.sample}.jsonl").read_bytes()
    else:
        shown = f"hub:{hub.REPOSITORIES[name].id}"
        data = hub.fetch(name, split, limit)
    rows = decode_rows(data, shown, dataset.row, name, dataset.expected, as_csv)
    cut = limit if limit is not None and limit < len(rows) else None  # a limit that leaves nothing out is none
    digest = blake2b(f"{name} {LAYOUT_VERSION} {cut}\n".encode(), digest_size=8)
    digest.update(data)
    return DatasetWorld(WorldInfo(name, split, shown, digest.hexdigest()), rows[:limit])


def _check_split(name: str, split: str) -> None:
    known = ["sample", *hub.REPOSITORIES[name].splits]
    if split not in known:
        other_words = {"dev": "validation", "val": "validation", "training": "train"}
        near = _near(other_words.get(split, split), known)
        raise DatasetError(f"Unknown split {split!r} of {name}; known are {_listed(known)}.{near}")


def _listed(names: Sequence[str] | dict[str, Any]) -> str:
    return ", ".join([repr(name) for name in names])


def _near(name: str, names: Sequence[str] | dict[str, Any]) -> str:
    near = difflib.get_close_matches(str(name).lower(), list(names), n=1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else ""


def with_facts(question: Question, extracted: Sequence[Fact]) -> Question:
    """The question with its annotated facts and the extracted ones, in an order that does not tell which are which.

    An extracted fact that an annotated one already states is left out. Facts are sorted by the paragraph of their
    first source, then by relation and object; the evidence refers to their new places.
    """
    if not question.facts:
        return replace(question, facts=tuple(sorted(dict.fromkeys(extracted), key=_fact_order)))
    annotated: dict[tuple[str, str], list[str]] = {}
    for fact in question.facts:
        annotated.setdefault((name_key(fact.subject), fact.relation), []).append(fold(fact.object))
    unstated = []
    for fact in extracted:
        objects = annotated.get((name_key(fact.subject), fact.relation), ())
        key = fold(fact.object) if objects else ""
        if not any(contains_words(known, key) or contains_words(key, known) for known in objects):
            unstated.append(fact)
    facts = sorted(dict.fromkeys([*question.facts, *unstated]), key=_fact_order)
    place = {fact: f"t{i}" for i, fact in enumerate(facts)}
    moved = {f"t{i}": place[fact] for i, fact in enumerate(question.facts)}
    evidence = [Evidence(tuple([moved.get(ref, ref) for ref in unit.any_of])) for unit in question.evidence]
    return replace(question, facts=tuple(facts), evidence=tuple(evidence))


def with_stating_facts(question: Question) -> Question:
    """Where the evidence is sentences only (HotpotQA, Bamboogle), a fact may stand for the sentence it comes from.

    It does when it carries the question on: its object is the answer or leads to the page of another piece of evidence,
    or the same relation is stated by the evidence of another page too (a comparison). Any other fact of the sentence
    (somebody's occupation) does not show that the sentence was read.
    """
    if any(ref.startswith("t") for unit in question.evidence for ref in unit.any_of):
        return question
    pages = {_paragraph(ref) for unit in question.evidence for ref in unit.any_of}
    names = [fold(gold) for gold in question.golds]
    names += [name_key(question.paragraphs[page].title) for page in sorted(pages)]
    of_pages = tuple([f"p{page}s" for page in pages])
    by_sentence: dict[str, list[int]] = {}
    stated_by: dict[str, set[int]] = {}
    for i, fact in enumerate(question.facts):
        for source in fact.sources:
            if source.startswith(of_pages):
                by_sentence.setdefault(source, []).append(i)
                stated_by.setdefault(fact.relation, set()).add(_paragraph(source))

    def carries_on(fact: Fact) -> bool:
        key, subject = fold(fact.object), name_key(fact.subject)
        return len(stated_by[fact.relation]) > 1 or any(
            name != subject and (contains_words(key, name) or contains_words(name, key)) for name in names
        )

    evidence = []
    for unit in question.evidence:
        facts = [i for ref in unit.any_of for i in by_sentence.get(ref, ()) if carries_on(question.facts[i])]
        evidence.append(Evidence((*[f"t{i}" for i in facts], *unit.any_of)))
    return replace(question, evidence=tuple(evidence))


def _paragraph(ref: str) -> int:
    return int(ref[1:].partition("s")[0])


def _fact_order(fact: Fact) -> tuple[int, str, str, str, tuple[str, ...]]:
    paragraph = _paragraph(fact.sources[0]) if fact.sources else 0  # few: at the end they would stand out
    return paragraph, fact.relation, fact.object, fact.subject, fact.sources
