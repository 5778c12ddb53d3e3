"""The order port on a real socket: log-in, frames whole and torn, the same answers as elsewhere, bounds, the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from tests.integration.test_order_gateway_lists import PROFIT, STOP
from tests.unit.order_gateway.fake_desk import FakeDesk, Gateway, buy, running_gateway, until

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.orders import OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.order_frames import frame
from polaris_synapse.order_gateway.order_port import OrderPort
from polaris_synapse.order_gateway.order_port_settings import OrderPortSettings
from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.testing.order_port_client import OrderPortClient, OrderPortError
from polaris_synapse.web.signing import signed_headers

pytestmark = pytest.mark.anyio


class Port:
    """A running order port and ways to reach it."""

    def __init__(self, gateway: Gateway, port: OrderPort) -> None:
        self.gateway = gateway
        self.port = port

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[OrderPortClient]:
        """A connection that has not logged in."""
        client = OrderPortClient("127.0.0.1", self.port.port)
        await client.connect()
        try:
            yield client
        finally:
            client.close()

    @contextlib.asynccontextmanager
    async def trader(self, key_id: str = "trader", **login: Any) -> AsyncIterator[OrderPortClient]:
        """A connection that has logged in with a signature."""
        async with self.client() as client:
            await client.call("login", self.signature(key_id) | login)
            yield client

    def signature(self, key_id: str) -> dict[str, str]:
        """The parts of a log-in's signature."""
        stamp = self.gateway.clock.now_ns() // 1_000_000
        headers = signed_headers(self.gateway.keys[key_id], "GET", "/order-port", b"", timestamp_ms=stamp)
        return {name.lower().removeprefix("x-polaris-"): value for name, value in headers.items()}


@contextlib.asynccontextmanager
async def running_port(
    directory: Path, *, desk: FakeDesk | None = None, gateway: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Port]:
    """A gateway over a fake desk with an order port on a free port."""
    async with running_gateway(directory, desk=desk, **(gateway or {})) as running:
        port = OrderPort(running.service, OrderPortSettings(**settings))
        async with anyio.create_task_group() as group:
            await group.start(port.run)
            try:
                yield Port(running, port)
            finally:
                group.cancel_scope.cancel()


async def refused(call: Any) -> str:
    """The reason with which a call is refused."""
    with pytest.raises(OrderPortError) as caught:
        await call
    return caught.value.reason


async def test_an_order_gets_the_answer_that_rest_gives(tmp_path: Path) -> None:
    """The same order answers with the same body here and over REST, where it is the repetition of it."""
    async with running_port(tmp_path) as port, port.trader() as client:
        answer = await client.call("submit", buy(client_order_id="one"))
        over_rest = (await port.gateway.call("trader", "POST", "/orders", buy(client_order_id="one"))).json()
        assert over_rest.pop("duplicate") is True
        assert answer.pop("duplicate") is False
        for body in (answer, over_rest):
            # It may have been acknowledged between the two.
            for changing in ("state", "version", "updated_time_ns"):
                body["order"].pop(changing)
        assert answer == over_rest


async def test_orders_are_changed_and_cancelled(tmp_path: Path) -> None:
    """Replace, cancel and cancel all do what they do over the WebSocket, by either id."""
    async with running_port(tmp_path) as port, port.trader() as client:
        order_id = (await client.call("submit", buy(client_order_id="one")))["order"]["order_id"]
        changed = await client.call("replace", {"order_id": order_id, "price": "60001.00"})
        assert changed["order"]["price"] == "60001"
        cancelled = await client.call("cancel", {"client_order_id": "one"})
        assert cancelled["order"]["state"] in {OrderState.PENDING_CANCEL, OrderState.CANCELLED}
        second = (await client.call("submit", buy(client_order_id="two")))["order"]["order_id"]
        assert (await client.call("cancel_all"))["order_ids"] == [second]
        assert await refused(client.call("cancel", {"order_id": order_id})) == "ORDER_NOT_OPEN"


