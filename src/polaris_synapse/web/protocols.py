"""Uvicorn's HTTP protocol with limits: on connections, on the head of a request, and on patience.

A client has ``request_seconds_max`` from its first byte (or from connecting) to the last byte of its request, whatever
trickle it sends; one that does not read its answers is cut off after ``stalled_write_seconds_max``. A server looks at
its connections ten times a second, so no timer is needed for each request.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.direct import DirectAnswer, DirectPath, PlainRequest, plain_request
from polaris_synapse.web.errors import error_body, http_status

if TYPE_CHECKING:
    from polaris_synapse.web.server import ServerLimits

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NEVER: Final = float("inf")
_LINGER_SECONDS: Final = 1.0


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
    write_paused_at: float = NEVER

    def end_when_late(self, now: float) -> None:
        """End the connection if its client took too long. ``now`` is the event loop's time in seconds."""
        raise NotImplementedError

    def _stalled(self, now: float, limits: ServerLimits) -> bool:
        return now - self.write_paused_at > limits.stalled_write_seconds_max


def limits_of(server_state: Any) -> ServerLimits:
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


class _Reached:
    """Where nobody waits for a message's arrival."""

    def set(self) -> None:
        """Nobody is told."""


class _Exchange:
    """A direct request until it is answered. To the protocol it is a cycle like those of the usual way."""

    __slots__ = ("disconnected", "keep_alive", "protocol", "response_complete")

    #: It starts and completes at once.
    response_started = False
    message_event = _Reached()

    def __init__(self, protocol: HttpProtocol) -> None:
        self.protocol = protocol
        self.response_complete = False
        self.disconnected = False
        #: The server's end turns this off.
        self.keep_alive = True

    def respond(self, answer: DirectAnswer) -> None:
        """Send the answer, unless the client has gone."""
        self.response_complete = True
        if not self.disconnected:
            self.protocol.answer_directly(answer, keep_alive=self.keep_alive)


class HttpProtocol(HttpToolsProtocol, Limited):
    """HTTP/1.1 with limits, and with a direct way for plain requests (see ``web.direct``)."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.direct_paths: Mapping[bytes, DirectPath] = self.server_state.direct_paths  # type: ignore[attr-defined]  # server.py
        #: The request that is arriving, where it is plain so far, and its body.
        self.plain: PlainRequest | None = None
        self.plain_body = b""
        self.limits = limits_of(self.server_state)
        self.proxies = _proxies_of(self.server_state)
        self.request_begun_at = self.loop.time()
        self.head_bytes = 0
        self.in_head = True
        self.linger_until = NEVER

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
        self.plain = self._plain()
        if self.plain is None:
            super().on_headers_complete()

    def _plain(self) -> PlainRequest | None:
        """The request whose head has arrived, where it may go the direct way."""
        if self.url not in self.direct_paths or self.parser.get_method() != b"POST":
            return None
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            return None
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive():
            return None
        self.plain_body = b""
        return plain_request(self.headers)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.plain is None:
            super().on_body(body)
        else:
            self.plain_body += body

    def on_message_complete(self) -> None:
        """The request is all here: nothing is waited for any more."""
        self.request_begun_at = NEVER
        self.in_head = True
        self.head_bytes = 0
        plain, self.plain = self.plain, None
        if plain is None:
            super().on_message_complete()
        elif not self._taken(plain):
            super().on_headers_complete()
            super().on_body(self.plain_body)
            super().on_message_complete()

    def _taken(self, plain: PlainRequest) -> bool:
        """Whether the direct way takes a request."""
        before: Any = self.cycle
        exchange: Any = _Exchange(self)
        self.cycle = exchange
        local_address = self.server[0] if self.server else ""
        request = PlainRequest(plain.host, plain.token, plain.request_id, local_address, self.plain_body)
        taken = self.direct_paths[self.url](request, exchange.respond)
        if not taken:
            self.cycle = before
        return taken

    def answer_directly(self, answer: DirectAnswer, *, keep_alive: bool) -> None:
        """Send the answer to a direct request."""
        dated = [name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers]
        self.transport.write(
            b"".join(
                (
                    STATUS_LINE[answer.status],
                    *dated,
                    b"content-length: %d\r\ncontent-type: application/json\r\n" % len(answer.body),
                    answer.header_lines,
                    b"\r\n" if keep_alive else b"connection: close\r\n\r\n",
                    answer.body,
                )
            )
        )
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

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
        self.write_paused_at = NEVER
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
        return self.linger_until != NEVER or self.transport.is_closing()

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
