"""The desk's heartbeat: a small file that its event loop writes again every second, for those who watch from outside.

Written over in place, so it needs no new space on a full disk. A desk that stops on purpose removes it; one that dies
or hangs leaves it behind, growing old.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog
from msgspec import Struct

from polaris_synapse.bus.clock import Clock

HEARTBEAT_SECONDS: Final = 1.0
_FILE_NAME: Final = "heartbeat.json"
#: One write of a fixed size, well inside a disk block, so that nobody reads half of one and half of another.
_FILE_BYTES: Final = 128

_log = structlog.get_logger(__name__)


class Heartbeat(Struct, frozen=True):
    """When a desk last beat, and which process it is."""

    time_ns: int
    process_id: int


class HeartbeatWriter:
    """Beats into a data directory."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._path = directory / _FILE_NAME
        self._clock = clock

    async def run(self) -> None:
        """Beat until cancelled. A beat that cannot be written is logged once; the desk goes on."""
        failing = False
        while True:
            try:
                self.beat()
                failing = False
            except OSError as error:
                if not failing:
                    _log.warning("heartbeat_not_written", error=str(error))
                failing = True
            await anyio.sleep(HEARTBEAT_SECONDS)

    def beat(self) -> None:
        """One beat. Raises OSError."""
        beat = msgspec.json.encode(Heartbeat(time_ns=self._clock.now_ns(), process_id=os.getpid()))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, beat.ljust(_FILE_BYTES), 0)
        finally:
            os.close(descriptor)

    def end(self) -> None:
        """The desk stops on purpose: nobody need worry."""
        self._path.unlink(missing_ok=True)


def read_heartbeat(directory: Path) -> Heartbeat | None:
    """The last beat, or None where no desk runs that should."""
    try:
        return msgspec.json.decode((directory / _FILE_NAME).read_bytes().rstrip(), type=Heartbeat)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
