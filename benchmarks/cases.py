"""What is timed of ours and of the limits; each case plays one repetition of batched rollouts."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns, thread_time_ns
from typing import Any

import gymnasium as gym
import msgspec

import mtr_env
from benchmarks import limits
from benchmarks.limits import CALLS, Item, Plan, Planner
from benchmarks.timing import Laps, Timing
from mtr_env.env import MTREnv
from mtr_env.trace import Response, Trace

ENV_ID = "MTR-HotpotQA-v0"


class LimitCase:
    """A bare limit loop. ``tools`` maps a question's id to its tool; a memo, once there is one, replaces the tool."""

    def __init__(
        self, items: Sequence[Item], tools: Mapping[str, limits.Tool], loads: limits.Loads, dumps: limits.Dumps
    ) -> None:
        self.tools, self.loads, self.dumps = tools, loads, dumps
        golds = {item.id: limits.normalise(item.answer) for item in items}
        self.golds = {key: (gold, Counter(gold.split())) for key, gold in golds.items()}
        self.memo: limits.Memo | None = None

    def remember(self, plans: Sequence[Plan]) -> None:
        """From now on the calls of these plans, and no others, come from a memo."""
        self.memo = {}
        for plan in plans:
            for action, _, _, text in self.begin(plan):
                call = action[action.find("<tool_call>") + 11 : action.find("</tool_call>")]
                self.memo[plan.item.id, call] = text

    def begin(self, plan: Plan) -> list[Any]:
        """A new record, at step 4."""
        record: list[Any] = []
        for action in plan.fresh().calls:
            limits.play_call(action, self.tools[plan.item.id], record, self.loads, self.dumps)
        return record

    def play(self, plans: Sequence[Plan]) -> Timing:
        """One repetition; a record is made in the reset."""
        memo, loads, dumps = self.memo, self.loads, self.dumps
        play_call, play_memo, play_answer = limits.play_call, limits.play_memo, limits.play_answer
        tools, golds = [self.tools[p.item.id] for p in plans], [self.golds[p.item.id] for p in plans]
        laps = Laps(len(plans))
        laps.start()
        records: list[list[Any]] = [[] for _ in plans]
        laps.stop("reset")
        for number in range(CALLS):
            actions = [plan.calls[number] for plan in plans]
            laps.start()
            if memo is None:
                for action, tool, record in zip(actions, tools, records, strict=True):
                    play_call(action, tool, record, loads, dumps)
            else:
                for action, plan, record in zip(actions, plans, records, strict=True):
                    play_memo(action, plan.item.id, memo, record)
            laps.stop("step")
        laps.start()
        for plan, (gold, counts), record in zip(plans, golds, records, strict=True):
            play_answer(plan.final, gold, counts, record)
        laps.stop("answer")
        return laps.timing()


class NullActor:
    """A ToolActor that gives ready responses: equal values, but a new object each time, as no memo of ours expects."""

    name = "null"

    def __init__(self) -> None:
        self.ready: list[Response] = []

    def __deepcopy__(self, memo: object) -> NullActor:
        return self

    def prepare(self, count: int) -> None:
        """Makes the next responses."""
        self.ready = [Response(limits.NULL_VALUES["search"], ("p0",)) for _ in range(count)]

    def respond(self, call: Any, spec: Any, view: Any, history: Any, key: Any) -> Response:
        """See :class:`mtr_env.toolactors.base.ToolActor`."""
        return self.ready.pop()


class OurCase:
    """Ours: one environment through ``gym.make``, and others that share its game."""

    def __init__(self, source: Path, count: int, actor: NullActor | None = None) -> None:
        first = gym.make(ENV_ID, source=source, tool_actor=actor)
        self.game = first.unwrapped.game  # type: ignore[attr-defined]
        self.envs: list[Any] = [first, *[MTREnv(self.game) for _ in range(count - 1)]]
        self.actor = actor
        self.traces: list[Trace] = []

    def begin(self, number: int, plan: Plan) -> MTREnv:
        """A new environment, at step 4."""
        if self.actor is not None:
            self.actor.prepare(CALLS)
        env = MTREnv(self.game)
        env.reset(seed=number, options={"question_id": plan.item.id})
        for action in plan.fresh().calls:
            env.step(action)
        return env

    def play(self, plans: Sequence[Plan]) -> Timing:
        """One repetition; keeps the finished traces."""
        if self.actor is not None:
            self.actor.prepare(CALLS * len(plans))
        envs, laps = self.envs, Laps(len(plans))
        options = [{"question_id": plan.item.id} for plan in plans]
        laps.start()
        for seed, env in enumerate(envs):
            env.reset(seed=seed, options=options[seed])
        laps.stop("reset")
        for number in range(CALLS):
            actions = [plan.calls[number] for plan in plans]
            laps.start()
            for env, action in zip(envs, actions, strict=True):
                env.step(action)
            laps.stop("step")
        actions = [plan.final for plan in plans]
        laps.start()
        last = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        laps.stop("answer")
        self.traces = [info["trace"] for *_, info in last]
        assert not any(trace.faults for trace in self.traces)
        return laps.timing()


class ScoreCase:
    """Scoring finished traces of five steps; each is a new object, the questions are known."""

    def __init__(self, played: OurCase) -> None:
        self.played = played

    def play(self, plans: Sequence[Plan]) -> Timing:
        """Scores the traces of the last repetition."""
        traces = [msgspec.structs.replace(trace) for trace in self.played.traces]
        score, start = mtr_env.score, perf_counter_ns()
        for trace in traces:
            score(trace)
        return {"score": (perf_counter_ns() - start) / 1000 / len(traces)} if traces else {}


class ColdCase:
    """First resets, and first searches, of questions that nobody has seen; a few a repetition until all are used.

    These few long stretches are in CPU time.
    """

    EACH = 8

    def __init__(self, folder: Path, seed: int, paragraphs: int, repetitions: int) -> None:
        items = limits.make_items(seed, self.EACH * min(repetitions, 20), paragraphs)
        self.env = gym.make(ENV_ID, source=limits.write_file(folder / f"cold{paragraphs}.jsonl", items))
        self.unseen = Planner(items, seed).plans()

    def play(self, plans: Sequence[Plan]) -> Timing:
        """The median of the next few."""
        now, self.unseen = self.unseen[: self.EACH], self.unseen[self.EACH :]
        resets, searches = [], []
        for plan in now:
            options, action = {"question_id": plan.item.id}, plan.calls[0]
            t0 = thread_time_ns()
            self.env.reset(seed=0, options=options)
            t1 = thread_time_ns()
            self.env.step(action)
            t2 = thread_time_ns()
            resets.append(t1 - t0)
            searches.append(t2 - t1)
        return {"reset": median(resets) / 1000, "first search": median(searches) / 1000} if now else {}


def gc_cost(case: OurCase, planner: Planner, times: int = 15) -> float:
    """Whole repetitions with garbage collection on, over the same with it off; what the run made is still alive."""
    gc.collect()
    total = {True: 0, False: 0}
    for number in range(2 * times):
        texts = [plan.fresh() for plan in planner.plans()]
        (gc.enable if number % 2 else gc.disable)()
        start = thread_time_ns()
        case.play(texts)
        total[bool(number % 2)] += thread_time_ns() - start
        gc.enable()
    return total[True] / total[False]
