"""What it costs to let models play tools, and what goes wrong when they do: the figures of the model side.

    python -m benchmarks.models --out

Everything runs on this machine: a chat server on loopback stands for the model. Figures of time are those of the
machine they were taken on, so each stands beside what the machine takes without this package, measured in turn with it.

- *Episodes*: 4 calls an episode, 50 ms a call, all episodes at once; wall time over the ideal 0.2 s. The *bare loop*
  only sleeps as often; *bare requests* are those of the same client without episodes: what a request costs the client
  keeps both far above 1.3 x over HTTP. The server is another process.
- *Cassette*: a call that was recorded, after 4 exchanges of its episode, of an actor that depends on them. *Opened*:
  from nothing to the answer of one call. Two processes write to one store; one of them is killed half way (SIGKILL).
- *Memory*: what a process has grown by after each round of episodes, 1,000 at once, beside what it had after 4,000.
- *Faults*: a model writes the tools of each question and plays them, for three policies without a model, behind a
  server that gets a share of all requests wrong (outages, bad JSON, refusals, forged tags, told answers). An episode is
  wronged when it is scored 0 for a fault that was not its own, or unscored without a reason. *Fell for a lie*: scored 0
  after a response that kept its schema and was false, which is proven: the same episode without faults did all alike up
  to that response, and was not paid 0. Then everything is played again from the cassette.
- *Audit*: a simulator with known error rates, and what `audit_actor` finds, over HTTP.
- *Synthesis*: `train.collect` with the offline teacher over all questions of ../shared/data; right, consistent and
  leak-free traces are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import multiprocessing
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import msgspec

from benchmarks import cassettes, waiting
from benchmarks.questions import DATA, FILE
from benchmarks.report import RESULTS, machine
from mtr_env.audit_actor import audit_actor
from mtr_env.evaluate import write_json
from mtr_env.llm import ChatClient
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.store import Store
from mtr_env.toolactors.cassette import CassetteToolActor
from mtr_env.toolactors.llm import LLMToolActor
from tests.chat_server import ChatServer
from tests.faulty_world import play_and_replay
from tests.simulated_model import Careless
from train import collect

RATES = {"wrong": 0.10, "invalid": 0.05, "leak": 0.03}
SETS = {
    "hotpotqa": "MTR-HotpotQA-v0",
    "2wikimultihopqa": "MTR-2WikiMultiHopQA-v0",
    "musique": "MTR-MuSiQue-v0",
}
TEACHER = "--teacher oracle --thoughts --correct --least-part 0.5 --refuse-leaks".split()


class Sizes(msgspec.Struct, frozen=True):
    """How much is played; the defaults are the issue's."""

    repetitions: int = 7
    episodes: tuple[int, ...] = (1000, 10_000)
    http_repetitions: int = 3
    http_episodes: tuple[int, ...] = (100, 1000)
    hits: int = 300
    hit_rounds: int = 20
    entries: int = 100_000
    written: int = 20_000
    growth: int = 10_000
    faulty: int = 2000
    audited: int = 700
    collected: int | None = None


SMALL = Sizes(2, (20,), 1, (5,), 20, 3, 200, 50, 30, 30, 15, 5)


class Row(NamedTuple):
    """One figure, as a table shows it; ``met`` is ``None`` where nothing was aimed at."""

    name: str
    value: str
    target: str = ""
    met: bool | None = None


class Section(NamedTuple):
    """The figures of one question: as rows, and as they stand in the JSON."""

    title: str
    rows: list[Row]
    figures: dict[str, Any]


def episodes(sizes: Sizes) -> Section:
    """Async episodes in process."""
    targets = {1000: 1.3, 10_000: 3.5}
    rows, figures = [], {}
    game = waiting.warm_game()
    for count in sizes.episodes:
        pairs = [(waiting.seconds(game, count), waiting.bare_seconds(count)) for _ in range(sizes.repetitions)]
        ours, bare = ([taken / waiting.IDEAL for taken in side] for side in zip(*pairs, strict=True))
        rows += [
            _aimed(f"{count:,} episodes, wall / ideal", ours, targets.get(count)),
            Row(f"a bare loop of {count:,}, wall / ideal", _times(bare)),
        ]
        figures[str(count)] = {"ours": ours, "bare": bare}
    return Section(f"Episodes, in process ({sizes.repetitions} repetitions: median, least)", rows, figures)


def _aimed(name: str, found: Sequence[float], most: float | None) -> Row:
    """A row that is judged by its median."""
    return Row(name, _times(found)) if most is None else Row(name, _times(found), f"{most} x", median(found) <= most)


def _times(found: Sequence[float]) -> str:
    return f"{median(found):.2f} x, {min(found):.2f} x"


