"""``AutoAgent`` as a program's player: behind an endpoint, by its address.

    from agents.auto import AutoAgent, auto_agent

    agent = auto_agent("qwen3-32b", "http://127.0.0.1:8000/v1", prices=(0.1, 0.4))
    run(game, agent, "runs/auto", policy_name=agent.name)

The agent itself is part of the package (:mod:`mtr_env.policies.chat`), where ``mtr-env run --policy chat`` finds it.
"""

from __future__ import annotations

from mtr_env.grammar import Grammar
from mtr_env.llm import ChatClient
from mtr_env.policies.chat import AutoAgent as AutoAgent
from mtr_env.policies.chat import EpisodeUsage as EpisodeUsage
from mtr_env.policies.native import Mode


def auto_agent(
    model: str,
    base_url: str | None = None,
    *,
    mode: Mode = "native",
    grammar: str | Grammar = "hermes",
    prices: tuple[float, float] | None = None,
    temperature: float | None = 0.0,
    concurrency: int = 64,
    max_output_tokens: int = 1024,
    seed: int = 0,
) -> AutoAgent:
    """An agent behind an OpenAI-compatible endpoint; the key is read from ``OPENAI_API_KEY``. The arguments are those
    of :class:`~mtr_env.llm.ChatClient` and :class:`AutoAgent`."""
    client = ChatClient(
        model,
        base_url=base_url,
        prices=prices,
        temperature=temperature,
        concurrency=concurrency,
        max_output_tokens=max_output_tokens,
    )
    return AutoAgent(client, mode, grammar, seed=seed)
