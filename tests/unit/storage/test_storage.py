"""The SQL read models: every fact arrives once, is read back as it was, and survives crashes in between."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.core import NOTHING
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.journal import JournalCorruptError
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import Instrument, InstrumentStatus
from polaris_synapse.domain.messages.agents import Fact
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import (
    Fill,
    Liquidity,
    Order,
    OrderRequest,
    OrderState,
    OrderType,
    Side,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database, DatabaseUrlError, open_database
from polaris_synapse.storage.fact_writing import DatabaseWriter, FactWrite
from polaris_synapse.storage.migrate import (
    COMPLIANCE_HEAD,
    ORDERS_HEAD,
    SchemaVersionError,
    upgrade_compliance,
    upgrade_orders,
)
from polaris_synapse.storage.port import ReadModelsLagError
from polaris_synapse.storage.service import StorageService
from polaris_synapse.storage.settings import StorageSettings
from polaris_synapse.storage.writer_child import SentFact
from polaris_synapse.storage.writer_process import WriterProcess
from polaris_synapse.testing.bus import build_host
from polaris_synapse.testing.cascade import FunctionCore
from polaris_synapse.testing.journal import MemoryJournal
from polaris_synapse.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio

HUGE = 10**30
REQUEST = OrderRequest(
    account="alice", client_order_id="c1", symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, quantity_lots=5
)
ORDER = Order(
    order_id=1024,
    request=REQUEST,
    venue="paper",
    state=OrderState.WORKING,
    quantity_lots=HUGE,
    price_ticks=HUGE,
    stop_price_ticks=0,
    filled_notional_units=HUGE,
    created_time_ns=5,
    updated_time_ns=5,
)
INSTRUMENT = Instrument(
    symbol="BTCUSDT", base=Asset("BTC", 8), quote=Asset("USDT", 8), tick_units=1_000_000, lot_units=1_000
)


def order_fact(order_id: int, state: OrderState = OrderState.WORKING, account: str = "alice") -> m.OrderUpdated:
    """An order's present state as a fact."""
    request = replace(REQUEST, account=account, client_order_id=f"c{order_id}")
    return m.OrderUpdated(time_ns=7, order=replace(ORDER, order_id=order_id, request=request, state=state))


def execution(number: int) -> m.ExecutionRecorded:
    """A fill."""
    fill = Fill(
        trade_id=f"t{number}",
        price_ticks=HUGE,
        quantity_lots=1,
        liquidity=Liquidity.TAKER,
        fee_units=-HUGE,
        fee_asset="BTC",
        simulated=True,
        how="in a test",
    )
    return m.ExecutionRecorded(
        time_ns=100 + number // 2,
        execution_id=f"e{number}",
        order_id=number,
        client_order_id="c",
        account="alice",
        symbol="BTCUSDT",
        venue="paper",
        side=Side.BUY,
        fill=fill,
        notional_units=HUGE,
    )


def audit(sequence: int) -> m.AuditEntry:
    """A link of the audit chain."""
    return m.AuditEntry(
        time_ns=sequence,
        sequence=sequence,
        actor="desk",
        action="test",
        subject="s",
        detail="ünïcode \N{SNOWMAN}",
        previous_hash="0" * 64,
        entry_hash=f"{sequence:064x}",
    )


class Scripted(FunctionCore):
    """A risk room that says, at the n-th note, what the script has at n."""

    def __init__(self, script: Sequence[Sequence[m.Message]]) -> None:
        super().__init__("compliance", self._say)
        self._script = script

    def _say(self, message: m.Message) -> Sequence[m.Message]:
        if isinstance(message, m.AuditNote):
            return self._script[int(message.action)]
        return NOTHING


def listing(message: m.Message) -> Sequence[m.Message]:
    """A risk room that accepts listings except of the symbol BAD."""
    if isinstance(message, m.ListInstrument):
        bad = message.instrument.symbol == "BAD"
        reason = Reason.INVALID_VALUE if bad else Reason.NONE
        return [m.Answer(time_ns=message.time_ns, request_id=message.request_id, reason=reason)]
    if isinstance(message, m.SetInstrumentStatus):
        return [m.Answer(time_ns=message.time_ns, request_id=message.request_id)]
    return NOTHING


