"""The composite trace reward: is the answer right, and is the trace consistent with itself?

``mtr-v0``:  R = answer x (1 - w + w x c),  w = 0.4,  c = the mean of the consistency parts that are not ``None``
(0 without a tool call). It is a product: a consistent wrong answer earns nothing, and a lucky right answer without
evidence earns 0.6. The paper publishes no formula; this one is ours (``docs/reward.md``).

Everything here is a pure function of the trace: the reward that was paid and the reward of the saved trace are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from msgspec import Struct

from mtr_env.metrics import exact_match, metrics
from mtr_env.provenance import invented_calls, sourced_strings
from mtr_env.text import contains_words, normalize_answer
from mtr_env.trace import Call, Trace

Part = Callable[[Trace], float | None]
"""A reward part: a number in [0, 1], or ``None`` where it does not apply."""


class Reward(Struct, frozen=True):
    """A scored trace. ``total`` is in [0, 1], or ``None`` when the trace is unscored (``unscored`` says why)."""

    total: float | None
    parts: dict[str, float | None]
    unscored: str | None = None


class Rubric(Struct, frozen=True):
    """An answer part, weighted consistency parts, and how they are put together.

    ``form="product"``: answer x (1 - w + w x c); ``form="sum"``: (1 - w) x answer + w x c. ``weight`` is w in [0, 1];
    ``weights`` gives single consistency parts another weight than 1 in the mean c. Without consistency parts the total
    is the answer part; an answer part of ``None`` makes the trace unscored.
    """

    name: str
    answer: Part
    consistency: Mapping[str, Part]
    weight: float = 0.4
    form: Literal["product", "sum"] = "product"
    weights: Mapping[str, float] = {}

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"Rubric {self.name!r}: weight must be in [0, 1], found {self.weight}.")
        if self.form not in ("product", "sum"):
            raise ValueError(f"Rubric {self.name!r}: form must be 'product' or 'sum', found {self.form!r}.")
        if any(weight < 0 for weight in self.weights.values()):
            raise ValueError(f"Rubric {self.name!r}: weights are at least 0, found {dict(self.weights)}.")
        unknown = sorted(set(self.weights) - set(self.consistency))
        if unknown:
            raise ValueError(
                f"Rubric {self.name!r}: weights for unknown parts {unknown}; parts: {[*self.consistency]}."
            )

    def __deepcopy__(self, memo: object) -> Rubric:
        return self


def score(trace: Trace, rubric: Rubric | Part | str = "mtr-v0") -> Reward:
    """The reward of a trace, finished or not.

    ``rubric`` is a :class:`Rubric`, the name of one in ``RUBRICS``, or a part that is the whole reward. Raises
    ``ValueError`` when a part gives something else than a number in [0, 1] or ``None``.
    """
    rubric = get_rubric(rubric)
    reason = unscored(trace)
    if reason is not None:
        return Reward(None, {}, reason)
    answer = _value(rubric, "answer", rubric.answer(trace))
    parts: dict[str, float | None] = {"answer": answer}
    if answer is None:
        return Reward(None, parts, f"the answer part of rubric {rubric.name!r} does not apply")
    total_weight = total = 0.0
    for name, part in rubric.consistency.items():
        value = parts[name] = _value(rubric, name, part(trace))
        if value is not None:
            weight = rubric.weights.get(name, 1.0)
            total_weight += weight
            total += weight * value
    c = total / total_weight if total_weight and trace.call_count else 0.0
    w = rubric.weight if rubric.consistency else 0.0
    return Reward(answer * (1 - w + w * c) if rubric.form == "product" else (1 - w) * answer + w * c, parts)


def _value(rubric: Rubric, name: str, value: float | None) -> float | None:
    if value is None or (isinstance(value, (int, float)) and 0 <= value <= 1):
        return value
    raise ValueError(f"Part {name!r} of rubric {rubric.name!r} must give a number in [0, 1] or None, found {value!r}.")


def unscored(trace: Trace) -> str | None:
    """Why a trace has no score, or ``None``: an outage ended it, or the simulator broke its contract and the answer
    is wrong or missing (which nobody may charge to the policy)."""
    for step in trace.steps:
        for fault in step.faults:
            if fault.blame == "infrastructure":
                return fault.message
            if fault.blame == "simulator" and trace.stop_reason is not None and not metrics(trace).em:
                return fault.message
    return None


# ---------------------------------------------------------------------------------------------------------- the parts


def exact(trace: Trace) -> float:
    """1 when the answer equals a gold answer or alias after the official normalisation, else 0."""
    answer = trace.answer
    return float(answer is not None and any(exact_match(answer, gold) for gold in trace.question.golds))


def word_f1(trace: Trace) -> float:
    """Official word F1 of the answer (for ablations: it pays hedging)."""
    return metrics(trace).f1


def contract(trace: Trace) -> float:
    """max(0, 1 - policy faults / 3): counted, not averaged, so that junk calls cannot dilute a fault."""
    return max(0.0, 1 - sum([fault.blame == "policy" for fault in trace.faults]) / 3)


def provenance(trace: Trace) -> float:
    """max(0, 1 - invented / 3): calls that use a name or number which neither the question nor a sourced value gave."""
    return max(0.0, 1 - len(invented_calls(trace)) / 3)


def support(trace: Trace) -> float | None:
    """Share of the question's evidence among the sources observed before the answer.

    Without annotation: 1 when the answer occurs in a sourced value, else 0; ``None`` when there is no answer either,
    or when it is yes or no, which occurs nowhere.
    """
    if not trace.question.evidence:
        return _answer_in_sourced_value(trace)
    seen: set[str] = set()
    for step in trace.steps:
        for response in step.responses:
            if response is not None:  # also one that broke its schema: the policy asked for the right thing
                seen.update(response.sources)
    evidence = trace.question.evidence
    return sum(not seen.isdisjoint(unit.any_of) for unit in evidence) / len(evidence)


def economy(trace: Trace) -> float | None:
    """1 - wasted / calls; a wasted call adds neither a new source nor a new computed value.

    Calls that noise or a fault answered leave both counts; ``None`` when no call is left.
    """
    counted = [wasted for wasted in wasted_exchanges(trace) if wasted is not None]
    return 1 - sum(counted) / len(counted) if counted else None


def wasted_exchanges(trace: Trace) -> list[bool | None]:
    """For each of the trace's exchanges whether :func:`economy` counts its call as wasted; ``None`` where it leaves
    both counts."""
    seen: set[str] = set()
    computed: list[Any] = []
    result: list[bool | None] = []
    for call, response in trace.exchanges():
        if response.origin == "noise":
            result.append(None)
            continue
        new = not seen.issuperset(response.sources)
        seen.update(response.sources)
        if response.sources and _computes(trace, call) and response.value not in computed:
            computed.append(response.value)
            new = True
        result.append(not new)
    return result


def _computes(trace: Trace, call: Call) -> bool:
    spec = trace.toolset.get(call.name)
    return spec is not None and spec.binding.startswith("compute:")


def _answer_in_sourced_value(trace: Trace) -> float | None:
    answer = normalize_answer(trace.answer or "")
    if not answer or answer in ("yes", "no"):
        return None
    return float(
        any(
            contains_words(normalize_answer(text), answer)
            for call, response in trace.exchanges()
            for text in sourced_strings(call, response)
        )
    )


CONSISTENCY: Mapping[str, Part] = {
    "contract": contract,
    "provenance": provenance,
    "support": support,
    "economy": economy,
}

RUBRICS: dict[str, Rubric] = {
    rubric.name: rubric
    for rubric in (
        Rubric("mtr-v0", exact, CONSISTENCY),
        Rubric("em", exact, {}, weight=0.0),
        Rubric("additive", exact, CONSISTENCY, form="sum"),
        Rubric("f1", word_f1, CONSISTENCY),
    )
}


def get_rubric(rubric: str | Rubric | Part) -> Rubric:
    """The rubric called ``rubric``, the object itself, or one whose only part is a function of the trace.

    Raises ``ValueError`` for an unknown name, ``TypeError`` for anything else.
    """
    if isinstance(rubric, Rubric):
        return rubric
    if not isinstance(rubric, str):
        if not callable(rubric):
            raise TypeError(f"A rubric is a Rubric, a name or a function of a trace, found {type(rubric).__name__}.")
        return Rubric(getattr(rubric, "__name__", type(rubric).__name__), rubric, {})
    if rubric not in RUBRICS:
        raise ValueError(f"Unknown rubric {rubric!r}; expected one of {', '.join(map(repr, RUBRICS))}.")
    return RUBRICS[rubric]
