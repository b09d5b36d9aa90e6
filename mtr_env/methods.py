"""A tool as a Python method whose signature, type hints and docstring say what its schema says.

Some trainers take tools only as functions and read these back into a schema (``transformers.utils.get_json_schema``).
"""

from __future__ import annotations

import inspect
import json
import keyword
import re
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any, Literal

from mtr_env.tool import ToolSpec

_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}
_BEYOND = frozenset(
    """anyOf oneOf allOf not if then else const $ref $dynamicRef properties patternProperties propertyNames
    dependentSchemas dependentRequired prefixItems contains""".split()
)


def as_method(tool: ToolSpec, call: Callable[[Any, str, dict[str, Any]], str]) -> Callable[..., str]:
    """A method that passes its object, the tool's name and the arguments to ``call``.

    It takes any keyword arguments, whatever its signature says: what is wrong with them is for the contract to find.
    Bounds (``minLength``, ``maximum``, ``pattern``) are not shown. Raises ``ValueError`` for an argument that no type
    hint describes.
    """

    def method(self: Any, /, **arguments: Any) -> str:
        return call(self, tool.name, arguments)

    parameters = tool.parameters
    if not _BEYOND.isdisjoint(parameters.keys() - {"properties"}):
        raise _inexpressible(tool, "what holds for all its arguments", parameters)
    required = parameters.get("required", [])
    hints: dict[str, Any] = {}
    signature = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    doc = [_one_line(tool.description) or tool.name, "", "Args:"]
    for name, schema in parameters.get("properties", {}).items():
        if not name.isidentifier() or keyword.iskeyword(name) or name == "self":
            raise _inexpressible(tool, f"the name of its argument {name!r}", schema)
        try:
            hints[name] = _hint(schema)
        except (KeyError, TypeError, ValueError):
            raise _inexpressible(tool, f"its argument {name!r}", schema) from None
        default = inspect.Parameter.empty if name in required else schema.get("default")
        signature.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        )
        doc.append(f"    {name}: {_one_line(schema.get('description', '')) or f'The {name}.'}")
    method.__name__, method.__qualname__ = tool.name, f"Episode.{tool.name}"
    method.__doc__ = "\n".join(doc if hints else doc[:1])
    method.__annotations__ = {**hints, "return": str}
    method.__signature__ = inspect.Signature(signature, return_annotation=str)  # type: ignore[attr-defined]
    return method


def _hint(schema: dict[str, Any]) -> Any:
    """The type hint that says what a schema says. Raises what :func:`as_method` catches where there is none."""
    if not _BEYOND.isdisjoint(schema):
        raise ValueError
    if "enum" in schema:
        if not schema["enum"] or not {*map(type, schema["enum"])} <= {*_TYPES.values()}:
            raise ValueError
        return Literal[tuple(schema["enum"])]
    kind = schema.get("type")
    if isinstance(kind, list):
        return reduce(or_, [_hint({**schema, "type": one}) for one in kind])
    if kind == "array":
        return list[_hint(schema["items"])] if "items" in schema else list  # type: ignore[misc]
    if kind == "object":
        values = schema.get("additionalProperties")
        return dict[str, _hint(values)] if isinstance(values, dict) else dict  # type: ignore[misc]
    return Any if kind is None else _TYPES[kind]


def _one_line(text: str) -> str:
    """A description on one line, without what a docstring's reader would take for the start of a section."""
    return re.sub(r"(args|returns|raises|choices):", r"\1", " ".join(text.split()), flags=re.IGNORECASE)


def _inexpressible(tool: ToolSpec, what: str, schema: Any) -> ValueError:
    return ValueError(
        f"Tool {tool.name!r}: a Python signature cannot say {what}: {json.dumps(schema)[:200]}. Use strings, numbers, "
        "booleans, arrays of these, an enum or a plain object; or train with mtr_env.adapters.trl.make_rollout_func, "
        "which shows schemas as they are."
    )
