"""Runs: resumable after a kill at any byte, refused where they do not fit, summarized with honest intervals."""

from __future__ import annotations

import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from mtr_env.episode import Game
from mtr_env.errors import DatasetError, InfrastructureError
from mtr_env.evaluate import (
    Budget,
    Summary,
    interval,
    load_policy,
    mean_interval,
    read_info,
    read_traces,
    run,
    score_file,
    start,
    summarize,
    wilson,
    write_json,
)
from mtr_env.evaluate.bootstrap import bootstrap_interval, bootstrap_ratio_interval
from mtr_env.llm import Spent
from mtr_env.metrics import metrics
from mtr_env.policies.oracle import Oracle
from mtr_env.policies.random_valid import RandomValid
from mtr_env.policies.usage import EpisodeUsage
from mtr_env.registration import make_game
from mtr_env.reward import RUBRICS
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.trace import Response, Trace, decode, encode

N = 6


@pytest.fixture(scope="module")
def game() -> Game:
    return make_game("MTR-Synthetic-v0", limit=4)


@pytest.fixture(scope="module")
def finished(game: Game, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """traces.jsonl of an uninterrupted run of N episodes over 4 questions."""
    out = tmp_path_factory.mktemp("finished")
    run(game, "random-valid", out, episodes=N)
    return (out / "traces.jsonl").read_bytes()


def interrupted(out: Path, game: Game, traces: bytes, policy: str = "random-valid", seed: int = 0) -> Path:
    """A run's folder as a kill leaves it, with these bytes of traces."""
    out.mkdir()
    run(game, policy, out, episodes=1, seed=seed)
    (out / "summary.json").unlink()
    (out / "traces.jsonl").write_bytes(traces)
    return out


# ---------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (8, 10, 0.4901625, 0.9433178),
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (81, 263, 0.2552885, 0.3661965),  # Newcombe 1998, table I: 0.2553 to 0.3662
        (1, 29, 0.0061129, 0.1717556),  # ... and 0.0061 to 0.1718
    ],
)
def test_wilson_gives_the_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=2e-5)


def test_nothing_has_no_interval() -> None:
    assert wilson(0, 0) is None
    assert mean_interval([]) is None


def test_one_number_has_one_interval_whatever_it_is_called(game: Game, tmp_path: Path) -> None:
    summary = run(game, "first-search", tmp_path, episodes=4)
    assert summary.intervals["em"] == summary.part_intervals["answer"] == wilson(4 * summary.metrics["em"], 4)  # type: ignore[operator]
    assert interval([0.0, 1.0, 1.0]) == wilson(2, 3)
    assert interval([0.5, 1.0]) == mean_interval([0.5, 1.0])
    assert interval([]) is None


@pytest.mark.parametrize("n", [8, 24, 100, 300])
@pytest.mark.parametrize("name", ["binary", "rare failures", "uniform", "zero or high", "nearly constant"])
def test_the_interval_of_a_mean_covers_it_in_95_of_100_simulated_runs(name: str, n: int) -> None:
    generator = np.random.default_rng(7)
    draws, truth = {
        "binary": (generator.binomial(1, 0.3, (2000, n)), 0.3),
        "rare failures": (generator.binomial(1, 0.95, (2000, n)), 0.95),
        "uniform": (generator.random((2000, n)), 0.5),
        "zero or high": (generator.binomial(1, 0.6, (2000, n)) * generator.uniform(0.6, 1, (2000, n)), 0.48),
        "nearly constant": (generator.uniform(0.79, 0.81, (2000, n)), 0.8),
    }[name]
    covered, width = 0, 0.0
    for row in draws:
        found = mean_interval([float(value) for value in row])
        assert found is not None
        assert 0 <= found[0] <= row.mean() <= found[1] <= 1
        covered += found[0] <= truth <= found[1]
        width += (found[1] - found[0]) / len(draws)
    assert covered / len(draws) >= 0.94
    normal = 2 * 1.96 * float(draws.std()) / n**0.5
    assert width >= 0.8 * normal
    if name == "nearly constant":  # four more observations are far from its values
        assert covered == len(draws)
    elif n >= 100:
        assert covered / len(draws) <= 0.975
        assert width <= 1.15 * normal


@pytest.mark.parametrize("n", [50, 100, 400])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_wilson_covers_a_share_in_95_of_100_simulated_runs(share: float, n: int) -> None:
    drawn = np.random.default_rng(7).binomial(n, share, 2000)
    intervals = [found for successes in drawn if (found := wilson(int(successes), n)) is not None]
    assert len(intervals) == 2000
    covered = sum(low <= share <= high for low, high in intervals) / 2000
    assert 0.93 <= covered <= (0.975 if n >= 100 else 0.985)
    width = sum(high - low for low, high in intervals) / 2000
    assert width == pytest.approx(2 * 1.96 * (share * (1 - share) / n) ** 0.5, rel=0.05)


# ---------------------------------------------------------------------------------------------------------------- runs


def test_a_run_plays_the_questions_in_order_with_seeds_that_count_up(game: Game, tmp_path: Path) -> None:
    run(game, "no-tool", tmp_path, episodes=N, seed=10)
    traces = list(read_traces(tmp_path / "traces.jsonl"))
    ids = list(game.world.ids)
    assert [trace.question.id for trace in traces] == [*ids, *ids[:2]]
    assert [trace.seed for trace in traces] == list(range(10, 10 + N))


def test_a_run_without_a_number_plays_each_question_once(game: Game, tmp_path: Path) -> None:
    assert run(game, "no-tool", tmp_path).episodes == 4


