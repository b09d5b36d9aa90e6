"""TRL's `GRPOTrainer` with `environment_factory`: TRL renders the tools, reads the calls and runs the loop; in place of
the model's sampling stand the scenario's messages."""

from __future__ import annotations

import json
from typing import Any

from trl import GRPOTrainer

from benchmarks.tiny_trl import chat_tokenizer, one_step
from mtr_env.adapters.trl import MTRSpec
from mtr_env.rows import lasting_seed
from mtr_env.testing.parity import Outcome, Said, Scenario, outcome_of_log

PACKAGE = "trl"
ONE_CALL_A_STEP = True
MAPPED = {
    "malformed call": "a call that TRL cannot read is a final message: a wrong answer",
    "unknown tool": "TRL answers it itself: no step and no fault",
}


def seed(scenario: Scenario) -> int:
    """The seed of the scenario's episode: this form cannot be told one."""
    return lasting_seed(scenario.seed, scenario.question_id)


def play(scenario: Scenario) -> Outcome:
    spec = MTRSpec(scenario.env_id, questions=[scenario.question_id], seed=scenario.seed, **scenario.options)
    stage, _ = spec.game.begin(scenario.question_id, 0)
    tokenizer = chat_tokenizer([json.dumps(stage.tools), json.dumps(spec.rows)])
    texts = [_written(said) for said in scenario.said]
    played: list[Outcome] = []

    class Scripted(GRPOTrainer):  # type: ignore[misc]
        def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
            prompts = self.processing_class.batch_decode(prompt_ids)
            turns = [prompt.count("<|im_start|>assistant") - 1 for prompt in prompts]
            written = [texts[turn] if turn < len(texts) else "<|im_end|>" for turn in turns]
            return [self.processing_class.encode(text) for text in written], None

    def paid(environments: Any, **columns: Any) -> list[float | None]:
        rewards = spec.reward(environments=environments, **columns)
        for environment, reward in zip(environments, rewards, strict=True):
            session = environment._session
            played.append(outcome_of_log(session.trace, {**session.log(), "reward": reward}))
        return rewards

    one_step(
        Scripted,
        tokenizer,
        train_dataset=spec.train_dataset,
        environment_factory=spec.environment_factory,
        reward_funcs=[paid],
    )
    first, second = played
    assert first == second, "the two rollouts of the group"
    return first


def _written(said: Said) -> str:
    """The message as the model would write it in its chat template."""
    calls = [
        f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {_json(arguments)}}}\n</tool_call>'
        for name, arguments in said.calls
    ]
    return "\n".join([*calls, *([said.answer] if said.answer is not None else [])]) + "<|im_end|>"


def _json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
