"""The journal: one suite over both stores, then what only files can suffer."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from polaris_synapse.bus.core import hash_state
from polaris_synapse.bus.journal import (
    JournalCorruptError,
    JournalLockedError,
    JournalStore,
    JournalVersionError,
    JournalWriteError,
    Snapshot,
    SnapshotPart,
)
from polaris_synapse.bus.journal_sqlite import FILE_NAME, SqliteJournal
from polaris_synapse.domain.messages import AuditNote, Message, Tick
from polaris_synapse.testing.journal import MemoryJournal


def note(number: int) -> AuditNote:
    """An input that must not be lost."""
    return AuditNote(time_ns=number, actor="user:alice", action="login", detail=f"number {number}")


def snapshot(offset: int) -> Snapshot:
    """A snapshot of one core."""
    data = b"state at %d" % offset
    return Snapshot(offset=offset, time_ns=offset, parts=(SnapshotPart("risk", hash_state(data), data),))


def contents(journal: JournalStore, from_offset: int = 1) -> dict[int, Message]:
    """Everything from an offset on, by offset."""
    return {
        offset: message
        for first_offset, messages in journal.read(from_offset)
        for offset, message in enumerate(messages, start=first_offset)
    }


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> JournalStore:
    """Each store in turn."""
    return MemoryJournal() if request.param == "memory" else SqliteJournal(tmp_path)


def test_messages_come_back_in_order_with_their_offsets(journal: JournalStore) -> None:
    """What was appended is read back equal, numbered from 1 without gaps, whatever the groups were."""
    assert journal.last_offset == 0
    assert journal.first_offset == 1
    assert journal.append([note(1)]) == 1
    assert journal.append([note(2), Tick(time_ns=3), note(4)]) == 4
    assert journal.append([Tick(time_ns=5)]) == 5
    assert contents(journal) == {1: note(1), 2: note(2), 3: Tick(time_ns=3), 4: note(4), 5: Tick(time_ns=5)}
    assert journal.last_time_ns == 5


@pytest.mark.parametrize("start", range(1, 8))
def test_reading_starts_at_any_offset(journal: JournalStore, start: int) -> None:
    """A single record is addressable also in the middle of a group."""
    journal.append([note(1), note(2)])
    journal.append([note(3), note(4), note(5)])
    journal.append([note(6)])
    assert contents(journal, start) == {offset: note(offset) for offset in range(start, 7)}


def test_snapshots_are_kept_newest_first(journal: JournalStore) -> None:
    """The newest snapshots stay, older ones go, and each comes back as it was."""
    for offset in range(1, 5):
        journal.append([note(offset)], snapshot(offset - 1) if offset > 1 else None)
    journal.write_snapshot(snapshot(4))
    assert journal.snapshots() == [4, 3]
    assert journal.load_snapshot(4) == snapshot(4)
    with pytest.raises(KeyError):
        journal.load_snapshot(1)


def test_truncation_never_passes_the_oldest_snapshot(journal: JournalStore) -> None:
    """Whole groups below the bound go, but never one that a restart from the oldest snapshot needs."""
    for offset in range(1, 11):
        journal.append([note(offset)])
    assert journal.truncate_before(9) == 0
    journal.write_snapshot(snapshot(4))
    assert journal.truncate_before(9) == 4
    assert journal.first_offset == 5
    assert contents(journal) == {offset: note(offset) for offset in range(5, 11)}
    assert journal.append([note(11)]) == 11
    assert journal.verify().first_offset == 5


@pytest.fixture
def fill(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a journal of that many single-message groups and returns its file."""

    def make(count: int) -> Path:
        journal = SqliteJournal(tmp_path / "data")
        for offset in range(1, count + 1):
            journal.append([note(offset)])
        journal.close()
        return tmp_path / "data" / FILE_NAME

    return make


def test_a_journal_survives_its_process(fill: Callable[[int], Path]) -> None:
    """Opened again, a journal holds what it held and goes on counting."""
    path = fill(3)
    journal = SqliteJournal(path.parent)
    assert journal.torn_tail is None
    assert contents(journal) == {offset: note(offset) for offset in (1, 2, 3)}
    assert journal.append([note(4)]) == 4
    journal.close()


def test_every_damaged_byte_of_a_middle_record_is_found(fill: Callable[[int], Path]) -> None:
    """Whichever byte of a record in the middle flips, opening refuses and names the record's offset."""
    path = fill(3)
    original = path.read_bytes()
    payload = b'"detail":"number 2"'
    begin = original.index(b'{"kind":"audit_note","time_ns":2')
    end = original.index(payload) + len(payload) + 2
    for position in range(begin, end):
        damaged = bytearray(original)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(JournalCorruptError, match="damaged at offset 2") as caught:
            SqliteJournal(path.parent)
        assert caught.value.offset == 2


