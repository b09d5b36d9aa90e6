"""``mtr-env run``: policies play worlds, into folders."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

from mtr_env.cli import tables
from mtr_env.cli.progress import Progress
from mtr_env.cli.resolve import fields_of, game_of, note, spent_by, tools_of, usage
from mtr_env.episode import Game
from mtr_env.evaluate import Budget, Summary, run
from mtr_env.evaluate.folder import is_outage
from mtr_env.evaluate.spending import Meter
from mtr_env.llm import ChatClient
from mtr_env.metrics import metrics
from mtr_env.plugs import MODELS, PlayerOptions, Tools, player
from mtr_env.policies.base import AnyPolicy
from mtr_env.policies.chat import AutoAgent
from mtr_env.policies.local import LocalModel
from mtr_env.reward import unscored
from mtr_env.trace import Trace
from mtr_env.transcript import printable


def run_policies(args: argparse.Namespace) -> int:
    """Every policy in every world that the arguments name, one after another; returns 1 when of one of them not one
    episode is scored, or outages stopped it: there is no number then, or not all of it, and nobody who waits for one
    should be told that all went well."""
    tools = tools_of(args)
    with usage():
        budget = Budget(args.max_minutes, args.max_tokens, args.max_cost)
    pairs = list(itertools.product(args.id, args.policy))
    runs = [_planned(args, tools, budget, *pair, of_several=len(pairs) > 1) for pair in pairs]
    code = 0
    for planned in runs:
        if len(runs) > 1:
            print(f"--- {printable(planned.out)}")
        code |= _play_one(planned, tools, budget)
    return code


def exit_code(summary: Summary, where: str) -> int:
    """0, or 1 after saying that none of the episodes that lie there is scored."""
    if summary.scored:
        return 0
    note(f"{where}: not one episode is scored.")
    return 1


class _Planned(NamedTuple):
    """A run before it begins."""

    args: argparse.Namespace
    game: Game
    policy: AnyPolicy
    name: str
    out: str


def _planned(
    args: argparse.Namespace, tools: Tools, budget: Budget, env_id: str, policy: str, *, of_several: bool
) -> _Planned:
    """One id and one policy of a command; what cannot be is said before any of them is played."""
    one = argparse.Namespace(**{**vars(args), "id": env_id})
    game = game_of(one, tools.game)
    with usage():
        found, name = player(policy, _player_options(args, policy), game, args.concurrency)
        _check_budget(budget, found, tools)
    out = str(Path(args.out) / env_id / policy.replace(":", ".")) if of_several else args.out
    return _Planned(one, game, found, name, out)


def _player_options(args: argparse.Namespace, policy: str) -> PlayerOptions:
    """What was said of the model that plays; nothing for a policy beside it that is none."""
    of_another = policy not in MODELS and any(other in MODELS for other in args.policy)
    return PlayerOptions() if of_another else fields_of(args, PlayerOptions)


def _play_one(planned: _Planned, tools: Tools, budget: Budget) -> int:
    """Returns the exit code."""
    args, policy = planned.args, planned.policy
    agent = policy.client if isinstance(policy, AutoAgent) else None
    progress = Progress("episodes", args.quiet)
    right = scored = outages = 0

    def on_episode(done: int, total: int, trace: Trace) -> None:
        nonlocal right, scored, outages
        outages += is_outage(trace)
        if unscored(trace) is None:
            scored += 1
            right += int(metrics(trace).em)
        said = f"EM {right / scored:.3f}" if scored else "none scored"
        progress(done, total, ", ".join([said, *spent_by(agent, tools)]))

    with progress:
        summary = run(
            planned.game,
            policy,
            planned.out,
            policy_name=planned.name,
            episodes=args.episodes,
            samples=args.samples,
            seed=args.seed,
            concurrency=args.concurrency,
            budget=budget,
            tool_spent=tools.spent,
            unscored_alarm=args.unscored_alarm,
            retry_unscored=args.retry_unscored,
            command=args.argv,
            on_episode=on_episode,
            say=(lambda text: None) if args.quiet else note,
        )
    print(tables.summary(summary))
    if args.quiet and summary.alarm is not None:
        note(summary.alarm)
    spent = spent_by(agent, tools)
    if spent and not args.quiet:
        note(f"spent in this start: {', '.join(spent)}")
    return exit_code(summary, planned.out) or int(bool(outages and not scored and summary.unplayed))


def _check_budget(budget: Budget, policy: object, tools: Tools) -> None:
    """Now rather than after the first episode."""
    budget.check(Meter(policy, tools.spent))
    clients = (("policy", getattr(policy, "client", None)), ("tool", tools.client))
    for who, client in clients:
        if budget.cost is not None and isinstance(client, ChatClient) and client.prices is None:
            raise ValueError(f"--max-cost needs --{who}-prices IN,OUT.")
    if budget.cost is not None and isinstance(policy, LocalModel):
        raise ValueError("--max-cost: a local model has no price; --max-minutes and --max-tokens limit it.")
