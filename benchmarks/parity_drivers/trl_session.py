"""TRL's AsyncGRPO: OpenEnv's white-box harness drives the session, and each message reaches it as TRL hands it over."""

from __future__ import annotations

from collections.abc import Iterator

from openenv.core.harness import HarnessRunLimits, MCPHarnessAdapter, ModelStepResult
from trl.experimental.async_grpo.openenv_harness import _msg_to_llm_response

from mtr_env.adapters.trl_session import MTRSessionFactory
from mtr_env.testing.parity import Outcome, Said, Scenario, outcome_of_log

PACKAGE = "openenv"
ONE_CALL_A_STEP = True
MAPPED = {"malformed call": "arguments that are no JSON arrive as none: invalid_arguments"}


def play(scenario: Scenario) -> Outcome:
    factory = MTRSessionFactory(scenario.env_id, questions=[scenario.question_id], **scenario.options)
    session = factory.create(factory.rows[0]["prompt"], seed=scenario.seed, episode_id="parity")
    messages: Iterator[Said] = iter(scenario.said)

    def model(*_: object) -> ModelStepResult:
        said = next(messages)
        calls = [{"function": {"name": name, "arguments": arguments}} for name, arguments in said.calls]
        return ModelStepResult(_msg_to_llm_response({"content": said.answer or "", "tool_calls": calls}))

    result = MCPHarnessAdapter().run_white_box(model, session, HarnessRunLimits(max_turns=20))
    verdict = session.verify(result.messages)
    session.close()
    return outcome_of_log(verdict.artifacts["trace"], {**verdict.metrics, "reward": verdict.env_reward})
