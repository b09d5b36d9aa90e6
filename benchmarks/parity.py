"""Do the same actions give the same trace and reward in every trainer? The table adapter x scenario.

    python -m benchmarks.parity --out                 # every adapter whose framework is installed here
    python -m benchmarks.parity --only skyrl trl

Each scenario of `mtr_env.testing.parity` is played in plain Gymnasium and through each adapter's real framework, by the
drivers in `benchmarks/parity_drivers`. Frameworks that cannot share an environment are run one after the other: with
`--out` a run writes its own rows to `benchmarks/results/parity.{json,md}` and keeps those of the others, each with its
date. The exit code is 1 when a result is neither the same nor mapped as its driver says.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import pkgutil
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from benchmarks import parity_drivers
from benchmarks.report import machine
from mtr_env.evaluate import write_json
from mtr_env.testing.parity import Outcome, Scenario, differences, expected, scenarios

RESULTS = Path(__file__).parent / "results"


class Cell(msgspec.Struct):
    """What became of a scenario: ``remark`` says how it is mapped, or what differs."""

    result: Literal["same", "mapped", "differs"]
    remark: str = ""


class Row(msgspec.Struct):
    """One adapter: what was run, when and where."""

    date: str
    package: str
    machine: dict[str, Any]
    one_call_a_step: bool
    cells: dict[str, Cell]


class Table(msgspec.Struct):
    """The suite and the last row of each adapter."""

    command: str = ""
    scenarios: dict[str, str] = {}
    gymnasium: dict[str, tuple[str, float | None]] = {}
    """Scenario to end and reward in plain Gymnasium."""
    rows: dict[str, Row] = {}


def drivers(only: Sequence[str]) -> tuple[dict[str, ModuleType], list[str]]:
    """The drivers asked for (all unless told), and those whose framework is not installed here."""
    names = [module.name for module in pkgutil.iter_modules(parity_drivers.__path__)]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise SystemExit(f"Unknown driver {unknown[0]!r}; expected some of {', '.join(names)}.")
    found, missing = {}, []
    for name in only or names:
        try:
            found[name] = importlib.import_module(f"{parity_drivers.__name__}.{name}")
        except ImportError as error:
            if (error.name or "").partition(".")[0] in ("", "mtr_env", "benchmarks"):
                raise  # a mistake of ours
            missing.append(name)
    return found, missing


def wanted(driver: ModuleType, scenario: Scenario) -> Outcome:
    """How plain Gymnasium ends the episode that the driver plays."""
    seed = getattr(driver, "seed", None)  # of frameworks that cannot be told one
    played = scenario if seed is None else replace(scenario, seed=seed(scenario))
    return expected(played, one_call_a_step=one_call_a_step(driver))


def one_call_a_step(driver: ModuleType) -> bool:
    """Whether the framework makes the calls of one message one by one."""
    return getattr(driver, "ONE_CALL_A_STEP", False)


def cell(driver: ModuleType, scenario: Scenario) -> Cell:
    """One scenario through one adapter. A mapping that is no longer needed is a difference too."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # trainers print
            found = differences(wanted(driver, scenario), driver.play(scenario))
    except Exception as error:
        found = (f"raised {type(error).__name__}: {error}",)
        return Cell("differs", found[0])
    mapped = getattr(driver, "MAPPED", {}).get(scenario.name)
    if mapped is None:
        return Cell("differs", "; ".join(found)) if found else Cell("same")
    return Cell("mapped", mapped) if found else Cell("differs", f"nothing differs, though it says: {mapped}")


def row(driver: ModuleType) -> Row:
    """Every scenario through one adapter."""
    package = getattr(driver, "PACKAGE", "mtr-env")
    return Row(
        f"{datetime.now(UTC):%Y-%m-%d}",
        package,
        machine(package),
        one_call_a_step(driver),
        {scenario.name: cell(driver, scenario) for scenario in scenarios()},
    )


def markdown(table: Table) -> str:
    """The table with its notes."""
    notes: list[str] = []
    lines = [
        "# Parity: one table of episodes, every adapter",
        "",
        f"`{table.command}`. Trace digest, reward, parts and end of each scenario, compared with plain Gymnasium.",
        "*same*: all are identical; a number: mapped as the note says, and as the adapter's page does. Adapters",
        "marked + make the calls of one message one by one: each is a step of its own, in Gymnasium too.",
        "",
        f"| | {' | '.join(table.scenarios)} | package | run |",
        f"|---|{'---|' * len(table.scenarios)}---|---|",
    ]
    ends = [f"{end}, {'unscored' if reward is None else f'{reward:.2f}'}" for end, reward in table.gymnasium.values()]
    lines.append(f"| plain Gymnasium | {' | '.join(ends)} | | |")
    for name, found in sorted(table.rows.items()):
        cells = [_mark(name, found.cells.get(scenario), notes) for scenario in table.scenarios]
        version = f"{found.package} {found.machine.get(found.package, '')}".strip()
        mark = "+" if found.one_call_a_step else ""
        lines.append(f"| {name}{mark} | {' | '.join(cells)} | {version} | {found.date} |")
    lines += ["", *[f"{number}. {note}" for number, note in enumerate(notes, 1)], ""]
    lines += [f"- *{name}*: {about}." for name, about in table.scenarios.items()]
    kinds = dict.fromkeys(_machine(found.machine) for found in table.rows.values())
    return "\n".join([*lines, "", f"Machine: {'; '.join(kinds)}."]) + "\n"


def _mark(name: str, found: Cell | None, notes: list[str]) -> str:
    if found is None:
        return "not run"
    if not found.remark:
        return found.result
    notes.append(f"{name}: {found.remark}.")
    return f"**differs** ({len(notes)})" if found.result == "differs" else f"({len(notes)})"


def _machine(kind: dict[str, Any]) -> str:
    return f"{kind['cores']} cores, {kind['architecture']}, {kind['system']}, {kind['python']}"


def read(path: Path) -> Table:
    """The table of the runs before."""
    return msgspec.json.decode(path.read_bytes(), type=Table) if path.exists() else Table()


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of the drivers")
    parser.add_argument("--out", action="store_true", help=f"write {RESULTS}/parity.{{json,md}}")
    args = parser.parse_args(argv)
    logging.getLogger("mtr_env").setLevel(logging.CRITICAL)  # the outages are meant
    found, missing = drivers(args.only)
    table = read(RESULTS / "parity.json")
    table.command = shlex.join(["python", "-m", "benchmarks.parity", *(["--out"] if args.out else [])])
    table.scenarios = {scenario.name: scenario.about for scenario in scenarios()}
    outcomes = {scenario.name: expected(scenario) for scenario in scenarios()}
    table.gymnasium = {name: (outcome.end, outcome.reward) for name, outcome in outcomes.items()}
    new = {name: row(driver) for name, driver in found.items()}
    table.rows |= new
    print(markdown(table))
    for name in missing:
        there = f"its row is of {table.rows[name].date}" if name in table.rows else "it was never run"
        print(f"{name}: its framework is not installed here; {there}.")
    if args.out:
        (RESULTS / "parity.md").write_text(markdown(table))
        write_json(RESULTS / "parity.json", table)
    return int(any(one.result == "differs" for made in new.values() for one in made.cells.values()))


if __name__ == "__main__":
    raise SystemExit(main())
