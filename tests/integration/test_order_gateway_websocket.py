"""The gateway's WebSocket on a real server: log-in, pipelined requests, channels, slow readers, disconnects."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from tests.unit.order_gateway.fake_desk import Gateway, buy, mark, running_gateway, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.orders import OrderState, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.storage.cache.memory import MemoryCache
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.server import Listener, ServerLimits, serve

pytestmark = pytest.mark.anyio


class Client:
    """A WebSocket client that keeps answers and events apart."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._ids = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One request and its answer; events that come first are kept."""
        self._ids += 1
        await self.socket.send(json.dumps({"id": self._ids, "method": method, "params": params}))
        return await self.answer(self._ids)

    async def answer(self, request_id: Any) -> dict[str, Any]:
        """The answer with this id."""
        with anyio.fail_after(5):
            while True:
                message: dict[str, Any] = json.loads(await self.socket.recv())
                if "channel" in message:
                    self.events.append(message)
                elif message["id"] == request_id:
                    return message

    async def event(self, channel: str, event: str) -> Any:
        """The data of the next event of a kind."""
        with anyio.fail_after(5):
            while True:
                for found in self.events:
                    if (found["channel"], found["event"]) == (channel, event):
                        self.events.remove(found)
                        return found["data"]
                self.events.append(json.loads(await self.socket.recv()))

    async def closed(self) -> tuple[int, str]:
        """How the server closed the connection."""
        with anyio.fail_after(5):
            while True:
                try:
                    await self.socket.recv()
                except ConnectionClosed as error:
                    received = error.rcvd
                    return (received.code, received.reason) if received else (1006, "")


@contextlib.asynccontextmanager
async def served(directory: Path, **settings: Any) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway on a real port, and the URL of its WebSocket."""
    async with running_gateway(directory, **settings) as gateway, anyio.create_task_group() as group:
        ports: dict[str, int] = {}
        ready = anyio.Event()

        def started(found: dict[str, int]) -> None:
            ports.update(found)
            ready.set()

        limits = ServerLimits(shutdown_seconds_max=1)

        async def run() -> None:
            await serve([Listener(gateway.app, "127.0.0.1", 0, "gateway", limits)], started=started)

        group.start_soon(run)
        with anyio.fail_after(5):
            await ready.wait()
        yield gateway, f"ws://127.0.0.1:{ports['gateway']}/ws"
        group.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def connected(gateway: Gateway, url: str, key_id: str = "trader", **login: Any) -> AsyncIterator[Client]:
    """A client that has logged in with a signature."""
    async with connect(url) as socket:
        client = Client(socket)
        headers = gateway.headers(key_id, "GET", "/ws")
        signed = {name.removeprefix("x-polaris-"): value for name, value in headers.items()}
        answer = await client.call("login", **signed, **login)
        assert "result" in answer, answer
        yield client


async def test_three_ways_to_log_in(tmp_path: Path) -> None:
    """A signature or a token in the first message, or either in the handshake's headers, all name the principal."""
    async with served(tmp_path) as (gateway, url):
        async with connected(gateway, url) as client:
            assert (await client.call("ping"))["result"] == {"pong": True}
        token = await gateway.log_in("alice")
        async with connect(url) as socket:
            answer = await Client(socket).call("login", token=token["authorization"].removeprefix("Bearer "))
            assert answer["result"]["principal"] == "user:alice"
        for headers in (token, gateway.headers("trader", "GET", "/ws")):
            async with connect(url, additional_headers=headers) as socket:
                assert (await Client(socket).call("ping"))["result"] == {"pong": True}


async def test_nothing_works_before_the_login(tmp_path: Path) -> None:
    """Other methods are refused, wrong log-ins too, and who never logs in is closed."""
    async with served(tmp_path, login_seconds_max=0.3) as (gateway, url):
        async with connect(url) as socket:
            client = Client(socket)
            assert (await client.call("submit", **buy()))["error"]["reason"] == "NOT_AUTHENTICATED"
            assert (await client.call("login", token="nonsense"))["error"]["reason"] == "NOT_AUTHENTICATED"
            assert (await client.call("login"))["error"]["reason"] == "MISSING_FIELD"
            assert await client.closed() == (1008, "NOT_AUTHENTICATED")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, additional_headers={"authorization": "Bearer x"}):
                pass
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body or b"")["reason"] == "NOT_AUTHENTICATED"
        assert gateway.desk.commands == []


