"""One transaction of facts: what becomes of them in SQL, and how far the database has come with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final, Protocol

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy import Table
from sqlalchemy.engine import Connection, Dialect

from polaris_synapse.domain.messages import Message
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database
from polaris_synapse.storage.nul import escape_nul, replace_nul
from polaris_synapse.storage.projections import (
    COMPLIANCE_PROJECTIONS,
    ORDER_PROJECTIONS,
    STATUS_CHANGES,
    PlacedFact,
    Projection,
    Values,
)

#: Rows in one statement: at 17 columns a row it is far below SQLite's bound of 32,766 values.
_STATEMENT_ROWS: Final = 32
_upsert_texts: Final[dict[tuple[Table, str, int], str]] = {}


class ProjectorPlan(Struct, frozen=True):
    """What a projector makes of facts, and where it keeps how far it has come (None: its facts have no journal)."""

    projections: Mapping[type[Message], Projection]
    progress: Table | None


#: The desk's projectors by name.
PROJECTORS: Final[Mapping[str, ProjectorPlan]] = {
    "orders": ProjectorPlan(ORDER_PROJECTIONS, schema.ORDERS_PROGRESS),
    "compliance": ProjectorPlan(COMPLIANCE_PROJECTIONS, schema.COMPLIANCE_PROGRESS),
    "candles": ProjectorPlan(ORDER_PROJECTIONS, None),
}


class FactWrite(Struct, frozen=True, kw_only=True):
    """Facts of one projector for one transaction, which brings the database to ``offset`` of the journal.

    ``fact_offset``: the newest offset of a fact with consequences. ``recorded_offset`` is how far the projector
    believes the database to be; the database itself knows better, except where it still says ``first_recorded``, which
    recovery has set back.
    """

    projector: str
    offset: int
    fact_offset: int
    recorded_offset: int
    first_recorded: int | None


class FactWriter(Protocol):
    """Whoever writes facts into a database, one transaction after the other."""

    async def start(self) -> None:
        """Be ready to write. Raises DatabaseUnavailableError."""
        ...

    async def write(self, write: FactWrite, facts: Sequence[PlacedFact], /) -> None:
        """Write, and return once it is committed. Raises DatabaseUnavailableError; then it may be tried again."""
        ...

    async def close(self) -> None:
        """Let go of the database."""
        ...


class DatabaseWriter:
    """A FactWriter over a Database in this process, which somebody else closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self) -> None:
        """See FactWriter."""

    async def write(self, write: FactWrite, facts: Sequence[PlacedFact], /) -> None:
        """See FactWriter."""
        await self._database.write(lambda connection: apply_write(connection, write, facts))

    async def close(self) -> None:
        """See FactWriter."""


def apply_write(connection: Connection, write: FactWrite, facts: Sequence[PlacedFact]) -> None:
    """Write facts and the progress that they make, each fact once however often it comes."""
    plan = PROJECTORS[write.projector]
    if plan.progress is not None:
        recorded, _ = read_progress(connection, plan.progress, write.projector, lock=True)
        if recorded == write.first_recorded:
            recorded = write.recorded_offset
        # After a commit whose answer was lost the same facts come again; they are here already.
        if write.offset <= recorded:
            return
        facts = [fact for fact in facts if fact.offset > recorded]
    write_facts(connection, plan.projections, facts)
    if plan.progress is not None:
        connection.execute(
            schema.upsert(plan.progress, connection.dialect.name),
            [{"name": write.projector, "journal_offset": write.offset, "fact_offset": write.fact_offset}],
        )


