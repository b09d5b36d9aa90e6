"""The conformance suites find nothing wrong with our own plugs, and each broken promise of somebody else's."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from mtr_env.policies import POLICY_NAMES, make_policy
from mtr_env.question import Question
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.reward import CONSISTENCY, Part, exact, word_f1
from mtr_env.testing import NotConforming, check_policy, check_reward_part, check_tool_actor, check_tool_maker
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import ToolRequest
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.toolmakers.template import TemplateToolMaker
from mtr_env.trace import Response, Trace

HOTPOT = "MTR-HotpotQA-v0"


def problems(check: Callable[..., None], plug: Any, **options: Any) -> str:
    with pytest.raises(NotConforming) as caught:
        check(plug, **options)
    assert str(caught.value).count("\n- ") == len(caught.value.problems) > 0
    return str(caught.value)


# -------------------------------------------------------------------------------------------------------- our own plugs


@pytest.mark.parametrize("env_id", ["MTR-Synthetic-v0", HOTPOT])
def test_the_packages_tool_maker_and_actors_keep_their_promises(env_id: str) -> None:
    check_tool_maker(TemplateToolMaker(), env_id, questions=2)
    check_tool_actor(GroundedToolActor(), env_id, questions=2)
    check_tool_actor(NoisyToolActor(GroundedToolActor(), {"not_found": 0.3, "partial": 0.3}), env_id, questions=2)


@pytest.mark.parametrize("part", [exact, word_f1, *CONSISTENCY.values()])
def test_the_packages_reward_parts_keep_their_promises(part: Part) -> None:
    check_reward_part(part, questions=3)


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_the_packages_policies_keep_their_promises(name: str) -> None:
    check_policy(make_policy(name), questions=2)


async def waits(messages: Any, tools: Any) -> str:
    return "<answer>yes</answer>"


def test_a_policy_that_is_awaited_keeps_them_too() -> None:
    check_policy(waits, questions=1)


# ----------------------------------------------------------------------------------------------- a ToolMaker's mistakes


class Maker:
    """As the template one, changed by ``change``."""

    name = "maker"

    def __init__(self, change: Callable[[Toolset, Question, int], Any]) -> None:
        self.change = change
        self.made = 0

    def make(self, question: Question, key: str = "") -> Any:
        self.made += 1
        return self.change(TemplateToolMaker().make(question, key), question, self.made)


def told(toolset: Toolset, text: str) -> Toolset:
    first, *others = toolset.tools
    return replace(toolset, tools=(replace(first, description=text), *others))


def test_a_tool_maker_that_tells_the_answer_is_found() -> None:
    leaky = Maker(lambda toolset, question, made: told(toolset, f"Looks for {question.answer}."))
    assert "gives away the gold answer" in problems(check_tool_maker, leaky, env_id=HOTPOT, questions=24)


def test_a_tool_maker_that_writes_other_tools_each_time_is_found() -> None:
    moody = Maker(lambda toolset, question, made: told(toolset, f"Version {made}."))
    assert "another toolset when it is asked again" in problems(check_tool_maker, moody, questions=1)


def test_a_tool_maker_that_breaks_a_rule_or_gives_no_toolset_is_found() -> None:
    arrays = Maker(lambda toolset, question, made: Toolset((replace(toolset.tools[0], parameters={"type": "array"}),)))
    assert "question 'synthetic-" in problems(check_tool_maker, arrays, questions=1)
    assert "gives a list, not a Toolset" in problems(check_tool_maker, Maker(lambda *_: []), questions=1)


def test_a_tool_maker_whose_asynchronous_form_differs_is_found() -> None:
    class Two(Maker):
        async def amake(self, question: Question, key: str = "") -> Toolset:
            return told(self.make(question), "Something else.")

    same = Two(lambda toolset, question, made: toolset)
    assert "amake gives another toolset" in problems(check_tool_maker, same, questions=1)


def test_what_a_plug_raises_is_raised_with_what_it_was_asked() -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        check_tool_maker(Maker(fails), questions=1)
    assert "question 'synthetic-" in caught.value.__notes__[0]


# ----------------------------------------------------------------------------------------------- a ToolActor's mistakes


class Actor:
    """As the grounded one, changed by ``change``."""

    name = "actor"

    def __init__(self, change: Callable[[Response, int], Any] = lambda response, asked: response) -> None:
        self.inner = GroundedToolActor()
        self.change = change
        self.asked = 0

    def respond(self, *request: Any) -> Any:
        self.asked += 1
        return self.change(self.inner.respond(*request), self.asked)


def test_an_actor_that_gives_something_else_each_time_is_found() -> None:
    moody = Actor(lambda response, asked: replace(response, note=str(asked)))
    assert "another response to the same request" in problems(check_tool_actor, moody, questions=1)


def test_an_actor_that_breaks_a_schema_is_found() -> None:
    found = problems(check_tool_actor, Actor(lambda response, asked: replace(response, value=[1])), questions=1)
    assert "- search: search returned an invalid response: [1]" in found
    assert "- search: a name that nobody has heard of: search returned an invalid response: [1]" in found


def test_an_actor_with_sources_that_do_not_exist_is_found() -> None:
    found = problems(
        check_tool_actor, Actor(lambda r, asked: replace(r, sources=("p99s0", "t1", "page 3"))), questions=1
    )
    assert "'p99s0' names nothing" in found
    assert "'page 3' names nothing" in found
    assert "'t1'" not in found


def test_an_actor_without_a_name_or_that_cannot_be_copied_is_found() -> None:
    nameless, locked = Actor(), Actor()
    nameless.name = ""
    locked.lock = threading.Lock()  # type: ignore[attr-defined]
    assert "has no name" in problems(check_tool_actor, nameless, questions=1)
    assert "cannot be copied" in problems(check_tool_actor, locked, questions=1)


def test_an_actor_whose_other_forms_differ_is_found() -> None:
    class Batch(Actor):
        def respond_many(self, requests: list[ToolRequest]) -> list[Response]:
            return [self.respond(r.call, r.spec, r.view, r.history, r.key) for r in reversed(requests)]

        async def arespond(self, request: ToolRequest) -> Response:
            return Response({"status": "not_found", "message": "There is no such record."})

    found = problems(check_tool_actor, Batch(), questions=1)
    assert "respond_many gives other responses" in found
    assert "arespond gives other responses" in found


def test_an_actor_that_fails_for_a_name_nobody_has_heard_of_is_found() -> None:
    class Knows(Actor):
        def respond(self, call: Any, *rest: Any) -> Any:
            if "Zzyx" in str(call.arguments):
                raise KeyError(call.name)
            return super().respond(call, *rest)

    with pytest.raises(KeyError) as caught:
        check_tool_actor(Knows(), questions=1)
    assert "'Zzyx Qworb'" in caught.value.__notes__[0]
    assert "question 'synthetic-" in caught.value.__notes__[1]


class Told(Actor):
    """As the grounded one, but for what ``search`` (or ``tool``) says: ``told(question)``."""

    def __init__(self, told: Callable[[Question], Any], tool: str = "search") -> None:
        super().__init__()
        self.told, self.tool = told, tool

    def respond(self, call: Any, spec: Any, view: Any, history: Any, key: Any) -> Any:
        if call.name != self.tool:
            return super().respond(call, spec, view, history, key)
        return self.told(history.trace.question)


def hit(text: str, *sources: str) -> Response:
    return Response({"status": "ok", "results": [{"title": "A page", "snippet": text}]}, sources)


def test_an_actor_one_of_whose_tools_answers_at_random_is_found_though_no_policy_needs_it() -> None:
    draws = random.Random(5)
    moody = Told(lambda question: hit(draws.choice("ab")))
    found = problems(check_tool_actor, moody, questions=1)
    assert "search: respond gives another response to the same request" in found


def test_an_actor_that_tells_the_answer_unasked_is_found() -> None:
    leaky = Told(lambda question: hit(f"It is {question.answer}."))
    assert "the final answer, which the call did not ask for" in problems(check_tool_actor, leaky, env_id=HOTPOT)


def test_an_answer_that_a_source_states_or_that_was_computed_is_no_leak() -> None:
    def quoted(question: Question) -> Response:
        places = [
            (f"p{i}s{j}", text) for i, page in enumerate(question.paragraphs) for j, text in enumerate(page.sentences)
        ]
        return next((hit(text, ref) for ref, text in places if question.answer in text), hit("Nothing."))

    check_tool_actor(Told(quoted), HOTPOT)
    world = make_game(SYNTHETIC).world
    assert any(world.question(question_id).answer.isdigit() for question_id in world.ids[:8])
    check_tool_actor(Told(lambda question: hit(question.answer if question.answer.isdigit() else "")), questions=8)


def test_an_actor_that_gives_no_response_is_told_so_at_once_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class AwaitedDict(Actor):
        async def arespond(self, request: ToolRequest) -> Any:
            return {"status": "not_found"}

    dicty = Actor(lambda response, asked: {"status": "not_found"})
    assert "respond gives a dict, not a Response." in problems(check_tool_actor, dicty)
    assert "arespond gives a dict, not a Response." in problems(check_tool_actor, AwaitedDict())
    assert dicty.asked == 1
    assert caplog.text == ""


def test_what_an_actor_raises_is_raised_with_the_call_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Actor):
        def respond(self, *request: Any) -> Any:
            raise AttributeError("no such thing")

    with pytest.raises(AttributeError, match="no such thing") as caught:
        check_tool_actor(Fails())
    assert " with {" in caught.value.__notes__[0]
    assert "question 'synthetic-" in caught.value.__notes__[1]
    assert caplog.text == ""


def test_what_an_actor_raises_in_an_episode_only_is_raised_too_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Later(Actor):
        def respond(self, call: Any, spec: Any, view: Any, history: Any, key: Any) -> Any:
            if len(history):
                raise AttributeError("a second call")
            return super().respond(call, spec, view, history, key)

    with pytest.raises(AttributeError, match="a second call") as caught:
        check_tool_actor(Later())
    assert " with {" in caught.value.__notes__[0]
    assert len(caplog.records) <= 1  # as the oracle planned


def test_the_suites_run_where_an_event_loop_does() -> None:
    async def notebook() -> None:
        check_tool_maker(TemplateToolMaker(), questions=1)
        check_tool_actor(GroundedToolActor(), questions=1)
        check_reward_part(exact, questions=1)
        check_policy(waits, questions=1)

    asyncio.run(notebook())


# ------------------------------------------------------------------------------------- a part's and a policy's mistakes


def test_a_part_outside_its_range_or_with_a_memory_is_found() -> None:
    seen: list[Trace] = []

    def counts(trace: Trace) -> float:
        seen.append(trace)
        return 1 / len(seen)

    assert "gives 2" in problems(check_reward_part, lambda trace: 2, questions=1)
    assert "when it is asked again" in problems(check_reward_part, counts, questions=1)
    assert "saved and read" in problems(check_reward_part, lambda trace: (id(trace) >> 4) % 1009 / 1009, questions=1)


def test_a_part_that_cannot_bear_an_unfinished_trace_is_raised_with_the_trace() -> None:
    def last_call(trace: Trace) -> float:
        return float(bool(trace.steps[-1].calls))

    with pytest.raises(IndexError) as caught:
        check_reward_part(last_call, questions=1)
    assert "with 0 steps" in caught.value.__notes__[0]


def test_a_policy_that_writes_no_text_or_changes_its_messages_is_found() -> None:
    def spoils(messages: Any, tools: Any) -> str:
        messages[1]["content"] = "?"
        return "<answer>yes</answer>"

    assert "gives a NoneType; an action is text" in problems(check_policy, lambda messages, tools: None, questions=1)
    assert "changes the messages" in problems(check_policy, spoils, questions=1)


def test_a_policy_that_cannot_bear_an_error_is_raised_with_the_question() -> None:
    def trusts(messages: Any, tools: Any) -> str:
        if len(messages) == 2:
            return '<tool_call>{"name": "search", "arguments": {"query": "film"}}</tool_call>'
        assert '"status":"ok"' in messages[-1]["content"]
        return "<answer>yes</answer>"

    with pytest.raises(AssertionError) as caught:
        check_policy(trusts, questions=1)
    assert "question 'synthetic-" in caught.value.__notes__[0]
