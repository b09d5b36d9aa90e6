"""The commands, and how they end."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mtr_env import world_build
from mtr_env.audit import AuditReport, audit
from mtr_env.audit_actor import ActorReport, audit_actor
from mtr_env.cli import arguments, compared, tables
from mtr_env.cli.arguments import UsageError
from mtr_env.cli.outputs import check_html, check_json
from mtr_env.cli.progress import Phases, Progress
from mtr_env.cli.serve import serve
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import MTRError
from mtr_env.evaluate import Budget, Summary, compare_runs, run, score_file, write_json
from mtr_env.evaluate.spending import Meter
from mtr_env.lint_tools import LOST, LintReport, lint, read_tools
from mtr_env.llm import ChatClient
from mtr_env.metrics import metrics
from mtr_env.plugs import MODELS, PlayerOptions, ToolOptions, Tools, player
from mtr_env.policies.base import AnyPolicy
from mtr_env.policies.chat import AutoAgent
from mtr_env.policies.human import Human, Quit
from mtr_env.policies.local import LocalModel
from mtr_env.registration import ENV_IDS, SYNTHETIC, make_game
from mtr_env.report import build_report
from mtr_env.reward import unscored
from mtr_env.rollout import play
from mtr_env.tool import Toolset
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.trace import Trace
from mtr_env.transcript import printable
from mtr_env.world_files import WorldFolder

Made = TypeVar("Made")

_SYNTHETIC_OPTIONS = ("hops", "distractors", "extra_tools", "noise", "families", "world_seed")
_OPTIONS = ("source", "split", "corpus", "world", "limit", "max_steps", "rubric", "grammar", *_SYNTHETIC_OPTIONS)
_OPTION = re.compile(rf'\b({"|".join((*_OPTIONS, "tool_actor", "tool_maker"))})=(?:"([^"]*)")?')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with ``argv`` (that of the process unless given) and returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        args = arguments.build().parse_args(argv)
        args.argv = ("mtr-env", *argv)
        code = _COMMANDS[args.command](args)
        sys.stdout.flush()
        return code or 0
    except KeyboardInterrupt:
        kept = "; what was written is kept, the same command goes on." if "run" in argv[:1] else "."
        print(f"\nmtr-env: interrupted{kept}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone (`mtr-env list | head -1`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UsageError, MTRError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(_os_error(error))


def _fail(message: str) -> int:
    print(f"mtr-env: error: {printable(message.strip())}", file=sys.stderr)
    return 2


def _os_error(error: OSError) -> str:
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    return f"{type(error).__name__}: {error}"


@contextmanager
def _usage(reword: Callable[[str], str] = str) -> Iterator[None]:
    """What goes wrong while the user's wishes are read is the user's to change: a message, no traceback."""
    try:
        yield
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(reword(str(error))) from error


def _as_options(message: str) -> str:
    """A message of the library in words of the command line: ``corpus="FILE"`` is ``--corpus FILE``.

    >>> _as_options('Give corpus="FILE", or a tool_actor=; split="sample" has paragraphs.')
    'Give --corpus FILE; --split sample has paragraphs.'
    """
    message = message.replace(", or a tool_actor=", "").replace(" in Python, --source FILE on the command line", "")
    return _OPTION.sub(lambda m: f"--{m[1].replace('_', '-')}" + (f" {m[2]}" if m[2] else ""), message)


def _game(args: argparse.Namespace, make: Callable[..., Game] = make_game, *, say_which: bool = True) -> Game:
    """The game that the arguments ask for. ``say_which``: a data set's sample is not taken without being asked for."""
    _check_which(args, say_which)
    with _usage(_as_options):
        return make(args.id, **_options(args))


def _tools(args: argparse.Namespace) -> Tools:
    _find_modules_here()
    with _usage():
        return Tools(_fields(args, ToolOptions))