def test_summary_json_has_the_promised_shape(game: Game, tmp_path: Path) -> None:
    summary = run(game, "oracle", tmp_path, episodes=4, seed=3)
    found: dict[str, Any] = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    assert msgspec.convert(found, Summary) == summary
    assert (found["episodes"], found["scored"], found["unscored"]) == (4, 4, 0)
    assert found["metrics"] == {"em": 1.0, "cover_em": 1.0, "f1": 1.0}
    assert found["reward"] == 1.0
    assert set(found["parts"]) == {"answer", "contract", "provenance", "support", "economy"}
    assert set(found["intervals"]) == {"em", "cover_em", "f1", "reward"}
    assert found["intervals"]["em"] == pytest.approx([0.5101, 1.0], abs=1e-4)
    boot = found["bootstrap_intervals"]
    assert {name: boot[name] for name in found["intervals"]} == {name: [1.0, 1.0] for name in found["intervals"]}
    assert set(boot) == {*found["intervals"], "calls_per_episode", "tool_productivity"}
    assert found["part_bootstrap_intervals"] == {name: [1.0, 1.0] for name in found["parts"]}
    assert (found["env_id"], found["policy"], found["split"]) == ("MTR-Synthetic-v0", "oracle", "sample")
    assert found["fingerprint"] == game.world.info.fingerprint
    assert (found["grammar"], found["rubric"], found["max_steps"], found["seed"]) == ("hermes", "mtr-v0", 8, 3)
    assert found["stop_reasons"] == {"answer": 4}
    assert sum(group["episodes"] for group in found["families"].values()) == 4
    assert sum(group["episodes"] for group in found["hops"].values()) == 4
    assert found["tool_productivity"] == pytest.approx(1 / found["calls_per_episode"])


def test_a_summary_of_an_older_version_is_still_read(game: Game, tmp_path: Path) -> None:
    summary = run(game, "oracle", tmp_path, episodes=4)
    older: dict[str, Any] = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    del older["bootstrap_intervals"], older["part_bootstrap_intervals"]
    known = ("episodes", "scored", "em", "reward", "em_interval", "reward_interval")
    for name in ("families", "hops"):
        older[name] = {which: {field: group[field] for field in known} for which, group in older[name].items()}
    read = msgspec.convert(older, Summary)
    assert read.bootstrap_intervals == read.part_bootstrap_intervals == {}
    assert {name: group.em_interval for name, group in read.hops.items()} == {
        name: group.em_interval for name, group in summary.hops.items()
    }
    expected = replace(summary, bootstrap_intervals={}, part_bootstrap_intervals={})
    assert replace(read, families={}, hops={}) == replace(expected, families={}, hops={})


def test_the_order_of_the_traces_changes_no_number(game: Game, tmp_path: Path) -> None:
    summary = run(game, HalfRight(), tmp_path, samples=5)
    traces = list(read_traces(tmp_path / "traces.jsonl"))
    random.Random(0).shuffle(traces)
    again = summarize(traces)
    names = ("metrics", "reward", "intervals", "bootstrap_intervals", "part_bootstrap_intervals", "families", "hops")
    for name in names:
        assert getattr(again, name) == getattr(summary, name)
    clusters = [[1.0, 0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0, 0.0]]
    clusters += [[1.0, 0.0, 1.0, 0.0, 1.0], [0.0] * 5]  # question 3 is never right
    assert summary.bootstrap_intervals["em"] == bootstrap_interval(clusters)


def test_scoring_the_file_gives_the_numbers_of_the_run(game: Game, tmp_path: Path) -> None:
    for policy in ("oracle", "chaser", "random-valid"):
        paid = run(game, policy, tmp_path / policy, episodes=N)
        assert score_file(tmp_path / policy) == paid
        assert score_file(tmp_path / policy / "traces.jsonl") == paid


def test_another_rubric_scores_the_same_traces(game: Game, tmp_path: Path) -> None:
    run(game, "no-tool", tmp_path, episodes=4)
    for name in RUBRICS:
        assert score_file(tmp_path, name).rubric == name
    with pytest.raises(ValueError, match="Unknown rubric 'mtr-v9'"):
        score_file(tmp_path, "mtr-v9")


def test_joined_files_name_only_what_they_share(game: Game, tmp_path: Path) -> None:
    run(game, "oracle", tmp_path / "a", episodes=2)
    run(make_game("MTR-Synthetic-v0", limit=4, grammar="react"), "oracle", tmp_path / "b", episodes=2)
    joined = [trace for name in "ab" for trace in read_traces(tmp_path / name / "traces.jsonl")]
    summary = summarize(joined)
    assert (summary.episodes, summary.grammar, summary.rubric, summary.policy) == (4, None, "mtr-v0", None)


def test_an_episode_that_stands_in_a_file_twice_is_no_second_sample(game: Game, tmp_path: Path) -> None:
    joined, notes = tmp_path / "joined.jsonl", list[str]()
    lines = [encode(trace) + b"\n" for name in "ab" for trace in written(game, tmp_path / name, "oracle")]
    joined.write_bytes(b"".join(lines))
    summary = score_file(joined, say=notes.append)
    assert (summary.episodes, summary.samples, summary.passes) == (2, 1, ())
    assert notes == [f"{joined}: 2 episodes stand there again word for word (joined files?); each counts once."]
    other = [encode(trace) + b"\n" for trace in written(game, tmp_path / "c", "no-tool")]
    joined.write_bytes(b"".join([*lines[:2], *other]))
    assert score_file(joined, say=notes.append).samples == 2, "played differently, it is another sample"
    assert len(notes) == 1


def written(game: Game, out: Path, policy: str) -> list[Trace]:
    run(game, policy, out, episodes=2)
    return list(read_traces(out / "traces.jsonl"))


# ------------------------------------------------------------------------------------------------ samples and rates