async def test_lists_are_placed_and_cancelled(tmp_path: Path) -> None:
    """submit_list and cancel_list answer with the bodies and the codes of REST, and count as traded."""
    body = {"kind": "OCO", "symbol": "BTCUSDT", "orders": [PROFIT, STOP], "client_list_id": "L1"}
    async with running_port(tmp_path) as port:
        async with port.trader(cancel_on_disconnect=True) as client:
            placed = await client.call("submit_list", body | {"wait_ms": 2000})
            over_rest = (await port.gateway.call("trader", "POST", "/order-lists", body)).json()
            assert (placed.pop("duplicate"), over_rest.pop("duplicate")) == (False, True)
            assert placed == over_rest
            cancelled = await client.call("cancel_list", {"client_list_id": "L1", "wait_ms": 2000})
            assert {order["state"] for order in cancelled["orders"]} == {OrderState.CANCELLED}
            assert await refused(client.call("cancel_list", {"list_id": 77})) == "ORDER_LIST_NOT_FOUND"
            assert await refused(client.call("cancel_list", {})) == "CONTRADICTORY_FIELDS"
            assert await refused(client.call("submit_list", body | {"orders": [PROFIT]})) == "INVALID_VALUE"
            off_tick = PROFIT | {"price": "63000.001"}
            assert await refused(client.call("submit_list", body | {"orders": [off_tick, STOP]})) == "PRICE_NOT_ON_TICK"
            port.gateway.desk.refuse = Reason.ORDER_LIST_INVALID
            assert await refused(client.call("submit_list", body)) == "ORDER_LIST_INVALID"
            port.gateway.desk.refuse = Reason.NONE
            await client.call("submit_list", body | {"client_list_id": "L2"})
        await until(
            lambda: all(order.state is OrderState.CANCELLED for order in port.gateway.desk.orders_by_id.values())
        )


async def test_brief_answers_say_who_and_how_far(tmp_path: Path) -> None:
    """With answers BRIEF every answer about an order has its ids, state and filled quantity and nothing else."""
    async with running_port(tmp_path) as port, port.trader(answers="BRIEF") as client:
        answer = await client.call("submit", buy(client_order_id="one"))
        assert answer == {
            "order_id": 1024,
            "client_order_id": "one",
            "state": answer["state"],
            "filled_quantity": "0",
        }
        assert (await client.call("submit", buy(client_order_id="one")))["duplicate"] is True
        waited = await client.call("submit", buy(client_order_id="two", wait_ms=1_000))
        assert (waited["order_id"], waited["state"]) == (2048, OrderState.WORKING)
        assert set(await client.call("cancel", {"order_id": 1024})) == set(answer)


async def test_a_token_or_a_signature_logs_in_once(tmp_path: Path) -> None:
    """Either names the principal; nothing else is taken before, and a second log-in is refused."""
    async with running_port(tmp_path) as port:
        token = (await port.gateway.log_in("alice"))["authorization"].removeprefix("Bearer ")
        async with port.client() as client:
            assert await refused(client.call("ping")) == "NOT_AUTHENTICATED"
            assert await refused(client.call("submit", buy())) == "NOT_AUTHENTICATED"
            assert await refused(client.log_in(token="nonsense")) == "NOT_AUTHENTICATED"
            assert await refused(client.call("login", {})) == "CONTRADICTORY_FIELDS"
            assert (await client.log_in(token=token))["principal"] == "user:alice"
            assert await client.call("ping") == {"pong": True}
            assert await refused(client.log_in(token=token)) == "CONTRADICTORY_FIELDS"
        async with port.client() as client:
            assert (await client.call("login", port.signature("trader")))["principal"] == "key:trader"
            assert await refused(client.call("login", port.signature("trader"))) == "CONTRADICTORY_FIELDS"


async def test_a_signature_for_another_door_or_used_before_is_refused(tmp_path: Path) -> None:
    """A signature made for the WebSocket does not open the port, and one that did does not open it twice."""
    async with running_port(tmp_path) as port, port.client() as client:
        headers = port.gateway.headers("trader", "GET", "/ws")
        signed = {name.lower().removeprefix("x-polaris-"): value for name, value in headers.items()}
        assert await refused(client.call("login", signed)) == "SIGNATURE_INVALID"
        parts = port.signature("trader")
        await client.call("login", parts)
        async with port.client() as other:
            assert await refused(other.call("login", parts)) == "NONCE_REUSED"


async def test_roles_accounts_and_budgets_hold(tmp_path: Path) -> None:
    """A viewer cannot trade, a trader only on their account, and the budget of orders is the gateway's own."""
    budget = {"orders": Budget("orders", 0.001, 2)}
    async with running_port(tmp_path, gateway=budget) as port:
        async with port.trader("viewer") as client:
            assert await refused(client.call("submit", buy())) == "ROLE_NOT_ALLOWED"
        async with port.trader() as client:
            assert await refused(client.call("submit", buy(account="other"))) == "ACCOUNT_NOT_ALLOWED"
            await client.call("submit", buy())
            assert await refused(client.call("submit", buy())) == "RATE_LIMITED"


