"""Every room's real core on the embedded host: trade, crash, replay, and read it all back from SQL."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from prometheus_client import CollectorRegistry

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.journal import JournalStore
from polaris_synapse.bus.journal_sqlite import SqliteJournal
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import INTERNAL_VENUE, Instrument
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.market_data.core import MarketDataCore
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.storage.service import StorageService
from polaris_synapse.storage.settings import StorageSettings

pytestmark = pytest.mark.anyio

SYMBOL = "BTCUSDT.INT"
INSTRUMENT = Instrument(
    symbol=SYMBOL,
    base=Asset("BTC", 8),
    quote=Asset("USDT", 8),
    tick_units=1_000_000,
    lot_units=1_000,
    venue=INTERNAL_VENUE,
)
PRICE_TICKS = 6_000_000


def rooms() -> dict[str, Core]:
    """A fresh core of every room."""
    cores: list[Core] = [
        RiskCore(),
        MatchingCore(),
        ExecutionCore(),
        ComplianceCore(),
        MarketDataCore(),
        AgentsCore(valuation=Asset("USDT", 8)),
    ]
    return {core.name: core for core in cores}


def build(directory: Path, journal: JournalStore) -> tuple[EmbeddedHost, StorageService]:
    """A host of every room and its storage."""
    clock, registry = SystemClock(), CollectorRegistry()
    host = EmbeddedHost(journal, rooms(), clock, HostSettings(snapshot_interval_messages=20), registry)
    settings = StorageSettings(
        orders_url=f"sqlite:///{directory}/orders.db", compliance_url=f"sqlite:///{directory}/compliance.db"
    )
    return host, StorageService(host, settings, clock, registry)


async def ask(host: EmbeddedHost, command: m.Command) -> m.Answer:
    """A command that must succeed."""
    answer = await host.request(command)
    assert answer.reason is Reason.NONE, f"{command} was answered by {answer}"
    return answer


def limit(account: str, side: Side, number: int, now_ns: int) -> m.SubmitOrder:
    """A limit order at the one price."""
    order = OrderRequest(
        account=account,
        client_order_id=f"{account}-{number}",
        symbol=SYMBOL,
        side=side,
        type=OrderType.LIMIT,
        quantity_lots=1_000,
        price_ticks=PRICE_TICKS,
    )
    return m.SubmitOrder(time_ns=now_ns, actor=f"user:{account}", order=order)


async def prepare_market(host: EmbeddedHost, now_ns: int) -> None:
    """One instrument, its price, and two funded accounts."""
    await ask(host, m.ListInstrument(time_ns=now_ns, actor="desk", instrument=INSTRUMENT))
    for account, asset, units in (("alice", "USDT", 10**15), ("bob", "BTC", 10**12)):
        await ask(host, m.OpenAccount(time_ns=now_ns, actor="desk", account=account, holder_name=account))
        for state in (m.KycState.PENDING, m.KycState.APPROVED):
            await host.request(m.ReviewKyc(time_ns=now_ns, actor="user:officer", account=account, state=state))
        funds = m.MoveFunds(
            time_ns=now_ns, actor="desk", account=account, asset=asset, amount_units=units, reference="deposit"
        )
        await ask(host, funds)
    mark = m.Mark(
        time_ns=now_ns,
        symbol=SYMBOL,
        source="test",
        mark_ticks=PRICE_TICKS,
        bid_ticks=PRICE_TICKS - 1,
        ask_ticks=PRICE_TICKS + 1,
        last_ticks=PRICE_TICKS,
        healthy=True,
    )
    await host.send([mark])


async def test_a_desk_of_real_rooms_comes_back_as_it_was(tmp_path: Path) -> None:
    """Orders trade on the internal book; a host on a copy of the journal has equal state hashes and equal records."""
    live = tmp_path / "live"
    host, storage = build(tmp_path, SqliteJournal(live))
    now_ns = SystemClock().now_ns()
    await storage.prepare()
    async with anyio.create_task_group() as group:
        group.start_soon(storage.run)
        await host.start()
        await prepare_market(host, now_ns)
        for number in range(15):
            await ask(host, limit("bob", Side.SELL, number, now_ns + number * 10**8))
            await ask(host, limit("alice", Side.BUY, number, now_ns + number * 10**8))
        await storage.read_models.caught_up()
        executions = await storage.read_models.executions(account="alice")
        assert len(executions) == 15
        balances = await storage.read_models.balances(account=None)
        assert sum(balance.total_units for balance in balances if balance.asset == "BTC") <= 10**12
        hashes = host.state_hashes()
        # The process is gone: only what is on the disk is copied.
        crashed = tmp_path / "crashed"
        crashed.mkdir()
        for name in ("journal.db", "journal.db-wal"):
            (crashed / name).write_bytes((live / name).read_bytes())
        await host.stop()
    again, fresh = build(crashed, SqliteJournal(crashed))
    await fresh.prepare()
    async with anyio.create_task_group() as group:
        group.start_soon(fresh.run)
        report = await again.recover()
        assert report.state_hashes == hashes
        await again.open()
        await fresh.read_models.caught_up()
        assert await fresh.read_models.executions(account="alice") == executions
        assert await fresh.read_models.instruments() == [INSTRUMENT]
        assert [standing.account for standing in await fresh.read_models.accounts()] == ["alice", "bob"]
        entries = await fresh.read_models.audit_entries()
        assert [entry.sequence for entry in entries] == [entries[0].sequence + n for n in range(len(entries))]
        await again.stop()
    # Stopped cleanly, it starts from its snapshot without replaying anything.
    third, storage = build(crashed, SqliteJournal(crashed))
    await storage.prepare()
    async with anyio.create_task_group() as group:
        group.start_soon(storage.run)
        report = await third.start()
        assert report.replayed_messages == 0
        assert report.unusable_snapshots == ()
        await third.stop()
