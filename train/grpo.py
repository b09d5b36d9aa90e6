"""Reinforcement learning on the composite trace reward: GRPO over batched episodes.

    python -m train.grpo --recipe tiny

TRL's ``GRPOTrainer`` through :func:`mtr_env.adapters.trl.make_rollout_func`: text actions, per-question tools, sampled
tokens never tokenised again, observation tokens masked. Before it starts (on one device, without vLLM), the program
measures the share of groups whose rewards differ and refuses below ``--least-variance``: where they do not, there is
nothing to learn from.

With ``--tool-actor llm`` or ``ladder`` a model plays the tools: in each round it is asked for all episodes that wait,
at most ``--concurrency`` of them at once and process. What it cannot answer ends that episode unscored, and TRL leaves
it out. What a ``--cassette`` holds serves every step: the same call after the same exchanges is asked once.

With ``--noise 0.1`` a tenth of the responses fail, find nothing, answer in part or contradict the evidence; with
``--noise-end 0.3`` that share goes evenly from the one to the other over the steps. Held-out questions have no noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtr_env.adapters.trl import Rollouts, Sampler
from mtr_env.cli.tables import spent
from mtr_env.episode import Game
from mtr_env.errors import MTRError
from mtr_env.reward import score
from mtr_env.toolactors.noise import NoiseSchedule, NoisyToolActor
from train.measure import play_all, summary_of
from train.models import adapter, load, save
from train.options import (
    HeldOutOptions,
    PlayOptions,
    TrainerOptions,
    check_extra,
    option,
    parse,
    processes,
    said_plainly,
)


@dataclass
class Args(TrainerOptions, PlayOptions, HeldOutOptions):
    """What is trained on what, and how."""

    model: str = option("runs/sft", "the checkpoint to start from: a folder, or a hub id")
    out: Path = option(Path("runs/grpo"), "where checkpoints go")
    lr: float = option(1e-4, "learning rate (constant)")
    questions: int = option(2000, "training questions")
    rubric: str = option("mtr-v0", "the reward: a rubric's name")
    steps: int = option(60, "optimisation steps")
    groups: int = option(8, "questions a step and device")
    group_size: int = option(8, "rollouts of a question")
    beta: float = option(0.0, "weight of the KL term")
    noise: float = option(0.0, "share of the tools' responses that are disturbed, shared by all kinds of noise")
    noise_end: float | None = option(None, "that share at the last step, to which it goes evenly; --noise if not said")
    least_variance: float = option(0.4, "refuse to start below this share of groups with different rewards")
    eval_every: int = option(20, "steps between evaluations on held-out questions; 0: none")
    eval_questions: int = option(64, "how many of them, each played once with the most likely tokens")
    vllm: str | None = option(None, "sample with vLLM: colocate or server (not run where this was written)")
    save_every: int = option(20, "steps between checkpoints")
    resume: bool = option(False, "go on from the last checkpoint in --out, if there is one")


def with_noise(game: Game, args: Args) -> Game:
    """The game with the noise of the options, which follows the optimisation step: a group's seed rises with it."""
    end = args.noise if args.noise_end is None else args.noise_end
    if args.noise == end == 0:
        return game
    schedule = NoiseSchedule.over_steps({0.0: args.noise, 1.0: end}, args.steps)
    actor, setup = NoisyToolActor(game.tool_actor, schedule), game.setup
    return Game(game.world, game.tool_maker, actor, game.rubric, game.grammar, setup.max_steps, setup.env_id)


def share_with_variance(rollouts: Rollouts, sample: Sampler, groups: int, size: int) -> float:
    """The share of groups (the first questions, each played ``size`` times) whose rewards are not all the same."""
    ids = rollouts.game.world.ids[:groups]
    episodes = rollouts.play([(question_id, 0) for question_id in ids for _ in range(size)], sample)
    totals = [score(episode.trace, rollouts.game.rubric).total for episode in episodes]
    spread = [{t for t in totals[i : i + size] if t is not None} for i in range(0, len(totals), size)]
    return sum(len(rewards) > 1 for rewards in spread) / len(spread)


def refuse_without_variance(rollouts: Rollouts, sample: Sampler, args: Args) -> None:
    """Raises ``SystemExit`` when the groups' rewards do not differ often enough to learn from."""
    groups = min(32, args.questions)
    share = share_with_variance(rollouts, sample, groups, args.group_size)
    print(f"{share:.0%} of {groups} groups have different rewards", flush=True)
    if share < args.least_variance:
        raise SystemExit(
            f"Only {share:.0%} of the groups have different rewards (at least {args.least_variance:.0%} wanted): the "
            "policy always or never succeeds, so GRPO has nothing to compare. Start from a warm start that sometimes "
            "succeeds, choose other questions, or lower --least-variance."
        )


def evaluate(player: Rollouts, greedy: Sampler, questions: int) -> dict[str, float]:
    """What is logged of the held-out questions."""
    measured = summary_of(play_all(player, greedy, questions, seed=0, batch=questions))
    return {name: measured[name] for name in ("em", "f1", "reward", "well_formed", "calls_per_episode")}


