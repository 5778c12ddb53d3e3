"""WebSocket clients that subscribe to everything and read nothing, beside traders whose orders must not notice.

Spells without and with such clients take turns, so that what else the machine does falls on both. Orders leave at a
fixed rate, and each counts from the time at which it should have left.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import uvloop
from msgspec import Struct

from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.faults.kill_switch import log_in
from polaris_synapse.testing.faults.kills import percentile
from polaris_synapse.testing.faults.load import ACCOUNTS, middle_cents, write_fault_settings
from polaris_synapse.testing.load_clients import WebSocketLoad
from polaris_synapse.testing.machine import Machine, resident_bytes, this_machine
from polaris_synapse.testing.order_load import REFERENCE, SYMBOL, OrderStream

RATE: Final = 300
SPELL_SECONDS: Final = 6.0
#: One of the many is enough to show it; each more costs what one more reader costs, stuck or not, until it is dropped.
READERS: Final = 2
RATIO_MAX: Final = 1.5
GROWTH_BYTES_MAX: Final = 50 * 1024 * 1024
_DROPPED_SECONDS_MAX: Final = 60.0
_CHANNELS: Final = ("orders", "executions", "balances", "positions", f"market:{REFERENCE}", f"market:{SYMBOL}")
_DROPPED: Final = re.compile(rb'polaris_gateway_connections_dropped_total\{reason="SLOW_CONSUMER"\} ([0-9.e+]+)')


class SlowReadersReport(Struct, frozen=True, kw_only=True):
    """Figures, and what did not hold."""

    figures: tuple[Figure, ...]
    machine: Machine
    violations: list[str]


class _Answer(Struct):
    id: int = -1
    result: msgspec.Raw = msgspec.Raw()


class _StuckReader(WebSocketLoad):
    """Asks for everything and never reads again."""

    async def connect(self) -> None:
        """Connect through a socket that holds little."""
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._sock, (self._host, self._port))
        await loop.create_connection(lambda: self, sock=self._sock)
        await asyncio.wait_for(self._open, 30)
        subscribe = {"id": 1, "method": "subscribe", "params": {"channels": list(_CHANNELS)}}
        self.send([msgspec.json.encode(subscribe)])

    def stop_reading(self) -> None:
        """From here on nothing is taken off the socket."""
        assert self._transport is not None
        self._transport.pause_reading()

    def drop(self) -> None:
        """Let go of it without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()


