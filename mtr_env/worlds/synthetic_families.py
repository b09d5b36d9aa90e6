"""The question families of the synthetic world: each lays its reasoning path in a mini world and words its question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from mtr_env.question import SubQuestion
from mtr_env.worlds import synthetic_text as text
from mtr_env.worlds.synthetic_mini import Clash, Entity, MiniWorld
from mtr_env.worlds.synthetic_schema import OLDER, PLACES, SCHEMA, Chain, Key, chains

_DATES = ("date of birth", "publication date", "inception")
_COMPARED = tuple((kind, r) for kind, row in SCHEMA.items() for r in row if r in (*_DATES, "population"))
_DATED = tuple((kind, r) for kind, r in _COMPARED if r in _DATES and kind not in PLACES)
_SAME = tuple((kind, r) for kind, row in SCHEMA.items() if kind not in PLACES for r in row if r in text.SAME)
_COUNTED: dict[str, tuple[Key, ...]] = {
    "person": (("film", "director"), ("film", "screenwriter"), ("book", "author"), ("album", "performer")),
    "company": (("book", "publisher"), ("album", "record label")),
}
_CREDITS: dict[str, tuple[str, ...]] = {
    "film": ("director", "screenwriter", "producer", "composer"),
    "book": ("author", "publisher"),
    "album": ("performer", "producer", "composer", "record label"),
}


class Plan(NamedTuple):
    """What a question asks, as data: a checker can answer it from the facts alone.

    ``sides`` are the start entities with the relations to follow. Then, by family: bridge: the value reached.
    comparison: the side whose value is ``pick`` ("min" or "max"); its start (``answers="start"``) or the entity that
    has the value ("end"). intersection: the ``kind`` whose ``inverse[i]`` is what side i reaches. count: how many of
    ``kind`` have what the side reaches as ``inverse[0]``. temporal: the difference of the two years. yes_no: whether
    the two values are the same.
    """

    family: str
    sides: tuple[tuple[str, tuple[str, ...]], ...]
    pick: str = ""
    answers: str = ""
    kind: str = ""
    inverse: tuple[str, ...] = ()


class Draft(NamedTuple):
    """What a family makes: the question, its answer, the steps to it, the plan, and chains for distractors."""

    text: str
    answer: str
    steps: list[SubQuestion]
    plan: Plan
    shadows: list[Chain]


class _Side(NamedTuple):
    """One chain of a question, laid in the mini world: entities, and the relation from each to the next."""

    entities: tuple[Entity, ...]
    relations: tuple[str, ...]

    @property
    def start(self) -> Entity:
        return self.entities[0]

    @property
    def end(self) -> Entity:
        return self.entities[-1]

    def plan(self, *last: str) -> tuple[str, tuple[str, ...]]:
        return (self.start.name, (*self.relations, *last))

    def phrase(self, mini: MiniWorld) -> str:
        """What the question calls the end: ``the director of <start>``."""
        return mini.phrase(self.start.name, self.relations)

    def ask(self, steps: list[SubQuestion]) -> str:
        """Append one step per relation; returns what later steps call the end: its name or ``#1``."""
        name = self.start.name
        for entity, relation in zip(self.entities, self.relations, strict=False):
            name = _step(steps, relation, name, entity.facts[relation])
        return name


# ---- what the families share


def _step(steps: list[SubQuestion], relation: str, name: str, answer: str) -> str:
    steps.append(SubQuestion(text.ASK[relation][0].format(name), answer))
    return f"#{len(steps)}"


def _lengths(mini: MiniWorld, hops: int) -> tuple[int, int]:
    """How many hops lead to each of two entities whose own facts are the last two of ``hops``; longest first."""
    return {2: (0, 0), 3: (1, 0), 4: (1, 1) if mini.dice.below(2) else (2, 0)}[hops]


def _lay(mini: MiniWorld, chain: Chain, near: int | None = None) -> _Side:
    """Lay a chain but its last relation; a side without a hop starts within 10 years of ``near``."""
    kind, relations = chain[0], chain[1][:-1]
    year = None if near is None or relations else near + mini.dice.between(-10, 10)
    return _Side(tuple(mini.walk(mini.start(kind, year), relations)), relations)


def _ends(mini: MiniWorld, length: int, keys: Sequence[Key]) -> Chain:
    """A random chain that follows ``length`` hops and ends with one of the (kind, relation) ``keys``."""
    table = chains(length + 1)
    return mini.dice.choice(table[mini.dice.choice([key for key in keys if key in table])])


def _swapped(mini: MiniWorld, sides: list[_Side]) -> list[_Side]:
    return sides[::-1] if mini.dice.below(2) else sides


def _number(side: _Side, relation: str) -> int:
    """The year of a date, or a population."""
    return int(side.end.facts[relation].rpartition(" ")[2])


# ---- the families: each lays its path and words its question


