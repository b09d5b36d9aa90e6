"""The work that is timed, and the bare limit: the least that plain CPython does for it.

The work: questions of 20 paragraphs (about 12 kB each), written from a seed; an episode is 4 calls and 1 answer. A
limit finds the tags with ``str.find``, loads the call, validates the arguments (``jsonschema_rs``, prebuilt), runs the
tool, validates the response, serialises it and records all of it in a list; an answer is scored by EM and F1 against
gold prepared once. It has no faults, no thought, no sources, no frozen records and no seed, and raises on bad input:
nothing that does the same work in plain CPython is much faster. It uses the schemas of our own search tool, so both
sides validate the same thing.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import log
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec

from mtr_env.toolmakers.specs import SEARCH

CALLS = 4
NULL_BYTES = 975

# ----------------------------------------------------------------------------------------------------------- the texts

_SYLLABLES = (
    "al an bar bel cor dan del dor el fen gar hal ist jor kal lam lin mar mel nor ost pel quin ren ros sal tor".split()
)
_ENDINGS = "a berg by er field ham ia in is land o on sen stad ton vik".split()
_NATIONS = "American British Canadian French German Indian Irish Italian Japanese Polish Spanish Swedish".split()
_JOBS = "actor architect composer director footballer journalist novelist painter physicist politician singer".split()
_MONTHS = "January February March April May June July August September October November December".split()
_WORDS = """work music river bridge company school theatre award season history museum station church garden winter
market region council railway harbour league novel album studio series festival village castle island valley border
orchestra engine letter family stage record prize career audience building print channel concert defence district
election estate expedition factory forest gallery industry journal library manager mountain newspaper opera painting
parliament player portrait premiere programme publisher quarter reform research restoration science sculpture
settlement soldier summer survey teacher temple tournament tower trade translation treaty university volume voyage
workshop writer""".split()
STOP_WORDS = frozenset(
    "a an and as at best by for from he his in into is it its known of on one the was which with".split()
)


class Item(NamedTuple):
    """A question: what is asked, its gold answer, and (title, sentences) paragraphs, two of which hold the answer."""

    id: str
    question: str
    answer: str
    context: list[tuple[str, list[str]]]

    def line(self) -> bytes:
        """The question as a line of a JSONL file in HotpotQA's layout."""
        return msgspec.json.encode(
            {
                "_id": self.id,
                "type": "bridge",
                "level": "hard",
                "question": self.question,
                "answer": self.answer,
                "supporting_facts": [(title, 0) for title, _ in self.context[:2]],
                "context": [(t, [s[0], *[f" {later}" for later in s[1:]]]) for t, s in self.context],
            }
        )


class _Author:
    """Writes paragraphs with the habits of encyclopedia prose: a definition first, names, dates, common words.

    Half of them are about something that no relation is asked of, as in the real sets: our extraction finds no fact in
    51% of HotpotQA's paragraphs and in 62% of MuSiQue's, and 1.5 and 1.1 facts in a paragraph.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self._weights = list(accumulate(1 / rank for rank in range(2, len(_WORDS) + 2)))

    def name(self) -> str:
        pick = self.random.choice
        return (pick(_SYLLABLES) + pick(_SYLLABLES) + pick(_ENDINGS)).capitalize()

    def person(self) -> str:
        return f"{self.name()} {self.name()}"

    def date(self) -> str:
        return f"{self.random.randint(1, 28)} {self.random.choice(_MONTHS)} {self.random.randint(1850, 2005)}"

    def film(self, director: str) -> tuple[str, list[str]]:
        title = f"The {self.random.choice(_WORDS).capitalize()} of {self.name()}"
        year, nation = self.random.randint(1930, 2015), self.random.choice(_NATIONS)
        lead = (
            f"{title} is a {year} {nation} drama film directed by {director} and produced by {self.name()} Pictures, "
            f"starring {self.person()} and {self.person()}."
        )
        return title, [lead, *self.rest()]

    def biography(self, person: str, birthplace: str) -> tuple[str, list[str]]:
        nation, job, word = self.random.choice(_NATIONS), self.random.choice(_JOBS), self.random.choice(_WORDS)
        lead = (
            f"{person} (born {self.date()} in {birthplace}) is a {nation} {job} best known for his work on the {word} "
            f"of {self.name()}."
        )
        return person, [lead, *self.rest()]

    def place(self) -> tuple[str, list[str]]:
        title = self.name()
        lead = (
            f"{title} is a town in the {self.name()} district of {self.name()}, known for its "
            f"{self.random.choice(_WORDS)} and for the {self.random.choice(_WORDS)} which {self.person()} founded in "
            f"{self.random.randint(1600, 1950)}."
        )
        return title, [lead, *self.rest()]

    def other(self) -> tuple[str, list[str]]:
        word = self.random.choice(_WORDS)
        title = f"{self.random.randint(1850, 2015)} {self.name()} {word}"
        lead = (
            f"The {title} in {self.name()} and {self.name()} was one of the {word}s known for {self.person()} and "
            f"{self.person()} of the {self.name()} {self.random.choice(_WORDS)}."
        )
        return title, [lead, *self.rest()]

    def rest(self) -> Iterator[str]:
        for _ in range(self.random.randint(2, 4)):
            w = self.random.choices(_WORDS, cum_weights=self._weights, k=10)
            yield (
                f"In {self.random.randint(1850, 2015)} the {w[0]} {w[1]} of {self.name()} was one of the {w[2]} "
                f"{w[3]}s in the {w[4]}, and {self.person()} was with the {w[5]} {w[6]} at the {w[7]} for the {w[8]} "
                f"{w[9]}."
            )

    def item(self, item_id: str, paragraphs: int) -> Item:
        director, birthplace = self.person(), self.name()
        film = self.film(director)
        context = {film[0]: film[1], director: self.biography(director, birthplace)[1]}
        while len(context) < paragraphs:
            kind = self.random.randrange(7)
            if kind == 0:
                title, sentences = self.film(self.person())
            elif kind == 1:
                title, sentences = self.biography(self.person(), self.name())
            else:
                title, sentences = self.place() if kind == 2 else self.other()
            context.setdefault(title, sentences)
        question = f"In which town was the director of {film[0]} born?"
        return Item(item_id, question, birthplace, list(context.items()))


def make_items(seed: int, count: int, paragraphs: int = 20) -> list[Item]:
    """``count`` questions; the same seed gives the same texts, another seed shares none of them."""
    author = _Author(Random(seed))
    return [author.item(f"q{seed}-{i}", paragraphs) for i in range(count)]


def write_file(path: Path, items: Sequence[Item]) -> Path:
    """A JSONL file in HotpotQA's layout."""
    path.write_bytes(b"\n".join([item.line() for item in items]))
    return path


