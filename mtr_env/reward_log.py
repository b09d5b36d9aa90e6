"""What trainers log of episodes: every reward part and metric under one name in every adapter, and their means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mtr_env.metrics import metrics
from mtr_env.reward import Reward
from mtr_env.trace import Trace


def episode_log(trace: Trace, reward: Reward, *, cut: bool) -> dict[str, float | None]:
    """What is logged of one episode; ``None`` where it does not apply.

    ``cut`` says that something else than an answer or ``max_steps`` ended it, such as the token budget.
    """
    scored = reward.total is not None
    measured = metrics(trace)._asdict() if scored else {}
    return {
        "reward": reward.total,
        **reward.parts,
        **measured,
        "unscored": float(not scored),
        "calls": float(trace.call_count),
        "steps": float(len(trace.steps)),
        "policy_faults": float(sum(fault.blame == "policy" for fault in trace.faults)),
        "answered": float(trace.answer is not None),
        "cut": float(cut),
    }


def means(logs: Sequence[Mapping[str, float | None]]) -> Iterator[tuple[str, float]]:
    """The mean of every name over the episodes to which it applies; a name that applies to none is left out.

    >>> dict(means([{"em": 1.0, "economy": None}, {"em": 0.0, "economy": 0.5}]))
    {'em': 0.5, 'economy': 0.5}
    """
    for name in dict.fromkeys(name for log in logs for name in log):
        values = [value for log in logs if (value := log.get(name)) is not None]
        if values:
            yield name, sum(values) / len(values)
