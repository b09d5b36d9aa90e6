"""The arguments of the ``mtr-env`` command."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from mtr_env import __version__, plugs
from mtr_env.cli import legends
from mtr_env.evaluate.folder import UNSCORED_ALARM
from mtr_env.grammar import GRAMMARS
from mtr_env.lint_tools import FRAMEWORKS
from mtr_env.policies import POLICY_NAMES
from mtr_env.registration import ENV_IDS, SYNTHETIC
from mtr_env.reward import RUBRICS
from mtr_env.worlds.synthetic_words import SPLITS

T = TypeVar("T")


class UsageError(Exception):
    """What the user has to change; the message is all that is printed."""


class _Parser(argparse.ArgumentParser):
    """One line for an error, and no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As that of argparse; what is unknown is the error of the command, whose own help says what it takes."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._of(found).error(f"unrecognized arguments: {' '.join(unknown)}")
        return found

    def _of(self, found: argparse.Namespace) -> _Parser:
        """The parser of the command that was chosen."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen: _Parser = action.choices[getattr(found, action.dest)]
                return chosen._of(found)
        return self

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def _env_id(text: str) -> str:
    if text not in ENV_IDS:
        lower = {env_id.lower(): env_id for env_id in ENV_IDS}
        near = difflib.get_close_matches(text.lower(), lower, n=1, cutoff=0.5)
        hint = f" Did you mean {lower[near[0]]!r}?" if near else ""
        raise argparse.ArgumentTypeError(f"unknown id {text!r}; known are {', '.join(ENV_IDS)}.{hint}")
    return text


def _least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, found {text!r}")
        return int(text)

    return number


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return number


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, found {text!r}")
    return share


def _list(item: Callable[[str], T]) -> Callable[[str], list[T]]:
    def items(text: str) -> list[T]:
        try:
            return [item(part.strip()) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a list such as 2,3, found {text!r}") from None

    return items


def _noise(text: str) -> float | dict[str, float]:
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.split("=", 1) for part in text.split(",")]
        return {kind.strip(): float(probability) for kind, probability in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected 0.2 or tool_failure=0.1,partial=0.05, found {text!r}") from None


_SPLITS = (
    "sample (bundled), or train or validation (from the hub; Bamboogle: validation, which is upstream's test, its only "
    f"split); {SYNTHETIC}: {', '.join(SPLITS)}"
)


Group = argparse._ArgumentGroup


def _id_or_file(text: str) -> str:
    if Path(text).is_file():
        return text
    try:
        return _env_id(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"there is no file {text!r}; {error}") from None


def _question_arguments(
    parser: argparse.ArgumentParser, which: str, or_file: str = "", several: bool = False
) -> tuple[Group, Group]:
    """What chooses questions; returns the groups of all ids and of the synthetic one. ``or_file`` says which file may
    stand in the place of an id, ``several`` that ids may be given with commas between them."""
    kind: Callable[[str], Any]
    kind, name = (_id_or_file, "ID|FILE") if or_file else (_list(_env_id), "ID,...") if several else (_env_id, "ID")
    parser.add_argument("id", type=kind, metavar=name, help=f"one of {', '.join(ENV_IDS)}{or_file}")
    world = parser.add_argument_group("which questions", which)
    world.add_argument("--source", metavar="FILE", help="a local file or folder in one of the upstream layouts")
    world.add_argument("--split", metavar="NAME", help=_SPLITS)
    world.add_argument("--corpus", metavar="FILE", help='pages to search: JSONL of {"title": ..., "text": ...}')
    world.add_argument("--limit", type=_least(1), metavar="N", help=f"the first N questions only ({SYNTHETIC}: 1000)")
    knobs = parser.add_argument_group(f"knobs of {SYNTHETIC}")
    knobs.add_argument("--hops", type=_list(int), metavar="N,...", help="reasoning steps of a question, some of 2,3,4")
    knobs.add_argument("--distractors", type=_least(0), metavar="N", help="paragraphs beside the gold ones (6)")
    knobs.add_argument("--extra-tools", type=_least(0), metavar="N", help="distractor tools of a toolset (3)")
    knobs.add_argument("--families", type=_list(str), metavar="NAME,...", help="bridge, comparison, count, ... (all)")
    knobs.add_argument("--world-seed", type=int, metavar="N", help="another number, another world (0)")
    return world, knobs


def _world_arguments(parser: argparse.ArgumentParser, which: str, several: bool = False) -> None:
    world, knobs = _question_arguments(parser, which, several=several)
    world.add_argument("--world", metavar="DIR", help="a folder of `mtr-env world build`, instead of all these")
    world.add_argument("--max-steps", type=_least(1), default=8, metavar="N", help="steps of an episode (default 8)")
    world.add_argument("--rubric", default="mtr-v0", metavar="NAME", help=f"{', '.join(RUBRICS)} (default mtr-v0)")
    world.add_argument("--grammar", default="hermes", metavar="NAME", help=f"{', '.join(GRAMMARS)} (default hermes)")
    knobs.add_argument("--noise", type=_noise, metavar="P", help="0.2, or kinds: tool_failure=0.1,not_found=0.05 (0)")


def _option_arguments(parser: argparse.ArgumentParser, kind: type[Any], title: str, **others: str) -> None:
    """The fields of an options class of :mod:`mtr_env.plugs`; ``others`` are second names of some."""
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(kind):
        names, shown = [plugs.flag(field.name), *filter(None, [others.get(field.name)])], field.metadata["help"]
        if field.type == "bool":
            group.add_argument(*names, action="store_true", help=shown)
            continue
        shown += "" if field.default is None else f" (default {field.default})"
        read = _least(1) if field.type == "int" else str
        group.add_argument(
            *names, dest=field.name, type=read, default=field.default, metavar=field.metadata["metavar"], help=shown
        )


def _tool_arguments(parser: argparse.ArgumentParser, **others: str) -> None:
    _option_arguments(parser, plugs.ToolOptions, "who writes the tools, and who plays them", **others)


_OPTIONAL = "A data set's bundled sample, unless --split or --source says otherwise."
_REQUIRED = "Required for a data set: --split or --source (sample is not the benchmark), or --world."


def build() -> argparse.ArgumentParser:
    """The parser of the whole command; what it parses has ``command``, the name of the one chosen."""
    parser = _Parser(
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

    add("list", "Lists the environments.", "  mtr-env list")
    command = add(
        "play",
        "Plays one question yourself, in the terminal.",
        "  mtr-env play MTR-HotpotQA-v0\n  mtr-env play MTR-Synthetic-v0 --hops 3 --seed 7",
    )
    _world_arguments(command, _OPTIONAL)
    command.add_argument("--show-prompt", action="store_true", help="show the text that a model would see")
    command.add_argument("--question-id", metavar="ID", help="this question (else the seed picks one)")
    command.add_argument("--seed", type=int, metavar="N", help="the episode's seed (random unless given)")
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
    _world_arguments(command, _REQUIRED, several=True)
    _tool_arguments(command)
    names = ", ".join(POLICY_NAMES)
    command.add_argument(
        "--policy",
        required=True,
        type=_list(str),
        metavar="NAME,...",
        help=f"{names}, chat, local, or your own as module:attr (see below)",
    )
    title = "--policy chat: a model behind an OpenAI-compatible endpoint plays; local: a checkpoint, on this machine"
    _option_arguments(command, plugs.PlayerOptions, title)
    _add_amounts(command)
    command.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="for traces.jsonl, summary.json and run.json; with several ids or policies, of DIR/ID/POLICY",
    )
    command.add_argument("--quiet", action="store_true", help="no progress and no notes on stderr")
    command = add(
        "score",
        "Scores saved traces again and prints their summary.",
        "  mtr-env score runs/oracle\n  mtr-env score runs/oracle/traces.jsonl --rubric f1 --json f1.json",
    )
    command.add_argument("file", metavar="FILE|DIR", help="a file of traces, or the --out folder of a run")
    command.add_argument("--rubric", metavar="NAME", help=f"{', '.join(RUBRICS)} (default: the one of each trace)")
    command.add_argument("--json", metavar="OUT", help="also write the summary to this file")
    _add_compare(
        add(
            "compare",
            "Compares runs of the same questions, pair by pair.",
            "  mtr-env compare runs/base runs/trained\n"
            "  mtr-env compare runs/base runs/trained --noise-floor runs/base runs/base-seed-1000 --json compared.json",
            legends.COMPARE,
        )
    )
    command = add(
        "report",
        "Writes runs as one HTML file: measures, charts, every episode, two of them side by side.",
        "  mtr-env report runs/oracle\n  mtr-env report runs/base runs/trained --out compared.html",
        "\n\nThe file connects to nothing and needs nothing beside it; open it in a browser of 2024 or later.",
    )
    command.add_argument("runs", nargs="+", metavar="DIR|FILE", help="the --out folder of a run, or a file of traces")
    command.add_argument("--out", default="report.html", metavar="FILE", help="where to write it (default report.html)")
    command.add_argument("--rubric", metavar="NAME", help=f"{', '.join(RUBRICS)} (default: the one of each trace)")
    command = add(
        "audit",
        "Proves each question solvable or says why not; measures leaks and short cuts.",
        "  mtr-env audit MTR-HotpotQA-v0 --source dev.jsonl --json audit.json\n"
        "  mtr-env audit MTR-Synthetic-v0 --hops 4 --limit 200\n"
        "  mtr-env audit MTR-Synthetic-v0 --limit 50 --actor llm --tool-model tiny \\\n"
        "    --tool-base-url http://127.0.0.1:8000/v1",
        legends.AUDIT,
    )
    _world_arguments(command, _REQUIRED)
    _tool_arguments(command, tool_actor="--actor")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="question i has the seed S + i (default 0)")
    command.add_argument("--json", metavar="OUT", help="also write the report to this file")
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    _add_serve(
        add(
            "serve",
            "Serves episodes over the network, for OpenEnv clients or for agents that speak MCP, until it is stopped.",
            "  mtr-env serve MTR-Synthetic-v0 --port 8000\n"
            "  mtr-env serve MTR-HotpotQA-v0 --split sample --host 0.0.0.0 --token-variable MTR_TOKEN\n"
            "  mtr-env serve MTR-Synthetic-v0 --mcp --out runs/agents\n"
            "  mtr-env serve MTR-Synthetic-v0 --mcp --stdio --seed 7",
        )
    )
    _add_lint_tools(
        add(
            "lint-tools",
            "Says what each framework would refuse, hide, drop or change of tools.",
            "  mtr-env lint-tools MTR-HotpotQA-v0\n"
            "  mtr-env lint-tools MTR-Synthetic-v0 --limit 50 --framework trl,verl\n"
            "  mtr-env lint-tools tools.json --framework openai --strict",
            legends.LINT,
        )
    )
    _add_world(
        add(
            "world",
            "Freezes a world into one folder whose hash says what is in it; proves that it is as it was built.",
            "  mtr-env world build MTR-HotpotQA-v0 --source dev.jsonl --out worlds/hotpotqa\n"
            "  mtr-env world verify worlds/hotpotqa\n"
            "  mtr-env run MTR-HotpotQA-v0 --world worlds/hotpotqa --policy chaser --out runs/chaser",
        )
    )
    return parser


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how much is played")
    amount = group.add_mutually_exclusive_group()
    amount.add_argument("--episodes", type=_least(1), metavar="N", help="how many (default: each question once)")
    amount.add_argument("--samples", type=_least(1), metavar="K", help="of each question, each with its own seed (1)")
    group.add_argument("--seed", type=int, default=0, metavar="S", help="episode i has the seed S + i (default 0)")
    group.add_argument("--max-minutes", type=_above_zero, metavar="M", help="begin no episode after so long")
    group.add_argument("--max-tokens", type=_least(1), metavar="N", help="nor when the models have used so many tokens")
    group.add_argument(
        "--max-cost", type=_above_zero, metavar="USD", help="nor when so much was spent; counts all starts"
    )
    group.add_argument(
        "--unscored-alarm",
        type=_share,
        default=UNSCORED_ALARM,
        metavar="SHARE",
        help=f"a larger share of unscored episodes is cried out (default {UNSCORED_ALARM})",
    )
    group.add_argument(
        "--retry-unscored", action="store_true", help="play those again that an outage ended in an earlier start"
    )


def _add_compare(parser: argparse.ArgumentParser) -> None:
    kinds = "the --out folder of a run, or a file of traces"
    parser.add_argument("runs", nargs="+", metavar="DIR|FILE", help=f"{kinds}; each is compared with the first")
    parser.add_argument("--rubric", metavar="NAME", help=f"{', '.join(RUBRICS)} (default: the one of each trace)")
    parser.add_argument(
        "--noise-floor", nargs="+", metavar="DIR|FILE", help="runs of one policy with different seeds (see below)"
    )
    parser.add_argument("--json", metavar="OUT", help="also write the comparisons to this file")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _world_arguments(parser, _REQUIRED)
    _tool_arguments(parser)
    group = parser.add_argument_group("the server")
    group.add_argument("--host", metavar="ADDRESS", help="listen there (127.0.0.1: this machine only)")
    group.add_argument("--port", type=_least(0), metavar="N", help="listen there (8000); 0 takes a free one")
    group.add_argument("--token-variable", metavar="NAME", help="environment variable with the token clients must send")
    group.add_argument("--token-file", metavar="FILE", help="a file with that token, in place of the variable")
    group.add_argument("--max-sessions", type=_least(1), metavar="N", help="sessions at a time (256)")
    group.add_argument("--idle-seconds", type=_least(1), metavar="N", help="then a silent session ends (600)")
    group.add_argument("--out", metavar="DIR", help="finished episodes go to traces.jsonl in this new folder")
    group = parser.add_argument_group("--mcp: each session of an agent is one episode")
    group.add_argument("--mcp", action="store_true", help="speak MCP (streamable HTTP at /mcp) in place of OpenEnv")
    group.add_argument("--stdio", action="store_true", help="over standard input and output, for the agent's own child")
    group.add_argument("--question-id", metavar="ID", help="this question (else the session's seed picks one)")
    group.add_argument("--seed", type=_least(0), metavar="S", help="session n, from 0, has the seed S + n (0)")


def _add_lint_tools(parser: argparse.ArgumentParser) -> None:
    world, _ = _question_arguments(parser, _OPTIONAL, ", or a JSON file of tools in OpenAI's form")
    world.add_argument("--world", metavar="DIR", help="a folder of `mtr-env world build`, instead of all these")
    world.add_argument("--question-id", metavar="ID", help="the tools of this question only")
    _tool_arguments(parser)
    parser.add_argument(
        "--framework", type=_list(str), default=[], metavar="NAME,...", help=f"some of {', '.join(FRAMEWORKS)} (all)"
    )
    parser.add_argument("--strict", action="store_true", help="end with 1 for any finding, also what is only dropped")
    parser.add_argument("--json", metavar="OUT", help="also write all findings to this file")


def _add_world(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True, metavar="build|verify|info")

    def add(name: str, what: str, example: str, more: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=what, epilog=f"Examples:\n{example}{more}")

    command = add(
        "build",
        "Freezes questions and tools (and recorded responses) into a new folder.",
        "  mtr-env world build MTR-HotpotQA-v0 --source dev.jsonl --out worlds/hotpotqa\n"
        "  mtr-env world build MTR-Synthetic-v0 --hops 4 --limit 200 --out worlds/four\n"
        "  mtr-env world build MTR-MuSiQue-v0 --split sample --tool-actor my_module:Actor \\\n"
        "    --record-policy oracle,chaser --out worlds/mine",
        legends.FREEZING,
    )
    _question_arguments(command, _REQUIRED.replace(", or --world", ""))
    _tool_arguments(command)
    command.add_argument(
        "--record-policy", type=_list(str), default=[], metavar="NAME,...", help="whose calls to record (see below)"
    )
    command.add_argument("--out", required=True, metavar="DIR", help="the folder; it must be empty or not exist")
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    command = add(
        "verify",
        "Checks every byte and plays the oracle again; ends with 1 and says what differs.",
        "  mtr-env world verify worlds/hotpotqa",
    )
    command.add_argument("dir", metavar="DIR", help="a folder of `mtr-env world build`")
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    command = add("info", "Says what a folder holds.", "  mtr-env world info worlds/hotpotqa")
    command.add_argument("dir", metavar="DIR", help="a folder of `mtr-env world build`")
