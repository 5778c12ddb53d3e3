"""Metrics of hot loops, as Prometheus reads them."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from polaris_synapse import __version__
from polaris_synapse.monitoring import metrics
from polaris_synapse.monitoring.metrics import HotMetrics, register_process_metrics


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of its own."""
    return CollectorRegistry()


def test_counters_count(registry: CollectorRegistry) -> None:
    """Counts appear under their labels, and a counter without labels begins at nought."""
    hot = HotMetrics(registry)
    refusals = hot.counter("polaris_refusals", "Refusals.", ("reason",))
    hot.counter("polaris_orders", "Orders.")
    refusals.add("KILL_SWITCH")
    refusals.add("KILL_SWITCH", count=4)
    assert registry.get_sample_value("polaris_refusals_total", {"reason": "KILL_SWITCH"}) == 5
    assert registry.get_sample_value("polaris_orders_total") == 0
    with pytest.raises(ValueError, match="takes the labels"):
        refusals.add()


def test_histograms_are_cumulative_and_in_seconds(registry: CollectorRegistry) -> None:
    """A value on a bound belongs below it, buckets add up, and nanoseconds are shown as seconds."""
    hot = HotMetrics(registry)
    latency = hot.histogram("polaris_latency_seconds", "Latency.", ("route",), bounds=(1_000_000, 2_000_000))
    for value in (1, 1_000_000, 1_000_001, 5_000_000):
        latency.observe(value, "x")

    def bucket(bound: str) -> float | None:
        return registry.get_sample_value("polaris_latency_seconds_bucket", {"route": "x", "le": bound})

    assert [bucket(bound) for bound in ("0.001", "0.002", "+Inf")] == [2, 3, 4]
    assert registry.get_sample_value("polaris_latency_seconds_count", {"route": "x"}) == 4
    total = registry.get_sample_value("polaris_latency_seconds_sum", {"route": "x"})
    assert total == pytest.approx(0.007000002)
    with pytest.raises(ValueError, match="takes the labels"):
        latency.observe(1)
    with pytest.raises(ValueError, match="bounds must grow"):
        hot.histogram("polaris_bad", "Bad.", bounds=(2, 1))


def test_gauges_are_read_when_somebody_looks(registry: CollectorRegistry) -> None:
    """A gauge gives what its owner says at each scrape."""
    values: dict[tuple[str, ...], float] = {("a",): 1.0}
    HotMetrics(registry).gauge("polaris_depth", "Depth.", lambda: values, ("queue",))
    assert registry.get_sample_value("polaris_depth", {"queue": "a"}) == 1
    values[("a",)] = 7
    assert registry.get_sample_value("polaris_depth", {"queue": "a"}) == 7


def test_series_are_bounded(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that a client makes up cannot grow the metrics without end."""
    monkeypatch.setattr(metrics, "SERIES_MAX", 3)
    hot = HotMetrics(registry)
    counter, histogram = hot.counter("polaris_c", "C.", ("l",)), hot.histogram("polaris_h", "H.", ("l",))
    for number in range(100):
        counter.add(str(number))
        histogram.observe(1, str(number))
    assert len(counter.counts) == 4
    assert registry.get_sample_value("polaris_c_total", {"l": "other"}) == 97
    assert registry.get_sample_value("polaris_h_count", {"l": "other"}) == 97


def test_a_name_is_taken_once(registry: CollectorRegistry) -> None:
    """Two metrics of one name are a mistake."""
    hot = HotMetrics(registry)
    hot.counter("polaris_c", "C.")
    with pytest.raises(ValueError, match="already"):
        hot.histogram("polaris_c", "C.")


def test_the_process_and_its_build_are_described(registry: CollectorRegistry) -> None:
    """A scrape tells memory, garbage collection and which build runs."""
    register_process_metrics(registry)
    text = generate_latest(registry).decode()
    assert "process_resident_memory_bytes" in text
    assert "python_gc_objects_collected_total" in text
    assert f'version="{__version__}"' in text
    assert "polaris_build_info" in text
