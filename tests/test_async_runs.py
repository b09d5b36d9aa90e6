"""Runs of asynchronous policies: many episodes at once, the same folder in the end, nothing lost by a kill."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mtr_env import draw
from mtr_env.cli import main
from mtr_env.episode import Game
from mtr_env.errors import InfrastructureError
from mtr_env.evaluate import Budget, read_traces, run, score_file
from mtr_env.policies.random_valid import RandomValid
from mtr_env.policies.usage import EpisodeUsage
from mtr_env.registration import make_game
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.trace import Trace

LATE = """
import asyncio
from mtr_env import draw
from mtr_env.policies.random_valid import RandomValid

class Late:
    asynchronous = True
    def for_episode(self, trace):
        inner = RandomValid().for_episode(trace)
        async def act(messages, tools):
            await asyncio.sleep(0.02 * draw.uniform("late", trace.seed, len(messages)))
            return inner(messages, tools)
        return act
"""
N = 40


class Late:
    """Random valid play that ends in any order."""

    asynchronous = True

    def __init__(self) -> None:
        self.now = self.most = 0

    def for_episode(self, trace: Trace) -> Any:
        inner = RandomValid().for_episode(trace)

        async def act(messages: Any, tools: Any) -> str:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01 * draw.uniform("late", trace.seed, len(messages)))
            self.now -= 1
            return inner(messages, tools)

        return act


@pytest.fixture
def game() -> Game:
    return make_game("MTR-Synthetic-v0", limit=10)


def test_episodes_that_end_in_any_order_make_the_file_of_a_run_in_order(game: Game, tmp_path: Path) -> None:
    ended: list[tuple[int, int]] = []
    policy = Late()
    summary = run(
        game,
        policy,
        tmp_path / "late",
        policy_name="p",
        episodes=N,
        concurrency=16,
        on_episode=lambda done, total, trace: ended.append((done, trace.seed)),
    )
    assert policy.most == 16
    assert [done for done, _ in ended] == list(range(1, N + 1))
    seeds = [seed for _, seed in ended]
    assert sorted(seeds) == list(range(N))
    assert seeds != sorted(seeds)
    run(game, RandomValid(), tmp_path / "direct", policy_name="p", episodes=N)
    for name in ("traces.jsonl", "summary.json"):
        assert (tmp_path / "late" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes()
    assert score_file(tmp_path / "late") == summary
    assert {path.name for path in (tmp_path / "late").iterdir()} == {"traces.jsonl", "summary.json", "run.json"}


def test_a_policy_that_does_not_wait_plays_many_at_once_where_the_tools_do(tmp_path: Path) -> None:
    class Remote:
        name, remote = "remote", True
        now = most = 0

        def respond(self, *request: Any) -> Any:
            raise AssertionError("asked one after the other")

        async def arespond(self, request: Any) -> Any:
            Remote.now += 1
            Remote.most = max(Remote.most, Remote.now)
            await asyncio.sleep(0.001)
            Remote.now -= 1
            return GroundedToolActor().respond(request.call, request.spec, request.view, request.history, request.key)

    actor = NoisyToolActor(Remote(), 0.2)
    game = make_game("MTR-Synthetic-v0", limit=10, tool_actor=actor)
    assert run(game, RandomValid(), tmp_path, episodes=20).unscored == 0
    assert Remote.most > 5


class Counted(Late):
    """Each episode says that it took a cent."""

    def usage(self, question_id: str, seed: int) -> EpisodeUsage:
        return EpisodeUsage(1, 7, 3, 0.01)


@pytest.mark.parametrize(("cost", "played", "most"), [(0.004, 2, 2), (0.02, 2, 2), (0.105, 11, 9), (1.0, N, 16)])
def test_a_budget_lets_no_more_episodes_begin_than_are_likely_to_fit(
    cost: float, played: int, most: int, game: Game, tmp_path: Path
) -> None:
    policy, notes = Counted(), list[str]()
    summary = run(game, policy, tmp_path, episodes=N, concurrency=16, budget=Budget(cost=cost), say=notes.append)
    assert summary.episodes == played
    assert 2 <= policy.most <= most
    over = 0.01 * played - cost
    assert any(f"the budget was exceeded by {over:.{4 if over >= 0.01 else 6}f} USD" in note for note in notes) == (
        over > 0
    )


def test_a_run_within_an_event_loop_works_too(game: Game, tmp_path: Path) -> None:
    async def notebook() -> int:
        return run(game, Late(), tmp_path, episodes=5).episodes

    assert asyncio.run(notebook()) == 5


def test_a_bug_keeps_what_was_under_way_and_the_run_goes_on_after_it(game: Game, tmp_path: Path) -> None:
    broken = True

    class Sometimes(Late):
        def for_episode(self, trace: Trace) -> Any:
            if broken and trace.seed == 7:
                raise ZeroDivisionError("a bug of the policy")
            return super().for_episode(trace)

    with pytest.raises(ZeroDivisionError) as caught:
        run(game, Sometimes(), tmp_path, episodes=N, concurrency=10)
    kept = {trace.seed for trace in read_traces(tmp_path / "traces.jsonl")}
    assert kept >= {0, 1, 2, 3, 4, 5, 6, 8, 9}
    assert "question 'synthetic-sample-0-7' with seed 7" in caught.value.__notes__[0]
    assert f"{len(kept)} finished episodes are kept" in caught.value.__notes__[1]
    broken = False
    played: list[int] = []
    run(game, Sometimes(), tmp_path, episodes=N, on_episode=lambda done, total, trace: played.append(trace.seed))
    assert sorted(played) == sorted(set(range(N)) - kept)
    assert [trace.seed for trace in read_traces(tmp_path / "traces.jsonl")] == list(range(N))


def test_an_endpoint_that_fails_makes_unscored_episodes_never_zeros(game: Game, tmp_path: Path) -> None:
    class Flaky(Late):
        def for_episode(self, trace: Trace) -> Any:
            act = super().for_episode(trace)

            async def flaky(messages: Any, tools: Any) -> str:
                if trace.seed % 4 == 3:
                    raise InfrastructureError("model m: no answer")
                action: str = await act(messages, tools)
                return action

            return flaky

    summary = run(game, Flaky(), tmp_path, episodes=N)
    assert (summary.episodes, summary.unscored) == (N, N // 4)
    assert summary.unscored_reasons == {"policy: model m: no answer": N // 4}
    assert Counter(t.stop_reason for t in read_traces(tmp_path / "traces.jsonl"))["infrastructure"] == N // 4

    class Direct(Late):
        pass

    scored = [t for t in range(N) if t % 4 != 3]
    run(game, Direct(), tmp_path / "whole", episodes=N)
    rewards = {t.seed: t for t in read_traces(tmp_path / "whole" / "traces.jsonl")}
    assert {t.seed: t for t in read_traces(tmp_path / "traces.jsonl") if t.seed in scored} == {
        seed: rewards[seed] for seed in scored
    }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.stress)])
def test_after_kills_the_file_is_that_of_an_uninterrupted_run(kills: int, tmp_path: Path) -> None:
    (tmp_path / "late_policy.py").write_text(LATE)
    episodes, killed = 20 * kills + 40, tmp_path / "killed" / "traces.jsonl"
    command = [sys.executable, "-m", "mtr_env", "run", "MTR-Synthetic-v0", "--limit", "40"]
    command += ["--policy", "late_policy:Late", "--episodes", str(episodes), "--concurrency", "8", "--out"]
    environment = {**os.environ, "PYTHONHASHSEED": "random"}

    def lines() -> list[bytes]:
        return killed.read_bytes().splitlines(keepends=True) if killed.exists() else []

    chance = random.Random(kills)
    for _ in range(kills):
        before = lines()
        target = len(before) + chance.randint(2, 12)  # the first of them may only mend a torn one
        process = subprocess.Popen(
            [*command, "killed"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while len(lines()) < target and process.poll() is None and time.monotonic() < deadline:
            time.sleep(chance.random() * 0.01)
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(chance.random() * 0.02)  # anywhere between two lines
        process.kill()
        process.communicate()
        assert target <= len(lines()) < episodes
        assert set(before[:-1]) <= set(lines())  # the last one may have been torn
    for out in ("killed", "whole"):
        subprocess.run([*command, out], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert killed.read_bytes() == (tmp_path / "whole" / "traces.jsonl").read_bytes()
    assert [trace.seed for trace in read_traces(killed)] == list(range(episodes))


def test_the_command_line_takes_asynchronous_policies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "late_policy.py").write_text(LATE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "late_policy", raising=False)
    argv = ["run", "MTR-Synthetic-v0", "--limit", "10", "--policy", "late_policy:Late", "--concurrency", "5"]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 0
    assert "policy late_policy:Late: 10 episodes, 10 scored, 0 unscored" in capsys.readouterr().out
    assert os.listdir(tmp_path / "out")
