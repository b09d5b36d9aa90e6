"""Cassettes: recorded once, replayed byte for byte, asked once at a time; misses and outages are said."""

from __future__ import annotations

import asyncio
import copy
import gc
import multiprocessing
import pickle
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from msgspec.structs import replace

from benchmarks.cassettes import fill, hit_seconds, open_seconds, requests
from mtr_env.contract import toolset_problems
from mtr_env.env import MTREnv
from mtr_env.errors import InfrastructureError, ToolsetError
from mtr_env.grammar import get_grammar
from mtr_env.policies import make_policy
from mtr_env.question import Question, View
from mtr_env.registration import make_game
from mtr_env.rollout import aplay_many, play
from mtr_env.store import Store
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors.base import CallKey, History, ToolRequest
from mtr_env.toolactors.cassette import CassetteToolActor, RecordedActor
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.toolmakers.cassette import CassetteToolMaker
from mtr_env.toolmakers.template import TemplateToolMaker
from mtr_env.trace import Call, Fault, Response, Step, Trace, Usage, encode

GAME = make_game("MTR-HotpotQA-v0")
HERMES = get_grammar("hermes")


class Dice:
    """Answers differently every time: whatever is the same twice was recorded."""

    name = "dice"
    uses_history = False

    def __init__(self, sleep: float = 0.0) -> None:
        self.asked = 0
        self._sleep = sleep
        self._lock = threading.Lock()

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        with self._lock:
            self.asked += 1
            number = self.asked
        if self._sleep:
            time.sleep(self._sleep)
        return made(number)


def made(number: int) -> Response:
    value = {"status": "ok", "results": [{"title": f"é<{number}>", "text": "1.0", "score": 0.1 + number}]}
    return Response(value, ("p0s1", "t3"), "llm", Usage(number, 7), "as it was")


class AsyncDice(Dice):
    name = "async dice"

    async def arespond(self, request: ToolRequest) -> Response:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(self._sleep)
        return made(number)


class Failing(Dice):
    """Fails as it is told, then answers."""

    name = "failing"

    def __init__(self, *errors: BaseException) -> None:
        super().__init__()
        self.errors = list(errors)

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return made(self.asked)


class Historian(Dice):
    name = "historian"
    uses_history = True


def request(
    query: str = "film",
    *,
    seed: int = 0,
    steps: int = 0,
    question: int = 0,
    world: str | None = None,
    tool: Callable[[ToolSpec], ToolSpec] = lambda spec: spec,
    seen: str = "seen",
) -> ToolRequest:
    """A search; before it, ``steps`` other calls whose responses begin with ``seen``."""
    stage, trace = GAME.begin(GAME.world.ids[question], seed)
    call = Call("search", {"query": query})
    past = tuple(
        Step("", (made_call,), (Response({"status": "ok", "text": f"{seen} {i} " * 60}, ("p1",)),))
        for i in range(steps)
        for made_call in [Call("open_page", {"title": f"page {i}"})]
    )
    trace = replace(trace, steps=past)
    if world is not None:
        trace = replace(trace, setup=replace(trace.setup, world=replace(trace.setup.world, fingerprint=world)))
    key = CallKey(seed, stage.question.id, call, trace.steps)
    return ToolRequest(call, tool(stage.contract.specs["search"]), stage.view, History(trace), key)


def ask(actor: Any, r: ToolRequest) -> Response:
    response = actor.respond(r.call, r.spec, r.view, r.history, r.key)
    assert isinstance(response, Response)
    return response


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "cassette.sqlite")
    yield store
    store.close()


# -------------------------------------------------------------------------------------------------------------- modes


def test_a_response_is_given_back_exactly_as_it_was_made(store: Store) -> None:
    actor = CassetteToolActor(Dice(), store)
    first = ask(actor, request())
    assert first == made(1)
    for mode in ("record", "replay"):
        again = CassetteToolActor(Dice(), store, mode)  # type: ignore[arg-type]
        assert ask(again, request()) == first
        assert repr(ask(again, request())) == repr(made(1))
        assert again.served == (2, 0)
    assert actor.served == (0, 1)


def test_live_neither_reads_nor_writes(tmp_path: Path) -> None:
    path = tmp_path / "cassette.sqlite"
    live = CassetteToolActor(Dice(), path, "live")
    assert [ask(live, request()), ask(live, request())] == [made(1), made(2)]
    assert live.respond_many([request(), request()]) == [made(3), made(4)]
    assert asyncio.run(live.arespond(request())) == made(5)
    assert live.served == (0, 0)
    assert not path.exists()


