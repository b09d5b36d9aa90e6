"""The commands, and how they end."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from mtr_env import world_build
from mtr_env.audit import AuditReport, audit
from mtr_env.audit_actor import ActorReport, audit_actor
from mtr_env.cli import compared, parsers, tables
from mtr_env.cli.arguments import UsageError
from mtr_env.cli.outputs import check_html, check_json
from mtr_env.cli.progress import Phases, Progress
from mtr_env.cli.resolve import as_options, check_which, fields_of, game_of, note, options_of, spent_by, tools_of, usage
from mtr_env.cli.runs import exit_code, run_policies
from mtr_env.cli.serve import serve
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import MTRError
from mtr_env.evaluate import Summary, compare_runs, score_file, write_json
from mtr_env.lint_tools import LOST, LintReport, lint, read_tools
from mtr_env.plugs import ToolOptions, Tools
from mtr_env.policies.human import Human, Quit
from mtr_env.registration import ENV_IDS
from mtr_env.report import build_report
from mtr_env.rollout import play
from mtr_env.tool import Toolset
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.transcript import printable
from mtr_env.world_files import WorldFolder


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with ``argv`` (that of the process unless given) and returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        args = parsers.build().parse_args(argv)
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


def _run_list(args: argparse.Namespace) -> None:
    print(tables.environments())


def _typed(prompt: str) -> str:
    """A line of the input, shown where the terminal does not show it by itself."""
    line = input(prompt)
    if not sys.stdin.isatty():
        print(line)
    return line


def _run_play(args: argparse.Namespace) -> None:
    game = game_of(args, say_which=False)
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    try:
        person = Human(game.grammar, _typed, max_steps=args.max_steps, show_prompt=args.show_prompt)
        trace = play(MTREnv(game), person, question_id=args.question_id, seed=seed)
    except Quit as left:
        print(left)
        return
    print(f"\n{tables.episode(trace, game.rubric)}\n(question {printable(trace.question.id)}, seed {seed})")


def _run_score(args: argparse.Namespace) -> int:
    check_json(args.json, Summary.__struct_fields__, reads=[args.file])
    with usage():
        summary = score_file(args.file, args.rubric, note)
    if args.json is not None:
        write_json(args.json, summary)
    print(tables.summary(summary))
    return exit_code(summary, args.file)


def _run_report(args: argparse.Namespace) -> None:
    check_html(args.out, args.runs)
    with usage():
        built = build_report(args.runs, args.out, args.rubric, note)
    size = f"{built.size / 1e6:.1f} MB"
    hint = "" if args.open else "; open it in a browser"
    print(f"{printable(args.out)}: episodes {built.episodes}, runs {built.runs}, {size}{hint}", flush=True)
    if args.open and not webbrowser.open(Path(args.out).resolve().as_uri()):
        note(f"found no browser; open {args.out} in one.")


def _run_compare(args: argparse.Namespace) -> None:
    check_json(args.json, ["comparisons"], reads=[*args.runs, *(args.noise_floor or ())])
    with usage():
        found = compare_runs(args.runs, args.rubric, noise_floor=args.noise_floor or (), say=note)
    if args.json is not None:
        write_json(args.json, {"comparisons": found})
    print("\n\n".join(map(compared.comparison, found)))


def _run_audit(args: argparse.Namespace) -> None:
    kinds = (AuditReport.__struct_fields__, ActorReport.__struct_fields__)
    check_json(args.json, *kinds, reads=[args.source, args.corpus, args.cassette])
    tools = tools_of(args)
    game = game_of(args, tools.evidence)
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
    with usage():
        actor = tools.actor(game.tool_actor)
    with Progress("questions", args.quiet) as progress:
        report = audit_actor(
            game,
            actor,
            seed=args.seed,
            spent=tools.spent,
            on_question=lambda done, total: progress(done, total, ", ".join(spent_by(None, tools))),
        )
    if args.json is not None:
        write_json(args.json, report)
    print(tables.actor_audit(report))


def _run_serve(args: argparse.Namespace) -> None:
    game = game_of(args, tools_of(args).game)
    with usage():
        serve(args, game, note)


def _run_lint_tools(args: argparse.Namespace) -> int:
    check_json(args.json, LintReport.__struct_fields__, reads=[args.id, args.source, args.corpus, args.cassette])
    toolsets = _toolsets(args)
    with usage():
        report = lint(toolsets, args.framework)
    if args.json is not None:
        write_json(args.json, report)
    print(tables.lint(report))
    return int(any(args.strict or finding.effect in LOST for finding in report.findings))


def _toolsets(args: argparse.Namespace) -> dict[str, Toolset]:
    """The toolsets to look at, by question or file."""
    if args.id not in ENV_IDS:
        if options_of(args) or args.question_id or fields_of(args, ToolOptions) != ToolOptions():
            raise UsageError(f"{args.id} holds its tools: options that choose questions or write tools are for an ID.")
        with usage():
            return {args.id: read_tools(args.id)}
    game = game_of(args, tools_of(args).evidence, say_which=False)
    ids = game.world.ids if args.question_id is None else (args.question_id,)
    return {question_id: game.tool_maker.make(game.world.question(question_id)) for question_id in ids}


def _run_world(args: argparse.Namespace) -> int | None:
    return {"build": _build_world, "verify": _verify_world, "info": _show_world}[args.what](args)


def _build_world(args: argparse.Namespace) -> None:
    check_which(args, say_which=True)
    options, tools = options_of(args), tools_of(args)
    with usage(as_options):
        build = world_build.planned(args.id, args.out, record=args.record_policy, **tools.plugs(options))
    with Phases(args.quiet) as progress:
        manifest = build(progress)
    print(tables.world(manifest))
    if tools.client is not None and not args.quiet:
        note(f"spent: {', '.join(spent_by(None, tools))}")


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


_COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "list": _run_list,
    "play": _run_play,
    "run": run_policies,
    "score": _run_score,
    "compare": _run_compare,
    "report": _run_report,
    "audit": _run_audit,
    "serve": _run_serve,
    "lint-tools": _run_lint_tools,
    "world": _run_world,
}
