"""The parity scenarios through TRL's ``GRPOTrainer``: one optimisation step each, in its two forms."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

WITHOUT_TRAIN = "the train extra is not installed (pip install -e '.[train]')"
pytest.importorskip("trl", reason=WITHOUT_TRAIN)

from benchmarks.parity_drivers import trl, trl_spec
from mtr_env.testing.parity import Scenario, differences, expected, scenarios

pytestmark = [pytest.mark.adapters, pytest.mark.filterwarnings("ignore")]  # other people's
BY_NAME = {scenario.name: scenario for scenario in scenarios()}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_scenario_through_rollout_func_ends_as_in_plain_gymnasium(name: str) -> None:
    scenario = BY_NAME[name]
    same = expected(replace(scenario, seed=trl.seed(scenario)))
    assert differences(same, trl.play(scenario)) == ()


def by_calls(scenario: Scenario) -> Scenario:
    return replace(scenario, seed=trl_spec.seed(scenario))


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in trl_spec.MAPPED])
def test_every_scenario_through_the_environment_factory_ends_as_in_plain_gymnasium(name: str) -> None:
    scenario = BY_NAME[name]
    assert differences(expected(by_calls(scenario), one_call_a_step=True), trl_spec.play(scenario)) == ()


def test_a_call_that_trl_cannot_read_is_a_wrong_answer_through_the_environment_factory() -> None:
    found = trl_spec.play(BY_NAME["malformed call"])
    assert (found.end, found.reward, found.parts["answer"], found.parts["contract"]) == ("answer", 0.0, 0.0, 1.0)


def test_a_tool_that_does_not_exist_is_no_step_through_the_environment_factory() -> None:
    scenario = BY_NAME["unknown tool"]
    without = replace(by_calls(scenario), said=scenario.said[1:])
    assert differences(expected(without, one_call_a_step=True), trl_spec.play(scenario)) == ()