async def test_pages_of_other_origins_cannot_connect(tmp_path: Path) -> None:
    """A handshake with a foreign Origin or Host is refused; our own origin is fine."""
    async with served(tmp_path) as (_, url):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, origin="https://evil.example"):  # type: ignore[arg-type]
                pass
        assert refused.value.response.status_code == 421
        own = url.replace("ws://", "http://").removesuffix("/ws")
        async with connect(url, origin=own):  # type: ignore[arg-type]
            pass


async def test_orders_over_the_socket(tmp_path: Path) -> None:
    """Submit, replace, cancel and cancel-all answer with the same bodies as REST, refusals included."""
    async with served(tmp_path) as (gateway, url), connected(gateway, url) as client:
        placed = (await client.call("submit", **buy(client_order_id="a"), wait_ms=1000))["result"]
        assert (placed["order"]["state"], placed["order"]["order_id"]) == ("WORKING", 1024)
        moved = (await client.call("replace", order_id=1024, price="59000.00"))["result"]
        assert moved["order"]["price"] == "59000"
        gone = (await client.call("cancel", client_order_id="a", wait_ms=1000))["result"]
        assert gone["order"]["state"] == "CANCELLED"
        assert (await client.call("cancel", order_id=77))["error"]["reason"] == "ORDER_NOT_FOUND"
        assert (await client.call("cancel"))["error"]["reason"] == "CONTRADICTORY_FIELDS"
        await client.call("submit", **buy())
        assert (await client.call("cancel_all", side=Side.BUY))["result"] == {"order_ids": [2048]}
        gateway.desk.refuse = Reason.INSUFFICIENT_FUNDS
        error = (await client.call("submit", **buy()))["error"]
        assert (error["code"], error["detail"]) == (2090, "because")
        assert (await client.call("submit", **buy(account="other")))["error"]["reason"] == "ACCOUNT_NOT_ALLOWED"


@pytest.mark.parametrize(
    "params, reason",
    [
        ('{"symbol":"BTCUSDT","side":"BUY","side":"BUY","type":"LIMIT","quantity":"1","price":"1"}', "DUPLICATE_FIELD"),
        ('{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","quantity":"1","price":"1","x":1}', "UNKNOWN_FIELD"),
        ('{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","quantity":1,"price":"1"}', "INVALID_VALUE"),
        ('{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","quantity":"1","price":"1.001"}', "PRICE_NOT_ON_TICK"),
        ('{"symbol":"DOGE","side":"BUY","type":"LIMIT","quantity":"1","price":"1"}', "SYMBOL_NOT_FOUND"),
        ("[]", "INVALID_VALUE"),
        ("[" * 20 + "]" * 20, "MALFORMED_JSON"),
    ],
)  # fmt: skip
async def test_malformed_orders_are_refused_on_the_socket(tmp_path: Path, params: str, reason: str) -> None:
    """Orders leave without a task of their own, and are read as strictly as everywhere; the connection stays."""
    async with served(tmp_path) as (gateway, url), connected(gateway, url) as client:
        await client.socket.send(f'{{"id":99,"method":"submit","params":{params}}}')
        answer = json.loads(await client.socket.recv())
        assert answer["error"]["reason"] == reason
        assert gateway.desk.commands == []
        assert (await client.call("ping"))["result"] == {"pong": True}


async def test_roles_hold_on_the_socket(tmp_path: Path) -> None:
    """A viewer listens and cannot trade; a risk officer cancels and cannot submit."""
    async with served(tmp_path) as (gateway, url):
        async with connected(gateway, url, "viewer") as client:
            assert (await client.call("submit", **buy()))["error"]["reason"] == "ROLE_NOT_ALLOWED"
            assert (await client.call("cancel_all"))["error"]["reason"] == "ROLE_NOT_ALLOWED"
        async with connected(gateway, url, "risk_officer") as client:
            assert (await client.call("submit", **buy()))["error"]["reason"] == "ROLE_NOT_ALLOWED"
            assert (await client.call("cancel_all"))["result"] == {"order_ids": []}


