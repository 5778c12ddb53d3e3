"""The SQLite file of language models: calls, cases and what was spent. One connection, used by one thread at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import anyio.to_thread

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS model_records (
    digest TEXT PRIMARY KEY, kind TEXT NOT NULL, decision_id TEXT NOT NULL, time_ns INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS model_records_by_time ON model_records (time_ns);
CREATE INDEX IF NOT EXISTS model_records_by_decision ON model_records (decision_id);
CREATE TABLE IF NOT EXISTS model_spending (
    id INTEGER PRIMARY KEY, day INTEGER NOT NULL, purpose TEXT NOT NULL, decision_id TEXT NOT NULL,
    settled INTEGER NOT NULL, tokens INTEGER NOT NULL, milliseconds INTEGER NOT NULL, micro_usd INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS model_spending_by_day ON model_spending (day, purpose);
CREATE INDEX IF NOT EXISTS model_spending_by_decision ON model_spending (decision_id);
"""
FILE_NAME: Final = "models.sqlite3"
_BUSY_SECONDS_MAX: Final = 5.0

T = TypeVar("T")


class ModelDatabase:
    """The file, opened when it is first needed.

    ``run`` does work on it in a thread, so that a disk never holds up the event loop.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS_MAX
            )
            # Spending must survive a power cut, or a restart could spend the day's money twice.
            self._connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_SCHEMA}")
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One writing transaction; rolled back where the block raises."""
        with self._lock:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @staticmethod
    async def run(work: Callable[[], T]) -> T:
        """``work()`` in a thread. It is finished even where the caller is cancelled: half a settlement is none."""
        return await anyio.to_thread.run_sync(work)

    def close(self) -> None:
        """Close the file. It is opened again where it is needed again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
