"""Toolsets as a whole: names, size, what is broken, and that an environment refuses broken ones."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

import mtr_env  # noqa: F401
from mtr_env.contract import MAX_TOOLS, MAX_TOOLSET_CHARS, RESERVED_NAMES, check_toolset, toolset_problems
from mtr_env.errors import ToolsetError
from mtr_env.question import Paragraph, Question
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolmakers.specs import SEARCH
from mtr_env.toolmakers.template import TemplateToolMaker

OBJECT: dict[str, Any] = {"type": "object"}


def tool(name: str = "get_director", **fields: Any) -> ToolSpec:
    return ToolSpec(name, **{"description": "Looks up.", "parameters": OBJECT, "response": OBJECT, **fields})


@pytest.mark.parametrize("name", ["get_director", "ab", "a1", "x" * 64, "list_films_by_director"])
def test_portable_names_are_fine(name: str) -> None:
    assert toolset_problems(Toolset((tool(name),))) == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "Get",
        "get-director",
        "get director",
        "1a",
        "_a",
        "a_",
        "x" * 65,
        "gét",
        "get.x",
        "a\n",
        "ab\n",
        *RESERVED_NAMES,
    ],
)
def test_names_that_some_trainer_cannot_take_are_refused(name: str) -> None:
    (problem,) = toolset_problems(Toolset((tool(name),)))
    assert problem == f"tool name {name!r} is not portable (lower-case identifier, not reserved)"


def test_two_tools_of_one_name_are_refused_at_once() -> None:
    with pytest.raises(ToolsetError, match=r"found twice: bb, cc\."):
        Toolset(tuple(tool(name) for name in ("cc", "aa", "bb", "cc", "bb")))


def test_a_toolset_has_1_to_24_tools() -> None:
    names = [f"tool_{i}" for i in range(MAX_TOOLS + 1)]
    assert toolset_problems(Toolset(())) == [f"a toolset has 1 to {MAX_TOOLS} tools, found 0"]
    assert toolset_problems(Toolset(tuple(map(tool, names[:-1])))) == []
    assert toolset_problems(Toolset(tuple(map(tool, names)))) == ["a toolset has 1 to 24 tools, found 25"]


def test_the_size_budget_counts_schemas_and_descriptions() -> None:
    room = MAX_TOOLSET_CHARS - 2 * len('{"type":"object"}')
    assert toolset_problems(Toolset((tool(description="x" * room),))) == []
    (problem,) = toolset_problems(Toolset((tool(description="x" * (room + 1)),)))
    assert problem == f"the toolset has {MAX_TOOLSET_CHARS + 1} characters, more than {MAX_TOOLSET_CHARS}"


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return {"type": "object", "properties": {"x": schema}}


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"parameters": {"type": "string"}}, "parameters must have type 'object', found 'string'"),
        ({"parameters": {}}, "parameters must have type 'object', found None"),
        ({"parameters": {"type": "object", "properties": 5}}, "parameters is not a valid JSON Schema"),
        ({"parameters": {"type": "object", "required": "x"}}, "parameters is not a valid JSON Schema"),
        ({"response": {"type": "strin"}}, "response is not a valid JSON Schema"),
        ({"response": {"minLength": -1}}, "response is not a valid JSON Schema"),
        ({"response": {"$ref": "#/$defs/missing"}}, "response is not a valid JSON Schema"),
        ({"response": {"$ref": "other.json"}}, "$ref must be local"),
        ({"response": {"type": object()}}, "response is not JSON"),
        ({"response": {"const": "\ud800"}}, "response is not JSON"),
        ({"response": deep(3000)}, "response is not"),
        ({"response": True}, "response must be an object, found bool"),
        ({"parameters": None}, "parameters must be an object, found NoneType"),
        ({"entities": ("film",)}, "entity argument 'film' is not among the parameters"),
        ({"description": "\ud800"}, "the description is not valid Unicode text"),
    ],
)
def test_every_breach_is_named(fields: dict[str, Any], part: str) -> None:
    broken = Toolset((tool(**fields),))
    problems = toolset_problems(broken)
    assert any(part in problem for problem in problems), problems
    with pytest.raises(ToolsetError, match="Invalid toolset from an unnamed maker: "):
        check_toolset(broken, "Who directed Kolya?", ("Jan Svěrák",))


def test_the_error_of_a_broken_toolset_names_everything() -> None:
    broken = Toolset(
        (
            tool("Bad Name"),
            tool("get_a", parameters={"type": "array"}),
            tool("get_b", response={"$ref": "http://x.example/y"}),
            tool("get_c", description="Jan Svěrák made it, or J. Sverak."),
            tool("get_d", entities=("who",)),
        ),
        maker="a maker",
    )
    with pytest.raises(ToolsetError) as caught:
        check_toolset(broken, "Who directed Kolya?", ("Jan Svěrák", "J. Sverak"))
    message = str(caught.value)
    assert message.startswith("Invalid toolset from a maker: ")
    for part in (
        "tool name 'Bad Name' is not portable",
        "get_a: parameters must have type 'object'",
        "get_b: response is not a valid JSON Schema: $ref must be local",
        "get_c gives away the gold answer 'jan sverak'",
        "get_c gives away the gold answer 'j sverak'",
        "get_d: entity argument 'who'",
    ):
        assert part in message


class FixedToolMaker:
    """Gives every question the same tools."""

    name = "fixed"

    def __init__(self, *tools: ToolSpec) -> None:
        self.toolset = Toolset(tools, maker=self.name)

    def __deepcopy__(self, memo: object) -> FixedToolMaker:
        return self

    def make(self, question: Question, key: str = "") -> Toolset:
        return self.toolset


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"response": {"$ref": "http://127.0.0.1:9/x"}}, "must be local"),
        ({"parameters": {"type": "object", "properties": {"x": {"pattern": "("}}}}, "regex"),
        ({"description": "Try Fårö."}, "gives away the gold answer 'faro'"),
    ],
)
def test_an_environment_refuses_a_broken_toolset_at_reset(fields: dict[str, Any], part: str) -> None:
    env = gym.make("MTR-HotpotQA-v0", tool_maker=FixedToolMaker(tool(**fields)))
    with pytest.raises(ToolsetError, match=part):
        env.reset(options={"question_id": "sample-hotpotqa-01"})


def test_a_toolset_that_two_questions_share_restores_the_right_question() -> None:
    env = gym.make("MTR-HotpotQA-v0", tool_maker=FixedToolMaker(SEARCH))
    traces = []
    for question_id in ("sample-hotpotqa-01", "sample-hotpotqa-02"):
        env.reset(seed=0, options={"question_id": question_id})
        traces.append(env.snapshot())
    for trace in (*traces, *traces):
        observation, info = env.restore(trace)
        assert info["question_id"] == trace.question.id
        assert trace.question.text in observation
        title = trace.question.paragraphs[0].title
        call = f'<tool_call>{{"name":"search","arguments":{{"query":"{title}"}}}}</tool_call>'
        assert title in env.step(call)[0]


@pytest.mark.parametrize(
    "answer", ["object", "String", "status", "Then", "Error", "required", "Items", "page", "Title"]
)
def test_no_answer_leaves_a_question_without_tools(answer: str) -> None:
    question = Question("q", "Where is it?", answer, paragraphs=(Paragraph("X", ("X is.",)),))
    assert {"search", "open_page", "find_in_page"} <= set(TemplateToolMaker().make(question).names)


def test_the_openai_form_belongs_to_the_caller() -> None:
    tools = Toolset((SEARCH,))
    form = tools.openai()
    form[0]["function"]["parameters"]["properties"].clear()
    assert tools.openai()[0]["function"]["parameters"]["properties"]
    assert set(form[0]) == {"type", "function"}
    assert set(form[0]["function"]) == {"name", "description", "parameters"}


def test_get_finds_a_tool_by_name_only() -> None:
    tools = Toolset((SEARCH, tool()))
    assert tools.get("search") is SEARCH
    assert tools.get("Search") is None
    assert tools.names == ("search", "get_director")


@pytest.mark.parametrize("value", ["abc", -1, 2.0])
def test_a_number_of_tools_that_cannot_be_is_told_by_its_name(value: Any) -> None:
    with pytest.raises(ValueError, match=f"extra_tools must be an integer of at least 0, found {value!r}"):
        TemplateToolMaker(value)
