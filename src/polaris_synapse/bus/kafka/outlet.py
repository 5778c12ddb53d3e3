"""Hands records to the brokers and says when they are safe: one idempotent producer behind one thread.

``acks=all`` and a queue in which nothing times out: librdkafka keeps the records of a partition in order over retries
and reconnections, so a later one is never there without the earlier. What it cannot promise any more is fatal, and
the process ends: starting again is the recovery.

While records to a place are on their way, what else is said there gathers and follows as one record: the slower the
brokers, the fewer and larger the records. It also keeps the producer below its five requests on a connection, at
which librdkafka waits without sleeping.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from polaris_synapse.bus.kafka.bundles import Parcel, joined, single
from polaris_synapse.bus.kafka.wire import Headers
from polaris_synapse.domain.messages import Message

_POLL_SECONDS: Final = 0.1
_GATHER_SECONDS: Final = 0.001
_PROBE_SECONDS: Final = 1.0
#: Records to one place that the brokers may have before others wait for them, and how long those wait at most: a
#: place that does not answer must not keep messages from the producer, whose clock tells when they are too late.
_UNDER_WAY_MAX: Final = 2
_HELD_SECONDS_MAX: Final = 0.5
_log = structlog.get_logger("polaris_synapse.bus.kafka")

#: Called on the event loop with the offset, or with what went wrong.
Delivered = Callable[[int, str], None]


class OutletFullError(RuntimeError):
    """Too many messages wait for the brokers already; nothing was taken."""


class _Place:
    """A partition of a topic: how many records are on their way there, and those that wait for them."""

    __slots__ = ("held", "timer", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.held: list[tuple[Parcel, Delivered]] = []
        self.timer: asyncio.TimerHandle | None = None


class Outlet:
    """A producer. ``start`` and everything else belong to the event loop; deliveries come back to it."""

    def __init__(self, config: dict[str, Any], topic_name: Callable[[str], str]) -> None:
        self._config = config
        self._topic_name = topic_name
        self._names: dict[str, str] = {}
        self._places: dict[tuple[str, int], _Place] = {}
        self._producer: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        #: Nothing is held back any more, so that a flush is of everything.
        self._flushing = False
        self._done: deque[tuple[Delivered, int, str]] = deque()
        self._wake_lock = threading.Lock()
        self._woken = False
        self._under_way = 0
        #: Since when records are under way and none was confirmed, in the loop's time; 0 while all is well.
        self._unconfirmed_since = 0.0
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

    @property
    def unconfirmed_seconds(self) -> float:
        """For how long the brokers have confirmed nothing of what was handed to them; 0 while they do, or answer."""
        return self._now() - self._unconfirmed_since if self._unconfirmed_since else 0.0

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def send(self, topic: str, partition: int, message: Message, headers: Headers, delivered: Delivered | None) -> None:
        """Hand over one message as a record of its own; see ``send_parcel``."""
        self.send_parcel(single(topic, partition, message, headers), delivered)

    def send_parcel(self, parcel: Parcel, delivered: Delivered | None) -> None:
        """Hand over one record; ``delivered`` is called on the loop. Raises OutletFullError.

        Where nobody wants to know, it leaves at once, before what may be waiting for the same place.
        """
        if delivered is None:
            self._produce(parcel, None)
            return
        key = (parcel.topic, parcel.partition)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place()
        if (place.held or place.under_way >= _UNDER_WAY_MAX) and not self._flushing:
            place.held.append((parcel, delivered))
            if place.timer is None:
                assert self._loop is not None
                place.timer = self._loop.call_later(_HELD_SECONDS_MAX, self._release, place)
        else:
            self._dispatch(place, parcel, (delivered,))
        self.waiting += parcel.messages

    def _release(self, place: _Place) -> None:
        """Let go what waits for a place, as few records."""
        if place.timer is not None:
            place.timer.cancel()
            place.timer = None
        held, place.held = place.held, []
        position = 0
        for parcel in joined([parcel for parcel, _ in held]):
            messages, followers = 0, []
            while messages < parcel.messages:
                one, delivered = held[position]
                messages += one.messages
                followers.append(delivered)
                position += 1
            try:
                self._dispatch(place, parcel, followers)
            except OutletFullError as error:
                self._tell(followers, -1, str(error), parcel.messages)

    def _dispatch(self, place: _Place, parcel: Parcel, followers: Sequence[Delivered]) -> None:
        messages = parcel.messages

        def settled(offset: int, error: str) -> None:
            place.under_way -= 1
            self._under_way -= 1
            if not error:
                self._unconfirmed_since = self._now() if self._under_way else 0.0
            if place.held and place.under_way < _UNDER_WAY_MAX:
                self._release(place)
            self._tell(followers, offset, error, messages)

        self._produce(parcel, settled)
        place.under_way += 1
        self._under_way += 1
        if not self._unconfirmed_since:
            self._unconfirmed_since = self._now()

    def _tell(self, followers: Sequence[Delivered], offset: int, error: str, messages: int) -> None:
        self.waiting -= messages
        for delivered in followers:
            delivered(offset, error)

    def _produce(self, parcel: Parcel, settled: Delivered | None) -> None:
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
                on_delivery=self._callback(settled) if settled is not None else None,
            )
        except BufferError:
            raise OutletFullError(f"{self.waiting} messages wait for the brokers already") from None

    def _callback(self, settled: Delivered) -> Callable[[Any, Any], None]:
        def on_delivery(error: Any, record: Any) -> None:
            # In the polling thread: one wake-up of the loop serves everything that was delivered meanwhile.
            self._done.append((settled, -1 if error else record.offset(), error.str() if error else ""))
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
            settled, offset, error = self._done.popleft()
            settled(offset, error)

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
            elif self._unconfirmed_since and not self._under_way:
                self._probe()

    def _probe(self) -> None:
        """Everything has failed and nothing is under way: see whether the brokers are back."""
        from confluent_kafka import KafkaException

        try:
            self._producer.list_topics(timeout=_PROBE_SECONDS)
        except KafkaException:
            return  # Still away; the next turn asks again.
        self._done.append((self._reached, 0, ""))
        self._wake()

    def _reached(self, _offset: int, _error: str) -> None:
        if not self._under_way:
            self._unconfirmed_since = 0.0

    async def stop(self, seconds_max: float) -> int:
        """Wait until everything is safe, at most so long, and return how many records were not."""
        if self._producer is None:
            return 0
        self._flushing = True
        for place in self._places.values():
            self._release(place)
        left: int = await asyncio.to_thread(self._producer.flush, seconds_max)
        self._stopping = True
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._hand_back()
        return left
