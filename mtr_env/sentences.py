"""Splitting a paragraph into sentences.

MuSiQue gives paragraphs as one string, and its evidence is a sub-answer somewhere in it; a world whose paragraphs have
sentences can hand out one of them at a time. The splitter is a deterministic rule, not a model: the same text gives
the same sentences everywhere.
"""

from __future__ import annotations

import re

# A sentence may end after these marks and any closing quotes or brackets, where white space follows. MuSiQue writes
# some closing quotes as '' with a space before them.
_CANDIDATE = re.compile(r"""[.!?…]["'”’»)\]]*(?:\s''(?=\s))?\s+""")
_OPENING = "\"'“‘«([¿¡"
_CLOSING = "\"'”’»)]"

# Words before a full stop that never end a sentence, those that do not before a number, and those that end one only
# when a word follows that usually starts a sentence (so do initials and acronyms: "J. Smith", "the U.S. Army").
_NEVER = frozenset(
    "dr mr mrs ms mme prof st gen col lt sgt capt cpt maj cmdr adm rev hon sen rep gov pres mt ft fr vs cf "
    "e.g i.e a.k.a viz approx messrs supt brig".split()
)
_BEFORE_NUMBER = frozenset(
    "no nos vol vols fig figs op opp p pp c ca art ch sec jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
_BEFORE_STARTER = frozenset("jr sr inc ltd co corp bros etc al a.m p.m dept univ assn est ave blvd rd ph.d".split())
_STARTERS = frozenset(
    "the he she it they we his her its their this these that those there in on by from after before during since when "
    "while although however but and as for with both following".split()
)
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]|[^\W\d_]")


def split_sentences(text: str) -> tuple[str, ...]:
    """The sentences of ``text`` without outer white space, in order; only the white space between them is lost.

    Linear in the length of the text. White space alone gives ``()``.

    >>> split_sentences('Dr. J. R. Smith paid $3.50 in the U.S. market. "Why?" he asked. It was 5 p.m. The end.')
    ('Dr. J. R. Smith paid $3.50 in the U.S. market.', '"Why?" he asked.', 'It was 5 p.m.', 'The end.')
    """
    sentences = []
    start = 0
    for match in _CANDIDATE.finditer(text):
        if match.end() < len(text) and _ends(text, start, match.start(), match.end()):
            sentences.append(text[start : match.end()].strip())
            start = match.end()
    sentences.append(text[start:].strip())
    return tuple([sentence for sentence in sentences if sentence])


def _ends(text: str, start: int, mark: int, after: int) -> bool:
    """Whether the sentence that began at ``start`` ends with the mark at ``mark``; the next word is at ``after``."""
    if not text[after].isupper():
        following = _word(text, after)
        if following[:1].islower() or not any(c.isalnum() for c in following):
            return False
    if text[mark] != ".":
        return True
    tail = text[max(start, mark - 40) : mark].rsplit(None, 1)
    if not tail or text[mark - 1].isspace():
        return True
    word = tail[-1].lstrip(_OPENING)
    folded = word.lower()
    if folded in _NEVER:
        return False
    if folded in _BEFORE_NUMBER and _word(text, after)[:1].isdigit():
        return False
    if folded in _BEFORE_STARTER or _ACRONYM.fullmatch(word):
        return _word(text, after).rstrip(_CLOSING + ",").lower() in _STARTERS
    return not (word.isdigit() and len(tail) == 1 and mark - start <= len(word) + 1)  # "1. First item"


def _word(text: str, at: int) -> str:
    """The word that begins at ``at``, without opening marks."""
    return text[at : at + 40].split(maxsplit=1)[0].lstrip(_OPENING)
