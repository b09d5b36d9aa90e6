"""Playing a policy over a world, and what came of it.

from mtr_env.evaluate import run
from mtr_env.registration import make_game

summary = run(make_game("MTR-HotpotQA-v0"), "oracle", "runs/oracle", episodes=24)
print(summary.metrics["em"], summary.intervals["em"], summary.unscored)
"""

from __future__ import annotations

from mtr_env.evaluate.players import load_policy
from mtr_env.evaluate.runs import RunInfo, read_info, read_traces, run, score_file, traces_file, write_json
from mtr_env.evaluate.summary import Group, Interval, Summary, interval, mean, mean_interval, summarize, wilson

__all__ = [
    "Group",
    "Interval",
    "RunInfo",
    "Summary",
    "interval",
    "load_policy",
    "mean",
    "mean_interval",
    "read_info",
    "read_traces",
    "run",
    "score_file",
    "summarize",
    "traces_file",
    "wilson",
    "write_json",
]
