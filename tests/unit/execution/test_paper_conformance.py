"""The conformance suite of the venue port over the paper venue and over the scripted one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from tests.unit.execution.fake_bus import FakeBus, wait_until
from tests.unit.execution.paper_market import BTCUSDT

from polaris_synapse.domain.messages import BookUpdated, MarketTrade, VenueReport
from polaris_synapse.domain.orders import Side
from polaris_synapse.execution.paper.venue import PaperVenue
from polaris_synapse.execution.venues.port import Venue
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.venue_conformance import CASES, Case
from polaris_synapse.testing.venues import ScriptedVenue

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 5


class Collector:
    """Takes what a venue delivers."""

    def __init__(self) -> None:
        self.reports: list[VenueReport] = []

    async def deliver(self, reports: Sequence[VenueReport], /) -> None:
        """Keep them."""
        self.reports += reports

    def reconnected(self) -> None:
        """Nothing to ask in this suite."""


class PaperHarness(Collector):
    """The paper venue over a real file and a market moved by hand."""

    symbol = "BTCUSDT"
    instrument = BTCUSDT
    bid_ticks, ask_ticks = 100, 102

    def __init__(self, path: Path, tasks: anyio.abc.TaskGroup) -> None:
        super().__init__()
        self.path = path
        self.tasks = tasks
        self.bus = FakeBus()
        self.clock = ManualClock()
        self.scope = anyio.CancelScope()
        self.trades = 0
        self.paper = self._new()

    @property
    def venue(self) -> Venue:
        """The adapter."""
        return self.paper

    def _new(self) -> PaperVenue:
        return PaperVenue(bus=self.bus, clock=self.clock, path=self.path, instruments=lambda: [BTCUSDT])

    async def start(self) -> None:
        """Run the venue and give it its book."""
        self.scope = anyio.CancelScope()
        listening = self.bus.subscriptions

        async def run() -> None:
            with self.scope:
                await self.paper.run(self)

        self.tasks.start_soon(run)
        await wait_until(lambda: self.paper.state.connected and self.bus.subscriptions > listening)
        self.bus.publish(
            BookUpdated(
                time_ns=self.clock.now_ns(),
                symbol=self.symbol,
                source="test",
                sequence=1,
                bids=((100, 500),),
                asks=((102, 500),),
                is_snapshot=True,
            )
        )
        await self.settle()

    async def settle(self) -> None:
        """What was published has been read; what that led to is stored once a query has passed the worker."""
        with anyio.fail_after(WAIT_SECONDS):
            while self.bus.unread:
                await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            await self.paper.open_orders()

    async def trade_through(self, side: Side, price_ticks: int, lots: int) -> None:
        """A real trade at the price, taking from that side."""
        self.trades += 1
        self.bus.publish(
            MarketTrade(
                time_ns=self.clock.now_ns(),
                symbol=self.symbol,
                source="test",
                trade_id=self.trades,
                price_ticks=price_ticks,
                quantity_lots=lots,
                aggressor=side.opposite,
            )
        )
        await self.settle()

    async def restart(self) -> None:
        """Stop at once and start again on the same file."""
        paper, self.paper = self.paper, self._new()
        self.scope.cancel()
        await wait_until(lambda: paper.state.detail == "it was stopped")
        await self.start()


@asynccontextmanager
async def paper_harness(folder: Path) -> AsyncIterator[PaperHarness]:
    """A running paper venue."""
    async with anyio.create_task_group() as tasks:
        harness = PaperHarness(folder / "paper.sqlite", tasks)
        await harness.start()
        yield harness
        tasks.cancel_scope.cancel()


class ScriptedHarness(Collector):
    """The scripted venue, whose stream is read by hand; a restart loses nothing, since it is the venue's own memory."""

    symbol = "BTCUSDT"
    instrument = BTCUSDT
    bid_ticks, ask_ticks = 100, 102

    def __init__(self) -> None:
        super().__init__()
        venue = ScriptedVenue()
        venue.instruments[BTCUSDT.symbol] = BTCUSDT
        self.venue: Venue = venue

    async def settle(self) -> None:
        """Read the stream."""
        assert isinstance(self.venue, ScriptedVenue)
        self.reports += self.venue.stream
        self.venue.stream.clear()

    async def trade_through(self, side: Side, price_ticks: int, lots: int) -> None:
        """Fill the resting orders there, the earliest first."""
        assert isinstance(self.venue, ScriptedVenue)
        for order in self.venue.orders.values():
            taken = min(lots, order.quantity_lots - order.filled_lots)
            if order.price_ticks == price_ticks and taken > 0:
                self.venue.fill(order.client_id, taken, price_ticks)
                lots -= taken
        await self.settle()

    async def restart(self) -> None:
        """The desk's side has no memory here."""


@asynccontextmanager
async def scripted_harness(_: Path) -> AsyncIterator[ScriptedHarness]:
    """A scripted venue that behaves."""
    yield ScriptedHarness()


HARNESSES: list[Callable[[Path], AbstractAsyncContextManager[PaperHarness | ScriptedHarness]]] = [
    paper_harness,
    scripted_harness,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("harness", HARNESSES, ids=["paper", "scripted"])
async def test_the_venue_conforms(
    case: Case,
    harness: Callable[[Path], AbstractAsyncContextManager[PaperHarness | ScriptedHarness]],
    tmp_path: Path,
) -> None:
    """Each numbered promise of the port holds."""
    async with harness(tmp_path) as running:
        await case.check(running)


def test_every_promise_has_a_case() -> None:
    """The suite covers all eleven promises of the port."""
    assert {case.number for case in CASES} == set(range(1, 12))


async def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    """Two venues on one file would each believe they alone had it; the second does not open."""
    from polaris_synapse.execution.paper.store import PaperStore, PaperStoreError

    first = PaperStore(tmp_path / "paper.sqlite")
    with pytest.raises(PaperStoreError, match="locked"):
        PaperStore(tmp_path / "paper.sqlite")
    first.close()
    PaperStore(tmp_path / "paper.sqlite").close()


async def test_a_store_that_cannot_be_written_takes_the_venue_down_and_back(tmp_path: Path) -> None:
    """A failed commit reports nothing: the request's outcome is unknown, the venue says so, and recovers by itself."""
    from polaris_synapse.execution.paper.outbox import Outcome
    from polaris_synapse.execution.paper.store import PaperStore, PaperStoreError
    from polaris_synapse.execution.venues.port import VenueError, VenueNotSentError
    from polaris_synapse.testing.venue_conformance import query, resting, submit

    async with paper_harness(tmp_path) as harness:
        await submit(harness, resting(harness, 1024))
        store = harness.paper._store
        assert store is not None

        class Full(PaperStore):
            """A store on a full disk."""

            def write(self, outcomes: list[Outcome]) -> None:
                """Fail."""
                raise PaperStoreError("disk full")

        store.__class__ = Full
        with pytest.raises(VenueError, match="disk full"):
            await harness.venue.submit(resting(harness, 2048))
        with pytest.raises(VenueNotSentError):
            await harness.venue.submit(resting(harness, 3072))
        assert not harness.paper.state.connected
        assert not (await query(harness, 1024)).answered

        def a_second_later() -> bool:
            harness.clock.advance(1)
            return harness.paper.state.connected

        await wait_until(a_second_later)
        assert (await query(harness, 1024)).found
        assert not (await query(harness, 2048)).found
        await submit(harness, resting(harness, 2048))
        assert {one.order_id for one in await harness.venue.open_orders()} == {1024, 2048}
