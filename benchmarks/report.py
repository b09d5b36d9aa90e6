"""What a run of the benchmark reports: the targets, every case and ratio, as JSON and as tables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from benchmarks.timing import Samples, Timing

RESULTS = Path(__file__).parent / "results"


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
    repetitions: int
    machine: dict[str, Any]
    targets: list[Target]
    cases: dict[str, Timing]  # median microseconds of every part that a case has
    ratios: dict[str, float]
    others: dict[str, float]
    peers: dict[str, str]  # version and what it does, or why there are no figures

    def missed(self, slack: float = 1.0) -> list[Target]:
        """The targets that are missed even when each is multiplied by ``slack``."""
        return [t for t in self.targets if t.measured is not None and t.measured > t.target * slack]


def machine(*packages: str) -> dict[str, Any]:
    """What kind of machine this is, and the versions of Python, this package and others that matter."""
    packages = ("mtr-env", *packages)
    installed = {d.metadata["Name"].replace("_", "-") for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        **{name: importlib.metadata.version(name) for name in packages if name in installed},
    }


DEFINITIONS = """
64 live environments, one a question; a repetition resets all, makes 4 rounds of one tool step each, then all answer.
A figure is the median over rounds and repetitions, a round's being its time / 64; a ratio the median over the
repetitions of the ratio within one. *Tool step*: one of the 4 calls. *Episode / 5*: the whole episode (reset, 4 calls,
the answer with its scoring) divided by its 5 steps; a limit has no reset but a new record, and scores by EM and F1.
A target divides our tool step by the other side's episode / 5, the figure that it was set from; the table of ratios has
the bare tool steps too.
""".strip()

LIMITS = {"ours null": "limit null", "ours search": "limit BM25", "ours repeat": "limit memo"}


def ratio(samples: Samples, ours: tuple[str, str], other: tuple[str, str]) -> float | None:
    """The median over the repetitions of one (case, part) divided by another; ``None`` when the other is missing."""
    others = samples.get(other)
    return median([a / b for a, b in zip(samples[ours], others, strict=True)]) if others else None


def fastest(samples: Samples, limit: str) -> str:
    """The fastest of the JSON libraries' loops for a limit."""
    return min((median(us), name) for (name, part), us in samples.items() if part == "fifth" and limit in name)[1]


def ratios(samples: Samples, peers: Sequence[str]) -> dict[str, float]:
    """Our tool step over every limit's and peer's, as a fifth of its episode and as its bare tool step."""
    others = {"ours null": [*peers]}
    for ours, limit in LIMITS.items():
        others[ours] = [name for name, part in samples if part == "step" and limit in name] + others.get(ours, [])
    result = {}
    for ours, names in others.items():
        for name in names:
            for part, words in (("fifth", "episode / 5"), ("step", "tool step")):
                result[f"{ours} step / {name}, {words}"] = ratio(samples, (ours, "step"), (name, part))
    return {name: x for name, x in result.items() if x is not None}


def targets(samples: Samples, others: dict[str, float], peers: Sequence[str]) -> list[Target]:
    """The project's targets, each with what was measured."""

    def us(name: str, part: str) -> float:
        return median(samples[name, part])

    def limit(ours: str) -> float | None:
        return ratio(samples, (ours, "step"), (fastest(samples, LIMITS[ours]), "fifth"))

    rows = [
        Target("null-tool step / its limit", limit("ours null"), 3.0, "x"),
        *[
            Target(f"null-tool step / {name}", ratio(samples, ("ours null", "step"), (name, "fifth")), 1.0, "x")
            for name in peers
            if name in ("GEM QaEnv + tool wrapper", "SkyRL-gym SearchEnv")
        ],
        Target("grounded search step / its limit", limit("ours search"), 2.5, "x"),
        Target("repeated (question, call) / its limit", limit("ours repeat"), 4.0, "x"),
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
    parts = {"reset": "reset", "step": "tool step", "answer": "answer", "fifth": "episode / 5", "score": "score"}
    parts |= {"first search": "first search"}
    machine = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    lines = [
        "# Throughput",
        "",
        f"`{report.command}`, {report.date}, seed {report.seed}, {report.repetitions} repetitions; {machine}.",
        *DEFINITIONS.splitlines(),
        "",
        "| target | measured | at most | met |",
        "|---|---|---|---|",
    ]
    met = {True: "yes", False: "**no**", None: "not installed"}
    for t in report.targets:
        measured = "" if t.measured is None else f"{t.measured:,.3g}" if t.measured < 100 else f"{t.measured:,.0f}"
        lines.append(f"| {t.name} | {measured} | {t.target:g} {t.unit} | {met[t.met]} |")
    lines += ["", f"| case, us | {' | '.join(parts.values())} |", f"|---{'|---' * len(parts)}|"]
    for name, us in report.cases.items():
        lines.append(f"| {name} | {' | '.join([f'{us[part]:,.2f}' if us.get(part) else '' for part in parts])} |")
    lines += ["", "| ratio | x |", "|---|---|", *[f"| {name} | {x:.2f} |" for name, x in report.ratios.items()]]
    lines += ["", "| other | |", "|---|---|", *[f"| {name} | {value:.3g} |" for name, value in report.others.items()]]
    lines += ["", "| peer | what it is and does |", "|---|---|", *[f"| {n} | {d} |" for n, d in report.peers.items()]]
    return "\n".join(lines) + "\n"