def over_http(sizes: Sizes) -> Section:
    """The same, with a request for each call."""
    rows, figures = [], {}
    for count in sizes.http_episodes:
        ours, bare, costs = [], [], []
        for _ in range(sizes.http_repetitions):
            with waiting.server_process() as url:  # one each: the connections of a client are those of one event loop
                client = ChatClient("tiny", base_url=url, concurrency=count)
                game = waiting.game_of(waiting.Asks(client))
                waiting.seconds(game, 64)
                began = time.process_time()
                bare.append(waiting.bare_requests(client, count) / waiting.IDEAL)
                costs.append((time.process_time() - began) / (len(waiting.WORDS) * count))
                ours.append(waiting.seconds(game, count) / waiting.IDEAL)
                assert client.spent.retries == 0
        beyond = (median(bare) - 1) * waiting.IDEAL / (len(waiting.WORDS) * count)
        ratio = median([a / b for a, b in zip(ours, bare, strict=True)])
        rows += [
            Row(f"{count:,} episodes over HTTP, wall / ideal", _times(ours)),
            Row(f"bare requests of {count:,}, wall / ideal", _times(bare)),
            Row(f"{count:,} episodes / their bare requests", f"{ratio:.2f} x"),
            Row("HTTP itself: wall beyond the ideal, a bare request", f"{1e3 * beyond:.2f} ms"),
            Row("HTTP itself: CPU of the client, a bare request", f"{1e3 * median(costs):.2f} ms"),
        ]
        figures[str(count)] = {"ours": ours, "bare": bare, "client_cpu_seconds_a_request": costs}
    return Section(f"Episodes, over HTTP ({sizes.http_repetitions} repetitions: median, least)", rows, figures)


