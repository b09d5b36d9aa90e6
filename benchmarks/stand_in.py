"""A stand-in for a model that plays tools, on loopback: it shows that a path works, not how good a model is.

It answers as the question's evidence does, but for a known share of mistakes, drawn for each prompt: a field that says
something else, and a first try that breaks the tool's schema and is asked for again. For `benchmarks.sim_to_real`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mtr_env.worlds.base import World, questions
from tests.chat_server import ChatServer
from tests.simulated_model import Careless

MODEL = "stand-in"
WRONG, INVALID = 0.10, 0.05
LABEL = (
    f"a stand-in for a model, on loopback, wrong in {WRONG:.0%} of the fields: "
    "it shows that the path works, not how good a model is"
)


@contextmanager
def served(world: World) -> Iterator[str]:
    """The URL of a server that plays the tools of these questions, for as long as the ``with`` block."""
    with ChatServer(Careless(list(questions(world)), wrong=WRONG, invalid=INVALID)) as server:
        yield server.url