def write_rows(path: Path, seed: int, rows: int) -> Path:
    """A file of so many HotpotQA-like rows of 10 paragraphs each (about 6 kB); texts recur, ids do not."""
    pool = make_items(seed, 200, 10)
    return write_file(path, [pool[i % len(pool)]._replace(id=f"row{i}") for i in range(rows)])


class Plan(NamedTuple):
    """One scripted episode: four queries as actions in our ``hermes`` grammar, then an answer."""

    item: Item
    queries: list[str]
    calls: list[str]
    answer: str
    final: str

    def fresh(self) -> Plan:
        """The same texts in new string objects, as a policy would write them again: no string's hash is known yet."""
        return self._replace(calls=[f"{a} "[:-1] for a in self.calls], final=f"{self.final} "[:-1])


class Planner:
    """Makes episodes whose queries never repeat: words of the question's own paragraphs, no stop words."""

    def __init__(self, items: Sequence[Item], seed: int) -> None:
        self._items = items
        self._random = Random(seed)
        self._seen: set[tuple[str, str]] = set()
        self._words = [[w for w in tokenise(_text(item)) if w not in STOP_WORDS] for item in items]
        self._vocabulary = [list(dict.fromkeys(words)) for words in self._words]

    def plans(self) -> list[Plan]:
        """An episode for every question. About every second answer is right, the others are another question's."""
        return [self._plan(i, [self._query(i) for _ in range(CALLS)]) for i in range(len(self._items))]

    def every_word(self) -> list[Plan]:
        """Episodes whose queries hold every word of their question: after them nothing of its index is still to do."""
        plans = []
        for i, words in enumerate(self._vocabulary):
            queries = [" ".join(words[at : at + 25]) for at in range(0, len(words), 25)]
            plans += [self._plan(i, (queries * 2)[at : at + CALLS]) for at in range(0, len(queries), CALLS)]
        return plans

    def _plan(self, i: int, queries: list[str]) -> Plan:
        item = self._items[i]
        answer = (item if self._random.random() < 0.5 else self._items[i - 1]).answer
        thought = "<think>The question needs another fact. I look it up.</think>\n"
        calls = [
            f'{thought}<tool_call>\n{{"name":"search","arguments":{{"query":"{q}"}}}}\n</tool_call>' for q in queries
        ]
        return Plan(item, queries, calls, answer, f"{thought}<answer>{answer}</answer>")

    def _query(self, i: int) -> str:
        while True:
            words = self._random.choices(self._vocabulary[i], k=3) + self._random.choices(self._words[i], k=2)
            query = " ".join(words)
            if (key := (self._items[i].id, query)) not in self._seen:
                self._seen.add(key)
                return query


def _text(item: Item) -> str:
    return " ".join([f"{title} {' '.join(sentences)}" for title, sentences in item.context])


# ---------------------------------------------------------------------------------------------------------- the limits

Tool = Callable[[dict[str, Any]], Any]
Loads = Callable[[str], Any]
Dumps = Callable[[Any], bytes]

