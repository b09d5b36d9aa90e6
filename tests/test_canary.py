"""A key is read from the environment, sent to its server, and written nowhere: not by a run that succeeds, nor in what
is made of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from mtr_env.cli import main
from mtr_env.registration import make_game
from mtr_env.world_files import WorldFolder
from tests.chat_server import ChatServer
from tests.faulty_world import Model
from tests.report_runs import Markup, episodes_of, trace_of

ENV = "MTR-Synthetic-v0"
KEYS = {"TOOL_KEY": "sk-canary-of-the-tools-7f3a9c21", "POLICY_KEY": "sk-canary-of-the-player-d4e86b05"}


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_file_and_no_line_of_a_successful_run_holds_a_key_and_the_report_names_the_world_by_its_hash(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openai", reason="the llm extra is not installed (pip install -e '.[llm]')")
    caplog.set_level(logging.DEBUG)
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    world, cassette, run = (str(tmp_path / name) for name in ("world", "cassette.sqlite", "run"))
    model = Model(make_game(ENV, limit=3).world)
    with (
        # Both answer wrong now and then, so that there is something to log; refusals name the key that was sent.
        ChatServer(model, key=KEYS["TOOL_KEY"], script=["500", "", "429"], retry_after=0.01) as tools,
        ChatServer(lambda body: "<answer>yes</answer>", key=KEYS["POLICY_KEY"], script=["500"]) as player,
    ):
        asked = ["--tool-model", "m", "--tool-base-url", tools.url, "--tool-key-variable", "TOOL_KEY"]
        asked += ["--tool-prices", "1,2", "--cassette", cassette]
        build = ["world", "build", ENV, "--limit", "3", "--tool-maker", "llm", "--tool-actor", "llm", *asked]
        assert main([*build, "--record-policy", "first-search", "--out", world]) == 0
        plays = ["--policy", "chat", "--policy-model", "p", "--policy-base-url", player.url]
        plays += ["--policy-key-variable", "POLICY_KEY", "--policy-mode", "text"]
        said = ["run", ENV, "--world", world, "--tool-actor", "llm", *asked]
        assert main([*said, *plays, "--out", run]) == 0
        assert main([*said, "--policy", "first-search", "--seed", "9", "--out", f"{run}-2"]) == 0
        audit = ["audit", ENV, "--limit", "3", "--actor", "llm", *asked, "--json", str(tmp_path / "audit.json")]
        assert main(audit) == 0
        assert tools.requests > 6
        assert player.requests > 3
        sent = {headers["authorization"] for server in (tools, player) for headers in server.headers}
        assert sent == {f"Bearer {key}" for key in KEYS.values()}, "both were needed, and used"
    report = tmp_path / "report.html"
    assert main(["report", run, f"{run}-2", "--out", str(report)]) == 0
    page = Markup(report.read_text(encoding="utf-8"))
    shown = [trace_of(entry) for entry in episodes_of(page)]
    assert len(shown) == 6

    written = files(tmp_path)
    expected = ["run/traces.jsonl", "run/run.json", "run/summary.json", "run/usage.jsonl", "world/world.json"]
    assert {*expected, "cassette.sqlite", "report.html", "audit.json"} <= written.keys()
    out, err = capsys.readouterr()
    texts = {**written, "standard output": out.encode(), "standard error": err.encode(), "log": caplog.text.encode()}
    texts |= {f"the report's {name}": text.encode() for name, text in page.raw.items()}
    texts |= {"the report's traces": repr(shown).encode()}
    for name, text in texts.items():
        for part in (*KEYS.values(), "Bearer ", "uthorization"):
            assert part.encode() not in text, f"{name} holds {part!r}"

    manifest = WorldFolder(world).manifest
    runs = json.loads(page.raw["index"])["runs"]
    assert [trace.setup.world.fingerprint for trace in shown] == [manifest.hash] * 6
    assert [one["summary"]["fingerprint"] for one in runs] == [manifest.hash] * 2
