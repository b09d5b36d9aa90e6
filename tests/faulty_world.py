"""A world whose tools a model writes and plays behind a faulty server, and what every episode in it is owed. For the
tests and for `benchmarks.models`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import mtr_env.llm.client
from mtr_env.episode import Game
from mtr_env.evaluate import load_policy
from mtr_env.question import Question
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.reward import score
from mtr_env.rollout import aplay_many
from mtr_env.store import Store
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import exchanges
from mtr_env.toolactors.cassette import CassetteToolActor
from mtr_env.toolactors.llm import LLMToolActor, remarks
from mtr_env.toolactors.stated import grounded_response
from mtr_env.toolmakers.cassette import CassetteToolMaker
from mtr_env.toolmakers.llm import LLMToolMaker
from mtr_env.trace import Response, Trace, encode
from tests.chat_server import ChatServer
from tests.simulated_model import NOTHING, FakeChat, Messages, Simulator, chat_client, part

POLICIES = ("oracle", "random-valid", "first-search")
# A hanging server costs a second; less, and on a busy machine most outages would be our own impatience.
PATIENCE: dict[str, Any] = {"timeout": 1.0, "retries": 1, "concurrency": 32}
MAX_STEPS = 12  # so that the oracle, which asks again where a response is not as planned, has steps left
FREE = {
    "name": "get_reviews",
    "description": "What critics wrote of something.",
    "parameters": {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]},
    "returns": {"reviews": {"type": "array", "items": {"type": "string"}}},
    "entities": ["thing"],
}


class Model:
    """Writes tools for all relations of a question and plays them by its evidence."""

    def __init__(self, world: Any) -> None:
        questions = [world.question(i) for i in world.ids]
        self.simulator = Simulator(questions)
        self.golds = {q.id: q.answer for q in questions} | {q.text: q.answer for q in questions}

    def __call__(self, given: Messages | dict[str, Any]) -> str:
        messages = given["messages"] if isinstance(given, dict) else given
        if not part(messages, "relations"):
            return json.dumps(self.simulator.value(messages))
        relations = json.loads(part(messages, "relations"))[:15]
        tools = [{"name": f"ask_{i}", "description": f"Looks up {r}.", "relation": r} for i, r in enumerate(relations)]
        task = {"family": "bridge", "answer_type": "entity"}
        utilities = ["find_in_page", "calculate", "compare_dates"]
        return json.dumps({"task": task, "utilities": utilities, "tools": [*tools, FREE]})

    def gold(self, body: dict[str, Any]) -> str:
        messages = body["messages"]
        if part(messages, "relations"):
            return self.golds[json.loads(part(messages, "question"))]
        return self.golds[self.simulator.request(messages).view.id]


class Written:
    """A ToolMaker that hands out the toolsets that episodes were played with."""

    name = "written"

    def __init__(self, toolsets: Mapping[str, Toolset]) -> None:
        self.toolsets = toolsets

    def make(self, question: Question, key: str = "") -> Toolset:
        return self.toolsets[question.id]


def world_of(chat: Any, questions: int, store: Store | None = None, mode: Any = "record") -> Game:
    maker, actor = LLMToolMaker(chat, attempts=1, max_tools=16), actor_of(chat)
    plugs: dict[str, Any] = {"tool_maker": maker, "tool_actor": actor}
    if store is not None:
        plugs = {
            "tool_maker": CassetteToolMaker(maker, store, mode),
            "tool_actor": CassetteToolActor(actor, store, mode),
        }
    return make_game(SYNTHETIC, limit=questions, max_steps=MAX_STEPS, **plugs)


def actor_of(chat: Any) -> LLMToolActor:
    return LLMToolActor(chat, attempts=1, evidence_chars=10**6)


def play_all(game: Game, policy: str, seeds: Sequence[int]) -> list[Trace]:
    """Episode i plays question i, and so on from the first; in the order of the seeds."""

    async def every() -> list[Trace]:
        ids = game.world.ids
        episodes = [(ids[seed % len(ids)], seed) for seed in seeds]
        return [trace async for trace in aplay_many(game, load_policy(policy, game), episodes, concurrency=128)]

    return sorted(asyncio.run(every()), key=lambda trace: trace.seed)


def without_faults(traces: Sequence[Trace], policy: str, questions: int, model: Model) -> list[Trace]:
    """The same episodes with the same tools and a model that makes no mistake, by their seeds."""
    written = Written({trace.question.id: trace.toolset for trace in traces if trace.toolset.tools})
    game = make_game(
        SYNTHETIC, limit=questions, max_steps=MAX_STEPS, tool_maker=written, tool_actor=actor_of(FakeChat(model))
    )
    return play_all(game, policy, [trace.seed for trace in traces if trace.toolset.tools])


# ------------------------------------------------------------------------------------------- what an episode is owed


def lies(trace: Trace) -> Iterator[Response]:
    """The valid responses that say something else than the evidence does: nobody can tell by the response alone."""
    for request, response in exchanges(trace, trace.question.view()):
        reference = grounded_response(request)
        if response.value != (NOTHING if reference is None else reference.value):
            yield response


def followed_lie(trace: Trace, twin: Trace) -> Response | None:
    """The lie that parted an episode from the one without faults, of the same policy, seed and tools; ``None`` where
    they parted over something else, or did not part.

    Up to there the policy saw and did the same in both. It is a function of what it sees, so that what it did from
    there on, it did because of this response.
    """
    false = {id(response) for response in lies(trace)}
    for step, other in zip(trace.steps, twin.steps, strict=False):
        assert step.action == other.action, "the policy is a function of what it saw"
        if step.faults != other.faults:
            return None
        for response, true in zip(step.responses, other.responses, strict=True):
            if response is None or true is None or response.value != true.value:
                return response if response is not None and id(response) in false else None
    return None


class Ends(NamedTuple):
    """How episodes ended, in every way that was promised and in those that were ruled out."""

    scored: int
    unscored: Counter[str]
    """By the kind of the fault."""
    lied_to: int
    fell_for_a_lie: int
    """Scored 0, and proven to have followed a valid response that was false (:func:`followed_lie`)."""
    own_zero: int
    """Scored 0, and without faults 0 as well."""
    wronged: list[Trace]
    """Scored 0 for a fault that was not their own, or unscored without a fault of another's and a reason."""
    leaks: int

    def __add__(self, other: Any) -> Ends:
        return Ends(*[a + b for a, b in zip(self, other, strict=True)])


