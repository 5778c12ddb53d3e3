"""Keeps a journal's write-ahead log short without holding up who waits for a commit.

SQLite's own checkpoint runs within the commit that fills the log: it copies hundreds of pages into the database file
and waits twice for the disk, while every order stands behind it. Here the copying and the waiting are done by a thread,
beside the commits. The log begins anew only where no commit came between, so that a last, short step is left for the
thread of the commits; it is done behind a group that nobody waits for, and only a log that has become long takes it
behind one that somebody does.
"""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

_PAGE_BYTES: Final = 4_096
#: A commit writes the page that its row goes to, and now and then one above it.
_PAGES_A_COMMIT: Final = 2
#: Pages that are copied at once.
_PAGES_A_COPY: Final = 500
#: From so many pages on the log begins anew behind a group that nobody waits for: reading them takes a start 0.1 s.
_PAGES_ENOUGH: Final = 1_000
#: From so many on it does behind any group.
_PAGES_MAX: Final = 2_000

_log = structlog.get_logger("polaris_synapse.bus")


class JournalCheckpoints:
    """The checkpoints of the SQLite file at ``path``, whose commits ``db`` makes. Not thread-safe."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._db = db
        db.execute("PRAGMA wal_autocheckpoint=0")
        self._beside = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Closed last: closing a descriptor of the file lets go of every lock that the process has on it.
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="journal-checkpoint")
        self._copying: Future[int] | None = None
        #: About how many pages the log has, and how many of them are in the file.
        self._pages = 0
        self._copied = 0

    def wrote(self, size_bytes: int, *, awaited: bool) -> None:
        """A group of so many bytes was committed; ``awaited``: somebody waits for it."""
        self._pages += _PAGES_A_COMMIT + size_bytes // _PAGE_BYTES
        if self._copying is not None:
            if not self._copying.done():
                return
            self._take(self._copying)
        if self._pages >= (_PAGES_MAX if awaited else _PAGES_ENOUGH):
            self._begin_anew()
        elif self._pages - self._copied >= _PAGES_A_COPY:
            self._copying = self._copier.submit(self._copy)

    def _copy(self) -> int:
        """Copy what the log holds and wait for the disk, in the copier's thread; the pages that are copied."""
        _, _, copied = self._beside.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        # SQLite does not synchronise the file where a commit came meanwhile; then the last step would have all of it.
        os.fsync(self._file)
        return int(copied)

    def _take(self, copying: Future[int]) -> None:
        self._copying = None
        try:
            self._copied = copying.result()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)

    def _begin_anew(self) -> None:
        try:
            _, pages, copied = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            self._failed(error)
            return
        # A reader of the file (a backup, say) may keep the log from beginning anew; then it is tried again later.
        self._pages = self._copied = 0 if copied >= pages else min(int(copied), _PAGES_ENOUGH)

    def _failed(self, error: Exception) -> None:
        """The commits are in the log, so nothing is lost; it is tried again after as many pages."""
        _log.warning("journal_checkpoint_failed", path=str(self._path), error=str(error))
        self._pages = self._copied = 0

    def close(self) -> None:
        """Wait for a copy under way and let go of the file; before ``db`` is closed."""
        self._copier.shutdown()
        self._beside.close()

    def closed(self) -> None:
        """``db`` is closed too."""
        os.close(self._file)
