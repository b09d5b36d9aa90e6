"""The fixed word lists of the synthetic world and the names that are combined from them.

Every name is a combination of two words (``Mara Holt``, ``Port Alder``, ``The Silver Harbor``). A hash of the
combination assigns it to exactly one split, so that no name of one split ever occurs in another, while every single
word occurs in all of them: a small tokenizer covers every world. The lists share no word, so that no name is a
part of another one.
"""

from __future__ import annotations

from functools import lru_cache

from mtr_env.draw import bits

SPLITS = ("sample", "train", "validation", "test")

WOMEN = tuple(
    """Ada Alma Anna Beth Carla Clara Cora Dana Dora Edith Ella Emma Erin Esther Eva Fiona Flora Gina Hanna Helen
    Ida Irene Jane Julia Karen Lara Laura Lena Lisa Lucy Mara Maria Martha Mona Nina Nora Olga Paula Rita Rosa
    Ruth Sara Sonia Tanya Tessa Vera Wanda Zoe""".split()
)
MEN = tuple(
    """Adam Alan Albert Boris Bruno Carl Cyril Daniel David Edgar Edwin Emil Eric Felix Frank Fred George Gregor
    Harold Henry Hugo Igor Ivan Jacob James Joel John Karl Kevin Leon Louis Lucas Martin Max Neil Oscar Otto Owen
    Paul Peter Ralph Robert Simon Stefan Thomas Victor Walter William""".split()
)
SURNAMES = tuple(
    """Abbott Archer Baird Barlow Baxter Becker Bishop Blake Bowen Brandt Brennan Burke Calder Carver Conrad Cooper
    Cullen Dalton Decker Denton Dixon Doyle Draper Duncan Ellis Farrow Fenton Fletcher Foster Garner Gibson Granger
    Hadley Harper Hobbs Holt Hopkins Hurley Irving Jarvis Jensen Keller Kendall Kirby Lambert Larsen Lawson Lowell
    Maddox Mason Mercer Miller Morton Nash Newell Nolan Norris Osborn Palmer Parker Pearce Porter Preston Quinn
    Ramsey Reeves Rhodes Ripley Rowland Russo Sawyer Sexton Shaw Sherman Slater Spencer Stanton Sutton Talbot Tanner
    Thornton Tucker Turner Vance Vaughn Wagner Walden Warren Weber Weller Whitman Wilcox Wolfe
    Wyatt Yates Zimmer""".split()
)
PLACE_WORDS = tuple(
    """Alder Amber Aspen Badger Birch Bramble Briar Cedar Chalk Clover Copper Cypress Dawson Elm Falcon Fern Flint
    Garnet Hazel Heather Heron Holly Iron Ivy Juniper Laurel Linden Maple Marsh Moss Oak Otter Pebble Pepper Pine
    Poplar Quartz Raven Reed Rowan Saddle Sorrel Sparrow Spruce Thistle Walnut Willow Yarrow""".split()
)
CITY_FIRST = ("Port", "Fort", "Mount", "Saint", "Cape")
CITY_LAST = ("Falls", "Springs", "Bridge", "Bay", "Heights")
REGION_LAST = ("County", "Province", "Valley", "District", "Plains")
COUNTRY_FIRST = ("Upper", "Lower", "Northern", "Southern", "Eastern", "Western")
COUNTRY_LAST = tuple(
    """Arvania Belmora Calvia Delmark Estrovia Fenland Galdia Hestria Ilmaria Jorvia Kaldora Lumeria Morvia Nordalia
    Ostania Pelland Quenland Ravonia Selmark Tarvia Ulmora Valdia Westria Yorland""".split()
)
UNIVERSITY_LAST = ("University", "College", "Institute", "Academy")
ADJECTIVES = tuple(
    """Ancient Bitter Blue Bright Broken Burning Crimson Crooked Distant Empty Endless Faded Fallen Final Frozen
    Gentle Golden Green Hidden Hollow Lonely Lost Narrow Painted Pale Patient Purple Quiet Restless Rising Savage
    Scarlet Secret Silent Silver Sleeping Stolen Strange Velvet Wandering""".split()
)
FILM_NOUNS = tuple(
    """Arrow Balcony Bell Boat Candle Carousel Castle Clock Corridor Crown Curtain Desert Door Engine Feather Fire
    Forest Garden Gate Guest Harbor Hill Horse Island Key Ladder Lamp Letter Lighthouse Mask Mirror Moon Mountain Ocean
    Orchard Piano River Road Room Rope Shadow Shore Star Stone Storm Tower Train Window""".split()
)
BOOK_NOUNS = tuple(
    """Ashes Autumn Courage Dreams Dust Exile Fortune Glass Grief Honor Hunger Mercy Midnight Rain Salt Silence Snow
    Sorrow Spring Summer Thunder Truth Winter Wonder""".split()
)
ALBUM_NOUNS = tuple(
    """Anthems Ballads Bells Chords Colors Drums Echoes Fires Hours Hymns Lights Lovers Machines Memories Moments Nights
    Rhythms Rivers Roads Signals Skies Tides Voices Waves""".split()
)
OCCUPATIONS = tuple("baker dancer doctor farmer journalist lawyer painter pilot poet sailor singer teacher".split())
MONTHS = tuple("January February March April May June July August September October November December".split())

NAME_WORDS = (
    *(WOMEN + MEN + SURNAMES + PLACE_WORDS + CITY_FIRST + CITY_LAST + REGION_LAST + COUNTRY_FIRST + COUNTRY_LAST),
    *(UNIVERSITY_LAST + ADJECTIVES + FILM_NOUNS + BOOK_NOUNS + ALBUM_NOUNS),
    *("The", "of", "&"),
)


def _pairs(first: tuple[str, ...], last: tuple[str, ...], form: str = "{} {}") -> list[str]:
    return [form.format(a, b) for a in first for b in last]


def _combinations() -> dict[str, list[str]]:
    return {
        "woman": _pairs(WOMEN, SURNAMES),
        "man": _pairs(MEN, SURNAMES),
        "company": [f"{a} & {b}" for i, a in enumerate(SURNAMES) for b in SURNAMES[i + 1 :]],
        "university": _pairs(SURNAMES + PLACE_WORDS, UNIVERSITY_LAST),
        "city": _pairs(CITY_FIRST, PLACE_WORDS) + _pairs(PLACE_WORDS, CITY_LAST),
        "region": _pairs(PLACE_WORDS, REGION_LAST),
        "country": _pairs(COUNTRY_FIRST, COUNTRY_LAST),
        "film": _pairs(ADJECTIVES, FILM_NOUNS, "The {} {}"),
        "book": _pairs(FILM_NOUNS, BOOK_NOUNS, "The {} of {}"),
        "album": _pairs(ADJECTIVES, ALBUM_NOUNS),
    }


@lru_cache(1)
def names() -> dict[str, dict[str, tuple[str, ...]]]:
    """``names()[split][kind]``: the names of a split, about a quarter of all combinations; takes some 20 ms once.

    Kinds: woman, man, company, university, city, region, country, film, book, album.
    """
    table: dict[str, dict[str, tuple[str, ...]]] = {split: {} for split in SPLITS}
    for kind, combinations in _combinations().items():
        parts: tuple[list[str], ...] = tuple([] for _ in SPLITS)
        for name in combinations:
            parts[bits("synthetic name", name) % len(SPLITS)].append(name)
        for split, part in zip(SPLITS, parts, strict=True):
            table[split][kind] = tuple(part)
    return table
