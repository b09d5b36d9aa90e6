"""Built-in players, none of which needs a model.

``oracle`` (plans from the gold evidence), ``random-valid`` (random calls that keep the contract), ``first-search`` (one
search, one page, one guess), ``chaser`` (every tool on every name), ``no-tool`` (guesses from the question): by name
with :func:`make_policy`. ``mtr_env.policies.replay.Replay`` plays saved traces, ``mtr_env.policies.human.Human`` asks
a person, and ``mtr_env.policies.exploits`` holds the players that try to game the reward.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from mtr_env.grammar import Grammar
from mtr_env.policies.base import EpisodicPolicy, Policy
from mtr_env.toolactors.base import ToolActor

POLICY_NAMES = ("oracle", "random-valid", "first-search", "chaser", "no-tool")


def unknown_policy(name: str, known: Sequence[str]) -> str:
    """What is said of a name that is none of the known ones."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown policy {name!r}; expected one of {', '.join(map(repr, known))}.{hint}"


def make_policy(
    name: str,
    grammar: str | Grammar = "hermes",
    *,
    max_steps: int = 8,
    seed: int = 0,
    actor: ToolActor | None = None,
) -> Policy | EpisodicPolicy:
    """The built-in player called ``name``, one of :data:`POLICY_NAMES`. Raises ``ValueError`` for an unknown name.

    ``max_steps`` is the environment's and matters to ``chaser``; ``seed`` matters to ``random-valid``; ``actor`` is the
    environment's ToolActor, against which the oracle plans (the grounded one unless told).
    """
    if name not in POLICY_NAMES:
        raise ValueError(unknown_policy(name, POLICY_NAMES))
    from mtr_env.policies.oracle import Oracle
    from mtr_env.policies.random_valid import RandomValid
    from mtr_env.policies.readers import Chaser, FirstSearchReader, NoToolGuesser

    table: dict[str, Callable[[], Policy | EpisodicPolicy]] = {
        "oracle": lambda: Oracle(grammar, actor),
        "random-valid": lambda: RandomValid(grammar, seed),
        "first-search": lambda: FirstSearchReader(grammar),
        "chaser": lambda: Chaser(grammar, max_steps),
        "no-tool": lambda: NoToolGuesser(grammar),
    }
    return table[name]()
