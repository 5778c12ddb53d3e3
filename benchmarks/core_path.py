"""How many orders a second one core takes through the whole order path, journal included, without sockets.

    python benchmarks/core_path.py [--directory DIR] [--orders 20000] [--profile FILE] [--json]

The same as ``polaris bench core``; see docs/benchmarks.md for what the figures mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from polaris_synapse.testing.benchmark_output import print_figures, print_json, progress_line
from polaris_synapse.testing.core_benchmark import CorePlan, run_core_benchmark


def main() -> None:
    """Measure and print."""
    plan = CorePlan(directory=Path.cwd())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=plan.directory, help="on the disk that a desk would use")
    parser.add_argument("--orders", type=int, default=plan.orders, help="orders for each size of group")
    parser.add_argument("--group", type=int, action="append", help="orders that share a commit; repeatable")
    parser.add_argument("--profile", type=Path, help="write cProfile's top entries of the largest group to this file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    groups = tuple(arguments.group or plan.groups)
    if min(groups) < 1 or arguments.orders < max(groups):
        parser.error("a group has at least one order, and there are at least as many orders as one group has")
    report = run_core_benchmark(
        CorePlan(directory=arguments.directory, orders=arguments.orders, groups=groups, profile=arguments.profile),
        progress_line,
    )
    if arguments.json:
        print_json(report)
    else:
        sentences = [f"{report.accepted:,} of {report.sent:,} orders were accepted", report.forms_in_use]
        print_figures(report.figures, sentences)


if __name__ == "__main__":
    main()
