"""WebSockets that only tell: what a client wishes to hear, its bounded queue, and its end.

``?symbols=A,B&channels=x,y``. Each event is text that is written once, whoever hears it. A client that reads too slowly
is cut off, and never slows anybody else down.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Annotated, Final

import anyio
import msgspec
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec import Meta, Struct
from starlette.websockets import WebSocket, WebSocketDisconnect

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.bodies import convert_texts
from polaris_synapse.web.errors import ApiError

_TRY_AGAIN_LATER: Final = 1013
_POLICY: Final = 1008
_log = structlog.get_logger(__name__)


class StreamQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to hear, as lists with commas: ``symbols`` empty means all; ``channels`` absent the stream's usual ones."""

    symbols: Annotated[str, Meta(max_length=4000)] = ""
    channels: Annotated[str, Meta(max_length=100)] | None = None


class StreamWish(Struct, frozen=True, kw_only=True):
    """What a client wishes to hear; no symbols: all."""

    channels: frozenset[str]
    symbols: frozenset[str]

    def has(self, channel: str, symbol: str) -> bool:
        """Whether this was wished for."""
        return channel in self.channels and (not self.symbols or symbol in self.symbols)


def read_wish(
    websocket: WebSocket,
    *,
    channels: Sequence[str],
    usual: Iterable[str],
    symbols: Container[str],
    unknown_symbol: Callable[[str], str],
) -> StreamWish:
    """The wish in a query, before the connection is accepted. Raises ApiError for one that cannot be met.

    ``usual``: the channels of whoever names none. ``unknown_symbol``: what to say of a symbol that is not in
    ``symbols``; it gets its first 40 characters.
    """
    pairs = websocket.query_params.multi_items()
    if len(pairs) != len(dict(pairs)):
        raise ApiError(Reason.DUPLICATE_FIELD, "A query parameter is given twice.")
    query = convert_texts(dict(pairs), StreamQuery)
    named = _names(query.channels) if query.channels is not None else frozenset(usual)
    if not named or not named <= set(channels):
        raise ApiError(Reason.INVALID_VALUE, f"channels is a list of {', '.join(channels)}.")
    wanted = _names(query.symbols)
    for symbol in sorted(wanted):
        if symbol not in symbols:
            raise ApiError(Reason.SYMBOL_NOT_FOUND, unknown_symbol(symbol[:40]))
    return StreamWish(channels=named, symbols=wanted)


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))


def event_text(channel: str, symbol: str, time_ns: int, data: object) -> str:
    """One event as it is sent."""
    return msgspec.json.encode({"channel": channel, "symbol": symbol, "time_ns": time_ns, "data": data}).decode()


class StreamClient:
    """One connection: its wish, and what waits to be sent to it. ``begun``: it was given what comes before changes."""

    def __init__(self, wish: StreamWish, backlog_messages_max: int) -> None:
        self.wish = wish
        self.begun = False
        self.dropped = False
        self._scope = anyio.CancelScope()
        streams: tuple[MemoryObjectSendStream[str], MemoryObjectReceiveStream[str]] = anyio.create_memory_object_stream(
            backlog_messages_max
        )
        self._send, self._receive = streams

    def hears(self, channel: str, symbol: str) -> bool:
        """Whether it is to be told this."""
        return self.begun and not self.dropped and self.wish.has(channel, symbol)

    def push(self, text: str) -> None:
        """Queue an event, or end the connection where the queue is full."""
        try:
            self._send.send_nowait(text)
        except anyio.WouldBlock:
            self.dropped = True
            self._scope.cancel()

    async def serve(self, websocket: WebSocket) -> None:
        """Send what is pushed until the client has gone, has been cut off, or has said something."""
        async with anyio.create_task_group() as tasks:
            self._scope = tasks.cancel_scope
            if self.dropped:
                # What comes before the changes was too much for its queue already.
                tasks.cancel_scope.cancel()
            tasks.start_soon(self._read, websocket)
            tasks.start_soon(self._write, websocket)
        if self.dropped:
            # It reads slowly or not at all, so this may not get through; then the server cuts it off.
            with anyio.move_on_after(1):
                await websocket.close(_TRY_AGAIN_LATER, Reason.SLOW_CONSUMER.name)

    def close(self) -> None:
        """Forget what still waits."""
        self._send.close()
        self._receive.close()

    async def _write(self, websocket: WebSocket) -> None:
        try:
            async for text in self._receive:
                await websocket.send_text(text)
        except WebSocketDisconnect:
            self._scope.cancel()

    async def _read(self, websocket: WebSocket) -> None:
        """A stream takes no messages; reading notices that the client has gone."""
        try:
            await websocket.receive_text()
            await websocket.close(_POLICY, "this stream takes no messages")
        except (WebSocketDisconnect, KeyError):
            _log.debug("a client of a stream has gone")
        self._scope.cancel()
