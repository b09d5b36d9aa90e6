"""The types of entities of the synthetic world, their relations, how much older objects are, and how facts chain."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from mtr_env.worlds.synthetic_text import REGION

Key = tuple[str, str]  # a kind of entity and one of its relations
Chain = tuple[str, tuple[str, ...]]  # the kind a chain of relations starts from, and the relations

WORKS = ("film", "book", "album")
PLACES = ("city", "region", "country")
AGENTS = ("person", "company", "university")
SCHEMA: dict[str, dict[str, str]] = {
    "person": {
        "occupation": "occupation",
        "country of citizenship": "country",
        "date of birth": "date",
        "place of birth": "city",
        "father": "person",
        "mother": "person",
        "spouse": "person",
        "educated at": "university",
        "employer": "company",
    },
    "film": {
        "country of origin": "country",
        "director": "person",
        "screenwriter": "person",
        "producer": "person",
        "composer": "person",
        "publication date": "date",
    },
    "book": {
        "country of origin": "country",
        "author": "person",
        "publisher": "company",
        "publication date": "date",
        "named after": "city",
    },
    "album": {
        "country of origin": "country",
        "performer": "person",
        "producer": "person",
        "composer": "person",
        "record label": "company",
        "publication date": "date",
    },
    "company": {
        "country": "country",
        "founded by": "person",
        "inception": "year",
        "headquarters location": "city",
        "owned by": "company",
    },
    "university": {
        "country": "country",
        "founded by": "person",
        "inception": "year",
        "headquarters location": "city",
        "named after": "person",
    },
    "city": {
        REGION: "region",
        "country": "country",
        "population": "population",
        "inception": "year",
        "shares border with": "city",
    },
    "region": {
        "country": "country",
        "capital": "city",
        "population": "population",
        "inception": "year",
        "shares border with": "region",
    },
    "country": {"inception": "year", "capital": "city", "population": "population", "shares border with": "country"},
}

# How many years the object is older than the subject: least, most. A distractor may shift its subject by 3 years.
OLDER: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("director", "screenwriter", "producer", "composer", "author", "performer"), (28, 50)),
    **dict.fromkeys(("publisher", "record label"), (10, 40)),
    "father": (25, 38),
    "mother": (23, 36),
    "spouse": (-5, 5),
    "educated at": (5, 25),
    "employer": (-15, 20),
    "founded by": (28, 42),
    "named after": (30, 45),
    "owned by": (-10, 10),
}
START_YEARS = {
    **dict.fromkeys(WORKS, (1992, 2012)),
    **dict.fromkeys(PLACES, (1800, 1825)),
    "person": (1960, 1980),
    "company": (1950, 1990),
    "university": (1950, 1990),
}
FIRST_YEAR, LAST_YEAR = 1830, 2024  # of everything but places, which are older

# Two hops in a row that one paragraph would answer, or that lead back to where they came from.
_SHORT_CUTS = {
    *((parent, "spouse") for parent in ("father", "mother")),
    *((relation, "country") for relation in ("headquarters location", REGION, "capital", "shares border with")),
    *((relation, REGION) for relation in ("capital", "shares border with")),
    *((relation, "capital") for relation in ("country", REGION)),
}
SYMMETRIC = ("spouse", "shares border with")


def _extend(chain: Chain, kind: str) -> Iterator[tuple[str, str]]:
    """The relations (and the kinds of their objects) that may follow a chain that has arrived at ``kind``."""
    done = chain[1]
    for relation, target in SCHEMA.get(kind, {}).items():
        parents = relation in ("father", "mother") and ("father" in done or "mother" in done)
        if not (parents or relation in done or (done and (done[-1], relation) in _SHORT_CUTS)):
            yield relation, target


@lru_cache(8)
def chains(length: int) -> dict[Key, tuple[Chain, ...]]:
    """All chains of ``length`` relations (1 to 4) by their last (kind, relation); no relation occurs twice in one.

    >>> chains(2)["company", "inception"][:2]
    (('person', ('employer', 'inception')), ('book', ('publisher', 'inception')))
    """
    ends: list[tuple[Chain, str, str]] = [((kind, ()), "", kind) for kind in SCHEMA]  # chain, last subject, object
    for _ in range(length):
        ends = [
            ((chain[0], (*chain[1], relation)), kind, target)
            for chain, _, kind in ends
            for relation, target in _extend(chain, kind)
        ]
    table: dict[Key, list[Chain]] = {}
    for chain, kind, _ in ends:
        table.setdefault((kind, chain[1][-1]), []).append(chain)
    return {key: tuple(found) for key, found in table.items()}
