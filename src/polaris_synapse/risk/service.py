"""The risk room's shell: its HTTP surface, its metrics, and the default limits of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio
import anyio.abc
import structlog
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError, SlowConsumerError
from polaris_synapse.compiled import cores_in_use
from polaris_synapse.domain.messages import CancelAll, KillLevelChanged, SetLimits
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import EXECUTIONS, RISK_EVENTS
from polaris_synapse.risk.api import build_api
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.orders import CANCELS_AT_ONCE_MAX
from polaris_synapse.risk.emergency import EmergencyStops
from polaris_synapse.risk.metrics import ALL, RiskMetrics
from polaris_synapse.risk.settings import RiskSettings
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.openapi import OpenApiInfo

_log = structlog.get_logger(__name__)
_TOPICS: Final = (RISK_EVENTS, EXECUTIONS)
_RETRY_SECONDS: Final = 1.0


class RiskService:
    """Wires the room's shell. ``api()`` is its HTTP surface, ``run()`` its work; neither starts the other.

    ``core`` is the one that the host runs in this process: the service reads limits and stops from it and changes
    nothing there but through the bus.
    """

    def __init__(
        self,
        bus: Bus,
        core: RiskCore,
        read_models: ReadModels,
        authenticator: Authenticator,
        clock: Clock,
        registry: CollectorRegistry,
        settings: RiskSettings,
        emergency: EmergencyStops | None = None,
    ) -> None:
        self._emergency = emergency
        self._bus = bus
        self._core = core
        self._read_models = read_models
        self._authenticator = authenticator
        self._clock = clock
        self._registry = registry
        self._settings = settings
        self._metrics = RiskMetrics(registry, accounts_max=settings.metric_accounts_max)
        self._limits_problem: str | None = "The default limits of the settings are not in force yet."

    def readiness(self) -> Mapping[str, Callable[[], str | None]]:
        """The checks of ``GET /ready``."""
        return {"limits": lambda: self._limits_problem}

    def api(self, *, openapi: OpenApiInfo | None = None, allowed_hosts: Sequence[str] = ()) -> ASGIApp:
        """The ASGI app for port 8083."""
        return build_api(
            bus=self._bus,
            core=self._core,
            clock=self._clock,
            registry=self._registry,
            read_models=self._read_models,
            authenticator=self._authenticator,
            readiness=self.readiness(),
            openapi=openapi,
            allowed_hosts=allowed_hosts,
            emergency=self._emergency,
        )

    async def run(self) -> None:
        """Run until cancelled. Raises RuntimeError where the core refuses the limits of the settings."""
        _log.info("order path", in_use=cores_in_use())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._put_limits_into_force)
            await self._follow(tasks)

    async def _put_limits_into_force(self) -> None:
        """The limits travel through the log, so that a replay judges the past by the limits of its time."""
        while self._core.limits_of(ALL) != self._settings.limits:
            command = SetLimits(time_ns=self._clock.now_ns(), actor="desk", account=ALL, limits=self._settings.limits)
            try:
                answer = await self._bus.request(command)
            except BusError as error:
                _log.warning("default limits not in force yet", reason=error.reason.name)
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            if answer.reason is not Reason.NONE:
                raise RuntimeError(f"the core refused the default limits: {answer.reason.name}: {answer.detail}")
            break
        self._limits_problem = None

    async def _finish_cancels(self, account: str) -> None:
        """Ask for the cancels that the kill switch left for later. Where this fails the ticks go on with them."""
        command = CancelAll(
            time_ns=self._clock.now_ns(),
            actor="desk",
            account="" if account == ALL else account,
            reason=Reason.CANCELLED_BY_KILL_SWITCH,
        )
        try:
            while self._core.keeps_stopped(account):
                answer = await self._bus.request(replace(command, time_ns=self._clock.now_ns()))
                if len(answer.order_ids) < CANCELS_AT_ONCE_MAX:
                    return
        except BusError as error:
            _log.warning("cancels of the kill switch are left to the ticks", reason=error.reason.name)

    async def _follow(self, tasks: anyio.abc.TaskGroup) -> None:
        """Take facts as they come. When too many wait, start over from the state instead of slowing the desk."""
        while True:
            try:
                async with self._bus.subscribe(
                    _TOPICS,
                    name="risk-metrics",
                    backlog_messages_max=self._settings.backlog_messages_max,
                    droppable=True,
                ) as subscription:
                    await self._seed_metrics()
                    async for batch in subscription:
                        for envelope in batch:
                            message = envelope.message
                            self._metrics.take(message)
                            if type(message) is KillLevelChanged and len(message.order_ids) > CANCELS_AT_ONCE_MAX:
                                tasks.start_soon(self._finish_cancels, message.account)
                        self._metrics.show()
                    return
            except SlowConsumerError:
                _log.warning("the risk metrics fell behind and start over from the state")

    async def _seed_metrics(self) -> None:
        self._metrics.stops(self._core.breakers(), self._core.kill_levels()[ALL])
        for metrics in await self._read_models.account_metrics(account=None):
            self._metrics.take(metrics)
        for position in await self._read_models.positions(account=None):
            self._metrics.take(position)
        self._metrics.show()
