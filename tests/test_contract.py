"""The contract: schemas are kept, messages say what was wrong, nothing is fetched, nothing stalls, nothing leaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jsonschema_rs
import pytest

from mtr_env.contract import Contract, leaks, toolset_problems
from mtr_env.tool import Schema, Toolset, ToolSpec
from mtr_env.trace import Call

ANY: Schema = {"type": "object"}
FILM: Schema = {
    "type": "object",
    "properties": {
        "film": {"type": "string", "minLength": 1, "maxLength": 40},
        "year": {"type": "integer", "minimum": 1800},
        "kind": {"enum": ["short", "feature"]},
        "cast": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
    "required": ["film"],
    "additionalProperties": False,
}


def spec(name: str = "get_director", description: str = "Who directed a film.", **fields: Any) -> ToolSpec:
    return ToolSpec(name, description, **{"parameters": FILM, "response": ANY, **fields})


def contract(parameters: Schema = FILM, response: Schema = ANY) -> Contract:
    return Contract(Toolset((spec(parameters=parameters, response=response), spec("get_producer"))))


def property_schema(schema: Any) -> Schema:
    return {"type": "object", "properties": {"x": schema}}


# -------------------------------------------------------------------------------------------------------------- calls


@pytest.mark.parametrize(
    "arguments",
    [
        {"film": "Kolya"},
        {"film": "K", "year": 1996, "kind": "feature"},
        {"film": "Kolya", "year": 1996.0},
        {"film": "😀" * 40},
        {"film": "Kolya", "year": 10**30},
        {"film": "Kolya", "cast": [{"name": "Zdeněk Svěrák"}, {}]},
    ],
)
def test_arguments_that_keep_the_schema_have_no_fault(arguments: dict[str, Any]) -> None:
    assert contract().check_call(Call("get_director", arguments)) is None


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({}, ['"film" is a required property']),
        ({"film": ""}, ["shorter than 1 character", "['film']"]),
        ({"film": "x" * 41}, ["longer than 40 characters", "['film']"]),
        ({"film": None}, ['null is not of type "string"', "['film']"]),
        ({"film": 5}, ['5 is not of type "string"']),
        ({"film": "Kolya", "year": "1996"}, ['"1996" is not of type "integer"', "['year']"]),
        ({"film": "Kolya", "year": True}, ['true is not of type "integer"']),
        ({"film": "Kolya", "year": 1996.5}, ['1996.5 is not of type "integer"']),
        ({"film": "Kolya", "year": -(10**30)}, ["less than the minimum of 1800"]),
        ({"film": "Kolya", "kind": "long"}, ["is not one of"]),
        ({"film": "Kolya", "title": "x"}, ["Additional properties are not allowed", "'title'"]),
        ({"film": "Kolya", "cast": [{}, {"name": 1}]}, ["['cast'][1]['name']"]),
    ],
)
def test_arguments_that_break_the_schema_have_a_fault_that_says_where_and_why(
    arguments: dict[str, Any], parts: list[str]
) -> None:
    fault = contract().check_call(Call("get_director", arguments), 3)
    assert fault is not None
    assert (fault.kind, fault.blame, fault.call) == ("invalid_arguments", "policy", 3)
    assert fault.message.startswith("Invalid arguments for get_director: ")
    for part in parts:
        assert part in fault.message
    assert len(fault.message) < 500


def test_the_shallowest_of_several_problems_is_named() -> None:
    fault = contract().check_call(Call("get_director", {"cast": [{"name": 1}], "kind": "x"}))
    assert fault is not None
    assert "required property" in fault.message


def test_a_message_is_short_however_long_the_argument_is() -> None:
    fault = contract().check_call(Call("get_director", {"film": "x" * 100_000}))
    assert fault is not None
    assert len(fault.message) < 500


def test_an_unknown_tool_is_a_fault_with_the_tools_and_near_misses() -> None:
    fault = contract().check_call(Call("get_directors", {}), 0)
    assert fault is not None
    assert (fault.kind, fault.blame, fault.call) == ("unknown_tool", "policy", 0)
    assert "There is no tool called 'get_directors'; the tools are get_director, get_producer." in fault.message
    assert "Did you mean get_director" in fault.message
    far = contract().check_call(Call("zzz" * 1000, {}))
    assert far is not None
    assert "Did you mean" not in far.message
    assert len(far.message) < 300


@pytest.mark.parametrize("value", [{"k\ud800": 1}, object(), {1: 2}, {1, 2}, b"x"])
def test_what_is_not_json_breaks_a_schema_and_raises_nothing(value: object) -> None:
    text = property_schema({"type": "string"})
    string = contract(text, text)
    assert string.check_call(Call("get_director", {"x": value})) is not None
    fault = string.check_response({"x": value}, string.specs["get_director"], 1)
    assert fault is not None
    assert (fault.kind, fault.blame, fault.call) == ("invalid_response", "simulator", 1)
    assert fault.message.startswith("get_director returned an invalid response: ")


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**70), 10**400, 1.0, 1e30])
def test_integers_of_any_size_are_integers(value: float) -> None:
    assert contract(property_schema({"type": "integer"})).check_call(Call("get_director", {"x": value})) is None
    assert contract(property_schema({"type": "string"})).check_call(Call("get_director", {"x": value})) is not None


def test_a_bound_beyond_64_bits_is_kept() -> None:
    checks = contract(property_schema({"type": "integer", "maximum": 10**30}))
    assert checks.check_call(Call("get_director", {"x": 10**30})) is None
    assert checks.check_call(Call("get_director", {"x": 10**30 + 1})) is not None


# ------------------------------------------------------------------------------------------------- patterns, references


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "(x+x+)+y", "^(a*)*b$"])
def test_no_pattern_of_a_schema_can_be_made_to_run_away(pattern: str) -> None:
    tools = Toolset((spec(parameters=property_schema({"type": "string", "pattern": pattern})),))
    assert toolset_problems(tools) == []
    checks = Contract(tools)
    start = time.perf_counter()
    for n in (30, 1000, 100_000):
        assert checks.check_call(Call("get_director", {"x": "a" * n + "!"})) is not None
        assert checks.check_call(Call("get_director", {"x": "x" * n})) is not None
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("pattern", ["(?<!x)(a|aa)+$", "^(?=(a+)+$)b", r"^(a*)*\1$", "(", "*"])
def test_a_pattern_that_may_run_away_or_is_none_is_refused(pattern: str) -> None:
    (problem,) = toolset_problems(Toolset((spec(response=property_schema({"pattern": pattern})),)))
    assert problem.startswith("get_director: response is not a valid JSON Schema: ")
    assert "regex" in problem


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A web server on loopback that records what is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", asked
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$schema", "$recursiveRef", "$id"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_schema_never_makes_us_fetch_anything(server: tuple[str, list[str]], keyword: str, nested: bool) -> None:
    url, asked = server
    part = {keyword: f"{url}/{keyword}/{nested}"}
    schema = property_schema({"allOf": [part]}) if nested else {**ANY, **part}
    tools = Toolset((spec(parameters=schema),))
    problems = toolset_problems(tools)
    if keyword in ("$ref", "$dynamicRef"):
        assert any("$ref must be local" in problem for problem in problems)
    try:
        Contract(tools).check_call(Call("get_director", {"x": {}}))
    except jsonschema_rs.ValidationError as error:
        assert "retriev" in str(error), "an environment refuses such a toolset before it is ever used"
    assert asked == []


def test_a_reference_inside_the_schema_is_followed() -> None:
    schema = {**property_schema({"$ref": "#/$defs/year"}), "$defs": {"year": {"type": "integer"}}}
    assert toolset_problems(Toolset((spec(parameters=schema),))) == []
    assert contract(schema).check_call(Call("get_director", {"x": 1})) is None
    assert contract(schema).check_call(Call("get_director", {"x": "1"})) is not None


# --------------------------------------------------------------------------------------------------------------- leaks

NESTED_EXAMPLE = property_schema({"type": "object", "examples": [{"who": ["x", "Jan Svěrák"]}]})


@pytest.mark.parametrize(
    "leaking",
    [
        spec("get_jan_sverak"),
        spec(description="Who directed a film, such as Jan Svěrák."),
        spec(description="JAN SVERAK's films."),
        spec(parameters=property_schema({"enum": ["Jan Svěrák", "x"]})),
        spec(parameters=property_schema({"const": "Jan Svěrák"})),
        spec(parameters=property_schema({"type": "string", "default": "jan-sverak"})),
        spec(parameters=property_schema({"type": "string", "description": "e.g. Jan Svěrák"})),
        spec(parameters=property_schema({"type": "string", "example": "Jan Svěrák"})),
        spec(parameters=NESTED_EXAMPLE),
        spec(response=NESTED_EXAMPLE),
        spec(response=property_schema({"title": "Jan Svěrák"})),
        spec(parameters={"type": "object", "properties": {"jan_sverak": {}}}),
        spec(parameters=property_schema({"pattern": "Jan Svěrák"})),
    ],
)
def test_an_answer_anywhere_in_a_tool_is_a_leak(leaking: ToolSpec) -> None:
    assert leaks(leaking, "Who directed Kolya?", ("x" * 9, "Jan Svěrák")) == ["jan sverak"]


@pytest.mark.parametrize(
    "value",
    [{"enum": [1984]}, {"examples": [1984]}, {"const": 1984}, {"examples": [{"year": 1984}]}, {"default": [[1984]]}],
)
def test_a_number_among_values_is_a_leak_and_a_bound_is_none(value: dict[str, Any]) -> None:
    assert leaks(spec(parameters=property_schema(value)), "In which year?", ("1984",)) == ["1984"]
    bound = {"type": "integer", "minimum": 1984, "maximum": 1984, "multipleOf": 1984}
    assert leaks(spec(parameters=property_schema(bound)), "In which year?", ("1984",)) == []


@pytest.mark.parametrize(
    "gold", ["yes", "No", "a film", "Director", "actor and director", "object", "String", "Then", "status"]
)
def test_generic_words_are_no_leak(gold: str) -> None:
    words = "Yes or no: the actor and director of a film; the status of an object."
    golds = (gold.replace(" and", "").replace("a ", ""),)
    assert leaks(spec(description=words), "Q?", golds) == []


def test_words_of_the_question_and_parts_of_words_are_no_leak() -> None:
    tool = spec(description="Who directed Kolya in Greenland.")
    assert leaks(tool, "Is Kolya older than Emma?", ("Kolya",)) == []
    assert leaks(tool, "Is it older?", ("Kolya",)) == ["kolya"]
    assert leaks(tool, "Which colour?", ("Green",)) == []
    assert leaks(tool, "What?", ("", "!!!")) == []
