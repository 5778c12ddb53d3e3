"""Connections that carry a stream of orders, for benchmarks: so many on their way, or so many a second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct

from polaris_synapse.testing.load_clients import LoadClientError
from polaris_synapse.testing.order_load import OrderStream
from polaris_synapse.testing.order_wires import ErrorSeen, OrderConnection, OrderSeen, OrderWire

#: Called with each answer: the order or the error, and how many seconds it took.
Take = Callable[[OrderSeen | None, ErrorSeen | None, float], None]

_POLL_SECONDS = 0.01
#: Orders that are due within so short a time leave together.
_TURN_SECONDS_MIN = 0.0005


class Passage(Struct, gc=False):
    """One order as its client saw it, by moments of ``time.perf_counter``: when it was due, sent and answered."""

    client_order_id: str
    due: float
    sent: float
    answered: float


class StreamLoad:
    """One connection for each of ``holders``, an account and its token. ``take`` is called with each answer.

    ``closed_loop`` replaces each answered order by a new one. ``passages``, where it is a list, gets every order.
    """

    def __init__(
        self,
        wire: OrderWire,
        stream: OrderStream,
        holders: Sequence[tuple[str, str]],
        take: Take,
        drain_seconds_max: float,
    ) -> None:
        self.closed_loop = False
        self.passages: list[Passage] | None = None
        self._wire = wire
        self._stream = stream
        self._holders = holders
        self._taken = take
        self._drain_seconds_max = drain_seconds_max
        #: When an order was due, and when it was sent, by its number.
        self._waiting: dict[int, tuple[float, float]] = {}
        self._due: Counter[int] = Counter()
        self._connections: list[OrderConnection] = []
        self._loop = asyncio.get_running_loop()

    async def connect(self) -> None:
        """Open every connection."""
        self._connections = [
            await self._wire.connect(token, partial(self._take, number))
            for number, (_, token) in enumerate(self._holders)
        ]

    def send(self, number: int, count: int, intended: float | None = None) -> None:
        """Send ``count`` orders on a connection; they count from ``intended``, or from now."""
        stream, (account, _) = self._stream, self._holders[number]
        now = time.perf_counter()
        since = (now if intended is None else intended, now)
        payloads = []
        for _ in range(count):
            order_number = stream.made
            self._waiting[order_number] = since
            payloads.append(self._wire.request(order_number, stream.next(account)))
        self._connections[number].send(payloads)

    async def send_at(self, rate: int) -> None:
        """Send ``rate`` orders a second until cancelled, each counted from its own place in that rhythm."""
        began, sent, size = time.perf_counter(), 0, len(self._connections)
        over = threading.Event()

        def send_due() -> None:
            nonlocal sent
            due = int((time.perf_counter() - began) * rate) + 1
            while sent < due and not over.is_set():
                self.send(sent % size, 1, began + sent / rate)
                sent += 1

        def keep_time() -> None:
            # The event loop's clock knows milliseconds only, and one that looks all the time takes a core.
            while not over.is_set():
                passed = time.perf_counter() - began
                time.sleep(max((int(passed * rate) + 1) / rate - passed, _TURN_SECONDS_MIN))
                self._loop.call_soon_threadsafe(send_due)

        try:
            await asyncio.to_thread(keep_time)
        finally:
            over.set()

    def _take(self, number: int, payload: bytes) -> None:
        now = time.perf_counter()
        answer_number, order, error = self._wire.answer(payload)
        due, sent = self._waiting.pop(answer_number)
        self._taken(order, error, now - due)
        if self.passages is not None:
            self.passages.append(Passage(self._stream.client_order_id(answer_number), due, sent, now))
        if self.closed_loop:
            if not self._due:
                self._loop.call_soon(self._send_due)
            self._due[number] += 1

    def _send_due(self) -> None:
        due, self._due = self._due, Counter()
        for number, count in due.items():
            self.send(number, count)

    async def drain(self) -> None:
        """Wait for what is on its way and close. Raises LoadClientError where an answer never comes."""
        until = time.perf_counter() + self._drain_seconds_max
        while self._waiting:
            if time.perf_counter() > until or any(connection.ended.is_set() for connection in self._connections):
                raise LoadClientError(f"{len(self._waiting)} orders were never answered")
            await asyncio.sleep(_POLL_SECONDS)
        for connection in self._connections:
            connection.close()
