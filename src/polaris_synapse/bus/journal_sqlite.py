"""The journal in one SQLite file.

What SQLite's write-ahead log promises and what this adds:

- A commit is whole or absent. After a crash SQLite drops a write that never became a commit, silently; this reports it
  as a torn tail that lost no message.
- Damage in the middle of the write-ahead log makes SQLite drop acknowledged commits, silently; ``bus.wal`` finds them
  first and the journal refuses to open.
- Every group carries a checksum, so damage in the database file is found. A damaged newest group is cut, kept aside in
  ``journal_cut`` and reported; any other damage refuses, naming the offset.
- A group whose write failed is rolled back on the same connection and its place in the log is written over by the
  next. Only a crash right after a failed fsync can leave such a group readable; its senders were told that the
  journal was unavailable, and after the restart the group counts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from polaris_synapse.bus.journal import (
    FORMAT_VERSION,
    JournalCorruptError,
    JournalError,
    JournalSize,
    JournalWriteError,
    Snapshot,
    TornTail,
    corrupt_group,
    decode_group,
    encode_group,
    group_checksum,
    is_repeated_soon,
)
from polaris_synapse.bus.journal_rows import APPLICATION_ID, JournalRows, is_whole, snapshot_checksum
from polaris_synapse.bus.lock import DirectoryLock
from polaris_synapse.bus.wal import inspect_wal
from polaris_synapse.domain.messages import Message

FILE_NAME: Final = "journal.db"
_SCHEMA: Final = """
CREATE TABLE journal_groups (
    first_offset INTEGER PRIMARY KEY, count INTEGER NOT NULL, time_ns INTEGER NOT NULL, version INTEGER NOT NULL,
    checksum INTEGER NOT NULL, payload BLOB NOT NULL
) STRICT;
CREATE TABLE journal_snapshots (
    id INTEGER PRIMARY KEY, offset INTEGER NOT NULL, time_ns INTEGER NOT NULL, parts INTEGER NOT NULL,
    core TEXT NOT NULL, state_hash TEXT NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (offset, core)
) STRICT;
CREATE TABLE journal_cut (
    id INTEGER PRIMARY KEY, first_offset INTEGER, count INTEGER, checksum INTEGER, payload BLOB
);
CREATE TABLE journal_probe (id INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO journal_probe VALUES (1, 0);
"""


class SqliteJournal:
    """A JournalStore in ``directory/journal.db``; the directory is made where it is missing.

    ``snapshots_kept``: older snapshots are deleted with each new one. ``verify_bytes_max``: a journal up to this size
    is read and checked whole when it is opened; of a larger one only the newest group is, the rest when it is read.
    """

    def __init__(self, directory: Path, *, snapshots_kept: int = 2, verify_bytes_max: int = 256 * 1024 * 1024) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = directory / FILE_NAME
        self._snapshots_kept = max(snapshots_kept, 1)
        self._torn_tail: TornTail | None = None
        self._full_sync = True
        self._lock = DirectoryLock(directory)
        try:
            self._check_write_ahead_log()
            self._db = sqlite3.connect(self.path, isolation_level=None, cached_statements=64)
            self._rows = JournalRows(self.path, self._db)
            try:
                self._open(verify_bytes_max)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.DatabaseError as error:
            self._lock.release()
            raise JournalCorruptError(1, f"{self.path} cannot be opened as a journal: {error}") from error
        except BaseException:
            self._lock.release()
            raise

    # --- opening ---

    def _check_write_ahead_log(self) -> None:
        wal = self.path.with_name(f"{FILE_NAME}-wal")
        condition = inspect_wal(wal)
        if not condition.torn_bytes and not condition.lost_commits:
            return
        # Read-only, so that closing does not fold the log into the database: it is evidence.
        last = 0
        if self.path.exists() and self.path.stat().st_size:
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as db:
                last = _last_offset(db)
        if condition.lost_commits:
            raise JournalCorruptError(
                last + 1,
                f"the journal is damaged at offset {last + 1}: its write-ahead log {wal.name} has a broken frame after "
                f"{condition.committed_frames} good ones and {condition.lost_commits} commits behind it; restore the "
                "data directory from a backup, or keep it for inspection and start in an empty one",
            )
        self._torn_tail = TornTail(
            offset=last + 1, messages=0, detail=f"an unfinished write of {condition.torn_bytes} bytes was dropped"
        )

    def _open(self, verify_bytes_max: int) -> None:
        db = self._db
        application = db.execute("PRAGMA application_id").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not tables and not application:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(f"PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={FORMAT_VERSION};{_SCHEMA}")
        self._rows.check_format()
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        self._cut_damaged_tail()
        tail = self._rows.newest()
        self._last_offset = tail[0] + tail[1] - 1 if tail else 0
        self._last_time_ns = tail[2] if tail else 0
        newest = self.snapshots()[:1]
        if newest and newest[0] > self._last_offset:
            raise JournalCorruptError(
                self._last_offset + 1,
                f"the journal ends at offset {self._last_offset} but has a snapshot of offset {newest[0]}: messages "
                "after its end are gone; restore the data directory from a backup",
            )
        if self.path.stat().st_size <= verify_bytes_max:
            self._verify_groups()

    def _cut_damaged_tail(self) -> None:
        row = self._rows.newest()
        if row is None or is_whole(row):
            return
        first_offset, count = row[0], row[1]
        if any(offset >= first_offset for offset in self.snapshots()):
            raise corrupt_group(first_offset, first_offset + count - 1, "a snapshot shows that it was whole once")
        before = self._rows.before(first_offset)
        if before is not None and not is_whole(before):
            raise corrupt_group(before[0], before[0] + before[1] - 1, "its checksum is wrong, and so is the next one's")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "INSERT INTO journal_cut (first_offset, count, checksum, payload) SELECT first_offset, count, checksum, "
            "payload FROM journal_groups WHERE first_offset = ?",
            (first_offset,),
        )
        self._db.execute("DELETE FROM journal_groups WHERE first_offset = ?", (first_offset,))
        self._db.execute("COMMIT")
        offset = before[0] + before[1] if before is not None else 1
        messages = max(row[5].count(b"\n"), 1)
        self._torn_tail = TornTail(
            offset=offset,
            messages=messages,
            detail=f"the newest group ({messages} messages from offset {offset}) was damaged; its bytes are in the "
            "table journal_cut",
        )

    # --- what a journal does ---

    @property
    def last_offset(self) -> int:
        """See JournalStore."""
        return self._last_offset

    @property
    def first_offset(self) -> int:
        """See JournalStore."""
        return self._rows.first_offset() or self._last_offset + 1

    @property
    def last_time_ns(self) -> int:
        """See JournalStore."""
        return self._last_time_ns

    @property
    def torn_tail(self) -> TornTail | None:
        """See JournalStore."""
        return self._torn_tail

    def append(self, messages: Sequence[Message], snapshot: Snapshot | None = None) -> int:
        """See JournalStore."""
        first_offset, count, time_ns = self._last_offset + 1, len(messages), messages[-1].time_ns
        payload = encode_group(messages)
        checksum = group_checksum(first_offset, count, time_ns, FORMAT_VERSION, payload)
        try:
            self._set_synchronous(full=snapshot is not None or not is_repeated_soon(messages))
            # A statement alone is a transaction. Each statement lets go of the interpreter and has to wait for it
            # again, behind whichever thread is writing SQL, so a commit is one of them.
            if snapshot is not None:
                self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "INSERT INTO journal_groups VALUES (?, ?, ?, ?, ?, ?)",
                (first_offset, count, time_ns, FORMAT_VERSION, checksum, payload),
            )
            if snapshot is not None:
                self._insert_snapshot(snapshot)
                self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            raise self._write_error(error) from error
        self._last_offset = first_offset + count - 1
        self._last_time_ns = time_ns
        return self._last_offset

    def read(self, from_offset: int) -> Iterator[tuple[int, list[Message]]]:
        """See JournalStore."""
        return self._rows.read(from_offset, self._last_offset)

    def snapshots(self) -> list[int]:
        """See JournalStore."""
        return self._rows.snapshots()

    def load_snapshot(self, offset: int) -> Snapshot:
        """See JournalStore."""
        return self._rows.load_snapshot(offset)

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """See JournalStore."""
        try:
            self._set_synchronous(full=True)
            self._db.execute("BEGIN IMMEDIATE")
            self._insert_snapshot(snapshot)
            self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            raise self._write_error(error) from error

    def _insert_snapshot(self, snapshot: Snapshot) -> None:
        count = len(snapshot.parts)
        self._db.execute("DELETE FROM journal_snapshots WHERE offset = ?", (snapshot.offset,))
        self._db.executemany(
            "INSERT INTO journal_snapshots (offset, time_ns, parts, core, state_hash, checksum, data) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    snapshot.offset,
                    snapshot.time_ns,
                    count,
                    part.core,
                    part.state_hash,
                    snapshot_checksum(snapshot.offset, snapshot.time_ns, count, part),
                    part.data,
                )
                for part in snapshot.parts
            ],
        )
        self._db.execute(
            "DELETE FROM journal_snapshots WHERE offset NOT IN "
            "(SELECT DISTINCT offset FROM journal_snapshots ORDER BY offset DESC LIMIT ?)",
            (self._snapshots_kept,),
        )

    def verify(self) -> JournalSize:
        """See JournalStore."""
        self._verify_groups()
        for offset in self.snapshots():
            self.load_snapshot(offset)
        return self.size()

    def _verify_groups(self) -> None:
        for row in self._rows.checked(self.first_offset, self._last_offset):
            decode_group(row[0], row[5], version=row[3])

    def truncate_before(self, offset: int) -> int:
        """See JournalStore."""
        snapshots = self.snapshots()
        keep_from = min(offset, snapshots[-1] + 1) if snapshots else 0
        before = self.first_offset
        try:
            self._set_synchronous(full=True)
            self._db.execute("BEGIN IMMEDIATE")
            # A group goes when the one after it begins at or below the bound, so the newest group always stays.
            self._db.execute(
                "DELETE FROM journal_groups WHERE first_offset < "
                "(SELECT max(first_offset) FROM journal_groups WHERE first_offset <= ?)",
                (keep_from,),
            )
            self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            raise self._write_error(error) from error
        return self.first_offset - before

    def synchronise(self) -> None:
        """See JournalStore."""
        try:
            self._set_synchronous(full=True)
            # A transaction of its own, committed: SQLite then synchronises the log, earlier frames included.
            self._db.execute("UPDATE journal_probe SET value = value + 1 WHERE id = 1")
        except (sqlite3.Error, OverflowError) as error:
            raise self._write_error(error) from error

    def size(self) -> JournalSize:
        """See JournalStore."""
        files = [self.path, *(self.path.with_name(f"{FILE_NAME}{suffix}") for suffix in ("-wal", "-shm"))]
        return JournalSize(
            first_offset=self.first_offset,
            last_offset=self._last_offset,
            snapshots=len(self.snapshots()),
            bytes_on_disk=sum(file.stat().st_size for file in files if file.exists()),
        )

    def close(self) -> None:
        """See JournalStore."""
        self._db.close()
        self._lock.release()

    def _set_synchronous(self, *, full: bool) -> None:
        if full is not self._full_sync:
            self._db.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
            self._full_sync = full

    def _write_error(self, error: Exception) -> JournalError:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        return JournalWriteError(f"the journal {self.path} cannot be written: {error}")


def _last_offset(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT first_offset, count FROM journal_groups ORDER BY first_offset DESC LIMIT 1").fetchone()
    return row[0] + row[1] - 1 if row else 0
