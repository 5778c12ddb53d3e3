"""Users and keys in a database: the same as in the file, shared by processes, and what holds while it is away."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from sqlalchemy.exc import ProgrammingError
from tests.real_servers import start_or_skip
from typer.testing import CliRunner

from polaris_synapse.cli import users
from polaris_synapse.cli.main import app
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.credentials import ApiKey, CredentialError, KeptCredentials, User
from polaris_synapse.order_gateway.credentials_database import DatabaseCredentials
from polaris_synapse.order_gateway.credentials_sqlite import SqliteCredentials
from polaris_synapse.storage.database import DatabaseUnavailableError, open_database
from polaris_synapse.storage.migrate import upgrade_orders
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.servers.postgres import NativePostgres, PostgresServer
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.signing import Algorithm

ANN = User(name="ann", password_hash="hash", role=Role.TRADER, accounts=("main", "other"), created_time_ns=7)
BOT = ApiKey(
    key_id="bot",
    algorithm=Algorithm.HMAC_SHA256,
    verifier=bytes(range(32)),
    role=Role.AGENT,
    accounts=("*",),
    owner="jarvis",
    addresses=("10.0.0.0/8",),
    expires_time_ns=2**62,
    created_time_ns=8,
)
#: Opens the store as one more process would.
Opener = Callable[[], KeptCredentials]


def migrated(url: str) -> str:
    """The same URL, of a database with the desk's tables."""

    async def run() -> None:
        database = open_database(url)
        try:
            await upgrade_orders(database)
        finally:
            await database.close()

    anyio.run(run)
    return url


def store_of(url: str, clock: ManualClock, adopted: Path | None = None) -> DatabaseCredentials:
    """A store over a database."""
    return DatabaseCredentials(lambda: open_database(url, readers_max=1), clock, adopted=adopted)


