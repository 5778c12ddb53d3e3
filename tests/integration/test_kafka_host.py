"""The Kafka host on a real broker: restarts, crashes, rebalances, repetitions, fences, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
import pytest
from confluent_kafka import Consumer, TopicPartition
from msgspec.structs import replace
from tests.integration.kafka_world import World, is_ready, until, world

from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.kafka.ends import PartitionEnds, watermarks
from polaris_synapse.bus.kafka.host import KafkaCoreHost, KafkaHostError
from polaris_synapse.bus.kafka.routing import partition_of
from polaris_synapse.bus.kafka.topics import TopicCounts, Topics, TopicsError, topic_specs
from polaris_synapse.bus.kafka.wire import Source, headers_of
from polaris_synapse.bus.port import BusError
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import AUDIT, RISK, RISK_EVENTS, TRANSACTIONS_ALL
from polaris_synapse.testing.servers.kafka import KafkaServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


async def crash(host: KafkaCoreHost, task: asyncio.Task[None]) -> None:
    """End a host without letting go of anything, as far as one process can: nothing is committed, nothing is kept."""
    host.lose(list(host.cores))
    host.stop()
    await task


async def started(one: World, client: str) -> tuple[KafkaCoreHost, asyncio.Task[None]]:
    """A host with both partitions that a test ends by itself."""
    host = one.host(client)
    task = asyncio.create_task(host.run())
    await until(lambda: len(host.cores) == 2 and is_ready(host))
    return host, task


def entries(envelopes: Sequence[Envelope]) -> list[str]:
    """The references of ledger entries among facts."""
    return [e.message.reference for e in envelopes if isinstance(e.message, m.LedgerPosted)]


async def test_a_restart_in_order_goes_on_from_the_snapshot(kafka_server: KafkaServer) -> None:
    """Stopped and started again, the partitions have the state they had, and only HostStarted is replayed."""
    async with world(kafka_server) as one:
        async with one.running(one.host("first")) as host:
            await one.open_account()
            for number in range(20):
                assert (await one.deposit(f"d{number}")).reason is Reason.NONE
            before = {number: core.limits_of("*") for number, core in host.cores.items()}  # type: ignore[attr-defined]
            offsets = {state.partition: state.offset for state in host.states()}
        async with one.running(one.host("second")) as again:
            assert {n: core.limits_of("*") for n, core in again.cores.items()} == before  # type: ignore[attr-defined]
            assert {state.partition: state.offset for state in again.states()} == {
                number: offset + 1 for number, offset in offsets.items()
            }
            assert (await one.deposit("d3")).duplicate


async def test_after_a_crash_nothing_is_lost_or_done_twice(kafka_server: KafkaServer) -> None:
    """A successor without a snapshot folds the whole log, says again what may be missing, and nobody hears it twice."""
    async with (
        world(kafka_server, commit_seconds=3600.0) as one,
        one.bus.subscribe((TRANSACTIONS_ALL,), name="ledger", backlog_messages_max=10_000, droppable=False) as facts,
    ):
        host, task = await started(one, "first")
        await one.open_account()
        for number in range(10):
            await one.deposit(f"d{number}")
        await crash(host, task)
        async with one.running(one.host("second")) as successor:
            answer = await one.deposit("after")
            assert answer.reason is Reason.NONE
            heard: list[str] = []
            with anyio.fail_after(30):
                async for batch in facts:
                    heard += entries(batch)
                    if "after" in heard:
                        break
            assert heard == [*(f"d{number}" for number in range(10)), "after"]
            assert successor.states()[0].live


async def test_a_new_member_takes_partitions_over_and_gives_them_back(kafka_server: KafkaServer) -> None:
    """Cooperative rebalancing moves one partition to a second member and back; every command is answered once."""
    async with world(kafka_server) as one, one.running(one.host("first")) as first:
        await one.open_account()
        other = next(name for name in (f"a{n}" for n in range(99)) if partition_of(name, 2) != partition_of("main", 2))
        await one.open_account(other)
        async with one.running(one.host("second"), partitions=1) as second:
            await until(lambda: len(first.cores) == 1 and len(second.cores) == 1)
            for name in ("main", other):
                assert (await one.deposit("shared", name)).reason is Reason.NONE
        await until(lambda: len(first.cores) == 2 and is_ready(first))
        for name in ("main", other):
            assert (await one.deposit("shared", name)).duplicate


async def test_a_zombie_s_late_outputs_are_not_heard(kafka_server: KafkaServer) -> None:
    """What a process that lost its partition says again, even much later, changes nothing for receivers."""
    async with world(kafka_server) as one, one.running(one.host("first")) as host:
        await one.open_account()
        partition = partition_of("main", 2)
        standing = m.AccountStanding(
            time_ns=1,
            account="main",
            account_kind=m.AccountKind.PERSON,
            kyc=m.KycState.APPROVED,
            sanctions_hold=False,
            blocked=True,
            restricted_symbols=(),
            version=7,
        )
        for number, blocked in ((1, True), (2, False), (1, True)):
            message = replace(standing, blocked=blocked, version=6 + number)
            one.outlet.send(RISK, partition, message, headers_of(Source("compliance", 0, number, 0, number)), None)
        assert (await one.deposit("x")).reason is Reason.NONE
        assert sum(state.skipped for state in host.states()) == 1


async def test_a_gap_in_the_log_stops_the_process(kafka_server: KafkaServer) -> None:
    """An output that is missing is never passed over: the host ends with where and what."""
    async with world(kafka_server) as one:
        host, task = await started(one, "first")
        tick = m.Tick(time_ns=1)
        for number in (1, 3):
            one.outlet.send(RISK, 0, tick, headers_of(Source("compliance", 0, number, 0, number)), None)
        with pytest.raises(KafkaHostError, match="missing from the log"):
            await task
        assert host.readiness()["risk partitions"]() is not None


async def test_an_older_snapshot_serves_where_the_newest_is_damaged(kafka_server: KafkaServer) -> None:
    """A snapshot that does not match its hash is passed over, and the state is the same."""
    async with world(kafka_server, snapshot_interval_messages=5) as one:
        async with one.running(one.host("first")):
            await one.open_account()
            for number in range(30):
                await one.deposit(f"d{number}")
        partition = partition_of("main", 2)
        newest = (await one.store.load("risk", partition))[0]
        kept = one.store._snapshots["risk", partition]  # the twin's own dict: there is no port to damage it by
        kept[newest.offset] = replace(newest, data=newest.data[:-1])
        async with one.running(one.host("second")):
            assert (await one.deposit("d29")).duplicate


async def test_a_command_to_all_partitions_has_one_answer(kafka_server: KafkaServer) -> None:
    """The breaker of the whole desk trips in every partition, and who asked hears once."""
    async with world(kafka_server) as one, one.running(one.host("first")) as host:
        answer = await one.bus.request(m.ActivateBreaker(time_ns=one.clock.now_ns(), note="test"))
        assert (answer.reason, answer.duplicate) == (Reason.NONE, False)
        assert all("*" in core.breakers() for core in host.cores.values())  # type: ignore[attr-defined]


async def test_answers_come_to_the_process_that_asked(kafka_server: KafkaServer) -> None:
    """Two shells' requests with the same id are each answered to their own."""
    async with world(kafka_server) as one, one.running(one.host("first")):
        await one.open_account()
        other = one.new_bus()
        await other.start()
        try:
            command = m.MoveFunds(
                time_ns=1, request_id="same", account="main", asset="BTC", amount_units=1, reference="r"
            )
            first = await one.bus.request(command)
            second = await other.request(replace(command, reference="s"))
        finally:
            await other.stop()
        assert (first.duplicate, second.duplicate) == (False, False)


