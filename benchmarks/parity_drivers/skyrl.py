"""SkyRL-gym: `skyrl_gym.make`, `init`, and `step` until `done`, as SkyRL's generator does; it adds the rewards up."""

from __future__ import annotations

import skyrl_gym
from skyrl_gym.envs.registration import deregister

from mtr_env.adapters.skyrl import register
from mtr_env.testing.parity import Outcome, Scenario, outcome_of_log

PACKAGE = "skyrl-gym"
ONE_CALL_A_STEP = False
MAPPED: dict[str, str] = {}
ENV_CLASS = "mtr-parity"


def play(scenario: Scenario) -> Outcome:
    register(scenario.env_id, env_class=ENV_CLASS, **scenario.options)
    try:
        row = {"question_id": scenario.question_id, "seed": scenario.seed}
        env = skyrl_gym.make(
            ENV_CLASS, env_config={}, extras={**row, "max_turns": scenario.options.get("max_steps", 8)}
        )
        env.init([])
        paid = 0.0
        for said in scenario.said:
            out = env.step(said.text)
            paid += out["reward"]
            if out["done"]:
                break
        reward = None if out["metadata"]["unscored"] else paid
        return outcome_of_log(env.trace, {**env.get_metrics(), "reward": reward})
    finally:
        deregister(ENV_CLASS)
