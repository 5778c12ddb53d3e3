"""The snapshot store's port, with its twin in memory. The ones over SQL are in ``storage.core_snapshots``."""

from __future__ import annotations

from typing import Protocol

from polaris_synapse.bus.kafka.partition import PartitionSnapshot


class SnapshotStoreError(RuntimeError):
    """The store cannot be used at the moment; trying again later may work."""


class SnapshotStore(Protocol):
    """Snapshots of partitions, the newest few of each."""

    async def save(self, snapshot: PartitionSnapshot, /) -> None:
        """Keep a snapshot; the same offset again changes nothing. Raises SnapshotStoreError."""
        ...

    async def load(self, core: str, partition: int, /) -> list[PartitionSnapshot]:
        """The snapshots of a partition, newest first. Raises SnapshotStoreError."""
        ...


class MemorySnapshotStore:
    """Snapshots in this process, for tests. ``problem``: what ``save`` and ``load`` fail with, empty for nothing."""

    def __init__(self, *, kept: int = 2) -> None:
        self._kept = kept
        self._snapshots: dict[tuple[str, int], dict[int, PartitionSnapshot]] = {}
        self.problem = ""

    async def save(self, snapshot: PartitionSnapshot, /) -> None:
        """See SnapshotStore."""
        self._check()
        of_partition = self._snapshots.setdefault((snapshot.core, snapshot.partition), {})
        of_partition.setdefault(snapshot.offset, snapshot)
        for offset in sorted(of_partition)[: -self._kept]:
            del of_partition[offset]

    async def load(self, core: str, partition: int, /) -> list[PartitionSnapshot]:
        """See SnapshotStore."""
        self._check()
        found = self._snapshots.get((core, partition), {})
        return [found[offset] for offset in sorted(found, reverse=True)]

    def _check(self) -> None:
        if self.problem:
            raise SnapshotStoreError(self.problem)
