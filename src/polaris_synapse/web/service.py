"""A service's HTTP surface: its routes, and what every service has besides them.

Added to the routes given: ``GET /health`` (the process is alive), ``GET /ready`` (503 with the failing checks),
``GET /metrics`` (Prometheus), ``GET /openapi.json`` and ``GET /docs`` (the same, for people). Every refusal, the ones
of the router and of bugs included, is an error body with the request's id; every response carries safe headers.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polaris_synapse.bus.port import BusError
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.bodies import JsonBytes, json_response
from polaris_synapse.web.direct import DirectAnswer, DirectPath, PlainRequest, Respond
from polaris_synapse.web.docs_page import docs_page
from polaris_synapse.web.errors import ApiError, error_body, http_status
from polaris_synapse.web.http_metrics import HttpMetrics
from polaris_synapse.web.openapi import OpenApiInfo, openapi_document
from polaris_synapse.web.routes import ApiRoute, api_route

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?", re.ASCII)

#: Host names and addresses whose parsing is remembered: clients use few, and reading one costs microseconds.
_NAMES_REMEMBERED: Final = 256

_SAFE_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_SAFE_HEADER_LINES: Final = b"".join(name + b": " + value + b"\r\n" for name, value in _SAFE_HEADERS)
_SAFE_HEADER_NAMES: Final = frozenset(name for name, _ in _SAFE_HEADERS)

_log = structlog.get_logger(__name__)


def request_id_of(connection: HTTPConnection) -> str:
    """The id of a request: the client's ``X-Request-Id`` where it is well-formed, else one made here."""
    return str(connection.scope.get("polaris.request_id", ""))


def client_address(connection: HTTPConnection) -> str:
    """The address a request came from; of a trusted proxy's request, the one that the proxy names."""
    client = connection.scope.get("client")
    return str(client[0]) if client else ""


