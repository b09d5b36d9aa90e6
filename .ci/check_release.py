"""Checks what is about to be published: `python .ci/check_release.py dist`, after .ci/check_wheel.py.

1. The folder holds one sdist and one wheel, both of the version in mtr_env/version.py.
2. The sdist holds the package as git tracks it, what its build needs, and nothing else.
3. CHANGELOG.md says what the version is: with a dated section of its own and nothing under *Unreleased* it is ready to
   be tagged; without a section this was a rehearsal; a version that has one is not built again with other contents.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}


def version() -> str:
    return re.search(r'__version__ = "(.+)"', (ROOT / "mtr_env" / "version.py").read_text())[1]


def check_names(folder: Path) -> None:
    found = sorted(path.name for path in folder.iterdir())
    expected = [f"mtr_env-{version()}-py3-none-any.whl", f"mtr_env-{version()}.tar.gz"]
    if found != expected:
        sys.exit(f"{folder} holds {', '.join(found) or 'nothing'}; expected {' and '.join(expected)}")


def check_sdist(path: Path, tracked: set[str]) -> None:
    """``tracked`` are the package's files; folders of the sdist do not count."""
    with tarfile.open(path) as sdist:
        files = {member.name.partition("/")[2] for member in sdist if not member.isdir()}
    files = {name for name in files if not name.startswith("mtr_env.egg-info/")}
    if foreign := sorted(files - tracked - BESIDE):
        sys.exit(f"the sdist holds what is no part of the package: {', '.join(foreign)} (see MANIFEST.in)")
    if missing := sorted((tracked | BESIDE) - files):
        sys.exit(f"the sdist lacks {', '.join(missing)}")


def standing(changelog: str, number: str) -> str:
    """What the changelog makes of this version. Raises ``SystemExit`` for one that must not be built."""
    sections = dict(re.findall(r"^## \[([^\]]+)\][^\n]*\n(.*?)(?=^## \[|\Z)", changelog, re.M | re.S))
    dated = re.search(rf"^## \[{re.escape(number)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M)
    if number not in sections:
        return f"a rehearsal: CHANGELOG.md has no section [{number}] yet (CONTRIBUTING.md, Releasing)"
    if not dated:
        sys.exit(f"the heading of [{number}] in CHANGELOG.md has no date: ## [{number}] - YYYY-MM-DD")
    if sections.get("Unreleased", "").strip():
        sys.exit(f"{number} has its section in CHANGELOG.md, and there are changes after it: raise mtr_env/version.py")
    return f"ready to be tagged v{number}"


def main() -> None:
    folder = Path(sys.argv[1])
    check_names(folder)
    listed = subprocess.run(["git", "ls-files", "mtr_env"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    check_sdist(folder / f"mtr_env-{version()}.tar.gz", set(listed.split()))
    print(f"mtr-env {version()} is built and checked: {standing((ROOT / 'CHANGELOG.md').read_text(), version())}")


if __name__ == "__main__":
    main()
