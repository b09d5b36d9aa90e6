"""The leak guard: does a response state the question's final answer to a call that did not ask for it?

The gold answer is known to the guard and to nothing that a model reads: it comes out of the episode's own record
(:func:`golds`), which an actor gets as history. Functions of plain values, so that a saved trace can be measured
as well as a live response.

A response *leaks* when it states a gold answer that is a secret (one that stands in the question, or is a generic word
such as *yes*, is none), that the policy has neither said nor been told before, and that the call did not ask for. A
call asked for it

- when the evidence itself would have answered it so (the grounded ToolActor states the answer, or, for a search, a page
  further down its list does in its title or opening sentence);
- for a tool or a name that the grounded ToolActor does not know: when a sentence that has the answer is about what the
  call names;
- in a world without evidence: when it names something that the question does not (a call made of the question's own
  words asks for its first hop, not for its answer).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from mtr_env.contract import secret_answers
from mtr_env.memo import IdentityCache
from mtr_env.provenance import stated_strings
from mtr_env.question import View
from mtr_env.text import contains_words, fold
from mtr_env.toolactors.base import History, ToolRequest, exchanges
from mtr_env.toolactors.pages import Pages
from mtr_env.toolactors.stated import argument_names, grounded_response, plain, sentences
from mtr_env.trace import Call, Trace

_EVERY = 1000  # pages of a question


def golds(history: History) -> tuple[str, ...]:
    """The gold answers of the episode's question: for the guard and for ``knowledge="gold_hint"``, never for a prompt
    of another kind."""
    return history.trace.question.golds


def secrets(request: ToolRequest) -> tuple[str, ...]:
    """The gold answers, folded, that a response to this call could leak: none when the call asked for the answer, or
    the policy knows it."""
    view = request.view
    hidden = secret_answers(view.text, golds(request.history))
    return tuple([secret for secret in hidden if not _was_told(secret, request) and not _is_asked_for(secret, request)])


def leaked(request: ToolRequest, value: Any) -> tuple[str, ...]:
    """The gold answers, folded, that a response's value states to a call that did not ask for them."""
    stated = [secret for secret in secret_answers(request.view.text, golds(request.history)) if _states(value, secret)]
    return tuple([secret for secret in secrets(request) if secret in stated]) if stated else ()


def leaks(request: ToolRequest, value: Any) -> bool:
    """Whether a response's value states the final answer to a call that did not ask for it."""
    return bool(leaked(request, value))


class Leaks(Struct, frozen=True):
    """How many responses of an episode could have leaked the answer, and how many did."""

    could: int
    did: int


def count_leaks(traces: Iterable[Trace]) -> Leaks:
    """The leaks in the responses that policies saw; a pure function of the traces."""
    could = did = 0
    for trace in traces:
        for request, response in exchanges(trace, trace.question.view()):
            could += bool(secrets(request))
            did += leaks(request, response.value)
    return Leaks(could, did)


def _states(value: Any, secret: str) -> bool:
    return any(contains_words(fold(text), secret) for text in stated_strings(_NO_CALL, value))


_NO_CALL = Call("")
_PAGES: IdentityCache[View, Pages] = IdentityCache(512)


def _was_told(secret: str, request: ToolRequest) -> bool:
    """Whether the policy said it, or was told it, before."""
    if _states(request.call.arguments, secret):
        return True
    return any(_states(call.arguments, secret) or _states(r.value, secret) for call, r in request.history)


def _is_asked_for(secret: str, request: ToolRequest) -> bool:
    view, spec = request.view, request.spec
    if not view.paragraphs and not view.facts:
        return any(not contains_words(fold(view.text), name) for name in argument_names(request))
    operation, _, _ = spec.binding.partition(":")
    reference = grounded_response(request)
    if reference is not None:
        if _states(reference.value, secret):
            return True
        if operation == "compute":
            return False
        if operation == "search":
            query = next(iter(request.call.arguments.values()), "")
            return _states([hit.value for hit in _PAGES.get(view, Pages.of).search(str(query), _EVERY)], secret)
        if isinstance(reference.value, dict) and reference.value.get("status") == "ok":
            return False
    names = argument_names(request)
    return any(
        contains_words(s.text, plain(secret)) and (s.title in names or any(contains_words(s.text, n) for n in names))
        for s in sentences(view)
    )
