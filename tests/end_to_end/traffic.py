"""A continuous flow of orders over HTTP and WebSocket that remembers all that the desk has acknowledged."""

from __future__ import annotations

import random
import threading
import time
from decimal import Decimal
from types import TracebackType
from typing import Any, Final

import httpx2
import msgspec
from tests.end_to_end.support import Person, Stream, fresh_id
from websockets.exceptions import ConnectionClosed

#: What a client sees of a desk that dies under it.
LOST: Final = (httpx2.TransportError, ConnectionClosed, TimeoutError, OSError)
_PIPELINED_MAX: Final = 16


class Acknowledged:
    """What was sent, and the latest that the desk said of each order and fill. Filled by several threads."""

    def __init__(self) -> None:
        self.sent: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.fills: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()

    def asked(self, body: dict[str, Any]) -> None:
        """An order is about to be sent."""
        with self.lock:
            self.sent[body["client_order_id"]] = body

    def heard(self, order: dict[str, Any]) -> None:
        """The desk answered with, or told of, an order."""
        with self.lock:
            before = self.orders.get(order["client_order_id"])
            if before is None or before["version"] <= order["version"]:
                self.orders[order["client_order_id"]] = order

    def heard_fill(self, fill: dict[str, Any]) -> None:
        """The desk told of a fill."""
        with self.lock:
            self.fills[fill["execution_id"]] = fill


class Traffic:
    """Two clients that trade until the desk is gone: ``web`` over HTTP, ``stream`` over a WebSocket.

    Orders either take at once or rest three percent away, so nothing happens by itself after the flow has ended.
    """

    def __init__(self, person: Person, known: Acknowledged, *, seed: int, mark: Decimal) -> None:
        self._person = person
        self._known = known
        self._mark = mark
        self._stop = threading.Event()
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._web, random.Random(seed))),
            threading.Thread(target=self._guarded, args=(self._stream, random.Random(seed + 1))),
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive(), "a client did not notice that the desk is gone"
        if self.failures and error is None:
            raise self.failures[0]

    def _guarded(self, run: Any, chance: random.Random) -> None:
        try:
            run(chance)
        except LOST:
            pass  # the desk was killed, which is what this is for
        except BaseException as error:
            self.failures.append(error)

    def _order(self, chance: random.Random, name: str) -> dict[str, Any]:
        side = chance.choice(("BUY", "SELL"))
        body = {
            "account": name, "side": side, "client_order_id": fresh_id(name),
            "symbol": chance.choice(("BTCUSDT", "BTCUSDT", "BTCUSDT.INT")),
            "quantity": str(Decimal(chance.randint(10, 500)) / 100_000),
        }  # fmt: skip
        away = Decimal("0.97") if side == "BUY" else Decimal("1.03")
        near = Decimal("1.01") if side == "BUY" else Decimal("0.99")
        kind = chance.random()
        if kind < 0.4:
            body |= {"type": "LIMIT", "price": str((self._mark * away).quantize(Decimal("0.01")))}
        elif kind < 0.7:
            body |= {"type": "MARKET"}
        else:
            body |= {"type": "LIMIT", "price": str((self._mark * near).quantize(Decimal("0.01")))}
            body |= {"time_in_force": "IOC"}
        self._known.asked(body)
        return body

    def _web(self, chance: random.Random) -> None:
        url, headers = self._person.desk.place.url("gateway"), self._person.headers
        resting: list[int] = []
        with httpx2.Client(timeout=10, trust_env=False, verify=False) as client:  # plain HTTP
            while not self._stop.is_set():
                wait_ms = chance.choice((0, 0, 1_000))
                body = self._order(chance, "web")
                answer = client.post(f"{url}/orders?wait_ms={wait_ms}", json=body, headers=headers)
                assert answer.status_code == 201, answer.text
                found = answer.json()
                self._known.heard(found["order"])
                for fill in found["fills"]:
                    self._known.heard_fill(fill)
                if found["order"]["state"] == "WORKING":
                    resting.append(found["order"]["order_id"])
                if resting and chance.random() < 0.3:
                    order_id = resting.pop(chance.randrange(len(resting)))
                    answer = client.delete(f"{url}/orders/{order_id}?account=web&wait_ms=1000", headers=headers)
                    assert answer.status_code in (200, 409), answer.text
                    if answer.status_code == 200:
                        self._known.heard(answer.json()["order"])

    def _stream(self, chance: random.Random) -> None:
        with Stream(self._person.desk, token=self._person.token) as stream:
            stream.result("subscribe", channels=["orders", "executions"])
            waiting: set[int] = set()
            while not self._stop.is_set():
                while len(waiting) < _PIPELINED_MAX:
                    waiting.add(stream.send("submit", **self._order(chance, "stream")))
                stream.receive(time.monotonic() + 10)
                self._take(stream, waiting)

    def _take(self, stream: Stream, waiting: set[int]) -> None:
        for message in stream.events:
            if message["event"] == "order":
                self._known.heard(message["data"])
            elif message["event"] == "execution":
                self._known.heard_fill(message["data"])
        stream.events.clear()
        for number in [number for number in waiting if number in stream.answers]:
            waiting.discard(number)
            answer = stream.answers.pop(number)
            assert "result" in answer, msgspec.json.encode(answer)
            self._known.heard(answer["result"]["order"])