class _Spells:
    """Order load with and without stuck readers."""

    def __init__(self, desk: DeskProcess) -> None:
        self._desk = desk
        self._stream = OrderStream(ACCOUNTS, middle_cents=middle_cents(desk), tag="slow")
        self._decoder = msgspec.json.Decoder(_Answer)
        self._connections: list[WebSocketLoad] = []
        self._intended: dict[int, float] = {}
        self._answered = asyncio.Event()
        self._latencies = array("d")
        self.quiet: list[array[float]] = []
        self.stuck: list[array[float]] = []
        self.drop_seconds: list[float] = []
        self.refused = 0
        self.growth_bytes = 0
        self.violations: list[str] = []

    async def run(self, rounds: int, progress: Callable[[str, float], None]) -> None:
        """Spells in turn."""
        place = self._desk.place
        for account in ACCOUNTS:
            headers = {"Authorization": f"Bearer {log_in(self._desk, account, 'TRADER', (account,))}"}
            connection = WebSocketLoad(place.host, place.ports["gateway"], "/ws", headers, self._take)
            await connection.connect()
            self._connections.append(connection)
        token = log_in(self._desk, "reader", "ADMIN", ("*",))
        await self._spell()
        self._latencies = array("d")
        for number in range(rounds):
            progress(f"{len(self.drop_seconds)} rounds", number / rounds)
            process = self._desk.process_id
            sizes = [resident_bytes(process)]
            self.quiet.append(await self._spell())
            sizes.append(resident_bytes(process))
            self.stuck.append(await self._with_stuck_readers(token))
            sizes.append(resident_bytes(process))
            # Orders take memory in any spell: what counts is what the stuck clients add.
            share = len(self.stuck[-1]) / max(len(self.quiet[-1]), 1)
            self.growth_bytes += sizes[2] - sizes[1] - round((sizes[1] - sizes[0]) * share)
        progress("done", 1.0)
        for connection in self._connections:
            connection.close()

    def _take(self, payload: bytes) -> None:
        answer = self._decoder.decode(payload)
        intended = self._intended.pop(answer.id, None)
        if intended is not None:
            self._latencies.append((time.perf_counter() - intended) * 1_000)
            self.refused += not bytes(answer.result)
            if not self._intended:
                self._answered.set()

    async def _spell(self, *, until: Callable[[], bool] | None = None) -> array[float]:
        """Send for a while, and for as long as ``until`` is not so; the latencies in milliseconds."""
        began, sent = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < SPELL_SECONDS or (
            until is not None and not until() and passed < _DROPPED_SECONDS_MAX
        ):
            due = int(passed * RATE)
            while sent < due:
                number = self._stream.made
                account = ACCOUNTS[number % len(ACCOUNTS)]
                order = self._stream.next(account)
                self._intended[number] = began + sent / RATE
                frame = f'{{"id":{number},"method":"submit","params":{order}}}'.encode()
                self._connections[number % len(ACCOUNTS)].send([frame])
                sent += 1
            await asyncio.sleep(0.001)
        if self._intended:
            self._answered.clear()
            await asyncio.wait_for(self._answered.wait(), _DROPPED_SECONDS_MAX)
        taken, self._latencies = self._latencies, array("d")
        return taken

    async def _with_stuck_readers(self, token: str) -> array[float]:
        place, before = self._desk.place, await asyncio.to_thread(self._dropped)
        readers: list[_StuckReader] = []
        for _ in range(READERS):
            headers = {"Authorization": f"Bearer {token}"}
            reader = _StuckReader(place.host, place.ports["gateway"], "/ws", headers, lambda _: None)
            await reader.connect()
            reader.stop_reading()
            readers.append(reader)
        began = time.perf_counter()
        gone = asyncio.Event()
        watching = asyncio.create_task(self._watch(before, gone))
        latencies = await self._spell(until=gone.is_set)
        watching.cancel()
        dropped = await asyncio.to_thread(self._dropped) - before
        if dropped < READERS:
            self.violations.append(f"{READERS - dropped} of {READERS} stuck clients were still there after a minute")
        self.drop_seconds.append(time.perf_counter() - began)
        for reader in readers:
            reader.drop()
        return latencies

    async def _watch(self, before: int, gone: asyncio.Event) -> None:
        """Look each second, beside the load and not in its way, whether all stuck clients were dropped."""
        while not gone.is_set():
            await asyncio.sleep(1.0)
            if await asyncio.to_thread(self._dropped) - before >= READERS:
                gone.set()

    def _dropped(self) -> int:
        metrics = self._desk.request("gateway", "GET", "/metrics").content
        found = _DROPPED.search(metrics)
        return round(float(found.group(1))) if found else 0


def run_slow_readers(
    directory: Path, *, rounds: int, progress: Callable[[str, float], None] = lambda *_: None
) -> SlowReadersReport:
    """Measure, in a folder of its own inside ``directory``."""
    machine = this_machine()
    place = Path(tempfile.mkdtemp(prefix="slow-readers-", dir=directory))
    try:
        config = str(write_fault_settings(place / "desk.yml", journal={}))
        with DeskProcess(place / "desk", config=config) as desk:
            spells = _Spells(desk)
            uvloop.run(spells.run(rounds, progress))
            desk.stop()
    finally:
        shutil.rmtree(place)
    figures: list[Figure] = [Figure("orders a second", RATE, "orders/s"), Figure("refused", spells.refused, "orders")]
    p99: dict[str, float] = {}
    for name, found in (("without stuck clients", spells.quiet), (f"with {READERS} stuck clients", spells.stuck)):
        for percent in (50, 99):
            middle = median(percentile(sorted(latencies), percent) for latencies in found)
            figures.append(Figure(f"order to answer {name}, p{percent} of the middle spell", round(middle, 2), "ms"))
            p99[name] = middle
    quiet, stuck = p99.values()
    figures.append(Figure("p99 with over p99 without", round(stuck / quiet, 2), ""))
    figures.append(Figure("until all stuck clients were dropped, at most", round(max(spells.drop_seconds), 1), "s"))
    growth = spells.growth_bytes
    figures.append(Figure("resident memory that stuck clients added, over all spells", growth, "bytes"))
    if stuck > quiet * RATIO_MAX:
        spells.violations.append(f"orders took {stuck / quiet:.2f} times as long beside stuck clients")
    if growth > GROWTH_BYTES_MAX:
        spells.violations.append(f"memory grew by {growth:,} bytes")
    return SlowReadersReport(figures=tuple(figures), machine=machine, violations=spells.violations)