async def test_refusals_carry_the_desk_s_codes(tmp_path: Path) -> None:
    """What risk or the bus refuses has the code and the sentence that it has everywhere."""
    desk = FakeDesk()
    async with running_port(tmp_path, desk=desk) as port, port.trader() as client:
        desk.refuse = Reason.INSUFFICIENT_FUNDS
        assert await refused(client.call("submit", buy())) == "INSUFFICIENT_FUNDS"
        desk.refuse, desk.fail = Reason.NONE, Reason.JOURNAL_UNAVAILABLE
        assert await refused(client.call("submit", buy())) == "JOURNAL_UNAVAILABLE"
        desk.fail = Reason.TIMED_OUT
        pending = await client.call("submit", buy(client_order_id="maybe"))
        assert (pending["reason"], pending["client_order_id"]) == ("TIMED_OUT", "maybe")


async def test_frames_may_come_in_any_pieces(tmp_path: Path) -> None:
    """Requests sent a byte at a time, and several in one piece, are all answered, each once."""
    answers: list[bytes] = []
    async with running_port(tmp_path) as port:
        client = OrderPortClient("127.0.0.1", port.port.port, answers.append)
        await client.connect()
        await client.call("login", port.signature("trader"))
        frames = [
            frame({"id": number, "method": "submit", "params": buy(client_order_id=f"c{number}")})
            for number in range(6)
        ]
        for byte in frames[0] + frames[1]:
            client.send([bytes((byte,))])
            await asyncio.sleep(0)
        client.send(frames[2:])
        await until(lambda: len(answers) == 6)
        decoded = [msgspec.msgpack.decode(answer) for answer in answers]
        assert sorted(answer["id"] for answer in decoded) == list(range(6))
        assert all("result" in answer for answer in decoded)
        client.close()


async def test_what_cannot_be_read_is_refused_and_the_connection_goes_on(tmp_path: Path) -> None:
    """Garbage has no id; a wrong request keeps its own, and says which field is wrong."""
    answers: list[bytes] = []
    async with running_port(tmp_path) as port:
        client = OrderPortClient("127.0.0.1", port.port.port, answers.append)
        await client.connect()
        await client.call("login", port.signature("trader"))
        client.send(
            [
                (5).to_bytes(4, "big") + b"\xc1\xff\x00ab",
                (0).to_bytes(4, "big"),
                frame([1, 2, 3]),
                frame({"id": 1, "method": "submit", "params": {**buy(), "colour": "red"}}),
                frame({"id": 2, "method": "dance"}),
                frame({"id": 3, "method": "submit", "params": {**buy(), "price": 60_000.0}}),
                frame({"id": 4, "method": "ping", "more": 1}),
                frame({"id": 5.5, "method": "ping"}),
                frame({"id": 6, "method": "ping"}),
            ]
        )
        await until(lambda: len(answers) == 9)
        found = [msgspec.msgpack.decode(answer) for answer in answers]
        by_id = {answer["id"]: answer for answer in found if answer["id"] is not None}
        assert by_id[1]["error"]["reason"] == "UNKNOWN_FIELD"
        assert "colour" in by_id[1]["error"]["detail"]
        assert by_id[2]["error"]["reason"] == "INVALID_VALUE"
        assert by_id[3]["error"]["reason"] == "INVALID_VALUE"
        assert by_id[4]["error"]["reason"] == "UNKNOWN_FIELD"
        assert by_id[6]["result"] == {"pong": True}
        nameless = [answer["error"]["reason"] for answer in found if answer["id"] is None]
        assert nameless == ["MALFORMED_REQUEST", "MALFORMED_REQUEST", "INVALID_VALUE", "INVALID_VALUE"]
        assert port.gateway.desk.commands == []
        client.close()


async def test_a_frame_that_is_too_long_ends_the_connection(tmp_path: Path) -> None:
    """Its length alone is enough: nothing of it is waited for, and the client is told why."""
    async with running_port(tmp_path, frame_bytes_max=1_000) as port, port.client() as client:
        client.send([(1_001).to_bytes(4, "big")])
        await asyncio.wait_for(client.ended.wait(), 5)
        assert client.goodbye is not None
        assert client.goodbye["reason"] == "BODY_TOO_LARGE"


async def test_half_a_frame_and_silence_are_not_waited_for_without_end(tmp_path: Path) -> None:
    """Who never finishes a frame, and who never logs in, is told so and let go."""
    async with running_port(tmp_path, frame_seconds_max=0.2) as port, port.trader() as client:
        client.send([b"\0\0"])
        await asyncio.wait_for(client.ended.wait(), 5)
        assert client.goodbye is not None
        assert client.goodbye["reason"] == "REQUEST_TOO_SLOW"
    async with running_port(tmp_path, login_seconds_max=0.2) as port, port.client() as client:
        await asyncio.wait_for(client.ended.wait(), 5)
        assert client.goodbye is not None
        assert client.goodbye["reason"] == "NOT_AUTHENTICATED"


