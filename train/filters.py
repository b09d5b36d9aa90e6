"""Which traces are worth training on: right, consistent, within a budget, and without an answer from nowhere.

A teacher knows more than the policy that learns from it (the oracle has the plan, a model has read the web), so a right
trace may still teach to answer from memory. :func:`leak` finds that: the gold answer in a thought, an argument or the
answer itself before the question or a tool has stated it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mtr_env.grammar import get_grammar
from mtr_env.reward import CONSISTENCY, score
from mtr_env.text import contains_words, normalize_answer
from mtr_env.trace import Step, Trace


@dataclass(frozen=True)
class Filters:
    """What a trace has to be; the defaults keep every scored trace with a reward above 0."""

    least_reward: float = 0.0
    """The reward is above this (``-1``: every scored trace)."""
    correct: bool = False
    """The answer is right (EM)."""
    least_part: float = 0.0
    """Each consistency part that applies is at least this."""
    most_steps: int | None = None
    most_calls: int | None = None
    most_tokens: int | None = None
    """Of the whole conversation, as ``tokens`` counts them."""
    tokens: Callable[[Trace], int] | None = None
    no_leak: bool = False
    """Nothing says the gold answer before the question or a tool has."""

    def reason(self, trace: Trace) -> str | None:
        """Why a trace is left out; ``None`` when it is kept."""
        reward = score(trace)
        if reward.total is None:
            return "unscored"
        if self.correct and reward.parts["answer"] != 1.0:
            return "wrong or no answer"
        if reward.total <= self.least_reward:
            return f"reward not above {self.least_reward:g}"
        for name in CONSISTENCY:
            value = reward.parts.get(name)
            if value is not None and value < self.least_part:
                return f"{name} below {self.least_part:g}"
        return self._over_budget(trace) or (leak(trace) if self.no_leak else None)

    def _over_budget(self, trace: Trace) -> str | None:
        budgets = {
            "steps": (self.most_steps, lambda: len(trace.steps)),
            "calls": (self.most_calls, lambda: trace.call_count),
            "tokens": (self.most_tokens, lambda: self.tokens(trace) if self.tokens else 0),
        }
        for what, (most, count) in budgets.items():
            if most is not None and count() > most:
                return f"more than {most} {what}"
        return None


def kept(
    traces: Iterable[Trace], filters: Filters | float = 0.0, left_out: Counter[str] | None = None
) -> Iterator[Trace]:
    """The traces that pass, each sequence of actions on a question once. A number is a ``least_reward``; ``left_out``
    counts the others by reason."""
    filters = filters if isinstance(filters, Filters) else Filters(least_reward=filters)
    seen: set[tuple[str, ...]] = set()
    for trace in traces:
        key = (trace.question.id, *[step.action for step in trace.steps])
        reason = "played before" if key in seen else filters.reason(trace)
        if reason is None:
            seen.add(key)
            yield trace
        elif left_out is not None:
            left_out[reason] += 1


def leak(trace: Trace) -> str | None:
    """How a trace says a gold answer before the question or a tool has stated it; ``None`` when it does not.

    A yes or no is exempt; an answer put together from several texts counts as stated when each of its words is.
    """
    if "gold_hint" in trace.setup.tool_actor:
        return "leak: the tools knew the gold answer"
    golds = {normalize_answer(gold) for gold in trace.question.golds} - {"yes", "no", ""}
    grammar = get_grammar(trace.setup.grammar)
    seen = normalize_answer(trace.question.text)
    for step in trace.steps:
        said = {
            "a thought": grammar.thought(step.action),
            "an argument": " ".join(_texts([call.arguments for call in step.calls])),
            "the answer": step.answer or "",
        }
        for where, text in said.items():
            words = normalize_answer(text)
            if any(contains_words(words, gold) and not _stated(gold, seen) for gold in golds):
                return f"leak: {where} says what nothing had stated"
        seen = f"{seen} {normalize_answer(' '.join(_texts(_responses(step))))}"
    return None


def _stated(gold: str, seen: str) -> bool:
    return contains_words(seen, gold) or set(gold.split()) <= set(seen.split())


def _responses(step: Step) -> list[Any]:
    """What the policy saw of the responses."""
    faulty = {fault.call for fault in step.faults}
    return [r.value for i, r in enumerate(step.responses) if r is not None and i not in faulty]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)
