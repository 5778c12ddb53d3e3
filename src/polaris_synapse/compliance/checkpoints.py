"""Signed checkpoints of the audit log: how long it was, and the root over its entries.

A hash chain shows edits, but its owner can cut off its end or write the whole of it anew. A checkpoint, signed with
Ed25519 and kept elsewhere, shows both. Checkpoints are a chain themselves; whoever keeps a copy of the latest one, on
paper if need be, holds the desk to all before it.

A file of checkpoints has one JSON object a line. The signature covers ``polaris-synapse audit checkpoint v1``, a line
feed, and the JSON of the other fields.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.compliance.merkle import MerkleFrontier

_CONTEXT: Final = b"polaris-synapse audit checkpoint v1\n"
#: The ``previous_hash`` of the first checkpoint.
FIRST_PREVIOUS_HASH: Final = sha256(_CONTEXT).hexdigest()
CHECKPOINT_LINE_BYTES_MAX: Final = 16_384


class CheckpointError(ValueError):
    """A file that holds no checkpoints or no key of the right kind; the message says where."""


class Checkpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The audit log at one moment, signed. Hashes and the signature are hex digits.

    ``size`` is its number of entries, ``head_hash`` the last one's, ``root_hash`` the Merkle root over the raw bytes
    of all entry hashes, and ``frontier`` the roots of its full subtrees, so that the tree can grow on from here.
    ``previous_hash`` is the SHA-256 of what the checkpoint before signed. ``key_id`` names the key.
    """

    number: int
    size: int
    root_hash: str
    head_hash: str
    time_ns: int
    frontier: tuple[str, ...]
    previous_hash: str
    key_id: str
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "signature"}
        return _CONTEXT + msgspec.json.encode(fields)

    def content_hash(self) -> str:
        """The next checkpoint's ``previous_hash``."""
        return sha256(self.signed_bytes()).hexdigest()

    def tree(self) -> MerkleFrontier:
        """The tree at this checkpoint, to grow on. Raises CheckpointError when the fields contradict each other."""
        try:
            tree = MerkleFrontier(self.size, [bytes.fromhex(text) for text in self.frontier])
        except ValueError as error:
            raise CheckpointError(f"checkpoint {self.number}: {error}") from None
        if tree.root().hex() != self.root_hash:
            raise CheckpointError(f"checkpoint {self.number}: the frontier does not lead to the root")
        return tree


def key_id_of(public_key: Ed25519PublicKey) -> str:
    """A short name for a key: the first 16 hex digits of the SHA-256 of its raw bytes."""
    return sha256(public_key.public_bytes_raw()).hexdigest()[:16]


def sign_checkpoint(
    key: Ed25519PrivateKey, previous: Checkpoint | None, *, tree: MerkleFrontier, head_hash: str, time_ns: int
) -> Checkpoint:
    """The checkpoint that follows ``previous`` (None: the first)."""
    unsigned = Checkpoint(
        number=1 if previous is None else previous.number + 1,
        size=tree.size,
        root_hash=tree.root().hex(),
        head_hash=head_hash,
        time_ns=time_ns,
        frontier=tuple(digest.hex() for digest in tree.hashes),
        previous_hash=FIRST_PREVIOUS_HASH if previous is None else previous.content_hash(),
        key_id=key_id_of(key.public_key()),
    )
    return replace(unsigned, signature=key.sign(unsigned.signed_bytes()).hex())


def signature_holds(checkpoint: Checkpoint, public_key: Ed25519PublicKey) -> bool:
    """Whether the key's owner signed exactly this checkpoint."""
    try:
        public_key.verify(bytes.fromhex(checkpoint.signature), checkpoint.signed_bytes())
    except (InvalidSignature, ValueError):
        return False
    return True


def problem_between(previous: Checkpoint | None, checkpoint: Checkpoint) -> str:
    """Why ``checkpoint`` cannot follow ``previous``, in one sentence, or an empty text."""
    if previous is None:
        if checkpoint.number != 1 or checkpoint.previous_hash != FIRST_PREVIOUS_HASH:
            return f"the first checkpoint in the file is number {checkpoint.number}; those before it are missing"
    elif checkpoint.number != previous.number + 1:
        return f"checkpoint {checkpoint.number} follows number {previous.number}; those between are missing"
    elif checkpoint.previous_hash != previous.content_hash():
        return f"checkpoint {checkpoint.number} was not made after the number {previous.number} that is here"
    elif checkpoint.size < previous.size or checkpoint.time_ns < previous.time_ns:
        return f"checkpoint {checkpoint.number} is shorter or older than number {previous.number}"
    return ""


def read_checkpoints(path: Path) -> list[Checkpoint]:
    """The checkpoints of a file; none where there is no file. Raises CheckpointError naming the line."""
    if not path.exists():
        return []
    return list(_parse(path))


def _parse(path: Path) -> Iterator[Checkpoint]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if len(line) > CHECKPOINT_LINE_BYTES_MAX:
                    raise CheckpointError(f"{path.name} line {number} is too long for a checkpoint")
                yield msgspec.json.decode(line, type=Checkpoint)
            except msgspec.MsgspecError as error:
                raise CheckpointError(f"{path.name} line {number} is no checkpoint: {error}") from None


def append_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Add a checkpoint to its file and make it durable before returning.

    Raises OSError, after which no part of the line is left in the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        data = memoryview(msgspec.json.encode(checkpoint) + b"\n")
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def drop_torn_line(path: Path) -> int:
    """Take off a last line that a crash cut short; how many bytes that were. Raises OSError."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - CHECKPOINT_LINE_BYTES_MAX))
        torn = len(file.read().rpartition(b"\n")[2])
        if torn:
            file.truncate(size - torn)
    return torn


def load_or_make_key(path: Path) -> Ed25519PrivateKey:
    """The signing key of a PEM file that only its owner may read; made on first use, its public half beside it.

    Raises CheckpointError for a file that holds no such key, OSError where it cannot be read or written.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = Ed25519PrivateKey.generate()
        pem = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        public_key_path(path).write_bytes(
            made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        raise CheckpointError(f"{path} holds no private key that can be read") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CheckpointError(f"{path} holds a private key of another kind than Ed25519")
    return key


def public_key_path(key_path: Path) -> Path:
    """Where the public half of a signing key lies: ``audit-key.pem`` has ``audit-key.public.pem``."""
    return key_path.with_suffix(".public.pem")


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The public key of a PEM file. Raises CheckpointError or OSError."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except ValueError:
        raise CheckpointError(f"{path} holds no public key that can be read") from None
    if not isinstance(key, Ed25519PublicKey):
        raise CheckpointError(f"{path} holds a public key of another kind than Ed25519")
    return key
