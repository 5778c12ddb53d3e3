"""The rows of a journal's SQLite file, checked as they are read; for the journal itself and for those who only read."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from polaris_synapse.bus.journal import (
    READABLE_VERSIONS,
    JournalCorruptError,
    JournalVersionError,
    Snapshot,
    SnapshotPart,
    corrupt_group,
    decode_group,
    group_checksum,
)
from polaris_synapse.domain.messages import Message

#: "PSyn": marks the file as a journal of this desk.
APPLICATION_ID: Final = 0x5053796E
_READ_GROUPS: Final = 256
_COLUMNS: Final = "first_offset, count, time_ns, version, checksum, payload"

#: First offset, message count, time of the last message, format version, checksum, payload.
GroupRow = tuple[int, int, int, int, int, bytes]


class JournalRows:
    """The groups and snapshots of an open journal database. Each query is a transaction of its own."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._db = db

    def check_format(self) -> None:
        """Raises JournalVersionError for a file that is no journal or one of a version that cannot be read."""
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        if application != APPLICATION_ID:
            raise JournalVersionError(f"{self._path} is no journal of this desk")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in READABLE_VERSIONS:
            readable = ", ".join(map(str, sorted(READABLE_VERSIONS)))
            raise JournalVersionError(f"{self._path} has format {version}, this desk reads format {readable}")

    def first_offset(self) -> int:
        """The offset of the oldest message kept, 0 where none is."""
        found = self._db.execute("SELECT min(first_offset) FROM journal_groups").fetchone()[0]
        return 0 if found is None else int(found)

    def newest(self) -> GroupRow | None:
        """The newest group, whole or not."""
        row: GroupRow | None = self._db.execute(
            f"SELECT {_COLUMNS} FROM journal_groups ORDER BY first_offset DESC LIMIT 1"  # noqa: S608 - a constant
        ).fetchone()
        return row

    def before(self, first_offset: int) -> GroupRow | None:
        """The group before the one that begins at ``first_offset``."""
        row: GroupRow | None = self._db.execute(
            f"SELECT {_COLUMNS} FROM journal_groups WHERE first_offset < ? ORDER BY first_offset DESC LIMIT 1",  # noqa: S608
            (first_offset,),
        ).fetchone()
        return row

    def holding(self, offset: int) -> int:
        """Where the group that holds ``offset`` begins, or ``offset`` where there is none."""
        found = self._db.execute(
            "SELECT max(first_offset) FROM journal_groups WHERE first_offset <= ?", (offset,)
        ).fetchone()[0]
        return offset if found is None else int(found)

    def rows(self, first_offset: int) -> Iterator[GroupRow]:
        """Groups that begin at or after ``first_offset``, unchecked. Raises sqlite3.DatabaseError."""
        query = f"SELECT {_COLUMNS} FROM journal_groups WHERE first_offset >= ? ORDER BY first_offset LIMIT ?"  # noqa: S608
        start = first_offset
        while rows := self._db.execute(query, (start, _READ_GROUPS)).fetchall():
            yield from rows
            start = rows[-1][0] + 1

    def checked(self, from_offset: int, last_offset: int) -> Iterator[GroupRow]:
        """Whole groups from the one that holds ``from_offset`` up to the one that ends at ``last_offset``.

        Raises JournalCorruptError where one is damaged or missing, JournalVersionError where it cannot be read.
        """
        expected, start = 0, from_offset
        try:
            start = self.holding(from_offset)
            for row in self.rows(start):
                first_offset, count = row[0], row[1]
                if first_offset > last_offset:
                    break
                if expected and first_offset != expected:
                    raise corrupt_group(expected, first_offset - 1, "the group is missing")
                if not is_whole(row):
                    raise corrupt_group(first_offset, first_offset + count - 1, "its checksum is wrong")
                if row[3] not in READABLE_VERSIONS:
                    raise JournalVersionError(f"the group at offset {first_offset} has version {row[3]}")
                expected = first_offset + count
                if expected > from_offset:
                    yield row
        except sqlite3.DatabaseError as error:
            at = max(expected, start)
            raise corrupt_group(at, last_offset, f"SQLite cannot read it ({error})") from error
        if expected and expected != last_offset + 1:
            raise corrupt_group(expected, last_offset, "the groups are missing")

    def read(self, from_offset: int, last_offset: int) -> Iterator[tuple[int, list[Message]]]:
        """The messages of ``checked``: the offset of the first, and they; see JournalStore.read."""
        for row in self.checked(from_offset, last_offset):
            messages = decode_group(row[0], row[5], version=row[3])
            skipped = max(from_offset - row[0], 0)
            yield row[0] + skipped, messages[skipped:]

    def snapshots(self) -> list[int]:
        """The offsets of the snapshots kept, newest first."""
        rows = self._db.execute("SELECT DISTINCT offset FROM journal_snapshots ORDER BY offset DESC").fetchall()
        return [row[0] for row in rows]

    def load_snapshot(self, offset: int) -> Snapshot:
        """A snapshot. Raises JournalCorruptError where it is damaged, KeyError where there is none."""
        rows = self._db.execute(
            "SELECT time_ns, parts, core, state_hash, checksum, data FROM journal_snapshots "
            "WHERE offset = ? ORDER BY id",
            (offset,),
        ).fetchall()
        if not rows:
            raise KeyError(offset)
        parts = tuple(SnapshotPart(core=row[2], state_hash=row[3], data=row[5]) for row in rows)
        for row, part in zip(rows, parts, strict=True):
            if row[4] != snapshot_checksum(offset, row[0], row[1], part) or row[1] != len(rows):
                raise JournalCorruptError(offset, f"the snapshot of {part.core} at offset {offset} is damaged")
        return Snapshot(offset=offset, time_ns=rows[0][0], parts=parts)


def is_whole(row: GroupRow) -> bool:
    """Whether a group is as it was written."""
    try:
        return group_checksum(row[0], row[1], row[2], row[3], row[5]) == row[4]
    except TypeError:
        # A damaged type code turned a column into something else.
        return False


def snapshot_checksum(offset: int, time_ns: int, parts: int, part: SnapshotPart) -> int:
    """CRC-32 of a snapshot's part with everything that says where it belongs."""
    head = f"{offset}/{time_ns}/{parts}/{part.core}/{part.state_hash}/".encode()
    return zlib.crc32(part.data, zlib.crc32(head))
