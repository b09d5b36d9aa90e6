"""HotpotQA, MuSiQue, 2WikiMultiHopQA and Bamboogle: real files, samples, conversion, the hub."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtr_env.errors import DatasetError, UnknownQuestionError
from mtr_env.question import Evidence, Fact, Paragraph, Question, SubQuestion
from mtr_env.sentences import split_sentences
from mtr_env.text import contains_words as holds
from mtr_env.text import fold as text_key
from mtr_env.text import name_key as title_key
from mtr_env.worlds.base import World, questions
from mtr_env.worlds.dataset import DATASETS, KEPT, open_world, with_facts

Data = Callable[[str], Path]
Row = dict[str, Any]

REF = re.compile(r"p(\d+)s(\d+)|t(\d+)")


def exists(question: Question, ref: str) -> bool:
    match = REF.fullmatch(ref)
    if match is None:
        return False
    if match[3] is not None:
        return int(match[3]) < len(question.facts)
    paragraph = int(match[1])
    return paragraph < len(question.paragraphs) and int(match[2]) < len(question.paragraphs[paragraph].sentences)


def check_question(question: Question) -> None:
    """What holds for every question of every data set."""
    assert question.text == question.text.strip() != ""
    assert question.answer == question.answer.strip() != ""
    for paragraph in question.paragraphs:
        assert paragraph.sentences and all(s == s.strip() != "" for s in paragraph.sentences)
    refs = [ref for unit in question.evidence for ref in unit.any_of]
    refs += [ref for fact in question.facts for ref in fact.sources]
    assert [ref for ref in refs if not exists(question, ref)] == []
    assert all(unit.any_of and len(set(unit.any_of)) == len(unit.any_of) for unit in question.evidence)
    assert all(fact.subject and fact.relation and fact.object for fact in question.facts)
    places = [int(fact.sources[0][1:].split("s")[0]) if fact.sources else 0 for fact in question.facts]
    assert list(zip(places, question.facts, strict=True)) == sorted(
        zip(places, question.facts, strict=True), key=lambda pair: (pair[0], pair[1].relation, pair[1].object)
    )


@pytest.mark.parametrize(
    ("name", "file", "families"),
    [
        ("hotpotqa", "dev_shared", {"bridge": 448, "comparison": 106, "yes_no": 46}),
        ("hotpotqa", "train_extra", {"bridge": 78, "comparison": 13, "yes_no": 9}),
        ("musique", "dev_shared", {"2hop": 134, "3hop1": 51, "3hop2": 12, "4hop1": 16, "4hop2": 3, "4hop3": 8}),
        ("musique", "train_extra", {"2hop": 77, "3hop1": 25, "3hop2": 3, "4hop1": 3, "4hop2": 1, "4hop3": 2}),
        (
            "2wikimultihopqa",
            "dev_shared",
            {"compositional": 163, "bridge_comparison": 102, "comparison": 91, "inference": 38},
        ),
        (
            "2wikimultihopqa",
            "train_extra",
            {"compositional": 227, "bridge_comparison": 92, "comparison": 162, "inference": 19},
        ),
        ("bamboogle", "dev_shared", {"bridge": 75}),
    ],
)
def test_the_real_files_load_completely(shared_data: Data, name: str, file: str, families: dict[str, int]) -> None:
    world: World = open_world(name, source=shared_data(f"{name}/{file}.jsonl"))
    loaded = list(questions(world))
    assert Counter(question.family for question in loaded) == families
    for question in loaded:
        check_question(question)
        assert bool(question.evidence) == (name != "bamboogle")
        assert question.hops == 2 if name in ("hotpotqa", "bamboogle") else question.hops == len(question.evidence)


def test_a_folder_of_real_files_is_read_by_split(shared_data: Data) -> None:
    for name in ("hotpotqa", "musique", "2wikimultihopqa"):
        assert "dev_shared" in open_world(name, source=shared_data(name), split="validation").info.source
        assert "train_extra" in open_world(name, source=shared_data(name), split="train").info.source
    with pytest.raises(DatasetError, match="give it as the corpus"):
        open_world("hotpotqa", source=shared_data("hotpotqa/corpus_shared.jsonl"))


@pytest.mark.parametrize(
    ("name", "raw", "count"),
    [
        ("hotpotqa", "hotpot_dev_distractor_v1.sample50.json", 50),
        ("hotpotqa", "hf_hotpot_qa_distractor_validation.sample50.jsonl", 50),
        ("musique", "musique_ans_v1.0_dev.sample30.jsonl", 30),
        ("2wikimultihopqa", "dev.sample50.json", 50),
    ],
)
def test_every_upstream_layout_gives_the_same_questions(shared_data: Data, name: str, raw: str, count: int) -> None:
    world = open_world(name, source=shared_data(f"{name}/raw/{raw}"))
    known = open_world(name, source=shared_data(f"{name}/dev_shared.jsonl"))
    common = set(known.ids).intersection(world.ids)
    assert len(world.ids) == count and common
    assert [i for i in common if world.question(i) != known.question(i)] == []


def test_the_bamboogle_csv_holds_the_questions_of_the_jsonl(shared_data: Data) -> None:
    table = open_world("bamboogle", source=shared_data("bamboogle/raw/bamboogle_shared.csv"))
    known = open_world("bamboogle", source=shared_data("bamboogle/dev_shared.jsonl"))
    assert [(q.text, q.answer) for q in questions(table)] == [(q.text, q.answer) for q in questions(known)]
    assert all(re.fullmatch(r"bamboogle_[0-9a-f]{8}", question_id) for question_id in table.ids)


def test_fields_stored_as_json_strings_give_the_same_questions(shared_data: Data, tmp_path: Path) -> None:
    original = shared_data("2wikimultihopqa/raw/dev.sample50.json")
    rows = json.loads(original.read_bytes())
    known = open_world("2wikimultihopqa", source=original)
    for row in rows:
        row["id"] = row.pop("_id")
        row["context"] = json.dumps(
            {"title": [t for t, _ in row["context"]], "sentences": [s for _, s in row["context"]]}
        )
        row["supporting_facts"] = json.dumps(row["supporting_facts"])
        fact, relation, entity = zip(*row["evidences"], strict=True)
        row["evidences"] = json.dumps({"fact": fact, "relation": relation, "entity": entity})
    path = tmp_path / "mirror.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert list(questions(open_world("2wikimultihopqa", source=path))) == list(questions(known))


@pytest.mark.parametrize("name", DATASETS)
def test_the_bundled_samples_load_without_network_or_files(name: str) -> None:
    world = open_world(name)
    assert (world.info.name, world.info.split, world.info.source) == (name, "sample", "bundled")
    assert len(world.ids) >= 20
    for question in questions(world):
        check_question(question)
        assert question.evidence and question.paragraphs and question.dropped == ()


# -- worlds


def test_a_world_keeps_order_ids_and_the_first_n() -> None:
    world, first = open_world("musique"), open_world("musique", limit=5)
    assert first.ids == world.ids[:5]
    assert first.info.fingerprint != world.info.fingerprint == open_world("musique").info.fingerprint
    assert re.fullmatch("[0-9a-f]{16}", world.info.fingerprint)
    assert world.question(world.ids[0]) is world.question(world.ids[0])
    with pytest.raises(DatasetError, match="limit must be an integer of at least 1 or None, found 0"):
        open_world("musique", limit=0)


def test_a_limit_that_leaves_nothing_out_is_the_same_world() -> None:
    whole = open_world("musique")
    for limit in (len(whole.ids), len(whole.ids) + 600):
        assert open_world("musique", limit=limit).info == whole.info
    assert open_world("musique", limit=len(whole.ids) - 1).info.fingerprint != whole.info.fingerprint


def test_fingerprints_tell_worlds_apart() -> None:
    prints = {open_world(name).info.fingerprint for name in DATASETS}
    assert len(prints) == len(DATASETS)


def test_an_unknown_id_names_near_misses() -> None:
    world = open_world("hotpotqa")
    with pytest.raises(UnknownQuestionError, match=f"this world holds {len(world.ids)} questions"):
        world.question(world.ids[0] + "x")


def test_worlds_are_copied_by_reference_and_can_be_pickled() -> None:
    world = open_world("hotpotqa")
    question = world.question(world.ids[3])
    assert copy.deepcopy(world) is world
    loaded = pickle.loads(pickle.dumps(world))
    assert loaded.ids == world.ids and loaded.question(world.ids[3]) == question
    assert repr(world) == f"DatasetWorld('hotpotqa', split='sample', {len(world.ids)} questions)"


def test_the_source_is_recorded_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/test.csv").write_text("Question,Answer\nWho?,Ann\n")
    info = open_world("bamboogle", source="data/test.csv").info
    assert (info.split, info.source) == ("local", "data/test.csv")
    info = open_world("bamboogle", source="data", split="test").info
    assert (info.split, info.source) == ("test", "data/test.csv")


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        ("hotpotqa", "valid", "known are 'sample', 'train', 'validation'. Did you mean 'validation'?"),
        ("musique", "dev", "Did you mean 'validation'?"),
        ("bamboogle", "train", "known are 'sample', 'validation', 'test'."),
        ("hotpotqa", "local", "Unknown split 'local' of hotpotqa"),
        ("hotpot_qa", "sample", "Unknown data set 'hotpot_qa'; known are 'hotpotqa', 'musique', '2wikimultihopqa'"),
        ("2wiki", "sample", "Did you mean '2wikimultihopqa'?"),
    ],
)
def test_unknown_names_and_splits_list_the_known_ones(name: str, split: str, expected: str) -> None:
    with pytest.raises(DatasetError) as caught:
        open_world(name, split=split)
    assert expected in str(caught.value)


def test_an_unknown_split_of_a_file_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Question,Answer\nWho?,Ann\n")
    assert open_world("bamboogle", source=path, split="local").info.split == "local"
    with pytest.raises(DatasetError, match=r"Unknown split 'tets' of bamboogle.* Did you mean 'test'\?"):
        open_world("bamboogle", source=path, split="tets")


def test_7400_rows_are_ready_within_seconds_and_forgotten_when_many(shared_data: Data, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in shared_data("hotpotqa/dev_shared.jsonl").read_text().splitlines()]
    path = tmp_path / "dev.jsonl"
    path.write_text("\n".join(json.dumps({**rows[i % 600], "_id": f"r{i}"}, ensure_ascii=False) for i in range(7400)))
    start = time.perf_counter()
    world = open_world("hotpotqa", source=path)
    world.question("r7399")
    assert time.perf_counter() - start < 4  # about 0.25 s on an idle machine
    kept = world.question("r0")
    for i in range(1, KEPT + 10):
        world.question(f"r{i}")
    assert world.question("r0") == kept and world.question("r0") is not kept


# -- rows become questions


def converted(tmp_path: Path, name: str, row: Row) -> Question:
    path = tmp_path / "row.json"
    path.write_text(json.dumps([row]))
    world = open_world(name, source=path)
    question = world.question(world.ids[0])
    check_question(question)
    return question


HOTPOT: Row = {
    "_id": "h",
    "question": " Are both houses red? ",
    "answer": "Yes ",
    "type": "comparison",
    "level": "hard",
    "context": [
        ["Red House", ["", " The house by the sea.", "  ", " It is red. "]],
        ["Void", ["", " "]],
        ["Old House", ["It was red before."]],
        ["Old House", ["One more house.", "It was red too."]],
    ],
    "supporting_facts": [
        ["Red House", 3],
        ["Red House", 3],
        ["Red House", 2],
        ["Red House", 9],
        ["Red House", -1],
        ["Void", 0],
        ["No House", 0],
        ["Old House", 1],
        ["Old House", 0],
    ],
}


def test_hotpot_rows_map_odd_supporting_facts_or_say_why_not(tmp_path: Path) -> None:
    question = converted(tmp_path, "hotpotqa", HOTPOT)
    assert (question.text, question.answer, question.family, question.hops) == (
        "Are both houses red?",
        "Yes",
        "yes_no",
        2,
    )
    assert question.paragraphs == (
        Paragraph("Red House", ("The house by the sea.", "It is red.")),
        Paragraph("Old House", ("It was red before.",)),
        Paragraph("Old House", ("One more house.", "It was red too.")),
    )
    assert question.evidence == (Evidence(("p0s1",)), Evidence(("p2s1",)), Evidence(("p1s0", "p2s0")))
    assert question.dropped == (
        "supporting fact ('Red House', 2): that sentence is empty",
        "supporting fact ('Red House', 9): the paragraph has 4 sentences",
        "supporting fact ('Red House', -1): the paragraph has 4 sentences",
        "supporting fact ('Void', 0): no paragraph has this title",
        "supporting fact ('No House', 0): no paragraph has this title",
    )


def twowiki(evidences: list[list[str]], supporting: list[list[Any]]) -> Row:
    context = [
        ["Limehouse Blues (song)", ["It is a song.", "It was composed by Philip Braham."]],
        ["Philip Braham", ["Philip Braham (18 June 1881 – 2 May 1934) was a composer.", "Philip wrote songs."]],
        ["Albert II, Prince of Monaco", ["Albert was born in the Prince’s Palace."]],
        ["The Tide", ["Low Tide was made by Éva Nagy.", "A film of 1950."]],
    ]
    row = {"_id": "w", "question": "Who?", "answer": "Ann", "type": "inference", "context": context}
    return {**row, "supporting_facts": supporting, "evidences": evidences}


def gold_units(question: Question) -> list[tuple[tuple[str, str, str], tuple[str, ...]]]:
    facts = [question.facts[int(unit.any_of[0][1:])] for unit in question.evidence]
    assert [fact.sources for fact in facts] == [unit.any_of[1:] for unit in question.evidence]
    return [((fact.subject, fact.relation, fact.object), fact.sources) for fact in facts]


@pytest.mark.parametrize(
    ("triple", "stated_by"),
    [
        (('"Limehouse Blues', "composer", "Philip Braham"), ("p0s1",)),
        (("Limehouse blues", "form", "Waltz"), ("p0s0", "p0s1")),  # none names it: all of the subject's paragraph
        (("PHILIP BRAHAM", "date of death", "2 may, 1934"), ("p1s0",)),
        (("Albert II", "place of birth", "Prince's Palace"), ("p2s0",)),  # the title goes on after the name
        (("Low Tide", "director", "Eva Nagy"), ("p3s0",)),  # no such title: the sentence that names both
        (("High Tide", "director", "Eva Nagy"), ("p3s0",)),  # at least the object
        (("High Tide", "director", "Jan Berg"), ()),
    ],
)
def test_2wiki_triples_find_the_sentences_that_state_them(
    tmp_path: Path, triple: tuple[str, str, str], stated_by: tuple[str, ...]
) -> None:
    supporting = [[title, n] for title, n in [("Limehouse Blues (song)", 0), ("Limehouse Blues (song)", 1)]]
    supporting += [["Philip Braham", 0], ["Albert II, Prince of Monaco", 0], ["The Tide", 0]]
    question = converted(tmp_path, "2wikimultihopqa", twowiki([list(triple), list(triple)], supporting))
    assert gold_units(question) == [(triple, stated_by)]
    assert (question.family, question.hops, question.dropped) == ("inference", 1, ())


def test_a_2wiki_triple_with_an_empty_part_is_dropped(tmp_path: Path) -> None:
    question = converted(tmp_path, "2wikimultihopqa", twowiki([["", "director", "Eva Nagy"]], []))
    assert question.evidence == () and question.hops is None
    assert question.dropped == ("evidence triple ('', 'director', 'Eva Nagy'): a part is empty",)


def musique(hops: list[tuple[str, str, int | None]], question_id: str = "3hop1__1_2_3") -> Row:
    pages = [
        {
            "idx": 3,
            "title": "Quay",
            "paragraph_text": "Quay St. is in Lima. It has 2.5 km. It is the U.S. mall's.",
            "x": 0,
        },
        {"idx": 5, "title": "Nothing", "paragraph_text": "  ", "is_supporting": False},
        {"idx": 7, "title": "Lima", "paragraph_text": "Lima is a city. Its mayor is Ana Costa.", "is_supporting": True},
    ]
    decomposition = [{"question": q, "answer": a, "paragraph_support_idx": idx} for q, a, idx in hops]
    row = {
        "id": question_id,
        "question": "Who?",
        "answer": "Ana Costa",
        "answer_aliases": ["Costa", "", "Ana Costa", "Costa"],
    }
    return {**row, "paragraphs": pages, "question_decomposition": decomposition, "answerable": True}


def test_musique_hops_become_facts_and_evidence(tmp_path: Path) -> None:
    hops: list[tuple[str, str, int | None]] = [
        ("Quay >> city", "Lima", 3),
        ("#1 >> head of government", "Ana Costa", 7),
        ("What does the wife of #2 do?", "nothing much", 7),
        ("#9 >> city", "Oslo", 5),
        ("Whose?", "hers", None),
    ]
    question = converted(tmp_path, "musique", musique(hops))
    assert question.paragraphs[0].sentences == ("Quay St. is in Lima.", "It has 2.5 km.", "It is the U.S. mall's.")
    assert [p.title for p in question.paragraphs] == ["Quay", "Lima"]
    city = question.facts.index(Fact("Quay", "city", "Lima", ("p0s0",)))
    head = question.facts.index(Fact("Lima", "head of government", "Ana Costa", ("p1s1",)))
    assert question.evidence == (
        Evidence((f"t{city}", "p0s0")),
        Evidence((f"t{head}", "p1s1")),
        Evidence(("p1s0", "p1s1")),
    )
    assert question.dropped == ("hop 4: there is no paragraph 5", "hop 5: there is no paragraph None")
    assert (question.family, question.hops, question.aliases) == ("3hop1", 3, ("Costa",))
    assert question.decomposition[1] == SubQuestion("#1 >> head of government", "Ana Costa")


def test_a_musique_hop_in_sentence_form_becomes_a_fact_where_it_is_clear(tmp_path: Path) -> None:
    hops: list[tuple[str, str, int | None]] = [("Quay >> owner", "Ana Costa", 7), ("When was #1 born?", "1976", 7)]
    question = converted(tmp_path, "musique", musique(hops, "2hop__1_2"))
    assert ("Ana Costa", "date of birth", "1976") in [fact for fact, _ in gold_units(question)]


def test_a_musique_id_without_a_prefix_is_counted_by_its_hops(tmp_path: Path) -> None:
    question = converted(tmp_path, "musique", musique([("Quay >> city", "Lima", 3), ("Who?", "Ana Costa", 7)], "mine"))
    assert (question.family, question.hops) == ("2hop", 2)


def test_bamboogle_has_evidence_only_where_the_row_has_paragraphs(tmp_path: Path) -> None:
    row: Row = {"id": "b", "question": "Who?", "answer": "Ann"}
    assert converted(tmp_path, "bamboogle", row).evidence == ()
    row |= {"context": [["House", ["It is Ann's."]]], "supporting_facts": [["House", 0]], "articles": {}}
    question = converted(tmp_path, "bamboogle", row)
    assert question.evidence == (Evidence(("p0s0",)),) and question.paragraphs[0].title == "House"


def test_merged_facts_do_not_tell_which_are_gold() -> None:
    gold = Fact("The House (1950 film)", "director", "Éva Nagy", ("p1s0",))
    question = Question("q", "Who?", "Ann", facts=(Fact("X", "r", "y"), gold), evidence=(Evidence(("t1", "p1s0")),))
    extracted = [
        Fact("Sea", "director", "Jan Berg", ("p0s1",)),
        Fact("the house", "director", "the director Eva Nagy", ("p1s2",)),  # says what the gold fact says
        Fact("the house", "composer", "Eva Nagy", ("p1s2",)),
        Fact("the house", "director", "Ben", ("p1s2",)),
    ]
    merged = with_facts(question, extracted)
    assert merged.facts == (extracted[0], Fact("X", "r", "y"), extracted[2], extracted[3], gold)
    assert merged.evidence == (Evidence(("t4", "p1s0")),)


# -- the hub, with a stand-in for `datasets`


@pytest.fixture
def hub(shared_data: Data, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A `datasets` that knows one file and records what it was asked for."""
    asked: list[tuple[Any, ...]] = []
    lines = shared_data("hotpotqa/raw/hf_hotpot_qa_distractor_validation.sample50.jsonl").read_text().splitlines()

    def load_dataset(path: str, name: str | None = None, *, split: str) -> list[Row]:
        asked.append((path, name, split))
        if path == "chiayewken/bamboogle":
            return [{"Question": "Who?", "Answer": "Ann"}]
        if path != "hotpotqa/hotpot_qa":
            logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s")
            raise ConnectionError("Couldn't reach the Hub")
        return [json.loads(line) for line in lines]

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_a_hub_split_is_read_through_datasets(shared_data: Data, hub: list[tuple[Any, ...]]) -> None:
    world = open_world("hotpotqa", split="validation")
    assert hub == [("hotpotqa/hotpot_qa", "distractor", "validation")]
    assert (world.info.split, world.info.source, len(world.ids)) == ("validation", "hub:hotpotqa/hotpot_qa", 50)
    local = open_world("hotpotqa", source=shared_data("hotpotqa/raw/hotpot_dev_distractor_v1.sample50.json"))
    for question_id in set(local.ids).intersection(world.ids):
        assert world.question(question_id) == local.question(question_id)
    assert open_world("hotpotqa", split="validation", limit=3).ids == world.ids[:3]


