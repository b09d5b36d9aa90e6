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
from tests.faulty_world import Model

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A model that plays the first ten synthetic questions."""
    world = make_game("MTR-Synthetic-v0", limit=10).world
    with ChatServer(Careless([world.question(i) for i in world.ids])) as running:
        yield running


def model(server: ChatServer, kind: str = "llm") -> list[str]:
    return ["--tool-actor", kind, "--tool-model", "tiny", "--tool-base-url", server.url]


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
    assert main([*argv, "--tool-prices", "1,2", "--actor", *model(server)[1:]]) == 0
    printed = capsys.readouterr().out
    for line in ("fields that agree", "valid at first try", "leaks", "self-consistency", "requests", " USD"):
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
        ("--tool-actor llm", "--tool-actor llm needs --tool-model NAME"),
        ("--tool-actor ladder", "--tool-actor ladder needs --tool-model NAME"),
        ("--tool-maker llm", "--tool-maker llm needs --tool-model NAME"),
        ("--tool-model tiny", "--tool-model is for --tool-maker llm and --tool-actor llm or ladder"),
        ("--tool-key-variable MINE", "--tool-key-variable is for --tool-maker llm"),
        ("--knowledge closed_book", "--knowledge is for --tool-actor llm or ladder"),
        ("--tool-actor grounded --cassette x", "--cassette is for a --tool-maker or --tool-actor that is asked"),
        ("--tool-actor llm --replay", "--replay needs the --cassette FILE"),
        ("--tool-actor llm --tool-model m --tool-base-url nowhere", "--tool-base-url begins with http"),
        ("--tool-actor llm --tool-model m", "No key: set the environment variable OPENAI_API_KEY"),
        ("--tool-actor llm --tool-model m", "or give another server's --tool-base-url."),
        ("--tool-actor llm --tool-model m --tool-key-variable MY_KEY", "set the environment variable MY_KEY"),
        ("--tool-actor llm --tool-model m --tool-base-url http://h --knowledge all", "knowledge is one of 'evidence'"),
        ("--tool-actor llm --tool-model m --tool-prices cheap", "--tool-prices: expected USD per million tokens as IN"),
        ("--tool-actor llm --tool-model m --tool-temperature hot", "--tool-temperature: expected a number or none"),
        ("--tool-actor robot", "unknown ToolActor 'robot'; expected grounded, llm, ladder, or module:attr"),
        ("--tool-maker robot", "unknown ToolMaker 'robot'; expected template, llm, or module:attr"),
        ("--concurrency 0", "expected an integer of at least 1"),
    ],
)
@pytest.mark.parametrize("command", ["run MTR-Synthetic-v0 --policy oracle --out x", "audit MTR-Synthetic-v0"])
def test_what_does_not_go_together_is_refused_with_a_sentence(
    command: str, argv: str, expected: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert main([*command.split(), *argv.split()]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("", "or give another server's --policy-base-url."),
        ("--policy-base-url h", "--policy-base-url begins"),
    ],
)
def test_a_player_without_a_key_or_a_server_is_told_in_the_words_of_the_command_line(
    argv: str, expected: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    run = ["run", "MTR-Synthetic-v0", "--policy", "chat", "--policy-model", "m", "--out", str(tmp_path / "x")]
    assert main([*run, *argv.split()]) == 2
    assert expected in capsys.readouterr().err


def test_a_noisy_world_cannot_be_the_measure_of_an_actor(capsys: Capture) -> None:
    assert main(["audit", "MTR-Synthetic-v0", "--limit", "2", "--noise", "0.1", "--actor", "grounded"]) == 2
    assert "without noise" in capsys.readouterr().err


def test_a_ladder_over_a_world_folder_keeps_its_corpus_and_a_recorded_world_has_no_evidence_to_climb_from(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    pytest.importorskip("bm25s", reason="the data extra is not installed")
    hotpotqa = ["MTR-HotpotQA-v0", "--split", "sample", "--limit", "2"]
    pages = tmp_path / "pages.jsonl"
    pages.write_text('{"title": "Ingmar Bergman", "text": "A director."}\n{"title": "Sweden", "text": "A country."}\n')
    searched, recorded = str(tmp_path / "searched"), str(tmp_path / "recorded")
    assert main(["world", "build", *hotpotqa, "--corpus", str(pages), "--out", searched, "--quiet"]) == 0
    assert main(["world", "build", *hotpotqa, "--record-policy", "oracle", "--out", recorded, "--quiet"]) == 0
    run = ["run", "MTR-HotpotQA-v0", "--policy", "no-tool", "--quiet", "--out"]
    for kind in ("grounded", "ladder"):
        more = [] if kind == "grounded" else model(server, kind)[2:]
        plugs = ["--tool-actor", kind, *more]
        assert main([*run, str(tmp_path / kind), "--world", searched, *plugs]) == 0
        setup = json.loads((tmp_path / kind / "run.json").read_text())["setup"]
        assert "corpus=" in setup["tool_actor"]
        capsys.readouterr()
        assert main([*run, str(tmp_path / "no"), "--world", recorded, *plugs]) == 2
        assert "The responses of this world are recorded" in capsys.readouterr().err
    assert main([*run, str(tmp_path / "again"), "--world", recorded]) == 0
    assert main(["audit", "MTR-HotpotQA-v0", "--world", recorded, *model(server, "ladder"), "--quiet"]) == 2
    assert "The responses of this world are recorded" in capsys.readouterr().err


def test_a_model_writes_the_tools_of_a_world_and_another_one_plays_them(tmp_path: Path, capsys: Capture) -> None:
    world = make_game("MTR-Synthetic-v0", limit=3).world
    folder, cassette = str(tmp_path / "world"), str(tmp_path / "c.sqlite")
    with ChatServer(Model(world)) as server:
        there = ["--tool-model", "m", "--tool-base-url", server.url, "--tool-prices", "1,2", "--cassette", cassette]
        build = ["world", "build", "MTR-Synthetic-v0", "--limit", "3", "--tool-maker", "llm", *there]
        assert main([*build, "--tool-actor", "ladder", "--record-policy", "oracle", "--out", folder]) == 0
        out, err = capsys.readouterr()
        assert "tools llm(m(temperature=0" in " ".join(out.split())
        assert "spent: tools" in err
        assert " USD" in err
        requests = server.requests
        assert requests >= 3
        again = ["--tool-actor", "ladder", "--record-policy", "oracle", "--out", f"{folder}2", "--replay", "--quiet"]
        assert main([*build, *again]) == 0
        assert server.requests == requests
        capsys.readouterr()
        assert main(["run", *build[2:], "--policy", "oracle", "--out", str(tmp_path / "run")]) == 2
        assert "--tool-maker llm writes tools that only a model can play" in capsys.readouterr().err
        assert main(["audit", *build[2:], "--quiet"]) == 0
        assert "provable 3" in capsys.readouterr().out


def test_each_model_has_its_own_key_its_own_settings_and_its_own_account(
    server: ChatServer, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "for-openai-alone")
    monkeypatch.setenv("TOOL_KEY", "for-the-tools")
    monkeypatch.setenv("POLICY_KEY", "for-the-player")
    server.key = "for-the-tools"
    with ChatServer(lambda body: "<answer>yes</answer>", key="for-the-player") as playing:
        argv = ["run", "MTR-Synthetic-v0", "--limit", "2", "--out", str(tmp_path / "out"), *model(server)]
        argv += ["--tool-key-variable", "TOOL_KEY", "--tool-temperature", "none", "--tool-prices", "1,1"]
        mine = ["--policy", "chat", "--policy-model", "p", "--policy-base-url", playing.url.replace("//", "//bob:PW@")]
        assert main([*argv, *mine]) == 1  # with credentials in the URL, these are sent and not the key
        assert "0 scored, 2 unscored" in " ".join(capsys.readouterr().out.split())
        assert "PW" not in (tmp_path / "out" / "run.json").read_text()
        mine[-1:] = [playing.url, "--policy-key-variable", "POLICY_KEY", "--policy-temperature", "0.5"]
        assert main([*argv, *mine, "--seed", "5", "--out", str(tmp_path / "paid")]) == 0
        assert "2 scored, 0 unscored" in " ".join(capsys.readouterr().out.split())
        assert {body["temperature"] for body in playing.bodies} == {0.5}
    oracle = ["--policy", "oracle", "--concurrency", "1", "--out", str(tmp_path / "oracle")]
    assert main([*argv, *oracle]) == 0
    out, err = capsys.readouterr()
    assert "2 scored, 0 unscored" in out
    assert "spent in this start: tools " in err
    assert " USD" in err
    assert server.bodies
    assert all("temperature" not in body for body in server.bodies)
    assert server.peak == 1


def test_a_model_without_paragraphs_to_answer_from_is_a_mistake_of_the_set_up(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    source = tmp_path / "dev.jsonl"
    source.write_text('{"Question": "Who was president when Citibank was founded?", "Answer": "James Madison"}\n')
    run = ["run", "MTR-Bamboogle-v0", "--source", str(source), "--policy", "first-search", "--quiet"]
    assert main([*run, *model(server), "--out", str(tmp_path / "a")]) == 2
    assert "--knowledge closed_book" in capsys.readouterr().err
    server.content = lambda body: '{"status": "not_found", "message": "No page.", "results": []}'
    assert main([*run, *model(server), "--knowledge", "closed_book", "--out", str(tmp_path / "b")]) == 0
    assert server.requests > 0
