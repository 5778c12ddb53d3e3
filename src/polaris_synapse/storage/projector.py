"""Writes facts into SQL, each exactly once.

A projector's progress is a row of the same database and moves in the same transaction as the facts, so a crash at any
moment leaves the two agreeing; the host publishes again whatever lies beyond.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final, Protocol

import anyio
import msgspec
import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import Table
from sqlalchemy.engine import Connection, Dialect

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.journal import WITHOUT_CONSEQUENCE
from polaris_synapse.bus.subscriptions import BusSubscription
from polaris_synapse.domain.messages import Message
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database, DatabaseUnavailableError
from polaris_synapse.storage.nul import escape_nul, replace_nul
from polaris_synapse.storage.projections import STATUS_CHANGES, Projection, newest_only

_FIRST_PAUSE_SECONDS: Final = 0.05
_encoder: Final = msgspec.json.Encoder()
#: Rows in one statement: at 16 columns a row it is far below SQLite's bound of 32,766 values.
_STATEMENT_ROWS: Final = 32
_upsert_texts: Final[dict[tuple[Table, str, int], str]] = {}
_log = structlog.get_logger("polaris_synapse.storage")


class FactSource(Protocol):
    """The host, as a projector sees it."""

    @property
    def released_offset(self) -> int:
        """Everything up to this offset of the journal has been published."""
        ...

    def attach(self, subscription: BusSubscription, *, records: bool) -> None:
        """Publish to this subscription; before recovery where it records."""
        ...


class ProjectorMetrics:
    """What projectors tell Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.facts: Final = Counter("polaris_storage_facts", "Facts written to SQL.", ["database"], registry=registry)
        self.failures: Final = Counter(
            "polaris_storage_write_failures", "Transactions that the database refused.", ["database"], registry=registry
        )
        self.offset: Final = Gauge(
            "polaris_storage_offset", "Journal offset up to which SQL has everything.", ["database"], registry=registry
        )