def test_a_miss_in_a_replay_is_an_outage_that_names_the_call(store: Store) -> None:
    ask(CassetteToolActor(Dice(), store), request())
    inner = Dice()
    replay = CassetteToolActor(inner, store, "replay")
    for missing in (request("book"), request(seed=1)):
        with pytest.raises(InfrastructureError, match=r'holds no response to \["search",\{"query":"') as error:
            ask(replay, missing)
        assert f"question {missing.key.question_id!r}, attempt 0, seed {missing.key.seed}" in str(error.value)
        assert str(store.path) not in str(error.value)  # it stands in a trace, which knows no folder
    [found] = replay.respond_many([request("book")])
    assert isinstance(found, InfrastructureError)
    with pytest.raises(InfrastructureError, match="holds no response to"):
        asyncio.run(replay.arespond(request("x" * 5000)))
    assert (inner.asked, replay.served) == (0, (0, 4))


def test_the_key_is_everything_that_makes_a_response_another_one(store: Store) -> None:
    def other_text(spec: ToolSpec) -> ToolSpec:
        return replace(spec, description="Another.")

    def other_order(spec: ToolSpec) -> ToolSpec:
        return replace(spec, parameters=dict(reversed(spec.parameters.items())))

    variants = [
        request(),
        request("Film"),
        request(seed=1),
        request(question=1),
        request(world="another"),
        request(tool=other_text),
        request(tool=other_order),
    ]
    inner = Dice()
    actor = CassetteToolActor(inner, store)
    responses = [ask(actor, variant) for variant in variants]
    again = replace(variants[0], key=replace(variants[0].key, beside=(variants[0].call,)))
    responses.append(ask(actor, again))  # the same call a second time in an episode
    inner.name = "other dice"
    responses.append(ask(CassetteToolActor(inner, store), request()))
    assert [response.usage.input_tokens for response in responses if response.usage] == list(range(1, 10))
    assert ask(actor, request(steps=3)) == responses[0]  # it does not look at the history


def test_the_history_counts_for_an_actor_that_uses_it(store: Store) -> None:
    actor = CassetteToolActor(Historian(), store)
    variants = [request(), request(steps=1), request(steps=2), request(steps=2, seen="other")]
    responses = [ask(actor, variant) for variant in variants]
    assert len({response.usage for response in responses}) == 4
    assert [ask(actor, variant) for variant in variants] == responses
    assert CassetteToolActor(None, store, "replay").uses_history
    assert CassetteToolActor(NoisyToolActor(Historian(), 0.1), store).uses_history


def test_a_frozen_cassette_belongs_to_one_world_and_to_every_seed(store: Store) -> None:
    first = ask(CassetteToolActor(Dice(), store, frozen=True), request(seed=1, world="a"))
    replay = CassetteToolActor(None, store, "replay", frozen=True)
    assert ask(replay, request(seed=9, world="b")) == first
    with pytest.raises(InfrastructureError):
        ask(replay, request(question=1))


def test_without_seeds_a_response_serves_every_seed_of_its_world(store: Store) -> None:
    dice = Failing(InfrastructureError("once"))
    record = CassetteToolActor(dice, store, seeded=False)
    with pytest.raises(InfrastructureError, match="once"):
        ask(record, request())
    assert [ask(record, request(seed=seed)) for seed in (0, 1, 2)] == [made(2)] * 3, "an outage is asked again"
    assert ask(record, request(world="another")) == made(3)
    replay = pickle.loads(pickle.dumps(CassetteToolActor(RecordedActor("failing"), store.path, "replay", seeded=False)))
    assert ask(replay, request(seed=9)) == made(2)
    assert ask(CassetteToolActor(dice, store), request(seed=1)) == made(4)


def test_a_replay_needs_no_actor_when_the_cassette_holds_one(store: Store) -> None:
    with pytest.raises(ValueError, match=r"this one with none\. Give inner="):
        CassetteToolActor(None, store, "replay")
    first = ask(CassetteToolActor(Dice(), store), request())
    replay = CassetteToolActor(None, store.path, "replay")
    assert (replay.name, ask(replay, request())) == ("dice", first)
    CassetteToolActor(Historian(), store)
    with pytest.raises(ValueError, match=r"'dice', 'historian'|'historian', 'dice'"):
        CassetteToolActor(None, store, "replay")
    assert ask(CassetteToolActor(RecordedActor("dice"), store, "replay"), request()) == first
    with pytest.raises(ValueError, match="mode 'record' needs an inner ToolActor"):
        CassetteToolActor(None, store)


