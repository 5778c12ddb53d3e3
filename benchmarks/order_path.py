"""How fast a real desk takes orders over REST, WebSocket and order port, with its journal on a real disk.

    python benchmarks/order_path.py [--directory DIR] [--seconds 5] [--json]

The same as ``polaris bench orders``; see docs/benchmarks.md for what the figures mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from polaris_synapse.testing.benchmark_output import print_figures, print_json, progress_line
from polaris_synapse.testing.order_benchmark import KINDS, OrderPlan, run_order_benchmark, sentences


def main() -> None:
    """Measure and print."""
    plan = OrderPlan(directory=Path.cwd())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=plan.directory, help="on the disk that a desk would use")
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="time for each figure")
    parser.add_argument("--connections", type=int, default=plan.connections, help="connections, one account each")
    parser.add_argument(
        "--rest-connections",
        type=int,
        default=plan.rest_connections,
        help="connections of a second run over REST, which share the accounts",
    )
    parser.add_argument("--in-flight", type=int, default=plan.in_flight, help="orders on their way on each connection")
    parser.add_argument("--rate", type=int, action="append", help="open-loop orders a second; repeatable")
    parser.add_argument("--batch-orders", type=int, default=plan.batch_orders, help="orders in one REST batch")
    parser.add_argument("--only", action="append", choices=KINDS, help="repeatable")
    parser.add_argument("--slow", action="store_true", help="say where slow orders of the open loops were kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    report = run_order_benchmark(
        OrderPlan(
            directory=arguments.directory,
            seconds=arguments.seconds,
            connections=arguments.connections,
            rest_connections=arguments.rest_connections,
            in_flight=arguments.in_flight,
            rates=tuple(arguments.rate or plan.rates),
            batch_orders=arguments.batch_orders,
            only=tuple(arguments.only or ()),
            slow=arguments.slow,
        ),
        progress_line,
    )
    if arguments.json:
        print_json(report)
    else:
        print_figures(report.figures, sentences(report))


if __name__ == "__main__":
    main()
