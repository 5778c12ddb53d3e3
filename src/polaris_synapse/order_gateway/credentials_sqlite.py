"""The credential store in a SQLite file of its own, readable by the desk's user only. ":memory:" is its twin."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from polaris_synapse.order_gateway.credentials import (
    ApiKey,
    CredentialError,
    EarlyNonces,
    User,
    check_key,
    check_user,
)
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.signing import Algorithm

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS users (
  name TEXT PRIMARY KEY, password_hash TEXT NOT NULL, role TEXT NOT NULL, accounts TEXT NOT NULL,
  generation INTEGER NOT NULL, disabled INTEGER NOT NULL, created_time_ns INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS keys (
  key_id TEXT PRIMARY KEY, algorithm TEXT NOT NULL, verifier BLOB NOT NULL, role TEXT NOT NULL, accounts TEXT NOT NULL,
  owner TEXT NOT NULL, addresses TEXT NOT NULL, expires_time_ns INTEGER NOT NULL, revoked INTEGER NOT NULL,
  created_time_ns INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS revoked_tokens (
  token_id TEXT PRIMARY KEY, expires_time_ns INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS early_nonces (
  nonce TEXT PRIMARY KEY, expires_time_ns INTEGER NOT NULL) STRICT;
"""


class SqliteCredentials:
    """Users, keys and revoked tokens. Memory answers reads; every write is committed before it returns.

    Another process (the command line) may change the file while the desk runs: ``refresh`` sees that. Safe to call
    from several threads.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._users: dict[str, User] = {}
        self._keys: dict[str, ApiKey] = {}
        self._revoked: dict[str, int] = {}
        self._data_version = -1

    @property
    def early_nonces(self) -> EarlyNonces | None:
        """See KeptCredentials."""
        return self

    @property
    def shared(self) -> bool:
        """See KeptCredentials: other machines may have a file of their own."""
        return False

    def certain(self) -> bool:
        """See CredentialStore."""
        return True

    def open(self, *, now_ns: int) -> None:
        """Open or create the file (0600) and read it. Raises CredentialError for a file of another version."""
        with self._lock:
            if self._connection is not None:
                return
            if self._path != ":memory:":
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
                os.chmod(self._path, 0o600)
            connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=5.0)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                connection.close()
                raise CredentialError(f"{self._path} has version {version}, this desk reads version {_VERSION}.")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version={_VERSION}")
            connection.execute("DELETE FROM revoked_tokens WHERE expires_time_ns < ?", (now_ns,))
            connection.execute("DELETE FROM early_nonces WHERE expires_time_ns < ?", (now_ns,))
            self._connection = connection
            self._read()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def refresh(self) -> bool:
        """Read again if another process changed the file; tells whether it did."""
        with self._lock:
            if self._version() == self._data_version:
                return False
            self._read()
            return True

    def user(self, name: str, /) -> User | None:
        """A user by name, also one whom another process added this moment."""
        found = self._users.get(name)
        if found is None and self.refresh():
            found = self._users.get(name)
        return found

    def all_users(self) -> list[User]:
        """All users, by name."""
        return sorted(self._users.values(), key=lambda user: user.name)

    def key(self, key_id: str, /) -> ApiKey | None:
        """A key by id, also one that another process added this moment."""
        found = self._keys.get(key_id)
        if found is None and self.refresh():
            found = self._keys.get(key_id)
        return found

    def all_keys(self) -> list[ApiKey]:
        """All keys, by id."""
        return sorted(self._keys.values(), key=lambda key: key.key_id)

    def put_user(self, user: User, /) -> User:
        """Add or change a user; voids the tokens of the one before. Returns it as stored."""
        check_user(user)
        with self._lock:
            # A change of another process that was not seen would have this generation as well.
            self.refresh()
            before = self._users.get(user.name)
            stored = msgspec.structs.replace(user, generation=before.generation + 1 if before else 0)
            self._write(
                "INSERT OR REPLACE INTO users VALUES (?,?,?,?,?,?,?)",
                (
                    stored.name,
                    stored.password_hash,
                    stored.role.value,
                    _texts(stored.accounts),
                    stored.generation,
                    int(stored.disabled),
                    stored.created_time_ns,
                ),
            )
            self._users[stored.name] = stored
            return stored

    def put_key(self, key: ApiKey, /) -> None:
        """Add or change a key."""
        check_key(key)
        with self._lock:
            self._write(
                "INSERT OR REPLACE INTO keys VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    key.key_id,
                    key.algorithm.value,
                    key.verifier,
                    key.role.value,
                    _texts(key.accounts),
                    key.owner,
                    _texts(key.addresses),
                    key.expires_time_ns,
                    int(key.revoked),
                    key.created_time_ns,
                ),
            )
            self._keys[key.key_id] = key

    def revoke_token(self, token_id: str, expires_time_ns: int, /) -> None:
        """Void one token for as long as it would have lived."""
        with self._lock:
            self._write("INSERT OR REPLACE INTO revoked_tokens VALUES (?,?)", (token_id, expires_time_ns))
            self._revoked[token_id] = expires_time_ns

    def token_revoked(self, token_id: str, /) -> bool:
        """Whether a token was voided."""
        return token_id in self._revoked

    def forget_expired(self, now_ns: int, /) -> None:
        """Drop what has expired by itself."""
        with self._lock:
            for token_id in [token for token, expires in self._revoked.items() if expires < now_ns]:
                del self._revoked[token_id]
            self._write("DELETE FROM revoked_tokens WHERE expires_time_ns < ?", (now_ns,))
            self._write("DELETE FROM early_nonces WHERE expires_time_ns < ?", (now_ns,))

    def keep_nonce(self, nonce: str, expires_time_ns: int, /) -> None:
        """Remember a nonce beyond the end of this process."""
        with self._lock:
            self._write("INSERT OR REPLACE INTO early_nonces VALUES (?,?)", (nonce, expires_time_ns))

    def kept_nonces(self) -> dict[str, int]:
        """The remembered nonces and when each may be forgotten."""
        with self._lock:
            return dict(self._open_connection().execute("SELECT nonce, expires_time_ns FROM early_nonces").fetchall())

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the credential store is not open")
        return self._connection

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self._open_connection().execute(statement, values)

    def _version(self) -> int:
        (version,) = self._open_connection().execute("PRAGMA data_version").fetchone()
        return int(version)

    def _read(self) -> None:
        connection = self._open_connection()
        self._data_version = self._version()
        self._users = {
            row[0]: User(
                name=row[0],
                password_hash=row[1],
                role=Role(row[2]),
                accounts=_tuple(row[3]),
                generation=row[4],
                disabled=bool(row[5]),
                created_time_ns=row[6],
            )
            for row in connection.execute("SELECT * FROM users")
        }
        self._keys = {
            row[0]: ApiKey(
                key_id=row[0],
                algorithm=Algorithm(row[1]),
                verifier=row[2],
                role=Role(row[3]),
                accounts=_tuple(row[4]),
                owner=row[5],
                addresses=_tuple(row[6]),
                expires_time_ns=row[7],
                revoked=bool(row[8]),
                created_time_ns=row[9],
            )
            for row in connection.execute("SELECT * FROM keys")
        }
        self._revoked = dict(connection.execute("SELECT token_id, expires_time_ns FROM revoked_tokens").fetchall())


def _texts(values: tuple[str, ...]) -> str:
    return msgspec.json.encode(values).decode()


def _tuple(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])
