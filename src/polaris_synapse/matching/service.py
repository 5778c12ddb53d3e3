"""The matching service: shows the internal books and watches over them. The host runs the core itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import anyio
import structlog
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.matching.api import build_api
from polaris_synapse.matching.api_status import status_routes
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.core.books import BOOK_IN_USE
from polaris_synapse.matching.core.port import STATUSES
from polaris_synapse.matching.metrics import BookCollector
from polaris_synapse.matching.settings import MatchingSettings
from polaris_synapse.matching.stream import BookStream
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.openapi import OpenApiInfo

_log = structlog.get_logger(__name__)
_NS: int = 10**9


class MatchingService:
    """Wires the room's shell. ``api()`` is its HTTP surface, ``run()`` its work; neither starts the other.

    ``core`` is the one that the host in this process applies; the service only reads it, on the same event loop.
    ``bus`` carries commands and facts; without it the books can be read, but neither followed nor halted from here.
    """

    def __init__(
        self,
        core: MatchingCore,
        clock: Clock,
        registry: CollectorRegistry,
        authenticator: Authenticator,
        settings: MatchingSettings,
        *,
        bus: Bus | None = None,
    ) -> None:
        self._core = core
        self._clock = clock
        self._registry = registry
        self._authenticator = authenticator
        self._settings = settings
        self._bus = bus
        self._stream = BookStream(core, bus, clock, authenticator, settings) if bus is not None else None
        self._began_ns = clock.now_ns()
        registry.register(BookCollector(core))

    def readiness(self) -> Mapping[str, Callable[[], str | None]]:
        """The checks of ``GET /ready``."""
        return {"time": self._time_problem}

    def api(self, *, openapi: OpenApiInfo | None = None, allowed_hosts: Sequence[str] = ()) -> ASGIApp:
        """The ASGI app for port 8084."""
        more: list[BaseRoute] = []
        if self._bus is not None and self._stream is not None:
            more += status_routes(self._bus, self._clock, self._authenticator)
            more.append(WebSocketRoute("/stream", self._stream.connect))
        return build_api(
            core=self._core,
            registry=self._registry,
            authenticator=self._authenticator,
            readiness=self.readiness(),
            openapi=openapi,
            allowed_hosts=allowed_hosts,
            more_routes=more,
        )

    async def run(self) -> None:
        """Until cancelled, follow the books for the stream, and log each one that opens or stops."""
        async with anyio.create_task_group() as group:
            if self._stream is not None:
                group.start_soon(self._stream.run)
            await self._watch()

    async def _watch(self) -> None:
        """Log each book that opens or stops: nobody may have asked for a volatility interruption."""
        _log.info("order book", in_use=BOOK_IN_USE)
        known: dict[str, int] = {}
        while True:
            for symbol, market in self._core.markets.items():
                status = market.book.status
                if known.get(symbol) != status:
                    _log.info("book status", symbol=symbol, status=STATUSES[status].value)
                    known[symbol] = status
            await self._clock.sleep(self._settings.watch_seconds)

    def _time_problem(self) -> str | None:
        """Without ticks orders would not end by time, nor interruptions."""
        if not self._core.markets:
            return None
        told = max(market.book.now_ns for market in self._core.markets.values())
        # A book that was just listed knows no time before the next tick: the wait for that began with this service.
        age_seconds = (self._clock.now_ns() - max(told, self._began_ns)) // _NS
        if age_seconds <= self._settings.tick_age_seconds_max:
            return None
        return f"The books were last told the time {age_seconds} seconds ago."
