"""``MTREnv``: one multi-hop question is one episode; text in, text out."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import msgspec
import numpy as np
from gymnasium.utils import seeding

from mtr_env import draw
from mtr_env.episode import Game, Stage, drive
from mtr_env.metrics import metrics
from mtr_env.reward import score
from mtr_env.spaces import AnyText
from mtr_env.trace import Trace
from mtr_env.transcript import messages, transcript

RESET_OPTIONS = ("question_id",)


class MTREnv(gym.Env[str, str]):
    """A simulated tool world around multi-hop questions.

    ## Description
    Each episode is one question. A ToolMaker writes a few OpenAI-compatible tools for it; the policy calls them by
    writing text; a ToolActor simulates each response, which is validated before the policy sees it; when the policy
    answers, a composite reward scores the whole trace.

    ## Action Space
    Any string. In the ``hermes`` grammar an action holds one to 8 calls,
    ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, or one ``<answer>...</answer>``, after an optional
    ``<think>...</think>``; ``react`` writes ``Action:`` / ``Action Input:`` and ``Final Answer:`` lines.
    Nothing that can be written makes ``step`` raise.

    ## Observation Space
    A string. From ``reset``: the instructions with the tools, and the question. From ``step``: one JSON result for each
    call, or an error object with a machine-readable code; empty after an answer.

    ## Starting State
    ``reset(seed=s)`` starts the question that ``s`` stands for; ``reset(options={"question_id": ...})`` starts that
    question. The seed also decides the noise of a noisy ToolActor. Without a seed, episodes follow the last seed given
    (or fresh entropy); the trace records the seed used.

    ## Rewards
    0.0 until the episode ends, then the rubric's total in [0, 1] (``mtr_env.reward``). An unscored episode returns 0.0
    and says so in ``info["unscored"]``: leave it out of averages.

    ## Episode End
    ``terminated``: the policy answered. ``truncated``: ``max_steps`` steps without an answer (the terminal reward is
    paid in both cases), or an outage (``info["unscored"]``). Where the ToolMaker cannot be reached, ``reset`` offers no
    tools and the first step, whatever it is, ends the episode so.

    ## Information
    ``reset``: ``question_id``, ``tools`` (OpenAI form), ``messages`` (chat form of the observation), ``split``,
    ``world``. ``step``: ``faults``, the step's :class:`~mtr_env.trace.Fault` records. The last step adds
    ``question_id``, ``trace``, ``reward_parts`` (name to float; parts that do not apply are left out; ``None`` when
    unscored), ``metrics`` (``em``, ``cover_em``, ``f1``; ``None`` when unscored),
    ``stop_reason`` and ``unscored`` (``None`` or the reason).

    ## Arguments
    See :class:`mtr_env.registration.EnvOptions` and ``SyntheticOptions``; ``docs/worlds.md`` has them as a table.

    ## Version History
    - v0: initial version.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}
    observation_space = AnyText()
    action_space = AnyText()

    def __init__(self, game: Game, render_mode: str | None = None) -> None:
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode must be None or 'ansi', found {render_mode!r}.")
        self.game = game
        self.render_mode = render_mode
        self._stage: Stage | None = None
        self._trace: Trace | None = None
        self._over = False
        self._episodes = Seeds()
        self._generator: np.random.Generator | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Starts an episode; see *Starting State*. Raises ``UnknownQuestionError`` for an unknown ``question_id``."""
        if seed is not None:
            self._seed_generator(seed)
        options = check_options(options)
        episode_seed = self._episodes.next(seed)
        question_id = options.get("question_id")
        if question_id is None:
            question_id = self.game.question_for(episode_seed)
        self._stage, self._trace = self.game.begin(question_id, episode_seed)
        self._over = False
        return first_observation(self._stage), reset_info(self._stage, self._trace)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Plays one action. Raises ``TypeError`` for anything but a string and ``ResetNeeded`` out of turn."""
        trace, stage = self._trace, self._stage
        if trace is None or stage is None:
            raise gym.error.ResetNeeded("Call reset() before step().")
        if type(action) is not str:
            action = check_action(action)
        if self._over:
            raise gym.error.ResetNeeded(f"The episode has ended ({trace.stop_reason}); call reset() first.")
        if stage.toolset.tools or trace.stop_reason is None:  # else it was over as it began: no tools could be made
            self._trace = trace = drive(stage, trace, action, self.game.tool_actor)
        result = outcome(self.game, trace)
        self._over = result[2] or result[3]
        return result

    @property
    def question_ids(self) -> Sequence[str]:
        """The ids of the world's questions, in order, for ``reset(options={"question_id": ...})``."""
        return self.game.world.ids

    def snapshot(self) -> Trace:
        """The state of the episode: its trace. Frozen, so it stays as it is while the environment goes on."""
        if self._trace is None:
            raise gym.error.ResetNeeded("Call reset() before snapshot().")
        return self._trace

    def restore(self, trace: Trace) -> tuple[str, dict[str, Any]]:
        """Goes on from a trace (of :meth:`snapshot`, or a saved one); returns the observation and ``reset``'s info."""
        self._stage = self.game.resume(trace)
        self._trace = trace
        self._over = trace.stop_reason is not None
        last = trace.steps[-1].observation if trace.steps else first_observation(self._stage)
        return last, reset_info(self._stage, trace)

    # Gymnasium's random generator, made when somebody asks for it: nothing here draws from it, and it would be half of
    # a reset's time and an eighth of a live environment.

    def _seed_generator(self, seed: int) -> None:
        if type(seed) is not int or seed < 0:
            seeding.np_random(seed)  # Gymnasium's own error
        self._generator, self._np_random_seed = None, seed

    @property
    def _np_random(self) -> np.random.Generator | None:
        if self._generator is None and self._np_random_seed is not None:
            self._generator, _ = seeding.np_random(self._np_random_seed)
        return self._generator

    @_np_random.setter
    def _np_random(self, generator: np.random.Generator | None) -> None:
        self._generator = generator

    def render(self) -> str | None:
        """The transcript so far, in mode ``"ansi"``."""
        if self.render_mode is None or self._trace is None:
            return None
        return transcript(self._trace)


