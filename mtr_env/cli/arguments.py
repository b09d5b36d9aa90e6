"""The arguments of the ``mtr-env`` command."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from mtr_env import __version__
from mtr_env.grammar import GRAMMARS
from mtr_env.policies import POLICY_NAMES
from mtr_env.registration import ENV_IDS, SYNTHETIC
from mtr_env.reward import RUBRICS

T = TypeVar("T")


class UsageError(Exception):
    """What the user has to change; the message is all that is printed."""


class _Parser(argparse.ArgumentParser):
    """One line for an error, and no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

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


def _world_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=_env_id, metavar="ID", help=f"one of {', '.join(ENV_IDS)}")
    world = parser.add_argument_group("which questions")
    world.add_argument("--source", metavar="FILE", help="a local file or folder in one of the upstream layouts")
    world.add_argument("--split", metavar="NAME", help="sample (bundled), train or validation (from the hub), ...")
    world.add_argument("--corpus", metavar="FILE", help='pages to search: JSONL of {"title": ..., "text": ...}')
    world.add_argument("--limit", type=_least(1), metavar="N", help="the first N questions only")
    world.add_argument("--max-steps", type=_least(1), default=8, metavar="N", help="steps of an episode (default 8)")
    world.add_argument("--rubric", default="mtr-v0", metavar="NAME", help=f"{', '.join(RUBRICS)} (default mtr-v0)")
    world.add_argument("--grammar", default="hermes", metavar="NAME", help=f"{', '.join(GRAMMARS)} (default hermes)")
    knobs = parser.add_argument_group(f"knobs of {SYNTHETIC}")
    knobs.add_argument("--hops", type=_list(int), metavar="N,...", help="reasoning steps of a question, some of 2,3,4")
    knobs.add_argument("--distractors", type=_least(0), metavar="N", help="paragraphs beside the gold ones (6)")
    knobs.add_argument("--extra-tools", type=_least(0), metavar="N", help="distractor tools of a toolset (3)")
    knobs.add_argument("--noise", type=_noise, metavar="P", help="0.2, or kinds: tool_failure=0.1,not_found=0.05 (0)")
    knobs.add_argument("--families", type=_list(str), metavar="NAME,...", help="bridge, comparison, count, ... (all)")
    knobs.add_argument("--world-seed", type=int, metavar="N", help="another number, another world (0)")


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

    def add(name: str, what: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=what, epilog=f"Examples:\n{examples}")

    add("list", "Lists the environments.", "  mtr-env list")
    command = add(
        "play",
        "Plays one question yourself, in the terminal.",
        "  mtr-env play MTR-HotpotQA-v0\n  mtr-env play MTR-Synthetic-v0 --hops 3 --seed 7",
    )
    _world_arguments(command)
    command.add_argument("--question-id", metavar="ID", help="this question (else the seed picks one)")
    command.add_argument("--seed", type=int, metavar="N", help="the episode's seed (random unless given)")
    command = add(
        "run",
        "Plays a policy over a world; run the same command again to go on after an interruption.",
        "  mtr-env run MTR-HotpotQA-v0 --split sample --policy oracle --out runs/oracle\n"
        "  mtr-env run MTR-MuSiQue-v0 --source dev.jsonl --policy my_module:MyPolicy --episodes 200 --out runs/mine\n"
        "  mtr-env run MTR-Synthetic-v0 --hops 2,3 --noise 0.1 --policy chaser --episodes 500 --out runs/noisy",
    )
    _world_arguments(command)
    names = ", ".join(POLICY_NAMES)
    command.add_argument("--policy", required=True, metavar="NAME", help=f"{names}, or module:attr for your own")
    command.add_argument("--episodes", type=_least(1), metavar="N", help="how many (default: each question once)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="episode i has the seed S + i (default 0)")
    command.add_argument("--out", required=True, metavar="DIR", help="for traces.jsonl, summary.json and run.json")
    command.add_argument("--quiet", action="store_true", help="no progress and no notes on stderr")
    command = add(
        "score",
        "Scores saved traces again and prints their summary.",
        "  mtr-env score runs/oracle\n  mtr-env score runs/oracle/traces.jsonl --rubric f1 --json f1.json",
    )
    command.add_argument("file", metavar="FILE|DIR", help="a file of traces, or the --out folder of a run")
    command.add_argument("--rubric", metavar="NAME", help=f"{', '.join(RUBRICS)} (default: the one of each trace)")
    command.add_argument("--json", metavar="OUT", help="also write the summary to this file")
    command = add(
        "audit",
        "Proves each question solvable or says why not; measures leaks, responses and short cuts.",
        "  mtr-env audit MTR-HotpotQA-v0 --source dev.jsonl --json audit.json\n"
        "  mtr-env audit MTR-Synthetic-v0 --hops 4 --limit 200",
    )
    _world_arguments(command)
    command.add_argument("--seed", type=int, default=0, metavar="S", help="question i has the seed S + i (default 0)")
    command.add_argument("--json", metavar="OUT", help="also write the report to this file")
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser
