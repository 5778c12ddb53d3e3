"""The agents' room, made once for both forms of the desk: models, agents, what bounds them, sources, conversations.

What differs comes from outside: where the risk core's records are read, where calls and spending are kept, and who
knows the books.
"""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from polaris_synapse.agents.authority import Authority
from polaris_synapse.agents.conversation.api import conversation_routes
from polaris_synapse.agents.conversation.dialogue import Conversation
from polaris_synapse.agents.conversation.ports import Market
from polaris_synapse.agents.conversation.sessions import SessionStore
from polaris_synapse.agents.conversation.understanding import Understanding
from polaris_synapse.agents.models.database import ModelDatabase
from polaris_synapse.agents.service import AgentsService
from polaris_synapse.agents.settings import AgentsServiceSettings
from polaris_synapse.agents.sources.api import sources_routes
from polaris_synapse.agents.sources.state_file import SourceStates
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.desk.agent_entry import AgentEntry
from polaris_synapse.desk.authority import AuthorityRoom, standing_placement
from polaris_synapse.desk.conversation import ChatTrading
from polaris_synapse.desk.first_start import jwt_secret
from polaris_synapse.desk.models import model_room
from polaris_synapse.desk.reference_data import assets_of, instruments_of
from polaris_synapse.desk.room_settings import compliance_settings
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.desk.sources import sources_service
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.storage.port import ReadModels


class AgentsRoom:
    """``service`` and ``sources`` are what runs; ``app()`` is the API on port 8000. Nothing connects here.

    Raises ConfigurationError for a model or a source of the settings that cannot be used.
    """

    def __init__(
        self,
        *,
        settings: DeskSettings,
        directory: Path,
        bus: Bus,
        reads: ReadModels,
        gateway: GatewayService,
        records: Authority,
        market: Market,
        models: ModelDatabase,
        states: SourceStates,
        sessions: SessionStore | None = None,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._gateway = gateway
        valuation = assets_of(settings)[settings.valuation_asset]
        rooms = model_room(settings, models, clock, registry)
        self.service = AgentsService(
            bus,
            reads,
            AgentEntry(gateway, settings),
            gateway.authenticator,
            clock,
            registry,
            AgentsServiceSettings(),
            standing=standing_placement(bus, gateway, clock),
            models=rooms,
        )
        self.authority = AuthorityRoom(
            bus=bus,
            authority=records,
            gateway=gateway,
            reads=reads,
            clock=clock,
            valuation=valuation,
            secret=jwt_secret(settings, directory).encode(),
            signing_key_file=compliance_settings(settings, directory).signing_key_file,
            roster=self.service.roster,
            standing_roster=self.service.standing_roster,
        )
        instruments = instruments_of(settings)
        self.sources = sources_service(
            settings=settings,
            states=states,
            bus=bus,
            clock=clock,
            registry=registry,
            instruments=instruments,
            model=rooms.model,
        )
        trading = ChatTrading(gateway)
        self._conversation = Conversation(
            bus=bus,
            reads=reads,
            trading=trading,
            market=market,
            limits=records.limits_of,
            roster=self.service.roster,
            clock=clock,
            valuation=valuation,
            understanding=Understanding(rooms.model) if rooms.model is not None else None,
            authority=self.authority.talk(self.service.roster, records, trading),
            store=sessions,
        )

    def app(self) -> ASGIApp:
        """The HTTP surface."""
        authenticator = self._gateway.authenticator
        return self.service.api(
            more_routes=[
                *conversation_routes(self._conversation, authenticator),
                *self.authority.routes(),
                *sources_routes(self.sources, authenticator),
            ]
        )
