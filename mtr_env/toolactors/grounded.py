"""The default ToolActor: responses made from the question's own paragraphs and facts, without a model.

Every tool answers with an object whose ``status`` is ``ok``, ``not_found``, ``ambiguous`` or ``error``, as an API
would. Messages never repeat an argument: what a policy guessed does not come back to it as if it were evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mtr_env.errors import ToolsetError
from mtr_env.memo import IdentityCache, Memo
from mtr_env.provenance import sourced_strings
from mtr_env.question import View
from mtr_env.text import contains_words, fold, name_key
from mtr_env.tool import ToolSpec
from mtr_env.toolactors import compute
from mtr_env.toolactors.base import CallKey, History
from mtr_env.toolactors.corpus import Corpus, CorpusPages
from mtr_env.toolactors.pages import Lookup, Pages
from mtr_env.trace import Call, Response

SEARCH_RESULTS = 3
_MEMO_SIZE = 1024


class GroundedToolActor:
    """Answers calls from the question's evidence; deterministic, free, and the same on every machine.

    It knows the tools whose ``binding`` is one of ``search``, ``open_page``, ``find_in_page``, ``relation:<name>``,
    ``inverse:<name>``, ``compute:calculate`` and ``compute:compare_dates`` (those of ``TemplateToolMaker``), and reads
    their arguments by position in the schema. Any other tool raises ``ToolsetError``. With a ``corpus``, pages come
    from there instead of the question's own paragraphs. ``questions`` is how many questions' indexes are kept.
    """

    def __init__(self, corpus: Corpus | None = None, questions: int = 512) -> None:
        self.name = "grounded"
        if corpus is not None:
            self.name += f"(corpus={corpus.name}, {len(corpus)} documents, {corpus.fingerprint})"
        self.corpus = corpus
        self._knowledge: IdentityCache[View, _Knowledge] = IdentityCache(questions)

    def __deepcopy__(self, memo: object) -> GroundedToolActor:
        return self

    def __reduce__(self) -> tuple[type[GroundedToolActor], tuple[Corpus | None]]:
        return GroundedToolActor, (self.corpus,)  # what was remembered is remembered again

    def respond(self, call: Call, spec: ToolSpec, view: View, history: History, key: CallKey) -> Response:
        """See :class:`~mtr_env.toolactors.base.ToolActor`."""
        knowledge = self._knowledge.get(view, self._know)
        arguments = _arguments(call, spec)
        memo, place = knowledge.memo, (spec.name, spec.binding, *arguments)
        response = memo.get(place)
        if response is None:
            operation, _, detail = spec.binding.partition(":")
            if operation == "compute":
                return _compute(detail, arguments, view, history)
            handler = _HANDLERS.get(operation)
            if handler is None:
                raise ToolsetError(
                    f"GroundedToolActor cannot answer {spec.name!r} (binding {spec.binding!r}); it knows tools made by "
                    "TemplateToolMaker. Give a tool_actor= that simulates your tools."
                )
            response = handler(knowledge, arguments, spec, detail)
            if memo.comes_again(place):
                memo.put(place, response)
        return response

    def _know(self, view: View) -> _Knowledge:
        return _Knowledge(view, Pages.of(view) if self.corpus is None else CorpusPages(self.corpus, view))


class _Knowledge:
    """What is derived once from a question: its pages, its facts by subject and object, and earlier responses."""

    def __init__(self, view: View, pages: Pages | CorpusPages) -> None:
        self.view = view
        self.pages = pages
        self.memo: Memo[tuple[str, ...], Response] = Memo(_MEMO_SIZE)
        self._facts: dict[tuple[str, str, bool], list[int]] | None = None

    def facts(self, relation: str, name: str, *, inverse: bool) -> list[int]:
        """Indices of the facts whose subject (or object) has this key, in order."""
        if self._facts is None:
            self._facts = {}
            for i, fact in enumerate(self.view.facts):
                self._facts.setdefault((fact.relation, name_key(fact.subject), False), []).append(i)
                self._facts.setdefault((fact.relation, name_key(fact.object), True), []).append(i)
        return self._facts.get((relation, name_key(name), inverse), [])


def _arguments(call: Call, spec: ToolSpec) -> list[str]:
    """The string arguments in the order of the tool's schema; an optional one that is missing is empty."""
    given = call.arguments
    return [str(given.get(name, "")) for name in spec.parameters.get("properties", ())]


def _search(knowledge: _Knowledge, arguments: Sequence[str], spec: ToolSpec, detail: str) -> Response:
    hits = knowledge.pages.search(arguments[0], SEARCH_RESULTS)
    if not hits:
        return Response({"status": "not_found", "results": [], "message": "No page matches this query."})
    results = [hit.value for hit in hits]
    return Response({"status": "ok", "results": results}, tuple([ref for hit in hits for ref in hit.refs]))


def _open_page(knowledge: _Knowledge, arguments: Sequence[str], spec: ToolSpec, detail: str) -> Response:
    found = knowledge.pages.find(arguments[0])
    if len(found.pages) != 1:
        return _no_single_page(found)
    page = found.pages[0]
    return Response(
        {"status": "ok", "title": page.title, "text": page.text}, (page.ref, *[s.ref for s in page.sentences])
    )


