"""Playing a policy over a world, and what came of it.

    from mtr_env.evaluate import run
    from mtr_env.registration import make_game

    summary = run(make_game("MTR-HotpotQA-v0"), "oracle", "runs/oracle", episodes=24)
    print(summary.metrics["em"], summary.intervals["em"], summary.unscored)

The same call goes on after an interruption. An unscored episode is in no mean, and is counted.
"""

from __future__ import annotations

from mtr_env.evaluate.bootstrap import bootstrap_interval
from mtr_env.evaluate.compare import Comparison, Difference, Flip, compare_runs
from mtr_env.evaluate.folder import RunInfo, read_info, read_traces, traces_file, write_json
from mtr_env.evaluate.players import load_policy
from mtr_env.evaluate.runs import run, score_file
from mtr_env.evaluate.spending import Budget
from mtr_env.evaluate.statistics import Interval, interval, mean, mean_interval, wilson
from mtr_env.evaluate.summary import Group, Passes, Summary, summarize

__all__ = [
    "Budget",
    "Comparison",
    "Difference",
    "Flip",
    "Group",
    "Interval",
    "Passes",
    "RunInfo",
    "Summary",
    "bootstrap_interval",
    "compare_runs",
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
