"""The parity suite: what its scenarios are, how plain Gymnasium ends them, and that differences are seen."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from msgspec.structs import replace

from mtr_env.grammar import Action
from mtr_env.registration import make_game
from mtr_env.reward import Reward
from mtr_env.session import ToolSession
from mtr_env.testing.parity import (
    GRAMMAR,
    FaultyToolActor,
    Outcome,
    Scenario,
    differences,
    expected,
    outcome_of,
    outcome_of_log,
    scenarios,
)
from mtr_env.trace import Call, Fault, TokenRecord

BY_NAME = {scenario.name: scenario for scenario in scenarios()}
each = pytest.mark.parametrize("scenario", scenarios(), ids=[*BY_NAME])


def played(scenario: Scenario) -> ToolSession:
    """The scenario by native calls, the answer as a call of submit_answer."""
    session = ToolSession(make_game(scenario.env_id, **scenario.options), scenario.question_id, scenario.seed)
    for said in scenario.said:
        for name, arguments in said.calls:
            session.call(name, arguments)
        if said.answer is not None:
            session.call("submit_answer", {"answer": said.answer})
    return session


@pytest.mark.parametrize(
    ("name", "end", "reward", "parts"),
    [
        ("oracle", "answer", 1.0, {"answer": 1.0, "contract": 1.0}),
        ("oracle, sample", "answer", 1.0, {"answer": 1.0}),
        ("wrong answer", "answer", 0.35, {"answer": 0.0, "support": 0.5}),
        ("parallel calls", "answer", 1.0, {"answer": 1.0, "economy": 1.0}),
        ("malformed call", "answer", 0.6 + 0.4 * 11 / 12, {"answer": 1.0, "contract": 2 / 3}),
        ("unknown tool", "answer", 0.6 + 0.4 * 11 / 12, {"contract": 2 / 3}),
        ("invalid arguments", "answer", 0.6 + 0.4 * 11 / 12, {"contract": 2 / 3}),
        ("budget exhausted", "max_steps", 0.4 * 11 / 12, {"answer": 0.0, "economy": 2 / 3}),
        ("simulator fault", "answer", None, {}),
        ("simulator fault survived", "answer", 1.0, {"contract": 1.0}),
        ("outage", "infrastructure", None, {}),
    ],
)
def test_each_scenario_ends_as_its_name_says(
    name: str, end: str, reward: float | None, parts: dict[str, float]
) -> None:
    found = expected(BY_NAME[name])
    assert found.end == end
    assert found.reward == (reward if reward is None else pytest.approx(reward))
    assert {part: found.parts[part] for part in parts} == pytest.approx(parts)
    assert bool(found.parts) == (reward is not None)


def test_no_two_scenarios_have_one_trace_and_every_name_is_in_the_table() -> None:
    assert len({expected(scenario).digest for scenario in scenarios()}) == len(BY_NAME) == 11


@each
def test_the_two_forms_of_a_message_say_the_same(scenario: Scenario) -> None:
    for said in scenario.said:
        read = GRAMMAR.parse(said.text)
        assert bool(said.calls) != (said.answer is not None)
        if isinstance(read, Fault):
            assert [type(arguments) for _, arguments in said.calls] == [str]
        else:
            assert read == Action(tuple(Call(*call) for call in said.calls), said.answer)


@each
def test_native_calls_end_as_plain_gymnasium_with_one_call_a_step(scenario: Scenario) -> None:
    session = played(scenario)
    assert differences(expected(scenario, one_call_a_step=True), outcome_of(session.trace, session.reward())) == ()
    assert differences(expected(scenario, one_call_a_step=True), outcome_of_log(session.trace, session.log())) == ()


def test_only_parallel_calls_are_another_trace_one_call_a_step() -> None:
    differ = [s.name for s in scenarios() if differences(expected(s), expected(s, one_call_a_step=True))]
    assert differ == ["parallel calls"]


def test_a_scenario_is_the_same_when_it_is_made_and_played_again() -> None:
    again = scenarios.__wrapped__()
    assert [(s.name, s.said) for s in again] == [(s.name, s.said) for s in scenarios()]
    assert [expected(s) for s in again] == [expected(s) for s in scenarios()]


def test_a_scenario_whose_messages_do_not_end_the_episode_is_refused() -> None:
    cut = replace(BY_NAME["oracle"], said=BY_NAME["oracle"].said[:1])
    with pytest.raises(ValueError, match="The messages of scenario 'oracle' do not end its episode"):
        expected(cut)


# -------------------------------------------------------------------------------------------------------- differences


def outcome(**changes: Any) -> Outcome:
    return replace(Outcome("a" * 64, 1.0, {"answer": 1.0, "economy": None}, "answer"), **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ()),
        ({"parts": {"answer": 1.0}}, ()),
        ({"parts": {"answer": 1.0, "economy": None, "support": None}}, ()),
        ({"reward": 0.0}, ("reward: expected 1.0, found 0.0",)),
        ({"reward": None}, ("reward: expected 1.0, found None",)),
        ({"end": "open"}, ("end: expected 'answer', found 'open'",)),
        ({"digest": "b" * 64}, (f"trace: expected '{'a' * 12}', found '{'b' * 12}'",)),
        ({"parts": {}}, ("part answer: expected 1.0, found None",)),
        ({"parts": {"answer": 1.0, "economy": 0.0}}, ("part economy: expected None, found 0.0",)),
    ],
)
def test_differences_name_what_differs_and_an_absent_part_is_none(changes: dict[str, Any], said: tuple[str]) -> None:
    assert differences(outcome(), outcome(**changes)) == said


def test_unscored_is_not_zero() -> None:
    assert differences(outcome(reward=None), outcome(reward=0.0)) == ("reward: expected None, found 0.0",)


def test_an_episode_that_its_driver_left_is_open() -> None:
    scenario = BY_NAME["oracle"]
    session = played(replace(scenario, said=scenario.said[:1]))
    assert outcome_of(session.trace, Reward(0.0, {})).end == "open"


def test_recorded_tokens_do_not_change_the_digest_and_a_changed_observation_does() -> None:
    trace = played(BY_NAME["oracle"]).trace
    *before, last = trace.steps
    with_tokens = replace(trace, steps=(*before, replace(last, tokens=TokenRecord((1, 2)))))
    changed = replace(trace, steps=(*before, replace(last, observation="x")))
    paid = Reward(1.0, {})
    assert outcome_of(with_tokens, paid) == outcome_of(trace, paid)
    assert outcome_of(changed, paid).digest != outcome_of(trace, paid).digest


def test_a_faulty_actor_is_copied_with_its_environment() -> None:
    copied = copy.deepcopy(FaultyToolActor(1, "outage"))
    assert (copied.name, copied.step, copied.how) == ("faulty(outage in step 1)", 1, "outage")