def one_device(args: Args) -> bool:
    """Whether this process has the whole model and samples itself."""
    return args.vllm is None and processes() == 1


def check(args: Args) -> None:
    """Raises ``SystemExit`` with the fix for options that do not fit each other."""
    if args.group_size < 2:
        raise SystemExit("--group-size must be at least 2: GRPO compares the rollouts of a question.")
    for name in ("groups", "accumulate"):
        if getattr(args, name) < 1:
            raise SystemExit(f"--{name} must be at least 1.")
    if args.groups * args.group_size % args.accumulate:
        raise SystemExit(
            f"--accumulate {args.accumulate} does not divide the {args.groups * args.group_size} rollouts of a step "
            f"(--groups {args.groups} x --group-size {args.group_size})."
        )
    for name in ("noise", "noise_end"):
        share = getattr(args, name)
        if share is not None and not 0 <= share <= 1:
            raise SystemExit(f"--{name.replace('_', '-')} is a share from 0 to 1, found {share:g}.")
    if args.vllm not in (None, "colocate", "server"):
        raise SystemExit(f"--vllm is colocate or server, found {args.vllm!r}.")
    if args.vllm == "server" and processes() > 1:
        raise SystemExit("--vllm server samples for all processes at once: train on one process, or --vllm colocate.")
    if args.eval_every and not one_device(args):
        raise SystemExit("Evaluation during training needs one device and no vLLM: --eval-every 0, then train.measure.")
    if args.eval_every:
        args.check_held_out("--eval-every 0")
    if args.tool_maker == "llm" and args.cassette is None:
        raise SystemExit(
            "A question's tools are needed more than once, and always the same ones: freeze them with `mtr-env world "
            "build --tool-maker llm` and give --world DIR, or give a --cassette FILE."
        )


def configuration(args: Args) -> Any:
    """The ``GRPOConfig`` of these options."""
    from trl import GRPOConfig

    return GRPOConfig(
        **args.settings(),
        max_steps=args.steps,
        per_device_train_batch_size=args.groups * args.group_size // args.accumulate,
        num_generations=args.group_size,
        max_completion_length=args.max_tokens,
        lr_scheduler_type="constant",
        beta=args.beta,
        temperature=args.temperature,
        use_vllm=args.vllm is not None,
        vllm_mode=args.vllm or "colocate",
        logging_steps=1,
        save_steps=args.save_every,
    )


def main(argv: list[str] | None = None) -> None:
    """Runs the training."""
    args = parse(Args, "grpo", __doc__.split("\n", 1)[0], argv)
    check(args)
    check_extra("grpo")
    tools = args.tools(seeded=False)
    game = with_noise(args.game(args.questions, tools, rubric=args.rubric), args)
    import torch
    from transformers.trainer_utils import get_last_checkpoint

    from train.callbacks import Evaluate
    from train.sampler import CachedSampler
    from train.trainer import TrimmedGRPOTrainer

    last = get_last_checkpoint(str(args.out)) if args.out.is_dir() else None
    if last is not None and not args.resume:
        raise SystemExit(f"{last} is of an earlier training: --resume goes on with it; or choose another --out.")
    torch.manual_seed(args.seed)
    model, tokenizer = load(args.model, args.max_tokens, args.grammar)
    sample = CachedSampler(model, tokenizer, args.temperature)
    # Where weights are sharded or vLLM samples, TRL knows how; on one device our cache is faster.
    plain = one_device(args)
    rollouts = Rollouts(game, tokenizer, **args.limits(), sampler=(lambda _: sample) if plain else None)
    with said_plainly(ValueError, MTRError):
        dataset = rollouts.dataset(args.questions)
    if len(dataset) < args.groups * processes():
        raise SystemExit(
            f"A step takes {args.groups * processes()} different questions (--groups {args.groups} on {processes()} "
            f"processes); there are {len(dataset)}."
        )
    if plain and last is None:
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        refuse_without_variance(rollouts, sample, args)
    callbacks = []
    if args.eval_every:
        player = Rollouts(args.held_out(args).game(args.eval_questions, tools), tokenizer, **args.limits())
        greedy = CachedSampler(model, tokenizer, temperature=0.0)
        callbacks.append(Evaluate(lambda: evaluate(player, greedy, args.eval_questions), args.eval_every))
    trainer = TrimmedGRPOTrainer(
        model=model,
        reward_funcs=rollouts.reward,
        rollout_func=rollouts,
        args=configuration(args),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=adapter(args.lora_rank),
        callbacks=callbacks,
    )
    sample.model = trainer.model  # with LoRA, another than was loaded
    for callback in callbacks:
        callback.trainer = trainer
        greedy.model = trainer.model
    trainer.train(resume_from_checkpoint=last)
    save(trainer, tokenizer, args.out)
    if tools.client is not None:
        print(f"spent on the tools: {spent(tools.client.spent)}", flush=True)


if __name__ == "__main__":
    main()
