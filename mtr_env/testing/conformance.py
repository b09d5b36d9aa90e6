"""Does a plug of yours keep its promises? One function for each kind of plug, to call in your own tests.

    from mtr_env.testing import check_tool_actor

    def test_my_actor():
        check_tool_actor(MyActor())

Each plays a few questions and raises :class:`NotConforming` with everything that it found; what your plug raises itself
is raised as it is, with a note of what it was asked. All run offline on the embedded world unless told otherwise.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec.structs import replace

from mtr_env.contract import Contract, check_toolset, toolset_problems
from mtr_env.episode import Game
from mtr_env.errors import ToolsetError
from mtr_env.policies import make_policy
from mtr_env.policies.base import AnyPolicy, AsyncPolicy, Messages, Tools, any_player
from mtr_env.question import Question, View
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.reward import Part
from mtr_env.rollout import aplay
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import BatchToolActor, ToolActor, ToolRequest, exchanges
from mtr_env.toolactors.border import ask
from mtr_env.toolmakers.base import ToolMaker
from mtr_env.trace import Call, Fault, Response, Step, Trace, encode

_UNHEARD = "Zzyx Qworb"  # in no question's evidence


class NotConforming(AssertionError):
    """What a plug does not do that it should; ``problems`` lists it."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__(f"{what}:\n" + "\n".join(f"- {problem}" for problem in self.problems))


def check_tool_maker(maker: ToolMaker, env_id: str = SYNTHETIC, *, questions: int = 8, **options: Any) -> None:
    """Holds a ToolMaker to :class:`~mtr_env.toolmakers.base.ToolMaker` on the first ``questions`` of a world.

    It has a name and can be copied; what it writes is a :class:`~mtr_env.tool.Toolset` that breaks no rule of
    :mod:`mtr_env.contract` and gives no answer away, the same one when asked again and by ``amake``. ``options`` are
    those of :func:`~mtr_env.registration.make_game`. Raises :class:`NotConforming`.
    """
    problems = _as_plug(maker)
    world = make_game(env_id, **options).world
    for question_id in world.ids[:questions]:
        question = world.question(question_id)
        with _asked(f"question {question_id!r}"):
            problems += [f"question {question_id!r}: {problem}" for problem in _made(maker, question)]
    _raise(f"ToolMaker {_name(maker)}", problems)


def _made(maker: ToolMaker, question: Question) -> Iterator[str]:
    before = msgspec.json.encode(question)
    toolset = maker.make(question)
    if not isinstance(toolset, Toolset):
        yield f"make gives a {type(toolset).__name__}, not a Toolset."
        return
    yield from toolset_problems(toolset)
    try:
        check_toolset(toolset, question.text, question.golds)
    except ToolsetError as error:
        yield str(error)
    if maker.make(question) != toolset:
        yield "make gives another toolset when it is asked again; cassettes, groups of rollouts and replays need one."
    if msgspec.json.encode(question) != before:
        yield "make changes the question."
    amake = getattr(maker, "amake", None)
    if amake is not None and asyncio.run(amake(question)) != toolset:
        yield "amake gives another toolset than make."


def check_tool_actor(actor: ToolActor, env_id: str = SYNTHETIC, *, questions: int = 8, **options: Any) -> None:
    """Holds a ToolActor to :class:`~mtr_env.toolactors.base.ToolActor`: the oracle and a policy of random valid calls
    play the first ``questions`` of a world, and each call is then made once more, and once with words that no evidence
    has in place of its text.

    It has a name and can be copied; each response fits the tool's schema and names sources that the question has;
    asked the same again, ``respond``, ``respond_many`` and ``arespond`` give the same response; it changes nothing of
    what it is given, and an unknown name is no outage. Raises :class:`NotConforming`.
    """
    problems = _as_plug(actor)
    game = make_game(env_id, tool_actor=actor, **options)
    for number, question_id in enumerate(game.world.ids[:questions]):
        for name in ("oracle", "random-valid"):
            trace = _played(game, make_policy(name, game.grammar, actor=actor), question_id, number)
            problems += [fault.message for fault in trace.faults if fault.blame != "policy"]
            requests = [request for request, _ in exchanges(trace, trace.question.view())]
            for request in requests:
                with _asked(f"{request.call.name} with {request.call.arguments}, question {question_id!r}"):
                    problems += [f"{request.call.name}: {problem}" for problem in _responded(actor, request)]
            with _asked(f"the calls of question {question_id!r} at once"):
                problems += _in_other_forms(actor, requests)
    _raise(f"ToolActor {_name(actor)}", problems)