@pytest.fixture(params=["file", "SQLite", "PostgreSQL"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Each store there is."""
    made: list[KeptCredentials] = []
    clock = ManualClock()
    if request.param == "PostgreSQL":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = migrated(server.url(server.new_database()))
    else:
        url = f"sqlite:///{tmp_path / 'orders.sqlite3'}"
        if request.param == "SQLite":
            migrated(url)

    def open_one() -> KeptCredentials:
        store: KeptCredentials = (
            SqliteCredentials(tmp_path / "auth.sqlite3") if request.param == "file" else store_of(url, clock)
        )
        store.open(now_ns=clock.now_ns())
        made.append(store)
        return store

    yield open_one
    for store in made:
        store.close()


def test_users_and_keys_are_kept_and_shared(opener: Opener) -> None:
    """What one process puts in, another has after its next look, and whoever starts later has at once."""
    one, other = opener(), opener()
    assert one.put_user(ANN) == ANN
    one.put_key(BOT)
    assert other.refresh()
    assert not other.refresh()
    for store in (one, other, opener()):
        assert store.user("ann") == ANN
        assert store.key("bot") == BOT
        assert (store.all_users(), store.all_keys()) == ([ANN], [BOT])
        assert store.user("bob") is None
        assert store.certain()


def test_a_change_counts_the_generation_up(opener: Opener) -> None:
    """Also of a change that another process made and this one has not seen: no generation comes twice."""
    one, other = opener(), opener()
    assert one.put_user(ANN).generation == 0
    assert other.put_user(replace(ANN, role=Role.VIEWER)).generation == 1
    other.refresh()
    one.refresh()
    assert one.put_user(replace(ANN, disabled=True)).generation == 2


def test_revoked_tokens_are_known_until_they_expire(opener: Opener) -> None:
    """A token voided by one process is void for the others, and is forgotten when it would have ended anyway."""
    one, other = opener(), opener()
    one.revoke_token("short", 100 + ManualClock().now_ns())
    one.revoke_token("long", 2**62)
    assert other.refresh()
    for store in (one, other):
        assert store.token_revoked("short")
        store.forget_expired(200 + ManualClock().now_ns())
        assert not store.token_revoked("short")
        assert store.token_revoked("long")
    assert not opener().token_revoked("short")


def test_the_malformed_is_refused(opener: Opener) -> None:
    """Every store refuses a user's name and a key that are not well-formed."""
    store = opener()
    with pytest.raises(CredentialError):
        store.put_user(replace(ANN, name="Ann!"))
    with pytest.raises(CredentialError):
        store.put_key(replace(BOT, verifier=b"short"))
    assert store.all_users() == []


def test_an_empty_database_takes_over_what_the_file_has(tmp_path: Path) -> None:
    """Users and keys of a desk that kept them in the file move once; afterwards the file is not looked at."""
    clock, file = ManualClock(), tmp_path / "auth.sqlite3"
    before = SqliteCredentials(file)
    before.open(now_ns=clock.now_ns())
    before.put_user(ANN)
    changed = before.put_user(ANN)
    before.put_key(BOT)
    before.close()
    url = migrated(f"sqlite:///{tmp_path / 'orders.sqlite3'}")
    store = store_of(url, clock, file)
    store.open(now_ns=clock.now_ns())
    assert store.all_users() == [changed]
    assert changed.generation == 1
    assert store.all_keys() == [BOT]
    store.put_key(replace(BOT, revoked=True))
    store.close()
    again = store_of(url, clock, file)
    again.open(now_ns=clock.now_ns())
    assert again.all_keys() == [replace(BOT, revoked=True)]
    again.close()


def test_a_database_without_the_tables_is_refused(tmp_path: Path) -> None:
    """Who forgot to migrate reads which command does it."""
    store = store_of(f"sqlite:///{tmp_path / 'orders.sqlite3'}", ManualClock())
    with pytest.raises(CredentialError, match="polaris database migrate"):
        store.open(now_ns=1)
    store.close()


@pytest.fixture
def server() -> Iterator[NativePostgres]:
    """A server that a test may kill."""
    found = start_or_skip(NativePostgres.create)
    yield found
    found.stop()


def test_while_the_database_is_away_what_is_known_holds(server: NativePostgres) -> None:
    """Log-ins go on, log-outs are made up for, users stay as they are, and after five seconds nothing is certain."""
    clock = ManualClock()
    url = migrated(server.url(server.new_database()))
    store = store_of(url, clock)
    store.open(now_ns=clock.now_ns())
    store.put_user(ANN)
    server.kill()
    clock.advance(4)
    assert not store.refresh()
    assert store.certain()
    clock.advance(2)
    assert not store.refresh()
    assert not store.certain()
    assert store.user("ann") == ANN
    store.revoke_token("gone", 2**62)
    assert store.token_revoked("gone")
    for change in (lambda: store.put_user(replace(ANN, disabled=True)), lambda: store.put_key(BOT)):
        with pytest.raises(ApiError) as refused:
            change()
        assert refused.value.reason is Reason.NOT_READY
    store.forget_expired(clock.now_ns())
    late = store_of(url, clock)
    with pytest.raises(DatabaseUnavailableError):
        late.open(now_ns=clock.now_ns())
    server.start()
    store.refresh()
    assert store.certain()
    assert store.token_revoked("gone")
    late.open(now_ns=clock.now_ns())
    assert late.token_revoked("gone")
    assert late.user("ann") == ANN
    late.close()
    store.close()


def test_the_command_line_and_the_desk_s_own_user_need_no_more_than_their_rights(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """`polaris user` works as the desk's user, who may take nothing away but log-ins that were voided."""
    owner, owner_password = postgres_server.new_role("owner")
    desk, password = postgres_server.new_role("desk")
    name = postgres_server.new_database(owner=owner)
    desk_url = postgres_server.url(name, user=desk, password=password)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("POLARIS_")} | {
        "POLARIS_DATA_DIRECTORY": str(tmp_path / "data"),
        "POLARIS_DATABASES__ORDERS_URL": desk_url,
        "POLARIS_DATABASES__ORDERS_OWNER_URL": postgres_server.url(name, user=owner, password=owner_password),
        "POLARIS_DATABASES__CREDENTIALS": "orders",
    }
    (tmp_path / "data").mkdir(mode=0o700)

    def polaris(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # our own command, no shell
            [sys.executable, "-m", "polaris_synapse.cli.main", *arguments],
            env=environment, input=given, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    early = polaris("user", "list")
    assert early.returncode == 2
    assert "polaris database migrate" in " ".join(early.stderr.split())
    assert polaris("database", "migrate").returncode == 0
    added = polaris("user", "add", "ann", "--password-stdin", given="a long password\n")
    assert added.returncode == 0, added.stderr
    key_file = tmp_path / f"{uuid.uuid4().hex}.key.json"
    assert polaris("user", "key", "bot", "--out", str(key_file)).returncode == 0
    assert polaris("user", "revoke", "bot").returncode == 0
    assert polaris("user", "remove", "ann").returncode == 0
    assert not (tmp_path / "data" / "auth.sqlite3").exists()
    clock = ManualClock()
    store = store_of(desk_url, clock)
    store.open(now_ns=clock.now_ns())
    ann, bot = store.user("ann"), store.key("bot")
    assert ann is not None
    assert (ann.disabled, ann.generation) == (True, 1)
    assert bot is not None
    assert bot.revoked
    store.revoke_token("short", 1)
    store.forget_expired(clock.now_ns())
    store.close()
    for statement in ("DELETE FROM users", "DELETE FROM api_keys", "TRUNCATE revoked_tokens", "DROP TABLE users"):
        with pytest.raises(ProgrammingError):
            anyio.run(executed, desk_url, statement)


def test_the_first_administrator_s_password_is_set_once(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --if-none an administrator who may log in stays as they are; where none may, one is made or let in again."""
    store = opener()

    @contextmanager
    def same(*_: object) -> Iterator[KeptCredentials]:
        yield store

    monkeypatch.setattr(users, "_credentials", same)

    def first_user(password: str) -> str:
        arguments = ["user", "add", "admin", "--role", "ADMIN", "--accounts", "*", "--if-none", "--password-stdin"]
        done = CliRunner().invoke(app, arguments, input=f"{password}\n")
        assert done.exit_code == 0, done.output
        return done.output

    assert "may log in as ADMIN." in first_user("the first password")
    made = store.user("admin")
    assert made is not None
    assert "nothing was changed" in first_user("another password")
    assert store.user("admin") == made
    store.put_user(replace(made, disabled=True))
    assert "may log in as ADMIN." in first_user("another password")
    again = store.user("admin")
    assert again is not None
    assert again.may_log_in
    assert again.password_hash != made.password_hash


async def executed(url: str, statement: str) -> None:
    """Run one statement as whoever the URL names."""
    database = open_database(url)
    try:
        await database.write(lambda connection: connection.exec_driver_sql(statement))
    finally:
        await database.close()
