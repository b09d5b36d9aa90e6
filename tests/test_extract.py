"""Facts read off Wikipedia-style paragraphs: which sentences state one, which must not, how often they are right."""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtr_env.question import Fact, Paragraph
from mtr_env.relations import RELATIONS
from mtr_env.sentences import split_sentences
from mtr_env.worlds.extract import extract_facts
from mtr_env.worlds.subquestions import sub_question_relation

SharedData = Callable[[str], Path]


def said(title: str, *sentences: str) -> list[tuple[str, str]]:
    """The relations and objects that one page states."""
    return [(fact.relation, fact.object) for fact in extract_facts([Paragraph(title, sentences)])]


@pytest.mark.parametrize(
    ("title", "sentence", "expected"),
    [
        (
            "Camille Paule",
            "Camille Paule (1 March 1867 in Pesmes – 22 May 1946 in Champagney) was the husband of Salima Machamba.",
            {
                "date of birth": "1 March 1867",
                "place of birth": "Pesmes",
                "date of death": "22 May 1946",
                "place of death": "Champagney",
                "spouse": "Salima Machamba",
            },
        ),
        (
            "Salima Machamba",
            "Salima Machamba (Fomboni, 1 November 1874 – Pesmes, Haute-Saône, 7 August 1964) was sultan of Mohéli.",
            {"place of birth": "Fomboni", "date of death": "7 August 1964", "place of death": "Pesmes, Haute-Saône"},
        ),
        (
            "Allan Paule",
            "Allan Paule( born January 1, 1964 in Manila) is a Filipino actor and singer.",
            {
                "date of birth": "January 1, 1964",
                "place of birth": "Manila",
                "country of citizenship": "Filipino",
                "occupation": "singer",
            },
        ),
        (
            "Abel Gance",
            "Abel Gance( 25 October 188910 November 1981) was a French director.",
            {"date of death": "10 November 1981"},
        ),
        (
            "The Ride (1994 film)",
            "The Ride is a 1994 Czech road film directed by Jan Svěrák, starring Anna Geislerová and Radek Pastrňák.",
            {
                "publication date": "1994",
                "country of origin": "Czech",
                "director": "Jan Svěrák",
                "cast member": "Radek Pastrňák",
            },
        ),
        (
            "The Sea Wolf (1926 film)",
            "The Sea Wolf is a film directed by and starring Ralph Ince.",
            {"director": "Ralph Ince"},
        ),
        ("Love + War", "Love + War is the debut album by British singer Kwabs.", {"performer": "Kwabs"}),
        (
            "Ever Since Darwin",
            "Ever Since Darwin is a 1977 book by the writer Stephen Jay Gould.",
            {"author": "Stephen Jay Gould"},
        ),
        (
            "Dudah Chay",
            "Dudah Chay( also Dūdah) is a village in Kuhin District, in the Central District of Qazvin County, Iran.",
            {"country": "Iran", "located in the administrative territorial entity": "Qazvin County"},
        ),
        (
            "J. Barbour and Sons",
            "J. Barbour and Sons is a British brand founded by John Barbour in 1894 and based in South Shields.",
            {"founded by": "John Barbour", "inception": "1894", "headquarters location": "South Shields"},
        ),
        (
            "Emilio Sagi",
            "Emilio Sagi is a Spanish footballer, the son of Emilio Sagi Barba.",
            {"father": "Emilio Sagi Barba"},
        ),
    ],
)
def test_a_definition_states_its_facts(title: str, sentence: str, expected: dict[str, str]) -> None:
    facts = said(title, sentence)
    assert {pair for pair in facts if pair[0] in expected} >= set(expected.items()), facts


def test_a_later_sentence_about_the_subject_states_facts_too() -> None:
    facts = extract_facts(
        [
            Paragraph("Elsewhere", ("Nothing is known.",)),
            Paragraph(
                "Ann Aalto", ("Ann Aalto is a writer.", "She was born in Turku.", "Aalto attended Åbo University.")
            ),
        ]
    )
    assert Fact("Ann Aalto", "place of birth", "Turku", ("p1s1",)) in facts
    assert Fact("Ann Aalto", "educated at", "Åbo University", ("p1s2",)) in facts


