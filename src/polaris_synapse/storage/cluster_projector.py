"""Writes the facts of a cluster into SQL, each exactly once, wherever the projector runs.

Its place in each partition of each topic is a row of the same database and moves in the same transaction as the facts,
under a version: of two processes that both believe to be the projector, one's transaction fails.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import Table
from sqlalchemy.engine import Connection

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.kafka.routing import ORDER_ID_PARTITIONS
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.tail import TailReader
from polaris_synapse.bus.kafka.wire import Record, read_records
from polaris_synapse.domain.messages import Message
from polaris_synapse.storage.cluster_progress import ClusterProgress, move_cluster_progress, read_cluster_progress
from polaris_synapse.storage.database import Database, DatabaseUnavailableError
from polaris_synapse.storage.fact_writing import write_facts
from polaris_synapse.storage.projections import STATUS_CHANGES, Projection, newest_only

_FIRST_PAUSE_SECONDS: Final = 0.05
_PAUSE_SECONDS_MAX: Final = 5.0
_BATCH_MAX: Final = 5_000
_WAITING_MAX: Final = 20_000
_log = structlog.get_logger("polaris_synapse.storage")


class ClusterProjectorMetrics:
    """What projectors tell Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.facts: Final = Counter("polaris_cluster_facts", "Facts written to SQL.", ["database"], registry=registry)
        self.failures: Final = Counter(
            "polaris_cluster_write_failures", "Transactions that the database refused.", ["database"], registry=registry
        )
        self.waiting: Final = Gauge(
            "polaris_cluster_facts_waiting", "Records read and not written yet.", ["database"], registry=registry
        )


class ClusterProjector:
    """Keeps one database up with some topics. ``topics``: how many partitions each has. ``run`` is a leader's work."""

    def __init__(
        self,
        name: str,
        database: Database,
        table: Table,
        projections: Mapping[type[Message], Projection],
        topics: Mapping[str, int],
        settings: KafkaHostSettings,
        clock: Clock,
        metrics: ClusterProjectorMetrics,
        client: str,
    ) -> None:
        self.name = name
        self.topics = dict(topics)
        #: Why the last write failed, empty while all is well.
        self.problem = ""
        self._database = database
        self._table = table
        self._projections = projections
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._client = client
        #: The messages of each record that was read and not written yet: a transaction takes whole records.
        self._waiting: deque[list[Record]] = deque()
        self._waiting_messages = 0
        self._arrived = asyncio.Event()

    def readiness(self) -> dict[str, Callable[[], str | None]]:
        """A check of the database."""
        return {f"{self.name} database": lambda: self.problem or None}

    async def progress(self, *, database: Database | None = None) -> ClusterProgress:
        """How far the database has come. Raises DatabaseUnavailableError."""
        return await (database or self._database).read(
            lambda connection: read_cluster_progress(connection, self._table, self.name)
        )

    async def run(self) -> None:
        """Write until cancelled. Raises ProgressLostError where another process has taken over."""
        progress = await self._read_progress()
        self._waiting.clear()
        self._waiting_messages = 0
        starts: dict[tuple[str, int], int] = {}
        for place, offset in progress.next_offsets.items():
            topic, _, partition = place.rpartition("/")
            starts[topic, int(partition)] = offset
        tail = TailReader(
            self._settings.gathering_tail_consumer(f"{self._client}-{self.name}"),
            {topic: range(partitions) for topic, partitions in self.topics.items()},
            self._settings.topic,
            self._take,
            broker_seconds=self._settings.broker_seconds_max,
            from_start=True,
            starts=starts,
            is_full=lambda: self._waiting_messages >= _WAITING_MAX,
        )
        await tail.start()
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    facts = self._next_batch(progress)
                    self._metrics.waiting.labels(self.name).set(self._waiting_messages)
                    await self._write(progress, facts)
                if tail.failure:
                    raise RuntimeError(tail.failure)
        finally:
            await tail.stop()

    def _take(self, records: Sequence[tuple[str, Any]]) -> None:
        for topic, raw in records:
            messages = read_records(topic, raw)
            self._waiting.append(messages)
            self._waiting_messages += len(messages)
        self._arrived.set()

    def _next_batch(self, progress: ClusterProgress) -> list[Envelope]:
        """The facts of the next transaction."""
        facts: list[Envelope] = []
        while self._waiting and len(facts) < _BATCH_MAX:
            messages = self._waiting.popleft()
            self._waiting_messages -= len(messages)
            facts += [_envelope(record) for record in progress.take(messages) if self._is_wanted(record)]
        return facts

    def _is_wanted(self, record: Record) -> bool:
        kind = type(record.message)
        return kind in self._projections or kind in STATUS_CHANGES

    async def _read_progress(self) -> ClusterProgress:
        while True:
            try:
                return await self.progress()
            except DatabaseUnavailableError as error:
                self.problem = str(error)
                await self._clock.sleep(_PAUSE_SECONDS_MAX)

    async def _write(self, progress: ClusterProgress, facts: Sequence[Envelope]) -> None:
        """One transaction, tried again until the database takes it: facts wait for it, they are never skipped."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._database.write(lambda connection: self._transaction(connection, progress, facts))
            except DatabaseUnavailableError as error:
                if not self.problem:
                    _log.error("read_models_unwritable", database=self.name, error=str(error))
                self.problem = str(error)
                self._metrics.failures.labels(self.name).inc()
                await self._clock.sleep(pause)
                pause = min(pause * 2, _PAUSE_SECONDS_MAX)
            else:
                break
        progress.version += 1
        if self.problem:
            _log.info("read_models_writable_again", database=self.name)
            self.problem = ""
        self._metrics.facts.labels(self.name).inc(len(facts))

    def _transaction(self, connection: Connection, progress: ClusterProgress, facts: Sequence[Envelope]) -> None:
        if move_cluster_progress(connection, self._table, self.name, progress):
            write_facts(connection, self._projections, newest_only(facts))


def _envelope(record: Record) -> Envelope:
    """The envelope of a fact. Offsets of several partitions become one number, so that none is there twice."""
    source = record.source
    assert source is not None
    return Envelope(
        topic=record.topic,
        core=source.core,
        partition=source.partition,
        offset=source.offset * ORDER_ID_PARTITIONS + source.partition,
        index=source.index,
        message=record.message,  # type: ignore[arg-type]  # AnyMessage is the union of every Message
    )
