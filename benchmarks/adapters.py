"""What does an in-process adapter cost a step, over plain Gymnasium?

    python -m benchmarks.adapters --out    # those whose framework is installed here

The oracle's messages of the first questions of the synthetic world are played by `gym.make(...)` and by the adapter, in
one run and in turn: each repetition times both on worlds of their own (no memo of one serves the other), every episode
directly after the other's, and takes the difference. A figure is the median difference, in microseconds (the mean of
those of the two orders: whoever is second finds the processor's caches warm):
a *call* is a step that makes one tool call; *episode / step* is the whole episode with its beginning, the answer and
its scoring, divided by its steps. With `--out` the rows of frameworks that are not installed here are kept, each with
its date.
"""

from __future__ import annotations

import argparse
import gc
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any, NamedTuple

import gymnasium as gym
import msgspec

from benchmarks.report import machine
from mtr_env.env import MTREnv
from mtr_env.evaluate import write_json
from mtr_env.grammar import HermesGrammar
from mtr_env.policies.oracle import Oracle
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.rollout import play
from mtr_env.testing.parity import Said

RESULTS = Path(__file__).parent / "results"
TARGET = 30.0  # microseconds
QUESTIONS = 64
OPTIONS: dict[str, Any] = {"limit": QUESTIONS}


class Recorded(NamedTuple):
    """An episode's question and what the policy says in it, the answer last."""

    question_id: str
    said: tuple[Said, ...]


class Side(NamedTuple):
    """How episodes are played in one form: ``start(question id) -> episode``, then ``step(episode, message)``."""

    start: Callable[[str], Any]
    step: Callable[[Any, Said], Any]


class Row(msgspec.Struct):
    """One adapter: microseconds over plain Gymnasium, and where and when that was measured."""

    date: str
    repetitions: int
    machine: dict[str, Any]
    gymnasium_call: float
    call: float
    episode_step: float

    @property
    def met(self) -> bool:
        """Whether both figures keep the target."""
        return max(self.call, self.episode_step) <= TARGET


def plain() -> Side:
    """Gymnasium."""
    env = gym.make(SYNTHETIC, **OPTIONS)

    def start(question_id: str) -> Any:
        env.reset(seed=0, options={"question_id": question_id})
        return env

    return Side(start, lambda env, said: env.step(said.text))


def skyrl() -> Side:
    """SkyRL-gym: an environment is made for every episode."""
    import skyrl_gym
    from skyrl_gym.envs.registration import deregister

    from mtr_env.adapters.skyrl import register

    if "overhead" in skyrl_gym.registry:
        deregister("overhead")
    register(SYNTHETIC, env_class="overhead", **OPTIONS)

    def start(question_id: str) -> Any:
        env = skyrl_gym.make("overhead", env_config={}, extras={"question_id": question_id, "seed": 0})
        env.init([])
        return env

    return Side(start, lambda env, said: env.step(said.text))


def gem() -> Side:
    """GEM."""
    import gem

    import mtr_env.adapters.gem  # noqa: F401  # registers the ids

    env = gem.make(SYNTHETIC, **OPTIONS)

    def start(question_id: str) -> Any:
        env.reset(0, question_id=question_id)
        return env

    return Side(start, lambda env, said: env.step(said.text))


def trl_session() -> Side:
    """TRL's AsyncGRPO, by native calls."""
    from mtr_env.adapters.trl_session import MTRSessionFactory

    factory = MTRSessionFactory(SYNTHETIC, **OPTIONS)
    prompts = {row["question_id"]: row["prompt"] for row in factory.rows}

    def step(session: Any, said: Said) -> None:
        for name, arguments in said.calls:
            session.call_tool(name, arguments)
        if said.answer is not None:
            session.verify([{"role": "assistant", "content": said.answer}])

    return Side(lambda question_id: factory.create(prompts[question_id], seed=0), step)


SIDES: dict[str, tuple[str, Callable[[], Side]]] = {
    "skyrl": ("skyrl-gym", skyrl),
    "gem": ("gem-llm", gem),
    "trl_session": ("openenv", trl_session),
}


