"""A client of the order port: for benchmarks, for tests, and as an example of one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from polaris_synapse.order_gateway.order_frames import HEAD_BYTES, LOGIN_METHOD, LOGIN_TARGET, frame
from polaris_synapse.web.signing import SigningKey, signed_headers

_ANSWER_SECONDS_MAX: Final = 30.0
_HEADER_PREFIX: Final = "x-polaris-"

#: Called with the MessagePack of each answer that nobody waits for.
OnAnswer = Callable[[bytes], None]


class OrderPortError(RuntimeError):
    """The port refused a request, or the connection ended. ``reason`` is the code's name, empty for a lost one."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OrderPortClient(asyncio.Protocol):
    """One connection. Many requests may be under way; each answer finds the one that asked.

    ``call`` waits for one answer. ``send`` sends frames made beforehand, whose answers go to ``on_answer``. Numbers
    from 2**32 up are the ids of ``call``, so frames of one's own are numbered below.
    """

    def __init__(self, host: str, port: int, on_answer: OnAnswer | None = None) -> None:
        self._host, self._port = host, port
        self._on_answer = on_answer
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._ids = 2**32
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.ended = asyncio.Event()
        #: Why the other side ended the connection, as it said itself.
        self.goodbye: dict[str, Any] | None = None

    async def connect(self) -> None:
        """Open the connection."""
        await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)

    async def log_in(self, *, token: str = "", key: SigningKey | None = None, **params: Any) -> dict[str, Any]:
        """Say who we are, by a token or by a key's signature. Raises OrderPortError."""
        if key is not None:
            headers = signed_headers(key, LOGIN_METHOD, LOGIN_TARGET, b"")
            params |= {name.removeprefix(_HEADER_PREFIX): value for name, value in lower(headers).items()}
        elif token:
            params["token"] = token
        found: dict[str, Any] = await self.call("login", params)
        return found

    async def call(self, method: str, params: object | None = None) -> Any:
        """The result of one request. Raises OrderPortError with the refusal, or where the connection ends."""
        self._ids += 1
        request: dict[str, object] = {"id": self._ids, "method": method}
        if params is not None:
            request["params"] = params
        future = self._waiting[self._ids] = asyncio.get_running_loop().create_future()
        self.send([frame(request)])
        return await asyncio.wait_for(future, _ANSWER_SECONDS_MAX)

    def send(self, frames: list[bytes]) -> None:
        """Send frames in one write."""
        if self._transport is None or self.ended.is_set():
            raise OrderPortError("", "the connection is not open")
        self._transport.write(b"".join(frames))

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is TCP
        """The connection stands."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has gone: whoever waits learns it."""
        self.ended.set()
        said = self.goodbye or {}
        reason = str(said.get("reason", ""))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(OrderPortError(reason, f"the connection ended: {reason or exc or 'closed'}"))
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """Take the answers that are whole."""
        data = self._rest + data if self._rest else data
        position, end = 0, len(data)
        while end - position >= HEAD_BYTES:
            start = position + HEAD_BYTES
            stop = start + int.from_bytes(data[position:start], "big")
            if stop > end:
                break
            position = stop
            self._take(data[start:stop])
        self._rest = data[position:]

    def _take(self, payload: bytes) -> None:
        if self._on_answer is not None and not self._waiting:
            self._on_answer(payload)
            return
        answer = msgspec.msgpack.decode(payload)
        future = self._waiting.pop(answer["id"], None)
        if future is None:
            if answer["id"] is None:
                self.goodbye = answer["error"]
            elif self._on_answer is not None:
                self._on_answer(payload)
        elif future.done():
            return
        elif "error" in answer:
            error = answer["error"]
            future.set_exception(OrderPortError(error["reason"], f"{error['message']} {error['detail']}".strip()))
        else:
            future.set_result(answer["result"])


def lower(headers: dict[str, str]) -> dict[str, str]:
    """Headers with their names in small letters."""
    return {name.lower(): value for name, value in headers.items()}
