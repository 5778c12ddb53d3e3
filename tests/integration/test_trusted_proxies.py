"""Where a request comes from behind a proxy: a trusted one is believed, anybody else's X-Forwarded-For is not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from tests.unit.order_gateway.fake_desk import PASSWORD, running_gateway
from websockets.asyncio.client import connect

from polaris_synapse.desk.loading import ConfigurationError, load_settings
from polaris_synapse.web.server import Listener, ServerLimits, serve
from polaris_synapse.web.service import client_address

pytestmark = pytest.mark.anyio

_PER_ADDRESS_MAX = 3


async def _address(request: Request) -> Response:
    return JSONResponse(client_address(request))


async def _address_stream(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json(client_address(websocket))
    await websocket.close()


def _app() -> ASGIApp:
    return Starlette(routes=[Route("/", _address), WebSocketRoute("/ws", _address_stream)])


@contextlib.asynccontextmanager
async def served(app: ASGIApp, *proxies: str) -> AsyncIterator[str]:
    """The app on a port of its own; its address without the scheme."""
    ports: dict[str, int] = {}
    ready = anyio.Event()

    def started(found: dict[str, int]) -> None:
        ports.update(found)
        ready.set()

    limits = ServerLimits(connections_per_address_max=_PER_ADDRESS_MAX, shutdown_seconds_max=1)

    async def run() -> None:
        await serve([Listener(app, "127.0.0.1", 0, "one", limits, proxies)], started=started)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.fail_after(5):
            await ready.wait()
        yield f"127.0.0.1:{ports['one']}"
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "proxies, forwarded, address",
    [
        ((), "6.6.6.6", "127.0.0.1"),
        (("10.0.0.0/8",), "6.6.6.6", "127.0.0.1"),
        (("127.0.0.0/8",), "6.6.6.6", "6.6.6.6"),
        (("127.0.0.0/8",), "6.6.6.6, 9.9.9.9", "9.9.9.9"),
        (("127.0.0.0/8", "9.9.9.0/24"), "5.5.5.5, 6.6.6.6, 9.9.9.9", "6.6.6.6"),
        (("127.0.0.0/8",), "6.6.6.6, 2001:db8::7", "2001:db8::7"),
        (("127.0.0.0/8",), "", "127.0.0.1"),
    ],
    ids=["no proxies", "spoofed", "believed", "client's own claim", "two proxies", "version 6", "empty"],
)
async def test_an_address_is_the_last_that_no_trusted_proxy_has(
    proxies: tuple[str, ...], forwarded: str, address: str
) -> None:
    """Over HTTP and WebSocket alike: what a client claims stands left of what the proxies saw, and is not believed."""
    headers = {"x-forwarded-for": forwarded}
    async with served(_app(), *proxies) as place, httpx2.AsyncClient() as client:
        assert (await client.get(f"http://{place}/", headers=headers)).json() == address
        async with connect(f"ws://{place}/ws", additional_headers=headers) as socket:
            assert await socket.recv() == f'"{address}"'


@pytest.mark.parametrize("proxies, other", [(("127.0.0.1/32",), 401), ((), 429)], ids=["proxy", "spoofed"])
async def test_log_ins_are_counted_by_client(tmp_path: Path, proxies: tuple[str, ...], other: int) -> None:
    """Behind a trusted proxy each client has a budget of its own; a header from anybody else brings no new budget."""
    async with (
        running_gateway(tmp_path) as gateway,
        served(gateway.app, *proxies) as place,
        httpx2.AsyncClient() as client,
    ):

        async def log_in(address: str) -> int:
            body = {"username": "alice", "password": PASSWORD + " wrong"}
            answer = await client.post(f"http://{place}/login", json=body, headers={"x-forwarded-for": address})
            return answer.status_code

        assert [await log_in("6.6.6.6") for _ in range(6)] == [401] * 5 + [429]
        assert await log_in("7.7.7.7") == other


@pytest.mark.parametrize("proxies, last", [(("127.0.0.1",), 200), ((), 429)], ids=["proxy", "client"])
async def test_a_proxy_may_have_the_connections_of_many(proxies: tuple[str, ...], last: int) -> None:
    """The limit of connections of one address is not for a trusted proxy; it is for everybody else."""
    async with served(_app(), *proxies) as place, contextlib.AsyncExitStack() as stack:
        answers = []
        for _ in range(_PER_ADDRESS_MAX + 1):
            client = await stack.enter_async_context(httpx2.AsyncClient())
            answers.append((await client.get(f"http://{place}/", headers={"x-forwarded-for": "6.6.6.6"})).status_code)
        assert answers == [200] * _PER_ADDRESS_MAX + [last]


def test_a_setting_names_the_proxies() -> None:
    """None is trusted unless named; an address is a network of one."""
    assert load_settings("development").gateway.trusted_proxies == ()
    settings = load_settings("development", gateway={"trusted_proxies": ["172.30.82.0/24", "10.0.0.7", "fd00::/8"]})
    assert settings.gateway.trusted_proxies == ("172.30.82.0/24", "10.0.0.7/32", "fd00::/8")


@pytest.mark.parametrize(
    "network, sentence",
    [("nginx", "is no network or address"), ("172.30.82.1/24", "is no network"), ("0.0.0.0/0", "trusts everybody")],
)
def test_a_setting_that_is_no_network_is_refused(network: str, sentence: str) -> None:
    """A name, a host with a mask, and the whole world are refused with a sentence."""
    with pytest.raises(ConfigurationError, match=sentence):
        load_settings("development", gateway={"trusted_proxies": [network]})
