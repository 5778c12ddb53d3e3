"""Where calls, cases and spending are kept: in a file of the desk, or in tables that a cluster's services share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import anyio
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database, DatabaseUnavailableError, open_database

FILE_NAME: Final = "models.sqlite3"
#: What goes wrong with a database: it is away, its disk is full, its file is damaged.
DATABASE_ERRORS: Final = (DatabaseUnavailableError, sa.exc.SQLAlchemyError)
#: Of all processes that reserve at once in one PostgreSQL database, one does and the others wait.
_RESERVING_LOCK: Final = 7_203_113_941_882_302

T = TypeVar("T")


class ModelDatabase:
    """The tables ``model_records`` and ``model_spending`` of a database, opened when it is first needed.

    ``makes_tables``: they are made then too, as nobody else does for a file of the desk's own.
    """

    def __init__(self, opened: Callable[[], Database], *, makes_tables: bool = False) -> None:
        self._open = opened
        self._makes_tables = makes_tables
        self._database: Database | None = None
        self._opening = anyio.Lock()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in one transaction."""
        return await (await self._ready()).write(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work``, which only reads."""
        return await (await self._ready()).read(work)

    async def close(self) -> None:
        """Let go of the database. It is opened again where it is needed again."""
        database, self._database = self._database, None
        if database is not None:
            await database.close()

    async def _ready(self) -> Database:
        if self._database is None:
            async with self._opening:
                if self._database is None:
                    opened = self._open()
                    if self._makes_tables:
                        await opened.write(_make_tables)
                    self._database = opened
        return self._database


def file_database(path: Path) -> ModelDatabase:
    """The file of a desk in one process."""
    return ModelDatabase(lambda: opened_database(f"sqlite:///{path}"), makes_tables=True)


def opened_database(url: str) -> Database:
    """A database in which spending survives a power cut, or a restart could spend the day's money twice."""
    return open_database(url, synchronous="FULL", readers_max=1)


def hold_reservations(connection: Connection) -> None:
    """Let this transaction be the only one that reserves, in any process. The first statement of the transaction.

    SQLite does it by itself where the transaction begins with a change.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_RESERVING_LOCK})"))


def _make_tables(connection: Connection) -> None:
    schema.ORDERS.create_all(connection, tables=[schema.model_records, schema.model_spending])
