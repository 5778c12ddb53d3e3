"""How fast a real desk takes orders over its sockets, from sending an order to its durable acknowledgement.

A desk runs in a process of its own, with the default cores, read models and market data, and its journal on the disk
of ``directory`` (``synchronous=FULL``). Where two cores exist it has one and this client the other; the processes that
write the desk's read models run wherever there is room. Every order that was acknowledged is looked for in the desk's
read model afterwards; a measurement that lost one fails.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from msgspec import Struct

from polaris_synapse.compiled import cores_in_use
from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.load_clients import HttpLoad, LoadClientError
from polaris_synapse.testing.machine import Machine, children_of, cpu_seconds, pin, this_machine
from polaris_synapse.testing.order_load import PASSWORD, REFERENCE, OrderStream, account_names, write_settings
from polaris_synapse.testing.order_wires import (
    ErrorSeen,
    OrderPortWire,
    OrderSeen,
    OrderWire,
    WebSocketWire,
)
from polaris_synapse.testing.slow_orders import slow_orders
from polaris_synapse.testing.stream_load import Passage, StreamLoad
from polaris_synapse.testing.traced_desk import DeskNotes

#: Called with what is measured now, and how much of everything is done (0 to 1).
Progress = Callable[[str, float], None]

PERCENTILES: Final = ((50.0, "p50"), (99.0, "p99"), (99.9, "p99.9"))
#: Orders a second.
OPEN_LOOP_RATES: Final = (1_000, 5_000, 10_000)
#: What there is to measure.
KINDS: Final = ("rest", "batch", "closed", "open", "port-closed", "port-open")
_DRAIN_SECONDS_MAX: Final = 30.0
#: Between two measurements the desk works off what it owes its read models.
_REST_SECONDS_MAX: Final = 120.0


class OrderPlan(Struct, frozen=True, kw_only=True):
    """What to measure, ``seconds`` each after a warm-up.

    ``rates`` are the open loop's orders a second. ``only`` names KINDS; empty for all. ``slow``: the desk takes notes,
    which cost it time, and the report says where the slow orders of open loops were kept. Each of ``connections`` has
    an account; ``rest_connections``, one order each on its way, share these.
    """

    directory: Path
    seconds: float = 5.0
    warm_up_seconds: float = 1.0
    connections: int = 10
    rest_connections: int = 100
    in_flight: int = 16
    rates: tuple[int, ...] = OPEN_LOOP_RATES
    batch_orders: int = 50
    only: tuple[str, ...] = ()
    slow: bool = False


class OrderReport(Struct, frozen=True, kw_only=True):
    """``acknowledged`` orders were all found in the read model; ``refused`` counts refusals by reason.

    ``forms_in_use`` says in a sentence what of the desk ran compiled.
    """

    figures: tuple[Figure, ...]
    machine: Machine
    acknowledged: int
    fills: int
    refused: dict[str, int]
    forms_in_use: str
    slow: tuple[str, ...] = ()


class _Result(Struct):
    order: OrderSeen | None = None


class _BatchItem(Struct):
    result: _Result | None = None
    error: ErrorSeen | None = None


class _BatchAnswer(Struct):
    results: list[_BatchItem]


_REST_ANSWER: Final = msgspec.json.Decoder(_Result)
_REST_ERROR: Final = msgspec.json.Decoder(ErrorSeen)
_BATCH_ANSWER: Final = msgspec.json.Decoder(_BatchAnswer)


class _Used(Struct, frozen=True):
    """Seconds of processor time since a process began: the desk, the processes that it started, and this one."""

    desk: float
    writers: float
    client: float

    @classmethod
    def until_now(cls, process_id: int) -> _Used:
        """By the desk's process id."""
        writers = sum(cpu_seconds(child) for child in children_of(process_id))
        return cls(cpu_seconds(process_id), writers, time.process_time())

    def since(self, before: _Used) -> _Used:
        """What was used between two moments."""
        return _Used(self.desk - before.desk, self.writers - before.writers, self.client - before.client)


