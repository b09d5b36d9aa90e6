"""Short cuts with a name: players that answer from the question alone, from the first search, or by asking everything.

They bound from below what a question's score means: whatever one of these solves needed no multi-hop reasoning.
"""

from __future__ import annotations

import re

from mtr_env.grammar import MAX_CALLS_PER_STEP, Grammar, Result, get_grammar
from mtr_env.policies import reading
from mtr_env.policies.base import Messages, Tools
from mtr_env.sentences import split_sentences
from mtr_env.text import fold
from mtr_env.trace import Call, canonical

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DAY = re.compile(rf"\b\d{{1,2}} {_MONTH} \d{{4}}|\b{_MONTH} \d{{1,2}}, \d{{4}}")
_YEAR = re.compile(r"\b1\d{3}\b|\b20\d{2}\b")
_NUMBER_WORDS = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen twenty"
_NUMBER = re.compile(rf"\b\d[\d,]*(?:\.\d+)?\b|\b(?:{'|'.join(_NUMBER_WORDS.split())})\b", re.IGNORECASE)
_AFTER_PREPOSITION = r"\b(?:in|at|near|from|of|on) (?:the )?"
_NAME_CHARS = 80
_COMMON = frozenset(
    """a an the of in on at by for from to with and or is are was were be been has have had did does do as that which
    who whom whose what when where how many much it its he she his her they their this also after born first""".split()
)


def guess(question: str) -> str:
    """The answer that a question suggests by itself: *yes*, the first of two alternatives, a common number, else its
    longest name.

    >>> guess("Are Nokia and Ericsson based in the same country?"), guess("Who is older, Ada Lovelace or Alan Turing?")
    ('yes', 'Ada Lovelace')
    """
    pair = reading.alternatives(question)
    kind = reading.answer_type(question)
    if kind == "yes_no":
        return "yes"
    if pair:
        return pair[0]
    if kind == "number":
        return "two"
    if kind == "date":
        return "2000"
    return max(reading.mentions(question), key=len, default="unknown")


def pick(question: str, title: str, text: str) -> str:
    """The span of a page that answers the question's wh-word: the first date, number or name that the question does
    not hold, sentences that share more words with the question first; the page's title before any name when an entity
    or person is asked for and the title is new; the title where nothing fits."""
    kind = reading.answer_type(question)
    if kind == "yes_no" or reading.alternatives(question):
        return guess(question)
    asked = set(fold(question).split()) - _COMMON - set(fold(title).split())
    ranked = sorted(split_sentences(text), key=lambda sentence: -len(asked & set(fold(sentence).split())))
    plain = title.partition(" (")[0]
    if kind == "date":
        days = [] if "year" in question.lower() else [day for s in ranked for day in _DAY.findall(s)]
        found = days or [year for s in ranked for year in _YEAR.findall(s)]
    elif kind == "number":
        bare = [_YEAR.sub(" ", _DAY.sub(" ", s)) for s in ranked]
        found = [number for s in bare for number in _NUMBER.findall(s)]
    else:
        names = [name for s in ranked for name in reading.mentions(_DAY.sub(" ", s))]
        names = [name for name in names if fold(name) not in _COMMON and reading.is_new(name, title)]
        if kind == "place":
            placed = [name for name in names if re.search(_AFTER_PREPOSITION + re.escape(name), text)]
            found = placed or names
        elif kind == "person":
            found = [plain, *[name for name in names if " " in name], *names]
        else:
            found = [plain, *names]
    return next((span for span in found if reading.is_new(span, question)), plain or guess(question))


class NoToolGuesser:
    """Answers at once from the question alone (:func:`guess`). What it solves, the question's wording gives away."""

    def __init__(self, grammar: str | Grammar = "hermes") -> None:
        self.grammar = get_grammar(grammar)

    def __call__(self, messages: Messages, tools: Tools) -> str:
        """See :class:`~mtr_env.policies.base.Policy`."""
        return self.grammar.render_answer(guess(reading.question_of(messages)))


class FirstSearchReader:
    """Searches for the whole question, opens the best page and answers with the span that fits the question's wh-word
    (:func:`pick`). With ``opens=False`` it reads the snippet only. What it solves needs one look, not several hops."""

    def __init__(self, grammar: str | Grammar = "hermes", opens: bool = True) -> None:
        self.grammar = get_grammar(grammar)
        self.opens = opens

    def __call__(self, messages: Messages, tools: Tools) -> str:
        """See :class:`~mtr_env.policies.base.Policy`."""
        question = reading.question_of(messages)
        turn = reading.turn(messages)
        search = reading.search_call(tools, question)
        if search is None or not question:
            return self.grammar.render_answer(guess(question))
        if turn == 0:
            return self.grammar.render_call(search)
        results = [result for step in reading.observed(messages, self.grammar) for result in step]
        title, text = _top(results)
        if turn == 1 and title and self.opens and any(tool["function"]["name"] == "open_page" for tool in tools):
            return self.grammar.render_call(Call("open_page", {"title": title}))
        return self.grammar.render_answer(pick(question, title, text) if title else guess(question))


def _top(results: list[Result]) -> tuple[str, str]:
    """The title and the longest text known of the first page found."""
    title = text = ""
    for result in results:
        content = result.content if isinstance(result.content, dict) else {}
        found = content.get("results")
        page = found[0] if isinstance(found, list) and found and not title else content
        if isinstance(page, dict) and isinstance(page.get("title"), str):
            title = title or page["title"]
            body = page.get("text", page.get("snippet"))
            if isinstance(body, str) and len(body) > len(text):
                text = body
    return title, text


class Chaser:
    """Calls every tool that takes one name with every name seen so far, first seen first, eight calls a step, and
    answers with the last new value it saw when nothing is left to ask or in the last of ``max_steps`` steps."""

    def __init__(self, grammar: str | Grammar = "hermes", max_steps: int = 8) -> None:
        self.grammar = get_grammar(grammar)
        self.max_steps = max_steps

    def __call__(self, messages: Messages, tools: Tools) -> str:
        """See :class:`~mtr_env.policies.base.Policy`."""
        question = reading.question_of(messages)
        results = [result for step in reading.observed(messages, self.grammar) for result in step]
        calls = self._open_calls(messages, tools, question, results)
        if calls and reading.turn(messages) < self.max_steps - 1:
            return self.grammar.render_call(*calls[:MAX_CALLS_PER_STEP])
        found = [value for r in results if reading.is_ok(r.content) for value in reading.leaves(r.content)]
        new = [v for v in dict.fromkeys(found) if len(v) <= _NAME_CHARS and reading.is_new(v, question)]
        return self.grammar.render_answer(new[-1] if new else guess(question))

    def _open_calls(self, messages: Messages, tools: Tools, question: str, results: list[Result]) -> list[Call]:
        names = dict.fromkeys(reading.mentions(question))
        names.update(dict.fromkeys(value for result in results for value in reading.leaves(result.content)))
        arguments = [(tool.name, reading.single_argument(tool, entity=True)) for tool in reading.specs_of(tools)]
        made = {canonical(call) for call in reading.own_calls(messages, self.grammar)}
        wanted = [
            Call(tool, {argument: name})
            for name in names
            if 0 < len(name) <= _NAME_CHARS and not name[0].isdigit()
            for tool, argument in arguments
            if argument is not None
        ]
        return [call for call in wanted if canonical(call) not in made]
