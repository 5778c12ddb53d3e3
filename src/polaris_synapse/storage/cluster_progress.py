"""How far a cluster's read models have come: the next record of each partition, and the newest fact of each sender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy import Table
from sqlalchemy.engine import Connection

from polaris_synapse.bus.kafka.wire import Record, Source
from polaris_synapse.storage import schema

_NEVER: Final = (-1, -1, 0)


class ProgressLostError(RuntimeError):
    """Another process has moved the progress meanwhile: it is the projector now."""


class ClusterProgress(Struct):
    """``next_offsets`` by ``topic/partition``; ``heights`` by that and the sender: its offset, index and number."""

    version: int = 0
    next_offsets: dict[str, int] = {}
    heights: dict[str, tuple[int, int, int]] = {}

    def take(self, records: Sequence[Record]) -> list[Record]:
        """Those of one record's messages that have not been seen; they have been from now on."""
        first = records[0]
        place = f"{first.topic}/{first.partition}"
        if first.offset < self.next_offsets.get(place, 0):
            return []
        self.next_offsets[place] = first.offset + 1
        return [record for record in records if record.source is not None and self._is_new(place, record.source)]

    def _is_new(self, place: str, source: Source) -> bool:
        key = f"{place} {source.name}"
        offset, index, number = self.heights.get(key, _NEVER)
        if source.sequence:
            if source.sequence <= number:
                return False
        elif (source.offset, source.index) <= (offset, index):
            return False
        self.heights[key] = (source.offset, source.index, source.sequence)
        return True


def read_cluster_progress(connection: Connection, table: Table, name: str, *, lock: bool = False) -> ClusterProgress:
    """The progress of a projector; an empty one in a new database."""
    query = sa.select(table.c.version, table.c.body).where(table.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return ClusterProgress()
    progress = msgspec.json.decode(row[1], type=ClusterProgress)
    progress.version = int(row[0])
    return progress


def move_cluster_progress(connection: Connection, table: Table, name: str, progress: ClusterProgress) -> bool:
    """Move the progress by one version, in the transaction of the facts that it counts.

    False where that was done before: after a commit whose answer was lost the same comes again. Raises
    ProgressLostError where another process has moved it, and then nothing may be written.
    """
    body = msgspec.json.encode(progress).decode()
    query = sa.select(table.c.version, table.c.body).where(table.c.name == name).with_for_update()
    row = connection.execute(query).one_or_none()
    version = 0 if row is None else int(row[0])
    if row is not None and version == progress.version + 1 and row[1] == body:
        return False
    if version != progress.version:
        raise ProgressLostError(f"the progress of {name} is at version {version}, not {progress.version}")
    connection.execute(
        schema.upsert(table, connection.dialect.name),
        [{"name": name, "version": progress.version + 1, "body": body}],
    )
    return True
