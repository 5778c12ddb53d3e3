"""The long run of the order books' differential test: the compiled book against the plain one, command by command.

    python scripts/compare_books.py --sequences 1000000 [--seed 0] [--workers 2] [--commands 100]

Each sequence is a book of its own with one of three settings and up to ``--commands`` random commands of every kind.
After each command the events and the whole state must be equal and every invariant must hold (no book crossed, lots in
= filled + resting + ended). The same seed gives the same sequences; the first difference is printed with the seed that
shows it, and ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.property.matching_commands import SETTINGS, command_rows

from polaris_synapse.matching.core.book import Book
from polaris_synapse.matching.core.books import BOOK_IN_USE, BOOK_IS_COMPILED, new_book

SEQUENCES_A_TASK: Final = 500


def difference(seed: int, commands: int) -> str:
    """Run one sequence; where the books differ, in words, or nothing."""
    name = sorted(SETTINGS)[seed % len(SETTINGS)]
    plain, compiled = Book(SETTINGS[name]), new_book(SETTINGS[name])
    for number, row in enumerate(command_rows(seed, commands)):
        expected, found = plain.apply(row), compiled.apply(row)
        if found != expected:
            return f"seed {seed} ({name}), command {number} {row}: {found} instead of {expected}"
        compiled.check()
        if compiled.dump() != plain.dump():
            return f"seed {seed} ({name}), command {number} {row}: the states differ"
    if compiled.state_hash() != plain.state_hash():
        return f"seed {seed} ({name}): the hashes differ"
    return ""


def run(task: tuple[int, int, int]) -> tuple[int, str]:
    """A stretch of seeds: how many were equal, and the first difference."""
    first, last, commands = task
    for seed in range(first, last):
        found = difference(seed, commands)
        if found:
            return seed - first, found
    return last - first, ""


def tasks(arguments: argparse.Namespace) -> Iterator[tuple[int, int, int]]:
    """The seeds in stretches."""
    last = arguments.seed + arguments.sequences
    for first in range(arguments.seed, last, SEQUENCES_A_TASK):
        yield first, min(first + SEQUENCES_A_TASK, last), arguments.commands


def main() -> int:
    """Compare, and say how many sequences were equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=10_000, help="how many sequences")
    parser.add_argument("--commands", type=int, default=100, help="about how many commands a sequence has")
    parser.add_argument("--seed", type=int, default=0, help="the first sequence's seed")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    if min(arguments.sequences, arguments.commands, arguments.workers) < 1:
        parser.error("sequences, commands and workers are at least 1")
    if not BOOK_IS_COMPILED:
        print(BOOK_IN_USE, file=sys.stderr)
        return 2
    start, sequences = time.monotonic(), 0
    with ProcessPoolExecutor(arguments.workers) as pool:
        for done, found in pool.map(run, tasks(arguments), chunksize=4):
            sequences += done
            if found:
                print(found)
                return 1
            if sequences % 10_000 < SEQUENCES_A_TASK:
                print(f"{sequences:,} sequences, {time.monotonic() - start:,.0f} s", flush=True)
    print(f"{sequences:,} sequences without a difference in {time.monotonic() - start:,.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
