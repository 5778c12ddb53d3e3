"""Stops that stop: without the journal, without the databases, with a full disk, and over a restart."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from prometheus_client import CollectorRegistry
from tests.end_to_end.support import polaris, until
from tests.unit.execution.fake_bus import wait_until

from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.desk.cores import DurableCores, durable_cores
from polaris_synapse.desk.loading import load_settings
from polaris_synapse.desk.reference_data import instruments_of
from polaris_synapse.desk.stop_memory import StopFile
from polaris_synapse.domain.messages import (
    ActivateBreaker,
    Answer,
    KillLevel,
    KycState,
    ListInstrument,
    Mark,
    MoveFunds,
    OpenAccount,
    ReviewKyc,
    SetKillLevel,
    SubmitOrder,
)
from polaris_synapse.domain.orders import OrderRequest, OrderState, OrderType, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.service import ExecutionService
from polaris_synapse.execution.settings import ExecutionSettings
from polaris_synapse.risk.emergency import EmergencyStops
from polaris_synapse.testing.bus import build_host
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.faults.load import ACCOUNTS, Load, middle_cents, write_fault_settings
from polaris_synapse.testing.journal import MemoryJournal
from polaris_synapse.testing.venues import Fault, ScriptedVenue

pytestmark = pytest.mark.anyio


class Desk:
    """The cores, the host and the execution room over a scripted venue and a journal that can be told to fail."""

    def __init__(self, directory: Path) -> None:
        self.settings = load_settings("development")
        self.cores: DurableCores = durable_cores(self.settings)
        self.clock = ManualClock()
        self.journal = MemoryJournal()
        self.venue = ScriptedVenue(name="paper", clock=self.clock)
        self.host: EmbeddedHost = build_host(
            self.cores,
            journal=self.journal,
            clock=self.clock,
            settings=HostSettings(probe_seconds=1, tick_seconds=3600),
        )
        self.execution = ExecutionService(
            bus=self.host,
            clock=self.clock,
            registry=CollectorRegistry(),
            settings=ExecutionSettings(),
            venues=[self.venue],
        )
        self.file = StopFile(directory)
        self.file.set_aside()
        self.stops = EmergencyStops(
            core=self.cores.risk, hold=self.host.hold, stop_venues=self.execution.stop_now, memory=self.file
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Desk]:
        """Started, with alice and bob funded and a price."""
        await self.host.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.execution.run)
            await wait_until(lambda: self.execution.readiness()["execution"]() is None)
            now_ns = self.clock.now_ns()
            for instrument in instruments_of(self.settings):
                await self.host.request(ListInstrument(time_ns=now_ns, instrument=instrument))
            for name in ("alice", "bob"):
                await self.host.request(OpenAccount(time_ns=now_ns, account=name, holder_name=name, country="CH"))
                await self.host.request(ReviewKyc(time_ns=now_ns, account=name, state=KycState.APPROVED))
                await self.host.request(
                    MoveFunds(time_ns=now_ns, account=name, asset="USDT", amount_units=10**13, reference=name)
                )
            prices = {"mark_ticks": 6_000_000, "bid_ticks": 5_999_999, "ask_ticks": 6_000_001, "last_ticks": 6_000_000}
            await self.host.send([Mark(time_ns=now_ns, symbol="BTCUSDT", source="test", healthy=True, **prices)])
            yield self
            tasks.cancel_scope.cancel()
        await self.host.stop()

    async def submit(self, account: str, number: int) -> Answer:
        """A resting order."""
        order = OrderRequest(
            account=account, client_order_id=f"{account}-{number}", symbol="BTCUSDT", side=Side.BUY,
            type=OrderType.LIMIT, quantity_lots=1_000 + number, price_ticks=5_990_000 - number,
        )  # fmt: skip
        return await self.host.request(SubmitOrder(time_ns=self.clock.now_ns(), order=order))

    def kill(self, account: str = "*") -> SetKillLevel:
        """The kill switch at CANCEL_ALL."""
        return SetKillLevel(time_ns=self.clock.now_ns(), actor="user:eve", account=account, level=KillLevel.CANCEL_ALL)

    @property
    def open_at_the_venue(self) -> int:
        """Orders that rest there."""
        return sum(order.state is OrderState.WORKING for order in self.venue.orders.values())

    async def mend(self) -> None:
        """The journal can be written again, and everything that waited has passed."""
        self.journal.failing = False
        for _ in range(30):
            self.clock.advance(1)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()


async def test_the_kill_switch_cancels_at_the_venues_without_the_journal(tmp_path: Path) -> None:
    """While nothing can be journaled the venue's orders are cancelled at once; later the log tells it in order.

    The stop is the first input when the journal works again, so that no order comes before it.
    """
    desk = Desk(tmp_path)
    async with desk.running():
        for number in range(5):
            assert (await desk.submit("alice", number)).reason is Reason.NONE
        await wait_until(lambda: desk.open_at_the_venue == 5)
        desk.journal.failing = True
        with pytest.raises(Exception, match="told to fail"):
            await desk.host.request(desk.kill())
        sent, kept = await desk.stops.stop(desk.kill())
        assert (len(sent), kept) == (5, True)
        await wait_until(lambda: desk.open_at_the_venue == 0)
        assert desk.cores.risk.kill_levels()["*"] is KillLevel.OFF
        assert [type(stop) for stop in desk.file.recall()] == [SetKillLevel]
        await desk.mend()
        assert desk.cores.risk.kill_levels()["*"] is KillLevel.CANCEL_ALL
        assert (await desk.submit("alice", 99)).reason is Reason.KILL_SWITCH
        assert desk.cores.risk.open_order_ids("*") == ()
        assert desk.cores.risk.check() == []
        assert desk.file.recall() == ()
        inputs = [message for _, group in desk.journal.read(1) for message in group]
        later = inputs[next(i for i, m in enumerate(inputs) if isinstance(m, SetKillLevel)) :]
        assert not any(isinstance(message, SubmitOrder) for message in later[:-1])


async def test_what_waits_for_a_venue_is_not_sent_after_the_stop(tmp_path: Path) -> None:
    """An order that was approved and journaled, and waits for its turn at the venue, ends instead of leaving."""
    desk = Desk(tmp_path)
    async with desk.running():
        desk.venue.script("submit", *[Fault.HANGS] * 32)
        for number in range(64):
            await desk.submit("alice", number)
        await wait_until(lambda: len(desk.venue.orders) == 32)
        desk.journal.failing = True
        sent, _ = await desk.stops.stop(desk.kill())
        assert len(sent) == 64
        desk.journal.failing = False
        with anyio.fail_after(30):
            while desk.open_at_the_venue or desk.cores.risk.open_order_ids("*"):
                desk.clock.advance(0.05)
                await anyio.sleep(0.01)
        assert len(desk.venue.orders) == 32, "orders were sent to the venue after the kill switch"


async def test_a_stop_of_one_account_leaves_the_others_alone(tmp_path: Path) -> None:
    """Without the journal, too, the kill switch of an account cancels that account's orders only."""
    desk = Desk(tmp_path)
    async with desk.running():
        await desk.submit("alice", 1)
        await desk.submit("bob", 2)
        await wait_until(lambda: desk.open_at_the_venue == 2)
        desk.journal.failing = True
        with pytest.raises(Exception, match="told to fail"):
            await desk.host.request(desk.kill("alice"))
        await desk.stops.stop(desk.kill("alice"))
        desk.stops.trip(ActivateBreaker(time_ns=desk.clock.now_ns(), actor="user:eve", scope="symbol:BTCUSDT"))
        await wait_until(lambda: desk.open_at_the_venue == 1)
        await desk.mend()
        assert desk.cores.risk.kill_levels() == {"*": KillLevel.OFF, "alice": KillLevel.CANCEL_ALL}
        assert set(desk.cores.risk.breakers()) == {"symbol:BTCUSDT"}
        assert len(desk.cores.risk.open_order_ids("bob")) == 1


