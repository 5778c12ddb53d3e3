"""Every room of one desk, made and wired to the others. Nothing connects or starts here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from polaris_synapse.agents.models.database import FILE_NAME, file_database
from polaris_synapse.agents.sources.state_file import StateFile
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.journal import JournalStore
from polaris_synapse.compliance.service import ComplianceService
from polaris_synapse.desk.agents_room import AgentsRoom
from polaris_synapse.desk.alert_settings import alert_settings
from polaris_synapse.desk.conversation import ChatMarket
from polaris_synapse.desk.cores import durable_cores
from polaris_synapse.desk.credentials import kept_credentials
from polaris_synapse.desk.first_start import jwt_secret
from polaris_synapse.desk.records import CoreRecords
from polaris_synapse.desk.reference_data import instruments_of
from polaris_synapse.desk.room_settings import (
    compliance_settings,
    gateway_settings,
    host_settings,
    market_data_settings,
    order_port_settings,
    risk_settings,
    shared_cache,
    storage_settings,
)
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.desk.stop_memory import StopFile
from polaris_synapse.domain.messages import BookUpdated
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.execution import api as execution_api
from polaris_synapse.execution.paper.venue import PaperVenue
from polaris_synapse.execution.service import ExecutionService
from polaris_synapse.execution.settings import ExecutionSettings
from polaris_synapse.market_data import api as market_data_api
from polaris_synapse.market_data.core import MarketDataCore
from polaris_synapse.market_data.service import MarketDataService
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.service import MatchingService
from polaris_synapse.matching.settings import MatchingSettings
from polaris_synapse.monitoring.alerts.service import AlertService
from polaris_synapse.monitoring.metrics import register_process_metrics
from polaris_synapse.order_gateway import api as gateway_api
from polaris_synapse.order_gateway.order_port import OrderPort
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.emergency import EmergencyStops
from polaris_synapse.risk.service import RiskService
from polaris_synapse.storage.service import StorageService
from polaris_synapse.web.server import Listener

#: Where the sources of a desk in one process go on.
_SOURCES_FILE: Final = "sources.json"


class Rooms:
    """The cores, the host that feeds them, and a service for each room."""

    def __init__(self, settings: DeskSettings, directory: Path, journal: JournalStore, clock: Clock) -> None:
        self._settings = settings
        self._registries = {name: CollectorRegistry() for name in type(settings.ports).model_fields}
        self.instruments = instruments_of(settings)
        market_settings = market_data_settings(settings)
        durable = durable_cores(settings)
        matching_core, risk_core = durable.matching, durable.risk
        cores: tuple[Core, ...] = (*durable, MarketDataCore(market_settings.core))
        gateway_registry = self._registries["gateway"]
        register_process_metrics(gateway_registry)
        self.host = EmbeddedHost(
            journal, {core.name: core for core in cores}, clock, host_settings(settings), gateway_registry
        )
        self.storage = StorageService(self.host, storage_settings(directory, settings), clock, gateway_registry)
        reads = self.storage.read_models
        self.market_data = MarketDataService(
            self.host,
            clock,
            self._registries["market_data"],
            market_settings,
            self.instruments,
            internal_levels=partial(_internal_levels, matching_core),
        )
        self.gateway = GatewayService(
            bus=self.host,
            read_models=reads,
            clock=clock,
            registry=gateway_registry,
            settings=gateway_settings(settings),
            jwt_secret=jwt_secret(settings, directory).encode(),
            data_directory=directory,
            valuation_asset=settings.valuation_asset,
            cache=shared_cache(settings),
            credentials=kept_credentials(settings, directory, clock),
            notes=self._notes,
        )
        self.order_port = (
            OrderPort(self.gateway, order_port_settings(settings)) if settings.order_port.enabled else None
        )
        authenticator = self.gateway.authenticator
        self.compliance = ComplianceService(
            self.host,
            clock,
            self._registries["compliance"],
            reads,
            authenticator,
            compliance_settings(settings, directory),
        )
        self.stop_file = StopFile(directory)
        self.risk = RiskService(
            self.host,
            risk_core,
            reads,
            authenticator,
            clock,
            self._registries["risk"],
            risk_settings(settings),
            EmergencyStops(
                core=risk_core,
                hold=self.host.hold,
                stop_venues=lambda account, orders, in_force: self.execution.stop_now(account, orders, in_force),
                memory=self.stop_file,
            ),
        )
        self.matching = MatchingService(
            matching_core, clock, self._registries["matching"], authenticator, MatchingSettings(), bus=self.host
        )
        self.execution = ExecutionService(
            bus=self.host,
            clock=clock,
            registry=self._registries["execution"],
            settings=ExecutionSettings(real_trading=settings.enable_real_trading),
            venues=[self._paper_venue(directory, clock)],
            stopped=lambda command: risk_core.keeps_back(command.request),
        )
        self.agents = self._make_agents(settings, directory, clock, risk_core)
        self.alerts = AlertService(clock, gateway_registry, alert_settings(settings))
        self._clock = clock

    def _make_agents(self, settings: DeskSettings, directory: Path, clock: Clock, risk_core: RiskCore) -> AgentsRoom:
        return AgentsRoom(
            settings=settings,
            directory=directory,
            bus=self.host,
            reads=self.storage.read_models,
            gateway=self.gateway,
            records=CoreRecords(risk_core),
            market=ChatMarket(self.gateway, self.market_data.views, self._notes),
            models=file_database(directory / FILE_NAME),
            states=StateFile(directory / _SOURCES_FILE),
            clock=clock,
            registry=self._registries["llm_agents"],
        )

    def _notes(self) -> dict[str, str]:
        return {"feed": self.market_data.sentence, "trading": "paper: every fill is simulated"}

    def _paper_venue(self, directory: Path, clock: Clock) -> PaperVenue:
        return PaperVenue(
            bus=self.host,
            clock=clock,
            path=directory / "paper.sqlite3",
            instruments=lambda: self.instruments,
            book_of=self._book_of,
        )

    def _book_of(self, symbol: str) -> BookUpdated | None:
        view = self.market_data.views.get(symbol)
        if view is None or not view.sequence:
            return None
        bids, asks = view.book(self.market_data.settings.core.levels_max)
        return BookUpdated(
            time_ns=view.updated_ns,
            symbol=symbol,
            source=view.source,
            sequence=view.sequence,
            bids=bids,
            asks=asks,
            is_snapshot=True,
        )

    def listeners(self) -> Iterator[Listener]:
        """What serves each room's port. The gateway is ready when the whole order path is."""
        settings, reads = self._settings, self.storage.read_models
        apps = {
            "gateway": gateway_api.build_api(self.gateway, readiness=self.host.readiness() | self.storage.readiness()),
            "risk": self.risk.api(),
            "compliance": self.compliance.api(),
            "market_data": market_data_api.build_api(
                self.market_data, self._clock, self._registries["market_data"], stored=reads.candles
            ),
            "matching": self.matching.api(),
            "execution": execution_api.build_api(
                service=self.execution,
                bus=self.host,
                clock=self._clock,
                breaks=lambda open_only: reads.breaks(open_only=open_only),
                authenticator=self.gateway.authenticator,
                registry=self._registries["execution"],
                real_trading=settings.enable_real_trading,
            ),
            "llm_agents": self.agents.app(),
        }
        for name, app in apps.items():
            yield Listener(
                app=app,
                host=settings.host,
                port=getattr(settings.ports, name),
                name=name,
                trusted_proxies=settings.gateway.trusted_proxies,
            )


def _internal_levels(core: MatchingCore, symbol: str) -> tuple[int, Sequence[Level], Sequence[Level]]:
    """An internal book as it is now, with the sequence of its last change."""
    market = core.markets.get(symbol)
    bids, asks = core.levels(symbol)
    return (market.sequence if market is not None else 0), bids, asks
