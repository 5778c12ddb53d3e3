"""The audit chain: each entry carries the hash of the one before it.

``entry_hash = SHA-256(previous_hash + canonical JSON)``, where ``previous_hash`` is its 64 hex digits as ASCII and the
canonical JSON is one object in UTF-8 without white space whose keys are, in this order, ``action``, ``actor``,
``detail``, ``sequence``, ``subject``, ``time_ns``; integers in full, text with the shortest JSON escapes.

The chain begins at sequence 1 with ``previous_hash = SHA-256("polaris-synapse audit chain v1, partition N")``.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from polaris_synapse.domain.messages import AuditEntry

#: An entry's detail and subject are cut to these, so that no input can make the log grow without bound.
DETAIL_CHARACTERS_MAX = 2_000
SUBJECT_CHARACTERS_MAX = 200
ACTOR_CHARACTERS_MAX = 200


class Content(Struct, frozen=True, gc=False):
    """What is hashed of an entry beside ``previous_hash``. The order of the fields is part of the format."""

    action: str
    actor: str
    detail: str
    sequence: int
    subject: str
    time_ns: int


ENCODER: Final = msgspec.json.Encoder()


def genesis_hash(partition: int = 0) -> str:
    """The ``previous_hash`` of a chain's first entry, 64 hex digits."""
    return sha256(f"polaris-synapse audit chain v1, partition {partition}".encode("ascii")).hexdigest()


def entry_hash(
    previous_hash: str, *, sequence: int, time_ns: int, actor: str, action: str, subject: str, detail: str
) -> str:
    """The hash of an entry with these fields after ``previous_hash``, 64 hex digits."""
    content = ENCODER.encode(Content(action, actor, detail, sequence, subject, time_ns))
    return sha256(previous_hash.encode("utf-8") + content).hexdigest()


def hash_of(entry: AuditEntry) -> str:
    """The hash that an entry's own fields lead to, whatever ``entry_hash`` it claims."""
    return entry_hash(
        entry.previous_hash,
        sequence=entry.sequence,
        time_ns=entry.time_ns,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=entry.detail,
    )


class AuditHead(Struct):
    """Where a chain stands: the sequence of its last entry (0 for none) and that entry's hash."""

    sequence: int
    head_hash: str
