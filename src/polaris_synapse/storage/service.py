"""The storage room's wiring: two databases, what keeps them up with the journal, and the read models over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.subscriptions import BusSubscription
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.topics import (
    AUDIT,
    COMPLIANCE_ALERTS,
    COMPLIANCE_DECISIONS,
    EXECUTIONS,
    MARKET_DATA_NORMALIZED,
    RISK_EVENTS,
    TRADING_DECISIONS,
    TRANSACTIONS_ALL,
)
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database, DatabaseUnavailableError, open_database, sqlite_file
from polaris_synapse.storage.fact_writing import DatabaseWriter, FactWriter, read_progress
from polaris_synapse.storage.migrate import upgrade_compliance, upgrade_orders
from polaris_synapse.storage.port import ReadModelsLagError
from polaris_synapse.storage.projections import COMPLIANCE_PROJECTIONS, ORDER_PROJECTIONS
from polaris_synapse.storage.projector import FactSource, Projector, ProjectorMetrics
from polaris_synapse.storage.read_models import SqlReadModels
from polaris_synapse.storage.replica import ReplicatedDatabase
from polaris_synapse.storage.settings import StorageSettings
from polaris_synapse.storage.writer_process import WriterProcess

_ORDER_TOPICS: Final = (EXECUTIONS, RISK_EVENTS, TRANSACTIONS_ALL, TRADING_DECISIONS)
#: The compliance record is synchronised at every commit: it is what an auditor gets.
_COMPLIANCE_SYNCHRONOUS: Final = "FULL"
_COMPLIANCE_TOPICS: Final = (AUDIT, COMPLIANCE_ALERTS, COMPLIANCE_DECISIONS)


class StorageService:
    """Keeps the SQL read models.

    ``prepare`` comes first: it upgrades the databases and attaches to the host, before the host recovers. Then ``run``
    must be running while the host recovers and serves. When the host stops, ``run`` writes what is left and returns.
    """

    def __init__(
        self, source: FactSource, settings: StorageSettings, clock: Clock, registry: CollectorRegistry
    ) -> None:
        self._source = source
        self._settings = settings
        self._clock = clock
        self._metrics = ProjectorMetrics(registry)
        self._orders = self._open(settings.orders_url, settings.orders_replica_url)
        self._compliance = self._open(
            settings.compliance_url, settings.compliance_replica_url, synchronous=_COMPLIANCE_SYNCHRONOUS
        )
        self._orders_writer = self._writer(self._orders, settings.orders_url)
        self._compliance_writer = self._writer(
            self._compliance, settings.compliance_url, synchronous=_COMPLIANCE_SYNCHRONOUS
        )
        self._projectors: list[Projector] = []
        self.read_models = SqlReadModels(self._orders, self._compliance, self._caught_up)

    def _open(self, url: str, replica_url: str, *, synchronous: str = "NORMAL") -> Database:
        readers_max = self._settings.readers_max
        primary = open_database(url, synchronous=synchronous, readers_max=readers_max)
        if not replica_url:
            return primary
        return ReplicatedDatabase(primary, open_database(replica_url, readers_max=readers_max), self._clock)

    def _writer(self, database: Database, url: str, *, synchronous: str = "NORMAL") -> FactWriter:
        path = sqlite_file(url)
        if self._settings.writer_processes and path is not None:
            return WriterProcess(path, synchronous=synchronous)
        return DatabaseWriter(database)

    async def prepare(self) -> None:
        """Upgrade both databases and attach to the host. Raises DatabaseUnavailableError or SchemaVersionError."""
        async with anyio.create_task_group() as group:
            # A desk that was killed may have left writers behind that are at their last transaction. Ours start when
            # those have ended, so that what is read below is how far the databases have come.
            for writer in (self._orders_writer, self._compliance_writer):
                group.start_soon(writer.start)
            await upgrade_orders(self._orders)
            await upgrade_compliance(self._compliance)
        orders_recorded = await self._orders.read(
            lambda connection: read_progress(connection, schema.ORDERS_PROGRESS, "orders")
        )
        compliance_recorded = await self._compliance.read(
            lambda connection: read_progress(connection, schema.COMPLIANCE_PROGRESS, "compliance")
        )
        backlog = self._settings.backlog_messages_max
        orders = BusSubscription(
            _ORDER_TOPICS,
            name="storage-orders",
            backlog_messages_max=backlog,
            droppable=False,
            kinds=(*ORDER_PROJECTIONS, m.BookStatusChanged),
            accepted_commands=(m.ListInstrument, m.SetInstrumentStatus),
            recorded_offset=orders_recorded[0],
            fact_offset=orders_recorded[1],
        )
        compliance = BusSubscription(
            _COMPLIANCE_TOPICS,
            name="storage-compliance",
            backlog_messages_max=backlog,
            droppable=False,
            kinds=COMPLIANCE_PROJECTIONS,
            recorded_offset=compliance_recorded[0],
            fact_offset=compliance_recorded[1],
        )
        candles = BusSubscription(
            (MARKET_DATA_NORMALIZED,),
            name="storage-candles",
            backlog_messages_max=backlog,
            droppable=False,
            kinds=(m.CandleClosed,),
        )
        self._source.attach(orders, records=True)
        self._source.attach(compliance, records=True)
        self._source.attach(candles, records=False)
        self._projectors = [
            self._projector("orders", orders),
            self._projector("compliance", compliance),
            self._projector("candles", candles),
        ]

    def _projector(self, name: str, subscription: BusSubscription) -> Projector:
        is_compliance = name == "compliance"
        return Projector(
            name,
            self._compliance_writer if is_compliance else self._orders_writer,
            subscription,
            source=self._source,
            clock=self._clock,
            metrics=self._metrics,
            batch_messages_max=self._settings.batch_messages_max,
            retry_seconds_max=self._settings.retry_seconds_max,
            gather_seconds=self._settings.gather_seconds,
        )

    async def run(self) -> None:
        """Write facts until the host has stopped and everything is written, then close the databases."""
        assert self._projectors, "prepare comes first"
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._record_progress)
                async with anyio.create_task_group() as projectors:
                    for projector in self._projectors:
                        projectors.start_soon(projector.run)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._orders_writer.close()
                await self._compliance_writer.close()
                await self._orders.close()
                await self._compliance.close()

    async def _record_progress(self) -> None:
        while True:
            await self._clock.sleep(self._settings.progress_seconds)
            for projector in self._projectors:
                await projector.record_progress()

    async def _caught_up(self) -> None:
        try:
            with anyio.fail_after(self._settings.caught_up_seconds_max):
                for projector in self._projectors:
                    await projector.caught_up()
                for database in (self._orders, self._compliance):
                    await database.fence()
        except TimeoutError:
            raise ReadModelsLagError(
                f"the read models did not catch up within {self._settings.caught_up_seconds_max:g} s"
            ) from None
        except DatabaseUnavailableError as error:
            raise ReadModelsLagError(f"the database of the read models does not answer: {error}") from None

    def readiness(self) -> dict[str, Callable[[], str | None]]:
        """A check for each database: None when all is well, else what is wrong in one sentence."""
        return {f"{projector.name} database": _check(projector) for projector in self._projectors}


def _check(projector: Projector) -> Callable[[], str | None]:
    def check() -> str | None:
        return f"the {projector.name} read models cannot be written: {projector.problem}" if projector.problem else None

    return check
