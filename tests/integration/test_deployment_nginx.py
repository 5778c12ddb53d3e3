"""The deployment's nginx configuration on a real nginx: TLS, HTTP/2, WebSockets, sharing out, limits, streams."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest
import websockets
from tests.integration.deployment_door import CONFIGURATION, Door, certificate, name_server, opened
from tests.real_servers import start_or_skip

from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.servers.nginx import NginxServer
from polaris_synapse.testing.servers.process import free_ports

pytestmark = pytest.mark.anyio


class Backend:
    """An HTTP server that counts its requests and answers each with its own number and the request's head."""

    def __init__(self, number: int, address: str = "127.0.0.1", port: int = 0) -> None:
        self.number = number
        self.address = address
        self.requests = 0
        self.port = port
        self.hold = asyncio.Event()
        self.refuses = False
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, on a free port unless one was given."""
        self._server = await asyncio.start_server(self._serve, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            if self.refuses:
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            if head.startswith(b"POST /chat"):
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                await writer.drain()
                await self.hold.wait()
                writer.write(b"4\r\nlast\r\n0\r\n\r\n")
            else:
                body = f"{self.number}\n".encode() + head
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def backends(count: int) -> AsyncIterator[list[Backend]]:
    """Some backends that listen."""
    found = [Backend(number) for number in range(count)]
    for one in found:
        await one.start()
    try:
        yield found
    finally:
        for one in found:
            one.hold.set()
            await one.stop()


async def test_every_service_is_behind_the_door() -> None:
    """All seven services have a name, and each is what some port is for."""
    door = start_or_skip(lambda: Door({}))
    door.nginx.stop()
    assert sorted(door.services) == sorted(
        [
            "order-gateway", "compliance-gateway", "llm-agents", "market-data-handler", "risk-manager",
            "order-matching-engine", "execution-engine",
        ]
    )  # fmt: skip
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert "resolver 127.0.0.11" in text
    for service in door.services:
        assert f"proxy_pass http://${service.replace('-', '_')};" in text


async def test_nginx_takes_the_file_as_it_is() -> None:
    """Debian's nginx accepts it unchanged, also while no name of a service is known."""
    made, key = certificate()
    files = {"ssl/polaris-synapse.crt": made, "ssl/polaris-synapse.key": key}
    text = CONFIGURATION.read_text(encoding="utf-8")
    nginx = start_or_skip(lambda: NginxServer(text, 443, files))
    try:
        await anyio.to_thread.run_sync(nginx.check)
    finally:
        nginx.stop()


async def test_gateways_come_and_go_while_nginx_runs() -> None:
    """Nobody there is 502; one that comes is found within seconds, and so is one more; one that went is not asked."""
    port = free_ports(1)[0]
    gateways = [Backend(number, f"127.0.0.{number + 2}", port) for number in range(2)]
    async with (
        AsyncExitStack() as started,
        name_server() as names,
        opened({}, resolver=names.port, named={"order-gateway": port}) as door,
        httpx2.AsyncClient(verify=door.tls()) as client,
    ):
        assert (await client.get(f"{door.https}/orders")).status_code == 502
        for gateway in gateways:
            await gateway.start()
            started.push_async_callback(gateway.stop)
            names.names.setdefault("order-gateway", []).append(gateway.address)
            with anyio.fail_after(20):
                while not gateway.requests:
                    await client.get(f"{door.https}/orders")
                    # nginx refuses an address that asks 300 times a second.
                    await anyio.sleep(0.02)
        names.names["order-gateway"].remove(gateways[0].address)
        await gateways[0].stop()
        # Whether the name was looked up again or not: what cannot be reached is stood in for.
        answers = [await client.get(f"{door.https}/orders") for _ in range(30)]
        assert {answer.status_code for answer in answers} == {200}


async def test_the_risk_manager_that_has_the_account_is_found() -> None:
    """One that answers 503 for another's account is passed over by a question; a command reaches just one."""
    async with backends(2) as risk, opened({"risk-manager": [one.port for one in risk]}) as door:
        risk[0].refuses = True
        url = f"http://127.0.0.1:{door.ports[8083]}"
        async with httpx2.AsyncClient() as client:
            answers = [await client.get(f"{url}/limits/main") for _ in range(10)]
            assert {answer.status_code for answer in answers} == {200}
            assert risk[0].requests > 0
            before = sum(one.requests for one in risk)
            for _ in range(10):
                await client.post(f"{url}/kill-switch", content=b"{}")
            assert sum(one.requests for one in risk) == before + 10


