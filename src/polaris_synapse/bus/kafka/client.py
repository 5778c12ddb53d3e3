"""The bus as shells see it, over Kafka: the same port as the embedded host's.

A command goes to the partition that its key says, with the partition of the answers topic that this process reads.
Facts come from their topics, from the moment of subscribing on; commands to shells (a venue's, the agents' proposals)
come from the cores in this process alone. What another process repeats, after a partition moved, is heard once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final
from zlib import crc32

import structlog
from msgspec.structs import replace

from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.intake import URGENT
from polaris_synapse.bus.kafka.bundles import Packer, tags_of
from polaris_synapse.bus.kafka.gathering import Gathering
from polaris_synapse.bus.kafka.outlet import Outlet, OutletFullError
from polaris_synapse.bus.kafka.partition import Local
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.tail import TailReader
from polaris_synapse.bus.kafka.wire import Record, RecordError, Source, holds_any, read_records
from polaris_synapse.bus.port import BusError
from polaris_synapse.bus.requests import WaitingRequests
from polaris_synapse.bus.subscriptions import BusSubscription, Subscriptions
from polaris_synapse.domain.messages import Answer, Command, Message
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import ANSWERS, COMMAND_TOPICS, INBOXES

_log = structlog.get_logger("polaris_synapse.bus.kafka")
#: Senders whose newest fact is remembered: cores times partitions times topics, far fewer than this.
_HEIGHTS_MAX: Final = 100_000
#: The brokers usually confirm within milliseconds, and within a second or two where a leader is elected.
_SILENT_SECONDS_MAX: Final = 3.0


class KafkaBus:
    """A Bus for the shells of one process. ``facts``: the topics that its shells may subscribe to, ``local_facts``
    those of which they hear what cores in this process say, without the way over the brokers.

    ``apply_here`` takes what shells ``post``: only the process that runs market data has one.
    """

    def __init__(
        self,
        settings: KafkaHostSettings,
        destinations: Destinations,
        *,
        outlet: Outlet,
        requests: Outlet,
        facts: Iterable[str] = (),
        local_facts: Iterable[str] = (),
        client: str = "",
        apply_here: Callable[[Message], None] | None = None,
    ) -> None:
        self._settings = settings
        self._destinations = destinations
        self._outlet = outlet
        self._requests_outlet = requests
        self._facts = frozenset(facts)
        self._local = COMMAND_TOPICS | frozenset(local_facts)
        self.client = client or f"polaris-{secrets.token_hex(6)}"
        self.apply_here = apply_here
        #: Where in the answers topic this process reads. Others may read there too; each knows its own requests.
        self._reply = crc32(self.client.encode()) % destinations.partitions(ANSWERS)
        self._waiting = WaitingRequests(settings.request_timeout_seconds)
        self._gatherings: dict[str, Gathering] = {}
        self._subscriptions = Subscriptions()
        self._heights: dict[tuple[str, int, str], tuple[int, int]] = {}
        self._running = False
        #: The types that somebody here listens to, as the header ``kinds`` names them.
        self._heard: frozenset[bytes] = frozenset()
        #: Commands of this turn of the event loop by topic, partition and where to answer, and their requests' ids.
        self._asked: dict[tuple[str, int, int], tuple[Packer, list[str]]] = {}
        # Answers are read by themselves: somebody waits for each, while facts may come a few at a time.
        self._tails = [
            TailReader(
                settings.tail_consumer(f"{self.client}-answers"),
                {ANSWERS: (self._reply,)},
                settings.topic,
                self._take_answers,
                broker_seconds=settings.broker_seconds_max,
            )
        ]
        if self._facts:
            self._tails.append(
                TailReader(
                    settings.gathering_tail_consumer(self.client),
                    {topic: range(destinations.partitions(topic)) for topic in self._facts},
                    settings.topic,
                    self._take_facts,
                    broker_seconds=settings.broker_seconds_max,
                )
            )

    # --- life ---

    async def start(self) -> None:
        """Begin to hear. Raises KafkaException where no broker answers."""
        for tail in self._tails:
            await tail.start()
        self._running = True

    async def stop(self) -> None:
        """Refuse what is new, end the subscriptions."""
        self._running = False
        self._waiting.refuse_all(Reason.SHUTTING_DOWN, "the service is shutting down")
        self._subscriptions.close()
        for tail in self._tails:
            await tail.stop()

    def readiness(self) -> dict[str, Callable[[], str | None]]:
        """Checks by name."""
        return {"bus": self._check}

    def _check(self) -> str | None:
        if not self._running:
            return "the bus is not running"
        failures = (*(tail.failure for tail in self._tails), self._outlet.failure, self._requests_outlet.failure)
        if problem := next(filter(None, failures), ""):
            return problem
        if silence := self._silence():
            return silence
        trouble = next((tail.trouble for tail in self._tails if tail.trouble), "")
        return f"a broker is away: {trouble}" if trouble else None

    def _silence(self) -> str:
        """What is wrong where the brokers do not confirm commands; empty while they do."""
        seconds = self._requests_outlet.unconfirmed_seconds
        return f"the brokers have confirmed nothing for {seconds:.0f} s" if seconds >= _SILENT_SECONDS_MAX else ""

    # --- the port ---

    async def request(self, command: Command, /) -> Answer:
        """See Bus.request."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(result: Answer | BusError) -> None:
            if future.done():
                return
            if isinstance(result, BusError):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.request_soon(command, done)
        return await future

    def request_soon(self, command: Command, done: Callable[[Answer | BusError], None], /) -> None:
        """See Bus.request_soon."""
        self._admit()
        if type(command) not in URGENT and (silence := self._silence()):
            # It would only wait, while another instance may reach them. A stop is tried all the same.
            raise BusError(Reason.NOT_READY, silence)
        if len(self._waiting) >= self._settings.requests_waiting_max:
            raise BusError(Reason.OVERLOADED, f"{len(self._waiting)} commands wait for their answers already")
        if not command.request_id:
            command = replace(command, request_id=self._waiting.new_id())
        request_id = command.request_id
        answering = self._destinations.answering(command)
        if len(answering) > 1:
            places = ((topic.removesuffix(".inbox"), partition) for topic, partition in answering)
            self._gatherings[request_id] = Gathering(places)

        def settled(result: Answer | BusError) -> None:
            self._gatherings.pop(request_id, None)
            done(result)

        self._waiting.call_when_done(request_id, settled)
        for topic, partition in self._destinations.of(command):
            self._ask(topic, partition, command, self._reply if (topic, partition) in answering else -1)

    def _ask(self, topic: str, partition: int, command: Command, reply: int) -> None:
        """Put a command behind what else is asked there in this turn of the event loop; they leave together."""
        found = self._asked.get((topic, partition, reply))
        if found is None:
            found = self._asked[topic, partition, reply] = (Packer(), [])
            if len(self._asked) == 1:
                asyncio.get_running_loop().call_soon(self._send_asked)
        packer, request_ids = found
        packer.add(topic, partition, command, None, reply)
        request_ids.append(command.request_id)

    def _send_asked(self) -> None:
        asked, self._asked = self._asked, {}
        for packer, request_ids in asked.values():
            try:
                for parcel in packer.take():
                    self._requests_outlet.send_parcel(parcel, self._unless_confirmed(request_ids))
            except OutletFullError as error:
                for request_id in request_ids:
                    self._waiting.refuse(request_id, Reason.OVERLOADED, str(error))

    def _unless_confirmed(self, request_ids: Sequence[str]) -> Callable[[int, str], None]:
        def delivered(_offset: int, error: str) -> None:
            if error:
                # It may be on the log all the same: whoever asked is told that the outcome is not known.
                for request_id in request_ids:
                    self._waiting.refuse(request_id, Reason.TIMED_OUT, f"the brokers did not confirm it: {error}")

        return delivered

    async def send(self, messages: Iterable[Message], /) -> int:
        """See Bus.send. Returns the last record's offset in its partition."""
        self._admit()
        packer = Packer()
        for message in messages:
            places = self._destinations.of(message)
            if not places:
                raise ValueError(f"{type(message).__name__} goes to no topic of the brokers")
            for topic, partition in places:
                packer.add(topic, partition, message, None)
        parcels = packer.take()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        left = len(parcels)

        def delivered(offset: int, error: str) -> None:
            nonlocal left
            left -= 1
            if error and not future.done():
                future.set_exception(BusError(Reason.TIMED_OUT, f"the brokers did not confirm it: {error}"))
            elif not left and not future.done():
                future.set_result(offset)

        if not parcels:
            return 0
        try:
            for parcel in parcels:
                self._outlet.send_parcel(parcel, delivered)
        except OutletFullError as error:
            raise BusError(Reason.OVERLOADED, str(error)) from None
        return await future

    def post(self, message: Message, /) -> None:
        """See Bus.post. Dropped where this process runs no core for it."""
        if self._running and self.apply_here is not None:
            self.apply_here(message)

    def subscribe(
        self, topics: Iterable[str], /, *, name: str, backlog_messages_max: int, droppable: bool
    ) -> AbstractAsyncContextManager[BusSubscription]:
        """See Bus.subscribe. Raises ValueError for a fact topic that this process does not read."""
        subscription = BusSubscription(
            topics, name=name, backlog_messages_max=backlog_messages_max, droppable=droppable
        )
        if unread := subscription.topics - self._facts - self._local:
            raise ValueError(f"this service does not read {', '.join(sorted(unread))}: {name} would hear nothing")
        return self._subscribed(subscription)

    @asynccontextmanager
    async def _subscribed(self, subscription: BusSubscription) -> AsyncIterator[BusSubscription]:
        self._subscriptions.add(subscription)
        self._heard = tags_of(self._subscriptions.listeners)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)
            self._heard = tags_of(self._subscriptions.listeners)

    @property
    def subscribers(self) -> frozenset[str]:
        """The names of those who listen at the moment."""
        return self._subscriptions.names

    def _admit(self) -> None:
        if not self._running:
            raise BusError(Reason.NOT_READY, "the service is not running")
        if failure := self._outlet.failure or self._requests_outlet.failure:
            raise BusError(Reason.JOURNAL_UNAVAILABLE, failure)
        if slow := self._subscriptions.overloaded_by():
            raise BusError(Reason.OVERLOADED, f"the subscriber {slow} is too far behind")

    # --- what comes in ---

    def deliver(self, local: Sequence[Local]) -> None:
        """What cores in this process tell its shells to do."""
        for output in local:
            source = output.source
            self._publish(source.core, source.partition, source.offset, source.index, output.message, self._local)
        self._subscriptions.flush()

    def _take_answers(self, records: Sequence[tuple[str, Any]]) -> None:
        for topic, raw in records:
            for record in _read(topic, raw):
                self._answered(record)

    def _take_facts(self, records: Sequence[tuple[str, Any]]) -> None:
        for topic, raw in records:
            if not holds_any(raw, self._heard):
                continue
            topics = frozenset({topic})
            for record in _read(topic, raw):
                source = record.source
                if source is not None and self._is_new(record, source):
                    self._publish(source.core, source.partition, source.offset, source.index, record.message, topics)
        self._subscriptions.flush()

    def _answered(self, record: Record) -> None:
        answer, source = record.message, record.source
        if not isinstance(answer, Answer) or source is None:
            return
        gathering = self._gatherings.get(answer.request_id)
        if gathering is not None:
            whole = gathering.add((source.core, source.partition), answer)
            if whole is None:
                return
            answer = whole
        self._waiting.answer(answer)

    def _is_new(self, record: Record, source: Source) -> bool:
        key = (source.name, record.partition, record.topic)
        height = (source.offset, source.index)
        if height <= self._heights.get(key, (-1, -1)):
            return False
        if len(self._heights) < _HEIGHTS_MAX or key in self._heights:
            self._heights[key] = height
        return True

    def _publish(
        self, core: str, partition: int, offset: int, index: int, message: Message, topics: frozenset[str]
    ) -> None:
        for subscription, topic in self._subscriptions.listeners.get(type(message), ()):
            if topic in topics:
                subscription.pending.append(
                    Envelope(
                        topic=topic,
                        core=core,
                        partition=partition,
                        offset=offset,
                        index=index,
                        message=message,  # type: ignore[arg-type]  # AnyMessage is the union of every Message
                    )
                )


def _read(topic: str, raw: Any) -> list[Record]:
    """The messages of a record; none where it cannot be read, which is logged."""
    try:
        return read_records(topic, raw)
    except RecordError as error:
        _log.error("kafka_record_unreadable", topic=topic, offset=raw.offset(), error=str(error))
        return []


def inboxes_of(partitions: Mapping[str, int]) -> dict[str, int]:
    """The inboxes among some topics."""
    return {topic: count for topic, count in partitions.items() if topic in INBOXES}
