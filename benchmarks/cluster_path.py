"""Orders through seven services on Kafka, from their socket to risk's verdict, and what each process spends on one.

    python benchmarks/cluster_path.py [--directory DIR] [--seconds 5] [--partitions 1 2 4] [--json]

It starts a broker of its own (Java 17) and all services on this machine, so the figures are of everything together;
see docs/scaling.md for what they mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from polaris_synapse.testing.benchmark_output import print_figures, print_json, progress_line
from polaris_synapse.testing.cluster_benchmark import KINDS, ClusterPlan, run_cluster_benchmark, sentences


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
    parser.add_argument("--json", action="store_true", help="print one JSON object a line for each report")
    arguments = parser.parse_args()

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
        if arguments.json:
            print_json(report)
        else:
            print_figures(report.figures, sentences(report))


if __name__ == "__main__":
    main()
