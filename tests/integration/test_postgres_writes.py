"""The projector on a real PostgreSQL that dies under it, and what the desk's own user may not do there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import sqlalchemy as sa
from msgspec import Struct
from prometheus_client import CollectorRegistry
from sqlalchemy.engine import Connection
from tests.real_servers import start_or_skip

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.core import NOTHING
from polaris_synapse.domain import messages as m
from polaris_synapse.storage.database import Database, open_database
from polaris_synapse.storage.migrate import SchemaVersionError, upgrade_compliance, upgrade_orders
from polaris_synapse.storage.nul import escape_nul, unescape_nul
from polaris_synapse.storage.service import StorageService
from polaris_synapse.storage.settings import StorageSettings
from polaris_synapse.testing.bus import build_host
from polaris_synapse.testing.cascade import FunctionCore
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.journal import MemoryJournal
from polaris_synapse.testing.servers.postgres import NativePostgres, PostgresServer

pytestmark = pytest.mark.anyio

NOTES = 400


def entry(sequence: int) -> m.AuditEntry:
    """A link of the audit chain."""
    return m.AuditEntry(
        time_ns=sequence,
        sequence=sequence,
        actor="desk",
        action="test",
        subject="s",
        detail="d",
        previous_hash="0" * 64,
        entry_hash=f"{sequence:064x}",
    )


def say(message: m.Message) -> Sequence[m.Message]:
    """A compliance room that makes one audit entry a note."""
    if isinstance(message, m.AuditNote):
        return [entry(int(message.action))]
    return NOTHING


def run(statement: str) -> Callable[[Connection], None]:
    """Work that runs one statement."""

    def work(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    return work


@pytest.fixture
def server() -> Iterator[NativePostgres]:
    """A server that a test may kill."""
    found = start_or_skip(NativePostgres.create)
    yield found
    found.stop()


@pytest.mark.parametrize("how", ["the server is killed", "connections are cut"])
async def test_a_projector_loses_and_repeats_nothing_when_its_database_dies(server: NativePostgres, how: str) -> None:
    """However often the database goes away in the middle of transactions, every fact is there once, in order."""
    names = [server.new_database() for _ in range(2)]
    settings = StorageSettings(
        orders_url=server.url(names[0]),
        compliance_url=server.url(names[1]),
        batch_messages_max=7,
        gather_seconds=0.0,
        retry_seconds_max=0.1,
        caught_up_seconds_max=60.0,
    )
    journal = MemoryJournal()

    def hurt() -> None:
        if how == "connections are cut":
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'polaris-synapse' AND pid <> pg_backend_pid()"
            )
        else:
            server.kill()
            server.start()

    cores = [FunctionCore("risk"), FunctionCore("compliance", say), FunctionCore("market_data")]
    host = build_host(cores, journal=journal)
    storage = StorageService(host, settings, SystemClock(), CollectorRegistry())
    await storage.prepare()
    async with anyio.create_task_group() as group:
        group.start_soon(storage.run)
        await host.start()
        for number in range(1, NOTES + 1):
            await host.send([m.AuditNote(time_ns=1, actor="t", action=str(number))])
            if number % 100 == 50:
                await anyio.to_thread.run_sync(hurt)
        await storage.read_models.caught_up()
        found = await storage.read_models.audit_entries(limit=1000)
        assert found == [entry(number) for number in range(1, NOTES + 1)]
        await host.stop()


_PROJECT = """
import sys, anyio
from prometheus_client import CollectorRegistry
from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.domain import messages as m
from polaris_synapse.storage.service import StorageService
from polaris_synapse.storage.settings import StorageSettings
from polaris_synapse.testing.bus import build_host
from polaris_synapse.testing.cascade import FunctionCore
from polaris_synapse.testing.journal import MemoryJournal
from polaris_synapse.storage.database import open_database

def entry(n):
    return m.AuditEntry(time_ns=n, sequence=n, actor="desk", action="test", subject="s", detail="d",
                        previous_hash="0" * 64, entry_hash=f"{n:064x}")

def say(message):
    return [entry(int(message.action))] if isinstance(message, m.AuditNote) else ()

async def main(orders, compliance, notes):
    journal = MemoryJournal()
    for n in range(1, notes + 1):
        journal.append([m.AuditNote(time_ns=1, actor="t", action=str(n))])
    settings = StorageSettings(orders_url=orders, compliance_url=compliance, batch_messages_max=5, gather_seconds=0.0,
                               caught_up_seconds_max=60.0)
    host = build_host([FunctionCore("risk"), FunctionCore("compliance", say), FunctionCore("market_data")],
                      journal=journal)
    storage = StorageService(host, settings, SystemClock(), CollectorRegistry())
    await storage.prepare()
    async with anyio.create_task_group() as group:
        group.start_soon(storage.run)
        await host.start()
        await storage.read_models.caught_up()
        print("all", flush=True)
        await host.stop()

anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


async def test_a_projector_that_is_killed_goes_on_where_it_was(postgres_server: PostgresServer) -> None:
    """SIGKILL between two batches, again and again: progress only grows, and at the end every fact is there once."""
    names = [postgres_server.new_database() for _ in range(2)]
    urls = [postgres_server.url(name) for name in names]
    database = open_database(urls[1])
    await upgrade_compliance(database)
    count = sa.text("SELECT count(*), coalesce(max(sequence), 0) FROM audit_entries")

    async def written() -> tuple[int, int]:
        rows = await database.read(lambda connection: connection.execute(count).one())
        return int(rows[0]), int(rows[1])

    seen = 0
    for kill_after in (60, 200, None):
        process = await anyio.open_process(
            [sys.executable, "-c", _PROJECT, *urls, "600"], stdout=subprocess.PIPE, stderr=None
        )
        async with process:
            with anyio.fail_after(60):
                if kill_after is None:
                    await process.wait()
                    assert process.returncode == 0
                else:
                    while (await written())[0] < kill_after and process.returncode is None:
                        await anyio.lowlevel.checkpoint()
                    process.kill()
        rows, newest = await written()
        # Entries come in order and without a gap: as many as the number of the newest.
        assert rows == newest >= seen
        seen = rows
    assert seen == 600
    await database.close()
    for name in names:
        postgres_server.drop_database(name)


class Roles(Struct, frozen=True):
    """A database that one user owns and another one, the desk, works in."""

    name: str
    owner: tuple[str, str]
    desk: tuple[str, str]


@pytest.fixture
def roles(postgres_server: PostgresServer) -> Iterator[Roles]:
    """The two users of the compliance database, as a deployment has them."""
    owner, desk = postgres_server.new_role("owner"), postgres_server.new_role("compliance")
    name = postgres_server.new_database("compliancedb", owner=owner[0])
    yield Roles(name, owner, desk)
    postgres_server.drop_database(name)
    postgres_server.drop_role(owner[0])
    postgres_server.drop_role(desk[0])


def opened(server: PostgresServer, roles: Roles, user: tuple[str, str]) -> Database:
    """The database as one of its users."""
    return open_database(server.url(roles.name, user=user[0], password=user[1]))


INSERT = (
    "INSERT INTO audit_entries (sequence, time_ns, actor, action, subject, detail, previous_hash, entry_hash) "
    "VALUES (1, 1, 'desk', 'a', 's', 'd', 'p', 'h') ON CONFLICT (sequence) DO NOTHING"
)
CHANGES = (
    "UPDATE audit_entries SET actor = 'me'",
    "DELETE FROM audit_entries",
    "TRUNCATE audit_entries",
    "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
    "DROP TABLE audit_entries",
    "SET session_replication_role = 'replica'",
    "DELETE FROM alerts",
)


async def test_the_desks_user_can_add_to_the_audit_log_and_nothing_else(
    postgres_server: PostgresServer, roles: Roles
) -> None:
    """As the desk's own user UPDATE, DELETE, TRUNCATE and every way around the guard are refused by PostgreSQL."""
    owner, desk = opened(postgres_server, roles, roles.owner), opened(postgres_server, roles, roles.desk)
    assert await upgrade_compliance(owner, application_user=roles.desk[0])
    assert not await upgrade_compliance(desk)
    await desk.write(run(INSERT))
    for change in CHANGES:
        with pytest.raises(sa.exc.DBAPIError, match=r"permission denied|must be owner"):
            await desk.write(run(change))
    rows = await desk.read(lambda connection: connection.exec_driver_sql("SELECT actor FROM audit_entries").all())
    assert [row[0] for row in rows] == ["desk"]
    await owner.close()
    await desk.close()


async def test_the_owner_too_is_refused_by_the_guard(postgres_server: PostgresServer, roles: Roles) -> None:
    """Where one user is both owner and desk, the tables' trigger and the revoked rights refuse all the same."""
    owner = opened(postgres_server, roles, roles.owner)
    assert await upgrade_compliance(owner)
    await owner.write(run(INSERT))
    for change in CHANGES[:3]:
        with pytest.raises(sa.exc.DBAPIError, match=r"permission denied|never changed or deleted"):
            await owner.write(run(change))
    await owner.close()


