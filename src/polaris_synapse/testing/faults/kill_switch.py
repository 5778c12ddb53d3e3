"""The kill switch pulled at full load, again and again: how long it takes, and that nothing gets in after it."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from msgspec import Struct

from polaris_synapse.bus.journal_reader import JournalReader
from polaris_synapse.desk.cores import durable_cores
from polaris_synapse.desk.journal_replay import Replay
from polaris_synapse.desk.loading import load_settings
from polaris_synapse.domain.messages import KillLevel, KillLevelChanged, OrderUpdated
from polaris_synapse.domain.orders import OrderState
from polaris_synapse.execution.paper.store import PaperStore
from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.faults.kills import percentile
from polaris_synapse.testing.faults.load import ACCOUNTS, middle_cents, write_fault_settings
from polaris_synapse.testing.load_clients import HttpLoad, LoadClientError, WebSocketLoad
from polaris_synapse.testing.machine import Machine, this_machine
from polaris_synapse.testing.order_load import PASSWORD, REFERENCE, OrderStream

_IN_FLIGHT: Final = 16
#: Every so-many-th order rests at the paper venue, so that the switch has something to cancel there.
_PAPER_EVERY: Final = 16
_LOAD_SECONDS: Final = 0.5
_CANCELLED_SECONDS_MAX: Final = 10.0


#: What is going on, and the share of it that is done.
Progress = Callable[[str, float], None]


class KillSwitchReport(Struct, frozen=True, kw_only=True):
    """Figures, and where an order was accepted after the kill switch."""

    figures: tuple[Figure, ...]
    machine: Machine
    answered: int
    refusals: dict[str, int]
    violations: list[str]


class _Open(Struct):
    total: int


class _Answer(Struct):
    id: int = -1
    result: msgspec.Raw = msgspec.Raw()


class _Press:
    """One run against one desk."""

    def __init__(self, desk: DeskProcess) -> None:
        self._desk = desk
        self._middle_cents = middle_cents(desk)
        self._stream = OrderStream(ACCOUNTS, middle_cents=self._middle_cents, tag="kill")
        self._decoder = msgspec.json.Decoder(_Answer)
        self._connections: list[WebSocketLoad] = []
        self._loading = True
        self.answers: Counter[str] = Counter()
        self.in_force_ms = array("d")
        self.stop_ms = array("d")
        self.empty_ms = array("d")
        self.slow: list[str] = []
        self.orders_a_second = 0.0
        self._last_accepted = 0.0

    async def run(self, presses: int, progress: Progress) -> None:
        """Load, pull, wait until nothing is open, let go; ``presses`` times. The last one is not let go."""
        officer = self._http("risk", log_in(self._desk, "officer", "RISK_OFFICER", ()))
        await officer.connect()
        for account in ACCOUNTS:
            headers = {"Authorization": f"Bearer {log_in(self._desk, account, 'TRADER', (account,))}"}
            await self._connect(account, headers)
        for number in range(presses):
            progress("kill switch", number / presses)
            began, before = time.perf_counter(), self.answers["accepted"]
            await asyncio.sleep(_LOAD_SECONDS)
            rate = (self.answers["accepted"] - before) / (time.perf_counter() - began)
            self.orders_a_second = max(self.orders_a_second, rate)
            pulled = time.perf_counter()
            await self._level(officer, KillLevel.CANCEL_ALL)
            self.stop_ms.append((time.perf_counter() - pulled) * 1_000)
            await self._until_empty(pulled)
            self.in_force_ms.append(max(self._last_accepted - pulled, 0.0) * 1_000)
            if number < presses - 1:
                await self._level(officer, KillLevel.OFF)
        progress("kill switch", 1.0)
        self._loading = False
        officer.close()
        for connection in self._connections:
            connection.close()

    def _http(self, service: str, token: str) -> HttpLoad:
        place = self._desk.place
        return HttpLoad(place.host, place.ports[service], {"Authorization": f"Bearer {token}"})

    async def _connect(self, account: str, headers: dict[str, str]) -> None:
        number = len(self._connections)
        place = self._desk.place

        def take(payload: bytes) -> None:
            answer = self._decoder.decode(payload)
            if answer.id < 0:
                return
            accepted = bool(bytes(answer.result))
            self.answers["accepted" if accepted else "refused"] += 1
            if accepted:
                self._last_accepted = time.perf_counter()
            if self._loading:
                self._send(number, account)

        connection = WebSocketLoad(place.host, place.ports["gateway"], "/ws", headers, take)
        await connection.connect()
        self._connections.append(connection)
        for _ in range(_IN_FLIGHT):
            self._send(number, account)

    def _send(self, number: int, account: str) -> None:
        order_number = self._stream.made
        order = self._stream.next(account)
        if order_number % _PAPER_EVERY == 0:
            cents = self._middle_cents * 97 // 100
            order = (
                f'{{"symbol":"{REFERENCE}","side":"BUY","type":"LIMIT","account":"{account}",'
                f'"client_order_id":"paper-{order_number}","quantity":"0.001",'
                f'"price":"{cents // 100}.{cents % 100:02d}"}}'
            )
        self._connections[number].send([f'{{"id":{order_number},"method":"submit","params":{order}}}'.encode()])

    async def _level(self, officer: HttpLoad, level: KillLevel) -> None:
        body = msgspec.json.encode({"level": level, "account": "*", "note": "measurement"})
        status, answer = await officer.post("/kill-switch", body)
        if status != 200:
            raise LoadClientError(f"the kill switch answered {status}: {answer.decode()}")

    async def _until_empty(self, pulled: float) -> None:
        """Until no order is open at the paper venue."""
        while time.perf_counter() - pulled < _CANCELLED_SECONDS_MAX:
            answer = await asyncio.to_thread(self._desk.request, "execution", "GET", "/orders?limit=1")
            if msgspec.json.decode(answer.content, type=_Open).total == 0:
                self.empty_ms.append((time.perf_counter() - pulled) * 1_000)
                return
        self.slow.append(f"orders were open {_CANCELLED_SECONDS_MAX} s after the kill switch")


def run_kill_switch(directory: Path, *, presses: int, progress: Progress = lambda *_: None) -> KillSwitchReport:
    """Measure, in a folder of its own inside ``directory``."""
    machine = this_machine()
    load_before = os.getloadavg()[0]
    place = Path(tempfile.mkdtemp(prefix="kill-switch-", dir=directory))
    try:
        config = str(write_fault_settings(place / "desk.yml", journal={}))
        with DeskProcess(place / "desk", config=config) as desk:
            press = _Press(desk)
            uvloop.run(press.run(presses, progress))
            load_after = os.getloadavg()[0]
            desk.stop()
        left = _open_at_the_venue(place / "desk" / "paper.sqlite3")
        violations = [*press.slow, *left, *_accepted_after(place / "desk" / "journal", config)]
    finally:
        shutil.rmtree(place)
    figures = [
        Figure("orders accepted a second at the peak", round(press.orders_a_second), "orders/s"),
        Figure("load average before", round(load_before, 2), ""),
        Figure("load average after", round(load_after, 2), ""),
    ]
    for name, taken in (
        ("kill switch, until the last client heard of its last accepted order", press.in_force_ms),
        ("kill switch, until its durable answer", press.stop_ms),
        ("kill switch, until nothing is open at the venue", press.empty_ms),
    ):
        values = sorted(taken)
        for percent in (50, 99, 100):
            label = "max" if percent == 100 else f"p{percent}"
            figures.append(Figure(f"{name}, {label}", round(percentile(values, percent), 2), "ms"))
    return KillSwitchReport(
        figures=tuple(figures),
        machine=machine,
        answered=sum(press.answers.values()),
        refusals={"refused": press.answers["refused"]},
        violations=violations,
    )


def _open_at_the_venue(path: Path) -> list[str]:
    """Orders that the venue itself still has open after the last press."""
    store = PaperStore(path)
    try:
        return [f"order {order.order_id} is open at the venue" for order in store.open_orders()][:20]
    finally:
        store.close()


def _accepted_after(journal_directory: Path, config: str) -> list[str]:
    """Orders that risk took while the kill switch was on, from the journal itself."""
    violations: list[str] = []
    seen: set[int] = set()
    killed = False

    def level(_: int, message: KillLevelChanged) -> None:
        nonlocal killed
        killed = message.level is not KillLevel.OFF

    def order(offset: int, message: OrderUpdated) -> None:
        new = message.order.order_id not in seen
        seen.add(message.order.order_id)
        if killed and new and message.order.state is not OrderState.REFUSED:
            violations.append(f"order {message.order.order_id} was accepted at offset {offset}, after the kill switch")

    replay = Replay(durable_cores(load_settings(config))._asdict(), {KillLevelChanged: level, OrderUpdated: order})
    with JournalReader(journal_directory) as journal:
        replay.follow(journal)
    return violations[:20]


def log_in(desk: DeskProcess, name: str, role: str, accounts: tuple[str, ...]) -> str:
    """Make a user and log in; the token."""
    user = {"username": name, "password": PASSWORD, "role": role, "accounts": list(accounts)}
    desk.json("gateway", "POST", "/users", user)
    answer = desk.request(
        "gateway", "POST", "/login", {"username": name, "password": PASSWORD}, headers={"accept": "*/*"}
    )
    return str(msgspec.json.decode(answer.content)["access_token"])
