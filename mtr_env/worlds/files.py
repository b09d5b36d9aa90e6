"""Rows of a data set from a file or folder: JSONL, a JSON list, or CSV, decoded straight to typed rows.

Nothing is guessed and nothing is lost silently: a file with a bad row is refused with its good rows counted and its
first bad ones named by line (item of a JSON list). Byte order marks, CRLF and blank lines are fine.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from mtr_env.errors import DatasetError
from mtr_env.question import Question

SHOWN = 5  # bad rows named in an error
_SUFFIXES = (".json", ".jsonl", ".csv")
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PEEK = 1 << 20
_SPLIT_WORDS = {"validation": {"dev", "validation", "valid", "val"}, "train": {"train"}, "test": {"test"}}
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Row(Protocol):
    """A row of a data set in its upstream layout: a msgspec Struct that knows its id and how it becomes a question."""

    @property
    def question_id(self) -> str:
        """The row's id."""

    def to_question(self) -> Question:
        """The row as a question; ``facts`` holds only the annotated facts, in the data set's order."""


R = TypeVar("R", bound=Row)


class _Item(NamedTuple):
    number: int  # the line, or the item of a list, counted from 1
    data: msgspec.Raw | bytes
    complaint: str = ""  # what is wrong with it, where it could not even be cut out


def choose_file(source: str | os.PathLike[str], split: str) -> Path:
    """The file to read: ``source`` itself, or the one file in the folder ``source`` whose name matches ``split``.

    ``split`` is ``"validation"``, ``"train"``, ``"test"``, or ``"local"`` for the only file there is. Raises
    :class:`DatasetError` when there is no such file or folder, or no or several files match. In a folder, files without
    a field or column ``question`` at their beginning do not count.
    """
    if not os.fspath(source):
        raise DatasetError("The source is empty; expected the path of a file or folder.")
    path = Path(source)
    if path.is_dir():
        return _file_of_folder(path, split)
    if not path.exists():
        there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, there, n=3)
        hint = f" Did you mean {', '.join(repr(name) for name in near)}?" if near else ""
        raise DatasetError(f"No file or folder {str(path)!r}.{hint}")
    return path


def _file_of_folder(folder: Path, split: str) -> Path:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    usable = [name for name in names if name.lower().endswith(_SUFFIXES) and not _words(name) & {"corpus"}]
    wanted = _SPLIT_WORDS.get(split)
    named = usable if wanted is None else [name for name in usable if _words(name) & wanted]
    matching = [name for name in named if _holds_questions(folder / name)]
    if len(matching) == 1:
        return folder / matching[0]
    if named and not matching:
        raise DatasetError(
            f"No file of the folder {str(folder)!r} looks like the data set: {', '.join(named)} "
            f"{'holds' if len(named) == 1 else 'hold'} no rows with a question."
        )
    rule = "" if wanted is None else f" whose name has one of the words {', '.join(sorted(wanted))} (split {split!r})"
    advice = "; say which split you want, or give the file itself" if wanted is None else "; give the file itself"
    raise DatasetError(
        f"The folder {str(folder)!r} must hold exactly one JSONL, JSON or CSV file of questions{rule}, but "
        f"{len(matching)} match{advice}. It holds: {', '.join(names) or 'no files'}.{_packed_hint(names)}"
    )


def _holds_questions(path: Path) -> bool:
    """Whether a file begins like rows of questions: there is a field, or in a CSV a column, of that name."""
    try:
        with path.open("rb") as file:
            start = file.read(_PEEK)
    except OSError:
        return True  # to be complained about when it is read
    if path.suffix.lower() == ".csv":
        return b"question" in start.partition(b"\n")[0].lower()
    return re.search(rb'"question"\s*:', start, re.IGNORECASE) is not None


def _packed_hint(names: list[str]) -> str:
    packed = [name for name in names if name.lower().endswith((".gz", ".zip", ".bz2", ".xz", ".zst", ".tar", ".tgz"))]
    return f" Unpack {', '.join(packed)} first." if packed else ""


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))