def test_wrong_set_ups_are_said(store: Store) -> None:
    with pytest.raises(ValueError, match="mode is one of 'live', 'record', 'replay', found 'play'"):
        CassetteToolActor(Dice(), store, "play")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode 'record' needs a store"):
        CassetteToolActor(Dice())
    with pytest.raises(ValueError, match="this one is readonly"):
        CassetteToolActor(Dice(), Store(store.path, readonly=True))


def test_a_cassette_is_a_plug_that_can_be_copied_and_pickled(store: Store) -> None:
    actor = CassetteToolActor(GroundedToolActor(), store)
    first = ask(actor, request())
    assert copy.deepcopy(actor) is actor
    again = pickle.loads(pickle.dumps(actor))
    assert (again.name, again.mode, again.served) == (actor.name, "record", (0, 0))
    assert (ask(again, request()), again.served) == (first, (1, 0))
    again._recorder.shelf.close()


def test_an_actor_is_remote_unless_it_is_replayed(store: Store) -> None:
    class Remote(Dice):
        remote = True

    assert CassetteToolActor(Remote(), store).remote
    assert not CassetteToolActor(Remote(), store, "replay").remote


# ----------------------------------------------------------------------------------------------------------- episodes


def episodes(actor: Any, policy: str = "chaser", count: int = 12) -> list[bytes]:
    game = make_game("MTR-HotpotQA-v0", tool_actor=actor)
    env = MTREnv(game)
    player = make_policy(policy, game.grammar)
    return [encode(play(env, player, question_id=game.world.ids[i], seed=i)) for i in range(count)]


class Moody:
    """The grounded actor with outages, invalid responses and text that is no JSON, each at random."""

    name = "moody"
    uses_history = True

    def __init__(self) -> None:
        self.inner = GroundedToolActor()
        self.asked = 0

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        self.asked += 1
        response = self.inner.respond(call, spec, view, history, key)
        match self.asked % 23:
            case 3:
                raise ConnectionResetError("a secret address")
            case 9:
                raise InfrastructureError("the quota is used up;\n try tomorrow")
            case 14:
                return replace(response, value={"status": "no such status"})
            case 17:
                return replace(response, value={"status": "ok", "results": [float("nan"), (1, 2), "\ud800", 1j]})
            case 20:
                return "text"  # type: ignore[return-value]
        return replace(response, origin="llm", usage=Usage(self.asked, 1))


def test_replayed_traces_are_the_recorded_ones_byte_for_byte_and_nobody_is_asked(store: Store) -> None:
    moody = Moody()
    recorded = episodes(CassetteToolActor(moody, store))
    text = b"\n".join(recorded)
    for outcome in (b"ConnectionResetError", b"the quota is used up; try tomorrow", b"not JSON", b"found str"):
        assert outcome in text
    assert b"secret" not in text
    asked = moody.asked
    replay = CassetteToolActor(moody, store, "replay")
    assert episodes(replay) == recorded
    assert episodes(CassetteToolActor(None, store.path, "replay")) == recorded
    assert moody.asked == asked
    assert replay.served.misses == 0


class Sporadic:
    """Behind a network that answers in any order; every third request is an outage, whatever it asks for."""

    name = "sporadic"

    def __init__(self) -> None:
        self.inner = GroundedToolActor()
        self.asked = 0

    def respond(self, *request: Any) -> Response:
        raise AssertionError("these episodes are awaited")

    async def arespond(self, r: ToolRequest) -> Response:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0.001 * (number % 5))
        if number % 3 == 0:
            raise InfrastructureError(f"no answer to request {number}")
        return replace(self.inner.respond(r.call, r.spec, r.view, r.history, r.key), usage=Usage(number))


