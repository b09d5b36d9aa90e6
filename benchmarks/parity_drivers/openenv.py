"""OpenEnv: `MTRClient` plays over a WebSocket what the server of `mtr-env serve` holds."""

from __future__ import annotations

from benchmarks.served import served
from mtr_env.adapters.openenv import MTRClient, call_action, make_app
from mtr_env.registration import make_game
from mtr_env.testing.parity import Outcome, Scenario, outcome_of_log
from mtr_env.trace import Trace

PACKAGE = "openenv"
ONE_CALL_A_STEP = True
MAPPED: dict[str, str] = {}


def play(scenario: Scenario) -> Outcome:
    actions = [call_action(*call) for said in scenario.said for call in said.calls]
    answers = [said.answer for said in scenario.said if said.answer is not None]
    actions += [call_action("submit_answer", {"answer": answer}) for answer in answers]
    kept: list[Trace] = []
    app = make_app(make_game(scenario.env_id, **scenario.options), keep=kept.append)
    with served(app) as url, MTRClient(url).sync() as env:
        env.reset(question_id=scenario.question_id, seed=scenario.seed)
        for action in actions:
            result = env.step(action)
            if result.done:
                break
        [trace] = kept
        return outcome_of_log(trace, {**result.metadata["log"], "reward": result.reward})
