"""Reports of fault runs as figures that programs compare."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.testing.faults.figures import figures_of


class Felt(Struct):
    """One fault of a report."""

    fault: str
    silence_seconds: float
    refused: dict[str, int]


class Report(Struct):
    """A report of every shape."""

    alive: bool
    seconds: float
    load_average: float
    resident_peak_bytes: int
    recovery_seconds: list[float]
    faults: tuple[Felt, ...]
    violations: list[str]


def test_every_number_of_a_report_is_a_figure() -> None:
    """Named by its way, with its unit; lists by their median and largest, or by their length."""
    report = Report(
        alive=True,
        seconds=12.5,
        load_average=3.25,
        resident_peak_bytes=1_000,
        recovery_seconds=[1.0, 4.0, 2.0],
        faults=(Felt("kill:risk-manager", 7.2, {"NOT_READY": 3}),),
        violations=["an order is gone"],
    )
    assert figures_of(report) == [
        Figure("alive", 1, "yes or no"),
        Figure("seconds", 12.5, "s"),
        Figure("load average", 3.25, "1"),
        Figure("resident peak bytes", 1_000, "B"),
        Figure("recovery seconds, p50", 2.0, "s"),
        Figure("recovery seconds, most", 4.0, "s"),
        Figure("faults, kill:risk-manager, silence seconds", 7.2, "s"),
        Figure("faults, kill:risk-manager, refused, NOT_READY", 3, "count"),
        Figure("violations", 1, "count"),
    ]
