"""What the commands print: plain tables, safe for a terminal whatever a data set or a model wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mtr_env.audit import AuditReport
from mtr_env.evaluate import Interval, Summary
from mtr_env.metrics import metrics
from mtr_env.registration import DATASETS, SYNTHETIC
from mtr_env.reward import Rubric, score
from mtr_env.trace import Trace
from mtr_env.transcript import printable
from mtr_env.worlds.dataset import open_world
from mtr_env.worlds.hub import REPOSITORIES
from mtr_env.worlds.synthetic import SyntheticWorld
from mtr_env.worlds.synthetic_words import SPLITS

SHOWN = 10  # unprovable questions, and findings of each kind
_WHAT = {
    "MTR-HotpotQA-v0": "2-hop questions over Wikipedia, 10 paragraphs each",
    "MTR-MuSiQue-v0": "2- to 4-hop questions composed of single hops, 20 paragraphs each",
    "MTR-2WikiMultiHopQA-v0": "2- to 4-hop questions with evidence triples, 10 paragraphs each",
    "MTR-Bamboogle-v0": "2-hop questions by hand; beyond the sample --corpus is needed",
    SYNTHETIC: "2- to 4-hop questions about a procedural world, unlimited",
}


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows as aligned columns, two spaces between them."""
    table = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in table if len(row) > i) for i in range(max(map(len, table), default=0))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in table]
    return "\n".join(line.rstrip() for line in lines)


def number(value: float | None) -> str:
    """Three decimals; a dash for ``None``."""
    return "-" if value is None else f"{value:.3f}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _title(report: Summary | AuditReport) -> str:
    return (
        f"{report.env_id}: {report.world}, split {report.split}, source {report.source}, "
        f"fingerprint {report.fingerprint}\ntools {report.tool_maker}, {report.tool_actor}; grammar {report.grammar}, "
        f"rubric {report.rubric}, max_steps {report.max_steps}, seed {report.seed}, version {report.version}"
    )


def environments() -> str:
    """The five ids."""
    rows = [("id", "what", "sample", "splits", "where the data comes from")]
    for env_id, name in DATASETS.items():
        hub = REPOSITORIES[name]
        size, splits = str(len(open_world(name).ids)), ", ".join(("sample", *hub.splits))
        rows.append((env_id, _WHAT[env_id], size, splits, f"bundled, --source FILE, or hub:{hub.id}"))
    size = str(len(SyntheticWorld().ids))
    rows.append((SYNTHETIC, _WHAT[SYNTHETIC], size, ", ".join(SPLITS), "generated here"))
    return columns(rows)


def summary(result: Summary) -> str:
    """A run's summary: every mean with its 95% interval."""
    rows = [("", "mean", "95% interval")]
    rows += [(name, number(mean), _interval(result.intervals[name])) for name, mean in result.metrics.items()]
    rows.append(("reward", number(result.reward), _interval(result.intervals["reward"])))
    rows += [(f"  {name}", number(mean), _interval(result.part_intervals[name])) for name, mean in result.parts.items()]
    rows.append(("calls per episode", number(result.calls_per_episode), ""))
    rows.append(("correct answers per call", number(result.tool_productivity), ""))
    groups = [("family", "episodes", "EM", "reward")]
    groups += [(name, str(g.episodes), number(g.em), number(g.reward)) for name, g in result.families.items()]
    groups += [(f"{name} hops", str(g.episodes), number(g.em), number(g.reward)) for name, g in result.hops.items()]
    lines = [
        printable(_title(result)),
        f"policy {printable(result.policy or 'unknown')}: {result.episodes} episodes, {result.scored} scored, "
        f"{result.unscored} unscored",
        "",
        columns(rows),
        "",
        columns(groups),
        "",
        f"stop reasons: {_counts(result.stop_reasons)}; faults: {_counts(result.faults)}",
    ]
    lines += [f"unscored ({count}): {printable(reason)}" for reason, count in result.unscored_reasons.items()]
    return "\n".join(lines)


def audit(report: AuditReport) -> str:
    """An audit's report, with the first unprovable questions and findings."""
    rows = [("policy", "EM", "95% interval", "reward", "unscored")]
    rows.append(("oracle", number(report.oracle_em), "", number(report.oracle_reward), str(report.oracle_unscored)))
    for name, cut in report.short_cuts.items():
        rows.append((name, number(cut.em), _interval(cut.em_interval), number(cut.reward), str(cut.unscored)))
    families = [("family", "questions", "provable", "oracle EM", "oracle reward")]
    for name, family in report.families.items():
        em, reward = number(family.oracle_em), number(family.oracle_reward)
        families.append((name, str(family.questions), str(family.provable), em, reward))
    tools = report.distractor_tools
    lines = [
        printable(_title(report)),
        "",
        columns(rows),
        "",
        columns(families),
        "",
        f"questions {report.questions}, provable {report.provable}, leaks {report.leaks}, toolset problems "
        f"{len(report.toolset_problems)}, invalid responses {report.invalid_responses} of {report.responses}, "
        f"annotations dropped {len(report.dropped)}",
        f"tools per question {number(report.tools_per_question)}; relation tools that find something about a page: "
        f"gold {number(tools.gold_resolve_rate)}, distractors {number(tools.distractor_resolve_rate)}, difference "
        f"{number(tools.difference)}",
        f"took {report.seconds:.1f} s",
    ]
    lines += _first("unprovable", [(item.question_id, item.reason) for item in report.unprovable])
    lines += _first("leaks", [(item.question_id, item.text) for item in report.leaking])
    lines += _first("toolset problems", [(item.question_id, item.text) for item in report.toolset_problems])
    lines += [f"warning: {printable(warning)}" for warning in report.warnings]
    return "\n".join(lines)


def _first(what: str, findings: Sequence[tuple[str, str]]) -> list[str]:
    if not findings:
        return []
    shown = findings[:SHOWN]
    more = f" (the first {SHOWN}; --json has all)" if len(findings) > SHOWN else ""
    return ["", f"{what}{more}:", *[printable(f"  {name}: {text}") for name, text in shown]]


def episode(trace: Trace, rubric: Rubric) -> str:
    """How one episode ended: the answer, the gold answer, and the reward by its parts."""
    reward = score(trace, rubric)
    golds = " / ".join(trace.question.golds)
    ending = "no answer" if trace.answer is None else f"answer: {trace.answer}"
    lines = [printable(f"{ending}\ngold answer: {golds}")]
    if reward.total is None:
        return "\n".join([*lines, printable(f"unscored: {reward.unscored}")])
    rows = [("reward", number(reward.total)), *[(f"  {name}", number(value)) for name, value in reward.parts.items()]]
    rows += [(name, number(value)) for name, value in metrics(trace)._asdict().items()]
    return "\n".join([*lines, columns(rows)])
