"""The ladder: the evidence answers what it can, the model the rest, and each response says who gave it."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import pytest
from simulated_model import FakeChat, part, request

from mtr_env.env import MTREnv
from mtr_env.llm.client import ModelError
from mtr_env.policies.oracle import Oracle
from mtr_env.question import Fact, Paragraph, Question
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.rollout import play
from mtr_env.tool import ToolSpec
from mtr_env.toolactors.base import ToolRequest
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.ladder import LadderToolActor
from mtr_env.toolactors.llm import LLMToolActor
from mtr_env.toolmakers.specs import CALCULATE, OPEN_PAGE, relation_tool
from mtr_env.trace import Response

QUESTION = Question(
    "q",
    "Who directed Kolya?",
    "Jan",
    paragraphs=(Paragraph("Kolya", ("Kolya is by Jan.",)),),
    facts=(Fact("Kolya", "director", "Jan", ("p0s0",)),),
)
DIRECTOR = relation_tool("director")
FREE = ToolSpec("get_mood", "The mood of a film.", {"type": "object"}, {"type": "object"})
SAID = {"status": "not_found", "message": "said the model"}

CALLS = [
    (request(QUESTION, DIRECTOR, {"film": "Kolya"}), "grounded", "ok"),
    (request(QUESTION, DIRECTOR, {"film": "Elves"}), "llm", "not_found"),
    (request(QUESTION, OPEN_PAGE, {"title": "Kolya"}), "grounded", "ok"),
    (request(QUESTION, OPEN_PAGE, {"title": "Prague"}), "llm", "not_found"),
    (request(QUESTION, CALCULATE, {"expression": "1 + 1"}), "grounded", "ok"),
    (request(QUESTION, CALCULATE, {"expression": "one"}), "grounded", "error"),
    (request(QUESTION, FREE, {}), "llm", "not_found"),
]


def model(reply: Any = None) -> FakeChat:
    return FakeChat(reply or (lambda messages: json.dumps(SAID)))


def ladder(chat: FakeChat) -> LadderToolActor:
    return LadderToolActor(GroundedToolActor(), LLMToolActor(chat))


def one(actor: LadderToolActor, r: ToolRequest) -> Response:
    return actor.respond(r.call, r.spec, r.view, r.history, r.key)


@pytest.mark.parametrize(("call", "origin", "status"), CALLS)
def test_what_the_evidence_does_not_answer_goes_to_the_model(call: ToolRequest, origin: str, status: str) -> None:
    chat = model()
    response = one(ladder(chat), call)
    assert (response.origin, response.value["status"]) == (origin, status)
    assert len(chat.asked) == (origin == "llm")


def test_the_three_forms_give_the_same_responses_and_a_batch_is_one() -> None:
    calls = [call for call, *_ in CALLS]
    single = [one(ladder(model()), call) for call in calls]
    chat = model()
    assert ladder(chat).respond_many(calls) == single
    assert (len(chat.asked), chat.most_at_once) == (3, 3)
    awaited = ladder(model())

    async def every() -> list[Response]:
        return [await awaited.arespond(call) for call in calls]

    assert asyncio.run(every()) == single


def test_a_model_without_arespond_is_asked_all_the_same() -> None:
    both = LadderToolActor(GroundedToolActor(), GroundedToolActor())
    assert asyncio.run(both.arespond(CALLS[1][0])).value["status"] == "not_found"
    assert (both.remote, both.uses_history) == (False, False)


def test_an_outage_of_the_model_is_the_affected_calls_own() -> None:
    down = ModelError("down")
    actor = ladder(model(lambda messages: down if "Elves" in part(messages, "call") else json.dumps(SAID)))
    found = actor.respond_many([call for call, *_ in CALLS])
    assert found[1] is down
    assert [type(response) for response in found].count(Response) == len(CALLS) - 1


def test_the_oracle_never_needs_the_model_and_the_trace_names_both() -> None:
    chat = model()
    game = make_game("MTR-Synthetic-v0", limit=5, tool_actor=ladder(chat))
    assert all(score(play(MTREnv(game), Oracle(), question_id=i)).total == 1.0 for i in game.world.ids)
    assert chat.asked == []
    assert game.setup.tool_actor == f"ladder(grounded, {LLMToolActor(chat).name})"
    assert copy.deepcopy(game.tool_actor) is game.tool_actor
    assert (ladder(chat).remote, ladder(chat).uses_history) == (True, True)
