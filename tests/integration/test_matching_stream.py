"""The stream of the internal books on a real server, and opening and halting them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection
from tests.unit.matching.bench import NOON, SYMBOL, amend, instrument, place
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.domain.messages import ListInstrument, Message, Tick
from polaris_synapse.domain.orders import Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.service import MatchingService
from polaris_synapse.matching.settings import MatchingSettings
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.testing.bus import running_host
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.server import Listener, ServerLimits, serve

pytestmark = pytest.mark.anyio

ROLES = {"viewer": Role.VIEWER, "officer": Role.RISK_OFFICER}


class ByHeader:
    """Whoever the header names."""

    async def authenticate(self, connection: HTTPConnection, /) -> Principal:
        """The person, or a refusal."""
        role = ROLES.get(connection.headers.get("authorization", ""))
        if role is None:
            raise ApiError(Reason.NOT_AUTHENTICATED)
        return Principal("vera", role, ())


class Bench:
    """A host with risk and matching, the service over it, and where it listens."""

    def __init__(self, host: EmbeddedHost, core: MatchingCore, clock: ManualClock, port: int) -> None:
        self.host = host
        self.core = core
        self.clock = clock
        self.http = f"http://127.0.0.1:{port}"
        self.stream = f"ws://127.0.0.1:{port}/stream"

    async def send(self, *messages: Message) -> None:
        """Put messages on the journal."""
        await self.host.send(messages)

    async def http_json(self, method: str, path: str, who: str = "viewer", body: object = None) -> tuple[int, Any]:
        """One request: status and body."""
        async with httpx2.AsyncClient() as client:
            answer = await client.request(method, self.http + path, headers={"authorization": who}, json=body)
            return answer.status_code, answer.json()


@contextlib.asynccontextmanager
async def bench(**settings: int) -> AsyncIterator[Bench]:
    """Everything, running, with one bid and one iceberg on the book."""
    clock, core = ManualClock(), MatchingCore()
    async with running_host([RiskCore(), core], clock=clock) as host, anyio.create_task_group() as tasks:
        service = MatchingService(core, clock, CollectorRegistry(), ByHeader(), MatchingSettings(**settings), bus=host)
        ports: dict[str, int] = {}
        ready = anyio.Event()

        def started(found: dict[str, int]) -> None:
            ports.update(found)
            ready.set()

        async def run() -> None:
            limits = ServerLimits(shutdown_seconds_max=1)
            await serve([Listener(service.api(), "127.0.0.1", 0, "matching", limits)], started=started)

        tasks.start_soon(run)
        tasks.start_soon(service.run)
        with anyio.fail_after(5):
            await ready.wait()
        made = Bench(host, core, clock, ports["matching"])
        await made.send(
            ListInstrument(time_ns=clock.now_ns(), instrument=instrument()),
            place(1, Side.BUY, 5, 10_000),
            place(2, Side.SELL, 9, 10_010, display_lots=2),
        )
        yield made
        tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def listening(made: Bench, channels: str) -> AsyncIterator[ClientConnection]:
    """A client of the stream."""
    url = f"{made.stream}?channels={channels}&symbols={SYMBOL}"
    async with connect(url, additional_headers={"authorization": "viewer"}) as socket:
        yield socket


async def next_of(socket: ClientConnection, channel: str) -> Any:
    """The data of the next event of a channel."""
    with anyio.fail_after(5):
        while True:
            event = json.loads(await socket.recv())
            if event["channel"] == channel:
                return event["data"]


async def test_snapshots_and_changes_line_up() -> None:
    """A client that begins with the snapshot and follows the numbers has the book that REST shows."""
    async with bench() as made, listening(made, "book,orders") as socket:
        first = await next_of(socket, "orders")
        assert first["is_snapshot"]
        assert first["bids"] == [["1", "100", "0.00005"]]
        assert first["asks"] == [["2", "100.1", "0.00002"]]
        orders = {row[0]: row for row in first["bids"] + first["asks"]}
        await made.send(
            place(3, Side.BUY, 4, 9_990),
            place(4, Side.BUY, 3, 10_010),
            amend(1, 4, 10_000),
            place(5, Side.SELL, 1, 9_990),
        )
        sequence = first["sequence"]
        for _ in range(4):
            change = await next_of(socket, "orders")
            sequence += 1
            assert change["sequence"] == sequence
            for step in change["operations"]:
                orders.pop(step["order_id"], None) if step["kind"] != "change" else None
                if step["kind"] != "remove":
                    orders[step["order_id"]] = [step["order_id"], step["price"], step["quantity"]]
        _, book = await made.http_json("GET", f"/books/{SYMBOL}/orders")
        assert book["sequence"] == sequence
        shown = [[str(row["order_id"]), row["price"], row["quantity"]] for row in book["bids"] + book["asks"]]
        assert sorted(shown) == sorted(orders.values())


async def test_levels_trades_and_statuses_are_told() -> None:
    """The book by price, each trade with both orders, and what an officer does to the book."""
    async with bench() as made, listening(made, "book,trades,status") as socket:
        assert (await next_of(socket, "book"))["is_snapshot"]
        assert await next_of(socket, "status") == {"status": "TRADING"}
        await made.send(place(3, Side.SELL, 2, 10_000))
        assert (await next_of(socket, "trades"))["maker_order_id"] == "1"
        assert (await next_of(socket, "book"))["bids"] == [["100", "0.00003"]]
        refused, _ = await made.http_json("PUT", f"/symbols/{SYMBOL}/status", body={"status": "HALTED"})
        assert refused == 403
        status, body = await made.http_json(
            "PUT", f"/symbols/{SYMBOL}/status", who="officer", body={"status": "AUCTION"}
        )
        assert (status, body["changed"]) == (200, True)
        assert (await next_of(socket, "status"))["status"] == "AUCTION"
        unknown, _ = await made.http_json("PUT", "/symbols/NOPE/status", who="officer", body={"status": "HALTED"})
        assert unknown == 404


async def test_books_by_price_line_up_with_the_snapshot_over_http() -> None:
    """Levels set by each change, in the order of their numbers, are the book that REST shows under the same number."""
    async with bench() as made, listening(made, "book") as socket:
        first = await next_of(socket, "book")
        sides = {name: dict(first[name]) for name in ("bids", "asks")}
        await made.send(
            place(3, Side.BUY, 4, 9_990),
            place(4, Side.SELL, 5, 10_000),
            place(5, Side.BUY, 3, 10_020),
            amend(3, 2, 9_990),
        )
        for number in range(1, 5):
            change = await next_of(socket, "book")
            assert (change["sequence"], change["is_snapshot"]) == (first["sequence"] + number, False)
            for name, levels in sides.items():
                levels.update(change[name])
        _, book = await made.http_json("GET", f"/books/{SYMBOL}")
        assert book["sequence"] == first["sequence"] + 4
        for name, levels in sides.items():
            shown = {price: quantity for price, quantity in levels.items() if quantity != "0"}
            assert shown == {row["price"]: row["quantity"] for row in book[name]}


async def test_statistics_are_pushed_as_of_a_trade() -> None:
    """They begin with what REST shows, follow within a second of a trade, and say which trade they count up to."""
    async with bench() as made:
        await made.send(place(3, Side.SELL, 2, 10_000))
        async with listening(made, "statistics,trades") as socket:
            first = await next_of(socket, "statistics")
            assert (first["sequence"], first["trades"], first["volume"], first["last"]) == (1, 1, "0.00002", "100")
            _, over_http = await made.http_json("GET", f"/statistics/{SYMBOL}")
            assert over_http == first | {"symbol": SYMBOL}
            await made.send(place(4, Side.BUY, 3, 10_010))
            trades = [await next_of(socket, "trades") for _ in range(2)]
            assert [trade["trade_id"] for trade in trades] == [2, 3]
            while (day := await next_statistics(made, socket))["sequence"] < 3:
                assert day == first  # said again, since it was not known when this client began
            assert (day["sequence"], day["trades"], day["volume"]) == (3, 3, "0.00005")
            assert (day["high"], day["close"], day["open"]) == ("100.1", "100.1", "100")
            _, over_http = await made.http_json("GET", f"/statistics/{SYMBOL}")
            assert over_http == day | {"symbol": SYMBOL}


async def test_statistics_that_only_grow_old_are_told_too() -> None:
    """A day later the trades are no longer counted: the same sequence, without them."""
    async with bench() as made:
        await made.send(place(3, Side.SELL, 2, 10_000))
        async with listening(made, "statistics") as socket:
            assert (await next_of(socket, "statistics"))["trades"] == 1
            await made.send(Tick(time_ns=NOON + 25 * 3600 * 10**9))
            while (day := await next_statistics(made, socket))["trades"]:
                pass
            assert (day["sequence"], day["volume"], day["last"]) == (1, "0", "100")


async def next_statistics(made: Bench, socket: ClientConnection) -> Any:
    """The next statistics, while seconds pass."""
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:

            async def pass_time() -> None:
                while True:
                    made.clock.advance(1)
                    await anyio.sleep(0.01)

            tasks.start_soon(pass_time)
            found = await next_of(socket, "statistics")
            tasks.cancel_scope.cancel()
    return found


async def test_the_stream_refuses_what_it_cannot_give() -> None:
    """No login, an unknown channel or symbol, too many connections; and it takes no messages."""
    async with bench(stream_connections_max=1) as made:
        for query, headers in (
            ("", {}),
            ("?channels=nothing", {"authorization": "viewer"}),
            ("?symbols=NOPE", {"authorization": "viewer"}),
        ):
            with pytest.raises(InvalidStatus):
                async with connect(made.stream + query, additional_headers=headers):
                    pass
        async with listening(made, "book") as socket:
            assert (await next_of(socket, "book"))["is_snapshot"]
            with pytest.raises(InvalidStatus):
                async with listening(made, "book"):
                    pass
            await socket.send("hello")
            with anyio.fail_after(5), pytest.raises(ConnectionClosed):
                await next_of(socket, "nothing more")


async def test_a_client_that_comes_later_is_given_the_book_too() -> None:
    """While one listens already, another begins with the same numbers; when all have gone, the next begins anew."""
    async with bench() as made:
        async with listening(made, "orders") as first:
            begun = await next_of(first, "orders")
            await made.send(place(3, Side.BUY, 4, 9_990))
            assert (await next_of(first, "orders"))["sequence"] == begun["sequence"] + 1
            async with listening(made, "orders") as second:
                assert (await next_of(second, "orders"))["sequence"] == begun["sequence"] + 1
        await made.send(place(4, Side.BUY, 4, 9_980))
        async with listening(made, "orders") as third:
            again = await next_of(third, "orders")
            assert (again["sequence"], len(again["bids"])) == (begun["sequence"] + 2, 3)
