"""A disk that fails as disks do, and the journal on it.

What a commit promises is what the SQLite journal promises: whole or absent, and safe from a power cut unless it is a
group of REPEATED_SOON. The disk outlives the processes that write to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.bus.core import hash_state
from polaris_synapse.bus.journal import (
    FORMAT_VERSION,
    JournalCorruptError,
    JournalSize,
    JournalWriteError,
    Snapshot,
    TornTail,
    corrupt_group,
    decode_group,
    encode_group,
    group_checksum,
    is_repeated_soon,
)
from polaris_synapse.domain.messages import Message
from polaris_synapse.testing.simulation.faults import Faults, SimulatedCrash

SNAPSHOTS_KEPT: Final = 2


class CrashPoint(Enum):
    """Where in a commit the process dies."""

    BEFORE = "before the commit"
    WITHIN = "in the middle of the commit"
    AFTER = "after the commit, before anything of it is applied"


class StoredGroup(Struct, frozen=True):
    """One commit as it lies on the disk."""

    first_offset: int
    count: int
    time_ns: int
    checksum: int
    payload: bytes

    @property
    def is_whole(self) -> bool:
        """Whether its checksum is right."""
        found = group_checksum(self.first_offset, self.count, self.time_ns, FORMAT_VERSION, self.payload)
        return found == self.checksum


def _is_whole(snapshot: Snapshot) -> bool:
    return all(hash_state(part.data) == part.state_hash for part in snapshot.parts)


class Disk:
    """What survives. ``full``: nothing can be written. ``armed``: where the next commit kills the process."""

    def __init__(self, rng: Random, faults: Faults) -> None:
        self.rng = rng
        self.faults = faults
        self.groups: list[StoredGroup] = []
        self.snapshots: dict[int, Snapshot] = {}
        self.full = False
        self.armed: CrashPoint | None = None
        #: How many groups at the end a power cut would take.
        self.unsynchronised = 0
        #: A commit whose fsync failed: rolled back, but a crash now may leave it readable.
        self.ghost: StoredGroup | None = None
        self.torn: StoredGroup | None = None
        self.commits = 0

    def crash(self, *, power_cut: bool) -> int:
        """The process died; returns how many groups a power cut took. What was half written stays half written."""
        self.armed = None
        lost = 0
        if power_cut:
            lost = self.unsynchronised
            if lost:
                del self.groups[-lost:]
        elif self.ghost is not None and self.rng.random() < 0.5:
            self.groups.append(self.ghost)
        self.unsynchronised = 0
        self.ghost = None
        return lost

    def rot_snapshot(self) -> None:
        """Flip a bit in the newest snapshot, unless the desk could not start without it: that loss is reported."""
        whole = [offset for offset, snapshot in self.snapshots.items() if _is_whole(snapshot)]
        if not whole or (len(whole) == 1 and self.groups and self.groups[0].first_offset > 1):
            return
        newest = max(whole)
        snapshot = self.snapshots[newest]
        parts = list(snapshot.parts)
        index = self.rng.randrange(len(parts))
        data = bytearray(parts[index].data)
        data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        parts[index] = replace(parts[index], data=bytes(data))
        self.snapshots[newest] = replace(snapshot, parts=tuple(parts))

    def rot_group(self, index: int) -> StoredGroup:
        """Flip a bit in a group and return what it was."""
        before = self.groups[index]
        data = bytearray(before.payload)
        data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        self.groups[index] = replace(before, payload=bytes(data))
        return before


class SimulatedJournal:
    """A JournalStore on a Disk, for the life of one process. Raises JournalCorruptError where it is damaged."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._torn_tail: TornTail | None = None
        if disk.torn is not None:
            # SQLite drops a write that never became a commit; the desk reports that it lost no message.
            self._torn_tail = TornTail(offset=disk.torn.first_offset, messages=0, detail="an unfinished write")
            disk.torn = None
        self._check_groups()

    def _check_groups(self) -> None:
        expected = self._disk.groups[0].first_offset if self._disk.groups else 1
        for group in self._disk.groups:
            last = group.first_offset + group.count - 1
            if group.first_offset != expected:
                raise corrupt_group(expected, last, "the group is missing")
            if not group.is_whole:
                raise corrupt_group(group.first_offset, last, "its checksum is wrong")
            expected = last + 1

    @property
    def last_offset(self) -> int:
        """See JournalStore."""
        groups = self._disk.groups
        return groups[-1].first_offset + groups[-1].count - 1 if groups else 0

    @property
    def first_offset(self) -> int:
        """See JournalStore."""
        return self._disk.groups[0].first_offset if self._disk.groups else 1

    @property
    def last_time_ns(self) -> int:
        """See JournalStore."""
        return self._disk.groups[-1].time_ns if self._disk.groups else 0

    @property
    def torn_tail(self) -> TornTail | None:
        """See JournalStore."""
        return self._torn_tail

    def append(self, messages: Sequence[Message], snapshot: Snapshot | None = None) -> int:
        """See JournalStore. Raises SimulatedCrash where the disk is armed."""
        disk = self._disk
        payload = encode_group(messages)
        first, count, time_ns = self.last_offset + 1, len(messages), messages[-1].time_ns
        group = StoredGroup(
            first, count, time_ns, group_checksum(first, count, time_ns, FORMAT_VERSION, payload), payload
        )
        armed, disk.armed = disk.armed, None
        if armed is CrashPoint.BEFORE:
            raise SimulatedCrash
        if armed is CrashPoint.WITHIN:
            disk.torn = replace(group, payload=payload[: disk.rng.randrange(len(payload))])
            raise SimulatedCrash
        self._write(group)
        full_sync = snapshot is not None or not is_repeated_soon(messages)
        disk.groups.append(group)
        disk.unsynchronised = 0 if full_sync else disk.unsynchronised + 1
        disk.commits += 1
        if snapshot is not None:
            self._keep(snapshot)
        if armed is CrashPoint.AFTER:
            raise SimulatedCrash
        return self.last_offset

    def _write(self, group: StoredGroup | None) -> None:
        disk = self._disk
        if disk.full:
            raise JournalWriteError("the simulated disk is full")
        if disk.rng.random() < disk.faults.fsync_failure:
            disk.ghost = group
            raise JournalWriteError("the simulated fsync failed")
        disk.ghost = None

    def read(self, from_offset: int) -> Iterator[tuple[int, list[Message]]]:
        """See JournalStore."""
        for group in list(self._disk.groups):
            if group.first_offset + group.count > from_offset:
                skipped = max(from_offset - group.first_offset, 0)
                yield group.first_offset + skipped, decode_group(group.first_offset, group.payload)[skipped:]

    def snapshots(self) -> list[int]:
        """See JournalStore."""
        return sorted(self._disk.snapshots, reverse=True)

    def load_snapshot(self, offset: int) -> Snapshot:
        """See JournalStore."""
        snapshot = self._disk.snapshots[offset]
        for part in snapshot.parts:
            if hash_state(part.data) != part.state_hash:
                raise JournalCorruptError(offset, f"the snapshot of {part.core} at offset {offset} is damaged")
        return snapshot

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """See JournalStore."""
        self._write(None)
        self._keep(snapshot)
        self._disk.unsynchronised = 0

    def _keep(self, snapshot: Snapshot) -> None:
        kept = self._disk.snapshots
        kept[snapshot.offset] = snapshot
        for offset in self.snapshots()[SNAPSHOTS_KEPT:]:
            del kept[offset]

    def verify(self) -> JournalSize:
        """See JournalStore."""
        self._check_groups()
        for offset in self.snapshots():
            self.load_snapshot(offset)
        return self.size()

    def truncate_before(self, offset: int) -> int:
        """See JournalStore."""
        self._write(None)
        snapshots, groups = self.snapshots(), self._disk.groups
        keep_from = min(offset, snapshots[-1] + 1) if snapshots else 0
        before = self.first_offset
        while len(groups) > 1 and groups[1].first_offset <= keep_from:
            del groups[0]
        return self.first_offset - before

    def synchronise(self) -> None:
        """See JournalStore."""
        self._write(None)
        self._disk.unsynchronised = 0

    def size(self) -> JournalSize:
        """See JournalStore."""
        return JournalSize(
            first_offset=self.first_offset,
            last_offset=self.last_offset,
            snapshots=len(self._disk.snapshots),
            bytes_on_disk=sum(len(group.payload) for group in self._disk.groups),
        )

    def close(self) -> None:
        """Nothing is held open."""
