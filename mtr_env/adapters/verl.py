"""verl's agent loop: text actions, per-question tools, one episode a rollout.

    write_rows("train.parquet", "MTR-Synthetic-v0", split="train", limit=1000)   # data.train_files
    Path("mtr.yaml").write_text(AGENT_LOOPS)  # actor_rollout_ref.rollout.agent.agent_loop_config_path

A row says which question it asks; the YAML file tells verl's workers where :class:`MTRAgentLoop` is. Tested with verl
0.9 (extra ``verl``).

- The rollouts of a row share a seed, which follows from the row's, the question and verl's ``global_steps``
  (:func:`mtr_env.draw.group_seed`): ``NoiseSchedule.over_steps`` follows the training.
- Sampled tokens are never tokenised again, and ``response_mask`` is 0 on every token that the policy did not sample.
- An unscored episode raises :class:`Unscored`, which is a failed rollout to verl: it gets no reward, and the group's
  baseline is made without it.
- Reward, parts and metrics stand in ``extra_fields["reward_extra_info"]`` as ``mtr/reward``, ``mtr/support``, ...
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import uuid4

from mtr_env import draw
from mtr_env.encoding import Encoder, TokenEpisode
from mtr_env.episode import Game, adrive, cut_short
from mtr_env.errors import InfrastructureError
from mtr_env.extras import needed
from mtr_env.registration import make_game
from mtr_env.reward import Reward, score
from mtr_env.reward_log import episode_log
from mtr_env.rows import beginnings, chosen
from mtr_env.session import stopped
from mtr_env.trace import Trace
from mtr_env.transcript import messages

with needed("verl", "The verl adapter"):
    from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register

AGENT = "mtr"
"""The name of this agent loop in a row's ``agent_name``."""
AGENT_LOOPS = f"- name: {AGENT}\n  _target_: mtr_env.adapters.verl.MTRAgentLoop\n  max_turn_tokens: 512\n"
"""What the file of ``actor_rollout_ref.rollout.agent.agent_loop_config_path`` holds."""


class Unscored(InfrastructureError):
    """An episode that has no reward; the message says why."""