def test_episodes_of_one_question_and_seed_meet_the_same_outages_and_are_replayed_so(store: Store) -> None:
    def group(actor: Any) -> list[bytes]:
        game = make_game("MTR-HotpotQA-v0", limit=4, tool_actor=actor)
        starts = [(question_id, 7) for question_id in game.world.ids for _ in range(4)]

        async def play_all() -> list[bytes]:
            policy = make_policy("oracle", actor=GroundedToolActor())
            return sorted([encode(trace) async for trace in aplay_many(game, policy, starts, concurrency=5)])

        return asyncio.run(play_all())

    recorded = group(CassetteToolActor(Sporadic(), store))
    assert any(b"no answer to request" in trace for trace in recorded)
    assert any(b"no answer to request" not in trace for trace in recorded)
    assert group(CassetteToolActor(None, store, "replay")) == recorded


def test_a_recorded_episode_is_the_live_one(store: Store) -> None:
    assert episodes(CassetteToolActor(Moody(), store)) == episodes(Moody())


def test_a_vector_env_records_what_a_single_one_replays(store: Store) -> None:
    moody = Moody()
    envs = gym.make_vec(
        "MTR-HotpotQA-v0", num_envs=6, autoreset_mode="Disabled", tool_actor=CassetteToolActor(moody, store)
    )
    envs.reset(seed=[0, 1, 2, 3, 3, 3], options={"question_id": list(GAME.world.ids[:4]) + [GAME.world.ids[3]] * 2})
    actions = [HERMES.render_call(Call("search", {"query": word})) for word in ("a", "film")]
    for action in actions:
        envs.step([action] * 6)
    assert moody.asked <= 8  # the last three are one episode
    traces = envs.unwrapped.snapshot()  # type: ignore[attr-defined]
    assert traces[3] == traces[4] == traces[5]
    env = MTREnv(make_game("MTR-HotpotQA-v0", tool_actor=CassetteToolActor(None, store, "replay")))
    for i, trace in enumerate(traces[:4]):
        env.reset(seed=i, options={"question_id": GAME.world.ids[i]})
        for action in actions[: len(trace.steps)]:
            env.step(action)
        assert encode(env.snapshot()) == encode(trace)


# ------------------------------------------------------------------------------------------------------------ outages


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (InfrastructureError("no quota"), "InfrastructureError", "no quota"),
        (type("ModelError", (InfrastructureError,), {})("status 500"), "ModelError", "status 500"),
        (KeyError("sk-secret"), "KeyError", ""),
    ],
)
def test_an_outage_is_repeated_in_a_replay_and_asked_again_in_record(
    store: Store, error: Exception, kind: str, text: str
) -> None:
    record = CassetteToolActor(Failing(error), store)
    with pytest.raises(type(error)) as raised:
        ask(record, request())
    assert raised.value is error
    for _ in range(2):
        with pytest.raises(InfrastructureError) as again:
            ask(CassetteToolActor(None, store, "replay"), request())
        assert (type(again.value).__name__, str(again.value)) == (kind, text)
    with pytest.raises(InfrastructureError) as lasting:
        ask(record, request())
    assert (type(lasting.value).__name__, str(lasting.value)) == (kind, text)
    assert [type(e).__name__ for e in record.respond_many([request(), request("other")])] == [kind, "Response"]
    assert ask(CassetteToolActor(record.inner, store), request()) == made(3)
    assert ask(CassetteToolActor(None, store, "replay"), request()) == made(3)
    assert all(b"secret" not in (store.get(key) or b"") for key in store.keys(""))


def test_the_last_outage_is_the_one_that_is_replayed(store: Store) -> None:
    failing = Failing(InfrastructureError("first"), InfrastructureError("second"))
    for text in ("first", "second"):
        with pytest.raises(InfrastructureError, match=text):
            ask(CassetteToolActor(failing, store), request())
        with pytest.raises(InfrastructureError, match=text):
            ask(CassetteToolActor(None, store, "replay"), request())


def test_tools_that_cannot_be_simulated_are_no_outage(store: Store) -> None:
    record = CassetteToolActor(Failing(ToolsetError("unknown binding")), store)
    for actor in (record, CassetteToolActor(None, store, "replay")):
        with pytest.raises(ToolsetError, match="unknown binding"):
            ask(actor, request())
    with pytest.raises(ToolsetError, match="unknown binding"):
        CassetteToolActor(None, store, "replay").respond_many([request()])


