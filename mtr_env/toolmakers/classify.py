"""Task classification from the question's text alone: what kind of question is it, what would an answer be, which
entities does it name?"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from mtr_env.question import Question
from mtr_env.text import contains_words, fold, name_key

Family = Literal["bridge", "comparison", "intersection", "count", "temporal", "yes_no"]
AnswerType = Literal["person", "place", "date", "number", "yes_no", "entity"]


class Task(Struct, frozen=True):
    """A classified question. ``mentions`` are spans of its text that name something, in order."""

    family: Family
    answer_type: AnswerType
    mentions: tuple[str, ...]


_AUXILIARY = re.compile(r"(is|are|was|were|do|does|did|has|have|had|can|could)\b")
_COMPARISON = re.compile(
    r"\b(older|younger|earlier|later|larger|smaller|longer|shorter|taller|higher|lower|more|fewer|less|same|first|last|"
    r"bigger|both)\b"
)
_TEMPORAL = re.compile(
    r"\bhow many years\b|\bdifference in years\b|\bhow long (after|before|between)\b|\byears (apart|between)\b"
)
_ANSWER_TYPES: tuple[tuple[AnswerType, re.Pattern[str]], ...] = (
    ("number", re.compile(r"\bhow (many|much|old|long|tall|high|far|large|big)\b|\bwhat (number|percentage)\b")),
    ("date", re.compile(r"\bwhen\b|\b(what|which) (year|date|day|month|decade|century)\b|\bdate of (birth|death)\b")),
    ("place", re.compile(r"\bwhere\b|\b(what|which) (city|country|state|town|county|place|region|continent|river)\b")),
    ("person", re.compile(r"\bwho(m|se)?\b|\b(what|which) (actor|actress|author|director|person|man|woman|singer)\b")),
)
_NAME = re.compile(r"\"[^\"]{2,80}\"|[^\W\d_a-z][\w'’.&-]*(?: (?:of|the|and|de|la|von|van|[^\W\d_a-z][\w'’.&-]*|\d+))*")
_TRAILING_SMALL_WORDS = re.compile(r"(?: (?:of|the|and|de|la|von|van))+$")


def classify(question: Question) -> Task:
    """The task of a question; reads its text and the titles of its paragraphs, never its gold.

    >>> classify(Question("q", "Who is older, Ada Lovelace or Alan Turing?", "Ada Lovelace"))
    Task(family='comparison', answer_type='person', mentions=('Ada Lovelace', 'Alan Turing'))
    """
    text = question.text.strip()
    lower = text.lower()
    answer_type: AnswerType
    if _AUXILIARY.match(lower):
        answer_type = "entity" if " or " in lower else "yes_no"
    else:
        answer_type = next((kind for kind, pattern in _ANSWER_TYPES if pattern.search(lower)), "entity")
    return Task(_family(lower, answer_type), answer_type, _mentions(text, question))


def _family(lower: str, answer_type: AnswerType) -> Family:
    if answer_type == "yes_no":
        return "yes_no"
    if _TEMPORAL.search(lower):
        return "temporal"
    if answer_type == "number" and "how many" in lower:
        return "count"
    if " or " in lower and _COMPARISON.search(lower):
        return "comparison"
    if answer_type == "entity" and " both " in lower:
        return "intersection"
    return "bridge"


def _mentions(text: str, question: Question) -> tuple[str, ...]:
    found = [_TRAILING_SMALL_WORDS.sub("", m[0].strip('"')).rstrip(".") for m in _NAME.finditer(text)]
    if found and text.startswith(found[0]) and " " not in found[0]:
        found = found[1:]  # the capital that begins the sentence
    folded = fold(text)
    keys = {fold(mention) for mention in found}
    for paragraph in question.paragraphs:
        title = name_key(paragraph.title)
        if title not in keys and contains_words(folded, title):
            found.append(paragraph.title)
            keys.add(title)
    return tuple(dict.fromkeys(found))
