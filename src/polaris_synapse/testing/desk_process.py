"""A real desk in a process of its own, for tests and for trying things: start it, talk to it, kill it, restart it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import msgspec

from polaris_synapse.desk.place import DeskPlace, operator_key_file, place_file, read_place
from polaris_synapse.web.signing import SigningKey, read_key_file, signed_headers

_POLL_SECONDS = 0.02


class DeskDidNotStartError(RuntimeError):
    """The process ended, or was not ready in time; the message holds what it printed."""


class DeskProcess:
    """`polaris up` on free ports over one data directory. Starting again after ``kill`` recovers the same desk."""

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "development",
        feed: str = "simulated",
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._arguments = ["--config", config, "--feed", feed, "--free-ports", *arguments]
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._output = directory.parent / f"{directory.name}.output"
        self.place = DeskPlace(host="127.0.0.1", ports={})
        self._key: SigningKey | None = None

    def start(self, *, seconds_max: float = 60.0) -> float:
        """Start, wait until the desk is ready, and return the seconds that took. Raises DeskDidNotStartError."""
        began = time.monotonic()
        place_file(self.directory).unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POLARIS_")}
        environment |= {"POLARIS_DATA_DIRECTORY": str(self.directory)} | self._environment
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # our own command, no shell
                [sys.executable, "-m", "polaris_synapse.cli.main", "up", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        while (place := read_place(self.directory)) is None:
            if self._process.poll() is not None or time.monotonic() - began > seconds_max:
                self.kill()
                raise DeskDidNotStartError(self.output())
            time.sleep(_POLL_SECONDS)
        self.place = place
        self._key = read_key_file(operator_key_file(self.directory))
        return time.monotonic() - began

    @property
    def process_id(self) -> int:
        """The operating system's id of the running process."""
        assert self._process is not None
        return self._process.pid

    def output(self) -> str:
        """What all starts printed."""
        return self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else ""

    def kill(self) -> None:
        """SIGKILL: no goodbye, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and wait for the graceful end; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process = None

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
        """One HTTP request; signed with the operator's key unless ``headers`` are given."""
        payload = content if content is not None else b"" if body is None else msgspec.json.encode(body)
        if headers is None:
            assert self._key is not None
            headers = signed_headers(self._key, method, target, payload)
        sent = {"content-type": "application/json"} | headers if payload else headers
        return httpx2.request(method, self.place.url(service) + target, content=payload, headers=sent, timeout=30)

    def json(self, service: str, method: str, target: str, body: object | None = None) -> Any:
        """The decoded answer of a signed request that must succeed."""
        response = self.request(service, method, target, body)
        if response.status_code >= 400:
            raise AssertionError(f"{method} {target}: HTTP {response.status_code}: {response.text}")
        return msgspec.json.decode(response.content)

    def __enter__(self) -> DeskProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
