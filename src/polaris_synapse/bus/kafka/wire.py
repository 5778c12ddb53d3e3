"""Messages as records of Kafka: JSON as the value, who said them in small headers.

A record holds one message, or several of one sender to one place: then its value is an array of entries
``[offset, index, sequence, message]``, and ``from`` names the sender, ``core/partition`` (none: from outside).
A single message's identity is its header ``id``, ``core/partition/offset/index/sequence``; one from outside has none.

``offset`` and ``index`` say which input made the message and which of its outputs it was. ``sequence`` counts what its
core has ever sent to that partition of that topic, so that whoever reads it sees a repetition and a gap alike; 0 where
repetitions are told by offset alone (cores that are not replayed, time). ``reply`` is the partition of the answers
topic that the asker reads. ``kinds`` names the types of the messages in a bundle, so that who wants none of them need
not decode it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec
from msgspec import Struct

from polaris_synapse.bus.core import decode_message
from polaris_synapse.domain.messages import AnyMessage, Message

ID: Final = "id"
SENDER: Final = "from"
REPLY: Final = "reply"
KINDS: Final = "kinds"

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
    """A message as it was read. ``source`` None: from outside. ``reply`` -1: nobody waits for an answer.

    ``position``: which of the messages of the record at ``offset`` it is, counted from 0.
    """

    topic: str
    partition: int
    offset: int
    message: Message
    source: Source | None = None
    reply: int = -1
    position: int = 0


class _Entry(Struct, frozen=True, array_like=True, gc=False):
    offset: int
    index: int
    sequence: int
    message: AnyMessage


_ENTRIES: Final = msgspec.json.Decoder(list[_Entry])


def headers_of(source: Source | None, reply: int = -1) -> Headers:
    """The headers of a record of one message."""
    headers: Headers = []
    if source is not None:
        text = f"{source.core}/{source.partition}/{source.offset}/{source.index}/{source.sequence}"
        headers.append((ID, text.encode("ascii")))
    if reply >= 0:
        headers.append((REPLY, b"%d" % reply))
    return headers


def read_headers(headers: Any) -> tuple[Source | None, int]:
    """The source and the reply partition of the headers of one message. Raises RecordError."""
    source: Source | None = None
    reply = -1
    try:
        for name, value in headers or ():
            if name == ID:
                core, partition, offset, index, sequence = value.decode("ascii").split("/")
                source = Source(core, int(partition), int(offset), int(index), int(sequence))
            elif name == REPLY:
                reply = int(value)
    except (ValueError, AttributeError) as error:
        raise RecordError(f"headers that are not ours: {error}") from error
    return source, reply


def holds_any(raw: Any, kinds: Collection[bytes]) -> bool:
    """Whether a record of confluent-kafka may hold a message of these kinds; a single message may always."""
    for name, value in raw.headers() or ():
        if name == KINDS:
            return any(kind in kinds for kind in value.split(b","))
    return True


def read_records(topic: str, raw: Any) -> list[Record]:
    """The messages in a record of confluent-kafka, without an error. Raises RecordError."""
    value = raw.value() or b""
    try:
        if value[:1] == b"[":
            return _read_bundle(topic, raw, value)
        source, reply = read_headers(raw.headers())
        return [Record(topic, raw.partition(), raw.offset(), decode_message(value), source, reply)]
    except msgspec.MsgspecError as error:
        raise RecordError(f"a value that is no message of the desk: {error}") from error


def _read_bundle(topic: str, raw: Any, value: bytes) -> list[Record]:
    core, sender_partition, reply = "", -1, -1
    try:
        for name, header in raw.headers() or ():
            if name == SENDER:
                core, _, number = header.decode("ascii").rpartition("/")
                sender_partition = int(number)
            elif name == REPLY:
                reply = int(header)
    except (ValueError, AttributeError) as error:
        raise RecordError(f"headers that are not ours: {error}") from error
    partition, offset = raw.partition(), raw.offset()
    return [
        Record(
            topic,
            partition,
            offset,
            entry.message,
            Source(core, sender_partition, entry.offset, entry.index, entry.sequence) if core else None,
            reply,
            position,
        )
        for position, entry in enumerate(_ENTRIES.decode(value))
    ]
