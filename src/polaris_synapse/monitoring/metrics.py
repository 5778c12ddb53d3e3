"""Metrics for hot loops: plain integers where the work is done, turned into Prometheus series when somebody looks.

Counting costs about what a dictionary look-up does; names, labels and floats are made at scrape time. Not for use from
several threads at once.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, Info, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import polaris_synapse

#: Series that one metric may have; whatever comes after them is counted together as ``other``.
SERIES_MAX: Final = 1_000
OTHER: Final = "other"

_SECOND_NS: Final = 1_000_000_000
#: Bounds in nanoseconds for latencies from 50 microseconds to 10 seconds.
LATENCY_BOUNDS_NS: Final = tuple(
    microseconds * 1_000
    for microseconds in (
        50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
        200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000,
    )
)  # fmt: skip

Labels = tuple[str, ...]


def _bounded(labels: Labels, known: Mapping[Labels, object]) -> Labels:
    if labels in known or len(known) < SERIES_MAX:
        return labels
    return (OTHER,) * len(labels)


class HotCounter:
    """A counter with labels. ``counts`` is open to loops that keep a reference to it."""

    def __init__(self, name: str, documentation: str, label_names: Labels) -> None:
        self.name, self.documentation, self.label_names = name, documentation, label_names
        self.counts: dict[Labels, int] = {} if label_names else {(): 0}

    def add(self, *labels: str, count: int = 1) -> None:
        """Count. One label for each of the metric's names."""
        counts = self.counts
        if labels not in counts:
            if len(labels) != len(self.label_names):
                raise ValueError(f"{self.name} takes the labels {self.label_names}")
            labels = _bounded(labels, counts)
        counts[labels] = counts.get(labels, 0) + count

    def collect(self) -> Metric:
        """The series as they stand."""
        family = CounterMetricFamily(self.name, self.documentation, labels=self.label_names)
        for labels, count in list(self.counts.items()):
            family.add_metric(labels, count)
        return family


class _Cells:
    """One series of a histogram."""

    __slots__ = ("counts", "total")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.total = 0


class HotHistogram:
    """A histogram of whole numbers, nanoseconds as a rule, shown in units of ``unit`` of them (seconds)."""

    def __init__(self, name: str, documentation: str, label_names: Labels, bounds: Sequence[int], unit: int) -> None:
        if list(bounds) != sorted(set(bounds)) or not bounds:
            raise ValueError(f"{name}: the bounds must grow, and there must be some")
        self.name, self.documentation, self.label_names = name, documentation, label_names
        self._bounds, self._unit = tuple(bounds), unit
        self._series: dict[Labels, _Cells] = {} if label_names else {(): _Cells(len(bounds) + 1)}

    def observe(self, value: int, *labels: str) -> None:
        """Count a value. One label for each of the metric's names."""
        cells = self._series.get(labels)
        if cells is None:
            if len(labels) != len(self.label_names):
                raise ValueError(f"{self.name} takes the labels {self.label_names}")
            labels = _bounded(labels, self._series)
            cells = self._series.setdefault(labels, _Cells(len(self._bounds) + 1))
        cells.counts[bisect_left(self._bounds, value)] += 1
        cells.total += value

    def collect(self) -> Metric:
        """The series as they stand."""
        family = HistogramMetricFamily(self.name, self.documentation, labels=self.label_names)
        for labels, cells in list(self._series.items()):
            below, buckets = 0, []
            for bound, count in zip((*self._bounds, None), cells.counts, strict=True):
                below += count
                buckets.append(("+Inf" if bound is None else str(bound / self._unit), below))
            family.add_metric(labels, buckets, cells.total / self._unit)
        return family


class _ReadGauge:
    """A gauge that is read from its owner when somebody looks."""

    def __init__(
        self, name: str, documentation: str, label_names: Labels, read: Callable[[], Mapping[Labels, float]]
    ) -> None:
        self.name, self.documentation, self.label_names, self._read = name, documentation, label_names, read

    def collect(self) -> Metric:
        """The series as they stand."""
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.label_names)
        for labels, value in list(self._read().items())[:SERIES_MAX]:
            family.add_metric(labels, value)
        return family


class HotMetrics(Collector):
    """The hot metrics of one part of the desk, as one collector in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._metrics: dict[str, HotCounter | HotHistogram | _ReadGauge] = {}
        registry.register(self)

    def counter(self, name: str, documentation: str, label_names: Labels = ()) -> HotCounter:
        """A new counter. ``name`` without ``_total``. Raises ValueError for a name that exists."""
        counter = HotCounter(name, documentation, label_names)
        self._add(name, counter)
        return counter

    def histogram(
        self,
        name: str,
        documentation: str,
        label_names: Labels = (),
        *,
        bounds: Sequence[int] = LATENCY_BOUNDS_NS,
        unit: int = _SECOND_NS,
    ) -> HotHistogram:
        """A new histogram; with the defaults it takes nanoseconds and shows seconds. Raises ValueError."""
        histogram = HotHistogram(name, documentation, label_names, bounds, unit)
        self._add(name, histogram)
        return histogram

    def gauge(
        self, name: str, documentation: str, read: Callable[[], Mapping[Labels, float]], label_names: Labels = ()
    ) -> None:
        """A gauge whose values ``read`` gives at each scrape, by labels. Raises ValueError for a name that exists."""
        self._add(name, _ReadGauge(name, documentation, label_names, read))

    def _add(self, name: str, metric: HotCounter | HotHistogram | _ReadGauge) -> None:
        if name in self._metrics:
            raise ValueError(f"there is a metric {name} already")
        self._metrics[name] = metric

    def collect(self) -> Iterator[Metric]:
        """Every metric as it stands now."""
        for metric in self._metrics.values():
            yield metric.collect()


def register_process_metrics(registry: CollectorRegistry) -> None:
    """CPU, memory, file descriptors, garbage collection, the platform, and which build this is. Once a registry."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Info("polaris_build", "Which build of Polaris Synapse runs here.", registry=registry)
    build.info(
        {
            "version": polaris_synapse.__version__,
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "msgspec": msgspec.__version__,
        }
    )