class Full:
    """A disk without space for anything that is large."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.keys = store.keys
        self.get = store.get

    def put(self, key: str, value: bytes, *, replace: bool = False) -> None:
        if key.startswith("response:") and b'"input_tokens":2' in value:
            raise InfrastructureError("The store could not be written: database or disk is full.")
        self.store.put(key, value, replace=replace)


def test_a_response_that_cannot_be_recorded_ends_its_episode_and_no_other_of_the_batch(store: Store) -> None:
    class Odd(Dice):
        def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
            if call.arguments["query"] == "secret":
                raise InfrastructureError("no \ud800")
            odd = {"note": {"note": "\ud800"}, "usage": {"usage": "many"}, "sources": {"sources": ("\ud800",)}}
            return replace(made(1), **odd.get(call.arguments["query"], {}))

    requests = [request(words) for words in ("film", "note", "usage", "sources", "secret", "city")]
    recorded = CassetteToolActor(Odd(), store).respond_many(requests)
    assert [type(response).__name__ for response in recorded] == ["Response", *["InfrastructureError"] * 4, "Response"]
    assert str(recorded[1]) == "The response cannot be recorded: UnicodeEncodeError."
    replayed = CassetteToolActor(None, store, "replay").respond_many(requests)
    assert [str(response) for response in replayed] == [str(r).replace("\ud800", "\\ud800") for r in recorded]


def test_a_full_disk_ends_the_episode_that_met_it_and_no_other(store: Store) -> None:
    actor = CassetteToolActor(Dice(), Full(store))
    found = actor.respond_many([request("a"), request("b"), request("c")])
    assert [type(response) for response in found] == [Response, InfrastructureError, Response]
    assert "disk is full" in str(found[1])
    assert ask(actor, request("b")) == made(4)
    with pytest.raises(InfrastructureError, match="disk is full"):
        Dice2 = CassetteToolActor(Failing(), Full(store))
        Dice2.inner.asked = 1  # type: ignore[attr-defined]
        ask(Dice2, request("d"))


class Flaky:
    """A disk on which one entry cannot be read."""

    def __init__(self, store: Store) -> None:
        self.put, self.keys, self._get = store.put, store.keys, store.get
        self.bad = ""

    def get(self, key: str) -> bytes | None:
        if key == self.bad:
            raise InfrastructureError("The store could not be read: disk I/O error.")
        return self._get(key)


def test_an_entry_that_cannot_be_read_ends_the_episode_that_met_it_and_no_other(store: Store) -> None:
    shelf = Flaky(store)
    actor = CassetteToolActor(Dice(), shelf)
    ask(actor, request("a"))
    [shelf.bad] = store.keys("response:")
    found = actor.respond_many([request("a"), request("b"), request("a")])
    assert [type(response) for response in found] == [InfrastructureError, Response, InfrastructureError]
    with pytest.raises(InfrastructureError, match="disk I/O error"):
        asyncio.run(actor.arespond(request("a")))


def test_an_entry_that_is_no_response_is_an_outage(store: Store) -> None:
    actor = CassetteToolActor(Dice(), store)
    ask(actor, request())
    [key] = store.keys("response:")
    store.put(key, b'{"response": 3}', replace=True)
    with pytest.raises(InfrastructureError, match="response is not as this version writes it"):
        ask(actor, request())


# ------------------------------------------------------------------------------------------------------ single flight


def test_threads_that_want_the_same_response_ask_once(store: Store) -> None:
    inner = Dice(sleep=0.05)
    actor = CassetteToolActor(inner, store)
    found: list[Response] = []
    queries = ["a", "b"] * 8
    threads = [threading.Thread(target=lambda q=q: found.append(ask(actor, request(q)))) for q in queries]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inner.asked == 2
    assert sorted(response.usage.input_tokens for response in found if response.usage) == [1] * 8 + [2] * 8
    assert actor.served == (14, 2)


def test_tasks_that_want_the_same_response_ask_once(store: Store) -> None:
    inner = AsyncDice(sleep=0.02)
    actor = CassetteToolActor(inner, store)

    async def many() -> Sequence[Response]:
        return await asyncio.gather(*[actor.arespond(request(query)) for query in ["a", "b"] * 20])

    found = asyncio.run(many())
    assert inner.asked == 2
    assert list(found) == [made(1), made(2)] * 20
    assert asyncio.run(many()) == list(found)
    assert inner.asked == 2


def test_a_failure_in_flight_is_that_of_all_who_wait(store: Store) -> None:
    class Slow(AsyncDice):
        async def arespond(self, request: ToolRequest) -> Response:
            self.asked += 1
            await asyncio.sleep(0.01)
            raise InfrastructureError(f"outage {self.asked}")

    inner = Slow()
    actor = CassetteToolActor(inner, store)

    async def many() -> list[Any]:
        return await asyncio.gather(*[actor.arespond(request()) for _ in range(5)], return_exceptions=True)

    assert [str(error) for error in asyncio.run(many())] == ["outage 1"] * 5
    assert inner.asked == 1


def test_when_the_one_who_asks_is_cancelled_the_next_one_asks(store: Store) -> None:
    inner = AsyncDice(sleep=0.05)
    actor = CassetteToolActor(inner, store)

    async def scenario() -> Response:
        first = asyncio.create_task(actor.arespond(request()))
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(actor.arespond(request())) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()  # one who waits: the others are not disturbed
        await asyncio.sleep(0)
        first.cancel()
        results = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, True, False, False]
        assert results[2] == results[3]
        assert isinstance(results[2], Response)
        return results[2]

    assert asyncio.run(scenario()) == made(2)
    assert inner.asked == 2
    assert ask(CassetteToolActor(None, store, "replay"), request()) == made(2)


def test_a_call_made_on_the_loop_that_is_waited_for_does_not_wait_for_itself(store: Store) -> None:
    actor = CassetteToolActor(AsyncDice(sleep=0.02), store)

    async def scenario() -> tuple[Response, Response]:
        first = asyncio.create_task(actor.arespond(request()))
        await asyncio.sleep(0)
        second = ask(actor, request())  # synchronous, on the same loop
        return await first, second

    first, second = asyncio.run(asyncio.wait_for(scenario(), 10))
    assert first == second == ask(CassetteToolActor(None, store, "replay"), request())


def test_two_batches_that_want_each_others_calls_end(store: Store) -> None:
    inner = Dice(sleep=0.02)
    actor = CassetteToolActor(inner, store)
    found: dict[int, list[Response | Exception]] = {}

    def batch(number: int, order: Sequence[str]) -> None:
        found[number] = actor.respond_many([request(query) for query in order])

    threads = [
        threading.Thread(target=batch, args=(0, ["a", "b", "c", "d", "a"])),
        threading.Thread(target=batch, args=(1, ["d", "c", "b", "a", "d"])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert inner.asked == 4
    assert found[0][:4] == found[1][3::-1]
    assert found[0][4] == found[0][0]


def _in_child(actor: CassetteToolActor, number: int) -> None:
    for i in range(30):
        ask(actor, request(f"query {i}"))
    raise SystemExit(0)


def test_forked_processes_share_a_cassette_and_wait_for_nobodys_flight(store: Store) -> None:
    actor = CassetteToolActor(Dice(sleep=0.3), store)
    thread = threading.Thread(target=lambda: ask(actor, request("query 0")))
    thread.start()
    time.sleep(0.05)  # in flight while we fork
    quick = CassetteToolActor(Dice(), store)
    children = [multiprocessing.get_context("fork").Process(target=_in_child, args=(quick, i)) for i in range(2)]
    children.append(multiprocessing.get_context("fork").Process(target=ask, args=(actor, request("query 0"))))
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    thread.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert len(store.keys("response:")) == 30


def test_what_another_process_wrote_first_is_what_is_handed_out(store: Store) -> None:
    class Slower(Dice):
        def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
            other = CassetteToolActor(Dice(), Store(store.path))  # as in another process: no flight in common
            assert other.respond(call, spec, view, history, key) == made(1)
            return made(2)

    slower = Slower()
    slower.name = "dice"
    assert ask(CassetteToolActor(slower, store), request()) == made(1)
    assert ask(CassetteToolActor(None, store, "replay"), request()) == made(1)


# ----------------------------------------------------------------------------------------------------------- toolsets


class Writer:
    """A ToolMaker whose every toolset is another one."""

    name = "writer"

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    def make(self, question: Question, key: str = "") -> Toolset:
        self.asked += 1
        if self.error is not None:
            raise self.error
        toolset = TemplateToolMaker().make(question, key)
        return replace(toolset, maker=self.name, notes=(*toolset.notes, f"written {self.asked}"))


class AsyncWriter(Writer):
    async def amake(self, question: Question, key: str = "") -> Toolset:
        await asyncio.sleep(0.01)
        return self.make(question, key)


def test_a_toolset_is_given_back_exactly_as_it_was_made(store: Store) -> None:
    inner = Writer()
    maker = CassetteToolMaker(inner, store)
    question, other = (GAME.world.question(GAME.world.ids[i]) for i in (0, 1))
    first = maker.make(question)
    assert maker.make(question) == first
    assert repr(CassetteToolMaker(None, store.path, "replay").make(question)) == repr(first)
    assert CassetteToolMaker(None, store, "replay").name == "writer"
    variants = [(question, "key"), (other, ""), (replace(question, answer="another gold"), "")]
    assert len({maker.make(*variant).notes for variant in variants} | {first.notes}) == 4
    assert (inner.asked, maker.served) == (4, (1, 4))
    assert toolset_problems(first) == []
    with pytest.raises(InfrastructureError, match=f"holds no toolset for question {other.id!r}"):
        CassetteToolMaker(None, store, "replay").make(other, "never")
    assert CassetteToolMaker(inner, store, "live").make(question) != first
    again = pickle.loads(pickle.dumps(CassetteToolMaker(TemplateToolMaker(), store.path, "replay")))
    assert copy.deepcopy(again) is again


@pytest.mark.parametrize("error", [ToolsetError("it leaks"), InfrastructureError("no quota")])
def test_a_makers_failure_is_repeated_in_a_replay(store: Store, error: Exception) -> None:
    inner = Writer()
    inner.error = error
    question = GAME.world.question(GAME.world.ids[0])
    maker = CassetteToolMaker(inner, store)
    for one in (maker, CassetteToolMaker(None, store, "replay")):
        with pytest.raises(type(error), match=str(error)):
            one.make(question)
    inner.error = None
    assert CassetteToolMaker(inner, store).make(question) == CassetteToolMaker(None, store, "replay").make(question)


def test_toolsets_are_made_once_for_all_tasks_that_want_them(store: Store) -> None:
    inner = AsyncWriter()
    maker = CassetteToolMaker(inner, store)
    question = GAME.world.question(GAME.world.ids[0])

    async def many() -> list[Toolset]:
        return await asyncio.gather(*[maker.amake(question) for _ in range(10)])

    assert len({toolset.notes for toolset in asyncio.run(many())}) == 1
    assert inner.asked == 1


def test_one_store_serves_a_maker_and_an_actor(store: Store) -> None:
    plugs = {"tool_maker": CassetteToolMaker(Writer(), store), "tool_actor": CassetteToolActor(Moody(), store)}
    game = make_game("MTR-HotpotQA-v0", **plugs)
    trace = play(MTREnv(game), make_policy("oracle", actor=GroundedToolActor()), seed=3)
    replayed = {
        "tool_maker": CassetteToolMaker(None, store, "replay"),
        "tool_actor": CassetteToolActor(None, store, "replay"),
    }
    again = make_game("MTR-HotpotQA-v0", **replayed)
    assert encode(play(MTREnv(again), make_policy("oracle", actor=GroundedToolActor()), seed=3)) == encode(trace)
    assert trace.toolset.maker == "writer"


# --------------------------------------------------------------------------------------------------------------- cost


@pytest.mark.stress
@pytest.mark.parametrize("inner", [Dice, Historian])
def test_a_hit_costs_at_most_100_microseconds(store: Store, inner: type[Dice]) -> None:
    times = hit_seconds(CassetteToolActor(inner(), store), requests(300), rounds=10)
    assert statistics.median(times) <= 100e-6, f"{statistics.median(times) * 1e6:.1f} us"


@pytest.mark.parametrize("count", [1000, pytest.param(100_000, marks=pytest.mark.stress)])
def test_a_cassette_of_100000_entries_has_answered_a_call_in_under_a_second(tmp_path: Path, count: int) -> None:
    recorded = requests(count)
    fill(tmp_path / "large.sqlite", recorded)
    gc.collect()
    assert open_seconds(tmp_path / "large.sqlite", recorded[count * 7 // 10]) < 1.0


def test_faults_of_a_replayed_trace_name_the_missing_call(store: Store) -> None:
    ask(CassetteToolActor(Dice(), store), request())
    env = MTREnv(make_game("MTR-HotpotQA-v0", tool_actor=CassetteToolActor(None, store, "replay")))
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(HERMES.render_call(Call("search", {"query": "never asked"})))
    assert (reward, terminated, truncated) == (0.0, False, True)
    trace: Trace = info["trace"]
    [fault] = trace.steps[0].faults
    assert isinstance(fault, Fault)
    assert fault.kind == "infrastructure"
    assert 'holds no response to ["search",{"query":"never asked"}]' in fault.message
    assert "never asked" in str(info["unscored"])
