"""Who writes the paper venue's file: whoever took it over last, though the one before hangs and wakes up."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from tests.unit.desk.test_partitioned_paper import Place
from tests.unit.order_gateway.fake_desk import until

from polaris_synapse.domain.orders import OrderRequest, OrderState, OrderType, Side
from polaris_synapse.execution.paper.orders import PaperOrder
from polaris_synapse.execution.paper.outbox import Outcome
from polaris_synapse.execution.paper.store import PaperStore, PaperStoreError, shared_journal_mode

CHECKOUT = Path(__file__).resolve().parents[3]
#: A process that stores an order, waits for a line, and tries to store another.
HANGS_AND_WAKES = """
import sys
from pathlib import Path
from tests.unit.execution.test_paper_takeover import PaperStore, PaperStoreError, resting
store = PaperStore(Path(sys.argv[1]), takes_over=True)
store.write([resting(1)])
print("wrote", flush=True)
sys.stdin.readline()
try:
    store.write([resting(2)])
except PaperStoreError as error:
    print(error, flush=True)
"""


def resting(number: int) -> Outcome:
    """An order that the exchange has just taken."""
    request = OrderRequest(
        account="main", client_order_id=f"c{number}", symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT,
        quantity_lots=3, price_ticks=90,
    )  # fmt: skip
    order = PaperOrder(
        order_id=number, client_id=f"ps0-{number}", venue_order_id=str(number), symbol="BTCUSDT", request=request,
        state=OrderState.WORKING, quantity_lots=3, price_ticks=90, stop_price_ticks=0, sequence=number, accepted_ns=1,
    )  # fmt: skip
    return Outcome(reports=[], orders=[order], fills=[])


def test_a_process_that_hangs_is_taken_over_from_and_writes_no_more(tmp_path: Path) -> None:
    """A stopped process keeps nobody out; what its successor stores stands, and its own late order is refused."""
    path = tmp_path / "paper-0.sqlite3"
    command = [sys.executable, "-c", HANGS_AND_WAKES, str(path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "wrote\n"
        process.send_signal(signal.SIGSTOP)
        try:
            successor = PaperStore(path, takes_over=True)
            assert successor.order("ps0-1") is not None
            successor.write([resting(3)])
        finally:
            process.send_signal(signal.SIGCONT)
        process.stdin.write("\n")
        process.stdin.flush()
        assert "another process has taken over" in process.stdout.readline()
    assert [order.order_id for order in successor.open_orders()] == [1, 3]
    successor.close()


@pytest.mark.parametrize(
    "path, mode",
    [
        ("/data/paper.db", "WAL"),
        ("/data/shared/paper.db", "TRUNCATE"),
        ("/my disk/paper.db", "WAL"),
        ("/x/y", "TRUNCATE"),
    ],
)
def test_a_write_ahead_log_is_for_one_machine_only(path: str, mode: str) -> None:
    """On a file system that other machines may mount, and on one that is not known, processes share no memory."""
    mounts = (
        "srv:/x / nfs4 rw 0 0\n/dev/a /data ext4 rw 0 0\nsrv:/y /data/shared nfs rw 0 0\n/dev/b /my\\040disk xfs rw 0 0"
    )
    assert shared_journal_mode(Path(path), mounts) == mode


def test_a_file_of_before_is_taken_over(tmp_path: Path) -> None:
    """A file that was written under a lock is read on once that is free, and not while somebody has it."""
    path = tmp_path / "paper-0.sqlite3"
    holder = PaperStore(path)
    holder.write([resting(1)])
    with pytest.raises(PaperStoreError, match="locked"):
        PaperStore(path, takes_over=True)
    holder.close()
    store = PaperStore(path, takes_over=True)
    assert [order.order_id for order in store.open_orders()] == [1]
    store.close()


def test_the_middle_of_a_transaction_is_waited_for(tmp_path: Path) -> None:
    """Whoever stands still while it writes keeps the file; the refusal says so, and the next attempt may succeed."""
    path = tmp_path / "paper-0.sqlite3"
    PaperStore(path, takes_over=True).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(PaperStoreError, match="locked"):
        PaperStore(path, takes_over=True)
    other.execute("ROLLBACK")
    other.close()
    PaperStore(path, takes_over=True).close()


@pytest.mark.anyio
async def test_a_venue_that_was_taken_over_from_reports_nothing_and_starts_over(tmp_path: Path) -> None:
    """What it cannot store it has not done: the request's outcome is unknown, and it reads the file again."""
    place = Place(tmp_path)
    async with place.running(), anyio.create_task_group() as group:
        place.paper.show([0])
        await until(lambda: place.paper.state.connected and place.bus.subscriptions == 1)
        place.give_book()
        await place.let_time_pass(0.2)
        other = PaperStore(place.file, takes_over=True)
        other.write([resting(5)])
        outcomes: list[str] = []

        async def submit() -> None:
            try:
                await place.paper.submit(place.submit())
            except Exception as error:
                outcomes.append(str(error))

        group.start_soon(submit)
        await until(lambda: bool(outcomes))
        assert "the outcome is not known: another process has taken over" in outcomes[0]
        assert place.events.reports == []
        assert other.order("ps0-1") is None
        other.close()
        await place.let_time_pass(10.0)
        await until(lambda: place.paper.state.connected)
        assert [status.order_id for status in await place.paper.open_orders()] == [5]
