"""The way to the brokers: what waits for a slow place travels together, in order, and everybody hears of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest
from tests.unit.bus.kafka_messages import heard, standing

from polaris_synapse.bus.kafka import outlet as outlet_module
from polaris_synapse.bus.kafka.bundles import Packer, Parcel, joined, single
from polaris_synapse.bus.kafka.client import KafkaBus
from polaris_synapse.bus.kafka.outlet import Delivered, Outlet
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.topics import TopicCounts, partition_counts, topic_specs
from polaris_synapse.bus.kafka.wire import KINDS, read_records
from polaris_synapse.bus.port import BusError
from polaris_synapse.domain import topics as t
from polaris_synapse.domain.messages import CancelAll, KillLevel, SetKillLevel
from polaris_synapse.domain.reasons import Reason


class Confirmed:
    """A record as a delivery report shows it."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        return self._offset


class Refused:
    """Why a record was not delivered."""

    def str(self) -> str:
        return "timed out"


class SlowProducer:
    """A producer whose brokers confirm when they are told to. The newest one made is ``made``."""

    made: SlowProducer

    def __init__(self, _config: dict[str, Any]) -> None:
        SlowProducer.made = self
        self.records: list[tuple[str, int, bytes, list[tuple[str, bytes]]]] = []
        self.arrived = asyncio.Event()
        self.reachable = True
        self._reports: list[Callable[[Any, Any], None]] = []

    def produce(self, name: str, **record: Any) -> None:
        self.records.append((name, record["partition"], record["value"], record["headers"] or []))
        self.arrived.set()
        if record["on_delivery"] is not None:
            self._reports.append(record["on_delivery"])

    def confirm(self, error: Refused | None = None) -> None:
        """Confirm the oldest record, or refuse it."""
        self._reports.pop(0)(error, None if error else Confirmed(len(self.records)))

    def poll(self, seconds: float) -> int:
        time.sleep(min(seconds, 0.005))
        return 0

    def list_topics(self, timeout: float) -> None:
        if not self.reachable:
            time.sleep(min(timeout, 0.005))
            raise confluent_kafka.KafkaException("away")

    def flush(self, _seconds: float) -> int:
        while self._reports:
            self.confirm()
        return 0


class Raw:
    """A produced record as a reader would get it."""

    def __init__(self, record: tuple[str, int, bytes, list[tuple[str, bytes]]]) -> None:
        self._record = record

    def value(self) -> bytes:
        return self._record[2]

    def headers(self) -> list[tuple[str, bytes]]:
        return self._record[3]

    def partition(self) -> int:
        return self._record[1]

    def offset(self) -> int:
        return 0


def parcel(number: int, *, sender: str = "compliance/0", partition: int = 0) -> Parcel:
    """A record of one standing of an account."""
    packer = Packer(sender)
    packer.add(t.RISK, partition, standing(number), heard(number))
    return packer.take()[0]


def numbers(record: tuple[str, int, bytes, list[tuple[str, bytes]]]) -> list[int]:
    """The sequence numbers of the messages in a record."""
    return [found.source.sequence for found in read_records("x", Raw(record)) if found.source is not None]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No brokers, but a producer that says when they confirm."""
    monkeypatch.setattr(confluent_kafka, "Producer", SlowProducer)


async def settle() -> None:
    """Let the loop hear of what was confirmed."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_joined_records_hold_the_same_messages_in_order() -> None:
    """Neighbours of one sender become one; another sender and a single message begin a new one."""
    alone = single(t.RISK, 0, standing(9), [])
    parts = [parcel(1), parcel(2), parcel(3, sender="compliance/1"), alone, parcel(4), parcel(5)]
    found = joined(parts)
    assert [one.messages for one in found] == [2, 1, 1, 2]
    assert found[2] is alone
    assert [numbers((one.topic, 0, one.value, one.headers)) for one in found] == [[1, 2], [3], [], [4, 5]]
    assert found[0].headers[0] == (KINDS, parts[0].headers[0][1])


def test_joined_records_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """No record grows beyond what one may hold."""
    monkeypatch.setattr("polaris_synapse.bus.kafka.bundles._MESSAGES_MAX", 3)
    assert [one.messages for one in joined([parcel(number) for number in range(1, 8)])] == [3, 3, 1]


