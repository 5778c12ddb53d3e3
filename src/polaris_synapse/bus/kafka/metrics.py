"""What the Kafka host tells Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from polaris_synapse.domain.messages import Message


class _State(Protocol):
    """host.PartitionState, which imports this module."""

    @property
    def core(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def lag_messages(self) -> int: ...
    @property
    def live(self) -> bool: ...
    @property
    def skipped(self) -> int: ...


class KafkaMetrics:
    """The host's collectors. Counts gather in plain integers and are handed over now and then."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["core", "partition"]
        self.take_over_seconds: Final = Gauge(
            "polaris_kafka_take_over_seconds", "Time that the last take-over took.", ["core"], registry=registry
        )
        self.snapshot_seconds: Final = Gauge(
            "polaris_kafka_snapshot_seconds", "Time that making the last snapshot took.", ["core"], registry=registry
        )
        self._offset: Final = Gauge(
            "polaris_kafka_offset", "The last input folded, by partition.", labels, registry=registry
        )
        self._lag: Final = Gauge(
            "polaris_kafka_lag_messages", "Inputs known to wait, by partition.", labels, registry=registry
        )
        self._live: Final = Gauge(
            "polaris_kafka_partition_live", "1 once a partition is up to date here.", labels, registry=registry
        )
        self._skipped: Final = Gauge(
            "polaris_kafka_repetitions_skipped", "Repeated outputs that were skipped.", labels, registry=registry
        )
        self._waiting: Final = Gauge(
            "polaris_kafka_outputs_waiting", "Outputs that the brokers have not confirmed.", registry=registry
        )
        self._inputs: Final = Counter("polaris_kafka_inputs", "Inputs folded, by kind.", ["kind"], registry=registry)
        self._outputs: Final = Counter("polaris_kafka_outputs", "Outputs handed to the brokers.", registry=registry)
        self.inputs: dict[type[Message], int] = {}
        self.outputs = 0

    def hand_over(self, states: Sequence[_State], waiting: int) -> None:
        """Give Prometheus what is known now."""
        for kind, count in self.inputs.items():
            self._inputs.labels(str(kind.__struct_config__.tag)).inc(count)
        self.inputs = {}
        self._outputs.inc(self.outputs)
        self.outputs = 0
        self._waiting.set(waiting)
        gauges: tuple[Any, ...] = (self._offset, self._lag, self._live, self._skipped)
        for gauge in gauges:
            gauge.clear()
        for state in states:
            labels = (state.core, str(state.partition))
            self._offset.labels(*labels).set(state.offset)
            self._lag.labels(*labels).set(state.lag_messages)
            self._live.labels(*labels).set(int(state.live))
            self._skipped.labels(*labels).set(state.skipped)
