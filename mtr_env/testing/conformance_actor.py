"""Does a ToolActor of yours keep its promises? To call in your own tests.

    from mtr_env.testing import check_tool_actor

    def test_my_actor():
        check_tool_actor(MyActor())

It raises :class:`NotConforming` with everything that it found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from mtr_env.contract import Contract
from mtr_env.policies import make_policy
from mtr_env.policies.random_valid import random_call
from mtr_env.question import View
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.rollout import wait
from mtr_env.testing.checks import NotConforming, Stop, asked, name_of, played, plug_problems, raise_for
from mtr_env.text import contains_words, fold
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import BatchToolActor, CallKey, History, ToolActor, ToolRequest, exchanges
from mtr_env.toolactors.guard import leaked
from mtr_env.trace import Call, Response, Trace

_CALLS = 3  # of each tool, beside those that the policies make
_AGAIN = 3
_SUM = "12 + 30"  # for tools that compute
_UNHEARD = "Zzyx Qworb"  # in no question's evidence


def check_tool_actor(actor: ToolActor, env_id: str = SYNTHETIC, *, questions: int = 8, **options: Any) -> None:
    """Holds a ToolActor to :class:`~mtr_env.toolactors.base.ToolActor`, on the first ``questions`` of a world: each
    tool of a question is called three times with arguments from its evidence, and the oracle and a policy of random
    valid calls play it. Each of these calls is then made three times more, and once with words that no evidence has in
    place of its text.

    It has a name and can be copied; each response fits the tool's schema and names sources that the question has;
    asked the same again, ``respond``, ``respond_many`` and ``arespond`` give the same response; it changes nothing of
    what it is given, and an unknown name is no outage. No response tells the final answer to a call that did not ask
    for it (:mod:`mtr_env.toolactors.guard`), unless one of its sources states it. An answer that is a number may have
    been computed and is no leak, nor is what a corpus or a model is named as the source of.

    ``options`` are those of :func:`~mtr_env.registration.make_game`. An actor that costs money is asked some hundred
    times: choose fewer ``questions``, or put a cassette around it. Raises :class:`NotConforming`, at once for something
    else than a ``Response``; and what the actor raises, with a note of what it was asked.
    """
    problems = plug_problems(actor)
    game = make_game(env_id, tool_actor=_Watched(actor), **options)
    for number, question_id in enumerate(game.world.ids[:questions]):
        _, begun = game.begin(question_id, number)
        problems += _asked_and_found(actor, _calls_of_each_tool(begun), question_id)
        for name in ("oracle", "random-valid"):
            trace = played(game, make_policy(name, game.grammar, actor=actor), question_id, number)
            problems += [fault.message for fault in trace.faults if fault.blame != "policy"]
            requests = [request for request, _ in exchanges(trace, trace.question.view())]
            problems += _asked_and_found(actor, requests, question_id)
    raise_for(f"ToolActor {name_of(actor)}", problems)


class _Watched:
    """An actor in an episode, in which what it raises would be an outage: it ends the check instead."""

    def __init__(self, actor: ToolActor) -> None:
        self._actor = actor
        self.name = str(getattr(actor, "name", ""))

    def respond(self, *request: Any) -> Response:
        """For a ToolActor has it; the episodes of a check await."""
        return wait(self.arespond(ToolRequest(*request)))

    async def arespond(self, request: ToolRequest) -> Response:
        """What the actor says, or the end of the check."""
        try:
            return await _awaited(self._actor, request)
        except Exception as error:
            raise Stop(error) from error


def _calls_of_each_tool(begun: Trace) -> list[ToolRequest]:
    """Valid calls of every tool at the beginning of an episode, with names of the question's evidence."""
    view = begun.question.view()
    names = [paragraph.title for paragraph in view.paragraphs]
    names += [name for fact in view.facts for name in (fact.subject, fact.object)]
    texts = [*dict.fromkeys(names), *view.text.split(), _SUM]
    calls = [
        (spec, random_call([spec.openai()], texts, ("conformance", view.id, number)))
        for spec in begun.toolset.tools
        for number in range(_CALLS)
    ]
    return [
        ToolRequest(call, spec, view, History(begun), CallKey(begun.seed, view.id, call))
        for spec, call in calls
        if call is not None
    ]


