"""The audit of a world: is every question provably solvable, are its tools sound, and which short cuts pay?

A question is *provable* when the oracle, which copies every word from what it saw, earns EM and reward 1.0: with the
noise of the audited ToolActor, if it has any. Everything else is listed with its reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from mtr_env.audited import Audited, audited
from mtr_env.contract import leaks, toolset_problems
from mtr_env.env import MTREnv
from mtr_env.episode import Game, Stage
from mtr_env.errors import InfrastructureError, ToolsetError
from mtr_env.evaluate import Interval, interval, load_policy, mean, wilson
from mtr_env.metrics import metrics
from mtr_env.policies.base import EpisodicPolicy, Policy
from mtr_env.policies.oracle import Oracle, OraclePlayer
from mtr_env.question import Question, View
from mtr_env.reward import Reward, score
from mtr_env.rollout import play
from mtr_env.text import contains_words, fold
from mtr_env.tool import Toolset
from mtr_env.toolactors.base import CallKey, History, ToolActor
from mtr_env.toolactors.corpus import Corpus
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import NoisyToolActor
from mtr_env.toolmakers.base import is_fallback
from mtr_env.toolmakers.template import gold_interfaces
from mtr_env.trace import Call, Trace

SHORT_CUTS = ("first-search", "chaser", "no-tool", "random-valid")
_ONE = 1 - 1e-9


class Unprovable(Struct, frozen=True):
    """A question that the oracle does not solve with EM and reward 1.0."""

    question_id: str
    reason: str


class Finding(Struct, frozen=True):
    """Something about one question: what is wrong with its toolset, a leak, or an annotation that was dropped."""

    question_id: str
    text: str


class ShortCut(Struct, frozen=True):
    """How a policy does that should not do well: means over its scored episodes, ``None`` when there is none."""

    em: float | None
    reward: float | None
    scored: int
    unscored: int
    em_interval: Interval | None
    reward_interval: Interval | None = None


class DistractorTools(Struct, frozen=True):
    """How often relation tools find something about the titles of a question's pages: the share of (tool, title) pairs
    answered with status ``ok``. ``None`` where there is no such tool, or the ToolActor is not the grounded one."""

    gold_resolve_rate: float | None
    distractor_resolve_rate: float | None
    difference: float | None
    """Gold minus distractor."""


class CorpusAnswers(Struct, frozen=True):
    """How many gold answers (or an alias) stand in the corpus, of those that are not yes or no."""

    answers: int
    found: int


class Family(Struct, frozen=True):
    """The questions of one family; the means are the oracle's."""

    questions: int
    provable: int
    oracle_em: float | None
    oracle_reward: float | None


class AuditReport(Audited, frozen=True):
    """What :func:`audit` found. Means are in [0, 1], over scored episodes, and ``None`` when there is none."""

    questions: int
    oracle_em: float | None
    oracle_reward: float | None
    provable: int
    leaks: int
    invalid_responses: int
    """Responses that broke their schema, of ``responses`` that the oracle and the short cuts received."""
    responses: int
    short_cuts: dict[str, ShortCut]
    unprovable: list[Unprovable]
    toolset_problems: list[Finding]
    leaking: list[Finding]
    fallbacks: int
    """Toolsets that stand in place of one that the ToolMaker could not write."""
    tools_per_question: float | None
    distractor_tools: DistractorTools
    corpus_answers: CorpusAnswers | None
    """``None`` without a corpus."""
    dropped: list[Finding]
    """Annotations that could not be used, one entry each."""
    oracle_unscored: int
    families: dict[str, Family]
    warnings: list[str]
    noisy: bool
    """Whether the ToolActor has noise: then ``provable`` means with this noise, under these seeds."""
    oracle_reward_interval: Interval | None = None


class _Tally:
    """The episodes of one policy so far."""

    def __init__(self) -> None:
        self.ems: list[float] = []
        self.rewards: list[float] = []
        self.unscored = 0

    def add(self, trace: Trace, reward: Reward) -> None:
        if reward.total is None:
            self.unscored += 1
        else:
            self.rewards.append(reward.total)
            self.ems.append(metrics(trace).em)

    def short_cut(self) -> ShortCut:
        n = len(self.ems)
        em_interval = wilson(sum(self.ems), n)
        return ShortCut(mean(self.ems), mean(self.rewards), n, self.unscored, em_interval, interval(self.rewards))


class _Rate:
    """Pairs of a tool and a title, and how many of them resolve."""

    def __init__(self) -> None:
        self.pairs = self.ok = 0

    @property
    def share(self) -> float | None:
        return self.ok / self.pairs if self.pairs else None


def audit(
    game: Game,
    *,
    seed: int = 0,
    short_cuts: Sequence[str] = SHORT_CUTS,
    on_question: Callable[[int, int, int], None] | None = None,
) -> AuditReport:
    """Audits every question of a game's world; question ``i`` is played with the episode seed ``seed + i``.

    The oracle plans against the game's ToolActor without its noise. After each question
    ``on_question(done, questions, provable)`` is called. Raises what a policy or a ToolMaker raises, but a
    :class:`~mtr_env.errors.ToolsetError` is a finding.
    """
    return _Audit(game, short_cuts).run(seed, on_question)


