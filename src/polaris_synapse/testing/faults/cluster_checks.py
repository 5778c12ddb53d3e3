"""What must hold of a desk of services after faults, from its log and its databases, once it has stopped."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from polaris_synapse.bus.core import Core
from polaris_synapse.bus.kafka.ends import watermarks
from polaris_synapse.bus.kafka.partition import Local, Output, PartitionFold
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.wire import read_record
from polaris_synapse.domain.orders import Fill
from polaris_synapse.storage.core_snapshots import SqlSnapshotStore
from polaris_synapse.storage.database import open_database
from polaris_synapse.testing.faults.cluster_load import Promise

_POLL_SECONDS: Final = 1.0
_BATCH: Final = 1_000


def lost_orders(directory: Path, promises: Iterable[Promise]) -> list[str]:
    """Acknowledged orders that the read models do not have, or have as another's."""
    known = dict(_rows(directory / "orderdb.sqlite3", "SELECT order_id, client_order_id FROM orders"))
    return [
        f"order {promise.order_id} ({promise.client_order_id}) was acknowledged and is not there"
        for promise in promises
        if known.get(promise.order_id) != promise.client_order_id
    ]


def executed_twice(directory: Path) -> list[str]:
    """Orders that filled more than was ordered, or whose fills are not the venue's own."""
    orders = directory / "orderdb.sqlite3"
    found = [
        f"order {order_id} of {quantity} lots has filled {filled}"
        for order_id, quantity, filled in _rows(
            orders,
            "SELECT o.order_id, CAST(o.quantity_lots AS INTEGER), SUM(CAST(e.quantity_lots AS INTEGER)) "
            "FROM orders o JOIN executions e ON e.order_id = o.order_id GROUP BY o.order_id",
        )
        if filled > quantity
    ]
    return found + [
        f"execution {one} is booked and not the venue's" for one in sorted(_booked(directory) - _traded(directory))
    ]


def unbooked_trades(directory: Path) -> list[str]:
    """Trades of the paper venue that the desk has not booked."""
    return [f"trade {one} is not booked" for one in sorted(_traded(directory) - _booked(directory))]


def _booked(directory: Path) -> set[str]:
    """Executions at the paper venue, as the desk has them."""
    found = _rows(directory / "orderdb.sqlite3", "SELECT execution_id FROM executions WHERE venue = 'paper'")
    return {str(one) for (one,) in found}


def _traded(directory: Path) -> set[str]:
    """Executions at the paper venue, as its own files have them: the desk's order id and the trade's."""
    found: set[str] = set()
    for path in sorted(directory.glob("paper-*.sqlite3")):
        for client_id, body in _rows(path, "SELECT client_id, body FROM fills"):
            fill = msgspec.json.decode(body, type=Fill)
            found.add(f"{client_id.partition('-')[2]}-{fill.trade_id}")
    return found


def unbalanced_assets(directory: Path) -> list[str]:
    """Assets whose ledger does not sum to zero, or whose client accounts differ from the balances."""
    path = directory / "orderdb.sqlite3"
    totals: dict[str, int] = defaultdict(int)
    clients: dict[tuple[str, str], int] = defaultdict(int)
    for account, asset, units in _rows(path, "SELECT ledger_account, asset, units FROM ledger_postings"):
        totals[asset] += int(units)
        if account.startswith("client:"):
            clients[account.removeprefix("client:"), asset] += int(units)
    found = [f"the ledger of {asset} sums to {total}" for asset, total in sorted(totals.items()) if total]
    for account, asset, units in _rows(path, "SELECT account, asset, total_units FROM balances"):
        if clients[account, asset] != int(units):
            found.append(f"{account} has {units} {asset}, its ledger says {clients[account, asset]}")
    return found


def _rows(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def rebuilt_differently(
    settings: KafkaHostSettings,
    destinations: Destinations,
    directory: Path,
    makers: Mapping[str, Callable[[int], Core]],
) -> tuple[int, list[str]]:
    """Fold each partition's log anew up to its newest snapshot; how many were compared, and which differ."""
    compared, found = 0, []
    for room, make_core in makers.items():
        for partition in range(destinations.partitions(f"{room}.inbox")):
            newest = asyncio.run(_newest(directory, room, partition))
            if newest is None:
                continue
            offset, wanted = newest
            fold = PartitionFold(make_core(partition), partition, destinations)
            _replay(settings, f"{room}.inbox", fold, offset)
            compared += 1
            if fold.core.state_hash() != wanted:
                found.append(f"{room}/{partition} at offset {offset} is not in the state that its snapshot has")
    return compared, found


async def _newest(directory: Path, room: str, partition: int) -> tuple[int, str] | None:
    database = open_database(f"sqlite:///{directory / 'orderdb.sqlite3'}")
    try:
        found = await SqlSnapshotStore(database).load(room, partition)
    finally:
        await database.close()
    return (found[0].offset, found[0].state_hash) if found else None


def _replay(settings: KafkaHostSettings, topic: str, fold: PartitionFold, last_offset: int) -> None:
    from confluent_kafka import Consumer, TopicPartition

    consumer: Any = Consumer(settings.tail_consumer("rebuild"))
    try:
        position = TopicPartition(settings.topic(topic), fold.partition)
        start, end = watermarks(consumer, position, settings.broker_seconds_max)
        assert start == 0, f"the log of {topic} begins at {start}"
        assert last_offset < end, f"the log of {topic} ends at {end}, the snapshot is of {last_offset}"
        consumer.assign([TopicPartition(settings.topic(topic), fold.partition, 0)])
        outputs: list[Output] = []
        local: list[Local] = []
        while fold.offset < last_offset:
            for raw in consumer.consume(_BATCH, _POLL_SECONDS):
                if raw.error() is None and raw.offset() <= last_offset:
                    fold.take(read_record(topic, raw), outputs, local)
            outputs.clear()
            local.clear()
    finally:
        consumer.close()
