"""How fast is a batch of rollouts? Ours against the bare limit loops and other packages, on the same work in one run.

    python -m benchmarks.throughput                # the tables, about half a minute
    python -m benchmarks.throughput --out --check  # writes benchmarks/results/throughput.{json,md}; exit 1 on a miss

The work (``benchmarks/limits.py``): 64 questions of 20 paragraphs, each in a live environment; an episode is a reset,
4 tool calls and an answer. All cases take turns in one process, in an order that rotates, with garbage collection off
while they are timed (what it adds is a figure of its own). Quote ratios, not microseconds: the machine has phases.
What a step and a ratio are is printed with the tables (``benchmarks/report.py``). Further:

- The limit is the fastest of its JSON libraries, and validates against the same schemas as we do.
- ``null``: the tool gives a ready value of 975 bytes; every action and every ``Response`` object is new, so no memo of
  ours can hit. ``search``: grounded search, every query is new and holds no stop words, which our search would skip and
  the limit would not; on both sides the questions' indexes are ready. ``repeat``: (question, call) made before; the
  texts are new string objects.
- ``cold``: a question's first reset (row to question, facts, toolset with its checks, prompt), in CPU time.
- Memory (``tracemalloc``): what an environment at step 4 holds beside its question, its actions and its share of what
  the question's stage remembers of them included; every action is new.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks import limits
from benchmarks.cases import ENV_ID, ColdCase, LimitCase, NullActor, OurCase, ScoreCase, gc_cost
from benchmarks.limits import Index, Plan, Planner
from benchmarks.peers import Found, find_peers
from benchmarks.report import Report, machine, markdown, ratios, targets
from benchmarks.timing import Play, Timing, alive_kib, in_new_processes, run_repetitions

RESULTS = Path("benchmarks/results")


class Options(NamedTuple):
    """How much is measured."""

    seed: int = 0
    repetitions: int = 150
    alive: int = 512
    imports: int = 7
    openings: int = 3


FULL = Options()
QUICK = Options(repetitions=25, alive=128, imports=3, openings=1)

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


class Cases(NamedTuple):
    """Everything that is timed on one set of questions."""

    planner: Planner
    repeated: list[Plan]
    null: OurCase
    search: OurCase
    repeat: OurCase
    memo: LimitCase
    found: list[Found]
    plays: dict[str, tuple[Play, str]]  # case -> how it is played, and the kind of plans that it plays


def make_cases(options: Options, folder: Path) -> Cases:
    """The cases of ours, of the limits and of the peers that are installed."""
    items = limits.make_items(options.seed, 64)
    source = limits.write_file(folder / "questions.jsonl", items)
    planner = Planner(items, options.seed + 1)
    repeated = planner.plans()
    null, search, repeat = OurCase(source, 64, NullActor()), OurCase(source, 64), OurCase(source, 64)
    for plan in planner.every_word():
        search.begin(0, plan)  # the index of a limit is ready, too; what building it costs is in "first search"
    cold20 = ColdCase(folder, options.seed + 2, 20, options.repetitions)
    cold10 = ColdCase(folder, options.seed + 3, 10, options.repetitions)
    plays: dict[str, tuple[Play, str]] = {
        "ours null": (null.play, "null"),
        "ours search": (search.play, "search"),
        "ours repeat": (repeat.play, "repeat"),
        "ours scoring": (ScoreCase(search).play, "none"),
        "ours cold, 20 paragraphs": (cold20.play, "none"),
        "ours cold, 10 paragraphs": (cold10.play, "none"),
    }
    nulls = dict.fromkeys([item.id for item in items], limits.null_tool)
    indexes = {item.id: Index(item).search for item in items}
    for library, loads, dumps in limits.json_libraries():
        plays[f"limit null ({library})"] = (LimitCase(items, nulls, loads, dumps).play, "null")
        plays[f"limit BM25 ({library})"] = (LimitCase(items, indexes, loads, dumps).play, "search")
    memo = LimitCase(items, indexes, limits.msgspec_loads, limits.msgspec_dumps)
    memo.remember(repeated)
    plays["limit memo"] = (memo.play, "repeat")
    found = find_peers(items)
    plays |= {f.kind.name: (f.peer.play, "null") for f in found if f.peer is not None}
    return Cases(planner, repeated, null, search, repeat, memo, found, plays)


def memory(cases: Cases, count: int) -> dict[str, float]:
    """KiB of ``count`` living environments, each."""
    planner, repeated = cases.planner, cases.repeated
    plans = [plan for _ in range(-(-count // len(repeated))) for plan in planner.plans()]
    held = {
        "ours null": alive_kib(lambda i: cases.null.begin(i, plans[i]), count),
        "ours search": alive_kib(lambda i: cases.search.begin(i, plans[i]), count),
        "ours repeat": alive_kib(lambda i: cases.repeat.begin(i, repeated[i % len(repeated)]), count),
        "limit BM25": alive_kib(lambda i: cases.memo.begin(plans[i]), count),
    }
    result = {f"{name}, KiB held alive": kib.held for name, kib in held.items()}
    return result | {f"{name}, KiB of it kept by memos": kib.kept for name, kib in held.items() if "ours" in name}


def start_up(options: Options, folder: Path) -> dict[str, float]:
    """Seconds to import the package and to open a file."""
    gymnasium_s, mtr_env_s = in_new_processes(IMPORT, options.imports)
    rows = limits.write_rows(folder / "rows.jsonl", options.seed + 4, 7400)
    return {
        "import gymnasium, s": gymnasium_s,
        "then import mtr_env, s": mtr_env_s,
        "7,400 rows to the first reset, s": in_new_processes(OPEN, options.openings, str(rows))[0],
    }


def measure(options: Options = FULL, command: str = "") -> Report:
    """One run of everything; leaves nothing behind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = make_cases(options, folder)
        kinds: dict[str, Callable[[], list[Plan]]] = {
            "null": cases.planner.plans,
            "search": cases.planner.plans,
            "repeat": lambda: cases.repeated,
            "none": list,
        }
        samples = run_repetitions(cases.plays, kinds, options.repetitions)
        others = memory(cases, options.alive) | start_up(options, folder)
    others["ours null, episodes with garbage collection on / off"] = gc_cost(cases.null, cases.planner)
    medians: dict[str, Timing] = {name: {} for name in cases.plays}
    for (name, part), us in samples.items():
        medians[name][part] = median(us)
    peers = [f.kind.name for f in cases.found]
    return Report(
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        seed=options.seed,
        repetitions=options.repetitions,
        machine=machine("gymnasium", "msgspec", "jsonschema-rs", "orjson"),
        targets=targets(samples, others, peers),
        cases=medians,
        ratios=ratios(samples, peers),
        others=others,
        peers={f.kind.name: f.problem or f"{f.kind.package} {f.version}: {f.kind.does}" for f in cases.found},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="texts, queries and answers follow from it (0)")
    parser.add_argument(
        "--repetitions", type=int, help=f"of every case ({FULL.repetitions}; quick {QUICK.repetitions})"
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: under 20 s, less exact")
    parser.add_argument("--out", type=Path, nargs="?", const=RESULTS, metavar="DIR", help=f"write there ({RESULTS})")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--slack", type=float, default=1.0, help="for --check: targets times this (1.0)")
    args = parser.parse_args(argv)

    options = (QUICK if args.quick else FULL)._replace(seed=args.seed)
    if args.repetitions:
        options = options._replace(repetitions=args.repetitions)
    flags = (
        ["--quick"] * args.quick
        + (["--repetitions", str(args.repetitions)] if args.repetitions else [])
        + ["--out"] * bool(args.out)
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
