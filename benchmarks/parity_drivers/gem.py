"""GEM: `gem.make`, then `step` until the episode is over."""

from __future__ import annotations

import gem

import mtr_env.adapters.gem  # noqa: F401  # registers the ids
from mtr_env.testing.parity import Outcome, Scenario, outcome_of_log

PACKAGE = "gem-llm"
ONE_CALL_A_STEP = False
MAPPED: dict[str, str] = {}


def play(scenario: Scenario) -> Outcome:
    env = gem.make(scenario.env_id, **scenario.options)
    env.reset(scenario.seed, question_id=scenario.question_id)
    for said in scenario.said:
        _, reward, terminated, truncated, info = env.step(said.text)
        if terminated or truncated:
            break
    return outcome_of_log(info["trace"], {**info["log"], "reward": None if info["unscored"] else reward})
