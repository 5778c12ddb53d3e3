"""What Prometheus is told about the sources."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from polaris_synapse.agents.sources.port import Failure
from polaris_synapse.agents.sources.reader import Reading


class SourcesMetrics:
    """Polls, what they brought, and what was suspicious about it. Labels are the desk's own names, never theirs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._polls = Counter(
            "polaris_sources_polls", "Polls by how they ended.", ("source", "result"), registry=registry
        )
        self._events = Counter(
            "polaris_sources_events", "Items, transfers and rates that were new.", ("source",), registry=registry
        )
        self._dropped = Counter(
            "polaris_sources_dropped", "Entries without a usable date or text.", ("source",), registry=registry
        )
        self._published = Counter(
            "polaris_sources_published", "Scored messages put on the bus.", ("source",), registry=registry
        )
        self._withheld = Counter(
            "polaris_sources_withheld", "Items written for machines, published to nobody.", ("source",),
            registry=registry,
        )  # fmt: skip
        self._flags = Counter(
            "polaris_sources_flags", "Items by what was suspicious about them.", ("flag",), registry=registry
        )
        self._up = Gauge("polaris_sources_up", "1 while the last poll went well.", ("source",), registry=registry)
        self._success = Gauge(
            "polaris_sources_last_success_seconds", "When the last poll that went well ended, Unix time.", ("source",),
            registry=registry,
        )  # fmt: skip

    def known(self, source: str) -> None:
        """A source exists: its series begin at 0."""
        self._up.labels(source).set(0)

    def polled(self, source: str, *, events: int, dropped: int, unchanged: bool, now_ns: int) -> None:
        """A poll went well."""
        self._polls.labels(source, "unchanged" if unchanged else "ok").inc()
        self._events.labels(source).inc(events)
        self._dropped.labels(source).inc(dropped)
        self._up.labels(source).set(1)
        self._success.labels(source).set(now_ns // 1_000_000_000)

    def failed(self, source: str, failure: Failure) -> None:
        """A poll failed."""
        self._polls.labels(source, failure.value).inc()
        self._up.labels(source).set(0)

    def read(self, source: str, reading: Reading) -> None:
        """An item was read."""
        for flag in reading.flags:
            self._flags.labels(flag.value).inc()
        if reading.withheld:
            self._withheld.labels(source).inc()

    def published(self, source: str, messages: int) -> None:
        """Messages are on the bus."""
        self._published.labels(source).inc(messages)
