"""Clients for load: a WebSocket and an HTTP connection with nothing in them but what a measurement needs.

Ordinary client libraries take as long over a message as the desk does, so a benchmark with them measures the client.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import ssl
from collections.abc import Callable
from typing import Final

#: Called with each message's payload.
OnMessage = Callable[[bytes], None]
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
#: A client must mask. The mask of zeros is a valid one and leaves the payload as it is.
_ZERO_MASK: Final = bytes(4)


class LoadClientError(RuntimeError):
    """The desk did not answer as it should; a measurement is void."""


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """One final frame from a client."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + _ZERO_MASK + payload


class WebSocketLoad(asyncio.Protocol):
    """A WebSocket connection; ``on_message`` gets every text message. ``ended`` is set when it is lost."""

    def __init__(self, host: str, port: int, path: str, headers: dict[str, str], on_message: OnMessage) -> None:
        self._host, self._port, self._path, self._headers = host, port, path, headers
        self._on_message = on_message
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()

    async def connect(self) -> None:
        """Open the connection. Raises LoadClientError where the desk refuses it."""
        await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)
        await asyncio.wait_for(self._open, 30)

    def send(self, payloads: list[bytes]) -> None:
        """Send text messages in one write."""
        assert self._transport is not None
        self._transport.write(b"".join([masked_frame(_TEXT, payload) for payload in payloads]))

    def close(self) -> None:
        """Say goodbye and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(masked_frame(_CLOSE, b"\x03\xe8"))
            self._transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is TCP
        """Ask for the upgrade."""
        self._transport = transport
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        lines = [
            f"GET {self._path} HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in self._headers.items()),
        ]
        transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has gone."""
        if not self._open.done():
            self._open.set_exception(LoadClientError(f"the connection was lost: {exc}"))
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        self._buffer += data
        if not self._open.done():
            head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._open.set_exception(LoadClientError(head.decode("latin-1") + rest.decode("utf-8", "replace")))
                return
            self._open.set_result(None)
            self._buffer = bytearray(rest)
        self._take_frames()

    def _take_frames(self) -> None:
        buffer, position, end = bytes(self._buffer), 0, len(self._buffer)
        while end - position >= 2:
            size, start = buffer[position + 1], position + 2
            if size == 126:
                if end < start + 2:
                    break
                size = int.from_bytes(buffer[start : start + 2], "big")
                start += 2
            elif size == 127:
                if end < start + 8:
                    break
                size = int.from_bytes(buffer[start : start + 8], "big")
                start += 8
            if end < start + size:
                break
            opcode, payload = buffer[position] & 0x0F, buffer[start : start + size]
            position = start + size
            if opcode == _TEXT:
                self._on_message(payload)
            elif opcode == _PING and self._transport is not None:
                self._transport.write(masked_frame(_PONG, payload))
        del self._buffer[:position]


class HttpLoad(asyncio.Protocol):
    """A kept-alive HTTP connection with one request at a time."""

    def __init__(self, host: str, port: int, headers: dict[str, str], tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        lines = [f"Host: {host}:{port}", "Content-Type: application/json"]
        self._head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())])
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    async def connect(self) -> None:
        """Open the connection."""
        await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port, ssl=self._tls)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> asyncio.Future[tuple[int, bytes]]:
        """Send a POST; see ``request``."""
        return self.request("POST", path, body, headers)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request; its status and body come later. Fails with LoadClientError where the connection ends."""
        assert self._transport is not None
        assert self._answer is None or self._answer.done(), "one request at a time"
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) if headers else ""
        head = f"{method} {path} HTTP/1.1\r\n{self._head}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode() + body)
        return self._answer

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is TCP
        """The connection stands."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has gone."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LoadClientError(f"the connection was lost: {exc}"))

    def data_received(self, data: bytes) -> None:
        """Take a response that is whole."""
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0 or self._answer is None or self._answer.done():
            return
        head = bytes(self._buffer[:head_end]).lower()
        at = head.find(b"content-length:")
        size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < head_end + 4 + size:
            return
        body = bytes(self._buffer[head_end + 4 : head_end + 4 + size])
        del self._buffer[: head_end + 4 + size]
        self._answer.set_result((int(head[9:12]), body))
