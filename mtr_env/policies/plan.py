"""The oracle's plan: which calls see all evidence of a question, every argument copied from what was seen before.

A plan holds no strings of the gold. Each argument and the answer is a :class:`Span` (a piece of the question or of a
value that an earlier call returned) or a :class:`Joined` of such; the only word a plan may say itself is a yes/no
verdict, after all evidence was observed. A question for which no such plan exists cannot be proven solvable, and the
plan says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

from msgspec.structs import replace

from mtr_env.errors import InfrastructureError
from mtr_env.policies.spans import Word, locate, locate_answer, words_of
from mtr_env.provenance import sourced_strings
from mtr_env.question import Question, View
from mtr_env.text import contains_words, fold, name_key, normalize_answer
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors import compute
from mtr_env.toolactors.base import CallKey, History, ToolActor, ToolRequest
from mtr_env.toolactors.border import respond
from mtr_env.trace import Call, Response, Setup, Step, Trace, canonical

QUESTION = -1
MAX_CALLS = 24


class Span(NamedTuple):
    """Characters ``start`` to ``end`` of a text the policy saw: string ``string`` of call ``call``'s value, or the
    question's (``call`` is ``QUESTION``)."""

    call: int
    string: int
    start: int
    end: int


class Joined(NamedTuple):
    """Spans put together with a fixed separator (a space, or an operator of a calculation)."""

    spans: tuple[Span, ...]
    separator: str


class Verdict(NamedTuple):
    """A yes or no that the plan itself says, once every operand was observed."""

    word: str


Argument = Span | Joined


class PlannedCall(NamedTuple):
    """A call whose arguments are copied, and how long the strings of its response are when nothing went wrong."""

    tool: str
    arguments: dict[str, Argument]
    lengths: tuple[int, ...]


class Plan(NamedTuple):
    """Steps of calls (those of one step do not need each other), then an answer.

    ``answer`` is ``None`` when the plan does not solve the question; ``reason`` then says why.
    """

    steps: tuple[tuple[PlannedCall, ...], ...]
    answer: Argument | Verdict | None
    reason: str | None = None


class Seen(NamedTuple):
    """A text the policy has seen."""

    call: int
    string: int
    text: str


_Rank = tuple[bool, bool, int, int]


class _Outage(Exception):
    """The actor could not answer while the plan was made."""


