"""Folds the whole log of a desk of services anew, with cores of its own, and keeps what must agree with the rest."""

from __future__ import annotations

import zlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.bus.core import Core, encode_message
from polaris_synapse.bus.kafka.partition import Local, Output, PartitionFold, SequenceGapError
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.wire import Record
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.desk.reference_data import assets_of
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain.messages import (
    BalanceChanged,
    ExecutionRecorded,
    LedgerPosted,
    Message,
    OrderUpdated,
    TradePrinted,
)
from polaris_synapse.domain.orders import Order, OrderState
from polaris_synapse.domain.topics import EXECUTIONS, RISK_EVENTS, TRADES, TRANSACTIONS_ALL
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.testing.faults.cluster_evidence import LogReader, SnapshotKey

#: Facts about money: on their topics must be exactly what the cores say when the log is folded again.
FACTS: Final = (EXECUTIONS, TRANSACTIONS_ALL, RISK_EVENTS, TRADES)
#: A place and its sender: topic, partition, and ``core/partition``.
Stream = tuple[str, int, str]


class Refold(Struct, kw_only=True):
    """What came of it. ``said``: for each stream of facts the sums of its messages, in order; ``firm``: how many of
    them follow from inputs that a service is known to have folded. ``written``: the same as it lies on the topics,
    ``repeated`` how often a message lies there again. ``filled``: when executions were said, by symbol, in seconds.
    """

    hashes: dict[SnapshotKey, str] = {}
    problems: list[str] = []
    said: dict[Stream, array[int]] = {}
    firm: dict[Stream, int] = {}
    written: dict[Stream, array[int]] = {}
    orders: dict[int, Order] = {}
    executions: dict[str, ExecutionRecorded] = {}
    balances: dict[tuple[str, str], BalanceChanged] = {}
    entries: dict[int, LedgerPosted] = {}
    trades: list[TradePrinted] = []
    filled: dict[str, list[float]] = {}
    messages: int = 0
    skipped: int = 0
    repeated: int = 0


def core_makers(settings: DeskSettings) -> dict[str, Callable[[int], Core]]:
    """The cores that are replayed, as the services make them."""
    valuation = assets_of(settings)[settings.valuation_asset]
    return {
        "risk": lambda partition: RiskCore(partition, settings.valuation_asset),
        "matching": lambda _: MatchingCore(),
        "execution": lambda partition: ExecutionCore(partition=partition),
        "compliance": lambda partition: ComplianceCore(partition=partition),
        "agents": lambda partition: AgentsCore(valuation=valuation, partition=partition),
    }


def refold(
    log: LogReader,
    destinations: Destinations,
    makers: Mapping[str, Callable[[int], Core]],
    snapshots: Mapping[SnapshotKey, str],
) -> Refold:
    """Fold every partition of every replayed inbox, and read the topics of facts."""
    found = Refold()
    wanted: dict[tuple[str, int], set[int]] = defaultdict(set)
    for core, partition, offset in snapshots:
        wanted[core, partition].add(offset)
    for room, make_core in makers.items():
        for partition in range(destinations.partitions(f"{room}.inbox")):
            fold = PartitionFold(make_core(partition), partition, destinations)
            fold_partition(found, log, fold, wanted[room, partition])
    for topic in FACTS:
        for partition in range(destinations.partitions(topic)):
            _read_facts(found, log, topic, partition)
    return found


def fold_partition(found: Refold, log: LogReader, fold: PartitionFold, wanted: set[int]) -> None:
    """Fold one partition to its end, and note its state at the offsets that are wanted."""
    topic, place = f"{fold.core.name}.inbox", (fold.core.name, fold.partition)
    last_known = max(wanted, default=-1)
    outputs: list[Output] = []
    local: list[Local] = []

    def note_state(next_offset: int) -> None:
        # A record may hold several messages; a snapshot is of the state after all of them.
        if fold.offset in wanted and next_offset > fold.offset:
            found.hashes[(*place, fold.offset)] = fold.core.state_hash()

    for _, record in log.read(topic, fold.partition):
        note_state(record.offset)
        try:
            fold.take(record, outputs, local)
        except SequenceGapError as error:
            found.problems.append(f"{topic}/{fold.partition} has a hole at offset {record.offset}: {error}")
            return
        found.messages += 1
        for output in outputs:
            _note(found, output, firm=record.offset <= last_known)
        outputs.clear()
        local.clear()
    note_state(fold.offset + 1)
    found.skipped += fold.skipped
    if missing := {offset for offset in wanted if (*place, offset) not in found.hashes}:
        found.problems.append(f"{topic}/{fold.partition} ends before its snapshots of {sorted(missing)}")
    if isinstance(fold.core, RiskCore):
        found.problems += [f"{fold.core.name}/{fold.partition}: {problem}" for problem in fold.core.check()]


def _note(found: Refold, output: Output, *, firm: bool) -> None:
    if output.topic not in FACTS:
        return
    stream = (output.topic, output.partition, output.source.name)
    found.said.setdefault(stream, array("L")).append(_sum_of(output.message))
    if firm:
        found.firm[stream] = len(found.said[stream])
    message = output.message
    if isinstance(message, OrderUpdated):
        if message.order.state is not OrderState.REFUSED:
            found.orders[message.order.order_id] = message.order
    elif isinstance(message, ExecutionRecorded):
        found.executions[message.execution_id] = message
    elif isinstance(message, BalanceChanged):
        found.balances[message.account, message.asset] = message
    elif isinstance(message, LedgerPosted):
        found.entries[message.entry_id] = message
    elif isinstance(message, TradePrinted) and output.topic == TRADES:
        found.trades.append(message)


def _read_facts(found: Refold, log: LogReader, topic: str, partition: int) -> None:
    numbers: dict[str, int] = defaultdict(int)
    for written_ms, record in log.read(topic, partition):
        source = record.source
        if source is None or not source.sequence:
            continue
        if source.sequence <= numbers[source.name]:
            found.repeated += 1
            continue
        if source.sequence != numbers[source.name] + 1:
            found.problems.append(
                f"{topic}/{partition} misses what {source.name} said after its number {numbers[source.name]}"
            )
        numbers[source.name] = source.sequence
        found.written.setdefault((topic, partition, source.name), array("L")).append(_sum_of(record.message))
        _note_fill(found, record, written_ms)


def _note_fill(found: Refold, record: Record, written_ms: int) -> None:
    if isinstance(record.message, ExecutionRecorded):
        found.filled.setdefault(record.message.symbol, []).append(written_ms / 1_000)


def _sum_of(message: Message) -> int:
    return zlib.crc32(encode_message(message))