async def test_a_user_who_may_not_make_tables_is_told_what_to_run(
    postgres_server: PostgresServer, roles: Roles
) -> None:
    """A desk that finds no tables and may not make them names the command that does."""
    desk = opened(postgres_server, roles, roles.desk)
    with pytest.raises(SchemaVersionError, match="polaris database migrate"):
        await upgrade_compliance(desk)
    await desk.close()


async def test_two_processes_that_migrate_at_once_both_succeed(postgres_server: PostgresServer) -> None:
    """One makes the tables, the other waits and finds them made."""
    name = postgres_server.new_database()
    databases = [open_database(postgres_server.url(name)) for _ in range(3)]
    done: list[bool] = []

    async def migrate(database: Database) -> None:
        done.append(await upgrade_orders(database))

    async with anyio.create_task_group() as group:
        for database in databases:
            group.start_soon(migrate, database)
    assert sorted(done) == [False, False, True]
    for database in databases:
        await database.close()
    postgres_server.drop_database(name)


@pytest.mark.parametrize("text", ["", "plain", "a\0b", "\0", "\U000f0000", "\U000f00000", "\U000f0000\0\0\U000f0000"])
async def test_nul_comes_back(text: str) -> None:
    """What PostgreSQL cannot hold is escaped, and every text comes back as it was."""
    assert "\0" not in escape_nul(text)
    assert unescape_nul(escape_nul(text)) == text


@pytest.fixture
def environment(postgres_server: PostgresServer, roles: Roles) -> Iterator[dict[str, str]]:
    """A deployment's environment: URLs without passwords, passwords in variables of their own."""
    owner, desk = postgres_server.new_role("owner"), postgres_server.new_role("matcher")
    orders = postgres_server.new_database("orderdb", owner=owner[0])

    def url(database: str, user: str) -> str:
        return postgres_server.url(database, user=user, password="").replace(f"{user}:@", f"{user}@")

    yield {
        "POLARIS_DATABASES__ORDERS_URL": url(orders, desk[0]),
        "POLARIS_DATABASES__ORDERS_OWNER_URL": postgres_server.url(orders, user=owner[0], password=owner[1]),
        "POLARIS_DATABASES__COMPLIANCE_URL": url(roles.name, roles.desk[0]),
        "POLARIS_DATABASES__COMPLIANCE_OWNER_URL": url(roles.name, roles.owner[0]),
        "DB_PASSWORD": desk[1],
        "COMPLIANCE_DB_PASSWORD": roles.desk[1],
        "DB_OWNER_PASSWORD": roles.owner[1],
    }
    postgres_server.drop_database(orders)
    postgres_server.drop_role(owner[0])
    postgres_server.drop_role(desk[0])


def polaris(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing of this process's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POLARIS_")}
    return subprocess.run(
        [sys.executable, "-m", "polaris_synapse.cli.main", *arguments],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_migrates_as_the_owner(environment: dict[str, str]) -> None:
    """`show` says what is missing, `migrate` makes it as the owner, and no password is printed."""
    before = polaris(["database", "show", "--json"], environment)
    assert (before.returncode, '"version": ""' in before.stdout) == (1, True), before.stderr
    for said in ("orders: migrated", "orders: up to date"):
        done = polaris(["database", "migrate"], environment)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert not [secret for name, secret in environment.items() if "PASSWORD" in name and secret in done.stdout]
    assert polaris(["database", "show"], environment).returncode == 0


def test_a_desk_trades_on_postgresql(tmp_path: Path, environment: dict[str, str]) -> None:
    """A whole desk over PostgreSQL as its restricted users: an order is placed, read back, and there after a kill."""
    assert polaris(["database", "migrate"], environment).returncode == 0
    with DeskProcess(tmp_path / "desk", environment=environment) as desk:
        body = {
            "account": "main",
            "client_order_id": "pg-1",
            "symbol": "BTCUSDT.INT",
            "side": "BUY",
            "type": "LIMIT",
            "quantity": "0.001",
            "price": "60000.00",
        }
        answer = desk.json("gateway", "POST", "/orders?wait_ms=3000", body)
        order_id = answer["order"]["order_id"]
        desk.kill()
        desk.start()
        found: dict[str, Any] = desk.json("gateway", "GET", f"/orders/{order_id}")["order"]
        assert found["client_order_id"] == "pg-1"
        assert desk.json("compliance", "GET", "/audit?limit=5")["entries"]
