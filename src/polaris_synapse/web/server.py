"""Several HTTP servers in one task group: bounded connections, no patience for slow clients, a graceful end."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence

import anyio
import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp

from polaris_synapse.web.protocols import HttpProtocol, Limited
from polaris_synapse.web.websockets import WebSocketProtocol


class ServerLimits(Struct, frozen=True, kw_only=True):
    """What one server gives its clients at most."""

    connections_max: int = 1024
    connections_per_address_max: int = 256
    header_bytes_max: int = 16_384
    request_seconds_max: float = 10.0
    idle_seconds_max: float = 30.0
    stalled_write_seconds_max: float = 20.0
    websocket_message_bytes_max: int = 65_536
    websocket_ping_seconds: float = 20.0
    shutdown_seconds_max: int = 5


class Listener(Struct, frozen=True):
    """One app at one address. Port 0 takes a free one, which ``started`` then tells.

    ``trusted_proxies`` are the networks whose X-Forwarded-For header is believed: a request comes from the last address
    in it that is not of these. Their connections carry many clients, so that the limit of one address is not theirs.
    """

    app: ASGIApp
    host: str
    port: int
    name: str
    limits: ServerLimits = ServerLimits()
    trusted_proxies: tuple[str, ...] = ()


class _Server(uvicorn.Server):
    """Uvicorn's server inside our task group: it leaves signals alone and watches the clock for slow clients."""

    def __init__(self, config: uvicorn.Config, listener: Listener) -> None:
        super().__init__(config)
        self.up = anyio.Event()
        #: Read by our protocols, which are handed the server's state.
        self.server_state.limits = listener.limits  # type: ignore[attr-defined]
        direct = getattr(listener.app, "direct_paths", dict)
        self.server_state.direct_paths = direct()  # type: ignore[attr-defined]  # for protocols.py
        self.server_state.proxies = tuple(map(ipaddress.ip_network, listener.trusted_proxies))  # type: ignore[attr-defined]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, not to one of its servers."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: end the connections that kept us waiting too long."""
        now = anyio.current_time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Limited):
                connection.end_when_late(now)
        return await super().on_tick(counter)

    def close_streams(self) -> None:
        """Stop accepting and say goodbye to every WebSocket, before requests in flight are waited for."""
        for server in getattr(self, "servers", ()):
            server.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, WebSocketProtocol):
                connection.shutdown()
        self.should_exit = True


def _config(listener: Listener) -> uvicorn.Config:
    limits = listener.limits
    config = uvicorn.Config(
        listener.app,
        host=listener.host,
        port=listener.port,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=limits.websocket_message_bytes_max,
        ws_ping_interval=limits.websocket_ping_seconds,
        ws_ping_timeout=limits.websocket_ping_seconds,
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(listener.trusted_proxies),
        forwarded_allow_ips=list(listener.trusted_proxies),
        timeout_keep_alive=max(1, int(limits.idle_seconds_max)),
        timeout_graceful_shutdown=limits.shutdown_seconds_max,
    )
    config.load()
    return config


def _bind(listener: Listener) -> socket.socket:
    """The listening socket. Raises OSError with the address in its message."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.setblocking(False)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        where = f"{listener.name} cannot listen on {listener.host}:{listener.port}"
        raise OSError(error.errno, f"{where}: {error.strerror or error}") from error
    return bound


async def serve(listeners: Sequence[Listener], *, started: Callable[[dict[str, int]], None] | None = None) -> None:
    """Serve until cancelled. ``started`` is called once with every listener's name and actual port.

    Raises OSError when an address cannot be bound; then nothing is served at all.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(contextlib.closing(_bind(listener))) for listener in listeners]
        servers = [_Server(_config(listener), listener) for listener in listeners]
        ports = {listener.name: int(bound.getsockname()[1]) for listener, bound in zip(listeners, sockets, strict=True)}
        async with anyio.create_task_group() as group:
            try:
                for server, bound in zip(servers, sockets, strict=True):
                    group.start_soon(_run, server, bound)
                for server in servers:
                    await server.up.wait()
                if started is not None:
                    started(ports)
                await anyio.sleep_forever()
            finally:
                for server in servers:
                    server.close_streams()


async def _run(server: _Server, bound: socket.socket) -> None:
    # Shielded: `close_streams` ends a server, and it then waits for its requests at most shutdown_seconds_max.
    with anyio.CancelScope(shield=True):
        await server.serve(sockets=[bound])
