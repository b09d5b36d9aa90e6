"""The table adapter x scenario, with drivers of our own in place of a framework's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks import parity
from benchmarks.parity import Cell, cell, main
from mtr_env.testing.parity import Outcome, Scenario, expected, scenarios

NAMES = [scenario.name for scenario in scenarios()]


def driver(play: Callable[[Scenario], Outcome] = expected, **attributes: Any) -> Any:
    """A driver for plain Gymnasium itself, unless told otherwise."""
    return SimpleNamespace(**{"PACKAGE": "msgspec", "ONE_CALL_A_STEP": False, "MAPPED": {}, "play": play, **attributes})


def never_paid(scenario: Scenario) -> Outcome:
    return replace(expected(scenario), reward=0.0)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the program with these drivers installed; the results lie in the temporary folder."""
    monkeypatch.setattr(parity, "RESULTS", tmp_path)

    def run(*missing: str, **found: ModuleType) -> int:
        monkeypatch.setattr(parity, "drivers", lambda only: (found, list(missing)))
        return main(["--out"])

    return run


def test_a_driver_that_plays_as_gymnasium_is_the_same_everywhere() -> None:
    assert {cell(driver(), scenario).result for scenario in scenarios()} == {"same"}


def test_what_differs_is_said_and_what_raises_differs() -> None:
    oracle = scenarios()[0]
    assert cell(driver(never_paid), oracle) == Cell("differs", "reward: expected 1.0, found 0.0")
    broken = cell(driver(lambda scenario: {}["x"]), oracle)  # type: ignore[return-value]
    assert broken == Cell("differs", "raised KeyError: 'x'")


def test_a_mapping_holds_only_while_something_differs() -> None:
    oracle = scenarios()[0]
    said = {"oracle": "it pays nothing"}
    assert cell(driver(never_paid, MAPPED=said), oracle) == Cell("mapped", "it pays nothing")
    assert cell(driver(MAPPED=said), oracle) == Cell("differs", "nothing differs, though it says: it pays nothing")


def test_a_driver_that_cannot_be_told_the_seed_is_compared_at_its_own() -> None:
    def play(scenario: Scenario) -> Outcome:
        return expected(replace(scenario, seed=7))

    oracle = scenarios()[0]
    assert cell(driver(play), oracle).result == "differs"
    assert cell(driver(play, seed=lambda scenario: 7), oracle).result == "same"


def test_a_run_keeps_the_rows_of_frameworks_that_are_not_installed(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("two", one=driver()) == 0
    assert "two: its framework is not installed here; it was never run." in capsys.readouterr().out
    before = parity.read(tmp_path / "parity.json")
    before.rows["one"].date = "2026-01-31"
    parity.write_json(tmp_path / "parity.json", before)
    assert run("one", two=driver()) == 0
    assert "one: its framework is not installed here; its row is of 2026-01-31." in capsys.readouterr().out
    table = (tmp_path / "parity.md").read_text()
    [one] = [line for line in table.splitlines() if line.startswith("| one")]
    assert one.endswith("| 2026-01-31 |") and one.count("same") == len(NAMES)
    assert "| two" in table


def test_a_difference_is_in_the_table_and_in_the_exit_code(run: Callable[..., int], tmp_path: Path) -> None:
    assert run(bad=driver(never_paid, MAPPED={"oracle": "it pays nothing"})) == 1
    table = (tmp_path / "parity.md").read_text()
    assert "**differs**" in table and "1. bad: it pays nothing." in table
    assert "bad: reward: expected None, found 0.0." in table  # unscored is not 0


def test_an_unknown_driver_is_refused_and_one_without_its_framework_is_named() -> None:
    with pytest.raises(SystemExit, match="Unknown driver 'nobody'; expected some of "):
        parity.drivers(["nobody"])
    found, missing = parity.drivers(["gem"])
    assert [*found, *missing] == ["gem"]
