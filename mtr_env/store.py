"""A store: values on disk found by their keys, in one SQLite file that many processes read and write at once.

An entry is written once: the first writer wins. What :meth:`Store.put` has returned from survives a kill of the process
(the write-ahead log is synced at checkpoints only, so a power cut may cost the last entries, never the file). Every
value carries a checksum: a torn or flipped one is a miss, which is logged once for a store, and costs no other entry.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import weakref
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from mtr_env.errors import DatasetError, InfrastructureError

logger = logging.getLogger("mtr_env")

FORMAT = 1
BUSY_SECONDS = 60.0  # how long a writer waits for the others
_OURS = int.from_bytes(b"MTRs", "big")  # SQLite's application_id
_SCHEMA = """
CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, checksum BLOB NOT NULL);
"""
_GET = "SELECT value, checksum FROM entries WHERE key = ?"
_PUT = "INSERT OR IGNORE INTO entries VALUES (?, ?, ?)"
_REPLACE = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)"
_KEYS = "SELECT key FROM entries WHERE key >= ? AND key < ?"


class Store:
    """The entries of the file ``path``, which is made where there is none unless ``readonly``.

    Safe in threads, and across a fork: no connection outlives one, each process opens its own. A deep copy is the store
    itself, and a pickle holds the path alone. Raises :class:`~mtr_env.errors.DatasetError` for a file that is not a
    store, a newer one, one that is not there or cannot be written; :meth:`get` and :meth:`put` raise
    :class:`~mtr_env.errors.InfrastructureError` when the disk fails or is full.
    """

    def __init__(self, path: str | os.PathLike[str], *, readonly: bool = False) -> None:
        self.path = os.path.abspath(path)
        self.readonly = readonly
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closing: weakref.finalize[[], Store] | None = None
        self._damaged: set[str] = set()  # keys whose entry is to be written anew
        if not readonly and not os.path.lexists(self.path):
            _create(self.path)
        _check_header(self.path)
        _STORES.add(self)
        with self._lock:
            self._open()

    def get(self, key: str) -> bytes | None:
        """The value of a key; ``None`` where there is none, or a damaged one."""
        with self._lock:
            try:
                row = (self._connection or self._open()).execute(_GET, (key,)).fetchone()
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise InfrastructureError(f"The store {self._name} could not be read: {error}.") from error
                self._report(key)
                return None
            if row is None:
                return None
            value: bytes = row[0]
            if row[1] == _checksum(key, value):
                return value
            self._report(key)
            return None

    def put(self, key: str, value: bytes, *, replace: bool = False) -> None:
        """Writes an entry; where the key has one already, that one stays, unless ``replace`` (or it is damaged)."""
        with self._lock:
            statement = _REPLACE if replace or key in self._damaged else _PUT
            try:
                (self._connection or self._open()).execute(statement, (key, value, _checksum(key, value)))
            except sqlite3.Error as error:
                raise InfrastructureError(f"The store {self._name} could not be written: {error}.") from error
            self._damaged.discard(key)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with ``prefix``, sorted; :meth:`get` says which entries are damaged."""
        with self._lock:
            try:
                rows = (self._connection or self._open()).execute(_KEYS, (prefix, f"{prefix}\U0010ffff")).fetchall()
            except sqlite3.Error as error:
                raise InfrastructureError(f"The store {self._name} could not be read: {error}.") from error
        return sorted([row[0] for row in rows])

    def __len__(self) -> int:
        with self._lock:
            count: int = (self._connection or self._open()).execute("SELECT count(*) FROM entries").fetchone()[0]
            return count

    def close(self) -> None:
        """Gives the file back; the next use opens it again."""
        with self._lock:
            self._close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __deepcopy__(self, memo: object) -> Store:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return _reopened, (self.path, self.readonly)

    def __repr__(self) -> str:
        return f"Store({self.path!r}{', readonly=True' if self.readonly else ''})"

    @property
    def _name(self) -> str:
        return os.path.basename(self.path)  # an outage stands in traces: they say nothing of this machine's folders

    def _open(self) -> sqlite3.Connection:
        connection = _read_only(self.path) if self.readonly else _writable(self.path)
        self._connection = connection
        self._closing = weakref.finalize(self, connection.close)
        return connection

    def _close(self) -> None:
        if self._closing is not None:
            self._closing()
        self._connection = self._closing = None

    def _report(self, key: str) -> None:
        if not self._damaged:
            logger.warning("%s: the entry %s is damaged and counts as missing (said once).", self.path, key)
        self._damaged.add(key)


