"""The HTTP interface of execution, port 8085: venues, open orders at venues, and breaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from msgspec import Meta, Struct
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.messages import BreakChanged, ResolveBreak
from polaris_synapse.domain.orders import OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.service import ExecutionService, VenueHealth
from polaris_synapse.web.authentication import Authenticator, Principal, Role
from polaris_synapse.web.bodies import json_response, path_struct, query_struct, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, Endpoint, api_route
from polaris_synapse.web.service import service_app

#: Who looks after orders and venues. Traders see their own orders through the gateway.
_STAFF = (Role.RISK_OFFICER, Role.COMPLIANCE_OFFICER)

Breaks = Callable[[bool], Awaitable[list[BreakChanged]]]


class VenuesBody(Struct, frozen=True):
    """Every venue that the desk has an adapter for. ``mode`` is ``simulated`` or ``real``."""

    venues: list[VenueHealth]
    real_trading: bool


class VenueOrderBody(Struct, frozen=True, kw_only=True):
    """An open order as its venue sees it. ``filled_lots`` counts lots of the instrument."""

    order_id: int
    venue: str
    symbol: str
    venue_client_id: str
    venue_order_id: str
    state: OrderState
    filled_lots: int
    heard_time_ns: int


class OrdersQuery(Struct, frozen=True, kw_only=True):
    """Which open orders: of one venue or symbol, or of all; at most ``limit``."""

    venue: Annotated[str, Meta(max_length=64)] = ""
    symbol: Annotated[str, Meta(max_length=64)] = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class OrdersBody(Struct, frozen=True):
    """Open orders, newest first; ``total`` counts those beyond the limit too."""

    orders: list[VenueOrderBody]
    total: int


class BreaksQuery(Struct, frozen=True, kw_only=True):
    """Open breaks, or the resolved ones too."""

    open_only: bool = True


class BreaksBody(Struct, frozen=True):
    """Breaks, newest first."""

    breaks: list[BreakChanged]


class BreakPath(Struct, frozen=True, kw_only=True):
    """Which break."""

    break_id: Annotated[str, Meta(min_length=1, max_length=64)]


class ResolveBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the break may be closed: what was found, and where the difference was accounted for."""

    note: Annotated[str, Meta(min_length=1, max_length=1000)]


class ResolvedBody(Struct, frozen=True):
    """The break is closed; ``already`` when it was before."""

    break_id: str
    already: bool


def build_api(
    *,
    service: ExecutionService,
    bus: Bus,
    clock: Clock,
    breaks: Breaks,
    authenticator: Authenticator,
    registry: CollectorRegistry,
    real_trading: bool = False,
) -> ASGIApp:
    """The ASGI app. ``breaks`` reads the breaks: ``await breaks(open_only)``."""

    async def staff(request: Request) -> Principal:
        principal = await authenticator.authenticate(request)
        principal.require(*_STAFF)
        return principal

    async def get_venues(request: Request) -> Response:
        await authenticator.authenticate(request)
        return json_response(VenuesBody(service.venues(), real_trading))

    async def get_orders(request: Request) -> Response:
        await staff(request)
        query = query_struct(request, OrdersQuery)
        found = [
            order
            for order in service.orders()
            if query.venue in ("", order.venue) and query.symbol in ("", order.symbol)
        ]
        bodies = [
            VenueOrderBody(
                order_id=order.order_id,
                venue=order.venue,
                symbol=order.symbol,
                venue_client_id=order.venue_client_id,
                venue_order_id=order.venue_order_id,
                state=order.state,
                filled_lots=order.filled_lots,
                heard_time_ns=order.heard_time_ns,
            )
            for order in found[: query.limit]
        ]
        return json_response(OrdersBody(bodies, len(found)))

    async def get_breaks(request: Request) -> Response:
        await staff(request)
        query = query_struct(request, BreaksQuery)
        return json_response(BreaksBody(await breaks(query.open_only)))

    async def resolve_break(request: Request) -> Response:
        principal = await authenticator.authenticate(request)
        principal.require(Role.RISK_OFFICER)
        path = path_struct(request, BreakPath)
        body = await read_struct(request, ResolveBody)
        command = ResolveBreak(time_ns=clock.now_ns(), actor=principal.actor, break_id=path.break_id, note=body.note)
        try:
            answer = await bus.request(command)
        except BusError as error:
            raise ApiError(error.reason, str(error)) from error
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return json_response(ResolvedBody(path.break_id, answer.duplicate))

    routes = _routes(get_venues, get_orders, get_breaks, resolve_break)
    return service_app(
        service="execution-engine",
        title="Execution engine",
        routes=routes,
        registry=registry,
        readiness=service.readiness(),
    )


def _routes(
    get_venues: Endpoint, get_orders: Endpoint, get_breaks: Endpoint, resolve_break: Endpoint
) -> list[ApiRoute]:
    bus_reasons = (Reason.OVERLOADED, Reason.SHUTTING_DOWN, Reason.JOURNAL_UNAVAILABLE, Reason.TIMED_OUT)
    return [
        api_route("GET", "/venues", get_venues, summary="How every venue stands.", tag="Venues", response=VenuesBody),
        api_route(
            "GET",
            "/orders",
            get_orders,
            summary="Open orders as the venues report them.",
            tag="Orders",
            query=OrdersQuery,
            response=OrdersBody,
            roles=_STAFF,
        ),
        api_route(
            "GET",
            "/breaks",
            get_breaks,
            summary="Differences with venues that nothing explains.",
            tag="Breaks",
            query=BreaksQuery,
            response=BreaksBody,
            roles=_STAFF,
        ),
        api_route(
            "POST",
            "/breaks/{break_id}/resolve",
            resolve_break,
            summary="Close a break.",
            description="The difference then counts as accounted for outside of the order; an order that its venue "
            "has lost ends as cancelled.",
            tag="Breaks",
            path_parameters=BreakPath,
            body=ResolveBody,
            response=ResolvedBody,
            reasons=(Reason.NOT_FOUND, *bus_reasons),
            roles=(Role.RISK_OFFICER,),
        ),
    ]
