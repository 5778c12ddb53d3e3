"""The paper venue killed under load: what it reported before is there afterwards, and nothing happens twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from polaris_synapse.execution.paper.store import PaperStore

KILLS = 3
REPORTS_BEFORE_THE_KILL = 150

#: Runs a paper venue, keeps 8 orders in flight, and prints each report once it was delivered.
CHILD = """
import sys
from pathlib import Path
import anyio
from polaris_synapse.domain.messages import BookUpdated
from polaris_synapse.domain.orders import Side
from polaris_synapse.execution.paper.venue import PaperVenue
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.venue_conformance import order, resting
from tests.unit.execution.fake_bus import FakeBus, wait_until
from tests.unit.execution.paper_market import BTCUSDT

class Printer:
    async def deliver(self, reports):
        for r in reports:
            print(f"ps0-{r.order_id}", r.event.value, r.fill.trade_id if r.fill else "-", flush=False)
        sys.stdout.flush()
    def reconnected(self):
        raise SystemExit("the store failed")

async def main():
    bus, clock, first = FakeBus(), ManualClock(), int(sys.argv[2])
    venue = PaperVenue(bus=bus, clock=clock, path=Path(sys.argv[1]), instruments=lambda: [BTCUSDT])
    class Harness:
        symbol, bid_ticks, ask_ticks = "BTCUSDT", 100, 102
    Harness.venue = venue
    async def lane(number):
        while True:
            number += 8
            make = resting if number % 2 else lambda h, n: order(h, n, lots=3, price_ticks=102)
            await venue.submit(make(Harness, number))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(venue.run, Printer())
        await wait_until(lambda: bus.subscriptions == 1 and venue.state.connected)
        book = dict(symbol="BTCUSDT", source="t", sequence=1, bids=((100, 50),), asks=((102, 10**9),))
        bus.publish(BookUpdated(time_ns=clock.now_ns(), is_snapshot=True, **book))
        await wait_until(lambda: not venue.book_trouble())
        for number in range(8):
            tasks.start_soon(lane, first + number)

anyio.run(main)
"""


def test_what_was_reported_survives_sigkill(tmp_path: Path) -> None:
    """After each of several SIGKILLs under load every reported order and trade is stored; no trade id came twice."""
    path = tmp_path / "paper.sqlite"
    trades: set[str] = set()
    for kill in range(KILLS):
        command = [sys.executable, "-c", CHILD, str(path), str((kill + 1) * 1_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
            assert child.stdout is not None
            lines = []
            for line in child.stdout:
                if not line.startswith("ps0-"):
                    continue  # the log
                lines.append(line)
                if len(lines) == REPORTS_BEFORE_THE_KILL + 37 * kill:
                    child.kill()
            child.wait()
        assert len(lines) >= REPORTS_BEFORE_THE_KILL
        if not lines[-1].endswith("\n"):
            lines.pop()
        store = PaperStore(path)
        for client_id, event, trade_id in (line.split() for line in lines):
            order = store.order(client_id)
            assert order is not None, f"{client_id} was reported as {event} and is gone"
            if trade_id != "-":
                assert trade_id not in trades, f"{trade_id} was given twice"
                trades.add(trade_id)
                assert trade_id in {fill.trade_id for fill in store.fills(client_id)}
                assert order.filled_lots == 3
        open_ids = {order.client_id for order in store.open_orders()}
        rested = {line.split()[0] for line in lines if " ACKNOWLEDGE " in line}
        assert rested <= open_ids
        store.close()
    assert trades
