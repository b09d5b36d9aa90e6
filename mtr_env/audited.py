"""What the audits of a world and of a ToolActor both say: which game was audited, how, and for how long."""

from __future__ import annotations

import time
from typing import Any

from msgspec import Struct

from mtr_env.trace import Setup


class Audited(Struct, frozen=True, kw_only=True):
    """The last fields of an audit's report: a game's set-up, the first episode's seed and the time taken."""

    env_id: str
    split: str
    source: str
    fingerprint: str
    world: str
    tool_maker: str
    tool_actor: str
    """The audited one."""
    grammar: str
    rubric: str
    max_steps: int
    version: str
    seed: int
    seconds: float


def audited(setup: Setup, seed: int, started: float) -> dict[str, Any]:
    """The fields of :class:`Audited` for an audit that began when ``time.perf_counter`` said ``started``."""
    return {
        "env_id": setup.env_id,
        "split": setup.world.split,
        "source": setup.world.source,
        "fingerprint": setup.world.fingerprint,
        "world": setup.world.name,
        "tool_maker": setup.tool_maker,
        "tool_actor": setup.tool_actor,
        "grammar": setup.grammar,
        "rubric": setup.rubric,
        "max_steps": setup.max_steps,
        "version": setup.version,
        "seed": seed,
        "seconds": round(time.perf_counter() - started, 3),
    }
