"""A model that simulates tools without a mistake, unless told which: for tests of what is done about its mistakes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from mtr_env import draw
from mtr_env.contract import Contract
from mtr_env.llm.client import ChatClient, Completion
from mtr_env.question import Question, View, WorldInfo
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors.base import CallKey, History, ToolRequest
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.prompt import evidence_block
from mtr_env.toolmakers import specs
from mtr_env.trace import Call, Response, Setup, Trace, Usage

Messages = Sequence[dict[str, Any]]
NOTHING = {"status": "not_found", "message": "Nothing is known."}


class FakeChat:
    """A client whose model is a function of the messages; it remembers what it was asked."""

    def __init__(self, reply: Callable[[Messages], str | Completion | Exception], name: str = "fake") -> None:
        self.reply = reply
        self.name = name
        self.asked: list[Messages] = []
        self.seeds: list[int | None] = []
        self.running = self.most_at_once = 0

    async def complete(
        self, messages: Messages, *, schema: Any = None, seed: int | None = None, **_: Any
    ) -> Completion:
        self.asked.append(messages)
        self.seeds.append(seed)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        reply = self.reply(messages)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Completion) else Completion(reply, usage=Usage(100, 10))

    @property
    def prompts(self) -> str:
        """All that it was ever told."""
        return "\n".join(message["content"] for messages in self.asked for message in messages)


def chat_client(url: str, **options: Any) -> ChatClient:
    """A client of a server on loopback. Its connections are closed with the background loop, when the process ends."""
    client = ChatClient("tiny", base_url=url, **options)
    _OPEN.append(client)
    return client


_OPEN: list[ChatClient] = []


def part(messages: Messages, tag: str) -> str:
    """What stands between the tags of a prompt; the last such place."""
    found = re.findall(rf"<{tag}>\n(.*?)</{tag}>", messages[1]["content"], re.DOTALL)
    return found[-1] if found else ""


class Simulator:
    """Answers a tool's prompt as the evidence does: the question is known by its pages."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.grounded = GroundedToolActor()
        self.views: dict[str, View] = {}
        for question in questions:
            block = evidence_block(question.view(), Call(""), 10**9)
            self.views[block.removeprefix("<evidence>\n").removesuffix("</evidence>")] = question.view()

    def request(self, messages: Messages) -> ToolRequest:
        """The request that a prompt was made of; its history holds no question."""
        view = self.views[part(messages, "evidence")]
        tool = json.loads(part(messages, "tool"))
        call = Call(**json.loads(part(messages, "call")))
        spec = ToolSpec(tool["name"], tool["description"], tool["parameters"], tool["response"])
        return ToolRequest(call, _bound(spec, view), view, _NO_HISTORY, CallKey(0, view.id, call))

    def value(self, messages: Messages) -> Any:
        """The right response."""
        request = self.request(messages)
        if not request.spec.binding:
            return NOTHING
        return self.grounded.respond(request.call, request.spec, request.view, request.history, request.key).value

    def __call__(self, messages: Messages) -> str:
        return json.dumps(self.value(messages))


class Careless:
    """A simulator with known error rates: each field wrong, the first try against the schema, the gold in a message.

    Every draw is a function of the messages. As a chat server's `content` it takes the request's body.
    """

    def __init__(
        self, questions: Sequence[Question], wrong: float = 0.0, invalid: float = 0.0, leak: float = 0.0
    ) -> None:
        self.simulator = Simulator(questions)
        self.golds = {question.id: question.answer for question in questions}
        self.wrong, self.invalid, self.leak = wrong, invalid, leak

    def __call__(self, given: Messages | dict[str, Any]) -> str:
        messages = given["messages"] if isinstance(given, dict) else given
        key = "\n".join(message["content"] for message in messages)
        request = self.simulator.request(messages)
        if len(messages) == 2 and draw.uniform(key, "invalid") < self.invalid:
            return draw.choice(['["no", "object"]', '{"status": "fine"}', '{"status": "ok"', ""], key, "how")
        value = dict(self.simulator.value(messages))
        for name in [name for name in value if name not in ("status", "message", "candidates")]:
            if draw.uniform(key, name) < self.wrong:
                value[name] = wrong_value(value[name], draw.below(10**9, key, name))
        if draw.uniform(key, "leak") < self.leak:
            value["message"] = f"The answer is {self.golds[request.view.id]}."
        return json.dumps(value)


def wrong_value(value: Any, number: int) -> Any:
    """Another value of the same shape."""
    if isinstance(value, list):
        return [wrong_value(item, number) for item in value[:1]] or [f"Wrong {number}"]
    if isinstance(value, dict):
        return {name: wrong_value(item, number) for name, item in value.items()}
    if isinstance(value, str):
        others = {"first": "second", "second": "same", "same": "first"}
        return others.get(value, f"Wrong {number}")
    return number + 1_000_000_007


def _bound(spec: ToolSpec, view: View) -> ToolSpec:
    """The spec with the binding that a prompt does not show."""
    known = [specs.SEARCH, specs.OPEN_PAGE, specs.FIND_IN_PAGE, specs.CALCULATE, specs.COMPARE_DATES]
    for relation in dict.fromkeys(fact.relation for fact in view.facts):
        known += [specs.relation_tool(relation), specs.inverse_tool(relation)]
    shape = (spec.parameters, spec.response)  # a maker gives a tool another name, but not another interface
    return replace(spec, binding=next((t.binding for t in known if (t.parameters, t.response) == shape), ""))


SETUP = Setup("", WorldInfo("test", "test", "test", "0"), "hermes", 8, "", "", "mtr-v0", "0")
_NO_HISTORY = History(Trace(Question("none", "", ""), Toolset(()), SETUP, 0))


def request(
    question: Question, spec: ToolSpec, arguments: dict[str, Any], *earlier: tuple[Call, Response], seed: int = 0
) -> ToolRequest:
    """A call in an episode of the question, after ``earlier`` ones of the same action."""
    call = Call(spec.name, arguments)
    assert Contract(Toolset((spec,))).check_call(call) is None
    trace = Trace(question, Toolset((spec,)), SETUP, seed)
    key = CallKey(seed, question.id, call, (), tuple(call for call, _ in earlier))
    return ToolRequest(call, spec, question.view(), History(trace, earlier), key)
