"""``AutoAgent``: a chat model that plays, for evaluation and as a teacher.

It is part of the package (:mod:`mtr_env.policies.chat`), where ``mtr-env run --policy chat`` finds it; the programs
make it from their ``--policy-...`` options (:func:`mtr_env.plugs.chat_agent`).

    from agents.auto import AutoAgent

    agent = AutoAgent(ChatClient("qwen3-32b", base_url="http://127.0.0.1:8000/v1", prices=(0.1, 0.4)))
    run(game, agent, "runs/auto", policy_name=agent.name)
"""

from __future__ import annotations

from mtr_env.policies.chat import AutoAgent as AutoAgent
from mtr_env.policies.usage import EpisodeUsage as EpisodeUsage
