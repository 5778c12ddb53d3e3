"""The journal port: every input of the durable cores, in order, before it has an effect.

A journal holds *groups*: the messages of one commit, as lines of JSON under one checksum. Grouping is what makes it
quick (one row a group against one a message: 488 against 757 µs a commit of a hundred, 1.7 against 4.0 ms of a
thousand); every message keeps an offset of its own. Offsets start at 1 and have no gaps.

It also holds snapshots of the cores, so that a restart need not begin at the first message.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from polaris_synapse.domain.messages import AccountMetrics, AnyMessage, Mark, MarketSummary, Message, Tick

#: The layout of a group's payload, as it is written. Version 1: one message of JSON a line.
FORMAT_VERSION: Final = 1
#: The layouts that can be read. A journal of another version is refused, never guessed at.
READABLE_VERSIONS: Final = frozenset({1})
#: Inputs whose loss in a power cut costs nothing as long as nothing followed from them: the next one says it again.
REPEATED_SOON: Final[frozenset[type[Message]]] = frozenset({Tick, Mark, MarketSummary})
#: Outputs that commit nobody to anything. Any other output of a group that is not synchronised waits until it is.
WITHOUT_CONSEQUENCE: Final[frozenset[type[Message]]] = frozenset({AccountMetrics})

#: zlib lets go of the interpreter for more bytes than this, and then waits for it longer than the sum takes.
_HELD_BYTES_MAX: Final = 5_120

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(AnyMessage)


class JournalError(RuntimeError):
    """The journal cannot be used."""


class JournalWriteError(JournalError):
    """A group could not be made durable (disk full, I/O error). Nothing of it may have an effect."""


class UnwritableMessageError(JournalError):
    """A message that JSON cannot hold, such as text with half a surrogate pair. Nothing was written."""


class JournalCorruptError(JournalError):
    """Records that were acknowledged are damaged. ``offset`` is the first message that cannot be trusted."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


class JournalVersionError(JournalError):
    """The journal was written by a version of the desk that this one cannot read."""


class JournalLockedError(JournalError):
    """Another desk uses the same data directory."""


class SnapshotPart(Struct, frozen=True, gc=False):
    """One core's state. ``state_hash`` is ``bus.core.hash_state`` of ``data``."""

    core: str
    state_hash: str
    data: bytes


class Snapshot(Struct, frozen=True):
    """All cores after the message at ``offset`` and all that followed from it."""

    offset: int
    time_ns: int
    parts: tuple[SnapshotPart, ...]


class TornTail(Struct, frozen=True):
    """An end of the journal that was cut when it was opened.

    ``offset``: the first message that is gone; ``messages``: how many were lost, 0 where no whole group was: then
    nothing that was acknowledged is gone. ``detail`` says what was found.
    """

    offset: int
    messages: int
    detail: str


class JournalSize(Struct, frozen=True):
    """How much a journal holds. ``bytes_on_disk`` counts everything that belongs to it."""

    first_offset: int
    last_offset: int
    snapshots: int
    bytes_on_disk: int


class JournalStore(Protocol):
    """An append-only log of messages. One writer; not thread-safe.

    Opening one takes the lock of its place and cuts a torn tail; it raises JournalLockedError, JournalCorruptError
    or JournalVersionError.
    """

    @property
    def last_offset(self) -> int:
        """The offset of the newest message, 0 in an empty journal."""
        ...

    @property
    def first_offset(self) -> int:
        """The offset of the oldest message kept; ``last_offset + 1`` where none is."""
        ...

    @property
    def last_time_ns(self) -> int:
        """The logical time of the newest message, 0 in an empty journal."""
        ...

    @property
    def torn_tail(self) -> TornTail | None:
        """What was cut when this was opened."""
        ...

    def append(self, messages: Sequence[Message], snapshot: Snapshot | None = None) -> int:
        """Write one group, and a snapshot with it, and return the new last offset once both are durable.

        A group of nothing but REPEATED_SOON survives the process at once, and a power cut after ``synchronise`` or the
        next group of another kind; any other survives both when this returns. Raises JournalWriteError or
        UnwritableMessageError, and then the journal is as it was before.
        """
        ...

    def read(self, from_offset: int) -> Iterator[tuple[int, list[Message]]]:
        """Groups from the one that holds ``from_offset`` on: the offset of the first message given, the messages.

        Raises JournalCorruptError where a group is damaged or missing, JournalVersionError where it cannot be read.
        """
        ...

    def snapshots(self) -> list[int]:
        """The offsets of the snapshots kept, newest first."""
        ...

    def load_snapshot(self, offset: int) -> Snapshot:
        """The snapshot at ``offset``. Raises JournalCorruptError where it is damaged, KeyError where there is none."""
        ...

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot on its own. Raises JournalWriteError."""
        ...

    def verify(self) -> JournalSize:
        """Read everything and check it. Raises JournalCorruptError or JournalVersionError."""
        ...

    def truncate_before(self, offset: int) -> int:
        """Delete whole groups below ``offset`` and return how many messages went.

        Never goes beyond the oldest snapshot, since a restart from it needs all that follows. Raises
        JournalWriteError.
        """
        ...

    def synchronise(self) -> None:
        """Make everything written so far survive a power cut, by a write that has no meaning.

        Raises JournalWriteError, so it also shows whether the journal can be written at all.
        """
        ...

    def size(self) -> JournalSize:
        """How much there is."""
        ...

    def close(self) -> None:
        """Let go of the files and the lock."""
        ...


def encode_group(messages: Sequence[Message]) -> bytes:
    """Messages as lines of JSON. Raises UnwritableMessageError."""
    try:
        return _ENCODER.encode_lines(messages)
    except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
        raise UnwritableMessageError(f"a message cannot be written as JSON: {error}") from error


def decode_group(first_offset: int, payload: bytes, *, version: int = FORMAT_VERSION) -> list[Message]:
    """The messages of a group whose checksum was right. Raises JournalVersionError for what cannot be read."""
    if version not in READABLE_VERSIONS:
        raise JournalVersionError(f"the group at offset {first_offset} has version {version}")
    try:
        messages: list[Message] = _DECODER.decode_lines(payload)
    except msgspec.MsgspecError as error:
        raise JournalVersionError(
            f"the journal holds a message at or after offset {first_offset} that this version cannot read: {error}"
        ) from error
    return messages


def group_checksum(first_offset: int, count: int, time_ns: int, version: int, payload: bytes) -> int:
    """CRC-32 of a group with everything that says where it belongs, so a group in the wrong place is found too."""
    checksum = zlib.crc32(b"%d/%d/%d/%d/" % (first_offset, count, time_ns, version))
    if len(payload) <= _HELD_BYTES_MAX:
        return zlib.crc32(payload, checksum)
    view = memoryview(payload)
    for start in range(0, len(payload), _HELD_BYTES_MAX):
        checksum = zlib.crc32(view[start : start + _HELD_BYTES_MAX], checksum)
    return checksum


def is_repeated_soon(messages: Sequence[Message]) -> bool:
    """Whether a group holds nothing but REPEATED_SOON."""
    return all(type(message) in REPEATED_SOON for message in messages)


def corrupt_group(first_offset: int, last_offset: int, found: str) -> JournalCorruptError:
    """The error for a damaged group, in one clear sentence."""
    return JournalCorruptError(
        first_offset,
        f"the journal is damaged at offset {first_offset} (the group of messages {first_offset} to {last_offset}): "
        f"{found}; restore the data directory from a backup, or keep it for inspection and start in an empty one",
    )
