"""The templates of the synthetic world: sentences of paragraphs, noun phrases and questions, each in paraphrases.

In sentence templates ``{s}`` is the entity's name, ``{It}``/``{Its}``/``{its}`` its pronoun and ``{0}``, ``{1}`` the
objects of the sentence's relations. The first row of a kind is always the paragraph's first sentence.
"""

from __future__ import annotations

import re

from mtr_env.worlds.synthetic_words import MONTHS, NAME_WORDS, OCCUPATIONS

REGION = "located in the administrative territorial entity"
Templates = tuple[str, ...]
Rows = tuple[tuple[tuple[str, ...], Templates], ...]

_RELEASE: Templates = ("{It} was released on {0}.", "{s} came out on {0}.", "{Its} release date was {0}.")
_PRODUCER: Templates = ("{It} was produced by {0}.", "{0} produced {s}.", "{Its} producer was {0}.")
_COMPOSER: Templates = ("{Its} music was composed by {0}.", "{0} composed the music for {s}.", "{It} has music by {0}.")
_FOUNDER: Templates = ("{It} was founded by {0}.", "{0} is the founder of {s}.", "{Its} founder was {0}.")
_SEAT: Templates = ("{It} is based in {0}.", "{s} has its headquarters in {0}.", "{Its} headquarters is in {0}.")
_NAMED: Templates = ("{It} is named after {0}.", "{s} takes its name from {0}.", "{Its} name comes from {0}.")
_FOUNDED: Templates = ("{It} was founded in {0}.", "{s} was established in {0}.", "{Its} founding year is {0}.")
_PEOPLE: Templates = ("{It} has a population of {0}.", "{0} people live in {s}.", "{Its} population is {0}.")
_BORDER: Templates = ("{It} borders {0}.", "{s} shares a border with {0}.", "{Its} neighbor is {0}.")
_CAPITAL: Templates = ("{Its} capital is {0}.", "The capital of {s} is {0}.", "{It} is governed from its capital {0}.")
_COUNTRY: Templates = ("{It} lies in {0}.", "{s} is part of the country {0}.", "{Its} country is {0}.")

SENTENCES: dict[str, Rows] = {
    "person": (
        (
            ("occupation", "country of citizenship"),
            ("{s} is a {0} from {1}.", "{s} is a {0} and a citizen of {1}.", "{s} works as a {0} and belongs to {1}."),
        ),
        (
            ("date of birth", "place of birth"),
            (
                "{It} was born on {0} in {1}.",
                "{s} was born in {1} on {0}.",
                "{Its} date of birth is {0} and {its} birthplace {1}.",
            ),
        ),
        (
            ("father", "mother"),
            (
                "{Its} parents are {0} and {1}.",
                "{It} is a child of {0} and {1}.",
                "{Its} father is {0} and {its} mother {1}.",
            ),
        ),
        (("spouse",), ("{It} is married to {0}.", "{s} married {0}.", "{Its} spouse is {0}.")),
        (("educated at",), ("{It} studied at {0}.", "{s} attended {0}.", "{It} was educated at {0}.")),
        (("employer",), ("{It} worked for {0}.", "{s} was employed by {0}.", "{Its} employer was {0}.")),
    ),
    "film": (
        (("country of origin",), ("{s} is a film from {0}.", "{s} is a film made in {0}.", "{s} is a movie from {0}.")),
        (("director",), ("{It} was directed by {0}.", "{0} directed {s}.", "{Its} director was {0}.")),
        (("screenwriter",), ("{It} was written by {0}.", "{0} wrote the script of {s}.", "{Its} script is by {0}.")),
        (("producer",), _PRODUCER),
        (("composer",), _COMPOSER),
        (("publication date",), _RELEASE),
    ),
    "book": (
        (
            ("country of origin",),
            ("{s} is a book from {0}.", "{s} is a novel from {0}.", "{s} is a novel written in {0}."),
        ),
        (("author",), ("{It} was written by {0}.", "{0} is the author of {s}.", "{Its} author was {0}.")),
        (("publisher",), ("{It} was published by {0}.", "{0} published {s}.", "{Its} publisher was {0}.")),
        (("publication date",), _RELEASE),
        (("named after",), _NAMED),
    ),
    "album": (
        (
            ("country of origin",),
            ("{s} is an album from {0}.", "{s} is a record from {0}.", "{s} is an album made in {0}."),
        ),
        (("performer",), ("{It} was recorded by {0}.", "{0} performed {s}.", "{Its} performer was {0}.")),
        (("producer",), _PRODUCER),
        (("composer",), _COMPOSER),
        (
            ("record label",),
            ("{It} is on the label {0}.", "{0} is the record label of {s}.", "{Its} record label was {0}."),
        ),
        (("publication date",), _RELEASE),
    ),
    "company": (
        (("country",), ("{s} is a company in {0}.", "{s} is a firm from {0}.", "{s} is a company from {0}.")),
        (("founded by",), _FOUNDER),
        (("inception",), _FOUNDED),
        (("headquarters location",), _SEAT),
        (("owned by",), ("{It} is owned by {0}.", "{0} owns {s}.", "{Its} owner is {0}.")),
    ),
    "university": (
        (("country",), ("{s} is a school in {0}.", "{s} is a university in {0}.", "{s} is a place of study in {0}.")),
        (("founded by",), _FOUNDER),
        (("inception",), _FOUNDED),
        (("headquarters location",), _SEAT),
        (("named after",), _NAMED),
    ),
    "city": (
        ((REGION,), ("{s} is a city in {0}.", "{s} is a town in {0}.", "{s} is a city of the region {0}.")),
        (("country",), _COUNTRY),
        (("population",), _PEOPLE),
        (("inception",), _FOUNDED),
        (("shares border with",), _BORDER),
    ),
    "region": (
        (("country",), ("{s} is a region in {0}.", "{s} is a region of {0}.", "{s} is part of the country {0}.")),
        (("capital",), _CAPITAL),
        (("population",), _PEOPLE),
        (("inception",), _FOUNDED),
        (("shares border with",), _BORDER),
    ),
    "country": (
        (
            ("inception",),
            ("{s} is a country founded in {0}.", "{s} is a country since {0}.", "{s} became a country in {0}."),
        ),
        (("capital",), _CAPITAL),
        (("population",), _PEOPLE),
        (("shares border with",), _BORDER),
    ),
}

