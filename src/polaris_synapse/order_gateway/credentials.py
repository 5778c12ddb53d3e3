"""Users and keys: what the desk knows of whoever may use it, and the port of the store that keeps it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Protocol

from msgspec import Struct

from polaris_synapse.web.authentication import ALL_ACCOUNTS, Principal, Role
from polaris_synapse.web.signing import HMAC_SECRET_BYTES_MIN, Algorithm

NAME_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}", re.ASCII)
ACCOUNT_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
PASSWORD_CHARACTERS_MIN: Final = 10
PASSWORD_CHARACTERS_MAX: Final = 256
_ED25519_BYTES: Final = 32


class CredentialError(ValueError):
    """A user or key that cannot be stored; the message is one sentence."""


class User(Struct, frozen=True, kw_only=True):
    """Somebody who may log in. ``generation`` counts changes: a token of an older generation is void."""

    name: str
    password_hash: str
    role: Role
    accounts: tuple[str, ...]
    generation: int = 0
    disabled: bool = False
    created_time_ns: int = 0

    @property
    def principal(self) -> Principal:
        """Who this is, once the password was right."""
        return Principal(name=self.name, role=self.role, accounts=self.accounts, kind="user")

    @property
    def may_log_in(self) -> bool:
        """Whether a password lets them in."""
        return bool(self.password_hash) and not self.disabled

    def __repr__(self) -> str:
        return f"User(name={self.name!r}, role={self.role.value})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("name", self.name), ("role", self.role.value)]


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key that signs requests. ``verifier``: the Ed25519 public key, or the HMAC secret.

    ``addresses`` are networks such as ``"10.0.0.0/8"`` that it may be used from; none: from anywhere.
    ``expires_time_ns`` 0: never.
    """

    key_id: str
    algorithm: Algorithm
    verifier: bytes
    role: Role
    accounts: tuple[str, ...]
    owner: str = ""
    addresses: tuple[str, ...] = ()
    expires_time_ns: int = 0
    revoked: bool = False
    created_time_ns: int = 0

    @property
    def principal(self) -> Principal:
        """Who this is, once the signature was right. An agent's key speaks in the agent's name."""
        name = self.owner if self.role is Role.AGENT and self.owner else self.key_id
        return Principal(name=name, role=self.role, accounts=self.accounts, kind="key")

    def __repr__(self) -> str:
        return f"ApiKey(key_id={self.key_id!r}, role={self.role.value})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("key_id", self.key_id), ("role", self.role.value)]


class CredentialStore(Protocol):
    """Keeps users, keys and revoked tokens. Reads are answered from memory; writes are durable when they return."""

    def user(self, name: str, /) -> User | None:
        """A user by name."""
        ...

    def all_users(self) -> list[User]:
        """All users, by name."""
        ...

    def key(self, key_id: str, /) -> ApiKey | None:
        """A key by id."""
        ...

    def all_keys(self) -> list[ApiKey]:
        """All keys, by id."""
        ...

    def put_user(self, user: User, /) -> User:
        """Add or change a user; voids the tokens of the one before. Returns it as stored. Raises CredentialError."""
        ...

    def put_key(self, key: ApiKey, /) -> None:
        """Add or change a key. Raises CredentialError."""
        ...

    def revoke_token(self, token_id: str, expires_time_ns: int, /) -> None:
        """Void one token for as long as it would have lived."""
        ...

    def token_revoked(self, token_id: str, /) -> bool:
        """Whether a token was voided."""
        ...

    def certain(self) -> bool:
        """Whether this is what holds now. False: somebody may have been locked out elsewhere a moment ago."""
        ...


class EarlyNonces(Protocol):
    """Keeps the nonces that could outlive a restart."""

    def keep_nonce(self, nonce: str, expires_time_ns: int, /) -> None:
        """Remember one durably."""
        ...

    def kept_nonces(self) -> dict[str, int]:
        """Those remembered, and when each may be forgotten."""
        ...


class KeptCredentials(CredentialStore, Protocol):
    """A store as whoever runs it sees it."""

    @property
    def early_nonces(self) -> EarlyNonces | None:
        """Where nonces that outlive a restart are kept, or None where that would hold every request up."""
        ...

    @property
    def shared(self) -> bool:
        """Whether every process of the desk reads this same store, wherever it runs."""
        ...

    def open(self, *, now_ns: int) -> None:
        """Connect and read everything. Raises CredentialError."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...

    def refresh(self) -> bool:
        """Read again if another process changed something; tells whether it did."""
        ...

    def forget_expired(self, now_ns: int, /) -> None:
        """Drop what has expired by itself."""
        ...


def check_user(user: User) -> None:
    """Raise CredentialError unless the user is well-formed."""
    if not NAME_PATTERN.fullmatch(user.name):
        raise CredentialError("A user's name has 1 to 32 of a-z, 0-9, _, . and -, and starts with a letter or digit.")
    check_accounts(user.accounts)


def check_key(key: ApiKey) -> None:
    """Raise CredentialError unless the key is well-formed."""
    if not ACCOUNT_PATTERN.fullmatch(key.key_id):
        raise CredentialError("A key's id has 1 to 64 letters, digits, _, . and -.")
    check_accounts(key.accounts)
    if key.algorithm is Algorithm.ED25519 and len(key.verifier) != _ED25519_BYTES:
        raise CredentialError(f"An Ed25519 public key has {_ED25519_BYTES} bytes.")
    if key.algorithm is Algorithm.HMAC_SHA256 and len(key.verifier) < HMAC_SECRET_BYTES_MIN:
        raise CredentialError(f"An HMAC secret has at least {HMAC_SECRET_BYTES_MIN} bytes.")


def check_accounts(accounts: Iterable[str]) -> None:
    """Raise CredentialError unless every account name is well-formed."""
    for account in accounts:
        if account != ALL_ACCOUNTS and not ACCOUNT_PATTERN.fullmatch(account):
            raise CredentialError("An account has 1 to 64 letters, digits, _, . and -; * stands for all of them.")


LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def why_not_bind(host: str, store: CredentialStore) -> str | None:
    """Why ``host`` may not be listened on, or None when it may.

    Beyond this machine the desk only listens once somebody can log in with a password: without a user it would stand
    open to the network with nobody in charge of it.
    """
    if host in LOOPBACK_HOSTS or host.startswith("127."):
        return None
    if any(user.may_log_in for user in store.all_users()):
        return None
    return f"Listening on {host} takes a user with a password first; add one with: polaris user add NAME"
