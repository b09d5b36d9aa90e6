"""Tools as Python methods: what a signature, type hints and a docstring can say of a schema."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from mtr_env.methods import as_method
from mtr_env.tool import ToolSpec

WITHOUT_TRAIN = "the train extra is not installed (pip install -e '.[train]')"

EXPRESSIBLE: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"type": "string", "minLength": 1}, "str", {"type": "string"}),
    ({"type": "integer", "minimum": 0}, "int", {"type": "integer"}),
    ({"type": "number"}, "float", {"type": "number"}),
    ({"type": "boolean"}, "bool", {"type": "boolean"}),
    ({"type": "array"}, "list", {"type": "array"}),
    (
        {"type": "array", "items": {"type": "number"}},
        "list[float]",
        {"type": "array", "items": {"type": "number"}},
    ),
    ({"enum": ["a", "b"]}, "Literal['a', 'b']", {"type": "string", "enum": ["a", "b"]}),
    ({"type": "object"}, "dict", {"type": "object"}),
    (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        "dict[str, int]",
        {"type": "object", "additionalProperties": {"type": "integer"}},
    ),
    ({"type": ["string", "null"]}, "str | None", {"type": "string", "nullable": True}),
]


def tool(parameters: dict[str, Any], description: str = "Looks.") -> ToolSpec:
    return ToolSpec("look", description, {"type": "object", **parameters}, {"type": "object"})


@pytest.mark.parametrize(("schema", "hint", "shown"), EXPRESSIBLE)
def test_what_a_type_hint_can_say_is_said(schema: dict[str, Any], hint: str, shown: dict[str, Any]) -> None:
    method = as_method(tool({"properties": {"x": schema}}), lambda *_: "")
    parameter = inspect.signature(method).parameters["x"]
    assert inspect.formatannotation(parameter.annotation).replace("typing.", "") == hint
    assert parameter.default is None  # optional
    get_json_schema = pytest.importorskip("transformers.utils", reason=WITHOUT_TRAIN).get_json_schema
    parameters = get_json_schema(method)["function"]["parameters"]
    assert parameters == {"type": "object", "properties": {"x": {**shown, "description": "The x."}}}


def test_a_description_cannot_break_the_docstring() -> None:
    description = "Looks.\n\nReturns: a list.\nArgs:\n  none: none"
    properties = {
        "a": {"type": "string", "description": 'Raises:\n  b: nothing (choices: ["x"])'},
        "b": {"type": "string", "description": ""},
    }
    method = as_method(tool({"properties": properties, "required": ["b"]}, description), lambda *_: "")
    get_json_schema = pytest.importorskip("transformers.utils", reason=WITHOUT_TRAIN).get_json_schema
    function = get_json_schema(method)["function"]
    assert function["description"] == "Looks. Returns a list. Args none: none"
    assert function["parameters"] == {
        "type": "object",
        "properties": {
            "a": {"type": "string", "description": 'Raises b: nothing (choices ["x"])'},
            "b": {"type": "string", "description": "The b."},
        },
        "required": ["b"],
    }
