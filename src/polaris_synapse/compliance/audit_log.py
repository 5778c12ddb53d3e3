"""The audit log as files: one JSON line an entry, one file a day, only ever appended to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from polaris_synapse.domain.messages import AuditEntry

_SECOND_NS: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _SECOND_NS
_TAIL_BYTES: Final = 65_536
_ENCODER: Final = msgspec.json.Encoder()


class AuditLogError(RuntimeError):
    """The files hold something other than the desk's entries; the message says where."""


class AuditLog:
    """Appends entries to ``audit-YYYY-MM-DD.jsonl`` files (UTC days of the entries' times). Not thread-safe.

    ``open`` drops a last line that a crash cut short, and only that. Every call may raise OSError.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor = -1
        self._day = -1
        self.last_sequence = 0
        self.last_hash = ""

    def open(self) -> None:
        """Find where the log ends. Raises AuditLogError where its last whole line is no entry."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(self._directory.glob("audit-*.jsonl"), reverse=True):
            last = self._last_entry(path)
            if last is not None:
                self.last_sequence, self.last_hash = last.sequence, last.entry_hash
                self._day = last.time_ns // _DAY_NS
                return

    def append(self, entries: Sequence[AuditEntry]) -> None:
        """Hand entries to the operating system. A day that has begun is never gone back from.

        Where that fails, no part of a line stays behind, and the same entries can be given again.
        """
        waiting: list[AuditEntry] = []
        for entry in entries:
            day = max(entry.time_ns // _DAY_NS, self._day)
            if self._descriptor < 0 or day != self._day:
                self._write(waiting)
                waiting = []
                self._turn_to(day)
            waiting.append(entry)
        self._write(waiting)

    def _write(self, entries: Sequence[AuditEntry]) -> None:
        if not entries:
            return
        data = memoryview(_ENCODER.encode_lines(entries))
        before = os.fstat(self._descriptor).st_size
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise
        self.last_sequence, self.last_hash = entries[-1].sequence, entries[-1].entry_hash

    def sync(self) -> None:
        """Make what was written durable."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Make what was written durable and let go of the file."""
        self.sync()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _turn_to(self, day: int) -> None:
        self.close()
        name = datetime.fromtimestamp(day * _DAY_NS // _SECOND_NS, tz=UTC).strftime("audit-%Y-%m-%d.jsonl")
        self._descriptor = os.open(self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._day = day

    @staticmethod
    def _last_entry(path: Path) -> AuditEntry | None:
        """The last entry of a file, after dropping a torn last line; None for a file without a whole line."""
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read()
            whole, newline, torn = tail.rpartition(b"\n")
            if not newline and len(tail) < size:
                raise AuditLogError(f"{path.name} ends in a line that is too long for an entry")
            if torn:
                file.truncate(size - len(torn))
            if not newline:
                return None
        line = whole.rpartition(b"\n")[2]
        try:
            return msgspec.json.decode(line, type=AuditEntry)
        except msgspec.MsgspecError as error:
            raise AuditLogError(f"the last line of {path.name} is no audit entry: {error}") from None
