"""Backups of a desk on PostgreSQL: the scripts save both databases and the desk's own files, and put them back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from tests.real_servers import program_or_skip

from polaris_synapse.storage.database import open_database
from polaris_synapse.storage.migrate import upgrade_compliance, upgrade_orders
from polaris_synapse.testing.servers.postgres import PostgresServer

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ENTRY = (
    "INSERT INTO audit_entries (sequence, time_ns, actor, action, subject, detail, previous_hash, entry_hash) "
    "VALUES ({0}, 1, 'user:x', 'login', '', 'it''s; --', 'a', 'b{0}')"
)
USER = (
    "INSERT INTO users (name, password_hash, role, accounts, generation, disabled, created_time_ns) "
    "VALUES ('{0}', 'hash', 'ADMIN', '*', 0, 0, 1)"
)


def executed(url: str, *statements: str) -> list[Sequence[Any]]:
    """Run statements, and return the last one's rows."""

    async def run() -> list[Sequence[Any]]:
        database = open_database(url)

        def work(connection: sa.engine.Connection) -> list[Sequence[Any]]:
            found: list[Sequence[Any]] = []
            for statement in statements:
                result = connection.exec_driver_sql(statement)
                found = [tuple(row) for row in result] if result.returns_rows else []
            return found

        try:
            return await database.write(work)
        finally:
            await database.close()

    return anyio.run(run)


class Site:
    """Two databases with an owner and a user of the desk, a data directory, and a folder of backups."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        owner, owner_password = server.new_role("owner")
        desk, password = server.new_role("desk")
        names = [server.new_database(owner=owner) for _ in range(2)]
        self.owner = [server.url(name, user=owner, password=owner_password) for name in names]
        self.desk = [server.url(name, user=desk, password=password) for name in names]
        self.data, self.backups = folder / "data", folder / "backups"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("POLARIS_")} | {
            "POLARIS_DATA_DIRECTORY": str(self.data),
            "POLARIS_BACKUPS": str(self.backups),
            "POLARIS_DATABASES__ORDERS_OWNER_URL": self.owner[0],
            "POLARIS_DATABASES__COMPLIANCE_OWNER_URL": self.owner[1],
        }
        (self.data / "keys").mkdir(parents=True)
        (self.data / "keys" / "operator.key.json").write_text("secret")

        async def migrate() -> None:
            for url, upgrade in zip(self.owner, (upgrade_orders, upgrade_compliance), strict=True):
                database = open_database(url)
                try:
                    await upgrade(database, application_user=desk)
                finally:
                    await database.close()

        anyio.run(migrate)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of the scripts."""
        return subprocess.run(
            [str(SCRIPTS / script), *arguments],
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


@pytest.fixture
def site(postgres_server: PostgresServer, tmp_path: Path) -> Site:
    """A migrated site with a user and two entries in its audit log."""
    for name in ("pg_dump", "psql"):
        program_or_skip(name, "postgresql-client-15")
    one = Site(postgres_server, tmp_path)
    executed(one.desk[0], USER.format("before"))
    executed(one.desk[1], ENTRY.format(1), ENTRY.format(2))
    return one


def test_what_was_saved_is_what_is_restored(site: Site) -> None:
    """After a restore rows, rights and the guard of the audit log are those of the backup; what came later is gone."""
    saved = site.run("backup.sh")
    assert saved.returncode == 0, saved.stderr
    archive = Path(saved.stdout.strip())
    assert archive.parent == site.backups
    assert archive.stat().st_mode & 0o077 == 0
    before = executed(site.owner[1], "SELECT * FROM audit_entries ORDER BY sequence")
    executed(site.desk[0], USER.format("after"))
    executed(site.desk[1], ENTRY.format(3))
    day = archive.name.removesuffix(".tar.gz")
    unsure = site.run("restore-backup.sh", day)
    assert (unsure.returncode, "say --yes" in unsure.stderr) == (1, True)
    assert len(executed(site.desk[1], "SELECT * FROM audit_entries")) == 3
    restored = site.run("restore-backup.sh", day, "--yes")
    assert restored.returncode == 0, restored.stderr
    assert executed(site.desk[0], "SELECT name FROM users") == [("before",)]
    assert executed(site.desk[1], "SELECT * FROM audit_entries ORDER BY sequence") == before
    executed(site.desk[1], ENTRY.format(3))
    for url in (site.desk[1], site.owner[1]):
        with pytest.raises(DBAPIError):
            executed(url, "UPDATE audit_entries SET actor = 'other' WHERE sequence = 1")
    with pytest.raises(DBAPIError):
        executed(site.desk[0], "DROP TABLE users")


def test_files_are_put_back_on_a_new_machine_only(site: Site) -> None:
    """--files brings the keys to a data directory without any, and touches none that are there."""
    day = Path(site.run("backup.sh").stdout.strip()).name.removesuffix(".tar.gz")
    there = site.run("restore-backup.sh", day, "--yes", "--files")
    assert (there.returncode, "exists" in there.stderr) == (1, True)
    key = site.data / "keys" / "operator.key.json"
    key.unlink()
    key.parent.rmdir()
    assert site.run("restore-backup.sh", day, "--yes", "--files").returncode == 0
    assert key.read_text() == "secret"


def test_a_database_that_is_away_leaves_no_backup(site: Site) -> None:
    """Half a backup is none: the script fails, and the folder holds nothing that looks like one."""
    site.environment["POLARIS_DATABASES__COMPLIANCE_OWNER_URL"] = "postgresql://nobody@127.0.0.1:1/nowhere"
    failed = site.run("backup.sh")
    assert failed.returncode != 0
    assert list(site.backups.glob("*")) == []


@pytest.mark.parametrize("arguments", [("20240101", "--yes"), ("yesterday",), ()])
def test_a_backup_that_is_not_there_is_one_sentence(site: Site, arguments: tuple[str, ...]) -> None:
    """A day without a backup, no day at all, and nonsense change nothing."""
    done = site.run("restore-backup.sh", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(executed(site.desk[1], "SELECT * FROM audit_entries")) == 2


@pytest.mark.parametrize("stopped", [True, False], ids=["no-compose", "containers-stopped"])
def test_without_a_database_the_reason_is_one_sentence(tmp_path: Path, stopped: bool) -> None:
    """A desk of one process, and containers that do not run: nothing is written, and it says what to do."""
    docker = tmp_path / "docker"
    # Either docker knows no compose, or compose has nothing that runs.
    docker.write_text(f"#!/bin/sh\nexit {int(stopped)}\n", encoding="utf-8")
    docker.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POLARIS_")}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    done = subprocess.run(
        [str(SCRIPTS / "backup.sh"), "--directory", str(tmp_path / "backups")],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: no PostgreSQL" if stopped else "error: the containers do not run")
    assert not (tmp_path / "backups").exists()