# What stands inside a question for an entity that the question must not name, and what the entity is called there.
PHRASE: dict[str, Templates] = {
    "director": ("the director of {}", "the person who directed {}"),
    "screenwriter": ("the screenwriter of {}", "the person who wrote the script of {}"),
    "producer": ("the producer of {}", "the person who produced {}"),
    "composer": ("the composer of {}", "the person who composed the music for {}"),
    "author": ("the author of {}", "the person who wrote {}"),
    "performer": ("the performer of {}", "the person who recorded {}"),
    "publisher": ("the publisher of {}", "the company that published {}"),
    "record label": ("the record label of {}", "the label behind {}"),
    "country of origin": ("the country of origin of {}", "the country where {} was made"),
    "country of citizenship": ("the home country of {}", "the country of citizenship of {}"),
    "place of birth": ("the birthplace of {}", "the city where {} was born"),
    "father": ("the father of {}", "the man who is the father of {}"),
    "mother": ("the mother of {}", "the woman who is the mother of {}"),
    "spouse": ("the spouse of {}", "the person married to {}"),
    "educated at": ("the school attended by {}", "the university of {}"),
    "employer": ("the employer of {}", "the company that employed {}"),
    "founded by": ("the founder of {}", "the person who founded {}"),
    "headquarters location": ("the headquarters city of {}", "the city where {} is based"),
    "owned by": ("the owner of {}", "the company that owns {}"),
    "named after": ("the namesake of {}", "the one that {} is named after"),
    "country": ("the country of {}", "the country that contains {}"),
    REGION: ("the region of {}", "the region that contains {}"),
    "capital": ("the capital of {}", "the city that is the capital of {}"),
    "shares border with": ("the neighbor of {}", "the place that borders {}"),
}
ROLE: dict[str, str] = {relation: forms[0].split(" of ")[0][4:] for relation, forms in PHRASE.items()} | {
    "country of origin": "country of origin",
    "country of citizenship": "country of citizenship",
    "educated at": "university",
    "headquarters location": "headquarters city",
    "occupation": "occupation",
}

