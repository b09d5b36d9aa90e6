"""The store: nothing that was acknowledged is lost, a damaged entry costs itself alone, and any file is not a store."""

from __future__ import annotations

import copy
import gc
import logging
import multiprocessing
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cassettes import Written, start_writer, two_writers
from mtr_env.errors import DatasetError, InfrastructureError
from mtr_env.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def test_what_is_put_is_got_and_the_first_writer_wins(store: Store) -> None:
    assert store.get("a") is None
    store.put("a", b"1")
    store.put("a", b"2")
    store.put("é\n\x1f", b"")
    assert (store.get("a"), store.get("é\n\x1f"), len(store)) == (b"1", b"", 2)
    store.put("a", b"3", replace=True)
    assert (store.get("a"), len(store)) == (b"3", 2)


def test_keys_are_sorted_and_found_by_their_beginning(store: Store) -> None:
    for key in ("b:2", "a:1", "b:10", "b", "c:1"):
        store.put(key, b"")
    assert store.keys() == ["a:1", "b", "b:10", "b:2", "c:1"]
    assert store.keys("b:") == ["b:10", "b:2"]


def test_entries_are_there_when_the_file_is_opened_again(path: Path) -> None:
    store = Store(path)
    store.put("a", b"1")
    store.close()
    assert store.get("a") == b"1"  # opens again
    store.close()
    assert os.listdir(path.parent) == [path.name]  # no log is left, the file can be copied alone
    with Store(path, readonly=True) as reader:
        assert reader.get("a") == b"1"
    assert os.listdir(path.parent) == [path.name]


def test_a_copy_is_the_store_and_a_pickle_is_its_path(store: Store) -> None:
    store.put("a", b"1")
    assert copy.deepcopy(store) is store
    data = pickle.dumps(store)
    assert len(data) < 500
    again = pickle.loads(data)
    assert again.get("a") == b"1"
    again.close()
    reader = pickle.loads(pickle.dumps(Store(store.path, readonly=True)))
    with pytest.raises(InfrastructureError, match="could not be written: attempt to write a readonly database"):
        reader.put("b", b"")
    assert reader.get("a") == b"1"


def test_the_place_of_a_store_does_not_change_with_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("here.sqlite")
    store.close()
    monkeypatch.chdir("/")
    store.put("a", b"1")
    assert Store(tmp_path / "here.sqlite").get("a") == b"1"


def test_a_path_with_odd_characters_is_a_path(tmp_path: Path) -> None:
    store = Store(tmp_path / "a?b#c%20é.sqlite")
    store.put("a", b"1")
    store.close()
    assert os.listdir(tmp_path) == ["a?b#c%20é.sqlite"]


# ------------------------------------------------------------------------------------------------------ foreign files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a store of mtr-env: expected an SQLite file, found an empty file"),
        (b'{"question": 1}\n' * 50, r"found a file that begins with b'\{\"question\": 1"),
        (b"SQLite format 3\0", "is not a store of mtr-env"),
        (b"SQLite format 3\0" + bytes(200), "SQLite file of another program"),
    ],
)
@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    path: Path, content: bytes, message: str, readonly: bool
) -> None:
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        Store(path, readonly=readonly)
    assert str(path) in str(error.value)
    assert path.read_bytes() == content


