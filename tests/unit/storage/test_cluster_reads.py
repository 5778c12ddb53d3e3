"""Reads of a cluster wait for what is on the topics, and go on after an election."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, admin
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.topics import TopicCounts, partition_counts, topic_specs
from polaris_synapse.storage.cluster_service import ClusterStorage
from polaris_synapse.storage.port import ReadModelsLagError
from polaris_synapse.storage.settings import StorageSettings

pytestmark = pytest.mark.anyio


class Administrators:
    """Stands in for the class of administrators: of those that it makes, the first knows an old leader's epoch."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, _: Mapping[str, Any]) -> Administrators.One:
        self.made += 1
        return self.One(is_stale=self.made == 1)

    class One:
        """Answers as a broker does that leads empty partitions."""

        def __init__(self, *, is_stale: bool) -> None:
            self.is_stale = is_stale

        def list_offsets(self, places: Mapping[Any, Any]) -> dict[Any, Future[Any]]:
            """The ends, or what a fenced epoch gives, as often as one asks."""
            futures: dict[Any, Future[Any]] = {place: Future() for place in places}
            for future in futures.values():
                if self.is_stale:
                    future.set_exception(KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH)))
                else:
                    future.set_result(SimpleNamespace(offset=0))
            return futures


async def test_reads_go_on_after_an_election(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A client that asks under an old epoch is replaced, as it would be refused for ever."""
    administrators = Administrators()
    monkeypatch.setattr(admin, "AdminClient", administrators)
    storage = ClusterStorage(
        StorageSettings(
            orders_url=f"sqlite:///{tmp_path / 'orders.sqlite3'}",
            compliance_url=f"sqlite:///{tmp_path / 'compliance.sqlite3'}",
        ),
        KafkaHostSettings(bootstrap="127.0.0.1:1"),
        partition_counts(topic_specs(TopicCounts(), replicas=1)),
        SystemClock(),
        CollectorRegistry(),
        "test",
    )
    try:
        await storage.prepare()
        with pytest.raises(ReadModelsLagError, match="FENCED_LEADER_EPOCH"):
            await storage.read_models.caught_up()
        await storage.read_models.caught_up()
        await storage.read_models.caught_up()
    finally:
        await storage.close()
    assert administrators.made == 2
