"""Commands of docs/ that need a server, a checkpoint or an extra: given as the page shows them, with one of ours."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import ChatServer
from test_auto_agent import WITHOUT_OPENAI
from test_llm_world import Model
from test_readme import ROOT, Command, blocks, commands, run_command

from mtr_env.evaluate import read_traces
from mtr_env.registration import make_game

SHOWN = "http://127.0.0.1:8000/v1"
HOTPOT = "MTR-HotpotQA-v0"
SEARCHER = "def searcher(messages, tools):\n    return '<answer>unknown</answer>'\n"


def shown(page: str, mark: str, *exchanged: tuple[str, str]) -> list[Command]:
    """The commands of the one block that the page does not run and that holds the mark, with other texts in it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    [block] = [block for block in blocks(text) if not block.run and block.language == "console" and mark in block.code]
    code = block.code
    for old, new in exchanged:
        assert old in code, f"{page}:{block.line} does not hold {old!r}"
        code = code.replace(old, new)
    return commands(block._replace(code=code), page)


def test_the_tools_of_a_model_are_played_replayed_and_written_as_the_command_lines_page_shows(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    shutil.copy(ROOT / "mtr_env/worlds/samples/hotpotqa.jsonl", tmp_path / "dev.jsonl")
    world = make_game(HOTPOT).world
    with ChatServer(content=Model(world)) as server:
        folder, play, again, write = shown("docs/cli.md", "--tool-actor ladder", (SHOWN, server.url))
        run_command(folder, tmp_path, "docs/cli.md")
        run_command(play, tmp_path, "docs/cli.md")
        asked = server.requests
        assert asked > 0
        run_command(again, tmp_path, "docs/cli.md")
        assert server.requests == asked, "what is replayed asks nobody"
        run_command(write, tmp_path, "docs/cli.md")
        assert server.requests > asked
    first, second = ([*read_traces(tmp_path / "runs" / name / "traces.jsonl")] for name in ("ladder", "replayed"))
    assert [trace.steps for trace in first] == [trace.steps for trace in second] and len(first) == len(world.ids)
    assert make_game(HOTPOT, world=str(tmp_path / "worlds/written")).setup.tool_maker.startswith("llm")


def run_program(command: Command, folder: Path, *small: str) -> None:
    """Runs `python -m PROGRAM ...` as it is shown, with these options more."""
    path = os.pathsep.join([str(ROOT), str(folder)])
    words = [sys.executable, *shlex.split(command.text)[1:], *small]
    done = subprocess.run(words, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_a_chat_model_plays_as_the_agents_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    shutil.copy(ROOT / "mtr_env/worlds/samples/musique.jsonl", tmp_path / "dev.jsonl")
    with ChatServer(content=lambda body: "yes") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)  # in place of OpenAI's
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        for command in shown("docs/agents.md", "--concurrency 64", (SHOWN, server.url))[1:]:  # after the key
            run_command(command, tmp_path, "docs/agents.md")
        assert server.requests == 48, "a request for each question of the two samples"


def test_traces_are_synthesized_as_the_agents_page_shows(tmp_path: Path) -> None:
    for package in ("openai", "datasets"):
        pytest.importorskip(package, reason=f"{package} is not installed (pip install -e '.[data,llm]')")
    shutil.copy(ROOT / "mtr_env/worlds/samples/hotpotqa.jsonl", tmp_path / "dev.jsonl")
    with ChatServer(content=lambda body: "yes") as server:
        small = (
            ("--episodes 600", "--episodes 24"),
            ("--episodes 5000", "--episodes 2"),
            ("--split train", "--split sample"),
        )
        for command in shown("docs/agents.md", "--thoughts", (SHOWN, server.url), *small):
            run_program(command, tmp_path)
        assert server.requests == 8, "four samples of each question"
    assert len([*read_traces(tmp_path / "runs/hotpotqa/kept.jsonl")]) > 20
    assert (tmp_path / "runs/auto/collect.json").exists()


def test_a_chat_model_plays_three_kinds_of_tools_as_the_agents_page_shows(tmp_path: Path) -> None:
    for package in ("openai", "bm25s"):
        pytest.importorskip(package, reason=f"{package} is not installed (pip install -e '.[data,llm]')")
    (tmp_path / "wiki.jsonl").write_text('{"title": "Dynamite", "text": "Dynamite is an explosive."}\n')
    with ChatServer(content=lambda body: "yes") as server:
        small = ("--split validation", "--split sample"), ("URL", server.url)
        [command] = shown("docs/agents.md", "SIMULATOR", *small)
        run_program(command, tmp_path, "--episodes", "2", "--results", "tables")
    table = (tmp_path / "tables/sim_to_real.md").read_text()
    assert all(column in table for column in ("grounded", "simulated", "corpus")) and "not run" not in table


@pytest.mark.adapters
@pytest.mark.page
def test_a_model_and_a_policy_of_ones_own_join_the_leaderboard_as_the_agents_page_shows(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install -e '.[train]')")
    (tmp_path / "my_module.py").write_text(SEARCHER)
    with ChatServer(content=lambda body: "yes") as server:
        for command in shown("docs/agents.md", "benchmarks.policies", (SHOWN, server.url)):
            run_program(command, tmp_path, "--limit", "1", "--data", "none", "--results", "tables")
        assert server.requests == 5, "a question of each world"
    table = (tmp_path / "tables/policies.md").read_text()
    assert "qwen3-32b" in table and "my_module:searcher" in table


@pytest.mark.adapters
@pytest.mark.page
def test_a_checkpoint_plays_as_the_command_lines_page_shows(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="a local model needs the extra train")
    small = ("--limit 200", "--limit 1 --max-steps 1"), ("runs/sft ", f"{ROOT / 'train/base'} ")
    [command] = shown("docs/cli.md", "--policy local", *small)
    run_command(command, tmp_path, "docs/cli.md")
    [trace] = read_traces(tmp_path / "runs/sft-played/traces.jsonl")
    assert len(trace.steps) == 1 and trace.setup.grammar == "hermes-compact"


@pytest.mark.adapters
@pytest.mark.page
@pytest.mark.parametrize("number", range(3))
def test_episodes_are_served_as_the_command_lines_page_shows_until_the_server_is_stopped(
    tmp_path: Path, number: int
) -> None:
    for package in ("openenv", "mcp"):
        pytest.importorskip(package, reason=f"{package} is not installed (pip install -e '.[{package}]')")
    elsewhere = (" --port 8000", ""), ("0.0.0.0", "127.0.0.1")  # a free port, and of this machine only
    command = shlex.split(shown("docs/cli.md", "--token-variable", *elsewhere)[number].text)
    assert command[:2] == ["mtr-env", "serve"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mtr_env", *command[1:], "--port", "0"],
        cwd=tmp_path,
        env=os.environ | {"MTR_TOKEN": "secret", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert re.search(r"http://127\.0\.0\.1:\d+", line), line + process.stderr.read()
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(30) == 0, said
    finally:
        process.kill()
        process.stderr.close()
    assert "Traceback" not in said
