"""The two ways to stream orders to a desk, as a load loop sees them: WebSocket and order port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from polaris_synapse.order_gateway.order_frames import frame
from polaris_synapse.testing.load_clients import WebSocketLoad
from polaris_synapse.testing.order_port_client import OrderPortClient

#: Called with each answer's payload.
OnAnswer = Callable[[bytes], None]


class OrderSeen(Struct):
    """As much of an order as a load client looks at."""

    order_id: int = 0


class ErrorSeen(Struct):
    """As much of a refusal."""

    reason: str = ""


class _Result(Struct):
    order: OrderSeen | None = None


class _WebSocketAnswer(Struct):
    id: int = -1
    result: _Result | None = None
    error: ErrorSeen | None = None


class _PortAnswer(Struct):
    id: int = -1
    result: OrderSeen | None = None
    error: ErrorSeen | None = None


_WEBSOCKET_ANSWER: Final = msgspec.json.Decoder(_WebSocketAnswer)
_PORT_ANSWER: Final = msgspec.msgpack.Decoder(_PortAnswer)


class OrderConnection(Protocol):
    """A logged-in connection."""

    ended: asyncio.Event

    def send(self, payloads: list[bytes], /) -> None:
        """Send requests in one write."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class OrderWire(Protocol):
    """How orders and answers are written."""

    async def connect(self, token: str, on_answer: OnAnswer) -> OrderConnection:
        """A connection, logged in."""
        ...

    def request(self, number: int, order: str) -> bytes:
        """An order, given as JSON, on its way to be sent; its answer carries ``number``."""
        ...

    def answer(self, payload: bytes) -> tuple[int, OrderSeen | None, ErrorSeen | None]:
        """The number of an answer, and the order or the refusal in it."""
        ...


class WebSocketWire:
    """JSON over the gateway's WebSocket."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def connect(self, token: str, on_answer: OnAnswer) -> OrderConnection:
        """See OrderWire."""
        connection = WebSocketLoad(self._host, self._port, "/ws", {"Authorization": f"Bearer {token}"}, on_answer)
        await connection.connect()
        return connection

    def request(self, number: int, order: str) -> bytes:
        """See OrderWire."""
        return f'{{"id":{number},"method":"submit","params":{order}}}'.encode()

    def answer(self, payload: bytes) -> tuple[int, OrderSeen | None, ErrorSeen | None]:
        """See OrderWire."""
        answer = _WEBSOCKET_ANSWER.decode(payload)
        return answer.id, answer.result.order if answer.result is not None else None, answer.error


class OrderPortWire:
    """MessagePack over the order port, with answers in few words."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def connect(self, token: str, on_answer: OnAnswer) -> OrderConnection:
        """See OrderWire."""
        connection = OrderPortClient(self._host, self._port, on_answer)
        await connection.connect()
        await connection.log_in(token=token, answers="BRIEF")
        return connection

    def request(self, number: int, order: str) -> bytes:
        """See OrderWire."""
        return frame({"id": number, "method": "submit", "params": msgspec.json.decode(order)})

    def answer(self, payload: bytes) -> tuple[int, OrderSeen | None, ErrorSeen | None]:
        """See OrderWire."""
        answer = _PORT_ANSWER.decode(payload)
        return answer.id, answer.result, answer.error