async def test_who_does_not_read_is_held_back_and_then_cut_off(tmp_path: Path) -> None:
    """A client that sends and never reads stops being read, and after a while loses its connection; others do not."""
    async with running_port(tmp_path, stalled_write_seconds_max=0.2) as port, port.trader() as other:
        # A stream that may hold one byte asks the operating system for no more after the first answer.
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port.port, limit=1)
        request = frame({"id": 1, "method": "ping"}) * 100
        with anyio.fail_after(20), contextlib.suppress(ConnectionError):
            while True:
                writer.write(request)
                await writer.drain()
        assert await other.call("ping") == {"pong": True}
        assert len(port.port.connections) == 1
        dropped = {"reason": "SLOW_CONSUMER"}
        assert port.gateway.service.registry.get_sample_value("polaris_gateway_connections_dropped_total", dropped) == 1
        writer.transport.abort()
        assert not reader.at_eof()


async def test_requests_under_way_are_bounded(tmp_path: Path) -> None:
    """With as many under way as there may be no further frame is read; all are answered in the end."""
    answers: list[bytes] = []
    async with running_port(tmp_path, requests_in_flight_max=4) as port:
        client = OrderPortClient("127.0.0.1", port.port.port, answers.append)
        await client.connect()
        await client.call("login", port.signature("trader"))
        port.gateway.desk.hang = True
        client.send([frame({"id": n, "method": "submit", "params": buy(client_order_id=f"c{n}")}) for n in range(10)])
        await until(lambda: len(port.gateway.desk.commands) == 4)
        assert answers == []
        await until(lambda: len(answers) == 10)
        assert len(port.gateway.desk.commands) == 10
        client.close()


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """One more than may be open is told so, in all and of one principal."""
    bounds: dict[str, Any] = {"connections_max": 2, "connections_per_principal_max": 1}
    async with running_port(tmp_path, **bounds) as port, port.trader(), port.client() as second:
        assert await refused(second.call("login", port.signature("trader"))) == "TOO_MANY_CONNECTIONS"
        async with port.client() as third:
            await asyncio.wait_for(third.ended.wait(), 5)
            assert third.goodbye is not None
            assert third.goodbye["reason"] == "TOO_MANY_CONNECTIONS"
        await second.call("login", port.signature("stranger"))


async def test_a_lost_connection_cancels_where_it_promised_to(tmp_path: Path) -> None:
    """With cancel_on_disconnect the orders of the accounts traded are cancelled, with the reason; else they stay."""
    desk = FakeDesk()
    async with running_port(tmp_path, desk=desk) as port:
        async with port.trader() as client:
            await client.call("submit", buy())
        async with port.trader(cancel_on_disconnect=True) as client:
            await client.call("submit", buy())
            assert desk.orders_by_id[1024].open_lots
        await until(lambda: any(isinstance(command, m.CancelAll) for command in desk.commands))
        command = next(found for found in desk.commands if isinstance(found, m.CancelAll))
        assert (command.account, command.reason) == ("main", Reason.CANCELLED_ON_DISCONNECT)


async def test_after_a_reconnect_the_same_order_is_found_not_placed(tmp_path: Path) -> None:
    """A client that lost an answer asks again with the same client order id on a new connection."""
    async with running_port(tmp_path) as port:
        async with port.trader() as client:
            first = await client.call("submit", buy(client_order_id="one"))
        async with port.trader() as client:
            again = await client.call("submit", buy(client_order_id="one"))
        assert again["duplicate"] is True
        assert again["order"]["order_id"] == first["order"]["order_id"]


async def test_a_revoked_key_ends_its_connection(tmp_path: Path) -> None:
    """The connection of a key that was revoked ends with that reason, and takes no order before."""
    async with running_port(tmp_path) as port, port.trader() as client:
        credentials = port.gateway.service.credentials
        key = credentials.key("trader")
        assert key is not None
        credentials.put_key(msgspec.structs.replace(key, revoked=True))
        assert await refused(client.call("submit", buy())) == "KEY_REVOKED"
        await asyncio.wait_for(client.ended.wait(), 5)
        assert port.gateway.desk.commands == []


async def test_the_end_is_said(tmp_path: Path) -> None:
    """A desk that shuts down says so to whoever is connected."""
    async with running_port(tmp_path) as port:
        client = OrderPortClient("127.0.0.1", port.port.port)
        await client.connect()
        await client.call("login", port.signature("trader"))
    await asyncio.wait_for(client.ended.wait(), 5)
    assert client.goodbye is not None
    assert client.goodbye["reason"] == "SHUTTING_DOWN"


async def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    """A port that somebody else has is an OSError that names it."""
    async with running_port(tmp_path) as port:
        second = OrderPort(port.gateway.service, OrderPortSettings(port=port.port.port))
        with pytest.raises(OSError, match=rf"the order port cannot listen on 127.0.0.1:{port.port.port}"):
            await second.run()
