"""The words of names, exchanged: what a policy has to read it cannot know by heart.

The names of the synthetic world are made of few words, and its splits share the words, not the names. A small model
learns which words follow each other in the names that it sees, and then guesses a name from its first word. In rows
whose words are exchanged at random no word says which one follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from random import Random

from mtr_env.worlds.synthetic_words import NAME_WORDS, names
from train.tokenizer import build


def exchange(ids: Sequence[int], pick: Random) -> dict[int, int]:
    """For each word of names among the tokens of a row (of :func:`train.tokenizer.build`) another one, the same
    everywhere in the row. No name of a split other than ``train`` comes of it."""
    words, elsewhere = _words_of_names()
    found = sorted({token for token in ids if token in words})
    while True:
        to = dict(zip(found, pick.sample(sorted(words), len(found)), strict=True))
        if elsewhere.isdisjoint(pairwise([to[token] for token in ids if token in words])):
            return to


@cache
def _words_of_names() -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
    """The tokens of the words of names, and the two tokens of each name of the splits other than ``train``."""
    tokenizer = build()

    def tokens(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(" ".join(word for word in text.split() if word not in ("The", "of", "&"))))

    others = [name for split, kinds in names().items() if split != "train" for kind in kinds.values() for name in kind]
    return frozenset(tokens(" ".join(NAME_WORDS))), frozenset(pair for pair in map(tokens, others) if len(pair) == 2)