def _bridge(mini: MiniWorld, hops: int) -> Draft:
    table, choice = chains(hops), mini.dice.choice
    chain = choice(table[choice(list(table))])
    side, relation = _lay(mini, chain), chain[1][-1]
    reached = mini.fact(side.end, relation)
    mini.wish(reached)
    steps: list[SubQuestion] = []
    answer = side.end.facts[relation]
    _step(steps, relation, side.ask(steps), answer)
    question = choice(text.ASK[relation]).format(side.phrase(mini))
    return Draft(question, answer, steps, Plan("bridge", (side.plan(relation),)), [chain])


def _comparison(mini: MiniWorld, hops: int) -> Draft:
    lengths, choice = _lengths(mini, hops), mini.dice.choice
    kind, relation = choice([key for key in _COMPARED if all(key in chains(n + 1) for n in lengths)])
    first = _ends(mini, lengths[0], [(kind, relation)])
    second = first if lengths == (1, 1) else _ends(mini, lengths[1], [(kind, relation)])
    sides = [_lay(mini, first)]
    sides.append(_lay(mini, second, near=sides[0].end.year))
    if sides[1].end in sides[0].entities:
        raise Clash
    for side in sides:
        mini.fact(side.end, relation)
    sides = _swapped(mini, sides)
    numbers = [_number(side, relation) for side in sides]
    if numbers[0] == numbers[1]:
        raise Clash
    pick = choice(("min", "max"))
    winner = sides[numbers.index(min(numbers) if pick == "min" else max(numbers))]
    if lengths == (1, 1):
        answers, (a, b) = "start", (side.start.name for side in sides)
        role, clause = text.ROLE[first[1][0]], choice(text.CLAUSE[relation, pick])
        question = choice(text.COMPARE_STARTS).format(a, b, role=role, clause=clause)
    else:
        answers = "end"
        question = choice(text.COMPARE[relation, pick]).format(*(side.phrase(mini) for side in sides))
    steps: list[SubQuestion] = []
    compared: list[str] = []
    for side in sides:
        name = side.ask(steps)
        value = _step(steps, relation, name, side.end.facts[relation])
        compared += [side.start.name if answers == "start" else name, value]
    answer = winner.start.name if answers == "start" else winner.end.name
    steps.append(SubQuestion(text.PICK[relation, pick].format(*compared), answer))
    plan = Plan("comparison", tuple(side.plan(relation) for side in sides), pick, answers)
    return Draft(question, answer, steps, plan, [first, second])


def _intersection(mini: MiniWorld, hops: int) -> Draft:
    lengths, dice = _lengths(mini, hops), mini.dice
    kind = dice.choice(tuple(_CREDITS))
    credits = list(_CREDITS[kind])
    dice.shuffle(credits)
    inverse = credits[:2]
    work = mini.new(kind, dice.between(1985, 1995))
    sides = [
        _anchor(mini, n, SCHEMA[kind][r], work.year - mini.older(r)) for n, r in zip(lengths, inverse, strict=True)
    ]
    for relation, side in zip(inverse, sides, strict=True):
        mini.note(work, relation, side.end.name)
    for i in range(4):  # each side has further works, if there is room
        relation, side = inverse[i % 2], sides[i % 2]
        other = mini.new(kind, side.end.year + mini.older(relation))
        other.facts[relation] = side.end.name
        mini.extra.append(other)
    for side in sides:
        mini.wish(side.end)
    conditions = [
        dice.choice(text.CONDITION[relation]).format(side.phrase(mini))
        for relation, side in zip(inverse, sides, strict=True)
    ]
    steps: list[SubQuestion] = []
    named = [text.CONDITION[r][0].format(side.ask(steps)) for r, side in zip(inverse, sides, strict=True)]
    steps.append(SubQuestion(text.BOTH[0].format(*named, kind=kind), work.name))
    question = dice.choice(text.BOTH).format(*conditions, kind=kind)
    plan = Plan("intersection", tuple(side.plan() for side in sides), kind=kind, inverse=tuple(inverse))
    return Draft(question, work.name, steps, plan, [(side.start.kind, side.relations) for side in sides])


@lru_cache(16)
def _anchor_chains(length: int, target: str) -> tuple[Chain, ...]:
    """Chains of agents that end at a ``target`` and whose start, counted back from 1967, is not in the future."""
    found = [chain for row in chains(length).values() for chain in row if all(r in OLDER for r in chain[1])]
    late = [chain for chain in found if 1967 + sum(OLDER[r][1] for r in chain[1]) <= 2024]
    return tuple(chain for chain in late if SCHEMA[_kinds(chain)[-1]][chain[1][-1]] == target)


def _kinds(chain: Chain) -> list[str]:
    """The kinds of the subjects of a chain's relations."""
    kinds = [chain[0]]
    for relation in chain[1]:
        kinds.append(SCHEMA[kinds[-1]][relation])
    return kinds[:-1]


