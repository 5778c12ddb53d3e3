"""The agents' service on Kafka: the whole room of the desk in one process, over what instances share.

One instance runs the core, and with it asks the models about decisions and places what is proposed; one reads the
outside sources. Every instance talks, decides on held orders, and answers questions.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import anyio
import structlog
from starlette.types import ASGIApp

from polaris_synapse.agents.conversation.settings import ConversationSettings
from polaris_synapse.agents.conversation.shared_sessions import SessionTable
from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.agents.models.database import ModelDatabase, opened_database
from polaris_synapse.agents.sources.state_file import StateTable
from polaris_synapse.bus.kafka.host import PartitionState
from polaris_synapse.bus.kafka.leader import Leader
from polaris_synapse.bus.port import Bus, SlowConsumerError
from polaris_synapse.desk.agents_room import AgentsRoom
from polaris_synapse.desk.conversation import ChatMarket
from polaris_synapse.desk.records import SqlRecords
from polaris_synapse.desk.reference_data import assets_of
from polaris_synapse.desk.room_settings import storage_settings
from polaris_synapse.desk.services.app import Checks
from polaris_synapse.desk.services.base import Member, ServiceParts
from polaris_synapse.domain import topics as t
from polaris_synapse.domain.messages import BookUpdated
from polaris_synapse.market_data.views import MarketViews
from polaris_synapse.order_gateway.order_port import OrderPort
from polaris_synapse.storage.database import open_database

_BACKLOG_MAX: Final = 50_000
_READ_HERE: Final = frozenset({"/sources", "/sentiment"})
_READ_ELSEWHERE: Final = "Another instance of llm-agents reads the outside sources; ask again."
#: How often it is looked whether the key that signs receipts has come.
_KEY_LOOK_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


class Books:
    """The books as the market data handlers say them: in full every two seconds, and each change between."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.views = MarketViews(trades_max=1, candles_max=1)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._follow()
                return
            except SlowConsumerError:
                _log.warning("the agents' books fell behind and begin anew")
                self.views.forget_books()

    async def _follow(self) -> None:
        async with self._bus.subscribe(
            (t.MARKET_DATA_NORMALIZED,), name="agents-books", backlog_messages_max=_BACKLOG_MAX, droppable=True
        ) as subscription:
            async for batch in subscription:
                for envelope in batch:
                    if isinstance(envelope.message, BookUpdated):
                        self.views.take(envelope.message)

    def sentence(self) -> str:
        """Where the books come from."""
        found = sorted({view.source for view in self.views.symbols() if view.source and view.source != "internal"})
        return f"Market data: {', '.join(found)}" if found else "Market data: no book has been heard of yet"


class LlmAgents:
    """See the module."""

    #: What order entry and its answers hear, the market (with a cache order entry hears its marks), and what the agents
    #: say.
    FACTS: Final = (
        t.EXECUTIONS,
        t.RISK_EVENTS,
        t.TRADING_DECISIONS,
        t.MARKET_DATA_NORMALIZED,
        t.MARKET_DATA_MARKS,
        t.DECISION_CASES,
    )

    def __init__(self, parts: ServiceParts) -> None:
        self.parts = parts
        settings = parts.settings
        valuation = assets_of(settings)[settings.valuation_asset]
        self._host = parts.host("agents", lambda partition: AgentsCore(valuation=valuation, partition=partition))
        self._books = Books(parts.bus)
        reads = parts.storage.read_models
        url = storage_settings(parts.directory, settings).orders_url
        self._shared = open_database(url, readers_max=1)
        self._room = AgentsRoom(
            settings=settings,
            directory=parts.directory,
            bus=parts.bus,
            reads=reads,
            gateway=parts.gateway,
            records=SqlRecords(reads),
            market=ChatMarket(parts.gateway, self._books.views, self._notes),
            models=ModelDatabase(lambda: opened_database(url)),
            states=StateTable(self._shared),
            sessions=SessionTable(self._shared, sessions_of_one_max=ConversationSettings().sessions_of_one_max),
            clock=parts.clock,
            registry=parts.registry,
        )
        self._reading = Leader(
            parts.kafka,
            group="sources-group",
            topic=t.SYSTEM_HEARTBEATS,
            client=f"{parts.client}-sources",
            work=self._room.sources.poll_until_cancelled,
        )

    def _notes(self) -> dict[str, str]:
        return {"feed": self._books.sentence(), "trading": "paper: every fill is simulated"}

    def app(self) -> ASGIApp:
        """See Service."""
        return self._room.app()

    def order_port(self) -> OrderPort | None:
        """See Service."""
        return None

    def elsewhere(self, path: str, /) -> str:
        """See Service: what was read of the outside is remembered where it was read."""
        return _READ_ELSEWHERE if path in _READ_HERE and self._room.sources.stands_by else ""

    def checks(self) -> Checks:
        """See Service."""
        room = dict(self._room.service.readiness()) | self.parts.gateway.readiness()
        return self.parts.checks() | self._host.readiness() | room

    def states(self) -> Sequence[PartitionState]:
        """See Service."""
        return self._host.states()

    def shells(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        """See Service."""
        return (
            self._room.service.run,
            self.parts.gateway.run,
            self._books.run,
            self._keep_sources,
            self.say_what_is_unsigned,
        )

    async def say_what_is_unsigned(self) -> None:
        """Warn at the start where receipts cannot be signed, and say when they can: the key may be put here later."""
        missing = self._room.authority.missing_signing_key()
        if missing is None:
            return
        _log.warning("receipts_are_not_signed", missing_key=str(missing))
        while self._room.authority.missing_signing_key() is not None:
            await self.parts.clock.sleep(_KEY_LOOK_SECONDS)
        _log.info("receipts_are_signed_from_now_on")

    async def _keep_sources(self) -> None:
        """The sources' connections outlive a time of reading them: another may follow."""
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await self._room.sources.close()
                await self._shared.close()

    def first_listeners(self) -> frozenset[str]:
        """See Service."""
        return frozenset({"agents-proposals", "agents-questions"})

    def members(self) -> Sequence[Member]:
        """See Service."""
        # Nobody has to be chosen to read nothing.
        return (self._host, self._reading) if self._room.sources.statuses() else (self._host,)
