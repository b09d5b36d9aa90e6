"""How fast is an episode? Ours against the bare limit loops and other packages, on the same work in one run.

    python -m benchmarks.throughput                # the tables, about half a minute
    python -m benchmarks.throughput --out --check  # writes benchmarks/results/throughput.{json,md}; exit 1 on a miss

The work (``benchmarks/limits.py``): 64 questions of 20 paragraphs; an episode is a reset, 4 tool calls and an answer.
All cases take turns in one process, in an order that rotates. A round's figure is the median over its episodes, so that
an interruption does not count; a figure is the median over the rounds, a ratio the median over the rounds of the ratio
within a round, so that a slower phase of the machine cancels out: quote ratios, not microseconds. Garbage collection is
off while a case is timed, as in ``timeit``; what it adds to our episodes when the memos are full is a
figure of its own.

- ``step`` is one tool step: the 4 tool steps of the episodes divided by 4. Reset, answer and scoring are not in it.
- The limit is the faster of the msgspec and (where installed) the orjson loop. Its tool step is its episode without the
  EM and F1 at the end; it validates against the same schemas as we do.
- ``null``: the tool gives a ready value of 975 bytes; every action and every ``Response`` object is new, so no memo of
  ours can hit. ``search``: grounded search, every query is new. ``repeat``: (question, call) made before; the texts are
  new string objects. Queries hold no stop words, which our search would skip and the limit would not.
- ``cold``: a question's first reset (row to question, facts, toolset with its checks, prompt); no text was seen before.
  These few long stretches are in CPU time, all else is in wall time.
- Memory (``tracemalloc``): what an environment at step 4 holds beside its question, its actions and its share of what
  the question's stage remembers of them included; every action is new.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter_ns as clock
from time import thread_time_ns
from typing import Any, NamedTuple

import gymnasium as gym
import msgspec

import mtr_env
from benchmarks import limits
from benchmarks.limits import CALLS, Index, Item, Plan, Planner
from benchmarks.peers import Timing, find_peers, timing
from mtr_env.env import MTREnv
from mtr_env.trace import Response, Trace

ENV_ID = "MTR-HotpotQA-v0"
RESULTS = Path("benchmarks/results")
PASSES = 3  # episodes of every question in a repetition, so that the processor's caches matter less


class Options(NamedTuple):
    """How much is measured."""

    seed: int = 0
    rounds: int = 60
    alive: int = 512
    imports: int = 7
    openings: int = 3


FULL = Options()
QUICK = Options(rounds=12, alive=128, imports=3, openings=1)

# ----------------------------------------------------------------------------------------------------------- the cases


class LimitCase:
    """A bare limit loop. ``tools`` maps a question's id to its tool; ``memo`` replaces the tool."""

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
        limits.play_calls(plan.fresh().calls, self.tools[plan.item.id], record, self.loads, self.dumps)
        return record

    def play(self, plans: Sequence[Plan]) -> Timing:
        tools, golds, memo, loads, dumps = self.tools, self.golds, self.memo, self.loads, self.dumps
        play_calls, play_memo, play_answer = limits.play_calls, limits.play_memo, limits.play_answer
        episodes = []
        for plan in plans:
            question, calls, final = plan.item.id, plan.calls, plan.final
            tool, (gold, counts) = tools[question], golds[question]
            t0 = clock()
            record: list[Any] = []
            if memo is None:
                play_calls(calls, tool, record, loads, dumps)
            else:
                play_memo(calls, question, memo, record)
            t1 = clock()
            play_answer(final, gold, counts, record)
            t2 = clock()
            episodes.append((0, t1 - t0, t2 - t1))
        return timing(episodes)


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
    """Ours through ``gym.make``."""

    def __init__(self, source: Path, actor: NullActor | None = None) -> None:
        self.env = gym.make(ENV_ID, source=source, tool_actor=actor)
        self.actor = actor
        self.traces: list[Trace] = []

    def begin(self, number: int, plan: Plan) -> MTREnv:
        """A new environment on the shared world, at step 4."""
        if self.actor is not None:
            self.actor.prepare(CALLS)
        env = MTREnv(self.env.unwrapped.game)  # type: ignore[attr-defined]
        env.reset(seed=number, options={"question_id": plan.item.id})
        for action in plan.fresh().calls:
            env.step(action)
        return env

    def play(self, plans: Sequence[Plan]) -> Timing:
        if self.actor is not None:
            self.actor.prepare(CALLS * len(plans))
        reset, step = self.env.reset, self.env.step
        episodes = []
        self.traces = []
        for seed, plan in enumerate(plans):
            question, calls, final = plan.item.id, plan.calls, plan.final
            t0 = clock()
            reset(seed=seed, options={"question_id": question})
            t1 = clock()
            for action in calls:
                step(action)
            t2 = clock()
            _, _, terminated, _, info = step(final)
            t3 = clock()
            episodes.append((t1 - t0, t2 - t1, t3 - t2))
            assert terminated and not info["trace"].faults and len(info["trace"].steps) == CALLS + 1
            self.traces.append(info["trace"])
        return timing(episodes)


