"""Arguments resolved to games, tools and options, and what is said when they do not go together."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mtr_env.cli import tables
from mtr_env.cli.arguments import UsageError
from mtr_env.episode import Game
from mtr_env.llm import ChatClient
from mtr_env.plugs import ToolOptions, Tools
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.transcript import printable

Made = TypeVar("Made")

_SYNTHETIC_OPTIONS = ("hops", "distractors", "extra_tools", "noise", "families", "world_seed")
_OPTIONS = ("source", "split", "corpus", "world", "limit", "max_steps", "rubric", "grammar", *_SYNTHETIC_OPTIONS)
_OPTION = re.compile(rf'\b({"|".join((*_OPTIONS, "tool_actor", "tool_maker"))})=(?:"([^"]*)")?')


@contextmanager
def usage(reword: Callable[[str], str] = str) -> Iterator[None]:
    """What goes wrong while the arguments are resolved is the user's to change: a message, no traceback."""
    try:
        yield
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(reword(str(error))) from error


def as_options(message: str) -> str:
    """A message of the library in words of the command line: ``corpus="FILE"`` is ``--corpus FILE``.

    >>> as_options('Give corpus="FILE", or a tool_actor=; split="sample" has paragraphs.')
    'Give --corpus FILE; --split sample has paragraphs.'
    """
    message = message.replace(", or a tool_actor=", "").replace(" in Python, --source FILE on the command line", "")
    return _OPTION.sub(lambda m: f"--{m[1].replace('_', '-')}" + (f" {m[2]}" if m[2] else ""), message)


def game_of(args: argparse.Namespace, make: Callable[..., Game] = make_game, *, say_which: bool = True) -> Game:
    """The game that the arguments ask for. ``say_which``: a data set's sample is not taken without being asked for."""
    check_which(args, say_which)
    with usage(as_options):
        return make(args.id, **options_of(args))


def tools_of(args: argparse.Namespace) -> Tools:
    """The plugs for tools that the arguments name, those of the user's own among them."""
    _find_modules_here()
    with usage():
        return Tools(fields_of(args, ToolOptions))


def fields_of(args: argparse.Namespace, kind: type[Made]) -> Made:
    """The options class of :mod:`mtr_env.plugs` with what was given."""
    return kind(**{field.name: getattr(args, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


def check_which(args: argparse.Namespace, say_which: bool) -> None:
    """Refuses a data set of which it is not said which questions are meant."""
    if getattr(args, "world", None) is not None:
        return
    if say_which and args.id != SYNTHETIC and args.source is None and args.split is None:
        raise UsageError(
            f"Say which questions of {args.id}: --split sample for the bundled sample, --split validation for the "
            "benchmark (from the hub), or --source FILE; so that nobody takes results on the sample for the benchmark."
        )


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What was given of the options that make a game; refuses those that are for other worlds."""
    options: dict[str, Any] = {name: getattr(args, name, None) for name in _OPTIONS}
    options = {name: value for name, value in options.items() if value is not None}
    foreign = _SYNTHETIC_OPTIONS if args.id != SYNTHETIC else ("source", "corpus")
    for name in foreign:
        if name in options:
            where = f"is for {SYNTHETIC}" if args.id != SYNTHETIC else f"is not for {SYNTHETIC}, which is generated"
            raise UsageError(f"--{name.replace('_', '-')} {where}.")
    return options


def _find_modules_here() -> None:
    """So that a policy or plug of the user's own is found as by `python -m`."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def spent_by(agent: object, tools: Tools) -> list[str]:
    """What the models that play the episodes and the tools have used, those that there are."""
    clients = (("player", agent), ("tools", tools.client))
    return [f"{who} {tables.spent(client.spent)}" for who, client in clients if isinstance(client, ChatClient)]


def note(text: str) -> None:
    """Says something beside the output, on the error stream."""
    print(f"mtr-env: {printable(text)}", file=sys.stderr)
