"""Checks a built wheel: `python .ci/check_wheel.py dist/mtr_env-0.1.0-py3-none-any.whl`.

1. It holds every file of mtr_env/ and, beside its dist-info, nothing else.
2. It requires the five core dependencies and no more.
3. In a fresh environment with those alone, mtr_env imports, the oracle earns reward 1.0 in an episode of each world,
   and the command `mtr-env` plays and scores a run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
CORE = {"gymnasium", "numpy", "jsonschema", "jsonschema-rs", "msgspec"}

# The environment has no pip and no setuptools, so whatever loads is the wheel, the core dependencies or theirs.
PROBE = """
import sys
import mtr_env
import gymnasium as gym
from mtr_env.policies import make_policy
from mtr_env.rollout import play

assert mtr_env.__file__.startswith(sys.prefix), f"mtr_env came from {mtr_env.__file__}, not from the wheel"
for env_id in mtr_env.ENV_IDS:
    env = gym.make(env_id).unwrapped
    trace = play(env, make_policy("oracle"), seed=0)
    assert mtr_env.score(trace).total == 1.0, (env_id, mtr_env.score(trace))
"""
RUN = "run MTR-HotpotQA-v0 --split sample --policy first-search --episodes 3 --out run --quiet".split()


def check_contents(wheel: ZipFile) -> None:
    files = {name for name in wheel.namelist() if not name.endswith("/")}
    inside = {name for name in files if not name.split("/")[0].endswith(".dist-info")}
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mtr_env").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if foreign := sorted(inside - source):
        sys.exit(f"the wheel holds files that mtr_env/ does not: {', '.join(foreign)}")
    if missing := sorted(source - inside):
        sys.exit(
            f"the wheel lacks {', '.join(missing)}; a data file belongs into [tool.setuptools.package-data] "
            "of pyproject.toml, a package needs an __init__.py"
        )


def check_requirements(wheel: ZipFile) -> None:
    [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    requires = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist", [])
    core = {re.match(r"[\w.-]+", line).group() for line in requires if "extra ==" not in line}
    if core != CORE:
        sys.exit(f"the wheel requires {sorted(core)}; expected {sorted(CORE)}")


def check_install(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "venv", "bin", "python")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True)
        subprocess.run([*pip, "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(path)], check=True)
        command = python.with_name("mtr-env")
        for tried in ([python, "-I", "-c", PROBE], [command, *RUN], [command, "score", "run"]):
            if subprocess.run(tried, cwd=folder, stdout=subprocess.DEVNULL).returncode:
                sys.exit("the wheel does not work in a fresh environment with the core dependencies alone")


def main() -> None:
    path = Path(sys.argv[1]).resolve()
    with ZipFile(path) as wheel:
        check_contents(wheel)
        check_requirements(wheel)
    check_install(path)
    print(f"{path.name}: contents, requirements and a fresh install are as they should be")


if __name__ == "__main__":
    main()