@pytest.mark.parametrize(
    "frame, reason",
    [
        ("", "MALFORMED_JSON"),
        ("[]", "INVALID_VALUE"),
        ("{", "MALFORMED_JSON"),
        ('{"id":1}', "MISSING_FIELD"),
        ('{"id":1,"method":"rob"}', "INVALID_VALUE"),
        ('{"id":1.5,"method":"ping"}', "INVALID_VALUE"),
        ('{"id":1,"method":"ping","params":{"x":1}}', "UNKNOWN_FIELD"),
        ('{"id":1,"method":"ping","params":[]}', "INVALID_VALUE"),
        ('{"id":1,"method":"submit","params":{"symbol":"A","symbol":"B"}}', "DUPLICATE_FIELD"),
        ('{"id":1,"id":2,"method":"ping"}', "DUPLICATE_FIELD"),
        ('{"id":1,"method":"ping","params":' + "[" * 5_000 + "}", "MALFORMED_JSON"),
        (b"\xff\xfe", "MALFORMED_JSON"),
    ],
)
async def test_malformed_frames_are_answered(tmp_path: Path, frame: str | bytes, reason: str) -> None:
    """Whatever a frame holds, it is refused by name and the connection goes on."""
    async with served(tmp_path) as (gateway, url), connected(gateway, url) as client:
        await client.socket.send(frame)
        message = json.loads(await client.socket.recv())
        assert message["error"]["reason"] == reason
        assert (await client.call("ping"))["result"] == {"pong": True}


async def test_an_oversized_frame_ends_the_connection(tmp_path: Path) -> None:
    """A message past the limit closes with 1009, and the server goes on."""
    async with served(tmp_path) as (gateway, url):
        async with connected(gateway, url) as client:
            await client.socket.send("x" * 70_000)
            assert (await client.closed())[0] == 1009
        async with connected(gateway, url) as client:
            assert (await client.call("ping"))["result"] == {"pong": True}


async def test_many_requests_are_in_flight_at_once(tmp_path: Path) -> None:
    """A slow request holds up nothing: what is sent after it is answered before it."""
    async with served(tmp_path) as (gateway, url), connected(gateway, url) as client:
        gateway.desk.hang = True
        await client.socket.send(json.dumps({"id": "slow", "method": "submit", "params": buy(client_order_id="s")}))
        await until(lambda: bool(gateway.desk.commands))
        gateway.desk.hang = False
        for number in range(50):
            await client.socket.send(json.dumps({"id": number + 100, "method": "submit", "params": buy()}))
        order = [json.loads(await client.socket.recv())["id"] for _ in range(51)]
        assert order[-1] == "slow"
        assert sorted(order[:-1]) == list(range(100, 150))


async def test_messages_in_fragments_keep_their_place(tmp_path: Path) -> None:
    """Whole messages, messages in fragments and messages that are not ASCII are taken in the order they were sent."""
    async with served(tmp_path) as (gateway, url), connected(gateway, url) as client:

        def request(number: int, **more: Any) -> str:
            order = buy(client_order_id=f"c-{number}", **more)
            return json.dumps({"id": number, "method": "submit", "params": order}, ensure_ascii=False)

        await client.socket.send(request(1))
        await client.socket.send([request(2)[:30], request(2)[30:50], request(2)[50:]])
        await client.socket.send(request(3))
        await client.socket.send(request(4, decision_id="ö"))
        await client.socket.send(request(5))
        answers = [json.loads(await client.socket.recv()) for _ in range(5)]
        assert [answer["id"] for answer in answers if "error" in answer] == [4], "no id has such a letter"
        sent = [command.order.client_order_id for command in gateway.desk.commands if hasattr(command, "order")]
        assert sent == ["c-1", "c-2", "c-3", "c-5"]


