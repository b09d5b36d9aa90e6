"""The contract of a toolset: are a call's arguments and a tool's response what their schemas promise?

The yes or no and the message both come from ``jsonschema_rs`` with linear-time regular expressions (no look-around, no
back-references), so that no policy's text can make a pattern run away, and without access to the network. The
meta-schema check, done once when a toolset is made, comes from ``jsonschema``.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec

from mtr_env.errors import ToolsetError
from mtr_env.memo import IdentityCache
from mtr_env.text import contains_words, fold
from mtr_env.tool import Schema, Toolset, ToolSpec
from mtr_env.trace import Call, Fault

MAX_TOOLS = 24
MAX_TOOLSET_CHARS = 24_000
_PORTABLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}[a-z0-9]", re.ASCII)
RESERVED_NAMES = frozenset({"reset", "step", "state", "close", "verify", "get_reward", "submit_answer"})

# A generic answer gives nothing away when a tool's description uses the word; everything else must not occur there.
GENERIC_WORDS = frozenset(
    """yes no true false none unknown actor actress author writer director producer composer singer performer player
    person people man woman film movie song album book novel play series band group artist musician poet politician
    painter scientist company organization organisation university school college team club country city town village
    state region county district place river mountain island language nationality citizenship occupation profession
    date year month day time number name title page text query answer question first second third last one two three
    four five six seven eight nine ten more less same different older younger earlier later before after both neither
    father mother son daughter brother sister husband wife spouse child children parent family birth death born died
    capital population area height length age work music war battle king queen president record label award
    founder owner publisher developer manufacturer creator character location headquarters border religion""".split()
)


class Contract:
    """A toolset's compiled checks; build it once per toolset and share it. Holds no state but the compiled schemas."""

    def __init__(self, toolset: Toolset) -> None:
        self.toolset = toolset
        self.specs = {tool.name: tool for tool in toolset.tools}
        self._arguments: dict[str, Any] = {}
        self._responses: dict[str, Any] = {}

    def check_call(self, call: Call, index: int | None = None) -> Fault | None:
        """The policy's fault in this call (``unknown_tool`` or ``invalid_arguments``), or ``None``."""
        is_valid = self._arguments.get(call.name)
        if is_valid is None:
            spec = self.specs.get(call.name)
            if spec is None:
                return Fault("unknown_tool", self._unknown(call.name), index)
            is_valid = self._arguments[call.name] = _compiled(spec.parameters).is_valid
        try:
            if is_valid(call.arguments):
                return None
        except _NOT_JSON:
            pass
        message = _first_error(self.specs[call.name].parameters, call.arguments)
        return Fault("invalid_arguments", f"Invalid arguments for {call.name}: {message}", index)

    def check_response(self, value: Any, spec: ToolSpec, index: int | None = None) -> Fault | None:
        """The simulator's fault in this response value (``invalid_response``), or ``None``."""
        is_valid = self._responses.get(spec.name)
        if is_valid is None:
            is_valid = self._responses[spec.name] = _compiled(spec.response).is_valid
        try:
            if is_valid(value):
                return None
        except _NOT_JSON:
            pass
        message = _first_error(spec.response, value)
        return Fault("invalid_response", f"{spec.name} returned an invalid response: {message}", index)

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name[:100], self.specs, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        return f"There is no tool called {name[:100]!r}; the tools are {', '.join(self.specs)}.{hint}"


# What jsonschema_rs raises on Python objects that are not JSON (or hold lone surrogates, or are nested too deeply).
_NOT_JSON = (ValueError, TypeError, OverflowError, RecursionError)


def _first_error(schema: Schema, value: Any) -> str:
    try:
        errors = sorted(_compiled(schema).iter_errors(value), key=lambda e: (len(e.instance_path), e.message))
        if not errors:
            return "the value could not be checked"
        where = "".join(f"[{part!r}]" for part in errors[0].instance_path)
        message = errors[0].message
        return f"{message[:300]}{f' at {where}' if where else ''}."
    except _NOT_JSON:
        return "the value is not JSON."


def _refuse(uri: str) -> Any:
    raise ValueError(f"a schema is never fetched, found {uri!r}")


@lru_cache(4096)
def _compile(schema: bytes) -> Any:
    return jsonschema_rs.Draft202012Validator(
        msgspec.json.decode(schema), retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
    )


def _compiled(schema: Schema) -> Any:
    return _compile(msgspec.json.encode(schema))


@lru_cache(4096)
def _schema_problem(schema: bytes) -> str | None:
    """What is wrong with a schema, or ``None``. Only local references: a schema never makes us fetch anything."""
    import jsonschema  # slow to import, and needed only when a toolset is made

    decoded = msgspec.json.decode(schema)
    for reference in _references(decoded):
        if not reference.startswith("#"):
            return f"$ref must be local (begin with '#'), found {reference!r}"
    try:
        jsonschema.Draft202012Validator.check_schema(decoded)
        _compile(schema)
    except (jsonschema.SchemaError, jsonschema_rs.ValidationError) as error:
        return str(error.message)[:300]
    except (ValueError, RecursionError) as error:
        return str(error)[:300]
    return None


def _references(schema: Any) -> list[str]:
    found, stack = [], [schema]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            found += [part[key] for key in ("$ref", "$dynamicRef") if isinstance(part.get(key), str)]
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)
    return found