# The first form also asks the hop of a decomposition.
ASK: dict[str, Templates] = {
    "director": ("Who directed {}?", "Who is the director of {}?"),
    "screenwriter": ("Who wrote the script of {}?", "Who is the screenwriter of {}?"),
    "producer": ("Who produced {}?", "Who is the producer of {}?"),
    "composer": ("Who composed the music for {}?", "Who is the composer of {}?"),
    "author": ("Who wrote {}?", "Who is the author of {}?"),
    "performer": ("Who recorded {}?", "Who is the performer of {}?"),
    "publisher": ("Which company published {}?", "What is the publisher of {}?"),
    "record label": ("Which company is the record label of {}?", "On which label is {}?"),
    "publication date": ("When was {} released?", "When did {} come out?"),
    "country of origin": ("In which country was {} made?", "What is the country of origin of {}?"),
    "occupation": ("What is the occupation of {}?", "What does {} do for a living?"),
    "country of citizenship": ("What is the home country of {}?", "Of which country is {} a citizen?"),
    "date of birth": ("When was {} born?", "What is the date of birth of {}?"),
    "place of birth": ("Where was {} born?", "In which city was {} born?", "What is the birthplace of {}?"),
    "father": ("Who is the father of {}?", "Which man is the father of {}?"),
    "mother": ("Who is the mother of {}?", "Which woman is the mother of {}?"),
    "spouse": ("Who is the spouse of {}?", "To whom is {} married?"),
    "educated at": ("Where did {} study?", "Which university did {} attend?"),
    "employer": ("For which company did {} work?", "Who employed {}?"),
    "founded by": ("Who founded {}?", "Who is the founder of {}?"),
    "inception": ("When was {} founded?", "In which year was {} established?"),
    "headquarters location": ("In which city is {} based?", "Where is the headquarters of {}?"),
    "owned by": ("Which company owns {}?", "Who is the owner of {}?"),
    "named after": ("What is {} named after?", "From what does {} take its name?"),
    "country": ("In which country is {}?", "To which country does {} belong?"),
    REGION: ("In which region is {}?", "To which region does {} belong?"),
    "capital": ("What is the capital of {}?", "Which city is the capital of {}?"),
    "population": ("How many people live in {}?", "What is the population of {}?"),
    "shares border with": ("What borders {}?", "With what does {} share a border?"),
}

# (relation, least or greatest) -> which of two entities; the clause follows "the director" in a bridge comparison.
COMPARE: dict[tuple[str, str], Templates] = {
    ("date of birth", "min"): (
        "Who was born first, {} or {}?",
        "Who is older, {} or {}?",
        "Who was born earlier: {} or {}?",
    ),
    ("date of birth", "max"): (
        "Who was born last, {} or {}?",
        "Who is younger, {} or {}?",
        "Who was born later: {} or {}?",
    ),
    ("publication date", "min"): ("Which was released first, {} or {}?", "Which came out earlier, {} or {}?"),
    ("publication date", "max"): ("Which was released last, {} or {}?", "Which came out later, {} or {}?"),
    ("inception", "min"): ("Which was founded first, {} or {}?", "Which is older, {} or {}?"),
    ("inception", "max"): ("Which was founded last, {} or {}?", "Which is younger, {} or {}?"),
    ("population", "min"): ("Which has the smaller population, {} or {}?", "Which has fewer people, {} or {}?"),
    ("population", "max"): ("Which has the larger population, {} or {}?", "Which has more people, {} or {}?"),
}
CLAUSE: dict[tuple[str, str], Templates] = {
    ("date of birth", "min"): ("who was born first", "who was born earlier"),
    ("date of birth", "max"): ("who was born last", "who was born later"),
    ("inception", "min"): ("that was founded first", "that is older"),
    ("inception", "max"): ("that was founded last", "that is younger"),
    ("population", "min"): ("with the smaller population", "with fewer people"),
    ("population", "max"): ("with the larger population", "with more people"),
}
COMPARE_STARTS: Templates = ("Which has the {role} {clause}, {} or {}?", "Of {} and {}, which has the {role} {clause}?")

# Conditions of an intersection, and how many works of a kind are related to someone.
CONDITION: dict[str, Templates] = {
    "director": ("was directed by {}", "has {} as its director"),
    "screenwriter": ("was written by {}", "has {} as its screenwriter"),
    "producer": ("was produced by {}", "has {} as its producer"),
    "composer": ("has music by {}", "has {} as its composer"),
    "author": ("was written by {}", "has {} as its author"),
    "publisher": ("was published by {}", "has {} as its publisher"),
    "performer": ("was recorded by {}", "has {} as its performer"),
    "record label": ("is on the label {}", "has {} as its record label"),
}
BOTH: Templates = (
    "Which {kind} {} and {}?",
    "What is the name of the {kind} that {} and {}?",
    "Name the {kind} that {} and {}.",
)
COUNT: dict[str, Templates] = {
    "director": ("How many films did {} direct?", "How many films were directed by {}?"),
    "screenwriter": ("How many films did {} write?", "How many films have a script by {}?"),
    "author": ("How many books did {} write?", "How many books were written by {}?"),
    "publisher": ("How many books did {} publish?", "How many books were published by {}?"),
    "performer": ("How many albums did {} record?", "How many albums were recorded by {}?"),
    "record label": ("How many albums are on the label of {}?", "How many albums have {} as their label?"),
}

