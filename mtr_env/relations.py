"""The words of relations: which tool asks for a relation, what its argument is called, what kind of thing it returns.

A relation's ``name`` is the data set's word (2WikiMultiHopQA and MuSiQue use Wikidata's property names; the synthetic
world uses the same where it can). A relation that is not listed still gets a tool, derived from its name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct

Kind = Literal["person", "place", "work", "organization", "date", "number", "text", "entity"]


class Relation(Struct, frozen=True):
    """A relation and the interface of the tool that asks for it.

    ``get_director(film)`` has ``tool="get_director"``, ``argument="film"``, ``subject="work"``, ``value="director"``,
    ``kind="person"``.
    """

    name: str
    tool: str
    argument: str
    subject: Kind
    value: str
    kind: Kind
    description: str


@lru_cache(4096)
def slug(text: str) -> str:
    """A portable identifier part: lower-case ASCII letters, digits and single underscores.

    >>> slug("country of citizenship"), slug("Näme -- (x)")
    ('country_of_citizenship', 'n_me_x')
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "value"


@lru_cache(4096)
def relation(name: str) -> Relation:
    """The relation called ``name``; one that is not listed gets a tool derived from its name.

    >>> relation("director").tool, relation("occupant").tool
    ('get_director', 'get_occupant')
    """
    known = RELATIONS.get(name)
    if known is not None:
        return known
    value = slug(name)
    return Relation(name, f"get_{value}", "entity", "entity", value, "text", f"Looks up: {name}.")


# name, argument, subject kind, object kind, description
_ROWS: tuple[tuple[str, str, Kind, Kind, str], ...] = (
    ("director", "film", "work", "person", "Who directed a film."),
    ("screenwriter", "film", "work", "person", "Who wrote the screenplay of a film."),
    ("producer", "work", "work", "person", "Who produced a film or record."),
    ("composer", "work", "work", "person", "Who composed a piece of music or a film score."),
    ("performer", "work", "work", "person", "Who performed a song, album or character."),
    ("cast member", "work", "work", "person", "Who acted in a film or series."),
    ("author", "work", "work", "person", "Who wrote a book or text."),
    ("creator", "work", "work", "person", "Who created a work."),
    ("publisher", "work", "work", "organization", "Who published a work."),
    ("developer", "work", "work", "organization", "Who developed a product."),
    ("manufacturer", "product", "work", "organization", "Who makes a product."),
    ("record label", "artist_or_album", "entity", "organization", "The record label of an artist or album."),
    ("presenter", "programme", "work", "person", "Who presents a programme."),
    ("publication date", "work", "work", "date", "When a work was first released or published."),
    ("country of origin", "work", "work", "place", "The country where a work was made."),
    ("date of birth", "person", "person", "date", "When a person was born."),
    ("date of death", "person", "person", "date", "When a person died."),
    ("place of birth", "person", "person", "place", "Where a person was born."),
    ("place of death", "person", "person", "place", "Where a person died."),
    ("place of burial", "person", "person", "place", "Where a person is buried."),
    ("cause of death", "person", "person", "text", "What a person died of."),
    ("country of citizenship", "person", "person", "place", "The nationality or country of a person."),
    ("father", "person", "person", "person", "The father of a person."),
    ("mother", "person", "person", "person", "The mother of a person."),
    ("child", "person", "person", "person", "The children of a person."),
    ("sibling", "person", "person", "person", "The brothers and sisters of a person."),
    ("spouse", "person", "person", "person", "The husband or wife of a person."),
    ("educated at", "person", "person", "organization", "Where a person studied."),
    ("employer", "person", "person", "organization", "Whom a person works or worked for."),
    ("award received", "person", "person", "text", "Awards a person received."),
    ("occupation", "person", "person", "text", "What a person does or did for a living."),
    ("position held", "person", "person", "text", "Offices a person held."),
    ("member of sports team", "player", "person", "organization", "Teams a player was a member of."),
    ("country", "entity", "entity", "place", "The country in which something lies."),
    ("located in the administrative territorial entity", "place", "place", "place", "The region a place lies in."),
    ("shares border with", "place", "place", "place", "The regions that border a place."),
    ("capital", "place", "place", "place", "The capital of a country or region."),
    ("population", "place", "place", "number", "How many people live in a place."),
    ("headquarters location", "organization", "organization", "place", "Where an organization has its seat."),
    ("founded by", "organization", "organization", "person", "Who founded an organization."),
    ("inception", "organization", "organization", "date", "When something was founded or established."),
    ("owned by", "entity", "entity", "organization", "Who owns something."),
    ("named after", "entity", "entity", "entity", "What or whom something is named after."),
    ("has part", "entity", "entity", "entity", "The parts or members of something."),
    ("part of", "entity", "entity", "entity", "The larger thing something is a part of."),
    ("member of", "entity", "entity", "organization", "Groups or organizations that something is a member of."),
    ("instance of", "entity", "entity", "text", "What kind of thing something is."),
    ("location", "entity", "entity", "place", "Where something is or takes place."),
    ("location of formation", "organization", "organization", "place", "Where a group or organization was formed."),
    ("work location", "person", "person", "place", "Where a person works or worked."),
    ("capital of", "city", "place", "place", "The country or region whose capital a city is."),
    ("contains administrative territorial entity", "place", "place", "place", "The regions that lie in a place."),
)

# What a relation's value is called where its name would read badly.
_VALUES = {
    "located in the administrative territorial entity": "region",
    "shares border with": "bordering_places",
    "headquarters location": "headquarters",
    "founded by": "founder",
    "inception": "founding_date",
    "owned by": "owner",
    "named after": "namesake",
    "has part": "parts",
    "award received": "awards",
    "child": "children",
    "sibling": "siblings",
    "educated at": "alma_mater",
    "member of sports team": "sports_teams",
    "country of citizenship": "citizenship",
    "instance of": "kind",
    "location of formation": "formation_place",
    "capital of": "territory_of_capital",
    "contains administrative territorial entity": "regions_inside",
}


def _relation(name: str, argument: str, subject: Kind, kind: Kind, description: str) -> Relation:
    value = _VALUES.get(name, slug(name))
    return Relation(name, f"get_{value}", argument, subject, value, kind, description)


RELATIONS: dict[str, Relation] = {row[0]: _relation(*row) for row in _ROWS}
