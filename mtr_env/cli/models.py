"""Tools that a model plays, on the command line: the arguments, and the ToolActor that they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from mtr_env.cli.arguments import UsageError
from mtr_env.llm import ChatClient, Spent
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.cassette import CassetteToolActor
from mtr_env.toolactors.corpus import Corpus
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.ladder import LadderToolActor
from mtr_env.toolactors.llm import LLMToolActor


class Asked(NamedTuple):
    """The ToolActor that was asked for, and how to learn what its client has used (``None`` without a client)."""

    actor: ToolActor
    spent: Callable[[], Spent] | None


def tool_actor(args: argparse.Namespace) -> Asked | None:
    """What ``--tool-actor`` and the arguments beside it say; ``None`` for the default. Raises :class:`UsageError`."""
    kind = args.tool_actor
    if kind in (None, "grounded"):
        for name in ("model", "base_url", "knowledge", "cassette", "prices"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} is for --tool-actor llm or ladder.")
        if args.replay:
            raise UsageError("--replay is for --tool-actor llm or ladder with a --cassette.")
        return None if kind is None else Asked(_grounded(args), None)
    if args.replay and args.cassette is None:
        raise UsageError("--replay needs the --cassette FILE to replay.")
    client = None
    actor: ToolActor | None = None
    if args.model is not None:
        client = ChatClient(args.model, base_url=args.base_url, prices=args.prices)
        actor = LLMToolActor(client, knowledge=args.knowledge or "evidence")
    elif not args.replay:
        raise UsageError(f"--tool-actor {kind} needs --model NAME (and --base-url URL for a server of yours).")
    if args.cassette is not None:
        actor = CassetteToolActor(actor, args.cassette, "replay" if args.replay else "record")
    assert actor is not None
    if kind == "ladder":
        actor = LadderToolActor(_grounded(args), actor)
    return Asked(actor, None if client is None else lambda: client.spent)


def _grounded(args: argparse.Namespace) -> GroundedToolActor:
    return GroundedToolActor(None if args.corpus is None else Corpus.of(args.corpus))
