"""The matching service's HTTP interface: what everybody may see of the internal books."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import structs
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.api_types import (
    BookBody,
    BookOrderBody,
    BookOrdersBody,
    BookQuery,
    LevelBody,
    OrdersQuery,
    StatisticsBody,
    SymbolBody,
    SymbolPath,
    SymbolsBody,
)
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.core.market import Market
from polaris_synapse.matching.core.port import BUY, SELL, STATUSES, PriceLevel
from polaris_synapse.matching.views import day_of
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.bodies import json_response, path_struct, query_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.openapi import OpenApiInfo
from polaris_synapse.web.routes import api_route
from polaris_synapse.web.service import service_app

SERVICE: Final = "order-matching-engine"


def build_api(
    *,
    core: MatchingCore,
    registry: CollectorRegistry,
    authenticator: Authenticator,
    readiness: Mapping[str, Callable[[], str | None]],
    openapi: OpenApiInfo | None = None,
    allowed_hosts: Sequence[str] = (),
    more_routes: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """The ASGI app of the matching service. It reads ``core`` between two of its messages, never during one.

    ``more_routes``: what takes a bus, where the process has one that carries commands.
    """
    handlers = _Handlers(core, authenticator)
    unknown = (Reason.SYMBOL_NOT_FOUND,)
    routes: list[BaseRoute] = [
        api_route("GET", "/symbols", handlers.symbols, summary="The internal venue's books.", tag="Books",
                  response=SymbolsBody),
        api_route("GET", "/books/{symbol}", handlers.book, summary="A book by price.", tag="Books",
                  path_parameters=SymbolPath, query=BookQuery, response=BookBody, reasons=unknown),
        api_route("GET", "/books/{symbol}/orders", handlers.orders, summary="A book by order.", tag="Books",
                  path_parameters=SymbolPath, query=OrdersQuery, response=BookOrdersBody, reasons=unknown),
        api_route("GET", "/statistics/{symbol}", handlers.statistics, summary="The last 24 hours of a book.",
                  tag="Books", path_parameters=SymbolPath, response=StatisticsBody, reasons=unknown),
        *more_routes,
    ]  # fmt: skip
    return service_app(
        service=SERVICE,
        title="Polaris Synapse matching",
        routes=routes,
        registry=registry,
        readiness=readiness,
        openapi=openapi,
        allowed_hosts=allowed_hosts,
    )


class _Handlers:
    """The endpoints: any logged-in principal may read the public book."""

    def __init__(self, core: MatchingCore, authenticator: Authenticator) -> None:
        self._core = core
        self._authenticator = authenticator

    async def symbols(self, request: Request) -> Response:
        await self._authenticator.authenticate(request)
        markets = [market for _, market in sorted(self._core.markets.items())]
        return json_response(SymbolsBody(symbols=[_symbol(market) for market in markets]))

    async def book(self, request: Request) -> Response:
        market = await self._market(request)
        query = query_struct(request, BookQuery)
        bids, asks = market.book.levels(query.depth)
        return json_response(
            BookBody(
                symbol=market.symbol,
                sequence=market.sequence,
                status=STATUSES[market.book.status],
                bids=_levels(market, bids),
                asks=_levels(market, asks),
            )
        )

    async def orders(self, request: Request) -> Response:
        market = await self._market(request)
        query = query_struct(request, OrdersQuery)
        return json_response(
            BookOrdersBody(
                symbol=market.symbol,
                sequence=market.sequence,
                status=STATUSES[market.book.status],
                bids=_orders(market, BUY, query.limit),
                asks=_orders(market, SELL, query.limit),
            )
        )

    async def statistics(self, request: Request) -> Response:
        market = await self._market(request)
        return json_response(StatisticsBody(symbol=market.symbol, **structs.asdict(day_of(market))))

    async def _market(self, request: Request) -> Market:
        """Authenticates first, so that nobody learns from refusals what exists."""
        await self._authenticator.authenticate(request)
        symbol = path_struct(request, SymbolPath).symbol
        market = self._core.markets.get(symbol)
        if market is None:
            raise ApiError(Reason.SYMBOL_NOT_FOUND, "The desk's own venue has no book of that name.")
        return market


def _symbol(market: Market) -> SymbolBody:
    instrument, book = market.instrument, market.book
    return SymbolBody(
        symbol=market.symbol,
        base=instrument.base.code,
        quote=instrument.quote.code,
        tick_size=instrument.tick_size,
        lot_size=instrument.lot_size,
        status=STATUSES[book.status],
        maker_fee_ppm=instrument.maker_fee_ppm,
        taker_fee_ppm=instrument.taker_fee_ppm,
        best_bid=instrument.format_price(book.best_bid()),
        best_ask=instrument.format_price(book.best_ask()),
        last=instrument.format_price(book.last_price),
        open_orders=len(book),
        trades=market.trades,
    )


def _levels(market: Market, levels: list[PriceLevel]) -> list[LevelBody]:
    price, quantity = market.instrument.format_price, market.instrument.format_quantity
    return [LevelBody(price=price(ticks), quantity=quantity(lots)) for ticks, lots in levels]


def _orders(market: Market, side: int, limit: int) -> list[BookOrderBody]:
    price, quantity = market.instrument.format_price, market.instrument.format_quantity
    return [
        BookOrderBody(order_id=order_id, price=price(ticks), quantity=quantity(lots))
        for order_id, ticks, lots in market.book.queue(side, limit)
    ]
