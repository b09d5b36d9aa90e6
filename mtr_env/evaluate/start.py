"""Where and when a run was started: what ``run.json`` keeps beside what is played."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from mtr_env.llm.endpoint import without_credentials
from mtr_env.version import __version__


class Machine(Struct, frozen=True):
    """What a run ran on. ``accelerator`` is the first CUDA device where PyTorch was loaded and has one."""

    python: str
    system: str
    processors: int | None
    accelerator: str | None = None


class Start(Struct, frozen=True):
    """One start of a run: ``date`` in UTC, ``commit`` of the checkout that the package lies in, with ``-dirty`` where
    it was changed since; ``None`` where it lies in none."""

    date: str
    command: tuple[str, ...]
    version: str
    commit: str | None
    machine: Machine


def start_now(command: Sequence[str]) -> Start:
    """A start at this moment; credentials in the command's addresses are left out."""
    return Start(
        datetime.now(UTC).isoformat(timespec="seconds"),
        tuple(map(without_credentials, command)),
        __version__,
        _commit(Path(__file__).resolve().parents[1]),
        Machine(platform.python_version(), platform.platform(), os.cpu_count(), _accelerator()),
    )


def _commit(package: Path) -> str | None:
    """The commit that this folder is a part of; a checkout that merely has it inside (a ``.venv``) does not count."""
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *command: str) -> str | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _accelerator() -> str | None:
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name(0)) if torch is not None and torch.cuda.is_available() else None
