"""How fast a desk of seven services on Kafka takes orders over its sockets, and what each process spends on one.

The broker, the services and this client share one machine, and nothing is pinned: the figures are of everything
together. Processor time counts until the last fact of the last order is in SQL, so that work put off is not hidden.
Every order that was acknowledged is looked for in the read model afterwards; a measurement that lost one fails.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from msgspec import Struct

from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.testing.cluster import SERVICES, ClusterDesk
from polaris_synapse.testing.load_clients import HttpLoad, LoadClientError
from polaris_synapse.testing.machine import Machine, cpu_seconds, this_machine
from polaris_synapse.testing.order_load import PASSWORD, REFERENCE, OrderStream, account_names, write_settings
from polaris_synapse.testing.order_wires import ErrorSeen, OrderSeen, WebSocketWire
from polaris_synapse.testing.servers.kafka import NativeKafka, find_or_start
from polaris_synapse.testing.stream_load import StreamLoad

#: Called with what is measured now, and how much of everything is done (0 to 1).
Progress = Callable[[str, float], None]

PERCENTILES: Final = ((50.0, "p50"), (99.0, "p99"))
#: What there is to measure.
KINDS: Final = ("rest", "batch", "closed", "open")
_IDLE_SECONDS: Final = 4.0
#: The broker's Java compiles itself under load; before that it takes several times as long.
_WARM_UP_SECONDS: Final = 8.0
_DRAIN_SECONDS_MAX: Final = 60.0
_START_SECONDS_MAX: Final = 240.0
#: Between two measurements the services work off what they owe the read models.
_REST_SECONDS_MAX: Final = 300.0
_REST_POLL_SECONDS: Final = 0.05


class ClusterPlan(Struct, frozen=True, kw_only=True):
    """What to measure, ``seconds`` each after a warm-up, with ``partitions`` of each inbox and fact topic.

    ``clients``: connections, an account each, of the closed loops. ``in_flight``: orders that each WebSocket keeps on
    their way. ``rates`` are the open loop's orders a second. ``only`` names KINDS; empty for all.
    """

    directory: Path
    seconds: float = 5.0
    warm_up_seconds: float = 2.0
    clients: tuple[int, ...] = (1, 8, 32)
    in_flight: int = 32
    rates: tuple[int, ...] = (100, 500, 1_000)
    batch_orders: int = 100
    partitions: int = 4
    only: tuple[str, ...] = ()


class ClusterReport(Struct, frozen=True, kw_only=True):
    """``acknowledged`` orders were all found in the read model; ``refused`` counts refusals by reason.

    ``loads``: the machine's load average, of the minute before, at the end of each measurement, by its name.
    """

    figures: tuple[Figure, ...]
    machine: Machine
    partitions: int
    acknowledged: int
    refused: dict[str, int]
    loads: dict[str, float]


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
        self.answers += 1
        if order is not None:
            self.order_ids.append(order.order_id)
        else:
            self.refused[error.reason if error is not None else "UNREADABLE"] += 1
        if self.counting:
            self.latencies.append(latency)


class _Processes:
    """The processor time of every process of the desk, of the broker where it is ours, and of this client."""

    def __init__(self, desk: ClusterDesk, kafka: object) -> None:
        self._ids: dict[str, tuple[int, ...]] = {
            name: tuple(one.process_id for one in desk.instances[name]) for name in SERVICES
        }
        if isinstance(kafka, NativeKafka):
            self._ids["broker"] = tuple(node.process.process_id for node in kafka.nodes)
        self._ids["load client"] = (os.getpid(),)

    def seconds(self) -> dict[str, float]:
        """Seconds used so far, by process."""
        return {name: sum(cpu_seconds(one) for one in ids) for name, ids in self._ids.items()}

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Seconds used since."""
        return {name: value - before[name] for name, value in self.seconds().items()}


