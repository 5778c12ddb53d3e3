"""A database behind one small port: run this piece of synchronous SQLAlchemy code in one transaction.

SQLite runs in threads of our own, one for writes and a few for reads: one hop a transaction, against one a statement
through aiosqlite (0.5 against 3.1 ms for a transaction of five upserts). PostgreSQL runs on asyncpg.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

T = TypeVar("T")

_BUSY_MILLISECONDS: Final = 10_000
#: Pages of 4 KiB that the write-ahead log gathers before they are copied into the file: pages that change often are
#: then copied once. SQLite's own 1,000 made a row a quarter dearer.
_WAL_PAGES_MAX: Final = 8_000
#: Classes of PostgreSQL's codes for what passes: the connection was lost, resources ran out, the server starts or
#: stops, the transaction lost a race.
_PASSING_CLASSES: Final = frozenset({"08", "53", "57", "40"})
#: Writes refused as read-only: this is a standby, or a primary that was just demoted.
_PASSING_STATES: Final = frozenset({"25006"})
_CONNECT_SECONDS_MAX: Final = 5
#: Long enough for a migration of a big table, which runs over the same connection.
_STATEMENT_SECONDS_MAX: Final = 300


class DatabaseUnavailableError(RuntimeError):
    """The database cannot be reached or written at the moment; trying again later may work."""


class DatabaseUrlError(ValueError):
    """A database URL that the desk cannot use."""


def sqlstate(error: sa.exc.DBAPIError) -> str:
    """PostgreSQL's five characters for what went wrong; empty where it gave none."""
    for one in (error.orig, getattr(error.orig, "__cause__", None)):
        code = getattr(one, "sqlstate", None)
        if isinstance(code, str):
            return code
    return ""


class Database(Protocol):
    """Transactions on one database. Work given to ``write`` runs one after the other."""

    async def write(self, work: Callable[[Connection], T], /) -> T:
        """Run ``work`` in one transaction; it is committed where ``work`` returns. Raises DatabaseUnavailableError."""
        ...

    async def read(self, work: Callable[[Connection], T], /) -> T:
        """Run ``work``, which only reads. Raises DatabaseUnavailableError."""
        ...

    async def fence(self) -> None:
        """From now on reads see at least what was committed before. Raises DatabaseUnavailableError."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


def open_database(url: str, *, synchronous: str = "NORMAL", readers_max: int = 2) -> Database:
    """A database by its SQLAlchemy URL; connects when first used.

    ``synchronous`` is SQLite's: NORMAL may lose the newest commits in a power cut, which a projector makes again.
    Raises DatabaseUrlError for a URL of another kind.
    """
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise DatabaseUrlError("a database URL looks like sqlite:///data/orders.db") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise DatabaseUrlError("a SQLite database of the desk is a file: sqlite:///data/orders.db")
        return SqliteDatabase(parsed.database, synchronous=synchronous, readers_max=readers_max)
    if backend == "postgresql":
        return PostgresDatabase(url, readers_max=readers_max)
    raise DatabaseUrlError(f"the desk stores its read models in SQLite or PostgreSQL, not in {backend}")


def sqlite_file(url: str) -> str | None:
    """The file of a SQLite database by its URL; None for a database of another kind."""
    parsed = make_url(url)
    return parsed.database if parsed.get_backend_name() == "sqlite" else None


def sqlite_engine(path: str, *, synchronous: str, connections_max: int) -> Engine:
    """Connections to one SQLite file, in WAL mode so that reads and writes do not wait for each other."""
    engine = sa.create_engine(
        f"sqlite:///{path}",
        pool_size=connections_max,
        max_overflow=0,
        # An error must not carry people's data into the log.
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            f"busy_timeout={_BUSY_MILLISECONDS}",
            f"wal_autocheckpoint={_WAL_PAGES_MAX}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


class SqliteDatabase:
    """A Database in one SQLite file."""

    def __init__(self, path: str, *, synchronous: str = "NORMAL", readers_max: int = 2) -> None:
        self._engine = sqlite_engine(path, synchronous=synchronous, connections_max=readers_max + 1)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sql-write")
        self._readers = ThreadPoolExecutor(readers_max, thread_name_prefix="sql-read")

    async def write(self, work: Callable[[Connection], T], /) -> T:
        """See Database."""

        def transaction() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        return await self._run(self._writer, transaction)

    async def read(self, work: Callable[[Connection], T], /) -> T:
        """See Database."""

        def transaction() -> T:
            with self._engine.connect() as connection:
                return work(connection)

        return await self._run(self._readers, transaction)

    async def fence(self) -> None:
        """See Database: every read here sees the newest commit."""

    async def _run(self, threads: ThreadPoolExecutor, transaction: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, transaction)
        except sa.exc.OperationalError as error:
            raise DatabaseUnavailableError(str(error.orig)) from error

    async def close(self) -> None:
        """See Database."""
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        self._engine.dispose()


class PostgresDatabase:
    """A Database in PostgreSQL, over asyncpg (the extra ``cluster``)."""

    def __init__(self, url: str, *, readers_max: int = 2) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine

        self._engine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=readers_max + 1,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            # A server that stopped answering is one that is gone: nobody waits for it without end.
            connect_args={
                "timeout": _CONNECT_SECONDS_MAX,
                "command_timeout": _STATEMENT_SECONDS_MAX,
                "server_settings": {"application_name": "polaris-synapse"},
            },
        )
        self._writing = asyncio.Lock()

    async def write(self, work: Callable[[Connection], T], /) -> T:
        """See Database."""
        async with self._writing:
            return await self._run(work)

    async def read(self, work: Callable[[Connection], T], /) -> T:
        """See Database."""
        return await self._run(work)

    async def fence(self) -> None:
        """See Database: every read here sees the newest commit."""

    async def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)
        except (sa.exc.OperationalError, sa.exc.InterfaceError, OSError) as error:
            raise DatabaseUnavailableError(str(error)) from error
        except sa.exc.DBAPIError as error:
            state = sqlstate(error)
            if error.connection_invalidated or state[:2] in _PASSING_CLASSES or state in _PASSING_STATES:
                raise DatabaseUnavailableError(str(error.orig)) from error
            raise

    async def close(self) -> None:
        """See Database."""
        await self._engine.dispose()
