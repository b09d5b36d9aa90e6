"""The grounded ToolActor: what each tool answers, from which sources, and that nothing a policy guessed comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from mtr_env import ENV_IDS
from mtr_env.contract import Contract
from mtr_env.errors import DatasetError, ToolsetError
from mtr_env.question import Fact, Paragraph, Question
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors.base import CallKey
from mtr_env.toolactors.bm25 import BM25
from mtr_env.toolactors.corpus import Corpus, Document
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolmakers.specs import (
    CALCULATE,
    COMPARE_DATES,
    FIND_IN_PAGE,
    OPEN_PAGE,
    SEARCH,
    inverse_tool,
    relation_tool,
)
from mtr_env.trace import Call, Response

QUESTION = Question(
    "q",
    "Was the director of Kolya born before 12 May 1970, 1,250 years ago?",
    "yes",
    paragraphs=(
        Paragraph("Kolya", ("Kolya is a film by Jan Svěrák.", "It won an Oscar in 1997.")),
        Paragraph("Limehouse Blues (song)", ("Limehouse Blues is a song.",)),
        Paragraph("Limehouse Blues (film)", ("Limehouse Blues is a film of 1934.",)),
        Paragraph("Kolya", ("The film cost 1,000 crowns.",)),
        Paragraph("Jan Svěrák", ("Jan Svěrák was born on 6 February 1965.", "Jan Svěrák is Czech.")),
    ),
    facts=(
        Fact("Kolya", "director", "Jan Svěrák", ("p0s0",)),
        Fact("Empties", "director", "Jan Svěrák", ()),
        Fact("Limehouse Blues (song)", "performer", "A", ("p1s0",)),
        Fact("Limehouse Blues (film)", "performer", "B", ("p2s0",)),
        Fact("Kolya", "performer", "C", ()),
        Fact("Kolya", "performer", "D", ()),
        Fact("Kolya", "performer", "D", ("p0s1",)),
    ),
)
VIEW = QUESTION.view()
ACTOR = GroundedToolActor()


def ask(
    spec: ToolSpec, *values: str, history: Sequence[tuple[Call, Response]] = (), actor: GroundedToolActor = ACTOR
) -> Response:
    call = Call(spec.name, dict(zip(spec.parameters["properties"], values, strict=True)))
    contract = Contract(Toolset((spec,)))
    assert contract.check_call(call) is None
    response = actor.respond(call, spec, VIEW, history, CallKey(0, "q", call))  # type: ignore[arg-type]
    assert contract.check_response(response.value, spec) is None
    assert response.origin == "grounded"
    if response.value["status"] != "ok":
        message = response.value["message"].lower()
        for value in values:
            assert value.lower() not in message, "a message never repeats an argument"
    return response


# -------------------------------------------------------------------------------------------------------------- search


def test_search_gives_titles_with_their_first_sentence_and_the_sources_of_both() -> None:
    found = ask(SEARCH, "which FILM is by Sverak")
    assert found.value["results"][0] == {"title": "Kolya", "snippet": "Kolya is a film by Jan Svěrák."}
    assert found.sources[:2] == ("p0", "p0s0")
    assert "It won an Oscar" not in json.dumps(found.value)
    assert len(found.sources) == 2 * len(found.value["results"])


def test_search_finds_words_of_any_sentence_and_at_most_three_pages() -> None:
    assert ask(SEARCH, "crowns").value["results"][0]["title"] == "Kolya"
    assert next(r["title"] for r in ask(SEARCH, "Limehouse song").value["results"]) == "Limehouse Blues (song)"
    assert len(ask(SEARCH, "film song born is").value["results"]) == 3


def test_search_without_a_match_is_not_found_without_a_source() -> None:
    for query in ("zzz", "?!", "<b>"):
        nothing = ask(SEARCH, query)
        assert (nothing.value["status"], nothing.value["results"], nothing.sources) == ("not_found", [], ())


def test_bm25_is_indifferent_to_the_order_of_words_and_breaks_ties_by_place() -> None:
    index = BM25(["red apple pie", "green apple", "green apple", "the the the"])
    assert index.search("apple green", 9) == index.search("green APPLE", 9) == [1, 2, 0]
    assert index.search("green", 1) == [1]
    assert index.search("the", 5) == [3]
    assert index.search("", 5) == index.search("pear", 5) == []
    assert BM25([]).search("x", 3) == []


# --------------------------------------------------------------------------------------------------------------- pages


def test_paragraphs_of_one_title_are_one_page_with_the_sources_of_all_its_sentences() -> None:
    page = ask(OPEN_PAGE, " kolya! ")
    assert page.value["title"] == "Kolya"
    assert page.value["text"] == "Kolya is a film by Jan Svěrák. It won an Oscar in 1997. The film cost 1,000 crowns."
    assert page.sources == ("p0", "p0s0", "p0s1", "p3s0")


def test_a_title_is_found_without_its_diacritics_and_with_or_without_its_parenthesis() -> None:
    assert ask(OPEN_PAGE, "Jan Sverak").value["status"] == "ok"
    assert ask(OPEN_PAGE, "Kolya (film)").value["title"] == "Kolya"
    assert ask(OPEN_PAGE, "Limehouse Blues (FILM)").sources == ("p2", "p2s0")


def test_an_ambiguous_title_gives_the_candidates_and_their_title_sources() -> None:
    for spec, values in ((OPEN_PAGE, ("Limehouse Blues",)), (FIND_IN_PAGE, ("Limehouse Blues", "film"))):
        response = ask(spec, *values)
        assert response.value["status"] == "ambiguous"
        assert response.value["candidates"] == ["Limehouse Blues (song)", "Limehouse Blues (film)"]
        assert response.sources == ("p1", "p2")


def test_an_unknown_title_is_not_found_and_one_that_titles_contain_names_them() -> None:
    assert ask(OPEN_PAGE, "Miloš Forman").value == {
        "status": "not_found",
        "message": "There is no page with this title.",
    }
    assert ask(OPEN_PAGE, "Miloš Forman").sources == ()
    similar = ask(OPEN_PAGE, "Limehouse")
    assert similar.value["status"] == "not_found"
    assert similar.value["candidates"] == ["Limehouse Blues (song)", "Limehouse Blues (film)"]
    assert similar.sources == ("p1", "p2")
    assert "candidates" not in ask(OPEN_PAGE, "?!").value


def test_find_in_page_gives_the_sentences_with_the_whole_words_and_their_sources_only() -> None:
    found = ask(FIND_IN_PAGE, "Kolya", "film")
    assert found.value["matches"] == ["Kolya is a film by Jan Svěrák.", "The film cost 1,000 crowns."]
    assert found.sources == ("p0", "p0s0", "p3s0")
    assert ask(FIND_IN_PAGE, "Kolya", "WON an").sources == ("p0", "p0s1")
    for phrase in ("fil", "zzz", "?"):
        missing = ask(FIND_IN_PAGE, "Kolya", phrase)
        assert missing.value["status"] == "not_found"
        assert not any("s" in source for source in missing.sources)


# ----------------------------------------------------------------------------------------------------------- relations


def test_a_relation_lists_every_object_once_with_all_facts_that_say_so() -> None:
    found = ask(relation_tool("performer"), "KOLYA")
    assert found.value["status"] == "ok"
    assert [value for value in found.value.values() if isinstance(value, list)] == [["C", "D"]]
    assert "Kolya" in found.value.values()
    assert found.sources == ("t4", "t5", "t6")


def test_a_relation_of_an_ambiguous_name_gives_the_candidates() -> None:
    response = ask(relation_tool("performer"), "Limehouse Blues")
    assert response.value["status"] == "ambiguous"
    assert response.value["candidates"] == ["Limehouse Blues (song)", "Limehouse Blues (film)"]
    assert not any(source.startswith("t") for source in response.sources)
    assert ask(relation_tool("performer"), "Limehouse Blues (film)").sources == ("t3",)


def test_a_relation_that_nothing_states_is_not_found_without_a_fact() -> None:
    for name in ("Miloš Forman", "Jan Svěrák", "?"):
        response = ask(relation_tool("director"), name)
        assert response.value["status"] == "not_found"
        assert response.sources == ()
    assert ask(relation_tool("director"), "Limehouse").value["candidates"]


def test_the_inverse_of_a_relation_lists_and_counts_the_subjects() -> None:
    found = ask(inverse_tool("director"), "jan sverak")
    assert found.value["total"] == 2
    assert ["Kolya", "Empties"] in found.value.values()
    assert "Jan Svěrák" in found.value.values()
    assert found.sources == ("t0", "t1")
    assert ask(inverse_tool("director"), "Kolya").value["status"] == "not_found"


@pytest.mark.parametrize(
    "name", ["status", "message", "candidates", "total", "entity", "entities", "if", "director of the"]
)
def test_a_relation_of_any_name_keeps_its_own_contract(name: str) -> None:
    question = Question("q", "Q?", "x", paragraphs=(Paragraph("S", ("S.",)),), facts=(Fact("S", name, "O"),))
    for spec, value in ((relation_tool(name), "S"), (inverse_tool(name), "O")):
        call = Call(spec.name, {next(iter(spec.parameters["properties"])): value})
        response = ACTOR.respond(call, spec, question.view(), (), CallKey(0, "q", call))  # type: ignore[arg-type]
        assert response.value["status"] == "ok"
        assert Contract(Toolset((spec,))).check_response(response.value, spec) is None
        assert {"S", "O"} <= set(json.dumps(response.value).split('"'))


# ------------------------------------------------------------------------------------------------------------- compute

OPENED = (Call("open_page", {"title": "Jan Svěrák"}), ask(OPEN_PAGE, "Jan Svěrák"))
COST = (Call("find_in_page", {"title": "Kolya", "phrase": "cost"}), ask(FIND_IN_PAGE, "Kolya", "cost"))


@pytest.mark.parametrize(
    ("expression", "history", "sources"),
    [
        ("1970 - 12", (), ("q",)),
        ("1250 + 1970", (), ("q",)),
        ("1,250 * 12", (), ("q",)),
        ("1970 - 1965", (), ()),
        ("1970 - 1965", (OPENED,), ("q", *OPENED[1].sources)),
        ("1000 - 1965", (COST, OPENED), (*COST[1].sources, *OPENED[1].sources)),
        ("1970 - 2", (), ()),
        ("1965 + 5", ((Call("x", {}), Response("1965 5")),), ()),
        ("1965 + 5", ((Call("x", {"e": "1965 5"}), Response(["1965 5"], ("p0",))),), ()),
    ],
)
def test_a_computed_value_has_the_sources_of_its_operands_if_every_one_has_some(
    expression: str, history: Any, sources: tuple[str, ...]
) -> None:
    response = ask(CALCULATE, expression, history=history)
    assert response.value["status"] == "ok"
    assert response.sources == sources


def test_a_date_comparison_has_the_sources_of_both_dates() -> None:
    response = ask(COMPARE_DATES, "6 February 1965", "12 May 1970", history=(OPENED,))
    assert response.value == {"status": "ok", "earlier": "first", "years": 5, "days": 1921}
    assert response.sources == (*OPENED[1].sources, "q")
    assert ask(COMPARE_DATES, "6 February 1965", "12 May 1970").sources == ()


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "Zatec",
        "5 1987",
        "(7",
        "7/0",
        "__import__('os')",
        "7 + Brno",
        ")",
        "7 )",
        "8**2",
        "9" * 201,
        "1.2.3",
    ],
)
def test_an_error_of_calculate_repeats_nothing_of_the_expression(expression: str) -> None:
    call = Call("calculate", {"expression": expression})
    response = ACTOR.respond(call, CALCULATE, VIEW, (), CallKey(0, "q", call))  # type: ignore[arg-type]
    assert response.value["status"] == "error"
    assert response.sources == ()
    message = response.value["message"]
    for digit in "5789":
        assert digit not in message
    for word in ("Zatec", "Brno", "import", "'"):
        assert word not in message


@pytest.mark.parametrize(
    ("first", "second"), [("Zatec", "1970"), ("1970", "31 Febtember 1999"), ("1999-02-31", "1970"), ("", "1")]
)
def test_an_error_of_compare_dates_repeats_nothing_of_the_dates(first: str, second: str) -> None:
    call = Call("compare_dates", {"first": first, "second": second})
    response = ACTOR.respond(call, COMPARE_DATES, VIEW, (), CallKey(0, "q", call))  # type: ignore[arg-type]
    assert response.value["status"] == "error"
    for part in ("Zatec", "Febtember", "1999", "31"):
        assert part not in response.value["message"]


# -------------------------------------------------------------------------------------------------------------- others


def test_a_tool_of_another_maker_is_an_error_that_says_what_to_do() -> None:
    spec = ToolSpec("teleport", "Moves.", {"type": "object"}, {"type": "object"}, binding="move")
    with pytest.raises(ToolsetError, match=r"cannot answer 'teleport' \(binding 'move'\).*Give a tool_actor="):
        ACTOR.respond(Call("teleport", {}), spec, VIEW, (), CallKey(0, "q", Call("teleport", {})))  # type: ignore[arg-type]


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_every_source_is_a_reference_of_the_question_and_every_response_keeps_its_schema(env_id: str) -> None:
    env: Any = gym.make(env_id)
    for seed in range(6):
        env.reset(seed=seed)
        trace = env.snapshot()
        question, contract = trace.question, Contract(trace.toolset)
        refs = {"q", *(f"t{i}" for i in range(len(question.facts)))}
        for i, paragraph in enumerate(question.paragraphs):
            refs |= {f"p{i}", *(f"p{i}s{j}" for j in range(len(paragraph.sentences)))}
        names = [*dict.fromkeys([p.title for p in question.paragraphs] + [f.object for f in question.facts])][:25]
        statuses = set()
        for spec in trace.toolset.tools:
            for name in (*names, "nobody at all", "1 + 1"):
                call = Call(spec.name, dict.fromkeys(spec.parameters["properties"], name[:400]))
                response = ACTOR.respond(call, spec, question.view(), (), CallKey(0, "q", call))  # type: ignore[arg-type]
                statuses.add(response.value["status"])
                assert contract.check_response(response.value, spec) is None
                assert refs.issuperset(response.sources)
        assert {"ok", "not_found"} <= statuses


# -------------------------------------------------------------------------------------------------------------- corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    documents = [
        {"title": "Kolya", "text": "Kolya is a film by Jan Svěrák. It is short. Unheard of sentence."},
        {"title": '"Empties"', "text": '"Empties"\nEmpties is a film too. It has bottles.'},
        {"title": "Brno", "text": "Brno\nBrno is a city."},
        {"title": "Brno", "text": "Brno has a castle."},
        {"title": "Alone", "text": "Alone"},
        {"title": "Blank", "text": "Blank\n  \n"},
        {"title": "Svěrák (family)", "text": "A family."},
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        "\n\n".join(json.dumps(document, ensure_ascii=False) for document in documents) + "\n", encoding="utf-8"
    )
    return Corpus.read(path)


def test_a_corpus_is_searched_and_a_sentence_of_the_question_keeps_its_reference(corpus: Corpus) -> None:
    actor = GroundedToolActor(corpus)
    assert actor.name == f"grounded(corpus=corpus.jsonl, 7 documents, {corpus.fingerprint})"
    page = ask(OPEN_PAGE, "Kolya", actor=actor)
    assert page.value["text"] == "Kolya is a film by Jan Svěrák. It is short. Unheard of sentence."
    assert page.sources == ("p0", "p0s0", "c0s1", "c0s2")
    found = ask(SEARCH, "castle", actor=actor)
    assert found.value["results"] == [{"title": "Brno", "snippet": "Brno has a castle."}]
    assert found.sources == ("c3", "c3s0")
    assert ask(SEARCH, "zzz", actor=actor).value["status"] == "not_found"


def test_a_text_loses_its_title_only_where_the_title_is_a_line_of_its_own(corpus: Corpus) -> None:
    actor = GroundedToolActor(corpus)
    assert ask(OPEN_PAGE, "Empties", actor=actor).value["text"] == "Empties is a film too. It has bottles."
    assert ask(OPEN_PAGE, "Brno", actor=actor).value["text"] == "Brno is a city. Brno has a castle."
    assert ask(OPEN_PAGE, "Alone", actor=actor).value["text"] == "Alone"
    assert ask(OPEN_PAGE, "Blank", actor=actor).value["text"] == "Blank"
    assert ask(SEARCH, "blank", actor=actor).value["status"] == "ok"
    assert ask(OPEN_PAGE, "Sverak", actor=actor).value["title"] == "Svěrák (family)"


def test_corpus_search_ranks_the_better_match_first_and_gives_at_most_what_was_asked(corpus: Corpus) -> None:
    assert corpus.search("film bottles", 5)[0] == 1
    assert corpus.search("film", 1) in ([0], [1])
    assert len(corpus.search("is a film city castle family", 3)) == 3
    assert corpus.search("", 3) == corpus.search("?!", 3) == []


def test_an_environment_takes_a_corpus_file(corpus: Corpus, tmp_path: Path) -> None:
    env = gym.make("MTR-HotpotQA-v0", corpus=tmp_path / "corpus.jsonl")
    env.reset(seed=0)
    observation, *_ = env.step('<tool_call>{"name":"search","arguments":{"query":"castle in Brno"}}</tool_call>')
    assert "Brno has a castle." in observation
    with pytest.raises(ValueError, match="give either corpus= or tool_actor=, not both"):
        gym.make("MTR-HotpotQA-v0", corpus=corpus, tool_actor=ACTOR)


def test_a_bad_corpus_file_is_an_error_that_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"title":"a","text":"b"}\n{"title":"a"}\n\nnonsense\n{"title":" ","text":"x"}\n')
    with pytest.raises(DatasetError) as caught:
        Corpus.read(path)
    for part in ("bad.jsonl", "found 3 bad and 1 good lines", "line 2: ", "line 4: ", "line 5: title or text is empty"):
        assert part in str(caught.value)
    with pytest.raises(DatasetError, match="there is no such corpus file"):
        Corpus.read(tmp_path / "missing.jsonl")
    path.write_text("\n")
    with pytest.raises(DatasetError, match="expected at least one document, found none"):
        Corpus.of(path)
    assert len(Corpus((Document("a", "b"),))) == 1
