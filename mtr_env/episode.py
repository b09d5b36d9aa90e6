"""The episode: one set of rules that the environment, the vector environment and the asynchronous loop drive.

A transition is two pure halves with one effect between them: what did the policy say (:meth:`Stage.decide`), then the
ToolActor responds, then what does the policy see (:meth:`Stage.show`). :func:`transition` is a generator that stands
still at the effect: it yields each request and is sent the response, so who answers, and how many at once, is the
driver's business.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import NamedTuple

from msgspec.structs import replace

from mtr_env import __version__, draw
from mtr_env.contract import Contract
from mtr_env.grammar import Action, Grammar, Prompt, Result, get_grammar
from mtr_env.identity import IdentityCache
from mtr_env.question import Question
from mtr_env.reward import Rubric, get_rubric
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolactors.base import CallKey, History, ToolActor, ToolRequest
from mtr_env.toolmakers.base import ToolMaker
from mtr_env.trace import Call, Fault, Response, Setup, Step, Trace, canonical
from mtr_env.worlds.base import World

logger = logging.getLogger("mtr_env")

_MEMO_SIZE = 256
_MEMO_CHARS = 4000


class Runnable(NamedTuple):
    """A call that keeps the contract: its index in the action, its tool, and its canonical form."""

    index: int
    call: Call
    spec: ToolSpec
    canonical: str


class Decision(NamedTuple):
    """What an action says and which of its calls may run. ``faults`` are the policy's."""

    action: str
    calls: tuple[Call, ...] = ()
    runnable: tuple[Runnable, ...] = ()
    faults: tuple[Fault, ...] = ()
    answer: str | None = None


class Shown(NamedTuple):
    """A response as the policy sees it; ``fault`` is set when it broke its schema."""

    response: Response
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
        self._decisions: dict[str, Decision] = {}
        self._shown: dict[int, tuple[ToolSpec, Shown]] = {}

    def decide(self, action: str) -> Decision:
        """The first half: what the policy said. Pure, never raises for anything a policy can write."""
        decision = self._decisions.get(action)
        if decision is None:
            decision = self._decide(action)
            if len(action) <= _MEMO_CHARS:
                if len(self._decisions) >= _MEMO_SIZE:
                    self._decisions.clear()
                self._decisions[action] = decision
        return decision

    def _decide(self, action: str) -> Decision:
        if not action.isascii():
            try:
                action.encode()
            except UnicodeEncodeError:
                # A lone surrogate cannot be saved; the record shows it as an escape.
                fault = Fault("malformed_action", "The action is not valid Unicode text.")
                return Decision(action.encode("utf-8", "backslashreplace").decode(), faults=(fault,))
        parsed = self.grammar.parse(action)
        if not isinstance(parsed, Action):
            return Decision(action, faults=(parsed,))
        if parsed.answer is not None:
            return Decision(action, answer=parsed.answer)
        runnable, faults = [], []
        for i, call in enumerate(parsed.calls):
            fault = self.contract.check_call(call, i)
            if fault is None:
                runnable.append(Runnable(i, call, self.contract.specs[call.name], canonical(call)))
            else:
                faults.append(fault)
        return Decision(action, parsed.calls, tuple(runnable), tuple(faults))

    def show(self, item: Runnable, response: Response) -> Shown:
        """The second half for one call: is the response what the tool promised, and how does it read?"""
        entry = self._shown.get(id(response))
        # The entry holds the response, so as long as it is there its id belongs to this very object.
        if entry is not None and entry[0] is item.spec and entry[1].fault is None:
            return entry[1]
        fault = self.contract.check_response(response.value, item.spec, item.index)
        if fault is None:
            text = self.grammar.render_result(Result(item.call.name, response.value))
        else:
            text = self.show_fault(item.call.name, fault)
        shown = Shown(response, text, fault)
        if len(self._shown) >= _MEMO_SIZE:
            self._shown.clear()
        self._shown[id(response)] = (item.spec, shown)
        return shown

    def show_fault(self, tool: str, fault: Fault) -> str:
        """How a fault reads: an error object with a machine-readable code. What a simulator did wrong stays out."""
        message = fault.message
        if fault.kind == "invalid_response":
            message = "The tool failed: its response was invalid. This was not your mistake."
        return self.grammar.render_result(Result(tool, {"error": {"code": fault.kind, "message": message}}))


