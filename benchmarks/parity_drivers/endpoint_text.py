"""A scenario through `mtr_env.adapters.endpoint`, in text."""

from __future__ import annotations

from benchmarks.parity_drivers import endpoint
from benchmarks.parity_drivers.endpoint import MAPPED, ONE_CALL_A_STEP, PACKAGE
from mtr_env.testing.parity import Outcome, Scenario

__all__ = ["MAPPED", "ONE_CALL_A_STEP", "PACKAGE", "play"]


def play(scenario: Scenario) -> Outcome:
    return endpoint.play(scenario, "text")