class _Tally:
    """What came back: which orders, which refusals; and of the counted time, how long each answer took."""

    def __init__(self) -> None:
        self.order_ids = array("q")
        self.refused: Counter[str] = Counter()
        self.latencies = array("d")
        self.answers = 0
        self.counting = False

    def take(self, order: OrderSeen | None, error: ErrorSeen | None, latency: float) -> None:
        """One answer."""
        if order is not None:
            self.order_ids.append(order.order_id)
        else:
            self.refused[error.reason if error is not None else "UNREADABLE"] += 1
        if self.counting:
            self.answers += 1
            self.latencies.append(latency)

    def begin(self) -> None:
        """Count from now on."""
        self.latencies = array("d")
        self.answers = 0
        self.counting = True

    def figures(self, name: str, seconds: float, used: _Used) -> Iterator[Figure]:
        """Answers a second, the percentiles of how long they took, and the processor time for each."""
        self.counting = False
        yield Figure(name, round(self.answers / seconds, 1), "orders/s")
        for process, spent in (("desk's", used.desk), ("its writers'", used.writers), ("this client's", used.client)):
            per_order = round(spent / max(self.answers, 1) * 1e6, 1)
            yield Figure(f"{name}, {process} processor time", per_order, "us/order")
        ordered = sorted(self.latencies)
        for percent, label in PERCENTILES:
            value = ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0
            yield Figure(f"{name}, {label}", round(value * 1_000, 3), "ms")


