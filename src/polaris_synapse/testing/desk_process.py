"""A real desk in a process of its own, for tests and for trying things: start it, talk to it, kill it, restart it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx2
import msgspec

from polaris_synapse.desk.place import DeskPlace, operator_key_file, place_file, read_place
from polaris_synapse.web.signing import SigningKey, read_key_file, signed_headers

_POLL_SECONDS: Final = 0.02
_REQUEST_SECONDS_MAX: Final = 30.0
_END_SECONDS_MAX: Final = 30.0
_LOG_TAIL_BYTES: Final = 65_536


class DeskDidNotStartError(RuntimeError):
    """The process ended, or was not ready in time; the message holds what it printed."""


class DeskProcess:
    """`polaris up` on free ports over one data directory. Starting again after ``kill`` recovers the same desk.

    The requests may be made from several threads at once. ``config`` is a name in configs/ or a path to a YAML file.
    ``program``: what to run in the place of `polaris`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "development",
        feed: str = "simulated",
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        program: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self._program = program or (sys.executable, "-m", "polaris_synapse.cli.main")
        self._arguments = ["--config", config, "--feed", feed, "--free-ports", *arguments]
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._output = directory.parent / f"{directory.name}.output"
        self._client: httpx2.Client | None = None
        self.place = DeskPlace(host="127.0.0.1", ports={})
        self._key: SigningKey | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the desk, and of a command that is to find it; nothing of this process's own settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POLARIS_")}
        return kept | {"POLARIS_DATA_DIRECTORY": str(self.directory)} | self._environment

    @property
    def command(self) -> list[str]:
        """The command line that starts the desk."""
        return [*self._program, "up", *self._arguments]

    def start(self, *, seconds_max: float = 60.0) -> float:
        """Start, wait until the desk is ready, and return the seconds that took. Raises DeskDidNotStartError."""
        began = time.monotonic()
        place_file(self.directory).unlink(missing_ok=True)
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # our own command, no shell
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        while (place := read_place(self.directory)) is None:
            if self._process.poll() is not None or time.monotonic() - began > seconds_max:
                self.kill()
                raise DeskDidNotStartError(self.output())
            time.sleep(_POLL_SECONDS)
        self.place = place
        self._key = read_key_file(operator_key_file(self.directory))
        # Plain HTTP on this machine: no proxy of the environment, and no certificates to load.
        self._client = httpx2.Client(timeout=_REQUEST_SECONDS_MAX, trust_env=False, verify=False)
        return time.monotonic() - began

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int:
        """The operating system's id of the running process."""
        assert self._process is not None
        return self._process.pid

    def output(self) -> str:
        """What all starts printed."""
        return self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else ""

    def log_tail(self, *, lines: int = 40) -> str:
        """The last lines of the desk's log."""
        path = self.directory / "logs" / "polaris.log"
        if not path.exists():
            return ""
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_TAIL_BYTES))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])

    def kill(self) -> None:
        """SIGKILL: no goodbye, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and wait for the graceful end; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        client, self._client = self._client, None
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
            self._process = None
            if client is not None:
                client.close()

    def request(
        self,
        service: str,
        method: str,
        target: str,
        body: object | None = None,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx2.Response:
        """One HTTP request; signed with the operator's key unless ``headers`` are given.

        ``content`` is a body as it is, ``body`` one to be written as JSON. Raises httpx2.TransportError where the desk
        does not answer.
        """
        payload = content if content is not None else b"" if body is None else msgspec.json.encode(body)
        if headers is None:
            headers = self.signed(method, target, payload)
        sent = {"content-type": "application/json"} | headers if payload else headers
        client = self._client
        if client is None:
            raise httpx2.ConnectError("the desk does not run")
        return client.request(method, self.place.url(service) + target, content=payload, headers=sent)

    def signed(self, method: str, target: str, payload: bytes = b"") -> dict[str, str]:
        """The headers that sign a request with the operator's key."""
        assert self._key is not None, "the desk has not been started"
        return signed_headers(self._key, method, target, payload)

    def json(self, service: str, method: str, target: str, body: object | None = None) -> Any:
        """The decoded answer of a signed request that must succeed."""
        return decoded(self.request(service, method, target, body))

    def __enter__(self) -> DeskProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def decoded(response: httpx2.Response) -> Any:
    """The JSON of an answer. Raises AssertionError, with the refusal, for one that is none of success."""
    if response.status_code >= 400:
        request = response.request
        raise AssertionError(f"{request.method} {request.url}: HTTP {response.status_code}: {response.text}")
    return msgspec.json.decode(response.content)