def read_bytes(path: Path, name: str) -> bytes:
    """The bytes of a text file without a byte order mark; ``name`` stands in errors."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{name} cannot be read: {error.strerror or error}.") from error
    for first_bytes, packed in _PACKED.items():
        if data.startswith(first_bytes):
            raise DatasetError(f"{name} is packed ({packed}): unpack it and give the file inside.")
    if data[:4] == b"PAR1" or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DatasetError(f"{name} is not a UTF-8 text file (found {data[:4]!r}); expected JSONL, a JSON list or CSV.")
    return data.removeprefix(b"\xef\xbb\xbf")


def decode_rows(data: bytes, name: str, row_type: type[R], layout: str, expected: str, as_csv: bool = False) -> list[R]:
    """The rows of a file's bytes, in order.

    ``layout`` is the world's name (``"musique"``), ``expected`` says in words what a row holds, ``name`` is the file's.
    Raises :class:`DatasetError` naming the file and the first bad lines: invalid or truncated JSON, a missing or
    empty field, a wrong type, an id that stands twice, no rows at all, or the layout of another data set.
    """
    unit = "item" if data[:64].lstrip()[:1] == b"[" and not as_csv else "line"
    items = list(_csv_items(data, name) if as_csv else _list_items(data) if unit == "item" else _lines(data))
    if not items:
        raise DatasetError(f"{name} holds no rows; expected {layout} rows: {expected}.")
    _refuse_other_layout(items[0], name, layout, expected)
    decode = msgspec.json.Decoder(row_type).decode
    rows: list[R] = []
    bad: list[str] = []
    places: dict[str, int] = {}
    for item in items:
        number, raw, complaint = item
        if not complaint:
            try:
                row = decode(raw)
            except _UNREADABLE as error:
                complaint = _cut_off(item, items, str(error))
            else:
                place = places.setdefault(row.question_id, number)
                if place == number:
                    rows.append(row)
                    continue
                complaint = f"the id {row.question_id!r} is already that of {unit} {place}"
        bad.append(f"  {unit} {number}: {complaint}")
    if bad:
        more = [f"  ... and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        raise DatasetError(
            f"{name}: {len(bad)} bad and {len(rows)} good rows; expected {layout} rows: {expected}.\n"
            + "\n".join(bad[:SHOWN] + more)
        )
    return rows


def _cut_off(item: _Item, items: list[_Item], message: str) -> str:
    if "truncated" in message and item.number == items[-1].number:
        return f"{message} (the file ends in the middle of this row: is it complete?)"
    return message


def _lines(data: bytes) -> Iterator[_Item]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line and not line.isspace():
            yield _Item(number, line)


def _list_items(data: bytes) -> Iterator[_Item]:
    try:
        raws = msgspec.json.decode(data, type=list[msgspec.Raw])
    except _UNREADABLE as error:
        yield from _broken_list(data, str(error))
        return
    for number, raw in enumerate(raws, 1):
        yield _Item(number, raw)


def _broken_list(data: bytes, message: str) -> Iterator[_Item]:
    """The items before the place where a JSON list breaks, then the one that is broken (slow: only for the error)."""
    text = data.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    blank = re.compile(r"[\s,]*")
    position = text.index("[") + 1
    number = 1
    while True:
        position = blank.match(text, position).end()  # type: ignore[union-attr]  # matches the empty string too
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            cut = " (the file ends before the list does: is it complete?)" if "truncated" in message else ""
            yield _Item(number, b"", f"{message}{cut}")
            return
        yield _Item(number, text[position:end].encode("utf-8", "surrogatepass"))
        position = end
        number += 1


def _csv_items(data: bytes, name: str) -> Iterator[_Item]:
    """The records of a CSV file as JSON objects; the header's names are lower-cased."""
    try:
        reader = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
        header = [column.strip().lower() for column in next(reader, [])]
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                yield _Item(line, msgspec.json.encode(dict(zip(header, cells, strict=True))))
            elif cells:
                yield _Item(line, b"", f"expected {len(header)} cells ({', '.join(header)}), found {len(cells)}")
            line = reader.line_num + 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{name} is not a readable CSV file: {error}.") from error


def looks_like(fields: Collection[str]) -> str:
    """The world whose rows have such fields, ``"corpus"`` for a corpus file, or ``""`` when it could be several.

    >>> looks_like({"_id", "question", "answer", "context", "level"}), looks_like(["title", "text"])
    ('hotpotqa', 'corpus')
    """
    if "paragraphs" in fields or "question_decomposition" in fields:
        return "musique"
    if "evidences" in fields:
        return "2wikimultihopqa"
    if "level" in fields:
        return "hotpotqa"
    if "question" not in fields and "Question" not in fields and "title" in fields:
        return "corpus"
    return "bamboogle" if {field.lower() for field in fields} <= {"id", "_id", "question", "answer"} else ""


def _refuse_other_layout(item: _Item, name: str, layout: str, expected: str) -> None:
    try:
        fields = msgspec.json.decode(item.data, type=dict[str, msgspec.Raw])
    except _UNREADABLE:
        return  # the loop over all rows says what is wrong with it
    found = looks_like(fields)
    if found in ("", layout):
        return
    place = f"{name}: expected {layout} rows: {expected}; found a row with the fields {', '.join(fields)}"
    if found == "corpus":
        raise DatasetError(f"{place}. That is a corpus of paragraphs, not of questions: give it as the corpus.")
    raise DatasetError(f"{place}. That looks like {found}.")
