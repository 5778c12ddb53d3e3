"""Orders through seven services on Kafka, from their socket to risk's verdict, and what each process spends on one.

    python benchmarks/cluster_path.py [--directory DIR] [--seconds 5] [--partitions 1 2 4] [--json]

It starts a broker of its own (Java 17) and all services on this machine, so the figures are of everything together;
see docs/scaling.md for what they mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.testing.benchmark_output import print_figures, print_json, progress_line
from polaris_synapse.testing.cluster_benchmark import (
    KINDS,
    ClusterPlan,
    ClusterReport,
    run_cluster_benchmark,
    sentences,
)


def main() -> None:
    """Measure and print: one report for each number of partitions."""
    plan = ClusterPlan(directory=Path.cwd())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=plan.directory, help="on the disk that a desk would use")
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="time for each figure")
    parser.add_argument("--clients", type=int, nargs="+", default=plan.clients, help="closed loops, default 1 8 32")
    parser.add_argument("--in-flight", type=int, default=plan.in_flight, help="orders on their way on each WebSocket")
    parser.add_argument("--rate", type=int, nargs="+", default=plan.rates, help="open-loop orders a second")
    parser.add_argument("--batch-orders", type=int, default=plan.batch_orders, help="orders in one REST batch")
    parser.add_argument("--partitions", type=int, nargs="+", default=[plan.partitions], help="default 4")
    parser.add_argument("--only", action="append", choices=KINDS, help="repeatable")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    reports: list[ClusterReport] = []
    for partitions in arguments.partitions:
        report = run_cluster_benchmark(
            ClusterPlan(
                directory=arguments.directory,
                seconds=arguments.seconds,
                clients=tuple(arguments.clients),
                in_flight=arguments.in_flight,
                rates=tuple(arguments.rate),
                batch_orders=arguments.batch_orders,
                partitions=partitions,
                only=tuple(arguments.only or ()),
            ),
            progress_line,
        )
        reports.append(report)
        if not arguments.json:
            print_figures(report.figures, sentences(report))
    if arguments.json:
        print_json({"figures": [figure for report in reports for figure in _named(report)], "reports": reports})


def _named(report: ClusterReport) -> Iterator[Figure]:
    """The figures of a report, named by its partitions."""
    for figure in report.figures:
        yield Figure(f"{report.partitions} partitions: {figure.name}", figure.value, figure.unit)


if __name__ == "__main__":
    main()
