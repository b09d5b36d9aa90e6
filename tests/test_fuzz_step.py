"""Nothing that a policy can write makes ``step`` raise: 200,000 fuzzed actions through real environments.

Every action is a function of its number, so the number in a failure's message is enough to repeat it.
"""

from __future__ import annotations

import random
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mtr_env  # noqa: F401
from mtr_env import trace as traces
from mtr_env.grammar import MAX_ACTION_CHARS, get_grammar
from mtr_env.reward import score
from mtr_env.trace import Call

GRAMMARS = ("hermes", "react")
MUTANTS = 80_000  # each, per grammar
NOISE = 19_500
LONG = 150
SAVED_EVERY = 101  # a prime, so that every kind of action is among the traces that are saved and scored again

TOKENS = [
    "<tool_call>", "</tool_call>", "<answer>", "</answer>", "<think>", "</think>", "&lt;", "&amp;", "&#10;", "&#55296;",
    "\\ud800", "\\u0000", "\\", '"', "'", "{", "}", "[", "]", ":", ",", "\n", "\r", "\x85", "\u2028", "\0", "\ud800",
    "\udfff", "\U0010ffff", "é", "NaN", "1e999", "-0", "1" * 40, "null", "true", '"name"', '"arguments"', "Thought: ",
    "\nAction: ", "\nAction Input: ", "\nFinal Answer: ", "\nObservation: ", "[" * 100, '{"a":' * 70, "search", " ",
]  # fmt: skip


def valid_actions(env: Any, grammar_name: str) -> list[str]:
    """Actions that keep the contract: every tool of a few questions, parallel calls, thoughts and answers."""
    grammar = get_grammar(grammar_name)
    actions = []
    for question_id in env.game.world.ids[:6]:
        _, info = env.reset(seed=0, options={"question_id": question_id})
        question = env.snapshot().question
        titles = [paragraph.title for paragraph in question.paragraphs]
        calls = []
        for i, tool in enumerate(info["tools"]):
            arguments = {name: titles[i % len(titles)] for name in tool["function"]["parameters"]["properties"]}
            calls.append(Call(tool["function"]["name"], arguments))
        actions += [grammar.render_call(call, thought="Look it up.") for call in calls]
        actions += [grammar.render_call(*calls[:3]), grammar.render_call(*calls[:8])]
        actions += [grammar.render_answer(question.answer, "I know."), grammar.render_answer("no < yes & no")]
    return actions


def mutant(rng: random.Random, action: str) -> str:
    """One to six edits: delete, insert, swap or duplicate a character, a token or a slice, or cut the action."""
    for _ in range(rng.randint(1, 6)):
        i, j = sorted((rng.randrange(len(action) + 1), rng.randrange(len(action) + 1)))
        edit = rng.randrange(8)
        if edit == 0:
            action = action[:i] + action[i + 1 :]
        elif edit == 1:
            action = action[:i] + rng.choice(TOKENS) + action[i:]
        elif edit == 2:
            action = action[:i] + action[i + 1 : i + 2] + action[i : i + 1] + action[i + 2 :]
        elif edit == 3:
            action = action[:i] + action[i : i + 1] * 2 + action[i + 1 :]
        elif edit == 4:
            action = action[:i] + action[j:]
        elif edit == 5 and len(action) < 3000:
            action = action[:j] + action[i:j] + action[j:]
        elif edit == 6:
            action = action[:i] + chr(rng.randrange(0x110000)) + action[i + 1 :]
        else:
            token = rng.choice(TOKENS)
            action = action.replace(token, rng.choice(TOKENS), rng.randint(1, 3))
    return action


def noise(rng: random.Random) -> str:
    """Random characters and tokens, surrogates included."""
    kind = rng.randrange(3)
    if kind == 0:
        return "".join(rng.choices(TOKENS, k=rng.randrange(20)))
    top = (128, 0x3000, 0x110000)[rng.randrange(3)]
    text = "".join([chr(rng.randrange(top)) for _ in range(rng.randrange(60))])
    return text if kind == 1 else "".join([rng.choice((rng.choice(TOKENS), c)) for c in text])


