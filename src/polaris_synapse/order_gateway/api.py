"""The gateway's HTTP and WebSocket interface: orders, reads, users and keys, on one port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.api_lists import list_routes
from polaris_synapse.order_gateway.api_orders import order_routes
from polaris_synapse.order_gateway.api_reads import read_routes
from polaris_synapse.order_gateway.api_users import user_routes
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.order_gateway.session import Session
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.openapi import OpenApiInfo
from polaris_synapse.web.service import service_app

SECURITY_SCHEMES: Final = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From POST /login."},
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Polaris-Key",
        "description": (
            "With X-Polaris-Timestamp (milliseconds), X-Polaris-Nonce and X-Polaris-Signature over the lines method, "
            "path with query, timestamp, nonce and SHA-256 of the body in hex: HMAC-SHA256 in hex, Ed25519 in base64."
        ),
    },
}

_DESCRIPTION: Final = (
    "Orders, balances and positions of the desk. Prices, quantities and amounts are decimal text both ways. "
    "The WebSocket at /ws takes JSON requests {id, method, params} with the methods login, ping, subscribe, "
    "unsubscribe, submit, cancel, cancel_all, replace, submit_list and cancel_list, answers {id, result} or "
    "{id, error}, and sends events of the channels orders, lists, executions, balances, positions, decisions, status "
    "and market:SYMBOL. Its params are the bodies of the same names here. The event gap, on status or on the market it "
    "is about, says that events may have been missed: read again what they told."
)


def build_api(service: GatewayService, *, readiness: Mapping[str, Callable[[], str | None]] | None = None) -> ASGIApp:
    """The ASGI app of the gateway. ``readiness``: checks besides its own, of what its orders go through."""
    routes: list[BaseRoute] = [
        *order_routes(service),
        *list_routes(service),
        *read_routes(service),
        *user_routes(service),
        WebSocketRoute("/ws", _websocket_endpoint(service)),
    ]
    return service_app(
        service="order-gateway",
        title="Polaris Synapse order gateway",
        routes=routes,
        registry=service.registry,
        readiness={**(readiness or {}), **service.readiness()},
        openapi=OpenApiInfo(description=_DESCRIPTION, security_schemes=SECURITY_SCHEMES),
        allowed_hosts=service.settings.allowed_hosts,
        allowed_origins=service.settings.allowed_origins,
    )


def _websocket_endpoint(service: GatewayService) -> Callable[[WebSocket], Awaitable[None]]:
    settings = service.settings

    async def endpoint(websocket: WebSocket) -> None:
        if len(service.sessions) >= settings.connections_max:
            raise ApiError(Reason.TOO_MANY_CONNECTIONS, f"At most {settings.connections_max} are open at once.")
        session = Session(
            websocket,
            authenticator=service.authenticator,
            answers=service.answers,
            lists=service.lists,
            hub=service.hub,
            limiter=service.limiter,
            metrics=service.metrics,
            settings=settings,
            others_of=lambda actor: sum(other.actor == actor for other in service.sessions),
        )
        service.sessions.add(session)
        service.metrics.connections.inc()
        try:
            await session.run()
        finally:
            service.sessions.discard(session)
            service.metrics.connections.dec()

    return endpoint
