"""The whole order path in one process and without sockets: what one core of a machine can do.

Each order is decoded from JSON, parsed, journaled in SQLite (``synchronous=FULL``, one commit for each group), checked
by risk, matched, posted to the ledger, reported to compliance and the agents, and its answer is encoded as JSON. Nobody
listens to the facts, unless the read models are measured too.
"""

from __future__ import annotations

import cProfile
import io
import os
import pstats
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog
import uvloop
from msgspec import Struct
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.journal_sqlite import SqliteJournal
from polaris_synapse.bus.port import BusError
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.compiled import PLAIN_OPTION, cores_in_use, plain_packages
from polaris_synapse.compiled.sources import COMPILED
from polaris_synapse.desk.cores import durable_cores
from polaris_synapse.desk.loading import load_settings
from polaris_synapse.desk.reference_data import assets_of, instruments_of, limits_of
from polaris_synapse.desk.room_settings import storage_settings
from polaris_synapse.desk.seed import account_commands, market_commands
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain.messages import Answer, ComplianceRules, Mark, SetLimits, SubmitOrder
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.order_gateway.order_params import OrderParams
from polaris_synapse.order_gateway.order_parsing import parse_order
from polaris_synapse.order_gateway.viewing import order_view
from polaris_synapse.order_gateway.views import OrderAnswer
from polaris_synapse.storage.service import StorageService
from polaris_synapse.testing.desk_interpreter import as_a_desk_runs
from polaris_synapse.testing.machine import Machine, this_machine
from polaris_synapse.testing.order_load import REFERENCE, SYMBOL, OrderStream, account_names, write_settings
from polaris_synapse.web.bodies import decode_json

#: Called with what is measured now, and how much of everything is done (0 to 1).
Progress = Callable[[str, float], None]

_ACCOUNTS: Final = 10
_MIDDLE_CENTS: Final = 6_000_000
_PROFILE_ROWS: Final = 60
_WARM_UP_ORDERS_MAX: Final = 5_000
_ENCODER: Final = msgspec.json.Encoder()


class CoreBenchmarkError(RuntimeError):
    """The desk did not take what it should have; the figures are void."""


class CorePlan(Struct, frozen=True, kw_only=True):
    """What to measure: ``orders`` for each size of group. ``profile`` is a file for cProfile's top entries."""

    directory: Path
    orders: int = 20_000
    groups: tuple[int, ...] = (1, 10, 100, 1_000)
    profile: Path | None = None


class CoreReport(Struct, frozen=True, kw_only=True):
    """``accepted`` orders of all that were sent. ``forms_in_use`` says in a sentence what ran compiled."""

    figures: tuple[Figure, ...]
    machine: Machine
    sent: int
    accepted: int
    forms_in_use: str


class _Split:
    """Where the time of a run went, in seconds."""

    def __init__(self) -> None:
        self.decode = self.host = self.encode = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.decode + self.host + self.encode