@pytest.mark.parametrize(
    ("title", "sentences", "relation"),
    [
        ("Echo", ("Echo is a 2008 film based on the novel by Ann Aalto.",), "author"),
        ("Echo", ("Echo is a 2008 film.", 'It is the sequel to "Call", directed by Ann Aalto.'), "director"),
        ("Echo (novel)", ("Echo is a novel by Ann Aalto.", "The film was directed by Bo Berg."), "director"),
        ("Ann Aalto", ("Ann Aalto is a writer.", "Her husband was born in Turku."), "place of birth"),
        ("Ann Aalto", ("Ann Aalto is a writer.", "Bo Berg was born in Turku."), "place of birth"),
        ("Ann Aalto", ("Ann Aalto is a writer.", "She died in office."), "place of death"),
        ("Ann Aalto", ("Ann Aalto (reigned 1912–1950) was queen of Norway.",), "date of birth"),
        ("Great War", ("The Great War (1 May 1914 – 3 June 1918) was a war.",), "date of birth"),
        ("Nick Kellogg", ("Nick Kellogg is the son of former National League (NL) player Clark Kellogg.",), "father"),
        ("Ann Aalto", ("Ann Aalto is the daughter of Alice Berg and Ernest Berg.",), "father"),
        ("Ann Aalto", ("Ann Aalto is a Roman Catholic priest.",), "country of citizenship"),
        ("List of Ann Aalto songs", ("Ann Aalto is a Finnish singer.",), "country of citizenship"),
        ("Turku", ("Turku is a city.", "Its population density of 564 is high."), "population"),
        ("Echo (band)", ("Echo is a rock band formed in August 2008.",), "location of formation"),
        ("Echo", ("Echo is a magazine owned by The Chronicle of Higher Education.",), "owned by"),
        ("Georgia House", ("Georgia House is a house in Georgia.",), "country"),
    ],
)
def test_what_is_said_of_something_else_or_in_doubt_is_no_fact(
    title: str, sentences: tuple[str, ...], relation: str
) -> None:
    assert relation not in dict(said(title, *sentences))


def test_the_first_statement_wins_where_only_one_can_be_true() -> None:
    facts = said("Ann Aalto", "Ann Aalto (born 1 May 1950) is a writer.", "She was born on 2 June 1951.")
    assert [value for name, value in facts if name == "date of birth"] == ["1 May 1950"]


PIECES = st.sampled_from(
    "Ann |is a |writer |film |born in |(|)|1 May 1950| – |directed by |son of |and |, |He |was |village |in |the |İ"
    '|Turku|.|"|- |A. |married |\n|French '.split("|")
)
TEXTS = st.text(max_size=60) | st.lists(PIECES, max_size=25).map("".join)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.builds(Paragraph, TEXTS, st.lists(TEXTS, max_size=4).map(tuple)), max_size=3))
def test_any_text_gives_literal_pieces_of_its_sentences(pages: list[Paragraph]) -> None:
    facts = extract_facts(pages)
    assert facts == extract_facts(pages)
    for fact in facts:
        page, sentence = sentence_of(fact)
        assert fact.subject == pages[page].title
        assert fact.relation in RELATIONS
        assert 0 < len(fact.object) <= 80
        assert fact.object in pages[page].sentences[sentence]


@given(TEXTS)
def test_any_text_may_be_asked(text: str) -> None:
    found = sub_question_relation(text)
    assert found is None or (found[0] in text and found[1] in RELATIONS)


