"""What a desk of services left behind once it has stopped: its databases, the venue's own files, and the log."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.engine import Connection

from polaris_synapse.bus.kafka.ends import watermarks
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.wire import Record, read_records
from polaris_synapse.domain.messages import BalanceChanged, ExecutionRecorded, LedgerPosted
from polaris_synapse.domain.orders import Fill, Order
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import open_database
from polaris_synapse.testing.faults.cluster_load import Promise

_POLL_SECONDS: Final = 1.0
_BATCH: Final = 1_000

T = TypeVar("T")

#: A snapshot's core, partition and offset.
SnapshotKey = tuple[str, int, int]


class VenueFill(Struct, frozen=True):
    """A fill as the paper venue keeps it. ``order_id``: the desk's own, from the client id that it sent."""

    order_id: int
    symbol: str
    fill: Fill


class ReadModels(Struct, frozen=True, kw_only=True):
    """The tables about money, as the structs that they hold. ``balances`` by account and asset."""

    orders: Mapping[int, Order]
    executions: Mapping[str, ExecutionRecorded]
    balances: Mapping[tuple[str, str], BalanceChanged]
    entries: Mapping[int, LedgerPosted]
    postings: Sequence[tuple[int, str, str, int]]


class LogReader:
    """Reads the records of a partition from the first to the last."""

    def __init__(self, settings: KafkaHostSettings) -> None:
        self._settings = settings

    def read(self, topic: str, partition: int) -> Iterator[tuple[int, Record]]:
        """Each record with the time that it was written, in milliseconds since 1970."""
        from confluent_kafka import Consumer, TopicPartition

        consumer: Any = Consumer(self._settings.tail_consumer("evidence"))
        try:
            name = self._settings.topic(topic)
            start, end = watermarks(consumer, TopicPartition(name, partition), self._settings.broker_seconds_max)
            assert start == 0, f"the log of {topic}/{partition} begins at {start}, so it cannot be folded anew"
            consumer.assign([TopicPartition(name, partition, 0)])
            position = 0
            while position < end:
                for raw in consumer.consume(_BATCH, _POLL_SECONDS):
                    if raw.error() is None:
                        position = raw.offset() + 1
                        for record in read_records(topic, raw):
                            yield raw.timestamp()[1], record
        finally:
            consumer.close()


class Evidence(Struct, frozen=True, kw_only=True):
    """Everything that is held against each other. ``snapshots``: the state's hash of each that was ever seen."""

    promises: Sequence[Promise]
    refused: Sequence[tuple[str, str]]
    read_models: ReadModels
    venue: Sequence[VenueFill]
    snapshots: Mapping[SnapshotKey, str]
    log: LogReader


def read_models(url: str) -> ReadModels:
    """The read models of a database. Raises DatabaseUnavailableError."""
    return asyncio.run(_with_database(url, _read_models))


def order_ids(url: str) -> set[int]:
    """The ids of all orders in SQL. Raises DatabaseUnavailableError."""
    query = sa.select(schema.orders.c.order_id)
    found = asyncio.run(_with_database(url, lambda connection: connection.execute(query).scalars().all()))
    return {int(order_id) for order_id in found}


def newest_fills(url: str) -> dict[str, int]:
    """When each symbol was last executed, by the desk's clock. Raises DatabaseUnavailableError."""
    table = schema.executions
    query = sa.select(table.c.symbol, sa.func.max(table.c.time_ns)).group_by(table.c.symbol)
    found = asyncio.run(_with_database(url, lambda connection: connection.execute(query).all()))
    return {str(symbol): int(time_ns) for symbol, time_ns in found}


def read_snapshots(url: str) -> dict[SnapshotKey, str]:
    """The hashes of the snapshots that are kept now. Raises DatabaseUnavailableError."""
    table = schema.core_snapshots
    query = sa.select(table.c.core, table.c.partition, table.c.record_offset, table.c.state_hash)
    found = asyncio.run(_with_database(url, lambda connection: connection.execute(query).all()))
    return {(str(core), int(partition), int(offset)): str(state) for core, partition, offset, state in found}


def read_venue(directory: Path) -> list[VenueFill]:
    """The paper venue's fills, from the files of all its partitions."""
    found: list[VenueFill] = []
    for path in sorted(directory.glob("paper-*.sqlite3")):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            for client_id, symbol, body in connection.execute("SELECT client_id, symbol, body FROM fills"):
                order_id = int(str(client_id).partition("-")[2])
                found.append(VenueFill(order_id, symbol, msgspec.json.decode(body, type=Fill)))
        finally:
            connection.close()
    return found


async def _with_database(url: str, work: Callable[[Connection], T]) -> T:
    database = open_database(url)
    try:
        return await database.read(work)
    finally:
        await database.close()


def _read_models(connection: Connection) -> ReadModels:
    def bodies(table: sa.Table, kind: type[Any]) -> Iterator[Any]:
        for (body,) in connection.execute(sa.select(table.c.body)):
            yield msgspec.json.decode(body, type=kind)

    postings = schema.ledger_postings
    balances = schema.balances
    rows = connection.execute(
        sa.select(postings.c.entry_id, postings.c.ledger_account, postings.c.asset, postings.c.units)
    )
    return ReadModels(
        orders={order.order_id: order for order in bodies(schema.orders, Order)},
        executions={one.execution_id: one for one in bodies(schema.executions, ExecutionRecorded)},
        balances={(one.account, one.asset): one for one in bodies(balances, BalanceChanged)},
        entries={one.entry_id: one for one in bodies(schema.ledger_entries, LedgerPosted)},
        postings=[(int(entry), str(account), str(asset), int(units)) for entry, account, asset, units in rows],
    )
