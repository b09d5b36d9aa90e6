"""The default ToolMaker: classifies the question, generates its interface from templates, validates it. No LLM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mtr_env import draw
from mtr_env.contract import check_toolset, leaks
from mtr_env.question import Fact, Question
from mtr_env.text import contains_words, fold, name_key
from mtr_env.tool import Toolset, ToolSpec
from mtr_env.toolmakers import specs
from mtr_env.toolmakers.classify import Task, classify


class TemplateToolMaker:
    """Utilities (search, open_page, find_in_page; calculate and compare_dates where the task may need them), a tool for
    each relation that the question's evidence has, and ``extra_tools`` distractor tools.

    A distractor asks for a relation that other facts of the same paragraphs have, chosen so that it resolves on about
    as many of the entities that the policy sees as the gold tools do. At most ``max_relations`` gold tools are offered.
    The order is random. A tool whose text gives the answer away is left out, and ``notes`` says so.
    """

    def __init__(self, extra_tools: int = 3, max_relations: int = 6) -> None:
        for name, value in (("extra_tools", extra_tools), ("max_relations", max_relations)):
            if not hasattr(value, "__index__") or value < 0:
                raise ValueError(f"{name} must be an integer of at least 0, found {value!r}.")
        self.extra_tools = extra_tools
        self.max_relations = max_relations
        self.name = f"template(extra_tools={extra_tools}, max_relations={max_relations})"

    def __deepcopy__(self, memo: object) -> TemplateToolMaker:
        return self

    def make(self, question: Question, key: str = "") -> Toolset:
        """See :class:`~mtr_env.toolmakers.base.ToolMaker`."""
        task = classify(question)
        gold = gold_interfaces(question)[: self.max_relations]
        extra = _distractors(question.facts, gold, self.extra_tools, f"{key}/{question.id}")
        tools = draw.shuffled([*_utilities(task), *map(_tool, (*gold, *extra))], "toolset", key, question.id)
        kept: list[ToolSpec] = []
        notes = [f"family={task.family}", f"answer_type={task.answer_type}"]
        for tool in tools:
            if any(tool.name == other.name for other in kept):
                continue  # two relations with one word for it, such as "owned by" and "owner"
            if leaks(tool, question.text, question.golds):
                notes.append(f"left out {tool.name}: its text gives the answer away")
            else:
                kept.append(tool)
        toolset = Toolset(tuple(kept), maker=self.name, notes=tuple(notes))
        check_toolset(toolset, question.text, question.golds)
        return toolset


class Interface(NamedTuple):
    """A relation asked from its subject, or (``inverse``) from its object."""

    relation: str
    inverse: bool = False


def _tool(interface: Interface) -> ToolSpec:
    return specs.inverse_tool(interface.relation) if interface.inverse else specs.relation_tool(interface.relation)


def _utilities(task: Task) -> Iterable[ToolSpec]:
    yield from (specs.SEARCH, specs.OPEN_PAGE, specs.FIND_IN_PAGE)
    if task.family in ("count", "temporal") or task.answer_type == "number":
        yield specs.CALCULATE
    if task.family in ("comparison", "temporal", "yes_no") or task.answer_type == "date":
        yield specs.COMPARE_DATES


def gold_facts(question: Question) -> list[Fact]:
    """The facts that the question's evidence names, or that a supporting sentence states; all facts of a question
    without annotation."""
    if not question.evidence:
        return list(question.facts)
    refs = {ref for unit in question.evidence for ref in unit.any_of}
    facts = enumerate(question.facts)
    annotated = any(ref.startswith("t") for ref in refs)
    return [f for i, f in facts if f"t{i}" in refs or (not annotated and not refs.isdisjoint(f.sources))]


def gold_interfaces(question: Question) -> list[Interface]:
    """How the gold facts are asked for, each once, in order: from the object where the question names the object of a
    fact but not its subject, or where several gold facts share relation and object (a list is asked for)."""
    facts = gold_facts(question)
    text = fold(question.text)
    shared: dict[tuple[str, str], int] = {}
    for fact in facts:
        shared[fact.relation, fact.object] = shared.get((fact.relation, fact.object), 0) + 1
    found: dict[Interface, None] = {}
    for fact in facts:
        several = shared[fact.relation, fact.object] > 1
        subject, obj = contains_words(text, name_key(fact.subject)), contains_words(text, name_key(fact.object))
        inverse = bool(question.evidence) and not subject and (several or obj)
        found[Interface(fact.relation, inverse)] = None
    return list(found)


def _distractors(facts: Sequence[Fact], gold: Sequence[Interface], count: int, key: str) -> list[Interface]:
    """For each gold interface in turn, the unused relation whose subjects are most nearly the same (Jaccard)."""
    subjects: dict[str, set[str]] = {}
    for fact in facts:
        subjects.setdefault(fact.relation, set()).add(fact.subject)
    free = [
        name for name in draw.shuffled(sorted(subjects), "distractors", key) if name not in {g.relation for g in gold}
    ]
    chosen: list[Interface] = []
    models = gold or [Interface(name) for name in subjects]
    while free and models and len(chosen) < count:
        model = models[len(chosen) % len(models)]
        wanted = subjects.get(model.relation, set())
        best = max(free, key=lambda name: len(wanted & subjects[name]) / len(wanted | subjects[name]))
        free.remove(best)
        chosen.append(Interface(best, model.inverse))
    return chosen
