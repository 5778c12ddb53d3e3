"""Servers in containers, where a Docker engine runs on this machine."""

from __future__ import annotations

import subprocess
import time
from functools import cache
from typing import Final

from polaris_synapse.testing.servers.policy import ServerMissingError

_COMMAND_SECONDS_MAX: Final = 20
#: The first use of an image fetches it.
_RUN_SECONDS_MAX: Final = 300
_READY_SECONDS_MAX: Final = 60.0
_POLL_SECONDS: Final = 0.1


@cache
def engine_runs() -> bool:
    """Whether a Docker engine answers; the client alone is not enough."""
    try:
        return _docker("info", "--format", "{{.ServerVersion}}").returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Container:
    """One container, reachable at ``port`` of 127.0.0.1 only, removed when it stops."""

    def __init__(self, identifier: str, port: int) -> None:
        self._identifier = identifier
        self.port = port

    @classmethod
    def run(cls, image: str, port: int, environment: dict[str, str], *arguments: str) -> Container:
        """Start a container. Raises ServerMissingError with what the engine said."""
        variables = [option for name, value in environment.items() for option in ("--env", f"{name}={value}")]
        command = ["run", "--detach", "--rm", "--publish", f"127.0.0.1::{port}", *variables, image, *arguments]
        started = _docker(*command, seconds_max=_RUN_SECONDS_MAX)
        if started.returncode:
            raise ServerMissingError(f"the Docker engine could not start {image}: {started.stderr.strip()}")
        identifier = started.stdout.strip()
        shown = _docker("port", identifier, f"{port}/tcp").stdout.split()
        return cls(identifier, int(shown[0].rpartition(":")[2]))

    def wait_until_healthy(self, command: tuple[str, ...]) -> None:
        """Run a command inside until it succeeds. Raises ServerMissingError after a minute."""
        deadline = time.monotonic() + _READY_SECONDS_MAX
        while _docker("exec", self._identifier, *command).returncode:
            if time.monotonic() > deadline:
                self.remove()
                raise ServerMissingError(f"the container was not ready within {_READY_SECONDS_MAX:g} s")
            time.sleep(_POLL_SECONDS)

    def remove(self) -> None:
        """Stop it; the engine removes it."""
        _docker("rm", "--force", self._identifier)


def _docker(*arguments: str, seconds_max: float = _COMMAND_SECONDS_MAX) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # arguments of our own
        ["docker", *arguments],  # noqa: S607  # wherever it is installed
        capture_output=True,
        text=True,
        timeout=seconds_max,
        check=False,
    )
