"""The Kafka host of one room: a core for each partition of the inbox that the group gives to this process.

A partition that arrives is restored from its snapshot and replays the rest of its log. What lies below the group's
commit was handed to the brokers by whoever had it before, so its outputs are not sent again; what lies above may have
been, and is sent again with the same numbers, which the receivers skip.

Commands for the world outside cannot be taken back, so before they are handed to a shell the group must take a commit
that says up to which input that is done (``released:OFFSET``): it takes one from the owner only. A successor carries
out what lies above it, and for the rest the cores ask the venues, told by the ``HostStarted`` that every process
writes into a partition that it takes over. Where the owner before let go in order, nothing was left undone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from msgspec import Struct

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Core, SnapshotError
from polaris_synapse.bus.kafka.bundles import Packer
from polaris_synapse.bus.kafka.metrics import KafkaMetrics
from polaris_synapse.bus.kafka.outlet import Outlet
from polaris_synapse.bus.kafka.partition import Local, Output, PartitionFold, PartitionSnapshot
from polaris_synapse.bus.kafka.reader import FINAL_NOTE, Committed, Fence, GroupReader
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.settings import PATIENT_ROOMS, KafkaHostSettings
from polaris_synapse.bus.kafka.snapshot_store import SnapshotStore, SnapshotStoreError
from polaris_synapse.bus.kafka.wire import headers_of, read_records
from polaris_synapse.domain.messages import HostStarted
from polaris_synapse.domain.topics import AGENTS, BOOKS, COMPLIANCE, TRADES

_STORE_RETRY_SECONDS: Final = 0.5
#: The note of a commit: commands of inputs up to this offset may have been handed to shells.
_RELEASED: Final = "released:"
#: Outputs that are gathered before they are handed over, however many inputs there are still to fold.
_GATHERED_MAX: Final = 2_000
#: Where nobody waits for what is said. Answers, other inboxes and whatever read models show leave at once: who has an
#: answer may read what follows from it.
_PATIENT: Final = frozenset({COMPLIANCE, AGENTS, TRADES, BOOKS})
_log = structlog.get_logger("polaris_synapse.bus.kafka")


class KafkaHostError(RuntimeError):
    """A partition cannot be served: a bug in a core, or a log that is not whole. The process should end."""


class PartitionState(Struct, frozen=True, kw_only=True):
    """Where a partition stands, for people and for metrics. ``lag_messages``: what it has still to read."""

    core: str
    partition: int
    offset: int
    emitted_offset: int
    lag_messages: int
    live: bool
    skipped: int


class _Emission:
    """What was said of the inputs up to ``offset``: how many things keep it from being safe.

    Those are records that the brokers have not confirmed, and what is gathering, which counts as one.
    """

    __slots__ = ("offset", "waiting")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.waiting = 0


class _Partition:
    """One partition at work."""

    def __init__(self, fold: PartitionFold, silent_below: int, live_from: int, up_to_date_at: int) -> None:
        self.fold = fold
        sender = f"{fold.core.name}/{fold.partition}"
        #: What somebody waits for, and what may gather for a moment.
        self.urgent, self.patient = Packer(sender), Packer(sender)
        #: The emissions of which a part gathers, since when nothing was sent of it, and when that happens.
        self.gathering: list[_Emission] = []
        self.gathered_at = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.silent_below = silent_below
        self.live_from = live_from
        self.up_to_date_at = up_to_date_at
        self.emissions: deque[_Emission] = deque()
        self.emitted_offset = fold.offset
        self.committed = silent_below
        self.since_snapshot = 0
        self.pending_snapshot: PartitionSnapshot | None = None
        self.is_ours = True
        #: The last input whose commands may have been handed to shells.
        self.released = live_from - 1
        self.idle = asyncio.Event()

    @property
    def live(self) -> bool:
        """Whether what shells are told from here on is for them to do."""
        return self.fold.offset + 1 >= self.live_from

    @property
    def up_to_date(self) -> bool:
        """Whether everything that was on the log when this process took over has been folded."""
        return self.fold.offset >= self.up_to_date_at

    def settle(self) -> None:
        """Move ``emitted_offset`` over everything that is confirmed."""
        while self.emissions and not self.emissions[0].waiting:
            self.emitted_offset = self.emissions.popleft().offset
        if not self.emissions:
            self.idle.set()


class KafkaCoreHost:
    """Runs cores made by ``make_core(partition)`` over the partitions of their inbox.

    ``deliver`` gets what shells in this process must act on. ``leaves_in_order`` False where a shell may still be at
    it when the partition leaves (requests to venues): the successor then asks. ``carries_on``: commands that nobody was
    handed before this process took over are carried out, not only those of inputs after it. ``changed`` is called after
    partitions came or went, with the cores by partition.
    """

    def __init__(
        self,
        *,
        room: str,
        group: str,
        make_core: Callable[[int], Core],
        settings: KafkaHostSettings,
        destinations: Destinations,
        outlet: Outlet,
        store: SnapshotStore,
        clock: Clock,
        metrics: KafkaMetrics,
        client: str,
        deliver: Callable[[Sequence[Local]], None] | None = None,
        leaves_in_order: bool = True,
        carries_on: bool = False,
        changed: Callable[[Mapping[int, Core]], None] | None = None,
    ) -> None:
        self.room = room
        self.topic = f"{room}.inbox"
        self._make_core = make_core
        self._settings = settings
        self._destinations = destinations
        self._outlet = outlet
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._deliver = deliver
        self._leaves_in_order = leaves_in_order
        self._carries_on = carries_on
        self._changed = changed
        self._partitions: dict[int, _Partition] = {}
        self._saves: set[asyncio.Task[None]] = set()
        self._paused = False
        self._store_problem = ""
        self._failure = ""
        consumer = settings.gathering_group_consumer if room in PATIENT_ROOMS else settings.group_consumer
        self._reader = GroupReader(
            consumer(group, client),
            settings.topic(self.topic),
            self,
            batch_max=settings.batch_messages_max,
            broker_seconds=settings.broker_seconds_max,
        )

    # --- life ---

    async def run(self) -> None:
        """Be a member of the group until cancelled or ``stop``. Raises KafkaHostError or KafkaException."""
        keeping = asyncio.create_task(self._keep_committing(), name=f"{self.topic} commits")
        try:
            await self._reader.run()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, *self._saves, return_exceptions=True)

    def stop(self) -> None:
        """Finish and let go of every partition; ``run`` then returns."""
        self._reader.stop()

    @property
    def cores(self) -> dict[int, Core]:
        """The cores that run here, by partition."""
        return {number: partition.fold.core for number, partition in sorted(self._partitions.items())}

    def states(self) -> list[PartitionState]:
        """Where each partition stands."""
        return [self._state(partition) for _, partition in sorted(self._partitions.items())]

    def state_hashes(self) -> dict[int, tuple[int, str]]:
        """For each partition the offset of the last input and the state's hash after it."""
        return {n: (p.fold.offset, p.fold.core.state_hash()) for n, p in sorted(self._partitions.items())}

    def readiness(self) -> dict[str, Callable[[], str | None]]:
        """Checks by name. A process without partitions is ready: it stands by."""
        return {f"{self.room} partitions": self._check, "snapshots": lambda: self._store_problem or None}

    def _check(self) -> str | None:
        if self._failure:
            return self._failure
        if (problem := self._reader.problem()) is not None:
            return problem
        replaying = [str(number) for number, partition in sorted(self._partitions.items()) if not partition.up_to_date]
        if replaying:
            return f"partition {', '.join(replaying)} of {self.topic} is being brought up to date"
        return self._outlet.failure or None

    def _state(self, partition: _Partition) -> PartitionState:
        return PartitionState(
            core=self.room,
            partition=partition.fold.partition,
            offset=partition.fold.offset,
            emitted_offset=partition.emitted_offset,
            lag_messages=max(self._reader.ends.get(partition.fold.partition, 0) - partition.fold.offset - 1, 0),
            live=partition.up_to_date,
            skipped=partition.fold.skipped,
        )

    # --- partitions come and go; called for the reader's thread, see reader.Owner ---

    async def take_over(self, partitions: Mapping[int, Committed], /) -> Mapping[int, int]:
        """Restore each partition and write the HostStarted after which it is ours in full."""
        began = time.perf_counter()
        starts: dict[int, int] = {}
        for number, committed in partitions.items():
            fold = PartitionFold(self._make_core(number), number, self._destinations)
            snapshot = await self._restore(fold, committed)
            first = fold.offset + 1
            silent_below = max(committed.offset, first, 0)
            started = await self._write_host_started(number, committed.log_end)
            left_in_order = committed.note == FINAL_NOTE and committed.offset >= 0
            live_from = committed.offset if left_in_order else started
            if self._carries_on and committed.note.startswith(_RELEASED):
                live_from = min(int(committed.note.removeprefix(_RELEASED)) + 1, started)
            partition = _Partition(fold, silent_below, max(live_from, first), started)
            partition.emitted_offset = fold.offset
            self._partitions[number] = partition
            starts[number] = first
            _log.info(
                "partition_taken_over",
                topic=self.topic,
                partition=number,
                snapshot_offset=snapshot,
                committed=committed.offset,
                log_end=committed.log_end,
                in_order=left_in_order,
            )
        self._metrics.take_over_seconds.labels(self.room).set(time.perf_counter() - began)
        self._tell()
        return starts

    async def _restore(self, fold: PartitionFold, committed: Committed) -> int:
        """Put the newest usable snapshot into the fold; its offset, -1 without one. Raises KafkaHostError."""
        problems: list[str] = []
        for snapshot in await self._load(fold):
            if snapshot.offset + 1 > committed.log_end:
                # A snapshot is of inputs that were on the log: they are gone, and with them what followed.
                raise self._fail(
                    f"the log of {self.topic}/{fold.partition} ends at {committed.log_end}, its snapshot is of "
                    f"{snapshot.offset}: the end of the log is gone; restore the brokers' data"
                )
            if snapshot.offset + 1 < committed.log_start:
                problems.append(f"offset {snapshot.offset} is older than the log's first, {committed.log_start}")
                continue
            try:
                fold.restore(snapshot)
            except SnapshotError as error:
                problems.append(str(error))
                _log.warning("snapshot_unusable", topic=self.topic, partition=fold.partition, error=str(error))
                fold.core = self._make_core(fold.partition)
                continue
            return snapshot.offset
        if committed.log_start > 0:
            raise self._fail(
                f"the log of {self.topic}/{fold.partition} begins at {committed.log_start} and no snapshot reaches it "
                f"({'; '.join(problems) or 'there is none'}), so the state cannot be made again"
            )
        return -1

    async def _load(self, fold: PartitionFold) -> list[PartitionSnapshot]:
        """The partition's snapshots; waits while the store is away, since without it the state may be wrong."""
        while True:
            try:
                found = await self._store.load(self.room, fold.partition)
            except SnapshotStoreError as error:
                self._store_problem = str(error)
                _log.warning("snapshot_store_unavailable", error=str(error))
                await self._clock.sleep(_STORE_RETRY_SECONDS)
                continue
            self._store_problem = ""
            return found

    async def _write_host_started(self, number: int, log_end: int) -> int:
        """Say in the partition itself that it has a new owner; the offset of that."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def delivered(offset: int, error: str) -> None:
            if future.done():
                return
            if error:
                future.set_exception(KafkaHostError(f"{self.topic}/{number} cannot be written: {error}"))
            else:
                future.set_result(offset)

        started = HostStarted(time_ns=self._clock.now_ns(), replayed_offset=max(log_end, 0))
        self._outlet.send(self.topic, number, started, headers_of(None), delivered)
        return await future

    async def let_go(self, partitions: Sequence[int], /) -> Mapping[int, int]:
        """Finish: everything said is with the brokers, everything asked of shells is done, a snapshot is kept."""
        leaving = [self._partitions[number] for number in partitions if number in self._partitions]
        final: dict[int, int] = {}
        try:
            async with asyncio.timeout(self._settings.drain_seconds_max):
                for partition in leaving:
                    await self._drain(partition)
                    # What was still being replayed may hold commands that were never carried out.
                    if partition.live and self._leaves_in_order:
                        final[partition.fold.partition] = partition.fold.offset + 1
        except (TimeoutError, SnapshotStoreError) as error:
            _log.warning("partitions_left_in_haste", topic=self.topic, partitions=list(partitions), error=str(error))
        self._remove(partitions)
        return final

    async def _drain(self, partition: _Partition) -> None:
        self._send_gathered(partition)
        partition.settle()
        if partition.emissions:
            partition.idle.clear()
            await partition.idle.wait()
        if partition.fold.offset >= 0 and partition.since_snapshot:
            await self._store.save(partition.fold.snapshot())

    def lose(self, partitions: Sequence[int], /) -> None:
        """The group gave these to others while this process was away."""
        self._remove(partitions)

    def _remove(self, partitions: Sequence[int]) -> None:
        for number in partitions:
            gone = self._partitions.pop(number, None)
            if gone is not None:
                gone.is_ours = False
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed(self.cores)

    def _fail(self, problem: str) -> KafkaHostError:
        self._failure = problem
        _log.critical("partition_unusable", error=problem)
        return KafkaHostError(problem)

    # --- records ---

    def read(self, records: Sequence[Any], /) -> Fence | None:
        """Fold records and send what follows; commands to shells wait behind a fence."""
        if self._outlet.failure:
            raise self._fail(f"the producer cannot go on: {self._outlet.failure}")
        local: list[Local] = []
        touched: dict[int, _Partition] = {}
        for raw in records:
            number = raw.partition()
            partition = self._partitions.get(number)
            if partition is None or raw.offset() <= partition.fold.offset:
                continue
            self._fold(partition, raw, local)
            touched[number] = partition
        for partition in touched.values():
            self._send(partition)
            self._after_batch(partition)
        self._hold_back()
        return self._fence(local) if local and self._deliver is not None else None

    def _fence(self, local: Sequence[Local]) -> Fence:
        """What must be committed before ``local`` may leave."""
        speaking = {output.source.partition for output in local}
        partitions = [self._partitions[number] for number in speaking]
        for partition in partitions:
            partition.released = max(partition.released, partition.fold.offset)

        def leave() -> None:
            # Between the commit and this the partition may have gone; then its successor asks about these.
            ours = {partition.fold.partition for partition in partitions if partition.is_ours}
            assert self._deliver is not None
            self._deliver([output for output in local if output.source.partition in ours])

        return Fence({partition.fold.partition: self._progress(partition) for partition in partitions}, leave)

    def _progress(self, partition: _Partition) -> tuple[int, str]:
        """What a commit says of a partition."""
        partition.settle()
        if not partition.emissions:
            partition.emitted_offset = partition.fold.offset
        partition.committed = max(partition.emitted_offset + 1, partition.committed)
        return partition.committed, f"{_RELEASED}{partition.released}"

    def _fold(self, partition: _Partition, raw: Any, local: list[Local]) -> None:
        outputs: list[Output] = []
        commands: list[Local] = []
        offset = raw.offset()
        fold, inputs = partition.fold, self._metrics.inputs
        try:
            for record in read_records(self.topic, raw):
                fold.take(record, outputs, commands)
                partition.since_snapshot += 1
                kind = type(record.message)
                inputs[kind] = inputs.get(kind, 0) + 1
        except Exception as error:
            raise self._fail(f"{self.topic}/{fold.partition} stopped at offset {offset}: {error}") from error
        if offset >= partition.live_from:
            local += commands
        if not outputs or offset < partition.silent_below:
            return
        urgent, patient = partition.urgent, partition.patient
        for output in outputs:
            packer = patient if output.topic in _PATIENT else urgent
            packer.add(output.topic, output.partition, output.message, output.source)
        if urgent.messages + patient.messages >= _GATHERED_MAX:
            self._send(partition)

    def _send(self, partition: _Partition) -> None:
        """Hand over what was said since the last time, as one record a place; what may gather does for a moment."""
        urgent, patient = partition.urgent, partition.patient
        if not urgent.messages and not patient.messages:
            return
        emission = _Emission(partition.fold.offset)
        partition.emissions.append(emission)
        if urgent.messages:
            self._hand_over(partition, urgent, [emission])
        if not patient.messages:
            return
        emission.waiting += 1
        partition.gathering.append(emission)
        loop = asyncio.get_running_loop()
        left = partition.gathered_at + self._settings.gather_seconds - loop.time()
        if left <= 0 or patient.messages >= _GATHERED_MAX:
            self._send_gathered(partition)
        elif partition.timer is None:
            partition.timer = loop.call_later(left, self._send_gathered, partition)

    def _send_gathered(self, partition: _Partition) -> None:
        """Hand over what has gathered; a partition that has gone leaves it to its successor."""
        if partition.timer is not None:
            partition.timer.cancel()
            partition.timer = None
        emissions, partition.gathering = partition.gathering, []
        if not emissions or not partition.is_ours:
            return
        partition.gathered_at = asyncio.get_running_loop().time()
        self._hand_over(partition, partition.patient, emissions)
        for emission in emissions:
            emission.waiting -= 1

    def _hand_over(self, partition: _Partition, packer: Packer, emissions: Sequence[_Emission]) -> None:
        """Send everything in ``packer``, for which ``emissions`` wait."""
        self._metrics.outputs += packer.messages
        parcels = packer.take()
        for emission in emissions:
            emission.waiting += len(parcels)

        def delivered(_offset: int, error: str) -> None:
            if error:
                # Nothing times out in the producer's queue, so this is the end of it, and of this process.
                self._outlet.failure = self._outlet.failure or error
                return
            for emission in emissions:
                emission.waiting -= 1
            if not emissions[0].waiting:
                partition.settle()
                self._keep_snapshot(partition)

        for parcel in parcels:
            self._outlet.send_parcel(parcel, delivered)

    def _after_batch(self, partition: _Partition) -> None:
        if not partition.emissions:
            partition.emitted_offset = partition.fold.offset
        if partition.since_snapshot >= self._settings.snapshot_interval_messages:
            partition.since_snapshot = 0
            began = time.perf_counter()
            partition.pending_snapshot = partition.fold.snapshot()
            self._metrics.snapshot_seconds.labels(self.room).set(time.perf_counter() - began)
            self._keep_snapshot(partition)

    def _keep_snapshot(self, partition: _Partition) -> None:
        """Store the snapshot that waits, once everything said up to it is safe: nobody will say it again after it."""
        snapshot = partition.pending_snapshot
        if snapshot is None or not partition.is_ours:
            return
        if partition.emissions and partition.emissions[0].offset <= snapshot.offset:
            return
        partition.pending_snapshot = None
        task = asyncio.get_running_loop().create_task(self._save(snapshot))
        self._saves.add(task)
        task.add_done_callback(self._saves.discard)

    async def _save(self, snapshot: PartitionSnapshot) -> None:
        try:
            await self._store.save(snapshot)
        except SnapshotStoreError as error:
            # The log alone is enough to start from; the next take-over only takes longer.
            self._store_problem = str(error)
            _log.warning("snapshot_not_kept", topic=self.topic, partition=snapshot.partition, error=str(error))
        else:
            self._store_problem = ""

    def _hold_back(self) -> None:
        """Read no more while too much waits for the brokers."""
        waiting, limit = self._outlet.waiting, self._settings.outputs_waiting_max
        if not self._paused and waiting > limit:
            self._paused = True
            self._reader.pause(list(self._partitions))
        elif self._paused and waiting <= limit // 2:
            self._paused = False
            self._reader.resume(list(self._partitions))

    async def _keep_committing(self) -> None:
        while True:
            await self._clock.sleep(self._settings.commit_seconds)
            progress: dict[int, tuple[int, str]] = {}
            for number, partition in self._partitions.items():
                before = partition.committed
                position = self._progress(partition)
                if position[0] > before:
                    progress[number] = position
            if progress:
                self._reader.commit(progress)
            self._hold_back()
            self._metrics.hand_over(self.states(), self._outlet.waiting)
