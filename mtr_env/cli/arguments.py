"""What the arguments of the commands share: how a value is read, and the groups that choose questions and tools."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from mtr_env import plugs
from mtr_env.grammar import GRAMMARS
from mtr_env.registration import ENV_IDS, SYNTHETIC
from mtr_env.reward import RUBRICS
from mtr_env.worlds.synthetic_words import SPLITS

T = TypeVar("T")


class UsageError(Exception):
    """What the user has to change; the message is all that is printed."""


class Parser(argparse.ArgumentParser):
    """One line for an error, and no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As that of argparse; what is unknown is the error of the command, whose own help says what it takes."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._of(found).error(f"unrecognized arguments: {' '.join(unknown)}")
        return found

    def _of(self, found: argparse.Namespace) -> Parser:
        """The parser of the command that was chosen."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen: Parser = action.choices[getattr(found, action.dest)]
                return chosen._of(found)
        return self

    def error(self, message: str) -> NoReturn:
        """Raises :class:`UsageError`, with where to read on."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def an_id(text: str) -> str:
    """An environment's id."""
    if text not in ENV_IDS:
        lower = {env_id.lower(): env_id for env_id in ENV_IDS}
        near = difflib.get_close_matches(text.lower(), lower, n=1, cutoff=0.5)
        hint = f" Did you mean {lower[near[0]]!r}?" if near else ""
        raise argparse.ArgumentTypeError(f"unknown id {text!r}; known are {', '.join(ENV_IDS)}.{hint}")
    return text


def at_least(least: int) -> Callable[[str], int]:
    """Whole numbers of at least so much."""

    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, found {text!r}")
        return int(text)

    return number


def above_zero(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return number


def a_share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, found {text!r}")
    return share


def list_of(item: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Several of them, with commas between."""

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
        return an_id(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"there is no file {text!r}; {error}") from None


def question_arguments(
    parser: argparse.ArgumentParser, which: str, or_file: str = "", several: bool = False
) -> tuple[Group, Group]:
    """What chooses questions; returns the groups of all ids and of the synthetic one. ``or_file`` says which file may
    stand in the place of an id, ``several`` that ids may be given with commas between them."""
    kind: Callable[[str], Any]
    kind, name = (_id_or_file, "ID|FILE") if or_file else (list_of(an_id), "ID,...") if several else (an_id, "ID")
    parser.add_argument("id", type=kind, metavar=name, help=f"one of {', '.join(ENV_IDS)}{or_file}")
    world = parser.add_argument_group("which questions", which)
    world.add_argument("--source", metavar="FILE", help="a local file or folder in one of the upstream layouts")
    world.add_argument("--split", metavar="NAME", help=_SPLITS)
    world.add_argument("--corpus", metavar="FILE", help='pages to search: JSONL of {"title": ..., "text": ...}')
    world.add_argument("--limit", type=at_least(1), metavar="N", help=f"the first N questions only ({SYNTHETIC}: 1000)")
    knobs = parser.add_argument_group(f"knobs of {SYNTHETIC}")
    knobs.add_argument(
        "--hops", type=list_of(int), metavar="N,...", help="reasoning steps of a question, some of 2,3,4"
    )
    knobs.add_argument("--distractors", type=at_least(0), metavar="N", help="paragraphs beside the gold ones (6)")
    knobs.add_argument("--extra-tools", type=at_least(0), metavar="N", help="distractor tools of a toolset (3)")
    knobs.add_argument("--families", type=list_of(str), metavar="NAME,...", help="bridge, comparison, count, ... (all)")
    knobs.add_argument("--world-seed", type=int, metavar="N", help="another number, another world (0)")
    return world, knobs


def world_arguments(parser: argparse.ArgumentParser, which: str, several: bool = False) -> None:
    """What chooses the world and its rules."""
    world, knobs = question_arguments(parser, which, several=several)
    world.add_argument("--world", metavar="DIR", help="a folder of `mtr-env world build`, instead of all these")
    world.add_argument("--max-steps", type=at_least(1), default=8, metavar="N", help="steps of an episode (default 8)")
    world.add_argument("--rubric", default="mtr-v0", metavar="NAME", help=f"{', '.join(RUBRICS)} (default mtr-v0)")
    world.add_argument("--grammar", default="hermes", metavar="NAME", help=f"{', '.join(GRAMMARS)} (default hermes)")
    knobs.add_argument("--noise", type=_noise, metavar="P", help="0.2, or kinds: tool_failure=0.1,not_found=0.05 (0)")


def option_arguments(parser: argparse.ArgumentParser, kind: type[Any], title: str, **others: str) -> None:
    """The fields of an options class of :mod:`mtr_env.plugs`; ``others`` are second names of some."""
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(kind):
        names, shown = [plugs.flag(field.name), *filter(None, [others.get(field.name)])], field.metadata["help"]
        if field.type == "bool":
            group.add_argument(*names, action="store_true", help=shown)
            continue
        shown += "" if field.default is None else f" (default {field.default})"
        read = at_least(1) if field.type == "int" else str
        group.add_argument(
            *names, dest=field.name, type=read, default=field.default, metavar=field.metadata["metavar"], help=shown
        )


def tool_arguments(parser: argparse.ArgumentParser, **others: str) -> None:
    """Who writes the tools, and who plays them."""
    option_arguments(parser, plugs.ToolOptions, "who writes the tools, and who plays them", **others)


OPTIONAL = "A data set's bundled sample, unless --split or --source says otherwise."
REQUIRED = "Required for a data set: --split or --source (sample is not the benchmark), or --world."
