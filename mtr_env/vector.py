"""``MTRVectorEnv``: many episodes in lock step, with the ToolActor asked for all of their responses at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from mtr_env.env import (
    MTREnv,
    Seeds,
    check_action,
    check_options,
    first_observation,
    outcome,
    reset_info,
)
from mtr_env.episode import Game, Stage, Turn
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.border import respond_many
from mtr_env.trace import Trace

_Flags = NDArray[np.bool_]


class MTRVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], NDArray[Any]]):
    """``num_envs`` copies of :class:`~mtr_env.env.MTREnv` that share one world and one ToolActor.

    Env ``i`` plays the same traces as a single environment with its seed. Where the ToolActor has ``respond_many``, it
    is asked once per round for every episode that waits; an actor or a ToolMaker that fails for one episode ends that
    one only.

    ``autoreset_mode`` is Gymnasium's: ``NEXT_STEP`` (its default) ignores the action that follows an episode's end;
    ``SAME_STEP`` puts the last observation and info into ``final_obs`` and ``final_info``; with ``DISABLED`` a finished
    episode waits for ``reset(options={"reset_mask": ...})`` and its action is ignored (observation empty, reward 0).

    ``reset`` takes ``seed`` as an int (env ``i`` gets ``seed + i``) or a list, and the options ``reset_mask`` (a
    boolean array) and ``question_id`` (one id for all, or a list with ``None`` where the seed decides).
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self, game: Game, num_envs: int = 1, autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is at least 1, found {num_envs}.")
        self.game = game
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = MTREnv.observation_space
        self.single_action_space = MTREnv.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._seeds = [Seeds() for _ in range(num_envs)]
        self._stages: list[Stage] = []
        self._traces: list[Trace] = []
        self._over = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Starts episodes in all environments, or in those of ``options["reset_mask"]``."""
        options = check_options(options, ("question_id", "reset_mask"))
        seeds = self._per_env("seed", [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed)
        question_ids = options.get("question_id")
        if isinstance(question_ids, str):
            question_ids = [question_ids] * self.num_envs
        question_ids = self._per_env("question_id", question_ids)
        mask = self._mask(options.get("reset_mask"))
        observations = [""] * self.num_envs
        infos: dict[str, Any] = {}
        # All of them begin before any of them counts: an unknown question leaves everything as it was.
        begun = {i: self._begin(i, seeds[i], question_ids[i]) for i in np.flatnonzero(mask).tolist()}
        if not self._traces:
            self._stages, self._traces = [None] * self.num_envs, [None] * self.num_envs  # type: ignore[list-item]
        for i, episode in begun.items():
            observations[i], info = self._start(i, *episode)
            infos = self._add_info(infos, info, i)
        self._over = self._over & ~mask
        return tuple(observations), infos

    def _per_env(self, what: str, values: Sequence[Any] | None) -> Sequence[Any]:
        if values is None:
            return [None] * self.num_envs
        if len(values) != self.num_envs:
            raise ValueError(f"{what}: expected {self.num_envs} values, one per environment, found {len(values)}.")
        return values

    def _mask(self, mask: Any) -> _Flags:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask must be a boolean array of shape ({self.num_envs},), found {mask!r}.")
        if not self._traces and not mask.all():
            raise gym.error.ResetNeeded("The first reset() must start every environment.")
        return mask

    def _begin(self, i: int, seed: int | None = None, question_id: str | None = None) -> tuple[Stage, Trace]:
        episode_seed = self._seeds[i].next(seed)
        return self.game.begin(
            self.game.question_for(episode_seed) if question_id is None else question_id, episode_seed
        )

    def _start(self, i: int, stage: Stage, trace: Trace) -> tuple[str, dict[str, Any]]:
        self._stages[i], self._traces[i] = stage, trace
        return first_observation(stage), reset_info(stage, trace)

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Plays one action in every environment. Raises ``ValueError`` when their number is not ``num_envs``."""
        if not self._traces:
            raise gym.error.ResetNeeded("Call reset() before step().")
        actions = [check_action(action) for action in actions]
        if len(actions) != self.num_envs:
            raise ValueError(f"Expected {self.num_envs} actions, one per environment, found {len(actions)}.")
        playing = np.flatnonzero(~self._over).tolist()
        for i, trace in zip(playing, self._play(playing, actions), strict=True):
            self._traces[i] = trace
        return self._outcomes(set(playing))

    def _play(self, playing: Sequence[int], actions: Sequence[str]) -> list[Trace]:
        traces = [self._traces[i] for i in playing]
        # One without tools was over as it began.
        turns = [
            Turn(self._stages[i], trace, actions[i]) if trace.stop_reason is None else None
            for i, trace in zip(playing, traces, strict=True)
        ]
        drive_many([turn for turn in turns if turn is not None], self.game.tool_actor)
        return [trace if turn is None else turn.trace() for turn, trace in zip(turns, traces, strict=True)]

    def _outcomes(
        self, playing: set[int]
    ) -> tuple[tuple[str, ...], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        observations = [""] * self.num_envs
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        terminated, truncated = np.zeros((2, self.num_envs), dtype=np.bool_)
        infos: dict[str, Any] = {}
        for i in range(self.num_envs):
            if i in playing:
                observations[i], rewards[i], terminated[i], truncated[i], info = outcome(self.game, self._traces[i])
                if info.get("unscored"):
                    # Gymnasium merges dicts of equal shape; the masks say that these are absent.
                    del info["reward_parts"], info["metrics"]
                if (terminated[i] or truncated[i]) and self.autoreset_mode == AutoresetMode.SAME_STEP:
                    infos = self._add_info(infos, {"final_obs": observations[i], "final_info": info}, i)
                    observations[i], info = self._start(i, *self._begin(i))
            elif self.autoreset_mode == AutoresetMode.NEXT_STEP:
                observations[i], info = self._start(i, *self._begin(i))
            else:
                continue
            infos = self._add_info(infos, info, i)
        if self.autoreset_mode == AutoresetMode.DISABLED:
            self._over |= terminated | truncated
        elif self.autoreset_mode == AutoresetMode.NEXT_STEP:
            self._over = terminated | truncated
        return tuple(observations), rewards, terminated, truncated, infos

    def snapshot(self) -> tuple[Trace, ...]:
        """The traces of all environments."""
        return tuple(self._traces)


def drive_many(turns: Sequence[Turn], actor: ToolActor) -> None:
    """Completes many transitions, asking the actor in rounds for all that wait."""
    while True:
        waiting = [(turn, turn.waiting) for turn in turns if turn.waiting is not None]
        if not waiting:
            return
        responses = respond_many(actor, [request for _, request in waiting])
        for (turn, _), response in zip(waiting, responses, strict=True):
            turn.receive(response)
