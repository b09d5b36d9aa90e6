"""Noise: as frequent as asked for, a function of the call, and always within the contract of the tool."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import gymnasium as gym
import pytest

from mtr_env import ENV_IDS, draw
from mtr_env.contract import Contract
from mtr_env.question import Fact, Paragraph, Question
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors.base import CallKey, ToolRequest
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import KINDS, Noise, NoiseSchedule, NoisyToolActor
from mtr_env.toolmakers.specs import CALCULATE, OPEN_PAGE, SEARCH, inverse_tool, relation_tool, response_schema
from mtr_env.trace import Call, Response

LONG = (
    "Kolya is a film by Jan Svěrák that was released in 1996.",
    "It won an Oscar in 1997 against many other films.",
    "The film was shot in Prague with a budget of thirty million crowns.",
    "It has music by Ondřej Soukup.",
)
QUESTION = Question(
    "q",
    "Who directed 12 films?",
    "Jan Svěrák",
    paragraphs=(
        Paragraph("Kolya", LONG),
        Paragraph("Kolya's film music", ("The film music of Kolya.",)),
        Paragraph("Prague film school", ("A school of film.",)),
    ),
    facts=(
        Fact("Kolya", "performer", "A", ("p0s0",)),
        Fact("Kolya", "performer", "B", ("p0s1",)),
        Fact("Kolya", "performer", "C"),
        Fact("Empties", "performer", "X"),
        Fact("Elves", "performer", "A"),
        Fact("Solo", "director", "Only"),
    ),
)
VIEW = QUESTION.view()
GROUNDED = GroundedToolActor()


def actor(**kinds: float) -> NoisyToolActor:
    return NoisyToolActor(GROUNDED, kinds)


def ask(noisy: Any, spec: ToolSpec, value: str, seed: int = 0, attempt: int = 0) -> Response:
    call = Call(spec.name, {next(iter(spec.parameters["properties"])): value})
    response: Response = noisy.respond(call, spec, VIEW, (), CallKey(seed, "q", call, beside=(call,) * attempt))
    assert Contract(Toolset((spec,))).check_response(response.value, spec) is None
    return response


def within(count: int, draws: int, probability: float) -> bool:
    """Within five standard deviations of a binomial: wrong once in two million, for fixed seeds never again."""
    return abs(count - draws * probability) <= 5 * math.sqrt(draws * probability * (1 - probability))


# -------------------------------------------------------------------------------------------------------------- rates


def test_every_kind_is_as_frequent_as_asked_for() -> None:
    rates = {"tool_failure": 0.05, "not_found": 0.1, "partial": 0.2, "contradicting": 0.3}
    noisy, draws = actor(**rates), 4000
    notes = [ask(noisy, relation_tool("performer"), "Kolya", seed).note for seed in range(draws)]
    for kind, rate in rates.items():
        assert within(notes.count(kind), draws, rate), kind
    assert within(notes.count(""), draws, 0.35)


def test_draws_are_independent_over_attempts_questions_and_calls() -> None:
    noisy, draws = actor(tool_failure=0.5), 3000
    hits = [ask(noisy, SEARCH, "Kolya", 7, attempt).note != "" for attempt in range(draws)]
    assert within(sum(hits), draws, 0.5)
    assert within(sum(a == b for a, b in itertools.pairwise(hits)), draws - 1, 0.5)
    names = [ask(noisy, SEARCH, f"Kolya {i}", 7).note != "" for i in range(draws)]
    assert within(sum(names), draws, 0.5)
    assert within(sum(a == b for a, b in zip(hits, names, strict=True)), draws, 0.5)


def test_a_retry_draws_anew_and_the_same_key_gives_the_same_response() -> None:
    noisy = actor(tool_failure=0.5)
    seed = next(seed for seed in range(99) if ask(noisy, SEARCH, "Kolya", seed).note)
    first = [ask(noisy, SEARCH, "Kolya", seed, attempt) for attempt in range(20)]
    assert first == [ask(actor(tool_failure=0.5), SEARCH, "Kolya", seed, attempt) for attempt in range(20)]
    assert {response.note for response in first} == {"", "tool_failure"}


def test_probability_0_changes_nothing_and_1_hits_every_call() -> None:
    for seed in range(50):
        assert ask(actor(), SEARCH, "Kolya", seed) == ask(GROUNDED, SEARCH, "Kolya", seed)
        assert ask(actor(tool_failure=1.0), SEARCH, "Kolya", seed).note == "tool_failure"
        assert ask(NoisyToolActor(GROUNDED, 1.0), relation_tool("performer"), "Kolya", seed).origin == "noise"


# -------------------------------------------------------------------------------------------------------------- kinds


def test_a_failure_and_nothing_found_state_nothing() -> None:
    failure = ask(actor(tool_failure=1), SEARCH, "Kolya")
    assert failure.value == {"status": "error", "message": "The service is temporarily unavailable; try again."}
    nothing = ask(actor(not_found=1), SEARCH, "Kolya")
    assert nothing.value == {"status": "not_found", "message": "Nothing was found."}
    assert failure.sources == nothing.sources == ()
    assert (failure.origin, nothing.origin) == ("noise", "noise")


def test_a_partial_list_keeps_the_sources_that_it_still_states() -> None:
    full, half = (ask(noisy, SEARCH, "Kolya film") for noisy in (GROUNDED, actor(partial=1)))
    assert len(full.value["results"]) == 3
    assert half.value["results"] == full.value["results"][:2]
    assert set(half.sources) < set(full.sources)
    dropped = full.value["results"][2]["title"]
    place = [paragraph.title for paragraph in QUESTION.paragraphs].index(dropped)
    assert not {f"p{place}", f"p{place}s0"} & set(half.sources)


def test_a_partial_page_keeps_the_sources_of_its_whole_sentences() -> None:
    half = ask(actor(partial=1), OPEN_PAGE, "Kolya")
    assert " ".join(LONG).startswith(half.value["text"])
    assert half.value["text"].endswith(".")
    wanted = [f"p0s{i}" for i, sentence in enumerate(LONG) if sentence in half.value["text"]]
    assert 0 < len(wanted) < len(LONG)
    assert half.sources == ("p0", *wanted)


def test_a_partial_relation_keeps_the_facts_that_it_still_states() -> None:
    full, half = (ask(noisy, relation_tool("performer"), "Kolya") for noisy in (GROUNDED, actor(partial=1)))
    assert ["A", "B", "C"] in full.value.values()
    assert ["A", "B"] in half.value.values()
    assert half.sources == ("t0", "t1")
    inverse = ask(actor(partial=1), inverse_tool("performer"), "A")
    assert (inverse.value["total"], inverse.sources, inverse.note) == (1, ("t0",), "partial")


def test_noise_that_a_models_own_tool_cannot_take_leaves_the_response_as_it_is() -> None:
    class Says:
        name = "says"

        def __init__(self, value: Any) -> None:
            self.value = value

        def respond(self, *request: Any) -> Response:
            return Response(self.value, origin="llm")

    def tool(**fields: Any) -> ToolSpec:
        return ToolSpec(
            "credits", "Who made it.", {"type": "object", "properties": {"query": {}}}, response_schema(fields)
        )

    total = tool(total={"type": "integer"}, text={"type": "string"})
    half = {"status": "ok", "total": 7, "text": "A long first sentence. " * 20}
    noisy = ask(NoisyToolActor(Says(half), {"partial": 1.0}), total, "film")
    assert (noisy.origin, noisy.value["total"]) == ("noise", 7)
    assert len(noisy.value["text"]) < len(half["text"])
    pair = {"type": "array", "minItems": 2, "items": {"type": "string"}}
    two = {"status": "ok", "names": ["a", "b"]}
    assert ask(NoisyToolActor(Says(two), {"partial": 1.0}), tool(names=pair), "film").origin == "llm"
    free = ToolSpec("mood", "A mood.", {"type": "object", "properties": {"query": {}}}, {"type": "integer"})
    for kind in KINDS:
        assert ask(NoisyToolActor(Says(3), {kind: 1.0}), free, "film") == Response(3, origin="llm")
        broken = Response({"status": "ok"}, origin="llm")
        call = Call("get_performer", {"film": "Kolya"})
        actor = NoisyToolActor(Says(broken.value), {kind: 1.0})
        spec = relation_tool("performer")
        assert actor.respond(call, spec, VIEW, (), CallKey(0, "q", call)) == broken, (
            "the simulator's fault stays its own"
        )


def test_a_contradiction_is_another_object_of_the_same_relation_without_a_source() -> None:
    wrong = {str(ask(actor(contradicting=1), relation_tool("performer"), "Kolya", seed).value) for seed in range(40)}
    assert len(wrong) == 1
    assert "['X']" in wrong.pop()
    others = [ask(actor(contradicting=1), relation_tool("performer"), "Empties", seed) for seed in range(60)]
    found = {next(v[0] for v in response.value.values() if isinstance(v, list)) for response in others}
    assert found == {"A", "B", "C"}
    assert all((r.sources, r.origin, r.note) == ((), "noise", "contradicting") for r in others)


def test_a_kind_that_cannot_apply_leaves_the_response_as_it_is() -> None:
    for kind, spec, value in (
        ("contradicting", relation_tool("director"), "Solo"),
        ("contradicting", SEARCH, "Kolya"),
        ("contradicting", OPEN_PAGE, "Kolya"),
        ("partial", relation_tool("director"), "Solo"),
        ("partial", OPEN_PAGE, "Prague film school"),
        ("partial", OPEN_PAGE, "nobody"),
        ("not_found", OPEN_PAGE, "nobody"),
        ("not_found", CALCULATE, "12 + 12"),
        ("partial", CALCULATE, "12 + 12"),
        ("contradicting", CALCULATE, "12 + 12"),
    ):
        assert ask(actor(**{kind: 1.0}), spec, value) == ask(GROUNDED, spec, value)
    assert ask(actor(tool_failure=1), CALCULATE, "12 + 12").note == "tool_failure"


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_noisy_response_of_every_tool_keeps_its_schema(env_id: str, kind: str) -> None:
    env: Any = gym.make(env_id)
    noisy, hit = actor(**{kind: 1.0}), 0
    for seed in range(5):
        env.reset(seed=seed)
        trace = env.snapshot()
        view, contract = trace.question.view(), Contract(trace.toolset)
        names = [
            *dict.fromkeys(
                [f.subject for f in view.facts] + [f.object for f in view.facts] + [p.title for p in view.paragraphs]
            )
        ]
        for spec in trace.toolset.tools:
            for name in (*names[:40], "nobody"):
                call = Call(spec.name, dict.fromkeys(spec.parameters["properties"], name[:400]))
                key = CallKey(seed, "q", call)
                response, true = (a.respond(call, spec, view, (), key) for a in (noisy, GROUNDED))
                assert contract.check_response(response.value, spec) is None
                assert set(response.sources) <= set(true.sources)
                assert response == true or (response.origin, response.note) == ("noise", kind)
                hit += response != true
    assert hit > 10


# ------------------------------------------------------------------------------------------------------------ settings


def test_noise_is_given_as_a_number_a_mapping_or_a_record() -> None:
    assert Noise.of(None).is_none
    assert Noise.of(0).is_none
    assert Noise.of({}).is_none
    assert Noise.of(0.4) == Noise(0.1, 0.1, 0.1, 0.1)
    assert Noise.of({"partial": 0.3}) == Noise(partial=0.3)
    record = Noise(not_found=1)
    assert Noise.of(record) is record


@pytest.mark.parametrize("noise", [-0.1, 1.1, {"partial": 1.2}, {"partial": 0.6, "not_found": 0.6}, float("nan")])
def test_probabilities_that_are_none_are_an_error(noise: Any) -> None:
    with pytest.raises(ValueError, match=r"Noise probabilities lie in \[0, 1\] and sum to at most 1"):
        Noise.of(noise)


def test_an_unknown_kind_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="Unknown kind of noise 'parital'; expected some of tool_failure, not_found"):
        Noise.of({"parital": 0.5})
    with pytest.raises(ValueError, match="Unknown kind of noise"):
        gym.make("MTR-Synthetic-v0", noise={"parital": 0.5})


def test_the_name_records_the_settings_and_a_copy_is_the_same_actor() -> None:
    noisy = actor(partial=0.25)
    assert noisy.name == "grounded + noise(tool_failure=0, not_found=0, partial=0.25, contradicting=0)"
    assert copy.deepcopy(noisy) is noisy


class Fragile:
    """Answers every second request; the others raise."""

    name = "fragile"

    def respond(self, call: Call, *rest: Any) -> Response:
        if call.arguments["query"] == "bad":
            raise TimeoutError("down")
        return Response({"status": "ok", "results": []}, ("p0",))


def test_in_a_batch_only_the_request_that_fails_is_an_exception() -> None:
    requests = []
    for query in ("good", "bad", "good"):
        call = Call("search", {"query": query})
        requests.append(ToolRequest(call, SEARCH, VIEW, (), CallKey(0, "q", call)))  # type: ignore[arg-type]
    first, second, third = NoisyToolActor(Fragile(), {"tool_failure": 1.0}).respond_many(requests)
    assert isinstance(second, TimeoutError)
    assert isinstance(first, Response)
    assert first == third
    assert first.note == "tool_failure"


# ----------------------------------------------------------------------------------------------------------- schedule


def test_a_schedule_is_linear_between_its_points_and_constant_outside() -> None:
    points = {0.2: 0.0, 0.6: {"partial": 0.4}, 1.0: {"partial": 0.4, "tool_failure": 0.2}}
    schedule = NoiseSchedule.of(points, seeds=(0, 1))
    expected = {0.0: (0, 0), 0.2: (0, 0), 0.3: (0.1, 0), 0.6: (0.4, 0), 0.8: (0.4, 0.1), 1.0: (0.4, 0.2)}
    for progress, (partial, failure) in expected.items():
        noise = schedule.at(progress)
        assert (noise.partial, noise.tool_failure) == pytest.approx((partial, failure)), progress


def test_noise_says_of_the_inner_actor_whether_it_waits_and_looks_back() -> None:
    class Model(GroundedToolActor):
        remote = uses_history = True

    assert (actor().remote, actor().uses_history) == (False, False)
    noisy = NoisyToolActor(Model(), 0.1)
    assert (noisy.remote, noisy.uses_history) == (True, True)


def test_noise_follows_the_steps_of_a_training_by_the_seeds_of_its_groups() -> None:
    schedule = NoiseSchedule.over_steps({0.0: 0.0, 1.0: {"tool_failure": 0.8}}, steps=200)
    noisy, draws = NoisyToolActor(GROUNDED, schedule), 2000
    for step in (0, 50, 200, 300):
        seeds = [draw.group_seed(3, step, f"question {i}") for i in range(draws)]
        assert len(set(seeds)) == draws
        hit = sum(ask(noisy, SEARCH, "film", seed).origin == "noise" for seed in seeds)
        assert within(hit, draws, 0.8 * min(step, 200) / 200) or (step == 0 and hit <= 10), step


def test_with_seeds_the_episodes_seed_is_its_progress() -> None:
    noisy = NoisyToolActor(GROUNDED, NoiseSchedule.of({0.0: 0.0, 1.0: {"tool_failure": 1.0}}, seeds=(1000, 3000)))
    hit = [ask(noisy, SEARCH, "film", seed).origin == "noise" for seed in range(5000)]
    assert not any(hit[:1001])
    assert all(hit[3000:])
    assert within(sum(hit[1000:2000]), 1000, 0.25)
    assert within(sum(hit[2000:3000]), 1000, 0.75)


def test_the_schedule_stands_in_the_name() -> None:
    schedule = NoiseSchedule.of({0.0: 0.0, 1.0: {"partial": 0.5}}, seeds=(0, 99))
    name = NoisyToolActor(GROUNDED, schedule).name
    assert "at 0: tool_failure=0, not_found=0, partial=0, contradicting=0; at 1: " in name
    assert "partial=0.5" in name
    assert name.endswith("; seeds 0 to 99)")


@pytest.mark.parametrize(
    "make",
    [
        lambda: NoiseSchedule((), (0, 1)),
        lambda: NoiseSchedule.of({0.5: 0.1, 0.2: 0.1}, (0, 1)),
        lambda: NoiseSchedule.of({0.0: 0.1, 1.5: 0.1}, (0, 1)),
        lambda: NoiseSchedule.of({0.0: 2.0}, (0, 1)),
        lambda: NoiseSchedule.of({0.0: 0.1}, seeds=(5, 5)),
    ],
)
def test_an_impossible_schedule_is_refused(make: Any) -> None:
    with pytest.raises(ValueError):
        make()
