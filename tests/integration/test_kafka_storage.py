"""Snapshot stores, one suite over all of them, and the read models' place in the topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from polaris_synapse.bus.core import hash_state
from polaris_synapse.bus.kafka.partition import PartitionSnapshot
from polaris_synapse.bus.kafka.snapshot_store import MemorySnapshotStore, SnapshotStore
from polaris_synapse.bus.kafka.wire import Record, Source
from polaris_synapse.domain.messages import Tick
from polaris_synapse.storage import schema
from polaris_synapse.storage.cluster_progress import (
    ClusterProgress,
    ProgressLostError,
    move_cluster_progress,
    read_cluster_progress,
)
from polaris_synapse.storage.core_snapshots import SqlSnapshotStore
from polaris_synapse.storage.database import open_database
from polaris_synapse.storage.migrate import upgrade_orders
from polaris_synapse.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio
KEPT = 3


def snapshot(offset: int, *, partition: int = 0) -> PartitionSnapshot:
    """A snapshot with bytes that text could not hold."""
    data = b"\x00\xff state %d" % offset
    return PartitionSnapshot("risk", partition, offset, offset * 10, hash_state(data), data, b"{}")


@asynccontextmanager
async def sql_store(url: str) -> AsyncIterator[SnapshotStore]:
    """A store over a migrated database."""
    database = open_database(url)
    try:
        await upgrade_orders(database)
        yield SqlSnapshotStore(database, kept=KEPT)
    finally:
        await database.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SnapshotStore]:
    """Each implementation of the port."""
    if request.param == "memory":
        yield MemorySnapshotStore(kept=KEPT)
    elif request.param == "sqlite":
        async with sql_store(f"sqlite:///{tmp_path / 'orders.sqlite3'}") as found:
            yield found
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        async with sql_store(server.url(server.new_database())) as found:
            yield found


async def test_snapshots_come_back_newest_first(store: SnapshotStore) -> None:
    """Every byte is as it was, and another partition's are not among them."""
    for one in (snapshot(5), snapshot(9), snapshot(7, partition=1)):
        await store.save(one)
    assert await store.load("risk", 0) == [snapshot(9), snapshot(5)]
    assert await store.load("risk", 1) == [snapshot(7, partition=1)]
    assert await store.load("matching", 0) == []


async def test_only_the_newest_are_kept(store: SnapshotStore) -> None:
    """Old ones give way, the same one again changes nothing, and one that comes too late is not kept."""
    for offset in (1, 2, 3, 3, 4, 5):
        await store.save(snapshot(offset))
    await store.save(snapshot(0))
    assert [one.offset for one in await store.load("risk", 0)] == [5, 4, 3]


def fact(offset: int, number: int) -> Record:
    """A record of a fact topic, with its sender's number."""
    return Record("executions", 0, offset, Tick(time_ns=1), Source("risk", 0, number, 0, number))


def test_a_fact_counts_once_wherever_it_stands() -> None:
    """A record read before is not new, and neither is a fact that its sender repeats further on."""
    progress = ClusterProgress()
    assert progress.take([fact(0, 1)])
    assert not progress.take([fact(0, 1)])
    assert not progress.take([fact(1, 1)])
    assert progress.take([fact(2, 2)])
    assert progress.next_offsets == {"executions/0": 3}


async def test_of_two_projectors_one_is_told(tmp_path: Path) -> None:
    """Progress moves from the version that was read; who comes second writes nothing, a repeated commit is one."""
    database = open_database(f"sqlite:///{tmp_path / 'orders.sqlite3'}")
    table = schema.CLUSTER_PROGRESS_ORDERS
    try:
        await upgrade_orders(database)
        first, second = ClusterProgress(next_offsets={"executions/0": 4}), ClusterProgress()
        assert await database.write(lambda connection: move_cluster_progress(connection, table, "orders", first))
        assert not await database.write(lambda connection: move_cluster_progress(connection, table, "orders", first))
        with pytest.raises(ProgressLostError):
            await database.write(lambda connection: move_cluster_progress(connection, table, "orders", second))
        found = await database.read(lambda connection: read_cluster_progress(connection, table, "orders"))
        assert (found.version, found.next_offsets) == (1, {"executions/0": 4})
    finally:
        await database.close()
