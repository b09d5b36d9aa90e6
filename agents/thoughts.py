"""What a teacher writes before a call: the simple question that the call asks, in words.

    >>> from mtr_env.toolmakers.specs import relation_tool
    >>> thought(Call("get_director", {"film": "The Silver Harbor"}), relation_tool("director"))
    'Who directed The Silver Harbor?'

A policy that learns it first says what it wants to know and then how to ask the tools for it.
"""

from __future__ import annotations

from mtr_env.tool import ToolSpec
from mtr_env.trace import Call
from mtr_env.worlds.synthetic_text import ASK

_UTILITIES = {
    "search": "Which page is about {}?",
    "open_page": "What is on the page {}?",
    "find_in_page": "What is on the page {} about {}?",
    "compute:calculate": "What is {}?",
    "compute:compare_dates": "Which is earlier, {} or {}?",
}


def thought(call: Call, spec: ToolSpec) -> str:
    """The question that a call of one of ``TemplateToolMaker``'s tools asks; empty for any other tool."""
    kind, _, relation = spec.binding.partition(":")
    values = [str(value) for value in call.arguments.values()]
    if len(values) < len(spec.parameters.get("properties", ())):
        return ""
    if kind == "relation":
        return ASK.get(relation, (f"What is the {relation} of {{}}?",))[0].format(*values)
    if kind == "inverse":
        return f"Which has {values[0]} as its {relation}?"
    return _UTILITIES[spec.binding].format(*values) if spec.binding in _UTILITIES else ""
