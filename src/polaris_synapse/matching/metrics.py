"""What Prometheus is told about matching: read from the books when it asks, so that no order pays for it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.core.port import BUY, SELL, STATUSES


class BookCollector(Collector):
    """Orders, trades and depth of each book."""

    def __init__(self, core: MatchingCore) -> None:
        self._core = core

    def describe(self) -> Iterator[Metric]:
        """The families without samples, so that registering asks no book."""
        return self._families().__iter__()

    @staticmethod
    def _families() -> list[Metric]:
        by_symbol, by_side = ["symbol"], ["symbol", "side"]
        return [
            CounterMetricFamily("polaris_matching_orders", "Orders placed on the book.", labels=by_symbol),
            CounterMetricFamily("polaris_matching_orders_rejected", "Orders the book turned away.", labels=by_symbol),
            CounterMetricFamily("polaris_matching_trades", "Trades of the book.", labels=by_symbol),
            GaugeMetricFamily("polaris_matching_open_orders", "Orders resting or waiting.", labels=by_symbol),
            GaugeMetricFamily("polaris_matching_waiting_orders", "Orders waiting for a trigger.", labels=by_symbol),
            GaugeMetricFamily("polaris_matching_levels", "Price levels.", labels=by_side),
            GaugeMetricFamily("polaris_matching_best_ticks", "Best price in ticks, 0 for none.", labels=by_side),
            GaugeMetricFamily("polaris_matching_status", "1 for the book's status.", labels=["symbol", "status"]),
        ]

    def collect(self) -> Iterator[Metric]:
        """Read the books."""
        orders, rejected, trades, resting, waiting, levels, best, statuses = families = self._families()
        for symbol, market in sorted(self._core.markets.items()):
            book = market.book
            for family, value in (
                (orders, market.placed),
                (rejected, market.rejected),
                (trades, market.trades),
                (resting, len(book)),
                (waiting, book.waiting_orders()),
            ):
                family.add_sample(_sample_name(family), {"symbol": symbol}, value)
            for side, code, best_ticks in (("bid", BUY, book.best_bid()), ("ask", SELL, book.best_ask())):
                labels = {"symbol": symbol, "side": side}
                levels.add_sample(levels.name, labels, book.level_count(code))
                best.add_sample(best.name, labels, best_ticks)
            for code, status in enumerate(STATUSES):
                labels = {"symbol": symbol, "status": status.value}
                statuses.add_sample(statuses.name, labels, int(code == book.status))
        yield from families


def _sample_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name