def read_progress(connection: Connection, progress: Table, name: str, *, lock: bool = False) -> tuple[int, int]:
    """``(journal_offset, fact_offset)`` of a projector, zeros in a new database.

    ``lock``: until the transaction ends nobody else may move it, so that two processes that both believe to be the
    projector for a moment write one after the other. SQLite has one writer anyway.
    """
    query = sa.select(progress.c.journal_offset, progress.c.fact_offset).where(progress.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def write_facts(
    connection: Connection, projections: Mapping[type[Message], Projection], facts: Sequence[PlacedFact]
) -> None:
    """Write what facts become in SQL, in the transaction of ``connection``.

    Facts whose rows a later one replaces wholly are best left out before, see ``newest_only``.
    """
    rows, statuses = _rows(projections, facts)
    for table, found in rows.items():
        _write_rows(connection, table, found)
    for symbol, status in statuses.items():
        connection.execute(
            sa.update(schema.instruments).where(schema.instruments.c.symbol == symbol).values(status=status)
        )


def _rows(
    projections: Mapping[type[Message], Projection], facts: Sequence[PlacedFact]
) -> tuple[dict[Table, Collection[Values]], dict[str, str]]:
    """Rows by table, the last one of a key in the place of the ones before; and new instrument states.

    Of a table that is only appended to all rows are given: a second one of a key is left out where it is written.
    """
    appended: dict[Table, list[Values]] = {table: [] for table in schema.APPEND_ONLY}
    replaced: dict[Table, dict[Any, Values]] = {}
    statuses: dict[str, str] = {}
    for fact in facts:
        message = fact.message
        if isinstance(message, STATUS_CHANGES):
            statuses[message.symbol] = message.status.value
            continue
        for table, row in projections[type(message)](fact, message):
            if table in appended:
                appended[table].append(row)
                continue
            by_key = replaced.setdefault(table, {})
            key = _key_of(table)(row)
            before = by_key.get(key)
            by_key[key] = row if before is None else _replaced(table, before, row)
            if table is schema.instruments:
                statuses.pop(row[0], None)
    found: dict[Table, Collection[Values]] = {table: rows for table, rows in appended.items() if rows}
    return found | {table: by_key.values() for table, by_key in replaced.items()}, statuses


def _replaced(table: Table, before: Values, row: Values) -> Values:
    """The later row of a key, with what the first one sets for ever."""
    kept = schema.KEPT_COLUMNS.get(table)
    if not kept:
        return row
    columns = zip(table.columns, before, row, strict=True)
    return tuple(old if column.name in kept else new for column, old, new in columns)


def _write_rows(connection: Connection, table: Table, found: Collection[Values]) -> None:
    """Write rows past SQLAlchemy's handling of each, which took half of the time.

    SQLite lets go of the interpreter for each statement and has to wait for it again after each, behind whatever else
    runs in the process; so many rows go into one.
    """
    dialect = connection.dialect
    rows = list(found)
    if dialect.name == "postgresql":
        # A client may well send U+0000. The body, being JSON, keeps it escaped.
        clean = replace_nul if "body" in table.columns else escape_nul
        rows = [tuple(clean(value) if type(value) is str else value for value in row) for row in rows]
    done = 0
    if dialect.name == "sqlite":
        many = _upsert_text(table, dialect, _STATEMENT_ROWS)
        while len(rows) - done >= _STATEMENT_ROWS:
            values = chain.from_iterable(rows[done : done + _STATEMENT_ROWS])
            connection.exec_driver_sql(many, tuple(values))
            done += _STATEMENT_ROWS
    if done < len(rows):
        connection.exec_driver_sql(_upsert_text(table, dialect, 1), rows[done:])


def _upsert_text(table: Table, dialect: Dialect, rows: int) -> str:
    text = _upsert_texts.get((table, dialect.name, rows))
    if text is None:
        text = str(schema.upsert(table, dialect.name).compile(dialect=dialect))
        if rows > 1:
            place = f"({', '.join('?' * len(table.columns))})"
            assert text.count(place) == 1, text
            text = text.replace(place, ", ".join([place] * rows))
        _upsert_texts[table, dialect.name, rows] = text
    return text


@lru_cache(maxsize=64)
def _key_of(table: Table) -> Callable[[Values], Any]:
    """What reads a row's primary key."""
    names = [column.name for column in table.columns]
    return itemgetter(*(names.index(column.name) for column in table.primary_key))
