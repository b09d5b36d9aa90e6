"""Tool specs and toolsets: OpenAI-compatible functions that also say what their responses look like."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from mtr_env.errors import ToolsetError

Schema = dict[str, Any]
"""A JSON Schema (draft 2020-12). Treated as immutable: a frozen spec shares it with everyone who reads it."""


class ToolSpec(Struct, frozen=True):
    """One tool: a name, a description, and the JSON Schemas of its arguments and of its response.

    ``entities`` names the arguments whose whole value is a name (``film`` in ``get_director(film)``), as opposed to
    free text such as a query; the provenance part of the reward reads it. ``binding`` says to the grounded ToolActor
    what the tool does (``"search"``, ``"relation:director"``) and is never shown to a policy.
    """

    name: str
    description: str
    parameters: Schema
    response: Schema
    entities: tuple[str, ...] = ()
    binding: str = ""

    def openai(self) -> dict[str, Any]:
        """The tool in OpenAI form; the caller owns the returned dict."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        result: dict[str, Any] = msgspec.json.decode(msgspec.json.encode({"type": "function", "function": function}))
        return result

    def signature(self) -> str:
        """One line for small contexts: name, typed arguments (optional ones with ``?``) and description.

        >>> ToolSpec(
        ...     "get_director",
        ...     "Who directed a film.",
        ...     {"type": "object", "properties": {"film": {"type": "string"}}, "required": ["film"]},
        ...     {"type": "object"},
        ... ).signature()
        'get_director(film: string) - Who directed a film.'
        """
        properties: dict[str, Any] = self.parameters.get("properties", {})
        required = self.parameters.get("required", [])
        arguments = ", ".join(
            f"{name}{'' if name in required else '?'}: {_type_name(schema)}" for name, schema in properties.items()
        )
        return f"{self.name}({arguments}) - {self.description}"


def _type_name(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "any"
    if "enum" in schema:
        return "|".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"[{_type_name(schema.get('items', {}))}]"
    return str(schema.get("type", "any"))


class Toolset(Struct, frozen=True):
    """The tools of one question, in the order the policy sees them, and who made them.

    ``notes`` records what the maker wants a reader of the trace to know (a fallback and its reason, a dropped tool).
    Raises :class:`~mtr_env.errors.ToolsetError` when two tools share a name.
    """

    tools: tuple[ToolSpec, ...]
    maker: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [tool.name for tool in self.tools]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ToolsetError(f"Tool names must be unique within a toolset; found twice: {', '.join(twice)}.")

    @property
    def names(self) -> tuple[str, ...]:
        """The tool names in order."""
        return tuple(tool.name for tool in self.tools)

    def get(self, name: str) -> ToolSpec | None:
        """The tool called ``name``, or ``None``."""
        for tool in self.tools:
            if tool.name == name:
                return tool
        return None

    def openai(self) -> list[dict[str, Any]]:
        """All tools in OpenAI form (``{"type": "function", "function": {...}}``); the caller owns the list."""
        return [tool.openai() for tool in self.tools]