def test_bamboogles_only_hub_split_has_two_names(hub: list[tuple[Any, ...]]) -> None:
    worlds = [open_world("bamboogle", split=split) for split in ("validation", "test")]
    assert hub == [("chiayewken/bamboogle", None, "test")] * 2
    assert [world.info.split for world in worlds] == ["validation", "test"]
    assert worlds[0].ids == worlds[1].ids


def test_a_hub_that_does_not_answer_names_the_local_way(
    hub: list[tuple[Any, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    level = logging.getLogger("huggingface_hub").level
    with pytest.raises(DatasetError) as caught:
        open_world("musique", split="train")
    assert "Cannot load dgslibisey/MuSiQue (train) from the Hugging Face hub: ConnectionError" in str(caught.value)
    assert 'source="FILE" in Python, --source FILE on the command line' in str(caught.value)
    assert (caplog.text, logging.getLogger("huggingface_hub").level) == ("", level)


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"-e '\.\[data\]'"):
        open_world("2wikimultihopqa", split="validation")


# -- sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ("Dr. A. B. Costa of the U.S. Navy paid $3.50.", "He left."),
        ("It lies in the U.S.", "The river is long."),
        ("The company is Port Inc.", "It was sold on Jan. 5, 1990, to Smith & Co. of Lima."),
        ("See No. 7, Op. 12.", "No.", "He said no."),
        ('"Why?" he asked.', '"I do!"', "(It was late.)", "End"),
        ("``Never,'' he said. ''", "Then he left... slowly.", "2 days later it ended!"),
        ("He founded Yahoo! in 1994, e.g. with others.", "Élan was next."),
        ("1. First item.", "Last item."),
    ],
)
def test_sentences_end_where_a_reader_ends_them(sentences: tuple[str, ...]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


@given(st.text(alphabet=st.sampled_from("aB1. \n\"'!?)(É…。U"), max_size=200) | st.text(max_size=100))
def test_splitting_loses_nothing_but_white_space(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences)
    position = 0
    for sentence in sentences:
        position = text.index(sentence, position) + len(sentence)


@pytest.mark.parametrize("piece", ['. " ', ".", '."', ". ", "A. ", "'' ", ".  ''", "x.\n"])
def test_splitting_takes_linear_time(piece: str) -> None:
    start = time.perf_counter()
    split_sentences(piece * 50_000)
    assert time.perf_counter() - start < 2  # about 0.1 s; a quadratic one would take minutes


def test_keys_fold_case_accents_quotes_and_punctuation() -> None:
    assert text_key("  Éric “the”  O'Hara-Smith, Jr.") == "eric the o hara smith jr"
    assert title_key('"Limehouse Blues') == title_key("Limehouse Blues (song)") == "limehouse blues"
    assert title_key("(500)") == "500" and text_key("...") == ""
    assert holds("a new york city", "new york") and not holds("newer york", "new york") and not holds("a", "")