@register(AGENT)
class MTRAgentLoop(AgentLoopBase):
    """One rollout, made anew for each. Takes verl's arguments, and ``max_turn_tokens``, the most tokens of one action:
    an episode without room for a whole action more in ``rollout.response_length`` is over.

    For what a row cannot say, inherit and name your class in the YAML file: :meth:`make_game` (a ToolActor of yours),
    :meth:`seed`, :meth:`ended` (to save traces).
    """

    def __init__(self, *args: Any, max_turn_tokens: int = 512, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_turn_tokens = max_turn_tokens
        self.response_length: int = self.rollout_config.response_length
        if not 0 < max_turn_tokens <= self.response_length:
            raise ValueError(
                f"max_turn_tokens is at least 1 and at most rollout.response_length ({self.response_length}), found "
                f"{max_turn_tokens}."
            )

    @staticmethod
    def make_game(env_id: str, **options: Any) -> Game:
        """The game that the rows with these options play; made once in each process."""
        return make_game(env_id, **options)

    def seed(self, row: Mapping[str, Any]) -> int:
        """The seed of the row's episode."""
        info = row["extra_info"]
        return draw.group_seed(int(info["seed"]), int(row.get("global_steps", 0)), str(info["question_id"]))

    def ended(self, trace: Trace, reward: Reward) -> None:
        """Is called with each episode, unscored ones too; does nothing."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Plays the row's episode; verl calls this.

        Raises :class:`Unscored`, ``ValueError`` for a row that :func:`write_rows` did not write with this version, and
        for a prompt longer than ``rollout.prompt_length``.
        """
        game = self._game(row)
        stage, trace = await game.abegin(str(row["extra_info"]["question_id"]), self.seed(row))
        tokenizer = _Templated(self.tokenizer, dict(self.apply_chat_template_kwargs or {}))
        episode = TokenEpisode(Encoder(tokenizer), stage, trace)
        if trace.stop_reason is None:  # else there are no tools
            self._check_prompt(episode, row)
        metrics, extra = AgentLoopMetrics(), dict[str, Any]()
        priority = int(row.get("priority", 0))
        deterministic = getattr(self.rollout_config, "full_determinism", False)
        request = {
            "request_id": f"det-{priority}" if deterministic else uuid4().hex,  # the same for all turns, for the cache
            "sampling_params": {**sampling_params, "max_tokens": self.max_turn_tokens},
            "priority": priority,
        }
        while not self._over(episode):
            await self._act(game, episode, request, metrics, extra)
        return self._paid(game, episode, metrics, extra)

    def _over(self, episode: TokenEpisode) -> bool:
        """Whether it has ended, or has no room for a whole action more."""
        over = episode.trace.stop_reason is not None
        episode.cut = not over and len(episode.completion_ids) + self.max_turn_tokens > self.response_length
        return over or episode.cut

    async def _act(
        self,
        game: Game,
        episode: TokenEpisode,
        request: Mapping[str, Any],
        metrics: AgentLoopMetrics,
        extra: dict[str, Any],
    ) -> None:
        """One action and all it causes. What the server aborts is nobody's fault: the episode ends unscored."""
        asked = time.perf_counter()
        output = await self.server_manager.generate(prompt_ids=episode.context, **request)
        answered = time.perf_counter()
        metrics.generate_sequences += answered - asked
        if output.stop_reason in ("aborted", "abort") or not output.token_ids:
            aborted = InfrastructureError(f"the server gave no action ({output.stop_reason or 'no tokens'})")
            episode.trace = cut_short(episode.trace, "policy", aborted)
            return
        action = episode.encoder.text(output.token_ids)
        trace = await adrive(episode.stage, episode.trace, action, game.tool_actor)
        episode.acted(trace, output.token_ids, output.log_probs or None)
        metrics.tool_calls += time.perf_counter() - answered
        if output.num_preempted is not None:
            metrics.num_preempted = max(metrics.num_preempted, 0) + output.num_preempted
        # The versions of the weights that sampled, from the first action to the last: verl drops what is too old.
        extra.setdefault("min_global_steps", output.extra_fields.get("min_global_steps"))
        extra["max_global_steps"] = output.extra_fields.get("max_global_steps")

    def _game(self, row: Mapping[str, Any]) -> Game:
        info = row.get("extra_info") or {}
        missing = [name for name in ("env_id", "question_id", "seed", "options") if name not in info]
        if missing:
            raise ValueError(f"The row's extra_info has no {missing[0]!r}: write the data set with write_rows.")
        return _game(type(self).make_game, info["env_id"], info["options"])

    def _check_prompt(self, episode: TokenEpisode, row: Mapping[str, Any]) -> None:
        prompt = messages(episode.trace, episode.stage.prompt)
        if [dict(message) for message in row["raw_prompt"]] != prompt:
            raise ValueError("The row's prompt is not what its question asks here: write the data set again.")
        length, most = len(episode.prompt_ids), self.rollout_config.prompt_length
        if length > most:
            raise ValueError(f"The prompt has {length} tokens and rollout.prompt_length is {most}: raise it.")

    def _paid(
        self, game: Game, episode: TokenEpisode, metrics: AgentLoopMetrics, extra: dict[str, Any]
    ) -> AgentLoopOutput:
        trace = episode.trace
        reward = score(stopped(trace), game.rubric)
        self.ended(trace, reward)
        if reward.total is None:
            raise Unscored(f"question {trace.question.id!r}, seed {trace.seed}: {reward.unscored}")
        length = len(episode.mask) - episode.mask[::-1].index(1)  # what was cut short ends with the policy's last token
        log = episode_log(trace, reward, cut=episode.cut)
        extra["reward_extra_info"] = {f"mtr/{name}": value for name, value in log.items()}
        return AgentLoopOutput(
            prompt_ids=episode.prompt_ids,
            response_ids=episode.completion_ids[:length],
            response_mask=episode.mask[:length],
            response_logprobs=episode.logprobs[:length] if episode.has_logprobs else None,
            reward_score=reward.total,
            num_turns=len(messages(trace, episode.stage.prompt)),
            metrics=metrics,
            extra_fields={**extra, "turn_scores": [], "tool_rewards": []},
        )


def rows(
    env_id: str, *, questions: int | Sequence[str] | None = None, seed: int = 0, **options: Any
) -> list[dict[str, Any]]:
    """The rows of a data set: ``agent_name``, ``prompt``, ``data_source``, ``reward_model`` (the gold answer, for
    verl's own tables) and ``extra_info``, which says what :class:`MTRAgentLoop` plays.

    ``questions`` says how many (the first ones), or their ids; all unless told. A question whose ToolMaker cannot be
    reached is left out, with a warning in the log. ``options`` are those of
    ``gym.make(env_id, ...)`` that JSON can say. Raises ``TypeError`` for others, and as
    :func:`~mtr_env.registration.make_game`.
    """
    try:
        said = json.dumps({name: os.fspath(o) if isinstance(o, os.PathLike) else o for name, o in options.items()})
    except TypeError as error:
        raise TypeError(
            f"A row holds options as JSON ({error}): inherit from MTRAgentLoop, and give plugs in its make_game."
        ) from None
    game = _game(MTRAgentLoop.make_game, env_id, said)
    written = []
    for index, (question_id, stage, trace) in enumerate(beginnings(game, chosen(game, questions), seed)):
        written.append(
            {
                "data_source": env_id,
                "agent_name": AGENT,
                "prompt": messages(trace, stage.prompt),
                "reward_model": {"style": "rule", "ground_truth": stage.question.answer},
                "extra_info": {
                    "index": index,
                    "env_id": env_id,
                    "question_id": question_id,
                    "seed": seed,
                    "options": said,
                },
            }
        )
    return written


def write_rows(path: str | os.PathLike[str], env_id: str, **arguments: Any) -> int:
    """Writes :func:`rows`, whose arguments it takes, as a Parquet file for ``data.train_files``; returns how many."""
    import pyarrow
    from pyarrow import parquet

    written = rows(env_id, **arguments)
    parquet.write_table(pyarrow.Table.from_pylist(written), path)
    return len(written)


class _Templated:
    """A tokenizer whose chat template always gets verl's ``data.apply_chat_template_kwargs``."""

    def __init__(self, tokenizer: Any, kwargs: dict[str, Any]) -> None:
        self.tokenizer, self.kwargs = tokenizer, kwargs
        self.eos_token_id: int | None = tokenizer.eos_token_id
        self.chat_template: Any = tokenizer.chat_template
        self.encode = tokenizer.encode
        self.decode = tokenizer.decode

    def apply_chat_template(
        self, conversation: Sequence[Mapping[str, str]], *, tokenize: bool = True, add_generation_prompt: bool = False
    ) -> Any:
        return self.tokenizer.apply_chat_template(
            conversation, tokenize=tokenize, add_generation_prompt=add_generation_prompt, **self.kwargs
        )


@lru_cache(8)
def _game(make: Callable[..., Game], env_id: str, options: str) -> Game:
    return make(env_id, **json.loads(options))
