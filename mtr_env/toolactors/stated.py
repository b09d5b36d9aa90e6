"""What a response that a model wrote states of the evidence: pure functions of the call, the value and the view.

The grounded ToolActor knows where its values come from; a model's have to be found. Where the value is the one that the
grounded actor would give, its sources are that one's. Else it states

- a fact, when the call names one end of it, the value the other, and the tool asks for the fact's relation;
- a sentence, when the value quotes it, or a good part of it; or, for a tool that asks for a relation which the facts do
  not know, when the sentence has the value and is about what the call names;
- a title, when one of its strings is that title: a search's, a page's, or a candidate of what was not found.

What it gives besides (a name that stands nowhere, a wrong object of a known fact) has no source.

A question without paragraphs and facts has no evidence to state: there the model itself is the source, one for each
value that it gives (``"m"`` and a digest), as a document of a corpus would be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from mtr_env.errors import ToolsetError
from mtr_env.memo import IdentityCache
from mtr_env.provenance import stated_strings
from mtr_env.question import Fact, View
from mtr_env.text import contains_words, fold, name_key
from mtr_env.tool import ToolSpec
from mtr_env.toolactors.base import ToolRequest
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.trace import Response

# What a response says of itself; an argument or an answer put there is no evidence.
_OF_ITSELF = ("status", "message", "error")
_UTILITIES = ("search", "open_page", "find_in_page")
_LONG = 5  # words from which on a string is a quotation and not a name
_COMMA = re.compile(r"(?<=\d),(?=\d)")

GROUNDED = GroundedToolActor()
"""The one that responses are compared with; it holds nothing but indexes of the questions."""


class Sentence(NamedTuple):
    """A sentence of the evidence, folded (``1,250`` reads ``1250``), with its reference and that of its title."""

    ref: str
    text: str
    title: str


def sentences(view: View) -> tuple[Sentence, ...]:
    """All sentences of a view, made once."""
    return _SENTENCES.get(view, _folded)


def _folded(view: View) -> tuple[Sentence, ...]:
    return tuple(
        Sentence(f"p{i}s{j}", plain(text), name_key(paragraph.title))
        for i, paragraph in enumerate(view.paragraphs)
        for j, text in enumerate(paragraph.sentences)
    )


_SENTENCES: IdentityCache[View, tuple[Sentence, ...]] = IdentityCache(512)


def plain(text: str) -> str:
    """A text's folded words, with the commas of its numbers left out."""
    return fold(_COMMA.sub("", text))


def grounded_response(request: ToolRequest) -> Response | None:
    """What the evidence itself answers; ``None`` for a tool without a binding."""
    try:
        return GROUNDED.respond(request.call, request.spec, request.view, request.history, request.key)
    except ToolsetError:
        return None


def stated_sources(request: ToolRequest, value: Any) -> tuple[str, ...]:
    """The references of what ``value`` states, in the order of the evidence; see the module's docstring."""
    reference = grounded_response(request)
    if reference is not None and reference.value == value:
        return reference.sources
    operation, _, relation = request.spec.binding.partition(":")
    if operation == "compute":
        return ()
    told = [plain(text) for text in evidence_strings(request, value)]
    view = request.view
    if not view.paragraphs and not view.facts:
        return _model_source(value) if told else ()
    titles = [f"p{i}" for i in _titles(view) if fold(view.paragraphs[i].title) in told]
    if isinstance(value, Mapping) and value.get("status", "ok") != "ok":
        return tuple(titles)
    if operation not in _UTILITIES:
        titles = []
    names = argument_names(request)
    facts = [f"t{i}" for i, fact in enumerate(view.facts) if _states_fact(fact, request.spec, names, told)]
    quoted = [s.ref for s in sentences(view) if any(_quotes(text, s.text) for text in told)]
    found = [*titles, *facts, *quoted]
    if facts or operation in _UTILITIES or _facts_know(view, relation, names):
        return tuple(found)
    about = [s.ref for s in sentences(view) if s.ref not in quoted and _answers(s, told, names)]
    return (*found, *about)


def _model_source(value: Any) -> tuple[str, ...]:
    """The model as the source of what it found."""
    if isinstance(value, Mapping):
        if value.get("status", "ok") != "ok":
            return ()
        value = {name: item for name, item in value.items() if name not in _OF_ITSELF}
    data = msgspec.json.encode(value, order="sorted")
    return (f"m{blake2b(data, digest_size=4).hexdigest()}",)


def evidence_strings(request: ToolRequest, value: Any) -> list[str]:
    """The strings and numbers of a value that could be evidence: no status, no message, no echo of an argument."""
    if isinstance(value, Mapping):
        value = {name: item for name, item in value.items() if name not in _OF_ITSELF}
    return stated_strings(request.call, value)


def argument_names(request: ToolRequest) -> tuple[str, ...]:
    """The texts of the call's arguments as keys of names."""
    return tuple([name_key(text) for text in request.call.arguments.values() if isinstance(text, str)])


def _titles(view: View) -> Iterator[int]:
    """The paragraphs that are the first with their title, whose reference stands for the page."""
    seen: set[str] = set()
    for i, paragraph in enumerate(view.paragraphs):
        if paragraph.title not in seen:
            seen.add(paragraph.title)
            yield i


def _states_fact(fact: Fact, spec: ToolSpec, names: Sequence[str], told: Sequence[str]) -> bool:
    operation, _, relation = spec.binding.partition(":")
    if operation in ("relation", "inverse"):
        ends = ((fact.subject, fact.object), (fact.object, fact.subject))
        asked, answer = ends[operation == "inverse"]
        return fact.relation == relation and name_key(asked) in names and _is_told(answer, told)
    if operation or not _has_words_of(spec, fact.relation):
        return False
    return (name_key(fact.subject) in names and _is_told(fact.object, told)) or (
        name_key(fact.object) in names and _is_told(fact.subject, told)
    )


def _is_told(name: str, told: Sequence[str]) -> bool:
    return plain(name) in told or name_key(name) in told


def _has_words_of(spec: ToolSpec, relation: str) -> bool:
    """Whether a tool's name and description have all words of a relation's name."""
    return set(fold(relation).split()) <= set(fold(f"{spec.name} {spec.description}").split())


def _facts_know(view: View, relation: str, names: Sequence[str]) -> bool:
    """Whether the facts know the answer to a relation's tool: what they do not say is then not true."""
    return bool(relation) and any(
        fact.relation == relation and (name_key(fact.subject) in names or name_key(fact.object) in names)
        for fact in view.facts
    )


def _quotes(text: str, sentence: str) -> bool:
    """Whether a string holds the sentence, or is a good part of it."""
    if contains_words(text, sentence):
        return True
    words = text.count(" ") + 1
    return words >= _LONG and 2 * words >= sentence.count(" ") + 1 and contains_words(sentence, text)


def _answers(sentence: Sentence, told: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a sentence is about what the call names and has what the value tells."""
    about = any(sentence.title == name or contains_words(sentence.text, name) for name in names)
    return about and any(contains_words(sentence.text, text) for text in told)
