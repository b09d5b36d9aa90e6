"""The strategy-neutral teacher: shows the form of every move and leaves open which one is right.

At each step it makes the next call of the oracle's plan with probability ``p_gold``; otherwise a valid call of any
tool on a name that it has just seen. With ``p_later`` above that, a plan that has begun is mostly carried through:
the traces hold its late calls and its answer more often, and which way the first move goes is as open as before. When
the plan is complete, it answers; often the steps run out before, and the last one is a guess. A policy that learns
from its traces knows how to call, what may be copied and when an answer is due; which tool leads there is left for
reinforcement learning. With ``thoughts`` the simple question that a call of the plan asks is written before it
(:mod:`agents.thoughts`); detours are made without a thought. So such a policy knows two ways to act, and that one of
them pays is for it to find out. ``detours`` names the only tools that a detour may call: a choice among few is a form
that a small model can learn.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agents.thoughts import thought
from mtr_env import draw
from mtr_env.grammar import Grammar, get_grammar
from mtr_env.policies import reading
from mtr_env.policies.base import Messages, Tools
from mtr_env.policies.oracle import Oracle, OraclePlayer
from mtr_env.policies.random_valid import random_call
from mtr_env.toolactors.base import ToolActor
from mtr_env.trace import Fault, Trace


class NeutralTeacher:
    """Plays the oracle's plan with detours; every draw is a function of ``seed``, question and turn.

    ``p_later`` takes the place of ``p_gold`` once the plan has begun. Raises ``ValueError`` for one outside (0, 1].
    """

    sees_gold = True

    def __init__(
        self,
        grammar: str | Grammar = "hermes",
        p_gold: float = 0.5,
        seed: int = 0,
        actor: ToolActor | None = None,
        thoughts: bool = False,
        detours: Collection[str] | None = None,
        p_later: float | None = None,
    ) -> None:
        for name, p in (("p_gold", p_gold), ("p_later", p_later)):
            if p is not None and not 0 < p <= 1:
                raise ValueError(f"{name} is in (0, 1], found {p}.")
        self.grammar = get_grammar(grammar)
        self.p_gold = p_gold
        self.p_later = p_gold if p_later is None else p_later
        self.seed = seed
        self.thoughts = thoughts
        self.detours = detours
        self.oracle = Oracle(grammar, actor)

    def for_episode(self, trace: Trace) -> NeutralPlayer:
        """See :class:`~mtr_env.policies.base.EpisodicPolicy`."""
        return NeutralPlayer(self, self.oracle.for_episode(trace), trace)


class NeutralPlayer:
    """Plays one episode: the oracle's player, which does not see the detours."""

    def __init__(self, teacher: NeutralTeacher, oracle: OraclePlayer, trace: Trace) -> None:
        self._teacher = teacher
        self._oracle = oracle
        self._key = ("neutral", teacher.seed, trace.seed, trace.question.id)
        self._specs = {tool.name: tool for tool in trace.toolset.tools}
        self._last = trace.setup.max_steps - 1
        self._detour_at: list[int] = []

    def __call__(self, messages: Messages, tools: Tools) -> str:
        """The next move of the plan, or a detour; in the last step an answer."""
        turn = reading.turn(messages)
        planned = self._without_detours(messages)
        begun = reading.turn(planned)
        complete = begun >= len(self._oracle.plan.steps)
        if not complete and turn == self._last:
            return self._guess(messages, turn)
        p_gold = self._teacher.p_later if begun else self._teacher.p_gold
        if not complete and draw.uniform(*self._key, turn) >= p_gold:
            detour = self._detour(messages, tools, turn)
            if detour is not None:
                self._detour_at.append(turn)
                return detour
        return self._with_thoughts(self._oracle(planned, tools))

    def _without_detours(self, messages: Messages) -> Messages:
        kept = list(messages[:2])
        for turn in range((len(messages) - 2) // 2):
            if turn not in self._detour_at:
                kept += messages[2 + 2 * turn : 4 + 2 * turn]
        return kept

    def _detour(self, messages: Messages, tools: Tools, turn: int) -> str | None:
        allowed = self._teacher.detours
        tools = [tool for tool in tools if allowed is None or tool["function"]["name"] in allowed]
        call = random_call(tools, self._names(messages), (*self._key, "detour", turn))
        return None if call is None else self._teacher.grammar.render_call(call)

    def _with_thoughts(self, action: str) -> str:
        """An action of the plan, with what its calls ask written before it."""
        parsed = self._teacher.grammar.parse(action)
        if not self._teacher.thoughts or isinstance(parsed, Fault) or not parsed.calls:
            return action
        asked = [thought(call, self._specs[call.name]) for call in parsed.calls]
        return self._teacher.grammar.render_call(*parsed.calls, thought=" ".join(filter(None, asked)))

    def _guess(self, messages: Messages, turn: int) -> str:
        return self._teacher.grammar.render_answer(draw.choice(self._names(messages), *self._key, turn))

    def _names(self, messages: Messages) -> list[str]:
        """What the newest response has found, or the names in the question; few, because a policy that learns to choose
        evenly among many learns to write anything."""
        steps = reading.observed(messages, self._teacher.grammar)
        for step in reversed(steps):
            found = [result.content for result in step if _is_ok(result.content)]
            names = [text for text in reading.leaves(found) if 2 < len(text) < 40 and not text.endswith(".")]
            if names:
                return list(dict.fromkeys(names))
        question = reading.question_of(messages)
        mentions = reading.mentions(question)
        # The first word of the question may look like the first of a name.
        names = [m.partition(" ")[2] if question.startswith(m) else m for m in mentions]
        return list(dict.fromkeys(filter(None, names))) or ["unknown"]


def _is_ok(content: Any) -> bool:
    return isinstance(content, dict) and content.get("status") == "ok"