def cassette(sizes: Sizes) -> Section:
    """Hits, opening, two processes."""
    with tempfile.TemporaryDirectory() as folder:
        asked, large = cassettes.requests(sizes.entries), Path(folder, "large.sqlite")
        cassettes.fill(large, asked)
        opened = [cassettes.open_seconds(large, asked[sizes.entries * i // 8]) for i in range(1, 8)]
        with Store(large, readonly=True) as store:
            some = asked[:: sizes.entries // sizes.hits]
            taken = cassettes.hit_seconds(CassetteToolActor(None, store, "replay"), some, sizes.hit_rounds)
        us = [1e6 * seconds for seconds in taken]
        killed = cassettes.two_writers(Path(folder, "killed.sqlite"), sizes.written, kill=True)
        both = cassettes.two_writers(Path(folder, "both.sqlite"), sizes.written, kill=False)
    p99 = quantiles(us, n=100)[98]
    told = killed.acknowledged
    rows = [
        Row(f"a hit in {sizes.entries:,} entries, median", f"{median(us):.0f} us", "100 us", median(us) <= 100),
        Row("a hit, 99th percentile", f"{p99:.0f} us"),
        Row(
            f"{sizes.entries:,} entries opened, and one answered ({len(opened)} times: median, most)",
            f"{1e3 * median(opened):.1f} ms, {1e3 * max(opened):.1f} ms",
            "1 s",
            max(opened) <= 1,
        ),
        Row(f"two processes x {sizes.written:,} entries: lost", str(both.lost), "0", both.lost == 0),
        Row(
            f"one killed after {told['first']:,}, the other's {told['second']:,}: acknowledged and lost",
            str(killed.lost),
            "0",
            killed.lost == 0,
        ),
    ]
    figures = {"hit_us": {"median": median(us), "p99": p99}, "open_seconds": opened, "lost": [both.lost, killed.lost]}
    return Section("Cassette", rows, figures)


def memory(sizes: Sizes) -> Section:
    """Growth with the number of episodes, in a new process: what others have freed in this one would hide it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        grown = pool.submit(waiting.growth, sizes.growth, warm_up=sizes.growth * 2 // 5).result()
    sizes_after = ", ".join(f"{mib:.1f}" for mib in grown)
    flat = grown[-1] - grown[0] < 4
    rows = [Row(f"MiB more after each of 4 x {sizes.growth:,} episodes", sizes_after, "flat, to 4 MiB", flat)]
    return Section("Memory", rows, {"mib": grown})


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """What fails is counted, and not said one by one."""
    logger = logging.getLogger("mtr_env")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def faults(sizes: Sizes) -> Section:
    """Episodes over a faulty server, and again from the cassette."""
    rate = 0.3
    with tempfile.TemporaryDirectory() as folder, unlogged():
        found = play_and_replay(Path(folder, "faults.sqlite"), max(10, sizes.faulty // 8), sizes.faulty, rate)
    ends = found.ends
    same = found.replayed == found.episodes
    planned = sum(found.faults.values())
    rows = [
        Row(f"requests, of which wrong ({rate:.0%} planned)", f"{found.requests:,}, {planned / found.requests:.1%}"),
        Row("episodes", f"{found.episodes:,}"),
        Row("scored", f"{ends.scored:,}"),
        *[Row(f"unscored: {kind}", f"{count:,}") for kind, count in sorted(ends.unscored.items())],
        Row("lost", str(found.lost), "0", found.lost == 0),
        Row("wronged", str(len(ends.wronged)), "0", not ends.wronged),
        Row("scored 0 as without faults", f"{ends.own_zero:,}"),
        Row("were told something valid and false", f"{ends.lied_to:,}"),
        Row("fell for a lie", str(ends.fell_for_a_lie)),
        Row("replayed: requests", str(found.replay_requests), "0", found.replay_requests == 0),
        Row("replayed: the same, byte for byte", "yes" if same else f"{found.replayed:,}", "yes", same),
    ]
    figures = {name: value for name, value in ends._asdict().items() if name != "wronged"}
    figures |= {"wronged": len(ends.wronged), "episodes": found.episodes, "lost": found.lost}
    figures |= {"requests": found.requests, "replay_requests": found.replay_requests, "replayed": found.replayed}
    return Section(f"Faults ({rate:.0%} of all requests)", rows, figures)


def audit(sizes: Sizes) -> Section:
    """True error rates and those that the audit finds."""
    game = make_game(SYNTHETIC, limit=sizes.audited)
    with ChatServer(Careless([game.world.question(i) for i in game.world.ids], **RATES)) as server:
        actor = LLMToolActor(ChatClient("tiny", base_url=server.url), evidence_chars=10**6)
        found = audit_actor(game, actor)
    pairs = {
        "fields that are wrong": (RATES["wrong"], 1 - (found.fields.share or 0)),
        "first tries against the schema": (RATES["invalid"], 1 - (found.first_try.share or 0)),
        "responses that leak": (RATES["leak"], found.leaks.share or 0),
        "fields that change when asked again": (1 - (1 - RATES["wrong"]) ** 2, 1 - (found.consistency.share or 0)),
    }
    rows = [
        Row(f"{name}: true, found", f"{true:.1%}, {share:.1%}", "2 points", abs(true - share) <= 0.02)
        for name, (true, share) in pairs.items()
    ]
    return Section(f"Audit ({found.calls:,} calls of {found.questions:,} questions)", rows, dict(pairs))


def synthesis(sizes: Sizes, data: Path = DATA) -> Section:
    """The offline teacher's rows for real questions."""
    missing = [name for name in SETS if not (data / name / FILE).exists()]
    if missing:
        reason = f"not run: no {data.as_posix()}/{missing[0]}/{FILE}"
        return Section("Synthesis", [Row("rows", reason)], {"not_run": reason})
    rows, figures, began = [], {}, time.perf_counter()
    for name, env_id in SETS.items():
        questions = len((data / name / FILE).read_bytes().splitlines())
        questions = min(questions, sizes.collected or questions)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            options = ["--env-id", env_id, "--source", str(data / name / FILE), "--episodes", str(questions)]
            collect.main([*options, *TEACHER, "--out", folder])
            written = len(Path(folder, "sft.jsonl").read_bytes().splitlines())
        share = written / questions
        rows.append(Row(f"{name}: rows", f"{written} of {questions}, {share:.1%}", "98%", share >= 0.98))
        figures[name] = [written, questions]
    taken = time.perf_counter() - began
    rows.append(Row("seconds for all", f"{taken:.1f} s", "60 s", taken <= 60))
    return Section("Synthesis", rows, {**figures, "seconds": taken})


SECTIONS: dict[str, Callable[[Sizes], Section]] = {
    part.__name__: part for part in (episodes, over_http, cassette, memory, faults, audit, synthesis)
}


def page(command: str, sections: Sequence[Section]) -> str:
    """All figures, in Markdown."""
    about = ", ".join(f"{key} {value}" for key, value in machine("openai", "httpx2").items())
    met = {True: "yes", False: "**no**", None: ""}
    assert __doc__ is not None
    lines = ["# Models as tools", "", f"`{command}`, {datetime.now(UTC):%Y-%m-%d}; {about}.", ""]
    lines += [__doc__.split("\n\n", 2)[2].strip()]
    for section in sections:
        lines += ["", f"## {section.title}", "", "| | measured | target | met |", "|---|---|---|---|"]
        lines += [f"| {row.name} | {row.value} | {row.target} | {met[row.met]} |" for row in section.rows]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark; 1 when a target was missed, which small sizes do not say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=[*SECTIONS], help="these parts (all)")
    parser.add_argument("--small", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--out", action="store_true", help=f"write {RESULTS.name}/models.{{json,md}}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for them")
    args = parser.parse_args(argv)
    sections = []
    for name in args.only:
        sections.append(SECTIONS[name](SMALL if args.small else Sizes()))
        print(f"{sections[-1].title}\n" + "\n".join(f"  {row.name}: {row.value}" for row in sections[-1].rows))
    command = shlex.join(["python", "-m", "benchmarks.models", *(sys.argv[1:] if argv is None else argv)])
    if args.out:
        args.results.mkdir(parents=True, exist_ok=True)
        (args.results / "models.md").write_text(page(command, sections), encoding="utf-8")
        figures = {section.title.partition(" (")[0]: section.figures for section in sections}
        about = {"command": command, "machine": machine("openai", "httpx2")}
        write_json(args.results / "models.json", {**about, **figures})
    missed = [row.name for section in sections for row in section.rows if row.met is False]
    if missed:
        print(f"missed: {'; '.join(missed)}")
    return 1 if missed and not args.small else 0


if __name__ == "__main__":
    sys.exit(main())
