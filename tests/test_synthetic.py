"""The synthetic world: one right answer per question, consistent facts, few words, the same bytes everywhere."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from hashlib import blake2b
from itertools import islice

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtr_env.errors import DatasetError, UnknownQuestionError
from mtr_env.question import Question
from mtr_env.relations import RELATIONS
from mtr_env.worlds import synthetic_text as text
from mtr_env.worlds.base import questions
from mtr_env.worlds.synthetic import FAMILIES, Plan, SyntheticWorld, generate
from mtr_env.worlds.synthetic_schema import SCHEMA
from mtr_env.worlds.synthetic_text import vocabulary, words
from mtr_env.worlds.synthetic_words import NAME_WORDS, SPLITS, names

# Of the first 200 questions of SyntheticWorld(). It changes only together with synthetic.VERSION.
GOLDEN = "7b632fc9ca8aa71eb1383b02e3abb47c"
HASH = """
import msgspec, hashlib
from itertools import islice
from mtr_env.worlds.base import questions
from mtr_env.worlds.synthetic import SyntheticWorld
first = list(islice(questions(SyntheticWorld()), 200))
print(hashlib.blake2b(msgspec.json.encode(first), digest_size=16).hexdigest())
"""
VALUES = ("date", "year", "population", "occupation")


@cache
def made(count: int = 2000, split: str = "train") -> tuple[tuple[Question, Plan], ...]:
    return tuple(generate(split, 11, i) for i in range(count))


def of_family(family: str) -> list[tuple[Question, Plan]]:
    return [pair for pair in made() if pair[0].family == family]


def kinds(question: Question) -> dict[str, str]:
    """The type of every entity with a page, told by its set of relations."""
    by_relations = {frozenset(row): kind for kind, row in SCHEMA.items()}
    found = defaultdict(set)
    for fact in question.facts:
        found[fact.subject].add(fact.relation)
    return {subject: by_relations[frozenset(relations)] for subject, relations in found.items()}


def entity_names(question: Question) -> set[str]:
    """Titles and every object that is an entity."""
    kind = kinds(question)
    objects = {f.object for f in question.facts if SCHEMA[kind[f.subject]][f.relation] not in VALUES}
    return objects | {paragraph.title for paragraph in question.paragraphs}


# ---- an independent solver: it knows the facts and the plan, nothing of how the question was made


def follow(question: Question, start: str, relations: tuple[str, ...]) -> set[str]:
    """Everything that can be reached from ``start``."""
    reached = {start}
    for relation in relations:
        reached = {f.object for f in question.facts if f.subject in reached and f.relation == relation}
    return reached


def number(values: set[str]) -> int:
    (value,) = values
    return int(value.split()[-1])


def solve(question: Question, plan: Plan) -> set[str]:
    """All right answers."""
    reached = [follow(question, *side) for side in plan.sides]
    kind = kinds(question)
    if plan.family == "bridge":
        return reached[0]
    if plan.family == "comparison":
        numbers = [number(values) for values in reached]
        wanted = min(numbers) if plan.pick == "min" else max(numbers)
        best = [side for side, value in zip(plan.sides, numbers, strict=True) if value == wanted]
        if plan.answers == "start":
            return {start for start, _ in best}
        return set().union(*(follow(question, start, relations[:-1]) for start, relations in best))
    if plan.family == "temporal":
        return {str(abs(number(reached[0]) - number(reached[1])))}
    if plan.family == "yes_no":
        assert all(len(values) == 1 for values in reached)
        return {"yes" if reached[0] == reached[1] else "no"}
    works = {title for title in kind if kind[title] == plan.kind}
    for values, relation in zip(reached, plan.inverse, strict=True):
        works &= {f.subject for f in question.facts if f.relation == relation and f.object in values}
    return works if plan.family == "intersection" else {str(len(works))}


@pytest.mark.parametrize("split", SPLITS)
def test_every_question_has_exactly_one_right_answer(split: str) -> None:
    for question, plan in made(2000 if split == "train" else 500, split):
        assert solve(question, plan) == {question.answer}, question.text


def test_the_decomposition_can_be_answered_step_by_step_from_the_facts() -> None:
    patterns = [
        (relation, re.compile(re.escape(forms[0]).replace(r"\{\}", "(.+)"))) for relation, forms in text.ASK.items()
    ]
    for question, plan in made():
        facts = {(f.subject, f.relation): f.object for f in question.facts}
        answers: list[str] = []
        lookups = [r for _, relations in plan.sides for r in relations]
        for step, relation in zip(question.decomposition, lookups, strict=False):
            found = [m[1] for name, pattern in patterns if name == relation and (m := pattern.fullmatch(step.text))]
            subject = answers[int(found[0][1:]) - 1] if found[0][0] == "#" else found[0]
            assert facts[subject, relation] == step.answer
            answers.append(step.answer)
        assert question.decomposition[-1].answer == question.answer
        extra = len(question.decomposition) - (question.hops or 0)
        assert extra == {"bridge": 0, "count": 0, "intersection": -1}.get(question.family, 1)


def test_the_evidence_is_the_facts_that_the_answer_needs_and_their_sentences() -> None:
    for question, plan in made():
        needed = []
        for start, relations in plan.sides:
            for i, relation in enumerate(relations):
                (subject,) = follow(question, start, relations[:i])
                needed.append((subject, relation))
        if plan.family == "count":
            (target,) = follow(question, *plan.sides[0])
            needed += [
                (f.subject, f.relation) for f in question.facts if (f.relation, f.object) == (*plan.inverse, target)
            ]
        if plan.family == "intersection":
            needed += [(question.answer, relation) for relation in plan.inverse]
        stated = []
        for evidence in question.evidence:
            facts = [question.facts[int(ref[1:])] for ref in evidence.any_of if ref[0] == "t"]
            assert [ref for ref in evidence.any_of if ref[0] == "p"] == [f.sources[0] for f in facts]
            for back in facts[1:]:  # the other direction of the same fact
                assert (back.relation, back.subject, back.object) == (
                    facts[0].relation,
                    facts[0].object,
                    facts[0].subject,
                )
            stated.append((facts[0].subject, facts[0].relation))
        assert sorted(stated) == sorted(needed)
        assert len(set(stated)) == len(stated)


def test_the_question_names_only_where_it_starts() -> None:
    for question, plan in made():
        starts = {start for start, _ in plan.sides}
        assert all(start in question.text for start in starts)
        named = {name for name in entity_names(question) if re.search(rf"\b{re.escape(name)}\b", question.text)}
        assert named == starts
        assert not re.search(r"\d", question.text)


def test_the_answer_stands_in_the_facts_or_is_a_number_or_yes_or_no() -> None:
    for question, _ in made():
        if question.family in ("count", "temporal"):
            assert 1 <= int(question.answer) <= 225
        elif question.family == "yes_no":
            assert question.answer in ("yes", "no")
        else:
            assert question.answer in {name for f in question.facts for name in (f.subject, f.object)}


# ---- balance: nothing about the answer can be guessed


def test_families_and_hops_occur_equally_often() -> None:
    seen = Counter((q.family, q.hops) for q, _ in made())
    assert set(seen) == {(family, hops) for family in FAMILIES for hops in (2, 3, 4)}
    assert min(seen.values()) > 2000 / 18 * 0.7


def test_yes_and_no_and_counts_and_both_sides_of_a_comparison_are_equally_likely() -> None:
    shares = Counter(q.answer for q, _ in of_family("yes_no"))
    assert 0.4 < shares["yes"] / shares.total() < 0.6
    counts = Counter(q.answer for q, _ in of_family("count"))
    assert set(counts) == {"2", "3", "4"} and min(counts.values()) > counts.total() / 5
    firsts = [q.text.find(q.answer) < q.text.find(other) for q, other in _both_named()]
    assert 0.4 < sum(firsts) / len(firsts) < 0.6


def _both_named() -> list[tuple[Question, str]]:
    pairs = []
    for question, plan in of_family("comparison"):
        starts = [start for start, _ in plan.sides]
        if question.answer in starts and len(starts) == 2:
            pairs.append((question, starts[1 - starts.index(question.answer)]))
    return pairs


def test_the_position_of_a_paragraph_does_not_tell_whether_it_is_gold() -> None:
    places = [int(e.any_of[1].split("s")[0][1:]) / (len(q.paragraphs) - 1) for q, _ in made() for e in q.evidence]
    assert 0.47 < sum(places) / len(places) < 0.53


def test_distractors_are_of_the_gold_types_and_often_share_an_object_with_a_gold_entity() -> None:
    shared = alike = total = 0
    for question, _ in of_family("bridge"):
        kind, facts = kinds(question), question.facts
        gold = {facts[int(e.any_of[0][1:])].subject for e in question.evidence}
        others = [f for f in facts if f.subject not in gold]
        objects = {(f.relation, f.object) for f in facts if f.subject in gold}
        shared += any((f.relation, f.object) in objects and not f.object.isdigit() for f in others)
        alike += sum(kind[title] in {kind[g] for g in gold} for title in kind if title not in gold)
        total += len(kind) - len(gold)
    assert shared / len(of_family("bridge")) > 0.7
    assert alike / total > 0.85


def test_an_intersection_has_further_works_on_both_sides() -> None:
    for question, plan in of_family("intersection"):
        for side, relation in zip(plan.sides, plan.inverse, strict=True):
            (target,) = follow(question, *side)
            assert sum(f.relation == relation and f.object == target for f in question.facts) >= 2


# ---- facts and paragraphs


def test_every_entity_of_a_type_has_all_relations_once_and_every_fact_one_sentence() -> None:
    for question, _ in made():
        assert set(kinds(question)) == {paragraph.title for paragraph in question.paragraphs}
        assert len({(f.subject, f.relation) for f in question.facts}) == len(question.facts)
        order = [tuple(map(int, re.findall(r"\d+", f.sources[0]))) for f in question.facts]
        assert order == sorted(order)
        for fact in question.facts:
            p, s = map(int, re.findall(r"\d+", fact.sources[0]))
            assert len(fact.sources) == 1 and question.paragraphs[p].title == fact.subject
            assert fact.object in question.paragraphs[p].sentences[s]
        for paragraph in question.paragraphs:
            assert 3 <= len(paragraph.sentences) <= 6
            assert len(" ".join(paragraph.sentences).split()) <= 60
            assert paragraph.title in paragraph.sentences[0]


def test_there_are_nine_types_and_more_than_twenty_relations_with_known_names() -> None:
    relations = {relation for row in SCHEMA.values() for relation in row}
    assert len(SCHEMA) == 9 and len(relations) >= 25
    assert relations <= set(RELATIONS)
    assert all(len(row) >= 4 for row in SCHEMA.values())
    templates = [forms for rows in text.SENTENCES.values() for _, forms in rows]
    assert all(len(set(forms)) >= 3 for forms in templates)
    for kind, row in SCHEMA.items():
        assert sorted(row) == sorted(r for relations, _ in text.SENTENCES[kind] for r in relations)


def test_dates_populations_and_geography_are_consistent() -> None:
    ages = {  # subject's year - object's year
        **dict.fromkeys(("director", "screenwriter", "producer", "composer", "author", "performer"), (20, 60)),
        **dict.fromkeys(("place of birth", "headquarters location", "publisher", "record label"), (0, 250)),
        **dict.fromkeys(("father", "mother"), (18, 45)),
        "spouse": (-10, 10),
        "educated at": (-18, 40),
        "employer": (-20, 40),
        "founded by": (20, 50),
        "named after": (20, 250),
    }
    dates = ("date of birth", "publication date", "inception")
    for question, _ in made():
        fact = {(f.subject, f.relation): f.object for f in question.facts}
        year = {f.subject: int(f.object[-4:]) for f in question.facts if f.relation in dates}
        assert all(1800 <= value <= 2025 for value in year.values())
        country = {f.subject: f.object for f in question.facts if f.relation == "country"}
        married: dict[str, str] = {}
        for (subject, relation), value in fact.items():
            if relation in ages and value in year:
                least, most = ages[relation]
                assert least <= year[subject] - year[value] <= most, (question.id, subject, relation, value)
            if (
                relation in (text.REGION, "headquarters location", "capital")
                and subject in country
                and value in country
            ):
                assert country[subject] == country[value]
            if (
                relation in (text.REGION, "country")
                and (value, "population") in fact
                and (subject, "population") in fact
            ):
                assert int(fact[subject, "population"]) < int(fact[value, "population"])
            if relation in ("spouse", "shares border with") and (value, relation) in fact:
                assert fact[value, relation] == subject
            if relation == "spouse":
                assert value not in married and value != subject
                married[value] = subject


# ---- names and words


def test_names_of_a_question_are_distinct_and_none_is_part_of_another() -> None:
    for question, _ in made(500):
        found = sorted(entity_names(question), key=len)
        for i, short in enumerate(found):
            for long in found[i + 1 :]:
                rest = iter(long.lower().split())
                assert not all(token in rest for token in short.lower().split()), (short, long)


def test_no_name_occurs_in_two_splits() -> None:
    seen = {split: set().union(*(entity_names(q) for q, _ in made(1000, split))) for split in SPLITS}
    for i, split in enumerate(SPLITS):
        for other in SPLITS[i + 1 :]:
            assert not seen[split] & seen[other]
    everything = [name for table in names().values() for row in table.values() for name in row]
    assert len(everything) == len(set(everything))


def test_a_few_hundred_words_cover_every_text() -> None:
    known = set(vocabulary())
    assert len(vocabulary(numbers=False)) < 900 and len(NAME_WORDS) < 500
    assert vocabulary() == sorted(known)
    for split in SPLITS:
        for question, _ in made(2000 if split == "train" else 500, split):
            texts = [question.text, question.answer, *(s for p in question.paragraphs for s in (p.title, *p.sentences))]
            texts += [step for sub in question.decomposition for step in (sub.text, sub.answer)]
            assert known.issuperset(word for line in texts for word in words(line))


def test_the_word_lists_share_no_word() -> None:
    assert len(NAME_WORDS) == len(set(NAME_WORDS))


# ---- the same bytes


def test_the_first_questions_never_change() -> None:
    first = list(islice(questions(SyntheticWorld()), 200))
    assert blake2b(msgspec.json.encode(first), digest_size=16).hexdigest() == GOLDEN


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_the_bytes_do_not_depend_on_the_hash_seed_of_the_process(hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", HASH], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == GOLDEN


def test_a_question_does_not_depend_on_the_order_of_asking() -> None:
    arguments = [("validation", 3, i) for i in range(50)]
    forward = [generate.__wrapped__(*a) for a in arguments]
    assert [generate.__wrapped__(*a) for a in reversed(arguments)] == forward[::-1]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(-(2**40), 2**40),
    st.integers(0, 10**9),
    st.sets(st.sampled_from([2, 3, 4]), min_size=1),
    st.integers(0, 50),
    st.sets(st.sampled_from(FAMILIES), min_size=1),
)
def test_every_knob_setting_gives_a_solvable_question(
    seed: int, index: int, hops: set[int], distractors: int, families: set[str]
) -> None:
    world = SyntheticWorld("test", sorted(hops), distractors, sorted(families), size=10**9 + 1, seed=seed)
    question = world.question(world.ids[index])
    plan = world.plan(question.id)
    assert question.hops in hops and question.family in families and plan.family == question.family
    assert solve(question, plan) == {question.answer}
    gold = {question.facts[int(e.any_of[0][1:])].subject for e in question.evidence}
    assert len(question.paragraphs) == len(gold) + distractors
    bare = SyntheticWorld("test", sorted(hops), 0, sorted(families), size=10**9 + 1, seed=seed).question(question.id)
    assert (bare.text, bare.answer, bare.decomposition) == (question.text, question.answer, question.decomposition)


# ---- the world


def test_a_world_of_a_billion_questions_is_lazy() -> None:
    world = SyntheticWorld("train", size=10**9)
    assert len(world.ids) == 10**9
    assert world.ids[-1] == "synthetic-train-0-999999999"
    assert list(world.ids[5:7]) == ["synthetic-train-0-5", "synthetic-train-0-6"]
    assert world.ids[10:][0] in world.ids and "synthetic-train-0-1000000000" not in world.ids
    assert world.question(world.ids[-1]).id == world.ids[-1]


def test_ids_are_canonical_and_other_ids_are_unknown() -> None:
    world = SyntheticWorld(size=20)
    for wrong in (
        "synthetic-sample-0-20",
        "synthetic-sample-0-07",
        "synthetic-sample-1-3",
        "synthetic-sample-0-²",
        "toy",
    ):
        assert wrong not in world.ids
        with pytest.raises(UnknownQuestionError, match=r"this world holds 20 questions, e\.g\. 'synthetic-sample-0-0'"):
            world.question(wrong)


def test_the_fingerprint_names_every_knob() -> None:
    changes: list[dict[str, object]] = [
        {"split": "train"}, {"hops": 2}, {"distractors": 5}, {"families": "bridge"}, {"size": 999}, {"seed": 1}
    ]  # fmt: skip
    worlds = [SyntheticWorld(), *(SyntheticWorld(**change) for change in changes)]  # type: ignore[arg-type]
    assert len({world.info.fingerprint for world in worlds}) == len(worlds)
    assert (worlds[0].info.name, worlds[1].info.split) == ("synthetic", "train")
    assert worlds[0].info.source == "procedural(hops=2,3,4; distractors=6; families=all; seed=0)"
    same = SyntheticWorld(hops=[4, 3, 2, 2], families=FAMILIES[::-1])
    assert same.info == SyntheticWorld().info


def test_another_seed_gives_other_questions() -> None:
    first, second = (SyntheticWorld(seed=seed) for seed in (0, 1))
    assert all(
        first.question(a).text != second.question(b).text for a, b in zip(first.ids, second.ids[:50], strict=False)
    )


def test_a_world_can_be_copied_and_pickled() -> None:
    world = SyntheticWorld(hops=3, families=("count",), seed=-5)
    for twin in (copy.deepcopy(world), pickle.loads(pickle.dumps(world))):
        assert twin.info == world.info and twin.question(world.ids[3]) == world.question(world.ids[3])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"split": "dev"}, "expected one of sample, train, validation, test, found 'dev'"),
        ({"hops": 5}, "Hops .* expected an integer from 2 to 4, found 5"),
        ({"hops": (2, True)}, "Hops .* found True"),
        ({"hops": ()}, "Hops .* found none"),
        ({"hops": 2.5}, r"Hops .* found 2\.5"),
        ({"distractors": -1}, "Distractors .* from 0 to 50, found -1"),
        ({"families": ("bridge", "riddle")}, "expected some of bridge, comparison, .* found 'riddle'"),
        ({"families": ()}, "expected some of bridge, .* found none"),
        ({"size": 0}, "Size .* found 0"),
        ({"seed": "7"}, "Seed .* found '7'"),
    ],
)
def test_a_bad_knob_says_what_was_expected_and_found(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        SyntheticWorld(**knobs)  # type: ignore[arg-type]


def test_fifty_distractors_are_more_than_the_places_and_still_found() -> None:
    for index in range(20):
        question, _ = generate("sample", 1, index, (2,), 50, ("comparison",))
        assert len({p.title for p in question.paragraphs}) == len(question.paragraphs) == 52
        assert Counter(kinds(question).values())["country"] <= 4
