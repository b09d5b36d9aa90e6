"""The reward cannot be gamed: every corruption of an oracle's trace scores strictly less, and none of the exploiting
policies beats an honest one that knows the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from statistics import mean

import pytest

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.policies import exploits, make_policy
from mtr_env.policies.base import EpisodicPolicy, Policy
from mtr_env.policies.oracle import Oracle
from mtr_env.policies.replay import Replay
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.rollout import play
from mtr_env.trace import Call, Trace, decode, encode

WORLDS = ["hotpotqa", "musique", "2wikimultihopqa", "synthetic"]
QUESTIONS = 60
IDS = {"hotpotqa": "MTR-HotpotQA-v0", "musique": "MTR-MuSiQue-v0", "2wikimultihopqa": "MTR-2WikiMultiHopQA-v0"}


@lru_cache(None)
def game_of(world: str, source: Path | None) -> Game:
    if world == "synthetic":
        return make_game("MTR-Synthetic-v0", limit=QUESTIONS, max_steps=16)
    return make_game(IDS[world], source=source, limit=QUESTIONS, max_steps=16)


@pytest.fixture(params=WORLDS)
def game(request: pytest.FixtureRequest, shared_data: Callable[[str], Path]) -> Game:
    world = request.param
    return game_of(world, None if world == "synthetic" else shared_data(f"{world}/dev_shared.jsonl"))


def rewards(game: Game, policy: Policy | EpisodicPolicy) -> list[float]:
    env = MTREnv(game)
    totals = [score(play(env, policy, question_id=question_id)).total for question_id in game.world.ids]
    return [total for total in totals if total is not None]


def replayed(game: Game, trace: Trace, actions: list[str]) -> float:
    """The reward of other actions on the same question (no answer, when they run out)."""
    env = MTREnv(game)
    env.reset(seed=trace.seed, options={"question_id": trace.question.id})
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return reward
    unfinished = score(env.snapshot()).total
    assert unfinished is not None
    return unfinished


def perfect(game: Game) -> Iterator[tuple[Trace, list[str]]]:
    for question_id in game.world.ids:
        trace = play(MTREnv(game), Oracle(), question_id=question_id)
        if score(trace).total == 1.0:
            yield trace, [step.action for step in trace.steps]


def test_the_reward_paid_is_the_reward_of_the_saved_trace_and_of_its_replay(game: Game) -> None:
    for trace, actions in perfect(game):
        saved = decode(encode(trace))
        assert saved == trace and encode(saved) == encode(trace)
        assert score(saved) == score(trace)
        assert replayed(game, trace, actions) == 1.0
        assert encode(play(MTREnv(game), Replay([saved]), question_id=trace.question.id)) == encode(trace)


def test_each_single_corruption_of_an_oracle_trace_scores_strictly_less(game: Game) -> None:
    grammar = game.grammar
    seen = 0
    for trace, actions in perfect(game):
        *calls, answer = actions
        first = trace.steps[0].calls[0]
        corruptions = {
            "wrong answer": [*calls, grammar.render_answer("certainly something else")],
            "no answer": [*calls, *[""] * game.setup.max_steps],
            "invented argument": [grammar.render_call(Call("open_page", {"title": "Qwertz Zuiop"})), *actions],
            "guess in a query": [grammar.render_call(Call("search", {"query": "is it Qwertz Zuiop"})), *actions],
            "wasted call": [calls[0], *actions],
            "malformed action": ["let me think", *actions],
            "unknown tool": [grammar.render_call(Call("no_such_tool", {})), *actions],
            "invalid arguments": [grammar.render_call(Call(first.name, {})), *actions],
            "answer before its evidence": [answer],
        }
        for name, corrupted in corruptions.items():
            assert replayed(game, trace, corrupted) < 1.0, (trace.question.id, name)
        for dropped in range(len(calls)):
            rest = [action for i, action in enumerate(actions) if i != dropped]
            kept = {
                ref
                for i, step in enumerate(trace.steps)
                if i != dropped
                for r in step.responses
                if r
                for ref in r.sources
            }
            if any(kept.isdisjoint(unit.any_of) for unit in trace.question.evidence):
                seen += 1
                assert replayed(game, trace, rest) < 1.0, (trace.question.id, "dropped hop", dropped)
    assert seen > QUESTIONS / 2


def test_silence_and_coins_earn_no_more_than_an_honest_guess(game: Game) -> None:
    honest = mean(rewards(game, Oracle()))
    assert mean(rewards(game, exploits.Mute())) == 0.0
    assert mean(rewards(game, exploits.Coin())) < honest / 2


def test_hedging_never_beats_the_honest_player_question_by_question(game: Game) -> None:
    for honest in (Oracle(), make_policy("first-search")):
        pairs = list(zip(rewards(game, honest), rewards(game, exploits.Hedger(honest)), strict=True))
        assert all(hedged <= straight for straight, hedged in pairs)


@pytest.mark.parametrize("exploit", [exploits.EchoLaunderer, exploits.Memoriser])
def test_who_knows_the_answer_earns_less_than_who_shows_where_it_stands(
    game: Game, exploit: Callable[[], EpisodicPolicy]
) -> None:
    honest, exploited = rewards(game, Oracle()), rewards(game, exploit())
    assert mean(exploited) < mean(honest)
    # A search for the gold answer may show all the evidence there is, where the question names the answer anyway.
    assert all(e <= h for h, e in zip(honest, exploited, strict=True) if h == 1.0)


def test_the_answer_alone_earns_six_tenths(game: Game) -> None:
    assert rewards(game, exploits.Memoriser()) == [pytest.approx(0.6)] * QUESTIONS


def test_junk_calls_do_not_dilute_a_fault(game: Game) -> None:
    honest = rewards(game, Oracle())
    one_fault = rewards(game, exploits.Diluter(Oracle(), junk=0))
    diluted = rewards(game, exploits.Diluter(Oracle(), junk=7))
    for straight, fault, junk in zip(honest, one_fault, diluted, strict=True):
        assert junk <= fault <= straight
        assert junk < straight or straight == 0.0


@pytest.mark.parametrize("name", ["chaser", "first-search", "no-tool"])
def test_scripted_short_cuts_stay_below_half_of_the_oracle(game: Game, name: str) -> None:
    honest = mean(rewards(game, Oracle()))
    policy = make_policy(name, max_steps=game.setup.max_steps)
    assert mean(rewards(game, policy)) < honest / 2
