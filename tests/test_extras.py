"""A missing package is named with the extra that has it, and with the command that installs it."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

from mtr_env.extras import install, needed

ROOT = Path(__file__).resolve().parents[1]
ADAPTERS = {
    "gem": ("gem", "gem"),
    "inspect": ("inspect_ai", "inspect"),
    "mcp": ("mcp", "mcp"),
    "openenv": ("openenv", "openenv"),
    "skyrl": ("skyrl_gym", "skyrl"),
    "trl_session": ("openenv", "openenv"),
    "verifiers": ("verifiers", "verifiers"),
    "verl": ("verl", "verl"),
}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_without_its_framework_names_the_extra(adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, extra = ADAPTERS[adapter]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"mtr_env.adapters.{adapter}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs \w+.*, which is not installed: pip .* -e '\.\[{extra}\]'"):
        importlib.import_module(f"mtr_env.adapters.{adapter}")


def test_every_extra_that_is_named_exists_and_so_do_its_constraints() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in {extra for _, extra in ADAPTERS.values()} | {"data", "llm", "train"}:
        assert extra in extras
        assert (ROOT / install(extra).split()[3]).is_file()


def test_what_an_import_raises_otherwise_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), needed("data", "This"):
        raise ZeroDivisionError