@pytest.mark.usefixtures("slow")
async def test_what_waits_for_a_place_follows_as_one_record() -> None:
    """Two records are under way; the next five wait, leave as one, and each of their senders hears of it."""
    outlet = Outlet({}, str)
    outlet.start()
    heard_of: list[tuple[int, int, str]] = []

    def listener(number: int) -> Delivered:
        return lambda offset, error: heard_of.append((number, offset, error))

    for number in range(1, 8):
        outlet.send_parcel(parcel(number), listener(number))
    outlet.send_parcel(parcel(8, partition=1), lambda *_: None)
    producer = SlowProducer.made
    assert [numbers(record) for record in producer.records] == [[1], [2], [8]], "another place does not wait"
    assert outlet.waiting == 8
    producer.confirm()
    await settle()
    assert [numbers(record) for record in producer.records[3:]] == [[3, 4, 5, 6, 7]]
    producer.confirm()
    producer.confirm()
    producer.confirm()
    await settle()
    assert [n for n, _, error in heard_of if not error] == [1, 2, 3, 4, 5, 6, 7]
    assert len({offset for n, offset, _ in heard_of if n >= 3}) == 1
    assert outlet.waiting == 0
    await outlet.stop(1.0)


@pytest.mark.usefixtures("slow")
async def test_a_place_that_does_not_answer_holds_nothing_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has waited its time goes to the producer, whose clock tells when it is too late."""
    monkeypatch.setattr(outlet_module, "_HELD_SECONDS_MAX", 0.01)
    outlet = Outlet({}, str)
    outlet.start()
    errors: list[str] = []
    for number in (1, 2, 3):
        outlet.send_parcel(parcel(number), lambda _offset, error: errors.append(error))
    producer = SlowProducer.made
    producer.arrived.clear()
    async with asyncio.timeout(5):
        await producer.arrived.wait()
    assert [numbers(record) for record in producer.records] == [[1], [2], [3]]
    for _ in range(3):
        producer.confirm(Refused())
    await settle()
    assert errors == ["timed out"] * 3
    assert outlet.waiting == 0
    await outlet.stop(1.0)


@pytest.mark.usefixtures("slow")
async def test_stopping_sends_what_waits() -> None:
    """Nothing that was handed over stays behind."""
    outlet = Outlet({}, str)
    outlet.start()
    confirmed: list[int] = []
    for number in (1, 2, 3, 4):
        outlet.send_parcel(parcel(number), lambda offset, _error: confirmed.append(offset))
    assert await outlet.stop(1.0) == 0
    assert [numbers(record) for record in SlowProducer.made.records] == [[1], [2], [3, 4]]
    assert len(confirmed) == 4


@pytest.mark.usefixtures("slow")
async def test_brokers_that_confirm_nothing_are_noticed_until_they_answer() -> None:
    """The silence grows while records wait and after they failed; one confirmed record, or an answer, ends it."""
    outlet = Outlet({}, str)
    outlet.start()
    producer = SlowProducer.made
    producer.reachable = False
    assert outlet.unconfirmed_seconds == 0
    outlet.send_parcel(parcel(1), lambda *_: None)
    outlet.send_parcel(parcel(2), lambda *_: None)
    await asyncio.sleep(0.02)
    while_waiting = outlet.unconfirmed_seconds
    assert while_waiting > 0
    producer.confirm(Refused())
    producer.confirm(Refused())
    await asyncio.sleep(0.02)
    assert outlet.unconfirmed_seconds > while_waiting, "a failure is no sign of life"
    producer.reachable = True
    async with asyncio.timeout(5):
        while outlet.unconfirmed_seconds:  # noqa: ASYNC110  # the outlet's own thread finds out
            await asyncio.sleep(0.005)
    outlet.send_parcel(parcel(3), lambda *_: None)
    await asyncio.sleep(0.02)
    assert outlet.unconfirmed_seconds > 0
    producer.confirm()
    await settle()
    assert outlet.unconfirmed_seconds == 0
    await outlet.stop(1.0)


@pytest.mark.usefixtures("slow")
async def test_a_bus_whose_brokers_are_silent_refuses_orders_and_tries_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks is told at once and may ask another instance; a stop goes out all the same; readiness says why."""
    requests = Outlet({}, str)
    requests.start()
    destinations = Destinations(partition_counts(topic_specs(TopicCounts(), replicas=1)))
    bus = KafkaBus(KafkaHostSettings(bootstrap="nowhere"), destinations, outlet=requests, requests=requests)
    monkeypatch.setattr(bus, "_running", True)
    monkeypatch.setattr(Outlet, "unconfirmed_seconds", 4.2)
    with pytest.raises(BusError) as refused:
        bus.request_soon(CancelAll(account="main", time_ns=1), lambda _: None)
    assert refused.value.reason is Reason.NOT_READY
    assert bus.readiness()["bus"]() == "the brokers have confirmed nothing for 4 s"
    assert not SlowProducer.made.records
    bus.request_soon(SetKillLevel(level=KillLevel.CANCEL_ALL, time_ns=1), lambda _: None)
    await settle()
    assert SlowProducer.made.records, "the stop is on its way"
    monkeypatch.setattr(Outlet, "unconfirmed_seconds", 2.9)
    bus.request_soon(CancelAll(account="main", time_ns=1), lambda _: None)
    await requests.stop(1.0)
