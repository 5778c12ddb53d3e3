"""Passwords: argon2id in a worker thread, and the same time for names that do not exist."""

from __future__ import annotations

import secrets

import anyio
import argon2

from polaris_synapse.order_gateway.credentials import (
    PASSWORD_CHARACTERS_MAX,
    PASSWORD_CHARACTERS_MIN,
    CredentialError,
)

#: Hashes worked on at once: each takes 64 MiB and a third of a second of a core.
HASHES_AT_ONCE_MAX = 2


def hash_password(password: str, hasher: argon2.PasswordHasher | None = None) -> str:
    """The argon2id hash of a new password. Slow on purpose. Raises CredentialError for one that is too short."""
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        raise CredentialError(f"A password has {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters.")
    return (hasher or argon2.PasswordHasher()).hash(password)


class Passwords:
    """Hashes and checks passwords without holding up the event loop."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        self._limiter = anyio.CapacityLimiter(HASHES_AT_ONCE_MAX)
        self._decoy = ""

    async def hash(self, password: str) -> str:
        """The hash of a new password. Raises CredentialError."""
        return await anyio.to_thread.run_sync(hash_password, password, self._hasher, limiter=self._limiter)

    async def matches(self, stored_hash: str | None, password: str) -> bool:
        """Whether the password is right. None, for a name that does not exist, takes as long and is never right."""
        return await anyio.to_thread.run_sync(self._matches, stored_hash, password, limiter=self._limiter)

    def _matches(self, stored_hash: str | None, password: str) -> bool:
        if not self._decoy:
            self._decoy = self._hasher.hash(secrets.token_hex(16))
        try:
            self._hasher.verify(stored_hash or self._decoy, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return bool(stored_hash)
