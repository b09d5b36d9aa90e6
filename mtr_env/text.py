"""Comparing names and finding them in text: the rules that decide whether two strings mean the same thing."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NOT_WORD = re.compile(r"[\W_]+")
_CACHED_LENGTH = 2000  # longer strings are rare and would make the caches big


def _normalize(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


_normalize_cached = lru_cache(8192)(_normalize)


def normalize_answer(text: str) -> str:
    """The official SQuAD / HotpotQA normaliser: lower case, no ASCII punctuation, no articles, single spaces.

    >>> normalize_answer(" The  U.S. of  A ")
    'us of'
    """
    return _normalize_cached(text) if len(text) <= _CACHED_LENGTH else _normalize(text)


_ASCII_FOLD = "".join(chr(c).lower() if chr(c).isalnum() else " " for c in range(128))


def _fold(text: str) -> str:
    if text.isascii():
        return " ".join(text.translate(_ASCII_FOLD).split())
    text = "".join([c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)])
    return _NOT_WORD.sub(" ", text.casefold()).strip()


_fold_cached = lru_cache(32768)(_fold)


def fold(text: str) -> str:
    """The words of a text, without case, diacritics and punctuation, joined by single spaces.

    >>> fold("  Jan Svěrák's -- 'Kolya' ")
    'jan sverak s kolya'
    """
    return _fold_cached(text) if len(text) <= _CACHED_LENGTH else _fold(text)


def folded_words(text: str) -> list[str]:
    """The words of ``fold(text)``, without a place in its cache: for texts that hardly come again, such as queries."""
    return text.translate(_ASCII_FOLD).split() if text.isascii() else _fold(text).split()


def name_key(text: str) -> str:
    """A key under which two spellings of one name meet: folded, without a trailing parenthesis.

    >>> name_key('"Limehouse Blues') == name_key("Limehouse Blues (song)")
    True
    """
    bare = text.rstrip()
    start = bare.rfind("(") if bare.endswith(")") else -1
    return (fold(bare[:start]) if start > 0 else "") or fold(text)


def as_unicode(text: str) -> str:
    """A text that can be saved and sent: a lone surrogate shows as an escape.

    >>> as_unicode("é\\ud800")
    'é\\\\ud800'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def json_texts(value: Any) -> list[str]:
    """All strings and numbers of a JSON value as text, in order, without the keys of objects.

    >>> json_texts({"film": ["Kolya", 1996], "won": True})
    ['Kolya', '1996']
    """
    found: list[str] = []
    _collect((value,), found)
    return found


def _collect(values: Iterable[Any], found: list[str]) -> None:
    for value in values:
        kind = type(value)
        if kind is str:
            found.append(value)
        elif kind is dict:
            _collect(value.values(), found)
        elif kind is list or kind is tuple:
            _collect(value, found)
        elif kind is int or kind is float:
            found.append(str(value))


def contains_words(text: str, words: str) -> bool:
    """Whether the folded ``words`` occur as whole words, in order and adjacent, in the folded ``text``.

    The empty string occurs nowhere.

    >>> contains_words("the green mile", "green"), contains_words("greenland", "green")
    (True, False)
    """
    return words in text and bool(words) and f" {words} " in f" {text} "
