"""What a command writes never takes the place of what somebody needs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from test_cli import RUN, Capture, error_of

from mtr_env.cli import main

LIMITED = ("MTR-Synthetic-v0", "--limit", "2")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, "run"]) == 0
    capsys.readouterr()
    return Path("run")


@pytest.mark.parametrize("name", ["run.json", "traces.jsonl", "summary.json", "usage.jsonl"])
@pytest.mark.parametrize(
    "command",
    [
        ("score", "run", "--json"),
        ("report", "run", "--out"),
        ("compare", "run", "run", "--json"),
        ("audit", *LIMITED, "--json"),
        ("lint-tools", *LIMITED, "--json"),
    ],
)
def test_no_command_writes_over_a_runs_own_files(
    command: tuple[str, ...], name: str, run: Path, capsys: Capture
) -> None:
    before = files_of(run)
    assert "one of the files of the run in 'run'" in error_of(capsys, *command, str(run / name))
    assert files_of(run) == before


def test_no_command_writes_over_what_it_reads(run: Path, capsys: Capture) -> None:
    traces = Path("copied.html")
    traces.write_bytes((run / "traces.jsonl").read_bytes())
    os.link(traces, "linked.html")
    tools = Path("tools.json")
    tools.write_text('[{"name": "f"}]')
    before = files_of(Path())
    for out in ("copied.html", "./linked.html"):
        assert "that is what the command reads" in error_of(capsys, "report", "copied.html", "--out", out)
        assert "that is what the command reads" in error_of(capsys, "score", "copied.html", "--json", out)
    assert "that is what the command reads" in error_of(capsys, "lint-tools", "tools.json", "--json", "tools.json")
    assert files_of(Path()) == before


@pytest.mark.parametrize(
    "text", ["print('mine')\n", '{\n  "episodes": 5\n}\n', '{"questions": 3}', "<!doctype html>\n<p>"]
)
def test_no_command_writes_over_a_file_that_is_not_of_its_kind(text: str, run: Path, capsys: Capture) -> None:
    Path("precious").write_text(text)
    for command in (("score", "run", "--json"), ("report", "run", "--out"), ("audit", *LIMITED, "--json")):
        assert "there is something else" in error_of(capsys, *command, "precious")
        assert Path("precious").read_text() == text


def test_what_a_command_wrote_before_it_writes_again(run: Path, capsys: Capture) -> None:
    for command, out in (
        (("score", "run", "--json"), "score.json"),
        (("report", "run", "--out"), "report.html"),
        (("audit", *LIMITED, "--json"), "audit.json"),
        (("audit", *LIMITED, "--actor", "grounded", "--json"), "audit.json"),
        (("lint-tools", *LIMITED, "--json"), "lint.json"),
        (("compare", "run", "run", "--json"), "compared.json"),
    ):
        assert main([*command, out]) in (0, 1)
        before = os.stat(out).st_ino
        assert main([*command, out]) in (0, 1)
        assert os.stat(out).st_ino != before, command
    assert json.loads(Path("score.json").read_text())["episodes"] == 5
    capsys.readouterr()
    assert "there is something else" in error_of(capsys, "score", "run", "--json", "audit.json")


def test_an_empty_file_may_be_written_and_a_device_or_a_folder_may_not(run: Path, capsys: Capture) -> None:
    Path("empty.json").touch()
    assert main(["score", "run", "--json", "empty.json"]) == 0
    assert json.loads(Path("empty.json").read_text())["episodes"] == 5
    capsys.readouterr()
    assert "there is something else" in error_of(capsys, "score", "run", "--json", os.devnull)
    Path("folder").mkdir()
    assert "that is a folder; name a file in it" in error_of(capsys, "report", "run", "--out", "folder")
