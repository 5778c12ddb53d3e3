"""Market data's metrics, read from the feed's counts and the views when they are scraped: nothing in the hot path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from polaris_synapse.bus.clock import Clock
from polaris_synapse.market_data.feeds.port import FeedCounts
from polaris_synapse.market_data.views import MarketViews

_PREFIX = "polaris_market_data"
_NS = 1_000_000_000


class MarketDataMetrics(Collector):
    """Collects at scrape time. ``health_changes`` counts ``(symbol, cause)`` as published."""

    def __init__(
        self,
        registry: CollectorRegistry,
        clock: Clock,
        views: MarketViews,
        counts: Callable[[], tuple[str, FeedCounts] | None],
    ) -> None:
        self._clock = clock
        self._views = views
        self._counts = counts
        self.health_changes: dict[tuple[str, str], int] = {}
        self.resyncs: dict[tuple[str, str], int] = {}
        self.stream_clients = 0
        self.stream_clients_dropped = 0
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The samples of now."""
        yield from self._of_books()
        yield from self._of_feed()
        clients = GaugeMetricFamily(f"{_PREFIX}_stream_clients", "WebSocket clients of the market data stream.")
        clients.add_metric([], self.stream_clients)
        yield clients
        dropped = CounterMetricFamily(f"{_PREFIX}_stream_clients_dropped", "Clients dropped for reading too slowly.")
        dropped.add_metric([], self.stream_clients_dropped)
        yield dropped

    def _of_books(self) -> Iterator[Metric]:
        labels = ["symbol", "source"]
        staleness = GaugeMetricFamily(f"{_PREFIX}_feed_staleness_seconds", "Since the last book change.", labels=labels)
        healthy = GaugeMetricFamily(f"{_PREFIX}_book_healthy", "1 when the book may be traded on.", labels=labels)
        for view in self._views.symbols():
            if view.updated_ns:
                age = max(0, self._clock.now_ns() - view.updated_ns) / _NS
                staleness.add_metric([view.symbol, view.source], age)
            healthy.add_metric([view.symbol, view.source], view.healthy)
        yield staleness
        yield healthy
        unhealthy = CounterMetricFamily(
            f"{_PREFIX}_book_unhealthy", "Times a book stopped being usable, by cause.", labels=["symbol", "cause"]
        )
        for key, count in sorted(self.health_changes.items()):
            unhealthy.add_metric(list(key), count)
        yield unhealthy
        resyncs = CounterMetricFamily(f"{_PREFIX}_resyncs", "Snapshots asked for.", labels=["symbol", "cause"])
        for key, count in sorted(self.resyncs.items()):
            resyncs.add_metric(list(key), count)
        yield resyncs

    def _of_feed(self) -> Iterator[Metric]:
        found = self._counts()
        if found is None:
            return
        name, counts = found
        frames = CounterMetricFamily(f"{_PREFIX}_frames", "Frames received, by kind.", labels=["feed", "kind"])
        for kind, count in sorted(counts.frames.items()):
            frames.add_metric([name, kind], count)
        yield frames
        for suffix, value, text in (
            ("malformed_frames", counts.malformed, "Frames that could not be read."),
            ("reconnects", counts.reconnects, "Connections that were replaced."),
            ("snapshots_requested", counts.snapshots_requested, "Snapshots requested of the source."),
            ("snapshots_failed", counts.snapshots_failed, "Snapshot requests that failed."),
            ("rate_limited", counts.rate_limited, "Requests that the venue refused for their number."),
            ("trades_backfilled", counts.trades_backfilled, "Missed trades that were fetched later."),
        ):
            family = CounterMetricFamily(f"{_PREFIX}_{suffix}", text, labels=["feed"])
            family.add_metric([name], value)
            yield family
        if counts.clock_offset_ms is not None:
            offset = GaugeMetricFamily(
                f"{_PREFIX}_venue_clock_offset_seconds", "How far the venue's clock is ahead.", labels=["feed"]
            )
            offset.add_metric([name], counts.clock_offset_ms / 1000)
            yield offset
