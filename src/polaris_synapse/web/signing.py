"""Signed requests: what is signed, how, and the key file of whoever signs. Used by clients and by the gateway.

The text that is signed is five lines: method, path with query, timestamp in milliseconds, nonce, and the SHA-256 of the
body in hex. The headers are ``X-Polaris-Key``, ``X-Polaris-Timestamp``, ``X-Polaris-Nonce`` and
``X-Polaris-Signature``: hex of HMAC-SHA256, or base64 of Ed25519. Importing this pulls in no server and no
cryptography until something is signed with Ed25519.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import time
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

KEY_HEADER: Final = "x-polaris-key"
TIMESTAMP_HEADER: Final = "x-polaris-timestamp"
NONCE_HEADER: Final = "x-polaris-nonce"
SIGNATURE_HEADER: Final = "x-polaris-signature"

HMAC_SECRET_BYTES_MIN: Final = 32


class Algorithm(StrEnum):
    """How a key signs."""

    ED25519 = "ED25519"
    HMAC_SHA256 = "HMAC_SHA256"


class KeyFileError(ValueError):
    """A key file that cannot be used; the message says why in one sentence."""


class SigningKey(Struct, frozen=True):
    """A key as its owner holds it. ``secret``: the Ed25519 private key's 32 bytes, or the HMAC secret."""

    key_id: str
    algorithm: Algorithm
    secret: bytes

    def __repr__(self) -> str:
        return f"SigningKey(key_id={self.key_id!r}, algorithm={self.algorithm.value!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("key_id", self.key_id), ("algorithm", self.algorithm.value)]


def canonical_text(method: str, target: str, timestamp_ms: str, nonce: str, body: bytes) -> bytes:
    """The bytes that are signed. ``target`` is the path with its query, exactly as it is sent."""
    return f"{method}\n{target}\n{timestamp_ms}\n{nonce}\n{hashlib.sha256(body).hexdigest()}".encode()


def sign(key: SigningKey, text: bytes) -> str:
    """The signature of ``text`` as its header carries it."""
    if key.algorithm is Algorithm.HMAC_SHA256:
        return hmac.new(key.secret, text, hashlib.sha256).hexdigest()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(key.secret).sign(text)).decode("ascii")


def verify(algorithm: Algorithm, secret: bytes, text: bytes, signature: str) -> bool:
    """Whether ``signature`` is right. ``secret``: the HMAC secret, or the Ed25519 public key's 32 bytes."""
    if algorithm is Algorithm.HMAC_SHA256:
        right = hmac.new(secret, text, hashlib.sha256).hexdigest()
        return hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace"))
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(secret).verify(base64.b64decode(signature, validate=True), text)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def signed_headers(
    key: SigningKey,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    timestamp_ms: int | None = None,
    nonce: str | None = None,
) -> dict[str, str]:
    """The headers that sign one request. The time and the nonce are made here unless given."""
    stamp = str(time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms)
    once = secrets.token_hex(16) if nonce is None else nonce
    signature = sign(key, canonical_text(method, target, stamp, once, body))
    return {KEY_HEADER: key.key_id, TIMESTAMP_HEADER: stamp, NONCE_HEADER: once, SIGNATURE_HEADER: signature}


def new_key(key_id: str, algorithm: Algorithm = Algorithm.ED25519) -> SigningKey:
    """A fresh key."""
    return SigningKey(key_id=key_id, algorithm=algorithm, secret=secrets.token_bytes(HMAC_SECRET_BYTES_MIN))


def verifier_of(key: SigningKey) -> bytes:
    """What the desk must hold to check the key's signatures: the public key, or for HMAC the secret itself."""
    if key.algorithm is Algorithm.HMAC_SHA256:
        return key.secret
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(key.secret).public_key().public_bytes_raw()


class _KeyFile(Struct, frozen=True, forbid_unknown_fields=True):
    key_id: str
    algorithm: Algorithm
    secret: bytes


def write_key_file(path: Path, key: SigningKey) -> None:
    """Write a key for its owner's eyes only (0600). An existing file is left alone: raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(_KeyFile(key.key_id, key.algorithm, key.secret)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_key_file(path: Path) -> SigningKey:
    """Read a key. Raises KeyFileError for a file that others may read or that holds no key."""
    try:
        if path.stat().st_mode & 0o077:
            raise KeyFileError(f"Others may read {path}; make it private with: chmod 600 {path}")
        found = msgspec.json.decode(path.read_bytes(), type=_KeyFile)
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError:
        raise KeyFileError(f"{path} is not a key file.") from None
    return SigningKey(key_id=found.key_id, algorithm=found.algorithm, secret=found.secret)
