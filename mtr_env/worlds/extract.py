"""Facts that Wikipedia-style paragraphs state in so many words, for the relation tools of a question's distractors.

    >>> page = Paragraph("Kirsten Sheridan", ("Kirsten Sheridan (born 14 July 1976) is an Irish film director.",))
    >>> [(f.relation, f.object) for f in extract_facts([page])]
    [('date of birth', '14 July 1976'), ('country of citizenship', 'Irish'), ('occupation', 'film director')]

How it reads a page: the definition ("... is an Irish film director") says what *kind* of thing the title names; it
chooses the rows of ``extract_patterns.table``; a row's trigger word is looked for before its pattern is run; a match
counts only in the definition itself or in a sentence whose subject is the title, and only when no other thing is named
in between (a detour). A wrong fact is worse than none, so a page whose definition is not understood states nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mtr_env.question import Fact, Paragraph
from mtr_env.worlds.extract_patterns import (
    ABOUT_OTHERS,
    CUT,
    DASH,
    DATED,
    DEFINES,
    DETOUR_PERSON,
    DETOUR_THING,
    EXACT,
    FIRST_NAME,
    IN_PLACE,
    IN_TIME,
    IS_MONTH,
    ITEM,
    LIES_IN,
    MUSIC,
    NAME_END,
    NATIONAL,
    NO_AREA,
    NOT_YET,
    ONE_DATE,
    OPENINGS,
    PAREN,
    PEOPLE,
    PERSON_STOP,
    PLACE_AT,
    PLAIN,
    SEGMENT,
    SINGLE,
    SPLIT,
    STOP,
    TELEVISION,
    TWO_DAYS,
    VAGUE,
    YEAR,
    table,
)
from mtr_env.worlds.extract_words import COUNTRIES, DEMONYMS, KIND, LOWER_IN_NAMES, PERSON_ENDINGS

_LONGEST_SENTENCE, _LONGEST_PAGE, _LONGEST_OBJECT, _FARTHEST = 2000, 5000, 80, 500  # characters


class _Lead(NamedTuple):
    """Where the definition stands: its verb, its noun phrase from ``words`` to ``stop``, the life dates before it."""

    kind: str
    words: int
    stop: int
    life: re.Match[str] | None


def extract_facts(paragraphs: Sequence[Paragraph]) -> list[Fact]:
    """All facts that the patterns find, in the order of the paragraphs: a pure function, linear in the text.

    A fact's subject is the paragraph's title, its object a literal piece of the one sentence in ``sources``.
    """
    return [fact for index, page in enumerate(paragraphs) for fact in _page_facts(index, page)]


def _page_facts(index: int, page: Paragraph) -> Iterator[Fact]:
    text, starts, numbers = _text(page.sentences)
    lead = _lead(page.title, text, starts)
    if lead is None:
        return
    seen: set[str | tuple[str, str]] = set()
    for name, start, end in _spans(page.title, text, starts, lead):
        value = text[start:end].rstrip()
        where = bisect_right(starts, start) - 1
        key = name if name in SINGLE else (name, value)
        inside = where + 1 == len(starts) or end < starts[where + 1]
        if key not in seen and inside and 0 < len(value) <= _LONGEST_OBJECT and value != page.title:
            seen.add(key)
            yield Fact(page.title, name, value, (f"p{index}s{numbers[where]}",))


def _text(sentences: Sequence[str]) -> tuple[str, list[int], list[int]]:
    """The sentences that are read, one a line; where each begins; their numbers."""
    kept, starts, numbers, size = [], [], [], 0
    for number, sentence in enumerate(sentences):
        if len(sentence) > _LONGEST_SENTENCE:
            continue
        if size > _LONGEST_PAGE:
            break
        kept.append(sentence)
        starts.append(size)
        numbers.append(number)
        size += len(sentence) + 1
    return "\n".join(kept), starts, numbers


def _lead(title: str, text: str, starts: Sequence[int]) -> _Lead | None:
    """The definition of the title in the first two sentences (a full stop in a name may have split them)."""
    if not starts or title.startswith("List of ") or title.rpartition(" ")[2] in ABOUT_OTHERS:
        return None
    name, _, qualifier = title.partition(" (")
    life = PAREN.search(text, 0, 400)
    while life and not ONE_DATE.search(life[1]) and life.end() < 250:
        life = PAREN.search(text, life.end(), 400)
    begin = len(name) if text.startswith(name) else 0
    verb = DEFINES.search(text, begin, starts[2] if len(starts) > 2 else len(text))
    if life and verb and life.start() < verb.start():
        verb = DEFINES.search(text, life.end() - 1, life.end() + 300)
    else:
        life = None
    if verb is None or not _names(name, text[: life.start() if life else verb.start()], text[: verb.start()]):
        return None
    if len(starts) > 1 and verb.start() > starts[1] and not (life and life.end() > starts[1]):
        first = text[starts[1] : starts[1] + 40].split(" ", 1)[0]
        if not (first in OPENINGS or first in title or starts[1] < len(name) + 12):
            return None
    found = STOP.search(text, verb.end())
    stop = found.start() if found else len(text)
    phrase = text[verb.end() : stop]
    kind = _kind(phrase) or (_kind(phrase.partition(" and ")[0]) if " and " in phrase else None)
    if kind is None and text.startswith(", ", stop) and (further := STOP.search(text, stop + 1)):
        stop = further.start()
        kind = _kind(text[verb.end() : stop])
    if kind is None and life and _is_lifetime(life[1]):
        kind = "person"
    elif phrase in ("located", "situated"):
        kind = _kind(name)
    if not kind or (qualifier and (_kind(qualifier.rstrip(")")) or kind) != kind):
        return None
    return _Lead(kind, verb.end(), stop, life)


def _names(name: str, head: str, whole: str) -> bool:
    """Whether a sentence that begins with ``head`` is about ``name``: it starts with it, or is another form of it."""
    name, head = _bare(name), _bare(head)
    if name.find("-") >= 0:
        head = head.replace("- ", "-")  # 2WikiMultiHopQA writes "Saint- Loup"
    starts = head.startswith(name)
    rest = NAME_END.split(head[len(name) :] if starts else head, maxsplit=1)[0]
    if len(rest) > 80 or rest.startswith(("'s", "’s", "' ", "’ ")):
        return False
    if any(word[0].islower() and word not in LOWER_IN_NAMES for word in rest.split()):
        return False  # another verb comes first
    return starts or any(len(word) > 2 and word.strip(",") in whole for word in name.split())


def _bare(text: str) -> str:
    return text.lstrip('"“ ').removeprefix("The ").removeprefix("the ")


def _is_lifetime(inner: str) -> bool:
    """Whether a parenthesis gives the dates of a person and not those of a war or a reign."""
    if "born" in inner:
        return True
    ends = [date[-4:] for date in ONE_DATE.findall(inner)]
    if len(ends) != 2 or not "".join(ends).isdecimal() or not EXACT.search(inner):
        return False
    return 15 < int(ends[1]) - int(ends[0]) < 110


def _kind(phrase: str) -> str | None:
    """The kind of thing that a noun phrase like "1994 American drama film" names, ``None`` or ``""`` if unknown."""
    words = phrase.lower().replace("- ", "-").split()
    for word in words[:-3:-1]:
        kind = KIND.get(word) or KIND.get(word.removesuffix("s"))
        if (word == "group" and not MUSIC.search(phrase)) or (word == "series" and not TELEVISION.search(phrase)):
            return None
        if kind is not None:
            return kind
        if _is_person_word(word):
            return "person"
    return None


def _is_person_word(word: str) -> bool:
    return word.endswith(PERSON_ENDINGS) and word.isascii() and word.replace("-", "").isalpha()


def _spans(title: str, text: str, starts: Sequence[int], lead: _Lead) -> Iterator[tuple[str, int, int]]:
    """Relation, start and end of every object."""
    if lead.kind == "person":
        if lead.life:
            yield from _life(lead.life)
        yield from _person(text, lead)
    elif lead.kind in ("film", "show", "song", "album", "book"):
        yield from _work(text, lead)
    elif lead.kind in ("place", "site"):
        yield from _location(text, lead)
    begin = (lead.life.end() if lead.life else 0) if lead.kind == "person" else lead.words
    words = [word.strip(",") for word in title.split()]
    lower = text.lower()
    if len(lower) != len(text):  # a letter like "İ" moves the places
        lower = text
    for trigger, rows in table(lead.kind):
        at = lower.find(trigger, begin)
        while at >= 0:
            after = at + len(trigger)
            if (
                lower.startswith(" ", after)
                and (at == 0 or not (text[at - 1].isalnum() or text[at - 1] == "-"))
                and (matches := [(name, match) for name, follows in rows if (match := follows.match(text, after + 1))])
            ):
                about = _about(text, starts, begin, at, lead, words)
                for name, match in matches if about else ():
                    yield from _objects(name, match)
            at = lower.find(trigger, after)


def _about(text: str, starts: Sequence[int], begin: int, at: int, lead: _Lead, title: Sequence[str]) -> bool:
    """Whether what is said at ``at`` is said of the page's subject."""
    start = starts[bisect_right(starts, at) - 1]
    if at - max(start, begin) > _FARTHEST:
        return False
    if text.endswith(PLAIN, start, at):
        return True
    if begin < start < at:
        head = text[start:at].split(None, 2)
        known = head[0] in OPENINGS or head[0] in title or at - start < 5
        if not (known or IN_TIME.fullmatch(text, start, at)) or at - start > 120:
            return False
        if head[0] == "The" and len(head) > 1 and head[1] not in title:  # "The film", "The music", "The lake"
            kind = KIND.get(head[1], "film")
            if kind != lead.kind or (kind == "place" and head[1] not in text[lead.words : lead.stop]):
                return False
    detour = DETOUR_PERSON if lead.kind == "person" else DETOUR_THING
    return detour.search(text, max(start, begin), at) is None


