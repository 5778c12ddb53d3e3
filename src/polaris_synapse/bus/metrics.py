"""What the embedded host tells Prometheus. The hot loop counts in plain integers; they are handed over at each tick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from polaris_synapse.domain.messages import Message

_COMMIT_BUCKETS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip
_BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class HostMetrics:
    """The host's collectors, with the counts that are not handed over yet."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.commit_seconds: Final = Histogram(
            "polaris_journal_commit_seconds", "Time of one journal commit.", buckets=_COMMIT_BUCKETS, registry=registry
        )
        self.batch_messages: Final = Histogram(
            "polaris_journal_batch_messages", "Inputs in one journal commit.", buckets=_BATCH_BUCKETS, registry=registry
        )
        self.queue_messages: Final = Gauge(
            "polaris_host_queue_messages", "Inputs that wait for the journal.", registry=registry
        )
        self.backlog_messages: Final = Gauge(
            "polaris_host_backlog_messages", "Envelopes that wait for a subscriber.", ["subscriber"], registry=registry
        )
        self.journal_up: Final = Gauge(
            "polaris_journal_up", "1 while the journal can be written, else 0.", registry=registry
        )
        self.journal_offset: Final = Gauge(
            "polaris_journal_offset", "Offset of the newest journaled input.", registry=registry
        )
        self.journal_bytes: Final = Gauge("polaris_journal_bytes", "Size of the journal's files.", registry=registry)
        self.replay_seconds: Final = Gauge(
            "polaris_host_replay_seconds", "Time that recovery took at the last start.", registry=registry
        )
        self.replayed_messages: Final = Gauge(
            "polaris_host_replayed_messages", "Inputs replayed at the last start.", registry=registry
        )
        self.snapshot_seconds: Final = Gauge(
            "polaris_host_snapshot_seconds", "Time that encoding the last snapshot took.", registry=registry
        )
        self._inputs: Final = Counter("polaris_host_inputs", "Inputs applied, by kind.", ["kind"], registry=registry)
        self._outputs: Final = Counter("polaris_host_outputs", "Messages that cores put out.", registry=registry)
        self._dropped: Final = Counter(
            "polaris_host_dropped_marks", "Marks and summaries dropped before the journal took them.", registry=registry
        )
        self._journal_failures: Final = Counter(
            "polaris_journal_failures", "Journal commits that failed.", registry=registry
        )
        self.inputs: dict[type[Message], int] = {}
        self.outputs = 0
        self.dropped = 0
        self.journal_failures = 0

    def hand_over(self, queue_messages: int, backlogs: Callable[[], dict[str, int]]) -> None:
        """Give Prometheus what was counted since the last time."""
        for kind, count in self.inputs.items():
            self._inputs.labels(str(kind.__struct_config__.tag)).inc(count)
        self.inputs = {}
        self._outputs.inc(self.outputs)
        self._dropped.inc(self.dropped)
        self._journal_failures.inc(self.journal_failures)
        self.outputs = self.dropped = self.journal_failures = 0
        self.queue_messages.set(queue_messages)
        self.backlog_messages.clear()
        for name, count in backlogs().items():
            self.backlog_messages.labels(name).set(count)