async def test_without_anybody_to_answer_a_request_times_out(kafka_server: KafkaServer) -> None:
    """The outcome is then not known, and the command has its effect when somebody comes."""
    async with world(kafka_server, request_timeout_seconds=1.0) as one:
        with pytest.raises(BusError) as refused:
            await one.bus.request(m.ActivateBreaker(time_ns=1, note="later"))
        assert refused.value.reason is Reason.TIMED_OUT
        async with one.running(one.host("late")) as host:
            assert all("*" in core.breakers() for core in host.cores.values())  # type: ignore[attr-defined]


async def test_a_subscriber_hears_only_what_its_process_reads(kafka_server: KafkaServer) -> None:
    """To subscribe to a topic that the service does not read is a mistake that is told at once."""
    async with world(kafka_server) as one:
        with pytest.raises(ValueError, match="does not read trades"):
            one.bus.subscribe(("trades",), name="x", backlog_messages_max=1, droppable=True)
        async with one.bus.subscribe((RISK_EVENTS,), name="x", backlog_messages_max=1, droppable=True):
            assert one.bus.subscribers == {"x"}


async def test_partitions_of_a_topic_never_change(kafka_server: KafkaServer) -> None:
    """Applying twice changes nothing; another number of partitions is refused, and nothing is done."""
    async with world(kafka_server) as one:
        assert await anyio.to_thread.run_sync(one.topics.apply) == []
        more = Topics(one.settings, topic_specs(TopicCounts(risk=3, facts=2, answers=2), replicas=1))
        with pytest.raises(TopicsError, match=r"risk\.inbox"):
            await anyio.to_thread.run_sync(more.apply)


async def test_ends_are_those_of_the_log(kafka_server: KafkaServer) -> None:
    """What is asked for all partitions together is what each says of itself, an empty one included."""
    async with world(kafka_server) as one:
        async with one.running(one.host("first")):
            await one.open_account()
            for number in range(5):
                await one.deposit(f"d{number}")
        places = [(one.settings.topic(topic), partition) for topic in (RISK, AUDIT) for partition in range(2)]
        places.remove((one.settings.topic(AUDIT), 1))
        ends = PartitionEnds(one.settings.tail_consumer("ends"), places, 10.0)
        consumer = Consumer(one.settings.tail_consumer("watermarks"))
        try:
            told = await ends.now()
            each = {place: watermarks(consumer, TopicPartition(*place), 10.0)[1] for place in places}
        finally:
            consumer.close()
            await ends.close()
    assert told == each
    assert sum(told.values()) >= 5
    assert told[one.settings.topic(AUDIT), 0] == 0
