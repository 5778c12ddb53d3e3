"""The gateway's figures, cheap enough to keep on the order path."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from polaris_synapse.domain.reasons import Reason

_BOUNDS_NS: Final = tuple(
    round(ms * 1_000_000) for ms in (0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100, 250, 500, 1000, 5000)
)


class LatencyHistogram(Collector):
    """A Prometheus histogram kept as plain integers: counting costs a bisection and two additions."""

    def __init__(self, name: str, help_text: str, label: str) -> None:
        self._name = name
        self._help = help_text
        self._label = label
        self._counts: dict[str, list[int]] = {}
        self._sums_ns: dict[str, int] = {}

    def observe_ns(self, value: str, elapsed_ns: int) -> None:
        """Count one latency under a label value."""
        counts = self._counts.get(value)
        if counts is None:
            counts = self._counts[value] = [0] * (len(_BOUNDS_NS) + 1)
            self._sums_ns[value] = 0
        counts[bisect_left(_BOUNDS_NS, elapsed_ns)] += 1
        self._sums_ns[value] += elapsed_ns

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The histogram as Prometheus reads it."""
        family = HistogramMetricFamily(self._name, self._help, labels=[self._label])
        for value, counts in self._counts.items():
            total = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip(_BOUNDS_NS, counts, strict=False):
                total += count
                buckets.append((str(bound / 1e9), total))
            buckets.append(("+Inf", total + counts[-1]))
            family.add_metric([value], buckets, self._sums_ns[value] / 1e9)
        yield family


class MarketChannelMetrics:
    """What a gateway hears of markets through the cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.joined = Gauge(
            "polaris_gateway_markets_heard", "Markets that are heard through the cache.", registry=registry
        )
        self.turns = Counter(
            "polaris_gateway_market_turns", "Turns of markets heard through the cache.", registry=registry
        )
        self.gaps = Counter(
            "polaris_gateway_market_gaps",
            "Gaps told to those who listen to markets: lost (the cache is away), missed (a turn), silent (no turn).",
            ("cause",),
            registry=registry,
        )


class MarketWriterMetrics:
    """What the process that follows markets publishes of them through the cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.turns = Counter(
            "polaris_market_data_turns_published", "Turns of markets published through the cache.", registry=registry
        )
        self.messages = Counter(
            "polaris_market_data_messages_published",
            "Tops, trades and candles published through the cache.",
            registry=registry,
        )
        self.dropped = Counter(
            "polaris_market_data_messages_not_published",
            "Tops, trades and candles that the cache did not take, or for which a turn had no room.",
            registry=registry,
        )


class GatewayMetrics:
    """Order latency, refusals by reason, connections, and what rate limits turned away."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.order_seconds = LatencyHistogram(
            "polaris_order_ack_seconds", "From a parsed order to risk's durable verdict.", "entry"
        )
        registry.register(self.order_seconds)
        self._refusals = Counter(
            "polaris_gateway_refusals", "Requests refused, by reason.", ("reason",), registry=registry
        )
        self._orders = Counter(
            "polaris_gateway_orders", "Order commands by kind and whether they were taken.", ("kind", "outcome"),
            registry=registry,
        )  # fmt: skip
        #: Finding a labelled series costs more than counting in it.
        self._taken: dict[str, Counter] = {}
        self.connections = Gauge("polaris_gateway_connections", "Open WebSockets.", registry=registry)
        self.dropped = Counter(
            "polaris_gateway_connections_dropped", "WebSockets closed by the gateway.", ("reason",), registry=registry
        )
        self.gaps = Counter(
            "polaris_gateway_fact_gaps", "Times the gateway fell behind the bus and missed facts.", registry=registry
        )

    @staticmethod
    def now_ns() -> int:
        """Nanoseconds on a clock that only measures."""
        return time.perf_counter_ns()

    def refused(self, reason: Reason) -> None:
        """A request was refused."""
        self._refusals.labels(reason.name).inc()

    def command(self, kind: str, reason: Reason) -> None:
        """An order command was answered."""
        if reason is Reason.NONE:
            taken = self._taken.get(kind)
            if taken is None:
                taken = self._taken[kind] = self._orders.labels(kind, "taken")
            taken.inc()
        else:
            self._orders.labels(kind, "refused").inc()
            self.refused(reason)
