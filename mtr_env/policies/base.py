"""What a policy is: chat messages and tools in, action text out."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from msgspec.structs import replace

from mtr_env.question import Question
from mtr_env.trace import Trace

Messages = Sequence[Mapping[str, str]]
"""The conversation so far: system, user (the question), then assistant (action) and user (observation) in turn."""
Tools = Sequence[Mapping[str, Any]]
"""The question's tools in OpenAI form."""


@runtime_checkable
class Policy(Protocol):
    """Plays: reads the conversation and writes the next action. Any callable of this form is a policy."""

    def __call__(self, messages: Messages, tools: Tools) -> str:
        """The text of the next action, in the environment's grammar."""


class AsyncPolicy(Protocol):
    """A policy that waits for something (a model's endpoint): an ``async`` function or callable of the same form.

    Many of its episodes are played at once (:func:`~mtr_env.rollout.aplay_many`, ``mtr-env run``). It raises
    :class:`~mtr_env.errors.InfrastructureError` when what it asks cannot answer: the episode then ends unscored.
    """

    def __call__(self, messages: Messages, tools: Tools) -> Awaitable[str]:
        """The text of the next action, in the environment's grammar."""


@runtime_checkable
class EpisodicPolicy(Protocol):
    """A policy that needs a fresh player for each episode: one with memory, with randomness, or with knowledge that the
    messages do not hold. The trace is the episode as it begins. Its question comes without gold, unless the policy says
    that it ``sees_gold = True`` (the oracle, the exploits that the reward is tested with)."""

    def for_episode(self, trace: Trace) -> Policy:
        """The player of one episode."""


class AsyncEpisodicPolicy(Protocol):
    """As :class:`EpisodicPolicy`, with players that have to be awaited; the attribute says so."""

    asynchronous: bool

    def for_episode(self, trace: Trace) -> AsyncPolicy:
        """The player of one episode."""


AnyPolicy = Policy | EpisodicPolicy | AsyncPolicy | AsyncEpisodicPolicy


def is_async(policy: AnyPolicy) -> bool:
    """Whether a policy's actions have to be awaited."""
    return (
        getattr(policy, "asynchronous", False)
        or inspect.iscoroutinefunction(policy)
        or inspect.iscoroutinefunction(type(policy).__call__)
    )


def player(policy: Policy | EpisodicPolicy, trace: Trace) -> Policy:
    """Who plays the episode that begins with ``trace``."""
    found: Policy = any_player(policy, trace)
    return found


def any_player(policy: AnyPolicy, trace: Trace) -> Any:
    """As :func:`player`, for policies of every form."""
    if not hasattr(policy, "for_episode"):
        return policy
    return policy.for_episode(trace if getattr(policy, "sees_gold", False) else without_gold(trace))


def without_gold(trace: Trace) -> Trace:
    """The trace with a question that holds what its ToolActor sees and no more: no answer, no evidence."""
    view = trace.question.view()
    question = Question(view.id, view.text, "", paragraphs=view.paragraphs, facts=view.facts)
    return replace(trace, question=question)
