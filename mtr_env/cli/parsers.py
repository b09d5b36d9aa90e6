"""The parser of the ``mtr-env`` command: a function for each command."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from mtr_env import __version__, plugs
from mtr_env.cli import legends
from mtr_env.cli.arguments import (
    OPTIONAL,
    REQUIRED,
    Parser,
    a_share,
    above_zero,
    at_least,
    list_of,
    option_arguments,
    question_arguments,
    tool_arguments,
    world_arguments,
)
from mtr_env.evaluate.folder import UNSCORED_ALARM
from mtr_env.lint_tools import FRAMEWORKS
from mtr_env.policies import POLICY_NAMES
from mtr_env.reward import RUBRICS

Add = Callable[..., argparse.ArgumentParser]
"""Adds a command: its name, what it does, examples, and what stands below them."""


def build() -> Parser:
    """The parser of the whole command; what it parses has ``command``, the name of the one chosen."""
    parser = Parser(
        prog="mtr-env",
        description="Simulated tool worlds for multi-hop questions: play, measure, audit.",
        epilog="Examples:\n  mtr-env list\n  mtr-env play MTR-HotpotQA-v0\n"
        "  mtr-env run MTR-Synthetic-v0 --policy oracle --episodes 100 --out runs/oracle\n"
        "  mtr-env score runs/oracle\n  mtr-env audit MTR-2WikiMultiHopQA-v0 --split sample --json audit.json\n\n"
        "`mtr-env COMMAND --help` says more.",
    )
    parser.add_argument("--version", action="version", version=f"mtr-env {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, what: str, examples: str, more: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=what, epilog=f"Examples:\n{examples}{more}")

    for describe in (_list, _play, _run, _score, _compare, _report, _audit, _serve, _lint_tools, _world):
        describe(add)
    return parser


def _list(add: Add) -> None:
    add("list", "Lists the environments.", "  mtr-env list")


def _play(add: Add) -> None:
    command = add(
        "play",
        "Plays one question yourself, in the terminal.",
        "  mtr-env play MTR-HotpotQA-v0\n  mtr-env play MTR-Synthetic-v0 --hops 3 --seed 7",
    )
    world_arguments(command, OPTIONAL)
    command.add_argument("--show-prompt", action="store_true", help="show the text that a model would see")
    command.add_argument("--question-id", metavar="ID", help="this question (else the seed picks one)")
    command.add_argument("--seed", type=int, metavar="N", help="the episode's seed (random unless given)")


def _run(add: Add) -> None:
    command = add(
        "run",
        "Plays a policy over a world; the same command again goes on where it stopped.",
        "  mtr-env run MTR-HotpotQA-v0 --split sample --policy oracle --out runs/oracle\n"
        "  mtr-env run MTR-MuSiQue-v0 --source dev.jsonl --policy my_module:MyPolicy --episodes 200 --out runs/mine\n"
        "  mtr-env run MTR-Synthetic-v0 --hops 2,3 --noise 0.1 --policy chaser --episodes 500 --out runs/noisy\n"
        "  mtr-env run MTR-HotpotQA-v0 --split sample --policy chat --policy-model gpt-5-mini --out runs/gpt-5-mini\n"
        "  mtr-env run MTR-HotpotQA-v0,MTR-MuSiQue-v0 --split sample --policy oracle,chaser --out runs/table",
        legends.YOUR_POLICY,
    )
    world_arguments(command, REQUIRED, several=True)
    tool_arguments(command)
    names = ", ".join(POLICY_NAMES)
    command.add_argument(
        "--policy",
        required=True,
        type=list_of(str),
        metavar="NAME,...",
        help=f"{names}, chat, local, or your own as module:attr (see below)",
    )
    title = "--policy chat: a model behind an OpenAI-compatible endpoint plays; local: a checkpoint, on this machine"
    option_arguments(command, plugs.PlayerOptions, title)
    _add_amounts(command)
    command.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="for traces.jsonl, summary.json and run.json; with several ids or policies, of DIR/ID/POLICY",
    )
    command.add_argument("--quiet", action="store_true", help="no progress and no notes on stderr")


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how much is played")
    amount = group.add_mutually_exclusive_group()
    amount.add_argument("--episodes", type=at_least(1), metavar="N", help="how many (default: each question once)")
    amount.add_argument("--samples", type=at_least(1), metavar="K", help="of each question, each with its own seed (1)")
    group.add_argument("--seed", type=int, default=0, metavar="S", help="episode i has the seed S + i (default 0)")
    group.add_argument("--max-minutes", type=above_zero, metavar="M", help="begin no episode after so long")
    group.add_argument(
        "--max-tokens", type=at_least(1), metavar="N", help="nor when the models have used so many tokens"
    )
    group.add_argument(
        "--max-cost", type=above_zero, metavar="USD", help="nor when so much was spent; counts all starts"
    )
    group.add_argument(
        "--unscored-alarm",
        type=a_share,
        default=UNSCORED_ALARM,
        metavar="SHARE",
        help=f"a larger share of unscored episodes is cried out (default {UNSCORED_ALARM})",
    )
    group.add_argument(
        "--retry-unscored", action="store_true", help="play those again that an outage ended in an earlier start"
    )


def _score(add: Add) -> None:
    command = add(
        "score",
        "Scores saved traces again and prints their summary.",
        "  mtr-env score runs/oracle\n  mtr-env score runs/oracle/traces.jsonl --rubric f1 --json f1.json",
    )
    command.add_argument("file", metavar="FILE|DIR", help="a file of traces, or the --out folder of a run")
    command.add_argument("--rubric", metavar="NAME", help=f"{', '.join(RUBRICS)} (default: the one of each trace)")
    command.add_argument("--json", metavar="OUT", help="also write the summary to this file")


def _compare(add: Add) -> None:
    parser = add(
        "compare",
        "Compares runs of the same questions, pair by pair.",
        "  mtr-env compare runs/base runs/trained\n"
        "  mtr-env compare runs/base runs/trained --noise-floor runs/base runs/base-seed-1000 --json compared.json",
        legends.COMPARE,
    )
    kinds = "the --out folder of a run, or a file of traces"
    parser.add_argument("runs", nargs="+", metavar="DIR|FILE", help=f"{kinds}; each is compared with the first")
    parser.add_argument("--rubric", metavar="NAME", help=f"{', '.join(RUBRICS)} (default: the one of each trace)")
    parser.add_argument(
        "--noise-floor", nargs="+", metavar="DIR|FILE", help="runs of one policy with different seeds (see below)"
    )
    parser.add_argument("--json", metavar="OUT", help="also write the comparisons to this file")


def _report(add: Add) -> None:
    command = add(
        "report",
        "Writes runs as one HTML file: measures, charts, every episode, two of them side by side.",
        "  mtr-env report runs/oracle\n  mtr-env report runs/base runs/trained --out compared.html",
        "\n\nThe file connects to nothing and needs nothing beside it; open it in a browser of 2024 or later.",
    )
    command.add_argument("runs", nargs="+", metavar="DIR|FILE", help="the --out folder of a run, or a file of traces")
    command.add_argument("--out", default="report.html", metavar="FILE", help="where to write it (default report.html)")
    command.add_argument("--open", action="store_true", help="show it in the browser at once")
    command.add_argument("--rubric", metavar="NAME", help=f"{', '.join(RUBRICS)} (default: the one of each trace)")


def _audit(add: Add) -> None:
    command = add(
        "audit",
        "Proves each question solvable or says why not; measures leaks and short cuts.",
        "  mtr-env audit MTR-HotpotQA-v0 --source dev.jsonl --json audit.json\n"
        "  mtr-env audit MTR-Synthetic-v0 --hops 4 --limit 200\n"
        "  mtr-env audit MTR-Synthetic-v0 --limit 50 --actor llm --tool-model tiny \\\n"
        "    --tool-base-url http://127.0.0.1:8000/v1",
        legends.AUDIT,
    )
    world_arguments(command, REQUIRED)
    tool_arguments(command, tool_actor="--actor")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="question i has the seed S + i (default 0)")
    command.add_argument("--json", metavar="OUT", help="also write the report to this file")
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _serve(add: Add) -> None:
    parser = add(
        "serve",
        "Serves episodes over the network, for OpenEnv clients or for agents that speak MCP, until it is stopped.",
        "  mtr-env serve MTR-Synthetic-v0 --port 8000\n"
        "  mtr-env serve MTR-HotpotQA-v0 --split sample --host 0.0.0.0 --token-variable MTR_TOKEN\n"
        "  mtr-env serve MTR-Synthetic-v0 --mcp --out runs/agents\n"
        "  mtr-env serve MTR-Synthetic-v0 --mcp --stdio --seed 7",
    )
    world_arguments(parser, REQUIRED)
    tool_arguments(parser)
    group = parser.add_argument_group("the server")
    group.add_argument("--host", metavar="ADDRESS", help="listen there (127.0.0.1: this machine only)")
    group.add_argument("--port", type=at_least(0), metavar="N", help="listen there (8000); 0 takes a free one")
    group.add_argument("--token-variable", metavar="NAME", help="environment variable with the token clients must send")
    group.add_argument("--token-file", metavar="FILE", help="a file with that token, in place of the variable")
    group.add_argument("--max-sessions", type=at_least(1), metavar="N", help="sessions at a time (256)")
    group.add_argument("--idle-seconds", type=at_least(1), metavar="N", help="then a silent session ends (600)")
    group.add_argument("--out", metavar="DIR", help="finished episodes go to traces.jsonl in this new folder")
    group = parser.add_argument_group("--mcp: each session of an agent is one episode")
    group.add_argument("--mcp", action="store_true", help="speak MCP (streamable HTTP at /mcp) in place of OpenEnv")
    group.add_argument("--stdio", action="store_true", help="over standard input and output, for the agent's own child")
    group.add_argument("--question-id", metavar="ID", help="this question (else the session's seed picks one)")
    group.add_argument("--seed", type=at_least(0), metavar="S", help="session n, from 0, has the seed S + n (0)")


def _lint_tools(add: Add) -> None:
    parser = add(
        "lint-tools",
        "Says what each framework would refuse, hide, drop or change of tools.",
        "  mtr-env lint-tools MTR-HotpotQA-v0\n"
        "  mtr-env lint-tools MTR-Synthetic-v0 --limit 50 --framework trl,verl\n"
        "  mtr-env lint-tools tools.json --framework openai --strict",
        legends.LINT,
    )
    world, _ = question_arguments(parser, OPTIONAL, ", or a JSON file of tools in OpenAI's form")
    world.add_argument("--world", metavar="DIR", help="a folder of `mtr-env world build`, instead of all these")
    world.add_argument("--question-id", metavar="ID", help="the tools of this question only")
    tool_arguments(parser)
    parser.add_argument(
        "--framework", type=list_of(str), default=[], metavar="NAME,...", help=f"some of {', '.join(FRAMEWORKS)} (all)"
    )
    parser.add_argument("--strict", action="store_true", help="end with 1 for any finding, also what is only dropped")
    parser.add_argument("--json", metavar="OUT", help="also write all findings to this file")


def _world(add: Add) -> None:
    parser = add(
        "world",
        "Freezes a world into one folder whose hash says what is in it; proves that it is as it was built.",
        "  mtr-env world build MTR-HotpotQA-v0 --source dev.jsonl --out worlds/hotpotqa\n"
        "  mtr-env world verify worlds/hotpotqa\n"
        "  mtr-env run MTR-HotpotQA-v0 --world worlds/hotpotqa --policy chaser --out runs/chaser",
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="build|verify|info")

    def part(name: str, what: str, example: str, more: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=what, epilog=f"Examples:\n{example}{more}")

    command = part(
        "build",
        "Freezes questions and tools (and recorded responses) into a new folder.",
        "  mtr-env world build MTR-HotpotQA-v0 --source dev.jsonl --out worlds/hotpotqa\n"
        "  mtr-env world build MTR-Synthetic-v0 --hops 4 --limit 200 --out worlds/four\n"
        "  mtr-env world build MTR-MuSiQue-v0 --split sample --tool-actor my_module:Actor \\\n"
        "    --record-policy oracle,chaser --out worlds/mine",
        legends.FREEZING,
    )
    question_arguments(command, REQUIRED.replace(", or --world", ""))
    tool_arguments(command)
    command.add_argument(
        "--record-policy", type=list_of(str), default=[], metavar="NAME,...", help="whose calls to record (see below)"
    )
    command.add_argument("--out", required=True, metavar="DIR", help="the folder; it must be empty or not exist")
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    command = part(
        "verify",
        "Checks every byte and plays the oracle again; ends with 1 and says what differs.",
        "  mtr-env world verify worlds/hotpotqa",
    )
    command.add_argument("dir", metavar="DIR", help="a folder of `mtr-env world build`")
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    command = part("info", "Says what a folder holds.", "  mtr-env world info worlds/hotpotqa")
    command.add_argument("dir", metavar="DIR", help="a folder of `mtr-env world build`")