def _anchor(mini: MiniWorld, length: int, target: str, year: int) -> _Side:
    """A side that ends at a person or company of the given year, reached over ``length`` hops."""
    if not length:
        return _Side((mini.new(target, year),), ())
    kind, relations = mini.dice.choice(_anchor_chains(length, target))
    older = [mini.older(relation) for relation in relations]
    return _Side(tuple(mini.walk(mini.new(kind, year + sum(older)), relations, older)), relations)


def _count(mini: MiniWorld, hops: int) -> Draft:
    dice, table = mini.dice, chains(hops - 1)
    kind, relations = dice.choice(table[dice.choice([key for key in table if SCHEMA[key[0]][key[1]] in _COUNTED])])
    start = mini.start(kind)
    side = _Side(tuple(mini.walk(start, relations)), relations)
    least = {"film": 1895, "album": 1900, "book": 0}  # a year of birth or founding before which it sounds wrong
    options = [(kind, r) for kind, r in _COUNTED[side.end.kind] if r != relations[-1] and side.end.year >= least[kind]]
    if not options:
        raise Clash
    work_kind, relation = dice.choice(options)
    total = 2 + dice.below(3)
    for _ in range(total):
        mini.note(mini.new(work_kind, side.end.year + mini.older(relation)), relation, side.end.name)
    mini.closed = (relation, side.end.name)
    mini.wish(side.end)
    steps: list[SubQuestion] = []
    steps.append(SubQuestion(text.COUNT[relation][0].format(side.ask(steps)), str(total)))
    question = dice.choice(text.COUNT[relation]).format(side.phrase(mini))
    plan = Plan("count", (side.plan(),), kind=work_kind, inverse=(relation,))
    return Draft(question, str(total), steps, plan, [(kind, relations)])


def _temporal(mini: MiniWorld, hops: int) -> Draft:
    if hops > 2 and mini.dice.below(2):  # an entity's own date and one that a chain from it leads to
        chain = _ends(mini, hops - 2, _DATED)  # none starts at a place: no place leads to a person or organization
        side = _lay(mini, chain)
        own = dict(_DATED)[chain[0]]
        sides, relations, shadows = [side, _Side((side.start,), ())], [chain[1][-1], own], [chain]
    else:
        lengths = _lengths(mini, hops)
        shadows = [_ends(mini, length, _DATED) for length in lengths]
        sides = [_lay(mini, chain) for chain in shadows]
        relations = [chain[1][-1] for chain in shadows]
    for side, relation in zip(sides, relations, strict=True):
        mini.fact(side.end, relation)
    if sides[0].end is sides[1].end or _number(sides[0], relations[0]) == _number(sides[1], relations[1]):
        raise Clash
    if mini.dice.below(2):
        sides.reverse()
        relations.reverse()
    years = [_number(side, relation) for side, relation in zip(sides, relations, strict=True)]
    events = [text.EVENT[r].format(side.phrase(mini)) for side, r in zip(sides, relations, strict=True)]
    question = mini.dice.choice(text.DIFFERENCE).format(*events)
    steps: list[SubQuestion] = []
    values = [_step(steps, r, s.ask(steps), s.end.facts[r]) for s, r in zip(sides, relations, strict=True)]
    answer = str(abs(years[0] - years[1]))
    steps.append(SubQuestion(text.DIFFERENCE[0].format(*values), answer))
    plan = Plan("temporal", tuple(side.plan(r) for side, r in zip(sides, relations, strict=True)))
    return Draft(question, answer, steps, plan, shadows)


def _yes_no(mini: MiniWorld, hops: int) -> Draft:
    lengths, dice = _lengths(mini, hops), mini.dice
    kind, relation = dice.choice([key for key in _SAME if all(key in chains(n + 1) for n in lengths)])
    shadows = [_ends(mini, length, [(kind, relation)]) for length in lengths]
    first, second = (_lay(mini, chain) for chain in shadows)
    same = dice.below(2) == 1
    value = mini.value(first.end, relation, SCHEMA[kind][relation])
    other = value
    mini.note(first.end, relation, value)
    if same:
        mini.share(second.end, first.end, relation)
    while other == value and not same:
        other = mini.value(second.end, relation, SCHEMA[kind][relation])
    mini.note(second.end, relation, other)
    sides = _swapped(mini, [first, second])
    question = dice.choice(text.SAME[relation]).format(*(side.phrase(mini) for side in sides))
    steps: list[SubQuestion] = []
    values = [_step(steps, relation, side.ask(steps), side.end.facts[relation]) for side in sides]
    answer = "yes" if same else "no"
    steps.append(SubQuestion(text.EQUAL.format(*values), answer))
    return Draft(question, answer, steps, Plan("yes_no", tuple(side.plan(relation) for side in sides)), shadows)


MAKERS: dict[str, Callable[[MiniWorld, int], Draft]] = {
    "bridge": _bridge,
    "comparison": _comparison,
    "intersection": _intersection,
    "count": _count,
    "temporal": _temporal,
    "yes_no": _yes_no,
}
FAMILIES = tuple(MAKERS)
