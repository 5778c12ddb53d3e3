"""The compliance service: keeps the audit log, puts the rules into force and counts what happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio
import structlog
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.port import Bus, BusError, SlowConsumerError
from polaris_synapse.compliance.api import build_api
from polaris_synapse.compliance.audit_reading import AuditReader
from polaris_synapse.compliance.keeper import AuditKeeper
from polaris_synapse.compliance.metrics import ComplianceMetrics
from polaris_synapse.compliance.records import ComplianceRecords
from polaris_synapse.compliance.settings import ComplianceSettings
from polaris_synapse.domain.messages import AccountStanding, AuditEntry, ComplianceAlert, SetComplianceRules
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import AUDIT, COMPLIANCE_ALERTS, COMPLIANCE_DECISIONS
from polaris_synapse.storage.port import ReadModelsLagError
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.openapi import OpenApiInfo

_log = structlog.get_logger(__name__)
_TOPICS: Final = (AUDIT, COMPLIANCE_ALERTS, COMPLIANCE_DECISIONS)
_RETRY_SECONDS: Final = 1.0
#: How long entries gather, so that those of several commits are checked and written together.
_GATHER_SECONDS: Final = 0.02


class ComplianceService:
    """Wires the room's shell. ``api()`` is its HTTP surface, ``run()`` its work; neither starts the other."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        registry: CollectorRegistry,
        read_models: ComplianceRecords,
        authenticator: Authenticator,
        settings: ComplianceSettings,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._registry = registry
        self._records = read_models
        self._authenticator = authenticator
        self._settings = settings
        self._metrics = ComplianceMetrics(registry)
        self._keeper = AuditKeeper(clock, read_models, settings, self._metrics)
        self.audit = AuditReader(read_models, settings)
        self._rules_problem: str | None = "The transaction rules of the settings are not in force yet."

    @property
    def keeper(self) -> AuditKeeper:
        """The keeper of the audit log."""
        return self._keeper

    def readiness(self) -> Mapping[str, Callable[[], str | None]]:
        """The checks of ``GET /ready``."""
        return {"audit": lambda: self._keeper.problem, "rules": lambda: self._rules_problem}

    def api(self, *, openapi: OpenApiInfo | None = None, allowed_hosts: Sequence[str] = ()) -> ASGIApp:
        """The ASGI app for port 8080."""
        return build_api(
            bus=self._bus,
            clock=self._clock,
            registry=self._registry,
            read_models=self._records,
            authenticator=self._authenticator,
            audit=self.audit,
            readiness=self.readiness(),
            openapi=openapi,
            allowed_hosts=allowed_hosts,
        )

    async def run(self) -> None:
        """Run until cancelled. Raises OSError where the audit log or its key cannot be read or written.

        At the end a last checkpoint is signed over what was taken.
        """
        await self._open()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._put_rules_into_force)
                tasks.start_soon(self._keeper.sign_regularly)
                await self._follow()
        finally:
            with anyio.CancelScope(shield=True):
                await self._keeper.close()

    async def _open(self) -> None:
        while True:
            try:
                await self._keeper.open()
            except ReadModelsLagError as error:
                _log.warning("the audit log waits for the record", problem=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                return

    async def _put_rules_into_force(self) -> None:
        """The rules travel through the log, so that a replay judges the past by the rules of its time."""
        while True:
            command = SetComplianceRules(time_ns=self._clock.now_ns(), actor="desk", rules=self._settings.rules)
            try:
                answer = await self._bus.request(command)
            except BusError as error:
                _log.warning("transaction rules not in force yet", reason=error.reason.name)
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            if answer.reason is not Reason.NONE:
                raise RuntimeError(f"the core refused the transaction rules: {answer.reason.name}: {answer.detail}")
            self._rules_problem = None
            return

    async def _follow(self) -> None:
        """Take facts as they come. When too many wait, start over from the record instead of slowing the desk."""
        while True:
            try:
                async with self._bus.subscribe(
                    _TOPICS,
                    name="compliance",
                    backlog_messages_max=self._settings.backlog_messages_max,
                    droppable=True,
                ) as subscription:
                    await self._keeper.catch_up()
                    self._metrics.standings(await self._records.accounts())
                    async for batch in subscription:
                        await self._take(batch)
                        # A thread for each commit took a tenth of the desk's time; the record has them meanwhile.
                        await anyio.sleep(_GATHER_SECONDS)
                    return
            except SlowConsumerError:
                self._metrics.fell_behind()
                _log.warning("compliance fell behind and reads the record instead")
            except ReadModelsLagError as error:
                _log.warning("compliance waits for the record", problem=str(error))
                await self._clock.sleep(_RETRY_SECONDS)

    async def _take(self, batch: Sequence[Envelope]) -> None:
        entries: list[AuditEntry] = []
        standings: list[AccountStanding] = []
        for envelope in batch:
            message = envelope.message
            if isinstance(message, AuditEntry):
                entries.append(message)
            elif isinstance(message, ComplianceAlert):
                self._metrics.alert(message)
            elif isinstance(message, AccountStanding):
                standings.append(message)
        if standings:
            self._metrics.standings(standings)
        await self._keeper.take(entries)
