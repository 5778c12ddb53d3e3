"""How fast a real desk takes orders over REST and WebSocket, with its journal on a real disk.

    python benchmarks/order_path.py [--directory DIR] [--seconds 5] [--json]

The same as ``polaris bench orders``; see docs/benchmarks.md for what the figures mean.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from polaris_synapse.monitoring.figures import figure_text
from polaris_synapse.testing.order_benchmark import OrderPlan, run_order_benchmark


def main() -> None:
    """Measure and print."""
    plan = OrderPlan(directory=Path.cwd())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=plan.directory, help="on the disk that a desk would use")
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="time for each figure")
    parser.add_argument("--connections", type=int, default=plan.connections, help="connections, one account each")
    parser.add_argument("--in-flight", type=int, default=plan.in_flight, help="orders on their way on each WebSocket")
    parser.add_argument("--rate", type=int, action="append", help="open-loop orders a second; repeatable")
    parser.add_argument("--batch-orders", type=int, default=plan.batch_orders, help="orders in one REST batch")
    parser.add_argument("--only", action="append", choices=("rest", "batch", "closed", "open"), help="repeatable")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    def progress(text: str, share: float) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{share:4.0%}  {text}" + ("\r\033[K" if share >= 1 else ""))
            sys.stderr.flush()

    report = run_order_benchmark(
        OrderPlan(
            directory=arguments.directory,
            seconds=arguments.seconds,
            connections=arguments.connections,
            in_flight=arguments.in_flight,
            rates=tuple(arguments.rate or plan.rates),
            batch_orders=arguments.batch_orders,
            only=tuple(arguments.only or ()),
        ),
        progress,
    )
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    for figure in report.figures:
        sys.stdout.write(f"{figure.name:58} {figure_text(figure.value):>12} {figure.unit}\n")
    sys.stdout.write(f"{report.acknowledged:,} orders acknowledged, all found in the read model; {report.fills:,} fills\n")
    for reason, count in sorted(report.refused.items()):
        sys.stdout.write(f"{count:,} refused: {reason}\n")


if __name__ == "__main__":
    main()