class ScoreCase:
    """Scoring finished traces of five steps; each is a new object, the questions are known."""

    def __init__(self, played: OurCase) -> None:
        self.played = played

    def play(self, plans: Sequence[Plan]) -> Timing:
        traces = [msgspec.structs.replace(trace) for trace in self.played.traces]
        score, times = mtr_env.score, []
        for trace in traces:
            t0 = clock()
            score(trace)
            times.append(clock() - t0)
        return {"score": median(times) / 1000}


class ColdCase:
    """First resets, and first searches, of questions that nobody has seen; so many a round until all are used."""

    PER_ROUND = 8

    def __init__(self, folder: Path, seed: int, paragraphs: int, rounds: int) -> None:
        items = limits.make_items(seed, self.PER_ROUND * min(rounds, 20), paragraphs)
        self.env = gym.make(ENV_ID, source=limits.write_file(folder / f"cold{paragraphs}.jsonl", items))
        self.unseen = Planner(items, seed).plans()

    def play(self, plans: Sequence[Plan]) -> Timing:
        now, self.unseen = self.unseen[: self.PER_ROUND], self.unseen[self.PER_ROUND :]
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


Play = Callable[[Sequence[Plan]], Timing]
Samples = dict[tuple[str, str], list[float]]  # (case, part) -> microseconds, one a round


def run_rounds(
    cases: dict[str, tuple[Play, str]], new_plans: dict[str, Callable[[], list[Plan]]], rounds: int
) -> Samples:
    """Every case once a round, starting with another case each time. A case names its plans: cases of one kind play
    the same texts, cases of different kinds share none, so that no process-wide cache serves one for the other."""
    samples: Samples = {}
    names = list(cases)
    for number in range(-1, rounds):
        gc.collect()
        gc.freeze()  # what is alive now need not be looked through again and again
        made = {kind: [plan for _ in range(PASSES) for plan in make()] for kind, make in new_plans.items()}
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            play, kind = cases[name]
            texts = [plan.fresh() for plan in made[kind]]
            gc.disable()
            try:
                result = play(texts)
            finally:
                gc.enable()
            if number >= 0:  # the first round warms up
                for part, us in result.items():
                    samples.setdefault((name, part), []).append(us)
    gc.unfreeze()
    return samples


# ------------------------------------------------------------------------------------------------- what is no step time


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


def gc_cost(case: OurCase, planner: Planner, times: int = 7) -> float:
    """Whole episodes with garbage collection on, over the same with it off (totals: a median would hide its pauses);
    everything that the run made is still alive."""
    gc.collect()
    total = {True: 0, False: 0}
    for number in range(2 * times):
        texts = [plan.fresh() for _ in range(PASSES) for plan in planner.plans()]
        (gc.enable if number % 2 else gc.disable)()
        start = thread_time_ns()
        case.play(texts)
        total[bool(number % 2)] += thread_time_ns() - start
        gc.enable()
    return total[True] / total[False]


IMPORT = """
from time import perf_counter
start = perf_counter(); import gymnasium
middle = perf_counter(); import mtr_env
print(middle - start, perf_counter() - middle)
"""
OPEN = f"""
import sys, gymnasium, mtr_env
from time import perf_counter
start = perf_counter(); gymnasium.make({ENV_ID!r}, source=sys.argv[1]).reset(seed=0)
print(perf_counter() - start)
"""


def in_new_processes(program: str, times: int, *arguments: str) -> list[float]:
    """The numbers that a program prints, each the least of several new processes."""
    command = [sys.executable, "-c", program, *arguments]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(times)]
    return [min(map(float, numbers)) for numbers in zip(*runs, strict=True)]


# ----------------------------------------------------------------------------------------------------------- the report


class Target(msgspec.Struct):
    """A target of the project. ``measured`` and ``met`` are ``None`` when the peer it speaks of is not installed."""

    name: str
    measured: float | None
    target: float
    unit: str
    met: bool | None = None


class Report(msgspec.Struct):
    """One run: see the module's docstring for what the figures mean."""

    command: str
    date: str
    seed: int
    rounds: int
    machine: dict[str, Any]
    targets: list[Target]
    cases: dict[str, Timing]  # median microseconds of every part that a case has
    ratios: dict[str, float]
    others: dict[str, float]
    peers: dict[str, str]  # version and what it does, or why there are no figures

    def missed(self, slack: float = 1.0) -> list[Target]:
        """The targets that are missed even when each is multiplied by ``slack``."""
        return [t for t in self.targets if t.measured is not None and t.measured > t.target * slack]