async def test_tls_speaks_http2_and_says_safe_headers() -> None:
    """HTTP/2 is chosen, old TLS is refused, port 80 only sends to TLS, and figures are not shown to the world."""
    async with backends(1) as (gateway,), opened({"order-gateway": [gateway.port]}) as door:
        _, writer = await asyncio.open_connection("localhost", door.ports[443], ssl=door.tls(["h2", "http/1.1"]))
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.close()
        old = door.tls()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        _, writer = await asyncio.open_connection("localhost", door.ports[443], ssl=old)
        writer.close()
        async with httpx2.AsyncClient(verify=door.tls()) as client:
            answer = await client.get(f"{door.https}/orders", headers={"x-forwarded-for": "6.6.6.6"})
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
            assert "nginx/" not in answer.headers["server"]
            # What a client claims about where it comes from is not handed on.
            assert "6.6.6.6" not in answer.text
            assert "X-Forwarded-For: 127.0.0.1" in answer.text
            assert "X-Forwarded-Proto: https" in answer.text
            assert (await client.get(f"{door.https}/metrics")).status_code == 404
            sent = await client.get(f"http://localhost:{door.ports[80]}/orders?a=b")
            assert sent.status_code == 308
            assert sent.headers["location"] == "https://localhost/orders?a=b"


async def test_gateways_share_the_load_and_stand_in_for_each_other() -> None:
    """Requests go to all gateways; when one is gone the others answer, and nobody sees an error."""
    async with (
        backends(3) as gateways,
        opened({"order-gateway": [one.port for one in gateways]}) as door,
        httpx2.AsyncClient(verify=door.tls()) as client,
    ):
        for _ in range(60):
            assert (await client.get(f"{door.https}/orders")).status_code == 200
        assert min(one.requests for one in gateways) >= 10
        await gateways[0].stop()
        before = gateways[0].requests
        answers = [await client.get(f"{door.https}/orders") for _ in range(30)]
        assert {answer.status_code for answer in answers} == {200}
        assert gateways[0].requests == before
        await gateways[0].start()


async def test_log_ins_are_limited_by_address() -> None:
    """Guessing passwords is slowed to a few attempts; the rest is told to wait, and other requests go on."""
    async with (
        backends(1) as (gateway,),
        opened({"order-gateway": [gateway.port]}) as door,
        httpx2.AsyncClient(verify=door.tls()) as client,
    ):
        statuses = [(await client.post(f"{door.https}/login")).status_code for _ in range(30)]
        assert statuses.count(200) >= 10
        assert set(statuses) == {200, 429}
        assert (await client.get(f"{door.https}/orders")).status_code == 200


async def test_a_chat_arrives_as_it_is_spoken() -> None:
    """The first words of an answer are here before the last are spoken."""
    async with (
        backends(1) as (agents,),
        opened({"llm-agents": [agents.port]}) as door,
        httpx2.AsyncClient(verify=door.tls()) as client,
        client.stream("POST", f"{door.https}/chat", content=b"{}") as answer,
    ):
        parts = answer.aiter_raw()
        with anyio.fail_after(10):
            assert await anext(parts) == b"first"
        agents.hold.set()
        assert b"".join([part async for part in parts]) == b"last"


async def test_a_desk_behind_the_door(tmp_path: Path) -> None:
    """A real desk through TLS: whether it is ready, a signed request at a port of its own, and a WebSocket."""
    desk = DeskProcess(tmp_path / "desk")
    try:
        await anyio.to_thread.run_sync(desk.start)
        ports = desk.place.ports
        async with opened({"order-gateway": [ports["gateway"]], "risk-manager": [ports["risk"]]}) as door:
            async with httpx2.AsyncClient(verify=door.tls()) as client:
                answer = await client.get(f"{door.https}/ready")
                assert answer.json()["ready"] is True
                assert answer.headers["x-content-type-options"] == "nosniff"
                target = "/circuit-breaker"
                url = f"http://127.0.0.1:{door.ports[8083]}{target}"
                assert (await client.get(url, headers=desk.signed("GET", target))).status_code == 200
            address = f"wss://localhost:{door.ports[443]}/ws"
            async with websockets.connect(address, ssl=door.tls(), proxy=None) as socket:
                await socket.send('{"id": 1, "method": "ping", "params": {}}')
                with anyio.fail_after(10):
                    assert '"id":1' in str(await socket.recv()).replace(" ", "")
    finally:
        await anyio.to_thread.run_sync(desk.stop)