def _find_in_page(knowledge: _Knowledge, arguments: Sequence[str], spec: ToolSpec, detail: str) -> Response:
    found = knowledge.pages.find(arguments[0])
    if len(found.pages) != 1:
        return _no_single_page(found)
    page, words = found.pages[0], fold(arguments[1])
    matches = [s for s in page.sentences if words and contains_words(fold(s.text), words)]
    if not matches:
        return Response({"status": "not_found", "message": "The page does not contain this text."}, (page.ref,))
    value = {"status": "ok", "title": page.title, "matches": [s.text for s in matches]}
    return Response(value, (page.ref, *[s.ref for s in matches]))


def _no_single_page(found: Lookup) -> Response:
    if found.pages:
        message, status = "More than one page has this title; give the full title.", "ambiguous"
    else:
        message, status = "There is no page with this title.", "not_found"
    candidates = found.pages or found.similar
    value: dict[str, Any] = {"status": status, "message": message}
    if candidates:
        value["candidates"] = [page.title for page in candidates]
    return Response(value, tuple(page.ref for page in candidates))


def _relation(knowledge: _Knowledge, arguments: Sequence[str], spec: ToolSpec, detail: str) -> Response:
    name = arguments[0]
    facts = knowledge.view.facts
    found = knowledge.facts(detail, name, inverse=False)
    exact = [i for i in found if fold(facts[i].subject) == fold(name)]
    found = exact or found
    subjects = list(dict.fromkeys(facts[i].subject for i in found))
    if len({fold(subject) for subject in subjects}) > 1:
        value = {"status": "ambiguous", "message": "Several have this name; give the full one.", "candidates": subjects}
        return Response(value, _title_refs(knowledge.pages, subjects))
    if not found:
        return _no_fact(knowledge.pages.find(name), "There is no such record.")
    argument, answer = _field_names(spec)
    value = {"status": "ok", argument: subjects[0], answer: list(_unique(facts[i].object for i in found))}
    # The value states the facts, not all of the sentences that they were taken from.
    return Response(value, tuple(f"t{i}" for i in found))


def _inverse(knowledge: _Knowledge, arguments: Sequence[str], spec: ToolSpec, detail: str) -> Response:
    facts = knowledge.view.facts
    found = knowledge.facts(detail, arguments[0], inverse=True)
    if not found:
        return _no_fact(knowledge.pages.find(arguments[0]), "There is no such record.")
    subjects = _unique(facts[i].subject for i in found)
    argument, answer = _field_names(spec)
    value = {"status": "ok", argument: facts[found[0]].object, answer: list(subjects), "total": len(subjects)}
    return Response(value, tuple(f"t{i}" for i in found))


def _field_names(spec: ToolSpec) -> tuple[str, str]:
    """The response fields for the thing asked about and for what is known of it: the two that a response of status
    ``ok`` requires."""
    argument, answer = spec.response["then"]["required"][:2]
    return argument, answer


def _no_fact(found: Lookup, message: str) -> Response:
    value: dict[str, Any] = {"status": "not_found", "message": message}
    candidates = found.pages if len(found.pages) > 1 else found.similar
    if candidates:
        value["candidates"] = [page.title for page in candidates]
    return Response(value, tuple(page.ref for page in candidates))


def _title_refs(pages: Pages | CorpusPages, names: Iterable[str]) -> tuple[str, ...]:
    return _unique(page.ref for name in names for page in pages.find(name).pages)


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


_HANDLERS: dict[str, Callable[[_Knowledge, Sequence[str], ToolSpec, str], Response]] = {
    "search": _search,
    "open_page": _open_page,
    "find_in_page": _find_in_page,
    "relation": _relation,
    "inverse": _inverse,
}


# ------------------------------------------------------------------------------------------------------------ compute


def _compute(what: str, arguments: Sequence[str], view: View, history: History) -> Response:
    try:
        if what == "calculate":
            value: dict[str, Any] = {"status": "ok", "result": compute.calculate(arguments[0])}
            operands = _numbers(arguments[0])
        else:
            result = compute.compare_dates(*arguments[:2])
            value = {"status": "ok", "earlier": result.earlier, "years": result.years, "days": result.days}
            operands = [*arguments[:2]]
    except ValueError as error:
        return Response({"status": "error", "message": _without_echo(str(error))})
    return Response(value, _inherited(operands, view, history))


def _without_echo(message: str) -> str:
    """Error texts may quote what was wrong; a response never repeats an argument."""
    return message.split(", found")[0].split(": ")[0].rstrip(".") + "."


def _numbers(expression: str) -> list[str]:
    return [word for word in fold(expression.replace(",", "")).split() if word[0].isdigit()]


def _inherited(operands: Sequence[str], view: View, history: History) -> tuple[str, ...]:
    """The sources of the operands, if each stands in the question (``"q"``) or in an earlier sourced value."""
    sources: dict[str, None] = {}
    for operand in operands:
        found = _sources_of(fold(operand), view, history)
        if not found:
            return ()
        sources.update(dict.fromkeys(found))
    return tuple(sources)


def _sources_of(operand: str, view: View, history: History) -> tuple[str, ...]:
    if _states(view.text, operand):
        return ("q",)
    for call, response in history:
        if any(_states(text, operand) for text in sourced_strings(call, response)):
            return response.sources
    return ()


def _states(text: str, operand: str) -> bool:
    """Whether a text has these words, with or without the commas of its numbers (``1,250``)."""
    return contains_words(fold(text), operand) or contains_words(fold(text.replace(",", "")), operand)