class _Client:
    """Logged-in connections to one desk, and the ways to load it."""

    def __init__(self, desk: DeskProcess, plan: OrderPlan, tally: _Tally, middle_cents: int) -> None:
        self._plan = plan
        self._tally = tally
        self._middle_cents = middle_cents
        self._process_id = desk.process_id
        self._host, self._port = desk.place.host, desk.place.ports["gateway"]
        self._websocket = WebSocketWire(self._host, self._port)
        self._order_port = OrderPortWire(self._host, desk.place.ports["order_port"])
        self._accounts = account_names(plan.connections)
        self._tokens = [_log_in(desk, name) for name in self._accounts]
        #: What the open loops' clients saw of each order, by the name of the figure.
        self.passages: dict[str, list[Passage]] = {}

    def _stream(self, tag: str) -> OrderStream:
        return OrderStream(self._accounts, middle_cents=self._middle_cents, tag=tag)

    def _headers(self, number: int) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens[number]}"}

    async def rest(self, name: str, connections: int) -> list[Figure]:
        """Closed loop: each connection sends its next order when the last one is acknowledged."""
        stream, tally = self._stream(f"rest{connections}"), self._tally
        until = float("inf")

        async def client(number: int) -> None:
            holder = number % len(self._accounts)
            connection = HttpLoad(self._host, self._port, self._headers(holder))
            await connection.connect()
            while time.perf_counter() < until:
                body = stream.next(self._accounts[holder]).encode()
                sent = time.perf_counter()
                status, answer = await connection.post("/orders", body)
                latency = time.perf_counter() - sent
                if status in {200, 201}:
                    tally.take(_REST_ANSWER.decode(answer).order, None, latency)
                else:
                    tally.take(None, _REST_ERROR.decode(answer), latency)
            connection.close()

        tasks = [asyncio.create_task(client(number)) for number in range(connections)]
        figures = await self._timed(name)
        until = 0.0
        await asyncio.gather(*tasks)
        return figures

    async def rest_batches(self, name: str) -> list[Figure]:
        """Closed loop of batches: every order of a batch counts with the time that its batch took."""
        stream, tally, size = self._stream("batch"), self._tally, self._plan.batch_orders
        until = float("inf")

        async def client(number: int) -> None:
            connection = HttpLoad(self._host, self._port, self._headers(number))
            await connection.connect()
            while time.perf_counter() < until:
                orders = [stream.next(self._accounts[number]) for _ in range(size)]
                sent = time.perf_counter()
                status, answer = await connection.post("/orders/batch", f'{{"orders":[{",".join(orders)}]}}'.encode())
                latency = time.perf_counter() - sent
                if status != 200:
                    raise LoadClientError(f"a batch was refused: {answer.decode()}")
                for item in _BATCH_ANSWER.decode(answer).results:
                    tally.take(item.result.order if item.result else None, item.error, latency)
            connection.close()

        tasks = [asyncio.create_task(client(number)) for number in range(self._plan.connections)]
        figures = await self._timed(name)
        until = 0.0
        await asyncio.gather(*tasks)
        return figures

    async def websocket_closed(self, name: str) -> list[Figure]:
        """Closed loop: each connection keeps ``in_flight`` orders on their way."""
        return await self._closed(name, self._websocket, "closed")

    async def port_closed(self, name: str) -> list[Figure]:
        """The same over the order port."""
        return await self._closed(name, self._order_port, "port")

    async def _closed(self, name: str, wire: OrderWire, tag: str) -> list[Figure]:
        load = self._load(wire, tag)
        await load.connect()
        for number in range(self._plan.connections):
            load.send(number, self._plan.in_flight)
        load.closed_loop = True
        figures = await self._timed(name)
        load.closed_loop = False
        await load.drain()
        return figures

    async def websocket_open(self, name: str, rate: int) -> list[Figure]:
        """Open loop: orders leave at a fixed rate, and count from the time at which they should have left."""
        return await self._open(name, self._websocket, f"open{rate}", rate)

    async def port_open(self, name: str, rate: int) -> list[Figure]:
        """The same over the order port."""
        return await self._open(name, self._order_port, f"portopen{rate}", rate)

    async def _open(self, name: str, wire: OrderWire, tag: str, rate: int) -> list[Figure]:
        load = self._load(wire, tag)
        await load.connect()
        load.passages = self.passages[name] = []
        sending = asyncio.create_task(load.send_at(rate))
        figures = await self._timed(name)
        sending.cancel()
        await load.drain()
        return figures

    async def _timed(self, name: str) -> list[Figure]:
        await asyncio.sleep(self._plan.warm_up_seconds)
        began, used_before = time.perf_counter(), _Used.until_now(self._process_id)
        self._tally.begin()
        await asyncio.sleep(self._plan.seconds)
        took, used = time.perf_counter() - began, _Used.until_now(self._process_id).since(used_before)
        return list(self._tally.figures(name, took, used))

    def _load(self, wire: OrderWire, tag: str) -> StreamLoad:
        holders = list(zip(self._accounts, self._tokens, strict=True))
        return StreamLoad(wire, self._stream(tag), holders, self._tally.take, _DRAIN_SECONDS_MAX)


def run_order_benchmark(plan: OrderPlan, progress: Progress) -> OrderReport:
    """Measure. Raises LoadClientError where an order was not answered, or was acknowledged and is not there."""
    machine = this_machine()
    directory = Path(tempfile.mkdtemp(prefix="order-benchmark-", dir=plan.directory))
    settings = directory / "benchmark.yml"
    write_settings(settings, account_names(plan.connections))
    progress("starting a desk", 0.0)
    notes = directory / "notes"
    tracing = (sys.executable, "-m", "polaris_synapse.testing.traced_desk", str(notes)) if plan.slow else ()
    desk = DeskProcess(directory / "desk", config=str(settings), program=tracing)
    tally, figures = _Tally(), []
    slow: tuple[str, ...] = ()
    own_cores = os.sched_getaffinity(0)
    try:
        with desk:
            if len(own_cores) > 1:
                desk_core, client_core = sorted(own_cores)[:2]
                pin(desk.process_id, desk_core)
                pin(os.getpid(), client_core)
            client = _Client(desk, plan, tally, _middle_cents(desk))
            steps = list(_steps(client, plan))
            for number, (name, step) in enumerate(steps):
                progress(name, number / len(steps))
                figures += uvloop.run(step(name))
                _rest(desk)
            desk.stop()
        stored, fills = _stored(directory / "desk")
        if plan.slow:
            slow = tuple(_slow(client.passages, notes))
    finally:
        os.sched_setaffinity(0, own_cores)
        shutil.rmtree(directory)
    progress("done", 1.0)
    missing = set(tally.order_ids) - stored
    if missing:
        raise LoadClientError(f"{len(missing)} acknowledged orders are not in the read model: the figures are void")
    return OrderReport(
        figures=tuple(figures),
        machine=machine,
        acknowledged=len(tally.order_ids),
        fills=fills,
        refused=dict(tally.refused),
        forms_in_use=cores_in_use(),
        slow=slow,
    )


