"""Which relation does a sub-question of MuSiQue that is a sentence ask for?"""

from __future__ import annotations

import re
from functools import lru_cache

from mtr_env.worlds.extract_words import LOWER_IN_NAMES

# relation: the forms of a question without its question mark; S is the subject, N the relation's noun
_SUBJECT = r"(?:the )?(#\d|[^#?]{1,60}?)"
_OF = "who (?:is|was) (?:the (?:N) of S|S ?['’]s (?:N))|what is S ?['’]s (?:N) ?['’]s name"
_IN_WHICH = "(?:in )?(?:what|which) N is S located(?: in)?"
_ASKS = {
    "date of birth": "(?:when|(?:in )?what year) was S born",
    "date of death": "(?:when|(?:in )?what year) did S (?:die|pass(?:ed)? away|past away)",
    "place of birth": "(?:where|(?:in )?(?:what|which) (?:city|town)) was S born(?: in)?|"
    "what (?:was|is) S ?['’]s (?:city|place) of birth|what is the birthplace of S",
    "place of death": "(?:where|(?:in )?(?:what|which) city|at what location) did S "
    "(?:die(?: in)?|live when (?:s?he|they) died)",
    "place of burial": "where (?:is|was) S buried",
    "cause of death": "what did S die (?:of|from)",
    "spouse": _OF.replace("N", "spouse|wife|husband") + "|who (?:is|was) S married to",
    "father": _OF.replace("N", "father"),
    "mother": _OF.replace("N", "mother"),
    "child": _OF.replace("N", "child|son|daughter"),
    "sibling": _OF.replace("N", "sibling|brother|sister"),
    "country of citizenship": "what (?:nationality (?:is|was)|is the nationality of) S|"
    "of (?:which|what) country is S a citizen",
    "educated at": "(?:what|which) (?:university|school|college) did S attend|where (?:did S study|was S educated)",
    "employer": "(?:who|(?:what|which) company) does S work for|who (?:is the employer of|employs) S",
    "award received": "(?:what|which) award did S (?:receive|win)",
    "member of sports team": "(?:what|which) team (?:does|did) S play for",
    "director": "who (?:directed|(?:is|was) the director of) S|the (?:main )?director of S (?:is|was) who",
    "screenwriter": "who (?:wrote the screenplay (?:of|for)|is the screenwriter of) S",
    "producer": "who (?:produced|(?:is|was) the producer of) S",
    "composer": "who (?:composed|(?:is|was) the composer of|composed the music for) S",
    "performer": "(?:who|which artist or group) performed S|who (?:sings|sang) the song S|"
    "who (?:is|was) the performer of S",
    "cast member": "who (?:has acted in|acted in|starred in)(?: the film)? S|who is in S as a cast member",
    "author": "who (?:(?:is|was) the author of|wrote the (?:book|novel)) S",
    "creator": "who (?:created|(?:is|was) the creator of) S",
    "publisher": "(?:who|(?:what|which) company) published S|who (?:is|was) the publisher of S",
    "developer": "(?:who|(?:what|which) company) developed S|who (?:is|was) the developer of S",
    "manufacturer": "(?:what|which) company made S|(?:who|(?:what|which) company) manufactured S",
    "record label": "what (?:label was responsible for|is the record label of) S|what (?:record )?label is S on",
    "publication date": "when was S (?:released|published)|when did S (?:come out|premiere)",
    "country of origin": "what is the country of origin of S|what country released S",
    "founded by": "who (?:founded|established|(?:is|was) the founder of) S",
    "inception": "when was S (?:founded|established|formed|created|chartered)",
    "headquarters location": "where (?:is S (?:headquartered|based)|(?:is|are) the headquarters of S)",
    "owned by": "who (?:owns|(?:is|was) the owner of) S|who is S owned by",
    "named after": "(?:what|who) (?:is|was) S named (?:after|for)|S was named for whom",
    "capital": "what (?:(?:is|was) the|city is the) capital of S",
    "capital of": "(?:what|which country) is S the capital of",
    "population": "what (?:is|was) the population of S|how many people live in S",
    "located in the administrative territorial entity": "where is S located|"
    "what is the name of the state where S is located|"
    + _IN_WHICH.replace("N", "(?:state|city|county|province|region)"),
    "country": _IN_WHICH.replace("N", "country") + "|(?:what|which) country is S in",
    "shares border with": "(?:what|which) county (?:borders|shares a border with) S",
    "location of formation": "(?:where|(?:in )?(?:what|which) city) was S formed(?: in)?",
    "part of": "what (?:company )?is S (?:a )?part of",
    "occupation": "what is S ?['’]s occupation|what is the occupation of S",
}
_FORMS = tuple((name, re.compile(form.replace("S", _SUBJECT), re.IGNORECASE)) for name, form in _ASKS.items())


@lru_cache(4096)
def sub_question_relation(text: str) -> tuple[str, str] | None:
    """The subject and the relation that a sub-question in sentence form asks for, ``None`` where that is not sure.

    The subject is ``"#1"`` or a plain name: no second reference, no lower-case description.

    >>> sub_question_relation("When was #1 born?"), sub_question_relation("Who is the spouse of the Green performer?")
    (('#1', 'date of birth'), None)
    """
    asked = text[:200].strip().rstrip("?").rstrip()
    for name, form in _FORMS:
        match = form.fullmatch(asked)
        if match is not None:
            subject = next(group for group in match.groups() if group is not None).strip(" \"“”'")
            return (subject, name) if _is_name(subject) else None
    return None


def _is_name(subject: str) -> bool:
    """Whether every word could be part of a name, beginning with a capital, a digit or ``#``."""
    words = subject.split()
    small = LOWER_IN_NAMES | {"in", "on", "to", "for", "at", "by", "with"}
    return bool(words) and not words[0][0].islower() and all(not w[0].islower() or w in small for w in words)
