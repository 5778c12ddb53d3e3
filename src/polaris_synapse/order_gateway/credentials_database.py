"""The credential store in the database of orders: what the services of a cluster share, wherever they run.

Memory answers reads. Every change counts a version up in its transaction; ``refresh``, once a second, looks at that and
reads everything anew where it moved. While the database is away the processes go on with what they know, and log-outs
are written when it is back; users and keys cannot be changed until then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import msgspec
import sqlalchemy as sa
import structlog
from anyio.from_thread import BlockingPortal, start_blocking_portal
from sqlalchemy.engine import Connection

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.credentials import (
    ApiKey,
    CredentialError,
    EarlyNonces,
    User,
    check_key,
    check_user,
)
from polaris_synapse.order_gateway.credentials_sqlite import SqliteCredentials
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database, DatabaseUnavailableError
from polaris_synapse.storage.migrate import orders_state
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.signing import Algorithm

T = TypeVar("T")

_NS: Final = 1_000_000_000
_STALE_SECONDS_MAX: Final = 5.0
_OPERATION_SECONDS_MAX: Final = 5.0
_CHANGES_ROW: Final = 1
_log = structlog.get_logger(__name__)


class _Everything(msgspec.Struct, frozen=True):
    """What the tables hold at one moment."""

    version: int
    users: dict[str, User]
    keys: dict[str, ApiKey]
    revoked: dict[str, int]


class DatabaseCredentials:
    """See KeptCredentials. Safe to call from several threads; its connections live on a thread of their own.

    ``open_it`` makes the Database. ``adopted``: the file of a desk that kept its users and keys there; what it holds is
    taken over once, where the tables are still empty.
    """

    def __init__(self, open_it: Callable[[], Database], clock: Clock, *, adopted: Path | None = None) -> None:
        self._open_it = open_it
        self._clock = clock
        self._adopted = adopted
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._running: AbstractContextManager[BlockingPortal] | None = None
        self._portal: BlockingPortal | None = None
        self._known = _Everything(-1, {}, {}, {})
        #: Tokens that were voided while the database was away.
        self._unwritten: dict[str, int] = {}
        self._compared_ns: int | None = None
        self._problem = ""

    @property
    def early_nonces(self) -> EarlyNonces | None:
        """See KeptCredentials: no request waits for a database."""
        return None

    @property
    def shared(self) -> bool:
        """See KeptCredentials."""
        return True

    def certain(self) -> bool:
        """See CredentialStore: whether the database was asked a moment ago."""
        compared = self._compared_ns
        return compared is not None and self._clock.now_ns() - compared <= _STALE_SECONDS_MAX * _NS

    def open(self, *, now_ns: int) -> None:
        """Connect and read everything. Raises CredentialError or DatabaseUnavailableError."""
        with self._lock:
            if self._portal is not None:
                return
            self._running = start_blocking_portal("asyncio")
            self._portal = self._running.__enter__()
            try:
                self._database = self._open_it()
                state = self._portal.call(orders_state, self._database)
                if not state.is_current:
                    raise CredentialError(
                        f"The orders database has version {state.version or 'none'}, users and keys need "
                        f"{state.needed}; run: polaris database migrate"
                    )
                if self._adopted is not None and self._adopted.is_file():
                    self._adopt(self._adopted, now_ns)
                self._take(self._run(_read_everything))
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let go of the database. What was not written is said in the log."""
        with self._lock:
            if self._portal is None or self._running is None:
                return
            if self._unwritten:
                _log.error("revocations_not_written", tokens=len(self._unwritten))
            if self._database is not None:
                self._portal.call(self._database.close)
            self._running.__exit__(None, None, None)
            self._database, self._running, self._portal = None, None, None

    def refresh(self) -> bool:
        """See KeptCredentials. Where the database does not answer, what is known stays, and stops being certain."""
        with self._lock:
            began_ns = self._clock.now_ns()
            try:
                if self._unwritten:
                    self._write_revocations()
                version = self._run(_read_version)
                changed = version != self._known.version
                if changed:
                    self._take(self._run(_read_everything))
            except DatabaseUnavailableError as error:
                if not self._problem:
                    _log.warning("credentials_not_read", problem=str(error))
                self._problem = str(error)
                return False
            self._problem = ""
            self._compared_ns = began_ns
            return changed

    def user(self, name: str, /) -> User | None:
        """See CredentialStore."""
        return self._known.users.get(name)

    def all_users(self) -> list[User]:
        """See CredentialStore."""
        return sorted(self._known.users.values(), key=lambda user: user.name)

    def key(self, key_id: str, /) -> ApiKey | None:
        """See CredentialStore."""
        return self._known.keys.get(key_id)

    def all_keys(self) -> list[ApiKey]:
        """See CredentialStore."""
        return sorted(self._known.keys.values(), key=lambda key: key.key_id)

    def put_user(self, user: User, /) -> User:
        """See CredentialStore. Raises ApiError (NOT_READY) while the database is away."""
        check_user(user)

        def work(connection: Connection) -> User:
            _count_up(connection)
            table = schema.users
            before = connection.execute(sa.select(table.c.generation).where(table.c.name == user.name)).scalar()
            stored = msgspec.structs.replace(user, generation=0 if before is None else int(before) + 1)
            connection.execute(schema.upsert(table, connection.dialect.name), [_user_row(stored)])
            return stored

        return self._change(work)

    def put_key(self, key: ApiKey, /) -> None:
        """See CredentialStore. Raises ApiError (NOT_READY) while the database is away."""
        check_key(key)

        def work(connection: Connection) -> None:
            _count_up(connection)
            connection.execute(schema.upsert(schema.api_keys, connection.dialect.name), [_key_row(key)])

        self._change(work)

    def revoke_token(self, token_id: str, expires_time_ns: int, /) -> None:
        """See CredentialStore. While the database is away it holds here, and is written as soon as that is back."""
        with self._lock:
            self._unwritten[token_id] = expires_time_ns
            self._known.revoked[token_id] = expires_time_ns
            try:
                self._write_revocations()
            except DatabaseUnavailableError as error:
                _log.error("revocation_not_written_yet", problem=str(error))

    def token_revoked(self, token_id: str, /) -> bool:
        """See CredentialStore."""
        return token_id in self._known.revoked

    def forget_expired(self, now_ns: int, /) -> None:
        """See KeptCredentials. While the database is away nothing is forgotten."""

        def work(connection: Connection) -> None:
            table = schema.revoked_tokens
            connection.execute(sa.delete(table).where(table.c.expires_time_ns < now_ns))

        with self._lock:
            for token_id in [token for token, expires in self._known.revoked.items() if expires < now_ns]:
                del self._known.revoked[token_id]
                self._unwritten.pop(token_id, None)
            try:
                self._run(work, writes=True)
            except DatabaseUnavailableError as error:
                _log.warning("expired_log_ins_kept", problem=str(error))

    def _write_revocations(self) -> None:
        rows = [{"token_id": token_id, "expires_time_ns": end} for token_id, end in self._unwritten.items()]

        def work(connection: Connection) -> None:
            _count_up(connection)
            connection.execute(schema.upsert(schema.revoked_tokens, connection.dialect.name), rows)

        self._run(work, writes=True)
        self._unwritten.clear()

    def _change(self, work: Callable[[Connection], T]) -> T:
        with self._lock:
            try:
                result = self._run(work, writes=True)
                self._take(self._run(_read_everything))
            except DatabaseUnavailableError as error:
                _log.error("credentials_not_written", problem=str(error))
                raise ApiError(
                    Reason.NOT_READY,
                    "The database of users and keys does not answer, so they cannot be changed now.",
                    headers={"retry-after": "5"},
                ) from None
            return result

    def _take(self, found: _Everything) -> None:
        """What the tables hold is what is known from now on, and what they do not hold yet."""
        found.revoked.update(self._unwritten)
        self._known = found
        self._compared_ns = self._clock.now_ns()

    def _adopt(self, path: Path, now_ns: int) -> None:
        before = SqliteCredentials(path)
        before.open(now_ns=now_ns)
        try:
            users, keys = before.all_users(), before.all_keys()
        finally:
            before.close()

        def work(connection: Connection) -> bool:
            _count_up(connection)
            for table in (schema.users, schema.api_keys):
                if connection.execute(sa.select(sa.func.count()).select_from(table)).scalar():
                    return False
            for table, rows in (
                (schema.users, [_user_row(one) for one in users]),
                (schema.api_keys, [_key_row(one) for one in keys]),
            ):
                if rows:
                    connection.execute(sa.insert(table), rows)
            return bool(users or keys)

        if self._run(work, writes=True):
            _log.info("credentials_adopted", file=str(path), users=len(users), keys=len(keys))

    def _run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        """Run ``work`` in one transaction and wait for it. Raises DatabaseUnavailableError."""
        portal, database = self._portal, self._database
        if portal is None or database is None:
            raise RuntimeError("the credential store is not open")

        async def bounded() -> T:
            try:
                with anyio.fail_after(_OPERATION_SECONDS_MAX):
                    return await (database.write(work) if writes else database.read(work))
            except TimeoutError:
                raise DatabaseUnavailableError(f"no answer within {_OPERATION_SECONDS_MAX:g} s") from None

        return portal.call(bounded)


