"""The episode loop: a policy plays an environment, and the trace is what remains."""

from __future__ import annotations

import inspect

from mtr_env.env import MTREnv
from mtr_env.errors import MTRError
from mtr_env.policies.base import EpisodicPolicy, Policy, player
from mtr_env.trace import Trace


class NotAnAction(MTRError, TypeError):
    """A policy returned something else than a string."""


def play(env: MTREnv, policy: Policy | EpisodicPolicy, *, question_id: str | None = None, seed: int = 0) -> Trace:
    """Plays one episode to its end and returns its trace.

    ``question_id`` picks the question (without it, the seed does). Raises what the policy raises,
    :class:`NotAnAction` when its action is not a string, and ``UnknownQuestionError``.
    """
    _, info = env.reset(seed=seed, options=None if question_id is None else {"question_id": question_id})
    act = player(policy, env.snapshot())
    messages, tools = list(info["messages"]), info["tools"]
    while True:
        action = act(messages, tools)
        if not isinstance(action, str):
            raise _not_an_action(act, action)
        observation, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            trace: Trace = info["trace"]
            return trace
        messages += [{"role": "assistant", "content": action}, {"role": "user", "content": observation}]


def _not_an_action(policy: object, action: object) -> NotAnAction:
    name = getattr(policy, "__qualname__", type(policy).__qualname__)
    if inspect.iscoroutine(action):
        action.close()  # nobody will await it
    found = f"{type(action).__name__}: {repr(action)[:80]}"
    return NotAnAction(f"The policy {name} must return the text of its action, a str; it returned {found}.")
