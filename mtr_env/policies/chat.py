"""``AutoAgent``: a chat model plays, for evaluation and as a teacher."""

from __future__ import annotations

import time
from typing import Any

from mtr_env import draw
from mtr_env.errors import InfrastructureError
from mtr_env.grammar import Grammar, get_grammar
from mtr_env.llm.answers import Chat
from mtr_env.policies import native, reading
from mtr_env.policies.base import Messages, Tools
from mtr_env.policies.native import MODES, Mode
from mtr_env.policies.usage import EpisodeUsage, UsageBook
from mtr_env.text import as_unicode
from mtr_env.trace import Trace


class AutoAgent:
    """Thinks, calls a tool, observes, until it answers. ``client`` is a :class:`~mtr_env.llm.ChatClient`.

    With ``mode="native"`` the model is given the tools and answers with tool calls, which are recorded as actions in
    ``grammar`` (:mod:`mtr_env.policies.native`, with a system prompt of its own, whose version stands in
    :attr:`name`); with ``"text"`` it reads the prompt of the environment and what it writes is the action. ``grammar``
    is the game's. ``seed`` and the episode decide the seed of each request.

    :meth:`usage` says what an episode used. A request that fails after the client's retries ends its episode unscored.
    """

    asynchronous = True

    def __init__(
        self, client: Chat, mode: Mode = "native", grammar: str | Grammar = "hermes", *, seed: int = 0
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(map(repr, MODES))}, found {mode!r}.")
        self.client = client
        self.mode = mode
        self.grammar = get_grammar(grammar)
        self.seed = seed
        prompt = f", prompt={native.PROMPT_VERSION}" if mode == "native" else ""
        self.name = f"auto({client.name}, {mode}{prompt}{f', seed={seed}' if seed else ''})"
        self.book = UsageBook()

    def for_episode(self, trace: Trace) -> AutoPlayer:
        """See :class:`~mtr_env.policies.base.AsyncEpisodicPolicy`. Raises ``ValueError`` when the episode speaks
        another grammar."""
        if trace.setup.grammar != self.grammar.name:
            raise ValueError(f"The agent writes {self.grammar.name!r}; the episode speaks {trace.setup.grammar!r}.")
        return AutoPlayer(self, trace)

    def usage(self, question_id: str, seed: int) -> EpisodeUsage:
        """What the episode of this question and seed has used so far, the last time it was played here; 0 when
        65,536 others were played since."""
        return self.book.of(question_id, seed)


class AutoPlayer:
    """Plays one episode."""

    def __init__(self, agent: AutoAgent, trace: Trace) -> None:
        self._agent, self._trace = agent, trace
        self._key = trace.question.id, trace.seed
        agent.book.begin(*self._key)

    async def __call__(self, messages: Messages, tools: Tools) -> str:
        """The model's next action."""
        agent = self._agent
        seed = draw.bits("auto", agent.seed, *self._key, reading.turn(messages)) >> 33
        offered = list(map(dict, tools)) if agent.mode == "native" else None
        prices = getattr(agent.client, "prices", None)
        began = time.perf_counter()
        try:
            reply = await agent.client.complete(self._chat(messages), tools=offered, seed=seed)
        except InfrastructureError:
            agent.book.add(*self._key, 0, 0, time.perf_counter() - began, prices, failed=True)
            raise
        seconds = time.perf_counter() - began
        agent.book.add(*self._key, reply.usage.input_tokens, reply.usage.output_tokens, seconds, prices)
        return native.action_of(reply, agent.grammar) if agent.mode == "native" else reply.text

    def _chat(self, messages: Messages) -> list[dict[str, Any]]:
        if self._agent.mode == "text":
            return [{"role": m["role"], "content": as_unicode(m["content"])} for m in messages]
        texts = [message["content"] for message in messages[2:]]
        turns = list(zip(texts[::2], texts[1::2], strict=True))
        trace = self._trace
        return native.chat(self._agent.grammar, trace.question.text, trace.setup.max_steps, turns)
