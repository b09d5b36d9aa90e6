"""Finding a name or an answer in a text: where does it stand, however it is written?"""

from __future__ import annotations

import re
from typing import NamedTuple

from mtr_env.text import fold, normalize_answer


class Word(NamedTuple):
    """A word of a text: its folded form and where it stands."""

    key: str
    start: int
    end: int


_WORD = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+")
_CHUNK = re.compile(r"\S+")


def words_of(text: str) -> list[Word]:
    """The words of a text in order."""
    return [Word(fold(m[0]), m.start(), m.end()) for m in _WORD.finditer(text)]


def locate(text: str, key: str) -> tuple[int, int] | None:
    """The first place where the folded ``key`` stands in ``text``, with a closing parenthesis that belongs to it."""
    wanted = key.split()
    words = words_of(text)
    for i in range(len(words) - len(wanted) + 1):
        if all(words[i + j].key == word for j, word in enumerate(wanted)):
            start, end = words[i].start, words[i + len(wanted) - 1].end
            if text[end : end + 1] == ")" and text.count("(", start, end) > text.count(")", start, end):
                end += 1
            return start, end
    return None


def locate_answer(text: str, gold: str) -> tuple[int, int] | None:
    """The first piece of ``text`` whose official normal form is ``gold`` (itself normalised), or ``None``.

    >>> locate_answer("It was the U.S. Army.", "us army")
    (11, 20)
    """
    if not gold or gold.replace(" ", "") not in normalize_answer(text).replace(" ", ""):
        return None
    for pattern in (_WORD, _CHUNK):
        pieces = [(m.start(), m.end()) for m in pattern.finditer(text)]
        for i, (start, first_end) in enumerate(pieces):
            if not normalize_answer(text[start:first_end]):
                continue  # an article
            for _, end in pieces[i : i + len(gold.split()) + 6]:
                normal = normalize_answer(text[start:end])
                if normal == gold:
                    return start, end
                if len(normal) > len(gold):
                    break
    return None
