"""Takes snapshots of cores and puts them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog

from polaris_synapse.bus.core import Core, SnapshotError, hash_state
from polaris_synapse.bus.journal import JournalCorruptError, JournalStore, Snapshot, SnapshotPart
from polaris_synapse.bus.subscriptions import BusSubscription

_log = structlog.get_logger("polaris_synapse.bus")


class SnapshotSource(Protocol):
    """Where snapshots come from: a journal, or a reader of one."""

    def load_snapshot(self, offset: int) -> Snapshot:
        """See JournalStore.load_snapshot."""
        ...


class UnusableSnapshotError(RuntimeError):
    """A snapshot that cannot be restored; the one before it, or the journal alone, must do."""


def take_snapshot(cores: Iterable[Core], offset: int, time_ns: int, extra: Mapping[str, bytes]) -> Snapshot:
    """The state of all cores after the message at ``offset``. ``extra`` holds the host's own parts by name."""
    states = {core.name: core.snapshot() for core in cores} | dict(extra)
    parts = tuple(SnapshotPart(core=name, state_hash=hash_state(data), data=data) for name, data in states.items())
    return Snapshot(offset=offset, time_ns=time_ns, parts=parts)


def load_snapshot(journal: SnapshotSource, offset: int, cores: Mapping[str, Core], extra: Iterable[str]) -> Snapshot:
    """Read a snapshot and see that it fits these cores. Raises UnusableSnapshotError."""
    try:
        snapshot = journal.load_snapshot(offset)
    except JournalCorruptError as error:
        raise UnusableSnapshotError(str(error)) from error
    expected = {core.name for core in cores.values()} | set(extra)
    if {part.core for part in snapshot.parts} != expected:
        raise UnusableSnapshotError(f"the snapshot at offset {offset} is of other cores than this desk runs")
    for part in snapshot.parts:
        if hash_state(part.data) != part.state_hash:
            raise UnusableSnapshotError(f"the snapshot of {part.core} at offset {offset} does not match its hash")
    return snapshot


def restore_cores(snapshot: Snapshot, cores: Iterable[Core]) -> None:
    """Put the cores back into the snapshot's state and check that they are in it. Raises UnusableSnapshotError."""
    parts = {part.core: part for part in snapshot.parts}
    for core in cores:
        part = parts[core.name]
        try:
            core.restore(part.data)
        except SnapshotError as error:
            raise UnusableSnapshotError(f"{core.name} at offset {snapshot.offset}: {error}") from error
        if hash_state(core.snapshot()) != part.state_hash:
            raise UnusableSnapshotError(
                f"{core.name} is not in the state of its snapshot at offset {snapshot.offset} after restoring it"
            )


def recorders_reach_a_snapshot(journal: JournalStore, recorders: Iterable[BusSubscription]) -> bool:
    """Whether recorders can be given what they lack, once one more snapshot has pushed out the oldest.

    Facts are made again from a snapshot that is not past them. While a recorder is behind the newest one, and the
    journal before the oldest is deleted, the next has to wait.
    """
    newest = max(journal.snapshots(), default=0)
    behind = [recorder.name for recorder in recorders if recorder.recorded_offset < newest]
    if behind:
        _log.warning("snapshot_waits", newest_snapshot=newest, last_offset=journal.last_offset, recorders=behind)
    return not behind
