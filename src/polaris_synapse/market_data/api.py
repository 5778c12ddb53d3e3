"""The market data API, port 8081: books, trades, candles, marks, the feed's state, and a stream of facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Candle
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.market_data.bodies import (
    INTERVALS,
    BookBody,
    BookQuery,
    CandlesBody,
    CandlesQuery,
    FeedBody,
    FeedBookBody,
    MarksBody,
    NoQuery,
    SymbolPath,
    TradesBody,
    TradesQuery,
    candle_body,
    level_texts,
    mark_body,
    trade_body,
)
from polaris_synapse.market_data.service import MarketDataService
from polaris_synapse.market_data.stream import MarketStream
from polaris_synapse.market_data.views import SymbolView
from polaris_synapse.storage.database import DatabaseUnavailableError
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.bodies import json_response, path_struct, query_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import api_route
from polaris_synapse.web.service import service_app

_NS = 1_000_000_000
_log = structlog.get_logger(__name__)


class StoredCandles(Protocol):
    """Closed candles of a database, the newest first. Raises DatabaseUnavailableError."""

    async def __call__(self, *, symbol: str, interval_seconds: int, limit: int) -> list[Candle]: ...


class _MarketDataApi:
    """The endpoints. With an ``authenticator`` every one asks who it is; any role may read."""

    def __init__(
        self,
        service: MarketDataService,
        clock: Clock,
        authenticator: Authenticator | None,
        stored: StoredCandles | None,
    ) -> None:
        self._service = service
        self._clock = clock
        self._authenticator = authenticator
        self._stored = stored

    async def book(self, request: Request) -> Response:
        """One book."""
        await self._authenticate(request)
        instrument, view = self._instrument(request)
        query = query_struct(request, BookQuery)
        known = view is not None and view.sequence > 0
        bids, asks = view.book(query.depth) if view is not None and known else ((), ())
        return json_response(
            BookBody(
                symbol=instrument.symbol,
                source=view.source if view else "",
                sequence=view.sequence if view else 0,
                time_ns=view.updated_ns if view else 0,
                healthy=bool(view and view.healthy and known),
                cause=view.cause if view and known else "resyncing",
                bids=level_texts(instrument, bids),
                asks=level_texts(instrument, asks),
            )
        )

    async def trades(self, request: Request) -> Response:
        """The tape."""
        await self._authenticate(request)
        instrument, view = self._instrument(request)
        query = query_struct(request, TradesQuery)
        latest = list(view.trades)[-query.limit :] if view else []
        return json_response(
            TradesBody(symbol=instrument.symbol, trades=[trade_body(instrument, trade) for trade in reversed(latest)])
        )

    async def candles(self, request: Request) -> Response:
        """Candles of one interval."""
        await self._authenticate(request)
        instrument, view = self._instrument(request)
        query = query_struct(request, CandlesQuery)
        if query.interval not in INTERVALS:
            raise ApiError(Reason.INVALID_VALUE, f"interval is one of {', '.join(INTERVALS)}.")
        seconds = INTERVALS[query.interval]
        found = view.candles(seconds, query.limit) if view else []
        if len(found) < query.limit and self._stored is not None:
            found = await self._with_stored(self._stored, instrument.symbol, seconds, query.limit, found)
        return json_response(
            CandlesBody(
                symbol=instrument.symbol,
                interval=query.interval,
                candles=[candle_body(instrument, candle) for candle in found],
            )
        )

    async def _with_stored(
        self, stored: StoredCandles, symbol: str, seconds: int, limit: int, here: list[Candle]
    ) -> list[Candle]:
        """What this process saw, and before that what the database has; without it just the former."""
        try:
            older = await stored(symbol=symbol, interval_seconds=seconds, limit=limit)
        except DatabaseUnavailableError as error:
            _log.warning("candles_not_read", symbol=symbol, problem=str(error))
            return here
        by_time = {candle.open_time_ns: candle for candle in (*older, *here)}
        return [by_time[time_ns] for time_ns in sorted(by_time)][-limit:]

    async def marks(self, request: Request) -> Response:
        """All marks."""
        await self._authenticate(request)
        query_struct(request, NoQuery)
        instruments = self._service.instruments
        return json_response(
            MarksBody(
                marks=[
                    mark_body(instruments[mark.symbol], mark)
                    for mark in self._service.views.marks()
                    if mark.symbol in instruments
                ]
            )
        )

    async def feed(self, request: Request) -> Response:
        """The feed's state."""
        await self._authenticate(request)
        query_struct(request, NoQuery)
        found = self._service.feed_counts()
        if found is None:
            raise ApiError(Reason.NOT_READY, "The feed is being chosen.")
        name, counts = found
        return json_response(
            FeedBody(
                feed=name,
                sentence=self._service.sentence,
                ended=self._service.feed_ended,
                books=[self._feed_book(view) for view in self._service.views.symbols()],
                frames=dict(sorted(counts.frames.items())),
                malformed=counts.malformed,
                malformed_detail=counts.malformed_detail,
                reconnects=counts.reconnects,
                snapshots_requested=counts.snapshots_requested,
                snapshots_failed=counts.snapshots_failed,
                rate_limited=counts.rate_limited,
                trades_backfilled=counts.trades_backfilled,
                clock_offset_ms=counts.clock_offset_ms,
                progress=counts.progress,
                instrument_faults=list(counts.instrument_faults),
            )
        )

    def _feed_book(self, view: SymbolView) -> FeedBookBody:
        age_ns = max(0, self._clock.now_ns() - view.updated_ns)
        return FeedBookBody(
            symbol=view.symbol,
            source=view.source,
            healthy=view.healthy,
            cause=view.cause,
            age_seconds=round(age_ns / _NS, 3) if view.updated_ns else None,
        )

    async def _authenticate(self, request: Request) -> None:
        if self._authenticator is not None:
            await self._authenticator.authenticate(request)

    def _instrument(self, request: Request) -> tuple[Instrument, SymbolView | None]:
        symbol = path_struct(request, SymbolPath).symbol
        instrument = self._service.instruments.get(symbol)
        if instrument is None:
            raise ApiError(Reason.SYMBOL_NOT_FOUND, f"There is no instrument {symbol}.")
        return instrument, self._service.views.get(symbol)


