"""How fast the order books are: commands a second on one core, latency of single calls, memory of resting orders.

Each figure is measured for every book in turn, run by run, so that a machine that is busy with other things is busy for
all of them. Streams are made before they are timed and handed over some rows at a time, as a decoder would. The garbage
collector stays on, set as in a desk, and the clock's own cost is in the latencies.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from msgspec import Struct

from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.books import BOOK_IN_USE, BOOK_IS_COMPILED, new_book
from polaris_synapse.matching.core.packed import pack_commands
from polaris_synapse.matching.core.port import COMMAND_COLUMNS, EVENT_COLUMNS, BookSettings, CommandRow, OrderBook
from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.testing import matching_streams
from polaris_synapse.testing.desk_interpreter import as_a_desk_runs
from polaris_synapse.testing.machine import Machine, resident_bytes, this_machine

#: Called with what is measured now, and how much of everything is done (0 to 1).
Progress = Callable[[str, float], None]

CHUNK_ROWS: Final = 2_000
LATENCY_ROWS: Final = 200_000
#: What a resting order is told to be cancelled with, at the end of a pass of the soak.
_CANCEL_ALL: Final = pack_commands([(3, 8000)])


class MatchingPlan(Struct, frozen=True, kw_only=True):
    """What to measure: the length of the streams, the orders of the deep book, and how often all of it."""

    commands: int = 1_000_000
    orders: int = 1_000_000
    runs: int = 3
    seed: int = 1


class MatchingReport(Struct, frozen=True, kw_only=True):
    """Figures named ``book, stream, mode``; rates are medians over the runs, with the best run beside them."""

    figures: tuple[Figure, ...]
    machine: Machine
    plan: MatchingPlan
    book_in_use: str


class SoakReport(Struct, frozen=True, kw_only=True):
    """``growth_bytes``: resident memory at the end less that after the first tenth."""

    figures: tuple[Figure, ...]
    machine: Machine
    growth_bytes: int


def books() -> dict[str, Callable[[], OrderBook]]:
    """Every book of this installation by name, each with room for the deep stream."""
    settings = BookSettings()
    found: dict[str, Callable[[], OrderBook]] = {"plain": lambda: Book(settings)}
    if BOOK_IS_COMPILED:
        found = {"compiled": lambda: new_book(settings), **found}
    return found


def chunks(packed: array[int]) -> Iterator[memoryview[int]]:
    """Packed rows, some at a time."""
    view, step = memoryview(packed), CHUNK_ROWS * COMMAND_COLUMNS
    for start in range(0, len(view), step):
        yield view[start : start + step]


def rows_of(chunk: memoryview[int]) -> list[CommandRow]:
    """Rows to call with one by one."""
    columns = iter(chunk.tolist())
    return list(zip(*[columns] * COMMAND_COLUMNS, strict=True))


def single_rate(book: OrderBook, packed: array[int]) -> tuple[float, int]:
    """Commands a second of single calls, and how many events they made."""
    apply, seconds, events = book.apply, 0.0, 0
    for chunk in chunks(packed):
        rows = rows_of(chunk)
        start = time.perf_counter()
        for row in rows:
            events += len(apply(row))
        seconds += time.perf_counter() - start
    return len(packed) / COMMAND_COLUMNS / seconds, events


def batch_rate(book: OrderBook, packed: array[int]) -> tuple[float, int]:
    """Commands a second of packed batches, and how many events they made."""
    seconds, events = 0.0, 0
    for chunk in chunks(packed):
        start = time.perf_counter()
        events += len(book.apply_packed(chunk))
        seconds += time.perf_counter() - start
    return len(packed) / COMMAND_COLUMNS / seconds, events // EVENT_COLUMNS


def latencies_us(book: OrderBook, packed: array[int]) -> dict[str, float]:
    """Percentiles of one call's time in microseconds."""
    apply, clock, taken = book.apply, time.perf_counter_ns, []
    for chunk in chunks(packed[: LATENCY_ROWS * COMMAND_COLUMNS]):
        for row in rows_of(chunk):
            start = clock()
            apply(row)
            taken.append(clock() - start)
    taken.sort()
    return {
        name: taken[int(len(taken) * share)] / 1_000 for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    }