@pytest.mark.parametrize("unit", ["born in ", "(", "Ann is a writer born in ", "- ", "A, ", "son of Ann and "])
@pytest.mark.parametrize("lead", ["", "Ann is a writer ", "Ann (born 1 May 1950 in "])
def test_a_megabyte_of_triggers_is_read_in_linear_time(unit: str, lead: str) -> None:
    text = lead + unit * (1_000_000 // len(unit))
    some = lead + unit * (1900 // len(unit))
    for page in (Paragraph("Ann", (text,)), Paragraph("Ann", (some,) * 500), Paragraph("Ann", (unit,) * 100_000)):
        start = time.perf_counter()
        extract_facts([page])
        assert time.perf_counter() - start < 0.2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("When was #1 born?", ("#1", "date of birth")),
        ("What is the capital of #1 ?", ("#1", "capital")),
        ("Who is #3 's mother?", ("#3", "mother")),
        ("What is Lil Hardin Armstrong's spouse's name?", ("Lil Hardin Armstrong", "spouse")),
        ("The main director of Big Eyes was who?", ("Big Eyes", "director")),
        (
            "What is the name of the state where Kraus House is located?",
            ("Kraus House", "located in the administrative territorial entity"),
        ),
        ("who is the owner of #2", ("#2", "owned by")),
        ("Who is the spouse of the Green performer?", None),
        ("where is #1 in the state of florida", None),
        ("who wrote the song the story sung by #1", None),
        ("What was #2 's population in 1900?", None),
        ("who sings home alone tonight with #1", None),
        ("When was the Palau de la Generalitat in #2 constructed?", None),
        ("", None),
    ],
)
def test_a_sub_question_asks_for_a_relation_only_when_that_is_sure(text: str, expected: tuple[str, str] | None) -> None:
    assert sub_question_relation(text) == expected


def sentence_of(fact: Fact) -> tuple[int, int]:
    match = re.fullmatch(r"p(\d+)s(\d+)", fact.sources[0])
    assert match is not None and len(fact.sources) == 1
    return int(match[1]), int(match[2])


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pages_of(row: dict[str, Any]) -> list[Paragraph]:
    if "context" in row:
        return [Paragraph(title, tuple(sentence.strip() for sentence in lines)) for title, lines in row["context"]]
    return [Paragraph(page["title"], split_sentences(page["paragraph_text"])) for page in row["paragraphs"]]


@pytest.fixture(scope="module")
def twowiki(shared_data: SharedData) -> Iterator[list[dict[str, Any]]]:
    yield [row for name in ("dev_shared", "train_extra") for row in rows(shared_data(f"2wikimultihopqa/{name}.jsonl"))]


def squeezed(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())


def agree(mine: str, gold: str) -> bool:
    """Equal but for case and punctuation, or one states the other more fully, like "Padua, Italy"."""
    a, b = squeezed(mine), squeezed(gold)
    return a == b or (len(b) > 3 and b in a) or (len(a) > 3 and a in b)


def test_facts_agree_with_the_annotated_triples_of_2wiki(twowiki: list[dict[str, Any]]) -> None:
    right: Counter[str] = Counter()
    stated: Counter[str] = Counter()
    found: Counter[str] = Counter()
    annotated: Counter[str] = Counter()
    for row in twowiki:
        facts = extract_facts(pages_of(row))
        gold: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for subject, relation, value in row["evidences"]:
            gold[subject, relation].append(value)
        titles = {title for title, _ in row["context"]}
        for (subject, relation), values in gold.items():
            mine = [fact.object for fact in facts if (fact.subject, fact.relation) == (subject, relation)]
            stated[relation] += len(mine)
            right[relation] += sum(any(agree(value, other) for other in values) for value in mine)
            annotated[relation] += len(values) * (subject in titles)
            found[relation] += sum(any(agree(value, other) for value in mine) for other in values)
    assert right.total() / stated.total() >= 0.95
    for relation in ("date of birth", "date of death", "place of birth", "father", "publication date"):
        assert right[relation] / stated[relation] >= 0.97, relation
    assert right["director"] / stated["director"] >= 0.95  # the gold often names one of several directors
    assert found.total() / annotated.total() >= 0.75


@pytest.mark.parametrize(
    ("name", "fewest", "seconds"), [("hotpotqa", 12, 300e-6), ("musique", 14, 500e-6), ("2wikimultihopqa", 22, 500e-6)]
)
def test_a_question_has_facts_to_spare_and_takes_half_a_millisecond(
    shared_data: SharedData, name: str, fewest: float, seconds: float
) -> None:
    questions = [pages_of(row) for row in rows(shared_data(f"{name}/dev_shared.jsonl"))[:150]]
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        count = sum(len(extract_facts(pages)) for pages in questions)
        best = min(best, time.perf_counter() - start)
    assert count / len(questions) >= fewest
    assert best / len(questions) < 4 * seconds  # a busy machine may take four times as long
