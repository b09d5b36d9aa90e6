"""The traces of a report, packed: 2,000 of them in a file that a mail may carry.

Traces are deflated some at a time, so that the page opens only what somebody looks at. Within a chunk a tool is stored
once, and a question with its tools once in the whole file, where its first episode stands: several samples of a
question, or several runs over the same ones, cost little more than their steps.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from mtr_env.question import Question
from mtr_env.report.explain import Explanation
from mtr_env.tool import ToolSpec
from mtr_env.trace import Setup, Step, Trace

_CHUNK = 400_000  # bytes that are deflated together
_LETTERS = np.array([code for code in range(33, 127) if chr(code) not in "<>&"], np.uint8)
_BITS = 13  # two letters of 91 hold them, at 1.23 bytes a byte where base64 needs 1.33


class Packed(Struct, frozen=True):
    """A chunk as text without ``<``; ``size`` is the number of deflated bytes in it."""

    text: str
    size: int


class _Stage(Struct, frozen=True):
    """A question and its tools, as places in the chunk's list of tools."""

    question: Question
    maker: str
    notes: tuple[str, ...]
    tools: list[int]


class _Entry(Struct, frozen=True):
    """An episode; ``stage`` is the row whose entry holds it where that is an earlier one. ``tokens`` counts those that
    a trainer sampled at each step; they themselves are left out."""

    stage: _Stage | int
    setup: Setup
    seed: int
    steps: tuple[Step, ...]
    tokens: list[int] | None
    why: Explanation


class Chunks:
    """Takes episodes in the order of their rows; of those only the packed text is kept."""

    def __init__(self) -> None:
        self.packed: list[Packed] = []
        self.starts: list[int] = []
        """The row of each chunk's first episode."""
        self._stages: dict[bytes, int] = {}
        self._tools: dict[bytes, int] = {}
        self._entries: list[bytes] = []
        self._size = 0

    def add(self, row: int, trace: Trace, why: Explanation) -> None:
        """Adds the episode of a row."""
        if not self._entries:
            self.starts.append(row)
        digest = hashlib.sha256(msgspec.json.encode((trace.question, trace.toolset))).digest()
        first = self._stages.setdefault(digest, row)
        entry = _Entry(
            stage=self._stage(trace) if first == row else first,
            setup=trace.setup,
            seed=trace.seed,
            steps=tuple([replace(step, tokens=None) for step in trace.steps]),
            tokens=_tokens(trace),
            why=why,
        )
        self._entries.append(msgspec.json.encode(entry))
        self._size += len(self._entries[-1])
        if self._size > _CHUNK:
            self.close()

    def close(self) -> None:
        """Packs what was added since the last chunk; to be called after the last episode."""
        if not self._entries:
            return
        text = b'{"tools":[%s],"entries":[%s]}' % (b",".join(self._tools), b",".join(self._entries))
        self.packed.append(pack(text))
        self._entries.clear()
        self._tools.clear()
        self._size = 0

    def _stage(self, trace: Trace) -> _Stage:
        toolset = trace.toolset
        return _Stage(trace.question, toolset.maker, toolset.notes, [self._tool(tool) for tool in toolset.tools])

    def _tool(self, tool: ToolSpec) -> int:
        return self._tools.setdefault(msgspec.json.encode(tool), len(self._tools))


def _tokens(trace: Trace) -> list[int] | None:
    if all(step.tokens is None for step in trace.steps):
        return None
    return [0 if step.tokens is None else len(step.tokens.ids) for step in trace.steps]


def pack(data: bytes) -> Packed:
    """Deflated bytes as text: each two letters are a number of 13 bits, the letter of the higher part first.

    >>> pack(b"")
    Packed(text='NQ8^!!!!!#', size=8)
    """
    deflated = zlib.compress(data, 9)
    bits = np.unpackbits(np.frombuffer(deflated, np.uint8))
    padded: Any = np.concatenate([bits, np.zeros(-len(bits) % _BITS, np.uint8)]).reshape(-1, _BITS)
    numbers = padded @ (1 << np.arange(_BITS - 1, -1, -1))
    letters = np.stack([numbers // len(_LETTERS), numbers % len(_LETTERS)], axis=1)
    return Packed(_LETTERS[letters].tobytes().decode(), len(deflated))
