"""The portability linter: a rule finds what it is about and nothing else, and is true of the package that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtr_env.cli import main
from mtr_env.errors import ToolsetError
from mtr_env.lint_tools import EFFECTS, FRAMEWORKS, LOST, Finding, lint, read_tools
from mtr_env.registration import ENV_IDS, make_game
from mtr_env.tool import Toolset, ToolSpec

TEXT = {"type": "string"}


def tool(name: str = "look", properties: Any = None, **root: Any) -> ToolSpec:
    parameters = {"type": "object", "properties": {"x": TEXT} if properties is None else properties, **root}
    return ToolSpec(name, "Looks.", parameters, {"type": "object"})


def findings(made: ToolSpec, *frameworks: str) -> list[Finding]:
    return list(lint({"question": Toolset((made,))}, frameworks).findings)


def said(made: ToolSpec, framework: str) -> set[tuple[str, str, str]]:
    return {(finding.effect, finding.rule, finding.where) for finding in findings(made, framework)}


STRICT: dict[str, Any] = {"required": ["x"], "additionalProperties": False}
NESTED = {"x": {"type": "object", "properties": {"y": TEXT}, "required": ["y"], "additionalProperties": False}}
UNION = {"x": {"anyOf": [TEXT, {"type": "integer"}]}}

RULES: list[tuple[str, ToolSpec, set[tuple[str, str, str]]]] = [
    ("mtr-env", tool("Look"), {("refused", "toolset", "")}),
    ("mtr-env", tool("submit_answer"), {("refused", "toolset", "")}),
    ("mtr-env", tool(properties={"x": {"type": 7}}), {("refused", "toolset", "")}),
    ("trl", tool("get_reward"), {("hidden", "tool name", "")}),
    ("trl", tool("_look"), {("hidden", "tool name", "")}),
    ("trl", tool(properties=NESTED), {("refused", "Python signature", "")}),
    ("trl", tool(properties=UNION), {("refused", "Python signature", "")}),
    ("trl", tool(properties={"class": TEXT}), {("refused", "Python signature", "")}),
    ("trl", tool(properties={"x": {"type": "string", "maxLength": 9}}), {("dropped", "maxLength", "x")}),
    ("trl", tool(properties={"x": {"type": "string", "default": "a"}}), {("dropped", "default", "x")}),
    ("trl", tool(additionalProperties=False), {("dropped", "additionalProperties", "")}),
    ("trl", tool(properties={"x": {"type": ["string", "null"]}}), {("changed", "null", "x")}),
    (
        "trl",
        tool(properties={"x": {"type": "array", "description": "All.", "items": {**TEXT, "description": "One."}}}),
        {("dropped", "description", "x[]")},
    ),
    ("verl", tool(properties=UNION), {("refused", "no type", "x"), ("dropped", "anyOf", "x")}),
    ("verl", tool(properties={"x": True}), {("refused", "no type", "x")}),
    ("verl", tool(properties={"x": {"enum": ["a"]}}), {("refused", "no type", "x")}),
    ("verl", ToolSpec("look", "", {"type": "object"}, {}), {("refused", "properties", "")}),
    (
        "verl",
        tool(properties=NESTED),
        {("dropped", n, "x") for n in ("properties", "required", "additionalProperties")},
    ),
    ("verl", tool(properties={"x": {"type": "array", "items": TEXT}}), {("dropped", "items", "x")}),
    ("verl", tool(properties={"x": {**TEXT, "default": "a"}}), {("dropped", "default", "x")}),
    ("verl", tool(**{"$defs": {"y": TEXT}}), {("dropped", "$defs", "")}),
    *[("openenv", tool(name), {("refused", "tool name", "")}) for name in ("reset", "step", "state", "close")],
    ("mcp", tool("look at"), {("warned", "tool name", "")}),
    ("mcp", tool("x" * 129), {("warned", "tool name", "")}),
    ("inspect", tool(properties={"x": {"type": "string", "const": "a"}}), {("dropped", "const", "x")}),
    ("inspect", tool(properties={"x": {"oneOf": [TEXT]}}), {("dropped", "oneOf", "x")}),
    ("inspect", tool(properties={"x": True}), {("refused", "no schema", "x")}),
    ("inspect", tool(**{"$defs": {}}), {("dropped", "$defs", "")}),
    ("openai", tool("look.at"), {("refused", "tool name", "")}),
    ("openai", tool("x" * 65), {("refused", "tool name", "")}),
    ("openai", tool(anyOf=[{"required": ["x"]}]), {("refused", "top-level anyOf", "")}),
    ("openai", ToolSpec("look", "", {"properties": {}}, {}), {("refused", "type", "")}),
    ("openai", tool(properties={"x": {"type": "array"}}), {("refused", "array without items", "x")}),
    ("openai-strict", tool(required=["x"]), {("refused", "additionalProperties", "")}),
    ("openai-strict", tool(additionalProperties=False), {("refused", "optional argument", "")}),
    ("openai-strict", tool(properties={"x": {**TEXT, "default": "a"}}, **STRICT), {("refused", "default", "x")}),
    ("openai-strict", tool(properties={"x": {"not": TEXT}}, **STRICT), {("refused", "not", "x")}),
    (
        "openai-strict",
        tool(properties={"x": {"type": "array", "items": {"type": "object", "properties": {"y": TEXT}}}}, **STRICT),
        {("refused", "additionalProperties", "x[]"), ("refused", "optional argument", "x[]")},
    ),
    ("anthropic", tool("look at"), {("refused", "tool name", "")}),
    ("anthropic", tool(oneOf=[{"required": ["x"]}]), {("refused", "top-level oneOf", "")}),
    ("anthropic", tool(properties={"x y": TEXT}), {("refused", "argument name", "x y")}),
]


@pytest.mark.parametrize(("framework", "made", "expected"), RULES, ids=lambda value: getattr(value, "name", None))
def test_a_rule_finds_what_it_is_about_and_nothing_else(
    framework: str, made: ToolSpec, expected: set[tuple[str, str, str]]
) -> None:
    assert said(made, framework) == expected


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_has_a_rule_that_is_tried_and_takes_a_plain_tool_as_it_is(framework: str) -> None:
    assert framework in {name for name, _, _ in RULES}
    closed = ("openai-strict", "openai")
    assert said(tool(**STRICT) if framework in closed else tool(required=["x"]), framework) == set()


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_the_templates_tools_are_refused_nowhere_and_told_whole_but_for_their_bounds(env_id: str) -> None:
    game = make_game(env_id, limit=24)
    report = lint({i: game.tool_maker.make(game.world.question(i)) for i in game.world.ids})
    assert report.toolsets == len(game.world.ids) and report.tools >= 9
    assert {(finding.framework, finding.effect) for finding in report.findings} == {
        ("trl", "dropped"),
        ("verl", "dropped"),
    }
    assert {finding.rule for finding in report.findings} == {"additionalProperties", "minLength", "maxLength"}


def test_a_tool_of_many_questions_is_found_once_and_a_toolset_that_is_too_large_by_its_question() -> None:
    many = Toolset(tuple([tool(f"look_{number}") for number in range(25)]))
    report = lint({"first": many, "second": many, "third": Toolset((tool("step"),))}, ["mtr-env", "openenv"])
    assert (report.toolsets, report.tools) == (3, 26)
    size = "a toolset has 1 to 24 tools, found 25"
    found = [(f.framework, f.tool, f.toolset, f.message) for f in report.findings if f.message == size]
    assert found == [("mtr-env", "", "first", size), ("mtr-env", "", "second", size)]
    assert [f.toolset for f in report.findings if f.framework == "openenv"] == ["third"]


def test_an_unknown_framework_is_named() -> None:
    with pytest.raises(ValueError, match="unknown framework 'vrl'; expected some of mtr-env, trl, verl"):
        lint({}, ["vrl"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["object", "array", "null"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("type properties items required enum anyOf additionalProperties $ref default x".split()),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(name=st.text(max_size=8), parameters=st.dictionaries(st.sampled_from(["type", "properties", "required"]), JSON))
def test_no_schema_whatever_makes_the_linter_raise(name: str, parameters: dict[str, Any]) -> None:
    for finding in findings(ToolSpec(name, "", parameters, {})):
        assert finding.effect in EFFECTS


# ----------------------------------------------------------------------------------------------- files and command line


def file(folder: Path, content: Any) -> str:
    path = folder / "tools.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize("wrapped", [lambda tools: tools, lambda tools: {"tools": tools}])
@pytest.mark.parametrize("form", [lambda f: f, lambda f: {"type": "function", "function": f}])
def test_a_file_holds_tools_or_functions_in_openais_form(tmp_path: Path, wrapped: Any, form: Any) -> None:
    functions = [tool().openai()["function"], {"name": "ping"}]
    read = read_tools(file(tmp_path, wrapped([form(function) for function in functions])))
    assert [(t.name, t.description, t.parameters) for t in read.tools] == [
        ("look", "Looks.", tool().parameters),
        ("ping", "", {"type": "object", "properties": {}}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([], "expected a list of tools"),
        ({"name": "look"}, "expected a list of tools"),
        ([{"name": 7}], "tool 1 has no name"),
        (["look"], "tool 1 has no name"),
        ([{"function": None}], "tool 1 has no name"),
        ([{"name": "a"}, {"name": "b", "parameters": []}], r"tool 2 \('b'\): its parameters are no JSON Schema"),
    ],
)
def test_a_file_that_holds_no_tools_is_refused_in_a_sentence(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tools(file(tmp_path, content))


def test_two_tools_with_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolsetError, match="found twice: look"):
        read_tools(file(tmp_path, [{"name": "look"}] * 2))


def test_the_command_prints_a_table_and_ends_by_what_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = file(tmp_path, [tool(properties=NESTED).openai()])
    out = tmp_path / "findings.json"
    assert main(["lint-tools", given, "--framework", "verl"]) == 0
    assert "verl 0.9   dropped  properties" in capsys.readouterr().out
    assert main(["lint-tools", given, "--framework", "verl", "--strict"]) == 1
    assert main(["lint-tools", given, "--framework", "trl,mcp", "--json", str(out)]) == 1
    shown = capsys.readouterr().out
    assert "trl, look: Tool 'look': a Python signature cannot say its argument 'x'" in shown
    assert "nothing to say: mcp 1.30" in shown
    [found] = json.loads(out.read_text())["findings"]
    assert (found["effect"], found["tool"], found["toolset"]) == ("refused", "look", given)


def test_the_command_takes_an_id_a_question_and_a_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint-tools", "MTR-HotpotQA-v0", "--limit", "3"]) == 0
    assert "toolsets 3, different tools " in capsys.readouterr().out
    assert main(["lint-tools", "MTR-HotpotQA-v0", "--question-id", "sample-hotpotqa-02", "--framework", "mcp"]) == 0
    assert "toolsets 1, " in capsys.readouterr().out
    folder = str(tmp_path / "world")
    assert (
        main(["world", "build", "MTR-HotpotQA-v0", "--split", "sample", "--limit", "2", "--out", folder, "--quiet"])
        == 0
    )
    capsys.readouterr()
    assert main(["lint-tools", "MTR-HotpotQA-v0", "--world", folder]) == 0
    assert "toolsets 2, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MTR-HotpotQA-v0", "--framework", "vrl"], "unknown framework 'vrl'"),
        (["MTR-HotpotQA-v0", "--question-id", "no"], "No question with id 'no'"),
        (["MTR-HotpotQA-v1"], "unknown id 'MTR-HotpotQA-v1'"),
        (["no_file.json"], "there is no file 'no_file.json'"),
        (["FILE", "--split", "sample"], "holds its tools: options that choose questions"),
        (["FILE", "--tool-maker", "template"], "holds its tools: options that choose questions"),
        (["EMPTY"], "expected a list of tools"),
    ],
)
def test_a_wrong_command_is_refused_in_a_sentence(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.json").write_text("[]")
    places = {"FILE": file(tmp_path, [tool().openai()]), "EMPTY": str(tmp_path / "empty.json")}
    assert main(["lint-tools", *[places.get(option, option) for option in options]]) == 2
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------- the rules are true of the packages they name

SHAPES: list[Any] = [
    {**TEXT, "description": "A text.", "minLength": 1, "pattern": "a"},
    {"type": "integer", "default": 3, "maximum": 9},
    {"type": "array", "items": {"type": "string", "description": "One."}, "maxItems": 3},
    {"type": "array", "items": {"type": "array", "items": {"type": "number", "minimum": 0}}},
    {"type": "object", "additionalProperties": {"type": "integer", "maximum": 3}},
    {"type": "string", "enum": ["a", "b"], "title": "Letter"},
    {"type": ["string", "null"], "examples": ["a"]},
    {"anyOf": [TEXT, {"type": "integer"}], "description": "Either."},
    NESTED["x"],
    {"const": "a"},
    {"type": "object", "properties": {"y": {"oneOf": [TEXT]}}},
    True,
]


def lost(schema: Any, shown: Any, where: str) -> set[tuple[str, str]]:
    """The keywords that a schema has and what is shown of it has not, each with its place as findings name it."""
    found = set()
    for keyword, inner in schema.items():
        if keyword not in shown:
            found.add((keyword, where))
        elif keyword == "properties":
            for name in inner:
                found |= lost(inner[name], shown[keyword][name], f"{where}.{name}")
        elif keyword in ("items", "additionalProperties") and isinstance(inner, dict):
            found |= lost(inner, shown[keyword], where + {"items": "[]"}.get(keyword, f"/{keyword}"))
    return found


def agrees(shape: Any, framework: str, shown: Any) -> None:
    """`shown` is what the package makes of the argument x, or `None` where it refuses it."""
    found = findings(tool(properties={"x": shape}), framework)
    assert any(finding.effect in LOST for finding in found) == (shown is None)
    if shown is not None:
        dropped = {(finding.rule, finding.where) for finding in found if finding.effect == "dropped"}
        assert dropped == lost(shape, shown, "x")


@pytest.mark.adapters
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_trls_tools_are_shown_as_the_rules_say(shape: Any) -> None:
    transformers = pytest.importorskip("transformers.utils", reason="the train extra is not installed")
    from mtr_env.methods import as_method

    try:
        method = as_method(tool(properties={"x": shape}), lambda *call: "")
    except ValueError:
        return agrees(shape, "trl", None)
    shown = transformers.get_json_schema(method)["function"]["parameters"]["properties"]["x"]
    assert shown.pop("nullable", False) == ("null" in (shape.get("type") if isinstance(shape, dict) else ()))
    agrees(shape | {"description": ""}, "trl", shown)


@pytest.mark.adapters
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inspects_tools_are_shown_as_the_rules_say(shape: Any) -> None:
    inspect_tool = pytest.importorskip("inspect_ai.tool", reason="the inspect extra is not installed")
    try:
        made = inspect_tool.ToolParams.model_validate(tool(properties={"x": shape}).parameters)
    except ValueError:
        return agrees(shape, "inspect", None)
    agrees(shape, "inspect", made.model_dump(exclude_unset=True)["properties"]["x"])


@pytest.mark.adapters
@pytest.mark.filterwarnings("ignore")
def test_openenvs_reserved_names_are_those_of_the_rule() -> None:
    rollout = pytest.importorskip("openenv.core.harness.rollout", reason="the openenv extra is not installed")
    assert {name for name in rollout.RESERVED_TOOL_NAMES if said(tool(name), "openenv")} == rollout.RESERVED_TOOL_NAMES


@pytest.mark.adapters
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["look", "look.at-it", "look at", "", "x" * 128, "x" * 129, "ö"])
def test_mcps_names_are_those_of_the_rule(name: str) -> None:
    names = pytest.importorskip("mcp.shared.tool_name_validation", reason="the mcp extra is not installed")
    assert names.validate_tool_name(name).is_valid == (not said(tool(name), "mcp"))
