"""The episode: one set of rules that the environment, the vector environment and the asynchronous loop drive.

A transition is two pure halves with one effect between them: what did the policy say (:meth:`Stage.decide`), then the
ToolActor responds, then what does the policy see (:meth:`Stage.show`). :class:`Turn` stands still at the effect: it
hands out each request and takes the response, so who answers, and how many at once, is the driver's business.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from mtr_env import draw
from mtr_env.contract import Contract, check_toolset
from mtr_env.errors import InfrastructureError
from mtr_env.grammar import Grammar, Prompt, Result, get_grammar
from mtr_env.memo import IdentityCache, Memo
from mtr_env.question import Question
from mtr_env.reward import Part, Rubric, get_rubric
from mtr_env.text import as_unicode
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors.base import CallKey, History, ToolActor, ToolRequest
from mtr_env.toolactors.border import arespond, respond
from mtr_env.toolmakers.base import ToolMaker
from mtr_env.trace import Call, Fault, Response, Setup, Step, Trace
from mtr_env.version import __version__
from mtr_env.worlds.base import World, unknown_question

if TYPE_CHECKING:
    import asyncio  # `import mtr_env` does without it

_MEMO_SIZE = 256
_MEMO_CHARS = 4000
_NOT_UNICODE = "\n[not valid Unicode]"


class Decision(Struct, frozen=True):
    """What an action says and which of its calls may run: ``runnable`` has their numbers, from 0. ``faults`` are the
    policy's. ``repeated`` says that the same action came up before, so that it pays to remember how its responses read.
    """

    action: str
    calls: tuple[Call, ...] = ()
    runnable: tuple[int, ...] = ()
    faults: tuple[Fault, ...] = ()
    answer: str | None = None
    repeated: bool = False


class Shown(Struct, frozen=True, gc=False):
    """A response of a tool as the policy sees it; ``fault`` is set when it broke the tool's schema."""

    response: Response
    spec: ToolSpec
    text: str
    fault: Fault | None


