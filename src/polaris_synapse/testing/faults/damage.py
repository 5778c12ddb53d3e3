"""Damage to a journal's files, bit by bit and byte by byte: none of it may pass unnoticed.

Three sweeps: every bit of a record in the middle flips; the write-ahead log ends at every byte of its last three
records; every bit of a record in the middle of the write-ahead log flips. ``step`` leaves some out, for a quick look.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from polaris_synapse.bus.journal import JournalCorruptError
from polaris_synapse.bus.journal_reader import JournalReader
from polaris_synapse.bus.journal_sqlite import FILE_NAME, SqliteJournal
from polaris_synapse.bus.wal import inspect_wal
from polaris_synapse.domain.messages import AuditNote
from polaris_synapse.testing.faults.kills import Progress

_COUNT: Final = 6
_MIDDLE: Final = 3
_WAL_HEADER_BYTES: Final = 32
_FRAME_BYTES: Final = 24 + 4096
_SILENT_MAX: Final = 20


class Sweep(Struct, frozen=True, kw_only=True):
    """One kind of damage. ``silent``: where it was not noticed, which should be nowhere."""

    name: str
    tried: int
    detected: int
    silent: list[str]


class DamageReport(Struct, frozen=True, kw_only=True):
    """All sweeps."""

    sweeps: list[Sweep]
    seconds: float


def _note(number: int) -> AuditNote:
    return AuditNote(time_ns=number, actor="user:alice", action="login", detail=f"number {number}")


def _sweep(
    name: str, places: Iterable[int], is_detected: Callable[[int], bool], progress: Progress, total: int
) -> Sweep:
    tried = detected = 0
    silent: list[str] = []
    for place in places:
        tried += 1
        if is_detected(place):
            detected += 1
        elif len(silent) < _SILENT_MAX:
            silent.append(f"at {place}")
        if tried % 500 == 0:
            progress(f"{name}: {tried}", min(tried / max(total, 1), 1.0))
    return Sweep(name=name, tried=tried, detected=detected, silent=silent)


def _flipped(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def _refuses(directory: Path, offset: int) -> bool:
    """Whether the journal refuses to open at that offset, and a reader sees it too."""
    with JournalReader(directory) as reader:
        seen = not reader.verify().whole
    try:
        SqliteJournal(directory).close()
    except JournalCorruptError as error:
        return error.offset == offset and seen
    return False


def _record_bits(directory: Path, step: int, progress: Progress) -> Sweep:
    """Every bit of the record in the middle of a closed journal, with the columns around its JSON."""
    place = directory / "record"
    journal = SqliteJournal(place)
    for number in range(1, _COUNT + 1):
        journal.append([_note(number)])
    journal.close()
    path, original = place / FILE_NAME, (place / FILE_NAME).read_bytes()
    begin = original.index(b'{"kind":"audit_note","time_ns":%d' % _MIDDLE)
    end = original.index(b"\n", begin) + 1

    def is_detected(bit: int) -> bool:
        path.write_bytes(_flipped(original, bit))
        try:
            return _refuses(place, _MIDDLE)
        finally:
            path.write_bytes(original)

    bits = range(begin * 8, end * 8, step)
    return _sweep("bits of a record", bits, is_detected, progress, len(bits))


def _crashed(directory: Path) -> Path:
    """A journal as a crash leaves it: each message a commit of its own in the write-ahead log."""
    live, copy = directory / "live", directory / "crashed"
    journal = SqliteJournal(live)
    # Everything so far goes into the database, so that the log begins with the first message.
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(1, _COUNT + 1):
        journal.append([_note(number)])
    copy.mkdir()
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        shutil.copy(live / name, copy / name)
    journal.close()
    return copy


def _torn_tails(crashed: Path, directory: Path, step: int, progress: Progress) -> Sweep:
    """The log ends at every byte of its last three records: whole commits stay, the rest is cut and reported."""
    name = f"{FILE_NAME}-wal"
    original = (crashed / name).read_bytes()
    first = len(original) - 3 * _FRAME_BYTES
    place = directory / "torn"

    def is_detected(length: int) -> bool:
        shutil.copytree(crashed, place)
        (place / name).write_bytes(original[:length])
        whole, rest = divmod(length - _WAL_HEADER_BYTES, _FRAME_BYTES)
        try:
            journal = SqliteJournal(place)
            try:
                return journal.last_offset == whole and (journal.torn_tail is not None) is bool(rest)
            finally:
                journal.close()
        finally:
            shutil.rmtree(place)

    lengths = range(first, len(original) + 1, step)
    return _sweep("lengths of a torn tail", lengths, is_detected, progress, len(lengths))


def _log_bits(crashed: Path, directory: Path, step: int, progress: Progress) -> Sweep:
    """Every bit of a record in the middle of the log: the commits behind it are found to be lost."""
    original = (crashed / f"{FILE_NAME}-wal").read_bytes()
    begin = _WAL_HEADER_BYTES + (_MIDDLE - 1) * _FRAME_BYTES
    path = directory / "flipped-wal"

    def is_detected(bit: int) -> bool:
        path.write_bytes(_flipped(original, bit))
        condition = inspect_wal(path)
        return condition.committed_frames == _MIDDLE - 1 and condition.lost_commits > 0

    bits = range(begin * 8, (begin + _FRAME_BYTES) * 8, step)
    return _sweep("bits of the write-ahead log", bits, is_detected, progress, len(bits))


def run_damage(directory: Path, *, step: int, progress: Progress) -> DamageReport:
    """All sweeps in ``directory``, which is empty; ``step`` 1 leaves nothing out."""
    began = time.monotonic()
    crashed = _crashed(directory)
    sweeps = [
        _record_bits(directory, step, progress),
        _torn_tails(crashed, directory, step, progress),
        _log_bits(crashed, directory, step, progress),
    ]
    progress("done", 1.0)
    return DamageReport(sweeps=sweeps, seconds=round(time.monotonic() - began, 1))
