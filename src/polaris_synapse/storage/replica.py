"""Reads from a streaming replica that never go back behind what the reader was promised.

The promise is a position in the primary's write-ahead log. ``fence`` notes the position that the log has reached; from
then on a read goes to the replica only where that has replayed at least as much, and to the primary otherwise. Without
a fence a read may see the replica's past, which is what ReadModels says of a read without ``caught_up``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from polaris_synapse.bus.clock import Clock
from polaris_synapse.storage.database import Database, DatabaseUnavailableError

T = TypeVar("T")

#: How long a replica that was gone is left alone before a read tries it again.
_PAUSE_NS: Final = 5_000_000_000
_log = structlog.get_logger("polaris_synapse.storage")


class _BehindError(Exception):
    """The replica has not replayed what the reader must see, or is no replica any more."""


class ReplicatedDatabase:
    """A Database whose reads may be answered by a replica. Writes always go to the primary."""

    def __init__(self, primary: Database, replica: Database, clock: Clock) -> None:
        self._primary = primary
        self._replica = replica
        self._clock = clock
        #: The position every read must see, and the newest that the replica is known to have replayed.
        self._promised = 0
        self._replayed = 0
        self._again_at_ns = 0
        #: How many reads each server answered; for tests and metrics.
        self.replica_reads = 0
        self.primary_reads = 0

    async def write(self, work: Callable[[Connection], T], /) -> T:
        """See Database."""
        return await self._primary.write(work)

    async def fence(self) -> None:
        """See Database."""
        position = await self._primary.read(_log_position)
        self._promised = max(self._promised, position)

    async def read(self, work: Callable[[Connection], T], /) -> T:
        """See Database."""
        if self._clock.now_ns() >= self._again_at_ns:
            try:
                found = await self._replica.read(lambda connection: self._on_replica(connection, work))
            except _BehindError:
                # It may have been set up anew from an older copy: what it was known to have no longer counts.
                self._replayed = 0
            except sa.exc.DBAPIError as error:
                # Such as a table that the replica does not have yet. What is wrong with the question itself, the
                # primary says.
                _log.warning("read_replica_refuses", problem=str(error.orig))
                self._replayed = 0
            except DatabaseUnavailableError as error:
                _log.warning("read_replica_gone", problem=str(error))
                self._replayed = 0
                self._again_at_ns = self._clock.now_ns() + _PAUSE_NS
            else:
                self.replica_reads += 1
                return found
        self.primary_reads += 1
        return await self._primary.read(work)

    def _on_replica(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        if self._replayed < self._promised:
            replayed = _replayed_position(connection)
            if replayed < self._promised:
                raise _BehindError
            self._replayed = replayed
        return work(connection)

    async def close(self) -> None:
        """See Database."""
        await self._replica.close()
        await self._primary.close()


def _log_position(connection: Connection) -> int:
    """Bytes of the write-ahead log so far; everything that has committed lies before."""
    position = connection.execute(sa.text("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")).scalar_one()
    return int(position)


def _replayed_position(connection: Connection) -> int:
    """Bytes of the primary's log that a replica has replayed; 0 where it is a server of its own by now."""
    query = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() - '0/0'::pg_lsn END"
    return int(connection.execute(sa.text(query)).scalar() or 0)
