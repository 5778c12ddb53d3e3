"""Stops that could not be journaled, in a file whose space was set aside when the disk still had some."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from polaris_synapse.domain.messages import ActivateBreaker, Command, SetKillLevel

_FILE_NAME: Final = "emergency-stops.json"
_FILE_BYTES: Final = 65_536
_DECODER: Final = msgspec.json.Decoder(tuple[SetKillLevel | ActivateBreaker, ...])

_log = structlog.get_logger(__name__)


class StopFile:
    """The file in a data directory. Written over in place, so a full disk does not stand in the way."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE_NAME

    def set_aside(self) -> None:
        """Make the file where it is missing. Raises OSError."""
        if not self._path.is_file() or self._path.stat().st_size != _FILE_BYTES:
            self._path.write_bytes(b"[]".ljust(_FILE_BYTES))

    def recall(self) -> Sequence[Command]:
        """The stops that an earlier process could not journal."""
        try:
            return _DECODER.decode(self._path.read_bytes().rstrip())
        except FileNotFoundError:
            return ()
        except msgspec.DecodeError as error:
            # Half of it was written when the power went. Nobody was told that it was kept.
            _log.error("emergency_stops_unreadable", path=str(self._path), error=str(error))
            return ()

    def remember(self, stops: Sequence[Command]) -> None:
        """Write them down, durably. Raises OSError."""
        data = msgspec.json.encode(stops)
        if len(data) > _FILE_BYTES:
            raise OSError(f"more than {_FILE_BYTES} bytes of stops")
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, data.ljust(_FILE_BYTES), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
