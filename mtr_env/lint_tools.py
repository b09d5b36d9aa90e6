"""What each framework would refuse, hide, drop or change of a question's tools.

    report = lint({question_id: toolset})
    [finding.message for finding in report.findings if finding.framework == "verl"]

Only what a model is told is at stake: whatever a framework shows, arguments are checked against the whole schema. Each
rule was read in the package of the version named, or (the two providers' servers) in its documentation and errors. A
framework that stands in no rule shows schemas as they are: the text forms of this package, SkyRL-gym, GEM, verifiers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Struct

from mtr_env.contract import toolset_problems
from mtr_env.methods import as_method
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.version import __version__

Effect = Literal["refused", "hidden", "dropped", "changed", "warned"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
"""``refused``: an error at the start. ``hidden``: no tool to the model. ``dropped``: the model is not told.
``changed``: the model is told something else. ``warned``: nothing but a line in a log."""
LOST: frozenset[Effect] = frozenset({"refused", "hidden"})
"""With these the tool cannot be used there."""


class Finding(Struct, frozen=True):
    """What one framework does with one tool. ``rule`` names what it is about (a keyword, a name), ``where`` the place
    in the tool's parameters (``address.street``, ``tags[]``), ``""`` for the whole tool. ``toolset`` is the first one
    that has the tool."""

    framework: str
    version: str
    effect: Effect
    rule: str
    tool: str
    where: str
    message: str
    toolset: str


class LintReport(Struct, frozen=True):
    """All findings, each once for every different tool, in the order of ``frameworks``; how many different ``tools``
    the ``toolsets`` have."""

    frameworks: tuple[str, ...]
    toolsets: int
    tools: int
    findings: tuple[Finding, ...]


class Problem(NamedTuple):
    """A finding of a rule."""

    effect: Effect
    rule: str
    where: str
    message: str


class Part(NamedTuple):
    """A schema within a tool's parameters, and where it stands."""

    where: str
    schema: Any


class Framework(NamedTuple):
    """What is checked for one framework: the version in which the rules were read, and the rules."""

    version: str
    check: Callable[[ToolSpec], Iterator[Problem]]


def lint(toolsets: Mapping[str, Toolset], frameworks: Sequence[str] = ()) -> LintReport:
    """The findings about toolsets, by their names (a question's id), for all frameworks or for those named, which are
    keys of :data:`FRAMEWORKS`. Raises ``ValueError`` for another name."""
    unknown = [name for name in frameworks if name not in FRAMEWORKS]
    if unknown:
        raise ValueError(f"unknown framework {unknown[0]!r}; expected some of {', '.join(FRAMEWORKS)}.")
    first: dict[bytes, tuple[str, ToolSpec]] = {}
    for name, toolset in toolsets.items():
        for tool in toolset.tools:
            first.setdefault(msgspec.json.encode((tool.name, tool.description, tool.parameters)), (name, tool))
    chosen = tuple(frameworks) or tuple(FRAMEWORKS)
    findings = [
        Finding(framework, FRAMEWORKS[framework].version, *problem[:2], tool.name, *problem[2:], name)
        for framework in chosen
        for name, tool in first.values()
        for problem in FRAMEWORKS[framework].check(tool)
    ]
    if OURS in chosen:
        findings += [
            Finding(OURS, __version__, "refused", "toolset", "", "", message, name)
            for name, toolset in toolsets.items()
            for message in _of_the_whole(toolset)
        ]
    return LintReport(chosen, len(toolsets), len(first), tuple(findings))


def read_tools(path: str | os.PathLike[str]) -> Toolset:
    """The tools of a JSON file: a list of OpenAI's tools or functions, or an object with such a list as ``tools``.

    Raises ``ValueError`` that says what is wrong with the file, ``OSError`` when it cannot be read, and
    :class:`~mtr_env.errors.ToolsetError` for two tools with one name.
    """
    try:
        said = msgspec.json.decode(Path(path).read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    tools = said.get("tools") if isinstance(said, dict) else said
    if not isinstance(tools, list) or not tools:
        raise ValueError(f"{path}: expected a list of tools in OpenAI's form, or an object with one as `tools`.")
    return Toolset(tuple([_read(f"{path}: tool {number}", tool) for number, tool in enumerate(tools, 1)]))


def _read(where: str, tool: Any) -> ToolSpec:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError(f"{where} has no name.")
    parameters = function.get("parameters", {"type": "object", "properties": {}})
    if not isinstance(parameters, dict):
        raise ValueError(f"{where} ({function['name'][:64]!r}): its parameters are no JSON Schema.")
    return ToolSpec(function["name"], str(function.get("description") or ""), parameters, {})


# ---------------------------------------------------------------------------------------------- walking through schemas

_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SINGLE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")


def parts(whole: Part) -> Iterator[Part]:
    """A schema and all schemas within it, from the outside."""
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part.schema, dict):
            waiting += reversed([*_below(part)])