def _responded(actor: ToolActor, request: ToolRequest) -> Iterator[str]:
    before = msgspec.json.encode(request)
    response = _respond(actor, request)
    if not isinstance(response, Response):
        yield f"respond gives a {type(response).__name__}, not a Response."
        return
    for source in response.sources:
        if not _is_reference(source, request.view):
            yield f"the source {source!r} names nothing of the question; mtr_env.question says how references look."
    if _respond(actor, request) != response:
        yield "respond gives another response to the same request; replays and groups of rollouts need one."
    if msgspec.json.encode(request) != before:
        yield "respond changes what it is given."
    unheard = replace(request.call, arguments=_with_unheard(request.call.arguments))
    contract = Contract(Toolset((request.spec,)))
    if contract.check_call(unheard) is None:
        fault = contract.check_response(
            _respond(actor, replace(request, call=unheard, key=replace(request.key, made=unheard))).value, request.spec
        )
        if fault is not None:
            yield f"a name that nobody has heard of: {fault.message}"


def _in_other_forms(actor: ToolActor, requests: Sequence[ToolRequest]) -> Iterator[str]:
    async def awaited() -> list[Response]:
        return [await ask(actor, request) for request in requests]

    alone = [_respond(actor, request) for request in requests]
    if asyncio.run(awaited()) != alone:
        yield "arespond gives other responses than respond."
    if isinstance(actor, BatchToolActor) and list(actor.respond_many(requests)) != alone:
        yield "respond_many gives other responses than respond, or in another order."


def _respond(actor: ToolActor, request: ToolRequest) -> Response:
    return actor.respond(request.call, request.spec, request.view, request.history, request.key)


def _is_reference(source: str, view: View) -> bool:
    found = re.fullmatch(r"p(\d+)(?:s(\d+))?|t(\d+)|c\d+(?:s\d+)?|m[0-9a-f]+|q", source)
    if found is None:
        return False
    page, sentence, fact = (None if number is None else int(number) for number in found.groups())
    if page is not None:
        return page < len(view.paragraphs) and (sentence or 0) < len(view.paragraphs[page].sentences)
    return fact is None or fact < len(view.facts)