class Desk:
    """A host with its storage."""

    def __init__(self, host: EmbeddedHost, storage: StorageService) -> None:
        self.host = host
        self.storage = storage
        self.read = storage.read_models

    async def say(self, *numbers: int) -> None:
        """Let the scripted core speak, and wait until SQL has it."""
        for number in numbers:
            await self.host.send([m.AuditNote(time_ns=1, actor="t", action=str(number))])
        await self.read.caught_up()


def storage_settings(directory: Path, **changes: Any) -> StorageSettings:
    """Two SQLite files in a directory."""
    urls = {name: f"sqlite:///{directory}/{name}.db" for name in ("orders", "compliance")}
    return StorageSettings(orders_url=urls["orders"], compliance_url=urls["compliance"], **changes)


def execute(statement: str) -> Callable[[sa.engine.Connection], None]:
    """Work that runs one statement."""

    def work(connection: sa.engine.Connection) -> None:
        connection.exec_driver_sql(statement)

    return work


@pytest.fixture(params=["sqlite", "sqlite-processes", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageSettings]:
    """Empty databases of each kind, and of each way to write them."""
    if request.param != "postgresql":
        yield storage_settings(tmp_path, writer_processes=request.param == "sqlite-processes")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    names = [server.new_database(prefix) for prefix in ("orders", "compliance")]
    yield StorageSettings(orders_url=server.url(names[0]), compliance_url=server.url(names[1]))
    for name in names:
        server.drop_database(name)


@pytest.fixture
async def databases(settings: StorageSettings) -> AsyncIterator[tuple[Database, Database]]:
    """The two databases of the settings, opened."""
    opened = open_database(settings.orders_url), open_database(settings.compliance_url)
    yield opened
    for database in opened:
        await database.close()


@asynccontextmanager
async def desk(
    directory: Path,
    script: Sequence[Sequence[m.Message]] = (),
    *,
    journal: MemoryJournal | None = None,
    crash: bool = False,
    settings: StorageSettings | None = None,
) -> AsyncIterator[Desk]:
    """A running desk; with ``crash`` it is not stopped but abandoned, its facts not even written."""
    market_data = FunctionCore("market_data")
    host = build_host([FunctionCore("risk", listing), Scripted(script), market_data], journal=journal)
    storage = StorageService(host, settings or storage_settings(directory), SystemClock(), CollectorRegistry())
    await storage.prepare()
    async with anyio.create_task_group() as group:
        group.start_soon(storage.run)
        await host.start()
        yield Desk(host, storage)
        if crash:
            group.cancel_scope.cancel()
        else:
            await host.stop()


async def test_orders_are_read_back_exactly(tmp_path: Path, settings: StorageSettings) -> None:
    """Orders of any size of number come back equal, by id, by client order id and in pages, per account."""
    script = [
        [order_fact(n, OrderState.FILLED if n % 2 else OrderState.WORKING, "bob" if n == 9 else "alice")]
        for n in range(10)
    ]
    async with desk(tmp_path, script, settings=settings) as it:
        await it.say(*range(1, 10))
        read = it.read
        assert await read.order(account="alice", order_id=4) == order_fact(4).order
        assert await read.order(account=None, order_id=9) is not None
        assert await read.order(account="alice", order_id=9) is None
        assert await read.order(account=None, order_id=2**70) is None
        assert await read.order(account="alice", client_order_id="c4") == order_fact(4).order
        assert await read.order(account="alice") is None
        page = await read.orders(account="alice", limit=3)
        assert [order.order_id for order in page] == [8, 7, 6]
        page = await read.orders(account="alice", limit=3, before_order_id=6)
        assert [order.order_id for order in page] == [5, 4, 3]
        assert [order.order_id for order in await read.orders(account=None, open_only=True)] == [8, 6, 4, 2]
        assert await read.orders(account=None, symbol="ETHUSDT") == []


async def test_what_agents_may_do_is_read_back_exactly(tmp_path: Path, settings: StorageSettings) -> None:
    """Mandates, limits, requests for approval and standing instructions at their latest state."""
    mandate = m.Mandate(
        account="alice", agent="jarvis", symbols=("BTCUSDT",), order_value_units_max=HUGE, daily_value_units_max=HUGE,
        approval_above_units=0,
    )  # fmt: skip
    limits = m.RiskLimits(order_value_units_max=HUGE)
    held = m.Approval(
        approval_id="1-3", account="alice", agent="jarvis", actor="agent:jarvis", order=REQUEST, order_hash="0" * 64,
        value_units=HUGE, created_time_ns=5, expires_time_ns=9,
    )  # fmt: skip
    other = replace(held, approval_id="2", created_time_ns=6, order=replace(REQUEST, client_order_id="c2"))
    approved = replace(held, state=m.ApprovalState.APPROVED, order_id=1024, decided_by="user:olga")
    standing = m.Standing(
        account="alice", owner="user:alice", symbol="BTCUSDT", side=Side.SELL, trigger=m.StandingTrigger.PRICE_ABOVE,
        level_ticks=7, quantity_lots=5, expires_time_ns=99, words="sell high",
    )  # fmt: skip
    watched = m.StandingChanged(time_ns=1, standing_id="S1", standing=standing, state=m.StandingState.WATCHING)
    ended = replace(watched, time_ns=3, state=m.StandingState.CANCELLED)
    settings_of = m.AgentSettings(agent="jarvis", account="alice", symbols=("BTCUSDT",))
    agent = m.AgentStanding(time_ns=1, agent="jarvis", settings=settings_of, paused=False)
    script: list[list[m.Message]] = [
        [
            agent,
            m.MandateChanged(time_ns=1, mandate=mandate, actor="user:olga"),
            m.LimitsChanged(time_ns=1, account="*", limits=m.RiskLimits(), actor="desk"),
            m.LimitsChanged(time_ns=1, account="alice", limits=limits, actor="user:olga"),
            m.HoldingLimitChanged(time_ns=1, account="alice", asset="BTC", share_ppm_max=7, actor="user:alice"),
            m.HoldingLimitChanged(time_ns=1, account="alice", asset="ETH", share_ppm_max=9, actor="user:alice"),
            m.ApprovalChanged(time_ns=5, approval=held),
            m.ApprovalChanged(time_ns=6, approval=other),
            watched,
        ],
        [
            m.MandateChanged(time_ns=2, mandate=replace(mandate, enabled=False), actor="user:olga"),
            m.HoldingLimitChanged(time_ns=2, account="alice", asset="ETH", share_ppm_max=0, actor="user:alice"),
            m.ApprovalChanged(time_ns=7, approval=approved),
            replace(agent, paused=True, time_ns=7),
            ended,
        ],
    ]
    async with desk(tmp_path, script, settings=settings) as it:
        await it.say(0)
        assert await it.read.mandates() == [mandate]
        assert await it.read.limits() == {"*": m.RiskLimits(), "alice": limits}
        assert await it.read.holding_limits(account="alice") == {"BTC": 7, "ETH": 9}
        assert await it.read.holding_limits(account="bob") == {}
        assert await it.read.approvals() == [other, held]
        assert await it.read.standing_instructions() == [watched]
        assert await it.read.agents() == [agent]
        await it.say(1)
        assert await it.read.mandates() == [replace(mandate, enabled=False)]
        assert await it.read.holding_limits(account="alice") == {"BTC": 7}
        assert await it.read.approvals(state=m.ApprovalState.PENDING) == [other]
        assert await it.read.approvals(client_order_id="c1") == [approved]
        assert await it.read.approvals(limit=1) == [other]
        assert await it.read.approval("1-3") == approved
        assert await it.read.approval("3") is None
        assert await it.read.standing_instructions() == [ended]
        assert await it.read.agents() == [replace(agent, paused=True, time_ns=7)]


async def test_a_refusal_is_found_by_its_client_order_id(tmp_path: Path, settings: StorageSettings) -> None:
    """A refused order has no id: it is found by its client order id unless an order with that id exists."""
    refused = replace(ORDER, order_id=0, state=OrderState.REFUSED, reason=Reason.INSUFFICIENT_FUNDS)
    later = replace(refused, reason=Reason.KILL_SWITCH)
    real = replace(ORDER, state=OrderState.FILLED)
    script = [[m.OrderUpdated(time_ns=1, order=order)] for order in (refused, later, real)]
    async with desk(tmp_path, script, settings=settings) as it:
        await it.say(0, 1)
        assert await it.read.order(account="alice", client_order_id="c1") == later
        assert await it.read.orders(account="alice") == []
        await it.say(2)
        assert await it.read.order(account="alice", client_order_id="c1") == real


async def test_every_other_fact_is_read_back_exactly(tmp_path: Path, settings: StorageSettings) -> None:
    """Balances, positions, metrics, ledger, breakers, kill levels, decisions, breaks, standings, alerts and audit."""
    balance = m.BalanceChanged(time_ns=1, account="alice", asset="USDT", total_units=HUGE, reserved_units=1)
    position = m.PositionChanged(
        time_ns=1,
        account="alice",
        symbol="BTCUSDT",
        quantity_lots=-HUGE,
        cost_units=1,
        realised_pnl_units=2,
        fees_units=3,
    )
    metrics = m.AccountMetrics(
        time_ns=1,
        account="alice",
        equity_units=HUGE,
        day_start_equity_units=1,
        peak_equity_units=2,
        exposure_units=3,
        open_orders_units=4,
        unpriced_assets=("ETH",),
    )
    entry = m.LedgerPosted(
        time_ns=1,
        entry_id=3,
        account="alice",
        cause="fill",
        reference="e1",
        postings=(m.Posting("alice", "USDT", -HUGE), m.Posting("fees", "USDT", HUGE)),
    )
    breaker = m.BreakerChanged(time_ns=1, scope="*", tripped=True, reason=Reason.NONE, note="", actor="desk")
    kill = m.KillLevelChanged(
        time_ns=1, account="*", level=m.KillLevel.FLATTEN, note="", actor="desk", order_ids=(1, 2)
    )
    first = m.DecisionRecorded(
        time_ns=1,
        decision_id="d1",
        agent="jarvis",
        account="alice",
        symbol="BTCUSDT",
        view="BUY",
        confidence_ppm=1,
        action="PROPOSED",
        thesis="[f1]",
        facts=(Fact(fact_id="f1", name="n", value="1.5"),),
        decided_time_ns=1,
    )
    second = replace(first, revision=1, action="FILLED", time_ns=9, order=REQUEST)
    opened = m.BreakChanged(
        time_ns=1, break_id="b1", venue="paper", symbol="B", account="alice", is_open=True, detail="?"
    )
    closed = replace(opened, is_open=False, time_ns=2)
    standing = m.AccountStanding(
        time_ns=1,
        account="alice",
        account_kind=m.AccountKind.AGENT,
        kyc=m.KycState.APPROVED,
        sanctions_hold=False,
        blocked=True,
        restricted_symbols=("X",),
        version=2,
    )
    alert = m.ComplianceAlert(time_ns=1, alert_id="a1", account="alice", rule="large", severity="HIGH", summary="s")
    reviewed = replace(alert, status="CLOSED", time_ns=5)
    script: list[list[m.Message]] = [
        [balance, position, metrics, entry, breaker, kill, first, opened, standing, alert, audit(1), audit(2)],
        [second, closed, reviewed, audit(3)],
    ]
    async with desk(tmp_path, script, settings=settings) as it:
        read = it.read
        await it.say(0)
        assert await read.breaks() == [opened]
        await it.say(1)
        assert await read.balances(account="alice") == [balance]
        assert await read.balances(account="bob") == []
        assert await read.positions(account=None) == [position]
        assert await read.account_metrics(account="alice") == [metrics]
        assert await read.ledger(account="alice") == [entry]
        assert await read.ledger(account=None, before_entry_id=3) == []
        assert await read.breakers() == [breaker]
        assert await read.kill_levels() == [kill]
        assert await read.decisions(symbol="BTCUSDT") == [second]
        assert await read.decision("d1") == second
        assert await read.decision("d2") is None
        assert await read.breaks() == []
        assert await read.breaks(open_only=False) == [closed]
        assert await read.accounts() == [standing]
        assert await read.alerts(status="OPEN") == []
        assert await read.alerts(account="alice", status="CLOSED") == [reviewed]
        assert await read.audit_entries(after_sequence=1) == [audit(2), audit(3)]
        assert await read.audit_entries(limit=1) == [audit(1)]


async def test_executions_come_newest_first(tmp_path: Path, settings: StorageSettings) -> None:
    """Fills of one instant keep the order in which they happened."""
    async with desk(tmp_path, [[execution(1), execution(2)], [execution(3), execution(4)]], settings=settings) as it:
        await it.say(0, 1)
        found = await it.read.executions(account="alice", symbol="BTCUSDT")
        assert found == [execution(n) for n in (4, 3, 2, 1)]
        assert await it.read.executions(account="alice", order_id=3) == [execution(3)]
        assert await it.read.executions(account=None, before_time_ns=101) == [execution(1)]


async def test_any_text_of_a_client_can_be_stored(tmp_path: Path, settings: StorageSettings) -> None:
    """Text with U+0000, which PostgreSQL cannot hold, does not stop the projector and is read back whole."""
    entry = replace(audit(1), detail="a\0b", subject="'; DROP TABLE audit_entries; --")
    async with desk(tmp_path, [[entry], [audit(2)]], settings=settings) as it:
        await it.say(0, 1)
        assert await it.read.audit_entries() == [entry, audit(2)]


async def test_only_accepted_instruments_are_listed(tmp_path: Path) -> None:
    """A listing that risk refused is not among the instruments, and a change of status shows."""
    journal = MemoryJournal()
    async with desk(tmp_path, journal=journal) as it:
        await it.host.request(m.ListInstrument(time_ns=1, instrument=INSTRUMENT))
        await it.host.request(m.ListInstrument(time_ns=1, instrument=replace(INSTRUMENT, symbol="BAD")))
        await it.read.caught_up()
        assert await it.read.instruments() == [INSTRUMENT]
        await it.host.request(m.SetInstrumentStatus(time_ns=1, symbol="BTCUSDT", status=InstrumentStatus.HALTED))
        await it.read.caught_up()
        halted = replace(INSTRUMENT, status=InstrumentStatus.HALTED)
        assert await it.read.instruments() == [halted]
    # Made again from the journal alone, they are the same.
    async with desk(tmp_path / "..", journal=journal, settings=storage_settings(_made(tmp_path / "again"))) as it:
        await it.read.caught_up()
        assert await it.read.instruments() == [halted]


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


async def test_candles_are_kept_and_replaced(tmp_path: Path, settings: StorageSettings) -> None:
    """A candle posted again replaces the one before; they come by descending open time."""

    def candle(open_time_ns: int, close_ticks: int) -> m.CandleClosed:
        return m.CandleClosed(
            time_ns=open_time_ns,
            source="test",
            candle=m.Candle(
                symbol="BTCUSDT",
                interval_seconds=60,
                open_time_ns=open_time_ns,
                open_ticks=1,
                high_ticks=9,
                low_ticks=1,
                close_ticks=close_ticks,
                volume_lots=HUGE,
                taker_buy_lots=0,
                notional_tick_lots=HUGE,
                trades=3,
            ),
        )

    said = [candle(60, 5), candle(120, 6), candle(60, 7)]

    def close(message: m.Message) -> Sequence[m.Message]:
        return said if isinstance(message, m.FeedStatusChanged) else NOTHING

    host = build_host([FunctionCore("market_data", close)])
    storage = StorageService(host, settings, SystemClock(), CollectorRegistry())
    await storage.prepare()
    async with anyio.create_task_group() as group:
        group.start_soon(storage.run)
        await host.start()
        host.post(m.FeedStatusChanged(time_ns=1, symbol="BTCUSDT", source="test", connected=True))
        await storage.read_models.caught_up()
        found = await storage.read_models.candles(symbol="BTCUSDT", interval_seconds=60)
        assert found == [said[1].candle, said[2].candle]
        earlier = await storage.read_models.candles(symbol="BTCUSDT", interval_seconds=60, before_time_ns=120)
        assert earlier == [said[2].candle]
        await host.stop()


async def test_a_crash_between_applying_and_projecting_loses_and_repeats_nothing(
    tmp_path: Path, settings: StorageSettings
) -> None:
    """Facts that were journaled but not yet in SQL arrive after the restart; those that were there stay once."""
    journal = MemoryJournal()
    script = [[audit(n), execution(n), order_fact(n)] for n in range(30)]
    done = 0
    for crash_after in (5, 6, 13, 20, 29):
        async with desk(tmp_path, script, journal=journal, crash=True, settings=settings) as it:
            for number in range(done, crash_after):
                await it.host.send([m.AuditNote(time_ns=1, actor="t", action=str(number))])
                if number % 3 == 0:
                    await it.read.caught_up()
            done = crash_after
    async with desk(tmp_path, script, journal=journal, settings=settings) as it:
        await it.say(29)
        assert sorted(e.sequence for e in await it.read.audit_entries(after_sequence=-1)) == list(range(30))
        assert len(await it.read.executions(account="alice")) == 30
        assert len(await it.read.orders(account="alice")) == 30


async def test_sql_that_was_lost_is_made_again(tmp_path: Path) -> None:
    """With the SQL files gone, a restart fills new ones from the journal."""
    journal = MemoryJournal()
    script = [[order_fact(n)] for n in range(5)]
    async with desk(tmp_path, script, journal=journal) as it:
        await it.say(1, 2, 3)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{tmp_path}/orders.db{suffix}").unlink(missing_ok=True)  # noqa: ASYNC240 - nothing else runs here
    async with desk(tmp_path, script, journal=journal) as it:
        await it.read.caught_up()
        assert [order.order_id for order in await it.read.orders(account="alice")] == [3, 2, 1]


async def test_a_journal_behind_sql_refuses_to_start(tmp_path: Path) -> None:
    """SQL that knows facts beyond the journal's end shows that inputs are gone, so the desk does not start."""
    script = [[order_fact(n)] for n in range(5)]
    async with desk(tmp_path, script) as it:
        await it.say(1, 2, 3)
    with pytest.raises(ExceptionGroup) as caught:
        async with desk(tmp_path, script, journal=MemoryJournal()):
            raise AssertionError("the desk must not start")
    assert caught.group_contains(JournalCorruptError, match="storage-orders has facts up to offset 4")


async def test_a_lost_tick_sets_progress_back_and_nothing_is_skipped(tmp_path: Path) -> None:
    """Where a power cut took the last ticks back, facts at their offsets are new ones and are written."""
    journal = MemoryJournal()
    script = [[order_fact(n)] for n in range(5)]
    async with desk(tmp_path, script, journal=journal) as it:
        await it.say(1)
        for _ in range(5):
            await it.host.send([m.Tick(time_ns=1)])
    assert journal.last_offset == 7
    cut = MemoryJournal()
    for _, messages in journal.read(1):
        if cut.last_offset < 2:
            cut.append(messages)
    async with desk(tmp_path, script, journal=cut) as it:
        assert it.host.last_offset == 3
        await it.say(2)
        assert [order.order_id for order in await it.read.orders(account="alice")] == [2, 1]


async def test_a_database_that_fails_for_a_while_delays_facts_only(tmp_path: Path) -> None:
    """While SQL cannot be written, facts wait, readiness says so, readers are told, and all arrives afterwards."""
    settings = storage_settings(tmp_path, caught_up_seconds_max=0.1, retry_seconds_max=0.05)
    async with desk(tmp_path, [[order_fact(1)], [order_fact(2)]], settings=settings) as it:
        await it.say(0)
        projector = it.storage._projectors[0]
        healthy = projector._writer
        projector._writer = DatabaseWriter(open_database(f"sqlite:///{tmp_path}/missing/orders.db"))
        with pytest.raises(ReadModelsLagError):
            await it.say(1)
        assert "cannot be written" in (it.storage.readiness()["orders database"]() or "")
        projector._writer = healthy
        with anyio.fail_after(5):
            await projector.caught_up()
        assert it.storage.readiness()["orders database"]() is None
        assert len(await it.read.orders(account="alice")) == 2


async def test_a_writer_process_that_is_killed_delays_facts_only(tmp_path: Path) -> None:
    """A writer that dies is started again, and every fact is there once."""
    settings = storage_settings(tmp_path, writer_processes=True, retry_seconds_max=0.05, caught_up_seconds_max=60)
    script = [[order_fact(n), execution(n)] for n in range(6)]
    async with desk(tmp_path, script, settings=settings) as it:
        await it.say(0, 1)
        writer = it.storage._orders_writer
        assert isinstance(writer, WriterProcess)
        for number in (2, 4):
            first = writer.process_id
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await it.say(number, number + 1)
            assert writer.process_id not in {None, first}
        assert len(await it.read.orders(account="alice")) == 6
        assert len(await it.read.executions(account="alice")) == 6


async def test_a_writer_waits_for_the_one_of_a_desk_that_was_killed(tmp_path: Path) -> None:
    """Two writers never have one file: the second starts when the first has ended, which it does with its desk."""
    path = str(tmp_path / "orders.db")
    first, second = WriterProcess(path), WriterProcess(path)
    await first.start()
    async with anyio.create_task_group() as group:
        started = anyio.Event()

        async def start() -> None:
            await second.start()
            started.set()

        group.start_soon(start)
        with anyio.move_on_after(1.0):
            await started.wait()
        assert not started.is_set()
        # A desk that is killed closes nothing itself; the operating system closes its end of the socket.
        assert first._streams is not None
        first._streams[1].transport.abort()
        with anyio.fail_after(30):
            await started.wait()
    await first.close()
    await second.close()
    assert second.process_id is None


async def test_a_bug_in_what_facts_become_is_told_and_not_tried_again(tmp_path: Path) -> None:
    """A fact that no projection knows fails for good, unlike a database that is away."""
    writer = WriterProcess(str(tmp_path / "orders.db"))
    write = FactWrite(projector="candles", offset=1, fact_offset=1, recorded_offset=0, first_recorded=None)
    with pytest.raises(RuntimeError, match="candles facts could not be written: KeyError"):
        await writer.write(write, [SentFact(1, 0, m.Tick(time_ns=1))])
    await writer.close()


async def test_migrations_make_the_tables_the_code_expects(databases: tuple[Database, Database]) -> None:
    """After an upgrade from nothing the tables equal the schema, and a second upgrade has nothing to do."""

    def differences(metadata: sa.MetaData) -> Any:
        def compare(connection: sa.engine.Connection) -> list[Any]:
            from alembic.autogenerate import compare_metadata
            from alembic.migration import MigrationContext

            return list(compare_metadata(MigrationContext.configure(connection), metadata))

        return compare

    orders, compliance = databases
    assert await upgrade_orders(orders)
    assert await upgrade_compliance(compliance)
    assert await orders.read(differences(schema.ORDERS)) == []
    assert await compliance.read(differences(schema.COMPLIANCE)) == []
    assert not await upgrade_orders(orders)
    assert not await upgrade_compliance(compliance)
    for database, head in ((orders, ORDERS_HEAD), (compliance, COMPLIANCE_HEAD)):
        version = sa.text("SELECT version_num FROM alembic_version")
        assert await database.read(lambda c, q=version: c.execute(q).scalar()) == head  # type: ignore[misc]


async def test_the_audit_log_only_grows(databases: tuple[Database, Database]) -> None:
    """The database itself refuses to change or delete an audit entry."""
    _, compliance = databases
    await upgrade_compliance(compliance)
    row = {column.name: "x" for column in schema.audit_entries.columns} | {"sequence": 1, "time_ns": 1}

    def insert(connection: sa.engine.Connection) -> None:
        connection.execute(
            schema.upsert(schema.audit_entries, connection.dialect.name), [row, row | {"actor": "other"}]
        )

    await compliance.write(insert)
    for change in ("UPDATE audit_entries SET actor = 'me'", "DELETE FROM audit_entries"):
        with pytest.raises(sa.exc.DBAPIError, match="never changed or deleted"):
            await compliance.write(execute(change))
    query = sa.select(schema.audit_entries.c.actor)
    assert await compliance.read(lambda connection: list(connection.execute(query).scalars())) == ["x"]


async def test_a_database_of_a_newer_desk_is_refused(databases: tuple[Database, Database]) -> None:
    """A schema version that this desk does not know is an error that names it."""
    orders, _ = databases
    await upgrade_orders(orders)
    await orders.write(execute("UPDATE alembic_version SET version_num = 'orders_9999'"))
    with pytest.raises(SchemaVersionError, match="orders_9999"):
        await upgrade_orders(orders)


@pytest.mark.parametrize("url", ["mysql://host/name", "not a url", "sqlite://", "sqlite:///:memory:"])
async def test_urls_that_cannot_work_are_refused(url: str) -> None:
    """Only a SQLite file and PostgreSQL are taken."""
    with pytest.raises(DatabaseUrlError):
        open_database(url)


async def test_settings_do_not_show_passwords() -> None:
    """The URLs, which may hold a password, are not in the settings' repr."""
    settings = StorageSettings(orders_url="postgresql://u:secret@h/n", compliance_url="postgresql://u:secret@h/m")
    assert "secret" not in repr(settings)
