"""The same desk on both hosts: every room's real core, the real paper venue, one partition of each inbox.

A test says what happens and reads what came of it; which host runs the cores it cannot tell. Time stands still until
a test moves it, so both desks see the same times.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import msgspec
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.bus.core import Core, Envelope
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.journal_sqlite import SqliteJournal
from polaris_synapse.bus.kafka.client import KafkaBus
from polaris_synapse.bus.kafka.ends import watermarks
from polaris_synapse.bus.kafka.host import KafkaCoreHost
from polaris_synapse.bus.kafka.metrics import KafkaMetrics
from polaris_synapse.bus.kafka.outlet import Outlet
from polaris_synapse.bus.kafka.partition import PartitionFold
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.snapshot_store import MemorySnapshotStore
from polaris_synapse.bus.kafka.topics import TopicCounts, Topics, partition_counts, topic_specs
from polaris_synapse.bus.kafka.volatile import VolatileHost
from polaris_synapse.bus.port import Bus
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import INTERNAL_VENUE, PAPER_VENUE, Instrument
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import Order, OrderRequest, OrderState
from polaris_synapse.domain.topics import (
    EXECUTIONS,
    MARKET_DATA_NORMALIZED,
    RISK_EVENTS,
    TRADES,
    TRANSACTIONS_ALL,
)
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.execution.paper.venue import PaperVenue
from polaris_synapse.execution.service import ExecutionService
from polaris_synapse.execution.settings import ExecutionSettings
from polaris_synapse.market_data.core import MarketDataCore
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.state import RiskState
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.faults.cluster_evidence import LogReader
from polaris_synapse.testing.servers.kafka import KafkaServer

USDT, BTC, ETH = Asset("USDT", 8), Asset("BTC", 8), Asset("ETH", 8)
#: One at the paper venue, and two on the desk's own books.
MARKET: Final = Instrument(symbol="BTCUSDT", base=BTC, quote=USDT, tick_units=10**6, lot_units=10**3, venue=PAPER_VENUE)
BOOK: Final = Instrument(
    symbol="BTCUSDT.INT", base=BTC, quote=USDT, tick_units=10**6, lot_units=10**3, venue=INTERNAL_VENUE,
    reference_symbol="BTCUSDT",
)  # fmt: skip
LISTED: Final = (MARKET, BOOK)
BID_TICKS, ASK_TICKS = 5_999_900, 6_000_100
ROOMS: Final = ("risk", "matching", "execution", "compliance", "agents")
FACTS: Final = (EXECUTIONS, TRANSACTIONS_ALL, RISK_EVENTS, TRADES)
#: States of orders of which something is still to be heard.
_ON_THE_WAY: Final = frozenset(
    {OrderState.APPROVED, OrderState.PENDING_CANCEL, OrderState.PENDING_REPLACE, OrderState.UNKNOWN}
)
_WAIT_SECONDS_MAX: Final = 120.0
_POLL_SECONDS: Final = 0.005
#: So many looks in a row at which nothing has happened are rest; more where the venue may act by itself.
_QUIET_LOOKS: Final = 2
_QUIET_LOOKS_LATER: Final = 6


def fresh_cores() -> dict[str, Core]:
    """A core of every room whose inputs are kept."""
    cores: list[Core] = [
        RiskCore(), MatchingCore(), ExecutionCore(), ComplianceCore(), AgentsCore(valuation=USDT)
    ]  # fmt: skip
    return {core.name: core for core in cores}


class Host(Protocol):
    """What a desk needs of the host that runs its cores."""

    clock: ManualClock

    @property
    def bus(self) -> Bus:
        """The bus that shells use now."""
        ...

    @property
    def cores(self) -> Mapping[str, Core]:
        """The cores that run now, by room."""
        ...

    def marks(self) -> tuple[object, ...]:
        """Something that stays the same only while nothing happens."""
        ...

    async def is_quiet(self) -> bool:
        """Whether every core has had every message."""
        ...

    async def restart(self) -> None:
        """Stop everything in order and start it again."""
        ...

    async def replayed(self) -> Mapping[str, str]:
        """The hashes of fresh cores that have folded the whole log, without any snapshot."""
        ...


class DeskUnderTest:
    """A desk on some host."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.answers: list[m.Answer] = []
        self.facts: dict[str, list[m.Message]] = {topic: [] for topic in FACTS}
        self._directory = directory
        self._update_id = 0

    @property
    def now_ns(self) -> int:
        """The time of the desk."""
        return self.host.clock.now_ns()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[DeskUnderTest]:
        """Run what stands around the cores, list the instruments and give the market a book."""
        venue = PaperVenue(
            bus=self.host.bus,
            clock=self.host.clock,
            path=self._directory / "paper.sqlite3",
            instruments=lambda: (MARKET,),
        )
        service = ExecutionService(
            bus=self.host.bus,
            clock=self.host.clock,
            registry=CollectorRegistry(),
            settings=ExecutionSettings(),
            venues=[venue],
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            tasks.start_soon(service.run)
            await until(lambda: all(check() is None for check in service.readiness().values()))
            await self.rest(_QUIET_LOOKS_LATER)
            for instrument in LISTED:
                await self.ask(m.ListInstrument(time_ns=self.now_ns, actor="desk", instrument=instrument))
            await self.give_book()
            await until(lambda: not venue.book_trouble())
            yield self
            tasks.cancel_scope.cancel()

    async def _listen(self) -> None:
        async with self.host.bus.subscribe(
            FACTS, name="behaviour", backlog_messages_max=100_000, droppable=False
        ) as facts:
            async for batch in facts:
                for envelope in batch:
                    self._take(envelope)

    def _take(self, envelope: Envelope) -> None:
        if envelope.topic in self.facts:
            self.facts[envelope.topic].append(envelope.message)

    # --- what happens ---

    async def ask(self, command: m.Command) -> m.Answer:
        """Send a command, remember its answer without the id that the bus gave it, and wait until the desk rests."""
        answer = replace(await self.host.bus.request(command), request_id="")
        self.answers.append(answer)
        await self.rest()
        return answer

    async def order(self, account: str, client_order_id: str, **fields: Any) -> m.Answer:
        """Submit an order."""
        request = OrderRequest(account=account, client_order_id=client_order_id, **fields)
        return await self.ask(m.SubmitOrder(time_ns=self.now_ns, actor=f"user:{account}", order=request))

    async def cancel(self, account: str, order_id: int) -> m.Answer:
        """Cancel an order."""
        return await self.ask(m.CancelOrder(time_ns=self.now_ns, actor="user", account=account, order_id=order_id))

    async def fund(self, account: str, asset: str, units: int, reference: str = "") -> m.Answer:
        """Pay in, or out where ``units`` is negative."""
        return await self.ask(
            m.MoveFunds(
                time_ns=self.now_ns, actor="desk", account=account, asset=asset, amount_units=units,
                reference=reference or f"opening-{asset}",
            )
        )  # fmt: skip

    async def account(self, name: str, **amounts: int) -> str:
        """Open an account that may trade, with whole units of assets."""
        await self.ask(m.OpenAccount(time_ns=self.now_ns, actor="desk", account=name, holder_name=name.title()))
        for state in (m.KycState.PENDING, m.KycState.APPROVED):
            await self.ask(m.ReviewKyc(time_ns=self.now_ns, actor="user:officer", account=name, state=state))
        for asset, amount in amounts.items():
            await self.fund(name, asset, amount * 10**8)
        return name

    async def give_book(self, bid: int = BID_TICKS, ask: int = ASK_TICKS) -> None:
        """The market's book anew: five levels a side, a tick apart."""
        self._update_id += 1
        self.host.bus.post(
            m.BookSnapshotReceived(
                time_ns=self.now_ns,
                symbol=MARKET.symbol,
                source="test",
                last_update_id=self._update_id,
                bids=tuple((bid - n, 1_000_000) for n in range(5)),
                asks=tuple((ask + n, 1_000_000) for n in range(5)),
            )
        )
        await self.rest()

    async def pass_time(self, seconds: float, *, fresh_book: bool = True) -> None:
        """Move the clock, tell everybody, and let the market speak again."""
        self.host.clock.advance(seconds)
        await self.host.bus.send([m.Tick(time_ns=self.now_ns)])
        await self.rest(_QUIET_LOOKS_LATER)
        if fresh_book:
            await self.give_book()

    async def rest(self, looks: int = _QUIET_LOOKS) -> None:
        """Return once nothing happens any more."""
        quiet, before = 0, self.host.marks()
        with anyio.fail_after(_WAIT_SECONDS_MAX):
            while quiet < looks:
                await anyio.sleep(_POLL_SECONDS)
                now = self.host.marks()
                is_quiet = now == before and await self.host.is_quiet()
                quiet, before = (quiet + 1 if is_quiet else 0), now
                # A venue that has not answered yet is about to.
                if quiet == looks and self._waits_for_the_venue():
                    quiet = 0

    def _waits_for_the_venue(self) -> bool:
        return any(
            order.venue == PAPER_VENUE and order.state in _ON_THE_WAY and not order.request.client_list_id
            for order in self.orders().values()
        )

    # --- what came of it ---

    def risk(self) -> RiskState:
        """The risk core's state."""
        _, state = msgspec.json.decode(self.host.cores["risk"].snapshot(), type=tuple[int, RiskState])
        return state

    def orders(self) -> dict[int, Order]:
        """Every order that risk remembers."""
        return {record.order.order_id: record.order for record in self.risk().orders}

    def state_of(self, answer: m.Answer) -> str:
        """The state now of the order that an answer was about."""
        assert answer.order is not None, answer
        return self.orders()[answer.order.order_id].state.value

    def balances(self, account: str) -> dict[str, tuple[int, int]]:
        """Total and reserved minor units by asset."""
        found = self.risk().accounts[account].balances
        return {asset: (one.total_units, one.reserved_units) for asset, one in sorted(found.items())}

    def hashes(self) -> dict[str, str]:
        """The state hash of each room."""
        return {room: self.host.cores[room].state_hash() for room in ROOMS}


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, or fail after a while."""
    with anyio.fail_after(_WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110  # conditions of others' making
            await anyio.sleep(_POLL_SECONDS)


class EmbeddedWorld:
    """The embedded host over a journal in a file."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self._directory = directory
        self._cores: dict[str, Core] = {}
        self._host: EmbeddedHost | None = None

    @property
    def bus(self) -> Bus:
        """The host itself."""
        assert self._host is not None, "the world is open"
        return self._host

    @property
    def cores(self) -> Mapping[str, Core]:
        """See Host."""
        return self._cores

    def marks(self) -> tuple[object, ...]:
        """See Host."""
        assert self._host is not None, "the world is open"
        return (self._host.last_offset,)

    async def is_quiet(self) -> bool:
        """See Host: an input and everything that follows from it are one step."""
        return True

    async def start(self) -> None:
        """Make a host over the journal and start it."""
        self._cores = fresh_cores()
        self._host = EmbeddedHost(
            SqliteJournal(self._directory / "journal"),
            self._cores | {"market_data": MarketDataCore()},
            self.clock,
            # Time is a test's, and its ticks are too.
            HostSettings(tick_seconds=10**6, probe_seconds=10**6),
            CollectorRegistry(),
        )
        await self._host.start()

    async def stop(self) -> None:
        """Stop the host."""
        assert self._host is not None, "the world is open"
        await self._host.stop()

    async def restart(self) -> None:
        """See Host."""
        await self.stop()
        await self.start()

    async def replayed(self) -> Mapping[str, str]:
        """See Host: another host over a copy of the journal whose snapshots are gone."""
        with tempfile.TemporaryDirectory() as copy:
            with sqlite3.connect(self._directory / "journal" / "journal.db") as live:
                live.execute("VACUUM INTO ?", (f"{copy}/journal.db",))
            with sqlite3.connect(f"{copy}/journal.db") as journal:
                journal.execute("DELETE FROM journal_snapshots")
            cores = fresh_cores()
            again = EmbeddedHost(SqliteJournal(Path(copy)), cores, self.clock, HostSettings(), CollectorRegistry())
            report = await again.recover()
            await again.stop()
            return report.state_hashes


@asynccontextmanager
async def embedded_world(directory: Path) -> AsyncIterator[EmbeddedWorld]:
    """A started one."""
    world = EmbeddedWorld(directory)
    await world.start()
    try:
        yield world
    finally:
        await world.stop()


class KafkaWorld:
    """A core host for each room in this process, on a real broker, and the market data room beside them."""

    def __init__(self, server: KafkaServer) -> None:
        self.clock = ManualClock()
        self._settings = KafkaHostSettings(
            bootstrap=server.bootstrap, topic_prefix=f"t-{secrets.token_hex(4)}.", session_seconds=6
        )
        counts = TopicCounts(risk=1, matching=1, execution=1, market_data=1, facts=1, answers=1)
        self._specs = topic_specs(counts, replicas=1)
        self._destinations = Destinations(partition_counts(self._specs))
        self._store = MemorySnapshotStore(kept=3)
        self._hosts: dict[str, KafkaCoreHost] = {}
        self._lives = AsyncExitStack()
        self._ends: Any = None
        self._bus: KafkaBus | None = None

    @property
    def bus(self) -> Bus:
        """The bus of the process."""
        assert self._bus is not None, "the world is open"
        return self._bus

    @property
    def cores(self) -> Mapping[str, Core]:
        """See Host."""
        return {room: host.cores[0] for room, host in self._hosts.items()}

    def marks(self) -> tuple[object, ...]:
        """See Host."""
        return tuple((state.offset, state.emitted_offset) for host in self._hosts.values() for state in host.states())

    async def is_quiet(self) -> bool:
        """See Host: every inbox is read to its end, and everything that was said is confirmed."""
        if self._outlets_waiting():
            return False
        ends = await asyncio.to_thread(self._inbox_ends)
        return all(ends[room] == host.states()[0].offset + 1 for room, host in self._hosts.items())

    def _outlets_waiting(self) -> int:
        return sum(outlet.waiting for outlet in self._outlets)

    def _inbox_ends(self) -> dict[str, int]:
        from confluent_kafka import TopicPartition

        return {
            room: watermarks(self._ends, TopicPartition(self._settings.topic(f"{room}.inbox"), 0), 10.0)[1]
            for room in ROOMS
        }

    async def start(self) -> None:
        """Make the topics where they are not there yet, and start everything."""
        from confluent_kafka import Consumer

        await asyncio.to_thread(Topics(self._settings, self._specs).apply)
        settings, lives = self._settings, AsyncExitStack()
        self._lives = lives
        self._ends = Consumer(settings.tail_consumer("ends"))
        lives.callback(self._ends.close)
        durable = Outlet(settings.durable_producer(), settings.topic)
        requests = Outlet(settings.request_producer(), settings.topic)
        perishable = Outlet(settings.perishable_producer(), settings.topic)
        self._outlets = (durable, requests, perishable)
        for outlet in self._outlets:
            outlet.start()
            lives.push_async_callback(outlet.stop, 5)
        bus = self._bus = KafkaBus(
            settings,
            self._destinations,
            outlet=durable,
            requests=requests,
            facts=FACTS,
            local_facts=(MARKET_DATA_NORMALIZED,),
        )
        await bus.start()
        lives.push_async_callback(bus.stop)
        market_data = VolatileHost(
            room="market_data",
            group="market-data-group",
            make_core=lambda _: MarketDataCore(),
            set_up=lambda _: (),
            settings=settings,
            destinations=self._destinations,
            outlet=perishable,
            clock=self.clock,
            metrics=KafkaMetrics(CollectorRegistry()),
            client="market-data",
            deliver=bus.deliver,
        )
        bus.apply_here = market_data.post
        self._hosts = {room: self._host(room, durable, bus) for room in ROOMS}
        members: list[KafkaCoreHost | VolatileHost] = [market_data, *self._hosts.values()]
        for member in members:
            task = asyncio.create_task(member.run())
            lives.push_async_callback(_ended, member, task)
        await until(lambda: bool(market_data.partitions) and all(_serves(host) for host in self._hosts.values()))

    def _host(self, room: str, outlet: Outlet, bus: KafkaBus) -> KafkaCoreHost:
        return KafkaCoreHost(
            room=room,
            group=f"{room}-group",
            make_core=lambda _: fresh_cores()[room],
            settings=self._settings,
            destinations=self._destinations,
            outlet=outlet,
            store=self._store,
            clock=self.clock,
            metrics=KafkaMetrics(CollectorRegistry()),
            client=room,
            deliver=bus.deliver,
            leaves_in_order=room != "execution",
            carries_on=room == "execution",
        )

    async def stop(self) -> None:
        """Let go of everything in order."""
        await self._lives.aclose()

    async def restart(self) -> None:
        """See Host."""
        await self.stop()
        await self.start()

    async def replayed(self) -> Mapping[str, str]:
        """See Host: fresh cores over the records of the inboxes."""
        return await asyncio.to_thread(self._fold_everything)

    def _fold_everything(self) -> dict[str, str]:
        log, found = LogReader(self._settings), {}
        for room, core in fresh_cores().items():
            fold = PartitionFold(core, 0, self._destinations)
            for _, record in log.read(f"{room}.inbox", 0):
                fold.take(record, [], [])
            found[room] = core.state_hash()
        return found


def _serves(host: KafkaCoreHost) -> bool:
    return len(host.cores) == 1 and all(check() is None for check in host.readiness().values())


async def _ended(member: KafkaCoreHost | VolatileHost, task: asyncio.Task[None]) -> None:
    member.stop()
    await task


@asynccontextmanager
async def kafka_world(server: KafkaServer) -> AsyncIterator[KafkaWorld]:
    """A started one."""
    world = KafkaWorld(server)
    await world.start()
    try:
        yield world
    finally:
        await world.stop()
