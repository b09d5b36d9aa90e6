"""The synthetic world: a procedural mini encyclopedia and one multi-hop question per index, unlimited and seeded.

One real question::

    id            synthetic-sample-0-24 (family "bridge", 2 hops)
    text          What is the occupation of the founder of Quartz Academy?
    answer        painter
    paragraphs    8, among them "Quartz Academy": "Quartz Academy is a university in Eastern Kaldora." "Quartz Academy
                  was established in 1958." ... "Its founder was Lucas Warren."; "Lucas Warren": "Lucas Warren is a
                  painter and a citizen of Northern Westria." ...; and the distractor "Jensen Institute": ... "Lucas
                  Warren is the founder of Jensen Institute." ...
    facts         56, e.g. t22 = (Quartz Academy, founded by, Lucas Warren), stated by p2s4
    evidence      (t22 or p2s4) and (t0 or p0s0)
    decomposition Who founded Quartz Academy? Lucas Warren / What is the occupation of #1? painter

Every question has a mini world of its own: the entities on its reasoning path and ``distractors`` further ones, each
with one paragraph. All entities of a type have the same relations, every fact is stated by one sentence, dates and
geography are consistent, and exactly one answer is right. A question is a pure function of (generator version, split,
seed, index, hops, distractors, families): no global state, no ``random``, the same bytes on every Python version.

Quirks: of places there are at most 4 countries, 6 regions and 12 cities in a mini world. In a decomposition every
looked-up fact is a step; comparison, temporal and yes/no questions have one more step that combines two values, and
an intersection has one step for its two conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, overload

from mtr_env.draw import bits
from mtr_env.errors import DatasetError
from mtr_env.question import Evidence, Question, WorldInfo
from mtr_env.worlds.base import unknown_question
from mtr_env.worlds.synthetic_families import FAMILIES, MAKERS, Plan
from mtr_env.worlds.synthetic_mini import Clash, MiniWorld
from mtr_env.worlds.synthetic_schema import SYMMETRIC
from mtr_env.worlds.synthetic_words import SPLITS

VERSION = 1  # of the generator: raise it with every change of a question
MAX_DISTRACTORS = 50


def _evidence(mini: MiniWorld, where: dict[tuple[str, str], tuple[str, str]]) -> tuple[Evidence, ...]:
    """What has to be seen: each gold fact or its sentence; spouses and neighbors state it of each other."""
    found = []
    for entity, relation in mini.gold:
        refs: tuple[str, ...] = where[entity.name, relation]
        if relation in SYMMETRIC:
            refs += where.get((entity.facts[relation], relation), ())
        found.append(Evidence(refs))
    return tuple(found)


@lru_cache(256)
def generate(
    split: str,
    seed: int,
    index: int,
    hops: tuple[int, ...] = (2, 3, 4),
    distractors: int = 6,
    families: tuple[str, ...] = FAMILIES,
) -> tuple[Question, Plan]:
    """Question ``index`` of a world and its plan, a pure function of the arguments (not checked here)."""
    key = f"synthetic {VERSION} {split} {seed} {index}"
    which = bits(key) * len(families) * len(hops) >> 64
    family, hop = families[which % len(families)], hops[which // len(families)]
    attempt = 0
    while True:
        mini = MiniWorld(split, f"{key} {family} {hop} {attempt}")
        try:
            draft = MAKERS[family](mini, hop)
            break
        except Clash:
            attempt += 1
    mini.distract(distractors, draft.shadows)
    mini.complete()
    paragraphs, facts, where = mini.render()
    question = Question(
        id=f"synthetic-{split}-{seed}-{index}",
        text=draft.text,
        answer=draft.answer,
        family=family,
        hops=hop,
        paragraphs=tuple(paragraphs),
        facts=tuple(facts),
        evidence=_evidence(mini, where),
        decomposition=tuple(draft.steps),
    )
    return question, draft.plan


class _Ids(Sequence[str]):
    """The ids of a world in order, made on demand; a slice is as lazy."""

    def __init__(self, prefix: str, numbers: range) -> None:
        self._prefix, self._numbers = prefix, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, item: int) -> str: ...
    @overload
    def __getitem__(self, item: slice) -> _Ids: ...
    def __getitem__(self, item: int | slice) -> str | _Ids:
        if isinstance(item, slice):
            return _Ids(self._prefix, self._numbers[item])
        return f"{self._prefix}{self._numbers[item]}"

    def __iter__(self) -> Iterator[str]:
        return (f"{self._prefix}{number}" for number in self._numbers)

    def __contains__(self, item: object) -> bool:
        return self.number(item) is not None

    def number(self, item: object) -> int | None:
        """The index in an id, or None when the id is not one of these."""
        if not isinstance(item, str) or not item.startswith(self._prefix):
            return None
        digits = item[len(self._prefix) :]
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
            return None
        number = int(digits)
        return number if str(number) == digits and number in self._numbers else None


def _integer(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise DatasetError(
            f"{name} of the synthetic world: expected an integer from {least} to {most}, found {value!r}."
        )
    return value


class SyntheticWorld:
    """A procedural world of ``size`` questions about typed entities; see the module's docstring.

    Args:
        split: "sample", "train", "validation" or "test". No name occurs in two splits.
        hops: the numbers of reasoning steps, an integer or several of 2 to 4.
        distractors: paragraphs beyond those of the reasoning path, 0 to 50. The question, its answer and its path
            do not depend on it.
        families: which of "bridge", "comparison", "intersection", "count", "temporal", "yes_no" (one or several);
            None means all. Families and hops are drawn with equal weight.
        size: the number of questions, 1 to 10**12; they are made when asked for.
        seed: any integer; another seed gives other questions.

    Raises:
        DatasetError: an unknown split or family, or a knob out of its range.
    """

    def __init__(
        self,
        split: str = "sample",
        hops: int | Sequence[int] = (2, 3, 4),
        distractors: int = 6,
        families: str | Sequence[str] | None = None,
        size: int = 1000,
        seed: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise DatasetError(f"Split of the synthetic world: expected one of {', '.join(SPLITS)}, found {split!r}.")
        several = list(hops) if isinstance(hops, Sequence) else [hops]
        chosen = list(FAMILIES) if families is None else [families] if isinstance(families, str) else list(families)
        unknown = [family for family in chosen if family not in FAMILIES]
        if unknown or not chosen:
            found = repr(unknown[0]) if unknown else "none"
            raise DatasetError(
                f"Families of the synthetic world: expected some of {', '.join(FAMILIES)}, found {found}."
            )
        if not several:
            raise DatasetError("Hops of the synthetic world: expected one or more integers from 2 to 4, found none.")
        self._split = split
        self._hops = tuple(sorted({_integer("Hops", value, 2, 4) for value in several}))
        self._distractors = _integer("Distractors", distractors, 0, MAX_DISTRACTORS)
        self._families = tuple(family for family in FAMILIES if family in chosen)
        self._seed = _integer("Seed", seed, -(2**63), 2**63 - 1)
        size = _integer("Size", size, 1, 10**12)
        self._ids = _Ids(f"synthetic-{split}-{self._seed}-", range(size))
        knobs: tuple[str | int, ...] = (VERSION, split, *self._hops, distractors, *self._families, size, self._seed)
        source = (
            f"procedural(hops={','.join(map(str, self._hops))}; distractors={distractors}; "
            f"families={'all' if self._families == FAMILIES else ','.join(self._families)}; seed={self._seed})"
        )
        self._info = WorldInfo("synthetic", split, source, f"{bits('synthetic', *knobs):016x}")

    @property
    def info(self) -> WorldInfo:
        """Name, split, the knobs as ``source``, and a fingerprint of the generator version and every knob."""
        return self._info

    @property
    def ids(self) -> Sequence[str]:
        """``synthetic-<split>-<seed>-<index>``, lazy: reading one makes no question."""
        return self._ids

    def question(self, question_id: str) -> Question:
        """The question with this id; raises :class:`~mtr_env.errors.UnknownQuestionError` for an unknown one."""
        return self._generate(question_id)[0]

    def plan(self, question_id: str) -> Plan:
        """What the question asks, as data, for checkers and oracles: it is gold."""
        return self._generate(question_id)[1]

    def _generate(self, question_id: str) -> tuple[Question, Plan]:
        number = self._ids.number(question_id)
        if number is None:
            raise unknown_question(question_id, self._ids)
        return generate(self._split, self._seed, number, self._hops, self._distractors, self._families)
