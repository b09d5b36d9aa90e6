"""The trace: frozen, saved without loss, and its own answer to why it ended and what the policy saw."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtr_env import ENV_IDS
from mtr_env.grammar import HermesGrammar
from mtr_env.question import Evidence, Fact, Paragraph, Question, SubQuestion, WorldInfo
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.trace import (
    BLAME,
    ORIGINS,
    Call,
    Fault,
    Response,
    Setup,
    Step,
    TokenRecord,
    Trace,
    Usage,
    canonical,
    decode,
    encode,
)

QUESTION = Question("q", "Who?", "Jan", paragraphs=(Paragraph("Kolya", ("Kolya is by Jan.",)),))
TOOLSET = Toolset((ToolSpec("search", "Finds.", {"type": "object"}, {"type": "object"}),))
SETUP = Setup("MTR-Test-v0", WorldInfo("test", "sample", "here", "0"), "hermes", 3, "maker", "actor", "mtr-v0", "0")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)


def many(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=3).map(tuple)


QUESTIONS = st.builds(
    Question, TEXT, TEXT, TEXT, TEXTS, TEXT, st.none() | st.integers(0, 9), many(st.builds(Paragraph, TEXT, TEXTS)),
    many(st.builds(Fact, TEXT, TEXT, TEXT, TEXTS)), many(st.builds(Evidence, TEXTS)),
    many(st.builds(SubQuestion, TEXT, TEXT)), TEXTS,
)  # fmt: skip
SPECS = st.builds(ToolSpec, TEXT, TEXT, OBJECTS, OBJECTS, TEXTS, TEXT)
TOOLSETS = st.builds(Toolset, st.lists(SPECS, max_size=3, unique_by=lambda tool: tool.name).map(tuple), TEXT, TEXTS)
RESPONSES = st.builds(
    Response, JSON, TEXTS, st.sampled_from(ORIGINS),
    st.none() | st.builds(Usage, st.integers(0), st.integers(0)), TEXT,
)  # fmt: skip
FAULTS = st.builds(Fault, st.sampled_from([*BLAME]), TEXT, st.none() | st.integers(0, 7))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TOKENS = st.none() | st.builds(TokenRecord, many(st.integers(0, 2**32)), many(FLOATS))
STEPS = st.builds(
    Step, TEXT, many(st.builds(Call, TEXT, OBJECTS)), many(st.none() | RESPONSES), many(FAULTS), TEXT,
    st.none() | TEXT, TOKENS,
)  # fmt: skip
TRACES = st.builds(Trace, QUESTIONS, TOOLSETS, st.just(SETUP), st.integers(), many(STEPS))


def trace(*steps: Step) -> Trace:
    return Trace(QUESTION, TOOLSET, SETUP, 0, steps)


@given(TRACES)
@settings(max_examples=150, deadline=None)
def test_any_trace_is_read_as_it_was_saved(saved: Trace) -> None:
    line = encode(saved)
    assert b"\n" not in line
    again = decode(line)
    assert again == saved
    assert repr(again) == repr(saved)  # 1 is not 1.0, and the order of keys is kept
    assert encode(again) == line
    assert decode(line.decode()) == saved


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_real_episodes_are_read_as_they_were_saved(env_id: str) -> None:
    env = gym.make(env_id)
    grammar = HermesGrammar()
    for seed in range(4):
        env.reset(seed=seed)
        title = env.snapshot().question.paragraphs[0].title
        env.step(
            grammar.render_call(Call("search", {"query": title}), Call("open_page", {"title": title}), thought="\0é")
        )
        env.step("nonsense \ud800")
        *_, info = env.step(grammar.render_answer("x\u2028y"))
        assert decode(encode(info["trace"])) == info["trace"]


def test_what_is_not_a_whole_trace_is_a_decode_error() -> None:
    line = encode(trace())
    for broken in (b"", b"{}", b"null", line[:-1], line + b"{}", line.replace(b'"seed":0', b'"seed":"0"')):
        with pytest.raises(msgspec.DecodeError):
            decode(broken)


def test_a_saved_toolset_with_two_tools_of_one_name_is_refused() -> None:
    tool = b'{"name":"a","description":"","parameters":{},"response":{}}'
    line = encode(trace()).replace(b'"tools":[', b'"tools":[' + tool + b"," + tool + b",")
    with pytest.raises(msgspec.DecodeError, match="found twice: a"):
        decode(line)


def test_every_record_is_frozen() -> None:
    step = Step("a", (Call("f", {}),), (Response(1),), (Fault("unknown_tool", "m"),), tokens=TokenRecord((1,)))
    records = (
        trace(step),
        step,
        step.calls[0],
        step.responses[0],
        step.faults[0],
        step.tokens,
        SETUP,
        QUESTION,
        TOOLSET,
    )
    for record in records:
        field = type(record).__struct_fields__[0]
        with pytest.raises(AttributeError):
            setattr(record, field, None)


# ---------------------------------------------------------------------------------------------------------- semantics

CALL, OTHER = Call("search", {"q": "a"}), Call("search", {"q": "b"})
OK, OK2 = Response({"x": 1}, ("p0",)), Response({"x": 2})
ANSWER = Step("<answer>x</answer>", answer="x")


def test_an_unfinished_trace_has_no_stop_reason_and_no_answer() -> None:
    assert trace().stop_reason is None
    assert trace().answer is None
    assert trace(Step("a"), Step("b")).stop_reason is None


def test_an_answer_ends_the_episode_also_in_the_last_step_and_when_empty() -> None:
    assert trace(ANSWER).stop_reason == "answer"
    assert trace(Step("a"), Step("b"), ANSWER).stop_reason == "answer"
    empty = trace(Step("<answer></answer>", answer=""))
    assert (empty.answer, empty.stop_reason) == ("", "answer")


def test_max_steps_ends_the_episode_and_an_outage_ends_it_at_once() -> None:
    assert trace(Step("a"), Step("b"), Step("c")).stop_reason == "max_steps"
    out = Step("a", (CALL,), (None,), (Fault("infrastructure", "down", 0),))
    assert trace(out).stop_reason == "infrastructure"
    assert trace(Step("a"), Step("b"), out).stop_reason == "infrastructure"


@pytest.mark.parametrize("kind", [kind for kind in BLAME if kind != "infrastructure"])
def test_no_other_fault_ends_an_episode(kind: Any) -> None:
    assert trace(Step("a", faults=(Fault(kind, "m"),))).stop_reason is None


def test_blame_is_a_function_of_the_kind() -> None:
    blames = {kind: Fault(kind, "m").blame for kind in BLAME}
    assert blames == {
        "malformed_action": "policy",
        "unknown_tool": "policy",
        "invalid_arguments": "policy",
        "invalid_response": "simulator",
        "infrastructure": "infrastructure",
    }


def test_exchanges_are_the_responses_that_the_policy_saw() -> None:
    steps = (
        Step("malformed", faults=(Fault("malformed_action", "m"),)),
        Step("two", (CALL, OTHER), (OK, OK2)),
        Step("refused", (CALL, OTHER), (None, OK2), (Fault("invalid_arguments", "m", 0),)),
        Step("broken", (CALL, OTHER), (OK, OK2), (Fault("invalid_response", "m", 1),)),
        ANSWER,
    )
    assert [*trace(*steps).exchanges()] == [(CALL, OK), (OTHER, OK2), (OTHER, OK2), (CALL, OK)]
    assert trace(*steps).call_count == 6
    assert [fault.kind for fault in trace(*steps).faults] == [
        "malformed_action",
        "invalid_arguments",
        "invalid_response",
    ]


def test_exchanges_refuse_a_step_whose_responses_are_not_parallel_to_its_calls() -> None:
    with pytest.raises(ValueError):
        list(trace(Step("a", (CALL, OTHER), (OK,))).exchanges())


def test_upto_is_the_trace_as_it_stood() -> None:
    whole = trace(Step("a"), Step("b"), ANSWER)
    assert whole.upto(3) == whole == whole.upto(99)
    assert whole.upto(0) == trace()
    assert [step.action for step in whole.upto(2).steps] == ["a", "b"]
    assert whole.upto(2).stop_reason is None
    assert whole.stop_reason == "answer"


def test_a_canonical_call_does_not_depend_on_the_order_of_arguments_at_any_depth() -> None:
    a = Call("f", {"x": {"b": 1, "a": [{"d": 1, "c": 2}]}, "w": 0})
    b = Call("f", {"w": 0, "x": {"a": [{"c": 2, "d": 1}], "b": 1}})
    assert canonical(a) == canonical(b)
    values = (1, 1.0, "1", True, [1], None, {}, [], "")
    others = [Call("g", {"a": 1}), Call("f", {}), *[Call("f", {"a": value}) for value in values]]
    assert len({canonical(call) for call in others}) == len(others)