def _below(part: Part) -> Iterator[Part]:
    for keyword in _NAMED:
        named = part.schema.get(keyword)
        for name, schema in named.items() if isinstance(named, dict) else ():
            yield Part(f"{part.where}.{name}".lstrip("."), schema)
    for keyword in _SINGLE:
        if isinstance(part.schema.get(keyword), dict):
            yield Part(part.where + ("[]" if keyword == "items" else f"/{keyword}"), part.schema[keyword])
    for keyword in _SEVERAL:
        several = part.schema.get(keyword)
        for number, schema in enumerate(several if isinstance(several, list) else ()):
            yield Part(f"{part.where}/{keyword}[{number}]", schema)


def _properties(schema: Mapping[str, Any]) -> list[Part]:
    """The schemas of an object's properties (of a tool's arguments), without those within them."""
    properties = schema.get("properties")
    return [Part(name, schema) for name, schema in properties.items()] if isinstance(properties, dict) else []


def _beyond(part: Part, kept: frozenset[str]) -> Iterator[Problem]:
    """The keywords that are not among those that are ``kept``."""
    for keyword in part.schema if isinstance(part.schema, dict) else ():
        if keyword not in kept:
            yield Problem("dropped", keyword, part.where, f"the model is not told {keyword}")


def _named(name: str, pattern: str, effect: Effect = "refused") -> Iterator[Problem]:
    if re.fullmatch(pattern, name, re.ASCII) is None:
        yield Problem(effect, "tool name", "", f"a tool's name is {pattern}")


def _without_at_the_top(tool: ToolSpec, *keywords: str) -> Iterator[Problem]:
    if tool.parameters.get("type") != "object":
        yield Problem("refused", "type", "", "parameters have the type 'object'")
    for keyword in keywords:
        if keyword in tool.parameters:
            yield Problem("refused", f"top-level {keyword}", "", f"{keyword} may not stand at the top of parameters")


# ------------------------------------------------------------------------------------------------------------ the rules


def _ours(tool: ToolSpec) -> Iterator[Problem]:
    for message in toolset_problems(Toolset((tool,))):
        yield Problem("refused", "toolset", "", message)


def _of_the_whole(toolset: Toolset) -> list[str]:
    """What is wrong with a toolset and with none of its tools: how many they are, and how large."""
    alone = {message for tool in toolset.tools for message in toolset_problems(Toolset((tool,)))}
    return [message for message in toolset_problems(toolset) if message not in alone]


_HINT = frozenset({"type", "enum", "items", "additionalProperties"})


def _trl(tool: ToolSpec) -> Iterator[Problem]:
    """The tools of ``environment_factory`` are methods; transformers reads their signatures back into schemas."""
    if tool.name in ("reset", "get_reward") or tool.name.startswith("_"):
        yield Problem(
            "hidden", "tool name", "", "the environment's own: reset, get_reward, and names that begin with _"
        )
    try:
        as_method(tool, lambda episode, name, arguments: "")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        yield Problem("refused", "Python signature", "", str(error))
        return
    yield from _beyond(Part("", tool.parameters), frozenset({"type", "properties", "required"}))
    for argument in _properties(tool.parameters):
        for part in parts(argument):
            yield from _beyond(part, _HINT | {"description"} if part is argument else _HINT)
            if isinstance(part.schema, dict) and "null" in _types(part.schema):
                yield Problem("changed", "null", part.where, "the type null becomes the keyword nullable")


def _types(schema: Mapping[str, Any]) -> list[Any]:
    said = schema.get("type")
    return said if isinstance(said, list) else [said]


def _verl(tool: ToolSpec) -> Iterator[Problem]:
    """``BaseTool`` (``verl.tools.schemas.OpenAIFunctionToolSchema``): flat arguments, each with a type."""
    if not isinstance(tool.parameters.get("properties"), dict):
        yield Problem("refused", "properties", "", "parameters have properties, if only none")
    yield from _beyond(Part("", tool.parameters), frozenset({"type", "properties", "required"}))
    for argument in _properties(tool.parameters):
        if not isinstance(argument.schema, dict) or not all(isinstance(kind, str) for kind in _types(argument.schema)):
            yield Problem("refused", "no type", argument.where, "an argument has a type (no anyOf, $ref, const alone)")
        yield from _beyond(argument, frozenset({"type", "description", "enum"}))