class Projector:
    """Keeps one database up with the facts of one subscription.

    ``progress`` is the table that holds how far it has come; None for facts that are not of the journal (candles).
    """

    def __init__(
        self,
        name: str,
        database: Database,
        projections: Mapping[type[Message], Projection],
        subscription: BusSubscription,
        *,
        progress: Table | None,
        source: FactSource,
        clock: Clock,
        metrics: ProjectorMetrics,
        batch_messages_max: int,
        retry_seconds_max: float,
        gather_seconds: float = 0.0,
    ) -> None:
        self.name = name
        self.subscription = subscription
        #: Why the last write failed, empty while all is well.
        self.problem = ""
        self._database = database
        self._projections = projections
        self._progress = progress
        self._source = source
        self._clock = clock
        self._metrics = metrics
        self._batch_messages_max = batch_messages_max
        self._retry_seconds_max = retry_seconds_max
        self._gather_seconds = gather_seconds
        self._hurry = asyncio.Event()
        self._fact_offset = subscription.fact_offset
        # Recovery may have set the subscription's progress back behind the database's.
        self._first_recorded: int | None = subscription.recorded_offset
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def run(self) -> None:
        """Write until the subscription closes and everything is written."""
        while (facts := await self.subscription.take(hold=True)) is not None:
            # Everything up to here has been published, so it is in these facts or was before.
            released = self._source.released_offset
            for chunk in chunks(facts, self._batch_messages_max):
                await self._write(chunk, released if chunk[-1] is facts[-1] else chunk[-1].offset)
                self.subscription.let_go(len(chunk))
                self._wake_waiting()
            await self._gather()
        await self.record_progress()

    async def _gather(self) -> None:
        """Let facts gather for a moment, unless somebody waits to read them.

        A transaction costs as much as dozens of rows, and a row that changes often is then written once.
        """
        self._hurry.clear()
        if self._gather_seconds and not self._waiting and not self.subscription.is_closed:
            with anyio.move_on_after(self._gather_seconds):
                await self._hurry.wait()

    async def record_progress(self) -> None:
        """Record that nothing is missing although nothing was written for a while, so that a restart replays less."""
        released = self._source.released_offset
        behind = released > self.subscription.recorded_offset
        if self._progress is not None and behind and not self.subscription.backlog_messages:
            await self._write((), released)

    async def caught_up(self) -> None:
        """Return once everything published before the call is written."""
        target = self.subscription.published
        if self.subscription.taken < target:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((target, future))
            self._hurry.set()
            await future

    def _wake_waiting(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.subscription.taken:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)

    async def _write(self, facts: Sequence[Envelope], offset: int) -> None:
        """One transaction, tried again until the database takes it: facts wait for it, they are never skipped."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._database.write(lambda connection: self._transaction(connection, facts, offset))
            except DatabaseUnavailableError as error:
                if not self.problem:
                    _log.error("read_models_unwritable", database=self.name, error=str(error))
                self.problem = str(error)
                self._metrics.failures.labels(self.name).inc()
                await self._clock.sleep(pause)
                pause = min(pause * 2, self._retry_seconds_max)
            else:
                break
        if self.problem:
            _log.info("read_models_writable_again", database=self.name)
            self.problem = ""
        self._metrics.facts.labels(self.name).inc(len(facts))
        if self._progress is not None:
            self._first_recorded = None
            self._fact_offset = self._newest_consequence(facts)
            self.subscription.recorded_offset = offset
            self._metrics.offset.labels(self.name).set(offset)

    def _transaction(self, connection: Connection, facts: Sequence[Envelope], offset: int) -> None:
        dialect = connection.dialect.name
        if self._progress is not None:
            recorded, _ = read_progress(connection, self._progress, self.name, lock=True)
            if recorded == self._first_recorded:
                recorded = self.subscription.recorded_offset
            # After a commit whose answer was lost the same facts come again; they are here already.
            facts = [fact for fact in facts if fact.offset > recorded]
            if offset <= recorded:
                return
        write_facts(connection, self._projections, facts)
        if self._progress is not None:
            connection.execute(
                schema.upsert(self._progress, dialect),
                [{"name": self.name, "journal_offset": offset, "fact_offset": self._newest_consequence(facts)}],
            )

    def _newest_consequence(self, facts: Sequence[Envelope]) -> int:
        """Facts come in the order of their offsets, so that the first from behind is the newest."""
        newest = (fact.offset for fact in reversed(facts) if type(fact.message) not in WITHOUT_CONSEQUENCE)
        return next(newest, self._fact_offset)


def write_facts(
    connection: Connection, projections: Mapping[type[Message], Projection], facts: Sequence[Envelope]
) -> None:
    """Write what facts become in SQL, in the transaction of ``connection``."""
    rows, statuses = _rows(projections, facts)
    for table, found in rows.items():
        _write_rows(connection, table, _values(table, found, connection.dialect.name))
    for symbol, status in statuses.items():
        connection.execute(
            sa.update(schema.instruments).where(schema.instruments.c.symbol == symbol).values(status=status)
        )


def _rows(
    projections: Mapping[type[Message], Projection], facts: Sequence[Envelope]
) -> tuple[dict[Table, Collection[dict[str, Any]]], dict[str, str]]:
    """Rows by table, the last one of a key in the place of the ones before; and new instrument states.

    Of a table that is only appended to all rows are given: a second one of a key is left out where it is written.
    """
    appended: dict[Table, list[dict[str, Any]]] = {}
    replaced: dict[Table, dict[Any, dict[str, Any]]] = {}
    statuses: dict[str, str] = {}
    for fact in newest_only(facts):
        message = fact.message
        if isinstance(message, STATUS_CHANGES):
            statuses[message.symbol] = message.status.value
            continue
        for table, row in projections[type(message)](fact, message):
            if table in schema.APPEND_ONLY:
                appended.setdefault(table, []).append(row)
                continue
            by_key = replaced.setdefault(table, {})
            key = _key_of(table)(row)
            before = by_key.setdefault(key, row)
            if before is not row:
                kept = schema.KEPT_COLUMNS.get(table, frozenset())
                by_key[key] = row | {column: before[column] for column in kept}
            if table is schema.instruments:
                statuses.pop(row["symbol"], None)
    return appended | {table: by_key.values() for table, by_key in replaced.items()}, statuses


def _write_rows(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    """Write rows past SQLAlchemy's handling of each, which took half of the time.

    SQLite lets go of the interpreter for each statement and has to wait for it again after each, behind whatever the
    order path does then; so many rows go into one.
    """
    done = 0
    if connection.dialect.name == "sqlite":
        many = _upsert_text(table, connection.dialect, _STATEMENT_ROWS)
        while len(rows) - done >= _STATEMENT_ROWS:
            values = chain.from_iterable(rows[done : done + _STATEMENT_ROWS])
            connection.exec_driver_sql(many, tuple(values))
            done += _STATEMENT_ROWS
    if done < len(rows):
        connection.exec_driver_sql(_upsert_text(table, connection.dialect, 1), rows[done:])


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
def _key_of(table: Table) -> Callable[[dict[str, Any]], Any]:
    """What reads a row's primary key."""
    return itemgetter(*(column.name for column in table.primary_key))


@lru_cache(maxsize=64)
def _values_of(table: Table) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """What reads a row's values in the order of the table's columns."""
    read: Callable[[dict[str, Any]], tuple[Any, ...]] = itemgetter(*(column.name for column in table.columns))
    return read


def _values(table: Table, rows: Collection[dict[str, Any]], dialect: str) -> list[tuple[Any, ...]]:
    """Rows in the order of the table's columns, with the body as JSON."""
    read = _values_of(table)
    if "body" in table.columns:
        for row in rows:
            row["body"] = _encoder.encode(row["body"]).decode()
    found = [read(row) for row in rows]
    if dialect != "postgresql":
        return found
    # A client may well send U+0000. The body, being JSON, keeps it escaped.
    clean = replace_nul if "body" in table.columns else escape_nul
    return [tuple(clean(value) if type(value) is str else value for value in row) for row in found]


def chunks(facts: Sequence[Envelope], size_max: int) -> list[Sequence[Envelope]]:
    """Parts of about ``size_max``, never split between two facts of one offset: progress counts whole inputs."""
    found: list[Sequence[Envelope]] = []
    start = 0
    while start < len(facts):
        end = min(start + size_max, len(facts))
        while end < len(facts) and facts[end].offset == facts[end - 1].offset:
            end += 1
        found.append(facts[start:end])
        start = end
    return found


def read_progress(connection: Connection, progress: Table, name: str, *, lock: bool = False) -> tuple[int, int]:
    """``(journal_offset, fact_offset)`` of a projector, zeros in a new database.

    ``lock``: until the transaction ends nobody else may move it, so that two processes that both believe to be the
    projector for a moment write one after the other. SQLite has one writer anyway.
    """
    query = sa.select(progress.c.journal_offset, progress.c.fact_offset).where(progress.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))
