"""What a figure was measured on, so that it can be read a year later."""

from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path

from msgspec import Struct


class Machine(Struct, frozen=True, kw_only=True):
    """The machine, and how busy it was with everything on it when the measurement began."""

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    sqlite: str
    load_average: tuple[float, float, float]


def this_machine() -> Machine:
    """The facts of this machine, now."""
    cpu_info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.exists() else ())
        if line.startswith("model name")
    ]
    one, five, fifteen = os.getloadavg()
    return Machine(
        processor=names[0] if names else platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        load_average=(round(one, 2), round(five, 2), round(fifteen, 2)),
    )


def pin(process_id: int, core: int) -> None:
    """Keep a process, with all its threads, on one core."""
    for thread in os.listdir(f"/proc/{process_id}/task"):
        os.sched_setaffinity(int(thread), {core})


def cpu_seconds(process_id: int) -> float:
    """Processor time that a process and all its threads have used."""
    # The name in parentheses may hold blanks; user and system time are the 12th and 13th field after it.
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_of(process_id: int) -> tuple[int, ...]:
    """The processes that a process has started and that still run."""
    lists = Path(f"/proc/{process_id}/task").glob("*/children")
    return tuple(int(child) for one in lists for child in one.read_text(encoding="ascii").split())


def resident_bytes(process_id: int) -> int:
    """Memory of a process that is not swapped out, 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text(encoding="ascii").split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
