"""How quick the journal and the embedded host are: commits of several group sizes, requests, and recovery.

    python benchmarks/journal.py [--directory DIR] [--seconds 2] [--json]

Prints one line a figure, or ``{"figures": [{"name", "value", "unit"}]}`` with ``--json``. The directory should be on
the disk that the desk would use; a directory in memory shows only what Python costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.core import NOTHING
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.journal_sqlite import SqliteJournal
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.domain.messages import Answer, Mark, Message, SubmitOrder
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side

GROUPS: Final = (1, 10, 100, 1000)
WAITING: Final = (1, 16, 160, 1600)

Figure = dict[str, str | float]

ORDER: Final = SubmitOrder(
    time_ns=1,
    request_id="0123456789abcdef00000001",
    actor="user:alice",
    order=OrderRequest(
        account="alice",
        client_order_id="c-0000000001",
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity_lots=1_500,
        price_ticks=6_512_345,
    ),
)
MARK: Final = Mark(
    time_ns=1,
    symbol="BTCUSDT",
    source="binance",
    mark_ticks=6_512_345,
    bid_ticks=6_512_344,
    ask_ticks=6_512_346,
    last_ticks=6_512_345,
    healthy=True,
)


class AnsweringCore:
    """Answers every order and does nothing else, so that the host's own work is what is measured."""

    name = "risk"

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Answer."""
        if isinstance(message, SubmitOrder):
            return (Answer(time_ns=message.time_ns, request_id=message.request_id),)
        return NOTHING

    def snapshot(self) -> bytes:
        """Nothing to remember."""
        return b""

    def restore(self, snapshot: bytes, /) -> None:
        """Nothing to remember."""

    def state_hash(self) -> str:
        """Nothing to remember."""
        return ""


def commit_figures(directory: Path, message: Message, label: str, seconds: float) -> list[Figure]:
    """Messages a second and microseconds a commit for each group size."""
    figures: list[Figure] = []
    for size in GROUPS:
        journal = SqliteJournal(directory / f"{label}-{size}")
        group = [message] * size
        commits = 0
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            journal.append(group)
            commits += 1
        took = time.perf_counter() - began
        journal.close()
        figures += [
            {"name": f"{label}, groups of {size}", "value": round(commits * size / took), "unit": "messages/s"},
            {"name": f"{label}, groups of {size}", "value": round(took / commits * 1e6), "unit": "us/commit"},
        ]
    return figures


async def host_figures(directory: Path, seconds: float) -> list[Figure]:
    """Requests a second through the whole host for several numbers of waiting clients, then the recovery of it all."""
    figures: list[Figure] = []
    settings = HostSettings(queue_messages_max=max(WAITING) + 10)
    place = directory / "host"
    host = EmbeddedHost(SqliteJournal(place), {"risk": AnsweringCore()}, SystemClock(), settings, CollectorRegistry())
    await host.start()
    for waiting in WAITING:
        until = time.perf_counter() + seconds
        done = 0

        async def client(until: float) -> None:
            nonlocal done
            while time.perf_counter() < until:
                await host.request(ORDER)
                done += 1

        began = time.perf_counter()
        await asyncio.gather(*(client(until) for _ in range(waiting)))
        took = time.perf_counter() - began
        figures.append({"name": f"requests, {waiting} waiting", "value": round(done / took), "unit": "orders/s"})
    messages = host.last_offset
    await host.stop()
    # Without its snapshot, so that every message is read and applied again.
    journal = SqliteJournal(place, verify_bytes_max=0)
    journal._db.execute("DELETE FROM journal_snapshots")
    again = EmbeddedHost(journal, {"risk": AnsweringCore()}, SystemClock(), settings, CollectorRegistry())
    report = await again.start()
    await again.stop()
    rate = round(report.replayed_messages / report.seconds)
    figures.append({"name": f"replay of {messages} messages", "value": rate, "unit": "messages/s"})
    return figures


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where to put the journals")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each figure")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    directory = Path(tempfile.mkdtemp(prefix="journal-benchmark-", dir=options.directory))
    try:
        figures = commit_figures(directory, ORDER, "orders (synchronous)", options.seconds)
        figures += commit_figures(directory, MARK, "marks (not synchronous)", options.seconds)
        figures += uvloop.run(host_figures(directory, options.seconds))
    finally:
        shutil.rmtree(directory)
    if options.json:
        sys.stdout.write(json.dumps({"figures": figures}, indent=2) + "\n")
    else:
        for figure in figures:
            sys.stdout.write(f"{figure['name']:42} {figure['value']:>10} {figure['unit']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
