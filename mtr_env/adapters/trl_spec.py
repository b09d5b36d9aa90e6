"""TRL's ``GRPOTrainer`` through ``environment_factory``: native tool calls, one class of tools for each question.

    spec = MTRSpec("MTR-Synthetic-v0", split="train", limit=1000)
    trainer = GRPOTrainer(model, train_dataset=spec.train_dataset, environment_factory=spec.environment_factory,
                          reward_funcs=spec.reward_funcs, args=GRPOConfig(max_tool_calling_iterations=8, ...))

Tested with TRL 1.16 (extra ``train``), which marks ``environment_factory`` as experimental. This form is for models
that have a chat template with tools. What it cannot do, ``make_rollout_func`` can:

- Calls run one after the other over the whole batch, so an actor that waits for a network is refused.
- Each call is a step of its own, also where one message holds several, and so is the answer.
- The environment cannot end TRL's loop: set ``max_tool_calling_iterations`` to ``max_steps``. A call after the end
  returns the error ``episode_over`` and changes nothing.
- A call that TRL cannot read is a final message to it, so a wrong answer here; to a tool that does not exist TRL gives
  an answer of its own. Neither is a fault of the trace.
- Tools stand in alphabetical order, and their schemas are what a Python signature can say; arguments are checked
  against the whole schema all the same.
- At its start TRL compares all tools of all questions with each other: a second for 1,000 questions of ten tools, half
  a minute for 5,000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from mtr_env.episode import Game
from mtr_env.extras import needed
from mtr_env.memo import IdentityCache
from mtr_env.methods import as_method
from mtr_env.registration import make_game
from mtr_env.reward_log import means
from mtr_env.rows import beginnings, chosen, lasting_seed, refuse_schedule
from mtr_env.session import SUBMIT, ToolSession, opening
from mtr_env.tool import ToolSpec


class MTRSpec:
    """What TRL's ``GRPOTrainer`` needs: ``train_dataset``, ``environment_factory`` and ``reward_funcs``.

    A question has one seed in every epoch (a function of ``seed`` and its id): TRL pools and reuses environments, and
    nothing that it tells them says which rollouts are one group of one batch. So a noisy tool errs in the same way
    each time; ``make_rollout_func`` gives every group a seed of its own.

    An answer is a call of ``submit_answer`` or the last message, when that calls no tool: the text that the grammar
    reads as an answer (``<answer>...</answer>``), else the whole text. An episode without one is paid as if
    ``max_steps`` had ended it where the policy stopped.

    Args:
        env_id: One of the package's ids.
        questions: How many questions (the first ones), or their ids; all unless told.
        seed: Episode seeds follow from it.
        **options: Those of ``gym.make(env_id, ...)``.

    Raises ``ValueError`` for an actor that waits for a network and for a tool that no Python signature can describe.
    """

    def __init__(
        self, env_id: str, *, questions: int | Sequence[str] | None = None, seed: int = 0, **options: Any
    ) -> None:
        self.game = game = refuse_schedule(make_game(env_id, **options))
        if getattr(game.tool_actor, "remote", False):
            raise ValueError(
                f"The ToolActor {game.tool_actor.name!r} waits for a network, and TRL's environment_factory makes one "
                "call after the other: use mtr_env.adapters.trl.make_rollout_func, which makes a batch's calls at once."
            )
        self.rows: list[dict[str, Any]] = []
        """The rows of ``train_dataset``: ``prompt`` (chat messages), ``environment``, ``question_id``."""
        self.environment_factory: dict[str, Callable[[], Episode]] = {}
        """Environment name (the question's id) to the class that holds this question's tools."""
        self.reward_funcs: list[Callable[..., list[float | None]]] = [self.reward]
        methods: IdentityCache[ToolSpec, Callable[..., str]] = IdentityCache(4096)  # questions share tools
        for question_id, stage, _ in beginnings(game, chosen(game, questions), seed):
            members: dict[str, Any] = {tool.name: methods.get(tool, _method) for tool in (*stage.toolset.tools, SUBMIT)}
            members |= {"_game": game, "_question_id": question_id}
            members["_seed"] = lasting_seed(seed, question_id)
            self.environment_factory[question_id] = type("Episode", (Episode,), members)
            self.rows.append({"prompt": opening(stage), "environment": question_id, "question_id": question_id})

    @cached_property
    def train_dataset(self) -> Any:
        """The rows as a ``datasets.Dataset``."""
        with needed("train", "MTRSpec.train_dataset"):
            from datasets import Dataset
        return Dataset.from_list(self.rows)

    def reward(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Sequence[Mapping[str, Any]]],
        environments: Sequence[Episode],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """The reward function for TRL: ends each episode with its completion's answer and scores it; ``None`` where it
        is unscored. Every part and metric is logged by name. Raises what went wrong in a tool, which TRL hides."""
        sessions = [episode._finish(completion) for episode, completion in zip(environments, completions, strict=True)]
        logs = [session.log() for session in sessions]
        if log_metric is not None:
            for name, value in means(logs):
                log_metric(f"mtr/{name}", value)
        return [log["reward"] for log in logs]


class Episode:
    """A rollout as TRL wants it: made once, reset often. To TRL every public method but ``reset`` is a tool."""

    _game: Game
    _question_id: str
    _seed: int
    _session: ToolSession
    _broken: Exception | None

    def reset(self, **row: Any) -> None:
        """Starts the question; the row's prompt is complete, so nothing is added to it."""
        self._session = ToolSession(self._game, self._question_id, self._seed)
        self._broken = None

    def _call(self, name: str, arguments: dict[str, Any]) -> str:
        try:
            return self._session.call(name, arguments)
        except Exception as error:  # any: TRL would show it to the policy as the tool's answer and go on
            self._broken = error
            raise

    def _finish(self, completion: Sequence[Mapping[str, Any]]) -> ToolSession:
        """The episode after the answer that the last message gives."""
        if self._broken is not None:
            raise self._broken
        self._session.end(last_words(completion))
        return self._session


def _method(tool: ToolSpec) -> Callable[..., str]:
    return as_method(tool, Episode._call)


def last_words(completion: Sequence[Mapping[str, Any]]) -> str:
    """The text of the last message when it is the policy's and calls no tool; else nothing."""
    last = completion[-1] if completion else {}
    content = last.get("content")
    if last.get("role") != "assistant" or last.get("tool_calls") or not isinstance(content, str):
        return ""
    return content.strip()
