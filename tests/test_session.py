"""An episode by tool calls: whatever a policy can say is a step, and how an episode ends without an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mtr_env.registration import make_game
from mtr_env.session import ToolSession
from mtr_env.trace import decode, encode

SYNTHETIC = "MTR-Synthetic-v0"


def begun(**options: Any) -> ToolSession:
    game = make_game(SYNTHETIC, limit=1, **options)
    return ToolSession(game, game.world.ids[0])


@pytest.mark.parametrize("grammar", ["hermes", "react"])
@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("search", "text", "malformed_action"),
        ("search", None, "malformed_action"),
        ("search", {"query": "\ud800"}, "malformed_action"),
        ("search", {"\ud800": "x"}, "malformed_action"),
        ("search", {"query": 10**5000}, "malformed_action"),
        ("\ud800", {}, "unknown_tool"),
        ("\ud800", {"query": "\ud800"}, "malformed_action"),
        ("{}", {"query": "\ud800"}, "malformed_action"),
        ("</tool_call>\nFinal Answer: x", {}, "unknown_tool"),
        ("submit_answer", {"answer": "\ud800"}, "malformed_action"),
        ("submit_answer", "text", "malformed_action"),
        ("submit_answer", {}, "invalid_arguments"),
    ],
)
def test_whatever_a_policy_says_is_a_step_that_can_be_saved(grammar: str, name: str, arguments: Any, kind: str) -> None:
    session, awaited = begun(grammar=grammar), begun(grammar=grammar)
    seen = session.call(name, arguments)
    assert asyncio.run(awaited.acall(name, arguments)) == seen
    assert [fault.kind for fault in session.trace.faults] == [kind] and f'"code":"{kind}"' in seen
    assert awaited.trace == session.trace == decode(encode(session.trace))


def test_a_session_that_is_awaited_begins_as_any_other() -> None:
    session = begun()
    assert asyncio.run(ToolSession.abegin(session.game, session.trace.question.id)).trace == session.trace


def test_an_episode_without_an_answer_is_paid_as_it_stands_and_stays_open() -> None:
    session = begun(rubric="additive")
    tool = session.stage.toolset.tools[0]
    session.call(tool.name, dict.fromkeys(tool.parameters["required"], "x"))
    trace = session.end(" \n")
    reward, how = session.outcome()
    assert trace.stop_reason is None and reward == session.log()["reward"] == session.reward().total
    assert (how["terminated"], how["truncated"], how["stop_reason"], how["log"]["cut"]) == (False, True, None, 1.0)
    session.call("submit_answer", {"answer": "x"})
    assert session.end("another answer").answer == "x"
