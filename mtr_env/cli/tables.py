"""What the commands print: plain tables, safe for a terminal whatever a data set or a model wrote."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from mtr_env.audit import AuditReport
from mtr_env.audit_actor import ActorReport, Share
from mtr_env.evaluate import Group, Interval, Summary
from mtr_env.evaluate.spending import UsageSummary
from mtr_env.lint_tools import EFFECTS, FRAMEWORKS, LOST, Finding, LintReport
from mtr_env.llm import Spent
from mtr_env.metrics import metrics
from mtr_env.registration import DATASETS, SYNTHETIC
from mtr_env.reward import Rubric, score
from mtr_env.trace import Trace
from mtr_env.transcript import printable
from mtr_env.world_files import Manifest
from mtr_env.worlds.dataset import open_world
from mtr_env.worlds.hub import REPOSITORIES
from mtr_env.worlds.synthetic import SyntheticWorld
from mtr_env.worlds.synthetic_words import SPLITS

WIDTH = 100  # of what run, score and audit print
SHOWN = 10  # unprovable questions, and findings of each kind
_CELL = 40
_WHAT = {
    "MTR-HotpotQA-v0": "2-hop questions over Wikipedia, 10 paragraphs",
    "MTR-MuSiQue-v0": "2- to 4-hop questions composed of single ones, 20 paragraphs",
    "MTR-2WikiMultiHopQA-v0": "2- to 4-hop questions with triples, 10 paragraphs",
    "MTR-Bamboogle-v0": "2-hop questions by hand; all but the sample need --corpus",
    SYNTHETIC: "2- to 4-hop questions about a procedural world, unlimited",
}


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows as aligned columns, two spaces between them; what is longer than 40 characters is cut."""
    table = [[_cut(printable(cell).replace("\n", " ")) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in table if len(row) > i) for i in range(max(map(len, table), default=0))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in table]
    return "\n".join(line.rstrip() for line in lines)


def _cut(cell: str) -> str:
    return cell if len(cell) <= _CELL else cell[: _CELL - 3] + "..."


