"""The journal's in-memory twin, which can be told to fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from polaris_synapse.bus.journal import (
    JournalCorruptError,
    JournalSize,
    JournalWriteError,
    Snapshot,
    TornTail,
    decode_group,
    encode_group,
)
from polaris_synapse.domain.messages import Message


class MemoryJournal:
    """A JournalStore that forgets everything with the object. ``close`` keeps what it holds.

    ``failing``: while it is set, every write raises JournalWriteError, as on a full disk.
    """

    def __init__(self, *, snapshots_kept: int = 2) -> None:
        self.failing = False
        self.commits = 0
        self.synchronised = 0
        self._groups: list[tuple[int, int, int, bytes]] = []
        self._snapshots: dict[int, Snapshot] = {}
        self._snapshots_kept = max(snapshots_kept, 1)
        self._last_offset = 0
        self._last_time_ns = 0

    @property
    def last_offset(self) -> int:
        """See JournalStore."""
        return self._last_offset

    @property
    def first_offset(self) -> int:
        """See JournalStore."""
        return self._groups[0][0] if self._groups else self._last_offset + 1

    @property
    def last_time_ns(self) -> int:
        """See JournalStore."""
        return self._last_time_ns

    @property
    def torn_tail(self) -> TornTail | None:
        """Memory does not tear."""
        return None

    def append(self, messages: Sequence[Message], snapshot: Snapshot | None = None) -> int:
        """See JournalStore."""
        self.synchronise()
        # Through JSON, so that a message which does not survive the journal fails here as it would on disk.
        payload = encode_group(messages)
        self._groups.append((self._last_offset + 1, len(messages), messages[-1].time_ns, payload))
        self._last_offset += len(messages)
        self._last_time_ns = messages[-1].time_ns
        if snapshot is not None:
            self.write_snapshot(snapshot)
        self.commits += 1
        return self._last_offset

    def read(self, from_offset: int) -> Iterator[tuple[int, list[Message]]]:
        """See JournalStore."""
        for first_offset, count, _, payload in list(self._groups):
            if first_offset + count > from_offset:
                skipped = max(from_offset - first_offset, 0)
                yield first_offset + skipped, decode_group(first_offset, payload)[skipped:]

    def snapshots(self) -> list[int]:
        """See JournalStore."""
        return sorted(self._snapshots, reverse=True)

    def load_snapshot(self, offset: int) -> Snapshot:
        """See JournalStore."""
        return self._snapshots[offset]

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """See JournalStore."""
        self.synchronise()
        self._snapshots[snapshot.offset] = snapshot
        for offset in self.snapshots()[self._snapshots_kept :]:
            del self._snapshots[offset]

    def verify(self) -> JournalSize:
        """See JournalStore."""
        for first_offset, count, _, payload in self._groups:
            if len(decode_group(first_offset, payload)) != count:
                raise JournalCorruptError(first_offset, f"the group at offset {first_offset} is damaged")
        return self.size()

    def truncate_before(self, offset: int) -> int:
        """See JournalStore."""
        self.synchronise()
        snapshots = self.snapshots()
        keep_from = min(offset, snapshots[-1] + 1) if snapshots else 0
        before = self.first_offset
        while len(self._groups) > 1 and self._groups[1][0] <= keep_from:
            del self._groups[0]
        return self.first_offset - before

    def synchronise(self) -> None:
        """See JournalStore."""
        self.synchronised += 1
        if self.failing:
            raise JournalWriteError("the journal in memory was told to fail")

    def size(self) -> JournalSize:
        """See JournalStore."""
        return JournalSize(
            first_offset=self.first_offset,
            last_offset=self._last_offset,
            snapshots=len(self._snapshots),
            bytes_on_disk=0,
        )

    def close(self) -> None:
        """Keeps what it holds, so that a test can start another host on it."""
