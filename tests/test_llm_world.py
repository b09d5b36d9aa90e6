"""A world played by a model behind a faulty server: no episode is lost, none pays for a fault that was not its own, and
a second run from the cassette asks nothing and gives the same traces, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from chat_server import FAULTS, ChatServer
from simulated_model import NOTHING, FakeChat, Messages, Simulator, chat_client, part

import mtr_env.llm.client
from mtr_env.episode import Game
from mtr_env.evaluate import load_policy
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.rollout import aplay_many
from mtr_env.store import Store
from mtr_env.toolactors.base import exchanges
from mtr_env.toolactors.cassette import CassetteToolActor
from mtr_env.toolactors.llm import LLMToolActor, remarks
from mtr_env.toolactors.stated import grounded_response
from mtr_env.toolmakers.cassette import CassetteToolMaker
from mtr_env.toolmakers.llm import LLMToolMaker
from mtr_env.trace import Trace, encode

POLICIES = ("oracle", "random-valid", "first-search")
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


def world_of(chat: Any, questions: int, store: Store | None = None, mode: Any = "record") -> Game:
    maker = LLMToolMaker(chat, attempts=1, max_tools=16)
    actor = LLMToolActor(chat, attempts=1, evidence_chars=10**6)
    plugs: dict[str, Any] = {"tool_maker": maker, "tool_actor": actor}
    if store is not None:
        plugs = {
            "tool_maker": CassetteToolMaker(maker, store, mode),
            "tool_actor": CassetteToolActor(actor, store, mode),
        }
    return make_game("MTR-Synthetic-v0", limit=questions, max_steps=MAX_STEPS, **plugs)


def play_all(game: Game, policy: str, seeds: range) -> list[Trace]:
    """Episode i plays question i, and so on from the first; in the order of the seeds."""

    async def every() -> list[Trace]:
        ids = game.world.ids
        episodes = [(ids[seed % len(ids)], seed) for seed in seeds]
        return [trace async for trace in aplay_many(game, load_policy(policy, game), episodes, concurrency=128)]

    return sorted(asyncio.run(every()), key=lambda trace: trace.seed)


def was_lied_to(trace: Trace) -> bool:
    """Whether a valid response said something else than the evidence does."""
    for request, response in exchanges(trace, trace.question.view()):
        reference = grounded_response(request)
        if response.value != (NOTHING if reference is None else reference.value):
            return True
    return False


def check(traces: Sequence[Trace], clean: Sequence[Trace], seeds: range, policy: str) -> Counter[str]:
    """Every promise about an episode; how many ended in which way."""
    assert [trace.seed for trace in traces] == list(seeds), "none is lost, none twice"
    ends: Counter[str] = Counter()
    for trace, twin in zip(traces, clean, strict=True):
        assert trace.stop_reason is not None
        reward = score(trace)
        others = [fault for fault in trace.faults if fault.blame != "policy"]
        if reward.total is None:
            assert reward.unscored, "the reason"
            assert others, trace
            ends[others[-1].kind] += 1
            continue
        ends["scored"] += 1
        assert reward.total > 0 or not others
        # A response may be wrong and still be what its schema says: nobody can tell, and the policy may fall for it.
        lied = was_lied_to(trace)
        ends["lied to"] += lied
        if policy == "oracle":
            assert reward.total >= (0.6 if lied else 1.0), trace
        elif reward.total == 0 and not lied and trace.toolset.tools == twin.toolset.tools:
            ends["as without faults"] += 1
            assert score(twin).total == 0, "the faults changed nothing that was scored"
        assert trace.answer != "forged" or policy == "random-valid"
    return ends


def play_and_replay(tmp_path: Path, questions: int, episodes: int, rate: float) -> tuple[Counter[str], ChatServer]:
    model = Model(make_game("MTR-Synthetic-v0", limit=questions).world)
    clean_game = world_of(FakeChat(model), questions)
    store = Store(tmp_path / "cassette.sqlite")
    ends: Counter[str] = Counter()
    recorded: dict[str, list[Trace]] = {}
    with ChatServer(model, rate=rate, seed=7, gold=model.gold, slow=0.05, retry_after=0.02) as server:
        game = world_of(chat_client(server.url, timeout=0.3, retries=2), questions, store)
        for number, policy in enumerate(POLICIES):
            # Other seeds for each: whoever makes a call again that met an outage has it asked again, and answered.
            seeds = range(number * episodes // len(POLICIES), (number + 1) * episodes // len(POLICIES))
            recorded[policy] = play_all(game, policy, seeds)
            ends += check(recorded[policy], play_all(clean_game, policy, seeds), seeds, policy)
        asked = server.requests
        again = world_of(chat_client(server.url, timeout=0.3, retries=2), questions, store, "replay")
        for policy, traces in recorded.items():
            replayed = play_all(again, policy, range(traces[0].seed, traces[-1].seed + 1))
            for before, after in zip(traces, replayed, strict=True):
                assert encode(after) == encode(before)
        assert server.requests == asked, "the cassette asks nothing"
    store.close()
    leaks = sum(remarks(r).leak for traces in recorded.values() for trace in traces for _, r in trace.exchanges())
    ends["leaks"] = leaks
    return ends, server


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtr_env.llm.client, "BACKOFF", 0.01)


def test_a_hundred_episodes_over_a_faulty_server_end_fairly_and_replay_byte_for_byte(tmp_path: Path) -> None:
    ends, server = play_and_replay(tmp_path, questions=25, episodes=100, rate=0.3)
    assert ends["scored"] >= 70
    assert ends["infrastructure"] > 0
    assert len(server.faults) > len(FAULTS) / 2


@pytest.mark.stress
def test_two_thousand_episodes_over_a_faulty_server_end_fairly_and_replay_byte_for_byte(tmp_path: Path) -> None:
    ends, server = play_and_replay(tmp_path, questions=250, episodes=2000, rate=0.3)
    assert ends["scored"] >= 1600
    assert ends["infrastructure"] > 50
    assert ends["invalid_response"] > 0
    assert ends["as without faults"] > 100
    assert min(ends["lied to"], ends["leaks"]) > 20
    assert set(server.faults) == set(FAULTS)
    print(dict(ends), server.requests, dict(server.faults))
