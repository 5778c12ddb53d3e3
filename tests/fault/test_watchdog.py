"""The watchdog over a real desk: alive, stopped, killed and hanging, and what becomes of its open orders."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.end_to_end.support import polaris, until

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.lock import DirectoryLock
from polaris_synapse.desk.heartbeat import HeartbeatWriter, read_heartbeat
from polaris_synapse.desk.watchdog import Finding, Verdict, Watchdog
from polaris_synapse.execution.paper.store import PaperStore
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.faults.load import ACCOUNTS, middle_cents, write_fault_settings

SILENCE_SECONDS = 2.0


def look(directory: Path, *, dry_run: bool = False) -> Finding:
    """One look."""
    watch = Watchdog(directory, SystemClock(), silence_seconds=SILENCE_SECONDS, dry_run=dry_run)
    return anyio.run(watch.look)


def look_until(directory: Path, verdict: Verdict, *, dry_run: bool = False) -> Finding:
    """Look until the desk is found to be so."""

    def found() -> Finding | None:
        finding = look(directory, dry_run=dry_run)
        return finding if finding.verdict is verdict else None

    result = until(found, what=f"the verdict {verdict}", seconds_max=15)
    assert result is not None
    return result


def resting(desk: DeskProcess, number: int) -> int:
    """An order far from the market, working at the paper venue; its id."""
    cents = middle_cents(desk) * 97 // 100
    order = {
        "account": ACCOUNTS[0], "client_order_id": f"rest-{number}", "symbol": "BTCUSDT", "side": "BUY",
        "type": "LIMIT", "quantity": "0.001", "price": f"{cents // 100}.{cents % 100:02d}",
    }  # fmt: skip
    answer = desk.json("gateway", "POST", "/orders?wait_ms=3000", order)
    assert answer["order"]["state"] == "WORKING", answer
    return int(answer["order"]["order_id"])


def order_of(desk: DeskProcess, order_id: int) -> Any:
    """An order as the desk knows it."""
    return desk.json("gateway", "GET", f"/orders/{order_id}")["order"]


def open_at_the_venue(directory: Path) -> int:
    """Open orders in the paper venue's store; the desk must be gone."""
    store = PaperStore(directory / "paper.sqlite3")
    try:
        return len(store.open_orders())
    finally:
        store.close()


@pytest.fixture
def desk(tmp_path: Path) -> DeskProcess:
    """A desk that is not started yet."""
    return DeskProcess(tmp_path / "desk", config=str(write_fault_settings(tmp_path / "desk.yml")))


def test_the_orders_of_a_killed_desk_are_cancelled_and_it_learns_of_it(desk: DeskProcess) -> None:
    """After SIGKILL the open orders end at the venue, durably; the desk that starts again finds them cancelled."""
    with desk:
        orders = [resting(desk, number) for number in range(3)]
        alive = look(desk.directory)
        assert (alive.verdict, alive.healthy, alive.orders) == (Verdict.ALIVE, True, ())
        desk.kill()
        assert look(desk.directory).verdict in (Verdict.ALIVE, Verdict.LATE), "silence must have lasted before it acts"
        would = look_until(desk.directory, Verdict.GONE, dry_run=True)
        assert [order.outcome for order in would.orders] == ["would be cancelled"] * 3
        assert open_at_the_venue(desk.directory) == 3
        command = polaris(
            desk, "watchdog", "--once", "--json", "--silence-seconds", "2", "--data-directory", str(desk.directory)
        )
        assert command.returncode == 1, command.stderr
        said = json.loads(command.stdout)
        assert (said["verdict"], {order["order_id"] for order in said["orders"]}) == ("gone", set(orders))
        assert {order["outcome"] for order in said["orders"]} == {"cancelled"}
        assert open_at_the_venue(desk.directory) == 0
        assert look(desk.directory).orders == (), "what was cancelled is not cancelled again"
        desk.start()
        for order_id in orders:
            until(lambda order_id=order_id: order_of(desk, order_id)["state"] == "CANCELLED", what="the cancel")  # type: ignore[misc]  # its own
            assert order_of(desk, order_id)["reason"] == "CANCELLED_BY_WATCHDOG"
        assert desk.json("execution", "GET", "/breaks")["breaks"] == []
        assert desk.stop() == 0
    assert read_heartbeat(desk.directory) is None
    assert look(desk.directory).verdict is Verdict.STOPPED


def test_a_hanging_desk_is_reported_and_left_alone(desk: DeskProcess) -> None:
    """A process stopped by SIGSTOP still owns its directory: nothing is cancelled; going on, it is alive again."""
    with desk:
        order_id = resting(desk, 1)
        os.kill(desk.process_id, signal.SIGSTOP)
        try:
            finding = look_until(desk.directory, Verdict.HANGS)
        finally:
            os.kill(desk.process_id, signal.SIGCONT)
        assert finding.process_id == desk.process_id
        assert finding.healthy is False
        assert finding.orders == ()
        assert "Nothing was cancelled" in finding.sentence
        assert not finding.is_fine
        look_until(desk.directory, Verdict.ALIVE)
        assert order_of(desk, order_id)["state"] == "WORKING"


def test_a_desk_that_starts_again_is_not_disturbed(tmp_path: Path) -> None:
    """An old heartbeat beside a held lock is a desk that starts or hangs, whatever the clock says."""
    clock = ManualClock()
    HeartbeatWriter(tmp_path, clock).beat()
    clock.advance(3_600)
    (tmp_path / "journal").mkdir()
    lock = DirectoryLock(tmp_path / "journal")
    watch = Watchdog(tmp_path, clock, silence_seconds=10, dry_run=False)
    assert anyio.run(watch.look).verdict is Verdict.HANGS
    assert not (tmp_path / "paper.sqlite3").exists()
    lock.release()
    gone = anyio.run(watch.look)
    assert (gone.verdict, gone.orders) == (Verdict.GONE, ())


def test_a_heartbeat_is_written_in_place(tmp_path: Path) -> None:
    """Beats take no new space, the last one counts, and a desk that ends on purpose leaves none."""
    clock = ManualClock()
    writer = HeartbeatWriter(tmp_path, clock)
    writer.beat()
    size = (tmp_path / "heartbeat.json").stat().st_size
    clock.advance(1)
    writer.beat()
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert (beat.time_ns, beat.process_id) == (clock.now_ns(), os.getpid())
    assert (tmp_path / "heartbeat.json").stat().st_size == size
    writer.end()
    assert read_heartbeat(tmp_path) is None
