"""Brings the cores back to where the journal ends: a snapshot, then every input after it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog
from msgspec import Struct

from polaris_synapse.bus.cascade import Cascade, CascadeError, CoreFailedError, Output
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.journal import (
    JournalCorruptError,
    JournalError,
    JournalStore,
    Snapshot,
    TornTail,
    decode_group,
)
from polaris_synapse.bus.publishing import publish
from polaris_synapse.bus.snapshots import UnusableSnapshotError, load_snapshot, restore_cores
from polaris_synapse.bus.subscriptions import BusSubscription, accepted_envelope, is_accepted
from polaris_synapse.domain.messages import Answer, Command, ListInstrument, Message
from polaris_synapse.domain.topics import COMMAND_TOPICS, ROUTES

#: The host's own part of a snapshot: the inputs that volatile cores are set up with.
HOST_PART: Final = "host"
_PAUSE_MESSAGES: Final = 1_000

_log = structlog.get_logger("polaris_synapse.bus")


class HostFailedError(RuntimeError):
    """A core raised at an input: a bug. The host has stopped; nothing of that input left the process."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


class RecoveryReport(Struct, frozen=True, kw_only=True):
    """What a start did.

    ``snapshot_offset``: where replay began, 0 without a snapshot. ``unusable_snapshots``: why newer ones were passed
    over. ``missing_facts``: for a subscriber that records, the offsets whose facts can no longer be made again,
    because the journal before the oldest snapshot was deleted; empty unless its store was lost too.
    """

    snapshot_offset: int
    last_offset: int
    replayed_messages: int
    seconds: float
    torn_tail: TornTail | None
    state_hashes: dict[str, str]
    unusable_snapshots: tuple[str, ...] = ()
    missing_facts: dict[str, tuple[int, int]] = {}


class SetUp:
    """Accepted inputs that volatile cores need once more after a start, not being replayed: the instruments."""

    def __init__(self) -> None:
        self.messages: list[ListInstrument] = []

    def see(self, message: Message) -> None:
        """Keep what a volatile core is set up with; the same instrument again adds nothing."""
        if type(message) is ListInstrument:
            last = next((m for m in reversed(self.messages) if m.instrument.symbol == message.instrument.symbol), None)
            if last is None or last.instrument != message.instrument:
                self.messages.append(message)