async def test_a_stop_survives_a_journal_that_fails_again(tmp_path: Path) -> None:
    """Where the first write after the outage fails as well, the stop is still the next input, and applied once."""
    desk = Desk(tmp_path)
    async with desk.running():
        desk.journal.failing = True
        with pytest.raises(Exception, match="told to fail"):
            await desk.host.request(desk.kill())
        await desk.stops.stop(desk.kill())
        desk.journal.failing = False
        append = desk.journal.append
        fails = iter([True])

        def failing_once(*given: object) -> int:
            desk.journal.failing = next(fails, False)
            try:
                return append(*given)  # type: ignore[arg-type]  # as given
            finally:
                desk.journal.failing = False

        desk.journal.append = failing_once  # type: ignore[assignment, method-assign]  # fails once
        await desk.mend()
        assert desk.cores.risk.kill_levels()["*"] is KillLevel.CANCEL_ALL
        inputs = [message for _, group in desk.journal.read(1) for message in group]
        assert sum(isinstance(message, SetKillLevel) for message in inputs) == 1


def test_half_a_stop_file_is_no_stop(tmp_path: Path) -> None:
    """What a power cut left of the file is said and ignored; a whole one comes back, and its size never changes."""
    file = StopFile(tmp_path)
    assert file.recall() == ()
    file.set_aside()
    size = (tmp_path / "emergency-stops.json").stat().st_size
    stop = SetKillLevel(time_ns=1, account="*", level=KillLevel.FLATTEN)
    file.remember([stop])
    assert file.recall() == (stop,)
    assert (tmp_path / "emergency-stops.json").stat().st_size == size
    (tmp_path / "emergency-stops.json").write_bytes(b'[{"kind":"set_kill')
    assert file.recall() == ()


