"""How fast an order book is: commands a second on one core, latency of single commands, memory of resting orders.

    python benchmarks/matching.py [--json] [--commands 1000000] [--runs 3] [--orders 1000000]

The seeded streams are in ``benchmarks/streams.py``. They are kept packed and unpacked a chunk at a time outside the
timed part, as a decoder would hand them over. Figures are medians over the runs; the garbage collector stays on.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import streams

from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.port import COMMAND_COLUMNS, CommandRow, OrderBook

CHUNK_ROWS: Final = 2_000
LATENCY_ROWS: Final = 200_000


def pack(rows: list[CommandRow]) -> array[int]:
    """Rows as one int64 array, short rows filled up with zeros."""
    packed = array("q")
    for row in rows:
        packed.extend(row)
        packed.extend([0] * (COMMAND_COLUMNS - len(row)))
    return packed


def chunks(packed: array[int]) -> Iterator[list[CommandRow]]:
    """The rows again, some at a time."""
    step = CHUNK_ROWS * COMMAND_COLUMNS
    for start in range(0, len(packed), step):
        columns = iter(packed[start : start + step])
        yield list(zip(*[columns] * COMMAND_COLUMNS, strict=True))


def commands_a_second(book: OrderBook, packed: array[int]) -> tuple[float, int]:
    """The rate of single calls, and how many events they made."""
    apply, seconds, events = book.apply, 0.0, 0
    for rows in chunks(packed):
        start = time.perf_counter()
        for row in rows:
            events += len(apply(row))
        seconds += time.perf_counter() - start
    return len(packed) / COMMAND_COLUMNS / seconds, events


def latencies_us(book: OrderBook, packed: array[int]) -> dict[str, float]:
    """Percentiles of one command's time in microseconds, the clock's own cost included."""
    apply, clock, taken = book.apply, time.perf_counter_ns, []
    for rows in chunks(packed[: LATENCY_ROWS * COMMAND_COLUMNS]):
        for row in rows:
            start = clock()
            apply(row)
            taken.append(clock() - start)
    taken.sort()
    return {
        name: taken[int(len(taken) * share)] / 1_000 for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    }


def resident_bytes() -> int:
    """The memory of this process, where the system says it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1_024
    raise OSError("the system does not say how much memory this process has")


def measure(make: Callable[[], OrderBook], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All figures of one book."""
    figures: list[dict[str, Any]] = []

    def note(name: str, value: float, unit: str) -> None:
        figures.append({"name": name, "value": round(value, 3), "unit": unit})
        if not arguments.json:
            sys.stdout.write(f"{name:<34} {value:>14,.2f} {unit}\n")
            sys.stdout.flush()

    for name, stream in (("mixed", streams.mixed), ("cancel-heavy", streams.cancels)):
        packed = pack(stream(arguments.commands, arguments.seed))
        runs = [commands_a_second(make(), packed) for _ in range(arguments.runs)]
        note(f"{name}", statistics.median(rate for rate, _ in runs), "commands/s")
        note(f"{name}, events a command", runs[0][1] / arguments.commands, "events")
        if name == "mixed":
            found = [latencies_us(make(), packed) for _ in range(arguments.runs)]
            for percentile in found[0]:
                note(f"mixed, {percentile}", statistics.median(run[percentile] for run in found), "us")
        del packed
    fill = pack(streams.deep_fill(arguments.orders, arguments.seed))
    packed = pack(streams.deep(arguments.orders, arguments.commands // 2, arguments.seed))
    rates, sizes = [], []
    for _ in range(arguments.runs):
        gc.collect()
        before = resident_bytes()
        book = make()
        for rows in chunks(fill):
            for row in rows:
                book.apply(row)
        sizes.append((resident_bytes() - before) / arguments.orders)
        rates.append(commands_a_second(book, packed)[0])
        del book
    note(f"deep, {arguments.orders:,} resting", statistics.median(rates), "commands/s")
    # Later runs reuse memory that the first one got from the system, so the first says what it takes.
    note("memory of a resting order", sizes[0], "bytes")
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--commands", type=int, default=1_000_000, help="commands of the mixed and cancel streams")
    parser.add_argument("--orders", type=int, default=1_000_000, help="resting orders of the deep book")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median counts")
    parser.add_argument("--seed", type=int, default=1, help="seed of the streams")
    arguments = parser.parse_args()
    if min(arguments.commands, arguments.orders, arguments.runs) < 1:
        parser.error("commands, orders and runs are at least 1")
    figures = measure(Book, arguments)
    if arguments.json:
        machine = f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}"
        settings = {name: getattr(arguments, name) for name in ("commands", "orders", "runs", "seed")}
        report = {"benchmark": "matching", "machine": machine, "settings": settings, "figures": figures}
        sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
