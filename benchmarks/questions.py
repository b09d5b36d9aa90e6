"""The questions that `benchmarks.worlds` and `benchmarks.policies` play: one source for each of the five worlds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mtr_env.episode import Game
from mtr_env.registration import DATASETS, ENV_IDS, SYNTHETIC, make_game

DATA = Path("../shared/data")
FILE = "dev_shared.jsonl"


class Questions(NamedTuple):
    """Options of `make_game` that choose a world's questions, and what a table calls these."""

    env_id: str
    label: str
    options: dict[str, Any]

    def game(self) -> Game:
        """A game of its own: nothing that another one has remembered serves it."""
        return make_game(self.env_id, **self.options)


def choose(env_id: str, limit: int | None = None, data: Path = DATA) -> Questions:
    """The public development questions of a data set if ``data`` has them, else the bundled sample, and the label says
    which. Bamboogle is always the sample: upstream has nothing that tools could answer from."""
    if env_id == SYNTHETIC:
        return Questions(env_id, "procedural, split test", {"split": "test", "limit": limit or 500})
    file = data / DATASETS[env_id] / FILE
    if file.exists() and env_id != "MTR-Bamboogle-v0":
        return Questions(env_id, "public development questions", {"source": file, "limit": limit})
    return Questions(env_id, "bundled sample", {"split": "sample", "limit": limit})


def every(limit: int | None = None, data: Path = DATA) -> list[Questions]:
    """The questions of all five worlds."""
    return [choose(env_id, limit, data) for env_id in ENV_IDS]