tokenise_words = re.compile(r"\w+").findall
check_arguments = jsonschema_rs.Draft202012Validator(SEARCH.parameters).is_valid
check_response = jsonschema_rs.Draft202012Validator(SEARCH.response).is_valid


def tokenise(text: str) -> list[str]:
    """The words of a text in lower case."""
    return tokenise_words(text.lower())


def null_value() -> dict[str, Any]:
    """A valid search response whose JSON is 975 bytes."""
    value = {"status": "ok", "results": [{"title": f"Title {i}", "snippet": "lorem ipsum " * 20} for i in range(3)]}
    value["results"][0]["snippet"] += "x" * (NULL_BYTES - len(msgspec.json.encode(value)))  # type: ignore[index]
    return value


NULL_VALUES = {"search": null_value()}


def null_tool(arguments: dict[str, Any]) -> Any:
    """The null tool: a dictionary look-up that gives a ready value."""
    return NULL_VALUES["search"]


class Index:
    """BM25 (k1 = 1.2, b = 0.75) over a question's paragraphs: {term: {document: count}}, weights at query time."""

    def __init__(self, item: Item) -> None:
        documents = [tokenise(f"{title} {' '.join(sentences)}") for title, sentences in item.context]
        mean = sum(map(len, documents)) / len(documents)
        self.counts: dict[str, dict[int, int]] = {}
        for i, words in enumerate(documents):
            for word, count in Counter(words).items():
                self.counts.setdefault(word, {})[i] = count
        self.norm = [1.2 * (0.25 + 0.75 * len(words) / mean) for words in documents]
        self.pages = [(title, sentences[0]) for title, sentences in item.context]

    def search(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The tool: the best three paragraphs, each with its first sentence."""
        counts, norm, pages = self.counts, self.norm, self.pages
        size = len(norm)
        scores = [0.0] * size
        for word in tokenise_words(arguments["query"].lower()):
            posting = counts.get(word)
            if posting is not None:
                idf = 2.2 * log(1 + (size - len(posting) + 0.5) / (len(posting) + 0.5))
                for document, count in posting.items():
                    scores[document] += idf * count / (count + norm[document])
        best = sorted(range(size), key=scores.__getitem__, reverse=True)[:3]
        results = [{"title": pages[d][0], "snippet": pages[d][1]} for d in best if scores[d]]
        return {"status": "ok", "results": results}


msgspec_loads: Loads = msgspec.json.Decoder().decode
msgspec_dumps: Dumps = msgspec.json.Encoder().encode


def json_libraries() -> Iterator[tuple[str, Loads, Dumps]]:
    """The JSON libraries that the limit may use: msgspec, and orjson where it is installed."""
    yield "msgspec", msgspec_loads, msgspec_dumps
    try:
        import orjson
    except ImportError:
        return
    yield "orjson", orjson.loads, orjson.dumps


CHECKS = {"search": (check_arguments, check_response)}


def play_call(action: str, tool: Tool, record: list[Any], loads: Loads, dumps: Dumps) -> None:
    """A tool step."""
    start = action.find("<tool_call>", action.find("</think>") + 1)
    end = action.find("</tool_call>", start)
    if start < 0 or end < 0:
        raise ValueError(action)
    call = loads(action[start + 11 : end])
    arguments = call["arguments"]
    valid_arguments, valid_response = CHECKS[call["name"]]
    if not valid_arguments(arguments):
        raise ValueError(action)
    value = tool(arguments)
    if not valid_response(value):
        raise ValueError(value)
    record.append((action, call, value, dumps(value).decode()))


Memo = dict[tuple[str, str], str]


def play_memo(action: str, question: str, memo: Memo, record: list[Any]) -> None:
    """A tool step whose call was made before: (question, call) -> validated text."""
    start = action.find("<tool_call>", action.find("</think>") + 1)
    end = action.find("</tool_call>", start)
    if start < 0 or end < 0:
        raise ValueError(action)
    record.append((action, memo[question, action[start + 11 : end]]))


_PUNCTUATION = str.maketrans("", "", string.punctuation)
_without_articles = re.compile(r"\b(a|an|the)\b").sub


def normalise(text: str) -> str:
    """The official normaliser."""
    return " ".join(_without_articles(" ", text.lower().translate(_PUNCTUATION)).split())


def play_answer(action: str, gold: str, gold_counts: Counter[str], record: list[Any]) -> tuple[float, float]:
    """The last step: EM and F1 against gold that is normalised and counted already."""
    start = action.find("<answer>", action.find("</think>") + 1)
    end = action.find("</answer>", start)
    if start < 0 or end < 0:
        raise ValueError(action)
    answer = normalise(action[start + 8 : end])
    if answer == gold:
        scores = 1.0, 1.0
    else:
        words = answer.split()
        common = sum((Counter(words) & gold_counts).values())
        scores = 0.0, 2 * common / (len(words) + gold_counts.total())
    record.append((action, scores))
    return scores
