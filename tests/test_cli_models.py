"""The command line with tools that a model plays: run, replay, audit, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer
from simulated_model import Careless

from mtr_env.cli import main
from mtr_env.registration import make_game

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A model that plays the first ten synthetic questions."""
    world = make_game("MTR-Synthetic-v0", limit=10).world
    with ChatServer(Careless([world.question(i) for i in world.ids])) as running:
        yield running


def model(server: ChatServer, kind: str = "llm") -> list[str]:
    return ["--tool-actor", kind, "--model", "tiny", "--base-url", server.url]


def test_a_run_records_a_cassette_and_replays_it_without_a_request(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    run = ["run", "MTR-Synthetic-v0", "--limit", "10", "--policy", "oracle", "--quiet"]
    cassette = ["--cassette", str(tmp_path / "c.sqlite")]
    assert main([*run, *model(server), *cassette, "--out", str(tmp_path / "first")]) == 0
    assert "10 scored, 0 unscored" in capsys.readouterr().out
    asked = server.requests
    assert asked >= 20
    for number, more in enumerate(([*model(server)], ["--tool-actor", "llm"])):
        again = tmp_path / f"again{number}"
        assert main([*run, *more, *cassette, "--replay", "--out", str(again)]) == 0
        assert (again / "traces.jsonl").read_bytes() == (tmp_path / "first" / "traces.jsonl").read_bytes()
    assert server.requests == asked


def test_a_ladder_asks_the_model_only_for_what_the_evidence_does_not_answer(server: ChatServer, tmp_path: Path) -> None:
    run = ["run", "MTR-Synthetic-v0", "--limit", "10", "--policy", "oracle", "--quiet", "--out", str(tmp_path)]
    assert main([*run, *model(server, "ladder")]) == 0
    assert server.requests == 0
    setup = json.loads((tmp_path / "run.json").read_text())["setup"]
    assert setup["tool_actor"].startswith("ladder(grounded, llm(tiny(")
    assert "127.0.0.1" not in json.dumps(setup)


def test_audit_prints_the_numbers_of_a_simulator_and_writes_them(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    world = make_game("MTR-Synthetic-v0", limit=10).world
    server.content = Careless([world.question(i) for i in world.ids], wrong=0.5, invalid=0.5)
    out = tmp_path / "audit.json"
    argv = ["audit", "MTR-Synthetic-v0", "--limit", "10", "--quiet", "--json", str(out)]
    assert main([*argv, "--prices", "1,2", "--actor", *model(server)[1:]]) == 0
    printed = capsys.readouterr().out
    for line in ("fields that agree", "valid at first try", "leaks", "self-consistency", "requests", "cost $0."):
        assert line in printed
    report = json.loads(out.read_text())
    assert 0.2 < report["fields"]["share"] < 0.8
    assert 0.2 < report["first_try"]["share"] < 0.8
    assert report["spent"]["requests"] == server.requests
    assert "knowledge=evidence" in report["tool_actor"]
    assert main([*argv, "--actor", "grounded"]) == 0
    assert json.loads(out.read_text())["fields"]["share"] == 1.0


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("--tool-actor llm", "needs --model NAME"),
        ("--tool-actor ladder", "needs --model NAME"),
        ("--model tiny", "--model is for --tool-actor llm or ladder"),
        ("--tool-actor grounded --cassette x", "--cassette is for --tool-actor llm or ladder"),
        ("--replay", "--replay is for --tool-actor llm or ladder"),
        ("--tool-actor llm --replay", "--replay needs the --cassette FILE"),
        ("--tool-actor llm --model m --base-url nowhere", "base_url begins with http"),
        ("--tool-actor llm --model m --knowledge all", "invalid choice: 'all'"),
        ("--tool-actor llm --model m --prices cheap", "expected USD per million tokens as IN,OUT"),
        ("--tool-actor robot", "invalid choice: 'robot'"),
    ],
)
@pytest.mark.parametrize("command", ["run MTR-Synthetic-v0 --policy oracle --out x", "audit MTR-Synthetic-v0"])
def test_what_does_not_go_together_is_refused_with_a_sentence(
    command: str, argv: str, expected: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command.split(), *argv.split()]) == 2
    assert expected in capsys.readouterr().err


def test_a_noisy_world_cannot_be_the_measure_of_an_actor(capsys: Capture) -> None:
    assert main(["audit", "MTR-Synthetic-v0", "--limit", "2", "--noise", "0.1", "--actor", "grounded"]) == 2
    assert "without noise" in capsys.readouterr().err
