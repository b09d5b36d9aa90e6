"""What a policy is: chat messages and tools in, action text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@runtime_checkable
class EpisodicPolicy(Protocol):
    """A policy that needs a fresh player for each episode: one with memory, with randomness, or with knowledge that the
    messages do not hold. The trace is the episode as it begins. Its question comes without gold, unless the policy says
    that it ``sees_gold = True`` (the oracle, the exploits that the reward is tested with)."""

    def for_episode(self, trace: Trace) -> Policy:
        """The player of one episode."""


def player(policy: Policy | EpisodicPolicy, trace: Trace) -> Policy:
    """Who plays the episode that begins with ``trace``."""
    if not isinstance(policy, EpisodicPolicy):
        return policy
    return policy.for_episode(trace if getattr(policy, "sees_gold", False) else without_gold(trace))


def without_gold(trace: Trace) -> Trace:
    """The trace with a question that holds what its ToolActor sees and no more: no answer, no evidence."""
    view = trace.question.view()
    question = Question(view.id, view.text, "", paragraphs=view.paragraphs, facts=view.facts)
    return replace(trace, question=question)
