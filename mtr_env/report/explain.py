"""Why an episode earned what it earned: the single calls and pieces of evidence behind each reward part."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from mtr_env.grammar import GRAMMARS
from mtr_env.provenance import invented_calls
from mtr_env.reward import Rubric, score, wasted_exchanges
from mtr_env.text import normalize_answer
from mtr_env.trace import Response, Trace

Place = tuple[int, int]
"""A call of a trace: the index of its step, and its own within the step."""


class Explanation(Struct, frozen=True):
    """What the parts of ``mtr-v0`` count, call by call; they are listed whatever rubric the run was paid by.

    ``evidence`` has, for each piece of the question's evidence, the call whose response first stated it, or ``None``.
    ``counted`` is how many calls the economy part counts.
    """

    reward: float | None
    parts: dict[str, float | None]
    unscored: str | None
    answer: str | None
    """The answer as it is compared: after the official normalisation. So are ``golds``."""
    golds: tuple[str, ...]
    invented: list[Place]
    wasted: list[Place]
    counted: int
    evidence: list[Place | None]
    thoughts: list[str]
    """What each step's action says before its first call or its answer; empty for a grammar of somebody's own."""


def explain(trace: Trace, rubric: str | Rubric | None = None) -> Explanation:
    """Explains the reward of a finished trace, by the rubric that it names unless another is given.

    Raises ``ValueError`` for an unknown rubric."""
    reward = score(trace, rubric if rubric is not None else trace.setup.rubric)
    economy = dict(zip([place for place, _ in _answered(trace)], wasted_exchanges(trace), strict=True))
    grammar = GRAMMARS.get(trace.setup.grammar)
    return Explanation(
        reward=reward.total,
        parts=reward.parts,
        unscored=reward.unscored,
        answer=None if trace.answer is None else normalize_answer(trace.answer),
        golds=tuple([normalize_answer(gold) for gold in trace.question.golds]),
        invented=invented_calls(trace),
        wasted=[place for place, wasted in economy.items() if wasted],
        counted=sum(wasted is not None for wasted in economy.values()),
        evidence=_evidence(trace),
        thoughts=["" if grammar is None else grammar.thought(step.action) for step in trace.steps],
    )


def _answered(trace: Trace) -> Iterator[tuple[Place, Response]]:
    """The places of the trace's exchanges, in their order."""
    for number, step in enumerate(trace.steps):
        faulty = {fault.call for fault in step.faults}
        for i, response in enumerate(step.responses):
            if response is not None and i not in faulty:
                yield (number, i), response


def _evidence(trace: Trace) -> list[Place | None]:
    first: dict[str, Place] = {}
    for number, step in enumerate(trace.steps):
        for i, response in enumerate(step.responses):
            for source in response.sources if response is not None else ():
                first.setdefault(source, (number, i))
    return [
        min([first[reference] for reference in unit.any_of if reference in first], default=None)
        for unit in trace.question.evidence
    ]
