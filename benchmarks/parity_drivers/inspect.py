"""Inspect: `inspect_ai.eval` of the task with its mock model; its arguments are read as Inspect reads an endpoint's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import Any

from inspect_ai import eval as evaluate
from inspect_ai.log import EvalSample, read_eval_log
from inspect_ai.model import ChatMessage, ChatMessageAssistant, Model, ModelOutput, ModelUsage, get_model
from inspect_ai.model._call_tools import parse_tool_call
from inspect_ai.tool import ToolInfo

from mtr_env.adapters.inspect import TRACE, mtr
from mtr_env.grammar import to_json
from mtr_env.testing.parity import Outcome, Said, Scenario, outcome_of_log
from mtr_env.trace import decode

PACKAGE = "inspect-ai"
ONE_CALL_A_STEP = True
MAPPED = {"malformed call": "the same but for the trace: the arguments stand in it as Inspect's message about them"}


def play(scenario: Scenario) -> Outcome:
    sample = run(scenario)
    assert sample.error is None and sample.scores is not None, sample.error
    score = sample.scores["reward"]
    reward = None if score.value != score.value else score.as_float()  # NaN: unscored
    return outcome_of_log(decode(sample.store[TRACE]), {**(score.metadata or {}), "reward": reward})


def run(scenario: Scenario) -> EvalSample:
    """The sample that Inspect has of the scenario, read from the log that it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        task = mtr(scenario.env_id, seed=scenario.seed, **scenario.options)
        model = played_model(scenario.said)
        [done] = evaluate(task, model=model, sample_id=scenario.question_id, log_dir=folder, display="none")
        log = read_eval_log(done.location)
    assert log.status == "success" and log.samples is not None, log.error
    [sample] = log.samples
    return sample


def played_model(said: Iterable[Said]) -> Model:
    """Inspect's mock model; its n-th message is the n-th of ``said``."""
    numbered = enumerate(said)

    def reply(input: list[ChatMessage], tools: list[ToolInfo], *_: Any) -> ModelOutput:
        number, message = next(numbered)
        output = ModelOutput.from_message(native(message, number, tools))
        output.usage = ModelUsage()  # else it counts tokens, with a tokenizer that it would download
        return output

    return get_model("mockllm/model", custom_outputs=reply, memoize=False)


def native(said: Said, number: int, tools: list[ToolInfo]) -> ChatMessageAssistant:
    if said.answer is not None:
        return ChatMessageAssistant(content=said.answer)
    calls = []
    for i, (name, arguments) in enumerate(said.calls):
        text = arguments if isinstance(arguments, str) else to_json(arguments)
        calls.append(parse_tool_call(f"call_{number}_{i}", name, text, tools))
    return ChatMessageAssistant(content="", tool_calls=calls)
