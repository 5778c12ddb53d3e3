"""The matching service over a running host: its HTTP interface, its metrics and its readiness."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection
from structlog.testing import capture_logs
from tests.unit.matching.bench import SYMBOL, instrument, place

from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import ListInstrument, SetInstrumentStatus, Tick
from polaris_synapse.domain.orders import Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.core.books import BOOK_IN_USE
from polaris_synapse.matching.service import MatchingService
from polaris_synapse.matching.settings import MatchingSettings
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

pytestmark = pytest.mark.anyio


class OneViewer:
    """Knows one viewer, by a header."""

    async def authenticate(self, connection: HTTPConnection, /) -> Principal:
        """The viewer, or a refusal."""
        if connection.headers.get("authorization") != "viewer":
            raise ApiError(Reason.NOT_AUTHENTICATED)
        return Principal("vera", Role.VIEWER, ())


class Bench:
    """A service over a core that the test drives, and a client."""

    def __init__(self) -> None:
        self.core = MatchingCore()
        self.clock = ManualClock()
        self.service = MatchingService(
            self.core, self.clock, CollectorRegistry(), OneViewer(), MatchingSettings(tick_age_seconds_max=5)
        )
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.service.api()),
            base_url="http://127.0.0.1",
            headers={"authorization": "viewer"},
        )

    async def get(self, path: str, status: int = 200) -> Any:
        """The body of an answer with that status."""
        response = await self.client.get(path)
        assert response.status_code == status, response.text
        return response.json()


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """A book with two bids, an iceberg ask and one trade."""
    made = Bench()
    now = made.clock.now_ns()
    made.core.apply(ListInstrument(time_ns=now, instrument=instrument()))
    for message in (
        place(1, Side.BUY, 5, 10_000, time_ns=now),
        place(2, Side.BUY, 7, 9_999, time_ns=now),
        place(3, Side.SELL, 9, 10_001, time_ns=now, display_lots=2),
        place(4, Side.SELL, 2, 10_000, time_ns=now),
    ):
        made.core.apply(message)
    made.core.apply(Tick(time_ns=now))
    async with made.client:
        yield made


async def test_books_are_shown_by_price_and_by_order_with_the_sequence() -> None:
    """Both views carry the sequence of the last published change; an iceberg shows its slice only."""
    async with bench() as desk:
        book = await desk.get(f"/books/{SYMBOL}")
        assert book == {
            "symbol": SYMBOL,
            "sequence": 4,
            "status": "TRADING",
            "bids": [{"price": "100", "quantity": "0.00003"}, {"price": "99.99", "quantity": "0.00007"}],
            "asks": [{"price": "100.01", "quantity": "0.00002"}],
        }
        assert len((await desk.get(f"/books/{SYMBOL}?depth=1"))["bids"]) == 1
        orders = await desk.get(f"/books/{SYMBOL}/orders?limit=1")
        assert orders["bids"] == [{"order_id": 1, "price": "100", "quantity": "0.00003"}]
        assert orders["sequence"] == 4


async def test_statistics_and_symbols() -> None:
    """The day's figures are exact text, and each book is listed with its steps, fees and best prices."""
    async with bench() as desk:
        day = await desk.get(f"/statistics/{SYMBOL}")
        assert (day["open"], day["last"], day["volume"], day["turnover"], day["trades"]) == (
            "100", "100", "0.00002", "0.002", 1,
        )  # fmt: skip
        [symbol] = (await desk.get("/symbols"))["symbols"]
        assert (symbol["symbol"], symbol["tick_size"], symbol["best_bid"], symbol["best_ask"]) == (
            SYMBOL, "0.01", "100", "100.01",
        )  # fmt: skip
        assert (symbol["open_orders"], symbol["trades"], symbol["status"]) == (3, 1, "TRADING")


@pytest.mark.parametrize(
    "path,status,reason",
    [
        ("/books/NOTHING", 404, "SYMBOL_NOT_FOUND"),
        ("/statistics/NOTHING", 404, "SYMBOL_NOT_FOUND"),
        (f"/books/{SYMBOL}?depth=0", 400, "INVALID_VALUE"),
        (f"/books/{SYMBOL}?depth=1001", 400, "INVALID_VALUE"),
        (f"/books/{SYMBOL}?deep=1", 400, "UNKNOWN_FIELD"),
        (f"/books/{SYMBOL}/orders?limit=x", 400, "INVALID_VALUE"),
    ],
)
async def test_bad_requests_are_refused_with_their_reason(path: str, status: int, reason: str) -> None:
    """Unknown books and parameters out of bounds get a 4xx that says which."""
    async with bench() as desk:
        assert (await desk.get(path, status))["reason"] == reason


async def test_nobody_reads_without_a_login() -> None:
    """An anonymous request learns nothing, not even which books exist."""
    async with bench() as desk:
        for path in ("/symbols", f"/books/{SYMBOL}", "/books/NOTHING", f"/statistics/{SYMBOL}"):
            response = await desk.client.get(path, headers={"authorization": ""})
            assert response.status_code == 401


async def test_metrics_are_read_from_the_books() -> None:
    """Prometheus sees orders, trades, depth and status of each book as they are when it asks."""
    async with bench() as desk:
        desk.core.apply(place(9, Side.SELL, 1, 10_009))
        text = (await desk.client.get("/metrics")).text
        for line in (
            f'polaris_matching_orders_total{{symbol="{SYMBOL}"}} 5.0',
            f'polaris_matching_trades_total{{symbol="{SYMBOL}"}} 1.0',
            f'polaris_matching_levels{{side="bid",symbol="{SYMBOL}"}} 2.0',
            f'polaris_matching_best_ticks{{side="ask",symbol="{SYMBOL}"}} 10001.0',
            f'polaris_matching_status{{status="TRADING",symbol="{SYMBOL}"}} 1.0',
        ):
            assert line in text.splitlines()


async def test_the_service_is_not_ready_while_the_books_time_stands_still() -> None:
    """Without ticks nothing ends by time, so the service says that it cannot do its work."""
    async with bench() as desk:
        assert (await desk.get("/ready"))["ready"]
        desk.clock.advance(6)
        body = await desk.get("/ready", 503)
        assert body["failing"] == {"time": "The books were last told the time 6 seconds ago."}
        desk.core.apply(Tick(time_ns=desk.clock.now_ns()))
        assert (await desk.get("/ready"))["ready"]


async def test_the_service_logs_books_that_stop() -> None:
    """A change of a book's status, whoever caused it, is in the log once."""
    async with bench() as desk:
        with capture_logs() as lines:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(desk.service.run)
                await anyio.wait_all_tasks_blocked()
                desk.core.apply(
                    SetInstrumentStatus(time_ns=desk.clock.now_ns(), symbol=SYMBOL, status=InstrumentStatus.HALTED)
                )
                for _ in range(2):
                    desk.clock.advance(1)
                    await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
        assert [line["status"] for line in lines if "status" in line] == ["TRADING", "HALTED"]
        # The log begins with which of the two books is in use, once.
        assert [line["in_use"] for line in lines if "in_use" in line] == [lines[0]["in_use"]] == [BOOK_IN_USE]


def test_settings_out_of_bounds_are_refused() -> None:
    """A watch that never sleeps is an error at start."""
    with pytest.raises(ValueError, match="watch_seconds is 0"):
        MatchingSettings(watch_seconds=0)
