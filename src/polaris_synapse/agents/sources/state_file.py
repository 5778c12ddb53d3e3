"""Where the sources go on after a restart: one small file, written whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from polaris_synapse.agents.sources.port import SourceState

_log = structlog.get_logger(__name__)


class StateFile:
    """States by source key. Losing the file costs repeated items, which count once, and the flows missed meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, SourceState]:
        """What was saved; nothing where there is no file or it cannot be read, which is logged."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, SourceState])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError):
            _log.warning("sources_state_lost", file=self._path.name)
            return {}

    def save(self, states: Mapping[str, SourceState]) -> None:
        """Replace the file. Raises OSError."""
        temporary = self._path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(states))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
