"""What one sender says at one time to one place travels as one record of Kafka.

A record costs its sender, the broker and each reader far more than a message does, so a batch of inputs is answered by
one record a place, not by one an output. How a batch is cut depends on the moment and does not matter: each message
keeps its own identity and number, and a successor's repetition may be cut otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from polaris_synapse.bus.core import encode_message
from polaris_synapse.bus.kafka.topics import COMPACTED
from polaris_synapse.bus.kafka.wire import KINDS, REPLY, SENDER, Headers, Source, headers_of
from polaris_synapse.domain.messages import Message
from polaris_synapse.domain.topics import ROUTES

#: Far below what brokers take (a megabyte before compression), and little enough for a reader to fold in one go.
_BYTES_MAX: Final = 131_072
_MESSAGES_MAX: Final = 500

_TAGS: Final[dict[type[Message], bytes]] = {kind: str(kind.__struct_config__.tag).encode("ascii") for kind in ROUTES}


def tags_of(kinds: Iterable[type[Message]]) -> frozenset[bytes]:
    """The names of message types as they stand in the header ``kinds``."""
    return frozenset(_TAGS[kind] for kind in kinds)


class Parcel(Struct, frozen=True, gc=False):
    """A record on its way to a partition of a topic: so many messages, encoded."""

    topic: str
    partition: int
    messages: int
    value: bytes
    headers: Headers
    key: bytes | None = None


def single(topic: str, partition: int, message: Message, headers: Headers) -> Parcel:
    """A record of one message, under its route's key."""
    # The partition is given; the key is for compaction and for whoever reads the topics.
    key = ROUTES[type(message)].key(message).encode("utf-8", "surrogatepass")
    return Parcel(topic, partition, 1, encode_message(message), headers, key)


def joined(parcels: Sequence[Parcel]) -> list[Parcel]:
    """Records of one sender to one place as fewer ones, in their order; single messages stay by themselves."""
    result: list[Parcel] = []
    run: list[Parcel] = []
    size_bytes = messages = 0
    for parcel in parcels:
        fits = size_bytes + len(parcel.value) <= _BYTES_MAX and messages + parcel.messages <= _MESSAGES_MAX
        if run and not (fits and _is_bundle(parcel) and parcel.headers[1:] == run[0].headers[1:]):
            result.append(_join(run))
            run, size_bytes, messages = [], 0, 0
        if not _is_bundle(parcel):
            result.append(parcel)
            continue
        run.append(parcel)
        size_bytes += len(parcel.value)
        messages += parcel.messages
    if run:
        result.append(_join(run))
    return result


def _is_bundle(parcel: Parcel) -> bool:
    return bool(parcel.headers) and parcel.headers[0][0] == KINDS


def _join(run: list[Parcel]) -> Parcel:
    first = run[0]
    if len(run) == 1:
        return first
    kinds = sorted({kind for parcel in run for kind in parcel.headers[0][1].split(b",")})
    value = b"[%b]" % b",".join(parcel.value[1:-1] for parcel in run)
    headers = [(KINDS, b",".join(kinds)), *first.headers[1:]]
    return Parcel(first.topic, first.partition, sum(parcel.messages for parcel in run), value, headers)


class _Bundle:
    """The entries of one record."""

    __slots__ = ("entries", "kinds", "size_bytes")

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.kinds: set[type[Message]] = set()
        self.size_bytes = 0


class Packer:
    """Gathers what ``sender`` (``core/partition``, empty from outside) says, until ``take``."""

    def __init__(self, sender: str = "") -> None:
        self._sender = sender
        self._open: dict[tuple[str, int, int], _Bundle] = {}
        self._closed: list[Parcel] = []
        self._last: Message | None = None
        self._encoded = b""
        #: Messages that wait to be taken.
        self.messages = 0

    def add(self, topic: str, partition: int, message: Message, source: Source | None, reply: int = -1) -> None:
        """Put a message behind what is there for its place."""
        self.messages += 1
        if topic in COMPACTED:
            # What replaces an older record is told by its key.
            self._closed.append(single(topic, partition, message, headers_of(source, reply)))
            return
        if message is not self._last:
            # A message often goes to several topics one after the other.
            self._last, self._encoded = message, encode_message(message)
        encoded = self._encoded
        place = (topic, partition, reply)
        bundle = self._open.get(place)
        if bundle is None:
            bundle = self._open[place] = _Bundle()
        elif bundle.size_bytes > _BYTES_MAX or len(bundle.entries) >= _MESSAGES_MAX:
            self._closed.append(self._parcel(place, bundle))
            bundle = self._open[place] = _Bundle()
        if source is None:
            bundle.entries.append(b"[0,0,0,%b]" % encoded)
        else:
            bundle.entries.append(b"[%d,%d,%d,%b]" % (source.offset, source.index, source.sequence, encoded))
        bundle.kinds.add(type(message))
        bundle.size_bytes += len(encoded)

    def take(self) -> list[Parcel]:
        """Everything that waits, in order for each place; nothing waits any more."""
        parcels = self._closed + [self._parcel(place, bundle) for place, bundle in self._open.items()]
        self._open, self._closed, self._last, self.messages = {}, [], None, 0
        return parcels

    def _parcel(self, place: tuple[str, int, int], bundle: _Bundle) -> Parcel:
        topic, partition, reply = place
        headers: Headers = [(KINDS, b",".join(sorted(_TAGS[kind] for kind in bundle.kinds)))]
        if self._sender:
            headers.append((SENDER, self._sender.encode("ascii")))
        if reply >= 0:
            headers.append((REPLY, b"%d" % reply))
        return Parcel(topic, partition, len(bundle.entries), b"[%b]" % b",".join(bundle.entries), headers)
