"""Randomness as a function: the same key gives the same number on every machine and Python version.

A stream of random numbers depends on how many draws came before; a function of a key does not. So memo hits,
batching, the order of asynchronous calls, and ``PYTHONHASHSEED`` change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

Item = TypeVar("Item")
Key = str | int

_SCALE = 2.0**-53


def bits(*key: Key) -> int:
    """64 random bits, a pure function of ``key`` (strings and integers of any size).

    >>> bits("noise", 7) == bits("noise", 7), bits("noise", 7) == bits("noise", "7")
    (True, False)
    """
    text = "\x1f".join([_escaped(part) if type(part) is str else f"\x1e{part}" for part in key])
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _escaped(part: str) -> str:
    """Text in which the separators do not occur, so that no two keys are written alike."""
    if "\x1e" in part or "\x1f" in part:
        part = part.replace("\x1e", "\x1e_").replace("\x1f", "\x1e:")
    return part


SEEDS_PER_STEP = 2**40


def group_seed(seed: int, step: int, question_id: str) -> int:
    """The episode seed of a group of rollouts in a training: the optimisation step times :data:`SEEDS_PER_STEP`, and a
    random number below that. So what depends on where an episode's seed lies depends on how far the training is.

    >>> group_seed(0, 7, "question") // SEEDS_PER_STEP
    7
    """
    return step * SEEDS_PER_STEP + (bits("group", seed, step, question_id) >> 24)


def uniform(*key: Key) -> float:
    """A number in [0, 1), a pure function of ``key``."""
    return (bits(*key) >> 11) * _SCALE


def below(n: int, *key: Key) -> int:
    """An integer in [0, n), a pure function of ``key``; ``n`` is at least 1 and far below 2**64.

    >>> all(0 <= below(6, "die", i) < 6 for i in range(100))
    True
    """
    return bits(*key) * n >> 64


def choice(items: Sequence[Item], *key: Key) -> Item:
    """One of ``items``, which is not empty."""
    return items[below(len(items), *key)]


def shuffled(items: Sequence[Item], *key: Key) -> list[Item]:
    """The items in a random order that depends on ``key`` only.

    >>> shuffled("abc", 1) == shuffled("abc", 1), sorted(shuffled("abc", 1))
    (True, ['a', 'b', 'c'])
    """
    return [items[i] for i in sorted(range(len(items)), key=lambda i: (bits(*key, i), i))]
