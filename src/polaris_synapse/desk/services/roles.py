"""The seven services: which room each runs, what it hears, and what it adds to what all of them have."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.kafka.host import PartitionState
from polaris_synapse.bus.kafka.leader import Leader
from polaris_synapse.compliance.audit_reading import KEPT_ELSEWHERE
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.compliance.service import ComplianceService
from polaris_synapse.desk.reference_data import instruments_of
from polaris_synapse.desk.room_settings import compliance_settings, order_port_settings, risk_settings
from polaris_synapse.desk.services.agents import LlmAgents
from polaris_synapse.desk.services.alerts import ClusterAlerts
from polaris_synapse.desk.services.app import Checks
from polaris_synapse.desk.services.base import Member, Service, ServiceParts
from polaris_synapse.desk.services.market_data import MarketDataHandler
from polaris_synapse.desk.services.paper import PartitionedPaper
from polaris_synapse.desk.services.seeding import ClusterSeeder
from polaris_synapse.desk.services.stops import KillLevels
from polaris_synapse.desk.services.views import MatchingCores, RiskCores
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain import topics as t
from polaris_synapse.execution import api as execution_api
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.execution.service import ExecutionService
from polaris_synapse.execution.settings import ExecutionSettings
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.service import MatchingService
from polaris_synapse.matching.settings import MatchingSettings
from polaris_synapse.order_gateway import api as gateway_api
from polaris_synapse.order_gateway.order_port import OrderPort
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.service import RiskService

_OF_AN_ACCOUNT: Final = re.compile(r"/(?:limits|fees)/([^/]+)")
#: Where the audit log's key is needed.
_SIGNED_FOR: Final = frozenset({"/audit/verify", "/audit/checkpoints"})
Runs = Iterable[Callable[[], Coroutine[Any, Any, None]]]


class _Base:
    """The answers of a service that has no more to say than its parts."""

    def __init__(self, parts: ServiceParts) -> None:
        self.parts = parts

    def states(self) -> Sequence[PartitionState]:
        """See Service."""
        return ()

    def first_listeners(self) -> frozenset[str]:
        """See Service."""
        return frozenset()

    def members(self) -> Sequence[Member]:
        """See Service."""
        return ()

    def order_port(self) -> OrderPort | None:
        """See Service."""
        return None

    def elsewhere(self, path: str, /) -> str:
        """See Service."""
        return ""


class OrderGateway(_Base):
    """Order entry. It has no core, and as many instances as one likes; one of them tells people what happens."""

    FACTS: Final = (t.EXECUTIONS, t.RISK_EVENTS, t.TRADING_DECISIONS, t.MARKET_DATA_MARKS, t.COMPLIANCE_ALERTS)
    #: What clients hear of markets. With a cache it comes through that, of those symbols that somebody listens to.
    WITHOUT_CACHE: Final = (t.MARKET_DATA_NORMALIZED,)

    def __init__(self, parts: ServiceParts) -> None:
        super().__init__(parts)
        enabled = parts.settings.order_port.enabled
        self._order_port = OrderPort(parts.gateway, order_port_settings(parts.settings)) if enabled else None
        self._alerts = ClusterAlerts(parts)

    def order_port(self) -> OrderPort | None:
        """See Service."""
        return self._order_port

    def app(self) -> ASGIApp:
        """See Service."""
        return gateway_api.build_api(self.parts.gateway)

    def checks(self) -> Checks:
        """See Service."""
        return self.parts.checks() | self.parts.gateway.readiness() | {"settings": self._check_settings}

    def _check_settings(self) -> str | None:
        instruments = self.parts.settings.instruments
        missing = [one.symbol for one in instruments if self.parts.gateway.markets.known(one.symbol) is None]
        return f"{', '.join(missing)} cannot be ordered yet" if missing else None

    def shells(self) -> Runs:
        """See Service."""
        return (self.parts.gateway.run, self._alerts.run)

    def members(self) -> Sequence[Member]:
        """See Service."""
        return self._alerts.members()


class RiskManager(_Base):
    """Risk, by account; of all its instances one writes the read models of orders and one puts the settings in."""

    FACTS: Final = (t.EXECUTIONS, t.RISK_EVENTS)

    def __init__(self, parts: ServiceParts) -> None:
        super().__init__(parts)
        settings = parts.settings
        self._view = RiskCores(parts.destinations.partitions(t.RISK), settings.valuation_asset)
        self._host = parts.host("risk", self._make_core, changed=self._view.show)
        self._service = RiskService(
            parts.bus,
            self._view,
            parts.storage.read_models,
            parts.gateway.authenticator,
            parts.clock,
            parts.registry,
            risk_settings(settings),
        )
        self._projecting = parts.storage.projecting(parts.storage.orders)
        self._seeder = ClusterSeeder(parts)
        self._seeding = Leader(
            parts.kafka,
            group="settings-group",
            topic=t.SYSTEM_HEARTBEATS,
            client=f"{parts.client}-settings",
            work=self._seeder.run,
        )

    def elsewhere(self, path: str, /) -> str:
        """See Service: limits and fees are read from the core that has the account."""
        found = _OF_AN_ACCOUNT.fullmatch(path)
        return self._view.elsewhere(found[1]) if found is not None else ""

    def _make_core(self, partition: int) -> Core:
        return RiskCore(partition, self.parts.settings.valuation_asset)

    def app(self) -> ASGIApp:
        """See Service."""
        return self._service.api()

    def checks(self) -> Checks:
        """See Service."""
        database = self.parts.storage.readiness(self.parts.storage.orders) if self._projecting.leads else {}
        settings = {"settings": self._check_settings} | self._projecting.readiness() | self._seeding.readiness()
        return self.parts.checks() | self._host.readiness() | database | settings | dict(self._service.readiness())

    def _check_settings(self) -> str | None:
        if self._seeding.leads and not self._seeder.done:
            return "the settings' instruments and accounts are not in the desk yet"
        return None

    def states(self) -> Sequence[PartitionState]:
        """See Service."""
        return self._host.states()

    def shells(self) -> Runs:
        """See Service."""
        return (self._service.run, *self.parts.authenticator_runs())

    def members(self) -> Sequence[Member]:
        """See Service."""
        return (self._host, self._projecting, self._seeding)


class ComplianceGateway(_Base):
    """Compliance. Of all its instances one runs the core, one keeps the audit log, one writes the read models."""

    FACTS: Final = (t.AUDIT, t.COMPLIANCE_ALERTS, t.COMPLIANCE_DECISIONS)

    def __init__(self, parts: ServiceParts) -> None:
        super().__init__(parts)
        room = compliance_settings(parts.settings, parts.directory)
        self._host = parts.host("compliance", lambda partition: ComplianceCore(partition=partition))
        self._service = ComplianceService(
            parts.bus,
            parts.clock,
            parts.registry,
            parts.storage.read_models,
            parts.gateway.authenticator,
            room,
        )
        self._projecting = parts.storage.projecting(parts.storage.compliance)
        self._keeping = Leader(
            parts.kafka,
            group="audit-keeper-group",
            topic=t.SYSTEM_HEARTBEATS,
            client=f"{parts.client}-keeper",
            work=self._service.run,
        )

    def app(self) -> ASGIApp:
        """See Service."""
        return self._service.api()

    def checks(self) -> Checks:
        """See Service."""
        database = self.parts.storage.readiness(self.parts.storage.compliance) if self._projecting.leads else {}
        # Who stands by has neither opened the audit log nor asked for the rules.
        room = dict(self._service.readiness()) if self._keeping.leads else {}
        groups = self._projecting.readiness() | self._keeping.readiness()
        return self.parts.checks() | self._host.readiness() | groups | database | room

    def elsewhere(self, path: str, /) -> str:
        """See Service: the audit log is verified where its key is."""
        return KEPT_ELSEWHERE if path in _SIGNED_FOR and not self._service.audit.has_key() else ""

    def states(self) -> Sequence[PartitionState]:
        """See Service."""
        return self._host.states()

    def shells(self) -> Runs:
        """See Service."""
        return self.parts.authenticator_runs()

    def members(self) -> Sequence[Member]:
        """See Service."""
        return (self._host, self._projecting, self._keeping)


class MatchingEngine(_Base):
    """The desk's own books, by symbol. Its stream hears all books over the brokers and shows those that are here."""

    FACTS: Final = (t.BOOKS, t.TRADES)

    def __init__(self, parts: ServiceParts) -> None:
        super().__init__(parts)
        self._view = MatchingCores()
        self._host = parts.host("matching", lambda _: MatchingCore(), changed=self._view.show)
        self._service = MatchingService(
            self._view, parts.clock, parts.registry, parts.gateway.authenticator, MatchingSettings(), bus=parts.bus
        )

    def app(self) -> ASGIApp:
        """See Service."""
        return self._service.api()

    def checks(self) -> Checks:
        """See Service."""
        return self.parts.checks() | self._host.readiness() | dict(self._service.readiness())

    def states(self) -> Sequence[PartitionState]:
        """See Service."""
        return self._host.states()

    def shells(self) -> Runs:
        """See Service."""
        return (self._service.run, *self.parts.authenticator_runs())

    def members(self) -> Sequence[Member]:
        """See Service."""
        return (self._host,)


