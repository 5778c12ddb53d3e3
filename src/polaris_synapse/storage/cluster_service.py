"""The read models of a cluster: two databases that every service reads and one process at a time writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import anyio
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.kafka.ends import PartitionEnds
from polaris_synapse.bus.kafka.leader import Leader
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.topics import INSTRUMENTS
from polaris_synapse.domain import topics as t
from polaris_synapse.storage import schema
from polaris_synapse.storage.cluster_candles import CandleWriter
from polaris_synapse.storage.cluster_projector import ClusterProjector, ClusterProjectorMetrics
from polaris_synapse.storage.core_snapshots import SqlSnapshotStore
from polaris_synapse.storage.database import DatabaseUnavailableError, open_database
from polaris_synapse.storage.migrate import upgrade_compliance, upgrade_orders
from polaris_synapse.storage.port import ReadModelsLagError
from polaris_synapse.storage.projections import COMPLIANCE_PROJECTIONS, ORDER_PROJECTIONS
from polaris_synapse.storage.read_models import SqlReadModels
from polaris_synapse.storage.settings import StorageSettings

ORDER_TOPICS: Final = (t.EXECUTIONS, t.RISK_EVENTS, t.TRANSACTIONS_ALL, t.TRADING_DECISIONS, INSTRUMENTS)
COMPLIANCE_TOPICS: Final = (t.AUDIT, t.COMPLIANCE_ALERTS, t.COMPLIANCE_DECISIONS)
_POLL_SECONDS: Final = 0.01
_POLL_SECONDS_MAX: Final = 0.5


class ClusterStorage:
    """``read_models`` for every service, ``snapshots`` for hosts, and the projectors for those that run them."""

    def __init__(
        self,
        settings: StorageSettings,
        kafka: KafkaHostSettings,
        partitions: Mapping[str, int],
        clock: Clock,
        registry: CollectorRegistry,
        client: str,
    ) -> None:
        self._settings = settings
        self._kafka = kafka
        self._client = client
        self._clock = clock
        self._orders = open_database(settings.orders_url, readers_max=settings.readers_max)
        # The compliance record is synchronised at every commit: it is what an auditor gets.
        self._compliance = open_database(settings.compliance_url, synchronous="FULL", readers_max=settings.readers_max)
        self.snapshots = SqlSnapshotStore(self._orders)
        self.read_models = SqlReadModels(self._orders, self._compliance, self._caught_up)
        #: For the process that makes candles.
        self.candles = CandleWriter(self._orders, clock)
        metrics = ClusterProjectorMetrics(registry)
        self.orders = ClusterProjector(
            "orders",
            self._orders,
            schema.CLUSTER_PROGRESS_ORDERS,
            ORDER_PROJECTIONS,
            {topic: partitions[topic] for topic in ORDER_TOPICS},
            kafka,
            clock,
            metrics,
            client,
        )
        self.compliance = ClusterProjector(
            "compliance",
            self._compliance,
            schema.CLUSTER_PROGRESS_COMPLIANCE,
            COMPLIANCE_PROJECTIONS,
            {topic: partitions[topic] for topic in COMPLIANCE_TOPICS},
            kafka,
            clock,
            metrics,
            client,
        )
        self._partition_ends = {
            projector.name: PartitionEnds(
                kafka.tail_consumer(f"{client}-{projector.name}-ends"),
                [(kafka.topic(topic), number) for topic, count in projector.topics.items() for number in range(count)],
                settings.caught_up_seconds_max,
            )
            for projector in (self.orders, self.compliance)
        }

    async def prepare(self) -> None:
        """Upgrade both databases. Raises DatabaseUnavailableError or SchemaVersionError."""
        await upgrade_orders(self._orders)
        await upgrade_compliance(self._compliance)

    async def close(self) -> None:
        """Let go of the brokers and of both databases."""
        for ends in self._partition_ends.values():
            await ends.close()
        await self._orders.close()
        await self._compliance.close()

    def projecting(self, projector: ClusterProjector) -> Leader:
        """What runs a projector in one of all the processes that stand by for it."""
        return Leader(
            self._kafka,
            group=f"projector-{projector.name}-group",
            topic=t.SYSTEM_HEARTBEATS,
            client=f"{self._client}-{projector.name}",
            work=projector.run,
        )

    def readiness(self, projector: ClusterProjector) -> dict[str, Callable[[], str | None]]:
        """The check of one projector."""
        return projector.readiness()

    async def _caught_up(self) -> None:
        """Wait until the databases have all that is on the topics now."""
        seconds = self._settings.caught_up_seconds_max
        try:
            with anyio.fail_after(seconds):
                for projector in (self.orders, self.compliance):
                    wanted = await self._ends(projector)
                    pause = _POLL_SECONDS
                    while not await self._has(projector, wanted):
                        await anyio.sleep(pause)
                        # Who is far behind stays so for a while, and needs the processors that looking takes.
                        pause = min(pause * 1.5, _POLL_SECONDS_MAX)
        except (TimeoutError, DatabaseUnavailableError):
            raise ReadModelsLagError(f"the read models did not catch up within {seconds:g} s") from None

    async def _has(self, projector: ClusterProjector, wanted: Mapping[str, int]) -> bool:
        found = (await projector.progress()).next_offsets
        return all(found.get(place, 0) >= end for place, end in wanted.items())

    async def _ends(self, projector: ClusterProjector) -> dict[str, int]:
        """Where each partition ends now, by ``topic/partition``. Raises ReadModelsLagError."""
        from confluent_kafka import KafkaException

        try:
            ends = await self._partition_ends[projector.name].now()
        except KafkaException as error:
            raise ReadModelsLagError(f"the brokers do not say where the topics end: {error}") from None
        return {
            f"{topic}/{partition}": ends[self._kafka.topic(topic), partition]
            for topic, partitions in projector.topics.items()
            for partition in range(partitions)
        }
