"""Where a running desk can be found: a small file in its data directory, written when it is ready."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

#: The ports of the services where nothing says otherwise.
DEFAULT_PORTS = {
    "llm_agents": 8000,
    "compliance": 8080,
    "market_data": 8081,
    "gateway": 8082,
    "risk": 8083,
    "matching": 8084,
    "execution": 8085,
}


class DeskPlace(Struct, frozen=True):
    """Host and ports of a desk. ``process_id`` 0: a desk somewhere else.

    ``further_ports``: where more instances of a service are, in the order in which they would be asked.
    """

    host: str
    ports: dict[str, int]
    scheme: str = "http"
    process_id: int = 0
    feed: str = ""
    further_ports: dict[str, tuple[int, ...]] = {}

    @classmethod
    def at(cls, url: str) -> DeskPlace:
        """The desk whose gateway is at ``url``; the other services are at their usual ports beside it."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        ports = dict(DEFAULT_PORTS)
        if parts.port:
            ports["gateway"] = parts.port
        return cls(host=parts.hostname or "127.0.0.1", ports=ports, scheme=parts.scheme)

    def url(self, service: str) -> str:
        """The base URL of a service."""
        return self._url(self.ports[service])

    def urls(self, service: str) -> tuple[str, ...]:
        """The base URLs of all its instances that are known."""
        return (self.url(service), *map(self._url, self.further_ports.get(service, ())))

    def _url(self, port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{port}"

    def key_file(self, directory: Path) -> Path:
        """The key that the desk made for this machine's command line at its first start."""
        return operator_key_file(directory)


#: How often a request is made while each instance says that another one may do it, how long apart, and for how long
#: once all were asked: a service that is only slow is not asked again and again.
ASKS_MAX: Final = 5
ASK_PAUSE_SECONDS: Final = 0.1
ASK_SECONDS_MAX: Final = 2.0
_UNAVAILABLE: Final = 503


def asks_for_another(status: int, headers: Mapping[str, str], content: bytes) -> bool:
    """Whether an answer says that nothing was done, and that another instance may do it: NOT_READY with a Retry-After.

    Behind a proxy the same address leads to the next instance.
    """
    return status == _UNAVAILABLE and "retry-after" in headers and b'"NOT_READY"' in content


def in_turn(urls: Sequence[str]) -> Iterator[str]:
    """Whom to ask, one after the other, as long as ``asks_for_another`` says so of the answers."""
    began = time.monotonic()
    for number, url in enumerate(itertools.islice(itertools.cycle(urls), max(len(urls), ASKS_MAX))):
        if number >= len(urls) and time.monotonic() - began > ASK_SECONDS_MAX:
            return
        if number:
            time.sleep(ASK_PAUSE_SECONDS)
        yield url


class ServicePlace(Struct, frozen=True, kw_only=True):
    """Where a service of this machine listens: a file in the data directory's folder ``services``.

    ``order_port`` is the port of orders over plain TCP, 0 where there is none.
    """

    service: str
    client: str
    host: str
    port: int
    process_id: int
    order_port: int = 0


def services_folder(directory: Path) -> Path:
    """Where running services say where they listen."""
    return directory / "services"


#: What the settings and the command call the services.
_SERVICES = {
    "llm-agents": "llm_agents",
    "compliance-gateway": "compliance",
    "market-data-handler": "market_data",
    "order-gateway": "gateway",
    "risk-manager": "risk",
    "order-matching-engine": "matching",
    "execution-engine": "execution",
}


def read_services(directory: Path) -> DeskPlace | None:
    """The services of a cluster that run on this machine over this data directory, as one desk.

    None where none runs. Of several instances the one that was started last comes first. A service that does not run
    here is looked for at its usual port.
    """
    ports: dict[str, int] = {}
    further: dict[str, tuple[int, ...]] = {}
    host = ""
    for path in sorted(services_folder(directory).glob("*.json"), key=_written, reverse=True):
        try:
            found = msgspec.json.decode(path.read_bytes(), type=ServicePlace)
        except (FileNotFoundError, msgspec.MsgspecError):
            continue
        name = _SERVICES.get(found.service)
        if name is not None and _runs(found.process_id):
            if ports.setdefault(name, found.port) != found.port:
                further[name] = (*further.get(name, ()), found.port)
            host = host or found.host
    return DeskPlace(host=host, ports=DEFAULT_PORTS | ports, further_ports=further) if ports else None


def _written(path: Path) -> float:
    """When a file was written; one that is gone is the oldest."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def default_data_directory() -> Path:
    """Where a desk keeps its journal when nothing says otherwise."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "polaris-synapse"


def operator_key_file(directory: Path) -> Path:
    """The command line's private key; only the desk's user may read it."""
    return directory / "keys" / "operator.key.json"


def place_file(directory: Path) -> Path:
    """The file that says where the desk listens."""
    return directory / "desk.json"


def write_place(directory: Path, place: DeskPlace) -> None:
    """Say where the desk listens, in one step so that nobody reads half of it."""
    path = place_file(directory)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(place))
    temporary.replace(path)


def read_place(directory: Path) -> DeskPlace | None:
    """The desk that runs on this data directory, or None when none does."""
    try:
        place = msgspec.json.decode(place_file(directory).read_bytes(), type=DeskPlace)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        return None
    return place if _runs(place.process_id) else None


def running_place(directory: Path) -> DeskPlace | None:
    """What runs over this data directory: the desk in one process, or else the services of a cluster."""
    return read_place(directory) or read_services(directory)


def remove_place(directory: Path) -> None:
    """The desk has stopped."""
    place_file(directory).unlink(missing_ok=True)


def _runs(process_id: int) -> bool:
    if process_id == 0:
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
