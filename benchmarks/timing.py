"""How things are timed: batched rollouts, memory of what is alive, and programs in new processes."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter_ns
from typing import NamedTuple

from benchmarks.limits import CALLS, Plan

Timing = dict[str, float]
"""Microseconds: ``reset``, ``step`` (one tool step) and ``answer`` of one environment; ``fifth``, its whole episode
divided by its 5 steps; cases that play no episodes have parts of their own."""

Play = Callable[[Sequence[Plan]], Timing]
Samples = dict[tuple[str, str], list[float]]
"""(case, part) -> microseconds, one a repetition."""


class Laps:
    """A stopwatch for rounds over ``count`` live environments.

    >>> laps = Laps(64)
    >>> for part in ("reset", "step", "step", "step", "step", "answer"):
    ...     laps.start()
    ...     laps.stop(part)
    >>> [*laps.timing()]
    ['reset', 'step', 'answer', 'fifth']
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._rounds: dict[str, list[int]] = {}
        self._started = 0

    def start(self) -> None:
        """A round begins."""
        self._started = perf_counter_ns()

    def stop(self, part: str) -> None:
        """The round, one of the rounds of this part, is over."""
        self._rounds.setdefault(part, []).append(perf_counter_ns() - self._started)

    def timing(self) -> Timing:
        """The median round of each part, and a fifth of all rounds, an environment."""
        us = {part: median(ns) / 1000 / self._count for part, ns in self._rounds.items()}
        return us | {"fifth": sum(map(sum, self._rounds.values())) / 1000 / self._count / (CALLS + 1)}


def run_repetitions(
    cases: dict[str, tuple[Play, str]], new_plans: dict[str, Callable[[], list[Plan]]], repetitions: int
) -> Samples:
    """Every case once a repetition, starting with another case each time. A case names its plans: cases of one kind
    play the same texts, cases of different kinds share none, so that no process-wide cache serves one for the other."""
    samples: Samples = {}
    names = list(cases)
    for number in range(-3, repetitions):  # the first ones warm up
        gc.collect()
        gc.freeze()  # what is alive now need not be looked through again and again
        made = {kind: make() for kind, make in new_plans.items()}
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            play, kind = cases[name]
            texts = [plan.fresh() for plan in made[kind]]
            gc.disable()
            try:
                result = play(texts)
            finally:
                gc.enable()
            if number >= 0:
                for part, us in result.items():
                    samples.setdefault((name, part), []).append(us)
    gc.unfreeze()
    return samples


class Alive(NamedTuple):
    """KiB an episode: held while it lives, and still held after it ended (in memos, for its question)."""

    held: float
    kept: float


def alive_kib(begin: Callable[[int], object], count: int) -> Alive:
    """What ``count`` living episodes hold; ``begin`` plays one up to step 4 and returns what is kept of it."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    alive = [begin(number) for number in range(count)]
    gc.collect()
    during, _ = tracemalloc.get_traced_memory()
    alive.clear()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Alive((during - before) / 1024 / count, (after - before) / 1024 / count)


def in_new_processes(program: str, times: int, *arguments: str) -> list[float]:
    """The numbers that a program prints, each the least of several new processes."""
    command = [sys.executable, "-c", program, *arguments]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(times)]
    return [min(map(float, numbers)) for numbers in zip(*runs, strict=True)]
