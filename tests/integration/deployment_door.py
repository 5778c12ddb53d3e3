"""The deployment's nginx in front of servers of a test, and a name server that says where they are."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, cast

import anyio.to_thread
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.real_servers import start_or_skip

from polaris_synapse.testing.servers.nginx import NginxServer
from polaris_synapse.testing.servers.process import free_ports

CONFIGURATION: Final = Path(__file__).resolve().parents[2] / "deployments" / "nginx" / "nginx.conf"
PORTS: Final = (80, 443, 8000, 8080, 8081, 8082, 8083, 8084, 8085)
_SERVICE: Final = re.compile(r"^( *map \$host \$([a-z_]+) +\{ default )([a-z-]+):(\d+)(; \})$", re.MULTILINE)
#: Length of a name server's head and of the type and class after a question's name.
_HEAD_BYTES: Final = 12
_KIND_BYTES: Final = 4


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


class NameServer(asyncio.DatagramProtocol):
    """Answers questions for addresses from ``names``, as the containers' name server does."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See DatagramProtocol."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """See DatagramProtocol. One question, and one answer for each address of the name."""
        end = data.index(b"\0", _HEAD_BYTES) + 1
        labels, place = [], _HEAD_BYTES
        while length := data[place]:
            labels.append(data[place + 1 : place + 1 + length].decode())
            place += 1 + length
        addresses = self.names.get(".".join(labels), [])
        known = 0x8180 if addresses else 0x8183
        head = data[:2] + struct.pack("!HHHHH", known, 1, len(addresses), 0, 0)
        answers = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address) for address in addresses
        )
        assert self._transport is not None
        self._transport.sendto(head + data[_HEAD_BYTES : end + _KIND_BYTES] + answers, addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """A name server on a free port."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()


class Door:
    """The deployment's nginx. ``ports``: where it listens, by the port it should.

    ``upstreams``: ports of this machine that serve a service. Of a service in ``named`` the name is looked up with the
    name server at ``resolver``, and its port is the one given.
    """

    def __init__(
        self, upstreams: dict[str, list[int]], *, resolver: int = 0, named: dict[str, int] | None = None
    ) -> None:
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        text = CONFIGURATION.read_text(encoding="utf-8")
        text, count = re.subn(
            r"resolver 127\.0\.0\.11 valid=5s", f"resolver 127.0.0.1:{resolver or free_ports(1)[0]} valid=1s", text
        )
        assert count == 1, "the name server is set once"
        for port, own in self.ports.items():
            text, count = re.subn(rf"listen {port}\b", f"listen 127.0.0.1:{own}", text)
            assert count == 1, f"nothing listens at {port}"
        self.services = [found[3] for found in _SERVICE.finditer(text)]
        groups: list[str] = []

        def place(found: re.Match[str]) -> str:
            service = found[3]
            if service in (named or {}):
                return f"{found[1]}{service}:{(named or {})[service]}{found[5]}"
            servers = " ".join(f"server 127.0.0.1:{port};" for port in upstreams.get(service, free_ports(1)))
            groups.append(f"    upstream {found[2]}_of_the_test {{ {servers} }}\n")
            return f"{found[1]}{found[2]}_of_the_test{found[5]}"

        text = _SERVICE.sub(place, text)
        text = text.replace("http {\n", "http {\n" + "".join(groups), 1)
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
async def opened(
    upstreams: dict[str, list[int]], *, resolver: int = 0, named: dict[str, int] | None = None
) -> AsyncIterator[Door]:
    """A door that runs."""
    door = start_or_skip(lambda: Door(upstreams, resolver=resolver, named=named))
    await anyio.to_thread.run_sync(door.nginx.check)
    try:
        await anyio.to_thread.run_sync(door.nginx.start)
        yield door
    finally:
        await anyio.to_thread.run_sync(door.nginx.stop)
