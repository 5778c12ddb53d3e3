"""A consumer group whose coordinator does not say what was committed, on a real broker: waited for, and told of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from structlog.testing import capture_logs
from tests.integration.kafka_world import is_ready, until, world
from tests.real_servers import start_or_skip

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.testing.faults.cluster_network import NetworkLink
from polaris_synapse.testing.servers.kafka import KafkaServer, NativeKafka

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
#: The number of the request in Kafka's protocol.
OFFSET_FETCH = 9
_LENGTH_BYTES = 4
_KIND_BYTES = 2


class SilentCoordinator(NetworkLink):
    """A link to the broker that, while ``silent``, keeps back the question what a group has committed."""

    silent = False
    kept_back = 0

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        if gate is not self._forth:
            await super()._pump(reader, writer, gate)
            return
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                length = await reader.readexactly(_LENGTH_BYTES)
                request = await reader.readexactly(int.from_bytes(length))
                if self.silent and int.from_bytes(request[:_KIND_BYTES]) == OFFSET_FETCH:
                    self.kept_back += 1
                    continue
                writer.write(length + request)
                await writer.drain()


@pytest.fixture
def kafka() -> Iterator[tuple[KafkaServer, SilentCoordinator]]:
    """A broker of our own, as it is reached through the link."""
    broker = start_or_skip(lambda: NativeKafka.create(linked=True))
    try:
        routes = {node.ports.link_advertised: node.ports.link for node in broker.nodes}
        with SilentCoordinator(routes) as link:
            yield KafkaServer(broker.link_bootstrap), link
    finally:
        broker.stop()


async def test_a_group_that_is_silent_is_asked_until_it_answers(kafka: tuple[KafkaServer, SilentCoordinator]) -> None:
    """A host that cannot learn where to begin goes on asking, is not ready, says why once, and then does its work."""
    server, link = kafka
    async with world(server, broker_seconds_max=4.0) as one:
        host = one.host("first")
        link.silent = True
        with capture_logs() as logs:
            task = asyncio.create_task(host.run())
            await until(lambda: task.done() or link.kept_back >= 2)
            assert not task.done(), task.exception()
            problem = host.readiness()["risk partitions"]()
            assert problem is not None
            assert "does not say where to begin in" in problem
            assert host.cores == {}
            link.silent = False
            await until(lambda: task.done() or (len(host.cores) == 2 and is_ready(host)))
            assert not task.done(), task.exception()
        said = [entry["event"] for entry in logs if entry["event"].startswith("kafka_group_")]
        assert said == ["kafka_group_is_silent", "kafka_group_answers_again"]
        await one.open_account()
        assert (await one.deposit("after")).reason is Reason.NONE
        host.stop()
        await task
