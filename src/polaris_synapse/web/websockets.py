"""Uvicorn's WebSocket protocol with a limit on clients that do not read, and a short way for many small messages.

The usual way of a message costs more than an order: a parser made of generators, an event, a queue, a task that wakes,
and a pause of reading each time. So frames are cut here. An application may have whole text messages handed to it as
they arrive (``TextStream``); all that is not such a frame (fragments, pings, closing, what breaks the rules) goes on to
the parser, whole and in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # its C version where there is one

from polaris_synapse.web.protocols import NEVER, Limited, limits_of

#: Where a WebSocket's scope holds its TextStream.
_STREAM: Final = "polaris.text_stream"
_ABNORMAL_CLOSURE: Final = 1006
_WHOLE_TEXT: Final = 0x81
_MASKED: Final = 0x80
_SIZE: Final = 0x7F
_CONTROL: Final = 0x08

#: Gets the text of a message.
TakeText = Callable[[bytes], None]


def text_frame(payload: bytes) -> bytes:
    """A whole text message as a server sends it: one final frame, not masked."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class TextStream:
    """The short way of one connection's text messages, in both directions."""

    def __init__(self, protocol: WebSocketProtocol) -> None:
        self._protocol = protocol

    def hand_over(self, take: TakeText) -> bool:
        """Have text messages given to ``take``, once all that came before have been received the usual way.

        False where some are still to be received. It ends by itself when a message has to go the usual way, so that
        none overtakes another: whoever receives that one hands over again.
        """
        return self._protocol.hand_over(take)

    def hold(self) -> None:
        """Hand nothing over for now, and read no more than is there already."""
        self._protocol.hold()

    def release(self) -> None:
        """Go on, soon."""
        self._protocol.release()

    def write(self, payloads: Sequence[bytes]) -> bool:
        """Send text messages in one write; False where the client does not read or has gone, and nothing was sent.

        A write is a system call, and dearer than the message.
        """
        return self._protocol.write_texts(payloads)

    async def send(self, payloads: Sequence[bytes]) -> None:
        """Send text messages in one write, once the client reads. Raises WebSocketDisconnect."""
        await self._protocol.send_texts(payloads)


def text_stream(websocket: WebSocket) -> TextStream | None:
    """The short way of a connection, or None where the server is not ours."""
    stream: TextStream | None = websocket.scope.get("extensions", {}).get(_STREAM)
    return stream


class WebSocketProtocol(WebSocketsSansIOProtocol, Limited):
    """WebSockets with a limit on clients that do not read, and with a short way for text messages."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        state = named.get("server_state") or arguments[1]
        self.limits = limits_of(state)
        #: Whether frames are not cut here any more: the parser has a part of one.
        self.uncut = False
        self.rest = b""
        self.take: TakeText | None = None
        self.held = False

    async def run_asgi(self) -> None:
        """Run the app, which finds the TextStream in its scope."""
        # ASGI gives extensions a dictionary each; what is ours is an object.
        extensions: Any = {**(self.scope["extensions"] or {}), _STREAM: TextStream(self)}
        self.scope["extensions"] = extensions
        await super().run_asgi()

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        if not self.handshake_complete:
            # Whatever comes between the request and its answer is not cut, nor is what follows it.
            self.uncut = self.handshake_initiated
        if self.uncut or not self.handshake_complete:
            super().data_received(data)
            return
        self.rest = self.rest + data if self.rest else data
        self._take_frames()

    def _take_frames(self) -> None:
        data, position, end = self.rest, 0, len(self.rest)
        while end - position >= 2 and not self.held and not self.uncut:
            head = self._head(data, position)
            if head is None:
                break
            start, stop = head
            if stop - start > self.limits.websocket_message_bytes_max:
                # The parser refuses it by its head alone.
                self.uncut = True
                break
            if stop > end:
                break
            frame, payload_at = data[position:stop], start - position
            position = stop
            if not self._handed_over(frame, payload_at):
                super().data_received(frame)
        self.rest = data[position:] if position else data
        if self.uncut and self.rest:
            rest, self.rest = self.rest, b""
            super().data_received(rest)

    @staticmethod
    def _head(data: bytes, position: int) -> tuple[int, int] | None:
        """Where the payload of the frame at ``position`` begins and ends; None where its head is not all there."""
        second = data[position + 1]
        size, start = second & _SIZE, position + 2
        if size >= 126:
            size_bytes = 2 if size == 126 else 8
            if len(data) < start + size_bytes:
                return None
            size = int.from_bytes(data[start : start + size_bytes], "big")
            start += size_bytes
        if second & _MASKED:
            start += 4
        return start, start + size

    def _handed_over(self, frame: bytes, payload_at: int) -> bool:
        """Whether a frame was a whole text for whom texts are handed over to."""
        take = self.take
        if take is not None and frame[0] == _WHOLE_TEXT and frame[1] & _MASKED and not self.close_sent:
            text = apply_mask(frame[payload_at:], frame[payload_at - 4 : payload_at])
            # Other text may not be text at all, which is for the parser to refuse.
            if text.isascii():
                take(text)
                return True
        if not frame[0] & _CONTROL:
            self.take = None
        return False

    def hand_over(self, take: TakeText) -> bool:
        """See TextStream."""
        if self.queue.empty() and not self.frames and not self.uncut:
            self.take = take
        return self.take is not None

    def hold(self) -> None:
        """See TextStream."""
        self.held = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def release(self) -> None:
        """See TextStream."""
        if self.held:
            self.held = False
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self.held or self.transport.is_closing():
            return
        if not self.read_paused:
            self.transport.resume_reading()
        self._take_frames()

    def write_texts(self, payloads: Sequence[bytes]) -> bool:
        """See TextStream. No extension changes the payload: compression is off."""
        if self.disconnected or self.close_sent or not self.writable.is_set():
            return False
        self.transport.write(b"".join([text_frame(payload) for payload in payloads]))
        return True

    async def send_texts(self, payloads: Sequence[bytes]) -> None:
        """Send text messages in one write, once the client reads. Raises WebSocketDisconnect."""
        await self.writable.wait()
        if not self.write_texts(payloads):
            raise WebSocketDisconnect(_ABNORMAL_CLOSURE)

    def pause_writing(self) -> None:
        """The client does not read."""
        self.write_paused_at = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.write_paused_at = NEVER
        super().resume_writing()

    def end_when_late(self, now: float) -> None:
        """Cut off a client that does not read."""
        if self._stalled(now, self.limits):
            self.transport.abort()
