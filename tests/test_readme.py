"""The examples of the README and of docs/ are run as a reader would run them.

In the order of the page, in one temporary folder each: ```python blocks in one namespace, and from ```console blocks
the commands (`$ …`) that start with `mtr-env` or pipe into it, whose output must be the one shown (`...` stands for
anything). Commands that set up or take long are only looked up: make targets, extras; and parsed by their programs
(tests/test_docs.py). A command in an indented block would be seen by nobody, so none may stand in one.
A block under the line `<!-- not run: reason -->` is not run here; the reason names the test that does, but for NOWHERE.
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
PAGES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md")))
RUN = re.compile(r"(printf .*\| )?mtr-env ")  # the commands that are run
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n\n?)?```(python|console)\n(.*?)^```$", re.M | re.S)
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
UNREAD = re.compile(
    r"(?: {4}|\t)\s*(?:\$ |(?:mtr-env|python3?|pip|make|export|accelerate|inspect|vf-\w+|uv|git) |\w+=\S)"
)

NOWHERE = {  # reasons of the blocks that no test runs, by page; tests/test_docs.py lets their programs parse them
    "docs/adapters/trl.md": ["it needs a GPU server"],
    "docs/agents.md": ["it needs a paid model and GPUs"],  # tests/test_chain.py runs the same on the tiny model
}
NOT_HERE = {  # commands that no block is marked for, and why they are not run as they stand
    "pip install ": "it sets up: the extras are looked up below, and make installs them",
    "make ": "it sets up, or takes long: the targets are looked up below",
    "inspect ": "it needs a paid model: tests/test_adapter_inspect.py runs it against one on loopback",
    "python -m mtr_env serve ": "it serves until it is stopped: tests/test_serve.py, tests/test_adapter_mcp.py",
    "vf-": "another environment: tests/test_adapter_verifiers.py runs both programs",
    "python -m verl.": "it needs a GPU server",
    "accelerate launch ": "it needs several GPUs",
    "python -m torch.distributed.run ": "it takes long: tests/test_training_lora.py starts two processes",
    "python -m train.": "it takes long: tests/test_training.py runs the programs on tiny models",
    "python -m benchmarks.": "it takes long: the programs have tests of their own; tests/test_docs.py parses it",
}


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of the code's first line, counted from 1
    run: bool
    reason: str  # why it is not run


class Command(NamedTuple):
    text: str
    output: str


class Page(NamedTuple):
    name: str
    text: str


def blocks(page: str) -> list[Block]:
    return [
        Block(m[2], m[3], page.count("\n", 0, m.start(3)) + 1, m[1] is None, (m[1] or "").strip()[14:-4])
        for m in BLOCK.finditer(page)
    ]


def commands(block: Block, page: str) -> list[Command]:
    joined = block.code.replace("\\\n", " ")
    before, *prompts = re.split(r"^\$ ", joined, flags=re.M)
    assert prompts and not before.strip(), f"{page}:{block.line}: a console block begins with '$ ' and a command"
    return [Command(*prompt.partition("\n")[::2]) for prompt in prompts]


def run_command(command: Command, folder: Path, where: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command.text, shell=True, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    where = f"{where}: $ {command.text}"
    assert done.returncode == 0, f"{where}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    as_shown = doctest.OutputChecker().check_output(command.output, done.stdout, flags)
    assert as_shown or not command.output.strip(), f"{where}\nshown:\n{command.output}\nprinted:\n{done.stdout}"


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(request.param, (ROOT / request.param).read_text(encoding="utf-8"))


def test_every_example_of_a_page_runs(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # dataclasses and pickle look their module up
    monkeypatch.chdir(tmp_path)
    runnable = [block for block in blocks(page.text) if block.run]
    for block in runnable:
        if block.language == "python":
            padded = "\n" * (block.line - 1) + block.code  # so that a traceback names the page's lines
            exec(compile(padded, str(ROOT / page.name), "exec"), module.__dict__)
        else:
            for command in commands(block, page.name):
                if RUN.match(command.text):
                    run_command(command, tmp_path, f"{page.name}:{block.line}")


def test_the_readme_shows_a_python_example() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert any(block.language == "python" and block.run for block in blocks(text))


def test_the_readme_or_the_sites_first_page_links_every_page() -> None:
    readme, first = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/index.md")]
    pages = [name.removeprefix("docs/") for name in PAGES[1:] if name.count("/") == 1] + ["adapters/README.md"]
    assert [name for name in pages if f"(docs/{name})" not in readme and f"({name})" not in first + "(index.md)"] == []


def test_the_page_of_adapters_links_every_other() -> None:
    text = (ROOT / "docs/adapters/README.md").read_text(encoding="utf-8")
    names = [path.name for path in ROOT.glob("docs/adapters/*.md") if path.name != "README.md"]
    assert [name for name in names if f"({name})" not in text] == []


def test_the_example_of_every_adapters_page_is_run_by_make_pages() -> None:
    pages = {path.stem for path in ROOT.glob("docs/adapters/*.md")} - {"README"}
    files = {path.stem.removeprefix("test_adapter_"): path for path in ROOT.glob("tests/test_adapter_*.py")}
    marked = {name for name, path in files.items() if "pytest.mark.page" in path.read_text(encoding="utf-8")}
    assert {name.removesuffix("_page") for name in marked} == pages
    lists = re.findall(r"^(?:PAGES|APART) := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert {name for names in lists for name in names.split()} == marked


def test_the_first_example_of_every_adapters_page_has_at_most_15_lines() -> None:
    long = {}
    for path in ROOT.glob("docs/adapters/*.md"):
        first, *_ = [block for block in blocks(path.read_text(encoding="utf-8")) if block.language == "python"]
        lines = [line for line in first.code.splitlines() if line.strip()]
        long |= {path.name: len(lines)} if len(lines) > 15 else {}
    assert long == {}


def test_a_block_that_is_not_run_here_names_the_test_that_runs_it_or_stands_among_those_that_none_runs(
    page: Page,
) -> None:
    left_out = []
    for block in blocks(page.text):
        if not block.run:
            named = re.search(r"; (tests/test_\w+\.py) runs it\b", block.reason)
            if named is None:
                left_out.append(block.reason)
            else:
                test = (ROOT / named[1]).read_text(encoding="utf-8")
                assert page.name in test, f"{page.name}:{block.line}: {named[1]} does not read the page"
    assert left_out == NOWHERE.get(page.name, [])


def test_a_command_that_is_not_run_is_of_a_kind_that_says_why(page: Page) -> None:
    for block in blocks(page.text):
        if block.language == "console" and block.run:
            for command in commands(block, page.name):
                known = RUN.match(command.text) or command.text.startswith((*NOT_HERE,))
                assert known, f"{page.name}:{block.line}: $ {command.text} is run by no test, and nothing says why"


def indented_commands(text: str) -> list[str]:
    """The commands of a page that stand in indented blocks, each with its line."""
    rest = FENCED.sub(lambda block: "\n" * block[0].count("\n"), text).splitlines()
    return [f"{number}: {line.strip()}" for number, line in enumerate(rest, 1) if UNREAD.match(line)]


@pytest.mark.parametrize("name", [*PAGES, "CONTRIBUTING.md", "train/README.md"])
def test_no_command_stands_in_an_indented_block(name: str) -> None:
    assert indented_commands((ROOT / name).read_text(encoding="utf-8")) == []


def test_a_command_in_an_indented_block_is_found_and_code_or_a_formula_is_not() -> None:
    page = "```console\n    $ mtr-env list\n```\n\n    R = answer x 1\n    mtr_env/\n\n    A=1\n    mtr-env list\n"
    assert indented_commands(page) == ["8: A=1", "9: mtr-env list"]


def test_every_python_example_that_is_not_run_can_at_least_be_parsed(page: Page) -> None:
    for block in blocks(page.text):
        if block.language == "python" and not block.run:
            ast.parse(block.code, f"{page.name}:{block.line}")


def test_a_page_names_only_targets_programs_and_extras_that_exist(page: Page) -> None:
    consoles = [block for block in blocks(page.text) if block.language == "console"]
    text = "\n".join(c.text for block in consoles for c in commands(block, page.name))
    targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.M))
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    programs = [
        m.replace(".", "/") for m in re.findall(r"python3? -m ((?:mtr_env|agents|train|benchmarks)[\w.]*)", text)
    ]
    named_extras = {e for group in re.findall(r"(?:mtr-env|\.)\[([\w,-]+)\]", text) for e in group.split(",")}
    assert set(re.findall(r"\bmake ([\w.-]+)", text)) <= targets
    assert named_extras <= extras
    assert [p for p in programs if not (ROOT / f"{p}.py").exists() and not (ROOT / p / "__main__.py").exists()] == []


def mapped(text: str) -> set[str]:
    """The modules in the map of docs/code.md, as paths: an entry's first column, and the files in its remark."""
    found: set[str] = set()
    folders: list[str] = []
    here = ""
    for line in text.splitlines():
        if not line.startswith("    "):
            continue
        depth = (len(line) - len(line.lstrip())) // 2 - 2
        entry, _, remark = line.strip().partition("  ")
        if depth <= 4:  # else it is a remark that goes on
            del folders[depth:]
            here = "/".join(folders)
            found |= {f"{here}/{name}".strip("/") for name in entry.split(", ")}
            if entry.endswith("/"):
                folders.append(entry.rstrip("/"))
                here = "/".join(folders)
        else:
            remark = line
        found |= {f"{here}/{name}" for name in re.findall(r"\w+\.py", remark)}
    return {path for path in found if path.endswith(".py")}


def test_every_module_stands_in_the_map() -> None:
    text = (ROOT / "docs/code.md").read_text(encoding="utf-8")
    packages = ("mtr_env", "agents", "train", "benchmarks")
    files = {path.relative_to(ROOT).as_posix() for name in packages for path in (ROOT / name).rglob("*.py")}
    assert mapped(text) == {path for path in files if not path.endswith(("__init__.py", "__main__.py"))}
