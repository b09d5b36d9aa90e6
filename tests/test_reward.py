"""The reward, part by part, on traces made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from mtr_env.provenance import invented_calls
from mtr_env.question import Evidence, Fact, Paragraph, Question, WorldInfo
from mtr_env.reward import (
    CONSISTENCY,
    RUBRICS,
    Rubric,
    contract,
    economy,
    exact,
    get_rubric,
    provenance,
    score,
    support,
    unscored,
)
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.trace import Call, Fault, Response, Setup, Step, Trace

TEXT: dict[str, Any] = {"type": "string"}
OBJECT: dict[str, Any] = {"type": "object"}


def tool(name: str, *arguments: str, entities: tuple[str, ...] = (), binding: str = "") -> ToolSpec:
    parameters = {"type": "object", "properties": dict.fromkeys(arguments, TEXT)}
    return ToolSpec(name, "Does it.", parameters, OBJECT, entities, binding)


TOOLSET = Toolset(
    (
        tool("search", "query", binding="search"),
        tool("open_page", "title", entities=("title",), binding="open_page"),
        tool("calculate", "expression", binding="compute:calculate"),
        tool("free", "x"),
    )
)
QUESTION = Question(
    "q",
    "Where was the director of the film Kolya born in 1965?",
    "Žatec",
    aliases=("Saaz",),
    paragraphs=(
        Paragraph("Kolya", ("Kolya is a film by Jan Svěrák.", "It won an Oscar.")),
        Paragraph("Jan Svěrák", ("Jan Svěrák was born in Žatec.",)),
        Paragraph("Dark Blue World", ("A film of 2001.",)),
    ),
    facts=(Fact("Kolya", "director", "Jan Svěrák", ("p0s0",)),),
    evidence=(Evidence(("p0s0", "t0")), Evidence(("p1s0",))),
)
SETUP = Setup("MTR-Test-v0", WorldInfo("test", "sample", "here", "0"), "hermes", 8, "maker", "actor", "mtr-v0", "0")


def trace(*steps: Step, question: Question = QUESTION) -> Trace:
    return Trace(question, TOOLSET, SETUP, 0, steps)


def step(*pairs: tuple[Call, Response | None], faults: tuple[Fault, ...] = ()) -> Step:
    return Step("…", tuple(call for call, _ in pairs), tuple(response for _, response in pairs), faults)


def answer(text: str) -> Step:
    return Step(f"<answer>{text}</answer>", answer=text)


def search(query: str) -> Call:
    return Call("search", {"query": query})


def open_page(title: str) -> Call:
    return Call("open_page", {"title": title})


FOUND = Response(
    {"status": "ok", "results": [{"title": "Kolya", "snippet": "Kolya is a film by Jan Svěrák."}]}, ("p0", "p0s0")
)
OPENED = Response({"status": "ok", "title": "Jan Svěrák", "text": "Jan Svěrák was born in Žatec."}, ("p1", "p1s0"))
NOTHING = Response({"status": "not_found", "message": "No page matches this query."})
PERFECT = (step((search("film Kolya"), FOUND)), step((open_page("Jan Svěrák"), OPENED)), answer("žatec"))


# ------------------------------------------------------------------------------------------------------------- rubrics


def test_a_perfect_trace_earns_1_in_every_rubric() -> None:
    for rubric in RUBRICS.values():
        reward = score(trace(*PERFECT), rubric)
        assert reward.total == pytest.approx(1.0), rubric.name
        assert reward.unscored is None
    assert score(trace(*PERFECT)).parts == dict.fromkeys(("answer", *CONSISTENCY), 1.0)


def test_a_consistent_wrong_answer_earns_nothing_but_in_the_additive_form() -> None:
    wrong = trace(*PERFECT[:2], answer("Prague"))
    assert score(wrong).total == 0.0
    assert score(wrong, "em").total == 0.0
    assert score(wrong, "f1").total == 0.0
    assert score(wrong, "additive").total == pytest.approx(0.4)


def test_a_right_answer_without_a_call_earns_what_the_answer_alone_is_worth() -> None:
    lucky = trace(answer("Saaz"))
    assert score(lucky).total == pytest.approx(0.6)
    assert score(lucky, "additive").total == pytest.approx(0.6)
    assert score(lucky, "em").total == 1.0
    malformed = Step("x", faults=(Fault("malformed_action", "m"),))
    assert score(trace(malformed, answer("Saaz"))).total == pytest.approx(0.6)


def test_the_product_the_sum_and_f1_are_computed_as_documented() -> None:
    half = trace(PERFECT[0], answer("Žatec"))  # half of the evidence; the other three parts are 1
    c = 3.5 / 4
    assert score(half).total == pytest.approx(0.6 + 0.4 * c)
    assert score(half, "additive").total == pytest.approx(0.6 + 0.4 * c)
    hedge = trace(*PERFECT[:2], answer("Žatec or Prague"))
    assert score(hedge, "f1").total == pytest.approx(0.5)
    assert score(hedge).total == 0.0


def test_silence_earns_nothing_and_an_unfinished_trace_has_a_score() -> None:
    assert score(trace()).total == 0.0
    assert score(trace(*PERFECT[:2])).total == 0.0
    assert score(trace(*PERFECT[:2]), "additive").total == pytest.approx(0.4)


def test_weights_move_the_mean_and_absent_parts_leave_it() -> None:
    half = trace(PERFECT[0], answer("Žatec"))
    heavy = Rubric("heavy", exact, CONSISTENCY, weights={"support": 5.0})
    assert score(half, heavy).total == pytest.approx(0.6 + 0.4 * (3 + 2.5) / 8)
    without = Rubric("without", exact, CONSISTENCY, weights={"support": 0.0})
    assert score(half, without).total == pytest.approx(1.0)
    parts: Mapping[str, Any] = {"one": lambda _: 0.5, "absent": lambda _: None}
    assert score(half, Rubric("two", exact, parts)).total == pytest.approx(0.6 + 0.4 * 0.5)
    assert score(half, Rubric("none", exact, {"absent": lambda _: None})).total == pytest.approx(0.6)
    assert score(half, Rubric("all", exact, {"one": lambda _: 0.5}, weight=1.0)).total == pytest.approx(0.5)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_0_and_1_is_an_error(weight: float) -> None:
    with pytest.raises(ValueError, match=r"Rubric 'r': weight must be in \[0, 1\]"):
        Rubric("r", exact, CONSISTENCY, weight=weight)


def test_weights_of_unknown_parts_and_negative_weights_are_errors() -> None:
    with pytest.raises(ValueError, match=r"weights for unknown parts \['suport'\]; parts: \['contract', 'provenance'"):
        Rubric("r", exact, CONSISTENCY, weights={"suport": 2.0})
    with pytest.raises(ValueError, match="weights are at least 0"):
        Rubric("r", exact, CONSISTENCY, weights={"support": -1.0})


def test_an_unknown_rubric_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"Unknown rubric 'mtr'; expected one of 'mtr-v0', 'em', 'additive', 'f1'\."):
        score(trace(), "mtr")
    assert get_rubric(RUBRICS["em"]) is RUBRICS["em"]


# ------------------------------------------------------------------------------------------------------------ unscored


def test_an_outage_is_unscored_whatever_else_happened() -> None:
    out = step((search("Kolya"), None), faults=(Fault("infrastructure", "search: TimeoutError", 0),))
    reward = score(trace(PERFECT[0], out))
    assert (reward.total, reward.parts, reward.unscored) == (None, {}, "search: TimeoutError")


def test_a_simulator_fault_leaves_a_wrong_or_missing_answer_unscored_and_a_right_one_scored() -> None:
    broken = step((search("Kolya"), Response(5)), faults=(Fault("invalid_response", "search broke", 0),))
    assert score(trace(broken, answer("Prague"))).unscored == "search broke"
    assert score(trace(*[broken] * 8)).unscored == "search broke"
    assert unscored(trace(broken)) is None  # the episode goes on
    right = score(trace(broken, *PERFECT))
    assert right.unscored is None
    assert right.total == pytest.approx(1.0)


def test_the_policys_own_faults_never_leave_a_trace_unscored() -> None:
    for kind in ("malformed_action", "unknown_tool", "invalid_arguments"):
        assert unscored(trace(Step("x", faults=(Fault(kind, "m"),)), answer("no"))) is None  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ contract


@pytest.mark.parametrize(("faults", "value"), [(0, 1.0), (1, 2 / 3), (2, 1 / 3), (3, 0.0), (7, 0.0)])
def test_contract_counts_the_policys_faults_however_many_calls_there_are(faults: int, value: float) -> None:
    kinds = ("malformed_action", "unknown_tool", "invalid_arguments")
    bad = [Step("x", faults=(Fault(kinds[i % 3], "m"),)) for i in range(faults)]  # type: ignore[arg-type]
    good = [step((search("Kolya"), FOUND))] * 20
    assert contract(trace(*bad)) == pytest.approx(value)
    assert contract(trace(*bad, *good)) == pytest.approx(value)
    together = Step("x", faults=tuple(fault for s in bad for fault in s.faults))
    assert contract(trace(together)) == pytest.approx(value)


def test_contract_charges_nobody_elses_faults() -> None:
    others = (Fault("invalid_response", "m", 0), Fault("infrastructure", "m", 0))
    assert contract(trace(step((search("x"), None), faults=others))) == 1.0


# ---------------------------------------------------------------------------------------------------------- provenance


def invents(call: Call, *before: Step, question: Question = QUESTION) -> bool:
    base = len(invented_calls(trace(*before, question=question)))
    return len(invented_calls(trace(*before, step((call, NOTHING)), question=question))) - base == 1


@pytest.mark.parametrize(
    "query",
    [
        "film Kolya", "kolya FILM", "Kolya", "director", "The Director of the film", "where was he born", "born 1965",
        "movies about childhood", "birthplace", "Who directed it", "Prague", "", "?!", "Actor", "In Which Country",
    ],
)  # fmt: skip
def test_paraphrase_and_words_of_the_question_are_free(query: str) -> None:
    assert not invents(search(query))


@pytest.mark.parametrize(
    "query",
    [
        "film by Miloš Forman", "Miloš Forman", "born 1966", "1966", "born in Prague", "Jan Svěrák", "jan sverak",
        "who is jan SVERAK please", "dark blue world", "Dark Blue World", "žatec", "saaz town", "x2", "Kolya 5",
    ],
)  # fmt: skip
def test_unseen_names_and_numbers_are_invented_also_names_of_the_evidence_in_lower_case(query: str) -> None:
    assert invents(search(query))


def test_the_whole_value_of_an_entity_argument_counts() -> None:
    assert not invents(open_page("Kolya"))
    assert not invents(open_page("kolya!"))
    assert not invents(open_page("the film Kolya"))  # it stands so in the question
    assert invents(open_page("Kolya film"))
    assert invents(open_page("something"))
    assert not invents(open_page("?!"))


def test_a_sourced_value_makes_its_words_known_and_only_later() -> None:
    assert not invents(open_page("Jan Svěrák"), PERFECT[0])
    assert not invents(search("Jan Svěrák's birthplace"), PERFECT[0])
    assert invents(search("Žatec"), PERFECT[0])
    first = step((open_page("Jan Svěrák"), OPENED), (search("film Kolya"), FOUND))
    assert invented_calls(trace(first)) == [(0, 0)]
    assert invented_calls(trace(step((search("film Kolya"), FOUND), (open_page("Jan Svěrák"), OPENED)))) == []


def test_words_of_two_values_do_not_make_a_name_together() -> None:
    two = step((search("a"), Response(["Jan"], ("p0",))), (search("b"), Response(["Svěrák"], ("p1",))))
    assert invents(open_page("Jan Svěrák"), two)
    one = step((search("a"), Response(["Jan", "Svěrák"], ("p0",))))
    assert invents(open_page("Jan Svěrák"), one)


def test_an_echo_launders_nothing() -> None:
    guess = search("Miloš Forman")
    echo = Response({"query": "Miloš Forman", "results": []}, ("p0",))
    assert invented_calls(trace(step((guess, echo)), step((open_page("Miloš Forman"), NOTHING)))) == [(0, 0), (1, 0)]
    nested_call = Call("free", {"x": ["Miloš Forman", {"deep": 1966}]})
    nested_echo = Response({"got": [{"again": ["Miloš Forman", 1966]}]}, ("p0",))
    assert invents(search("Miloš Forman 1966"), step((nested_call, nested_echo)))


def test_values_without_a_source_make_nothing_known() -> None:
    unsourced = Response(OPENED.value)
    assert invents(search("Žatec"), step((open_page("Kolya"), unsourced)))
    assert not invents(search("Žatec"), step((open_page("Kolya"), OPENED)))


def test_small_json_integers_are_settings_and_others_are_facts() -> None:
    for value in (0, 1, 20, True, False, None):
        assert not invents(Call("free", {"x": value})), value
    for value in (21, -1, 1966, 0.5, [3], {"k": 3}, "3"):
        assert invents(Call("free", {"x": value})), value
    assert not invents(Call("free", {"x": 1965}))
    assert invents(Call("free", {"x": {"y": ["deep", {"z": "Miloš Forman"}]}}))


def test_a_number_of_a_sourced_value_is_known() -> None:
    seen = step((search("a"), Response({"total": 31, "height": 2.5, "people": "1,200"}, ("p0",))))
    for text in ("31 - 1965", "2.5 + 31", "1,200 / 31"):
        assert not invents(Call("calculate", {"expression": text}), seen)
    assert invents(Call("calculate", {"expression": "32 - 31"}), seen)


def test_calls_that_did_not_run_count_too() -> None:
    refused = step((open_page("Miloš Forman"), None), faults=(Fault("invalid_arguments", "m", 0),))
    unknown = step((Call("nope", {"who": "Miloš Forman"}), None), faults=(Fault("unknown_tool", "m", 0),))
    assert len(invented_calls(trace(refused, unknown))) == 2


@pytest.mark.parametrize(("calls", "value"), [(0, 1.0), (1, 2 / 3), (2, 1 / 3), (3, 0.0), (9, 0.0)])
def test_provenance_falls_by_a_third_with_every_invented_call(calls: int, value: float) -> None:
    guesses = [step((search(f"Miloš Forman {i}"), NOTHING)) for i in range(calls)]
    assert provenance(trace(*guesses, *PERFECT)) == pytest.approx(value)


# ------------------------------------------------------------------------------------------------------------- support


def test_support_is_the_share_of_the_evidence_among_the_sources() -> None:
    assert support(trace(answer("Žatec"))) == 0.0
    assert support(trace(PERFECT[0])) == 0.5
    assert support(trace(*PERFECT)) == 1.0
    other_way = step((search("Kolya"), Response("x", ("t0", "t9"))))
    assert support(trace(other_way)) == 0.5
    assert support(trace(step((search("Kolya"), Response("x", ("p0", "p1", "p0s1")))))) == 0.0


def test_what_the_simulator_spoilt_is_not_charged_to_the_policy() -> None:
    spoilt = Fault("invalid_response", "m", 0)
    seen, missed = step((search("Kolya"), FOUND)), step((search("Kolya"), FOUND), faults=(spoilt,))
    assert support(trace(missed)) == support(trace(seen)) > 0
    assert not invents(search("Žatec"), step((open_page("Kolya"), OPENED), faults=(spoilt,)))
    assert not invents(search("Žatec"), step((open_page("Kolya"), Response(OPENED.value, (), "noise"))))


def test_without_annotation_the_answer_must_occur_in_a_sourced_value() -> None:
    bare = replace(QUESTION, evidence=())
    assert support(trace(*PERFECT, question=bare)) == 1.0
    assert support(trace(*PERFECT[:2], answer("Oslo"), question=bare)) == 0.0
    assert support(trace(*PERFECT[:2], answer("Žate"), question=bare)) == 0.0
    unsourced = step((open_page("x"), Response(OPENED.value)))
    assert support(trace(unsourced, answer("Žatec"), question=bare)) == 0.0
    echo = step((search("Žatec"), Response({"query": "Žatec"}, ("p0",))))
    assert support(trace(echo, answer("Žatec"), question=bare)) == 0.0


@pytest.mark.parametrize("steps", [PERFECT[:2], (*PERFECT[:2], answer("Yes.")), (answer("no"),), (answer("the"),)])
def test_without_annotation_support_is_none_where_there_is_nothing_to_find(steps: tuple[Step, ...]) -> None:
    assert support(trace(*steps, question=replace(QUESTION, evidence=()))) is None


# ------------------------------------------------------------------------------------------------------------- economy


def compute(expression: str, result: float, *sources: str) -> tuple[Call, Response]:
    return Call("calculate", {"expression": expression}), Response({"status": "ok", "result": result}, sources)


def test_a_call_that_adds_no_source_is_wasted() -> None:
    assert economy(trace()) is None
    assert economy(trace(*PERFECT)) == 1.0
    assert economy(trace(PERFECT[0], PERFECT[0])) == 0.5
    assert economy(trace(step((search("x"), NOTHING)))) == 0.0
    again = step((open_page("Kolya"), Response("other words", ("p0s0",))))
    assert economy(trace(PERFECT[0], again)) == 0.5
    more = step((open_page("Kolya"), Response("more", ("p0s0", "p0s1"))))
    assert economy(trace(PERFECT[0], more)) == 1.0


def test_a_computed_value_is_worth_a_call_once() -> None:
    assert economy(trace(PERFECT[0], step(compute("1+1", 2, "p0", "p0s0")))) == 1.0
    assert economy(trace(PERFECT[0], step(compute("1+1", 2, "p0")), step(compute("1+1", 2, "p0")))) == pytest.approx(
        2 / 3
    )
    assert economy(trace(PERFECT[0], step(compute("1+1", 2, "p0")), step(compute("1+2", 3, "p0")))) == 1.0
    assert economy(trace(step(compute("7*7", 49)))) == 0.0


def test_the_same_computation_again_is_wasted_also_when_its_sources_were_new() -> None:
    once, twice = step(compute("1965-5", 1960, "q")), step(compute("1965-5", 1960, "q"), compute("1965 - 5", 1960, "q"))
    assert economy(trace(once)) == 1.0
    assert economy(trace(twice)) == 0.5


def test_noise_and_faults_leave_both_counts() -> None:
    noise = Response({"status": "error", "message": "try again"}, (), "noise", note="tool_failure")
    partial = Response(FOUND.value, FOUND.sources, "noise", note="partial")
    assert economy(trace(step((search("Kolya"), noise)))) is None
    assert economy(trace(step((search("Kolya"), noise)), *PERFECT)) == 1.0
    assert economy(trace(step((search("Kolya"), partial)), *PERFECT)) == 1.0
    refused = step((search("Kolya"), None), faults=(Fault("invalid_arguments", "m", 0),))
    broken = step((search("Kolya"), FOUND), faults=(Fault("invalid_response", "m", 0),))
    assert economy(trace(refused, broken)) is None
    assert economy(trace(refused, broken, *PERFECT)) == 1.0


def test_a_retry_of_a_failed_call_is_no_waste_and_a_repeat_of_a_good_one_is() -> None:
    failed = Response({"status": "error", "message": "try again"}, (), "noise", note="tool_failure")
    assert economy(trace(step((search("Kolya"), failed), (search("Kolya"), FOUND)))) == 1.0
    assert economy(trace(step((search("Kolya"), FOUND), (search("Kolya"), FOUND)))) == 0.5


def test_scoring_changes_nothing_and_repeats_exactly() -> None:
    one = trace(*PERFECT)
    before = repr(one)
    assert score(one) == score(one) == score(trace(*PERFECT))
    assert repr(one) == before
