"""What adapters make data sets from: which questions, how they begin, their seeds, and which question a prompt asks."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mtr_env.adapters.trl_spec import MTRSpec
from mtr_env.errors import InfrastructureError
from mtr_env.question import Question
from mtr_env.registration import make_game
from mtr_env.rows import Asked, beginnings, chosen, lasting_seed, refuse_schedule
from mtr_env.tool import Toolset
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import NoiseSchedule, NoisyToolActor
from mtr_env.toolmakers.template import TemplateToolMaker

PROMPT = [{"role": "user", "content": "Where?"}]


class HalfReachable(TemplateToolMaker):
    """Cannot be reached for the questions named."""

    def __init__(self, *missing: str) -> None:
        super().__init__()
        self.missing = missing

    def make(self, question: Question, key: str = "") -> Toolset:
        if question.id in self.missing:
            raise InfrastructureError("down")
        return super().make(question, key)


def game(**options: Any) -> Any:
    return make_game("MTR-Synthetic-v0", limit=3, **options)


def test_questions_are_all_the_first_so_many_or_those_named() -> None:
    ids = game().world.ids
    assert [*chosen(game(), None)] == [*ids]
    assert [*chosen(game(), 2)] == [*ids[:2]]
    assert [*chosen(game(), 0)] == []
    assert [*chosen(game(), ["b", "a"])] == ["b", "a"]


def test_a_question_without_tools_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = game().world.ids
    made = game(tool_maker=HalfReachable(second))
    with caplog.at_level(logging.WARNING, "mtr_env"):
        assert [name for name, _, _ in beginnings(made, (first, second, third), 5)] == [first, third]
    assert f"question {second!r} is left out: " in caplog.text
    assert {trace.seed for _, _, trace in beginnings(made, (first, third), 5)} == {5}


def test_when_no_question_is_left_it_is_an_outage() -> None:
    ids = game().world.ids
    with pytest.raises(InfrastructureError, match="No question can be trained on: question 'synthetic-"):
        list(beginnings(game(tool_maker=HalfReachable(*ids)), ids, 0))
    assert list(beginnings(game(), (), 0)) == []


def test_noise_that_follows_the_seed_is_refused_where_a_question_keeps_its_seed() -> None:
    plain = make_game("MTR-HotpotQA-v0", limit=1)
    assert refuse_schedule(plain) is plain
    steady = make_game("MTR-HotpotQA-v0", limit=1, tool_actor=NoisyToolActor(GroundedToolActor(), 0.1))
    assert refuse_schedule(steady) is steady
    schedule = NoisyToolActor(GroundedToolActor(), NoiseSchedule.over_steps({0.0: 0.0, 1.0: 0.4}, steps=100))
    options: dict[str, Any] = {"limit": 1, "tool_actor": schedule}
    with pytest.raises(ValueError, match="a question keeps its seed: train through make_rollout_func"):
        refuse_schedule(make_game("MTR-HotpotQA-v0", **options))
    with pytest.raises(ValueError, match="a question keeps its seed"):
        MTRSpec("MTR-Synthetic-v0", noise=0.1, **options)  # more noise around it


def test_a_lasting_seed_is_a_function_of_the_seed_and_the_question() -> None:
    assert lasting_seed(0, "q") == lasting_seed(0, "q") >= 0
    assert len({lasting_seed(seed, question) for seed in (0, 1) for question in "qr"}) == 4
    assert lasting_seed(0, "q") < 2**62


def test_a_prompt_says_its_question_however_its_messages_are_made() -> None:
    asked = Asked()
    asked.add(PROMPT, "q")
    asked.add(PROMPT, "q")
    assert asked.question([{"content": "Where?", "role": "user"}]) == "q"
    with pytest.raises(ValueError, match="Questions 'q' and 'r' have the same prompt"):
        asked.add(PROMPT, "r")
    with pytest.raises(ValueError, match="A prompt of no row that was made here"):
        asked.question([{"role": "system", "content": "Where?"}])
