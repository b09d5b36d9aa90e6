"""The main job from end to end: what ``make demo`` runs.

    python -m train.demo --out runs/demo

A synthetic world and its audit; traces of the strategy-neutral teacher; SFT, then GRPO and at the same time its
control, which goes on with SFT for as long as GRPO takes; the base, SFT, control and GRPO models and the policies
without a model play the same held-out questions. Each stage is one of the training programs with ``--recipe``; a
rerun reuses every stage that is complete.

The folder then holds ``summary.json`` (a row each for ``base``, ``sft``, ``sft_control``, ``grpo``, ``oracle`` and
``random``, played greedily; the same at T = 1 under ``sampled``; ``minutes`` of the whole, of which ``set_up_minutes``
were the set-up by ``make``), ``curves.png``, the traces and the checkpoints.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtr_env.audit import audit
from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.evaluate import read_traces, run, write_json
from mtr_env.policies import make_policy
from mtr_env.rollout import play
from mtr_env.transcript import transcript
from train import collect, grpo, measure, sft
from train.options import check_extra, option, parse, recipe_file

MODELS = {"base": None, "sft": "sft", "sft_control": "control", "grpo": "grpo"}
"""The rows that a model plays, each with the stage that made it; the base comes with the repository."""
DECODINGS = {"greedy": 0, "sampled": 1}
"""The temperatures at which every model plays."""
SCRIPTED = {"oracle": "oracle", "random": "random-valid", "first_search": "first-search", "no_tool": "no-tool"}
"""The rows that a policy without a model plays, each with the policy's name."""
IN_SUMMARY = (*MODELS, "oracle", "random")
TRACES = "traces/kept.jsonl"
"""The traces that SFT reads, in the folder of the demonstration."""
WRITTEN_LAST = {"collect": "collect.json", "sft": "log.json", "grpo": "log.json", "measure": "summary.json"}
"""What each program writes when all else is there."""
SHOWN = ("em", "f1", "reward", "well_formed", "episodes")


@dataclass
class Args:
    """What the demonstration does."""

    recipe: str = option("tiny", "the recipe of all stages: a name, or a .toml file")
    out: Path = option(Path("runs/demo"), "where everything goes")
    episodes: int = option(500, "held-out questions")
    seed: int = option(0, "of every stage")


@dataclass(frozen=True)
class Job:
    """A program of the recipe with its options: it makes the folder ``stage`` from the files ``made_from``."""

    stage: str
    program: str
    options: tuple[str, ...] = ()
    made_from: tuple[Path, ...] = ()