class _Client:
    """Logged-in accounts at one gateway, and the ways to load it."""

    def __init__(self, desk: ClusterDesk, plan: ClusterPlan, tally: _Tally, middle_cents: int) -> None:
        place = desk.service("order-gateway").place
        assert place is not None
        self.host, self.port = place.host, place.port
        self.tally = tally
        self._plan = plan
        self._middle_cents = middle_cents
        self.accounts = account_names(max(plan.clients))
        self.tokens = [_log_in(desk, name) for name in self.accounts]

    def stream(self, tag: str) -> OrderStream:
        """Orders of one measurement."""
        return OrderStream(self.accounts, middle_cents=self._middle_cents, tag=tag)

    async def rest(self, clients: int) -> float:
        """Closed loop: each connection sends its next order when the last one is acknowledged."""
        stream = self.stream(f"rest{clients}")

        async def turn(connection: HttpLoad, number: int) -> None:
            sent = time.perf_counter()
            status, answer = await connection.post("/orders", stream.next(self.accounts[number]).encode())
            latency = time.perf_counter() - sent
            if status in {200, 201}:
                self.tally.take(_REST_ANSWER.decode(answer).order, None, latency)
            else:
                self.tally.take(None, _REST_ERROR.decode(answer), latency)

        return await self._requests(clients, turn)

    async def batches(self, clients: int, tag: str = "batch", seconds: float = 0.0) -> float:
        """Closed loop of batches: every order of a batch counts with the time that its batch took."""
        stream, size = self.stream(f"{tag}{clients}"), self._plan.batch_orders

        async def turn(connection: HttpLoad, number: int) -> None:
            orders = [stream.next(self.accounts[number]) for _ in range(size)]
            sent = time.perf_counter()
            status, answer = await connection.post("/orders/batch", f'{{"orders":[{",".join(orders)}]}}'.encode())
            latency = time.perf_counter() - sent
            if status != 200:
                raise LoadClientError(f"a batch was refused: {answer.decode()}")
            for item in _BATCH_ANSWER.decode(answer).results:
                self.tally.take(item.result.order if item.result else None, item.error, latency)

        return await self._requests(clients, turn, seconds)

    async def _requests(self, clients: int, turn: Callable[[HttpLoad, int], Any], seconds: float = 0.0) -> float:
        until = float("inf")

        async def client(number: int) -> None:
            connection = HttpLoad(self.host, self.port, {"Authorization": f"Bearer {self.tokens[number]}"})
            await connection.connect()
            while time.perf_counter() < until:
                await turn(connection, number)
            connection.close()

        tasks = [asyncio.create_task(client(number)) for number in range(clients)]
        took = await self._timed(seconds)
        until = 0.0
        await asyncio.gather(*tasks)
        return took

    async def closed(self, clients: int) -> float:
        """Closed loop: each WebSocket keeps ``in_flight`` orders on their way."""
        load = self._load(clients, f"closed{clients}")
        await load.connect()
        load.closed_loop = True
        for number in range(clients):
            load.send(number, self._plan.in_flight)
        took = await self._timed()
        load.closed_loop = False
        await load.drain()
        return took

    async def open(self, rate: int) -> float:
        """Open loop: orders leave at a fixed rate, and count from the time at which they should have left."""
        load = self._load(min(len(self.accounts), 8), f"open{rate}")
        await load.connect()
        sending = asyncio.create_task(load.send_at(rate))
        took = await self._timed()
        sending.cancel()
        await load.drain()
        return took

    def _load(self, connections: int, tag: str) -> StreamLoad:
        holders = list(zip(self.accounts, self.tokens, strict=True))[:connections]
        wire = WebSocketWire(self.host, self.port)
        return StreamLoad(wire, self.stream(tag), holders, self.tally.take, _DRAIN_SECONDS_MAX)

    async def _timed(self, seconds: float = 0.0) -> float:
        await asyncio.sleep(self._plan.warm_up_seconds)
        began = time.perf_counter()
        self.tally.latencies = array("d")
        self.tally.counting = True
        await asyncio.sleep(seconds or self._plan.seconds)
        self.tally.counting = False
        return time.perf_counter() - began


def run_cluster_benchmark(plan: ClusterPlan, progress: Progress) -> ClusterReport:
    """Measure. Raises LoadClientError where an order was not answered, or was acknowledged and is not there."""
    machine = this_machine()
    progress("starting a broker and seven services", 0.0)
    with (
        tempfile.TemporaryDirectory(prefix="cluster-benchmark-", dir=plan.directory) as folder,
        find_or_start() as kafka,
    ):
        settings = Path(folder) / "benchmark.yml"
        write_settings(settings, account_names(max(plan.clients)))
        names = ("RISK", "MATCHING", "EXECUTION", "MARKET_DATA", "FACTS", "ANSWERS")
        with ClusterDesk(
            Path(folder) / "desk",
            kafka.bootstrap,
            prefix=f"bench-{time.time_ns()}.",
            config=str(settings),
            environment={f"POLARIS_BUS__KAFKA__PARTITIONS__{name}": str(plan.partitions) for name in names},
        ) as desk:
            desk.make_topics()
            desk.start(seconds_max=_START_SECONDS_MAX)
            measurement = _Measurement(desk, plan, kafka)
            figures = measurement.run(progress)
            stored = _stored(desk.directory)
    progress("done", 1.0)
    tally = measurement.tally
    if missing := set(tally.order_ids) - stored:
        raise LoadClientError(f"{len(missing)} acknowledged orders are not in the read model: the figures are void")
    return ClusterReport(
        figures=tuple(figures),
        machine=machine,
        partitions=plan.partitions,
        acknowledged=len(tally.order_ids),
        refused=dict(tally.refused),
        loads=measurement.loads,
    )


