"""Apache Kafka for tests: one that a variable names, or one or three brokers of our own on loopback, in KRaft mode."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.testing.servers.kafka_jars import java, kafka_jars
from polaris_synapse.testing.servers.process import (
    ServerDidNotStartError,
    ServerProcess,
    listens,
    server_folder,
)

VARIABLE: Final = "POLARIS_TEST_KAFKA"
_FORMAT_SECONDS_MAX: Final = 120
#: A virtual machine that starts, and a quorum that forms, on a machine that has much else to do.
_READY_SECONDS_MAX: Final = 240.0
_IN_SYNC_POLL_SECONDS: Final = 0.25
_PORT_FIRST: Final = 20_000
_PORT_LAST: Final = 32_000
_REQUEST_SECONDS_MAX: Final = 5.0
_HEAP: Final = "-Xmx256m"
#: What makes a broker of this size quick to start and to stop; the guarantees stay those of production.
_CONFIGURATION: Final = """
process.roles=broker,controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,LINK:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
num.partitions=1
auto.create.topics.enable=false
delete.topic.enable=true
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.segment.delete.delay.ms=1000
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
unclean.leader.election.enable=false
controlled.shutdown.enable=true
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
"""


class KafkaServer:
    """Brokers that run; ``bootstrap`` is what clients take, ``brokers`` how many there are."""

    def __init__(self, bootstrap: str, brokers: int = 1) -> None:
        self.bootstrap = bootstrap
        self.brokers = brokers

    def stop(self) -> None:
        """Nothing: the brokers are not ours."""

    def __enter__(self) -> KafkaServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class BrokerPorts(Struct, frozen=True, kw_only=True):
    """Where a broker listens. ``link`` is a second door of clients, who are told that it is at ``link_advertised``:
    what stands there, and passes bytes on or does not, is their network. Both are 0 where there is none.
    """

    client: int
    controller: int
    link: int = 0
    link_advertised: int = 0


class NativeBroker:
    """One broker, which is a controller too, in a temporary folder."""

    def __init__(self, node_id: int, ports: BrokerPorts, voters: str, replicas: int, cluster_id: str) -> None:
        self.node_id = node_id
        self.ports = ports
        self.port = ports.client
        self.folder = server_folder(f"kafka-{node_id}")
        self._cluster_id = cluster_id
        self._file = self.folder / "server.properties"
        listeners = advertised = f"PLAINTEXT://127.0.0.1:{ports.client}"
        if ports.link:
            listeners += f",LINK://127.0.0.1:{ports.link}"
            advertised += f",LINK://127.0.0.1:{ports.link_advertised}"
        self._file.write_text(
            f"{_CONFIGURATION}node.id={node_id}\ncontroller.quorum.voters={voters}\n"
            f"listeners={listeners},CONTROLLER://127.0.0.1:{ports.controller}\nadvertised.listeners={advertised}\n"
            f"log.dirs={self.folder / 'data'}\n"
            f"default.replication.factor={replicas}\noffsets.topic.replication.factor={replicas}\n"
            f"transaction.state.log.replication.factor={replicas}\n"
            f"transaction.state.log.min.isr={min(replicas, 2)}\nmin.insync.replicas={min(replicas, 2)}\n",
            encoding="ascii",
        )
        # The serial collector needs the least memory and threads, which matters where three brokers share two cores.
        self._java = [java(), _HEAP, "-Xss512k", "-XX:+UseSerialGC", "-cp", f"{kafka_jars()}/*"]
        command = [*self._java, "kafka.Kafka", str(self._file)]
        self.process = ServerProcess(
            command, self.folder, self._is_ready, name=f"broker-{node_id}", ready_seconds_max=_READY_SECONDS_MAX
        )

    def format(self) -> None:
        """Make the storage folder. Raises ServerDidNotStartError."""
        command = [*self._java, "kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}"]
        done = subprocess.run(  # noqa: S603  # Kafka's own tool
            [*command, "--config", str(self._file)],
            capture_output=True,
            text=True,
            timeout=_FORMAT_SECONDS_MAX,
            check=False,
        )
        if done.returncode:
            raise ServerDidNotStartError(f"the broker's folder cannot be formatted: {done.stdout}{done.stderr}")

    def _is_ready(self) -> bool:
        # The controllers need each other before any broker serves, so they must all have begun first.
        return listens(self.ports.controller)

    def stop(self) -> None:
        """Stop and remove everything."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class NativeKafka(KafkaServer):
    """A cluster of our own, with as many replicas as brokers."""

    def __init__(self, nodes: list[NativeBroker]) -> None:
        super().__init__(",".join(f"127.0.0.1:{node.port}" for node in nodes), len(nodes))
        self.nodes = nodes

    @classmethod
    def create(cls, brokers: int = 1, *, linked: bool = False) -> NativeKafka:
        """Start a cluster of 1 or 3 brokers. Raises ServerMissingError or ServerDidNotStartError.

        ``linked``: with a second door, see BrokerPorts; who takes it bootstraps from ``link_bootstrap``.
        """
        if brokers not in (1, 3):
            raise ValueError("a cluster for tests has 1 or 3 brokers")
        free = iter(_quiet_ports(4 * brokers))
        places = [BrokerPorts(client=next(free), controller=next(free)) for _ in range(brokers)]
        if linked:
            places = [replace(one, link=next(free), link_advertised=next(free)) for one in places]
        voters = ",".join(f"{node}@127.0.0.1:{one.controller}" for node, one in enumerate(places, start=1))
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        nodes = [NativeBroker(node, one, voters, brokers, cluster_id) for node, one in enumerate(places, start=1)]
        found = cls(nodes)
        try:
            for node in nodes:
                node.format()
            for node in nodes:
                node.process.start()
            found.wait_until_ready()
        except BaseException:
            found.stop()
            raise
        return found

    @property
    def link_bootstrap(self) -> str:
        """What clients take that come through the second door."""
        return ",".join(f"127.0.0.1:{node.ports.link_advertised}" for node in self.nodes)

    def wait_until_ready(self) -> None:
        """Return once every broker that runs is a member of the cluster. Raises ServerDidNotStartError."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        wanted = {node.node_id for node in self.nodes if node.process.is_running}
        deadline = time.monotonic() + _READY_SECONDS_MAX
        while time.monotonic() < deadline:
            try:
                found: Any = admin.list_topics(timeout=_REQUEST_SECONDS_MAX).brokers
            except KafkaException:
                continue
            if wanted <= set(found):
                return
            time.sleep(0.05)
        raise ServerDidNotStartError(f"the brokers did not form a cluster: {self.nodes[0].process.log()}")

    def wait_until_in_sync(self) -> float:
        """Return once every partition has all its replicas in step, and the seconds that took.

        Before that a second broker's death would leave some with too few to take writes.
        """
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        began = time.monotonic()
        behind: list[str] = ["every partition"]
        while time.monotonic() < began + _READY_SECONDS_MAX:
            try:
                topics: Any = admin.list_topics(timeout=_REQUEST_SECONDS_MAX).topics
            except KafkaException:
                continue
            behind = [
                f"{name}/{number}"
                for name, topic in topics.items()
                for number, partition in topic.partitions.items()
                if len(partition.isrs) < len(partition.replicas)
            ]
            if not behind:
                return time.monotonic() - began
            time.sleep(_IN_SYNC_POLL_SECONDS)
        raise ServerDidNotStartError(f"these partitions did not get all their replicas back: {', '.join(behind[:9])}")

    def stop(self) -> None:
        """Stop and remove every broker."""
        # At once: the last of a quorum would wait in vain for the others before it goes.
        for node in self.nodes:
            node.process.kill()
        for node in self.nodes:
            node.stop()


def _quiet_ports(count: int) -> list[int]:
    """Free ports below those that the system gives to outgoing connections.

    Clients try a dead broker's port again and again; from the same range one of them could be given that very port as
    its own, and the broker could not come back to it.
    """
    first = secrets.randbelow(_PORT_LAST - _PORT_FIRST)
    found: list[int] = []
    for step in range(_PORT_LAST - _PORT_FIRST):
        port = _PORT_FIRST + (first + step) % (_PORT_LAST - _PORT_FIRST)
        if not listens(port):
            found.append(port)
        if len(found) == count:
            return found
    raise ServerDidNotStartError("no port is free for a broker")


def find_or_start(brokers: int = 1) -> KafkaServer:
    """A cluster by the policy of this package. Raises ServerMissingError.

    No container is tried: the jars run wherever Java does, so that one broker more is one process more.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return KafkaServer(given, brokers)
    return NativeKafka.create(brokers)


def jars_folder() -> Path:
    """Where the broker's jars are, fetched where they were not: lets a set-up script do it ahead of the tests."""
    return kafka_jars()
