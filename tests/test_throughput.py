"""The benchmark measures what it says, and a real slowdown shows even on a noisy machine."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import gymnasium as gym
import msgspec
import pytest

import mtr_env
from benchmarks import limits, throughput
from benchmarks.cases import ENV_ID, NullActor, OurCase
from benchmarks.peers import PEERS
from benchmarks.report import Report, Target, markdown
from benchmarks.throughput import QUICK, measure
from mtr_env.contract import Contract
from mtr_env.grammar import HermesGrammar
from mtr_env.metrics import answer_metrics

GENEROUS = 3.0  # times the targets
ITEMS = limits.make_items(7, 6)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return limits.write_file(tmp_path_factory.mktemp("texts") / "questions.jsonl", ITEMS)


@pytest.fixture(scope="module")
def quick() -> tuple[Report, float]:
    start = time.perf_counter()
    report = measure(QUICK, "the command")
    return report, time.perf_counter() - start


def test_a_quick_run_reports_every_case_ratio_and_target(quick: tuple[Report, float]) -> None:
    report, _ = quick
    assert {
        "ours null",
        "ours search",
        "ours repeat",
        "limit null (msgspec)",
        "limit BM25 (msgspec)",
        "limit memo",
    } <= {*report.cases}
    for name in ("ours null", "limit BM25 (msgspec)", "limit memo"):
        us = report.cases[name]
        assert us["step"] > 0
        rounds = us["reset"] + 4 * us["step"] + us["answer"]  # medians, while "fifth" has all of every round
        assert rounds / 2 < 5 * us["fifth"] < rounds * 3
    for words in ("episode / 5", "tool step"):
        assert report.ratios[f"ours null step / limit null (msgspec), {words}"] > 1
    assert {peer.name for peer in PEERS} == {*report.peers}
    assert all(target.met is not None or target.measured is None for target in report.targets)
    assert len(report.targets) == 13
    encoded = msgspec.json.encode(report)
    assert json.loads(encoded)["command"] == "the command"
    assert str(Path.home()) not in encoded.decode() and "/tmp" not in encoded.decode()


def test_no_target_is_missed_by_far(quick: tuple[Report, float]) -> None:
    missed = [f"{t.name}: {t.measured:.3g} {t.unit}, target {t.target:g}" for t in quick[0].missed(GENEROUS)]
    assert not missed, missed


def test_a_peer_that_is_not_installed_is_named_and_meets_no_target(quick: tuple[Report, float]) -> None:
    for name, text in quick[0].peers.items():
        measured = [t for t in quick[0].targets if name in t.name]
        if text == "not installed":
            assert name not in quick[0].cases
            assert all(t.measured is None and t.met is None for t in measured)


def test_the_report_reads_as_tables(quick: tuple[Report, float]) -> None:
    text = markdown(quick[0])
    assert "| null-tool step / its limit |" in text and "`the command`" in text
    assert "*Tool step*: one of the 4 calls." in text


def test_check_fails_only_when_a_target_is_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = Target("null-tool step / its limit", 4.0, 3.0, "x", False)
    report = Report("command", "2026-01-01", 0, 1, {}, [target], {}, {}, {}, {})
    monkeypatch.setattr(throughput, "measure", lambda options, command: report)
    assert throughput.main(["--out", str(tmp_path)]) == 0
    assert throughput.main(["--check"]) == 1
    assert "4 > 3" in capsys.readouterr().out
    assert throughput.main(["--check", "--slack", "1.5"]) == 0
    assert json.loads((tmp_path / "throughput.json").read_bytes())["targets"][0]["met"] is False
    assert (tmp_path / "throughput.md").read_text(encoding="utf-8").startswith("# Throughput")


def test_the_texts_follow_from_the_seed_and_have_the_stated_size() -> None:
    assert limits.make_items(7, 6) == ITEMS != limits.make_items(8, 6)
    for item in ITEMS:
        assert len(item.context) == 20
        assert 9_000 < sum(len(sentence) for _, sentences in item.context for sentence in sentences) < 17_000


def test_queries_never_repeat_and_hold_no_stop_words() -> None:
    planner = limits.Planner(ITEMS, 3)
    queries = [(plan.item.id, query) for _ in range(20) for plan in planner.plans() for query in plan.queries]
    assert len(set(queries)) == len(queries)
    assert not {word for _, query in queries for word in query.split()} & limits.STOP_WORDS


def test_the_limit_finds_the_pages_that_our_search_finds(source: Path) -> None:
    env = gym.make(ENV_ID, source=source)
    for plan in limits.Planner(ITEMS, 1).plans() + limits.Planner(ITEMS, 2).plans():
        env.reset(seed=0, options={"question_id": plan.item.id})
        record: list[tuple[str, dict[str, object], dict[str, object], str]] = []
        tool = limits.Index(plan.item).search
        for action in plan.calls:
            limits.play_call(action, tool, record, limits.msgspec_loads, limits.msgspec_dumps)
        for action, _, value, text in record:
            observation = env.step(action)[0]
            (result,) = HermesGrammar().parse_observation(observation)
            assert result.content == value == json.loads(text)


def test_the_limit_scores_answers_as_we_do() -> None:
    for prediction, gold in (("The  Eiffel tower.", "Eiffel Tower"), ("a tower", "Eiffel Tower"), ("Rome", "Paris")):
        normal = limits.normalise(gold)
        scores = limits.play_answer(f"<answer>{prediction}</answer>", normal, Counter(normal.split()), [])
        ours = answer_metrics(prediction, [gold])
        assert scores == (ours.em, ours.f1)


def test_the_null_value_has_975_bytes_and_keeps_the_contract() -> None:
    assert len(msgspec.json.encode(limits.null_value())) == limits.NULL_BYTES
    assert limits.check_response(limits.null_value())


def test_no_memo_of_ours_answers_a_null_step(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step parses its action, checks both schemas and renders: else the ratio to the limit would flatter us."""
    seen: Counter[str] = Counter()
    for name in ("check_call", "check_response"):
        real = getattr(Contract, name)

        def counted(*args: object, name: str = name, real=real) -> object:  # type: ignore[no-untyped-def]
            seen[name] += 1
            return real(*args)

        monkeypatch.setattr(Contract, name, counted)
    case = OurCase(source, len(ITEMS), NullActor())
    planner = limits.Planner(ITEMS, 5)
    for _ in range(3):
        case.play(planner.plans())
    assert seen == {"check_call": 3 * 6 * 4, "check_response": 3 * 6 * 4}
    trace = case.traces[-1]
    assert mtr_env.score(trace).total is not None and "lorem ipsum" in trace.steps[3].observation
