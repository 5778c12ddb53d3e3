"""Violations that are planted on purpose: a check that notices none of them proves nothing by its silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.bus.core import Core
from polaris_synapse.bus.kafka.partition import PartitionFold
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.wire import Record
from polaris_synapse.domain.instruments import PAPER_VENUE
from polaris_synapse.domain.messages import OrderReport
from polaris_synapse.domain.topics import RISK
from polaris_synapse.testing.faults.cluster_evidence import Evidence, LogReader, ReadModels
from polaris_synapse.testing.faults.cluster_refold import Refold, fold_partition

Judge = Callable[[Evidence, Refold], list[str]]


class Planted(Struct, frozen=True, kw_only=True):
    """One violation, and the first thing that the checks say of it; empty where they did not notice."""

    violation: str
    noticed: str


class _AlteredLog(LogReader):
    """A log with one record gone, or one that says something else."""

    def __init__(self, log: LogReader, alter: Callable[[Record], Record | None]) -> None:
        self._log = log
        self._alter = alter

    def read(self, topic: str, partition: int) -> Iterator[tuple[int, Record]]:
        """See LogReader."""
        for written_ms, record in self._log.read(topic, partition):
            altered = self._alter(record)
            if altered is not None:
                yield written_ms, altered


def plant(
    evidence: Evidence,
    refold: Refold,
    judge: Judge,
    destinations: Destinations,
    makers: Mapping[str, Callable[[int], Core]],
) -> list[Planted]:
    """Plant one violation after the other in sound evidence, and see what the checks say. Needs orders that filled."""
    found = [
        Planted(violation=name, noticed=next(iter(judge(alter(evidence), refold)), ""))
        for name, alter in _ALTERATIONS.items()
    ]
    for name, alter_record in (
        ("a report of a fill is missing on the log", _without),
        ("a report of a fill says one lot more", _enlarged),
    ):
        altered = refold_risk(evidence, alter_record, destinations, makers)
        found.append(Planted(violation=name, noticed=next(iter(altered), "")))
    return found


def refold_risk(
    evidence: Evidence,
    alter: Callable[[Record], Record | None],
    destinations: Destinations,
    makers: Mapping[str, Callable[[int], Core]],
) -> list[str]:
    """Fold partitions of risk over an altered log until one has a fill; what is wrong then."""
    for partition in range(destinations.partitions(RISK)):
        log = _AlteredLog(evidence.log, _once(alter))
        snapshots = {offset for core, number, offset in evidence.snapshots if (core, number) == ("risk", partition)}
        again = Refold()
        fold_partition(again, log, PartitionFold(makers["risk"](partition), partition, destinations), snapshots)
        problems = [*again.problems]
        for key, state in again.hashes.items():
            if evidence.snapshots[key] != state:
                problems.append(f"{key[0]}/{key[1]} at offset {key[2]} is not in the state that its snapshot has")
        if problems:
            return problems
    return []


def _once(alter: Callable[[Record], Record | None]) -> Callable[[Record], Record | None]:
    """Alter the first report of a fill, and leave the rest."""
    done = False

    def altering(record: Record) -> Record | None:
        nonlocal done
        message = record.message
        if done or not isinstance(message, OrderReport) or message.fill is None:
            return record
        done = True
        return alter(record)

    return altering


def _without(_: Record) -> None:
    return None


def _enlarged(record: Record) -> Record:
    report = record.message
    assert isinstance(report, OrderReport), "only reports of fills are enlarged"
    assert report.fill is not None, "only reports of fills are enlarged"
    fill = replace(report.fill, quantity_lots=report.fill.quantity_lots + 1)
    return replace(record, message=replace(report, fill=fill))


def _lost_order(evidence: Evidence) -> Evidence:
    lost = evidence.promises[0].order_id
    orders = {order_id: order for order_id, order in evidence.read_models.orders.items() if order_id != lost}
    return replace(evidence, read_models=replace(evidence.read_models, orders=orders))


def _doubled_order(evidence: Evidence) -> Evidence:
    orders = dict(evidence.read_models.orders)
    order_id = max(orders)
    orders[order_id + 1] = replace(orders[order_id], order_id=order_id + 1)
    return replace(evidence, read_models=replace(evidence.read_models, orders=orders))


def _doubled_fill(evidence: Evidence) -> Evidence:
    models = evidence.read_models
    first = _venue_execution(models)
    doubled = replace(models.executions[first], execution_id=f"{first}-again")
    return _with_executions(evidence, {**models.executions, doubled.execution_id: doubled})


def _unbooked_fill(evidence: Evidence) -> Evidence:
    models = evidence.read_models
    first = _venue_execution(models)
    return _with_executions(evidence, {key: one for key, one in models.executions.items() if key != first})


def _fill_at_the_venue(evidence: Evidence) -> Evidence:
    theirs = evidence.venue[0]
    more = replace(theirs, fill=replace(theirs.fill, trade_id=f"{theirs.fill.trade_id}-again"))
    return replace(evidence, venue=[*evidence.venue, more])


def _posting_off_by_one(evidence: Evidence) -> Evidence:
    (entry, account, asset, units), *rest = evidence.read_models.postings
    postings = [(entry, account, asset, units + 1), *rest]
    return replace(evidence, read_models=replace(evidence.read_models, postings=postings))


def _balance_off_by_one(evidence: Evidence) -> Evidence:
    balances = dict(evidence.read_models.balances)
    key = min(balances)
    balances[key] = replace(balances[key], total_units=balances[key].total_units + 1)
    return replace(evidence, read_models=replace(evidence.read_models, balances=balances))


def _another_state(evidence: Evidence) -> Evidence:
    key = max(evidence.snapshots)
    return replace(evidence, snapshots={**evidence.snapshots, key: "0" * 32})


def _venue_execution(models: ReadModels) -> str:
    return min(key for key, one in models.executions.items() if one.venue == PAPER_VENUE)


def _with_executions(evidence: Evidence, executions: Mapping[str, object]) -> Evidence:
    return replace(evidence, read_models=replace(evidence.read_models, executions=executions))


_ALTERATIONS: Final[dict[str, Callable[[Evidence], Evidence]]] = {
    "an acknowledged order is gone": _lost_order,
    "an order is there twice": _doubled_order,
    "a fill is booked twice": _doubled_fill,
    "a fill is not booked": _unbooked_fill,
    "the venue has filled once more": _fill_at_the_venue,
    "a posting is one unit off": _posting_off_by_one,
    "a balance is one unit off": _balance_off_by_one,
    "a snapshot is of another state": _another_state,
}
