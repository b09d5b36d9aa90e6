"""A world played by a model behind a faulty server: no episode is lost, none pays for a fault that was not its own, and
a second run from the cassette asks nothing and gives the same traces, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtr_env.registration import make_game
from mtr_env.reward import score
from tests.chat_server import FAULTS
from tests.faulty_world import Model, Outcome, followed_lie, play_all, play_and_replay, without_faults, world_of
from tests.simulated_model import FakeChat, part


def check(outcome: Outcome) -> None:
    """Every promise, whatever the other numbers are. Who scores 0 did so without any fault too, or followed a lie: a
    response that keeps its schema and is false, which nobody can tell by looking at it. That is proven one by one."""
    ends = outcome.ends
    assert outcome.lost == 0
    assert ends.scored + ends.unscored.total() == outcome.episodes
    assert not ends.wronged, ends.wronged[0]
    assert ends.fell_for_a_lie <= outcome.episodes // 100
    for trace in (trace for policy in ("oracle", "first-search") for trace in outcome.traces[policy]):
        assert trace.answer != "forged", trace
    assert outcome.replay_requests == 0, "the cassette asks nothing"
    assert outcome.replayed == outcome.episodes, "the same again, byte for byte"


def test_a_hundred_episodes_over_a_faulty_server_end_fairly_and_replay_byte_for_byte(tmp_path: Path) -> None:
    outcome = play_and_replay(tmp_path / "cassette.sqlite", questions=25, episodes=100, rate=0.3)
    check(outcome)
    assert outcome.ends.scored >= 70
    assert outcome.ends.unscored["infrastructure"] > 0
    assert len(outcome.faults) > len(FAULTS) / 2


@pytest.mark.stress
def test_two_thousand_episodes_over_a_faulty_server_end_fairly_and_replay_byte_for_byte(tmp_path: Path) -> None:
    outcome = play_and_replay(tmp_path / "cassette.sqlite", questions=250, episodes=2000, rate=0.3)
    ends = outcome.ends
    print(ends._replace(wronged=[]), outcome.requests, dict(outcome.faults))
    check(outcome)
    assert ends.scored >= 1600
    assert ends.unscored["infrastructure"] > 50
    assert ends.unscored["invalid_response"] > 0
    assert ends.own_zero > 100
    assert min(ends.lied_to, ends.leaks) > 20
    assert set(outcome.faults) == set(FAULTS)


class Liar(Model):
    """Where a response to every other question would hold the answer, says it backwards: as long, valid, and false."""

    def __call__(self, given: Any) -> str:
        value = json.loads(super().__call__(given))
        if part(given, "relations"):
            return json.dumps(value)
        view = self.simulator.request(given).view
        gold, honest = self.golds[view.id], int(view.id.rpartition("-")[2]) % 2
        found = {name: item for name, item in value.items() if isinstance(item, list) and gold in item}
        return json.dumps(value | {name: [gold[::-1]] for name in found if not honest})


def test_a_valid_lie_that_was_followed_is_told_and_is_what_the_policy_says() -> None:
    questions = 60
    world = make_game("MTR-Synthetic-v0", limit=questions).world
    traces = play_all(world_of(FakeChat(Liar(world)), questions), "oracle", range(questions))
    twins = without_faults(traces, "oracle", questions, Model(world))
    fell = []
    for trace, twin in zip(traces, twins, strict=True):
        lie = followed_lie(trace, twin)
        assert followed_lie(twin, twin) is None
        assert (score(trace).total, score(twin).total) == (1.0 if lie is None else 0.0, 1.0)
        if lie is not None and trace.answer is not None:
            assert trace.answer == trace.question.answer[::-1]
            assert [trace.answer] in lie.value.values()
            fell.append(trace)
    assert len(fell) > 5
