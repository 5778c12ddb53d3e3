"""Uvicorn's HTTP and WebSocket protocols with limits: on connections, on the head of a request, and on patience.

A client has ``request_seconds_max`` from its first byte (or from connecting) to the last byte of its request, whatever
trickle it sends; one that does not read its answers is cut off after ``stalled_write_seconds_max``. A server looks at
its connections ten times a second, so no timer is needed for each request.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.errors import error_body, http_status

if TYPE_CHECKING:
    from polaris_synapse.web.server import ServerLimits

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NEVER: Final = float("inf")
_LINGER_SECONDS: Final = 1.0
#: Where a WebSocket's scope holds what sends many messages in one write.
_SEND_TEXTS: Final = "polaris.send_texts"
_ABNORMAL_CLOSURE: Final = 1006


def bare_response(reason: Reason, detail: str = "") -> bytes:
    """A whole HTTP response with the error body, for connections whose request never came to be."""
    status = http.HTTPStatus(http_status(reason))
    body = msgspec.json.encode(error_body(reason, detail))
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


class Limited:
    """What the server's clock asks of a connection."""

    transport: asyncio.Transport
    write_paused_at: float = _NEVER

    def end_when_late(self, now: float) -> None:
        """End the connection if its client took too long. ``now`` is the event loop's time in seconds."""
        raise NotImplementedError

    def _stalled(self, now: float, limits: ServerLimits) -> bool:
        return now - self.write_paused_at > limits.stalled_write_seconds_max


def _limits_of(server_state: Any) -> ServerLimits:
    limits: ServerLimits = server_state.limits
    return limits


def _proxies_of(server_state: Any) -> tuple[Network, ...]:
    proxies: tuple[Network, ...] = server_state.proxies
    return proxies


def _is_within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


class HttpProtocol(HttpToolsProtocol, Limited):
    """HTTP/1.1 with limits."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.limits = _limits_of(self.server_state)
        self.proxies = _proxies_of(self.server_state)
        self.request_begun_at = self.loop.time()
        self.head_bytes = 0
        self.in_head = True
        self.linger_until = _NEVER

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections_max or self._too_many_of_address():
            self._end(bare_response(Reason.TOO_MANY_CONNECTIONS))

    def _too_many_of_address(self) -> bool:
        """Whether the peer has more connections than one may. A trusted proxy's are those of many clients."""
        address = self.client[0] if self.client else ""
        of_address = sum((getattr(other, "client", None) or ("",))[0] == address for other in self.connections)
        return of_address > self.limits.connections_per_address_max and not _is_within(address, self.proxies)

    def data_received(self, data: bytes) -> None:
        """Count the head's bytes, then parse."""
        if self._over():
            return
        if self.in_head:
            self.head_bytes += len(data)
        super().data_received(data)
        if self.in_head and not self._over() and self.head_bytes > self.limits.header_bytes_max:
            self._end(bare_response(Reason.HEADERS_TOO_LARGE))

    def on_message_begin(self) -> None:
        """A request begins: its time runs."""
        self.request_begun_at = self.loop.time()
        self.in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is here: measure it, and let the app run."""
        self.in_head = False
        self.head_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.limits.header_bytes_max:
            self._end(bare_response(Reason.HEADERS_TOO_LARGE))
            # Raising stops the parser; the connection has its answer already.
            raise ValueError("head too large")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is all here: nothing is waited for any more."""
        self.request_begun_at = _NEVER
        self.in_head = True
        self.head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an error body too, unless the connection has its answer already."""
        if not self._over():
            self._end(bare_response(Reason.MALFORMED_REQUEST))

    def pause_writing(self) -> None:
        """The client does not read."""
        self.write_paused_at = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.write_paused_at = _NEVER
        super().resume_writing()

    def end_when_late(self, now: float) -> None:
        """End a connection that is late with its request or does not read its answer."""
        if self._stalled(now, self.limits):
            # Also where it is closing: what it was sent would never leave.
            self.transport.abort()
        elif self._over():
            if now > self.linger_until:
                self.transport.close()
        elif now - self.request_begun_at > self.limits.request_seconds_max:
            cycle: Any = self.cycle
            # A client that connected and never said a word gets no answer either.
            silent = self.in_head and self.head_bytes == 0
            answered = cycle is not None and not self.in_head and cycle.response_started
            self._end(b"" if answered or silent else bare_response(Reason.REQUEST_TOO_SLOW))

    def shutdown(self) -> None:
        """The server ends: nobody is listened out any more."""
        if self._over():
            self.transport.close()
        super().shutdown()

    def _over(self) -> bool:
        """Whether the connection has had its last answer."""
        return self.linger_until != _NEVER or self.transport.is_closing()

    def _end(self, response: bytes) -> None:
        """Say why and stop; the app that may be waiting for the body learns that the client is gone.

        Closing at once while the client still sends would reset the connection and take the answer with it, so only
        our side is closed, and what still comes is thrown away for a moment.
        """
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if not response:
            self.transport.close()
            return
        self.linger_until = self.loop.time() + _LINGER_SECONDS
        self.transport.write(response)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()


def _text_frame(payload: bytes) -> bytes:
    """A whole text message as a server sends it: one final frame, not masked."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


async def send_texts(websocket: WebSocket, payloads: Sequence[bytes]) -> None:
    """Send text messages in one write; one after the other where the server is not ours.

    A write is a system call, and dearer than the message. Raises WebSocketDisconnect.
    """
    together = websocket.scope.get("extensions", {}).get(_SEND_TEXTS)
    if together is not None:
        await together(payloads)
        return
    for payload in payloads:
        await websocket.send({"type": "websocket.send", "text": payload.decode()})


class WebSocketProtocol(WebSocketsSansIOProtocol, Limited):
    """WebSockets with a limit on clients that do not read, and many messages in one write."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        state = named.get("server_state") or arguments[1]
        self.limits = _limits_of(state)

    async def run_asgi(self) -> None:
        """Run the app, which finds ``send_texts`` in its scope."""
        # ASGI gives extensions a dictionary each; what is ours is a function.
        extensions: Any = {**(self.scope["extensions"] or {}), _SEND_TEXTS: self._send_texts}
        self.scope["extensions"] = extensions
        await super().run_asgi()

    async def _send_texts(self, payloads: Sequence[bytes]) -> None:
        """Only after the handshake. No extension changes the payload: compression is off."""
        await self.writable.wait()
        if self.disconnected or self.close_sent:
            raise WebSocketDisconnect(_ABNORMAL_CLOSURE)
        self.transport.write(b"".join([_text_frame(payload) for payload in payloads]))

    def pause_writing(self) -> None:
        """The client does not read."""
        self.write_paused_at = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.write_paused_at = _NEVER
        super().resume_writing()

    def end_when_late(self, now: float) -> None:
        """Cut off a client that does not read."""
        if self._stalled(now, self.limits):
            self.transport.abort()