async def test_who_asks_for_too_much_at_once_is_held_back(tmp_path: Path) -> None:
    """More requests than may be in flight wait unread, and every one is answered in the end."""
    served_few = served(tmp_path, connection_requests_in_flight_max=4)
    async with served_few as (gateway, url), connected(gateway, url) as client:
        for number in range(100):
            await client.socket.send(json.dumps({"id": number + 100, "method": "submit", "params": buy()}))
        answered = [json.loads(await client.socket.recv())["id"] for _ in range(100)]
        assert sorted(answered) == list(range(100, 200))


async def test_channels_carry_ones_own_facts(tmp_path: Path) -> None:
    """Orders, fills, balances, positions and decisions of the principal's accounts arrive, and no others."""
    async with served(tmp_path) as (gateway, url), connected(gateway, url, "viewer") as client:
        channels = ["orders", "executions", "balances", "positions", "decisions", "status", "market:BTCUSDT"]
        answer = await client.call("subscribe", channels=channels)
        assert answer["result"]["channels"] == sorted(channels)
        await gateway.call("stranger", "POST", "/orders", buy())
        await gateway.call("trader", "POST", "/orders", buy())
        gateway.desk.fill(2048, 1_000)
        assert (await client.event("orders", "order"))["order_id"] == 2048
        execution = await client.event("executions", "execution")
        assert (execution["order_id"], execution["simulated"], execution["price"]) == (2048, True, "60000")
        for account in ("other", "main"):
            gateway.desk.publish(
                m.BalanceChanged(time_ns=1, account=account, asset="BTC", total_units=10**8, reserved_units=0)
            )
            gateway.desk.publish(
                m.PositionChanged(
                    time_ns=1,
                    account=account,
                    symbol="BTCUSDT",
                    quantity_lots=1,
                    cost_units=1,
                    realised_pnl_units=0,
                    fees_units=0,
                )
            )
        balance = await client.event("balances", "balance")
        assert (balance["account"], balance["total"]) == ("main", "1")
        assert (await client.event("positions", "position"))["account"] == "main"
        gateway.desk.publish(mark())
        assert (await client.event("market:BTCUSDT", "mark"))["mark"] == "61000"
        gateway.desk.publish(
            m.BreakerChanged(time_ns=1, scope="*", tripped=True, reason=Reason.CIRCUIT_BREAKER, note="", actor="x")
        )
        assert (await client.event("status", "breaker"))["tripped"] is True
        await client.call("unsubscribe", channels=["orders"])
        await gateway.call("trader", "POST", "/orders", buy())
        await client.call("ping")
        assert not [
            event for event in client.events if event["channel"] == "orders" and event["data"]["order_id"] > 2048
        ]


@pytest.mark.parametrize("channel", ["", "secrets", "market:DOGE", "market:", "orders "])
async def test_unknown_channels_are_refused(tmp_path: Path, channel: str) -> None:
    """A channel that does not exist is refused, and none of its request's others is joined."""
    async with served(tmp_path) as (gateway, url), connected(gateway, url) as client:
        answer = await client.call("subscribe", channels=["orders", channel])
        assert answer["error"]["reason"] in {"INVALID_VALUE", "SYMBOL_NOT_FOUND"}
        assert (await client.call("unsubscribe", channels=["status"]))["result"]["channels"] == []


async def test_who_reads_too_slowly_is_closed(tmp_path: Path) -> None:
    """A full backlog closes that connection with SLOW_CONSUMER; others and the order path notice nothing."""
    async with served(tmp_path, connection_backlog_messages_max=16) as (gateway, url):
        async with connected(gateway, url, "viewer") as slow, connected(gateway, url) as quick:
            await slow.call("subscribe", channels=["market:BTCUSDT"])
            for _ in range(200):
                gateway.service.hub.take(mark())
            assert await slow.closed() == (1008, "SLOW_CONSUMER")
            assert (await quick.call("submit", **buy()))["result"]["order"]["order_id"] == 1024
        text = (await gateway.client.get("/metrics")).text
        assert 'polaris_gateway_connections_dropped_total{reason="SLOW_CONSUMER"} 1.0' in text


