"""Valid calls chosen at random: the floor for tool use, and a smoke test for any toolset."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from mtr_env import draw
from mtr_env.contract import Contract
from mtr_env.grammar import Grammar, get_grammar
from mtr_env.policies import reading
from mtr_env.policies.base import Messages, Policy, Tools
from mtr_env.tool import Schema, Toolset
from mtr_env.trace import Call, Trace

_ATTEMPTS = 24
_MAX_DEPTH = 6
_TEXT_CHARS = 100
Key = tuple[str | int, ...]


class RandomValid:
    """Makes 1 to 4 random calls that keep the contract, one a step, then answers with any value of what it saw last.

    Names, words and texts come from the question and from earlier observations. Every draw is a function of ``seed``,
    the episode's seed and question id, and the turn. A tool for whose schema nothing valid comes up is not called.
    """

    def __init__(self, grammar: str | Grammar = "hermes", seed: int = 0) -> None:
        self.grammar = get_grammar(grammar)
        self.seed = seed

    def for_episode(self, trace: Trace) -> Policy:
        """See :class:`~mtr_env.policies.base.EpisodicPolicy`; reads the trace's seed and question id only."""
        return _Player(self.grammar, ("random-valid", self.seed, trace.seed, trace.question.id))


class _Player:
    def __init__(self, grammar: Grammar, key: Key) -> None:
        self.grammar = grammar
        self.key = key

    def __call__(self, messages: Messages, tools: Tools) -> str:
        question, turn = reading.question_of(messages), reading.turn(messages)
        steps = reading.observed(messages, self.grammar)
        names = [*reading.mentions(question), *question.split()] or ["unknown"]
        values = [list(reading.leaves([result.content for result in step])) for step in steps]
        seen = [_texts(strings) for strings in values]
        if turn < 1 + draw.below(4, *self.key, "calls"):
            call = random_call(tools, list(dict.fromkeys([*names, *chain.from_iterable(seen)])), (*self.key, turn))
            if call is not None:
                return self.grammar.render_call(call)
        last = values[-1] if values else []
        return self.grammar.render_answer(draw.choice(last or names, *self.key, turn, "answer"))


def _texts(strings: Iterable[str]) -> list[str]:
    return [text for text in strings if 0 < len(text) <= _TEXT_CHARS]


def random_call(tools: Tools, texts: list[str], key: Key) -> Call | None:
    """A random call that keeps the contract of ``tools``, with strings from ``texts``; ``None`` where none comes up."""
    specs = reading.specs_of(tools)
    contract = Contract(Toolset(specs))
    for spec in draw.shuffled(specs, *key, "tool"):
        for attempt in range(_ATTEMPTS):
            arguments = random_value(spec.parameters, texts, (*key, spec.name, attempt))
            if isinstance(arguments, dict):
                call = Call(spec.name, arguments)
                if contract.check_call(call) is None:
                    return call
    return None


def random_value(schema: Schema | bool, texts: list[str], key: Key, root: Schema | None = None, depth: int = 0) -> Any:
    """A random value of the common shapes of a JSON Schema: a good try, not a proof; check it against the schema.

    Optional properties appear half of the time, and never deep inside a schema that refers to itself.
    """
    if isinstance(schema, bool) or depth > 2 * _MAX_DEPTH:
        return draw.choice(texts, *key)
    root = root or schema
    if "$ref" in schema:
        return random_value(_resolve(schema["$ref"], root), texts, (*key, "$ref"), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw.choice(schema["enum"], *key, "enum")
    for branches in ("anyOf", "oneOf"):
        if branches in schema:
            branch = draw.choice(schema[branches], *key, branches)
            outer = {name: value for name, value in schema.items() if name != branches}
            merged = {**outer, **branch} if isinstance(branch, dict) else outer
            return random_value(merged, texts, (*key, branches), root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = draw.choice(kind, *key, "type")
    if kind == "object":
        return _object(schema, texts, key, root, depth)
    if kind == "array":
        return _array(schema, texts, key, root, depth)
    if kind == "string":
        return _string(schema, texts, key)
    if kind in ("integer", "number"):
        return _number(schema, key, whole=kind == "integer")
    return draw.below(2, *key) == 1 if kind == "boolean" else None


def _resolve(reference: str, root: Schema) -> Any:
    part: Any = root
    for name in reference.removeprefix("#").split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        part = part.get(name, {}) if isinstance(part, dict) else {}
    return part


def _object(schema: Schema, texts: list[str], key: Key, root: Schema, depth: int) -> dict[str, Any]:
    required = schema.get("required", [])
    return {
        name: random_value(inner, texts, (*key, name), root, depth + 1)
        for name, inner in schema.get("properties", {}).items()
        if name in required or (depth < _MAX_DEPTH and draw.below(2, *key, name, "present"))
    }


def _array(schema: Schema, texts: list[str], key: Key, root: Schema, depth: int) -> list[Any]:
    least = schema.get("minItems", 0)
    most = min(schema.get("maxItems", least + 3), least + (3 if depth < _MAX_DEPTH else 0))
    count = least + draw.below(most - least + 1, *key, "length") if most > least else least
    items = schema.get("items", {})
    return [random_value(items, texts, (*key, i), root, depth + 1) for i in range(count)]


def _string(schema: Schema, texts: list[str], key: Key) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    text = draw.choice(texts, *key)
    while len(text) < least:
        text += " " + draw.choice(texts, *key, len(text))
    return text[:most]


def _number(schema: Schema, key: Key, *, whole: bool) -> int | float:
    low, high = schema.get("minimum"), schema.get("maximum")
    unit = schema.get("multipleOf", 1 if whole else 0)
    if low is None:
        low = schema.get("exclusiveMinimum")
        low = low + (unit or 1e-6) if low is not None else None
    if high is None:
        high = schema.get("exclusiveMaximum")
        high = high - (unit or 1e-6) if high is not None else None
    if low is None:
        low = min(0, high) if high is not None else 0
    if high is None:
        high = low + 10 * (unit or 1)
    if not unit:
        return float(low + (high - low) * draw.uniform(*key, "number"))
    first, last = -(-low // unit), high // unit
    value = unit * (first + draw.below(max(1, int(last - first) + 1), *key, "number"))
    return int(value) if whole else value