class Seeds:
    """The seeds of an environment's episodes: the one given, then others that follow from it."""

    __slots__ = ("_base", "_count")

    def __init__(self) -> None:
        self._base: int | None = None
        self._count = 0

    def next(self, seed: int | None) -> int:
        """The next episode's seed: ``seed`` itself, or without one the next that follows from the last given."""
        if seed is not None:
            self._base, self._count = int(seed), 0
            return self._base
        if self._base is None:
            self._base = secrets.randbits(62)
        self._count += 1
        return draw.bits("episode", self._base, self._count) >> 2


def check_options(options: dict[str, Any] | None, known: tuple[str, ...] = RESET_OPTIONS) -> dict[str, Any]:
    """Reset options, refusing unknown ones: a misspelt one would silently start another question."""
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise ValueError(f"Unknown reset option {unknown[0]!r}; expected one of {', '.join(map(repr, known))}.")
    return options or {}


def check_action(action: Any) -> str:
    """An action as a plain ``str``; raises ``TypeError`` for anything that is not a string."""
    if not isinstance(action, str):
        raise TypeError(f"An action is a string, found {type(action).__name__}: {str(action)[:80]!r}.")
    return str(action)


def first_observation(stage: Stage) -> str:
    """What ``reset`` returns: the prompt as one text."""
    return f"{stage.prompt.system}\n\n{stage.prompt.user}"


def reset_info(stage: Stage, trace: Trace) -> dict[str, Any]:
    """``reset``'s info: nothing in it is derived from the answer."""
    world = trace.setup.world
    return {
        "question_id": trace.question.id,
        "tools": stage.toolset.openai(),
        "messages": messages(trace, stage.prompt),
        "split": world.split,
        "world": msgspec.structs.asdict(world),
    }


def outcome(game: Game, trace: Trace) -> tuple[str, float, bool, bool, dict[str, Any]]:
    """What ``step`` returns after a transition."""
    step = trace.steps[-1]
    reason = trace.stop_reason
    if reason is None:
        return step.observation, 0.0, False, False, {"faults": step.faults}
    reward = score(trace, game.rubric)
    scored = reward.total is not None
    info = {
        "faults": step.faults,
        "question_id": trace.question.id,
        "trace": trace,
        "reward_parts": {k: v for k, v in reward.parts.items() if v is not None} if scored else None,
        "metrics": metrics(trace)._asdict() if scored else None,
        "stop_reason": reason,
        "unscored": reward.unscored,
    }
    return step.observation, reward.total or 0.0, reason == "answer", reason != "answer", info