class _Path:
    """The order path over one host."""

    def __init__(self, host: EmbeddedHost, settings: DeskSettings) -> None:
        self._host = host
        self._clock = SystemClock()
        self._instrument = next(found for found in instruments_of(settings) if found.symbol == SYMBOL)
        self._settings = settings
        self.sent = 0
        self.accepted = 0

    async def set_up(self) -> None:
        """Accounts, funds, limits and a price. Raises CoreBenchmarkError."""
        settings, now = self._settings, self._clock.now_ns()
        limits = limits_of(settings.limits["*"], assets_of(settings)[settings.valuation_asset])
        seeded = (*market_commands(settings, ComplianceRules()), *account_commands(settings))
        for command in (*seeded, SetLimits(time_ns=now, account="*", limits=limits)):
            answer = await self._host.request(msgspec.structs.replace(command, time_ns=now))
            if answer.reason is not Reason.NONE:
                raise CoreBenchmarkError(f"{type(command).__name__} was refused: {answer.reason.name}")

    async def _mark(self) -> None:
        mark = Mark(
            time_ns=self._clock.now_ns(),
            symbol=REFERENCE,
            source="benchmark",
            mark_ticks=_MIDDLE_CENTS,
            bid_ticks=_MIDDLE_CENTS - 1,
            ask_ticks=_MIDDLE_CENTS + 1,
            last_ticks=_MIDDLE_CENTS,
            healthy=True,
        )
        await self._host.send([mark])

    async def run(self, stream: OrderStream, orders: int, group: int) -> _Split:
        """Send ``orders`` in groups; a group's answers are all there before the next one is sent."""
        await self._mark()
        split = _Split()
        for _ in range(orders // group):
            bodies = [stream.next().encode() for _ in range(group)]
            began = time.perf_counter()
            commands = [self._decoded(body) for body in bodies]
            decoded = time.perf_counter()
            answers = await self._answered(commands)
            answered = time.perf_counter()
            for answer in answers:
                self._encoded(answer)
            split.encode += time.perf_counter() - answered
            split.host += answered - decoded
            split.decode += decoded - began
            self.sent += group
        return split

    def _decoded(self, body: bytes) -> SubmitOrder:
        params = decode_json(body, OrderParams)
        order = parse_order(
            params,
            self._instrument,
            account=params.account or "",
            client_order_id=params.client_order_id or "",
        )
        return SubmitOrder(time_ns=self._clock.now_ns(), actor="user:benchmark", order=order)

    async def _answered(self, commands: list[SubmitOrder]) -> list[Answer]:
        answers: list[Answer] = []
        refused: list[BusError] = []
        complete = anyio.Event()

        def done(result: Answer | BusError) -> None:
            if isinstance(result, Answer):
                answers.append(result)
            else:
                refused.append(result)
            if len(answers) + len(refused) == len(commands):
                complete.set()

        for command in commands:
            self._host.request_soon(command, done)
        await complete.wait()
        if refused:
            raise CoreBenchmarkError(f"the bus refused an order: {refused[0]}")
        return answers

    def _encoded(self, answer: Answer) -> bytes:
        if answer.order is None or answer.reason is not Reason.NONE:
            return _ENCODER.encode(answer)
        self.accepted += 1
        return _ENCODER.encode(OrderAnswer(order=order_view(answer.order, self._instrument)))


def run_core_benchmark(plan: CorePlan, progress: Progress) -> CoreReport:
    """Measure on one core. Raises CoreBenchmarkError where the desk does not take the orders."""
    machine = this_machine()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    own_cores = os.sched_getaffinity(0)
    directory = Path(tempfile.mkdtemp(prefix="core-benchmark-", dir=plan.directory))
    try:
        os.sched_setaffinity(0, {max(own_cores)})
        return uvloop.run(_measure(plan, directory, machine, progress))
    finally:
        os.sched_setaffinity(0, own_cores)
        shutil.rmtree(directory)


async def _measure(plan: CorePlan, directory: Path, machine: Machine, progress: Progress) -> CoreReport:
    figures: list[Figure] = []
    sent = accepted = 0
    runs = [(group, False) for group in plan.groups] + [(max(plan.groups), True)]
    for number, (group, with_reads) in enumerate(runs):
        name = f"whole path, groups of {group}{', with read models' if with_reads else ''}"
        progress(name, number / len(runs))
        async with _path(directory / str(number), with_reads) as (path, caught_up):
            stream = OrderStream(account_names(_ACCOUNTS), middle_cents=_MIDDLE_CENTS, tag="core")
            await path.run(stream, min(plan.orders // 10 + group, _WARM_UP_ORDERS_MAX), group)
            before = path.sent
            began, cpu_began = time.perf_counter(), time.process_time()
            split = await path.run(stream, plan.orders, group)
            await caught_up()
            took, cpu_took = time.perf_counter() - began, time.process_time() - cpu_began
        figures += _figures(name, path.sent - before, took if with_reads else split.total, cpu_took, split)
        sent, accepted = sent + path.sent, accepted + path.accepted
    if plan.profile is not None:
        progress("profile", 1 - 1 / len(runs))
        plan.profile.write_text(await _profiled(plan, directory / "profile"), encoding="utf-8")
    progress("done", 1.0)
    if accepted < sent // 2:
        raise CoreBenchmarkError(f"only {accepted} of {sent} orders were accepted")
    return CoreReport(
        figures=tuple(figures), machine=machine, sent=sent, accepted=accepted, forms_in_use=cores_in_use()
    )


async def _profiled(plan: CorePlan, directory: Path) -> str:
    """cProfile's top entries of a run of its own, since the profiler doubles the time."""
    profiler, out = cProfile.Profile(), io.StringIO()
    async with _path(directory, with_reads=False) as (path, _):
        stream = OrderStream(account_names(_ACCOUNTS), middle_cents=_MIDDLE_CENTS, tag="core")
        profiler.enable()
        await path.run(stream, plan.orders, max(plan.groups))
        profiler.disable()
    if len(plain_packages()) < len(COMPILED):
        # cProfile hears of Python's calls only.
        out.write("Compiled functions are not listed by themselves: their time is their callers'.\n")
        out.write(f"python -X {PLAIN_OPTION} -m polaris_synapse.cli.main bench core --profile FILE lists them all.\n\n")
    pstats.Stats(profiler, stream=out).sort_stats("tottime").print_stats(_PROFILE_ROWS)
    return out.getvalue()


def _figures(name: str, orders: int, seconds: float, cpu_seconds: float, split: _Split) -> list[Figure]:
    figures = [
        Figure(name, round(orders / seconds, 1), "orders/s"),
        Figure(f"{name}, processor time", round(cpu_seconds / orders * 1e6, 1), "us/order"),
    ]
    parts = (("decode and parse", split.decode), ("journal and cores", split.host), ("encode", split.encode))
    return figures + [Figure(f"{name}, {part}", round(took / orders * 1e6, 1), "us/order") for part, took in parts]


@asynccontextmanager
async def _path(directory: Path, with_reads: bool) -> AsyncIterator[tuple[_Path, Callable[[], Awaitable[None]]]]:
    """A fresh desk's order path; and, with read models, what waits until they show everything."""
    settings = _settings_in(directory)
    registry, clock = CollectorRegistry(), SystemClock()
    cores = {core.name: core for core in durable_cores(settings)}
    # No snapshot falls into a measurement: over a day its cost is spread thin, in a short run it is luck.
    host_settings = HostSettings(queue_messages_max=50_000, snapshot_interval_messages=10**9)
    host = EmbeddedHost(SqliteJournal(directory / "journal"), cores, clock, host_settings, registry)
    storage = StorageService(host, storage_settings(directory), clock, registry) if with_reads else None
    if storage is not None:
        await storage.prepare()
    async with anyio.create_task_group() as group:
        if storage is not None:
            group.start_soon(storage.run)
        await host.start()
        path = _Path(host, settings)
        await path.set_up()
        try:
            with as_a_desk_runs():
                yield path, storage.read_models.caught_up if storage is not None else anyio.lowlevel.checkpoint
        finally:
            with anyio.CancelScope(shield=True):
                await host.stop()


def _settings_in(directory: Path) -> DeskSettings:
    directory.mkdir()
    write_settings(directory / "benchmark.yml", account_names(_ACCOUNTS))
    return load_settings(str(directory / "benchmark.yml"))