def test_a_database_of_somebody_else_is_refused(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE entries (key, value, checksum)")
    other.commit()
    other.close()
    with pytest.raises(DatasetError, match="an SQLite file of another program"):
        Store(path)


def test_a_store_of_another_format_is_refused(path: Path) -> None:
    Store(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(DatasetError, match="store of format 7; this version of mtr-env reads format 1"):
        Store(path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such file"):
        Store(tmp_path / "none.sqlite", readonly=True)
    with pytest.raises(DatasetError, match="there is no folder"):
        Store(tmp_path / "none" / "a.sqlite")
    with pytest.raises(DatasetError, match="cannot be read"):
        Store(tmp_path)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------------------- damage


def value_of(i: int) -> bytes:
    return f"<value {i}>".encode() * 40


def filled(path: Path, count: int) -> bytes:
    store = Store(path)
    for i in range(count):
        store.put(f"key {i}", value_of(i))
    store.close()
    return path.read_bytes()


def test_a_flipped_value_is_a_miss_logged_once_and_costs_nothing_else(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(filled(path, 200))
    for number in (3, 77):
        data[data.index(f"<value {number}>".encode()) + 3] ^= 1
    path.write_bytes(data)
    store = Store(path)
    with caplog.at_level(logging.WARNING, "mtr_env"):
        missing = [i for i in range(200) if store.get(f"key {i}") is None]
    assert missing == [3, 77]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: the entry key 3 is damaged and counts as missing (said once)."
    ]
    assert all(store.get(f"key {i}") == value_of(i) for i in range(200) if i not in missing)
    store.put("key 3", b"anew")  # the first writer's is lost, so the next one counts
    store.put("key 3", b"again")
    assert store.get("key 3") == b"anew"
    store.close()


def test_no_flipped_byte_gives_a_wrong_value(path: Path) -> None:
    data = filled(path, 150)
    lost: list[int] = []
    for place in range(4096, len(data), 211):  # beyond the first page, which says what the file is
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        store = Store(path)
        found = [store.get(f"key {i}") for i in range(150)]
        assert all(value in (None, value_of(i)) for i, value in enumerate(found)), place
        lost.append(found.count(None))
        store.close()
    # Most bytes are in values; a page's own header costs what is on that page, or below it in the index.
    assert sum(count <= 1 for count in lost) > 0.9 * len(lost)


@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_that_was_cut_off_is_refused_and_left_as_it_is(path: Path, readonly: bool) -> None:
    data = filled(path, 300)[: 4096 * 20]
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"cassette\.sqlite .*database disk image is malformed"):
        Store(path, readonly=readonly)
    assert path.read_bytes() == data


def test_a_torn_log_loses_its_end_only(path: Path, tmp_path: Path) -> None:
    store = Store(path)
    for i in range(300):
        store.put(f"key {i}", value_of(i))
    copied = tmp_path / "copied.sqlite"
    shutil.copy(path, copied)  # as a power cut would leave the two files
    log = Path(f"{path}-wal").read_bytes()
    Path(f"{copied}-wal").write_bytes(log[: len(log) // 2 + 1000])
    store.close()
    torn = Store(copied)
    kept = [torn.get(f"key {i}") == value_of(i) for i in range(300)]
    assert 50 < sum(kept) < 300
    assert kept == sorted(kept, reverse=True)
    torn.put("key 299", value_of(299))
    assert torn.get("key 299") == value_of(299)
    torn.close()


def test_a_full_disk_is_an_outage_and_loses_nothing(store: Store) -> None:
    store.put("a", b"1" * 5000)
    connection = store._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(InfrastructureError, match=r"cassette.sqlite could not be written: database or disk is full"):
        store.put("b", b"2" * 500_000)
    assert (store.get("a"), store.get("b"), len(store)) == (b"1" * 5000, None, 1)
    connection.execute("PRAGMA max_page_count = 1000000")
    store.put("b", b"2")
    assert store.get("b") == b"2"


def test_a_file_that_went_away_is_an_outage(path: Path) -> None:
    store = Store(path)
    store.put("a", b"1")
    store.close()
    path.unlink()
    for use in (lambda: store.get("a"), lambda: store.put("b", b""), store.keys, store.__len__):
        with pytest.raises(InfrastructureError, match=r"The store cassette\.sqlite could not be opened again"):
            use()


READ_ONLY = """
import os, sys
from mtr_env.errors import DatasetError
from mtr_env.store import Store
if os.getuid() == 0:
    os.setuid(65534)
store = Store(sys.argv[1], readonly=True)
assert store.get("a") == b"1" and len(store) == 1
try:
    Store(sys.argv[1])
except DatasetError as error:
    print(error)
"""


def test_a_file_in_a_folder_that_cannot_be_written_is_read() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        store = Store(folder / "a.sqlite")
        store.put("a", b"1")
        store.close()
        (folder / "a.sqlite").chmod(0o444)
        folder.chmod(0o555)
        ran = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(folder / "a.sqlite")], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert "cannot be opened for writing" in ran.stdout
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


# ------------------------------------------------------------------------------------------------ many at the same time


def test_threads_share_a_store(store: Store) -> None:
    def write(name: int) -> None:
        for i in range(100):
            store.put(f"{name}:{i}", f"{name} {i}".encode())
            assert store.get(f"{name}:{i}") == f"{name} {i}".encode()

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 800


def _in_child(store: Store, name: str, count: int) -> None:
    for i in range(count):
        store.put(f"{name}:{i}", name.encode())
    raise SystemExit(0 if store.get("before") == b"1" else 1)


def test_a_store_works_on_both_sides_of_a_fork(store: Store) -> None:
    store.put("before", b"1")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_in_child, args=(store, f"child {i}", 200)) for i in range(3)]
    for child in children:
        child.start()
    for i in range(200):
        store.put(f"parent:{i}", b"p")
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert len(store) == 801


def test_many_processes_make_the_same_store_at_once(path: Path) -> None:
    writers = [start_writer(path, f"w{i}", 20) for i in range(4)]
    for writer in writers:
        out, err = writer.communicate(timeout=60)
        assert writer.returncode == 0, err
        assert len(out.split()) == 20
    store = Store(path)
    assert len(store) == 80
    store.close()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.stress)])
def test_two_writers_lose_nothing_and_a_killed_one_nothing_that_it_acknowledged(path: Path, count: int) -> None:
    written = two_writers(path, count, kill=True)
    assert written.lost == 0
    assert written.acknowledged["first"] >= count // 2
    assert written.acknowledged["second"] == count


@pytest.mark.stress
def test_two_writers_of_20000_entries_each_lose_none(path: Path) -> None:
    assert two_writers(path, 20_000, kill=False) == Written({"first": 20_000, "second": 20_000}, 0)
    with Store(path) as store:
        assert len(store) == 40_000


@pytest.mark.stress
def test_a_store_of_100000_entries_opens_in_under_a_second(path: Path) -> None:
    store = Store(path)
    for i in range(100_000):
        store.put(f"response:{i:032}", value_of(i))
    store.close()
    gc.collect()
    for readonly in (False, True):
        started = time.perf_counter()
        again = Store(path, readonly=readonly)
        assert again.get(f"response:{70_000:032}") == value_of(70_000)
        assert time.perf_counter() - started < 1.0
        assert len(again) == 100_000
        again.close()
