"""Hands records to the brokers and says when they are safe: one idempotent producer behind one thread.

``acks=all`` and a queue in which nothing times out: librdkafka keeps the records of a partition in order over retries
and reconnections, so a later one is never there without the earlier. What it cannot promise any more is fatal, and
the process ends: starting again is the recovery.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog

from polaris_synapse.bus.kafka.bundles import Parcel, single
from polaris_synapse.bus.kafka.wire import Headers
from polaris_synapse.domain.messages import Message

_POLL_SECONDS: Final = 0.1
_GATHER_SECONDS: Final = 0.001
_log = structlog.get_logger("polaris_synapse.bus.kafka")

#: Called on the event loop with the offset, or with what went wrong.
Delivered = Callable[[int, str], None]


class OutletFullError(RuntimeError):
    """Too many messages wait for the brokers already; nothing was taken."""


class Outlet:
    """A producer. ``start`` and everything else belong to the event loop; deliveries come back to it."""

    def __init__(self, config: dict[str, Any], topic_name: Callable[[str], str]) -> None:
        self._config = config
        self._topic_name = topic_name
        self._names: dict[str, str] = {}
        self._producer: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._done: deque[tuple[Delivered, int, int, str]] = deque()
        self._wake_lock = threading.Lock()
        self._woken = False
        #: Messages that the brokers have not confirmed, of those that somebody wants to know about.
        self.waiting = 0
        #: Why nothing more can be sent, empty while all is well.
        self.failure = ""
        #: What the connection to the brokers lacks, empty while all is well.
        self.trouble = ""

    def start(self) -> None:
        """Make the producer, which connects by itself, and the thread that hears of deliveries."""
        from confluent_kafka import Producer

        self._loop = asyncio.get_running_loop()
        self._producer = Producer(self._config | {"error_cb": self._on_error})
        self._thread = threading.Thread(target=self._poll, name="kafka-outlet", daemon=True)
        self._thread.start()

    def send(self, topic: str, partition: int, message: Message, headers: Headers, delivered: Delivered | None) -> None:
        """Hand over one message as a record of its own; see ``send_parcel``."""
        self.send_parcel(single(topic, partition, message, headers), delivered)

    def send_parcel(self, parcel: Parcel, delivered: Delivered | None) -> None:
        """Hand over one record; ``delivered`` is called on the loop. Raises OutletFullError."""
        name = self._names.get(parcel.topic)
        if name is None:
            name = self._names[parcel.topic] = self._topic_name(parcel.topic)
        try:
            self._producer.produce(
                name,
                value=parcel.value,
                key=parcel.key,
                partition=parcel.partition,
                headers=parcel.headers or None,
                on_delivery=self._callback(delivered, parcel.messages) if delivered is not None else None,
            )
        except BufferError:
            raise OutletFullError(f"{self.waiting} messages wait for the brokers already") from None
        if delivered is not None:
            self.waiting += parcel.messages

    def _callback(self, delivered: Delivered, messages: int) -> Callable[[Any, Any], None]:
        def on_delivery(error: Any, record: Any) -> None:
            # In the polling thread: one wake-up of the loop serves everything that was delivered meanwhile.
            self._done.append((delivered, messages, -1 if error else record.offset(), error.str() if error else ""))
            self._wake()

        return on_delivery

    def _wake(self) -> None:
        with self._wake_lock:
            if self._woken:
                return
            self._woken = True
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._hand_back)
        except RuntimeError:
            # The loop has ended; nobody waits any more.
            self._stopping = True

    def _hand_back(self) -> None:
        with self._wake_lock:
            self._woken = False
        while self._done:
            delivered, messages, offset, error = self._done.popleft()
            self.waiting -= messages
            delivered(offset, error)

    def _on_error(self, error: Any) -> None:
        if error.fatal():
            self.failure = error.str()
            _log.critical("kafka_producer_failed", error=error.str())
        else:
            self.trouble = error.str()
            _log.warning("kafka_producer_trouble", error=error.str())

    def _poll(self) -> None:
        while not self._stopping:
            if self._producer.poll(_POLL_SECONDS):
                self.trouble = ""
                # What is confirmed meanwhile is told together: nobody waits for it to the millisecond.
                time.sleep(_GATHER_SECONDS)

    async def stop(self, seconds_max: float) -> int:
        """Wait until everything is safe, at most so long, and return how many records were not."""
        if self._producer is None:
            return 0
        left: int = await asyncio.to_thread(self._producer.flush, seconds_max)
        self._stopping = True
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._hand_back()
        return left
