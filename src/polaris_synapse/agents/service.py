"""The agents' service: places what the core proposes, counts what it decides, and serves the API on port 8000."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio
import structlog
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from polaris_synapse.agents.api import build_api
from polaris_synapse.agents.background import ModelWork
from polaris_synapse.agents.metrics import AgentsMetrics
from polaris_synapse.agents.models.factory import ModelRoom
from polaris_synapse.agents.placement import Placement
from polaris_synapse.agents.ports import OrderEntry
from polaris_synapse.agents.roster import Roster
from polaris_synapse.agents.settings import AgentsServiceSettings
from polaris_synapse.agents.standing import StandingPlacement, StandingRoster
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, SlowConsumerError
from polaris_synapse.domain.messages import (
    AgentStanding,
    DecisionRecorded,
    ProposalMade,
    StandingChanged,
    StandingTriggered,
)
from polaris_synapse.domain.topics import PROPOSALS, TRADING_DECISIONS
from polaris_synapse.storage.database import DatabaseUnavailableError
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.openapi import OpenApiInfo
from polaris_synapse.web.routes import ApiRoute

_log = structlog.get_logger(__name__)
_READ_AGAIN_SECONDS: Final = 1.0


class AgentsService:
    """Wires the room's shell. ``api()`` is its HTTP surface, ``run()`` its work; neither starts the other."""

    def __init__(
        self,
        bus: Bus,
        read_models: ReadModels,
        order_entry: OrderEntry,
        authenticator: Authenticator,
        clock: Clock,
        registry: CollectorRegistry,
        settings: AgentsServiceSettings,
        standing: StandingPlacement | None = None,
        models: ModelRoom | None = None,
    ) -> None:
        self._bus = bus
        self._read_models = read_models
        self._authenticator = authenticator
        self._clock = clock
        self._registry = registry
        self._settings = settings
        self._metrics = AgentsMetrics(registry)
        self.roster = Roster()
        self.standing_roster = StandingRoster()
        self._standing = standing
        self._models = models
        self._placement = Placement(
            bus=bus, order_entry=order_entry, clock=clock, metrics=self._metrics, settings=settings
        )
        self._listening: set[str] = set()

    def readiness(self) -> Mapping[str, Callable[[], str | None]]:
        """The checks of ``GET /ready``."""
        return {
            "proposals": lambda: self._listening_to(PROPOSALS, "Proposals are not being placed."),
            "decisions": lambda: self._listening_to(TRADING_DECISIONS, "Decisions are not being followed."),
        }

    def _listening_to(self, topic: str, sentence: str) -> str | None:
        return None if topic in self._listening else sentence

    def api(
        self,
        *,
        openapi: OpenApiInfo | None = None,
        allowed_hosts: Sequence[str] = (),
        more_routes: Sequence[ApiRoute] = (),
    ) -> ASGIApp:
        """The ASGI app for port 8000. ``more_routes``: the conversation's."""
        return build_api(
            bus=self._bus,
            read_models=self._read_models,
            roster=self.roster,
            authenticator=self._authenticator,
            clock=self._clock,
            registry=self._registry,
            readiness=self.readiness(),
            models=self._models,
            openapi=openapi,
            allowed_hosts=allowed_hosts,
            more_routes=more_routes,
        )

    async def run(self) -> None:
        """Run until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._place_proposals)
            tasks.start_soon(self._follow_decisions)
            if self._models is not None:
                work = ModelWork(
                    self._bus, self._models, self._clock, backlog_messages_max=self._settings.decisions_max
                )
                tasks.start_soon(work.run, self._listens)

    def _listens(self, topic: str, is_listening: bool) -> None:
        (self._listening.add if is_listening else self._listening.discard)(topic)

    async def _place_proposals(self) -> None:
        """Proposals are commands: none is skipped, so the subscription is not droppable."""
        async with self._bus.subscribe(
            (PROPOSALS,), name="agents-proposals", backlog_messages_max=self._settings.proposals_max, droppable=False
        ) as subscription:
            self._listening.add(PROPOSALS)
            try:
                async for batch in subscription:
                    for envelope in batch:
                        if isinstance(envelope.message, ProposalMade):
                            await self._placement.place(envelope.message)
                        elif isinstance(envelope.message, StandingTriggered) and self._standing is not None:
                            await self._standing.place(envelope.message)
            finally:
                self._listening.discard(PROPOSALS)

    async def _follow_decisions(self) -> None:
        """Metrics and the roster may miss something; the record and the next standing make up for it."""
        while True:
            try:
                await self._follow_until_dropped()
            except SlowConsumerError:
                self._metrics.fell_behind()
                _log.warning("the agents' metrics fell behind and missed decisions")
            else:
                return

    async def _follow_until_dropped(self) -> None:
        async with self._bus.subscribe(
            (TRADING_DECISIONS,),
            name="agents-decisions",
            backlog_messages_max=self._settings.decisions_max,
            droppable=True,
        ) as subscription:
            await self._read_record()
            self._listening.add(TRADING_DECISIONS)
            try:
                async for batch in subscription:
                    for envelope in batch:
                        self._follow(envelope.message)
            finally:
                self._listening.discard(TRADING_DECISIONS)

    async def _read_record(self) -> None:
        """Agents and instructions of before this process listened: the core may be in another and say them no more."""
        while True:
            try:
                agents = await self._read_models.agents()
                known = await self._read_models.standing_instructions()
            except DatabaseUnavailableError:
                _log.warning("the record of agents and instructions cannot be read; trying again")
                await self._clock.sleep(_READ_AGAIN_SECONDS)
            else:
                break
        for standing in agents:
            self.roster.take(standing)
        for changed in reversed(known):
            self.standing_roster.take(changed)

    def _follow(self, message: object) -> None:
        if isinstance(message, DecisionRecorded):
            self._metrics.decision(message)
        elif isinstance(message, StandingChanged):
            self.standing_roster.take(message)
        elif isinstance(message, AgentStanding):
            self.roster.take(message)
            self._metrics.standing(message)
