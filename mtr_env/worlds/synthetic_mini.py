"""One mini world of the synthetic world: the entities, facts and paragraphs of one question while it is being made.

A family lays a reasoning path (``note``, ``fact``, ``walk``), then the mini world adds distractors, completes every
entity with a page and renders the paragraphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from mtr_env.draw import bits
from mtr_env.question import Fact, Paragraph
from mtr_env.worlds import synthetic_text as text
from mtr_env.worlds.synthetic_schema import AGENTS, FIRST_YEAR, LAST_YEAR, OLDER, PLACES, SCHEMA, START_YEARS, Chain
from mtr_env.worlds.synthetic_words import MONTHS, OCCUPATIONS, names

Item = TypeVar("Item")


class Clash(Exception):
    """Two draws do not fit together (the same place twice on a path, equal years): the question is drawn again."""


class Dice:
    """Small random choices, several of them taken from each 64-bit draw of ``draw.bits(key, count)``."""

    def __init__(self, key: str) -> None:
        self.key, self.count, self.rest, self.room = key, 0, 0, 0

    def below(self, n: int) -> int:
        """An integer in [0, n); off from uniform by less than one in a million."""
        if self.room < n << 20:
            self.rest, self.room = bits(self.key, self.count), 1 << 64
            self.count += 1
        self.room //= n
        self.rest, value = divmod(self.rest, n)
        return value

    def choice(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.below(len(items))]

    def between(self, least: int, most: int) -> int:
        """An integer from least to most, both included."""
        return least + self.below(most - least + 1)

    def shuffle(self, items: list[Any], start: int = 0) -> None:
        """Shuffle in place, leaving the items before ``start`` where they are."""
        for i in range(len(items) - 1, start, -1):
            j = start + self.below(i - start + 1)
            items[i], items[j] = items[j], items[i]


class Entity:
    """One entity: ``year`` is its birth, release or founding, ``at`` a place's position in the geography."""

    __slots__ = ("at", "facts", "female", "kind", "name", "paged", "year")

    def __init__(self, kind: str, name: str, year: int, female: bool = False, at: int = -1) -> None:
        self.kind, self.name, self.year, self.female, self.at = kind, name, year, female, at
        self.facts: dict[str, str] = {}
        self.paged = False


