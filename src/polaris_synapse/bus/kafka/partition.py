"""One partition of one core: folds records into the core and says where its outputs go. Pure and deterministic.

What makes effects happen once is here. Every output carries the number that it is among all that this partition ever
sent to that place, which a replay makes again; the receiver keeps the highest number of each sender and skips what is
not above it. Two processes that believe they own the same partition therefore say the same things with the same
numbers, and whichever comes second is not heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.bus.core import Core, SnapshotError, hash_state
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.topics import INSTRUMENTS
from polaris_synapse.bus.kafka.wire import Record, Source
from polaris_synapse.bus.subscriptions import is_accepted
from polaris_synapse.domain.messages import Answer, ListInstrument, Message, SetInstrumentStatus
from polaris_synapse.domain.topics import ANSWERS

_HOST_VERSION: Final = 1
#: Beyond every position in a record.
_WHOLE: Final = 2**31
#: Every partition of risk takes these commands; the first of them announces those that it accepted.
ANNOUNCING_CORE: Final = "risk"
ANNOUNCED: Final[frozenset[type[Message]]] = frozenset({ListInstrument, SetInstrumentStatus})


class SequenceGapError(RuntimeError):
    """A sender's outputs are missing in between: the log is not whole, and nothing after the gap may be believed."""


class Height(Struct, array_like=True, gc=False):
    """The last output taken of one sender: its offset and index, and its number at this reader (0: not numbered)."""

    offset: int
    index: int
    sequence: int


class HostPart(Struct, kw_only=True):
    """What the host remembers beside the core. ``offset``: the last record folded, -1 for none.

    ``heights`` by the sender's ``core/partition``; ``sent``: outputs ever sent, by ``topic/partition``.
    """

    version: int = _HOST_VERSION
    offset: int = -1
    last_time_ns: int = 0
    heights: dict[str, Height] = {}
    sent: dict[str, int] = {}


class Output(Struct, frozen=True, gc=False):
    """An output on its way to a partition of a topic."""

    topic: str
    partition: int
    message: Message
    source: Source


class Local(Struct, frozen=True, gc=False):
    """An output for a shell in this process: a command to a venue, a proposal."""

    message: Message
    source: Source


class PartitionSnapshot(Struct, frozen=True):
    """A core's state after the record at ``offset``, and the host's part of it. Hashes are ``hash_state`` of each."""

    core: str
    partition: int
    offset: int
    time_ns: int
    state_hash: str
    data: bytes
    host: bytes


