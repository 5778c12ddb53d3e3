"""Replays a journal into fresh cores, up to any message or moment, and compares with what the desk recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from polaris_synapse.bus.cascade import Cascade, CascadeError, CoreFailedError, Output
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.journal import JournalCorruptError, JournalError
from polaris_synapse.bus.journal_reader import JournalReader, Progress
from polaris_synapse.bus.recovery import HOST_PART, HostFailedError
from polaris_synapse.bus.snapshots import UnusableSnapshotError, load_snapshot, restore_cores
from polaris_synapse.domain.messages import Message

_PROGRESS_MESSAGES: Final = 512

Listener = Callable[[int, Any], None]


class SnapshotComparison(Struct, frozen=True):
    """A snapshot that the replay passed. ``differing``: the cores that were in another state when it was taken."""

    offset: int
    differing: tuple[str, ...]


class ReplayReport(Struct, frozen=True, kw_only=True):
    """Where a replay began and ended, and the state hash of every core there.

    ``started_from``: the offset of the snapshot, 0 without one. ``time_ns``: of the last message replayed. ``agrees``:
    every snapshot that was passed is of the state that the replay came to.
    """

    started_from: int
    offset: int
    time_ns: int
    messages: int
    seconds: float
    state_hashes: dict[str, str]
    snapshots: tuple[SnapshotComparison, ...]
    agrees: bool


class Replay:
    """One replay into ``cores``, which are fresh. ``follow`` may be called again when the journal has grown.

    ``listeners`` are called with the offset and each output of their type, in order.
    """

    def __init__(self, cores: Mapping[str, Core], listeners: Mapping[type[Message], Listener] | None = None) -> None:
        self._listeners = dict(listeners or {})
        self._heard = frozenset(self._listeners)
        self._cores = {core.name: core for core in cores.values()}
        self._cascade = Cascade(self._cores)
        self._pristine = {name: core.snapshot() for name, core in self._cores.items()}
        self.offset = 0
        self.time_ns = 0
        self.started_from = 0

    def start(self, journal: JournalReader, *, until_offset: int = 0, until_ns: int = 0, use_snapshots: bool) -> None:
        """Begin at the newest usable snapshot that is not too late, or at nothing.

        Raises JournalError where the journal's beginning is gone and no snapshot can stand in for it.
        """
        problems: list[str] = []
        for offset in journal.snapshots() if use_snapshots or journal.first_offset > 1 else ():
            if until_offset and offset > until_offset:
                continue
            try:
                snapshot = load_snapshot(journal, offset, self._cores, (HOST_PART,))
                if until_ns and snapshot.time_ns > until_ns:
                    continue
                restore_cores(snapshot, self._cores.values())
            except UnusableSnapshotError as error:
                problems.append(str(error))
                continue
            self.offset = self.started_from = offset
            self.time_ns = snapshot.time_ns
            return
        if journal.first_offset > 1:
            raise JournalError(
                f"the journal begins at offset {journal.first_offset} and no snapshot reaches back as far as that"
                + (f" ({'; '.join(problems)})" if problems else "")
            )
        for name, core in self._cores.items():
            core.restore(self._pristine[name])

    def follow(
        self, journal: JournalReader, *, until_offset: int = 0, until_ns: int = 0, progress: Progress | None = None
    ) -> ReplayReport:
        """Replay on to ``until_offset`` or the last message at ``until_ns`` (0: no bound), or to the journal's end.

        Raises JournalError for a journal that is damaged and HostFailedError where a core raises.
        """
        began, first = time.perf_counter(), self.offset
        recorded = frozenset(journal.snapshots())
        comparisons: list[SnapshotComparison] = []
        for first_offset, messages in journal.read(self.offset + 1):
            for offset, message in enumerate(messages, start=first_offset):
                if (until_offset and offset > until_offset) or (until_ns and message.time_ns > until_ns):
                    return self._report(first, began, comparisons)
                self._apply(offset, message)
                if offset in recorded:
                    comparisons.append(self._compare(journal, offset))
                if progress is not None and offset % _PROGRESS_MESSAGES == 0:
                    progress(offset)
        return self._report(first, began, comparisons)

    def _apply(self, offset: int, message: Message) -> None:
        outputs: list[Output] = []
        try:
            self._cascade.run(message, self._heard, outputs, [])
        except (CoreFailedError, CascadeError) as error:
            raise HostFailedError(offset, f"replay stopped at offset {offset}: {error}") from error
        self.offset, self.time_ns = offset, message.time_ns
        for _, _, output in outputs:
            self._listeners[type(output)](offset, output)

    def _compare(self, journal: JournalReader, offset: int) -> SnapshotComparison:
        try:
            recorded = {part.core: part.state_hash for part in journal.load_snapshot(offset).parts}
        except (JournalCorruptError, KeyError):
            # Damaged, or deleted by the running desk since: `verify` is the command that tells.
            return SnapshotComparison(offset, ())
        hashes = self.state_hashes()
        return SnapshotComparison(offset, tuple(sorted(name for name in hashes if recorded.get(name) != hashes[name])))

    def state_hashes(self) -> dict[str, str]:
        """The state hash of every core now."""
        return {name: core.state_hash() for name, core in self._cores.items()}

    def _report(self, first: int, began: float, comparisons: list[SnapshotComparison]) -> ReplayReport:
        return ReplayReport(
            started_from=self.started_from,
            offset=self.offset,
            time_ns=self.time_ns,
            messages=self.offset - first,
            seconds=time.perf_counter() - began,
            state_hashes=self.state_hashes(),
            snapshots=tuple(comparisons),
            agrees=not any(comparison.differing for comparison in comparisons),
        )