def _fields(args: argparse.Namespace, kind: type[Made]) -> Made:
    """The options class of :mod:`mtr_env.plugs` with what was given."""
    return kind(**{field.name: getattr(args, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


def _check_which(args: argparse.Namespace, say_which: bool) -> None:
    if getattr(args, "world", None) is not None:
        return
    if say_which and args.id != SYNTHETIC and args.source is None and args.split is None:
        raise UsageError(
            f"Say which questions of {args.id}: --split sample for the bundled sample, --split validation for the "
            "benchmark (from the hub), or --source FILE; so that nobody takes results on the sample for the benchmark."
        )


def _options(args: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {name: getattr(args, name, None) for name in _OPTIONS}
    options = {name: value for name, value in options.items() if value is not None}
    foreign = _SYNTHETIC_OPTIONS if args.id != SYNTHETIC else ("source", "corpus")
    for name in foreign:
        if name in options:
            where = f"is for {SYNTHETIC}" if args.id != SYNTHETIC else f"is not for {SYNTHETIC}, which is generated"
            raise UsageError(f"--{name.replace('_', '-')} {where}.")
    return options


def _run_list(args: argparse.Namespace) -> None:
    print(tables.environments())


def _typed(prompt: str) -> str:
    """A line of the input, shown where the terminal does not show it by itself."""
    line = input(prompt)
    if not sys.stdin.isatty():
        print(line)
    return line


def _run_play(args: argparse.Namespace) -> None:
    game = _game(args, say_which=False)
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    try:
        person = Human(game.grammar, _typed, max_steps=args.max_steps, show_prompt=args.show_prompt)
        trace = play(MTREnv(game), person, question_id=args.question_id, seed=seed)
    except Quit as left:
        print(left)
        return
    print(f"\n{tables.episode(trace, game.rubric)}\n(question {printable(trace.question.id)}, seed {seed})")


def _find_modules_here() -> None:
    """So that a policy or plug of the user's own is found as by `python -m`."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _run_run(args: argparse.Namespace) -> None:
    tools = _tools(args)
    with _usage():
        budget = Budget(args.max_minutes, args.max_tokens, args.max_cost)
    pairs = list(itertools.product(args.id, args.policy))
    runs = [_planned(args, tools, budget, *pair, of_several=len(pairs) > 1) for pair in pairs]
    for planned in runs:
        if len(runs) > 1:
            print(f"--- {printable(planned.out)}")
        _play_one(planned, tools, budget)


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
    game = _game(one, tools.game)
    with _usage():
        found, name = player(policy, _player_options(args, policy), game, args.concurrency)
        _check_budget(budget, found, tools)
    out = str(Path(args.out) / env_id / policy.replace(":", ".")) if of_several else args.out
    return _Planned(one, game, found, name, out)


def _player_options(args: argparse.Namespace, policy: str) -> PlayerOptions:
    """What was said of the model that plays; nothing for a policy beside it that is none."""
    of_another = policy not in MODELS and any(other in MODELS for other in args.policy)
    return PlayerOptions() if of_another else _fields(args, PlayerOptions)


def _play_one(planned: _Planned, tools: Tools, budget: Budget) -> None:
    args, policy = planned.args, planned.policy
    agent = policy.client if isinstance(policy, AutoAgent) else None
    progress = Progress("episodes", args.quiet)
    right = scored = 0

    def on_episode(done: int, total: int, trace: Trace) -> None:
        nonlocal right, scored
        if unscored(trace) is None:
            scored += 1
            right += int(metrics(trace).em)
        said = f"EM {right / scored:.3f}" if scored else "none scored"
        progress(done, total, ", ".join([said, *_spent(agent, tools)]))

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
            command=args.argv,
            on_episode=on_episode,
            say=(lambda text: None) if args.quiet else _note,
        )
    print(tables.summary(summary))
    if args.quiet and summary.alarm is not None:
        _note(summary.alarm)
    spent = _spent(agent, tools)
    if spent and not args.quiet:
        _note(f"spent in this start: {', '.join(spent)}")


def _check_budget(budget: Budget, policy: object, tools: Tools) -> None:
    """Now rather than after the first episode."""
    budget.check(Meter(policy, tools.spent))
    clients = (("policy", getattr(policy, "client", None)), ("tool", tools.client))
    for who, client in clients:
        if budget.cost is not None and isinstance(client, ChatClient) and client.prices is None:
            raise ValueError(f"--max-cost needs --{who}-prices IN,OUT.")
    if budget.cost is not None and isinstance(policy, LocalModel):
        raise ValueError("--max-cost: a local model has no price; --max-minutes and --max-tokens limit it.")


def _spent(agent: object, tools: Tools) -> list[str]:
    """What the models that play the episodes and the tools have used, those that there are."""
    clients = (("player", agent), ("tools", tools.client))
    return [f"{who} {tables.spent(client.spent)}" for who, client in clients if isinstance(client, ChatClient)]


def _run_score(args: argparse.Namespace) -> None:
    check_json(args.json, Summary.__struct_fields__, reads=[args.file])
    with _usage():
        summary = score_file(args.file, args.rubric, _note)
    if args.json is not None:
        write_json(args.json, summary)
    print(tables.summary(summary))


def _run_report(args: argparse.Namespace) -> None:
    check_html(args.out, args.runs)
    with _usage():
        built = build_report(args.runs, args.out, args.rubric, _note)
    size = f"{built.size / 1e6:.1f} MB"
    print(f"{printable(args.out)}: episodes {built.episodes}, runs {built.runs}, {size}; open it in a browser")


def _run_compare(args: argparse.Namespace) -> None:
    check_json(args.json, ["comparisons"], reads=[*args.runs, *(args.noise_floor or ())])
    with _usage():
        found = compare_runs(args.runs, args.rubric, noise_floor=args.noise_floor or (), say=_note)
    if args.json is not None:
        write_json(args.json, {"comparisons": found})
    print("\n\n".join(map(compared.comparison, found)))


def _run_audit(args: argparse.Namespace) -> None:
    kinds = (AuditReport.__struct_fields__, ActorReport.__struct_fields__)
    check_json(args.json, *kinds, reads=[args.source, args.corpus, args.cassette])
    tools = _tools(args)
    game = _game(args, tools.evidence)
    if args.tool_actor is not None:
        _audit_actor(args, game, tools)
        return
    with Progress("questions", args.quiet) as progress:
        report = audit(
            game,
            seed=args.seed,
            on_question=lambda done, total, provable: progress(done, total, f"provable {provable}"),
        )
    if args.json is not None:
        write_json(args.json, report)
    print(tables.audit(report))


def _audit_actor(args: argparse.Namespace, game: Game, tools: Tools) -> None:
    if isinstance(game.tool_actor, NoisyToolActor):
        raise UsageError("An actor is compared with the evidence itself, without noise: leave --noise out.")
    with _usage():
        actor = tools.actor(game.tool_actor)
    with Progress("questions", args.quiet) as progress:
        report = audit_actor(
            game,
            actor,
            seed=args.seed,
            spent=tools.spent,
            on_question=lambda done, total: progress(done, total, ", ".join(_spent(None, tools))),
        )
    if args.json is not None:
        write_json(args.json, report)
    print(tables.actor_audit(report))


def _run_serve(args: argparse.Namespace) -> None:
    game = _game(args, _tools(args).game)
    with _usage():
        serve(args, game, _note)


def _run_lint_tools(args: argparse.Namespace) -> int:
    check_json(args.json, LintReport.__struct_fields__, reads=[args.id, args.source, args.corpus, args.cassette])
    toolsets = _toolsets(args)
    with _usage():
        report = lint(toolsets, args.framework)
    if args.json is not None:
        write_json(args.json, report)
    print(tables.lint(report))
    return int(any(args.strict or finding.effect in LOST for finding in report.findings))


def _toolsets(args: argparse.Namespace) -> dict[str, Toolset]:
    """The toolsets to look at, by question or file."""
    if args.id not in ENV_IDS:
        if _options(args) or args.question_id or _fields(args, ToolOptions) != ToolOptions():
            raise UsageError(f"{args.id} holds its tools: options that choose questions or write tools are for an ID.")
        with _usage():
            return {args.id: read_tools(args.id)}
    game = _game(args, _tools(args).evidence, say_which=False)
    ids = game.world.ids if args.question_id is None else (args.question_id,)
    return {question_id: game.tool_maker.make(game.world.question(question_id)) for question_id in ids}


def _run_world(args: argparse.Namespace) -> int | None:
    return {"build": _build_world, "verify": _verify_world, "info": _show_world}[args.what](args)


def _build_world(args: argparse.Namespace) -> None:
    _check_which(args, say_which=True)
    options, tools = _options(args), _tools(args)
    with _usage(_as_options):
        build = world_build.planned(args.id, args.out, record=args.record_policy, **tools.plugs(options))
    with Phases(args.quiet) as progress:
        manifest = build(progress)
    print(tables.world(manifest))
    if tools.client is not None and not args.quiet:
        _note(f"spent: {', '.join(_spent(None, tools))}")


def _verify_world(args: argparse.Namespace) -> int:
    with Phases(args.quiet) as progress:
        problems = world_build.verify(args.dir, progress)
    for problem in problems:
        print(f"mtr-env: {printable(problem)}", file=sys.stderr)
    if not problems:
        manifest = WorldFolder(args.dir).manifest
        print(f"{manifest.hash}: every byte and all {manifest.questions} oracle rewards are as built.")
    return 1 if problems else 0


def _show_world(args: argparse.Namespace) -> None:
    print(tables.world(WorldFolder(args.dir).manifest))


def _note(text: str) -> None:
    print(f"mtr-env: {printable(text)}", file=sys.stderr)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "list": _run_list,
    "play": _run_play,
    "run": _run_run,
    "score": _run_score,
    "compare": _run_compare,
    "report": _run_report,
    "audit": _run_audit,
    "serve": _run_serve,
    "lint-tools": _run_lint_tools,
    "world": _run_world,
}