def ends_of(traces: Sequence[Trace], twins: Sequence[Trace], policy: str) -> Ends:
    """How ``traces`` ended; ``twins`` are those without faults."""
    twin_of = {twin.seed: twin for twin in twins}
    unscored: Counter[str] = Counter()
    scored = lied_to = fell = own = 0
    wronged = []
    for trace in traces:
        assert trace.stop_reason is not None
        reward, lied = score(trace), any(lies(trace))
        others = [fault for fault in trace.faults if fault.blame != "policy"]
        if reward.total is None:
            unscored[others[-1].kind if others else "nobody's fault"] += 1
            wronged += [] if others and reward.unscored else [trace]
            continue
        scored += 1
        lied_to += lied
        if policy == "oracle":
            # It knows what to ask, and reads: only a lie may cost it something, and never the answer.
            wronged += [] if reward.total >= (0.6 if lied else 1.0) else [trace]
        elif reward.total == 0 and not others and score(twin_of[trace.seed]).total == 0:
            own += 1
        elif reward.total == 0 and not others and followed_lie(trace, twin_of[trace.seed]) is not None:
            fell += 1
        elif reward.total == 0:
            wronged.append(trace)
    leaks = sum(remarks(response).leak for trace in traces for _, response in trace.exchanges())
    return Ends(scored, unscored, lied_to, fell, own, wronged, leaks)


class Outcome(NamedTuple):
    """What came of all episodes, and of playing them again from the cassette."""

    episodes: int
    lost: int
    ends: Ends
    traces: dict[str, list[Trace]]
    requests: int
    faults: Counter[str]
    """The server's, by kind."""
    replay_requests: int
    replayed: int
    """Traces that were the same again, byte for byte."""


def play_and_replay(path: Path, questions: int, episodes: int, rate: float) -> Outcome:
    """Plays the episodes, a third with each policy, over a server of which this share of the requests goes wrong, into
    the cassette ``path``; then all of them again from the cassette."""
    model = Model(make_game(SYNTHETIC, limit=questions).world)
    ends = Ends(0, Counter(), 0, 0, 0, [], 0)
    recorded: dict[str, list[Trace]] = {}
    with (
        Store(path) as store,
        fast_retries(),
        ChatServer(model, rate=rate, seed=7, gold=model.gold, slow=0.05, retry_after=0.02) as server,
    ):
        game = world_of(chat_client(server.url, **PATIENCE), questions, store)
        # Other seeds for each: whoever makes a call again that met an outage has it asked again, and answered.
        parts = [range(i * episodes // len(POLICIES), (i + 1) * episodes // len(POLICIES)) for i in range(3)]
        for policy, seeds in zip(POLICIES, parts, strict=True):
            recorded[policy] = traces = play_all(game, policy, seeds)
            ends += ends_of(traces, without_faults(traces, policy, questions, model), policy)
        asked = server.requests
        again = world_of(chat_client(server.url, **PATIENCE), questions, store, "replay")
        same = 0
        for policy, seeds in zip(POLICIES, parts, strict=True):
            before = {trace.seed: encode(trace) for trace in recorded[policy]}
            same += sum(before.get(trace.seed) == encode(trace) for trace in play_all(again, policy, seeds))
    ended = [trace.seed for traces in recorded.values() for trace in traces]
    assert len(ended) == len(set(ended)), "none twice"
    return Outcome(episodes, episodes - len(ended), ends, recorded, asked, server.faults, server.requests - asked, same)


@contextmanager
def fast_retries() -> Iterator[None]:
    """Retries that wait for hundredths of a second."""
    before = mtr_env.llm.client.BACKOFF
    mtr_env.llm.client.BACKOFF = 0.01
    try:
        yield
    finally:
        mtr_env.llm.client.BACKOFF = before