def _reopened(path: str, readonly: bool) -> Store:
    return Store(path, readonly=readonly)


def _checksum(key: str, value: bytes) -> bytes:
    digest = blake2b(key.encode(), digest_size=8)
    digest.update(value)
    return digest.digest()


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether a page of the file is damaged, which is a miss; anything else that goes wrong is the disk's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _create(path: str) -> None:
    """Makes an empty store beside its place and moves it there, so that nobody sees half of one; if somebody else was
    faster, theirs stays."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise DatasetError(f"{path}: there is no folder {str(folder)!r} to make a store in.")
    beside = folder / f".{Path(path).name}.{os.getpid()}.{threading.get_ident()}"
    try:
        connection = sqlite3.connect(beside, isolation_level=None)
        try:
            connection.execute(f"PRAGMA application_id = {_OURS}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        finally:
            connection.close()
        try:
            os.link(beside, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not os.path.lexists(path):
                os.replace(beside, path)
    except (OSError, sqlite3.Error) as error:
        raise DatasetError(f"{path}: a store cannot be made here: {error}.") from error
    finally:
        for name in (beside.name, f"{beside.name}-wal", f"{beside.name}-shm"):
            (folder / name).unlink(missing_ok=True)


def _check_header(path: str) -> None:
    """Looks at the file before SQLite does, which would make a database of whatever is empty."""
    try:
        with open(path, "rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        raise DatasetError(f"{path}: there is no such file; expected a store that mtr-env wrote.") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        found = f"a file that begins with {header[:16]!r}" if header else "an empty file"
        raise DatasetError(f"{path} is not a store of mtr-env: expected an SQLite file, found {found}.")
    ours, version = (int.from_bytes(header[start : start + 4], "big") for start in (68, 60))
    if ours != _OURS:
        raise DatasetError(f"{path} is not a store of mtr-env, but an SQLite file of another program.")
    if version != FORMAT:
        raise DatasetError(f"{path} is a store of format {version}; this version of mtr-env reads format {FORMAT}.")


def _connect(path: str, query: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(path)}?{query}", BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
    )
    connection.text_factory = lambda key: key.decode("utf-8", "replace")  # a damaged key is not an error of its own
    try:
        connection.execute("PRAGMA synchronous = NORMAL")  # of the log: synced at checkpoints
        connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _writable(path: str) -> sqlite3.Connection:
    try:
        connection = _connect(path, "mode=rw")
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise DatasetError(f"{path} cannot be opened for writing: {error}.") from error
    return connection


def _read_only(path: str) -> sqlite3.Connection:
    try:
        try:
            return _connect(path, "mode=ro")
        except sqlite3.OperationalError:
            # In a folder that cannot be written SQLite cannot make its shared memory; a file with an empty log needs
            # none, because nobody writes it.
            if os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal"):
                raise
            return _connect(path, "mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise DatasetError(f"{path} cannot be read: {error}.") from error


# ---------------------------------------------------------------------------------------------------------------- fork

_STORES: weakref.WeakSet[Store] = weakref.WeakSet()
_HELD: list[Store] = []


def _before_fork() -> None:
    """SQLite's connections do not survive a fork, in neither process: none is open while it happens."""
    for store in list(_STORES):
        store._lock.acquire()
        _HELD.append(store)
        store._close()


def _after_fork() -> None:
    while _HELD:
        _HELD.pop()._lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
