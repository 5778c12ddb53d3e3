"""A desk as its seven services, each a process of its own, on brokers that run already: for tests and for faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx2
import msgspec

from polaris_synapse.desk.place import ServicePlace, operator_key_file, services_folder
from polaris_synapse.testing.desk_process import decoded
from polaris_synapse.web.signing import SigningKey, read_key_file, signed_headers

SERVICES: Final = (
    "compliance-gateway",
    "risk-manager",
    "order-matching-engine",
    "market-data-handler",
    "execution-engine",
    "order-gateway",
    "llm-agents",
)
_POLL_SECONDS: Final = 0.05
_REQUEST_SECONDS_MAX: Final = 15.0
_END_SECONDS_MAX: Final = 40.0
_TAIL_LINES: Final = 30


class ServiceDidNotStartError(RuntimeError):
    """A service ended, or was not ready in time; the message holds what it printed and the end of its log."""


class ServiceProcess:
    """``polaris serve NAME`` on a free port."""

    def __init__(self, name: str, directory: Path, environment: dict[str, str], arguments: Iterable[str] = ()) -> None:
        self.name = name
        self._directory = directory
        self._environment = environment
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._output = directory.parent / f"{directory.name}-{name}.output"
        self.place: ServicePlace | None = None

    @property
    def process_id(self) -> int:
        """The operating system's id. Only while it runs."""
        assert self._process is not None, "the service was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self.place is not None, "the service does not listen yet"
        return f"http://{self.place.host}:{self.place.port}"

    def launch(self) -> None:
        """Start the process and return at once."""
        command = [sys.executable, "-m", "polaris_synapse.cli.main", "serve", self.name, "--port", "0"]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # our own command, no shell
                [*command, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    def find_place(self) -> bool:
        """Whether it listens; where, is in ``place`` then. Raises ServiceDidNotStartError where it has ended."""
        if not self.running:
            raise ServiceDidNotStartError(self.story())
        for path in services_folder(self._directory).glob(f"{self.name}-*-{self.process_id}-*.json"):
            self.place = msgspec.json.decode(path.read_bytes(), type=ServicePlace)
        return self.place is not None

    def failing(self, client: httpx2.Client) -> dict[str, str]:
        """What keeps it from being ready; empty where it is. A process that does not answer fails ``connection``."""
        try:
            body = msgspec.json.decode(client.get(f"{self.url}/ready").content)
        except httpx2.TransportError as error:
            return {"connection": str(error) or type(error).__name__}
        return dict(body["failing"])

    def story(self) -> str:
        """What it printed, and the end of its log."""
        lines: list[str] = []
        if self._process is not None:
            log = self._directory / "logs" / f"{self.name}-{self._process.pid}.log"
            if log.exists():
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join([f"{self.name}:", self.printed(), *lines])

    def printed(self) -> str:
        """What it wrote to its standard output and error."""
        return self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else ""

    def signal(self, number: int) -> None:
        """Send any signal, such as SIGSTOP for a process that hangs."""
        os.kill(self.process_id, number)

    def kill(self) -> None:
        """SIGKILL: no goodbye, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and wait for the end in order; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(timeout=_END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process, self.place = None, None


class ClusterDesk:
    """One instance of each service over one data directory, and more where asked for.

    ``bootstrap``: the brokers. ``prefix`` keeps desks on the same brokers apart. ``config`` as for DeskProcess.
    """

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        *,
        prefix: str = "",
        config: str = "development",
        environment: dict[str, str] | None = None,
        replicas: int = 1,
    ) -> None:
        self.directory = directory
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POLARIS_")}
        self.environment = kept | {
            "POLARIS_DATA_DIRECTORY": str(directory),
            "POLARIS_CONFIG": config,
            "POLARIS_BUS__KAFKA__BOOTSTRAP": bootstrap,
            "POLARIS_BUS__KAFKA__TOPIC_PREFIX": prefix,
            "POLARIS_BUS__KAFKA__REPLICAS": str(replicas),
            "POLARIS_BUS__KAFKA__SESSION_SECONDS": "6",
            **(environment or {}),
        }
        self.instances: dict[str, list[ServiceProcess]] = {name: [] for name in SERVICES}
        self._key: SigningKey | None = None
        # Plain HTTP on this machine: no proxy of the environment, and no certificates to load.
        self.client = httpx2.Client(timeout=_REQUEST_SECONDS_MAX, trust_env=False, verify=False)

    def make_topics(self) -> None:
        """``polaris topics apply``."""
        done = subprocess.run(  # our own command, no shell
            [sys.executable, "-m", "polaris_synapse.cli.main", "topics", "apply"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise ServiceDidNotStartError(done.stdout + done.stderr)

    def add(self, name: str, environment: Mapping[str, str] | None = None) -> ServiceProcess:
        """One instance more of a service; it is launched, and not waited for. ``environment``: over the desk's own."""
        arguments = ("--feed", "simulated") if name == "market-data-handler" else ()
        service = ServiceProcess(name, self.directory, self.environment | dict(environment or {}), arguments)
        self.instances[name].append(service)
        service.launch()
        return service

    def start(self, *, services: Iterable[str] = SERVICES, seconds_max: float = 120.0) -> float:
        """Start one instance of each, wait until all are ready, and return the seconds that took."""
        began = time.monotonic()
        for name in services:
            self.add(name)
        self.wait_ready(seconds_max=seconds_max)
        return time.monotonic() - began

    def wait_ready(self, *, seconds_max: float = 60.0) -> float:
        """Return once every process that runs is ready; the seconds that took. Raises ServiceDidNotStartError."""
        began = time.monotonic()
        waiting = [one for found in self.instances.values() for one in found]
        failing: dict[str, dict[str, str]] = {}
        while waiting:
            for service in tuple(waiting):
                if service.place is None and not service.find_place():
                    continue
                failing[service.name] = service.failing(self.client)
                if not failing[service.name]:
                    waiting.remove(service)
            if waiting and time.monotonic() - began > seconds_max:
                stories = "\n".join(f"{one.name} {failing.get(one.name)}\n{one.story()}" for one in waiting)
                raise ServiceDidNotStartError(f"not ready within {seconds_max:g} s: {stories}")
            if waiting:
                time.sleep(_POLL_SECONDS)
        return time.monotonic() - began

    def service(self, name: str, number: int = 0) -> ServiceProcess:
        """One instance."""
        return self.instances[name][number]

    def stop(self) -> dict[str, int]:
        """SIGTERM to all, order entry first; the exit codes."""
        codes: dict[str, int] = {}
        for name in reversed(SERVICES):
            for service in self.instances[name]:
                codes[name] = service.stop()
            self.instances[name] = []
        return codes

    def kill(self) -> None:
        """SIGKILL to all."""
        for name, found in self.instances.items():
            for service in found:
                service.kill()
            self.instances[name] = []

    def request(
        self, service: str, method: str, target: str, body: object | None = None, *, number: int = 0
    ) -> httpx2.Response:
        """One HTTP request, signed with the operator's key. Raises httpx2.TransportError where nothing answers."""
        payload = b"" if body is None else msgspec.json.encode(body)
        headers = self.signed(method, target, payload)
        sent = {"content-type": "application/json"} | headers if payload else headers
        return self.client.request(method, self.service(service, number).url + target, content=payload, headers=sent)

    def signed(self, method: str, target: str, payload: bytes = b"") -> dict[str, str]:
        """The headers of a request signed with the operator's key."""
        if self._key is None:
            self._key = read_key_file(operator_key_file(self.directory))
        return signed_headers(self._key, method, target, payload)

    def json(self, service: str, method: str, target: str, body: object | None = None, *, number: int = 0) -> Any:
        """The decoded answer of a request that must succeed."""
        return decoded(self.request(service, method, target, body, number=number))

    def __enter__(self) -> ClusterDesk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.client.close()