class PartitionFold:
    """A core with what its host remembers. Not thread-safe."""

    def __init__(self, core: Core, partition: int, destinations: Destinations, *, numbered: bool = True) -> None:
        self.core = core
        self.partition = partition
        self._destinations = destinations
        self._numbered = numbered
        self._announces = core.name == ANNOUNCING_CORE and partition == 0
        self.host = HostPart()
        self.skipped = 0
        self._places: dict[tuple[str, int], str] = {}
        #: The last message folded of the record at ``offset``; a snapshot is always of a whole record.
        self._position = _WHOLE
        #: Outputs of that record so far: together they are one input's.
        self._said = 0

    @property
    def offset(self) -> int:
        """The last record folded, -1 for none."""
        return self.host.offset

    def take(self, record: Record, outputs: list[Output], local: list[Local]) -> None:
        """Fold one message; what the core says is appended. Raises SequenceGapError, or what a core's bug raises."""
        host = self.host
        if record.offset > host.offset:
            self._said = 0
        else:
            assert record.offset == host.offset, "records come in the order of their offsets"
            assert record.position > self._position, "messages come in the order of their record"
        self._position = record.position
        if record.source is not None and not self._is_new(record.source):
            host.offset = record.offset
            self.skipped += 1
            return
        message = record.message
        if message.time_ns < host.last_time_ns:
            # Shells' clocks differ; for a core time never runs backwards. The same in every replay.
            message = replace(message, time_ns=host.last_time_ns)
        else:
            host.last_time_ns = message.time_ns
        produced = self.core.apply(message)
        host.offset = record.offset
        first = self._said
        # One more than what was said: the number of an announcement.
        self._said = first + len(produced) + 1
        for index, output in enumerate(produced, start=first):
            self._address(record, index, output, outputs, local)
        if self._announces and type(message) in ANNOUNCED and is_accepted(message, produced):  # type: ignore[arg-type]
            # No core says that an instrument was listed or halted; the read models need it.
            outputs.append(self._numbered_output((INSTRUMENTS, 0), message, record.offset, self._said - 1))

    def _is_new(self, source: Source) -> bool:
        heights = self.host.heights
        height = heights.get(source.name)
        if source.sequence:
            last = 0 if height is None else height.sequence
            if source.sequence <= last:
                return False
            if source.sequence != last + 1:
                raise SequenceGapError(
                    f"{self.core.name}/{self.partition} has output {last} of {source.name} and was given "
                    f"{source.sequence}: what lies between is missing from the log"
                )
        elif height is not None and (source.offset, source.index) <= (height.offset, height.index):
            return False
        if height is None:
            heights[source.name] = Height(source.offset, source.index, source.sequence)
        else:
            height.offset, height.index, height.sequence = source.offset, source.index, source.sequence
        return True

    def _address(self, record: Record, index: int, output: Message, outputs: list[Output], local: list[Local]) -> None:
        name, partition, offset = self.core.name, self.partition, record.offset
        if type(output) is Answer:
            if record.reply >= 0:
                # An asker knows its own request's id, so answers need no number.
                outputs.append(Output(ANSWERS, record.reply, output, Source(name, partition, offset, index)))
            return
        if self._destinations.is_local(type(output)):
            local.append(Local(output, Source(name, partition, offset, index)))
        outputs += [self._numbered_output(place, output, offset, index) for place in self._destinations.of(output)]

    def _numbered_output(self, place: tuple[str, int], message: Message, offset: int, index: int) -> Output:
        number = 0
        if self._numbered:
            name = self._places.get(place)
            if name is None:
                name = self._places[place] = f"{place[0]}/{place[1]}"
            sent = self.host.sent
            number = sent[name] = sent.get(name, 0) + 1
        return Output(place[0], place[1], message, Source(self.core.name, self.partition, offset, index, number))

    def snapshot(self) -> PartitionSnapshot:
        """The state after the last record."""
        data = self.core.snapshot()
        return PartitionSnapshot(
            core=self.core.name,
            partition=self.partition,
            offset=self.host.offset,
            time_ns=self.host.last_time_ns,
            state_hash=hash_state(data),
            data=data,
            host=msgspec.json.encode(self.host, order="deterministic"),
        )

    def restore(self, snapshot: PartitionSnapshot) -> None:
        """Go into a snapshot's state, and make sure of it. Raises SnapshotError."""
        if (snapshot.core, snapshot.partition) != (self.core.name, self.partition):
            raise SnapshotError(f"a snapshot of {snapshot.core}/{snapshot.partition} is not of {self.core.name}")
        if hash_state(snapshot.data) != snapshot.state_hash:
            raise SnapshotError(f"the snapshot of {snapshot.core} at offset {snapshot.offset} does not match its hash")
        try:
            host = msgspec.json.decode(snapshot.host, type=HostPart)
        except msgspec.MsgspecError as error:
            raise SnapshotError(f"the host's part of the snapshot cannot be read: {error}") from error
        if host.version != _HOST_VERSION or host.offset != snapshot.offset:
            raise SnapshotError(f"the host's part of the snapshot at offset {snapshot.offset} is of something else")
        self.core.restore(snapshot.data)
        if self.core.state_hash() != snapshot.state_hash:
            raise SnapshotError(f"{snapshot.core} is not in the state of its snapshot after restoring it")
        self.host = host
        self._position, self._said = _WHOLE, 0

    def describe(self) -> dict[str, Any]:
        """Where it stands, for people: core, partition, offset and what was skipped."""
        return {
            "core": self.core.name,
            "partition": self.partition,
            "offset": self.host.offset,
            "skipped": self.skipped,
        }


def take_all(fold: PartitionFold, records: Sequence[Record]) -> tuple[list[Output], list[Local]]:
    """Fold many records; for replays and tests."""
    outputs: list[Output] = []
    local: list[Local] = []
    for record in records:
        fold.take(record, outputs, local)
    return outputs, local
