"""Settings of the Kafka host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

#: What librdkafka may say in its own words: nothing. Problems come back as errors, and those are logged.
_SILENT: Final = 0
_GATHERED_BYTES: Final = 262_144
#: Rooms behind the orders: no order's answer waits for them.
PATIENT_ROOMS: Final = frozenset({"compliance", "agents"})


class KafkaHostSettings(Struct, frozen=True, kw_only=True):
    """How to reach the brokers, and the bounds of the host.

    ``bootstrap``: ``host:port`` of some brokers, comma-separated. ``topic_prefix`` lets several desks share a cluster.
    ``options``: librdkafka's own (TLS, SASL), over everything that is set here.
    ``commit_seconds``: how often progress is committed. ``snapshot_interval_messages``: inputs of a partition between
    two snapshots. ``outputs_waiting_max``: outputs that may wait for the brokers before no more inputs are read;
    reading goes on at half of it. ``requests_waiting_max``: commands that may wait for an answer in one process.
    ``drain_seconds_max``: how long a partition that leaves may take to let go. ``session_seconds``: how long a process
    may be silent before its partitions go to others. ``gather_seconds``: for how long what no answer waits for may
    gather, so that much of it travels together: what goes to PATIENT_ROOMS where it is said, their inboxes and facts
    where they are read.
    """

    bootstrap: str
    topic_prefix: str = ""
    options: Mapping[str, str] = {}
    batch_messages_max: int = 500
    commit_seconds: float = 0.5
    snapshot_interval_messages: int = 20_000
    outputs_waiting_max: int = 50_000
    requests_waiting_max: int = 20_000
    request_timeout_seconds: float = 10.0
    tick_seconds: float = 1.0
    drain_seconds_max: float = 10.0
    session_seconds: float = 10.0
    broker_seconds_max: float = 20.0
    heartbeat_seconds: float = 5.0
    gather_seconds: float = 0.02

    def __repr__(self) -> str:
        """Without the options, which may hold a password."""
        return f"KafkaHostSettings(bootstrap={self.bootstrap!r}, topic_prefix={self.topic_prefix!r})"

    def topic(self, name: str) -> str:
        """The name of a topic on the brokers."""
        return f"{self.topic_prefix}{name}"

    def _common(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.bootstrap, "log_level": _SILENT, "socket.keepalive.enable": True}

    def admin(self) -> dict[str, Any]:
        """Configuration of an administrator."""
        return self._common() | dict(self.options)

    def durable_producer(self) -> dict[str, Any]:
        """Configuration of the producer of everything that must not be lost.

        Nothing ever times out in its queue: a later output must not arrive where an earlier one did not.
        """
        return (
            self._common()
            | {
                "enable.idempotence": True,
                "acks": "all",
                "message.timeout.ms": 0,
                "linger.ms": 0.5,
                "queue.buffering.max.messages": max(4 * self.outputs_waiting_max, 100_000),
                "queue.buffering.max.kbytes": 1_048_576,
                "compression.type": "lz4",
            }
            | dict(self.options)
        )

    def request_producer(self) -> dict[str, Any]:
        """Configuration of the producer of commands: one that nobody waits for any more is not sent."""
        return (
            self.durable_producer()
            | {
                "message.timeout.ms": int(self.request_timeout_seconds * 1000),
                "queue.buffering.max.messages": 2 * self.requests_waiting_max,
            }
            | dict(self.options)
        )

    def perishable_producer(self) -> dict[str, Any]:
        """Configuration of the producer of what the next message says again: prices and the time."""
        return (
            self.durable_producer()
            | {
                "message.timeout.ms": 2_000,
                "queue.buffering.max.messages": 100_000,
            }
            | dict(self.options)
        )

    def group_consumer(self, group: str, client: str) -> dict[str, Any]:
        """Configuration of a member of a consumer group."""
        return (
            self._common()
            | {
                "group.id": f"{self.topic_prefix}{group}",
                "client.id": client,
                "partition.assignment.strategy": "cooperative-sticky",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_uncommitted",
                "session.timeout.ms": int(self.session_seconds * 1000),
                "heartbeat.interval.ms": max(int(self.session_seconds * 1000) // 5, 200),
                "max.poll.interval.ms": 300_000,
                "fetch.wait.max.ms": 200,
                "queued.max.messages.kbytes": 16_384,
            }
            | dict(self.options)
        )

    def tail_consumer(self, client: str) -> dict[str, Any]:
        """Configuration of a reader without a group that starts at the end."""
        return self.group_consumer(f"tail-{client}", client) | {"group.id": f"{self.topic_prefix}tail-{client}"}

    def gathering_group_consumer(self, group: str, client: str) -> dict[str, Any]:
        """A member of a group that reads what nobody waits for one by one."""
        return self.group_consumer(group, client) | self._gathering()

    def gathering_tail_consumer(self, client: str) -> dict[str, Any]:
        """A reader without a group of what nobody waits for one by one."""
        return self.tail_consumer(client) | self._gathering()

    def _gathering(self) -> dict[str, Any]:
        # The broker answers once it has so much, or after so long.
        wait_ms = max(int(self.gather_seconds * 1000), 1)
        return {"fetch.min.bytes": _GATHERED_BYTES, "fetch.wait.max.ms": wait_ms} | dict(self.options)
