"""Real servers on real sockets: ports, slow clients, oversized heads, malformed HTTP, and the end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

import anyio
import anyio.abc
import httpx2
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.web.bodies import json_response, read_bytes
from polaris_synapse.web.routes import api_route
from polaris_synapse.web.server import Listener, ServerLimits, serve
from polaris_synapse.web.service import service_app

pytestmark = pytest.mark.anyio

LIMITS = ServerLimits(
    request_seconds_max=0.4, header_bytes_max=4_096, connections_per_address_max=4, shutdown_seconds_max=1
)


async def _length(request: Request) -> Response:
    return json_response(len(await read_bytes(request)))


def _app(name: str) -> object:
    routes = [api_route("POST", "/length", _length, summary="How long.", roles=None)]
    return service_app(service=name, title=name, routes=routes, registry=CollectorRegistry(), readiness={})


@contextlib.asynccontextmanager
async def running(limits: ServerLimits = LIMITS, names: tuple[str, ...] = ("one",)) -> AsyncIterator[dict[str, int]]:
    """Servers on ports of their own."""
    ports: dict[str, int] = {}
    ready = anyio.Event()

    def started(found: dict[str, int]) -> None:
        ports.update(found)
        ready.set()

    listeners = [Listener(_app(name), "127.0.0.1", 0, name, limits) for name in names]  # type: ignore[arg-type]
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await serve(listeners, started=started)

        group.start_soon(run)
        with anyio.fail_after(5):
            await ready.wait()
        yield ports
        group.cancel_scope.cancel()


async def exchange(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send bytes and read until the server closes."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        with contextlib.suppress(anyio.BrokenResourceError):
            for part in parts:
                await stream.send(part)
                if pause:
                    await anyio.sleep(pause)
        return await drain(stream)


async def drain(stream: anyio.abc.SocketStream) -> bytes:
    """Everything until the end."""
    answer = b""
    with anyio.fail_after(10):
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                answer += await stream.receive()
    return answer


async def test_several_servers_report_their_ports() -> None:
    """Port 0 takes a free port, told under the listener's name, and each serves its own app."""
    async with running(names=("one", "two")) as ports:
        assert set(ports) == {"one", "two"}
        async with httpx2.AsyncClient() as client:
            for name, port in ports.items():
                body = (await client.get(f"http://127.0.0.1:{port}/health")).json()
                assert body["service"] == name


async def test_a_port_that_is_taken_is_an_error() -> None:
    """When an address cannot be bound nothing is served, and the error names the listener and the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"one cannot listen on 127.0.0.1:{port}"):
            await serve([Listener(_app("one"), "127.0.0.1", port, "one")])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET /health HTTP/1.1\r\n", *[b"x-a: b\r\n"] * 40],
        [b"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n", *[b"x"] * 40],
        [b"POST /length HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 40],
        [b"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nshort"],
    ],
    ids=["head", "body", "chunks", "length lies"],
)
async def test_slow_clients_are_told_and_cut_off(parts: list[bytes]) -> None:
    """A request that trickles in, head or body, ends with 408 after its time, whatever still comes."""
    async with running() as ports:
        with anyio.fail_after(5):
            answer = await exchange(ports["one"], *parts, pause=0.02)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"reason":"REQUEST_TOO_SLOW"' in answer


async def test_silent_connections_are_closed() -> None:
    """A client that connects and says nothing does not hold its connection."""
    async with running() as ports:
        with anyio.fail_after(5):
            assert await exchange(ports["one"]) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 5_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 5_000,
        b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 1_000 + b"\r\n",
    ],
    ids=["one header", "unfinished", "address", "many headers"],
)
async def test_oversized_heads_are_refused(head: bytes) -> None:
    """Headers and addresses past the limit are 431, and the connection ends."""
    async with running() as ports:
        answer = await exchange(ports["one"], head)
        assert answer.startswith(b"HTTP/1.1 431")
        assert b'"reason":"HEADERS_TOO_LARGE"' in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /health HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        b"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /length HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET \xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ],
)
async def test_malformed_http_is_a_4xx(request_bytes: bytes) -> None:
    """What is no valid request gets a 4xx with the error body or no answer at all, and never a 500."""
    async with running() as ports:
        answer = await exchange(ports["one"], request_bytes)
        assert answer.startswith(b"HTTP/1.1 4") or answer == b"", answer[:80]
        assert b'"reason":"' in answer or answer == b""
        async with httpx2.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{ports['one']}/health")).status_code == 200


async def test_a_huge_body_is_refused_and_the_server_goes_on() -> None:
    """Fifty megabytes get a 413 that the client can read, and cost no memory."""
    async with running(ServerLimits(request_seconds_max=20)) as ports, httpx2.AsyncClient(timeout=20) as client:
        base = f"http://127.0.0.1:{ports['one']}"
        response = await client.post(f"{base}/length", content=b" " * 50_000_000)
        assert (response.status_code, response.json()["reason"]) == (413, "BODY_TOO_LARGE")
        assert (await client.get(f"{base}/health")).status_code == 200


async def test_connections_of_one_address_are_bounded() -> None:
    """Connections past the limit are told so and closed; when one ends, the next is served."""
    async with running() as ports:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", ports["one"]))
            answer = await exchange(ports["one"], b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 429")
            assert b"TOO_MANY_CONNECTIONS" in answer
        with anyio.fail_after(5):
            while True:
                head = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
                if (await exchange(ports["one"], head)).startswith(b"HTTP/1.1 200"):
                    break


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Two requests in one packet get two answers on one connection."""
    async with running() as ports:
        one = b"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc"
        two = b"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nconnection: close\r\n\r\nabcde"
        answer = await exchange(ports["one"], one + two)
        assert answer.count(b"HTTP/1.1 200") == 2
        assert answer.index(b"\r\n\r\n3") < answer.index(b"\r\n\r\n5")
