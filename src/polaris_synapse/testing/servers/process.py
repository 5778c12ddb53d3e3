"""One server process in a folder of its own: started, waited for, stopped or killed by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from polaris_synapse.testing.servers.policy import is_root

_READY_SECONDS_MAX: Final = 30.0
_STOP_SECONDS_MAX: Final = 20.0
_POLL_SECONDS: Final = 0.02
_LOG_CHARACTERS: Final = 2_000


class ServerDidNotStartError(RuntimeError):
    """The process ended, or was not ready in time; the message holds the end of what it printed."""


class ServerProcess:
    """A server in the foreground. ``ready`` is asked until it says True. ``user`` counts only where this is root.

    Its log is ``server.log`` in ``folder``. Starting again after ``kill`` runs the same command over the same folder.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        ready: Callable[[], bool],
        *,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        name: str = "server",
        ready_seconds_max: float = _READY_SECONDS_MAX,
    ) -> None:
        self._command = list(command)
        self._folder = folder
        self._ready = ready
        self._user = user if is_root() else None
        self._stop_signal = stop_signal
        self._ready_seconds_max = ready_seconds_max
        self.log_file = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process_id(self) -> int:
        """The operating system's id. Only while it runs."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return when it is ready. Raises ServerDidNotStartError."""
        assert not self.is_running, "the server runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # a server's own program, found by name
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                env={name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ},
                # A Ctrl-C at the terminal is for the tests, which then stop the server in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + self._ready_seconds_max
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                how = "ended" if self._process.poll() is not None else "was not ready in time"
                self.kill()
                raise ServerDidNotStartError(f"{self._command[0]} {how}:\n{self.log()}")
            time.sleep(_POLL_SECONDS)

    def log(self) -> str:
        """The end of what it printed."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")[-_LOG_CHARACTERS:]

    def stop(self) -> None:
        """Ask it to end, and wait; killed where it does not. Nothing happens where it does not run."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """SIGKILL: as a power cut would."""
        self._end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send any signal, such as SIGSTOP for a server that hangs."""
        os.kill(self.process_id, number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(timeout=_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def server_folder(name: str, *, user: str | None = None) -> Path:
    """A new folder for a server that another user may enter; pytest's own folders are for the tester alone."""
    folder = Path(tempfile.mkdtemp(prefix=f"polaris-{name}-"))
    folder.chmod(0o755)
    if user is not None and is_root():
        shutil.chown(folder, user, user)
    return folder


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now, all different."""
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket()
            held.append(one)
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def listens(port: int) -> bool:
    """Whether something takes connections on a port of 127.0.0.1."""
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0