def transition(
    stage: Stage, trace: Trace, action: str
) -> Generator[ToolRequest, Response | Exception, Trace]:
    """One step: yields a request for each call that may run, is sent its response (or the exception that stands for an
    outage), and returns the trace with the new step. The calls of one action run in order."""
    decision = stage.decide(action)
    calls = decision.calls
    if not calls:
        observation = "" if decision.answer is not None else stage.show_fault("", decision.faults[0])
        step = Step(decision.action, (), (), decision.faults, observation, decision.answer)
        return replace(trace, steps=(*trace.steps, step))
    responses: list[Response | None] = [None] * len(calls)
    texts = [""] * len(calls)
    faults = list(decision.faults)
    pending: list[tuple[Call, Response]] = []
    for item in decision.runnable:
        call = item.call
        key = CallKey(trace.seed, stage.question.id, item.canonical, _attempts(trace, pending, call))
        response = yield ToolRequest(call, item.spec, stage.view, History(trace, tuple(pending)), key)
        if isinstance(response, Exception):
            faults.append(Fault("infrastructure", _reason(item.call.name, response), item.index))
            break
        shown = stage.show(item, response)
        responses[item.index] = response
        texts[item.index] = shown.text
        if shown.fault is None:
            pending.append((call, response))
        else:
            faults.append(shown.fault)
    for fault in faults:
        if fault.call is not None and responses[fault.call] is None:
            texts[fault.call] = stage.show_fault(calls[fault.call].name, fault)
    observation = texts[0] if len(texts) == 1 else "\n".join([text for text in texts if text])
    step = Step(decision.action, calls, tuple(responses), tuple(faults), observation)
    return replace(trace, steps=(*trace.steps, step))


def _attempts(trace: Trace, pending: list[tuple[Call, Response]], call: Call) -> int:
    """How often the same call was made before in this episode."""
    earlier = sum([step.calls.count(call) for step in trace.steps])
    return earlier + sum([before == call for before, _ in pending])


def _reason(tool: str, error: Exception) -> str:
    text = " ".join(str(error).split())[:300].encode("utf-8", "backslashreplace").decode()
    return f"{tool}: {type(error).__name__}: {text}" if text else f"{tool}: {type(error).__name__}"


def respond(actor: ToolActor, request: ToolRequest) -> Response | Exception:
    """An actor's response, or what it raised. An actor is somebody else's code at the one effect of an episode: an
    outage there, of whatever class, ends this episode unscored and no other; it is logged with its traceback."""
    try:
        return actor.respond(*request)
    except Exception as error:  # noqa: BLE001 - see above: the plug's boundary
        log_outage(error)
        return error


def log_outage(error: BaseException) -> None:
    """Writes what an actor raised to the ``mtr_env`` log."""
    logger.warning("A ToolActor failed; the episode ends unscored.", exc_info=error)


def drive(stage: Stage, trace: Trace, action: str, actor: ToolActor) -> Trace:
    """Runs one transition to its end with an actor that answers one call at a time."""
    steps = transition(stage, trace, action)
    try:
        request = next(steps)
        while True:
            request = steps.send(respond(actor, request))
    except StopIteration as end:
        result: Trace = end.value
        return result


class Game:
    """Everything that the episodes of an environment share: the world, the plugs, and the stages already set."""

    def __init__(
        self,
        world: World,
        tool_maker: ToolMaker,
        tool_actor: ToolActor,
        rubric: str | Rubric = "mtr-v0",
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
        self._restored: IdentityCache[Toolset, Stage] = IdentityCache(8)

    def begin(self, question_id: str, seed: int) -> tuple[Stage, Trace]:
        """A new episode. Raises :class:`~mtr_env.errors.UnknownQuestionError`."""
        stage = self._stages.pop(question_id, None)
        if stage is None:
            question = self.world.question(question_id)
            stage = Stage(question, self.tool_maker.make(question), self.grammar)
        self._stages[question_id] = stage
        if len(self._stages) > self._kept:
            self._stages.pop(next(iter(self._stages)))
        return stage, Trace(stage.question, stage.toolset, self.setup, seed)

    def resume(self, trace: Trace) -> Stage:
        """The stage of an episode that is already under way (a snapshot, a saved trace)."""
        if trace.setup.grammar != self.grammar.name:
            raise ValueError(
                f"The trace was written in grammar {trace.setup.grammar!r}; this environment speaks {self.grammar.name!r}."
            )
        return self._restored.get(trace.toolset, lambda toolset: Stage(trace.question, toolset, self.grammar))

    def question_for(self, seed: int) -> str:
        """The question that a seed stands for."""
        ids = self.world.ids
        return ids[draw.below(len(ids), "question", seed)]