EVENT: dict[str, str] = {
    "publication date": "the release year of {}",
    "date of birth": "the birth year of {}",
    "inception": "the founding year of {}",
}
DIFFERENCE: Templates = (
    "What is the difference in years between {} and {}?",
    "By how many years do {} and {} differ?",
    "How many years apart are {} and {}?",
)

SAME: dict[str, Templates] = {
    "place of birth": ("Were {} and {} born in the same city?", "Do {} and {} share a birthplace?"),
    "country of citizenship": (
        "Are {} and {} citizens of the same country?",
        "Do {} and {} come from the same country?",
    ),
    "educated at": ("Did {} and {} study at the same university?", "Did {} and {} attend the same school?"),
    "employer": ("Did {} and {} work for the same company?", "Were {} and {} employed by the same company?"),
    "occupation": ("Do {} and {} have the same occupation?", "Do {} and {} do the same work?"),
    "headquarters location": (
        "Are {} and {} based in the same city?",
        "Do {} and {} have their headquarters in the same city?",
    ),
    "founded by": ("Were {} and {} founded by the same person?", "Do {} and {} have the same founder?"),
    "director": ("Were {} and {} directed by the same person?", "Do {} and {} have the same director?"),
    "author": ("Were {} and {} written by the same person?", "Do {} and {} have the same author?"),
    "performer": ("Were {} and {} recorded by the same person?", "Do {} and {} have the same performer?"),
    "country of origin": ("Were {} and {} made in the same country?", "Do {} and {} come from the same country?"),
    "publisher": ("Do {} and {} have the same publisher?", "Were {} and {} published by the same company?"),
    "record label": ("Are {} and {} on the same label?", "Do {} and {} have the same record label?"),
}

# The last hop of a decomposition: two entities with their looked-up values, or two values.
PICK: dict[tuple[str, str], str] = {
    (relation, pick): "Of {} ({}) and {} ({}), which is the " + word + "?"
    for relation, least, greatest in (
        ("date of birth", "older", "younger"),
        ("publication date", "earlier", "later"),
        ("inception", "older", "younger"),
        ("population", "smaller", "larger"),
    )
    for pick, word in (("min", least), ("max", greatest))
}
EQUAL = "Are {} and {} the same?"


def words(text: str) -> list[str]:
    """The words, numbers and punctuation marks of a text, in order.

    >>> words("Holt & Nash was founded in 1931.")
    ['Holt', '&', 'Nash', 'was', 'founded', 'in', '1931', '.']
    """
    return re.findall(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]", text)


def populations(kind: str) -> list[str]:
    """All populations of a kind of place: two digits and zeros, a city below a region below a country."""
    step, least = {"city": (10_000, 1), "region": (100_000, 10), "country": (1_000_000, 10)}[kind]
    return [str(step * n) for n in range(least, 100)]


def _templates() -> list[str]:
    rows = [forms for kind in SENTENCES.values() for _, forms in kind]
    tables = (PHRASE, ASK, COMPARE, CLAUSE, CONDITION, COUNT, SAME)
    rows += [forms for table in tables for forms in table.values()]
    rows += [(role,) for role in ROLE.values()] + [COMPARE_STARTS, BOTH, DIFFERENCE, (EQUAL,)]
    rows += [(text,) for table in (EVENT, PICK) for text in table.values()]
    return [re.sub(r"\{\w*\}", " ", form) for forms in rows for form in forms]


def vocabulary(numbers: bool = True) -> list[str]:
    """Every word that can occur in a paragraph, question, answer or decomposition of any split, sorted.

    A word is what :func:`words` returns, in the spelling of the text. ``numbers`` adds the years 1800 to 2025, the
    integers 0 to 225 (days, counts, differences of years) and the populations (two digits followed by zeros).
    """
    found = set(NAME_WORDS + OCCUPATIONS + MONTHS + tuple(SENTENCES))
    found.update(("It", "Its", "its", "She", "Her", "her", "He", "His", "his", "yes", "no", "#"))
    for template in _templates():
        found.update(words(template))
    if numbers:
        found.update(str(n) for n in (*range(226), *range(1800, 2026)))
        found.update(number for kind in ("city", "region", "country") for number in populations(kind))
    return sorted(found)