async def test_falling_behind_the_bus_is_told(tmp_path: Path) -> None:
    """When the gateway misses facts its clients are told to read again, and it follows the bus anew."""
    async with served(tmp_path) as (gateway, url), connected(gateway, url, "viewer") as client:
        await client.call("subscribe", channels=["orders"])
        gateway.desk.drop_subscribers()
        assert await client.event("status", "gap") == {"read_again": True}
        await until(lambda: gateway.service.hub.listening == 2)
        await gateway.call("trader", "POST", "/orders", buy())
        assert (await client.event("orders", "order"))["order_id"] == 1024


async def test_orders_end_with_their_connection_on_request(tmp_path: Path) -> None:
    """With cancel_on_disconnect the traded accounts' open orders are cancelled, without it they stay."""
    async with served(tmp_path) as (gateway, url):
        async with connected(gateway, url) as client:
            await client.call("submit", **buy())
        async with connected(gateway, url, cancel_on_disconnect=True):
            pass
        await until(lambda: not gateway.service.sessions)
        assert gateway.desk.orders_by_id[1024].state is OrderState.WORKING
        async with connected(gateway, url, cancel_on_disconnect=True) as client:
            await client.call("submit", **buy())
        await until(lambda: gateway.desk.orders_by_id[2048].state is OrderState.CANCELLED)
        assert gateway.desk.orders_by_id[2048].reason is Reason.CANCELLED_ON_DISCONNECT


async def test_a_revoked_key_ends_its_connections(tmp_path: Path) -> None:
    """A connection closes at the next request after its key was revoked, and by itself within a check."""
    async with served(tmp_path) as (gateway, url):
        gateway.add_key("temporary", Role.TRADER, "main")
        async with connected(gateway, url, "temporary") as client, connected(gateway, url, "temporary") as idle:
            stored = gateway.service.credentials.key("temporary")
            assert stored is not None
            gateway.service.credentials.put_key(msgspec.structs.replace(stored, revoked=True))
            await client.socket.send('{"id":1,"method":"submit","params":{}}')
            assert await client.closed() == (1008, "KEY_REVOKED")
            await until(lambda: gateway.clock.sleepers >= 2)
            gateway.clock.advance(1.1)
            assert await idle.closed() == (1008, "KEY_REVOKED")
        assert gateway.desk.commands == []


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """One principal has so many connections, and the gateway so many in all."""
    async with (
        served(tmp_path, connections_max=3, connections_per_principal_max=2) as (gateway, url),
        connected(gateway, url),
        connected(gateway, url),
        connect(url) as socket,
    ):
        headers = gateway.headers("trader", "GET", "/ws")
        signed = {name.removeprefix("x-polaris-"): value for name, value in headers.items()}
        assert (await Client(socket).call("login", **signed))["error"]["reason"] == "TOO_MANY_CONNECTIONS"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url):
                pass
        assert refused.value.response.status_code == 429


async def test_the_end_of_the_server_is_said(tmp_path: Path) -> None:
    """When the server stops, open connections are closed properly and at once."""
    async with contextlib.AsyncExitStack() as stack:
        async with served(tmp_path) as (gateway, url):
            client = await stack.enter_async_context(connected(gateway, url))
        code, _ = await client.closed()
        assert code in {1001, 1012}


async def test_without_the_cache_a_connection_may_only_stop(tmp_path: Path) -> None:
    """Once nobody can know what was revoked, an open connection may cancel and neither order nor subscribe."""
    cache = MemoryCache()
    async with served(tmp_path, cache=cache) as (gateway, url), connected(gateway, url) as client:
        cache.available = False
        gateway.clock.advance(6)
        await until(lambda: not gateway.service.credentials.certain())
        for method, params in (("submit", buy()), ("subscribe", {"channels": ["orders"]})):
            assert (await client.call(method, **params))["error"]["reason"] == "CACHE_UNAVAILABLE"
        assert (await client.call("cancel_all", account="main"))["result"] == {"order_ids": []}
        cache.available = True
        gateway.clock.advance(1)
        await until(gateway.service.credentials.certain)
        assert "result" in await client.call("submit", **buy())
