"""How fast the order books are: commands a second on one core, latency of single calls, memory of resting orders.

    python benchmarks/matching.py [--commands 1000000] [--runs 3] [--orders 1000000] [--json]
    python benchmarks/matching.py --soak 100000000

The same as ``polaris bench matching``; ``benchmarks/peers/run.py`` puts other matching engines beside it.
"""

from __future__ import annotations

import argparse

from polaris_synapse.matching.core.books import BOOK_IN_USE
from polaris_synapse.testing.benchmark_output import print_figures, print_json, progress_line
from polaris_synapse.testing.matching_benchmark import MatchingPlan, run_matching_benchmark, run_soak


def main() -> None:
    """Measure and print."""
    plan = MatchingPlan()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--commands", type=int, default=plan.commands, help="commands of each stream")
    parser.add_argument("--orders", type=int, default=plan.orders, help="resting orders of the deep book")
    parser.add_argument("--runs", type=int, default=plan.runs, help="runs, of which the median counts")
    parser.add_argument("--seed", type=int, default=plan.seed, help="seed of the streams")
    parser.add_argument("--soak", type=int, default=0, help="only this: so many commands, and whether memory grows")
    arguments = parser.parse_args()
    if min(arguments.commands, arguments.orders, arguments.runs) < 1 or arguments.soak < 0:
        parser.error("commands, orders and runs are at least 1")
    if arguments.soak:
        soak = run_soak(arguments.soak, progress_line, seed=arguments.seed)
        if arguments.json:
            print_json(soak)
        else:
            print_figures(soak.figures, [BOOK_IN_USE, f"Memory grew by {soak.growth_bytes:,} bytes."])
        return
    report = run_matching_benchmark(
        MatchingPlan(commands=arguments.commands, orders=arguments.orders, runs=arguments.runs, seed=arguments.seed),
        progress_line,
    )
    if arguments.json:
        print_json(report)
    else:
        print_figures(report.figures, [report.book_in_use])


if __name__ == "__main__":
    main()
