"""Reads a journal without changing it: to verify it, to export it, to replay it.

Takes no lock and writes nothing, so it may read the journal of a running desk: SQLite's write-ahead log lets one
reader and one writer work side by side, and each query here is a short transaction of its own. What it reads of a
running desk is the journal up to the moment of opening.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from polaris_synapse.bus.core import hash_state
from polaris_synapse.bus.journal import (
    READABLE_VERSIONS,
    JournalCorruptError,
    JournalError,
    JournalVersionError,
    Snapshot,
    decode_group,
)
from polaris_synapse.bus.journal_rows import GroupRow, JournalRows, is_whole
from polaris_synapse.bus.journal_sqlite import FILE_NAME
from polaris_synapse.bus.lock import lock_holder
from polaris_synapse.bus.wal import inspect_wal
from polaris_synapse.domain.messages import Message

#: Where there is more damage than this, more of it tells nobody anything.
PROBLEMS_MAX: Final = 100
_SQLITE_PROBLEMS_MAX: Final = 10

#: Called with the offset that has been reached.
Progress = Callable[[int], None]


class JournalMissingError(JournalError):
    """There is no journal in the directory."""


class Problem(Struct, frozen=True):
    """Damage. ``offset``: the first message that cannot be trusted. ``kind``: group, snapshot, wal, file, tail.

    ``tail``: damage at the very end, which a desk cuts and reports when it starts; all other kinds keep it from
    starting, save a damaged snapshot, which it passes over.
    """

    offset: int
    kind: str
    detail: str


class Verification(Struct, frozen=True, kw_only=True):
    """What a journal holds and what is wrong with it. ``bytes_read``: of payloads and snapshots."""

    first_offset: int
    last_offset: int
    messages: int
    groups: int
    snapshots: tuple[int, ...]
    first_time_ns: int
    last_time_ns: int
    bytes_read: int
    bytes_on_disk: int
    seconds: float
    desk_process: int | None
    whole: bool
    problems: tuple[Problem, ...]


class JournalReader:
    """The journal in ``directory``, as it was when this was opened.

    Raises JournalMissingError, JournalVersionError, or JournalCorruptError where SQLite cannot read the file at all.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        if not self.path.is_file():
            raise JournalMissingError(f"there is no journal at {self.path}")
        self.desk_process = lock_holder(directory)
        try:
            self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
            try:
                self._rows = JournalRows(self.path, self._db)
                self._rows.check_format()
                newest = self._rows.newest()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.DatabaseError as error:
            raise JournalCorruptError(1, f"{self.path} cannot be opened as a journal: {error}") from error
        self.last_offset = newest[0] + newest[1] - 1 if newest else 0
        self.last_time_ns = newest[2] if newest else 0

    @property
    def first_offset(self) -> int:
        """The offset of the oldest message kept; ``last_offset + 1`` where none is."""
        return self._rows.first_offset() or self.last_offset + 1

    def read(self, from_offset: int) -> Iterator[tuple[int, list[Message]]]:
        """See JournalStore.read."""
        return self._rows.read(from_offset, self.last_offset)

    def lines(self, from_offset: int) -> Iterator[tuple[int, bytes]]:
        """Offset and JSON of each message from an offset on, as it was written. Raises as ``read`` does."""
        for row in self._rows.checked(from_offset, self.last_offset):
            for offset, line in enumerate(row[5].splitlines(), start=row[0]):
                if offset >= from_offset:
                    yield offset, line

    def snapshots(self) -> list[int]:
        """The offsets of the snapshots kept, newest first."""
        return self._rows.snapshots()

    def load_snapshot(self, offset: int) -> Snapshot:
        """See JournalStore.load_snapshot."""
        return self._rows.load_snapshot(offset)

    def verify(self, progress: Progress | None = None) -> Verification:
        """Read every group and every snapshot, and say all that is wrong instead of stopping at the first."""
        began = time.perf_counter()
        look = _Look(self.last_offset, progress)
        look.add(self._file_problems())
        try:
            for row in self._rows.rows(0):
                if row[0] > self.last_offset:
                    break
                look.take(row)
        except sqlite3.DatabaseError as error:
            look.add([Problem(look.expected or 1, "group", f"SQLite cannot read on from here: {error}")])
        snapshots = self._verify_snapshots(look)
        return Verification(
            first_offset=self.first_offset,
            last_offset=self.last_offset,
            messages=look.messages,
            groups=look.groups,
            snapshots=tuple(snapshots),
            first_time_ns=look.first_time_ns,
            last_time_ns=self.last_time_ns,
            bytes_read=look.bytes_read,
            bytes_on_disk=sum(file.stat().st_size for file in self._files() if file.exists()),
            seconds=time.perf_counter() - began,
            desk_process=self.desk_process,
            whole=not look.problems,
            problems=tuple(look.problems),
        )

    def _verify_snapshots(self, look: _Look) -> list[int]:
        try:
            offsets = self.snapshots()
        except sqlite3.DatabaseError as error:
            look.add([Problem(1, "snapshot", f"SQLite cannot read the snapshots: {error}")])
            return []
        for offset in offsets:
            if offset > self.last_offset and self.desk_process is None:
                look.add([Problem(self.last_offset + 1, "tail", f"a snapshot is of offset {offset}, beyond the end")])
            try:
                snapshot = self.load_snapshot(offset)
            except (JournalCorruptError, sqlite3.DatabaseError, KeyError) as error:
                look.add([Problem(offset, "snapshot", str(error))])
                continue
            for part in snapshot.parts:
                look.bytes_read += len(part.data)
                if hash_state(part.data) != part.state_hash:
                    look.add([Problem(offset, "snapshot", f"the state of {part.core} does not match its hash")])
        return offsets

    def _file_problems(self) -> Iterator[Problem]:
        """What SQLite finds in its file, and what its write-ahead log is like where nobody writes to it."""
        try:
            for (text,) in self._db.execute(f"PRAGMA quick_check({_SQLITE_PROBLEMS_MAX})"):
                if text != "ok":
                    yield Problem(0, "file", " ".join(str(text).split()))
        except sqlite3.DatabaseError as error:
            yield Problem(0, "file", str(error))
        if self.desk_process is not None:
            return
        condition = inspect_wal(self.path.with_name(f"{FILE_NAME}-wal"))
        if condition.lost_commits:
            yield Problem(
                self.last_offset + 1,
                "wal",
                f"the write-ahead log has a broken frame after {condition.committed_frames} good ones and "
                f"{condition.lost_commits} commits behind it",
            )
        elif condition.torn_bytes:
            yield Problem(
                self.last_offset + 1,
                "tail",
                f"an unfinished write of {condition.torn_bytes} bytes; no acknowledged message is lost",
            )

    def _files(self) -> list[Path]:
        return [self.path, *(self.path.with_name(f"{FILE_NAME}{suffix}") for suffix in ("-wal", "-shm"))]

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Look:
    """One walk over all groups."""

    def __init__(self, last_offset: int, progress: Progress | None) -> None:
        self.problems: list[Problem] = []
        self.expected = 0
        self.messages = self.groups = self.bytes_read = self.first_time_ns = 0
        self._last_offset = last_offset
        self._last_time_ns = 0
        self._progress = progress

    def add(self, problems: Iterator[Problem] | list[Problem]) -> None:
        """Keep problems, up to the bound."""
        self.problems.extend(problems)
        del self.problems[PROBLEMS_MAX:]

    def take(self, row: GroupRow) -> None:
        """One group."""
        first_offset, count = row[0], row[1]
        if self.expected and first_offset != self.expected:
            missing = f"the messages {self.expected} to {first_offset - 1} are missing"
            self.add([Problem(self.expected, "group", missing)])
        problem = self._problem(row)
        if problem:
            at_the_end = first_offset + count - 1 >= self._last_offset
            self.add([Problem(first_offset, "tail" if at_the_end else "group", problem)])
        self.expected = first_offset + count
        self.groups += 1
        self.messages += count
        self.bytes_read += len(row[5])
        if self._progress is not None:
            self._progress(self.expected - 1)

    def _problem(self, row: GroupRow) -> str:
        first_offset, count, time_ns, version, _, payload = row
        where = f"the group of messages {first_offset} to {first_offset + count - 1}"
        if not is_whole(row):
            return f"{where} does not match its checksum"
        if version not in READABLE_VERSIONS:
            return f"{where} has version {version}, which this desk cannot read"
        try:
            messages = decode_group(first_offset, payload, version=version)
        except JournalVersionError as error:
            return str(error)
        if len(messages) != count:
            return f"{where} holds {len(messages)} messages"
        self.first_time_ns = self.first_time_ns or messages[0].time_ns
        before = self._last_time_ns
        for offset, message in enumerate(messages, start=first_offset):
            if message.time_ns < before:
                return f"time runs backwards at offset {offset}"
            before = message.time_ns
        self._last_time_ns = time_ns
        return ""