class HalfRight:
    """Right where the question's number and the episode's seed together are even; silent (truncated) on number 3."""

    sees_gold = True

    def for_episode(self, trace: Trace) -> Any:
        number = int(trace.question.id.rsplit("-", 1)[1])
        if number == 3:
            return lambda messages, tools: "no action"
        if (number + trace.seed // 4) % 2:
            return lambda messages, tools: "<answer>wrong</answer>"
        return Oracle().for_episode(trace)


def test_samples_play_each_question_with_seeds_of_its_own(game: Game, tmp_path: Path) -> None:
    summary = run(game, "random-valid", tmp_path, samples=3)
    traces = list(read_traces(tmp_path / "traces.jsonl"))
    assert [trace.question.id for trace in traces] == [*game.world.ids] * 3
    assert [trace.seed for trace in traces] == list(range(12))
    assert (summary.episodes, summary.questions, summary.samples) == (12, 4, 3)
    run(game, "random-valid", tmp_path / "more", samples=1)
    assert run(game, "random-valid", tmp_path / "more", samples=3) == summary
    with pytest.raises(ValueError, match=r"episodes .* or samples .* not both"):
        run(game, "random-valid", tmp_path, samples=3, episodes=12)
    with pytest.raises(ValueError, match="samples must be at least 1, found 0"):
        run(game, "random-valid", tmp_path, samples=0)


def test_pass_at_k_and_intervals_are_over_questions(game: Game, tmp_path: Path) -> None:
    summary = run(game, HalfRight(), tmp_path, samples=4)  # right: 2 of 4, 2 of 4, 2 of 4, 0 of 4
    assert summary.metrics["em"] == 6 / 16
    assert summary.intervals["em"] == mean_interval([0.5, 0.5, 0.5, 0.0])
    assert [(found.k, found.questions) for found in summary.passes] == [(1, 4), (2, 4), (4, 4)]
    assert [found.any for found in summary.passes] == pytest.approx([6 / 16, 3 / 4 * 5 / 6, 3 / 4])
    assert [found.all for found in summary.passes] == pytest.approx([6 / 16, 3 / 4 * 1 / 6, 0])
    assert summary.passes[0].any_interval == summary.intervals["em"]
    assert run(game, HalfRight(), tmp_path / "once").passes == ()


def test_rates_are_shares_of_all_episodes_by_who_was_at_fault(game: Game, tmp_path: Path) -> None:
    summary = run(game, HalfRight(), tmp_path, samples=2)
    assert summary.rates["truncated"] == summary.rates["policy_fault"] == 1 / 4
    assert summary.rates["simulator_fault"] == summary.rates["infrastructure_fault"] == summary.rates["unscored"] == 0
    assert summary.rate_intervals["truncated"] == wilson(1, 4)
    assert summary.faults == {"malformed_action": 16}


def test_a_family_and_a_number_of_hops_have_intervals(game: Game, tmp_path: Path) -> None:
    summary = run(game, HalfRight(), tmp_path, samples=2)
    for groups in (summary.families, summary.hops):
        assert sum(group.episodes for group in groups.values()) == 8
        for group in groups.values():
            assert group.em is not None
            assert group.em_interval is not None
            assert group.em_interval[0] <= group.em <= group.em_interval[1]
    assert summarize([]).rates["truncated"] is None


@pytest.mark.parametrize("by", ["family", "hops"])
def test_a_group_says_what_the_summary_of_its_episodes_alone_says(by: str, tmp_path: Path) -> None:
    game = make_game("MTR-Synthetic-v0", limit=6, tool_actor=FlakyActor())
    run(game, HalfRight(), tmp_path, samples=4)
    traces = list(read_traces(tmp_path / "traces.jsonl"))
    summary = summarize(traces)
    groups = summary.families if by == "family" else summary.hops
    assert len(groups) > 1
    for name, group in groups.items():
        alone = summarize([trace for trace in traces if str(getattr(trace.question, by)) == name])
        fields = [field for field in group.__struct_fields__ if not field.startswith(("em", "reward_"))]
        assert {field: getattr(group, field) for field in fields} == {field: getattr(alone, field) for field in fields}
        assert (group.em, group.em_interval) == (alone.metrics["em"], alone.intervals["em"])
        assert group.reward_interval == alone.intervals["reward"]
    assert {"metrics", "parts", "calls_per_episode", "rates", "passes"} <= set(fields)
    assert any(group.passes for group in groups.values())
    assert any(group.rates["truncated"] for group in groups.values())
    assert any(group.rates["infrastructure_fault"] for group in groups.values())


def test_parts_calls_and_productivity_have_bootstrap_intervals_over_questions(game: Game, tmp_path: Path) -> None:
    summary = run(game, HalfRight(), tmp_path, samples=4)
    questions: dict[str, list[Trace]] = {}
    for trace in read_traces(tmp_path / "traces.jsonl"):
        questions.setdefault(trace.question.id, []).append(trace)
    calls = [[float(trace.call_count) for trace in traces] for traces in questions.values()]
    assert summary.bootstrap_intervals["calls_per_episode"] == bootstrap_interval(calls)
    right = [sum(metrics(trace).em for trace in traces) for traces in questions.values()]
    found = summary.bootstrap_intervals["tool_productivity"]
    assert found == bootstrap_ratio_interval(zip(right, map(sum, calls), strict=True))
    assert found is not None and summary.tool_productivity is not None
    assert found[0] <= summary.tool_productivity <= found[1]
    assert set(summary.part_bootstrap_intervals) == set(summary.parts)
    assert summary.part_bootstrap_intervals["answer"] == summary.bootstrap_intervals["em"]
    assert run(game, "no-tool", tmp_path / "none").bootstrap_intervals["tool_productivity"] is None


# ------------------------------------------------------------------------------------------------- unscored kept apart


class FlakyActor:
    """Grounded, but down for the questions whose number is odd."""

    name = "flaky"

    def __init__(self) -> None:
        self.inner = GroundedToolActor()

    def respond(self, call: Any, spec: Any, view: Any, history: Any, key: Any) -> Response:
        if int(key.question_id.rsplit("-", 1)[1]) % 2:
            raise InfrastructureError("quota exceeded")
        return self.inner.respond(call, spec, view, history, key)


def test_unscored_episodes_are_counted_and_leave_the_means_alone(tmp_path: Path) -> None:
    game = make_game("MTR-Synthetic-v0", limit=6, tool_actor=FlakyActor())
    summary = run(game, Oracle(), tmp_path, policy_name="oracle")
    assert (summary.episodes, summary.scored, summary.unscored) == (6, 3, 3)
    assert summary.metrics["em"] == 1.0
    assert summary.reward == 1.0
    assert summary.intervals["em"] == wilson(3, 3)
    assert summary.stop_reasons == {"answer": 3, "infrastructure": 3}
    assert summary.faults == {"infrastructure": 3}
    assert sum(summary.unscored_reasons.values()) == 3
    assert all("quota exceeded" in reason for reason in summary.unscored_reasons)
    assert sum(group.episodes - group.scored for group in summary.families.values()) == 3


def test_too_many_unscored_episodes_raise_an_alarm(tmp_path: Path) -> None:
    game = make_game("MTR-Synthetic-v0", limit=6, tool_actor=FlakyActor())
    for threshold, raised in ((0.05, True), (0.5, False), (0.49, True)):
        notes: list[str] = []
        out = tmp_path / str(threshold)
        summary = run(game, Oracle(), out, unscored_alarm=threshold, say=notes.append)
        assert (summary.alarm is not None) == raised == any("ALARM: 3 of 6 episodes (50.0%)" in note for note in notes)
        assert score_file(out).alarm == summary.alarm
        assert "quota exceeded" in (summary.alarm or "quota exceeded")
        assert summary.rates["unscored"] == summary.rates["infrastructure_fault"] == 0.5


class Away:
    """Random valid play behind an endpoint that is ``down`` for the episodes with these seeds, or for all; a failed
    request has taken 10 tokens and a cent by then, like any other."""

    def __init__(self, down: Sequence[int] | None = ()) -> None:
        self.down, self.inner = down, RandomValid()

    def for_episode(self, trace: Trace) -> Any:
        if self.down is None or trace.seed in self.down:
            return self.away
        return self.inner.for_episode(trace)

    def away(self, messages: Any, tools: Any) -> str:
        raise InfrastructureError("no answer.")

    def usage(self, question_id: str, seed: int) -> EpisodeUsage:
        return EpisodeUsage(1, 7, 3, 0.01)


def away(game: Game, out: Path, down: Sequence[int] | None, notes: list[str], **options: Any) -> Summary:
    return run(game, Away(down), out, policy_name="random-valid", say=notes.append, **{"episodes": N, **options})


def test_what_an_outage_ended_is_played_again_when_asked_for(game: Game, finished: bytes, tmp_path: Path) -> None:
    notes: list[str] = []
    summary = away(game, tmp_path, (1, 4), notes)
    assert summary.unscored == 2
    assert "no answer. The run's command with --retry-unscored plays the 2 that an outage ended again." in notes[-1]
    before = (tmp_path / "traces.jsonl").read_bytes()
    assert away(game, tmp_path, (), notes) == summary
    assert notes[-2].endswith("nothing to play. An outage ended 2 of them; --retry-unscored plays these again."), (
        "the alarm stands last"
    )
    assert (tmp_path / "traces.jsonl").read_bytes() == before
    again = away(game, tmp_path, (4,), notes, retry_unscored=True)  # once, whatever comes of it
    assert (again.episodes, again.unscored) == (N, 1)
    played: list[int] = []
    whole = away(game, tmp_path, (), notes, retry_unscored=True, on_episode=lambda *done: played.append(done[2].seed))
    assert f"{tmp_path}: 1 episodes that an outage ended are played again." in notes
    assert played == [4]
    assert (tmp_path / "traces.jsonl").read_bytes() == finished
    assert (whole.unscored, whole.alarm) == (0, None)
    assert whole.usage is not None
    assert whole.usage.player.requests == N + 3, "what the outages took was paid"
    away(game, tmp_path / "fewer", (1, 4), [])
    fewer = away(game, tmp_path / "fewer", (), notes, retry_unscored=True, episodes=3)
    assert (fewer.episodes, fewer.unscored) == (N, 1), "an episode that is not asked for stays"
    assert away(game, tmp_path, (), notes, retry_unscored=True) == whole
    assert notes[-1].endswith("nothing to play.")


def test_a_kill_while_outages_are_played_again_loses_and_repeats_nothing(
    game: Game, finished: bytes, tmp_path: Path
) -> None:
    class Killed(Away):
        def for_episode(self, trace: Trace) -> Any:
            if trace.seed == 4:
                raise KeyboardInterrupt
            return super().for_episode(trace)

    away(game, tmp_path, (1, 4, 5), [])
    with pytest.raises(KeyboardInterrupt):
        run(game, Killed(), tmp_path, policy_name="random-valid", episodes=N, retry_unscored=True)
    assert sorted(trace.seed for trace in read_traces(tmp_path / "traces.jsonl")) == [0, 1, 2, 3]
    assert not (tmp_path / "summary.json").exists()
    away(game, tmp_path, (), [])
    assert (tmp_path / "traces.jsonl").read_bytes() == finished


def test_outages_of_another_run_are_not_forgotten(game: Game, tmp_path: Path) -> None:
    away(game, tmp_path, (1,), [])
    assert "seed is 0 there and 7 here" in refusal(tmp_path, game, seed=7, retry_unscored=True)


def test_a_start_whose_first_episodes_are_all_outages_stops(game: Game, tmp_path: Path) -> None:
    notes: list[str] = []
    summary = away(game, tmp_path / "down", None, notes, episodes=40)
    assert (summary.episodes, summary.unscored, summary.unplayed) == (10, 10, 30)
    assert "stopped, since the first 10 episodes all ended in an outage (policy: no answer); 30 of 40" in notes[0]
    assert away(game, tmp_path / "down", None, notes, episodes=40).episodes == 20, "each start tries anew"
    whole = away(game, tmp_path / "down", (), notes, episodes=40, retry_unscored=True)
    assert (whole.episodes, whole.unscored, whole.unplayed) == (40, 0, 0)
    seldom = away(game, tmp_path / "seldom", [i for i in range(40) if i != 9], notes, episodes=40)
    assert (seldom.scored, seldom.unplayed) == (1, 0)


def test_without_a_scored_episode_every_mean_is_null(tmp_path: Path) -> None:
    game = make_game("MTR-Synthetic-v0", limit=6, tool_actor=FlakyActor())
    run(game, Oracle(), tmp_path, policy_name="oracle")
    failed = [trace for trace in read_traces(tmp_path / "traces.jsonl") if trace.stop_reason == "infrastructure"]
    for summary in (summarize(failed), summarize([])):
        assert summary.scored == 0
        assert summary.metrics == {"em": None, "cover_em": None, "f1": None}
        assert summary.reward is None
        assert summary.calls_per_episode is None
        assert summary.tool_productivity is None
        assert set(summary.intervals.values()) == {None}
        assert set(summary.bootstrap_intervals.values()) == {None}


# -------------------------------------------------------------------------------------------------------------- resume


def test_a_file_cut_at_any_byte_is_completed_to_the_same_bytes(game: Game, finished: bytes, tmp_path: Path) -> None:
    ends = [i + 1 for i, byte in enumerate(finished) if byte == 10]
    cuts = {0, 1, ends[0] - 1, ends[0], ends[0] + 1, ends[2] - 1, len(finished) - 1, len(finished)}
    cuts |= set(random.Random(5).sample(range(len(finished)), 6))
    for number, cut in enumerate(sorted(cuts)):
        notes: list[str] = []
        out = interrupted(tmp_path / str(number), game, finished[:cut])
        summary = run(game, "random-valid", out, episodes=N, say=notes.append)
        assert (out / "traces.jsonl").read_bytes() == finished
        assert summary.episodes == N
        assert any("torn" in note for note in notes) == (cut not in (0, *ends))


def test_a_larger_number_goes_on_and_a_smaller_one_loses_nothing(game: Game, finished: bytes, tmp_path: Path) -> None:
    played: list[tuple[int, int, int]] = []
    notes: list[str] = []

    def on_episode(done: int, total: int, trace: Trace) -> None:
        played.append((done, total, trace.seed))

    for episodes in (2, N, N, 3):
        summary = run(game, "random-valid", tmp_path, episodes=episodes, on_episode=on_episode, say=notes.append)
    assert played == [(1, 2, 0), (2, 2, 1), *((i + 1, N, i) for i in range(2, N))]
    assert (tmp_path / "traces.jsonl").read_bytes() == finished
    assert summary.episodes == N
    assert "nothing to play" in notes[-1]


def test_a_line_lost_from_the_middle_is_played_again(game: Game, finished: bytes, tmp_path: Path) -> None:
    lines = finished.splitlines(keepends=True)
    out = interrupted(tmp_path / "run", game, b"".join(lines[:2] + lines[3:]))
    run(game, "random-valid", out, episodes=N)
    assert (out / "traces.jsonl").read_bytes() == finished


def test_a_stale_summary_does_not_outlive_the_start_of_new_episodes(game: Game, tmp_path: Path) -> None:
    def broken(messages: Any, tools: Any) -> str:
        raise ZeroDivisionError("a bug of the policy")

    run(game, "no-tool", tmp_path, episodes=2)
    with pytest.raises(ZeroDivisionError, match="a bug of the policy"):
        run(game, broken, tmp_path, policy_name="no-tool", episodes=4)
    assert not (tmp_path / "summary.json").exists()
    assert score_file(tmp_path).episodes == 2


SLOW_POLICY = """
import time
from mtr_env.policies.random_valid import RandomValid

class Slow:
    def __init__(self):
        self.inner = RandomValid()
    def for_episode(self, trace):
        time.sleep(0.02)
        return self.inner.for_episode(trace)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.stress)])
def test_after_kills_the_file_is_that_of_an_uninterrupted_run(kills: int, tmp_path: Path) -> None:
    (tmp_path / "slow_policy.py").write_text(SLOW_POLICY)
    episodes, killed = 12 * kills, tmp_path / "killed" / "traces.jsonl"
    command = [sys.executable, "-m", "mtr_env", "run", "MTR-Synthetic-v0", "--limit", "40"]
    command += ["--policy", "slow_policy:Slow", "--episodes", str(episodes), "--seed", "2", "--out"]
    environment = {**os.environ, "PYTHONHASHSEED": "random"}

    def lines() -> int:
        return killed.read_bytes().count(b"\n") if killed.exists() else 0

    chance = random.Random(kills)
    for _ in range(kills):
        target = lines() + chance.randint(1, 9)
        process = subprocess.Popen(
            [*command, "killed"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while lines() < target and process.poll() is None and time.monotonic() < deadline:
            time.sleep(chance.random() * 0.01)
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(chance.random() * 0.02)  # anywhere between two lines
        process.kill()
        process.communicate()
        assert target <= lines() < episodes
    for out in ("killed", "uninterrupted"):
        subprocess.run([*command, out], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert killed.read_bytes() == (tmp_path / "uninterrupted" / "traces.jsonl").read_bytes()
    assert lines() == episodes
    assert score_file(tmp_path / "killed") == score_file(tmp_path / "uninterrupted")
    info = read_info(tmp_path / "killed" / "run.json")
    assert info is not None
    assert len(info.starts) == kills + 1


PAID_POLICY = """
import asyncio
from mtr_env import draw
from mtr_env.policies.random_valid import RandomValid
from mtr_env.policies.usage import EpisodeUsage

class Paid:
    asynchronous = True
    def for_episode(self, trace):
        inner = RandomValid().for_episode(trace)
        async def act(messages, tools):
            await asyncio.sleep(0.05 * draw.uniform("paid", trace.seed, len(messages)))
            return inner(messages, tools)
        return act
    def usage(self, question_id, seed):
        return EpisodeUsage(1, 100 + seed, 10, 0.01, 0.5)
"""


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_a_kill_at_any_moment_of_a_run_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """From before the first import to after the summary; episodes end in any order, so that there is much to sort."""
    (tmp_path / "paid_policy.py").write_text(PAID_POLICY)
    episodes = 120
    command = [sys.executable, "-m", "mtr_env", "run", "MTR-Synthetic-v0", "--limit", "40", "--policy"]
    command += ["paid_policy:Paid", "--episodes", str(episodes), "--concurrency", "8", "--quiet", "--out"]

    def go(out: str) -> None:
        done = subprocess.run([*command, out], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    begun = time.monotonic()
    go("whole")
    length = time.monotonic() - begun
    whole = (tmp_path / "whole" / "traces.jsonl").read_bytes()
    lines = {line: decode(line).seed for line in whole.splitlines()}
    chance, seen = random.Random(0), set[int]()
    for number in range(20):
        out, delay = tmp_path / str(number), chance.random() * length
        process = subprocess.Popen(
            [*command, out.name], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        process.kill()
        assert process.wait() in (0, -signal.SIGKILL), f"after {delay} s"
        kept = _whole_lines(out / "traces.jsonl")
        paid = [msgspec.json.decode(line)["seed"] for line in _whole_lines(out / "usage.jsonl")]
        seen.add(len(kept))
        assert len(kept) == len(set(kept)) and set(kept) <= set(lines), f"after {delay} s"
        assert paid[: len(kept)] == [lines[line] for line in kept] or kept == list(lines), "before its trace"
        assert len(paid) - len(kept) in (0, 1), f"after {delay} s"
        go(out.name)
        assert (out / "traces.jsonl").read_bytes() == whole, f"after {delay} s"
        again = [msgspec.json.decode(line)["seed"] for line in _whole_lines(out / "usage.jsonl")]
        assert again[: len(paid)] == paid, "what was paid stays"
        assert sorted(again) == sorted([*range(episodes), *paid[len(kept) :]]), "what was lost is paid again"
        summary = score_file(out)
        assert summary == msgspec.json.decode((out / "summary.json").read_bytes(), type=Summary)
        assert replace(summary, usage=None) == replace(score_file(tmp_path / "whole"), usage=None)
        assert summary.usage is not None
        assert summary.usage.player.requests == len(again)
    assert seen & {*range(1, episodes)}, "no kill was in the middle of the episodes"


def _whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


# ------------------------------------------------------------------------------------------- budgets, and what was used


class Counting:
    """Random valid play that says each episode took 10 tokens and a cent."""

    def __init__(self, cost: float | None = 0.01) -> None:
        self.inner, self.cost = RandomValid(), cost

    def for_episode(self, trace: Trace) -> Any:
        return self.inner.for_episode(trace)

    def usage(self, question_id: str, seed: int) -> EpisodeUsage:
        return EpisodeUsage(1, 7, 3, self.cost, 0.5 + seed)


@pytest.mark.parametrize(
    ("budget", "exceeded"), [({"tokens": 25}, "5 tokens"), ({"cost": 0.021}, "0.009000 USD")], ids=["tokens", "cost"]
)
def test_a_budget_leaves_episodes_unplayed_and_a_larger_one_goes_on(
    budget: dict[str, float], exceeded: str, game: Game, finished: bytes, tmp_path: Path
) -> None:
    notes: list[str] = []
    options: dict[str, Any] = {"policy_name": "random-valid", "episodes": N, "say": notes.append}
    summary = run(game, Counting(), tmp_path, budget=Budget(**budget), **options)
    assert (summary.episodes, summary.scored, summary.unscored, summary.unplayed) == (3, 3, 0, 3)
    assert "3 of 6 episodes are left unplayed, the budget of" in notes[-2]
    assert f"the budget was exceeded by {exceeded}: episodes that had begun" in notes[-1]
    assert score_file(tmp_path) == summary
    assert run(game, Counting(), tmp_path, budget=Budget(**budget), **options) == summary  # what was spent is spent
    whole = run(game, Counting(), tmp_path, budget=Budget(tokens=10**6), **options)
    assert (tmp_path / "traces.jsonl").read_bytes() == finished
    assert (whole.episodes, whole.unplayed) == (N, 0)
    assert whole.usage is not None
    assert whole.usage.player == EpisodeUsage(N, 7 * N, 3 * N, pytest.approx(0.01 * N), 0.5 * N + 15)
    assert (whole.usage.seconds_median, whole.usage.seconds_p95) == (2.5, 5.5)


def test_a_budget_of_minutes_counts_from_its_start(game: Game, tmp_path: Path) -> None:
    clock = iter(range(0, 10_000, 30))  # each look is half a minute later
    summary = run(game, "random-valid", tmp_path, episodes=N, budget=Budget(2, clock=lambda: next(clock)))
    assert (summary.episodes, summary.unplayed) == (3, 3)
    assert run(game, "random-valid", tmp_path, episodes=N, budget=Budget(60)).unplayed == 0


def test_one_budget_serves_several_runs(game: Game, tmp_path: Path) -> None:
    budget = Budget(tokens=60)
    left = [run(game, Counting(), tmp_path / str(i), budget=budget).unplayed for i in range(3)]
    assert left == [0, 2, 4]


def test_a_budget_that_nothing_counts_towards_is_refused(game: Game, tmp_path: Path) -> None:
    for budget in (Budget(tokens=5), Budget(cost=1.0)):
        with pytest.raises(ValueError, match="needs a model that counts them"):
            run(game, "oracle", tmp_path, budget=budget)
    with pytest.raises(ValueError, match="needs the prices of each model"):
        run(game, Counting(cost=None), tmp_path, budget=Budget(cost=1.0))
    with pytest.raises(DatasetError, match=r"usage\.jsonl: A budget of cost needs the prices"):  # of the earlier start
        run(game, Counting(), tmp_path, budget=Budget(cost=1.0))
    for bad in ({"minutes": 0}, {"tokens": -1}, {"cost": float("nan")}):
        with pytest.raises(ValueError, match="is a number above 0, found"):
            Budget(**bad)


def test_what_a_lost_episode_used_is_counted_again_when_it_is_played_again(game: Game, tmp_path: Path) -> None:
    run(game, Counting(), tmp_path, episodes=3)
    lines = (tmp_path / "traces.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "traces.jsonl").write_bytes(b"".join(lines[:2]))
    with open(tmp_path / "usage.jsonl", "ab") as file:
        file.write(b'{"question_id":"synth')  # torn
    usage = run(game, Counting(), tmp_path, episodes=3).usage
    assert usage is not None
    assert usage.player.requests == 4
    (tmp_path / "usage.jsonl").write_bytes(b"nonsense\n")
    with pytest.raises(DatasetError, match=r"usage\.jsonl, line 1: expected what"):
        score_file(tmp_path)


def test_what_the_tools_model_used_is_recorded_as_it_is_used(game: Game, tmp_path: Path) -> None:
    spent = iter([Spent(5, 0, 50, 5, 0.5), Spent(7, 1, 70, 7, 0.7), Spent(8, 1, 80, 8, 0.8)])
    summary = run(game, "no-tool", tmp_path, episodes=2, tool_spent=lambda: next(spent))
    assert summary.usage is not None
    assert summary.usage.tools == Spent(3, 1, 30, 3, pytest.approx(0.3))


# ------------------------------------------------------------------------------------------------------------- run.json


def test_run_json_says_where_and_when_each_start_was_made(game: Game, tmp_path: Path) -> None:
    command = ("mtr-env", "run", "--tool-base-url", "http://user:secret@host/v1")
    for episodes in (2, 4):
        run(game, "no-tool", tmp_path, episodes=episodes, samples=None, command=command)
    info = read_info(tmp_path / "run.json")
    assert info is not None
    assert (info.questions, info.setup, info.seed, info.episodes) == (4, game.setup, 0, 4)
    first, second = info.starts
    assert first.version == second.version == game.setup.version
    assert first.date <= second.date
    assert datetime.fromisoformat(first.date).tzinfo is not None
    assert first.machine.python == platform.python_version()
    assert first.machine.processors == os.cpu_count()
    assert "secret" not in (tmp_path / "run.json").read_text()


def test_a_start_that_plays_nothing_is_none(game: Game, tmp_path: Path) -> None:
    for _ in range(2):
        run(game, "no-tool", tmp_path, episodes=2)
    info = read_info(tmp_path / "run.json")
    assert info is not None
    assert len(info.starts) == 1


def test_a_run_that_goes_on_with_another_commit_says_so(
    game: Game, finished: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def notes(commit: str | None, episodes: int) -> list[str]:
        found: list[str] = []
        monkeypatch.setattr(start, "_commit", lambda package: commit)
        run(game, "random-valid", tmp_path, episodes=episodes, say=found.append)
        return [text for text in found if "commit" in text]

    assert notes("aaa", 1) == notes("aaa", 2) == notes(None, 3) == notes("bbb", 3) == []
    [note] = notes("bbb", 4)
    assert note.startswith(f"{tmp_path}: this start is of commit bbb, earlier ones of aaa: the episodes may")
    [note] = notes("aaa-dirty", N)
    assert "commit aaa-dirty, earlier ones of aaa, bbb" in note
    assert (tmp_path / "traces.jsonl").read_bytes() == finished, "it is no refusal"


def test_the_commit_is_that_of_the_package_not_of_what_it_lies_in(tmp_path: Path) -> None:
    def git(*command: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    assert start._commit(package) is None  # no checkout
    git("init", "-q")
    (tmp_path / "other").write_text("")
    git("add", "other")
    git("commit", "-qm", "a project with an environment inside")
    assert start._commit(package) is None
    git("add", "package")
    git("commit", "-qm", "the package")
    assert start._commit(package) == git("rev-parse", "HEAD")
    (package / "__init__.py").write_text("changed = True")
    assert start._commit(package) == git("rev-parse", "HEAD") + "-dirty"


def test_a_folder_of_an_older_version_is_read_and_gone_on_with(game: Game, finished: bytes, tmp_path: Path) -> None:
    out = interrupted(tmp_path / "old", game, b"".join(finished.splitlines(keepends=True)[:2]))
    written = msgspec.json.decode((out / "run.json").read_bytes())
    old = {name: written[name] for name in ("policy", "seed", "episodes", "command", "setup")}
    (out / "run.json").write_bytes(msgspec.json.encode(old))
    assert score_file(out).episodes == 2
    run(game, "random-valid", out, episodes=N)
    assert (out / "traces.jsonl").read_bytes() == finished


# ------------------------------------------------------------------------------------------------------------- refused


def refusal(out: Path, game: Game, policy: str = "random-valid", **options: Any) -> str:
    before = (out / "traces.jsonl").read_bytes()
    with pytest.raises(DatasetError) as caught:
        run(game, policy, out, episodes=N, **options)
    assert (out / "traces.jsonl").read_bytes() == before
    return str(caught.value)


def test_another_policy_or_seed_or_setup_is_refused_by_name(game: Game, tmp_path: Path) -> None:
    run(game, "random-valid", tmp_path, episodes=2)
    assert "policy is 'random-valid' there and 'chaser' here" in refusal(tmp_path, game, "chaser")
    assert "seed is 0 there and 7 here" in refusal(tmp_path, game, seed=7)
    for options, expected in [
        ({"grammar": "react"}, "grammar is 'hermes' there and 'react' here"),
        ({"max_steps": 5}, "max_steps is 8 there and 5 here"),
        ({"rubric": "f1"}, "rubric is 'mtr-v0' there and 'f1' here"),
        ({"extra_tools": 1}, "tool_maker is 'template(extra_tools=3"),
        ({"noise": 0.2}, "tool_actor is 'grounded' there"),
        ({"distractors": 3}, "world fingerprint is"),
        ({"limit": 3}, "here (4 and 3 questions: --limit). Give another --out."),
    ]:
        assert expected in refusal(tmp_path, make_game("MTR-Synthetic-v0", **{"limit": 4, **options}))
    other_world = make_game("MTR-HotpotQA-v0")
    message = refusal(tmp_path, other_world)
    assert "env_id is 'MTR-Synthetic-v0' there and 'MTR-HotpotQA-v0' here" in message
    assert message.endswith("Give another --out.")


def test_traces_that_are_not_of_the_run_are_refused(game: Game, finished: bytes, tmp_path: Path) -> None:
    lines = finished.splitlines(keepends=True)
    trace = decode(lines[1])
    other_setup = encode(replace(trace, setup=replace(trace.setup, tool_actor="another"))) + b"\n"
    other_question = encode(replace(trace, question=replace(trace.question, id="elsewhere"))) + b"\n"
    other_seed = encode(replace(trace, seed=-3)) + b"\n"
    for name, line, expected in [
        ("setup", other_setup, "tool_actor is 'another' there and 'grounded' here"),
        ("question", other_question, "(question 'elsewhere', seed 1) that is not of this run"),
        ("seed", other_seed, "seed -3) that is not of this run"),
        ("twice", lines[0], "stands in it twice"),
    ]:
        assert expected in refusal(interrupted(tmp_path / name, game, lines[0] + line), game)


def test_traces_without_run_json_are_refused(game: Game, finished: bytes, tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_bytes(finished)
    assert "no run.json beside it says whose" in refusal(tmp_path, game)


@pytest.mark.parametrize("bad", [b"{}\n", b"not json\n", b'{"question": 1}\n', b"\xff\xfe\n"])
def test_a_bad_line_is_named_by_file_and_line(bad: bytes, game: Game, finished: bytes, tmp_path: Path) -> None:
    lines = finished.splitlines(keepends=True)
    out = interrupted(tmp_path / "run", game, lines[0] + bad + lines[1])
    assert "traces.jsonl, line 2: expected an episode" in refusal(out, game)
    with pytest.raises(
        DatasetError, match=r"traces\.jsonl, line 2: expected an episode .* Delete that line .* restore"
    ):
        score_file(out)


def test_a_file_without_a_finished_episode_says_so(finished: bytes, tmp_path: Path) -> None:
    for data in (b"", b"\n", finished.splitlines()[0][:-9]):
        (tmp_path / "traces.jsonl").write_bytes(data)
        with pytest.raises(DatasetError, match=r"traces\.jsonl holds no finished episode"):
            score_file(tmp_path, say=lambda text: None)


def test_an_unfinished_episode_is_named(finished: bytes, tmp_path: Path) -> None:
    trace = decode(finished.splitlines()[0])
    file = tmp_path / "half.jsonl"
    file.write_bytes(encode(trace.upto(len(trace.steps) - 1)) + b"\n")
    with pytest.raises(DatasetError, match=r"half\.jsonl, line 1: the episode is not finished"):
        score_file(file)


@pytest.mark.parametrize(
    "text", ["<!doctype html>\n<p>", '{\n  "questions": 5\n}\n', "{}", '[{"question": 1}]\n', "\x00\xff\n"]
)
def test_what_is_no_file_of_traces_is_told_so_and_no_line_is_to_be_deleted(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(DatasetError, match="other is no file of traces") as caught:
        score_file(file)
    assert "Delete" not in str(caught.value)


def test_a_first_line_that_was_torn_or_spoilt_is_still_one_of_traces(tmp_path: Path) -> None:
    for beginning in (b'{"ques', b'{"question":{"id":"x'):
        (tmp_path / "traces.jsonl").write_bytes(beginning)
        with pytest.raises(DatasetError, match="holds no finished episode"):
            score_file(tmp_path)
        (tmp_path / "traces.jsonl").write_bytes(b'{"question":1}\n')
        with pytest.raises(DatasetError, match=r"line 1: expected an episode .* Delete that line"):
            score_file(tmp_path)


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    game = make_game("MTR-Synthetic-v0", limit=1)
    for name in ("a", "b", "table/oracle"):
        run(game, "oracle", tmp_path / name)
    with pytest.raises(DatasetError) as caught:
        score_file(tmp_path)
    assert str(caught.value).endswith(f" Runs in there: {tmp_path}/a, {tmp_path}/b, {tmp_path}/table/oracle.")
    (tmp_path / "begun").mkdir()
    for text in (b"", b'{"question'):
        (tmp_path / "begun" / "traces.jsonl").write_bytes(text)
        with pytest.raises(DatasetError, match=rf"Runs in there: {tmp_path}/a, {tmp_path}/b, "):
            score_file(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"the --out folder of a run\.$"):
        score_file(tmp_path / "empty")


def test_scoring_reports_a_torn_last_line_and_leaves_it_out(finished: bytes, tmp_path: Path) -> None:
    file, notes = tmp_path / "torn.jsonl", list[str]()
    file.write_bytes(finished[:-100])
    assert score_file(file, say=notes.append).episodes == N - 1
    assert len(notes) == 1
    assert f"line {N}: left out" in notes[0]
    file.write_bytes(finished[:-1])  # whole, only the newline is missing
    assert score_file(file, say=notes.append).episodes == N


def test_two_runs_never_write_one_file(game: Game, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    run(game, "random-valid", tmp_path, episodes=1)
    with open(tmp_path / "traces.jsonl", "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "Another run is writing" in refusal(tmp_path, game)
    assert run(game, "random-valid", tmp_path, episodes=2).episodes == 2


# ------------------------------------------------------------------------------------------------------------ policies

MODULE = """
from mtr_env.policies.readers import NoToolGuesser

instance = NoToolGuesser()
class Class(NoToolGuesser):
    pass
def function(messages, tools):
    return instance(messages, tools)
def factory():
    return NoToolGuesser()
class Episodic:
    def for_episode(self, trace):
        return instance
class Needs:
    def __init__(self, key):
        pass
async def asynchronous(messages, tools):
    return instance(messages, tools)
number = 3
"""


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_policies.py").write_text(MODULE)
    (tmp_path / "needs_more.py").write_text("import a_module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_policies", raising=False)
    return "my_policies"


@pytest.mark.parametrize("attribute", ["instance", "Class", "function", "factory", "Episodic", "asynchronous"])
def test_a_policy_of_ones_own_is_named_by_module_and_attribute(
    attribute: str, my_module: str, game: Game, tmp_path: Path
) -> None:
    name = f"{my_module}:{attribute}"
    summary = run(game, name, tmp_path / "out", episodes=4)
    assert summary.policy == name
    assert summary.reward == run(game, "no-tool", tmp_path / "built-in", episodes=4).reward


def test_a_policy_that_was_edited_since_is_refused(
    my_module: str, game: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "my_policies.py", tmp_path / "out"

    def again(policy: str = f"{my_module}:function") -> Summary:
        monkeypatch.delitem(sys.modules, my_module, raising=False)
        return run(game, policy, out, episodes=4)

    run(game, f"{my_module}:function", out, episodes=2)
    info = read_info(out / "run.json")
    assert info is not None
    assert info.policy_source is not None
    source.write_text(MODULE + "# edited")
    with pytest.raises(DatasetError, match=r"'my_policies:function' as it was before .* Give a new --out"):
        again()
    source.write_text(MODULE)
    assert again().episodes == 4
    source.write_text(MODULE + "# edited")
    write_json(out / "run.json", replace(info, policy_source=None))  # of an older version: nobody knows
    assert again().episodes == 4
    run(game, "no-tool", tmp_path / "built-in", episodes=1)
    assert read_info(tmp_path / "built-in" / "run.json").policy_source is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my_policies:Needs", "takes no arguments"),
        ("my_policies:number", "expected a callable of (messages, tools)"),
        ("my_policies:nothing", "my_policies has no 'nothing'"),
        ("not_a_module:x", "there is no module 'not_a_module'"),
        ("my_policies.deeper:x", "there is no module"),
        ("needs_more:x", "No module named 'a_module_that_is_not_there'"),
        (":x", "expected module:attr"),
        ("orcale", "Did you mean 'oracle'?"),
    ],
)
def test_what_is_no_policy_is_explained(name: str, expected: str, my_module: str, game: Game) -> None:
    with pytest.raises((ValueError, ImportError)) as caught:
        load_policy(name, game)
    assert expected in str(caught.value)


def test_the_oracle_plans_against_the_tools_of_the_game() -> None:
    game = make_game("MTR-Synthetic-v0", limit=2, noise=0.5)
    oracle = load_policy("oracle", game)
    assert isinstance(oracle, Oracle)
    assert oracle.actor is game.tool_actor.inner  # type: ignore[attr-defined]


def test_episodes_must_be_at_least_one(game: Game, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="episodes must be at least 1, found 0"):
        run(game, "oracle", tmp_path, episodes=0)


def test_a_policy_object_is_named_after_its_class_or_function(game: Game, tmp_path: Path) -> None:
    def silent(messages: Sequence[Any], tools: Sequence[Any]) -> str:
        return "<answer>nothing</answer>"

    assert run(game, Oracle(), tmp_path / "a", episodes=1).policy == "Oracle"
    assert "silent" in (run(game, silent, tmp_path / "b", episodes=1).policy or "")
