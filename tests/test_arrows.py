"""Imports go one way: every import in the source, at whatever depth of a function, follows the table below."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A name may import the rows above its own, never the rows below. Names of one row import each other in no circle;
# in a row marked APART they do not import each other at all. A name is a module or a package with all it holds.
APART = "(apart)"
LAYERS = (
    # mtr_env: the rules, pure
    "errors extras memo question relations tool methods trace grammar contract metrics provenance reward reward_log "
    "draw text sentences version",
    "lint_tools",  # what frameworks take of a tool
    "llm",
    "store single_flight",  # entries on disk
    "recording",
    "toolmakers toolactors worlds " + APART,
    "episode",
    "env vector session collector rollout rows policies spaces transcript encoding world_files frozen",
    "registration",
    "__init__",  # what `import mtr_env` runs
    "adapters testing serving evaluate plugs audited audit audit_actor report world_build cli __main__",
    # the programs of the repository
    "agents",
    "train benchmarks",
)
PROGRAMS = ("agents", "train", "benchmarks")

# What `import mtr_env` may load beside the standard library, and a sample of what it must not.
CORE = {"gymnasium", "numpy", "jsonschema", "jsonschema_rs", "msgspec"}
NEVER_LOADED = {"torch", "transformers", "trl", "datasets", "openai", "httpx2", "bm25s", "tqdm", "pandas"} | {
    "gem",
    "openenv",
    "skyrl_gym",
}

LEVEL = {name: level for level, row in enumerate(LAYERS) for name in row.split()}
KEPT_APART = {name for row in LAYERS if APART in row for name in row.split()}


class Import(NamedTuple):
    file: str
    line: int
    source: str  # the importing module, dotted
    target: str  # the imported module, dotted; an attribute's name may follow
    at_load: bool  # run when the source is imported: outside functions and TYPE_CHECKING

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.source} imports {self.target}"


def unit(module: str) -> str | None:
    """The name of the table that a dotted module belongs to; None for other people's modules."""
    top, _, rest = module.partition(".")
    if top in PROGRAMS:
        return top
    if top != "mtr_env":
        return None
    name = rest.partition(".")[0]
    if name and not (ROOT / "mtr_env" / name).is_dir() and not (ROOT / "mtr_env" / f"{name}.py").is_file():
        name = ""  # `from mtr_env import MTREnv`: what __init__ exports
    return name or "__init__"


def targets(node: ast.Import | ast.ImportFrom, package: list[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = package[: len(package) - node.level + 1] if node.level else []
    start = ".".join([*base, *([node.module] if node.module else [])])
    return [f"{start}.{alias.name}" for alias in node.names]


def walk(node: ast.AST, at_load: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_load
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from walk(child, at_load and not later and not typing_only)


def test_of_the_tool_actors_only_the_guard_reads_the_gold() -> None:
    gold = {"answer", "aliases", "golds", "evidence", "decomposition"}
    for file in (ROOT / "mtr_env/toolactors").glob("*.py"):
        read = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        assert not read & gold or file.name in ("guard.py", "llm.py"), file
    source = (ROOT / "mtr_env/toolactors/llm.py").read_text()
    assert source.count(".golds") == source.count("guard.golds(") == 1, "for gold_hint, by the guard's function"


def imports(file: Path) -> list[Import]:
    relative = file.relative_to(ROOT)
    parts = list(relative.with_suffix("").parts)
    package = parts[:-1]
    source = ".".join(package if parts[-1] == "__init__" else parts)
    tree = ast.parse(file.read_text(encoding="utf-8"), str(relative))
    return [
        Import(str(relative), node.lineno, source, target, at_load)
        for node, at_load in walk(tree)
        for target in targets(node, package)
    ]


def all_imports() -> list[Import]:
    return [i for top in ("mtr_env", *PROGRAMS) for file in sorted((ROOT / top).rglob("*.py")) for i in imports(file)]


def between_units() -> list[tuple[Import, str, str]]:
    """Our imports of our own modules, with both units; within one unit everything goes."""
    pairs = [(i, unit(i.source), unit(i.target)) for i in all_imports()]
    return [(i, source, target) for i, source, target in pairs if source and target and source != target]


def test_every_module_has_its_place_in_the_table() -> None:
    files = [path for path in (ROOT / "mtr_env").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))]
    unknown = sorted({path.stem for path in files} - LEVEL.keys() - {"__pycache__"})
    assert not unknown, f"mtr_env has modules without a layer: {unknown}. Add each to LAYERS in tests/test_arrows.py."


def test_imports_go_up_the_table_only() -> None:
    wrong = [
        str(i)
        for i, source, target in between_units()
        if source in LEVEL
        and (LEVEL.get(target, -1) > LEVEL[source] or (LEVEL.get(target) == LEVEL[source] and source in KEPT_APART))
    ]
    assert not wrong, "against the arrows:\n" + "\n".join(wrong)


def test_imports_run_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for _, source, target in between_units():
        graph.setdefault(source, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(reversed(error.args[1]))}")


def adapter(module: str) -> str:
    """The adapter of a module below mtr_env.adapters; `trl_spec` is a second form of `trl`."""
    return module.split(".")[2].partition("_")[0]


def test_adapters_do_not_import_each_other() -> None:
    wrong = [
        str(i)
        for i in all_imports()
        if i.source.startswith("mtr_env.adapters.")
        and i.target.startswith("mtr_env.adapters.")
        and adapter(i.source) != adapter(i.target)
    ]
    assert not wrong, "\n".join(wrong)


def test_extras_are_imported_inside_functions() -> None:
    """But for an adapter's own framework, whose base class it inherits."""
    allowed = CORE | sys.stdlib_module_names | {"mtr_env"}
    wrong = [
        str(i)
        for i in all_imports()
        if i.at_load
        and i.source.partition(".")[0] == "mtr_env"
        and not i.source.startswith("mtr_env.adapters.")
        and i.target.partition(".")[0] not in allowed
    ]
    assert not wrong, "only the core dependencies may be imported at the top of a module:\n" + "\n".join(wrong)


def test_importing_mtr_env_loads_no_extra() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, mtr_env; print(*sys.modules)"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert NEVER_LOADED.isdisjoint(loaded), sorted(NEVER_LOADED.intersection(loaded))


@pytest.mark.parametrize(
    ("statement", "package", "expected"),
    [
        ("import mtr_env.worlds.base", [], ["mtr_env.worlds.base"]),
        ("from mtr_env import draw, make", [], ["mtr_env.draw", "mtr_env.make"]),
        ("from . import base", ["mtr_env", "worlds"], ["mtr_env.worlds.base"]),
        ("from ..toolmakers.llm import X", ["mtr_env", "worlds"], ["mtr_env.toolmakers.llm.X"]),
    ],
)
def test_imports_are_read_absolute_and_relative(statement: str, package: list[str], expected: list[str]) -> None:
    node = ast.parse(statement).body[0]
    assert isinstance(node, ast.Import | ast.ImportFrom)
    assert targets(node, package) == expected