def sentences(report: OrderReport) -> Iterator[str]:
    """What a report says besides its figures."""
    yield f"{report.acknowledged:,} orders acknowledged, all found in the read model; {report.fills:,} fills"
    for reason, count in sorted(report.refused.items()):
        yield f"{count:,} refused: {reason}"
    yield report.forms_in_use
    yield from report.slow


def _steps(client: _Client, plan: OrderPlan) -> Iterator[tuple[str, Callable[[str], Any]]]:
    wanted = plan.only
    if not wanted or "rest" in wanted:
        for connections in sorted({plan.connections, plan.rest_connections}):
            yield f"REST, {connections} connections", partial(client.rest, connections=connections)
    if not wanted or "batch" in wanted:
        yield f"REST batches of {plan.batch_orders}, {plan.connections} connections", client.rest_batches
    if not wanted or "closed" in wanted:
        yield f"WebSocket, {plan.connections} connections, {plan.in_flight} in flight", client.websocket_closed
    if not wanted or "port-closed" in wanted:
        yield f"order port, {plan.connections} connections, {plan.in_flight} in flight", client.port_closed
    if not wanted or "open" in wanted:
        for rate in plan.rates:
            yield f"WebSocket, open loop at {rate}/s", partial(client.websocket_open, rate=rate)
    if not wanted or "port-open" in wanted:
        for rate in plan.rates:
            yield f"order port, open loop at {rate}/s", partial(client.port_open, rate=rate)


def _slow(passages: dict[str, list[Passage]], notes: Path) -> Iterator[str]:
    """Of each open loop, where its slow orders were kept."""
    taken = msgspec.msgpack.decode(notes.read_bytes(), type=DeskNotes)
    for name, seen in passages.items():
        yield from slow_orders(name, seen, taken)


def _log_in(desk: DeskProcess, account: str) -> str:
    """A trader of the account, made and logged in."""
    user = {"username": account, "password": PASSWORD, "role": "TRADER", "accounts": [account]}
    desk.json("gateway", "POST", "/users", user)
    answer = desk.request(
        "gateway", "POST", "/login", {"username": account, "password": PASSWORD}, headers={"accept": "*/*"}
    )
    return str(msgspec.json.decode(answer.content)["access_token"])


def _middle_cents(desk: DeskProcess) -> int:
    """The simulated market's price in cents."""
    book = desk.json("market_data", "GET", f"/book/{REFERENCE}")
    return round(float(book["bids"][0][0]) * 100)


def _rest(desk: DeskProcess) -> None:
    """Wait until the read models show everything, so that one measurement does not pay for another."""
    until = time.monotonic() + _REST_SECONDS_MAX
    while time.monotonic() < until:
        if desk.request("gateway", "GET", "/orders?account=bench-1&limit=1").status_code == 200:
            return
    raise LoadClientError(f"the read models did not catch up within {_REST_SECONDS_MAX:g} s")


def _stored(directory: Path) -> tuple[set[int], int]:
    """The ids of all orders in the stopped desk's read model, and how many fills it has."""
    database = sqlite3.connect(f"file:{directory / 'orderdb.sqlite3'}?mode=ro", uri=True)
    try:
        found = {row[0] for row in database.execute("SELECT order_id FROM orders")}
        return found, int(database.execute("SELECT count(*) FROM executions").fetchone()[0])
    finally:
        database.close()
