"""Other matching engines beside ours: the same seeded command stream, one core, in the same run.

    python benchmarks/peers/run.py [--commands 1000000] [--runs 3] [--peer NAME …] [--stream mixed|cancels] [--json]

Installs the peers from the package index with pip, each in an environment of its own under a temporary directory, and
runs each in a process of its own. The runs of all are interleaved, so that a busy machine is busy for all of them;
rates are medians. Not part of continuous integration.

What a peer cannot do is said by its adapter in ``adapters.py``. Two take so long that they get the stream's beginning
only, which favours them: their books are small then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from polaris_synapse.matching.core.packed import pack_commands
from polaris_synapse.testing import matching_streams
from polaris_synapse.testing.benchmark_output import print_json
from polaris_synapse.testing.machine import Machine, this_machine
from polaris_synapse.testing.matching_benchmark import batch_rate, books, single_rate

#: What to install for each peer, and how many commands it gets at most.
PEERS: Final = {
    "liquibook": ("liquibook", 10_000_000),
    "limit-order-book": ("limit-order-book", 10_000_000),
    "litebook": ("litebook", 10_000_000),
    "matching-engine": ("matching-engine", 10_000_000),
    "lightmatchingengine": ("lightmatchingengine", 10_000_000),
    "order-matching": ("order-matching[polars]", 3_000),
    "nautilus_trader": ("nautilus_trader", 20_000),
}
ADAPTERS: Final = Path(__file__).with_name("adapters.py")
INSTALL_SECONDS_MAX: Final = 600
RUN_SECONDS_MAX: Final = 900


class Row(Struct, kw_only=True):
    """One engine: its median rate, how many times ours is faster, or why it has none."""

    engine: str
    version: str = ""
    commands: int = 0
    skipped: int = 0
    trades: int = 0
    commands_a_second: float = 0
    ours_is_faster_times: float = 0
    absent: str = ""


class Report(Struct, kw_only=True):
    """Rows in the order of measurement; ours first."""

    stream: str
    seed: int
    runs: int
    machine: Machine
    rows: list[Row]


def install(name: str, folder: Path) -> str:
    """Make an environment with a peer in it; why that failed, empty where it worked."""
    requirement = PEERS[name][0]
    environment = folder / name
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, capture_output=True)  # noqa: S603
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(  # noqa: S603
            [*pip, requirement], capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it did not install within {INSTALL_SECONDS_MAX} s"
    if done.returncode:
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        return "it does not install on this Python: " + (lines[0] if lines else "pip gives no reason")
    return ""


def measure(name: str, folder: Path, stream: Path, commands: int) -> dict[str, Any] | str:
    """Run a peer once: its adapter's answer, or why there is none."""
    command = [str(folder / name / "bin" / "python"), str(ADAPTERS), name, str(stream), str(commands)]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it did not finish {commands:,} commands within {RUN_SECONDS_MAX} s"
    if done.returncode:
        return f"it failed: {(done.stderr.splitlines() or ['no message'])[-1]}"
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def run(arguments: argparse.Namespace, folder: Path) -> Report:
    """Install, measure run by run, and put it together."""
    machine = this_machine()
    make = {"mixed": matching_streams.mixed, "cancels": matching_streams.cancels}[arguments.stream]
    packed = pack_commands(make(arguments.commands, arguments.seed))
    stream = folder / "stream.bin"
    stream.write_bytes(packed.tobytes())
    rows: dict[str, Row] = {}
    rates: dict[str, list[float]] = {}
    for name in arguments.peer or PEERS:
        say(f"installing {name}")
        rows[name] = Row(engine=name, absent=install(name, folder))
    ours = {f"{book} book, {mode}": (maker, mode) for book, maker in books().items() for mode in ("single", "batch")}
    for number in range(arguments.runs):
        for name, (maker, mode) in ours.items():
            say(f"run {number + 1}: {name}")
            rate = (single_rate if mode == "single" else batch_rate)(maker(), packed)[0]
            rates.setdefault(name, []).append(rate)
        for name, row in rows.items():
            if row.absent:
                continue
            say(f"run {number + 1}: {name}")
            found = measure(name, folder, stream, min(arguments.commands, PEERS[name][1]))
            if isinstance(found, str):
                row.absent = found
                continue
            row.version, row.skipped, row.trades = found["version"], found["skipped"], found["trades"]
            row.commands = found["applied"]
            rates.setdefault(name, []).append(found["applied"] / found["seconds"])
    own = [Row(engine=f"ours: {name}", commands=arguments.commands) for name in ours]
    for row, name in [*zip(own, ours, strict=True), *((row, name) for name, row in rows.items() if not row.absent)]:
        row.commands_a_second = round(statistics.median(rates[name]))
        row.ours_is_faster_times = round(statistics.median(rates[next(iter(ours))]) / row.commands_a_second, 2)
    return Report(
        stream=arguments.stream,
        seed=arguments.seed,
        runs=arguments.runs,
        machine=machine,
        rows=[*own, *rows.values()],
    )


def say(text: str) -> None:
    """What is done now, for a person who waits."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=1_000_000, help="length of the stream")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median counts")
    parser.add_argument("--seed", type=int, default=1, help="seed of the stream")
    parser.add_argument("--stream", choices=("mixed", "cancels"), default="mixed", help="which stream")
    parser.add_argument("--peer", action="append", choices=tuple(PEERS), help="only this one; repeatable")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if min(arguments.commands, arguments.runs) < 1:
        parser.error("commands and runs are at least 1")
    with tempfile.TemporaryDirectory(prefix="polaris-peers-") as folder:
        report = run(arguments, Path(folder))
    if arguments.json:
        print_json(report)
        return
    for row in report.rows:
        if row.absent:
            print(f"{row.engine:<24} {row.absent}")
            continue
        trades = f", {row.trades:,} trades" if row.trades > 0 else ""
        skipped = f", {row.skipped:,} skipped" if row.skipped else ""
        print(
            f"{row.engine:<24} {row.version:<10} {row.commands_a_second:>14,.0f} commands/s  "
            f"ours single is {row.ours_is_faster_times:>9,.2f} times as fast  "
            f"({row.commands:,} commands{skipped}{trades})"
        )


if __name__ == "__main__":
    main()
