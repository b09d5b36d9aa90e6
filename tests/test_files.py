"""Reading rows: what a file may look like, and what the error says when it does not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtr_env.errors import DatasetError
from mtr_env.worlds.dataset import DATASETS, DatasetWorld, open_world
from mtr_env.worlds.files import looks_like

Row = dict[str, Any]
Write = Callable[[str, str | bytes], Path]


def hotpot_row(number: int, **changes: Any) -> Row:
    return {
        "_id": f"h{number}",
        "question": f"Where was the owner of house {number} born?",
        "answer": "Turku",
        "type": "bridge",
        "level": "hard",
        "context": [["House", ["The house is Ann Aalto's.", " It is red."]], ["Ann Aalto", ["She was born in Turku."]]],
        "supporting_facts": [["House", 0], ["Ann Aalto", 0]],
        **changes,
    }


def musique_row(**changes: Any) -> Row:
    hops = [{"id": 1, "question": "House >> owned by", "answer": "Ann Aalto", "paragraph_support_idx": 0}]
    page = {"idx": 0, "title": "House", "paragraph_text": "The house is Ann Aalto's.", "is_supporting": True}
    row = {"id": "2hop__1_2", "question": "Who?", "answer": "Ann Aalto", "answer_aliases": [], "answerable": True}
    return {**row, "paragraphs": [page], "question_decomposition": hops, **changes}


def lines(*rows: Row) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def message(name: str, path: Path, **arguments: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        open_world(name, source=path, **arguments)
    return str(caught.value)


GOOD = lines(*[hotpot_row(i) for i in range(3)])


@pytest.mark.parametrize(
    "data",
    [
        GOOD.rstrip().encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        ("\n" + GOOD.replace("\n", "\n  \n") + "\n\n").encode(),
        json.dumps([hotpot_row(i) for i in range(3)], indent=2).encode(),
        b"\xef\xbb\xbf \r\n" + json.dumps([hotpot_row(i) for i in range(3)]).encode(),
    ],
    ids=["no newline at the end", "BOM", "CRLF", "blank lines", "indented list", "list after a BOM"],
)
def test_layouts_of_bytes_give_the_same_questions(write: Write, data: bytes) -> None:
    world, plain = open_world("hotpotqa", source=write("a", data)), open_world("hotpotqa", source=write("b", GOOD))
    assert world.ids == ("h0", "h1", "h2")
    assert [world.question(i) for i in world.ids] == [plain.question(i) for i in plain.ids]


def test_a_missing_file_names_its_neighbours(write: Write) -> None:
    path = write("hotpot_dev.json", GOOD)
    assert "Did you mean 'hotpot_dev.json'?" in message("hotpotqa", path.with_name("hotpot_dv.json"))
    assert "No file or folder" in message("hotpotqa", path.parent / "nowhere" / "x.json")


def test_a_folder_gives_the_file_whose_name_has_the_split(write: Write, tmp_path: Path) -> None:
    write("hotpot_dev_distractor_v1.json", GOOD)
    write("hotpot_train_v1.1.json", lines(hotpot_row(9)))
    write("corpus_dev.jsonl", lines({"title": "House", "text": "Red."}))
    write("README_dev.txt", "not data")
    world = open_world("hotpotqa", source=tmp_path, split="validation")
    assert world.ids == ("h0", "h1", "h2")
    assert (world.info.split, Path(world.info.source).name) == ("validation", "hotpot_dev_distractor_v1.json")
    assert open_world("hotpotqa", source=tmp_path, split="train").ids == ("h9",)
    assert "2 match; say which split you want" in message("hotpotqa", tmp_path)


def test_a_folder_with_no_or_several_matches_is_listed(write: Write, tmp_path: Path) -> None:
    assert "It holds: no files" in message("hotpotqa", tmp_path)
    write("notes.txt", "")
    write("hotpot_dev_distractor_v1.json", GOOD)
    assert open_world("hotpotqa", source=tmp_path).info.split == "local"
    text = message("hotpotqa", tmp_path, split="train")
    assert "0 match; give the file itself. It holds: hotpot_dev_distractor_v1.json, notes.txt." in text
    write("hotpot_dev_fullwiki_v1.json", GOOD)
    assert "2 match" in message("hotpotqa", tmp_path, split="validation")


def test_a_folder_of_unrelated_files_says_that_none_looks_like_the_data_set(write: Write, tmp_path: Path) -> None:
    write("MANIFEST.json", json.dumps({"files": [{"name": "a"}]}, indent=2))
    write("package.json", "{}")
    text = message("hotpotqa", tmp_path)
    assert "No file of the folder" in text
    assert "looks like the data set: MANIFEST.json, package.json hold no rows with a question." in text
    write("rows.json", GOOD)
    assert open_world("hotpotqa", source=tmp_path).ids == ("h0", "h1", "h2")


def test_an_empty_source_is_an_error() -> None:
    with pytest.raises(DatasetError, match="The source is empty"):
        open_world("hotpotqa", source="")


def test_a_packed_file_is_to_be_unpacked(write: Write, tmp_path: Path) -> None:
    path = write("dev.jsonl.gz", gzip.compress(GOOD.encode()))
    assert "dev.jsonl.gz is packed (gzip): unpack it" in message("hotpotqa", path)
    assert "Unpack dev.jsonl.gz first." in message("hotpotqa", tmp_path)


@pytest.mark.parametrize(
    ("world", "row", "guess"),
    [
        ("hotpotqa", musique_row(), "That looks like musique."),
        ("bamboogle", musique_row(), "That looks like musique."),
        ("hotpotqa", hotpot_row(0, evidences=[]), "That looks like 2wikimultihopqa."),
        ("2wikimultihopqa", hotpot_row(0), "That looks like hotpotqa."),
        ("bamboogle", hotpot_row(0), "That looks like hotpotqa."),
        ("musique", hotpot_row(0), "That looks like hotpotqa."),
        ("musique", {"id": "1", "question": "Who?", "answer": "Ann"}, "That looks like bamboogle."),
        ("hotpotqa", {"title": "House", "text": "Red."}, "give it as the corpus."),
    ],
)
def test_a_file_of_another_data_set_is_recognised(write: Write, world: str, row: Row, guess: str) -> None:
    text = message(world, write("rows.jsonl", lines(row)))
    assert guess in text and "rows.jsonl" in text and f"expected {world} rows" in text
    assert guess in message(world, write("rows.json", json.dumps([row])))


def test_an_unclear_layout_is_not_guessed() -> None:
    assert looks_like(["question", "answer", "context", "supporting_facts"]) == ""


def test_a_truncated_last_line_is_named(write: Write) -> None:
    text = message("hotpotqa", write("cut.jsonl", GOOD[:-60]))
    assert "cut.jsonl: 1 bad and 2 good rows" in text
    assert "line 3: Input data was truncated (the file ends in the middle of this row: is it complete?)" in text


def test_a_truncated_list_is_named_with_the_item(write: Write) -> None:
    text = message("hotpotqa", write("cut.json", json.dumps([hotpot_row(i) for i in range(3)])[:-60]))
    assert "1 bad and 2 good rows" in text
    assert "item 3: Input data was truncated (the file ends before the list does: is it complete?)" in text


@pytest.mark.parametrize("broken", ["{'_id': 1}", "{]", "nonsense", '{"question": "\\ud800"}', '{"x":' + "[" * 99999])
def test_invalid_json_in_the_middle_is_named(write: Write, broken: str) -> None:
    first, second, _ = GOOD.splitlines()
    text = message("hotpotqa", write("rows.jsonl", f"{first}\n{broken}\n{second}\n"))
    assert "rows.jsonl: 1 bad and 2 good rows" in text and "line 2: " in text
    text = message("hotpotqa", write("rows.json", f"[{first}, {broken}, {second}]"))
    assert "item 2: " in text


def test_bytes_that_are_not_utf8_are_named(write: Write) -> None:
    text = message("hotpotqa", write("rows.jsonl", GOOD.encode().replace(b"Where", b"Wher\xe9", 1)))
    assert "1 bad and 2 good rows" in text and "line 1: 'utf-8' codec can't decode byte 0xe9" in text
    for start in (b"PAR1", "[".encode("utf-16")):
        assert "not a UTF-8 text file" in message("hotpotqa", write("rows.bin", start + b"data"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"answer": None}, "Expected `str`, got `null` - at `$.answer`"),
        ({"answer": 12}, "Expected `str`, got `int` - at `$.answer`"),
        ({"answer": "  "}, "`answer` is missing or empty"),
        ({"question": ""}, "`question` is missing or empty"),
        ({"_id": ""}, "`_id` is missing or empty"),
        ({"context": [["House", "one string"]]}, "Expected `array`, got `str` - at `$.context[0][1]`"),
        ({"context": [["House"]]}, "Expected `array` of length 2 - at `$.context[0]`"),
        ({"context": {"title": ["House"], "sentences": []}}, "`context` has 1 titles and 0 lists of sentences"),
        ({"context": "[[1, []]]"}, "Expected `str`, got `int`"),
        ({"context": "not JSON"}, "JSON is malformed"),
        ({"supporting_facts": [["House", "0"]]}, "Expected `int`, got `str` - at `$.supporting_facts[0][1]`"),
        ({"supporting_facts": {"title": ["House"], "sent_id": []}}, "`supporting_facts` has 1 titles and 0 sentence"),
    ],
)
def test_a_bad_row_is_named_with_what_is_wrong(write: Write, change: Row, complaint: str) -> None:
    path = write("rows.jsonl", lines(hotpot_row(0), hotpot_row(1), hotpot_row(2, **change)))
    text = message("hotpotqa", path)
    assert f"line 3: {complaint}" in text
    assert "rows.jsonl: 1 bad and 2 good rows; expected hotpotqa rows: _id (or id), question" in text


def test_a_missing_field_is_named(write: Write) -> None:
    row = hotpot_row(0)
    del row["answer"]
    assert "line 1: Object missing required field `answer`" in message("hotpotqa", write("rows.jsonl", lines(row)))
    row = hotpot_row(0)
    del row["_id"]
    assert "line 1: `_id` is missing or empty" in message("hotpotqa", write("rows.jsonl", lines(row)))


def test_unanswerable_musique_rows_are_refused(write: Write) -> None:
    text = message("musique", write("full.jsonl", lines(musique_row(), musique_row(id="2hop__3_4", answerable=False))))
    assert "line 2: `answerable` is false: unanswerable questions cannot be used, take MuSiQue-Ans" in text


def test_triples_of_the_wrong_length_are_refused(write: Write) -> None:
    text = message("2wikimultihopqa", write("a.jsonl", lines(hotpot_row(0, evidences=[["House", "owned by"]]))))
    assert "line 1: Expected `array` of length 3 - at `$.evidences[0]`" in text
    columns = {"fact": ["House"], "relation": [], "entity": ["Ann"]}
    text = message("2wikimultihopqa", write("b.jsonl", lines(hotpot_row(0, evidences=columns))))
    assert "`evidences` has columns of different lengths" in text


def test_a_duplicate_id_names_both_lines(write: Write) -> None:
    text = message("hotpotqa", write("rows.jsonl", "\n" + lines(hotpot_row(1), hotpot_row(2), hotpot_row(1))))
    assert "line 4: the id 'h1' is already that of line 2" in text
    text = message("hotpotqa", write("rows.json", json.dumps([hotpot_row(1), hotpot_row(1)])))
    assert "item 2: the id 'h1' is already that of item 1" in text


def test_many_bad_rows_are_counted_and_the_first_five_shown(write: Write) -> None:
    rows = [hotpot_row(i, answer=i) if i % 2 else hotpot_row(i) for i in range(20)]
    text = message("hotpotqa", write("rows.jsonl", lines(*rows)))
    assert "10 bad and 10 good rows" in text and "... and 5 more" in text
    assert [f"line {n}:" in text for n in (2, 4, 6, 8, 10, 12)] == [True] * 5 + [False]


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("content", ["", "\n \n", "[]", "\ufeff"])
def test_an_empty_file_is_refused(write: Write, name: str, content: str) -> None:
    text = message(name, write("empty.json", content))
    assert f"empty.json holds no rows; expected {name} rows:" in text


def test_bad_rows_beyond_the_limit_are_still_named(write: Write) -> None:
    path = write("rows.jsonl", lines(hotpot_row(0), hotpot_row(1, answer=1)))
    assert "line 2" in message("hotpotqa", path, limit=1)


def bamboogle(write: Write, text: str) -> DatasetWorld:
    return open_world("bamboogle", source=write("bamboogle.csv", text))


def test_csv_cells_may_hold_commas_quotes_and_newlines(write: Write) -> None:
    world = bamboogle(write, '\ufeffQuestion,Answer\r\n"Who, then?","Ann ""A"" Aalto"\r\n"Two\nlines?",Ben\r\n')
    assert [(q.text, q.answer) for q in map(world.question, world.ids)] == [
        ("Who, then?", 'Ann "A" Aalto'),
        ("Two\nlines?", "Ben"),
    ]


def test_a_csv_row_with_a_missing_cell_is_named(write: Write) -> None:
    with pytest.raises(DatasetError, match=r"line 4: expected 2 cells \(question, answer\), found 1"):
        bamboogle(write, 'Question,Answer\n"Two\nlines?",Ben\nWho?\n')
    with pytest.raises(DatasetError, match="line 2: `answer` is missing or empty"):
        bamboogle(write, "Question,Answer\nWho?,\n")
    with pytest.raises(DatasetError, match="line 2: `question` is missing or empty"):
        bamboogle(write, "Q,A\nWho?,Ann\n")
    with pytest.raises(DatasetError, match="holds no rows"):
        bamboogle(write, "Question,Answer\n")


def test_a_broken_csv_is_refused(write: Write) -> None:
    with pytest.raises(DatasetError, match="is not a readable CSV file: unexpected end of data"):
        bamboogle(write, 'Question,Answer\n"Who?,Ann\n')
    with pytest.raises(DatasetError, match="is not a readable CSV file"):
        open_world("bamboogle", source=write("x.csv", b"Question,Answer\nWh\xe9?,Ann\n"))


def test_the_same_question_twice_in_a_csv_is_a_duplicate(write: Write) -> None:
    with pytest.raises(DatasetError, match=r"line 3: the id 'bamboogle_[0-9a-f]{8}' is already that of line 2"):
        bamboogle(write, "Question,Answer\nWho?,Ann\nWho?,Ann\n")