class _Audit:
    def __init__(self, game: Game, short_cuts: Sequence[str]) -> None:
        self.game = game
        self.env = MTREnv(game)
        self.oracle = Oracle(game.grammar, game.tool_actor)
        self.policies: dict[str, Any] = {name: load_policy(name, game) for name in short_cuts}
        self.tallies = {name: _Tally() for name in self.policies}
        self.total = _Tally()  # the oracle's
        self.families: dict[str, tuple[list[bool], _Tally]] = {}
        self.unprovable: list[Unprovable] = []
        self.problems: list[Finding] = []
        self.leaking: list[Finding] = []
        self.dropped: list[Finding] = []
        self.tool_counts: list[float] = []
        self.gold, self.distractor = _Rate(), _Rate()
        self.responses = self.invalid = self.fallbacks = 0
        self.corpus_answers: CorpusAnswers | None = None

    def run(self, seed: int, on_question: Callable[[int, int, int], None] | None) -> AuditReport:
        started = time.perf_counter()
        ids = self.game.world.ids
        for i, question_id in enumerate(ids):
            self._question(question_id, seed + i)
            if on_question is not None:
                on_question(i + 1, len(ids), i + 1 - len(self.unprovable))
        corpus = self.oracle.actor.corpus if isinstance(self.oracle.actor, GroundedToolActor) else None
        if corpus is not None:
            self.corpus_answers = answers_in(corpus, [self.game.world.question(i).golds for i in ids])
        gold, other = self.gold.share, self.distractor.share
        difference = gold - other if gold is not None and other is not None else None
        return AuditReport(
            questions=len(ids),
            oracle_em=mean(self.total.ems),
            oracle_reward=mean(self.total.rewards),
            provable=len(ids) - len(self.unprovable),
            leaks=len(self.leaking),
            invalid_responses=self.invalid,
            responses=self.responses,
            short_cuts={name: tally.short_cut() for name, tally in self.tallies.items()},
            unprovable=self.unprovable,
            toolset_problems=self.problems,
            leaking=self.leaking,
            fallbacks=self.fallbacks,
            tools_per_question=mean(self.tool_counts),
            distractor_tools=DistractorTools(gold, other, difference),
            corpus_answers=self.corpus_answers,
            dropped=self.dropped,
            oracle_unscored=self.total.unscored,
            families={
                name: Family(len(provable), sum(provable), mean(tally.ems), mean(tally.rewards))
                for name, (provable, tally) in sorted(self.families.items())
            },
            warnings=self._warnings(),
            noisy=isinstance(self.game.tool_actor, NoisyToolActor),
            oracle_reward_interval=interval(self.total.rewards),
            **audited(self.game.setup, seed, started),
        )

    def _question(self, question_id: str, seed: int) -> None:
        question = self.game.world.question(question_id)
        provable, tally = self.families.setdefault(question.family, ([], _Tally()))
        self.dropped += [Finding(question_id, text) for text in question.dropped]
        try:
            stage, start = self.game.begin(question_id, seed)
        except ToolsetError as error:
            self._refused(question, error)
            reason: str | None = f"its toolset was refused: {error}"
        else:
            reason = self._begun(question, stage, start, tally)
        provable.append(reason is None)
        if reason is not None:
            self.unprovable.append(Unprovable(question_id, reason))

    def _begun(self, question: Question, stage: Stage, start: Trace, family: _Tally) -> str | None:
        """Looks at the tools and plays everybody; why the question is not proved solvable, or ``None``."""
        if start.stop_reason is not None:
            for tally in (self.total, family, *self.tallies.values()):
                tally.unscored += 1
            return f"its tools could not be made: {start.faults[-1].message}"
        self._toolset(question, start.toolset)
        if isinstance(self.oracle.actor, GroundedToolActor):
            _resolve(start, stage.view, self.oracle.actor, self.gold, self.distractor)
        reason = self._oracle(stage, start, family)
        for name, policy in self.policies.items():
            self.tallies[name].add(*self._play(policy, stage, start))
        return reason

    def _oracle(self, stage: Stage, start: Trace, family: _Tally) -> str | None:
        """Plays the oracle; why its episode proves nothing, or ``None``."""
        player = self.oracle.for_episode(start)
        trace, reward = self._play(player, stage, start)
        self.total.add(trace, reward)
        family.add(trace, reward)
        return why_unprovable(trace, reward, player)

    def _play(self, policy: Policy | EpisodicPolicy, stage: Stage, start: Trace) -> tuple[Trace, Reward]:
        trace = play(self.env, policy, question_id=start.question.id, seed=start.seed)
        for step in trace.steps:
            for call, response in zip(step.calls, step.responses, strict=True):
                if response is not None:
                    self.responses += 1
                    fault = stage.contract.check_response(response.value, stage.contract.specs[call.name])
                    self.invalid += fault is not None
        return trace, score(trace, self.game.rubric)

    def _toolset(self, question: Question, toolset: Toolset) -> None:
        self.tool_counts.append(len(toolset.tools))
        self.fallbacks += is_fallback(toolset)
        self.problems += [Finding(question.id, problem) for problem in toolset_problems(toolset)]
        for tool in toolset.tools:
            found = leaks(tool, question.text, question.golds)
            self.leaking += [Finding(question.id, f"{tool.name} gives away {leak!r}") for leak in found]

    def _refused(self, question: Question, error: ToolsetError) -> None:
        """The episode refuses a faulty toolset; the audit counts what is wrong with it, if its maker hands it out."""
        try:
            toolset = self.game.tool_maker.make(question)
        except (ToolsetError, InfrastructureError):
            self.problems.append(Finding(question.id, str(error)))
        else:
            self._toolset(question, toolset)

    def _warnings(self) -> list[str]:
        warnings = []
        corpus = self.corpus_answers
        if corpus is not None and corpus.found < corpus.answers / 2:
            warnings.append(f"only {corpus.found} of {corpus.answers} gold answers occur in the corpus: does it fit?")
        if self.fallbacks:
            share = self.fallbacks / len(self.tool_counts)
            warnings.append(f"{self.fallbacks} toolsets ({share:.1%}) stand in place of one that the ToolMaker wrote")
        best = mean(self.total.rewards) or 0.0
        for name, tally in self.tallies.items():
            reward = mean(tally.rewards)
            if reward is not None and reward > best / 2:
                warnings.append(f"short cut {name} earns {reward:.3f}, more than half of the oracle's {best:.3f}")
        for name, tally in {"oracle": self.total, **self.tallies}.items():
            if tally.unscored:
                share = tally.unscored / (tally.unscored + len(tally.rewards))
                warnings.append(f"{tally.unscored} episodes of {name} ({share:.1%}) are unscored: a plug failed")
        return warnings


