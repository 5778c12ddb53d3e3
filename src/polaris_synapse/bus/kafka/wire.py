"""A message as a record of Kafka: its JSON as the value, who said it in two small headers.

``id`` is the message's identity, ``core/partition/offset/index/sequence``; a message from outside has none.
``sequence`` counts what its core has ever sent to that partition of that topic, so that whoever reads it sees a
repetition and a gap alike; 0 where repetitions are told by offset alone (cores that are not replayed, time).
``reply`` is the partition of the answers topic that the asker reads.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from polaris_synapse.bus.core import decode_message
from polaris_synapse.domain.messages import Message

_ID: Final = "id"
_REPLY: Final = "reply"

Headers = list[tuple[str, bytes]]


class RecordError(ValueError):
    """A record that is none of ours: its value or its headers cannot be read."""


class Source(Struct, frozen=True, gc=False):
    """Who said a message, and which of its sayings to this reader it is."""

    core: str
    partition: int
    offset: int
    index: int
    sequence: int = 0

    @property
    def name(self) -> str:
        """``core/partition``."""
        return f"{self.core}/{self.partition}"


class Record(Struct, frozen=True, gc=False):
    """A record as it was read. ``source`` None: from outside. ``reply`` -1: nobody waits for an answer."""

    topic: str
    partition: int
    offset: int
    message: Message
    source: Source | None = None
    reply: int = -1


def headers_of(source: Source | None, reply: int = -1) -> Headers:
    """The headers of a record."""
    headers: Headers = []
    if source is not None:
        text = f"{source.core}/{source.partition}/{source.offset}/{source.index}/{source.sequence}"
        headers.append((_ID, text.encode("ascii")))
    if reply >= 0:
        headers.append((_REPLY, b"%d" % reply))
    return headers


def read_headers(headers: Any) -> tuple[Source | None, int]:
    """The source and the reply partition of a record's headers. Raises RecordError."""
    source: Source | None = None
    reply = -1
    try:
        for name, value in headers or ():
            if name == _ID:
                core, partition, offset, index, sequence = value.decode("ascii").split("/")
                source = Source(core, int(partition), int(offset), int(index), int(sequence))
            elif name == _REPLY:
                reply = int(value)
    except (ValueError, AttributeError) as error:
        raise RecordError(f"headers that are not ours: {error}") from error
    return source, reply


def read_record(topic: str, raw: Any) -> Record:
    """A record of confluent-kafka, without an error, as ours. Raises RecordError."""
    source, reply = read_headers(raw.headers())
    try:
        message = decode_message(raw.value() or b"")
    except msgspec.MsgspecError as error:
        raise RecordError(f"a value that is no message of the desk: {error}") from error
    return Record(topic, raw.partition(), raw.offset(), message, source, reply)