def _asked_and_found(actor: ToolActor, requests: Sequence[ToolRequest], question_id: str) -> Iterator[str]:
    """What is wrong with the responses to these requests."""
    with asked(f"question {question_id!r}"):
        for request in requests:
            yield from [f"{request.call.name}: {problem}" for problem in _responded(actor, request)]
        yield from _in_other_forms(actor, requests)


def _responded(actor: ToolActor, request: ToolRequest) -> Iterator[str]:
    before = msgspec.json.encode(request)
    response = _respond(actor, request)
    yield from _wrong(request, response)
    if any(_respond(actor, request) != response for _ in range(_AGAIN)):
        yield "respond gives another response to the same request; replays and groups of rollouts need one."
    if msgspec.json.encode(request) != before:
        yield "respond changes what it is given."
    unheard = replace(request.call, arguments=_with_unheard(request.call.arguments))
    if Contract(Toolset((request.spec,))).check_call(unheard) is None:
        other = replace(request, call=unheard, key=replace(request.key, made=unheard))
        yield from [f"a name that nobody has heard of: {wrong}" for wrong in _wrong(other, _respond(actor, other))]


def _wrong(request: ToolRequest, response: Response) -> Iterator[str]:
    """What is wrong with one response."""
    fault = Contract(Toolset((request.spec,))).check_response(response.value, request.spec)
    if fault is not None:
        yield fault.message
    told = [_told_by(source, request.view) for source in response.sources]
    for source, texts in zip(response.sources, told, strict=True):
        if texts is None:
            yield f"the source {source!r} names nothing of the question; mtr_env.question says how references look."
    for secret in leaked(request, response.value):
        number = secret.replace(" ", "").isdigit()
        if not number and not any(_may_state(texts, secret) for texts in told if texts is not None):
            yield f"tells {secret!r}, the final answer, which the call did not ask for and none of its sources states."


def _may_state(texts: Sequence[str], secret: str) -> bool:
    return not texts or any(contains_words(fold(text), secret) for text in texts)


def _told_by(source: str, view: View) -> list[str] | None:
    """The texts that a reference stands for: none that is known here for a corpus's or a model's, ``None`` for what is
    no reference."""
    found = re.fullmatch(r"p(\d+)(?:s(\d+))?|t(\d+)|(c\d+(?:s\d+)?|m[0-9a-f]+)|q", source)
    if found is None:
        return None
    page, sentence, fact, elsewhere = found.groups()
    try:
        if page is not None:
            paragraph = view.paragraphs[int(page)]
            return [paragraph.title if sentence is None else paragraph.sentences[int(sentence)]]
        if fact is not None:
            return [view.facts[int(fact)].subject, view.facts[int(fact)].object]
    except IndexError:
        return None
    return [] if elsewhere else [view.text]


def _in_other_forms(actor: ToolActor, requests: Sequence[ToolRequest]) -> Iterator[str]:
    async def awaited() -> list[Response]:
        return [await _awaited(actor, request) for request in requests]

    alone = [_respond(actor, request) for request in requests]
    if wait(awaited()) != alone:
        yield "arespond gives other responses than respond."
    if isinstance(actor, BatchToolActor) and list(actor.respond_many(requests)) != alone:
        yield "respond_many gives other responses than respond, or in another order."


def _respond(actor: ToolActor, request: ToolRequest) -> Response:
    with asked(_described(request)):
        found = actor.respond(request.call, request.spec, request.view, request.history, request.key)
    return _response(found, actor, "respond", request.call)


async def _awaited(actor: ToolActor, request: ToolRequest) -> Response:
    arespond = getattr(actor, "arespond", None)
    if arespond is None:
        return _respond(actor, request)
    with asked(_described(request)):
        found = await arespond(request)
    return _response(found, actor, "arespond", request.call)


def _response(found: object, actor: ToolActor, form: str, call: Call) -> Response:
    if type(found) is not Response:
        problem = f"{call.name}: {form} gives a {type(found).__name__}, not a Response."
        raise NotConforming(f"ToolActor {name_of(actor)}", [problem])
    return found


def _described(request: ToolRequest) -> str:
    return f"{request.call.name} with {request.call.arguments}"


def _with_unheard(value: Any) -> Any:
    """The same arguments with other words."""
    if isinstance(value, dict):
        return {name: _with_unheard(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_unheard(one) for one in value]
    return _UNHEARD if isinstance(value, str) else value