def recorded() -> list[Recorded]:
    """What the oracle says about each question, one call a message."""
    game, grammar = make_game(SYNTHETIC, **OPTIONS), HermesGrammar()
    episodes = []
    for question_id in game.world.ids:
        trace = play(MTREnv(game), Oracle(grammar, game.tool_actor), question_id=question_id)
        calls = [call for step in trace.steps for call in step.calls]
        said = [Said(grammar.render_call(call), ((call.name, call.arguments),)) for call in calls]
        answer = trace.answer or ""
        episodes.append(Recorded(question_id, (*said, Said(grammar.render_answer(answer), answer=answer))))
    return episodes


class Timing(NamedTuple):
    """Microseconds of a call, and of an episode divided by its steps."""

    call: float
    episode_step: float


def timed(side: Side, episode: Recorded) -> Timing:
    """One episode in one form."""
    *before, answer = episode.said
    began = perf_counter_ns()
    playing = side.start(episode.question_id)
    first = perf_counter_ns()
    for said in before:
        side.step(playing, said)
    last = perf_counter_ns()
    side.step(playing, answer)
    ended = perf_counter_ns()
    return Timing((last - first) / len(before) / 1000, (ended - began) / len(episode.said) / 1000)


def paired(make: Callable[[], Side], episodes: Sequence[Recorded]) -> list[tuple[Timing, Timing]]:
    """Each episode in Gymnasium and through the adapter, on new worlds whose tools are made already; the one that is
    first in one episode is second in the next."""
    sides = plain(), make()
    for side in sides:
        for episode in episodes:
            side.start(episode.question_id)
    pairs = []
    gc.collect()
    gc.disable()
    try:
        for number, episode in enumerate(episodes):
            order = (0, 1) if number % 2 else (1, 0)
            found = {place: timed(sides[place], episode) for place in order}
            pairs.append((found[0], found[1]))
    finally:
        gc.enable()
    return pairs


def measure(package: str, make: Callable[[], Side], repetitions: int) -> Row:
    """The adapter beside Gymnasium; the first two repetitions warm up."""
    episodes = recorded()
    runs = [paired(make, episodes) for _ in range(repetitions + 2)][2:]
    pairs = [pair for run in runs for pair in run]
    return Row(
        f"{datetime.now(UTC):%Y-%m-%d}",
        repetitions,
        machine(package),
        median(ours.call for ours, _ in pairs),
        centre([theirs.call - ours.call for ours, theirs in pairs]),
        centre([theirs.episode_step - ours.episode_step for ours, theirs in pairs]),
    )


def centre(differences: Sequence[float]) -> float:
    """The mean of the medians of the two orders, which alternate."""
    return (median(differences[::2]) + median(differences[1::2])) / 2


def markdown(rows: dict[str, Row], command: str) -> str:
    """The rows as a table."""
    lines = [
        "# What an in-process adapter costs a step, over plain Gymnasium",
        "",
        f"`{command}`; microseconds, medians of paired differences ({QUESTIONS} pairs of episodes a repetition).",
        f"Target: at most {TARGET:g} for each.",
        "",
        "| adapter | call | episode / step | met | a call in Gymnasium | where | run |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items()):
        where = ", ".join(f"{key} {value}" for key, value in row.machine.items())
        lines.append(
            f"| {name} | {row.call:+.1f} | {row.episode_step:+.1f} | {'yes' if row.met else '**no**'} | "
            f"{row.gymnasium_call:.1f} | {where} | {row.date}, {row.repetitions} repetitions |"
        )
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; the exit code is 1 when a figure measured now misses the target."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adapters", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--repetitions", type=int, default=31)
    parser.add_argument("--out", action="store_true", help=f"write {RESULTS}/adapters.{{json,md}}")
    args = parser.parse_args(argv)
    if args.repetitions < 1:
        parser.error("--repetitions is at least 1")
    kept = RESULTS / "adapters.json"
    rows = msgspec.json.decode(kept.read_bytes(), type=dict[str, Row]) if kept.exists() else {}
    new = {}
    for name, (package, make) in SIDES.items():
        try:
            make()
        except ImportError as error:
            print(f"{name}: not measured now: {error}", file=sys.stderr)
            continue
        new[name] = measure(package, make, args.repetitions)
    rows |= new
    text = markdown(
        rows, shlex.join(["python", "-m", "benchmarks.adapters", *(sys.argv[1:] if argv is None else argv)])
    )
    print(text)
    if args.out:
        (RESULTS / "adapters.md").write_text(text)
        write_json(kept, rows)
    return int(not all(row.met for row in new.values()))


if __name__ == "__main__":
    raise SystemExit(main())
