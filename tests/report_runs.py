"""Runs for the tests of the report: played ones, and one in which every text is an attack."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from mtr_env.evaluate import read_info, read_traces, run, write_json
from mtr_env.policies.oracle import Oracle
from mtr_env.policies.usage import EpisodeUsage
from mtr_env.registration import make_game
from mtr_env.trace import Call, Fault, Response, Step, Trace, encode

ATTACKS = (
    "</script><script>window.attacked = 1</script>",
    "<!--<script>",
    "<img src=x onerror=\"window.attacked = 1\"><svg onload='window.attacked = 1'>",
    "javascript:window.attacked=1",
    "\"]}'`${window.attacked = 1}\\u003c",
    "{{script}}{{chunks}} \u202egpj.exe\u202c \u2028\x00\x07 &lt;b&gt;",
    "__proto__",
)


def played(out: Path, policy: str, episodes: int = 12, **options: Any) -> Path:
    run(make_game("MTR-Synthetic-v0", limit=episodes, **options), policy, out, command=("mtr-env", "run", "it's"))
    return out


class Paid:
    """The oracle, that says each of its episodes took two requests, of which one failed, 110 tokens and a cent."""

    sees_gold = True

    def for_episode(self, trace: Trace) -> Any:
        return Oracle().for_episode(trace)

    def usage(self, question_id: str, seed: int) -> EpisodeUsage:
        return EpisodeUsage(2, 100, 10, 0.01, 1.5 + seed, failed=1)


def sampled(out: Path, questions: int = 6) -> Path:
    """A run with samples by a model whose name is as long as those of endpoints."""
    name = "auto(vendor/model-9(temperature=0.7, max_output_tokens=1024), native, prompt=auto-v1)"
    run(make_game("MTR-Synthetic-v0", limit=questions, noise=0.2), Paid(), out, policy_name=name, samples=3)
    return out


def write(folder: Path, traces: list[Trace]) -> Path:
    folder.mkdir()
    (folder / "traces.jsonl").write_bytes(b"".join(encode(trace) + b"\n" for trace in traces))
    return folder


def cut_run(folder: Path, oracle: Path, unscored_alarm: float) -> Path:
    """A run of 12 that was interrupted after 3, of which an outage ended one."""
    first, second, third, *_ = read_traces(oracle / "traces.jsonl")
    info = read_info(oracle / "run.json")
    assert info is not None
    write(folder, [first, outage(second), third])
    write_json(folder / "run.json", replace(info, unscored_alarm=unscored_alarm))
    return folder


def odd_steps(trace: Trace) -> Trace:
    """The trace with a step for each kind of fault before its own, and its tools' responses from a model."""
    tool = trace.toolset.tools[0].name
    call = Call(tool, {"x": 12345678901234567890, "deep": [{"a": [None, True, -0.5]}]})
    steps = (
        Step("no call at all", faults=(Fault("malformed_action", "Neither a call nor an answer."),), observation="{}"),
        Step(
            "<think>two</think>calls",
            (call, Call("nope", {})),
            (Response({"bad": 1}, ("p0s0",), "llm", note="broke its schema"), None),
            (Fault("invalid_response", "Broke its schema.", 0), Fault("unknown_tool", "No such tool.", 1)),
            "[]",
        ),
    )
    setup = replace(trace.setup, max_steps=trace.setup.max_steps + 2)
    return replace(trace, steps=(*steps, *trace.steps), setup=setup)


def outage(trace: Trace) -> Trace:
    """The trace as an outage would have ended it, unscored."""
    return replace(trace, steps=(Step("", faults=(Fault("infrastructure", "The endpoint is down."),)),))


def hostile(trace: Trace, attack: str) -> Trace:
    """The trace with an attack in every text: keys of arguments and values, names, references, faults."""
    kept = {"kind", "origin", "grammar", "rubric", "type", "stop"}

    def poison(value: Any, key: str = "") -> Any:
        if key in kept:
            return value
        if isinstance(value, str):
            return f"{attack} {value}"
        if isinstance(value, list):
            return [poison(item) for item in value]
        if isinstance(value, dict):
            inside = key in ("arguments", "value", "properties")
            return {f"{attack} {k}" if inside else k: poison(item, k) for k, item in value.items()}
        return value

    poisoned = poison(json.loads(encode(odd_steps(trace))))
    for number, tool in enumerate(poisoned["toolset"]["tools"]):
        tool["name"] += str(number)
    return msgspec.convert(poisoned, Trace)


def hostile_run(folder: Path, source: Path) -> Path:
    """One episode for each attack, and a run.json with an attack for a policy."""
    traces = list(read_traces(source / "traces.jsonl"))
    write(folder, [hostile(trace, attack) for trace, attack in zip(traces, ATTACKS, strict=False)])
    info = json.loads((source / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, "policy": ATTACKS[0], "command": list(ATTACKS)}))
    return folder


# ------------------------------------------------------------------------------------------------- reading a report


class Markup(HTMLParser):
    """The elements of a page, and the text of each script and style by its id or name."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self._name: str | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._name = (dict(attrs).get("id") or tag) if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._name = None

    def handle_data(self, data: str) -> None:
        if self._name is not None:
            self.raw[self._name] = self.raw.get(self._name, "") + data


def unpack(text: str, size: int) -> Any:
    """The inverse of mtr_env.report.chunks.pack, written from its description."""
    letters = [chr(code) for code in range(33, 127) if chr(code) not in "<>&"]
    value = {letter: i for i, letter in enumerate(letters)}
    pairs = zip(text[::2], text[1::2], strict=True)
    bits = "".join(f"{value[a] * 91 + value[b]:013b}" for a, b in pairs)
    return json.loads(zlib.decompress(int(bits[: size * 8], 2).to_bytes(size, "big")))


def episodes_of(markup: Markup) -> Iterator[dict[str, Any]]:
    """The entries of a report in the order of its rows, each with its question and tools."""
    stages: list[dict[str, Any]] = []
    for tag, attributes in markup.tags:
        name = attributes.get("id") or ""
        if tag == "script" and re.fullmatch(r"chunk\d+", name):
            chunk = unpack(markup.raw[name], int(attributes["data-size"] or 0))
            for entry in chunk["entries"]:
                stage = entry["stage"]
                if isinstance(stage, int):
                    stage = stages[stage]
                else:
                    stage = {**stage, "tools": [chunk["tools"][i] for i in stage["tools"]]}
                stages.append(stage)
                yield {**entry, "stage": stage}


def trace_of(entry: dict[str, Any]) -> Trace:
    stage = entry["stage"]
    toolset = {name: stage[name] for name in ("tools", "maker", "notes")}
    whole = {"question": stage["question"], "toolset": toolset, **{k: entry[k] for k in ("setup", "seed", "steps")}}
    return msgspec.convert(whole, Trace)


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
