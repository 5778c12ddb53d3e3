"""Reading a journal without changing it: of a running desk, of a damaged one, and of every older format."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.unit.bus.journal_fixture import DATA, MESSAGES_FILE, SNAPSHOT_DATA, every_kind

from polaris_synapse.bus.core import encode_message, hash_state
from polaris_synapse.bus.journal import JournalCorruptError, JournalVersionError, Snapshot, SnapshotPart
from polaris_synapse.bus.journal_reader import JournalMissingError, JournalReader, Verification
from polaris_synapse.bus.journal_sqlite import FILE_NAME, SqliteJournal
from polaris_synapse.bus.lock import lock_holder
from polaris_synapse.domain.messages import AuditNote


def note(number: int) -> AuditNote:
    """An input that must not be lost."""
    return AuditNote(time_ns=number, actor="user:alice", action="login", detail=f"number {number}")


def snapshot(offset: int) -> Snapshot:
    """A snapshot of one core."""
    data = b"state at %d" % offset
    return Snapshot(offset=offset, time_ns=offset, parts=(SnapshotPart("risk", hash_state(data), data),))


def filled(directory: Path, count: int = 6) -> Path:
    """A closed journal of that many messages, two a group, with a snapshot after the fourth."""
    journal = SqliteJournal(directory)
    for number in range(1, count + 1, 2):
        journal.append([note(number), note(number + 1)], snapshot(4) if number == 5 else None)
    journal.close()
    return directory / FILE_NAME


def verified(directory: Path) -> Verification:
    """What a reader says of a journal."""
    with JournalReader(directory) as reader:
        return reader.verify()


def change(path: Path, statement: str) -> None:
    """Change a journal's database behind its back."""
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


def means_the_same(was: object, now: object) -> bool:
    """Whether everything that was said is still said; what is only said now was a default then."""
    if isinstance(was, dict) and isinstance(now, dict):
        return all(name in now and means_the_same(value, now[name]) for name, value in was.items())
    if isinstance(was, list) and isinstance(now, list):
        return len(was) == len(now) and all(map(means_the_same, was, now))
    return was == now


def test_a_whole_journal_verifies_with_its_figures(tmp_path: Path) -> None:
    """Messages, records, snapshots, times and bytes are counted, and progress is told up to the last offset."""
    filled(tmp_path)
    seen: list[int] = []
    with JournalReader(tmp_path) as reader:
        report = reader.verify(seen.append)
    assert report.whole
    assert (report.messages, report.groups, report.first_offset, report.last_offset) == (6, 3, 1, 6)
    assert (report.snapshots, report.first_time_ns, report.last_time_ns) == ((4,), 1, 6)
    assert report.bytes_read > 100
    assert report.bytes_on_disk >= (tmp_path / FILE_NAME).stat().st_size
    assert seen == [2, 4, 6]


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """Verifying leaves the database byte for byte as it was, damaged or not, and takes no lock."""
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"number 6", b"number 7"))
    before = path.read_bytes()
    with JournalReader(tmp_path) as reader:
        assert not reader.verify().whole
        assert lock_holder(tmp_path) is None
    assert path.read_bytes() == before


def test_a_running_desk_can_be_read_and_goes_on_writing(tmp_path: Path) -> None:
    """A reader sees the journal up to its opening, says which process has it, and is in nobody's way."""
    journal = SqliteJournal(tmp_path)
    journal.append([note(1), note(2)])
    with JournalReader(tmp_path) as reader:
        assert reader.desk_process == os.getpid()
        journal.append([note(3)])
        assert [messages for _, messages in reader.read(1)] == [[note(1), note(2)]]
        assert reader.verify().whole
        journal.append([note(4)], snapshot(3))
    assert verified(tmp_path).messages == 4
    journal.close()


