"""How long a start takes after very many orders, and how much memory: from the first message, and from a snapshot.

The journal is written straight away, without a desk in front of it: the orders of ``order_load``, a mark every second
and a tick, as a desk on the internal book would have journaled them. Each recovery runs in a process of its own, so
that its peak memory is its own.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.journal_sqlite import SqliteJournal
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.desk.cores import durable_cores
from polaris_synapse.desk.loading import load_settings
from polaris_synapse.desk.reference_data import instruments_of, limits_of
from polaris_synapse.desk.settings import EVERY_ACCOUNT, DeskSettings
from polaris_synapse.domain.messages import (
    KycState,
    ListInstrument,
    Mark,
    Message,
    MoveFunds,
    OpenAccount,
    ReviewKyc,
    SetLimits,
    SubmitOrder,
    Tick,
)
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side, TimeInForce
from polaris_synapse.testing.faults.kills import Progress
from polaris_synapse.testing.faults.load import write_fault_settings
from polaris_synapse.testing.order_load import REFERENCE, SYMBOL, OrderStream, account_names

_ACCOUNTS: Final = account_names(10)
_GROUP_MESSAGES: Final = 500
_ORDERS_A_SECOND: Final = 5_000
_MIDDLE_CENTS: Final = 6_000_000
_START_NS: Final = 1_767_225_600 * 10**9


class RecoveryFigures(Struct, frozen=True, kw_only=True):
    """One recovery. ``replay_seconds`` is its own account; ``open_seconds`` before it went into checking the file."""

    started_from: int
    messages: int
    open_seconds: float
    replay_seconds: float
    messages_per_second: int
    resident_peak_bytes: int
    open_orders: int
    state_hashes: dict[str, str]


class RecoveryReport(Struct, frozen=True, kw_only=True):
    """Both recoveries of one journal, and what it took to make it."""

    orders: int
    journal_messages: int
    journal_bytes: int
    from_the_first_message: RecoveryFigures
    from_a_snapshot: RecoveryFigures
    same_state: bool


class _Stored(Struct):
    """An order as OrderStream makes it, as far as it is needed."""

    symbol: str
    side: Side
    account: str
    client_order_id: str
    quantity: str
    price: str
    time_in_force: TimeInForce


def _messages(settings: DeskSettings, orders: int) -> Iterator[Message]:
    """Everything that the journal is to hold."""
    now_ns = _START_NS
    instruments = {instrument.symbol: instrument for instrument in instruments_of(settings)}
    for instrument in instruments.values():
        yield ListInstrument(time_ns=now_ns, actor="desk", instrument=instrument)
    valuation = instruments[SYMBOL].quote
    limits = limits_of(settings.limits[EVERY_ACCOUNT], valuation)
    yield SetLimits(time_ns=now_ns, actor="desk", account=EVERY_ACCOUNT, limits=limits)
    for name in _ACCOUNTS:
        yield OpenAccount(time_ns=now_ns, actor="desk", account=name, holder_name=name, country="CH")
        yield ReviewKyc(time_ns=now_ns, actor="desk", account=name, state=KycState.APPROVED)
        for asset in ("USDT", "BTC"):
            yield MoveFunds(time_ns=now_ns, account=name, asset=asset, amount_units=10**17, reference=f"{name}-{asset}")
    stream, grid = OrderStream(_ACCOUNTS, middle_cents=_MIDDLE_CENTS, tag="r"), instruments[SYMBOL]
    decoder = msgspec.json.Decoder(_Stored)
    for number in range(orders):
        if number % _ORDERS_A_SECOND == 0:
            now_ns += 10**9
            yield Tick(time_ns=now_ns)
            for symbol in (REFERENCE, SYMBOL):
                prices = dict.fromkeys(("mark_ticks", "bid_ticks", "ask_ticks", "last_ticks"), _MIDDLE_CENTS)
                yield Mark(time_ns=now_ns, symbol=symbol, source="test", healthy=True, **prices)
        order = decoder.decode(stream.next())
        request = OrderRequest(
            account=order.account, client_order_id=order.client_order_id, symbol=order.symbol, side=order.side,
            type=OrderType.LIMIT, quantity_lots=grid.parse_quantity(order.quantity),
            price_ticks=grid.parse_price(order.price), time_in_force=order.time_in_force,
        )  # fmt: skip
        yield SubmitOrder(time_ns=now_ns, request_id=f"r{number}", actor=f"user:{order.account}", order=request)


def _write(directory: Path, settings: DeskSettings, orders: int, progress: Progress) -> int:
    journal = SqliteJournal(directory)
    group: list[Message] = []
    for number, message in enumerate(_messages(settings, orders)):
        group.append(message)
        if len(group) == _GROUP_MESSAGES:
            journal.append(group)
            group.clear()
            if number % 50_000 < _GROUP_MESSAGES:
                progress("writing the journal", number / orders / 4)
    if group:
        journal.append(group)
    last = journal.last_offset
    journal.close()
    return last


def _recover(directory: str, config: str) -> RecoveryFigures:
    """In a process of its own: open, replay, stop (which leaves a snapshot)."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))

    async def run() -> RecoveryFigures:
        began = time.perf_counter()
        journal = SqliteJournal(Path(directory))
        opened = time.perf_counter()
        cores = durable_cores(load_settings(config))
        host = EmbeddedHost(journal, cores._asdict(), SystemClock(), HostSettings(), CollectorRegistry())
        report = await host.recover()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        await host.stop()
        return RecoveryFigures(
            started_from=report.snapshot_offset,
            messages=report.replayed_messages,
            open_seconds=round(opened - began, 2),
            replay_seconds=round(report.seconds, 2),
            messages_per_second=round(report.replayed_messages / report.seconds),
            resident_peak_bytes=peak,
            open_orders=len(cores.risk.open_order_ids(EVERY_ACCOUNT)),
            state_hashes=report.state_hashes,
        )

    return asyncio.run(run())


def run_recovery(directory: Path, *, orders: int, progress: Progress) -> RecoveryReport:
    """Write a journal of ``orders`` orders into ``directory``, which is empty, and recover from it twice."""
    config = str(write_fault_settings(directory / "faults.yml", accounts=[], agent={"enabled": False}))
    place = directory / "journal"
    last = _write(place, load_settings(config), orders, progress)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        progress("replaying from the first message", 0.25)
        whole = pool.apply(_recover, (str(place), config))
        progress("starting from the snapshot", 0.9)
        quick = pool.apply(_recover, (str(place), config))
    progress("done", 1.0)
    return RecoveryReport(
        orders=orders,
        journal_messages=last,
        journal_bytes=sum(file.stat().st_size for file in place.iterdir()),
        from_the_first_message=whole,
        from_a_snapshot=quick,
        same_state=whole.state_hashes == quick.state_hashes,
    )