def _openenv(tool: ToolSpec) -> Iterator[Problem]:
    """``RESERVED_TOOL_NAMES`` of its environments and of its rollouts."""
    if tool.name in ("reset", "step", "state", "close"):
        yield Problem("refused", "tool name", "", "reserved: reset, step, state, close")


def _mcp(tool: ToolSpec) -> Iterator[Problem]:
    """``mcp.shared.tool_name_validation``."""
    yield from _named(tool.name, "[A-Za-z0-9._-]{1,128}", "warned")


_INSPECT = frozenset(
    """type format description default enum items properties additionalProperties anyOf required pattern minLength
    maxLength minimum maximum examples""".split()
)
_JSON_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object", "null", None})


def _inspect(tool: ToolSpec) -> Iterator[Problem]:
    """``ToolParams`` and ``inspect_ai.util.JSONSchema``."""
    yield from _beyond(Part("", tool.parameters), frozenset({"type", "properties", "required", "additionalProperties"}))
    for argument in _properties(tool.parameters):
        for part in parts(argument):
            if not isinstance(part.schema, dict) or not _JSON_TYPES.issuperset(map(_hashable, _types(part.schema))):
                yield Problem("refused", "no schema", part.where, "a schema is an object with a JSON type, or none")
            yield from _beyond(part, _INSPECT)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | None) else "no type"


_PROVIDER_NAME = "[a-zA-Z0-9_-]{1,64}"


def _openai(tool: ToolSpec) -> Iterator[Problem]:
    """``FunctionDefinition``, and the errors of the server (``invalid_function_parameters``)."""
    yield from _named(tool.name, _PROVIDER_NAME)
    yield from _without_at_the_top(tool, "oneOf", "anyOf", "allOf", "enum", "const", "not")
    for part in parts(Part("", tool.parameters)):
        if isinstance(part.schema, dict) and "array" in _types(part.schema) and "items" not in part.schema:
            yield Problem("refused", "array without items", part.where, "an array says what its items are")


def _openai_strict(tool: ToolSpec) -> Iterator[Problem]:
    """``"strict": true``: the subset of Structured Outputs (``openai.lib._pydantic``, and the documentation)."""
    yield from _openai(tool)
    unknown = "oneOf allOf not default dependentRequired dependentSchemas if then else".split()
    for part in parts(Part("", tool.parameters)):
        schema = part.schema if isinstance(part.schema, dict) else {}
        for keyword in unknown:
            if keyword in schema:
                yield Problem("refused", keyword, part.where, f"{keyword} is not permitted in strict mode")
        if "object" in _types(schema):
            if schema.get("additionalProperties") is not False:
                yield Problem(
                    "refused", "additionalProperties", part.where, "an object has additionalProperties: false"
                )
            required = schema.get("required")
            if [part for part in _properties(schema) if not isinstance(required, list) or part.where not in required]:
                yield Problem("refused", "optional argument", part.where, "every property is required")


def _anthropic(tool: ToolSpec) -> Iterator[Problem]:
    """The errors of the server."""
    yield from _named(tool.name, _PROVIDER_NAME)
    yield from _without_at_the_top(tool, "oneOf", "anyOf", "allOf")
    for argument in _properties(tool.parameters):
        if re.fullmatch("[a-zA-Z0-9_.-]{1,64}", argument.where, re.ASCII) is None:
            yield Problem("refused", "argument name", argument.where, "an argument's name is [a-zA-Z0-9_.-]{1,64}")


OURS = "mtr-env"
FRAMEWORKS: Mapping[str, Framework] = {
    OURS: Framework(__version__, _ours),
    "trl": Framework("1.16", _trl),
    "verl": Framework("0.9", _verl),
    "openenv": Framework("0.10", _openenv),
    "mcp": Framework("1.30", _mcp),
    "inspect": Framework("0.3.285", _inspect),
    "openai": Framework("3.51", _openai),
    "openai-strict": Framework("3.51", _openai_strict),
    "anthropic": Framework("2.11", _anthropic),
}
"""What is checked. ``trl`` is its ``environment_factory`` (:class:`~mtr_env.adapters.trl.MTRSpec`), ``verl`` its
``BaseTool``: this package's other forms for both show schemas as they are."""
