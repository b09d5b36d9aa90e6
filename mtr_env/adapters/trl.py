"""TRL's ``GRPOTrainer`` through ``rollout_func``: text actions, per-question tools, episodes in lock step.

The other form, ``environment_factory`` with native tool calls, is :class:`MTRSpec` (``trl_spec.py``).

    rollouts = make_rollout_func("MTR-Synthetic-v0", tokenizer, split="train")
    trainer = GRPOTrainer(model, reward_funcs=rollouts.reward, rollout_func=rollouts,
                          train_dataset=rollouts.dataset(1000), processing_class=tokenizer, args=...)

Tested with TRL 1.16 (extra ``train``). TRL marks ``rollout_func`` as experimental.

- A row is a prompt (chat messages). All rows of a group start the same question with the same seed, which rises with
  the optimisation step (``mtr_env.draw.group_seed``): ``NoiseSchedule.over_steps`` follows the training.
- Sampled tokens are never tokenised again; ``env_mask`` is 0 on every token that the policy did not sample.
- An unscored episode has the reward ``None``, which TRL leaves out of the group's baseline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mtr_env import draw
from mtr_env.adapters.trl_spec import MTRSpec as MTRSpec  # the form with native tool calls
from mtr_env.encoding import Encoder, TokenEpisode, Tokenizer
from mtr_env.episode import Game, Turn
from mtr_env.errors import PromptError
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.reward_log import episode_log, means
from mtr_env.rows import Asked, Prompt, beginnings, chosen
from mtr_env.session import stopped
from mtr_env.transcript import messages
from mtr_env.vector import drive_many


class Sampled(NamedTuple):
    """What a policy sampled for one action: its ids, and their log-probabilities where the backend gives them."""

    ids: list[int]
    logprobs: list[float] | None


Sampler = Callable[[Sequence[Sequence[int]], int], list[Sampled]]
"""(contexts, most new tokens) -> one sample each, up to and including the end-of-turn token."""


class Rollouts:
    """Batched episodes as TRL's ``rollout_func``; made by :func:`make_rollout_func`.

    ``seconds`` holds the wall time of the last call by kind: ``sample`` (the policy), ``world`` (environment,
    encoding and scoring).

    Raises ``ValueError`` with the fix for a tokenizer that cannot play (:class:`~mtr_env.encoding.Encoder`), or that
    loses a tag of the grammar.
    """

    def __init__(
        self,
        game: Game,
        tokenizer: Tokenizer,
        *,
        max_turn_tokens: int = 256,
        max_tokens: int = 4096,
        seed: int = 0,
        sampler: Callable[[Any], Sampler] | None = None,
    ) -> None:
        self.game = game
        self.encoder = Encoder(tokenizer)
        self.encoder.check(game.grammar)
        self.max_turn_tokens = max_turn_tokens
        self.max_tokens = max_tokens
        self.seed = seed
        self.sampler = sampler or trainer_sampler
        self.seconds: dict[str, float] = {}
        self._asked = Asked()

    # ---------------------------------------------------------------------------------------------------- the data set

    def rows(self, question_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The training rows of some questions: ``prompt`` and ``question_id``. A question whose ToolMaker cannot be
        reached is left out, with a warning in the log.

        Raises ``ValueError`` when two questions have one prompt (TRL gives a rollout function the prompt only), and
        :class:`~mtr_env.errors.PromptError` when a prompt leaves no room for an action in ``max_tokens``.
        """
        rows = []
        for question_id, stage, trace in beginnings(self.game, question_ids, self.seed):
            prompt = messages(trace, stage.prompt)
            self._asked.add(prompt, question_id)
            length = len(self.encoder.prompt(prompt))
            if not self._has_room(length):
                raise self._no_room(question_id, length)
            rows.append({"prompt": prompt, "question_id": question_id})
        return rows

    def _has_room(self, length: int) -> bool:
        return length + self.max_turn_tokens <= self.max_tokens

    def _no_room(self, question_id: str, length: int) -> PromptError:
        return PromptError(
            f"The prompt of question {question_id!r} has {length} tokens and an action up to {self.max_turn_tokens}, "
            f"but max_tokens is {self.max_tokens}: raise it, or list the tools with a '-compact' grammar."
        )

    def dataset(self, questions: int | Sequence[str] | None = None) -> Any:
        """The rows as a ``datasets.Dataset``. ``questions`` is how many (the first ones), or their ids; all unless
        told."""
        from datasets import Dataset

        return Dataset.from_list(self.rows(chosen(self.game, questions)))

    # ---------------------------------------------------------------------------------------------------- the episodes

    def __call__(self, prompts: Sequence[Prompt], trainer: Any) -> dict[str, Any]:
        """Plays one episode for each prompt; the keys are those that TRL asks for, and columns for :meth:`reward`."""
        ids = [self._asked.question(prompt) for prompt in prompts]
        step = trainer.state.global_step  # so that a resumed training starts the same episodes
        seeds = {question_id: draw.group_seed(self.seed, step, question_id) for question_id in ids}
        episodes = self.play([(question_id, seeds[question_id]) for question_id in ids], self.sampler(trainer))
        began = time.perf_counter()
        scores = [score(stopped(episode.trace), self.game.rubric) for episode in episodes]
        output = {
            "prompt_ids": [episode.prompt_ids for episode in episodes],
            "completion_ids": [episode.completion_ids for episode in episodes],
            "logprobs": _logprobs(episodes),
            "env_mask": [episode.mask for episode in episodes],
            "mtr_reward": [reward.total for reward in scores],
            "mtr_log": [episode_log(e.trace, s, cut=e.cut) for e, s in zip(episodes, scores, strict=True)],
        }
        self.seconds["world"] += time.perf_counter() - began
        return output

    def play(self, starts: Sequence[tuple[str, int]], sample: Sampler) -> list[TokenEpisode]:
        """Plays episodes (question id, seed) in lock step: each round one action of every episode that goes on.

        An episode whose prompt leaves no room for an action in ``max_tokens`` is cut before it begins. Raises
        :class:`~mtr_env.errors.PromptError` when that is so for all of them.
        """
        began = time.perf_counter()
        episodes = []
        for question_id, seed in starts:
            stage, trace = self.game.begin(question_id, seed)
            episode = TokenEpisode(self.encoder, stage, trace)
            if trace.stop_reason is not None:  # without tools: one masked token, as a trainer wants a completion
                episode.append([self.encoder.eos], own=False)
            episodes.append(episode)
        if episodes and not any(e.trace.stop_reason or self._has_room(len(e.context)) for e in episodes):
            raise self._no_room(starts[0][0], len(episodes[0].context))
        sampling = 0.0
        active = episodes
        while active := [e for e in active if not self._over(e)]:
            asked = time.perf_counter()
            samples = sample([e.context for e in active], self.max_turn_tokens)
            sampling += time.perf_counter() - asked
            self._advance(active, samples)
        self.seconds = {"sample": sampling, "world": time.perf_counter() - began - sampling}
        return episodes

    def _over(self, episode: TokenEpisode) -> bool:
        """Whether it has ended, or has no room for a whole action more. What others of its batch do never matters."""
        over = episode.trace.stop_reason is not None
        episode.cut = not over and not self._has_room(len(episode.context))
        return over or episode.cut

    def _advance(self, episodes: Sequence[TokenEpisode], samples: Sequence[Sampled]) -> None:
        pairs = list(zip(episodes, samples, strict=True))
        turns = [Turn(episode.stage, episode.trace, self.encoder.text(sampled.ids)) for episode, sampled in pairs]
        drive_many(turns, self.game.tool_actor)
        for (episode, sampled), turn in zip(pairs, turns, strict=True):
            episode.acted(turn.trace(), sampled.ids, sampled.logprobs)

    # ------------------------------------------------------------------------------------------------------ the reward

    def reward(
        self,
        mtr_reward: Sequence[float | None],
        mtr_log: Sequence[Mapping[str, float | None]],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """The reward function for TRL: the rewards of the rollouts, with every part and metric logged by name."""
        if log_metric is not None:
            for name, value in means(mtr_log):
                log_metric(f"mtr/{name}", value)
            for name, value in self.seconds.items():
                log_metric(f"mtr/seconds/{name}", value)
        return list(mtr_reward)


def make_rollout_func(
    env_id: str,
    tokenizer: Tokenizer,
    *,
    max_turn_tokens: int = 256,
    max_tokens: int = 4096,
    seed: int = 0,
    **options: Any,
) -> Rollouts:
    """A ``rollout_func`` for TRL's ``GRPOTrainer`` on an environment id.

    Args:
        env_id: One of the package's ids.
        tokenizer: The policy's, with a chat template; one that loses the grammar's tags is refused.
        max_turn_tokens: The most tokens the policy samples for one action.
        max_tokens: The most tokens of an episode, prompt included; without room for a whole action it is over.
        seed: Episode seeds follow from it and the optimisation step; a group shares one.
        **options: Those of ``gym.make(env_id, ...)``.
    """
    game = make_game(env_id, **options)
    return Rollouts(game, tokenizer, max_turn_tokens=max_turn_tokens, max_tokens=max_tokens, seed=seed)


def trainer_sampler(trainer: Any) -> Sampler:
    """Samples from the trainer's model with the trainer's settings: vLLM where it is configured, else transformers.

    Raises ``ValueError`` where all processes of a training would have to sample together, as many times and, with a
    vLLM server, as many contexts: each process plays episodes of its own, for as many rounds as they take.
    """
    if trainer.accelerator.num_processes > 1 and (together := _samples_together(trainer)):
        raise ValueError(
            f"{together} samples for all processes at once, but each plays as many rounds as its own episodes take: "
            "use vLLM in colocate mode with a tensor-parallel size of 1, or train on one process."
        )
    return vllm_sampler(trainer) if trainer.use_vllm else transformers_sampler(trainer)


def _samples_together(trainer: Any) -> str | None:
    """What of a trainer's settings makes sampling one act of all processes, in words."""
    if trainer.use_vllm:
        if trainer.args.vllm_mode == "server":
            return "A vLLM server"
        return "vLLM with a tensor-parallel size above 1" if trainer.args.vllm_tensor_parallel_size > 1 else None
    kind = trainer.accelerator.distributed_type
    if kind == "DEEPSPEED" and trainer.accelerator.state.deepspeed_plugin.zero_stage == 3:
        return "A model whose weights DeepSpeed shards (ZeRO stage 3)"
    return "A model whose weights FSDP shards" if kind == "FSDP" else None


def vllm_sampler(trainer: Any) -> Sampler:
    """Through the trainer's vLLM engine (colocate or server). Not run where this was written: it needs a GPU."""

    def sample(contexts: Sequence[Sequence[int]], most: int) -> list[Sampled]:
        engine = trainer.vllm_generation
        before, engine.max_completion_length = engine.max_completion_length, most
        try:
            _, ids, logprobs, tokens = engine.generate(
                prompts=[list(context) for context in contexts], images=None, num_generations=1
            )
        finally:
            engine.max_completion_length = before
        if logprobs is None:
            return [Sampled(list(sampled), None) for sampled in ids]
        return [Sampled(list(i), _of_sampled(i, lp, t)) for i, lp, t in zip(ids, logprobs, tokens, strict=True)]

    return sample


def _of_sampled(
    ids: Sequence[int], logprobs: Sequence[Sequence[float | None]], tokens: Sequence[Sequence[int]]
) -> list[float] | None:
    """Of each position's most likely tokens, the log-probability of the sampled one; ``None`` where one is unknown."""
    found = [values[of.index(token)] for token, values, of in zip(ids, logprobs, tokens, strict=True)]
    return None if None in found else [value for value in found if value is not None]


def transformers_sampler(trainer: Any) -> Sampler:
    """Through ``model.generate`` of the trainer's own model."""

    def sample(contexts: Sequence[Sequence[int]], most: int) -> list[Sampled]:
        from trl.models.utils import unwrap_model_for_generation

        with unwrap_model_for_generation(
            trainer.model_wrapped, trainer.accelerator, gather_deepspeed3_params=trainer.args.ds3_gather_for_generation
        ) as model:
            training = model.training
            model.eval()
            try:
                return generate(model, trainer.processing_class, contexts, most, trainer.generation_config)
            finally:
                model.train(training)

    return sample


def generate(model: Any, tokenizer: Any, contexts: Sequence[Sequence[int]], most: int, config: Any) -> list[Sampled]:
    """One sample for each context with ``model.generate``; without log-probabilities (the trainer computes its own)."""
    import torch
    from transformers import GenerationConfig

    width = max(map(len, contexts))
    pad = padding(tokenizer)
    ids = torch.tensor([[pad] * (width - len(c)) + list(c) for c in contexts], device=model.device)  # (batch, width)
    attended = torch.tensor([[0] * (width - len(c)) + [1] * len(c) for c in contexts], device=model.device)
    settings = GenerationConfig(**{**config.to_dict(), "max_new_tokens": most, "max_length": None})
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=attended, generation_config=settings)
    return [Sampled(_until(row, tokenizer.eos_token_id), None) for row in out[:, width:].tolist()]


def padding(tokenizer: Any) -> int:
    """The id that fills up batches. It is masked everywhere, so the end-of-turn token will do where there is none."""
    pad: int | None = tokenizer.pad_token_id
    return tokenizer.eos_token_id if pad is None else pad


def _until(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos) + 1] if eos in ids else ids


def _logprobs(episodes: Sequence[TokenEpisode]) -> list[list[float]] | None:
    known = all(episode.has_logprobs for episode in episodes)
    return [episode.logprobs for episode in episodes] if known else None