def long_action(rng: random.Random, action: str) -> str:
    """A valid action with one token repeated inside: just under the cap, or up to a million characters."""
    size = rng.choice((MAX_ACTION_CHARS - len(action) - 200, rng.randrange(20_000, 1_000_000)))
    token = rng.choice(TOKENS)
    i = rng.randrange(len(action) + 1)
    return action[:i] + token * (size // len(token)) + action[i:]


def feed(env: Any, number: int, action: str) -> None:
    """One step, from the start of an episode or, as often, in the middle of one; an episode that ends is scored."""
    try:
        observation, reward, terminated, truncated, info = env.step(action)
        assert isinstance(observation, str)
        observation.encode()
        assert 0.0 <= reward <= 1.0
        if terminated or truncated:
            assert info["unscored"] is None
            if number % SAVED_EVERY == 0:
                saved = traces.encode(info["trace"])
                again = traces.decode(saved)
                assert again == info["trace"]
                assert traces.encode(again) == saved
                assert score(again).total == reward
            env.reset(seed=number)
    except Exception as error:
        pytest.fail(f"action {number} raised {error!r}: {ascii(action)[:500]} (then {len(action)} characters)")


@pytest.fixture(scope="module", params=GRAMMARS)
def played(request: pytest.FixtureRequest) -> tuple[Any, list[str]]:
    env = gym.make("MTR-HotpotQA-v0", grammar=request.param, max_steps=3)
    actions = valid_actions(env, request.param)
    env.reset(seed=0)
    return env, actions


def test_the_unchanged_actions_are_well_formed(played: tuple[Any, list[str]]) -> None:
    env, actions = played
    kinds = []
    for action in actions:
        env.reset(seed=1)
        *_, info = env.step(action)
        kinds += [fault.kind for fault in info["faults"]]
    assert "malformed_action" not in kinds


@pytest.mark.timeout(200)
def test_mutated_valid_actions_raise_nothing(played: tuple[Any, list[str]]) -> None:
    env, actions = played
    env.reset(seed=0)
    outcomes = {"faulty": 0, "fine": 0}
    for number in range(MUTANTS):
        rng = random.Random(number)
        action = mutant(rng, actions[number % len(actions)])
        feed(env, number, action)
        if number % 100 == 0:
            fault = env.game.grammar.parse(action) if action.isascii() else None
            outcomes["faulty" if type(fault).__name__ == "Fault" else "fine"] += 1
    assert min(outcomes.values()) > MUTANTS / 100 * 0.1, "the mutants are all alike, which proves little"


def test_random_text_raises_nothing(played: tuple[Any, list[str]]) -> None:
    env, _ = played
    env.reset(seed=0)
    for number in range(NOISE):
        feed(env, number, noise(random.Random(number)))


def test_long_actions_raise_nothing(played: tuple[Any, list[str]]) -> None:
    env, actions = played
    env.reset(seed=0)
    for number in range(LONG):
        rng = random.Random(number)
        feed(env, number, long_action(rng, rng.choice(actions)))


@given(st.text(st.characters(), max_size=200))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_hypothesis_writes_raises_nothing(played: tuple[Any, list[str]], action: str) -> None:
    env, _ = played
    if env.snapshot().stop_reason is not None:
        env.reset(seed=0)
    feed(env, 0, action)


@pytest.mark.parametrize("grammar_name", GRAMMARS)
def test_deep_and_wide_arguments_are_scored_and_saved(grammar_name: str) -> None:
    env = gym.make("MTR-HotpotQA-v0", grammar=grammar_name)
    deep, wide = ["[" * levels + "]" * levels for levels in (300, 63)], "[" + "1," * 40_000 + "1]"
    for value in (*deep, wide, "1" * 4000, '{"\\u0000":[1,2.5,null,"x"]}'):
        arguments = '{"query":' + value + "}"
        call = f'<tool_call>{{"name":"search","arguments":{arguments}}}</tool_call>'
        env.reset(seed=0)
        *_, info = env.step(call if grammar_name == "hermes" else f"Action: search\nAction Input: {arguments}")
        assert [fault.blame for fault in info["faults"]] == ["policy"]
        *_, info = env.step(get_grammar(grammar_name).render_answer("x"))
        trace = info["trace"]
        assert traces.decode(traces.encode(trace)) == trace
        assert info["reward_parts"]["contract"] == pytest.approx(2 / 3)
