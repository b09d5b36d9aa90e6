"""A scenario through `mtr_env.adapters.endpoint`, in text."""

from __future__ import annotations

from benchmarks.parity_drivers import endpoint
from mtr_env.testing.parity import Outcome, Scenario


def play(scenario: Scenario) -> Outcome:
    return endpoint.play(scenario, "text")