class Stage:
    """A question with its toolset, ready to be played any number of times: everything that is derived from them once.

    It remembers what the last actions meant and how the last responses read; both are pure functions, so many episodes
    of one question (a group of rollouts) share the work.
    """

    def __init__(self, question: Question, toolset: Toolset, grammar: Grammar) -> None:
        self.question = question
        self.view = question.view()
        self.toolset = toolset
        self.contract = Contract(toolset)
        self.grammar = grammar
        self.prompt: Prompt = grammar.render_prompt(question.text, toolset)
        self._decisions: Memo[str, Decision] = Memo(_MEMO_SIZE)
        self._shown: dict[int, Shown] = {}
        self._tools: list[dict[str, Any]] | None = None

    def __reduce__(self) -> tuple[type[Stage], tuple[Question, Toolset, Grammar]]:
        return Stage, (self.question, self.toolset, self.grammar)  # compiled schemas cannot be pickled

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools in OpenAI form, the same list every time: nobody may change it."""
        if self._tools is None:
            self._tools = self.toolset.openai()
        return self._tools

    def decide(self, action: str) -> Decision:
        """The first half: what the policy said. Pure, never raises for anything a policy can write."""
        decision = self._decisions.get(action)
        if decision is None:
            repeated = len(action) <= _MEMO_CHARS and self._decisions.comes_again(action)
            decision = self._decide(action, repeated)
            if repeated:
                self._decisions.put(action, decision)
        return decision

    def _decide(self, action: str, repeated: bool) -> Decision:
        if not action.isascii():
            try:
                action.encode()
            except UnicodeEncodeError:
                # A lone surrogate cannot be saved: the record shows it as an escape, and a mark that makes a replay
                # of the record the same malformed action.
                action = as_unicode(action) + _NOT_UNICODE
        parsed = self.grammar.parse(action)
        if isinstance(parsed, Fault):
            if action.endswith(_NOT_UNICODE):
                parsed = Fault("malformed_action", "The action is not valid Unicode text.")
            return Decision(action, (), (), (parsed,), None, repeated)
        calls = parsed.calls
        runnable: tuple[int, ...] = ()
        faults: tuple[Fault, ...] = ()
        for i, call in enumerate(calls):
            broken = self.contract.check_call(call, i)
            if broken is None:
                runnable += (i,)
            else:
                faults += (broken,)
        return Decision(action, calls, runnable, faults, parsed.answer, repeated)

    def show(self, spec: ToolSpec, response: Response, number: int, repeated: bool) -> Shown:
        """The second half for one call, the ``number``-th of its action: is the response what the tool promised, and
        how does it read?"""
        if repeated:
            shown = self._shown.get(id(response))  # holds the response, so the id is this very object's
            if shown is not None and shown.spec is spec:
                return shown
        fault = self.contract.check_response(response.value, spec, number)
        if fault is None:
            try:
                text = self.grammar.render_result(Result(spec.name, response.value))
            except _NOT_JSON:
                fault = Fault("invalid_response", f"{spec.name} returned a value that is not JSON.", number)
        if fault is not None:
            text = self.show_fault(spec.name, fault)
            return Shown(_recorded(response), spec, text, fault)
        shown = Shown(response, spec, text, fault)
        if repeated:
            if len(self._shown) >= _MEMO_SIZE:
                self._shown.clear()
            self._shown[id(response)] = shown
        return shown

    def show_fault(self, tool: str, fault: Fault) -> str:
        """How a fault reads: an error object with a machine-readable code. What failed behind the tools stays out."""
        message = _NOT_THE_POLICYS.get(fault.kind, fault.message)
        return self.grammar.render_result(Result(tool[:100], {"error": {"code": fault.kind, "message": message}}))


_NOT_THE_POLICYS: dict[str, str] = {
    "invalid_response": "The tool failed: its response was invalid. This was not your mistake.",
    "infrastructure": "The tool cannot be reached; the episode ends here. This was not your mistake.",
}

# What rendering raises on a Python value that is not JSON, or holds a lone surrogate.
_NOT_JSON = (TypeError, ValueError, OverflowError, RecursionError)


def _recorded(response: Response) -> Response:
    """An invalid response as a trace can save it: a value that is not JSON becomes text that shows what it was."""
    try:
        msgspec.json.encode(response.value)
    except _NOT_JSON:
        return msgspec.structs.replace(response, value=f"not JSON: {ascii(response.value)[:1000]}")
    return response


class Turn:
    """One transition under way: while :attr:`waiting` is a request, have it answered and :meth:`receive` the answer;
    then :meth:`trace` is the trace with the new step. The calls of one action run in order."""

    # While it waits it holds as little as it can: ten thousand of them are work for the garbage collector.
    __slots__ = ("_before", "_decision", "_done", "_faults", "_pending", "_shown", "_stage", "waiting")

    waiting: ToolRequest | None
    """What a ToolActor has to answer now; ``None`` when the transition is complete."""

    def __init__(self, stage: Stage, trace: Trace, action: str) -> None:
        self._stage = stage
        self._before = trace
        self._decision = decision = stage.decide(action)
        self._done = 0
        self._faults = decision.faults
        self._shown: tuple[Shown, ...] = ()  # parallel to the runnable calls
        self._pending: tuple[tuple[Call, Response], ...] = ()
        self.waiting = self._request(decision.runnable[0]) if decision.runnable else None

    def _request(self, number: int) -> ToolRequest:
        before, stage, calls = self._before, self._stage, self._decision.calls
        call = calls[number]
        key = CallKey(before.seed, stage.question.id, call, before.steps, calls[:number])
        return ToolRequest(call, stage.contract.specs[call.name], stage.view, History(before, self._pending), key)

    def receive(self, response: Response | Exception) -> None:
        """Takes the answer to the request; an exception stands for an outage, after which no call runs."""
        assert self.waiting is not None
        spec, runnable = self.waiting.spec, self._decision.runnable
        number = runnable[self._done]
        if isinstance(response, Exception):
            self._faults += (Fault("infrastructure", _reason(spec.name, response), number),)
            self.waiting = None
            return
        self._done = done = self._done + 1
        shown = self._stage.show(spec, response, number, self._decision.repeated)
        self._shown += (shown,)
        if shown.fault is not None:
            self._faults += (shown.fault,)
        if done == len(runnable):
            self.waiting = None
            return
        if shown.fault is None:
            self._pending += ((self.waiting.call, response),)
        self.waiting = self._request(runnable[done])

    def trace(self) -> Trace:
        """The trace with this step."""
        decision, before = self._decision, self._before
        if len(self._shown) == len(decision.calls) == 1:  # nearly always
            shown = self._shown[0]
            responses: list[Response | None] = [shown.response]
            texts = [shown.text]
        else:
            responses, texts = [None] * len(decision.calls), [""] * len(decision.calls)
            for number, shown in zip(decision.runnable, self._shown, strict=False):
                responses[number], texts[number] = shown.response, shown.text
        for fault in self._faults:
            if fault.call is None:
                texts = [self._stage.show_fault("", fault)]
            elif responses[fault.call] is None:
                texts[fault.call] = self._stage.show_fault(decision.calls[fault.call].name, fault)
        observation = texts[0] if len(texts) == 1 else "\n".join([text for text in texts if text])
        step = Step(decision.action, decision.calls, tuple(responses), self._faults, observation, decision.answer)
        return Trace(before.question, before.toolset, before.setup, before.seed, (*before.steps, step))


def _reason(tool: str, error: Exception) -> str:
    """What the record says of an outage. Only an ``InfrastructureError`` speaks for itself: the text of any other
    exception may hold a key, an address or the answer, and stands in the log alone."""
    text = _plain(error) if isinstance(error, InfrastructureError) else ""
    return f"{tool}: {type(error).__name__}{f': {text}' if text else ''}"


def _plain(error: Exception) -> str:
    """What an exception says, on one line that a trace can save."""
    return as_unicode(" ".join(str(error).split())[:300])


def drive(stage: Stage, trace: Trace, action: str, actor: ToolActor) -> Trace:
    """One transition with an actor that answers one call at a time."""
    turn = Turn(stage, trace, action)
    while turn.waiting is not None:
        turn.receive(respond(actor, turn.waiting))
    return turn.trace()


async def adrive(stage: Stage, trace: Trace, action: str, actor: ToolActor) -> Trace:
    """As :func:`drive`, awaiting the actor where it can be awaited."""
    turn = Turn(stage, trace, action)
    while turn.waiting is not None:
        turn.receive(await arespond(actor, turn.waiting))
    return turn.trace()


def cut_short(trace: Trace, who: str, error: InfrastructureError) -> Trace:
    """The episode as it ends, unscored, when something else than a tool could not be reached: ``who`` says what."""
    step = Step("", faults=(Fault("infrastructure", f"{who}: {_plain(error)}"),))
    return Trace(trace.question, trace.toolset, trace.setup, trace.seed, (*trace.steps, step))


class Game:
    """Everything that the episodes of an environment share: the world, the plugs, and the stages already set."""

    def __init__(
        self,
        world: World,
        tool_maker: ToolMaker,
        tool_actor: ToolActor,
        rubric: str | Rubric | Part = "mtr-v0",
        grammar: str | Grammar = "hermes",
        max_steps: int = 8,
        env_id: str = "",
        stages: int = 512,
    ) -> None:
        if not isinstance(max_steps, int) or max_steps < 1:
            raise ValueError(f"max_steps must be an integer of at least 1, found {max_steps!r}.")
        self.world = world
        self.tool_maker = tool_maker
        self.tool_actor = tool_actor
        self.rubric = get_rubric(rubric)
        self.grammar = get_grammar(grammar)
        self.setup = Setup(
            env_id=env_id,
            world=world.info,
            grammar=self.grammar.name,
            max_steps=max_steps,
            tool_maker=tool_maker.name,
            tool_actor=tool_actor.name,
            rubric=self.rubric.name,
            version=__version__,
        )
        self._kept = stages
        self._stages: dict[str, Stage] = {}  # the stage used last stands last
        self._making: dict[tuple[int, str], asyncio.Future[Toolset]] = {}  # by event loop and question
        self._restored: IdentityCache[Toolset, Stage] = IdentityCache(8)

    def begin(self, question_id: str, seed: int) -> tuple[Stage, Trace]:
        """A new episode. One whose ToolMaker cannot be reached has no tools and has ended already, unscored: its trace
        has a ``stop_reason``.

        Raises :class:`~mtr_env.errors.UnknownQuestionError`, and :class:`~mtr_env.errors.ToolsetError` when the
        ToolMaker wrote tools that break a rule."""
        if not isinstance(question_id, str):
            raise unknown_question(question_id, self.world.ids)
        stage = self._stages.get(question_id)
        if stage is None:
            question = self.world.question(question_id)
            try:
                toolset = self.tool_maker.make(question)
            except InfrastructureError as error:
                return self._unplayed(question, seed, error)
            stage = self._set(question, toolset)
        return self._enter(stage, seed)

    async def abegin(self, question_id: str, seed: int) -> tuple[Stage, Trace]:
        """As :meth:`begin`; a ToolMaker that has ``amake`` is awaited, once for all episodes of the question that begin
        meanwhile."""
        amake: Callable[[Question], Coroutine[Any, Any, Toolset]] | None = getattr(self.tool_maker, "amake", None)
        if amake is None or not isinstance(question_id, str) or question_id in self._stages:
            return self.begin(question_id, seed)
        import asyncio

        key = (id(asyncio.get_running_loop()), question_id)
        making = self._making.get(key)
        if making is None:
            question = self.world.question(question_id)
            making = self._making[key] = asyncio.ensure_future(amake(question))
            making.add_done_callback(lambda _: self._making.pop(key, None))
        try:
            toolset = await asyncio.shield(making)
        except InfrastructureError as error:
            return self._unplayed(self.world.question(question_id), seed, error)
        stage = self._stages.get(question_id) or self._set(self.world.question(question_id), toolset)
        return self._enter(stage, seed)

    def _unplayed(self, question: Question, seed: int, error: InfrastructureError) -> tuple[Stage, Trace]:
        """An episode without tools, which is over as it begins. Its stage is not kept: the next one asks again."""
        stage = Stage(question, Toolset((), maker=self.tool_maker.name), self.grammar)
        return stage, cut_short(Trace(question, stage.toolset, self.setup, seed), "tool maker", error)

    def _set(self, question: Question, toolset: Toolset) -> Stage:
        check_toolset(toolset, question.text, question.golds)
        return Stage(question, toolset, self.grammar)

    def _enter(self, stage: Stage, seed: int) -> tuple[Stage, Trace]:
        question_id = stage.question.id
        self._stages.pop(question_id, None)
        self._stages[question_id] = stage
        if len(self._stages) > self._kept:
            self._stages.pop(next(iter(tuple(self._stages)), ""), None)  # another thread may have done it
        return stage, Trace(stage.question, stage.toolset, self.setup, seed)

    def resume(self, trace: Trace) -> Stage:
        """The stage of an episode that is already under way (a snapshot, a saved trace).

        Raises ``TypeError`` for anything but a trace, ``ValueError`` for one that was set up in another way: its
        record would then be wrong about how it went on.
        """
        if not isinstance(trace, Trace):
            raise TypeError(f"Expected a Trace (of snapshot(), or a decoded one), found {type(trace).__name__}.")
        if trace.setup != self.setup:
            there, here = asdict(trace.setup), asdict(self.setup)
            names = [name for name in here if there[name] != here[name]]
            differ = "; ".join(f"{name} is {there[name]!r} there and {here[name]!r} here" for name in names)
            raise ValueError(f"The trace was set up in another way: {differ}.")
        stage = self._restored.get(trace.toolset, lambda toolset: Stage(trace.question, toolset, self.grammar))
        # A ToolMaker may give one toolset to several questions.
        return stage if stage.question is trace.question else Stage(trace.question, trace.toolset, self.grammar)

    def question_for(self, seed: int) -> str:
        """The question that a seed stands for."""
        ids = self.world.ids
        return ids[draw.below(len(ids), "question", seed)]
