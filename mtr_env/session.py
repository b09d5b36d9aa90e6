"""An episode played by tool calls, one by one: what a trainer or server drives that knows tools and no text actions.

    session = ToolSession(make_game("MTR-Synthetic-v0"), question_id, seed=0)
    session.messages, session.tools                  # for the model
    session.call("search", {"query": "Ida Sexton"})  # JSON text for the model
    session.end("Paris")                             # its last message, unless it called submit_answer
    session.reward()

Each call is a step of its own, also where a message held several, and so is the answer. The rules are the
environment's: the same calls as text actions, one an action, give the same trace. What only this form has:

- The answer is a call of ``submit_answer``, or the last message when that calls no tool: the text that the grammar
  reads as an answer (``<answer>...</answer>``), else the whole text.
- A call after the end returns the error ``episode_over`` and changes nothing.
- An episode that its driver ends without an answer is paid as if ``max_steps`` had ended it there.
"""

from __future__ import annotations

import reprlib
from typing import Any

from msgspec.structs import replace

from mtr_env.contract import Contract
from mtr_env.episode import Game, Stage, adrive, drive
from mtr_env.grammar.base import TASK, Action, to_json
from mtr_env.reward import Reward, score
from mtr_env.reward_log import episode_log
from mtr_env.text import as_unicode
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.trace import Call, Fault, Trace

SYSTEM = (
    f"{TASK} Give it with the tool submit_answer, which ends the episode, or as a last message that holds nothing but "
    "the answer and calls no tool."
)
SUBMIT = ToolSpec(
    "submit_answer",
    "Gives the final answer, which ends the episode.",
    {
        "type": "object",
        "properties": {"answer": {"type": "string", "description": "The shortest possible answer."}},
        "required": ["answer"],
        "additionalProperties": False,
    },
    {"type": "object"},
)
_SUBMIT = Contract(Toolset((SUBMIT,)))
_SUBMITTED = '{"status":"ok","message":"The answer is recorded; the episode is over."}'
_OVER = '{"error":{"code":"episode_over","message":"The episode is over; this call was not made."}}'


class ToolSession:
    """One episode of ``game``. Calls are made one after the other: who has several at once waits for each.

    ``stage`` holds the question with its tools, ``trace`` what has happened. An episode whose ToolMaker cannot be
    reached is ``done`` from the start, unscored. Raises as :meth:`~mtr_env.episode.Game.begin`.
    """

    def __init__(self, game: Game, question_id: str, seed: int = 0) -> None:
        self.game = game
        self.stage, self.trace = game.begin(question_id, seed)

    @classmethod
    async def abegin(cls, game: Game, question_id: str, seed: int = 0) -> ToolSession:
        """A session whose ToolMaker is awaited where it can be."""
        session = cls.__new__(cls)
        session.game = game
        session.stage, session.trace = await game.abegin(question_id, seed)
        return session

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        return self.trace.stop_reason is not None

    @property
    def messages(self) -> list[dict[str, str]]:
        """See :func:`opening`."""
        return opening(self.stage)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The question's tools and ``submit_answer``."""
        return (*self.stage.toolset.tools, SUBMIT)

    @property
    def tools(self) -> list[dict[str, Any]]:
        """:attr:`specs` in OpenAI's form."""
        return [*self.stage.tools, SUBMIT.openai()]

    def call(self, name: str, arguments: Any) -> str:
        """One call and what the policy sees, as JSON text: never raises for what a policy can say, ``arguments`` that
        are no object included (text that is no JSON, for instance)."""
        if self.done:
            return _OVER
        action, fault = self._action(name, arguments)
        self.trace = drive(self.stage, self.trace, action, self.game.tool_actor)
        return self._seen(name, fault)

    async def acall(self, name: str, arguments: Any) -> str:
        """As :meth:`call`, awaiting a ToolActor that can be awaited."""
        if self.done:
            return _OVER
        action, fault = self._action(name, arguments)
        self.trace = await adrive(self.stage, self.trace, action, self.game.tool_actor)
        return self._seen(name, fault)

    def end(self, last_message: str = "") -> Trace:
        """Ends the episode with the policy's last message, if it said anything; returns the trace."""
        answer = last_message.strip()
        if answer and not self.done:
            said = self.game.grammar.parse(answer)
            is_answer = isinstance(said, Action) and said.answer is not None
            action = answer if is_answer else self.game.grammar.render_answer(answer)
            self.trace = drive(self.stage, self.trace, action, self.game.tool_actor)
        return self.trace

    def reward(self) -> Reward:
        """What the episode is worth as it stands; ``total`` is ``None`` when it is unscored."""
        return score(stopped(self.trace), self.game.rubric)

    def log(self) -> dict[str, float | None]:
        """Reward, parts and metrics by name, as every adapter logs them."""
        return episode_log(self.trace, self.reward(), cut=not self.done)

    def outcome(self) -> tuple[float | None, dict[str, Any]]:
        """The reward (``None`` when unscored) of an episode that is over, and how it ended, as JSON can say it:
        ``terminated`` (an answer), ``truncated`` (``max_steps``, an outage, or a policy that stopped without an
        answer), ``stop_reason`` (``None`` for the last of these), ``unscored`` (``None`` or why) and ``log``."""
        reward, stop_reason = self.reward(), self.trace.stop_reason
        return reward.total, {
            "terminated": stop_reason == "answer",
            "truncated": stop_reason != "answer",
            "stop_reason": stop_reason,
            "unscored": reward.unscored,
            "log": episode_log(self.trace, reward, cut=not self.done),
        }

    def _action(self, name: str, arguments: Any) -> tuple[str, Fault | None]:
        """The call as an action, and what is wrong with it when it is an answer that breaks its schema."""
        fault = None
        if name == SUBMIT.name:
            fault = _SUBMIT.check_call(Call(name, arguments)) if isinstance(arguments, dict) else None
            if fault is None and isinstance(arguments, dict):
                return self.game.grammar.render_answer(arguments["answer"]), None
        return self._text(name, arguments), fault

    def _text(self, name: str, arguments: Any) -> str:
        """The action that makes a call. Arguments that JSON cannot say (a lone surrogate) stand there in short, as a
        text, so that the action is malformed; a name is written as it can be."""
        name, render = as_unicode(name), self.game.grammar.render_call
        try:
            return render(Call(name, arguments))
        except (TypeError, ValueError, OverflowError, RecursionError):
            return render(Call(name, _in_short(arguments)))

    def _seen(self, name: str, fault: Fault | None) -> str:
        """What the policy sees of the last step, whose fault is another where it is about ``submit_answer``: among
        text actions there is no such tool at all."""
        *before, step = self.trace.steps
        if fault is not None:
            step = replace(step, faults=(fault,), observation=self.stage.show_fault(name, fault))
            self.trace = replace(self.trace, steps=(*before, step))
        if not step.observation:
            return _SUBMITTED
        return to_json(self.game.grammar.parse_observation(step.observation)[0].content)


def opening(stage: Stage) -> list[dict[str, str]]:
    """The conversation's start: what to do, and the question. The tools are given beside it."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": stage.prompt.user}]


def _in_short(value: Any) -> Any:
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"<{type(value).__name__}>"


def stopped(trace: Trace) -> Trace:
    """A trace for scoring: one without an end as if ``max_steps`` were the steps that it has."""
    if trace.stop_reason is not None or not trace.steps:
        return trace
    return replace(trace, setup=replace(trace.setup, max_steps=len(trace.steps)))