@pytest.fixture
def process(tmp_path: Path) -> DeskProcess:
    """A real desk that is not started yet."""
    return DeskProcess(tmp_path / "desk", config=str(write_fault_settings(tmp_path / "desk.yml")))


def test_a_full_disk_stops_orders_not_the_kill_switch(process: DeskProcess) -> None:
    """With no room for another byte: no acknowledgement, the kill switch answers, and all that was acknowledged stays.

    The limit on the size of files does what a full disk does, for the desk's process alone. Killed in that state, the
    desk starts again with the stop in force, though the journal never took it.
    """
    with process as desk:
        load = Load(desk, tag="full", seed=1, middle_cents=middle_cents(desk))
        load.start()
        until(lambda: len(load.acknowledged) >= 40, what="some orders")
        resource.prlimit(desk.process_id, resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
        until(lambda: load.refused.get("JOURNAL_UNAVAILABLE", 0) > 3, what="refusals", seconds_max=5)
        load.stop()
        acknowledged = list(load.acknowledged)
        answer = desk.request("risk", "POST", "/kill-switch", {"level": 2, "account": "*", "note": "disk full"})
        assert answer.status_code == 202, answer.text
        body = answer.json()
        assert (body["changed"], body["journaled"]) == (True, False)
        assert "also after a restart" in body["detail"]
        desk.kill()
        desk.start()
        assert desk.json("risk", "GET", "/kill-switch")["level"] == 2
        until(
            lambda: not desk.json("gateway", "GET", "/open-orders?limit=1")["orders"],
            what="no open order",
            seconds_max=30,
        )
        refused = desk.request("gateway", "POST", "/orders", _order("after"))
        assert refused.json()["reason"] == "KILL_SWITCH"
        for order in acknowledged:
            assert desk.json("gateway", "GET", f"/orders/{order.order_id}")["order"]["client_order_id"] == (
                order.client_order_id
            )


def test_a_disk_with_room_again_is_used_again(process: DeskProcess) -> None:
    """When there is space the desk takes orders by itself, without a restart and without a loss."""
    with process as desk:
        load = Load(desk, tag="room", seed=2, middle_cents=middle_cents(desk))
        load.start()
        until(lambda: len(load.acknowledged) >= 20, what="some orders")
        resource.prlimit(desk.process_id, resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
        until(lambda: load.refused.get("JOURNAL_UNAVAILABLE", 0) > 3, what="refusals", seconds_max=5)
        before = len(load.acknowledged)
        resource.prlimit(desk.process_id, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: len(load.acknowledged) >= before + 10, what="new orders", seconds_max=10)
        load.stop()
        for order in load.acknowledged:
            assert desk.json("gateway", "GET", f"/orders/{order.order_id}")["order"]["account"] == order.account


#: Makes every synchronisation of a file fail while the file that FAIL_SYNC names exists.
_FAILING_SYNC = """
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static int fails(void) { const char *name = getenv("FAIL_SYNC"); return name && access(name, F_OK) == 0; }
int fsync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fdatasync, fd); }
"""


def test_nothing_is_acknowledged_that_could_not_be_synchronised(tmp_path: Path) -> None:
    """While fsync fails every order is refused; when it works again, orders are taken, and no answer was a lie."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler for a library whose fsync fails")
    source, library, switch = tmp_path / "sync.c", tmp_path / "sync.so", tmp_path / "failing"
    source.write_text(_FAILING_SYNC)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    config = str(write_fault_settings(tmp_path / "desk.yml"))
    environment = {"LD_PRELOAD": str(library), "FAIL_SYNC": str(switch)}
    with DeskProcess(tmp_path / "desk", config=config, environment=environment) as desk:
        load = Load(desk, tag="sync", seed=3, middle_cents=middle_cents(desk))
        load.start()
        until(lambda: len(load.acknowledged) >= 20, what="some orders")
        switch.touch()
        until(lambda: load.refused.get("JOURNAL_UNAVAILABLE", 0) > 5, what="refusals", seconds_max=10)
        before = len(load.acknowledged)
        until(lambda: load.refused.get("JOURNAL_UNAVAILABLE", 0) > 50, what="more refusals", seconds_max=10)
        assert len(load.acknowledged) == before, "an order was acknowledged although nothing could be synchronised"
        switch.unlink()
        until(lambda: len(load.acknowledged) >= before + 10, what="new orders", seconds_max=10)
        load.stop()
        desk.kill()
        desk.start()
        for order in load.acknowledged:
            found = desk.json("gateway", "GET", f"/orders/{order.order_id}")["order"]
            assert found["client_order_id"] == order.client_order_id


def test_stops_work_while_the_databases_are_locked(process: DeskProcess) -> None:
    """With both databases of the read models locked by somebody else, the breaker trips and the kill switch cancels."""
    with process as desk:
        answer = desk.json("gateway", "POST", "/orders?wait_ms=3000", _order("resting", desk))
        assert answer["order"]["state"] == "WORKING"
        locks = [
            sqlite3.connect(desk.directory / f"{name}.sqlite3", isolation_level=None)
            for name in ("orderdb", "compliancedb")
        ]
        try:
            for lock in locks:
                lock.execute("BEGIN EXCLUSIVE")
            began = time.monotonic()
            desk.json("risk", "POST", "/circuit-breaker/activate", {"scope": "*", "note": "test"})
            assert desk.request("gateway", "POST", "/orders", _order("a")).json()["reason"] == "CIRCUIT_BREAKER"
            killed = desk.json("risk", "POST", "/kill-switch", {"level": 2, "account": "*", "note": "test"})
            assert killed["order_ids"] == [answer["order"]["order_id"]]
            assert time.monotonic() - began < 5
            assert desk.request("gateway", "POST", "/orders", _order("b")).json()["reason"] == "KILL_SWITCH"
            until(lambda: not desk.json("execution", "GET", "/orders")["orders"], what="the cancel at the venue")
        finally:
            for lock in locks:
                lock.close()
        halted = polaris(desk, "halt", "--json")
        assert (halted.returncode, json.loads(halted.stdout)["still_open"]) == (0, []), halted.stderr


def _order(name: str, desk: DeskProcess | None = None) -> dict[str, str]:
    cents = middle_cents(desk) * 97 // 100 if desk is not None else 5_000_000
    return {
        "account": ACCOUNTS[0], "client_order_id": name, "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT",
        "quantity": "0.001", "price": f"{cents // 100}.{cents % 100:02d}",
    }  # fmt: skip
