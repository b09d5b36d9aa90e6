"""The composite trace reward: is the answer right, and is the trace consistent with itself?

``mtr-v0``:  R = answer x (1 - w + w x c),  w = 0.4,  c = the mean of the consistency parts that are not ``None``
(0 without a tool call). It is a product: a consistent wrong answer earns nothing, and a lucky right answer without
evidence earns 0.6. The paper publishes no formula; this one is ours (``docs/reward.md``).

Everything here is a pure function of the trace: the reward that was paid and the reward of the saved trace are equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct

from mtr_env.contract import GENERIC_WORDS
from mtr_env.memo import IdentityCache
from mtr_env.metrics import exact_match, metrics
from mtr_env.question import Question
from mtr_env.text import contains_words, fold, normalize_answer
from mtr_env.trace import Call, Response, Trace

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
    return max(0.0, 1 - invented_calls(trace) / 3)


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
    seen: set[str] = set()
    computed: list[Any] = []
    calls = wasted = 0
    for call, response in trace.exchanges():
        if response.origin == "noise":
            continue
        calls += 1
        new = not seen.issuperset(response.sources)
        seen.update(response.sources)
        if response.sources and _computes(trace, call) and response.value not in computed:
            computed.append(response.value)
            new = True
        wasted += not new
    return 1 - wasted / calls if calls else None


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


# --------------------------------------------------------------------------------------------------------- provenance

_WORD = re.compile(r"[^\W_]+")
_FUNCTION_WORDS = GENERIC_WORDS | frozenset(
    """a an the and or but nor of in on at by for from to with without into onto over under about as than then so
    who whom whose what which when where why how is are was were be been being am do does did done has have had having
    can could will would shall should may might must not if that this these those it its he she they his her their
    i me my we our you your there here also only just find get give tell list show look search same""".split()
)


def invented_calls(trace: Trace) -> int:
    """How many calls use a named entity or number that comes neither from the question nor from an earlier sourced
    value. An entity-typed argument counts as a whole; inside free text, names and numbers count and other words are
    free (paraphrase). A name of the evidence that was not seen yet counts however it is written."""
    known = _Known(trace.question.text)
    names = _NAMES.get(trace.question, _evidence_names)
    invented = 0
    for step in trace.steps:
        faulty = [fault.call for fault in step.faults] if step.faults else ()
        for i, call in enumerate(step.calls):
            invented += _is_invented(trace, call, known, names)
            response = step.responses[i]
            # A policy cannot tell noise from an answer, so it may use what noise told it; and what a response would
            # have told that broke its schema is the simulator's debt, not the policy's.
            if response is not None and (response.sources or response.origin == "noise" or i in faulty):
                known.add(call, response.value)
    return invented


class _Known:
    """What the question and the responses so far have said; folded when somebody looks, as few calls name anything."""

    __slots__ = ("_new", "_text")

    def __init__(self, question: str) -> None:
        self._text = f"| {fold(question)} |"
        self._new: list[tuple[Call, Any]] = []

    def add(self, call: Call, value: Any) -> None:
        self._new.append((call, value))

    def __contains__(self, words: str) -> bool:
        if self._new:
            texts = [fold(text) for call, value in self._new for text in stated_strings(call, value)]
            self._text += "".join([f" {text} |" for text in texts])
            self._new.clear()
        return f" {words} " in self._text


def _is_invented(trace: Trace, call: Call, known: _Known, names: Mapping[str, tuple[str, ...]]) -> bool:
    spec = trace.toolset.get(call.name)
    entities = spec.entities if spec is not None else ()
    for name, argument in call.arguments.items():
        if name in entities and isinstance(argument, str):
            folded = fold(argument)
            if folded and folded not in known:
                return True
        elif isinstance(argument, int) and 0 <= argument <= 20:
            continue  # a setting (how many results, which rank), not a fact
        else:
            for text in _strings(argument):
                if _text_invents(text, known, names):
                    return True
    return False


def _text_invents(text: str, known: _Known, names: Mapping[str, tuple[str, ...]]) -> bool:
    words = _WORD.findall(text)
    for i, word in enumerate(words):
        if not word.isalpha():  # it has a digit
            if fold(word) not in known:
                return True
        elif word[0].isupper() and (i > 0 or (len(words) > 1 and words[1][0].isupper())):
            folded = fold(word)
            if folded not in _FUNCTION_WORDS and folded not in known:
                return True
    padded = f" {fold(text)} "
    for word in padded.split():
        for name in names.get(word, ()):
            if f" {name} " in padded and name not in known:
                return True
    return False


def _evidence_names(question: Question) -> dict[str, tuple[str, ...]]:
    """Every name of the evidence and the gold answers, folded, by its first word."""
    texts = [p.title for p in question.paragraphs]
    texts += [name for fact in question.facts for name in (fact.subject, fact.object)]
    table: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(fold(text) for text in (*texts, *question.golds)):
        words = name.split()
        if words and not all(word in _FUNCTION_WORDS for word in words):
            table[words[0]] = (*table.get(words[0], ()), name)
    return table


_NAMES: IdentityCache[Question, dict[str, tuple[str, ...]]] = IdentityCache(512)


def sourced_strings(call: Call, response: Response) -> list[str]:
    """The strings and numbers of a response that the evidence supports: none without sources."""
    return stated_strings(call, response.value) if response.sources else []


def stated_strings(call: Call, value: Any) -> list[str]:
    """The strings and numbers of a response's value, in order, without those that only echo an argument of the call."""
    echoes = _strings(call.arguments)
    return [text for text in _strings(value) if text not in echoes]


def _strings(value: Any) -> list[str]:
    """All strings and numbers of a JSON value as text, in order, keys excluded."""
    found: list[str] = []
    _collect((value,), found)
    return found


def _collect(values: Iterable[Any], found: list[str]) -> None:
    for value in values:
        kind = type(value)
        if kind is str:
            found.append(value)
        elif kind is dict:
            _collect(value.values(), found)
        elif kind is list or kind is tuple:
            _collect(value, found)
        elif kind is int or kind is float:
            found.append(str(value))


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
