"""The audit of a simulator: it recovers known error rates, over HTTP, and finds nothing wrong with the evidence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_server import ChatServer
from simulated_model import Careless, FakeChat, Messages, Simulator, chat_client, request

from mtr_env import draw
from mtr_env.audit_actor import ActorReport, Share, audit_actor, compare, reworded
from mtr_env.episode import Game
from mtr_env.llm.client import ModelError
from mtr_env.question import Paragraph, Question
from mtr_env.registration import DATASETS, make_game
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.ladder import LadderToolActor
from mtr_env.toolactors.llm import LLMToolActor
from mtr_env.toolmakers.specs import CALCULATE, SEARCH, relation_tool
from mtr_env.trace import Call, Response

WRONG, INVALID, LEAK = 0.10, 0.05, 0.03
WITHIN = 0.02


def synthetic(limit: int) -> tuple[Game, list[Question]]:
    game = make_game("MTR-Synthetic-v0", limit=limit)
    return game, [game.world.question(i) for i in game.world.ids]


def check_rates(report: ActorReport, calls: int) -> None:
    assert report.calls >= calls
    assert report.fields.share == pytest.approx(1 - WRONG, abs=WITHIN)
    assert report.first_try.share == pytest.approx(1 - INVALID, abs=WITHIN)
    assert report.leaks.share == pytest.approx(LEAK, abs=WITHIN)
    assert report.consistency.share == pytest.approx((1 - WRONG) ** 2, abs=WITHIN)
    assert (report.status.share, report.invalid.share, report.outages) == (1.0, 0.0, 0)
    assert report.leaks.of > calls / 2


def test_known_error_rates_are_recovered_within_two_points() -> None:
    game, questions = synthetic(700)
    chat = FakeChat(Careless(questions, WRONG, INVALID, LEAK))
    report = audit_actor(game, LLMToolActor(chat, evidence_chars=10**6))
    check_rates(report, 2000)
    assert report.input_tokens == 100 * len(chat.asked)
    assert (report.spent, report.origins) == (None, {"llm": 2 * report.calls})
    assert len(report.disagreements) == 50
    assert all(d.evidence != d.found and "Wrong" in str(d.found) for d in report.disagreements if d.field == "director")


def over_http(limit: int) -> ActorReport:
    game, questions = synthetic(limit)
    with ChatServer(Careless(questions, WRONG, INVALID, LEAK)) as server:
        client = chat_client(server.url, prices=(1.0, 2.0))
        actor = LLMToolActor(client, evidence_chars=10**6)
        report = audit_actor(game, actor, spent=lambda: client.spent)
        requests, tokens = server.requests, server.tokens
    assert report.spent is not None
    assert report.spent.requests == requests > 2 * report.calls
    assert (report.input_tokens, report.output_tokens) == tokens
    assert report.spent.cost == pytest.approx((tokens[0] + 2 * tokens[1]) / 1e6)
    return report


def test_over_http_requests_tokens_and_cost_are_those_of_the_server() -> None:
    assert over_http(30).calls > 80


@pytest.mark.stress
def test_known_error_rates_are_recovered_over_http() -> None:
    check_rates(over_http(700), 2000)


def test_other_rates_give_other_numbers() -> None:
    game, questions = synthetic(150)
    report = audit_actor(game, LLMToolActor(FakeChat(Careless(questions, wrong=0.5)), evidence_chars=10**6))
    assert report.fields.share == pytest.approx(0.5, abs=0.06)
    assert (report.leaks.share, report.first_try.share) == (0.0, 1.0)


@pytest.mark.parametrize("env_id", [*DATASETS, "MTR-Synthetic-v0"])
def test_the_evidence_agrees_with_itself_in_other_words_and_leaks_nothing(env_id: str) -> None:
    report = audit_actor(make_game(env_id, limit=20), GroundedToolActor())
    assert report.calls > 20
    assert (report.fields.share, report.status.share, report.consistency.share) == (1.0, 1.0, 1.0)
    assert (report.leaks.count, report.invalid.count, report.disagreements) == (0, 0, [])
    assert report.first_try == Share(None, 0, 0, None)


def test_a_model_that_never_keeps_the_schema_agrees_in_nothing_that_could_be_compared() -> None:
    game, _ = synthetic(5)
    report = audit_actor(game, LLMToolActor(FakeChat(lambda messages: "no"), attempts=0))
    assert (report.first_try.share, report.invalid.share) == (0.0, 1.0)
    assert (report.fields.of, report.consistency.of, report.leaks.of) == (0, 0, 0)


def test_a_repaired_response_is_no_first_try_but_valid() -> None:
    game, questions = synthetic(5)
    right = Simulator(questions)
    chat = FakeChat(lambda messages: "no" if len(messages) == 2 else right(messages))
    report = audit_actor(game, LLMToolActor(chat, evidence_chars=10**6))
    assert (report.first_try.share, report.invalid.share, report.fields.share) == (0.0, 0.0, 1.0)


def test_a_refused_leak_is_not_a_leak() -> None:
    game, questions = synthetic(40)
    chat = FakeChat(Careless(questions, leak=0.5))
    measured = audit_actor(game, LLMToolActor(chat, evidence_chars=10**6))
    refused = audit_actor(game, LLMToolActor(chat, leak_guard="refuse", attempts=5, evidence_chars=10**6))
    assert measured.leaks.share is not None
    assert measured.leaks.share > 0.4
    assert refused.leaks.count == 0


def test_outages_are_counted_with_their_reasons() -> None:
    game, questions = synthetic(10)
    right = Simulator(questions)

    def sometimes(messages: Messages) -> str | Exception:
        return ModelError("status 503") if draw.uniform(messages[1]["content"]) < 0.3 else right(messages)

    chat = FakeChat(sometimes)
    report = audit_actor(game, LLMToolActor(chat, evidence_chars=10**6))
    assert report.outages > 0
    assert report.outage_reasons == {"ModelError: status 503": report.outages}
    assert report.outages + sum(report.origins.values()) == 2 * report.calls


def test_of_a_ladder_the_origins_say_who_answered() -> None:
    game, _ = synthetic(10)
    report = audit_actor(game, LadderToolActor(GroundedToolActor(), LLMToolActor(FakeChat(lambda messages: "no"))))
    assert report.origins == {"grounded": 2 * report.calls}


def test_a_game_with_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="without noise"):
        audit_actor(make_game("MTR-Synthetic-v0", limit=2, noise=0.1), GroundedToolActor())


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    audit_actor(synthetic(3)[0], GroundedToolActor(), on_question=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 3)]


# --------------------------------------------------------------------------------------------------------- comparison


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": "Jan Svěrák"}, {"a": "jan sverak."}, {"a": True}),
        ({"a": ["x", "y"]}, {"a": ["Y", "X"]}, {"a": True}),
        ({"a": ["x", "x"]}, {"a": ["x"]}, {"a": False}),
        ({"a": 1250}, {"a": 1250.0}, {"a": True}),
        ({"a": "1,250"}, {"a": "1250"}, {"a": True}),
        ({"a": "1250"}, {"a": 1250}, {"a": False}),
        ({"a": [{"t": "X", "s": 1}]}, {"a": [{"s": 1, "t": "x"}]}, {"a": True}),
        ({"a": None}, {}, {"a": False}),
        ({"a": "x"}, {"b": "x"}, {"a": False, "b": False}),
        ({"status": "ok", "message": "x"}, {"status": "error", "candidates": []}, {}),
    ],
)
def test_fields_agree_but_for_case_punctuation_and_order(first: Any, second: Any, expected: dict[str, bool]) -> None:
    assert compare(first, second) == expected


def test_the_same_call_in_other_words_is_about_the_same_thing() -> None:
    question = Question("q", "?", "x", paragraphs=(Paragraph("Kolya", ("A.",)),))
    earlier = (Call("a"), Response({"n": 1})), (Call("b"), Response({"n": 2}))
    for spec, given, expected in (
        (SEARCH, {"query": "Who directed Kolya"}, {"query": "kolya directed who"}),
        (relation_tool("director"), {"film": "Kolya (Film)"}, {"film": "kolya (film)"}),
        (CALCULATE, {"expression": "1 - 2"}, {"expression": "1 - 2"}),
    ):
        asked = request(question, spec, given, *earlier)
        again = reworded(asked)
        assert (again.call.arguments, again.view) == (expected, asked.view)
        assert list(again.history) == [*reversed(list(asked.history))]
        assert again.key.seed != asked.key.seed


def test_the_report_can_be_saved() -> None:
    import msgspec

    report = audit_actor(synthetic(2)[0], GroundedToolActor())
    assert json.loads(msgspec.json.encode(report))["fields"]["share"] == 1.0
