"""Publishers and nodes for tests, on loopback: documents with validators, and every way in which they misbehave.

async with running_source_server() as server:
    server.serve("/feed.xml", Document(body, "application/rss+xml", etag='"1"'))
    server.misbehave("/feed.xml", Answer(status=429, headers={"retry-after": "30"}))
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream
from msgspec import Struct

_HEAD_BYTES_MAX: Final = 65_536
_CHUNK: Final = 65_536
_WORDS: Final = {
    200: "OK", 301: "Moved Permanently", 302: "Found", 304: "Not Modified", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip


class Document(Struct, kw_only=True):
    """What an address serves. With an ``etag`` or a ``last_modified``, a request that knows it is answered 304."""

    body: bytes
    content_type: str
    etag: str = ""
    last_modified: str = ""


class Answer(Struct, kw_only=True):
    """An answer that a test wants. ``drip_seconds``: the pause between its bytes; ``endless``: it never ends.

    ``cut``: the connection closes before the promised length was sent.
    """

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""
    content_type: str = "text/html"
    drip_seconds: float = 0
    endless: bool = False
    cut: bool = False


class Asked(Struct, frozen=True, kw_only=True):
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Rpc = Callable[[str, list[Any]], Any]


class SourceServer:
    """See the module."""

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._answers: dict[str, deque[Answer]] = {}
        self._nodes: dict[str, Rpc] = {}
        self.asked: list[Asked] = []
        self.port = 0

    @property
    def url(self) -> str:
        """``http://127.0.0.1:…``."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self, path: str, document: Document) -> str:
        """Serve a document from now on; its address."""
        self._documents[path] = document
        return self.url + path

    def misbehave(self, path: str, *answers: Answer) -> str:
        """Give these answers to the next requests for a path instead; the address."""
        self._answers.setdefault(path, deque()).extend(answers)
        return self.url + path

    def node(self, path: str, rpc: Rpc) -> str:
        """Serve JSON-RPC: ``rpc(method, parameters)`` gives the result or raises RpcRefusal; the address."""
        self._nodes[path] = rpc
        return self.url + path

    async def handle(self, stream: anyio.abc.ByteStream) -> None:
        """Answer one connection's requests."""
        async with stream:
            incoming = BufferedByteReceiveStream(stream)
            try:
                while (asked := await _request(incoming)) is not None:
                    self.asked.append(asked)
                    if not await self._answer(stream, asked):
                        return
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
                return

    async def _answer(self, stream: anyio.abc.ByteStream, asked: Asked) -> bool:
        """Whether the connection goes on."""
        waiting = self._answers.get(asked.path)
        if waiting:
            return await _send(stream, waiting.popleft())
        if asked.path in self._nodes:
            return await _send(stream, _rpc_answer(self._nodes[asked.path], asked.body))
        document = self._documents.get(asked.path)
        if document is None:
            return await _send(stream, Answer(status=404))
        validators = {"etag": document.etag, "last-modified": document.last_modified}
        headers = {name: value for name, value in validators.items() if value}
        known = (asked.headers.get("if-none-match"), asked.headers.get("if-modified-since"))
        if (document.etag and known[0] == document.etag) or (
            document.last_modified and known[1] == document.last_modified
        ):
            return await _send(stream, Answer(status=304, headers=headers))
        return await _send(stream, Answer(body=document.body, content_type=document.content_type, headers=headers))


class RpcRefusal(Exception):  # noqa: N818  # it is an answer of the node, not an error of the test
    """A node's error object. ``message`` is what an attacker's node could write there."""

    def __init__(self, code: int, message: str = "refused") -> None:
        super().__init__(message)
        self.code = code


def _rpc_answer(rpc: Rpc, body: bytes) -> Answer:
    request = json.loads(body)
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
    try:
        answer["result"] = rpc(request["method"], request["params"])
    except RpcRefusal as refusal:
        answer["error"] = {"code": refusal.code, "message": str(refusal)}
    return Answer(body=json.dumps(answer).encode(), content_type="application/json")


async def _request(incoming: BufferedByteReceiveStream) -> Asked | None:
    try:
        head = (await incoming.receive_until(b"\r\n\r\n", _HEAD_BYTES_MAX)).decode("latin-1")
    except (anyio.EndOfStream, anyio.IncompleteRead):
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    body = await incoming.receive_exactly(length) if length else b""
    return Asked(method=method, path=path, headers=headers, body=body)


async def _send(stream: anyio.abc.ByteStream, answer: Answer) -> bool:
    bodiless = answer.status == 304
    headers: Mapping[str, str] = {
        "content-type": answer.content_type,
        **({} if bodiless else {"content-length": str(10**12 if answer.endless else len(answer.body))}),
        **answer.headers,
    }
    head = f"HTTP/1.1 {answer.status} {_WORDS.get(answer.status, 'Status')}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    await stream.send(head.encode("latin-1"))
    if bodiless:
        return True
    if answer.endless:
        while True:
            await stream.send(b"x" * _CHUNK)
    if answer.cut:
        await stream.send(answer.body[: len(answer.body) // 2])
        return False
    if answer.drip_seconds:
        for place in range(len(answer.body)):
            await anyio.sleep(answer.drip_seconds)
            await stream.send(answer.body[place : place + 1])
    elif answer.body:
        await stream.send(answer.body)
    return True


@asynccontextmanager
async def running_source_server() -> AsyncIterator[SourceServer]:
    """A server on an ephemeral port of 127.0.0.1 while the block runs."""
    server = SourceServer()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    server.port = listener.extra_attributes[anyio.abc.SocketAttribute.local_port]()
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.handle)
        try:
            yield server
        finally:
            tasks.cancel_scope.cancel()