class ExecutionEngine(_Base):
    """Orders at venues, by symbol; each symbol trades at one venue, so that is by venue and symbol."""

    FACTS: Final = (t.MARKET_DATA_NORMALIZED, t.RISK_EVENTS)

    def __init__(self, parts: ServiceParts) -> None:
        super().__init__(parts)
        self._paper = PartitionedPaper(
            bus=parts.bus,
            clock=parts.clock,
            directory=parts.directory,
            partitions=parts.destinations.partitions(t.EXECUTION),
            instruments=instruments_of(parts.settings),
        )
        # A request may be on its way to a venue when a partition leaves, so its successor asks the venue in any case.
        self._host = parts.host(
            "execution",
            lambda partition: ExecutionCore(partition=partition),
            changed=self._show,
            leaves_in_order=False,
            carries_on=True,
        )
        self._levels = KillLevels(parts.bus, parts.storage.read_models)
        self._service = ExecutionService(
            bus=parts.bus,
            clock=parts.clock,
            registry=parts.registry,
            settings=ExecutionSettings(real_trading=parts.settings.enable_real_trading),
            venues=[self._paper],
            stopped=lambda command: self._levels.keeps_back(command.request),
        )

    def _show(self, cores: Mapping[int, Core]) -> None:
        self._paper.show(cores.keys())

    def app(self) -> ASGIApp:
        """See Service."""
        parts = self.parts
        return execution_api.build_api(
            service=self._service,
            bus=parts.bus,
            clock=parts.clock,
            breaks=lambda open_only: parts.storage.read_models.breaks(open_only=open_only),
            authenticator=parts.gateway.authenticator,
            registry=parts.registry,
            real_trading=parts.settings.enable_real_trading,
        )

    def checks(self) -> Checks:
        """See Service."""
        room = dict(self._service.readiness()) | self._paper.readiness()
        return self.parts.checks() | self._host.readiness() | room

    def states(self) -> Sequence[PartitionState]:
        """See Service."""
        return self._host.states()

    def shells(self) -> Runs:
        """See Service."""
        return (self._service.run, self._levels.run, *self.parts.authenticator_runs())

    def first_listeners(self) -> frozenset[str]:
        """See Service."""
        return frozenset({"execution", "execution-stops"})

    def members(self) -> Sequence[Member]:
        """See Service."""
        return (self._host,)