def wrapped(text: str, width: int = WIDTH, indent: str = "  ") -> str:
    """A text as lines of at most ``width``, the later ones indented; a word that is longer (a path) stays whole."""
    return textwrap.fill(
        printable(text), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def number(value: float | None) -> str:
    """Three decimals; a dash for ``None``."""
    return "-" if value is None else f"{value:.3f}"


def interval_text(interval: Interval | None) -> str:
    """Three decimals each; nothing for ``None``."""
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _title(report: Summary | AuditReport | ActorReport) -> str:
    where = f"{report.env_id}: {report.world}, split {report.split}, fingerprint {report.fingerprint}, source"
    rules = f"grammar {report.grammar}, rubric {report.rubric}, max_steps {report.max_steps}, seed {report.seed}"
    tools = f"tools {report.tool_maker}, {report.tool_actor}"
    return "\n".join(map(wrapped, (f"{where} {report.source}", tools, f"{rules}, version {report.version}")))


def environments() -> str:
    """The five ids, for a terminal of 80 columns."""
    lines = []
    for env_id, name in DATASETS.items():
        there = f"{_hub_splits(name)} (hub: {REPOSITORIES[name].id})"
        lines += [f"{env_id}: {_WHAT[env_id]}", f"  sample ({len(open_world(name).ids)}, bundled); {there}"]
    lines += [f"{SYNTHETIC}: {_WHAT[SYNTHETIC]}"]
    lines += [f"  {', '.join(SPLITS)} ({len(SyntheticWorld().ids)} unless --limit says how many, generated)"]
    lines += ["", "--split NAME chooses; --source FILE reads a data set from a file of yours."]
    return "\n".join(wrapped(line, 80, "    ") for line in lines)


def _hub_splits(name: str) -> str:
    """The splits of a data set that the hub has; two names of one are shown as one: ``validation (= test)``."""
    splits = REPOSITORIES[name].splits
    others = {split: there for split, there in splits.items() if there != split}
    shown = [f"{split} (= {others[split]})" if split in others else split for split in splits]
    return ", ".join(split for split in shown if split not in others.values())


def spent(spent: Spent) -> str:
    """What a client has used: tokens, and USD where prices are known."""
    cost = "" if spent.cost is None else f", {spent.cost:.{2 if spent.cost >= 1 else 4}f} USD"
    return f"{spent.input_tokens:,} + {spent.output_tokens:,} tokens{cost}"


def summary(result: Summary) -> str:
    """A run's summary: every mean with its 95% interval."""
    parts, rates = result.part_intervals, result.rate_intervals
    rows = [("", "mean", "95% interval")]
    rows += [(name, number(mean), interval_text(result.intervals[name])) for name, mean in result.metrics.items()]
    rows.append(("reward", number(result.reward), interval_text(result.intervals["reward"])))
    rows += [(f"  {name}", number(mean), interval_text(parts[name])) for name, mean in result.parts.items()]
    rows.append(("calls per episode", number(result.calls_per_episode), ""))
    rows.append(("correct answers per call", number(result.tool_productivity), ""))
    rows += [(_RATE[name], number(rate), interval_text(rates[name])) for name, rate in result.rates.items()]
    for passes in result.passes:
        rows.append((f"pass@{passes.k}", number(passes.any), interval_text(passes.any_interval)))
        rows.append((f"pass^{passes.k}", number(passes.all), interval_text(passes.all_interval)))
    counts = f"{result.episodes} episodes, {result.scored} scored, {result.unscored} unscored"
    if result.samples > 1:
        counts += f"; {result.questions} questions, up to {result.samples} samples of each"
    if result.unplayed:
        counts += f"; {result.unplayed} more not played, which count nowhere"
    lines = [
        _title(result),
        wrapped(f"policy {result.policy or 'unknown'}: {counts}"),
        "",
        columns(rows),
        "",
        _groups("family", result.families),
        "",
        _groups("hops", result.hops),
        "",
        wrapped(f"stop reasons: {_counts(result.stop_reasons)}; faults: {_counts(result.faults)}"),
    ]
    lines += [wrapped(f"unscored ({count}): {reason}") for reason, count in result.unscored_reasons.items()]
    lines += [] if result.usage is None else [wrapped(f"used: {_usage(result.usage)}")]
    lines += [] if result.alarm is None else [wrapped(result.alarm)]
    return "\n".join(lines)


_RATE = {
    "truncated": "ended by max_steps",
    "policy_fault": "with a policy fault",
    "simulator_fault": "with a simulator fault",
    "infrastructure_fault": "with an outage",
    "unscored": "unscored",
}


def _usage(used: UsageSummary) -> str:
    player = used.player
    said = [] if used.tools is None else [f"tools {spent(used.tools)}"]
    if player.requests:
        wait = f"seconds of an episode: median {used.seconds_median:.2f}, 95% below {used.seconds_p95:.2f}"
        of_player = Spent(player.requests, 0, player.input_tokens, player.output_tokens, player.cost)
        requests = f"{player.requests:,} requests{f' ({player.failed:,} without an answer)' if player.failed else ''}"
        said = [f"player {requests}, {spent(of_player)}, {wait}", *said]
    return "; ".join(said) or "nothing"


def _groups(what: str, groups: Mapping[str, Group]) -> str:
    rows = [(what, "episodes", "EM", "95% interval", "reward", "95% interval")]
    for name, g in groups.items():
        em, reward = interval_text(g.em_interval), interval_text(g.reward_interval)
        rows.append((name, str(g.episodes), number(g.em), em, number(g.reward), reward))
    return columns(rows)


def audit(report: AuditReport) -> str:
    """An audit's report, with the first unprovable questions and findings."""
    rows = [("policy", "EM", "95% interval", "reward", "unscored")]
    rows.append(("oracle", number(report.oracle_em), "", number(report.oracle_reward), str(report.oracle_unscored)))
    for name, cut in report.short_cuts.items():
        rows.append((name, number(cut.em), interval_text(cut.em_interval), number(cut.reward), str(cut.unscored)))
    families = [("family", "questions", "provable", "oracle EM", "oracle reward")]
    for name, family in report.families.items():
        em, reward = number(family.oracle_em), number(family.oracle_reward)
        families.append((name, str(family.questions), str(family.provable), em, reward))
    tools, corpus = report.distractor_tools, report.corpus_answers
    noise = " (with this noise)" if report.noisy else ""
    lines = [
        _title(report),
        "",
        columns(rows),
        "",
        columns(families),
        "",
        f"questions {report.questions}, provable {report.provable}{noise}, leaks {report.leaks}, "
        f"toolset problems {len(report.toolset_problems)}",
        f"invalid responses {report.invalid_responses} of {report.responses}, "
        f"annotations dropped {len(report.dropped)}",
        f"tools per question {number(report.tools_per_question)}",
        f"relation tools that know a page's title: gold {number(tools.gold_resolve_rate)}, "
        f"distractors {number(tools.distractor_resolve_rate)}, difference {number(tools.difference)}",
    ]
    if corpus is not None:
        lines.append(f"{corpus.found} of {corpus.answers} gold answers occur in the corpus")
    lines.append(f"took {report.seconds:.1f} s (`mtr-env audit --help` explains each line)")
    lines += _first("unprovable", [(item.question_id, item.reason) for item in report.unprovable])
    lines += _first("leaks", [(item.question_id, item.text) for item in report.leaking])
    lines += _first("toolset problems", [(item.question_id, item.text) for item in report.toolset_problems])
    lines += _first("annotations dropped", [(item.question_id, item.text) for item in report.dropped])
    lines += [wrapped(f"warning: {warning}") for warning in report.warnings]
    return "\n".join(lines)


def actor_audit(report: ActorReport) -> str:
    """An audit of a ToolActor, with the first disagreements."""
    rows = [("", "share", "95% interval", "of")]
    rows += [_share("fields that agree", report.fields)]
    rows += [_share(f"  {kind}", share) for kind, share in report.kinds.items()]
    rows += [
        _share("status agrees", report.status),
        _share("valid at first try", report.first_try),
        _share("invalid in the end", report.invalid),
        _share("leaks", report.leaks),
        _share("self-consistency", report.consistency),
    ]
    lines = [
        _title(report),
        wrapped(f"compared with {report.evidence}"),
        "",
        columns(rows),
        "",
        f"questions {report.questions}, calls {report.calls} (each asked twice), outages {report.outages}",
        f"origins: {_counts(report.origins)}; tokens {report.input_tokens} in, {report.output_tokens} out",
    ]
    if report.spent is not None:
        lines.append(f"requests {report.spent.requests}, {report.spent.retries} of them again; {spent(report.spent)}")
    lines.append(f"took {report.seconds:.1f} s (`mtr-env audit --help` explains each line)")
    lines += [wrapped(f"outage ({count}): {reason}") for reason, count in report.outage_reasons.items()]
    found = [(d.question_id, f"{d.call} {d.field}: {d.found!r}, not {d.evidence!r}") for d in report.disagreements]
    return "\n".join(lines + _first("disagreements", [(name, text[:300]) for name, text in found]))


def _share(name: str, share: Share) -> tuple[str, str, str, str]:
    return name, number(share.share), interval_text(share.interval), str(share.of)


def _first(what: str, findings: Sequence[tuple[str, str]]) -> list[str]:
    if not findings:
        return []
    shown = findings[:SHOWN]
    more = f" (the first {SHOWN}; --json has all)" if len(findings) > SHOWN else ""
    return [
        "",
        f"{what}{more}:",
        *[textwrap.indent(wrapped(f"{name}: {text}", WIDTH - 2), "  ") for name, text in shown],
    ]


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


def world(manifest: Manifest) -> str:
    """What a world folder holds."""
    source, oracle = manifest.world, manifest.oracle
    digest = f", sha256 {manifest.source_sha256}" if manifest.source_sha256 else ""
    recorded = (
        f"recorded: calls of {', '.join(manifest.recorded)}" if manifest.recorded else "answers when it is played"
    )
    size = sum(info.bytes for info in manifest.files.values())
    lines = [
        f"{manifest.env_id}: {manifest.title}, {manifest.questions} questions",
        f"hash {manifest.hash}",
        f"from {source.name}, split {source.split}, source {source.source}{digest}",
        f"licence {manifest.licence}. {manifest.citation}",
        f"tools {manifest.tool_maker}, {manifest.tool_actor} ({recorded})",
        f"oracle: mean reward {number(oracle.mean_reward)}, {oracle.scored} of {manifest.questions} scored, "
        f"grammar {oracle.grammar}, rubric {oracle.rubric}, max_steps {oracle.max_steps}",
        f"{len(manifest.files)} files, {size / 1e6:.1f} MB: {', '.join(manifest.files)}",
    ]
    return "\n".join(map(wrapped, lines))


def lint(report: LintReport) -> str:
    """What ``lint-tools`` prints: a line for each rule that found something, and why a tool is refused or hidden."""
    by_rule: dict[tuple[str, str, str], list[Finding]] = {}
    order = {framework: number for number, framework in enumerate(report.frameworks)}
    for found in sorted(report.findings, key=lambda found: (order[found.framework], EFFECTS.index(found.effect))):
        by_rule.setdefault((found.framework, found.effect, found.rule), []).append(found)
    rows, reasons = [("framework", "effect", "what", "tools", "for example")], []
    for (framework, effect, rule), same in by_rule.items():
        first, tools = same[0], len({(found.tool, found.toolset) for found in same})
        example = ": ".join(filter(None, (first.tool or first.toolset, first.where)))
        rows.append((_versioned(framework), effect, rule, f"{tools} of {report.tools}", example))
        if first.effect in LOST:
            reasons.append(wrapped(f"{framework}, {example}: {first.message}"))
    clean = [_versioned(name) for name in report.frameworks if name not in {key[0] for key in by_rule}]
    return "\n".join(
        [
            f"toolsets {report.toolsets}, different tools {report.tools}",
            *([columns(rows)] if by_rule else []),
            *reasons,
            *([wrapped(f"nothing to say: {', '.join(clean)}")] if clean else []),
        ]
    )


def _versioned(framework: str) -> str:
    return f"{framework} {FRAMEWORKS[framework].version}"
