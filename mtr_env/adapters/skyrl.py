"""SkyRL-gym: text actions, tools rendered into the prompt, one row of the data set for each question.

    rows = make_rows("MTR-Synthetic-v0", split="train", limit=1000)  # for the trainer's parquet file
    register("MTR-Synthetic-v0", split="train", limit=1000)          # inside the Ray entry point

Tested with skyrl-gym 0.4 (extra ``skyrl``).

- The budget of steps is the environment's ``max_steps``; SkyRL's ``generator.max_turns`` must be the same.
- A row fixes its question's seed, so that all rollouts of a group hear the same from their tools, in every epoch.
- SkyRL has no mark for an episode that cannot be scored. Its reward is 0.0, and the last step's
  ``metadata["unscored"]`` and ``get_metrics()["unscored"]`` say so; :func:`mask_unscored` keeps its tokens out of the
  loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.extras import needed
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.reward_log import episode_log
from mtr_env.rows import beginnings, chosen, lasting_seed, refuse_schedule
from mtr_env.session import stopped
from mtr_env.trace import Trace
from mtr_env.transcript import Message, messages

with needed("skyrl", "The SkyRL adapter"):
    import skyrl_gym
    from skyrl_gym.envs.base_text_env import BaseTextEnv

ENV_CLASS = "mtr"
Output = TypeVar("Output")


class SkyRLEnv(BaseTextEnv):
    """One episode, made by ``skyrl_gym.make`` for each rollout; :func:`register` makes the class that it is made of.

    ``extras`` are the row's columns: ``question_id``, ``seed``, and ``max_turns``, which SkyRL adds.
    """

    game: Game

    def __init__(self, env_config: Any = None, extras: dict[str, Any] | None = None) -> None:
        super().__init__()
        row = extras or {}
        if "question_id" not in row or "seed" not in row:
            raise ValueError(f"A row needs question_id and seed (make_rows writes them), found {sorted(row)}.")
        self.max_turns = self.game.setup.max_steps
        if row.get("max_turns", self.max_turns) != self.max_turns:
            raise ValueError(
                f"An episode has {self.max_turns} steps and SkyRL's generator.max_turns is {row['max_turns']}: set "
                f"generator.max_turns={self.max_turns}, or register(..., max_steps={row['max_turns']})."
            )
        self._question_id, self._seed = row["question_id"], int(row["seed"])
        self._env = MTREnv(self.game)
        self._begun = False

    def init(self, prompt: Any = None) -> tuple[list[Message], dict[str, Any]]:
        """Starts the episode. The messages are those of the row; ``prompt`` is not read. The second value is
        Gymnasium's ``info``."""
        _, info = self._env.reset(seed=self._seed, options={"question_id": self._question_id})
        self.turns, self._begun = 0, True
        return info["messages"], info

    def step(self, action: str) -> dict[str, Any]:
        """Plays one action. ``reward`` is 0.0 until the episode ends; ``metadata`` is Gymnasium's ``info``."""
        self.turns += 1
        observation, reward, terminated, truncated, info = self._env.step(action)
        done = terminated or truncated
        seen = [] if done else [{"role": "user", "content": observation}]
        return {"observations": seen, "reward": reward, "done": done, "metadata": info}

    @property
    def trace(self) -> Trace:
        """The episode so far."""
        return self._env.snapshot()

    def get_metrics(self) -> dict[str, float]:
        """Reward, parts and metrics by the names that every adapter logs them under; those that do not apply are left
        out, and so is everything before ``init``."""
        if not self._begun:
            return {}
        trace = self.trace
        log = episode_log(trace, score(stopped(trace), self.game.rubric), cut=trace.stop_reason is None)
        return {name: value for name, value in log.items() if value is not None}


def register(env_id: str, *, env_class: str = ENV_CLASS, **options: Any) -> None:
    """Registers an environment id of the package with SkyRL-gym; ``options`` are those of ``gym.make(env_id, ...)``.

    The world is made once, here. Ray workers have a registry of their own: call it in the Ray entry point. Raises as
    :func:`~mtr_env.registration.make_game`, and SkyRL's ``RegistrationError`` for a name that is taken.
    """
    game = refuse_schedule(make_game(env_id, **options))
    skyrl_gym.register(env_class, type("SkyRLEnv", (SkyRLEnv,), {"game": game}))


def make_rows(
    env_id: str,
    *,
    env_class: str = ENV_CLASS,
    questions: int | Sequence[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, Any]]:
    """The rows of a data set: ``prompt`` (chat messages, with the tools), ``env_class``, ``question_id``, ``seed``.

    ``questions`` is how many (the first ones), or their ids; all unless told. Episode seeds follow from ``seed``.
    ``options`` are those that :func:`register` gets. A question whose ToolMaker cannot be reached is left out, with a
    warning in the log.
    """
    game = refuse_schedule(make_game(env_id, **options))
    return [
        {
            "prompt": messages(trace, stage.prompt),
            "env_class": env_class,
            "question_id": question_id,
            "seed": lasting_seed(seed, question_id),
        }
        for question_id, stage, trace in beginnings(game, chosen(game, questions), seed)
    ]


def mask_unscored(output: Output) -> Output:
    """What SkyRL's generator makes of a rollout, with a loss mask of zeros where the episode is unscored::

        class Generator(SkyRLGymGenerator):
            async def agent_loop(self, *args, **kwargs):
                return mask_unscored(await super().agent_loop(*args, **kwargs))

    Its reward of 0.0 still stands in its group's baseline, as that of a rollout that SkyRL itself masks for its length.
    """
    outputs: Sequence[Any] = getattr(output, "step_outputs", [output])
    if any(part.env_metrics.get("unscored") for part in outputs):
        for part in outputs:
            part.loss_mask = [0] * len(part.loss_mask)
    return output