def why_unprovable(trace: Trace, reward: Reward, player: OraclePlayer) -> str | None:
    """Why the oracle's episode does not prove its question solvable, or ``None`` when it does."""
    em = metrics(trace).em
    if reward.total is not None and em == 1.0 and reward.total >= _ONE:
        return None
    if player.plan.reason is not None:
        return player.plan.reason
    if reward.total is None:
        return f"unscored: {reward.unscored}"
    if trace.answer is None:
        return f"no answer within {trace.setup.max_steps} steps{_noise(trace)}"
    if em < 1.0:
        return f"the plan answers {trace.answer!r}, the gold answer is {trace.question.answer!r}{_noise(trace)}"
    low = [f"{name} {value:.2f}" for name, value in reward.parts.items() if value is not None and value < _ONE]
    return f"reward {reward.total:.3f}: {', '.join(low) or 'answered without a tool call'}{_noise(trace)}"


def _noise(trace: Trace) -> str:
    hit = sum(response.origin == "noise" for _, response in trace.exchanges())
    return f" ({hit} {'response was' if hit == 1 else 'responses were'} noise)" if hit else ""


def answers_in(corpus: Corpus, golds: Iterable[Sequence[str]]) -> CorpusAnswers:
    """How many questions have a gold answer that stands in a document, by its words; yes and no are left out."""
    folded = [{fold(gold) for gold in names} - {"", "yes", "no"} for names in golds]
    wanted = [names for names in folded if names]
    by_word: dict[str, set[str]] = {}  # the answers still missing, by their first word
    for name in set().union(*wanted):
        by_word.setdefault(name.split()[0], set()).add(name)
    found: set[str] = set()
    for document in corpus.documents:
        text = fold(f"{document.title} {document.text}")
        for word in by_word.keys() & set(text.split()):
            here = {name for name in by_word[word] if contains_words(text, name)}
            by_word[word] -= here
            found |= here
    return CorpusAnswers(len(wanted), sum(not found.isdisjoint(names) for names in wanted))


def _resolve(start: Trace, view: View, actor: ToolActor, gold: _Rate, other: _Rate) -> None:
    """Asks every relation tool about every title of the question's pages."""
    question, history = start.question, History(start)
    wanted = {f"{'inverse' if i.inverse else 'relation'}:{i.relation}" for i in gold_interfaces(question)}
    titles = list(dict.fromkeys(paragraph.title for paragraph in question.paragraphs))
    for tool in start.toolset.tools:
        if not tool.binding.startswith(("relation:", "inverse:")):
            continue
        rate = gold if tool.binding in wanted else other
        [argument, *_] = tool.parameters["properties"]
        for title in titles:
            call = Call(tool.name, {argument: title})
            response = actor.respond(call, tool, view, history, CallKey(0, question.id, call))
            rate.pairs += 1
            rate.ok += isinstance(response.value, dict) and response.value.get("status") == "ok"
