"""SQLite's write-ahead log after a crash: a torn end is dropped and reported, damage in the middle refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polaris_synapse.bus.journal import JournalCorruptError
from polaris_synapse.bus.journal_sqlite import FILE_NAME, SqliteJournal
from polaris_synapse.bus.wal import inspect_wal
from polaris_synapse.domain.messages import AuditNote

WAL = f"{FILE_NAME}-wal"
COUNT = 6


def note(number: int) -> AuditNote:
    """An input that must not be lost."""
    return AuditNote(time_ns=number, actor="user:alice", action="login", detail=f"number {number}")


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """The directory of a journal as a crash leaves it: commits in the write-ahead log, nothing closed."""
    journal = SqliteJournal(tmp_path / "live")
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for offset in range(1, COUNT + 1):
        journal.append([note(offset)])
    copy = tmp_path / "crashed"
    copy.mkdir()
    for name in (FILE_NAME, WAL):
        shutil.copy(tmp_path / "live" / name, copy / name)
    journal.close()
    return copy


def frame_ends(directory: Path) -> list[int]:
    """Where each frame of the log ends; here each frame is one commit of one message."""
    size = (directory / WAL).stat().st_size
    return list(range(32 + 4120, size + 1, 4120))


def test_a_whole_log_is_kept(crashed: Path) -> None:
    """After a crash between two commits everything is there and nothing is reported."""
    assert inspect_wal(crashed / WAL).committed_frames == len(frame_ends(crashed)) == COUNT
    journal = SqliteJournal(crashed)
    assert journal.torn_tail is None
    assert journal.last_offset == COUNT
    journal.close()


def test_a_log_cut_anywhere_loses_only_its_end(crashed: Path, tmp_path: Path) -> None:
    """Cut at every 311th byte and around each frame's end, the log gives the whole commits and reports the rest."""
    original = (crashed / WAL).read_bytes()
    ends = frame_ends(crashed)
    around = {end + step for end in ends for step in (-1, 0, 1, 24, 25)}
    for length in sorted({*range(0, len(original), 311), *around}):
        if length > len(original):
            continue
        copy = tmp_path / "cut"
        shutil.copytree(crashed, copy)
        (copy / WAL).write_bytes(original[:length])
        kept = sum(end <= length for end in ends)
        journal = SqliteJournal(copy)
        assert journal.last_offset == kept, length
        torn = bool(length) and length != 32 and length not in ends
        assert (journal.torn_tail is not None) is torn, length
        if journal.torn_tail is not None:
            assert (journal.torn_tail.offset, journal.torn_tail.messages) == (kept + 1, 0)
        journal.close()
        shutil.rmtree(copy)


def test_damage_in_the_middle_of_the_log_refuses_and_keeps_the_evidence(crashed: Path, tmp_path: Path) -> None:
    """A flipped bit in a frame with commits behind it refuses, names the offset, and leaves the log as it was."""
    original = (crashed / WAL).read_bytes()
    begin = frame_ends(crashed)[1]
    for position in (*range(begin, begin + 24), *range(begin + 24, begin + 4120, 97)):
        copy = tmp_path / "damaged"
        shutil.copytree(crashed, copy)
        damaged = bytearray(original)
        damaged[position] ^= 1 << (position % 8)
        (copy / WAL).write_bytes(damaged)
        with pytest.raises(JournalCorruptError, match="damaged at offset 3") as caught:
            SqliteJournal(copy)
        assert caught.value.offset == 3
        assert (copy / WAL).read_bytes() == bytes(damaged)
        shutil.rmtree(copy)


def test_a_damaged_header_refuses(crashed: Path) -> None:
    """Without its header none of the log's commits can be read, so the journal does not open."""
    damaged = bytearray((crashed / WAL).read_bytes())
    damaged[9] ^= 4
    (crashed / WAL).write_bytes(damaged)
    with pytest.raises(JournalCorruptError, match="damaged at offset 1"):
        SqliteJournal(crashed)


def test_frames_left_over_from_an_earlier_round_are_no_damage(tmp_path: Path) -> None:
    """A log that SQLite has begun to write over from its start holds old frames at its end; they mean nothing."""
    journal = SqliteJournal(tmp_path / "live")
    for offset in range(1, 50):
        journal.append([note(offset)])
    journal._db.execute("PRAGMA wal_checkpoint(FULL)")
    for offset in range(50, 53):
        journal.append([note(offset)])
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (FILE_NAME, WAL):
        shutil.copy(tmp_path / "live" / name, copy / name)
    journal.close()
    assert (copy / WAL).stat().st_size > 32 + 10 * 4120
    again = SqliteJournal(copy)
    assert again.torn_tail is None
    assert again.last_offset == 52
    again.close()
