"""The README's examples are run as a reader would run them.

In the order of the page, in one temporary folder: ```python blocks in one namespace, and from ```console blocks the
commands (`$ …`) that start with `mtr-env`, whose output must be the one shown (`...` stands for anything). Commands
that set up or take long are only looked up: make targets, `python -m` programs, extras.
A block under the line `<!-- not run: reason -->` is not run.
"""

from __future__ import annotations

import ast
import doctest
import os
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n\n?)?```(python|console)\n(.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of the code's first line, counted from 1
    run: bool


class Command(NamedTuple):
    text: str
    output: str


def blocks(page: str) -> list[Block]:
    return [Block(m[2], m[3], page.count("\n", 0, m.start(3)) + 1, run=m[1] is None) for m in BLOCK.finditer(page)]


def commands(block: Block) -> list[Command]:
    joined = block.code.replace("\\\n", " ")
    before, *prompts = re.split(r"^\$ ", joined, flags=re.M)
    assert prompts and not before.strip(), f"README.md:{block.line}: a console block begins with '$ ' and a command"
    return [Command(*prompt.partition("\n")[::2]) for prompt in prompts]


def run_command(command: Command, folder: Path, line: int) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command.text, shell=True, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    where = f"README.md:{line}: $ {command.text}"
    assert done.returncode == 0, f"{where}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    as_shown = doctest.OutputChecker().check_output(command.output, done.stdout, flags)
    assert as_shown or not command.output.strip(), f"{where}\nshown:\n{command.output}\nprinted:\n{done.stdout}"


@pytest.fixture
def page() -> str:
    return README.read_text(encoding="utf-8")


def test_every_example_of_the_readme_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)  # dataclasses and pickle look their module up
    monkeypatch.chdir(tmp_path)
    runnable = [block for block in blocks(page) if block.run]
    assert any(block.language == "python" for block in runnable), "README.md shows no python example that can be run"
    for block in runnable:
        if block.language == "python":
            padded = "\n" * (block.line - 1) + block.code  # so that a traceback names README's lines
            exec(compile(padded, str(README), "exec"), module.__dict__)
        else:
            for command in commands(block):
                if command.text.startswith("mtr-env"):
                    run_command(command, tmp_path, block.line)


def test_every_python_example_that_is_not_run_can_at_least_be_parsed(page: str) -> None:
    for block in blocks(page):
        if block.language == "python" and not block.run:
            ast.parse(block.code, f"README.md:{block.line}")


def test_the_readme_names_only_targets_programs_and_extras_that_exist(page: str) -> None:
    text = "\n".join(c.text for block in blocks(page) if block.language == "console" for c in commands(block))
    targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.M))
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    programs = [
        m.replace(".", "/") for m in re.findall(r"python3? -m ((?:mtr_env|agents|train|benchmarks)[\w.]*)", text)
    ]
    named_extras = {e for group in re.findall(r"(?:mtr-env|\.)\[([\w,-]+)\]", text) for e in group.split(",")}
    assert set(re.findall(r"\bmake ([\w.-]+)", text)) <= targets
    assert named_extras <= extras
    assert [p for p in programs if not (ROOT / f"{p}.py").exists() and not (ROOT / p / "__main__.py").exists()] == []