def measure(options: Options = FULL, command: str = "") -> Report:
    """One run of everything; leaves nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        return _measure(options, command, Path(folder))


def _measure(options: Options, command: str, folder: Path) -> Report:
    seed = options.seed
    items = limits.make_items(seed, 64)
    source = limits.write_file(folder / "questions.jsonl", items)
    planner = Planner(items, seed + 1)
    repeated = planner.plans()
    kinds = {"null": planner.plans, "search": planner.plans, "repeat": lambda: repeated, "none": list}

    null, search, repeat = OurCase(source, NullActor()), OurCase(source), OurCase(source)
    cases: dict[str, tuple[Play, str]] = {
        "ours null": (null.play, "null"),
        "ours search": (search.play, "search"),
        "ours repeat": (repeat.play, "repeat"),
        "ours scoring": (ScoreCase(search).play, "none"),
        "ours cold, 20 paragraphs": (ColdCase(folder, seed + 2, 20, options.rounds).play, "none"),
        "ours cold, 10 paragraphs": (ColdCase(folder, seed + 3, 10, options.rounds).play, "none"),
    }
    nulls = dict.fromkeys([item.id for item in items], limits.null_tool)
    indexes = {item.id: Index(item).search for item in items}
    for library, loads, dumps in limits.json_libraries():
        cases[f"limit null ({library})"] = (LimitCase(items, nulls, loads, dumps).play, "null")
        cases[f"limit BM25 ({library})"] = (LimitCase(items, indexes, loads, dumps).play, "search")
    memo = LimitCase(items, indexes, limits.msgspec_loads, limits.msgspec_dumps)
    memo.remember(repeated)
    cases["limit memo"] = (memo.play, "repeat")
    found = find_peers(items)
    cases |= {f.kind.name: (f.peer.play, "null") for f in found if f.peer is not None}

    samples = run_rounds(cases, kinds, options.rounds)
    search.play(planner.every_word())  # indexes grow with the words asked for: they belong to the question
    alive = [plan for _ in range(-(-options.alive // len(items))) for plan in planner.plans()]
    held = {
        "ours null": alive_kib(lambda i: null.begin(i, alive[i]), options.alive),
        "ours search": alive_kib(lambda i: search.begin(i, alive[i]), options.alive),
        "ours repeat": alive_kib(lambda i: repeat.begin(i, repeated[i % len(items)]), options.alive),
        "limit BM25": alive_kib(lambda i: memo.begin(alive[i]), options.alive),
    }
    gymnasium_s, mtr_env_s = in_new_processes(IMPORT, options.imports)
    others = {f"{name}, KiB held alive": kib.held for name, kib in held.items()}
    others |= {f"{name}, KiB of it kept by memos": kib.kept for name, kib in held.items() if name != "limit BM25"}
    others |= {"import gymnasium, s": gymnasium_s, "then import mtr_env, s": mtr_env_s}
    rows = limits.write_rows(folder / "rows.jsonl", seed + 4, 7400)
    others["7,400 rows to the first reset, s"] = in_new_processes(OPEN, options.openings, str(rows))[0]
    others["ours null, episodes with garbage collection on / off"] = gc_cost(null, planner)
    medians: dict[str, Timing] = {name: {} for name in cases}
    for (name, part), us in samples.items():
        medians[name][part] = median(us)
    return Report(
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        seed=seed,
        rounds=options.rounds,
        machine=machine(),
        targets=targets(samples, others, [f.kind.name for f in found]),
        cases=medians,
        ratios=ratios(samples),
        others=others,
        peers={f.kind.name: f.problem or f"{f.kind.package} {f.version}: {f.kind.does}" for f in found},
    )


def machine() -> dict[str, Any]:
    """What kind of machine this is, and the versions that matter."""
    packages = ("mtr-env", "gymnasium", "msgspec", "jsonschema-rs", "orjson")
    installed = {d.metadata["Name"].replace("_", "-") for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        **{name: importlib.metadata.version(name) for name in packages if name in installed},
    }


def ratio(samples: Samples, ours: str, other: str, part: str) -> float | None:
    """The median over the rounds of ours divided by the other; ``None`` when the other was not measured."""
    others = samples.get((other, part))
    return median([a / b for a, b in zip(samples[ours, part], others, strict=True)]) if others else None


def fastest(samples: Samples, limit: str) -> str:
    """The faster of the two libraries' loops for a limit."""
    return min((median(us), name) for (name, part), us in samples.items() if part == "step" and name.startswith(limit))[
        1
    ]


def ratios(samples: Samples) -> dict[str, float]:
    """Ours over every limit and every peer on the same work, a tool step and a whole episode."""
    result = {}
    for part in ("step", "episode"):
        for other in [name for name, has in samples if has == part and not name.startswith("ours")]:
            ours = {"limit BM25": "ours search", "limit memo": "ours repeat"}.get(other[:10], "ours null")
            result[f"{part}: {ours} / {other}"] = ratio(samples, ours, other, part) or 0.0
    return result


