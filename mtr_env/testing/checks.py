"""What the conformance suites have in common: how a plug is asked, and how what it does wrong is told."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mtr_env.episode import Game
from mtr_env.policies.base import AnyPolicy
from mtr_env.rollout import aplay, wait
from mtr_env.trace import Trace


class NotConforming(AssertionError):
    """What a plug does not do that it should; ``problems`` lists it."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__(f"{what}:\n" + "\n".join(f"- {problem}" for problem in self.problems))


class Stop(BaseException):
    """Ends an episode with an ``error`` that it would record otherwise."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def played(game: Game, policy: AnyPolicy, question_id: str, seed: int) -> Trace:
    """The trace of an episode. What a plug raises is raised, a ToolActor's only as :class:`Stop`, since an episode
    takes anything else for an outage."""
    with asked(f"question {question_id!r} with seed {seed}"):
        try:
            return wait(aplay(game, policy, question_id=question_id, seed=seed))
        except Stop as stop:
            raise stop.error from None


def plug_problems(plug: Any) -> list[str]:
    """What is wrong with a ToolMaker or ToolActor as such."""
    name = getattr(plug, "name", None)
    if not isinstance(name, str) or not name:
        return ["has no name: a text that says in every trace who it is, with the settings that change what it gives."]
    try:
        copied = copy.deepcopy(plug).name
    except Exception as error:  # any: a lock, a socket, a client
        return [f"cannot be copied, which Gymnasium does ({error}); let __deepcopy__ return self."]
    return [] if copied == name else ["has another name when it is copied."]


def name_of(plug: Any) -> str:
    """A plug's name, or that of its function or class."""
    return str(getattr(plug, "name", None) or getattr(plug, "__qualname__", type(plug).__qualname__))


@contextmanager
def asked(what: str) -> Iterator[None]:
    """Adds a note of what was asked to whatever is raised."""
    try:
        yield
    except Exception as error:
        error.add_note(f"mtr-env: this was {what}.")
        raise


def raise_for(what: str, problems: Sequence[str]) -> None:
    """Raises :class:`NotConforming` when there are problems."""
    if problems:
        raise NotConforming(what, problems)