class _Measurement:
    """Collects runs and makes figures of them."""

    def __init__(self, plan: MatchingPlan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress
        self._steps_done = 0
        self._runs: dict[str, list[float]] = {}
        self._units: dict[str, str] = {}

    def step(self, text: str, steps: int) -> None:
        """Say what comes next."""
        self._progress(text, min(self._steps_done / steps, 1.0))
        self._steps_done += 1

    def note(self, name: str, value: float, unit: str) -> None:
        """One run's value."""
        self._runs.setdefault(name, []).append(value)
        self._units[name] = unit

    def median(self, name: str) -> float:
        """Over the runs."""
        return statistics.median(self._runs[name])

    def figures(self) -> list[Figure]:
        """Medians, and for rates the best run."""
        found = []
        for name, values in self._runs.items():
            unit = self._units[name]
            found.append(Figure(name, round(statistics.median(values), 3), unit))
            if unit == "commands/s":
                found.append(Figure(f"{name}, best run", round(max(values), 3), unit))
        return found


def run_matching_benchmark(plan: MatchingPlan, progress: Progress) -> MatchingReport:
    """Measure every book on every stream."""
    with as_a_desk_runs():
        return _measured(plan, progress)


def _measured(plan: MatchingPlan, progress: Progress) -> MatchingReport:
    machine, makers = this_machine(), books()
    steps = plan.runs * len(makers) * 3 + 1
    taken = _Measurement(plan, progress)
    streams = {"mixed": matching_streams.mixed, "95 % cancels": matching_streams.cancels}
    events: dict[str, float] = {}
    for stream, make_rows in streams.items():
        packed = pack_commands(make_rows(plan.commands, plan.seed))
        for run in range(plan.runs):
            for name, make in makers.items():
                taken.step(f"{stream}, {name} book, run {run + 1}", steps)
                rate, count = single_rate(make(), packed)
                taken.note(f"{name}, {stream}, single", rate, "commands/s")
                taken.note(f"{name}, {stream}, batch", batch_rate(make(), packed)[0], "commands/s")
                events[stream] = count / plan.commands
                if stream == "mixed":
                    for percentile, value in latencies_us(make(), packed).items():
                        taken.note(f"{name}, mixed, single, {percentile}", value, "us")
    _measure_deep(plan, makers, taken, steps)
    progress("", 1.0)
    figures = taken.figures()
    figures += [Figure(f"{stream}, events a command", round(count, 3), "events") for stream, count in events.items()]
    if "compiled" in makers:
        for stream in (*streams, "deep"):
            for mode in ("single", "batch"):
                ratio = taken.median(f"compiled, {stream}, {mode}") / taken.median(f"plain, {stream}, {mode}")
                figures.append(Figure(f"compiled over plain, {stream}, {mode}", round(ratio, 2), "times"))
    return MatchingReport(figures=tuple(figures), machine=machine, plan=plan, book_in_use=BOOK_IN_USE)


def _measure_deep(
    plan: MatchingPlan, makers: dict[str, Callable[[], OrderBook]], taken: _Measurement, steps: int
) -> None:
    """Rates on a book with many resting orders, and what one of them takes."""
    fill = pack_commands(matching_streams.deep_fill(plan.orders, plan.seed))
    # A process of its own: this one would reuse memory that it has already.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        for name in makers:
            size = fresh.submit(_filled_bytes, name, fill.tobytes()).result() / plan.orders
            taken.note(f"{name}, memory of a resting order", size, "bytes")
    packed = pack_commands(matching_streams.deep(plan.orders, plan.commands // 2, plan.seed))
    for run in range(plan.runs):
        for name, make in makers.items():
            taken.step(f"{plan.orders:,} resting orders, {name} book, run {run + 1}", steps)
            for mode, measure in (("single", single_rate), ("batch", batch_rate)):
                book = make()
                for chunk in chunks(fill):
                    book.apply_packed(chunk)
                taken.note(f"{name}, deep, {mode}", measure(book, packed)[0], "commands/s")
                del book


def _filled_bytes(name: str, fill: bytes) -> int:
    """How much memory a book takes when it holds what ``fill`` says."""
    packed = array("q", fill)
    book = books()[name]()
    before = resident_bytes(os.getpid())
    for chunk in chunks(packed):
        book.apply_packed(chunk)
    gc.collect()
    return resident_bytes(os.getpid()) - before


def run_soak(commands: int, progress: Progress, *, pass_commands: int = 1_000_000, seed: int = 1) -> SoakReport:
    """Whether memory stays flat: one book, the mixed stream again and again, all orders cancelled after each pass.

    Nine passes of ten are packed batches and one is single calls.
    """
    machine, book = this_machine(), new_book()
    packed = pack_commands(matching_streams.mixed(pass_commands, seed))
    passes = max(commands // pass_commands, 10)
    sizes, start = [], time.perf_counter()
    for number in range(passes):
        progress(f"pass {number + 1} of {passes}", number / passes)
        for chunk in chunks(packed):
            if number % 10 == 9:
                for row in rows_of(chunk):
                    book.apply(row)
            else:
                book.apply_packed(chunk)
        book.apply_packed(_CANCEL_ALL)
        gc.collect()
        sizes.append(resident_bytes(os.getpid()))
    seconds = time.perf_counter() - start
    progress("", 1.0)
    # The first passes let arrays, the allocator and the interpreter reach the size that they keep.
    settled = sizes[len(sizes) // 10 :]
    figures = (
        Figure("commands", passes * pass_commands, "commands"),
        Figure("rate, all included", round(passes * pass_commands / seconds), "commands/s"),
        Figure("resident memory after the first tenth", settled[0], "bytes"),
        Figure("resident memory at most after that", max(settled), "bytes"),
        Figure("resident memory at the end", settled[-1], "bytes"),
    )
    return SoakReport(figures=figures, machine=machine, growth_bytes=settled[-1] - settled[0])
