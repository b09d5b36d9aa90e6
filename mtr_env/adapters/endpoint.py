"""Any OpenAI-compatible endpoint plays an episode: for evaluation, and for trainers that serve the policy as one.

    trace = play("MTR-HotpotQA-v0", model="qwen3-32b", base_url="http://127.0.0.1:8000/v1", seed=7)
    score(trace).total  # None: unscored

The model is asked by native tool calls or in text (:class:`~mtr_env.policies.chat.AutoAgent`); either way the trace is
like any other policy's. Many episodes may be under way at once (``asyncio.gather``): those with the same settings share
a client, its connections and its 64 requests at a time. Needs the extra ``llm``.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from mtr_env.episode import Game
from mtr_env.llm import ChatClient
from mtr_env.llm.loop import run
from mtr_env.policies.chat import AutoAgent
from mtr_env.policies.native import Mode
from mtr_env.registration import make_game
from mtr_env.rollout import aplay as aplay_policy
from mtr_env.trace import Trace


async def aplay(
    env_id: str | Game,
    question_id: str | None = None,
    *,
    model: str,
    base_url: str | None = None,
    api_key: str | None = None,
    mode: Mode = "native",
    seed: int = 0,
    sample: int = 0,
    temperature: float | None = 0.0,
    max_output_tokens: int = 1024,
    timeout: float = 60.0,
    retries: int = 6,
    **options: Any,
) -> Trace:
    """Plays one episode to its end and returns its trace; an endpoint that fails after the client's retries ends it
    unscored.

    Args:
        env_id: One of the package's ids, or a game of :func:`~mtr_env.registration.make_game`, which many episodes
            share.
        question_id: The question; without it, the seed picks one.
        model: Its name, as the server calls it.
        base_url: The server's, such as ``http://127.0.0.1:8000/v1``; else ``OPENAI_BASE_URL``, or OpenAI itself.
        api_key: Else ``OPENAI_API_KEY``; a server other than OpenAI's may do without. Held in memory, written nowhere.
        mode: ``"native"`` tool calls, or ``"text"`` in the environment's grammar.
        seed: The episode's; the seeds of the requests follow from it.
        sample: Another number, another sample of the same episode (of a group): the requests have other seeds.
        temperature: Of the sampling; ``None`` sends none, for models that take none.
        max_output_tokens: Of one message.
        timeout: Seconds that one request may take.
        retries: How often a request is sent again after a failure that may pass.
        **options: Those of ``gym.make(env_id, ...)``, where it is an id: ``split``, ``max_steps``, ``grammar``, ...

    Raises ``ImportError`` without the extra, :class:`~mtr_env.llm.ModelError` when a key is needed and missing,
    ``ValueError`` for a setting that makes no sense, ``UnknownQuestionError``, ``TypeError`` for options beside a game,
    and as :func:`~mtr_env.registration.make_game`.
    """
    if isinstance(env_id, Game) and options:
        raise TypeError(f"A game has its options already: leave {', '.join(options)} out, or give its id.")
    game = env_id if isinstance(env_id, Game) else make_game(env_id, **options)
    environment = os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY")
    client = _client(model, base_url, api_key, temperature, max_output_tokens, timeout, retries, environment)
    client.check()
    agent = AutoAgent(client, mode, game.grammar, seed=sample)
    return await aplay_policy(game, agent, question_id=question_id, seed=seed)


def play(env_id: str | Game, question_id: str | None = None, *, model: str, **settings: Any) -> Trace:
    """As :func:`aplay`, whose arguments it takes, for code that is not asynchronous."""
    return run(aplay(env_id, question_id, model=model, **settings))


@lru_cache(16)  # connections take a tenth of a second to set up
def _client(
    model: str,
    base_url: str | None,
    api_key: str | None,
    temperature: float | None,
    max_output_tokens: int,
    timeout: float,
    retries: int,
    environment: tuple[str | None, ...],
) -> ChatClient:
    """The client of these settings, and of the values that the environment has for those that are not given."""
    return ChatClient(
        model,
        base_url=base_url,
        api_key=api_key,
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        timeout=timeout,
        retries=retries,
    )
