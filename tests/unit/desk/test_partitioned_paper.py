"""The paper venue of a partition that has just come: requests wait a moment for it, and not for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from tests.unit.execution.fake_bus import FakeBus
from tests.unit.execution.paper_market import BTCUSDT
from tests.unit.order_gateway.fake_desk import until

from polaris_synapse.desk.services.paper import PartitionedPaper
from polaris_synapse.domain.messages import BookUpdated, VenueCancel, VenueQuery, VenueReport, VenueSubmit
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side
from polaris_synapse.execution.paper.store import PaperStore
from polaris_synapse.execution.venues.port import VenueNotSentError
from polaris_synapse.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


class Hearing:
    """Keeps what the exchange reports."""

    def __init__(self) -> None:
        self.reports: list[VenueReport] = []

    async def deliver(self, reports: Sequence[VenueReport], /) -> None:
        """Keep the reports."""
        self.reports += reports

    def reconnected(self) -> None:
        """Nothing is asked."""


class Place:
    """A venue of one partition over a bus and a clock that a test moves."""

    def __init__(self, directory: Path) -> None:
        self.bus, self.clock, self.events = FakeBus(), ManualClock(), Hearing()
        self.file = directory / "paper-0.sqlite3"
        self.paper = PartitionedPaper(
            bus=self.bus, clock=self.clock, directory=directory, partitions=1, instruments=[BTCUSDT]
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.paper.run, self.events)
            yield
            group.cancel_scope.cancel()

    def submit(self, number: int = 1) -> VenueSubmit:
        """A purchase at the market."""
        request = OrderRequest(
            account="main",
            client_order_id=f"c{number}",
            symbol="BTCUSDT",
            side=Side.BUY,
            type=OrderType.MARKET,
            quantity_lots=3,
        )
        return VenueSubmit(
            time_ns=self.clock.now_ns(),
            venue="paper",
            symbol="BTCUSDT",
            order_id=number,
            venue_client_id=f"ps0-{number}",
            request=request,
            quantity_lots=3,
            price_ticks=0,
            stop_price_ticks=0,
        )

    def give_book(self) -> None:
        """The whole book of the symbol."""
        book = BookUpdated(
            time_ns=self.clock.now_ns(),
            symbol="BTCUSDT",
            source="t",
            sequence=1,
            bids=((100, 5),),
            asks=((102, 5),),
            is_snapshot=True,
        )
        self.bus.publish(book)

    async def let_time_pass(self, seconds: float) -> None:
        """Move the clock in small steps, so that those who look again and again do."""
        for _ in range(int(seconds / 0.05)):
            await anyio.wait_all_tasks_blocked()
            self.clock.advance(0.05)
        await anyio.wait_all_tasks_blocked()


async def test_an_order_waits_for_the_first_book(tmp_path: Path) -> None:
    """An order that came with its partition is filled when the book is there, not turned away before."""
    place = Place(tmp_path)
    async with place.running(), anyio.create_task_group() as group:
        place.paper.show([0])
        await until(lambda: place.paper.state.connected and place.bus.subscriptions == 1)
        group.start_soon(place.paper.submit, place.submit())
        await place.let_time_pass(1.0)
        assert place.events.reports == []
        place.give_book()
        await place.let_time_pass(0.2)
        await until(lambda: any(report.fill is not None for report in place.events.reports))


async def test_a_request_is_not_sent_where_the_exchange_does_not_open(tmp_path: Path) -> None:
    """While another process holds the file a request waits five seconds; it is then said that it was not sent."""
    place = Place(tmp_path)
    holder = PaperStore(place.file)
    refused: list[str] = []

    async def ask() -> None:
        command = VenueQuery(time_ns=0, venue="paper", symbol="BTCUSDT", order_id=1, venue_client_id="ps0-1")
        with pytest.raises(VenueNotSentError) as error:
            await place.paper.query(command)
        refused.append(str(error.value))

    try:
        async with place.running(), anyio.create_task_group() as group:
            place.paper.show([0])
            group.start_soon(ask)
            await place.let_time_pass(4.0)
            assert refused == []
            await place.let_time_pass(2.0)
            assert refused == ["the exchange of BTCUSDT did not open within 5 s"]
    finally:
        holder.close()


async def test_a_partition_that_leaves_turns_its_requests_away(tmp_path: Path) -> None:
    """Who waits for a partition that goes to another process is told at once that nothing was sent."""
    place = Place(tmp_path)
    command = VenueCancel(
        time_ns=0, venue="paper", symbol="BTCUSDT", order_id=1, venue_client_id="ps0-1", venue_order_id=""
    )
    place.paper.show([0])

    async def cancel() -> None:
        with pytest.raises(VenueNotSentError, match="moved to another instance"):
            await place.paper.cancel(command)

    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        await place.let_time_pass(0.1)
        place.paper.show([])
        await place.let_time_pass(0.1)


async def test_only_so_many_requests_wait(tmp_path: Path) -> None:
    """More of them would take the places of other partitions' requests, so the seventeenth is turned away at once."""
    place = Place(tmp_path)
    place.paper.show([0])

    async def submit(number: int) -> None:
        with pytest.raises(VenueNotSentError):
            await place.paper.submit(place.submit(number))

    async with anyio.create_task_group() as group:
        for number in range(16):
            group.start_soon(submit, number)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(VenueNotSentError, match="16 requests wait"):
            await place.paper.submit(place.submit(17))
        place.paper.show([])
        await place.let_time_pass(0.1)