class Role:
    """A service's name, the port of the settings that it takes, and how it is made.

    ``facts``, ``local_facts``: see ServiceParts. ``without_cache``: facts that it reads only where there is no cache.
    """

    def __init__(
        self,
        name: str,
        port: str,
        make: Callable[[ServiceParts], Service],
        facts: Iterable[str],
        local_facts: Iterable[str] = (),
        without_cache: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.port = port
        self._make = make
        self._facts = tuple(facts)
        self._local_facts = tuple(local_facts)
        self._without_cache = tuple(without_cache)

    def make(self, settings: DeskSettings, directory: Path, clock: Clock) -> tuple[ServiceParts, Service]:
        """The service and its parts."""
        parts = ServiceParts(
            self.name, settings, directory, clock, facts=self.facts(settings), local_facts=self._local_facts
        )
        return parts, self._make(parts)

    def facts(self, settings: DeskSettings) -> tuple[str, ...]:
        """The topics of facts that the service reads from the brokers."""
        return self._facts if settings.cache.url else (*self._facts, *self._without_cache)


ROLES: Final[dict[str, Role]] = {
    role.name: role
    for role in (
        Role("order-gateway", "gateway", OrderGateway, OrderGateway.FACTS, (), OrderGateway.WITHOUT_CACHE),
        Role("risk-manager", "risk", RiskManager, RiskManager.FACTS),
        Role("compliance-gateway", "compliance", ComplianceGateway, ComplianceGateway.FACTS),
        Role("order-matching-engine", "matching", MatchingEngine, MatchingEngine.FACTS),
        Role("execution-engine", "execution", ExecutionEngine, ExecutionEngine.FACTS),
        Role("market-data-handler", "market_data", MarketDataHandler, (), (t.MARKET_DATA_NORMALIZED,)),
        Role("llm-agents", "llm_agents", LlmAgents, LlmAgents.FACTS),
    )
}
