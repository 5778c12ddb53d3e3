"""Where the sources go on after a restart, or in another process: one small file, or a table that instances share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import anyio.to_thread
import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from polaris_synapse.agents.sources.port import SourceState
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database, DatabaseUnavailableError

_log = structlog.get_logger(__name__)
_TABLE: Final = schema.source_states


class StatesNotSavedError(RuntimeError):
    """The states could not be saved; the message says why, without anything that came from outside."""


class SourceStates(Protocol):
    """States by source key. Losing them costs repeated items, which count once, and the flows missed meanwhile."""

    async def load(self) -> dict[str, SourceState]:
        """What was saved; nothing where there is none or it cannot be read, which is logged."""
        ...

    async def save(self, states: Mapping[str, SourceState], /) -> None:
        """Put these in the place of what was saved. Raises StatesNotSavedError."""
        ...


class StateFile:
    """SourceStates in a file, written whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> dict[str, SourceState]:
        """See SourceStates."""
        return await anyio.to_thread.run_sync(self._load)

    def _load(self) -> dict[str, SourceState]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, SourceState])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError):
            _log.warning("sources_state_lost", file=self._path.name)
            return {}

    async def save(self, states: Mapping[str, SourceState], /) -> None:
        """See SourceStates."""
        data = msgspec.json.encode(states)
        try:
            await anyio.to_thread.run_sync(self._replace, data)
        except OSError as error:
            raise StatesNotSavedError(error.strerror or type(error).__name__) from error

    def _replace(self, data: bytes) -> None:
        temporary = self._path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


class StateTable:
    """SourceStates in SQL, a row a source. States of sources that are gone stay; nobody asks for them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[str, SourceState]:
        """See SourceStates."""
        try:
            rows = await self._database.read(
                lambda connection: connection.execute(sa.select(_TABLE.c.source, _TABLE.c.body)).all()
            )
            return {source: msgspec.json.decode(body, type=SourceState) for source, body in rows}
        except (DatabaseUnavailableError, msgspec.MsgspecError):
            _log.warning("sources_state_lost", table=_TABLE.name)
            return {}

    async def save(self, states: Mapping[str, SourceState], /) -> None:
        """See SourceStates."""
        rows = [{"source": key, "body": msgspec.json.encode(state).decode()} for key, state in states.items()]

        def saved(connection: Connection) -> None:
            connection.execute(schema.upsert(_TABLE, connection.dialect.name), rows)

        try:
            await self._database.write(saved)
        except DatabaseUnavailableError as error:
            raise StatesNotSavedError("the database cannot be written") from error