class _ToolCheck(NamedTuple):
    """What is found out once about a tool: its problems, its size in characters, and all its words, folded."""

    problems: tuple[str, ...]
    size: int
    words: str


def _check_tool(tool: ToolSpec) -> _ToolCheck:
    problems = []
    size = len(tool.description)
    if not _PORTABLE_NAME.fullmatch(tool.name) or tool.name in RESERVED_NAMES:
        problems.append(f"tool name {tool.name!r} is not portable (lower-case identifier, not reserved)")
    words = [tool.name, tool.description]
    for what, schema in (("parameters", tool.parameters), ("response", tool.response)):
        try:
            encoded = msgspec.json.encode(schema)
        except (TypeError, ValueError, RecursionError) as error:
            problems.append(f"{tool.name}: {what} is not JSON: {error}")
            continue
        if not isinstance(schema, dict):
            problems.append(f"{tool.name}: {what} must be an object, found {type(schema).__name__}")
            continue
        size += len(encoded)
        problem = _schema_problem(encoded)
        if problem is not None:
            problems.append(f"{tool.name}: {what} is not a valid JSON Schema: {problem}")
        words += _schema_words(schema)
    parameters = tool.parameters if isinstance(tool.parameters, dict) else {"type": "object"}
    if parameters.get("type") != "object":
        problems.append(f"{tool.name}: parameters must have type 'object', found {parameters.get('type')!r}")
    properties = parameters.get("properties")
    unknown = [name for name in tool.entities if not isinstance(properties, dict) or name not in properties]
    if unknown:
        problems.append(f"{tool.name}: entity argument {unknown[0]!r} is not among the parameters")
    if not _is_unicode(tool.description):
        problems.append(f"{tool.name}: the description is not valid Unicode text")
    return _ToolCheck(tuple(problems), size, " | ".join(fold(word) for word in words))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_TOOL_CHECKS: IdentityCache[ToolSpec, _ToolCheck] = IdentityCache(4096)  # the template's tools serve many questions


def toolset_problems(toolset: Toolset) -> list[str]:
    """Everything that is wrong with a toolset as such: schemas, portable names, size. Empty when it is sound."""
    checks = [_TOOL_CHECKS.get(tool, _check_tool) for tool in toolset.tools]
    problems = [problem for check in checks for problem in check.problems]
    if not 1 <= len(toolset.tools) <= MAX_TOOLS:
        problems.append(f"a toolset has 1 to {MAX_TOOLS} tools, found {len(toolset.tools)}")
    size = sum(check.size for check in checks)
    if size > MAX_TOOLSET_CHARS:
        problems.append(f"the toolset has {size} characters, more than {MAX_TOOLSET_CHARS}")
    return problems


def leaks(tool: ToolSpec, question: str, golds: tuple[str, ...]) -> list[str]:
    """The gold answers that a tool gives away: in its name, a description, an enum, an example or any other word.

    An answer that stands in the question already, or consists of generic words only (:data:`GENERIC_WORDS`), is none.
    """
    secrets = secret_answers(question, golds)
    if not secrets:
        return []
    words = _TOOL_CHECKS.get(tool, _check_tool).words
    return [secret for secret in secrets if contains_words(words, secret)]


@lru_cache(16)  # every tool of a question is asked about the same ones
def secret_answers(question: str, golds: tuple[str, ...]) -> tuple[str, ...]:
    """The gold answers, folded, that a text can give away: those that neither stand in the question nor consist of
    generic words only."""
    folded = fold(question)
    return tuple([s for s in map(fold, golds) if s and not _is_public(s, folded)])


# The words that JSON Schema itself and every tool's response envelope are made of: in each toolset of every question.
_STRUCTURE = frozenset(
    """type object array string integer number boolean null properties required items enum const additionalproperties
    description minlength maxlength minimum maximum if then else status ok not found ambiguous error message candidates
    result results snippet""".split()
)


def _is_public(answer: str, question: str) -> bool:
    words = answer.split()
    return contains_words(question, answer) or all(word in GENERIC_WORDS or word in _STRUCTURE for word in words)


# A bound such as "maximum": 5 is no hint, but a number among these may be.
_VALUE_KEYWORDS = frozenset({"enum", "const", "default", "example", "examples"})


def _schema_words(schema: Schema) -> list[str]:
    words: list[str] = []
    stack: list[tuple[str, Any]] = [("", schema)]
    while stack:
        keyword, part = stack.pop()
        if isinstance(part, dict):
            stack.extend((keyword if keyword in _VALUE_KEYWORDS else key, item) for key, item in part.items())
            words.extend(part)
        elif isinstance(part, (list, tuple)):
            stack.extend((keyword, item) for item in part)
        elif isinstance(part, str) or keyword in _VALUE_KEYWORDS:
            words.append(str(part))
    return words


def check_toolset(toolset: Toolset, question: str, golds: tuple[str, ...]) -> None:
    """Raises :class:`~mtr_env.errors.ToolsetError` that names every problem and leak of a toolset."""
    problems = toolset_problems(toolset)
    for tool in toolset.tools:
        problems += [f"{tool.name} gives away the gold answer {leak!r}" for leak in leaks(tool, question, golds)]
    if problems:
        raise ToolsetError(f"Invalid toolset from {toolset.maker or 'an unnamed maker'}: {'; '.join(problems)}.")
