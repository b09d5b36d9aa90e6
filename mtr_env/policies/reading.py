"""What a policy can read out of a conversation and a question: shared by the players that need no model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mtr_env.grammar import Action, Grammar, Result, unescape
from mtr_env.policies.base import Messages, Tools
from mtr_env.question import Question
from mtr_env.text import contains_words, fold
from mtr_env.tool import ToolSpec
from mtr_env.toolmakers.classify import AnswerType, classify
from mtr_env.trace import Call

NOT_VALUES = frozenset({"status", "message", "error"})
"""Fields of a response that say how the call went, not what was found."""
FREE_TEXT = frozenset({"query", "question", "expression", "text", "phrase", "keywords", "code"})
"""Argument names that do not take the name of one entity."""

_BEFORE_FIRST = re.compile(r"(?:.*[,:;]|.*\b(?:is|are|was|were|did|does|do|has|have)\b)\s*", re.IGNORECASE)
_CHOICE = re.compile(
    r"(?:\bbetween|^of) (?:the (?-i:[a-z ]+) )?([^,?]{2,80}?) and ([^,?]{2,80}?),? (?:which|who)\b", re.IGNORECASE
)
_AUXILIARY = re.compile(r"(is|are|was|were|did|does|do|has|have)\b", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:either |the film |a |an |the )+", re.IGNORECASE)


def question_of(messages: Messages) -> str:
    """The question that the first user message asks; empty when there is none."""
    user = next((message["content"] for message in messages if message["role"] == "user"), "")
    return unescape(user.strip().removeprefix("Question:").strip())


def turn(messages: Messages) -> int:
    """How many actions the policy has taken."""
    return sum(message["role"] == "assistant" for message in messages)


def observed(messages: Messages, grammar: Grammar) -> list[tuple[Result, ...]]:
    """The results after each action, in order; an observation that cannot be read counts as no results."""
    seen: list[tuple[Result, ...]] = []
    for message in messages:
        if message["role"] == "assistant":
            seen.append(())
        elif seen:
            seen[-1] += _results(message["content"], grammar)
    return seen


def _results(text: str, grammar: Grammar) -> tuple[Result, ...]:
    try:
        return grammar.parse_observation(text)
    except (ValueError, RecursionError):
        return ()


def own_calls(messages: Messages, grammar: Grammar) -> list[Call]:
    """The calls that the policy made, in order."""
    actions = [grammar.parse(message["content"]) for message in messages if message["role"] == "assistant"]
    return [call for action in actions if isinstance(action, Action) for call in action.calls]


def is_ok(content: Any) -> bool:
    """Whether a result looks like a success: no error object, and no status but ``ok``."""
    return not isinstance(content, dict) or ("error" not in content and content.get("status", "ok") == "ok")


def leaves(content: Any) -> Iterator[str]:
    """The strings and numbers of a result as text, in order, without :data:`NOT_VALUES`; booleans are left out."""
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, (int, float)) and not isinstance(item, bool):
            yield str(item)
        elif isinstance(item, list):
            stack.extend(reversed(item))
        elif isinstance(item, dict):
            stack.extend(reversed([value for name, value in item.items() if name not in NOT_VALUES]))


def specs_of(tools: Tools) -> tuple[ToolSpec, ...]:
    """The tools as specs, as far as a policy can know them: without response schema, entities and binding."""
    functions = [tool["function"] for tool in tools]
    return tuple(
        ToolSpec(f["name"], f.get("description", ""), f.get("parameters", {"type": "object"}), {}) for f in functions
    )


def single_argument(tool: ToolSpec, *, entity: bool) -> str | None:
    """The name of a tool's one required argument if it is a string that takes a name (``entity``) or free text."""
    properties = tool.parameters.get("properties", {})
    required = tool.parameters.get("required", [])
    if len(required) != 1 or properties.get(required[0], {}).get("type") != "string":
        return None
    name: str = required[0]
    return name if (name not in FREE_TEXT) is entity else None


def search_call(tools: Tools, query: str) -> Call | None:
    """A call that searches for ``query``, cut to the length that the tool takes; ``None`` without such a tool."""
    for tool in specs_of(tools):
        name = single_argument(tool, entity=False)
        if name is not None and "search" in tool.name:
            longest = tool.parameters["properties"][name].get("maxLength", len(query))
            return Call(tool.name, {name: query[:longest]})
    return None


def mentions(text: str) -> tuple[str, ...]:
    """The spans of a question or sentence that name something, in order."""
    return classify(Question("", text, "")).mentions


def answer_type(question: str) -> AnswerType:
    """What an answer to the question would be."""
    return classify(Question("", question, "")).answer_type


def alternatives(question: str) -> tuple[str, str] | None:
    """The two things of which a question asks for one, as it names them, or ``None``.

    >>> alternatives("Which film came out first, Casablanca or Citizen Kane?")
    ('Casablanca', 'Citizen Kane')
    >>> alternatives("Between Ada Lovelace and Alan Turing, who is older?")
    ('Ada Lovelace', 'Alan Turing')
    """
    left, found, right = question.rpartition(" or ")
    if not found:
        pair = _CHOICE.search(question)
        return (_ARTICLE.sub("", pair[1]), _ARTICLE.sub("", pair[2])) if pair else None
    left = left.rstrip(" ,")
    before = _BEFORE_FIRST.match(left)
    first = left[before.end() :] if before else left
    second = re.split(r"[?,;]", right)[0].strip()
    names = mentions(first)
    if names and first.endswith(names[-1]) and not (before and before[0].rstrip()[-1:] in (",", ":", ";")):
        first = names[-1]
    if _AUXILIARY.match(question):  # "Is A or B taller?"
        second = next((name for name in mentions(f"or {second}") if second.startswith(name)), second)
    first, second = (_ARTICLE.sub("", name).strip(' "') for name in (first, second))
    return (first, second) if first and second and len(second.split()) <= 10 else None


def is_new(name: str, *texts: str) -> bool:
    """Whether a name stands in none of ``texts``."""
    folded = fold(name)
    return bool(folded) and not any(contains_words(fold(text), folded) for text in texts)
