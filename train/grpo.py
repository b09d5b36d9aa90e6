"""Reinforcement learning on the composite trace reward: GRPO over batched episodes.

    python -m train.grpo --recipe tiny

TRL's ``GRPOTrainer`` through :func:`mtr_env.adapters.trl.make_rollout_func`: text actions, per-question tools, sampled
tokens never tokenised again, observation tokens masked. Before it starts, the program measures the share of groups
whose rewards differ and refuses below ``--least-variance``: where they do not, there is nothing to learn from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mtr_env.adapters.trl import Rollouts, Sampler
from mtr_env.reward import score
from train.measure import model_sampler
from train.options import WorldOptions, option, parse


@dataclass
class Args(WorldOptions):
    """What is trained on what, and how."""

    model: str = option("runs/sft", "the checkpoint to start from: a folder, or a hub id")
    out: Path = option(Path("runs/grpo"), "where checkpoints go")
    questions: int = option(2000, "training questions")
    steps: int = option(60, "optimisation steps")
    groups: int = option(8, "questions a step and device")
    group_size: int = option(8, "rollouts of a question")
    lr: float = option(3e-4, "learning rate (constant)")
    beta: float = option(0.0, "weight of the KL term")
    temperature: float = option(1.0, "of the rollouts")
    max_turn_tokens: int = option(64, "the most tokens of an action")
    max_tokens: int = option(1024, "the most tokens of an episode")
    least_variance: float = option(0.4, "refuse to start below this share of groups with different rewards")
    vllm: bool = option(False, "sample with vLLM (not run where this was written: it needs a GPU)")
    bf16: bool = option(False, "compute in bfloat16")
    save_every: int = option(20, "steps between checkpoints")
    resume: bool = option(False, "go on from the last checkpoint in --out")
    seed: int = option(0, "of data, episodes and sampling")


def share_with_variance(rollouts: Rollouts, sample: Sampler, groups: int, size: int) -> float:
    """The share of groups (the first questions, each played ``size`` times) whose rewards are not all the same."""
    ids = rollouts.game.world.ids[:groups]
    episodes = rollouts.play([(question_id, 0) for question_id in ids for _ in range(size)], sample)
    totals = [score(episode.trace, rollouts.game.rubric).total for episode in episodes]
    spread = [{t for t in totals[i : i + size] if t is not None} for i in range(0, len(totals), size)]
    return sum(len(rewards) > 1 for rewards in spread) / len(spread)


def main(argv: list[str] | None = None) -> None:
    """Runs the training."""
    args = parse(Args, "grpo", __doc__.split("\n", 1)[0], argv)
    game = args.game(args.questions)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model)
    rollouts = Rollouts(
        game, tokenizer, max_turn_tokens=args.max_turn_tokens, max_tokens=args.max_tokens, seed=args.seed
    )
    dataset = rollouts.dataset(args.questions)
    share = share_with_variance(rollouts, model_sampler(model, tokenizer, args.temperature), 32, args.group_size)
    print(f"{share:.0%} of 32 groups have different rewards", flush=True)
    if share < args.least_variance:
        raise SystemExit(
            f"Only {share:.0%} of the groups have different rewards (at least {args.least_variance:.0%} wanted): the "
            "policy always or never succeeds, so GRPO has nothing to compare. Start from a warm start that sometimes "
            "succeeds, choose other questions, or lower --least-variance."
        )
    config = GRPOConfig(
        output_dir=str(args.out),
        max_steps=args.steps,
        per_device_train_batch_size=args.groups * args.group_size,
        num_generations=args.group_size,
        max_completion_length=args.max_tokens,
        learning_rate=args.lr,
        lr_scheduler_type="constant",
        beta=args.beta,
        temperature=args.temperature,
        use_vllm=args.vllm,
        bf16=args.bf16,
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=False,
        logging_steps=1,
        save_steps=args.save_every,
        report_to=[],
        seed=args.seed,
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=rollouts.reward,
        rollout_func=rollouts,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=args.resume)
    trainer.save_model(str(args.out))
    tokenizer.save_pretrained(args.out)
    (args.out / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
