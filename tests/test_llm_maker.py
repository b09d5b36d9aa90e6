"""The LLM ToolMaker: sound tools pass, unsound ones are repaired or replaced, and the gold answer is in no prompt."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from simulated_model import FakeChat, Messages, chat_client

from mtr_env.audit import audit
from mtr_env.contract import MAX_TOOLSET_CHARS, check_toolset, secret_answers
from mtr_env.env import MTREnv
from mtr_env.evaluate import load_policy
from mtr_env.llm.client import ChatClient, Completion, ModelError
from mtr_env.policies.oracle import Oracle
from mtr_env.question import Fact, Paragraph, Question
from mtr_env.registration import DATASETS, make_game
from mtr_env.reward import score
from mtr_env.rollout import play
from mtr_env.text import contains_words, fold
from mtr_env.tool import Toolset
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.ladder import LadderToolActor
from mtr_env.toolactors.llm import LLMToolActor
from mtr_env.toolmakers.base import is_fallback
from mtr_env.toolmakers.llm import LLMToolMaker
from mtr_env.toolmakers.specs import inverse_tool, relation_tool
from mtr_env.toolmakers.template import TemplateToolMaker
from mtr_env.trace import encode
from mtr_env.world_build import build

QUESTION = Question(
    "q",
    "Where was the director of Kolya born?",
    "Prague",
    ("Praha",),
    paragraphs=(Paragraph("Kolya", ("Kolya is by Jan.",)), Paragraph("Jan", ("Jan was born in Prague.",))),
    facts=(
        Fact("Kolya", "director", "Jan", ("p0s0",)),
        Fact("Jan", "place of birth", "Prague", ("p1s0",)),
        Fact("Kolya", "Prague school", "yes"),
    ),
)
FREE = {
    "name": "get_film_reviews",
    "description": "What critics wrote of a film.",
    "parameters": {
        "type": "object",
        "properties": {
            "film": {"type": "string", "description": "The film."},
            "years": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["film"],
    },
    "returns": {
        "reviews": {
            "type": "array",
            "items": {"type": "object", "properties": {"critic": {"type": "string"}, "stars": {"type": "integer"}}},
        }
    },
    "entities": ["film"],
}
DIRECTOR = {"name": "find_director", "description": "The people who directed a film.", "relation": "director"}
TASK = {"family": "bridge", "answer_type": "place"}


def reply(*tools: dict[str, Any], utilities: Any = ("find_in_page",), task: Any = TASK) -> str:
    return json.dumps({"task": task, "utilities": list(utilities), "tools": list(tools)})


GOOD = reply(DIRECTOR, FREE)


def answers(*texts: str | Completion | Exception) -> FakeChat:
    left = list(texts)
    return FakeChat(lambda messages: left.pop(0) if len(left) > 1 else left[0])


# -------------------------------------------------------------------------------------------------------- sound tools


def test_a_sound_reply_becomes_a_toolset_of_utilities_bound_tools_and_free_ones() -> None:
    toolset = LLMToolMaker(answers(GOOD)).make(QUESTION)
    check_toolset(toolset, QUESTION.text, QUESTION.golds)
    bindings = {tool.name: tool.binding for tool in toolset.tools}
    assert bindings == {
        "search": "search",
        "open_page": "open_page",
        "find_in_page": "find_in_page",
        "find_director": "relation:director",
        "get_film_reviews": "",
    }
    assert toolset.notes == ("family=bridge", "answer_type=place")
    director, reviews = toolset.get("find_director"), toolset.get("get_film_reviews")
    assert director is not None
    assert reviews is not None
    assert (director.description, director.entities) == ("The people who directed a film.", ("film",))
    assert director.response == relation_tool("director").response
    assert reviews.entities == ("film",)
    assert reviews.parameters["additionalProperties"] is False
    assert {"status", "message", "candidates", "reviews"} == set(reviews.response["properties"])


@pytest.mark.parametrize(
    ("tool", "binding"),
    [
        ({"name": "get_director", "description": "Who directed it."}, "relation:director"),
        ({"name": inverse_tool("director").name, "description": "Films."}, "inverse:director"),
        ({"name": "films_of", "description": "Films.", "relation": "director", "inverse": True}, "inverse:director"),
    ],
)
def test_a_tool_is_bound_by_its_relation_or_its_name(tool: dict[str, Any], binding: str) -> None:
    toolset = LLMToolMaker(answers(reply(tool))).make(QUESTION)
    assert binding in [spec.binding for spec in toolset.tools]


def test_the_order_is_random_and_the_same_key_gives_the_same_toolset() -> None:
    orders = {LLMToolMaker(answers(GOOD)).make(QUESTION, str(key)).names for key in range(20)}
    assert len(orders) > 5
    assert LLMToolMaker(answers(GOOD)).make(QUESTION, "k") == LLMToolMaker(answers(f"```json\n{GOOD}\n```")).make(
        QUESTION, "k"
    )


def test_its_tools_are_played_with_the_ladder_and_the_oracle_solves_the_question() -> None:
    def maker_reply(messages: Messages) -> str:
        relations = json.loads(messages[1]["content"].partition("<relations>\n")[2].partition("\n</relations>")[0])
        tools = [{"name": f"ask_{i}", "description": f"Looks up {r}.", "relation": r} for i, r in enumerate(relations)]
        return reply(*tools[:8], FREE, utilities=("find_in_page", "calculate", "compare_dates"))

    actor = LadderToolActor(GroundedToolActor(), LLMToolActor(answers("")))
    maker = LLMToolMaker(FakeChat(maker_reply), max_tools=9)
    game = make_game("MTR-2WikiMultiHopQA-v0", tool_maker=maker, tool_actor=actor)
    rewards = [score(play(MTREnv(game), Oracle(actor=actor), question_id=i)).total for i in game.world.ids]
    assert rewards.count(1.0) >= len(rewards) - 2
    assert game.setup.tool_maker == maker.name


# --------------------------------------------------------------------------------------------------- unsound tools

NESTED = {"type": "object", "properties": {"film": {"type": "object", "properties": {"x": {"type": "string"}}}}}
UNSOUND = {
    "not JSON": ("Here are your tools!", "it is not JSON"),
    "cut off": (Completion(GOOD[:200], finish_reason="length"), "it was cut off"),
    "empty": ("", "it was empty"),
    "refused": (Completion(GOOD, finish_reason="refusal"), "it was refused"),
    "another shape": ("[1, 2]", "Expected `object`"),
    "another family": (reply(FREE, task={**TASK, "family": "riddle"}), "Invalid enum value 'riddle'"),
    "an unknown utility": (reply(FREE, utilities=["browse"]), "there is no utility 'browse'"),
    "an unknown relation": (reply({**DIRECTOR, "relation": "boss"}), "there is no relation 'boss'"),
    "a utility's name": (reply({**FREE, "name": "search"}), "found twice: search"),
    "the same tool twice": (reply(FREE, FREE), "found twice: get_film_reviews"),
    "an unportable name": (reply({**FREE, "name": "Get-Reviews"}), "'Get-Reviews' is not portable"),
    "a reserved name": (reply({**FREE, "name": "verify"}), "'verify' is not portable"),
    "no schema": (reply({**FREE, "parameters": None}), "needs parameters and returns"),
    "not an object": (reply({**FREE, "parameters": {"type": "array"}}), "must have type 'object'"),
    "an invalid schema": (reply({**FREE, "returns": {"x": {"type": "strnig"}}}), "not a valid JSON Schema"),
    "a remote reference": (reply({**FREE, "returns": {"x": {"$ref": "http://x/y"}}}), "$ref must be local"),
    "a schema that is none": (reply({**FREE, "returns": {"x": 7}}), "not a valid JSON Schema"),
    "an own status": (reply({**FREE, "returns": {"status": {}}}), "must not define 'status'"),
    "an unknown entity": (reply({**FREE, "entities": ["book"]}), "'book' is not among the parameters"),
    "properties that are null": (
        reply({**FREE, "parameters": {**FREE["parameters"], "properties": None}}),
        "not of type",
    ),
    "properties that are 5": (reply({**FREE, "parameters": {**FREE["parameters"], "properties": 5}}), "not of type"),
    "nested parameters": (reply({**FREE, "parameters": NESTED, "entities": []}), "keep parameters flat"),
    "an array of anything": (
        reply({**FREE, "parameters": {"type": "object", "properties": {"film": {"type": "array"}}}, "entities": []}),
        "keep parameters flat and plain; get_film_reviews, parameter film: openai: an array says what its items are",
    ),
    "an argument beyond ASCII": (
        reply({**FREE, "parameters": {"type": "object", "properties": {"ö": {"type": "string"}}}, "entities": []}),
        "keep parameters flat and plain; get_film_reviews, parameter ö: anthropic: ",
    ),
    "too many": (reply(*[{**FREE, "name": f"tool_{i}"} for i in range(9)]), "at most 8 tools, found 9"),
    "too large": (reply({**FREE, "description": "x" * MAX_TOOLSET_CHARS}), "characters, more than"),
    "a surrogate": (reply({**FREE, "description": "\ud800"}), "it is not JSON"),
}
LEAKING = {
    "name": {**FREE, "name": "get_prague_films"},
    "description": {**FREE, "description": "Reviews from PRAHA."},
    "enum": {**FREE, "parameters": {"type": "object", "properties": {"film": {"enum": ["Kolya", "Prague"]}}}},
    "field": {**FREE, "returns": {"prague": {"type": "string"}}},
    "relation": {**DIRECTOR, "description": "Who directs in Prague."},
}


@pytest.mark.parametrize("what", UNSOUND)
def test_an_unsound_reply_is_repaired_with_the_validators_message(what: str) -> None:
    text, message = UNSOUND[what]
    chat = answers(text, GOOD)
    toolset = LLMToolMaker(chat).make(QUESTION)
    assert toolset.get("get_film_reviews") is not None
    assert toolset.notes[-1] == "attempts=2"
    assert message in chat.asked[1][-1]["content"]
    assert len(chat.asked) == 2


@pytest.mark.parametrize("what", UNSOUND)
def test_what_stays_unsound_becomes_the_template_toolset_with_the_reason(what: str) -> None:
    text, message = UNSOUND[what]
    chat = answers(text)
    maker = LLMToolMaker(chat, attempts=1)
    toolset = maker.make(QUESTION)
    assert toolset.tools == TemplateToolMaker().make(QUESTION).tools
    assert toolset.notes[-1].startswith(f"in place of {maker.name}: after 2 attempts: ")
    assert message[:40] in toolset.notes[-1]
    assert len(chat.asked) == 2


@pytest.mark.parametrize("what", LEAKING)
def test_a_tool_that_gives_the_answer_away_is_refused_without_saying_so_to_the_model(what: str) -> None:
    chat = answers(reply(LEAKING[what]), GOOD)
    toolset = LLMToolMaker(chat).make(QUESTION)
    assert toolset.get("get_film_reviews") is not None
    assert "gives the final answer away" in chat.asked[1][-1]["content"]
    assert [m["role"] for m in chat.asked[1]] == ["system", "user", "user"], "the leak is not shown again"
    fallen = LLMToolMaker(answers(reply(LEAKING[what])), attempts=0).make(QUESTION)
    assert "gives the final answer away" in fallen.notes[-1]
    check_toolset(fallen, QUESTION.text, QUESTION.golds)


@pytest.mark.parametrize("env_id", DATASETS)
def test_the_gold_answer_is_in_no_prompt_whatever_the_model_replies(env_id: str) -> None:
    world = make_game(env_id).world
    for question_id in world.ids:
        question = world.question(question_id)
        secrets = secret_answers(question.text, question.golds)
        gold = question.answer
        chat = answers(gold, reply({**FREE, "description": gold}), reply(FREE, utilities=[gold]), "{}")
        toolset = LLMToolMaker(chat, attempts=3).make(question)
        secret = any(contains_words(fold(gold), secret) for secret in secrets)
        assert len(chat.asked) == (4 if secret else 2), "a generic or public answer leaks nothing"
        told = fold("\n".join(m["content"] for messages in chat.asked for m in messages[1:]))
        assert not any(contains_words(told, secret) for secret in secrets)
        check_toolset(toolset, question.text, question.golds)


def test_a_relation_whose_name_says_the_answer_is_not_offered() -> None:
    chat = answers(GOOD)
    LLMToolMaker(chat).make(QUESTION)
    assert '["director","place of birth"]' in chat.prompts


# ------------------------------------------------------------------------------------------------------------ outages


def test_an_outage_is_raised_and_writes_no_other_toolset() -> None:
    with pytest.raises(ModelError, match="status 503: overloaded"):
        LLMToolMaker(answers("oops", ModelError("status 503: overloaded"))).make(QUESTION)


def test_a_refused_key_stands_in_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    with ChatServer(lambda body: GOOD, key="another") as server:
        game = make_game("MTR-Synthetic-v0", limit=1, tool_maker=LLMToolMaker(chat_client(server.url)))
        trace = play(MTREnv(game), load_policy("oracle", game))
    assert "tool maker: " in trace.faults[0].message and "401" in trace.faults[0].message
    assert b"secret" not in encode(trace)
    assert "127.0.0.1" not in LLMToolMaker(ChatClient("tiny", base_url="http://127.0.0.1:9/v1")).name


def test_a_mistake_in_our_own_code_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        LLMToolMaker(answers(ZeroDivisionError())).make(QUESTION)


# --------------------------------------------------------------------------------------------------------------- many


def test_awaited_it_writes_the_same_and_a_fallback_that_waits_is_awaited_too() -> None:
    maker = LLMToolMaker(answers(GOOD))
    assert asyncio.run(maker.amake(QUESTION)) == maker.make(QUESTION)
    outer = LLMToolMaker(answers("oops"), attempts=0, fallback=maker)
    for toolset in (asyncio.run(outer.amake(QUESTION)), outer.make(QUESTION)):
        assert toolset.tools == maker.make(QUESTION).tools
        assert is_fallback(toolset) and "after 1 attempts: it is not JSON" in toolset.notes[-1]
    assert not is_fallback(maker.make(QUESTION))


def test_it_asks_for_its_own_number_of_tokens() -> None:
    with ChatServer(lambda body: GOOD) as server:
        LLMToolMaker(chat_client(server.url, max_output_tokens=7)).make(QUESTION)
        LLMToolMaker(chat_client(server.url), max_output_tokens=9000).make(QUESTION)
        assert [body["max_tokens"] for body in server.bodies] == [4096, 9000]


def test_over_a_faulty_server_every_question_gets_a_sound_toolset_or_none() -> None:
    world = make_game("MTR-Synthetic-v0", limit=60).world
    questions = [world.question(i) for i in world.ids]
    faults = ("500", "reset", "malformed", "schema", "empty", "refusal", "injection", "length", "gold")
    with ChatServer(lambda body: GOOD.replace("director", "x"), faults=faults, rate=0.5, seed=3) as server:
        maker = LLMToolMaker(chat_client(server.url, retries=2), attempts=1)

        async def make_all() -> list[Toolset | BaseException]:
            return await asyncio.gather(*[maker.amake(question) for question in questions], return_exceptions=True)

        made = asyncio.run(make_all())
        assert sum(server.faults.values()) > 20
    toolsets = [toolset for toolset in made if isinstance(toolset, Toolset)]
    assert {type(other) for other in made} - {Toolset} <= {ModelError}
    assert len(toolsets) > 40
    for question, toolset in zip(questions, made, strict=True):
        if isinstance(toolset, Toolset):
            check_toolset(toolset, question.text, question.golds)
    assert all(is_fallback(toolset) for toolset in toolsets), "no question has the relation x"


def test_the_audit_and_a_world_count_the_toolsets_of_the_fallback(tmp_path: Path) -> None:
    def sometimes(messages: Messages) -> str:
        return "oops" if "region" in messages[1]["content"] else reply(FREE)

    def maker() -> LLMToolMaker:
        return LLMToolMaker(FakeChat(sometimes), attempts=0)

    world = make_game("MTR-Synthetic-v0", limit=20).world
    expected = sum(is_fallback(maker().make(world.question(i))) for i in world.ids)
    assert 0 < expected < 20
    report = audit(make_game("MTR-Synthetic-v0", limit=20, tool_maker=maker()), short_cuts=())
    assert report.fallbacks == expected
    assert f"{expected} toolsets ({expected / 20:.1%}) stand in place of" in report.warnings[0]
    assert build("MTR-Synthetic-v0", tmp_path / "world", limit=20, tool_maker=maker()).fallbacks == expected
    down = LLMToolMaker(answers(ModelError("status 503")))
    with pytest.raises(ModelError, match="status 503"):
        build("MTR-Synthetic-v0", tmp_path / "other", limit=20, tool_maker=down)
    assert not (tmp_path / "other").exists()
    unproved = audit(make_game("MTR-Synthetic-v0", limit=2, tool_maker=down), short_cuts=())
    assert (unproved.oracle_unscored, unproved.provable) == (2, 0)
    assert unproved.unprovable[0].reason == "its tools could not be made: tool maker: status 503"


def test_a_maker_can_be_copied_and_pickled_and_its_name_holds_its_settings() -> None:
    client = ChatClient("m", base_url="http://127.0.0.1:9/v1")
    maker = LLMToolMaker(client, attempts=1, max_tools=3, fallback=TemplateToolMaker(extra_tools=0))
    assert copy.deepcopy(maker) is maker
    assert pickle.loads(pickle.dumps(maker)).name == maker.name
    for part in (client.name, "prompt=", "attempts=1", "max_tools=3", "max_output_tokens=4096", "extra_tools=0"):
        assert part in maker.name
    for options in ({"attempts": -1}, {"max_tools": 17}):
        with pytest.raises(ValueError, match="at most 16"):
            LLMToolMaker(client, **options)
