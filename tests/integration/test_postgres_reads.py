"""Reads on large tables go through indices, in both kinds of database, and through a replica without going back."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from tests.real_servers import start_or_skip

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.domain.messages import ApprovalState
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import (
    Database,
    DatabaseUnavailableError,
    PostgresDatabase,
    SqliteDatabase,
    open_database,
)
from polaris_synapse.storage.migrate import upgrade_compliance, upgrade_orders
from polaris_synapse.storage.read_models import SqlReadModels
from polaris_synapse.storage.replica import ReplicatedDatabase
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.servers.postgres import NativePostgres, PostgresServer

pytestmark = pytest.mark.anyio

#: Tables that grow with time. The others hold a row an account, asset, symbol or scope.
LARGE = (
    schema.orders,
    schema.order_refusals,
    schema.order_lists,
    schema.executions,
    schema.ledger_entries,
    schema.decisions,
    schema.candles,
    schema.approvals,
    schema.alerts,
    schema.audit_entries,
)
ROWS = 4_000
READS: dict[str, Callable[[SqlReadModels], Awaitable[object]]] = {
    "an order by id": lambda read: read.order(account="account-1", order_id=7),
    "an order by client order id": lambda read: read.order(account="account-1", client_order_id="absent"),
    "an account's orders": lambda read: read.orders(account="account-1"),
    "an account's open orders": lambda read: read.orders(account="account-1", open_only=True),
    "all open orders": lambda read: read.orders(account=None, open_only=True),
    "orders of a symbol": lambda read: read.orders(account=None, symbol="symbol-3"),
    "a later page of orders": lambda read: read.orders(account=None, before_order_id=2_000),
    "an order list by id": lambda read: read.order_list(account="account-1", list_id=7),
    "an order list by client list id": lambda read: read.order_list(account="account-1", client_list_id="absent"),
    "an account's order lists": lambda read: read.order_lists(account="account-1"),
    "all order lists": lambda read: read.order_lists(account=None),
    "an account's fills": lambda read: read.executions(account="account-1"),
    "fills of a symbol": lambda read: read.executions(account=None, symbol="symbol-3"),
    "fills of an order": lambda read: read.executions(account="account-1", order_id=7),
    "all fills": lambda read: read.executions(account=None),
    "an account's ledger": lambda read: read.ledger(account="account-1"),
    "the whole ledger": lambda read: read.ledger(account=None, before_entry_id=1_000),
    "decisions": lambda read: read.decisions(),
    "decisions on a symbol": lambda read: read.decisions(symbol="symbol-3"),
    "a decision": lambda read: read.decision("decision_id-4"),
    "candles": lambda read: read.candles(symbol="symbol-3", interval_seconds=60),
    "approvals": lambda read: read.approvals(),
    "waiting approvals": lambda read: read.approvals(state=ApprovalState.PENDING),
    "the approval of an order": lambda read: read.approvals(client_order_id="client_order_id-7"),
    "an approval": lambda read: read.approval("approval_id-4"),
    "alerts": lambda read: read.alerts(),
    "an account's alerts": lambda read: read.alerts(account="account-1"),
    "open alerts": lambda read: read.alerts(status="status-1"),
    "the audit chain": lambda read: read.audit_entries(after_sequence=1_000),
}


def rows_of(table: sa.Table) -> list[dict[str, Any]]:
    """Made-up rows with about as many different values in each column as a desk has."""
    different = {"account": 50, "symbol": 40, "status": 40, "interval_seconds": 1}

    def value(column: sa.Column[Any], number: int) -> Any:
        number = number % different.get(column.name, ROWS)
        if column.name == "interval_seconds":
            return 60
        if isinstance(column.type, sa.SmallInteger):
            return int(number % 50 == 0)
        if isinstance(column.type, sa.BigInteger):
            return number
        return "{}" if column.name == "body" else f"{column.name}-{number}"

    return [{column.name: value(column, number) for column in table.columns} for number in range(1, ROWS + 1)]


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two empty databases of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/orders.db", f"sqlite:///{tmp_path}/compliance.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    names = [server.new_database(prefix) for prefix in ("orders", "compliance")]
    yield server.url(names[0]), server.url(names[1])
    for name in names:
        server.drop_database(name)


class Explained:
    """A database that keeps the plan of every query it is asked."""

    def __init__(self, database: Database) -> None:
        assert isinstance(database, SqliteDatabase | PostgresDatabase)
        self.database = database
        self.plans: list[str] = []

    async def read(self, work: Callable[[Connection], Any], /) -> Any:
        """Run the work; then ask for the plans of its statements."""
        asked: list[tuple[str, Any]] = []

        def watched(connection: Connection) -> Any:
            def note(_connection: Connection, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
                asked.append((statement, parameters))

            sa.event.listen(connection, "before_cursor_execute", note)
            try:
                return work(connection)
            finally:
                sa.event.remove(connection, "before_cursor_execute", note)

        def explain(connection: Connection) -> list[str]:
            prefix = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
            return [
                "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{prefix} {statement}", parameters))
                for statement, parameters in asked
            ]

        try:
            return await self.database.read(watched)
        finally:
            self.plans += await self.database.read(explain)

    async def write(self, work: Callable[[Connection], Any], /) -> Any:
        """As the database itself."""
        return await self.database.write(work)

    async def fence(self) -> None:
        """As the database itself."""

    async def close(self) -> None:
        """As the database itself."""
        await self.database.close()


async def nothing() -> None:
    """These reads wait for nobody."""


async def test_every_read_of_a_large_table_uses_an_index(urls: tuple[str, str]) -> None:
    """No question of the read models looks at every row of a table that grows with time."""
    orders, compliance = open_database(urls[0]), open_database(urls[1])
    await upgrade_orders(orders)
    await upgrade_compliance(compliance)
    for table in LARGE:
        database = compliance if table.metadata is schema.COMPLIANCE else orders

        def fill(connection: Connection, table: sa.Table = table) -> None:
            connection.execute(table.insert(), rows_of(table))

        await database.write(fill)
    for database in (orders, compliance):
        await database.write(run("ANALYZE"))
    explained = Explained(orders), Explained(compliance)
    read = SqlReadModels(*explained, nothing)
    for name, ask in READS.items():
        for one in explained:
            one.plans.clear()
        # The made-up bodies are no orders; the question has been asked all the same.
        with contextlib.suppress(msgspec.ValidationError):
            await ask(read)
        plans = "\n".join(plan for one in explained for plan in one.plans)
        assert plans, name
        for table in LARGE:
            assert f"Seq Scan on {table.name}" not in plans, f"{name}:\n{plans}"
            without_index = [
                line for line in plans.splitlines() if line.startswith(f"SCAN {table.name}") and "USING" not in line
            ]
            # SQLite's own rowid order is the primary key where that is one number.
            assert not without_index or (len(table.primary_key) == 1 and "TEMP B-TREE" not in plans), (
                f"{name}:\n{plans}"
            )
    for one in explained:
        await one.close()


@pytest.fixture(scope="module")
def primary() -> Iterator[NativePostgres]:
    """A server of our own, since a replica follows the whole of it."""
    server = start_or_skip(NativePostgres.create)
    yield server
    server.stop()


@pytest.fixture
def replica(primary: NativePostgres) -> Iterator[NativePostgres]:
    """A standby that follows it by streaming."""
    server = primary.replica()
    yield server
    server.stop()


def run(statement: str) -> Callable[[Connection], None]:
    """Work that runs one statement."""

    def work(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    return work


def insert(number: int) -> Callable[[Connection], None]:
    """Work that writes one number."""
    return run(f"INSERT INTO numbers VALUES ({number})")


def numbers(connection: Connection) -> list[int]:
    """What was written."""
    return [int(row[0]) for row in connection.exec_driver_sql("SELECT n FROM numbers ORDER BY n")]


async def follow(database: ReplicatedDatabase, count: int) -> None:
    """Read until the replica has answered ``count`` reads."""
    with anyio.fail_after(20):
        while database.replica_reads < count:
            await database.read(numbers)


async def test_reads_never_go_back_behind_a_fence(primary: NativePostgres, replica: NativePostgres) -> None:
    """A replica that lags is passed over until it has what was promised; one that follows answers again."""
    name = primary.new_database()
    clock = ManualClock()
    database = ReplicatedDatabase(open_database(primary.url(name)), open_database(replica.url(name)), clock)
    await database.write(run("CREATE TABLE numbers (n int)"))
    await database.fence()
    await follow(database, 1)
    replica.execute("SELECT pg_wal_replay_pause()")
    await database.write(insert(1))
    assert await database.read(numbers) == []  # nobody was promised the newest
    await database.fence()
    before = database.primary_reads
    assert await database.read(numbers) == [1]
    assert database.primary_reads == before + 1
    replica.execute("SELECT pg_wal_replay_resume()")
    await follow(database, database.replica_reads + 1)
    assert await database.read(numbers) == [1]
    await database.close()


async def test_a_replica_that_is_gone_or_promoted_answers_nothing(
    primary: NativePostgres, replica: NativePostgres
) -> None:
    """Reads go on at the primary, and a server that stopped following is never taken for a replica again."""
    name = primary.new_database()
    clock = ManualClock()
    database = ReplicatedDatabase(open_database(primary.url(name)), open_database(replica.url(name)), clock)
    await database.write(run("CREATE TABLE numbers (n int)"))
    await database.fence()
    await follow(database, 1)
    replica.kill()
    await database.write(insert(1))
    await database.fence()
    assert await database.read(numbers) == [1]
    replica.start()
    clock.advance(6.0)
    await follow(database, database.replica_reads + 1)
    replica.execute("SELECT pg_promote()")
    await database.write(insert(2))
    await database.fence()
    assert await database.read(numbers) == [1, 2]
    await database.close()


async def test_a_primary_that_is_gone_is_said(primary: NativePostgres, replica: NativePostgres) -> None:
    """Without the primary nobody can promise anything: the fence fails, reads without one still see the replica."""
    name = primary.new_database()
    primary.execute("CREATE TABLE numbers (n int)", database=name)
    database = ReplicatedDatabase(open_database(primary.url(name)), open_database(replica.url(name)), SystemClock())
    await database.fence()
    await follow(database, 1)
    primary.kill()
    try:
        with pytest.raises(DatabaseUnavailableError):
            await database.fence()
        assert await database.read(numbers) == []
    finally:
        primary.start()
        await database.close()
