"""Risk on a real Kafka broker, as a service runs it, for tests of the host."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.kafka.client import KafkaBus
from polaris_synapse.bus.kafka.host import KafkaCoreHost
from polaris_synapse.bus.kafka.metrics import KafkaMetrics
from polaris_synapse.bus.kafka.outlet import Outlet
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.snapshot_store import MemorySnapshotStore
from polaris_synapse.bus.kafka.topics import TopicCounts, Topics, partition_counts, topic_specs
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.topics import EXECUTIONS, RISK_EVENTS, TRANSACTIONS_ALL
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.testing.servers.kafka import KafkaServer

USDT, BTC = Asset("USDT", 8), Asset("BTC", 8)
WAIT_SECONDS_MAX = 40.0
FACTS = (EXECUTIONS, RISK_EVENTS, TRANSACTIONS_ALL)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, or fail after a while."""
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110  # conditions of another thread's making
            await anyio.sleep(0.01)


class World:
    """Topics of their own on a broker, an outlet, a bus, and as many hosts of risk as a test starts."""

    def __init__(self, server: KafkaServer, **options: Any) -> None:
        self.settings = KafkaHostSettings(
            bootstrap=server.bootstrap, topic_prefix=f"t-{secrets.token_hex(4)}.", session_seconds=6, **options
        )
        specs = topic_specs(TopicCounts(risk=2, facts=2, answers=2), replicas=1)
        self.topics = Topics(self.settings, specs)
        self.destinations = Destinations(partition_counts(specs))
        self.clock = SystemClock()
        self.store = MemorySnapshotStore(kept=3)
        self.outlet = Outlet(self.settings.durable_producer(), self.settings.topic)
        self.requests = Outlet(self.settings.request_producer(), self.settings.topic)
        self.bus = self.new_bus()

    def new_bus(self) -> KafkaBus:
        """One more shell's bus."""
        return KafkaBus(self.settings, self.destinations, outlet=self.outlet, requests=self.requests, facts=FACTS)

    def host(self, client: str, make_core: Callable[[int], Core] = RiskCore) -> KafkaCoreHost:
        """One more member of the group."""
        return KafkaCoreHost(
            room="risk",
            group="risk-manager-group",
            make_core=make_core,
            settings=self.settings,
            destinations=self.destinations,
            outlet=self.outlet,
            store=self.store,
            clock=self.clock,
            metrics=KafkaMetrics(CollectorRegistry()),
            client=client,
        )

    @asynccontextmanager
    async def running(self, host: KafkaCoreHost, *, partitions: int = 2) -> AsyncIterator[KafkaCoreHost]:
        """Run a host until it has so many partitions, and stop it in order at the end."""
        task = asyncio.create_task(host.run())
        try:
            await until(lambda: task.done() or (len(host.cores) >= partitions and is_ready(host)))
            if task.done():
                task.result()
            yield host
        finally:
            host.stop()
            await task

    async def open_account(self, name: str = "main") -> None:
        """What risk must know before money moves."""
        instrument = Instrument(symbol="BTCUSDT", base=BTC, quote=USDT, tick_units=10**6, lot_units=10**3)
        answer = await self.bus.request(m.ListInstrument(time_ns=self.clock.now_ns(), instrument=instrument))
        assert answer.reason == 0, answer
        await self.bus.send(
            [
                m.AccountStanding(
                    time_ns=self.clock.now_ns(),
                    account=name,
                    account_kind=m.AccountKind.PERSON,
                    kyc=m.KycState.APPROVED,
                    sanctions_hold=False,
                    blocked=False,
                    restricted_symbols=(),
                    version=1,
                )
            ]
        )

    async def deposit(self, reference: str, name: str = "main") -> m.Answer:
        """Pay in a hundred units."""
        return await self.bus.request(
            m.MoveFunds(time_ns=self.clock.now_ns(), account=name, asset="BTC", amount_units=100, reference=reference)
        )


def is_ready(host: KafkaCoreHost) -> bool:
    """Whether every check of a host passes."""
    return all(check() is None for check in host.readiness().values())


@asynccontextmanager
async def world(server: KafkaServer, **options: Any) -> AsyncIterator[World]:
    """A world with its topics made and its bus started."""
    one = World(server, **options)
    await anyio.to_thread.run_sync(one.topics.apply)
    one.outlet.start()
    one.requests.start()
    await one.bus.start()
    try:
        yield one
    finally:
        await one.bus.stop()
        await one.outlet.stop(5)
        await one.requests.stop(5)
