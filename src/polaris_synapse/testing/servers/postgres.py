"""PostgreSQL 15 for tests: one that a variable names, or a cluster of our own on loopback, with streaming replicas."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import URL, make_url

from polaris_synapse.testing.servers.containers import Container, engine_runs
from polaris_synapse.testing.servers.policy import ServerMissingError, give_to, is_root, program
from polaris_synapse.testing.servers.process import (
    ServerDidNotStartError,
    ServerProcess,
    free_ports,
    listens,
    server_folder,
)

VARIABLE: Final = "POLARIS_TEST_POSTGRES"
_PACKAGE: Final = "postgresql-15"
_IMAGE: Final = "postgres:15"
_USER: Final = "postgres"
_STEP_SECONDS_MAX: Final = 120
_START_ATTEMPTS: Final = 20
_START_PAUSE_SECONDS: Final = 0.1
#: For a cluster that lives for one test run. What a power cut would lose is not tested with it; a killed process is.
_CONFIGURATION: Final = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
fsync = off
wal_level = replica
max_wal_senders = 4
max_replication_slots = 4
hot_standby = on
hot_standby_feedback = on
wal_receiver_status_interval = 1
log_min_messages = warning
"""


class PostgresServer:
    """A server that knows one superuser. Databases are made by ``new_database`` and dropped by ``drop_database``."""

    def __init__(self, admin_url: str) -> None:
        self._admin = make_url(admin_url).set(drivername="postgresql+asyncpg")

    @property
    def admin_url(self) -> str:
        """The superuser's URL of the database that always exists."""
        return self._text(self._admin)

    def url(self, database: str, *, user: str = "", password: str = "") -> str:
        """A SQLAlchemy URL of a database; the superuser's unless a user is named."""
        url = self._admin.set(database=database)
        return self._text(url.set(username=user, password=password) if user else url)

    def new_database(self, prefix: str = "polaris_test", *, owner: str = "") -> str:
        """Make an empty database under a name of its own, and return that name."""
        name = f"{prefix}_{secrets.token_hex(6)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0' + (f' OWNER "{owner}"' if owner else ""))
        return name

    def new_role(self, prefix: str) -> tuple[str, str]:
        """Make an ordinary user, no superuser, and return its name and password."""
        name, password = f"{prefix}_{secrets.token_hex(4)}", secrets.token_hex(16)
        self.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'")
        return name, password

    def drop_database(self, name: str) -> None:
        """Drop a database whoever still uses it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def drop_role(self, name: str) -> None:
        """Drop a user that owns nothing any more."""
        self.execute(f'DROP ROLE IF EXISTS "{name}"')

    def execute(self, statement: str, *, database: str = "") -> list[Any]:
        """Run one statement as the superuser, outside of a transaction, and return its rows."""
        import asyncpg  # type: ignore[import-untyped]  # it has no annotations

        async def run() -> list[Any]:
            connection = await asyncpg.connect(
                host=self._admin.host,
                port=self._admin.port,
                user=self._admin.username,
                password=self._admin.password,
                database=database or self._admin.database,
            )
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        # A thread of its own has no event loop yet, whoever calls.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, run()).result()

    def stop(self) -> None:
        """Nothing: the server is not ours."""

    @staticmethod
    def _text(url: URL) -> str:
        return url.render_as_string(hide_password=False)


class NativePostgres(PostgresServer):
    """A cluster of our own in a temporary folder. As root it runs as the user ``postgres``."""

    def __init__(self, folder: Path, port: int, password: str) -> None:
        super().__init__(f"postgresql://{_USER}:{password}@127.0.0.1:{port}/postgres")
        self.folder = folder
        self.port = port
        self._password = password
        self.process = ServerProcess(
            [program("postgres", package=_PACKAGE, variable=VARIABLE), "-D", str(folder / "data"), "-p", str(port)],
            folder,
            self._is_ready,
            user=_USER,
            # The fast shutdown: clients are cut off, nothing is lost.
            stop_signal=signal.SIGINT,
        )

    @classmethod
    def create(cls) -> NativePostgres:
        """Make and start an empty cluster. Raises ServerMissingError."""
        make = program("initdb", package=_PACKAGE, variable=VARIABLE)
        folder = server_folder("postgres", user=_USER)
        password = secrets.token_hex(16)
        password_file = folder / "password"
        password_file.write_text(password, encoding="ascii")
        password_file.chmod(0o600)
        give_to(_USER, password_file)
        options = ["-A", "scram-sha-256", "-U", _USER, "-E", "UTF8", "--locale=C", "--no-sync", "--data-checksums"]
        _run([make, "-D", str(folder / "data"), *options, f"--pwfile={password_file}"])
        with (folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(_CONFIGURATION)
        server = cls(folder, free_ports(1)[0], password)
        server.process.start()
        return server

    def replica(self) -> NativePostgres:
        """Make and start a standby that follows this server by streaming, from a slot of its own."""
        copy = program("pg_basebackup", package=_PACKAGE, variable=VARIABLE)
        folder = server_folder("replica", user=_USER)
        slot = f"replica_{secrets.token_hex(4)}"
        source = f"host=127.0.0.1 port={self.port} user={_USER} password={self._password}"
        options = ["-R", "-X", "stream", "-C", "-S", slot, "-c", "fast", "--no-sync"]
        _run([copy, "-d", source, "-D", str(folder / "data"), *options])
        standby = NativePostgres(folder, free_ports(1)[0], self._password)
        standby.process.start()
        return standby

    def kill(self) -> None:
        """SIGKILL to the server; ``start`` recovers it from its write-ahead log."""
        self.process.kill()

    def start(self) -> None:
        """Start again over the same files and port."""
        for _ in range(_START_ATTEMPTS - 1):
            try:
                self.process.start()
            except ServerDidNotStartError:
                # A killed server's children take a moment to see that it has gone; until then they hold its memory.
                if "shared memory" not in self.process.log():
                    raise
                time.sleep(_START_PAUSE_SECONDS)
            else:
                return
        self.process.start()

    def stop(self) -> None:
        """Stop and remove everything."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        if not listens(self.port):
            return False
        try:
            self.execute("SELECT 1")
        except Exception as error:
            # "starting up" and "not accepting connections" end by themselves; anything else is for the caller.
            if type(error).__name__ in {"CannotConnectNowError", "ConnectionDoesNotExistError"}:
                return False
            if isinstance(error, OSError):
                return False
            raise
        return True


class ContainerPostgres(PostgresServer):
    """PostgreSQL in a container of the local Docker engine."""

    def __init__(self) -> None:
        password = secrets.token_hex(16)
        self._container = Container.run(_IMAGE, 5432, {"POSTGRES_PASSWORD": password})
        super().__init__(f"postgresql://{_USER}:{password}@127.0.0.1:{self._container.port}/postgres")
        self._container.wait_until_healthy(("pg_isready", "-h", "127.0.0.1", "-U", _USER))

    def stop(self) -> None:
        """Remove the container."""
        self._container.remove()


def find_or_start() -> PostgresServer:
    """A server by the policy of this package. Raises ServerMissingError."""
    given = os.environ.get(VARIABLE)
    if given:
        return PostgresServer(given)
    if engine_runs():
        return ContainerPostgres()
    return NativePostgres.create()


def _run(command: list[str]) -> None:
    """Run a program of PostgreSQL as its user."""
    user = _USER if is_root() else None
    done = subprocess.run(  # noqa: S603  # PostgreSQL's own program, found by name
        command,
        cwd="/",
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        timeout=_STEP_SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        raise ServerMissingError(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout.strip()}")