class Recovery:
    """One recovery. ``recorders`` are the subscribers that remember, in their own store, how far they have come."""

    def __init__(
        self, journal: JournalStore, cores: Mapping[str, Core], set_up: SetUp, recorders: Sequence[BusSubscription]
    ) -> None:
        self._journal = journal
        self._cores = cores
        self._set_up = set_up
        self._recorders = recorders
        self._unusable: list[str] = []

    async def run(self, settle: Callable[[int], Awaitable[None]]) -> RecoveryReport:
        """Restore and replay. ``settle(offset)`` hands over what was published up to there and waits for recorders.

        Raises JournalError where the journal cannot be used and HostFailedError where a core raises.
        """
        began = time.perf_counter()
        self._compare_with_recorders()
        start = self._restore()
        # Before the replay, since recorders move on while it gives them what can be made again.
        missing = {
            recorder.name: (recorder.recorded_offset + 1, start)
            for recorder in self._recorders
            if recorder.recorded_offset < start
        }
        replayed = await self._replay(start, settle)
        return RecoveryReport(
            snapshot_offset=start,
            last_offset=self._journal.last_offset,
            replayed_messages=replayed,
            seconds=time.perf_counter() - began,
            torn_tail=self._journal.torn_tail,
            state_hashes={name: core.state_hash() for name, core in self._cores.items()},
            unusable_snapshots=tuple(self._unusable),
            missing_facts=missing,
        )

    def _compare_with_recorders(self) -> None:
        """A recorder that knows more than the journal: harmless where a power cut took a last tick or mark back.

        Anything else was acknowledged and is missing here, as when an old copy of the journal was put in its place.
        """
        last = self._journal.last_offset
        for recorder in self._recorders:
            if recorder.fact_offset > last:
                raise JournalCorruptError(
                    last + 1,
                    f"the journal ends at offset {last}, but {recorder.name} has facts up to offset "
                    f"{recorder.fact_offset}: the end of the journal is gone; restore the whole data directory from "
                    "one backup",
                )
            recorder.recorded_offset = min(recorder.recorded_offset, last)

    def _starts(self) -> list[int]:
        """Offsets to start from, best first; 0 means from nothing.

        A snapshot beyond what a recorder has recorded would leave a hole in its records, so those come last.
        """
        recorded = min((recorder.recorded_offset for recorder in self._recorders), default=self._journal.last_offset)
        offsets = self._journal.snapshots()
        whole = [0] if self._journal.first_offset == 1 else []
        return [o for o in offsets if o <= recorded] + whole + sorted(o for o in offsets if o > recorded)

    def _restore(self) -> int:
        pristine = {name: core.snapshot() for name, core in self._cores.items()}
        for offset in self._starts():
            try:
                if offset:
                    snapshot = load_snapshot(self._journal, offset, self._cores, (HOST_PART,))
                    restore_cores(snapshot, self._cores.values())
                    self._restore_set_up(snapshot)
                else:
                    for name, core in self._cores.items():
                        core.restore(pristine[name])
                return offset
            except UnusableSnapshotError as error:
                self._unusable.append(str(error))
                _log.warning("snapshot_unusable", offset=offset, error=str(error))
        raise JournalError(
            f"no snapshot can be used ({'; '.join(self._unusable) or 'there is none'}) and the journal begins at "
            f"offset {self._journal.first_offset}, so the state cannot be made again"
        )

    def _restore_set_up(self, snapshot: Snapshot) -> None:
        data = next(part.data for part in snapshot.parts if part.core == HOST_PART)
        for message in decode_group(snapshot.offset, data):
            self._set_up.see(message)

    async def _replay(self, start: int, settle: Callable[[int], Awaitable[None]]) -> int:
        cascade = Cascade(self._cores)
        listeners = _recording_listeners(self._recorders)
        heard = frozenset(listeners) | {Answer}
        administrative: set[type[Message]] = {ListInstrument}
        administrative.update(*(recorder.accepted_commands for recorder in self._recorders))
        outputs: list[Output] = []
        ignored: list[Message] = []
        replayed = unsettled = 0
        for first_offset, messages in self._journal.read(start + 1):
            for offset, message in enumerate(messages, start=first_offset):
                try:
                    cascade.run(message, heard, outputs, ignored)
                except (CoreFailedError, CascadeError) as error:
                    raise HostFailedError(offset, f"replay stopped at offset {offset}: {error}") from error
                if type(message) in administrative:
                    self._see_accepted(offset, message, outputs)
                _release(offset, outputs, listeners)
                outputs.clear()
                ignored.clear()
            replayed += len(messages)
            unsettled += len(messages)
            if unsettled >= _PAUSE_MESSAGES:
                unsettled = 0
                await settle(first_offset + len(messages) - 1)
        await settle(self._journal.last_offset)
        return replayed

    def _see_accepted(self, offset: int, message: Message, outputs: list[Output]) -> None:
        if isinstance(message, Command) and is_accepted(message, (output for _, _, output in outputs)):
            self._set_up.see(message)
            for recorder in self._recorders:
                if type(message) in recorder.accepted_commands and offset > recorder.recorded_offset:
                    recorder.pending.append(accepted_envelope(offset, message))


_Listeners = dict[type[Message], list[tuple[BusSubscription, str]]]


def _recording_listeners(recorders: Iterable[BusSubscription]) -> _Listeners:
    """Who hears what during replay: recorders, and of facts only; commands to the world are never repeated."""
    found: _Listeners = {}
    for recorder in recorders:
        for kind in ROUTES:
            for topic in recorder.wants(kind):
                if topic not in COMMAND_TOPICS:
                    found.setdefault(kind, []).append((recorder, topic))
    return found


def _release(offset: int, outputs: list[Output], listeners: _Listeners) -> None:
    for core, index, output in outputs:
        lacking = tuple(pair for pair in listeners.get(type(output), ()) if offset > pair[0].recorded_offset)
        publish(lacking, core, offset, index, output)