def targets(samples: Samples, others: dict[str, float], peers: Sequence[str]) -> list[Target]:
    """The project's targets, each with what was measured."""

    def us(name: str, part: str) -> float:
        return median(samples[name, part])

    def step(ours: str, limit: str) -> float | None:
        return ratio(samples, ours, fastest(samples, limit), "step")

    rows = [
        Target("null-tool step / its limit", step("ours null", "limit null"), 3.0, "x"),
        *[
            Target(f"null-tool step / {name}", ratio(samples, "ours null", name, "step"), 1.0, "x")
            for name in peers
            if name in ("GEM QaEnv + tool wrapper", "SkyRL-gym SearchEnv")
        ],
        Target("grounded search step / its limit", step("ours search", "limit BM25"), 2.5, "x"),
        Target("repeated (question, call) / its limit", step("ours repeat", "limit memo"), 4.0, "x"),
        Target("warm reset", us("ours search", "reset"), 100.0, "us"),
        Target("cold reset, 20 paragraphs", us("ours cold, 20 paragraphs", "reset"), 1000.0, "us"),
        Target("cold reset, 10 paragraphs", us("ours cold, 10 paragraphs", "reset"), 1000.0, "us"),
        Target("scoring", us("ours scoring", "score"), 60.0, "us"),
        Target("memory of a live environment, null tool", others["ours null, KiB held alive"], 8.0, "KiB"),
        Target("memory of a live environment, search", others["ours search, KiB held alive"], 8.0, "KiB"),
        Target("import beyond gymnasium's", others["then import mtr_env, s"], 0.1, "s"),
        Target("7,400 rows ready for the first episode", others["7,400 rows to the first reset, s"], 1.0, "s"),
    ]
    for row in rows:
        row.met = None if row.measured is None else row.measured <= row.target
    return rows


def markdown(report: Report) -> str:
    """The report as tables."""
    parts = ("reset", "step", "answer", "episode", "score", "first search")
    machine = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    lines = [
        "# Throughput",
        "",
        f"`{report.command}`, {report.date}, seed {report.seed}, {report.rounds} rounds; {machine}.",
        "What the figures mean is in the docstring of `benchmarks/throughput.py`.",
        "",
        "| target | measured | at most | met |",
        "|---|---|---|---|",
    ]
    met = {True: "yes", False: "**no**", None: "not installed"}
    for t in report.targets:
        measured = "" if t.measured is None else f"{t.measured:,.3g}" if t.measured < 100 else f"{t.measured:,.0f}"
        lines.append(f"| {t.name} | {measured} | {t.target:g} {t.unit} | {met[t.met]} |")
    lines += ["", f"| case, us | {' | '.join(parts)} |", f"|---{'|---' * len(parts)}|"]
    for name, us in report.cases.items():
        lines.append(f"| {name} | {' | '.join([f'{us[part]:,.2f}' if us.get(part) else '' for part in parts])} |")
    lines += ["", "| ratio | x |", "|---|---|", *[f"| {name} | {x:.2f} |" for name, x in report.ratios.items()]]
    lines += ["", "| other | |", "|---|---|", *[f"| {name} | {value:.3g} |" for name, value in report.others.items()]]
    lines += ["", "| peer | what it is and does |", "|---|---|", *[f"| {n} | {d} |" for n, d in report.peers.items()]]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="texts, queries and answers follow from it (0)")
    parser.add_argument("--rounds", type=int, help=f"repetitions of every case ({FULL.rounds}; quick {QUICK.rounds})")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and environments: under 20 s, less exact")
    parser.add_argument("--out", type=Path, nargs="?", const=RESULTS, metavar="DIR", help=f"write there ({RESULTS})")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--slack", type=float, default=1.0, help="for --check: targets times this (1.0)")
    args = parser.parse_args(argv)

    options = (QUICK if args.quick else FULL)._replace(seed=args.seed)
    if args.rounds:
        options = options._replace(rounds=args.rounds)
    flags = (
        ["--quick"] * args.quick + (["--rounds", str(args.rounds)] if args.rounds else []) + ["--out"] * bool(args.out)
    )
    command = shlex.join(["python", "-m", "benchmarks.throughput", "--seed", str(args.seed), *flags])
    report = measure(options, command)
    text = markdown(report)
    print(text)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "throughput.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        (args.out / "throughput.md").write_text(text, encoding="utf-8")
    missed = report.missed(args.slack)
    if args.check and missed:
        print("Missed: " + "; ".join(f"{t.name} {t.measured:.3g} > {t.target:g} x {args.slack:g}" for t in missed))
    return int(args.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
