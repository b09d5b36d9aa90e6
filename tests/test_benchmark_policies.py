"""The leaderboard: rows of the same questions stand together, unscored is no zero, others' numbers stand apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from benchmarks import policies
from benchmarks.policies import Args, Row, Table, markdown, merged, play
from benchmarks.published import COLUMNS, PROTOCOLS, READ, SYSTEMS
from benchmarks.questions import choose
from mtr_env.evaluate import read_info, write_json
from mtr_env.registration import make_game
from tests.chat_server import ChatServer
from tests.test_auto_agent import WITHOUT_OPENAI

HOTPOT = "MTR-HotpotQA-v0"


@pytest.fixture
def played(tmp_path: Path) -> Callable[..., Row]:
    """Plays the first questions of a bundled sample."""

    def played(policy: str, env_id: str = HOTPOT, limit: int = 4, **options: Any) -> Row:
        args = Args(data=tmp_path / "nothing", out=tmp_path / "runs", **options)
        return play(choose(env_id, limit, args.data), policy, args, "the command")

    return played


def test_a_row_has_the_means_with_intervals_and_how_they_were_made(played: Callable[..., Row]) -> None:
    row = played("oracle")
    assert (row.env_id, row.policy, row.episodes, row.unscored) == (HOTPOT, "oracle", 4, 0)
    assert (row.em, row.reward, row.parts["support"]) == (1.0, 1.0, 1.0)
    assert row.em_interval is not None and row.em_interval[0] < row.em_interval[1] == 1.0
    assert row.questions_from == "bundled sample" and "grammar hermes, 8 steps, rubric mtr-v0" in row.rules
    assert row.command == "the command" and row.date and row.machine["cores"]


def test_old_traces_keep_the_date_and_the_machine_of_when_they_were_played(
    played: Callable[..., Row], tmp_path: Path
) -> None:
    row = played("oracle")
    file = tmp_path / "runs" / HOTPOT / "oracle" / "run.json"
    info = read_info(file)
    assert info is not None
    [start] = info.starts
    assert (row.date, row.machine["python"]) == (start.date[:10], start.machine.python)
    earlier = replace(start, date="2001-02-03T04:05:06+00:00", machine=replace(start.machine, processors=999))
    write_json(file, replace(info, starts=(earlier,)))
    again = played("oracle")
    assert (again.date, again.machine["cores"]) == ("2001-02-03", 999)
    write_json(file, replace(info, starts=()))
    assert (played("oracle").date, played("oracle").machine) == ("date unknown", {})


def test_a_model_behind_an_endpoint_plays_by_the_same_rules(played: Callable[..., Row]) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    with ChatServer(content=lambda body: "yes") as server:
        row = played("chat", policy_model="tiny", policy_base_url=server.url)
        assert server.requests == 4
    assert "tiny" in row.policy and (row.episodes, row.unscored) == (4, 0)
    assert row.rules == played("no-tool").rules


def test_an_endpoint_that_fails_is_unscored_and_not_zero(played: Callable[..., Row]) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    with ChatServer(script=["401"] * 8) as server:
        row = played("chat", limit=2, policy_model="tiny", policy_base_url=server.url)
    assert (row.em, row.em_interval, row.reward, row.unscored) == (None, None, None, 2)
    [line] = [line for line in markdown([row]).splitlines() if line.startswith(f"| {row.policy} ")]
    assert line.split(" | ")[1:] == ["-", "-", "-", "-", "0", "2", "(1) |"]


def test_a_policy_that_cannot_be_made_is_said_in_a_sentence(played: Callable[..., Row]) -> None:
    with pytest.raises(SystemExit, match=r"Unknown policy 'orakel'.*Did you mean 'oracle'"):
        played("orakel")
    with pytest.raises(SystemExit, match="--policy chat needs --policy-model NAME"):
        played("chat")


def test_new_rows_replace_those_of_the_same_policy_and_leave_the_others(played: Callable[..., Row]) -> None:
    oracle, reader = played("oracle"), played("first-search")
    again = replace(oracle, date="2099-01-01")
    assert merged([reader, oracle], [again]) == [again, reader]


@pytest.mark.parametrize("other", [{"fingerprint": "x"}, {"rules": "grammar react"}, {"seed": 7}])
def test_rows_of_other_questions_rules_or_seeds_do_not_stay_beside_new_ones(
    played: Callable[..., Row], other: dict[str, Any]
) -> None:
    oracle, reader = played("oracle"), played("first-search")
    elsewhere = played("oracle", "MTR-Bamboogle-v0")
    assert merged([replace(reader, **other), elsewhere], [oracle]) == [oracle, elsewhere]


def test_the_published_numbers_of_others_stand_below_all_of_ours_and_in_no_table_with_them(
    played: Callable[..., Row],
) -> None:
    ours, heading, others = markdown([played("oracle")]).partition("## Published numbers of others")
    assert heading and "**Not comparable with the tables above**" in others
    assert [system.name for system in SYSTEMS if f"| {system.name} " in ours] == []
    assert [system.name for system in SYSTEMS if f"| {system.name} | {system.base} |" not in others] == []
    assert "| oracle " in ours and "| oracle " not in others


def test_every_published_number_is_a_percentage_with_a_protocol_and_how_it_was_read() -> None:
    for system in SYSTEMS:
        assert len(system.scores) == len(COLUMNS)
        assert all(score is None or 1 < score < 100 for score in system.scores), system.name
        assert system.protocol in PROTOCOLS and system.read in READ


def test_the_program_writes_rows_others_numbers_and_a_plot_and_no_secret(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the train extra is not installed")
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    common = ["--env-ids", HOTPOT, "--limit", "2", "--data", str(tmp_path / "nothing")]
    common += ["--out", str(tmp_path / "runs"), "--results", str(tmp_path)]
    first = policies.main([*common, "--policies", "oracle,no-tool"])
    with ChatServer(content=lambda body: "yes") as server:
        url = server.url.replace("http://", "http://somebody:hunter2@")
        second = policies.main([*common, "--policies", "chat", "--policy-model", "m", "--policy-base-url", url])
    table = msgspec.json.decode((tmp_path / "policies.json").read_bytes(), type=Table)
    assert sorted([row.policy for row in table.rows]) == sorted([row.policy for row in [*first, *second]])
    text = (tmp_path / "policies.md").read_text()
    assert text == markdown(table.rows)
    files = text + (tmp_path / "policies.json").read_text() + (tmp_path / "policies.svg").read_text()
    assert "hunter2" not in files
    world = make_game(HOTPOT, limit=2).world
    assert [i for i in world.ids if i in files or world.question(i).text in files] == []


def test_an_unknown_world_is_said_before_anything_is_played(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Unknown id 'MTR-Hotpot'"):
        policies.main(["--env-ids", "MTR-Hotpot", "--out", str(tmp_path / "runs")])
    assert not (tmp_path / "runs").exists()