def test_a_journal_of_a_killed_process_is_read_with_its_write_ahead_log(tmp_path: Path) -> None:
    """After SIGKILL everything that was committed is read, though it stands in the write-ahead log only."""
    child = (
        "import sys, time; from pathlib import Path;"
        "from polaris_synapse.bus.journal_sqlite import SqliteJournal;"
        "from polaris_synapse.domain.messages import Tick;"
        "journal = SqliteJournal(Path(sys.argv[1])); journal.append([Tick(time_ns=1)]); journal.synchronise();"
        "print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", child, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert lock_holder(tmp_path) == process.pid
        process.send_signal(signal.SIGSTOP)
        assert lock_holder(tmp_path) == process.pid, "a stopped process keeps its lock"
        process.send_signal(signal.SIGKILL)
        process.wait()
    report = verified(tmp_path)
    assert (report.whole, report.messages, report.desk_process) == (True, 1, None)


@pytest.mark.parametrize(
    "statement, offset, kind",
    [
        ("UPDATE journal_groups SET time_ns = 9 WHERE first_offset = 3", 3, "group"),
        ("UPDATE journal_groups SET payload = x'00' WHERE first_offset = 1", 1, "group"),
        ("UPDATE journal_groups SET version = 9 WHERE first_offset = 3", 3, "group"),
        ("DELETE FROM journal_groups WHERE first_offset = 3", 3, "group"),
        ("UPDATE journal_groups SET checksum = 1 WHERE first_offset = 5", 5, "tail"),
        ("UPDATE journal_snapshots SET data = x'00'", 4, "snapshot"),
        ("UPDATE journal_snapshots SET state_hash = '00'", 4, "snapshot"),
        ("DELETE FROM journal_groups WHERE first_offset > 1", 3, "tail"),
    ],
)
def test_each_kind_of_damage_is_named_with_its_offset(tmp_path: Path, statement: str, offset: int, kind: str) -> None:
    """A changed, missing or misplaced record, a damaged snapshot and a lost end are told apart."""
    change(filled(tmp_path), statement)
    problems = verified(tmp_path).problems
    assert problems
    assert (problems[0].offset, problems[0].kind) == (offset, kind)


def test_all_damage_is_reported_not_only_the_first(tmp_path: Path) -> None:
    """Two damaged records are two problems, and the whole one between them is counted."""
    path = filled(tmp_path, 10)
    change(path, "UPDATE journal_groups SET checksum = 1 WHERE first_offset IN (3, 7)")
    report = verified(tmp_path)
    assert [problem.offset for problem in report.problems] == [3, 7]
    assert report.messages == 10


def test_messages_that_go_back_in_time_are_damage(tmp_path: Path) -> None:
    """Times in a journal never fall, so one that does was not written by a desk."""
    journal = SqliteJournal(tmp_path)
    journal.append([note(5), note(4)])
    journal.append([note(6)])
    journal.close()
    (problem,) = verified(tmp_path).problems
    assert "offset 2" in problem.detail


def test_lines_are_given_as_they_were_written(tmp_path: Path) -> None:
    """The JSON of each message comes back byte for byte, from any offset on."""
    filled(tmp_path)
    with JournalReader(tmp_path) as reader:
        assert list(reader.lines(4)) == [(number, encode_message(note(number))) for number in (4, 5, 6)]


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    """A missing file, noise, somebody else's database and a later format each have their own error."""
    with pytest.raises(JournalMissingError, match="no journal"):
        JournalReader(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"noise" * 1000)
    with pytest.raises(JournalCorruptError, match="cannot be opened"):
        JournalReader(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    change(tmp_path / FILE_NAME, "CREATE TABLE things (id INTEGER)")
    with pytest.raises(JournalVersionError, match="no journal of this desk"):
        JournalReader(tmp_path)
    later = tmp_path / "later"
    change(filled(later), "PRAGMA user_version=99")
    with pytest.raises(JournalVersionError, match="format 99"):
        JournalReader(later)


@pytest.mark.parametrize("format_version", [1])
def test_journals_of_every_older_format_are_read(format_version: int, tmp_path: Path) -> None:
    """A journal that an older version wrote opens and verifies, and each message means what it meant then.

    A field that a later version adds must have a default; one that it renames or removes fails here.
    """
    source = DATA / f"journal-v{format_version}"
    (tmp_path / FILE_NAME).write_bytes((source / FILE_NAME).read_bytes())
    written = (source / MESSAGES_FILE).read_bytes().splitlines()
    report = verified(tmp_path)
    assert report.whole, report.problems
    assert report.messages == len(written)
    journal = SqliteJournal(tmp_path)
    messages = [message for _, group in journal.read(1) for message in group]
    for then, message in zip(written, messages, strict=True):
        was, now = msgspec.json.decode(then), msgspec.json.decode(encode_message(message))
        assert means_the_same(was, now), was["kind"]
    (offset,) = journal.snapshots()
    assert {part.core: part.data for part in journal.load_snapshot(offset).parts} == {
        "host": SNAPSHOT_DATA,
        "risk": SNAPSHOT_DATA,
    }
    assert journal.append([note(10**18)]) == len(written) + 1
    journal.close()


def test_the_samples_cover_every_kind_that_a_journal_can_hold() -> None:
    """A new kind of message gets a sample of its own, so that the next format's fixture has it."""
    assert len({type(message) for message in every_kind()}) == len(every_kind()) > 40