def _count_up(connection: Connection) -> None:
    """Say that something changes. It also makes changes wait for one another, until each has ended."""
    table = schema.credential_changes
    connection.execute(sa.update(table).where(table.c.id == _CHANGES_ROW).values(version=table.c.version + 1))


def _read_version(connection: Connection) -> int:
    table = schema.credential_changes
    return int(connection.execute(sa.select(table.c.version).where(table.c.id == _CHANGES_ROW)).scalar_one())


def _read_everything(connection: Connection) -> _Everything:
    # The version first: what changes meanwhile is then read again, and never taken for seen.
    version = _read_version(connection)
    users = {row["name"]: _user(row) for row in connection.execute(sa.select(schema.users)).mappings()}
    keys = {row["key_id"]: _key(row) for row in connection.execute(sa.select(schema.api_keys)).mappings()}
    revoked = {row.token_id: int(row.expires_time_ns) for row in connection.execute(sa.select(schema.revoked_tokens))}
    return _Everything(version, users, keys, revoked)


def _user_row(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "password_hash": user.password_hash,
        "role": user.role.value,
        "accounts": _texts(user.accounts),
        "generation": user.generation,
        "disabled": int(user.disabled),
        "created_time_ns": user.created_time_ns,
    }


def _user(row: sa.RowMapping) -> User:
    return User(
        name=row["name"],
        password_hash=row["password_hash"],
        role=Role(row["role"]),
        accounts=_tuple(row["accounts"]),
        generation=row["generation"],
        disabled=bool(row["disabled"]),
        created_time_ns=row["created_time_ns"],
    )


def _key_row(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "algorithm": key.algorithm.value,
        "verifier": key.verifier,
        "role": key.role.value,
        "accounts": _texts(key.accounts),
        "owner": key.owner,
        "addresses": _texts(key.addresses),
        "expires_time_ns": key.expires_time_ns,
        "revoked": int(key.revoked),
        "created_time_ns": key.created_time_ns,
    }


def _key(row: sa.RowMapping) -> ApiKey:
    return ApiKey(
        key_id=row["key_id"],
        algorithm=Algorithm(row["algorithm"]),
        verifier=bytes(row["verifier"]),
        role=Role(row["role"]),
        accounts=_tuple(row["accounts"]),
        owner=row["owner"],
        addresses=_tuple(row["addresses"]),
        expires_time_ns=row["expires_time_ns"],
        revoked=bool(row["revoked"]),
        created_time_ns=row["created_time_ns"],
    )


def _texts(values: tuple[str, ...]) -> str:
    return msgspec.json.encode(values).decode()


def _tuple(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])
