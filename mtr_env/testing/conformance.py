"""Does a plug of yours keep its promises? One function for each kind of plug, to call in your own tests (that of a
ToolActor is in :mod:`mtr_env.testing.conformance_actor`).

    from mtr_env.testing import check_tool_maker

    def test_my_maker():
        check_tool_maker(MyMaker())

Each plays a few questions and raises :class:`NotConforming` with everything that it found; what your plug raises itself
is raised as it is, with a note of what it was asked. All run offline on the embedded world unless told otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from mtr_env.contract import check_toolset, toolset_problems
from mtr_env.episode import Game
from mtr_env.errors import ToolsetError
from mtr_env.policies import make_policy
from mtr_env.policies.base import AnyPolicy, AsyncPolicy, Messages, Tools, any_player
from mtr_env.question import Question
from mtr_env.registration import SYNTHETIC, make_game
from mtr_env.reward import Part
from mtr_env.rollout import wait
from mtr_env.testing.checks import asked, name_of, played, plug_problems, raise_for
from mtr_env.tool import Toolset
from mtr_env.toolmakers.base import ToolMaker
from mtr_env.trace import Call, Fault, Response, Step, Trace, encode


def check_tool_maker(maker: ToolMaker, env_id: str = SYNTHETIC, *, questions: int = 8, **options: Any) -> None:
    """Holds a ToolMaker to :class:`~mtr_env.toolmakers.base.ToolMaker` on the first ``questions`` of a world.

    It has a name and can be copied; what it writes is a :class:`~mtr_env.tool.Toolset` that breaks no rule of
    :mod:`mtr_env.contract` and gives no answer away, the same one when asked again and by ``amake``. ``options`` are
    those of :func:`~mtr_env.registration.make_game`. Raises :class:`NotConforming`.
    """
    problems = plug_problems(maker)
    world = make_game(env_id, **options).world
    for question_id in world.ids[:questions]:
        question = world.question(question_id)
        with asked(f"question {question_id!r}"):
            problems += [f"question {question_id!r}: {problem}" for problem in _made(maker, question)]
    raise_for(f"ToolMaker {name_of(maker)}", problems)


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
    if amake is not None and wait(amake(question)) != toolset:
        yield "amake gives another toolset than make."


def check_reward_part(part: Part, env_id: str = SYNTHETIC, *, questions: int = 8, **options: Any) -> None:
    """Holds a reward part to :data:`~mtr_env.reward.Part` on traces of the first ``questions`` of a world: the
    oracle's, those of short cuts and of players that game a reward, unfinished ones, and ones with faults.

    It gives a number in [0, 1] or ``None``, the same one when asked again and for the trace as it was saved and read.
    Raises :class:`NotConforming`.
    """
    game = make_game(env_id, **options)
    problems: list[str] = []
    for trace in _traces(game, questions):
        with asked(f"a trace of question {trace.question.id!r} with {len(trace.steps)} steps"):
            value = part(trace)
            if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
                problems.append(f"gives {value!r}; a part is a number in [0, 1], or None where it does not apply.")
            elif part(trace) != value:
                problems.append("gives another value when it is asked again; it must be a function of the trace.")
            elif part(msgspec.json.decode(encode(trace), type=Trace)) != value:
                problems.append("gives another value for the same trace saved and read.")
    raise_for(f"Reward part {name_of(part)}", problems)


def _traces(game: Game, questions: int) -> Iterator[Trace]:
    """Traces of every kind: right, wrong, cut short, with each kind of fault."""
    for number, question_id in enumerate(game.world.ids[:questions]):
        oracle = played(game, make_policy("oracle", game.grammar, actor=game.tool_actor), question_id, number)
        yield from map(oracle.upto, range(len(oracle.steps) + 1))
        for name in ("random-valid", "no-tool"):
            yield played(game, make_policy(name, game.grammar, max_steps=game.setup.max_steps), question_id, number)
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
        for tools in (game, make_game(env_id, **{**options, "tool_actor": _FindsNothing()})):
            guard = _Watched(policy)
            played(tools, guard, question_id, number)
            problems += guard.problems
    raise_for(f"Policy {name_of(policy)}", problems)


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
