"""The snapshot store over SQL: SQLite in a file, or PostgreSQL. See bus.kafka.snapshot_store for the port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from polaris_synapse.bus.kafka.partition import PartitionSnapshot
from polaris_synapse.bus.kafka.snapshot_store import SnapshotStoreError
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database, DatabaseUnavailableError

SNAPSHOTS_KEPT: Final = 3


class SqlSnapshotStore:
    """Keeps the newest ``kept`` snapshots of each partition in the database of orders."""

    def __init__(self, database: Database, *, kept: int = SNAPSHOTS_KEPT) -> None:
        self._database = database
        self._kept = kept

    async def save(self, snapshot: PartitionSnapshot, /) -> None:
        """See SnapshotStore."""
        try:
            await self._database.write(lambda connection: self._save(connection, snapshot))
        except DatabaseUnavailableError as error:
            raise SnapshotStoreError(f"the snapshot cannot be kept: {error}") from error

    def _save(self, connection: Connection, snapshot: PartitionSnapshot) -> None:
        table = schema.core_snapshots
        of_partition = (table.c.core == snapshot.core) & (table.c.partition == snapshot.partition)
        found = connection.execute(sa.select(table.c.slot, table.c.record_offset).where(of_partition)).all()
        offsets = {int(slot): int(offset) for slot, offset in found}
        if snapshot.offset in offsets.values():
            return
        free = [slot for slot in range(self._kept) if slot not in offsets]
        slot = free[0] if free else min(offsets, key=lambda one: offsets[one])
        if not free and offsets[slot] > snapshot.offset:
            # Older than everything here: from a process that does not know yet that its partition has gone.
            return
        row = {
            "core": snapshot.core,
            "partition": snapshot.partition,
            "slot": slot,
            "record_offset": snapshot.offset,
            "time_ns": snapshot.time_ns,
            "state_hash": snapshot.state_hash,
            "data": snapshot.data,
            "host": snapshot.host,
        }
        connection.execute(schema.upsert(table, connection.dialect.name), [row])

    async def load(self, core: str, partition: int, /) -> list[PartitionSnapshot]:
        """See SnapshotStore."""
        table = schema.core_snapshots
        query = sa.select(table.c.record_offset, table.c.time_ns, table.c.state_hash, table.c.data, table.c.host).where(
            (table.c.core == core) & (table.c.partition == partition)
        )
        query = query.order_by(table.c.record_offset.desc())

        def rows(connection: Connection) -> Sequence[Any]:
            return connection.execute(query).all()

        try:
            found = await self._database.read(rows)
        except DatabaseUnavailableError as error:
            raise SnapshotStoreError(f"the snapshots cannot be read: {error}") from error
        return [
            PartitionSnapshot(core, partition, int(offset), int(time_ns), state_hash, bytes(data), bytes(host))
            for offset, time_ns, state_hash, data, host in found
        ]
