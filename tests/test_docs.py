"""What the pages of docs/ promise beside their examples: sections, an API of all public names, commands that parse.

Commands that take long are not run (tests/test_readme.py says why), but their programs read them: an option that was
renamed, a value that is no longer allowed and a recipe without the program's table are found here.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from string import Template
from typing import Any, NamedTuple

import pytest
from test_readme import FENCED, PAGES, ROOT, blocks, commands

from mtr_env.cli import parsers
from train import options

SECTIONS = (  # Gymnasium's, in its order
    "Description, Action Space, Observation Space, Starting State, Rewards, Episode End, Information, Arguments, "
    "Version History"
).split(", ")
IN_PROSE = re.compile(r"`(?:python -m )?((?:train|benchmarks)\.[a-z_]+(?: [^`]*)?)`")
IN_COMMENT = re.compile(r"^ +((?:python|accelerate|mtr-env) .*|\w+=\".*\")$", re.M)
OURS = ("agents", "benchmarks", "mtr_env", "train")


class Line(NamedTuple):
    """A command of one of our programs: ``mtr_env``, ``train.NAME`` or ``benchmarks.NAME``."""

    where: str
    program: str
    argv: list[str]


def ours(words: list[str]) -> tuple[str, list[str]] | None:
    """The program of ours that a command line starts, be it by way of another one, and its arguments."""
    for i, word in enumerate(words):
        if word == "mtr-env":
            return "mtr_env", words[i + 1 :]
        if i and words[i - 1] == "-m" and word.split(".")[0] in OURS:
            return word, words[i + 1 :]
    return None


def of_page(page: str) -> Iterator[Line]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in blocks(text):
        variables: dict[str, str] = {}
        for command in commands(block, page) if block.language == "console" else ():
            variables |= re.findall(r'^(\w+)="(.*)"$', command.text)
            found = ours(shlex.split(Template(command.text).safe_substitute(variables), comments=True))
            if found is not None:
                yield Line(f"{page}:{block.line}", *found)
    prose = FENCED.sub(lambda block: "\n" * block[0].count("\n"), text)
    for match in IN_PROSE.finditer(prose):
        program, *argv = shlex.split(match[1])
        if argv or match[0].startswith("`python"):  # else a module is named
            yield Line(f"{page}:{prose.count(chr(10), 0, match.start()) + 1}", program, argv)


def of_programs() -> Iterator[Line]:
    """What the programs' docstrings and the recipes' comments say of how they are started."""
    for path in sorted([*ROOT.glob("train/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("train/recipes/*.toml")]):
        text = path.read_text(encoding="utf-8")
        said = re.sub("^# ?", "", text, flags=re.M) if path.suffix == ".toml" else ast.get_docstring(ast.parse(text))
        variables: dict[str, str] = {}
        for command in IN_COMMENT.findall((said or "").replace("\\\n", " ")):
            variables |= re.findall(r'^(\w+)="(.*)"$', command)
            found = ours(shlex.split(Template(command).safe_substitute(variables), comments=True))
            if found is not None:
                yield Line(path.relative_to(ROOT).as_posix(), *found)


class Parsed(Exception):
    """The command line was understood."""


def parse_and_stop(*args: Any, parse: Callable[..., Any] = argparse.ArgumentParser.parse_args, **kwargs: Any) -> None:
    parse(*args, **kwargs)
    raise Parsed


def read_by_its_program(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the program parse its arguments, and do nothing else; raises what it raises when it cannot."""
    if line.program == "mtr_env":
        parsers.build().parse_args(line.argv)
        return
    try:
        program = importlib.import_module(line.program)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in OURS:
            raise
        pytest.skip(f"{line.program} needs {error.name} (pip install -e '.[train]')")
    if hasattr(program, "Args"):
        package, _, name = line.program.partition(".")
        options.parse(program.Args, name, "", line.argv, package)
    else:
        assert "parser.parse_args(" in inspect.getsource(program.main), f"{line.program} would be run"
        monkeypatch.setattr(sys, "argv", [line.program, *line.argv])
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        with pytest.raises(Parsed):
            program.main()


LINES = [*(line for page in (*PAGES, "train/README.md") for line in of_page(page)), *of_programs()]


def test_the_commands_of_the_documents_are_found() -> None:
    of = {line.program for line in LINES}
    assert {"mtr_env", "train.collect", "train.demo", "train.grpo", "benchmarks.policies", "benchmarks.models"} <= of
    places = {line.where.partition(":")[0] for line in LINES}  # fenced, in prose, of programs and of recipes
    assert {"README.md", "docs/training.md", "train/grpo.py", "train/recipes/qwen3-4b.toml"} <= places


@pytest.mark.filterwarnings("default")  # those of torch and transformers are not ours
@pytest.mark.parametrize("line", LINES, ids=[f"{line.where} {line.program}" for line in LINES])
def test_a_command_is_one_that_its_program_understands(
    line: Line, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        read_by_its_program(line, monkeypatch)
    except SystemExit as error:
        said = error.code if isinstance(error.code, str) else capsys.readouterr().err
        assert error.code == 0, f"{line.where}: {shlex.join([line.program, *line.argv])}\n{said}"  # 0: --help


@pytest.mark.parametrize(
    "line",
    [
        Line("", "train.grpo", ["--recipe", "tiny", "--no-such-option", "1"]),
        Line("", "train.grpo", ["--recipe", "nobody"]),
        Line("", "train.demo", ["--episodes", "many"]),
        Line("", "benchmarks.training", ["--no-such-option"]),
    ],
    ids=lambda line: shlex.join([line.program, *line.argv]),
)
def test_a_command_that_its_program_does_not_understand_is_found(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="2"):
        read_by_its_program(line, monkeypatch)


def test_every_worlds_page_has_gymnasiums_sections_in_their_order() -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("docs/worlds/*.md")}
    assert len(pages) == 5
    assert {name: re.findall(r"^## (.+)$", text, re.M) for name, text in pages.items()} == dict.fromkeys(
        pages, SECTIONS
    )


@pytest.mark.parametrize("package", ["evaluate", "report", "testing"])
def test_every_public_name_stands_on_a_page_of_the_api(package: str) -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("docs/api/*.md"))
    listed = dict(re.findall(r"^::: (\S+)((?:\n +.+)*)", pages, re.M))  # each module with its options
    tree = ast.parse((ROOT / "mtr_env" / package / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    where = {alias.name: str(node.module) for node in imports for alias in node.names}
    missing = []
    for name in importlib.import_module(f"mtr_env.{package}").__all__:
        chosen = listed.get(where[name])
        if chosen is None or ("members" in chosen and not re.search(rf"\b{name}\b", chosen)):
            missing.append(f"{where[name]}.{name}")
    assert missing == []


def test_code_in_a_docstring_of_the_api_is_indented() -> None:
    """What is not indented is prose to Markdown; a docstring needs a line of prose after its code to keep it so."""
    prose = []
    for path in ROOT.glob("mtr_env/**/*.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if re.search(r"^(from \S+ import |import \w+$|def \w+\(|mtr-env |python -m )", docstring, re.M):
            prose.append(path.relative_to(ROOT).as_posix())
    assert prose == []
