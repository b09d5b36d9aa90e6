"""The interfaces that the template ToolMaker offers: predefined utilities, and a tool for any relation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mtr_env.relations import Relation, relation
from mtr_env.tool import Schema, ToolSpec

_STATUS = {"type": "string", "enum": ["ok", "not_found", "ambiguous", "error"]}
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
ENVELOPE = ("status", "message", "candidates")
"""The fields that every response may have, whatever the tool."""


def response_schema(fields: dict[str, Schema]) -> Schema:
    """An answer with status ``ok`` and all ``fields``, or another status and a ``message``, maybe ``candidates``."""
    return {
        "type": "object",
        "properties": {"status": _STATUS, **fields, "message": _TEXT, "candidates": _TEXTS},
        "required": ["status"],
        "additionalProperties": False,
        "if": {"properties": {"status": {"const": "ok"}}},
        "then": {"required": list(fields)},
        "else": {"required": ["message"]},
    }


def _arguments(**descriptions: str) -> Schema:
    properties = {
        name: {"type": "string", "description": description, "minLength": 1, "maxLength": 400}
        for name, description in descriptions.items()
    }
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


_RESULT = {"type": "object", "properties": {"title": _TEXT, "snippet": _TEXT}, "required": ["title", "snippet"]}

SEARCH = ToolSpec(
    "search",
    "Searches the encyclopedia; returns the best pages, each with its title and opening sentence.",
    _arguments(query="What to look for."),
    response_schema({"results": {"type": "array", "items": _RESULT | {"additionalProperties": False}}}),
    binding="search",
)
OPEN_PAGE = ToolSpec(
    "open_page",
    "Opens a page by its title; returns its full text.",
    _arguments(title="The title of the page."),
    response_schema({"title": _TEXT, "text": _TEXT}),
    entities=("title",),
    binding="open_page",
)
FIND_IN_PAGE = ToolSpec(
    "find_in_page",
    "Returns the sentences of a page that contain a word or phrase.",
    _arguments(title="The title of the page.", phrase="The word or phrase to find."),
    response_schema({"title": _TEXT, "matches": _TEXTS}),
    entities=("title",),
    binding="find_in_page",
)
CALCULATE = ToolSpec(
    "calculate",
    "Computes an arithmetic expression of numbers with + - * / and parentheses.",
    _arguments(expression="The expression."),
    response_schema({"result": {"type": "number"}}),
    binding="compute:calculate",
)
COMPARE_DATES = ToolSpec(
    "compare_dates",
    "Says which of two dates is earlier and how many years and days lie between them.",
    _arguments(first="The first date.", second="The second date."),
    response_schema(
        {
            "earlier": {"type": "string", "enum": ["first", "second", "same"]},
            "years": {"type": "integer"},
            "days": {"type": ["integer", "null"]},
        }
    ),
    binding="compute:compare_dates",
)


def _field(value: str, argument: str) -> str:
    """The response field of a relation; one that is taken gets another name."""
    return f"{value}_value" if value in (*ENVELOPE, argument, "total") else value


@lru_cache(1024)
def relation_tool(name: str) -> ToolSpec:
    """``get_director(film)``: what a relation says of a subject, as a list (a film may have two directors)."""
    r = relation(name)
    return ToolSpec(
        r.tool,
        r.description,
        _arguments(**{r.argument: f"The {r.argument.replace('_', ' ')} to look up."}),
        response_schema({r.argument: _TEXT, _field(r.value, r.argument): _TEXTS}),
        entities=(r.argument,),
        binding=f"relation:{name}",
    )


@lru_cache(1024)
def inverse_tool(name: str) -> ToolSpec:
    """``list_films_by_director(director)``: the subjects for which a relation names an object, and how many."""
    r = relation(name)
    plural = _plural(r)
    fields: dict[str, Any] = {_field(r.value, ""): _TEXT, _field(plural, r.value): _TEXTS, "total": {"type": "integer"}}
    return ToolSpec(
        f"list_{plural}_by_{r.value}",
        f"Lists the {plural.replace('_', ' ')} that have a given {r.value.replace('_', ' ')}.",
        _arguments(**{r.value: f"The {r.value.replace('_', ' ')}."}),
        response_schema(fields),
        entities=(r.value,),
        binding=f"inverse:{name}",
    )


def _plural(r: Relation) -> str:
    irregular = {"person": "people", "entity": "entities", "company": "companies", "city": "cities"}
    return irregular.get(r.argument, f"{r.argument}s")
