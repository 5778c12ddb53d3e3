"""What the execution service tells Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SUBMIT_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class ExecutionMetrics:
    """The collectors of the execution service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.submit_seconds: Final = Histogram(
            "polaris_execution_submit_seconds",
            "Time from a submit to the venue's answer.",
            ["venue"],
            buckets=_SUBMIT_BUCKETS,
            registry=registry,
        )
        self.unknown_outcomes: Final = Counter(
            "polaris_execution_unknown_outcomes",
            "Requests whose outcome at the venue was not known.",
            ["venue", "request"],
            registry=registry,
        )
        self.reports: Final = Counter(
            "polaris_execution_reports", "Venue reports, by event.", ["venue", "event"], registry=registry
        )
        self.fills: Final = Counter(
            "polaris_execution_fills", "Fills that venues reported.", ["venue", "liquidity"], registry=registry
        )
        self.open_orders: Final = Gauge(
            "polaris_execution_open_orders", "Open orders at a venue.", ["venue"], registry=registry
        )
        self.connected: Final = Gauge(
            "polaris_execution_venue_connected",
            "1 while the venue can be reached, else 0.",
            ["venue"],
            registry=registry,
        )
        self.send_failures: Final = Counter(
            "polaris_execution_send_failures", "Times that the bus did not take reports.", registry=registry
        )