def _with_unheard(value: Any) -> Any:
    """The same arguments with other words."""
    if isinstance(value, dict):
        return {name: _with_unheard(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_unheard(one) for one in value]
    return _UNHEARD if isinstance(value, str) else value


def check_reward_part(part: Part, env_id: str = SYNTHETIC, *, questions: int = 8, **options: Any) -> None:
    """Holds a reward part to :data:`~mtr_env.reward.Part` on traces of the first ``questions`` of a world: the
    oracle's, those of short cuts and of players that game a reward, unfinished ones, and ones with faults.

    It gives a number in [0, 1] or ``None``, the same one when asked again and for the trace as it was saved and read.
    Raises :class:`NotConforming`.
    """
    game = make_game(env_id, **options)
    problems: list[str] = []
    for trace in _traces(game, questions):
        with _asked(f"a trace of question {trace.question.id!r} with {len(trace.steps)} steps"):
            value = part(trace)
            if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
                problems.append(f"gives {value!r}; a part is a number in [0, 1], or None where it does not apply.")
            elif part(trace) != value:
                problems.append("gives another value when it is asked again; it must be a function of the trace.")
            elif part(msgspec.json.decode(encode(trace), type=Trace)) != value:
                problems.append("gives another value for the same trace saved and read.")
    _raise(f"Reward part {_name(part)}", problems)


def _traces(game: Game, questions: int) -> Iterator[Trace]:
    """Traces of every kind: right, wrong, cut short, with each kind of fault."""
    for number, question_id in enumerate(game.world.ids[:questions]):
        oracle = _played(game, make_policy("oracle", game.grammar, actor=game.tool_actor), question_id, number)
        yield from map(oracle.upto, range(len(oracle.steps) + 1))
        for name in ("random-valid", "no-tool"):
            yield _played(game, make_policy(name, game.grammar, max_steps=game.setup.max_steps), question_id, number)
        for kind in ("malformed_action", "unknown_tool", "invalid_arguments", "infrastructure"):
            yield replace(oracle, steps=(*oracle.steps[:1], Step("?", faults=(Fault(kind, "Said so."),))))
        yield replace(oracle, steps=(_broken(oracle.steps[0]), *oracle.steps[1:]))


def _broken(step: Step) -> Step:
    """The step with a response that broke its schema, if it has a call."""
    return replace(step, faults=(Fault("invalid_response", "Said so.", 0),)) if step.calls else step


def check_policy(policy: AnyPolicy, env_id: str = SYNTHETIC, *, questions: int = 4, **options: Any) -> None:
    """Holds a policy to :class:`~mtr_env.policies.base.Policy` on the first ``questions`` of a world.

    It writes text, changes neither messages nor tools, and goes on after observations that are errors: the episode is
    also played with tools that find nothing. Whether it always writes the same is its own affair. Raises
    :class:`NotConforming`.
    """
    game = make_game(env_id, **options)
    problems: list[str] = []
    for number, question_id in enumerate(game.world.ids[:questions]):
        for played in (game, make_game(env_id, **{**options, "tool_actor": _FindsNothing()})):
            guard = _Watched(policy)
            _played(played, guard, question_id, number)
            problems += guard.problems
    _raise(f"Policy {_name(policy)}", problems)


class _Watched:
    """A policy, and what it did that it should not."""

    asynchronous = True

    def __init__(self, policy: AnyPolicy) -> None:
        self._policy = policy
        self.sees_gold = getattr(policy, "sees_gold", False)
        self.problems: list[str] = []

    def for_episode(self, trace: Trace) -> AsyncPolicy:
        act = any_player(self._policy, trace)

        async def play(messages: Messages, tools: Tools) -> str:
            before = msgspec.json.encode((messages, tools))
            action = act(messages, tools)
            if inspect.isawaitable(action):
                action = await action
            if msgspec.json.encode((messages, tools)) != before:
                self.problems.append("changes the messages or the tools that it is given.")
            if not isinstance(action, str):
                self.problems.append(f"gives a {type(action).__name__}; an action is text.")
                return ""
            return action

        return play


class _FindsNothing:
    """Tools that have no answer; one whose schema does not know that fails."""

    name = "finds-nothing"

    def respond(self, call: Call, spec: object, view: object, history: object, key: object) -> Response:
        return Response({"status": "not_found", "message": "There is no such record."})


# ---------------------------------------------------------------------------------------------- what all have in common


def _played(game: Game, policy: AnyPolicy, question_id: str, seed: int) -> Trace:
    with _asked(f"question {question_id!r} with seed {seed}"):
        return asyncio.run(aplay(game, policy, question_id=question_id, seed=seed))


def _as_plug(plug: Any) -> list[str]:
    """What is wrong with a ToolMaker or ToolActor as such."""
    name = getattr(plug, "name", None)
    if not isinstance(name, str) or not name:
        return ["has no name: a text that says in every trace who it is, with the settings that change what it gives."]
    try:
        copied = copy.deepcopy(plug).name
    except Exception as error:  # any: a lock, a socket, a client
        return [f"cannot be copied, which Gymnasium does ({error}); let __deepcopy__ return self."]
    return [] if copied == name else ["has another name when it is copied."]


def _name(plug: Any) -> str:
    return str(getattr(plug, "name", None) or getattr(plug, "__qualname__", type(plug).__qualname__))


@contextmanager
def _asked(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"mtr-env: this was {what}.")
        raise


def _raise(what: str, problems: Sequence[str]) -> None:
    if problems:
        raise NotConforming(what, problems)
