"""TRL's `GRPOTrainer` with `rollout_func`: one optimisation step; in place of the model's sampling stand the scenario's
messages, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl import GRPOTrainer

from benchmarks.tiny_trl import chat_tokenizer, one_step
from mtr_env import draw
from mtr_env.adapters.trl import Rollouts, Sampled, Sampler
from mtr_env.encoding import TokenEpisode
from mtr_env.registration import make_game
from mtr_env.testing.parity import Outcome, Scenario, outcome_of_log

PACKAGE = "trl"
ONE_CALL_A_STEP = False
MAPPED: dict[str, str] = {}


def seed(scenario: Scenario) -> int:
    """The seed of the first step's group: it follows from the step and the question."""
    return draw.group_seed(scenario.seed, 0, scenario.question_id)


class Kept(Rollouts):
    """Rollouts that can be looked at afterwards."""

    episodes: list[TokenEpisode]

    def play(self, starts: Sequence[tuple[str, int]], sample: Sampler) -> list[TokenEpisode]:
        self.episodes = super().play(starts, sample)
        return self.episodes


def play(scenario: Scenario) -> Outcome:
    from datasets import Dataset

    game = make_game(scenario.env_id, **scenario.options)
    stage, _ = game.begin(scenario.question_id, 0)
    tokenizer = chat_tokenizer([stage.prompt.system, stage.prompt.user])

    def sampler(trainer: Any) -> Sampler:
        messages = iter(scenario.said)  # the two rollouts of the group go on together

        def sample(contexts: Sequence[Sequence[int]], most: int) -> list[Sampled]:
            ids = tokenizer.encode(next(messages).text + "<|im_end|>")
            return [Sampled(list(ids), [-1.0] * len(ids)) for _ in contexts]

        return sample

    rollouts = Kept(game, tokenizer, max_turn_tokens=500, max_tokens=4096, seed=scenario.seed, sampler=sampler)
    paid: list[tuple[float | None, dict[str, float | None]]] = []

    def reward(mtr_log: Any, **columns: Any) -> list[float | None]:
        rewards = rollouts.reward(mtr_log=mtr_log, **columns)
        paid.extend(zip(rewards, mtr_log, strict=True))
        return rewards

    one_step(
        GRPOTrainer,
        tokenizer,
        train_dataset=Dataset.from_list(rollouts.rows([scenario.question_id])),
        rollout_func=rollouts,
        reward_funcs=[reward],
    )
    first, second = (
        outcome_of_log(episode.trace, {**log, "reward": total})
        for episode, (total, log) in zip(rollouts.episodes, paid, strict=True)
    )
    assert first == second, "the two rollouts of the group"
    return first