class Planner:
    """Plans one question against a ToolActor (without noise) in at most ``max_steps`` steps, the answer included."""

    def __init__(self, question: Question, toolset: Toolset, actor: ToolActor, setup: Setup) -> None:
        self._question = question
        self._view: View = question.view()
        self._toolset = toolset
        self._actor = actor
        self._trace = Trace(question, toolset, setup, seed=0)
        self._seen = [Seen(QUESTION, 0, question.text)]
        self._sources: set[str] = set()
        self._calls: list[PlannedCall] = []
        self._tried: dict[str, Response] = {}

    def plan(self) -> Plan:
        """The plan; never raises for a question that cannot be solved, nor when the actor fails."""
        answer = None
        try:
            reason = self._gather()
            if reason is None or not self._question.evidence:
                answer = self._answer()
        except _Outage as outage:
            reason = f"the ToolActor failed: {outage}"
        if answer is None and reason is None:
            reason = "no value that the tools return states the answer"
        max_steps = self._trace.setup.max_steps
        steps: tuple[tuple[PlannedCall, ...], ...] = tuple((call,) for call in self._calls)
        if len(steps) + 1 > max_steps:
            steps = _grouped(self._calls)
        if len(steps) + 1 > max_steps:
            return Plan(steps[: max_steps - 1], None, f"needs {len(steps) + 1} steps; {max_steps} are allowed")
        return Plan(steps, answer, reason)

    # ------------------------------------------------------------------------------------------------ seeing evidence

    def _gather(self) -> str | None:
        """Plans calls until all evidence is seen; what is missing when that cannot be done."""
        while True:
            missing = [unit.any_of for unit in self._question.evidence if self._sources.isdisjoint(unit.any_of)]
            if not missing:
                return None
            if len(self._calls) >= MAX_CALLS:
                return f"needs more than {MAX_CALLS} calls"
            if not (self._look_up(missing) or self._search_for(missing)):
                return f"no search with words seen so far finds {self._titles(missing)}"

    def _look_up(self, missing: Sequence[Sequence[str]]) -> bool:
        """Plans a call that shows a missing piece of evidence and whose argument has been seen: as people go about it,
        what was just learnt is followed up first, and the question is read from left to right."""
        wanted = {ref for any_of in missing for ref in any_of}
        candidates = [candidate for any_of in missing for candidate in self._candidates(any_of)]
        for _, spec, arguments in sorted(candidates, key=lambda candidate: candidate[0]):
            response = self._try(spec, arguments)
            if not wanted.isdisjoint(response.sources):
                self._add(spec, arguments, response)
                return True
        return False

    def _candidates(self, any_of: Sequence[str]) -> Iterator[tuple[_Rank, ToolSpec, dict[str, Argument]]]:
        facts = [self._question.facts[int(ref[1:])] for ref in any_of if ref.startswith("t")]
        for spec in self._toolset.tools:
            kind, _, relation = spec.binding.partition(":")
            for fact in facts:
                if kind in ("relation", "inverse") and fact.relation == relation:
                    span = self._find_name(fact.subject if kind == "relation" else fact.object)
                    if span is not None:
                        yield self._rank(span, kind == "inverse"), spec, {_parameters(spec)[0]: span}
        open_page = self._tool("open_page")
        if open_page is not None:
            for title in dict.fromkeys(self._question.paragraphs[i].title for i in _paragraphs(any_of)):
                span = self._find_name(title)
                if span is not None:
                    yield self._rank(span, False), open_page, {_parameters(open_page)[0]: span}

    def _rank(self, span: Span, inverse: bool) -> _Rank:
        """The smaller, the sooner: a name that stands alone before one of a list, which only the gold tells from the
        others; what a thing has before who else has it; the newest name, then the one that the question says first."""
        if span.call == QUESTION:
            return False, inverse, 1, span.start
        asked = self._toolset.get(self._calls[span.call].tool)
        return asked is not None and asked.binding.startswith("inverse:"), inverse, -span.call, span.start

    def _search_for(self, missing: Sequence[Sequence[str]]) -> bool:
        """Plans a search, with words seen so far, that finds the page of a missing piece of evidence."""
        search = self._tool("search")
        if search is None:
            return False
        for any_of in missing:
            for paragraph in _paragraphs(any_of):
                for query in self._queries(paragraph):
                    arguments: dict[str, Argument] = {_parameters(search)[0]: query}
                    response = self._try(search, arguments)
                    if f"p{self._page(paragraph)}" in response.sources and not self._sources.issuperset(
                        response.sources
                    ):
                        self._add(search, arguments, response)
                        return True
        return False

    def _queries(self, paragraph: int) -> Iterator[Argument]:
        """The question; then runs of seen words that the wanted page has; then its rarest seen words together."""
        yield Span(QUESTION, 0, 0, len(self._question.text))
        pages = self._question.paragraphs
        wanted = set(fold(f"{pages[paragraph].title} {' '.join(pages[paragraph].sentences)}").split())
        runs: list[tuple[int, Span]] = []
        words: dict[str, Span] = {}
        for seen in self._seen:
            run: list[Word] = []
            for word in [*words_of(seen.text), None]:
                if word is not None and word.key in wanted:
                    run.append(word)
                    words.setdefault(word.key, Span(seen.call, seen.string, word.start, word.end))
                elif run:
                    runs.append((len(run), Span(seen.call, seen.string, run[0].start, run[-1].end)))
                    run = []
        yield from (span for _, span in sorted(runs, key=lambda run: -run[0])[:40])
        others = [set(fold(f"{p.title} {' '.join(p.sentences)}").split()) for p in pages]
        rare = sorted(words, key=lambda word: sum(word in other for other in others))
        for count in (1, 2, 3, 5, 8):
            if count <= len(rare):
                yield Joined(tuple(words[word] for word in rare[:count]), " ")

    def _page(self, paragraph: int) -> int:
        """The paragraph whose reference stands for the page (the first with this title)."""
        title = self._question.paragraphs[paragraph].title
        return next(i for i, p in enumerate(self._question.paragraphs) if p.title == title)

    def _titles(self, missing: Sequence[Sequence[str]]) -> str:
        titles = dict.fromkeys(self._question.paragraphs[i].title for unit in missing for i in _paragraphs(unit))
        return f"the page {', '.join(map(repr, titles))}" if titles else "evidence that no paragraph states"

    # ----------------------------------------------------------------------------------------------------- the answer

    def _answer(self) -> Argument | Verdict | None:
        golds = [normalize_answer(gold) for gold in self._question.golds]
        if golds[0] in ("yes", "no"):
            return Verdict(golds[0])
        # A difference of years is computed even where the same number happens to stand somewhere.
        computed = self._compute(golds) if self._question.family == "temporal" else None
        return (
            computed
            or self._find_any(golds)
            or self._compute(golds)
            or (self._find_any(golds) if self._read_pages(golds) else None)
        )

    def _find_any(self, golds: Sequence[str]) -> Span | None:
        return next((span for gold in golds if (span := self._find_answer(gold)) is not None), None)

    def _read_pages(self, golds: Sequence[str]) -> bool:
        """Opens pages of seen titles until one states the answer (a tool showed the evidence in other words)."""
        open_page = self._tool("open_page")
        if open_page is None:
            return False
        for paragraph in self._question.paragraphs:
            text = normalize_answer(" ".join(paragraph.sentences))
            if not any(contains_words(text, gold) for gold in golds):
                continue
            span = self._find_name(paragraph.title)
            if span is None:
                continue
            arguments: dict[str, Argument] = {_parameters(open_page)[0]: span}
            response = self._try(open_page, arguments)
            if not self._sources.issuperset(response.sources):
                self._add(open_page, arguments, response)
                return True
        return False

    def _compute(self, golds: Sequence[str]) -> Argument | None:
        """A difference or sum of two numbers seen."""
        calculate = self._tool("compute:calculate")
        if calculate is None or not any(gold.isdigit() for gold in golds):
            return None
        numbers: dict[str, Span] = {}
        for seen in self._seen:
            for match in re.finditer(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\w)", seen.text):
                value = match[0].rstrip(",")
                numbers.setdefault(value, Span(seen.call, seen.string, match.start(), match.start() + len(value)))
        for a, b in permutations(numbers, 2):
            for operator in ("-", "+"):
                if str(compute.calculate(f"{a} {operator} {b}")) not in golds:
                    continue
                arguments: dict[str, Argument] = {
                    _parameters(calculate)[0]: Joined((numbers[a], numbers[b]), f" {operator} ")
                }
                self._add(calculate, arguments, self._try(calculate, arguments))
                return self._find_any(golds)
        return None

    # ------------------------------------------------------------------------------------------------------- the world

    def _try(self, spec: ToolSpec, arguments: dict[str, Argument]) -> Response:
        """What a call would return now; nothing is planned yet."""
        call = Call(spec.name, {name: self._text(argument) for name, argument in arguments.items()})
        key = canonical(call)
        response = self._tried.get(key)
        if response is None or spec.binding.startswith("compute:"):
            request = ToolRequest(call, spec, self._view, History(self._trace), CallKey(0, self._question.id, call))
            result = respond(self._actor, request)
            if isinstance(result, Exception):
                self._calls.append(PlannedCall(spec.name, arguments, ()))  # so that the episode meets the outage too
                raise _Outage(str(result) if isinstance(result, InfrastructureError) else type(result).__name__)
            response = self._tried[key] = result
        return response

    def _add(self, spec: ToolSpec, arguments: dict[str, Argument], response: Response) -> None:
        call = Call(spec.name, {name: self._text(argument) for name, argument in arguments.items()})
        number = len(self._calls)
        texts = list(sourced_strings(call, response))
        self._seen += [Seen(number, i, text) for i, text in enumerate(texts)]
        self._sources.update(response.sources)
        self._calls.append(PlannedCall(spec.name, arguments, tuple(map(len, texts))))
        self._trace = replace(self._trace, steps=(*self._trace.steps, Step("", (call,), (response,))))

    def _text(self, argument: Argument) -> str:
        if isinstance(argument, Joined):
            return argument.separator.join(self._text(span) for span in argument.spans)
        seen = next(s for s in self._seen if s.call == argument.call and s.string == argument.string)
        return seen.text[argument.start : argument.end]

    def _tool(self, binding: str) -> ToolSpec | None:
        return next((tool for tool in self._toolset.tools if tool.binding == binding), None)

    def _find_name(self, name: str) -> Span | None:
        """Where a name has been seen: as it is written, else without its trailing parenthesis."""
        for key in dict.fromkeys((fold(name), name_key(name))):
            for seen in self._seen:
                if contains_words(fold(seen.text), key):
                    found = locate(seen.text, key)
                    if found is not None:
                        return Span(seen.call, seen.string, *found)
        return None

    def _find_answer(self, gold: str) -> Span | None:
        """Where a text has been seen that equals the normalised gold answer; short texts first, the question last."""
        order = sorted(self._seen, key=lambda seen: (seen.call == QUESTION, len(seen.text) > 200, -seen.call))
        for seen in order:
            for literal in self._question.golds:
                start = seen.text.find(literal)
                if start >= 0 and locate_answer(literal, gold) and contains_words(fold(seen.text), fold(literal)):
                    return Span(seen.call, seen.string, start, start + len(literal))
            found = locate_answer(seen.text, gold)
            if found is not None:
                return Span(seen.call, seen.string, *found)
        return None


def _parameters(spec: ToolSpec) -> list[str]:
    return [*spec.parameters["properties"]]


def _paragraphs(any_of: Sequence[str]) -> list[int]:
    """The paragraphs that references to sentences name."""
    return [*dict.fromkeys(int(ref[1:].partition("s")[0]) for ref in any_of if ref.startswith("p"))]


def _grouped(calls: Sequence[PlannedCall]) -> tuple[tuple[PlannedCall, ...], ...]:
    """The calls in order, together in one step (at most 8) where none needs another's response."""
    steps: list[list[PlannedCall]] = []
    first = 0
    for number, call in enumerate(calls):
        needs = max((span.call for argument in call.arguments.values() for span in _spans(argument)), default=QUESTION)
        if steps and needs < first and len(steps[-1]) < 8:
            steps[-1].append(call)
        else:
            steps.append([call])
            first = number
    return tuple(tuple(step) for step in steps)


def _spans(argument: Argument) -> tuple[Span, ...]:
    return argument.spans if isinstance(argument, Joined) else (argument,)
