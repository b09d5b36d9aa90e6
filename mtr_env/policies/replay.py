"""A player that repeats what saved traces recorded."""

from __future__ import annotations

from collections.abc import Iterable

from mtr_env.errors import InfrastructureError, MTRError
from mtr_env.policies import reading
from mtr_env.policies.base import Messages, Policy, Tools
from mtr_env.trace import Trace


class MissingRecordingError(MTRError, KeyError):
    """No trace was recorded for an episode, or its recording ends before the episode does."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class Replay:
    """Plays the recorded actions of ``traces``: those of the same question and seed, else the first of the question.

    Raises :class:`MissingRecordingError` for a question without a recording and when the recorded actions run out,
    and ``ValueError`` when the episode speaks another grammar than the recording.
    """

    def __init__(self, traces: Iterable[Trace]) -> None:
        self._traces: dict[tuple[str, int], Trace] = {}
        self._first: dict[str, Trace] = {}
        for trace in traces:
            self._traces.setdefault((trace.question.id, trace.seed), trace)
            self._first.setdefault(trace.question.id, trace)

    def for_episode(self, trace: Trace) -> Policy:
        """See :class:`~mtr_env.policies.base.EpisodicPolicy`."""
        question_id = trace.question.id
        recorded = self._traces.get((question_id, trace.seed)) or self._first.get(question_id)
        if recorded is None:
            examples = ", ".join(map(repr, [*self._first][:3]))
            held = f"recorded are {len(self._first)} questions, e.g. {examples}" if examples else "nothing is recorded"
            raise MissingRecordingError(f"No recording of question {question_id!r}; {held}.")
        spoken, written = trace.setup.grammar, recorded.setup.grammar
        if spoken.removesuffix("-compact") != written.removesuffix("-compact"):
            raise ValueError(
                f"The recording of {question_id!r} is written in {written!r}; the episode speaks {spoken!r}."
            )
        return _Recording(recorded)


class _Recording:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def __call__(self, messages: Messages, tools: Tools) -> str:
        turn = reading.turn(messages)
        if turn >= len(self.trace.steps):
            raise MissingRecordingError(
                f"The recording of question {self.trace.question.id!r} (seed {self.trace.seed}) holds "
                f"{len(self.trace.steps)} actions and the episode asks for one more; was it recorded with fewer steps "
                "or another ToolActor?"
            )
        step = self.trace.steps[turn]
        for fault in step.faults:
            if fault.kind == "infrastructure" and fault.call is None:  # the policy's own endpoint had failed
                raise InfrastructureError(fault.message.removeprefix("policy: "))
        return step.action
