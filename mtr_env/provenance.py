"""Where a value comes from: what the question and the tools have told so far, and which calls use something else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mtr_env.contract import GENERIC_WORDS
from mtr_env.memo import IdentityCache
from mtr_env.question import Question
from mtr_env.text import fold, json_texts
from mtr_env.trace import Call, Response, Trace

_WORD = re.compile(r"[^\W_]+")
_FUNCTION_WORDS = GENERIC_WORDS | frozenset(
    """a an the and or but nor of in on at by for from to with without into onto over under about as than then so
    who whom whose what which when where why how is are was were be been being am do does did done has have had having
    can could will would shall should may might must not if that this these those it its he she they his her their
    i me my we our you your there here also only just find get give tell list show look search same""".split()
)


def invented_calls(trace: Trace) -> list[tuple[int, int]]:
    """Which calls (the index of the step, and the call's own within it) use a named entity or number that comes neither
    from the question nor from an earlier sourced value. An entity-typed argument counts as a whole; inside free text,
    names and numbers count and other words are free (paraphrase). A name of the evidence that was not seen yet counts
    however it is written."""
    known = _Known(trace.question.text)
    names = _NAMES.get(trace.question, _evidence_names)
    invented = []
    for number, step in enumerate(trace.steps):
        faulty = [fault.call for fault in step.faults] if step.faults else ()
        for i, call in enumerate(step.calls):
            if _is_invented(trace, call, known, names):
                invented.append((number, i))
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
            for text in json_texts(argument):
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
    echoes = json_texts(call.arguments)
    return [text for text in json_texts(value) if text not in echoes]
