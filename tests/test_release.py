"""What `.ci/check_release.py` lets through."""

from __future__ import annotations

import importlib.util
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = ("mtr_env/__init__.py", "mtr_env.egg-info/SOURCES.txt")


def load() -> Any:
    spec = importlib.util.spec_from_file_location("check_release", ROOT / ".ci" / "check_release.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load()


def test_a_version_with_a_dated_section_and_nothing_after_it_is_ready() -> None:
    text = "## [Unreleased]\n\n## [1.2.0] - 2027-01-31\n\n- All.\n"
    assert check.standing(text, "1.2.0") == "ready to be tagged v1.2.0"


def test_without_a_section_it_is_a_rehearsal_whatever_else_was_released() -> None:
    for text in ("## [Unreleased]\n\n- All.\n", "## [Unreleased]\n- x\n## [1.2.0] - 2027-01-31\n- y\n"):
        assert check.standing(text, "1.3.0").startswith("a rehearsal")


def test_a_released_version_is_not_built_again_with_later_changes() -> None:
    with pytest.raises(SystemExit, match=r"changes after it: raise mtr_env/version\.py"):
        check.standing("## [Unreleased]\n\n### Fixed\n\n- x\n\n## [1.2.0] - 2027-01-31\n\n- All.\n", "1.2.0")


def test_a_section_without_a_date_is_refused() -> None:
    with pytest.raises(SystemExit, match="has no date"):
        check.standing("## [Unreleased]\n\n## [1.2.0]\n\n- All.\n", "1.2.0")


def test_the_changelog_as_it_is_can_be_read() -> None:
    assert check.standing((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), check.version())


def sdist(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(f"mtr_env-1.0/{name}"), io.BytesIO())
    return path


def test_an_sdist_holds_the_package_and_what_builds_it(tmp_path: Path) -> None:
    check.check_sdist(sdist(tmp_path / "a.tar.gz", *FILES, *check.BESIDE), {"mtr_env/__init__.py"})


@pytest.mark.parametrize("foreign", ["tests/test_x.py", "mtr_env/left_over.py", "runs/traces.jsonl"])
def test_an_sdist_with_anything_else_is_refused_by_its_name(tmp_path: Path, foreign: str) -> None:
    path = sdist(tmp_path / "a.tar.gz", *FILES, *check.BESIDE, foreign)
    with pytest.raises(SystemExit, match=foreign):
        check.check_sdist(path, {"mtr_env/__init__.py"})


def test_an_sdist_without_a_tracked_file_is_refused(tmp_path: Path) -> None:
    path = sdist(tmp_path / "a.tar.gz", *FILES, *check.BESIDE)
    with pytest.raises(SystemExit, match=r"lacks mtr_env/env\.py"):
        check.check_sdist(path, {"mtr_env/__init__.py", "mtr_env/env.py"})


def test_a_folder_with_another_version_beside_is_refused(tmp_path: Path) -> None:
    for name in ("mtr_env-0.0.0.tar.gz", f"mtr_env-{check.version()}.tar.gz"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match=r"holds mtr_env-0\.0\.0\.tar\.gz"):
        check.check_names(tmp_path)