class ReadyBody(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the service can do its work. ``failing`` maps each failing check to one sentence."""

    ready: bool
    service: str
    failing: dict[str, str]


class HealthBody(msgspec.Struct, frozen=True, kw_only=True):
    """The process is alive. Says nothing about whether it is of use: see /ready."""

    status: str
    service: str


def service_app(
    *,
    service: str,
    title: str,
    routes: Sequence[BaseRoute],
    registry: CollectorRegistry,
    readiness: Mapping[str, Callable[[], str | None]],
    openapi: OpenApiInfo | None = None,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
) -> ASGIApp:
    """The ASGI app of a service.

    ``service`` is its short name in metrics and logs (``"order-gateway"``). A readiness check returns None when all is
    well, else one sentence. ``allowed_hosts`` are host names besides localhost and plain addresses that the service
    answers to; ``allowed_origins`` are origins besides its own from whose pages a WebSocket may be opened.
    """
    info = openapi or OpenApiInfo()
    holder: dict[str, bytes] = {}

    async def health(_: Request) -> Response:
        return json_response(HealthBody(status="alive", service=service))

    async def ready(_: Request) -> Response:
        failing = {name: sentence for name, check in readiness.items() if (sentence := check()) is not None}
        body = ReadyBody(ready=not failing, service=service, failing=failing)
        return json_response(body, 503 if failing else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def document(_: Request) -> Response:
        return JsonBytes(holder["json"])

    async def docs(_: Request) -> Response:
        headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
        return Response(holder["html"], media_type="text/html", headers=headers)

    own = [
        api_route("GET", "/health", health, summary="Is the process alive?", tag="Service", response=HealthBody,
                  roles=None),
        api_route("GET", "/ready", ready, summary="Can the service do its work?", tag="Service", response=ReadyBody,
                  also={503: (ReadyBody, "Not now: the failing checks say why.")}, roles=None),
        api_route("GET", "/metrics", metrics, summary="Metrics in Prometheus' text format.", tag="Service",
                  roles=None),
        api_route("GET", "/openapi.json", document, summary="This interface as an OpenAPI document.", tag="Service",
                  response=dict[str, Any], roles=None),
        api_route("GET", "/docs", docs, summary="This interface, to read.", tag="Service", roles=None),
    ]  # fmt: skip
    every_route = [*routes, *own]
    openapi_json = openapi_document(title=title, info=info, routes=every_route)
    holder["json"] = msgspec.json.encode(openapi_json)
    holder["html"] = docs_page(openapi_json).encode()
    return _ServiceApp(service, every_route, HttpMetrics.of(registry), allowed_hosts, allowed_origins)


class _ServiceApp:
    """One layer around the router: request ids, hosts and origins, safe headers, errors as bodies, counting."""

    def __init__(
        self,
        service: str,
        routes: Sequence[BaseRoute],
        metrics: HttpMetrics,
        allowed_hosts: Sequence[str],
        allowed_origins: Sequence[str],
    ) -> None:
        self._service = service
        self._router = Router(routes, redirect_slashes=False)
        self._exact = {
            (route.method, route.path): route
            for route in routes
            if isinstance(route, ApiRoute) and "{" not in route.path
        }
        self._metrics = metrics
        self._hosts = frozenset(name.lower() for name in allowed_hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in allowed_origins)
        self._id_prefix = secrets.token_hex(4)
        self._ids = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            raise RuntimeError(f"{self._service} does not speak {scope['type']}")

    def direct_paths(self) -> dict[bytes, DirectPath]:
        """See web.direct."""
        return {
            path.encode("ascii"): partial(self._direct, route)
            for (method, path), route in self._exact.items()
            if method == "POST" and route.direct is not None
        }

    def _direct(self, route: ApiRoute, request: PlainRequest, respond: Respond) -> bool:
        """What ``_http`` is for a plain request."""
        assert route.direct is not None, "only such routes are direct paths"
        begun = self._metrics.now()
        given = request.request_id
        request_id = (
            given if given and _REQUEST_ID.fullmatch(given) else f"{self._id_prefix}-{next(self._ids):x}".encode()
        )

        def answered(result: tuple[int, bytes] | Exception) -> None:
            lines = _SAFE_HEADER_LINES + b"x-request-id: " + request_id + b"\r\n"
            if isinstance(result, Exception):
                place = {"polaris.request_id": request_id.decode(), "method": "POST", "route_path": route.path}
                response = self._error_response(place, result)
                known = {b"content-length", b"content-type"}
                more = [name + b": " + value + b"\r\n" for name, value in response.raw_headers if name not in known]
                answer = DirectAnswer(response.status_code, bytes(response.body), b"".join(more) + lines)
            else:
                answer = DirectAnswer(*result, lines)
            respond(answer)
            self._metrics.count(self._service, route.path, "POST", answer.status, begun)

        try:
            self._check_host_name(request.host, request.local_address)
            return route.direct(request, answered)
        except Exception as error:
            answered(error)
            return True

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = self._metrics.now()
        request_id = self._start(scope)
        status = 0

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                given = {name for name, _ in headers} & _SAFE_HEADER_NAMES
                headers.extend(header for header in _SAFE_HEADERS if header[0] not in given)
                headers.append((b"x-request-id", request_id.encode()))
                message["headers"] = headers
            await send(message)

        try:
            self._check_host(scope)
            route = self._exact.get((scope["method"], scope["path"]))
            if route is not None:
                scope["route_path"] = route.path
                await route.app(scope, receive, send_safely)
            else:
                await self._router(scope, receive, send_safely)
        except Exception as error:
            if status:
                # The response is under way: its end is cut off, which the client sees.
                _log.exception("response broke off", service=self._service, request_id=request_id)
                raise
            await self._refuse(scope, error, receive, send_safely)
        finally:
            self._metrics.count(self._service, self._route_path(scope), scope["method"], status, begun)

    def _start(self, scope: Scope) -> str:
        request_id = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                request_id = value.decode("ascii")
        if not request_id:
            request_id = f"{self._id_prefix}-{next(self._ids):x}"
        scope["polaris.request_id"] = request_id
        scope["app"] = self
        return request_id

    def _check_host(self, scope: Scope) -> None:
        """Refuse a foreign host name, so that no web page can rebind its name to this service.

        Rebinding takes a name: plain addresses are fine, localhost is, and the configured names are. Over the loopback
        interface that always holds; elsewhere names are free unless some are configured.
        """
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            if not hosts and scope.get("http_version") == "1.0":
                return
            raise ApiError(Reason.MALFORMED_REQUEST, "A request has exactly one Host header.")
        self._check_host_name(hosts[0], str((scope.get("server") or ("", 0))[0]))

    def _check_host_name(self, host: bytes, local_address: str) -> None:
        name = _host_name(host)
        if name is None:
            raise ApiError(Reason.MALFORMED_REQUEST, "The Host header is not a host and port.")
        if name == "localhost" or name in self._hosts or _is_address(name):
            return
        if self._hosts or _is_loopback(local_address):
            raise ApiError(Reason.HOST_NOT_ALLOWED, "Use localhost, an address, or a configured host name.")

    def _check_origin(self, scope: Scope) -> None:
        """Refuse WebSockets from other origins' pages: browsers let any page open one."""
        headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
        origin = headers.get(b"origin", "").rstrip("/")
        if not origin or origin in self._origins:
            return
        if origin.partition("://")[2] != headers.get(b"host", ""):
            raise ApiError(Reason.HOST_NOT_ALLOWED, "Pages of other origins may not open this connection.")

    async def _refuse(self, scope: Scope, error: Exception, receive: Receive, send: Send) -> None:
        await self._error_response(scope, error)(scope, receive, send)

    def _error_response(self, scope: Scope, error: Exception) -> Response:
        refusal = self._refusal(scope, error)
        body = error_body(refusal.reason, refusal.detail, request_id=scope["polaris.request_id"])
        return json_response(body, http_status(refusal.reason), refusal.headers)

    def _refusal(self, scope: Scope, error: Exception) -> ApiError:
        if isinstance(error, ApiError):
            return error
        if isinstance(error, BusError):
            again = {"retry-after": "1"} if http_status(error.reason) == 503 else None
            return ApiError(error.reason, str(error), headers=again)
        if isinstance(error, HTTPException):
            if error.status_code == 405:
                return ApiError(Reason.METHOD_NOT_ALLOWED, headers={"allow": ", ".join(self._methods_at(scope))})
            if error.status_code == 404:
                return ApiError(Reason.NOT_FOUND)
        _log.error(
            "request failed",
            service=self._service,
            request_id=scope["polaris.request_id"],
            method=scope.get("method", "WEBSOCKET"),
            route=self._route_path(scope),
            exc_info=error,
        )
        return ApiError(Reason.INTERNAL_ERROR)

    def _methods_at(self, scope: Scope) -> list[str]:
        methods: set[str] = set()
        for route in self._router.routes:
            if isinstance(route, ApiRoute) and route.matches(scope)[0] is not Match.NONE:
                methods |= route.methods or set()
        return sorted(methods)

    def _route_path(self, scope: Scope) -> str:
        """The route's pattern for metrics, never the path that a client made up."""
        if "route_path" in scope:
            return str(scope["route_path"])
        if "endpoint" not in scope:
            return "none"
        for route in self._router.routes:
            if getattr(route, "endpoint", None) is scope["endpoint"]:
                return str(getattr(route, "path", "none"))
        return "none"

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._start(scope)
        accepted = False

        async def watched_send(message: Message) -> None:
            nonlocal accepted
            accepted = accepted or message["type"] in {"websocket.accept", "websocket.close"}
            await send(message)

        try:
            self._check_host(scope)
            self._check_origin(scope)
            await self._router(scope, receive, watched_send)
        except Exception as error:
            if accepted:
                refusal = self._refusal(scope, error)
                await send({"type": "websocket.close", "code": 1011, "reason": refusal.reason.name})
            else:
                await self._deny(scope, error, send)

    async def _deny(self, scope: Scope, error: Exception, send: Send) -> None:
        """Answer a handshake with the error body in place of a connection."""
        response = self._error_response(scope, error)
        headers = [*response.raw_headers, *_SAFE_HEADERS]
        start = {"type": "websocket.http.response.start", "status": response.status_code, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": bytes(response.body)})


@lru_cache(maxsize=_NAMES_REMEMBERED)
def _host_name(host: bytes) -> str | None:
    """The name in a Host header, None where it is not a host and port."""
    match = _HOST.fullmatch(host.decode("latin-1"))
    return None if match is None else (match.group(1) or match.group(2)).lower()


@lru_cache(maxsize=_NAMES_REMEMBERED)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=_NAMES_REMEMBERED)
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
