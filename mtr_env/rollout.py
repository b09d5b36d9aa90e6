"""The episode loop: a policy plays an environment, and the trace is what remains."""

from __future__ import annotations

from mtr_env.env import MTREnv
from mtr_env.policies.base import EpisodicPolicy, Policy, player
from mtr_env.trace import Trace


def play(env: MTREnv, policy: Policy | EpisodicPolicy, *, question_id: str | None = None, seed: int = 0) -> Trace:
    """Plays one episode to its end and returns its trace.

    ``question_id`` picks the question (without it, the seed does). Raises what the policy raises, and
    ``UnknownQuestionError``.
    """
    _, info = env.reset(seed=seed, options=None if question_id is None else {"question_id": question_id})
    act = player(policy, env.snapshot())
    messages, tools = list(info["messages"]), info["tools"]
    while True:
        action = act(messages, tools)
        observation, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            trace: Trace = info["trace"]
            return trace
        messages += [{"role": "assistant", "content": action}, {"role": "user", "content": observation}]
