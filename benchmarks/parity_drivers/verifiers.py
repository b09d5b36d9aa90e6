"""verifiers: one environment with the null harness in the subprocess runtime plays all scenarios at once, against a
chat endpoint on loopback; the model's name says which scenario's messages it writes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import verifiers.v1 as vf

from mtr_env.adapters.verifiers import TRACE, MTRConfig, MTRData, MTRTask
from mtr_env.registration import make_game
from mtr_env.session import ToolSession
from mtr_env.testing.parity import Outcome, Scenario, outcome_of_log, scenarios
from mtr_env.trace import decode
from tests.chat_server import ChatServer
from tests.played_model import native_message

PACKAGE = "verifiers"
ONE_CALL_A_STEP = True
MAPPED: dict[str, str] = {}


def play(scenario: Scenario) -> Outcome:
    return outcome(rollouts()[scenario.name])


@lru_cache(1)
def rollouts() -> dict[str, vf.Trace]:
    """The trace that verifiers has of each scenario."""
    return asyncio.run(run({scenario.name: scenario for scenario in scenarios()}))


async def run(played: Mapping[str, Scenario]) -> dict[str, vf.Trace]:
    def content(body: dict[str, Any]) -> dict[str, Any]:
        number = sum(message["role"] == "assistant" for message in body["messages"])
        return native_message(played[body["model"]].said[number], number)

    agent = vf.AgentConfig(harness={"id": "null"}, runtime=vf.SubprocessConfig())
    env = vf.load_environment(vf.SingleAgentEnvConfig(taskset=MTRConfig(id="mtr-taskset"), agent=agent))
    with ChatServer(content=content) as server:
        client = vf.EvalClientConfig(base_url=server.url)
        async with env.serving():
            episodes = await asyncio.gather(
                *[
                    env.run_slot(vf.env.RunSlot(task(scenario)), vf.ModelContext(model=name, client=client))
                    for name, scenario in played.items()
                ]
            )
    return {name: episode.traces[0] for name, episode in zip(played, episodes, strict=True)}


def task(scenario: Scenario) -> MTRTask:
    """The scenario's question; its plugs are objects, so its game is given and not made from the data."""
    game = make_game(scenario.env_id, **scenario.options)
    system, user = ToolSession(game, scenario.question_id, scenario.seed).messages
    data = MTRData(
        id=scenario.question_id,
        name=scenario.name,
        system_prompt=system["content"],
        prompt=user["content"],
        env_id=scenario.env_id,
        options={},
        seed=scenario.seed,
    )
    made = MTRTask(data)
    made.game = game
    return made


def outcome(trace: vf.Trace) -> Outcome:
    paid = {name: reward.score for name, reward in trace.rewards.items() if reward is not None}
    return outcome_of_log(decode(trace.info[TRACE]), paid)
