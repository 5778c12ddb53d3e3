"""Running the server: over standard input and output, or over HTTP on this machine behind a token."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from polaris_synapse.agents.mcp.desk import McpDesk
from polaris_synapse.agents.mcp.server import build_server

LOOPBACK: Final = "127.0.0.1"
REQUEST_BYTES_MAX: Final = 256 * 1024
SESSIONS_MAX: Final = 32
SESSION_IDLE_SECONDS_MAX: Final = 1_800.0
TOKEN_CHARACTERS_MIN: Final = 32


async def serve_stdio(desk: McpDesk, version: str) -> None:
    """Serve one client until it goes. Standard output belongs to the protocol: nothing else may print."""
    await desk.begin()
    try:
        await build_server(desk, version).run_stdio_async()
    finally:
        await desk.close()


async def serve_http(desk: McpDesk, version: str, *, port: int, token: str, started: Callable[[int], None]) -> None:
    """Serve ``http://127.0.0.1:port/mcp`` until cancelled, to whoever sends ``Authorization: Bearer`` and the token."""
    await desk.begin()
    config = uvicorn.Config(
        http_app(build_server(desk, version), token), host=LOOPBACK, port=port, log_level="warning", access_log=False
    )
    server = uvicorn.Server(config)
    # The port is known only once the socket is bound; with 0 the system chooses it.
    bound = config.bind_socket()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_serve, server, bound, tasks.cancel_scope)
            started(bound.getsockname()[1])
    finally:
        bound.close()
        with anyio.CancelScope(shield=True):
            await desk.close()


async def _serve(server: uvicorn.Server, bound: object, scope: anyio.CancelScope) -> None:
    await server.serve(sockets=[bound])  # type: ignore[list-item]  # a socket, as bind_socket returned it
    scope.cancel()


def http_app(server: MCPServer, token: str) -> ASGIApp:
    """The ASGI app: one path, only this machine's host names, only with the token. Raises ValueError for a weak one."""
    if len(token) < TOKEN_CHARACTERS_MIN:
        raise ValueError(f"the token has at least {TOKEN_CHARACTERS_MIN} characters")
    hosts = [f"{name}:*" for name in (LOOPBACK, "localhost")]
    app = server.streamable_http_app(
        host=LOOPBACK,
        max_request_body_size=REQUEST_BYTES_MAX,
        max_sessions=SESSIONS_MAX,
        session_idle_timeout=SESSION_IDLE_SECONDS_MAX,
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=hosts,
            allowed_origins=[f"http://{host}" for host in hosts],
        ),
    )
    return BearerOnly(app, token)


class BearerOnly:
    """Lets requests through that carry the token, and answers 401 to all others."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    def __repr__(self) -> str:
        return "BearerOnly()"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and not self._is_known(scope):
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"reason":"NOT_AUTHENTICATED","code":1100}'})
            return
        await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)
