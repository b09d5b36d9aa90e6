"""The audit table of all worlds: which questions it plays, what it counts, and that it tells of no question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from benchmarks import worlds
from benchmarks.plots import Mark, draw, places
from benchmarks.questions import choose, every
from benchmarks.worlds import Report, markdown, row, throughput
from mtr_env.audit import audit
from mtr_env.policies import POLICY_NAMES
from mtr_env.registration import ENV_IDS, make_game
from mtr_env.trace import Response

MUSIQUE = "MTR-MuSiQue-v0"


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    """A folder without data sets."""
    return tmp_path / "nothing"


def test_without_the_data_sets_every_world_is_its_bundled_sample_and_says_so(nothing: Path) -> None:
    labels = {questions.env_id: questions.label for questions in every(2, nothing)}
    assert tuple(labels) == ENV_IDS
    assert set(labels.values()) == {"bundled sample", "procedural, split test"}
    assert {questions.game().setup.world.source for questions in every(2, nothing)[:4]} == {"bundled"}


def test_a_data_set_that_is_there_is_played_but_bamboogle_which_has_nothing_to_answer_from(tmp_path: Path) -> None:
    for name in ("musique", "bamboogle"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dev_shared.jsonl").write_text("{}\n")
    assert choose(MUSIQUE, None, tmp_path).options["source"] == tmp_path / "musique" / "dev_shared.jsonl"
    assert choose("MTR-HotpotQA-v0", None, tmp_path).label == "bundled sample"
    assert choose("MTR-Bamboogle-v0", None, tmp_path).label == "bundled sample"


def test_a_row_is_what_the_audit_says_of_these_questions(nothing: Path) -> None:
    questions = choose(MUSIQUE, 6, nothing)
    found, audited = row(questions, 3), audit(questions.game(), seed=3)
    assert (found.questions, found.provable, found.leaks) == (6, audited.provable, 0)
    assert found.short_cuts == audited.short_cuts and set(found.short_cuts) > {"first-search", "chaser"}
    assert (found.responses, found.invalid_responses) == (audited.responses, 0) and found.responses > 6
    assert found.fingerprint == audited.fingerprint
    assert found.provable_interval is not None and found.provable_interval[1] == 1.0


def test_throughput_times_the_oracles_steps_in_a_world_of_its_own() -> None:
    class Slow:
        """Turns the processor for a while, at the first call of each question only."""

        name = "slow"
        seen: set[str] = set()

        def respond(self, call: Any, spec: Any, view: Any, history: Any, key: Any) -> Response:
            if view.id not in self.seen:
                self.seen.add(view.id)
                sum(range(200_000))
            return Response({"status": "not_found"})

    def make() -> Any:
        Slow.seen = set()
        return make_game("MTR-Synthetic-v0", limit=4, tool_actor=Slow())

    first, again = throughput(make, 0)
    assert 0 < first < again


@pytest.fixture
def report(nothing: Path) -> Report:
    rows = {questions.env_id: row(questions, 0) for questions in every(2, nothing)}
    return Report("python -m benchmarks.worlds", "2026-01-01", 0, {"cores": 2}, rows)


def test_the_table_has_a_line_for_each_world_and_its_command_date_and_machine(report: Report) -> None:
    text = markdown(report)
    assert [env_id for env_id in ENV_IDS if f"| {env_id} | 2 (" not in text] == []
    assert "`python -m benchmarks.worlds`, 2026-01-01, seed 0; cores 2." in text
    header, rule, *lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in (header, rule, *lines)} == {header.count("|")}


def test_what_is_unscored_is_no_zero(report: Report) -> None:
    world = report.worlds[MUSIQUE]
    cut = replace(world.short_cuts["chaser"], em=None, reward=None, scored=0, unscored=2)
    report.worlds[MUSIQUE] = replace(world, oracle_reward=None, short_cuts={"chaser": cut})
    [line] = [line for line in markdown(report).splitlines() if line.startswith(f"| {MUSIQUE} ")]
    assert "| unscored |" in line and "unscored (unscored, 2 unscored)" in line and "0.00" not in line


def test_the_program_writes_a_table_figures_and_a_plot_without_a_word_of_a_question(
    tmp_path: Path, nothing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the train extra is not installed")
    argv = ["--limit", "2", "--data", str(nothing), "--results", str(tmp_path)]
    written = worlds.main(argv)
    text = (tmp_path / "worlds.md").read_text()
    assert text in capsys.readouterr().out
    assert msgspec.json.decode((tmp_path / "worlds.json").read_bytes(), type=Report) == written
    files = text + (tmp_path / "worlds.json").read_text() + (tmp_path / "worlds.svg").read_text()
    for questions in every(2, nothing):
        world = questions.game().world
        assert [i for i in world.ids if i in files or world.question(i).text in files] == []


def test_a_policy_has_one_colour_in_every_plot() -> None:
    audited, leaders = ["oracle", "first-search", "chaser", "no-tool"], ["chaser", "tiny", "no-tool", "oracle"]
    colour = dict(zip(audited, places(audited), strict=True))
    assert len(set(colour.values())) == 4
    found = dict(zip(leaders, places(leaders), strict=True))
    assert {name: found[name] for name in leaders if name != "tiny"} == {
        name: colour[name] for name in leaders if name != "tiny"
    }
    assert found["tiny"] not in places(POLICY_NAMES)


def test_a_reward_stands_in_the_plot_with_its_interval(report: Report) -> None:
    for one in report.worlds.values():
        for value, interval in [
            (one.oracle_reward, one.oracle_reward_interval),
            *[(cut.reward, cut.reward_interval) for cut in one.short_cuts.values()],
        ]:
            assert value is not None
            assert interval is not None
            assert interval[0] <= value <= interval[1]


def test_the_same_marks_give_the_same_plot_and_each_series_stands_once_in_the_legend(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the train extra is not installed")
    marks = {"one": {"a": Mark(0.5, (0.4, 0.7))}, "two": {"a": Mark(1.0), "b": Mark(0.0, (0.0, 0.1))}}
    for name in ("first.svg", "second.svg"):
        draw(tmp_path / name, "title", "label", marks)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    text = (tmp_path / "first.svg").read_text()
    assert [text.count(f"<!-- {word} -->") for word in ("a", "b", "one", "0.50", "0.00")] == [1, 1, 1, 1, 1]
