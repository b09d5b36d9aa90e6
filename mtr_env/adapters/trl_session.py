"""TRL's AsyncGRPO: an episode as an OpenEnv ``ResourceSession``, native tool calls, sampled by TRL through vLLM.

    make = functools.partial(MTRSessionFactory, "MTR-Synthetic-v0", split="train", limit=1000)
    worker = HarnessRolloutWorker(harness_session_factory=make, harness_adapter=MCPHarnessAdapter(),
                                  dataset=make().train_dataset, max_tool_calling_iterations=8, ...)
    AsyncGRPOTrainer(model, rollout_worker=worker, ...)

Tested with TRL 1.16 and OpenEnv 0.10 (extras ``train`` and ``openenv``), without vLLM: TRL's worker needs a GPU server.

- TRL makes a session for each rollout, in threads, and seeds it with the number of its group: all rollouts of a group
  start the same question with the same seed, and the seed rises by 1 from group to group: a noise schedule is
  ``NoiseSchedule.of(points, seeds=(0, groups))`` here, not ``over_steps``.
- Each call is a step of its own, also where one message holds several, and so is the answer. The call that ends the
  episode tells the harness, which stops there.
- A call that TRL cannot read is a final message to it, so a wrong answer here; arguments that are no JSON object reach
  the tool as none at all, so they are ``invalid_arguments``.
- An unscored episode has the reward ``None``, which TRL leaves out of the group's baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from mtr_env.adapters.trl_spec import last_words
from mtr_env.extras import needed
from mtr_env.registration import make_game
from mtr_env.rows import Asked, beginnings, chosen
from mtr_env.session import ToolSession, opening

with needed("openenv", "MTRSession"):
    from openenv.core.env_server.mcp_types import Tool
    from openenv.core.harness import ResourceSession, ResourceSessionFactory, ToolResult, VerifyResult


class MTRSession(ResourceSession):
    """One rollout. ``session`` is the episode behind it."""

    def __init__(self, session: ToolSession) -> None:
        self.session = session

    def initial_messages(self) -> list[dict[str, str]]:
        """What to do, and the question."""
        return self.session.messages

    def list_tools(self) -> list[Any]:
        """The question's tools and ``submit_answer``, with their whole schemas."""
        return [
            Tool(name=spec.name, description=spec.description, input_schema=spec.parameters)
            for spec in self.session.specs
        ]

    def call_tool(self, name: str, arguments: Any) -> Any:
        """One call. ``data`` is JSON text, an error object with a ``code`` where the call was wrong; ``error`` is that
        code; ``done`` when the episode is over. Nothing that a policy can say makes it raise."""
        before = len(self.session.trace.faults)
        seen = self.session.call(name, arguments)
        faults = self.session.trace.faults[before:]
        return ToolResult(data=seen, done=self.session.done, error=faults[0].kind if faults else None)

    def verify(self, transcript: Sequence[Mapping[str, Any]], final_state: Any = None) -> Any:
        """Ends the episode with the answer of the last message, unless it is over, and scores it.

        ``env_reward`` is ``None`` when it is unscored; ``metrics`` holds reward, parts and metrics by the names that
        every adapter logs them under; ``artifacts["trace"]`` is the trace."""
        trace = self.session.end(last_words(transcript))
        log = self.session.log()
        return VerifyResult(env_reward=log["reward"], done=self.session.done, metrics=log, artifacts={"trace": trace})

    def close(self) -> None:
        """Nothing is held open."""


class MTRSessionFactory(ResourceSessionFactory):
    """Makes a session for each rollout of a prompt of :attr:`train_dataset`.

    Args:
        env_id: One of the package's ids.
        questions: How many questions (the first ones), or their ids; all unless told.
        seed: Added to the number of the group that TRL gives.
        **options: Those of ``gym.make(env_id, ...)``.

    TRL's worker makes it in a process of its own, so it hands over a function that makes one (``functools.partial``),
    and the same arguments give the same prompts. Raises ``ValueError`` when two questions have one prompt.
    """

    def __init__(
        self, env_id: str, *, questions: int | Sequence[str] | None = None, seed: int = 0, **options: Any
    ) -> None:
        self.game = make_game(env_id, **options)
        self.seed = seed
        self.rows: list[dict[str, Any]] = []
        """The rows of :attr:`train_dataset`: ``prompt`` (chat messages), ``question_id``."""
        self._asked = Asked()
        for question_id, stage, _ in beginnings(self.game, chosen(self.game, questions), seed):
            prompt = opening(stage)
            self._asked.add(prompt, question_id)
            self.rows.append({"prompt": prompt, "question_id": question_id})

    @cached_property
    def train_dataset(self) -> Any:
        """The rows as a ``datasets.Dataset``."""
        from datasets import Dataset

        return Dataset.from_list(self.rows)

    def create(self, task: Any, seed: int | None = None, episode_id: str | None = None) -> MTRSession:
        """The session of a rollout; ``task`` is a row's prompt. Raises ``ValueError`` for any other."""
        return MTRSession(ToolSession(self.game, self._asked.question(task), self.seed + (seed or 0)))
