"""What several test files share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a test or a file that is skipped fails the run")


def pytest_sessionstart(session: pytest.Session) -> None:
    # A shell that starts pytest in the background lets it ignore SIGINT, and with it every program that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """The path of a real data file, e.g. `shared_data("hotpotqa/dev_shared.jsonl")`; skips where there are none."""

    def path(relative: str) -> Path:
        if not SHARED_DATA.is_dir():
            pytest.skip("../shared/data is absent")
        found = SHARED_DATA / relative
        assert found.exists(), f"../shared/data exists but holds no {relative}"
        return found

    return path


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights and the tokenizer of `train/base`; skips without the extra `train`."""
    pytest.importorskip("trl", reason="the train extra is not installed (pip install -e '.[train]')")
    from train import pretrain

    out = tmp_path_factory.mktemp("model")
    pretrain.main(
        ["--steps", "1", "--copying", "0", "--batch-tokens", "640", "--width", "32", "--layers", "2", "--out", str(out)]
    )
    return out