def sentences(report: ClusterReport) -> Iterator[str]:
    """What a report says besides its figures."""
    yield f"{report.acknowledged:,} orders acknowledged, all found in the read model; {report.partitions} partitions"
    for reason, count in sorted(report.refused.items()):
        yield f"{count:,} refused: {reason}"
    loads = ", ".join(f"{name} {load:.1f}" for name, load in report.loads.items())
    yield f"load average of the minute, {report.machine.cores} cores: {loads}"


class _Measurement:
    """One desk that runs, measured step by step."""

    def __init__(self, desk: ClusterDesk, plan: ClusterPlan, kafka: object) -> None:
        self.tally = _Tally()
        self.loads: dict[str, float] = {}
        self._desk = desk
        self._plan = plan
        self._processes = _Processes(desk, kafka)

    def run(self, progress: Progress) -> list[Figure]:
        """Every step that the plan wants."""
        client = _Client(self._desk, self._plan, self.tally, _middle_cents(self._desk))
        progress("warming up", 0.0)
        uvloop.run(client.batches(max(self._plan.clients), "warm-up", _WARM_UP_SECONDS))
        _rest(self._desk)
        progress("idle", 0.0)
        figures = list(self._idle())
        steps = list(_steps(client, self._plan))
        for number, (name, step) in enumerate(steps):
            progress(name, number / len(steps))
            figures += self._step(name, step)
        return figures

    def _idle(self) -> Iterator[Figure]:
        before = self._processes.seconds()
        time.sleep(_IDLE_SECONDS)
        for process, used in self._processes.since(before).items():
            yield Figure(f"idle, {process}", round(used / _IDLE_SECONDS * 100, 1), "% of a core")
        self.loads["idle"] = round(os.getloadavg()[0], 1)

    def _step(self, name: str, step: Callable[[], Any]) -> Iterator[Figure]:
        tally = self.tally
        answers, before = tally.answers, self._processes.seconds()
        took = uvloop.run(step())
        behind = _rest(self._desk)
        self.loads[name] = round(os.getloadavg()[0], 1)
        orders = max(tally.answers - answers, 1)
        used = self._processes.since(before)
        latencies = sorted(tally.latencies)
        yield Figure(name, round(len(latencies) / took, 1), "orders/s")
        for percent, label in PERCENTILES:
            value = latencies[min(int(len(latencies) * percent / 100), len(latencies) - 1)] if latencies else 0.0
            yield Figure(f"{name}, {label}", round(value * 1_000, 2), "ms")
        yield Figure(f"{name}, read models complete after", round(behind, 2), "s")
        yield Figure(f"{name}, processor time", round(sum(used.values()) / orders * 1e6), "us/order")
        for process, seconds in used.items():
            yield Figure(f"{name}, {process}", round(seconds / orders * 1e6), "us/order")


def _steps(client: _Client, plan: ClusterPlan) -> Iterator[tuple[str, Callable[[], Any]]]:
    wanted = plan.only or KINDS
    for clients in plan.clients:
        if "rest" in wanted:
            yield f"REST, {clients} clients", partial(client.rest, clients)
        if "batch" in wanted:
            yield f"REST batches of {plan.batch_orders}, {clients} clients", partial(client.batches, clients)
        if "closed" in wanted:
            yield f"WebSocket, {clients} clients, {plan.in_flight} in flight", partial(client.closed, clients)
    if "open" in wanted:
        for rate in plan.rates:
            yield f"WebSocket, open loop at {rate}/s", partial(client.open, rate)


def _log_in(desk: ClusterDesk, account: str) -> str:
    """A trader of the account, made and logged in."""
    user = {"username": account, "password": PASSWORD, "role": "TRADER", "accounts": [account]}
    desk.json("order-gateway", "POST", "/users", user)
    login = {"username": account, "password": PASSWORD}
    return str(desk.json("order-gateway", "POST", "/login", login)["access_token"])


def _middle_cents(desk: ClusterDesk) -> int:
    """The simulated market's price in cents."""
    book = desk.json("market-data-handler", "GET", f"/book/{REFERENCE}")
    return round(float(book["bids"][0][0]) * 100)


def _rest(desk: ClusterDesk) -> float:
    """Wait until the read models show everything, so that one measurement does not pay for another; the seconds."""
    began = time.monotonic()
    while time.monotonic() < began + _REST_SECONDS_MAX:
        if desk.request("order-gateway", "GET", "/orders?account=bench-1&limit=1").status_code == 200:
            return time.monotonic() - began
        time.sleep(_REST_POLL_SECONDS)
    raise LoadClientError(f"the read models did not catch up within {_REST_SECONDS_MAX:g} s")


def _stored(directory: Path) -> set[int]:
    """The ids of all orders in the desk's read model."""
    database = sqlite3.connect(f"file:{directory / 'orderdb.sqlite3'}?mode=ro", uri=True)
    try:
        return {row[0] for row in database.execute("SELECT order_id FROM orders")}
    finally:
        database.close()