def test_a_damaged_number_of_a_middle_record_is_found(fill: Callable[[int], Path]) -> None:
    """The columns around the JSON are under the checksum too, and a missing group is a gap."""
    path = fill(4)
    for change in (
        "UPDATE journal_groups SET time_ns = 9 WHERE first_offset = 2",
        "UPDATE journal_groups SET count = 2 WHERE first_offset = 2",
        "UPDATE journal_groups SET version = 2 WHERE first_offset = 2",
        "DELETE FROM journal_groups WHERE first_offset = 2",
    ):
        copy = path.parent.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path.parent, copy)
        with sqlite3.connect(copy / FILE_NAME) as db:
            db.execute(change)
        db.close()
        with pytest.raises(JournalCorruptError) as caught:
            SqliteJournal(copy)
        assert caught.value.offset == 2


def test_a_damaged_newest_record_is_cut_and_reported(fill: Callable[[int], Path]) -> None:
    """The torn tail goes, is kept aside for inspection, and the journal goes on from there."""
    path = fill(3)
    damaged = path.read_bytes().replace(b"number 3", b"number 4")
    path.write_bytes(damaged)
    journal = SqliteJournal(path.parent)
    assert journal.torn_tail is not None
    assert (journal.torn_tail.offset, journal.torn_tail.messages) == (3, 1)
    assert journal.append([note(3)]) == 3
    journal.close()
    with sqlite3.connect(path) as db:
        assert b"number 4" in db.execute("SELECT payload FROM journal_cut").fetchone()[0]
    db.close()
    journal = SqliteJournal(path.parent)
    assert journal.torn_tail is None
    journal.close()


def test_a_tail_that_a_snapshot_saw_is_no_torn_tail(fill: Callable[[int], Path]) -> None:
    """A damaged newest group that a snapshot shows to have been applied refuses instead of being cut."""
    path = fill(3)
    journal = SqliteJournal(path.parent)
    journal.write_snapshot(snapshot(3))
    journal.close()
    path.write_bytes(path.read_bytes().replace(b"number 3", b"number 4"))
    with pytest.raises(JournalCorruptError, match="offset 3"):
        SqliteJournal(path.parent)


def test_a_journal_that_ends_before_its_snapshot_refuses(fill: Callable[[int], Path]) -> None:
    """A snapshot of an offset beyond the journal's end shows that acknowledged messages are gone."""
    path = fill(2)
    journal = SqliteJournal(path.parent)
    journal.write_snapshot(snapshot(5))
    journal.close()
    with pytest.raises(JournalCorruptError, match="messages after its end are gone"):
        SqliteJournal(path.parent)


def test_a_damaged_snapshot_is_found_when_it_is_loaded(fill: Callable[[int], Path]) -> None:
    """A flipped bit in a snapshot does not keep the journal shut, but the snapshot is not handed out."""
    path = fill(2)
    journal = SqliteJournal(path.parent)
    journal.write_snapshot(snapshot(2))
    journal.close()
    path.write_bytes(path.read_bytes().replace(b"state at 2", b"state at 3"))
    journal = SqliteJournal(path.parent)
    with pytest.raises(JournalCorruptError, match="snapshot of risk"):
        journal.load_snapshot(2)
    journal.close()


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    """A file that is no journal, or one of a later format, is refused with a clear sentence."""
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / FILE_NAME).write_bytes(b"noise" * 1000)
    with pytest.raises(JournalCorruptError, match="cannot be opened as a journal"):
        SqliteJournal(tmp_path / "noise")
    (tmp_path / "foreign").mkdir()
    with sqlite3.connect(tmp_path / "foreign" / FILE_NAME) as db:
        db.execute("CREATE TABLE things (id INTEGER)")
    db.close()
    with pytest.raises(JournalVersionError, match="no journal of this desk"):
        SqliteJournal(tmp_path / "foreign")
    SqliteJournal(tmp_path / "later").close()
    with sqlite3.connect(tmp_path / "later" / FILE_NAME) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(JournalVersionError, match="format 99"):
        SqliteJournal(tmp_path / "later")


def test_one_desk_at_a_time(tmp_path: Path) -> None:
    """A second journal on the same directory is refused until the first is closed."""
    first = SqliteJournal(tmp_path)
    with pytest.raises(JournalLockedError, match="another desk"):
        SqliteJournal(tmp_path)
    first.close()
    SqliteJournal(tmp_path).close()


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """A group that does not fit leaves no trace, and the journal works again once there is space."""
    journal = SqliteJournal(tmp_path)
    journal.append([note(1)])
    limit = journal._db.execute("PRAGMA max_page_count=1").fetchone()[0]
    with pytest.raises(JournalWriteError, match="full"):
        journal.append([note(number) for number in range(1_000)])
    assert journal.last_offset == 1
    assert contents(journal) == {1: note(1)}
    journal._db.execute(f"PRAGMA max_page_count={limit + 10_000}")
    journal.synchronise()
    assert journal.append([note(2)]) == 2
    journal.close()
    journal = SqliteJournal(tmp_path)
    assert contents(journal) == {1: note(1), 2: note(2)}
    journal.close()
