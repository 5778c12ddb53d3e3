"""The deployment's nginx configuration on a real nginx: TLS, HTTP/2, WebSockets, sharing out, limits, streams."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import httpx2
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.real_servers import start_or_skip

from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.servers.nginx import NginxServer
from polaris_synapse.testing.servers.process import free_ports

pytestmark = pytest.mark.anyio

CONFIGURATION: Final = Path(__file__).resolve().parents[2] / "deployments" / "nginx" / "nginx.conf"
PORTS: Final = (80, 443, 8000, 8080, 8081, 8082, 8083, 8084, 8085)


def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


class Door:
    """The deployment's nginx in front of servers of this test. ``ports``: where it listens, by the port it should."""

    def __init__(self, upstreams: dict[str, list[int]]) -> None:
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        text = CONFIGURATION.read_text(encoding="utf-8")
        # The name server is Docker's; without it names are addresses, which Debian's older nginx knows as well.
        text = re.sub(r"^\s*resolver .*;\n", "", text, flags=re.MULTILINE)
        for port, own in self.ports.items():
            text, count = re.subn(rf"listen {port}\b", f"listen 127.0.0.1:{own}", text)
            assert count == 1, f"nothing listens at {port}"
        self.services = re.findall(r"server ([a-z-]+):\d+ resolve", text)
        nowhere = free_ports(1)
        text = re.sub(
            r"^( *)server ([a-z-]+):\d+ resolve ([^;]*);$",
            lambda found: "\n".join(
                f"{found[1]}server 127.0.0.1:{port} {found[3]};" for port in upstreams.get(found[2], nowhere)
            ),
            text,
            flags=re.MULTILINE,
        )
        self.certificate, key = certificate()
        files = {"ssl/polaris-synapse.crt": self.certificate, "ssl/polaris-synapse.key": key}
        self.nginx = NginxServer(text, self.ports[443], files)

    def tls(self, protocols: list[str] | None = None) -> ssl.SSLContext:
        """A client's settings, which trust only this door's certificate."""
        context = ssl.create_default_context(cadata=self.certificate.decode())
        if protocols:
            context.set_alpn_protocols(protocols)
        return context

    @property
    def https(self) -> str:
        """The address of the door's TLS port."""
        return f"https://localhost:{self.ports[443]}"


@asynccontextmanager
async def opened(upstreams: dict[str, list[int]]) -> AsyncIterator[Door]:
    """A door that runs."""
    door = start_or_skip(lambda: Door(upstreams))
    await anyio.to_thread.run_sync(door.nginx.check)
    try:
        await anyio.to_thread.run_sync(door.nginx.start)
        yield door
    finally:
        await anyio.to_thread.run_sync(door.nginx.stop)


class Backend:
    """An HTTP server that counts its requests and answers each with its own number and the request's head."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.requests = 0
        self.port = 0
        self.hold = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
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


async def test_every_service_has_an_upstream_and_names_are_looked_up_again() -> None:
    """All seven services are behind the door, and each is resolved again while nginx runs."""
    door = start_or_skip(lambda: Door({}))
    assert sorted(door.services) == sorted(
        [
            "order-gateway", "compliance-gateway", "llm-agents", "market-data-handler", "risk-manager",
            "order-matching-engine", "execution-engine",
        ]
    )  # fmt: skip
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert "resolver 127.0.0.11" in text
    assert text.count("least_conn;") == text.count("    upstream ") == text.count("        zone ") == len(door.services)
    await anyio.to_thread.run_sync(door.nginx.check)
    door.nginx.stop()


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