class _StreamEndpoint:
    """``/stream`` as an ASGI app, so that refusals before the handshake become error bodies."""

    def __init__(self, stream: MarketStream) -> None:
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream.connect(WebSocket(scope, receive, send))


def routes(
    service: MarketDataService,
    clock: Clock,
    authenticator: Authenticator | None = None,
    stored: StoredCandles | None = None,
) -> Sequence[BaseRoute]:
    """The room's own routes."""
    api = _MarketDataApi(service, clock, authenticator, stored)
    roles = None if authenticator is None else ()
    missing = (Reason.SYMBOL_NOT_FOUND,)
    tag = "Market data"
    return [
        api_route("GET", "/book/{symbol}", api.book, summary="An order book.", tag=tag, query=BookQuery,
                  path_parameters=SymbolPath, response=BookBody, reasons=missing, roles=roles),
        api_route("GET", "/trades/{symbol}", api.trades, summary="The latest public trades.", tag=tag,
                  query=TradesQuery, path_parameters=SymbolPath, response=TradesBody, reasons=missing, roles=roles),
        api_route("GET", "/candles/{symbol}", api.candles, summary="Candles.", tag=tag, query=CandlesQuery,
                  path_parameters=SymbolPath, response=CandlesBody, reasons=missing, roles=roles),
        api_route("GET", "/marks", api.marks, summary="The prices that decisions use.", tag=tag, response=MarksBody,
                  roles=roles),
        api_route("GET", "/feed", api.feed, summary="Which feed runs, and how it does.", tag=tag, response=FeedBody,
                  reasons=(Reason.NOT_READY,), roles=roles),
        WebSocketRoute("/stream", _StreamEndpoint(MarketStream(service, authenticator))),
    ]  # fmt: skip


def build_api(
    service: MarketDataService,
    clock: Clock,
    registry: CollectorRegistry,
    *,
    authenticator: Authenticator | None = None,
    stored: StoredCandles | None = None,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
) -> ASGIApp:
    """The service's ASGI app. Without an ``authenticator`` market data is open to whoever reaches the port.

    ``stored`` has the candles of before this process began, and of symbols that another one follows.
    """
    return service_app(
        service="market-data-handler",
        title="Polaris Synapse market data",
        routes=routes(service, clock, authenticator, stored),
        registry=registry,
        readiness={"books": service.not_ready},
        allowed_hosts=allowed_hosts,
        allowed_origins=allowed_origins,
    )