class MiniWorld:
    """The entities of one question while it is being made."""

    def __init__(self, split: str, key: str) -> None:
        self.dice = Dice(key)
        self.names = names()[split]
        self.used: set[str] = set()  # asked for membership only, never iterated
        self.pages: list[Entity] = []
        self.path: list[Entity] = []
        self.gold: list[tuple[Entity, str]] = []
        self.extra: list[Entity] = []  # wished-for distractors, first come first served
        self.closed: tuple[str, str] = ("", "")  # no distractor may have this relation to this object
        self.loose: dict[str, list[str]] = {"company": [], "university": []}
        self.numbers: set[str] = set()
        counts = {"country": 4, "region": 6, "city": 12}
        self.places = {kind: [self.new(kind, at=i) for i in range(n)] for kind, n in counts.items()}

    # ---- entities and facts

    def name(self, kind: str) -> str:
        """A name that this mini world does not hold yet."""
        while (name := self.dice.choice(self.names[kind])) in self.used:
            pass
        self.used.add(name)
        return name

    def new(self, kind: str, year: int | None = None, female: bool | None = None, at: int = -1) -> Entity:
        """An entity with a new name and no page yet; without ``year`` one that a chain may start from."""
        if year is None:
            year = self.dice.between(*START_YEARS[kind])
        if kind not in PLACES:
            year = min(max(year, FIRST_YEAR), LAST_YEAR)
        if kind != "person":
            return Entity(kind, self.name(kind), year, at=at)
        if female is None:
            female = self.dice.below(2) == 1
        return Entity(kind, self.name("woman" if female else "man"), year, female)

    def older(self, relation: str) -> int:
        """By how many years the object of a relation is older than its subject."""
        return self.dice.between(*OLDER[relation])

    def start(self, kind: str, year: int | None = None) -> Entity:
        """An entity for a chain to start from; a place that has no page yet."""
        if kind not in PLACES:
            return self.new(kind, year)
        free = [place for place in self.places[kind] if not (place.paged or place in self.path)]
        if not free:
            raise Clash
        return self.dice.choice(free)

    def put(self, entity: Entity) -> None:
        """Give an entity a page if it has none."""
        if not entity.paged:
            entity.paged = True
            self.pages.append(entity)

    def place(self, entity: Entity, relation: str, target: str) -> Entity:
        """The place that ``entity`` has as ``relation``: geography is one grid, other places are drawn."""
        at, places = entity.at, self.places
        if entity.kind in PLACES:
            if relation == "shares border with":
                return places[target][at ^ 1]
            if relation == "capital":
                return places["city"][2 * at + (entity.kind == "region")]
            region = at if entity.kind == "region" else at // 2
            return places[target][region if target == "region" else region % 4]
        if relation in ("country", "headquarters location"):
            city = self.dice.choice(places["city"])
            country = self.place(city, "country", "country")
            entity.facts["headquarters location"], entity.facts["country"] = city.name, country.name
            return city if target == "city" else country
        return self.dice.choice(places[target])

    def value(self, entity: Entity, relation: str, target: str) -> str:
        """An object for a fact of ``entity``; people and organizations get no page."""
        dice = self.dice
        if target == "person":
            female = relation == "mother" or (relation != "father" and not entity.female)
            if relation not in ("mother", "father", "spouse"):
                female = dice.below(2) == 1
            return self.name("woman" if female else "man")
        if target in PLACES:
            return self.place(entity, relation, target).name
        if target in self.loose:
            known = self.loose[target]
            if not known or dice.below(3):
                known.append(self.name(target))
                return known[-1]
            return dice.choice(known)
        if target == "date":
            return f"{1 + dice.below(28)} {dice.choice(MONTHS)} {entity.year}"
        if target == "year":
            return str(entity.year)
        if target == "occupation":
            return dice.choice(OCCUPATIONS)
        while (number := dice.choice(_populations(entity.kind))) in self.numbers:
            pass
        self.numbers.add(number)
        return number

    def link(self, subject: Entity, relation: str, older: int | None = None) -> Entity | None:
        """Fix a fact of ``subject`` and return its object as an entity, or None when it is a plain value."""
        target = SCHEMA[subject.kind][relation]
        if target in PLACES:
            place = self.place(subject, relation, target)
            subject.facts[relation] = place.name
            return place
        if target not in AGENTS:
            subject.facts[relation] = self.value(subject, relation, target)
            return None
        if older is None:
            older = self.older(relation)
        female = {"father": False, "mother": True, "spouse": not subject.female}.get(relation)
        entity = self.new(target, subject.year - older, female)
        subject.facts[relation] = entity.name
        if relation == "spouse":
            entity.facts["spouse"] = subject.name
        elif relation in ("father", "mother"):  # the parents of a person are married
            other = "mother" if relation == "father" else "father"
            entity.facts["spouse"] = subject.facts[other] = self.value(subject, other, "person")
        return entity

    # ---- the reasoning path

    def note(self, subject: Entity, relation: str, value: str | None = None) -> None:
        """Make a fact gold and give its subject a page; ``value`` is its object if it is known already."""
        self.put(subject)
        self.gold.append((subject, relation))
        if subject not in self.path:
            self.path.append(subject)
        if value is not None:
            subject.facts[relation] = value

    def fact(self, subject: Entity, relation: str, older: int | None = None) -> Entity | None:
        """A new gold fact; its object, which must be new on the path, as :meth:`link` returns it."""
        self.note(subject, relation)
        entity = self.link(subject, relation, older)
        if entity is not None:
            if entity in self.path or entity.paged:
                raise Clash
            self.path.append(entity)
        return entity

    def walk(self, start: Entity, relations: Sequence[str], older: Sequence[int] | None = None) -> list[Entity]:
        """Follow relations between entities along new gold facts; returns the entities, ``start`` first."""
        entities = [start]
        for i, relation in enumerate(relations):
            reached = self.fact(entities[-1], relation, older[i] if older else None)
            assert reached is not None, f"{relation} does not lead to an entity"
            entities.append(reached)
        return entities

    def wish(self, entity: Entity | None) -> None:
        """Half of the time an entity gets a page among the distractors, so that having none tells nothing."""
        if self.dice.below(2) and entity is not None:
            self.extra.append(entity)

    def phrase(self, start: str, relations: Iterable[str]) -> str:
        """``the director of the ...``: an entity as a question calls it without naming it."""
        for relation in relations:
            start = self.dice.choice(text.PHRASE[relation]).format(start)
        return start

    # ---- distractors

    def distract(self, count: int, sides: Sequence[Chain]) -> None:
        """Add ``count`` pages: wished-for ones, then chains like the gold ones and siblings of gold entities."""
        gold, limit = list(self.pages), len(self.pages) + count
        for entity in self.extra:
            if len(self.pages) < limit:
                self.put(entity)
        while len(self.pages) < limit:
            if self.dice.below(2):
                self._shadow(limit, *self.dice.choice(sides))
            else:
                self._sibling(self.dice.choice(gold))

    def _shadow(self, limit: int, kind: str, relations: Sequence[str]) -> None:
        """A chain of the same relations from another start, as far as there is room."""
        try:
            entity = self.start(kind)
        except Clash:  # all places of this kind have a page
            entity = self.new("person")
            relations = ()
        self.put(entity)
        for relation in relations:
            reached = self.link(entity, relation) if relation not in entity.facts else None
            if reached is None or reached.paged or len(self.pages) >= limit:
                break
            self.put(reached)
            entity = reached

    def _sibling(self, gold: Entity) -> None:
        """An entity of the same kind and time, which often shares one object with the gold entity."""
        if gold.kind in PLACES:
            self._shadow(len(self.pages) + 1, gold.kind, ())
            return
        twin = self.new(gold.kind, gold.year + self.dice.between(-3, 3))
        self.put(twin)
        shared = [item for item in gold.facts.items() if self._shareable(gold.kind, *item)]
        if shared and self.dice.below(2):
            self.share(twin, gold, self.dice.choice(shared)[0])

    def share(self, twin: Entity, other: Entity, relation: str) -> None:
        """Give ``twin`` the object that ``other`` has; an organization's seat and country go together."""
        together = ("country", "headquarters location")
        for r in together if relation in together else (relation,):
            twin.facts[r] = other.facts[r]

    def _shareable(self, kind: str, relation: str, value: str) -> bool:
        entity = SCHEMA[kind][relation] in (*PLACES, *AGENTS)
        return entity and relation != "spouse" and (relation, value) != self.closed

    # ---- paragraphs

    def complete(self) -> None:
        """Give every entity with a page all relations of its kind."""
        for entity in self.pages:
            facts = entity.facts
            for relation, target in SCHEMA[entity.kind].items():
                if relation not in facts:
                    facts[relation] = self.value(entity, relation, target)

    def render(self) -> tuple[list[Paragraph], list[Fact], dict[tuple[str, str], tuple[str, str]]]:
        """Paragraphs in random order, their facts in reading order, and where each (subject, relation) stands."""
        dice = self.dice
        paragraphs: list[Paragraph] = []
        facts: list[Fact] = []
        where: dict[tuple[str, str], tuple[str, str]] = {}
        dice.shuffle(self.pages)
        for p, entity in enumerate(self.pages):
            name, known = entity.name, entity.facts
            rows = list(text.SENTENCES[entity.kind])
            dice.shuffle(rows, 1)
            it = ("She", "Her", "her") if entity.female else ("He", "His", "his") if entity.kind == "person" else _IT
            sentences = []
            for k, (relations, templates) in enumerate(rows):
                values = [known[relation] for relation in relations]
                template = dice.choice(templates)
                sentences.append(template.format(*values, s=name, It=it[0], Its=it[1], its=it[2]))
                source = f"p{p}s{k}"
                for relation, value in zip(relations, values, strict=True):
                    where[name, relation] = (f"t{len(facts)}", source)
                    facts.append(Fact(name, relation, value, (source,)))
            paragraphs.append(Paragraph(name, tuple(sentences)))
        return paragraphs, facts, where


_IT = ("It", "Its", "its")


@lru_cache(4)
def _populations(kind: str) -> tuple[str, ...]:
    return tuple(text.populations(kind))