def _objects(name: str, match: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    start, end = match.span(1)
    text = match.string
    if (end < len(text) and (text[end].isalnum() or text[end] in "'’")) or NOT_YET.match(text, end):
        return
    if match[1] in DEMONYMS or match[1].endswith(CUT) or "-based" in match[1]:
        return
    if name not in DATED and IS_MONTH.match(match[1]):  # "died in May 1990"
        return
    if name not in PEOPLE:
        yield name, start, end
        return
    for part in SPLIT.split(match[1]):
        if (person := FIRST_NAME.search(part)) is not None:
            at = match.string.index(part, start) + person.start()
            yield name, at, at + len(person[0])


def _life(life: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """Birth and death of "(Pesmes, 1 March 1867 – Paris, 22 September 1946)", "(born 1 March 1867 in Pesmes)"."""
    inner, offset = life[1], life.start(1)
    born, died = inner.find("born "), inner.find("died ")
    dashes = [d for d in DASH.finditer(inner) if ONE_DATE.search(inner, d.end())]
    dash = dashes[-1] if dashes else None
    sides = [("birth", max(born, 0), dash.start() if dash else len(inner))]
    if dash:
        sides.append(("death", dash.end(), len(inner)))
    elif died > 0:
        sides.append(("death", died, len(inner)))
    elif (days := TWO_DAYS.search(inner)) is not None:
        yield "date of birth", offset + days.start(1), offset + days.end(1)
        yield "date of death", offset + days.start(2), offset + days.end(2)
        return
    elif born < 0:
        return
    for event, start, end in sides:
        if event == "birth" and born >= 0:
            end = min(end, died % (len(inner) + 1))
        else:
            start = max(start, inner.rfind(";", start, end) + 1)
        dates = list(ONE_DATE.finditer(inner, start, end))
        date = (dates[-1] if event == "birth" and born < 0 else dates[0]) if dates else None
        if date is None or VAGUE.search(inner, start, date.start()):
            continue
        yield f"date of {event}", offset + date.start(), offset + date.end()
        after = IN_PLACE.match(inner, date.end(), end)
        if after:
            yield f"place of {event}", offset + after.start(1), offset + after.end(1)
        elif dash and (before := PLACE_AT.match(inner, start, date.start())):
            yield f"place of {event}", offset + before.start(1), offset + before.end(1)


def _person(text: str, lead: _Lead) -> Iterator[tuple[str, int, int]]:
    """Nationality and occupations of "is a retired English footballer and coach"."""
    at = lead.words
    for nation in NATIONAL.finditer(text, at, lead.stop):
        yield "country of citizenship", nation.start(), nation.end()
        at = nation.end()
    end = PERSON_STOP.search(text, lead.words)
    for item in ITEM.finditer(text, at, min(end.start() if end else len(text), at + 300)):
        word = item[1].rpartition(" ")[2]
        if word != "born" and (KIND.get(word) == "person" or (word not in KIND and _is_person_word(word))):
            yield "occupation", item.start(1), item.end(1)
        else:
            break


def _work(text: str, lead: _Lead) -> Iterator[tuple[str, int, int]]:
    """Year and country of "is a 1994 American drama film"."""
    if year := YEAR.search(text, lead.words, lead.stop):
        yield "publication date", year.start(), year.end()
    if lead.kind in ("film", "show"):
        for nation in NATIONAL.finditer(text, lead.words, lead.stop):
            yield "country of origin", nation.start(), nation.end()


def _location(text: str, lead: _Lead) -> Iterator[tuple[str, int, int]]:
    """Regions and country of "is a village in Jajrud District, Tehran Province, Iran"."""
    if nation := NATIONAL.search(text, lead.words, lead.stop):
        yield "country", nation.start(), nation.end()
    match = LIES_IN.match(text, lead.stop)
    if match is None or (match[1] == "of" and lead.kind == "site"):
        return
    for area in SEGMENT.finditer(text, *match.span(2)):
        if area[1] in COUNTRIES:
            yield "country", *area.span(1)
            return
        if not NO_AREA.search(area[1]):
            yield "located in the administrative territorial entity", *area.span(1)