class Stages:
    """Runs the programs of a recipe in one folder; what is complete there is not run again."""

    def __init__(self, args: Args) -> None:
        self.args = args
        self.cores = cores()

    def complete(self, job: Job) -> bool:
        """Whether its result is there, and no older than what it is made from."""
        result = self.args.out / job.stage / WRITTEN_LAST[job.program]
        return result.exists() and all(
            source.exists() and source.stat().st_mtime <= result.stat().st_mtime for source in job.made_from
        )

    def start(self, job: Job, cores: int) -> subprocess.Popen[bytes]:
        """Starts a program; its output goes to ``<stage>.log``."""
        out = self.args.out
        (out / "summary.json").unlink(missing_ok=True)  # what it says will not be so any more
        command = [sys.executable, "-m", f"train.{job.program}", "--recipe", self.args.recipe, *job.options]
        command += ["--out", str(out / job.stage), "--seed", str(self.args.seed)]
        environment = os.environ | {"OMP_NUM_THREADS": str(cores), "TRL_EXPERIMENTAL_SILENCE": "1"}
        print(f"{job.stage}: python {' '.join(command[1:])}", flush=True)
        log = out / f"{job.stage}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)

    def run(self, *jobs: Job, at_once: int | None = None, on_done: Callable[[str], None] = lambda stage: None) -> None:
        """Runs the jobs that are not complete, so many ``at_once`` (as many as there are cores, unless told), which
        share the cores; ``on_done`` is told each stage that has ended well.

        Models this small play faster as two programs with one thread each than as one program with two threads.
        Raises ``SystemExit`` with the end of a program's output when it fails; the others are then stopped.
        """
        waiting = [job for job in jobs if not self.complete(job)]
        at_once = min(len(waiting), at_once or self.cores)
        running: dict[str, subprocess.Popen[bytes]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    running[job.stage] = self.start(job, max(1, self.cores // at_once))
                for stage, process in [*running.items()]:
                    if process.poll() is not None:
                        del running[stage]
                        self.finish(stage, process.returncode)
                        on_done(stage)
                time.sleep(0.05)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()

    def finish(self, stage: str, code: int) -> None:
        """Raises ``SystemExit`` with the end of a program's output when it failed."""
        if code:
            log = self.args.out / f"{stage}.log"
            end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise SystemExit(f"{stage} failed (exit {code}):\n{end}\n(all of it: {log})")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measurements(args: Args, rows: Iterable[str]) -> list[Job]:
    """The jobs that let these models play the held-out questions, with each decoding."""
    base = parse(sft.Args, "sft", "", ["--recipe", args.recipe]).model
    jobs = []
    for row in rows:
        stage = MODELS[row]
        model = base if stage is None else str(args.out / stage)
        made_from = () if stage is None else (args.out / stage / "log.json",)
        for decoding, temperature in DECODINGS.items():
            options = ("--model", model, "--temperature", str(temperature), "--episodes", str(args.episodes))
            jobs.append(Job(f"held_out/{row}_{decoding}", "measure", options, made_from))
    return jobs


def train_and_measure(args: Args) -> None:
    """Collects (and the base plays meanwhile), fine-tunes, then GRPO beside its control, each on half of the cores for
    the same time; then the trained models play the held-out questions."""
    stages, out = Stages(args), args.out
    stages.run(Job("traces", "collect"), *measurements(args, ["base"]))
    stages.run(Job("sft", "sft", ("--traces", str(out / TRACES)), (out / "traces/collect.json",)))
    train_and_control(args, stages)
    stages.run(*measurements(args, [row for row in MODELS if row != "base"]))


def train_and_control(args: Args, stages: Stages) -> None:
    """GRPO and, until it is done, SFT that goes on: both from the same weights, at the same learning rate. Where one of
    the two is missing both are trained anew, so that both have had the same time."""
    out = args.out
    stop = out / "grpo_is_done"
    rate = parse(grpo.Args, "grpo", "", ["--recipe", args.recipe]).lr
    model = ("--model", str(out / "sft"))
    goes_on = (
        *("--traces", str(out / TRACES), "--eval-questions", "0"),
        *("--epochs", "100", "--lr", str(rate), "--schedule", "constant", "--stop-file", str(stop)),
    )
    made_from = (out / "sft/log.json",)
    jobs = (
        Job("grpo", "grpo", model, made_from),
        Job("control", "sft", (*model, *goes_on), made_from),
    )
    if all(map(stages.complete, jobs)):
        return
    for job in jobs:
        shutil.rmtree(out / job.stage, ignore_errors=True)
    stop.unlink(missing_ok=True)
    stages.run(*jobs, at_once=2, on_done=lambda stage: stop.touch() if stage == "grpo" else None)


def measured(args: Args) -> dict[str, dict[str, dict[str, Any]]]:
    """What every model did on the held-out questions, by decoding and row."""
    return {
        decoding: {
            row: json.loads((args.out / "held_out" / f"{row}_{decoding}" / "summary.json").read_text())
            for row in MODELS
        }
        for decoding in DECODINGS
    }


def play_scripted(args: Args, game: Game) -> dict[str, dict[str, Any]]:
    """The policies without a model on the same questions."""
    rows = {}
    for row, policy in SCRIPTED.items():
        folder = args.out / "held_out" / row
        run(game, policy, folder, episodes=args.episodes, seed=args.seed)
        rows[row] = measure.summary_of(list(read_traces(folder / "traces.jsonl")))
    return rows


def table(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Both decodings side by side."""
    lines = [f"{'':14}{'EM':>8}{'F1':>8}{'reward':>8}{'well formed':>13}{'calls':>8}{'EM, T = 1':>12}"]
    for name, row in rows["greedy"].items():
        sampled = rows["sampled"].get(name)
        last = f"{sampled['em']:12.1%}" if sampled else f"{'':12}"
        cells = f"{row['em']:8.1%}{row['f1']:8.1%}{row['reward']:8.3f}{row['well_formed']:13.1%}"
        lines.append(f"{name:14}{cells}{row['calls_per_episode']:8.1f}{last}")
    return "\n".join(lines)


def draw_curves(out: Path) -> Path:
    """The learning curves as ``curves.png``: SFT's loss, GRPO's reward and held-out EM."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def series(stage: str, key: str) -> tuple[list[int], list[float]]:
        log = json.loads((out / stage / "log.json").read_text())
        entries = [entry for entry in log if key in entry]
        return [entry["step"] for entry in entries], [float(entry[key]) for entry in entries]

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for stage, label in (("sft", "SFT"), ("control", "control (more SFT)")):
        left.plot(*series(stage, "loss"), label=label)
    left.set(title="Warm start", xlabel="step", ylabel="loss on the policy's tokens", yscale="log")
    right.plot(*series("grpo", "mtr/reward"), label="reward of the rollouts (sampled)", alpha=0.5)
    right.plot(*series("grpo", "mtr/em"), label="EM of the rollouts (sampled)", alpha=0.5)
    right.plot(*series("grpo", "eval/em"), "o-", label="EM, validation questions (greedy)")
    right.set(title="GRPO", xlabel="step", ylim=(0, 1))
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(out / "curves.png", dpi=120)
    pyplot.close(figure)
    return out / "curves.png"


def remember_settings(args: Args) -> None:
    """Writes what the folder is made with; raises ``SystemExit`` when it was made with something else."""
    file = args.out / "settings.json"
    settings = {"seed": args.seed, "episodes": args.episodes, "recipe": recipe_file(args.recipe).read_text()}
    if file.exists() and json.loads(file.read_text()) != settings:
        raise SystemExit(f"{args.out} was made with other settings ({file}); remove it or choose another --out.")
    write_json(file, settings)


def spent(out: Path, seconds: float) -> float:
    """The seconds of all runs so far that made something, this one included; a rerun of what is complete adds none."""
    file = out / "seconds.json"
    before = json.loads(file.read_text())["seconds"] if file.exists() else 0.0
    if not (out / "summary.json").exists():
        before += seconds
        write_json(file, {"seconds": before})
    return float(before)


def set_up_seconds() -> float | None:
    """What ``make`` took to set this environment up, which its stamp says; ``None`` when something else made it."""
    try:
        return float(Path(sys.prefix, ".installed-train").read_text())
    except (OSError, ValueError):
        return None


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the demonstration; returns what it writes to ``summary.json``."""
    args = parse(Args, "demo", __doc__.split("\n", 1)[0], None if argv is None else list(argv))
    began = time.perf_counter()
    for program, kind in (("collect", collect.Args), ("sft", sft.Args), ("grpo", grpo.Args)):
        parse(kind, program, "", ["--recipe", args.recipe])  # refuses what it cannot read, before anything is made
    check_extra("demo")
    game = parse(measure.Args, "measure", "", ["--recipe", args.recipe]).game(args.episodes)
    args.out.mkdir(parents=True, exist_ok=True)
    remember_settings(args)
    info = game.world.info
    print(f"World: {info.name}, split {info.split}, {len(game.world.ids)} questions, fingerprint {info.fingerprint}\n")
    print("One episode, played by the oracle:\n")
    print(transcript(play(MTREnv(game), make_policy("oracle"), seed=args.seed)), end="\n\n")
    report = audit(game)
    write_json(args.out / "audit.json", report)
    print(
        f"Audit: {report.provable} of {report.questions} questions proven solvable, {report.leaks} leaks, "
        f"{report.invalid_responses} invalid responses; EM of the short cuts: "
        + ", ".join(f"{name} {short.em:.0%}" for name, short in report.short_cuts.items()),
        end="\n\n",
        flush=True,
    )
    try:
        train_and_measure(args)
        rows = measured(args)
        rows["greedy"] |= play_scripted(args, game)
    finally:  # an interrupted run counts too
        seconds = spent(args.out, time.perf_counter() - began)
    set_up = set_up_seconds()
    minutes = (seconds + (set_up or 0.0)) / 60
    summary = {name: {key: rows["greedy"][name][key] for key in SHOWN} for name in IN_SUMMARY}
    sampled = {name: {key: row[key] for key in SHOWN} for name, row in rows["sampled"].items()}
    set_up_minutes = None if set_up is None else round(set_up / 60, 2)
    result = {**summary, "sampled": sampled, "minutes": round(minutes, 2), "set_up_minutes": set_up_minutes}
    write_json(args.out / "summary.json", result)
    print(f"\n{args.episodes} held-out questions, greedy; the last column is sampled at T = 1:\n\n{table(rows)}")
    of_them = "set-up not counted" if set_up is None else f"{set_up / 60:.1f} of them set-up"
    made = f"summary.json, {draw_curves(args.out).name}, held_out/*/traces.jsonl"
    print(f"\n{args.out}/: {made}; {minutes:.1f} min ({of_them})")
    return result


def stop_when_told() -> None:
    """Lets SIGTERM end this process as an exception does, so that what it has started ends with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


if __name__ == "__main__":
    stop_when_told()
    main()
