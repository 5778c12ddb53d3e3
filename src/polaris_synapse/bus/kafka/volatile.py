"""The host of the core whose inputs are not replayed: market data, which has to come fresh from its venue anyway.

What feeds ``post`` never leaves the process; the partition of the inbox that a symbol belongs to says which process
follows it. Outputs carry the time in microseconds as their offset, so that what a process says after it has lost a
partition is older than what its successor says, and is not heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.kafka.bundles import Packer
from polaris_synapse.bus.kafka.host import PartitionState
from polaris_synapse.bus.kafka.metrics import KafkaMetrics
from polaris_synapse.bus.kafka.outlet import Outlet, OutletFullError
from polaris_synapse.bus.kafka.partition import Local
from polaris_synapse.bus.kafka.reader import Committed, Fence, GroupReader
from polaris_synapse.bus.kafka.routing import Destinations, partition_of
from polaris_synapse.bus.kafka.settings import KafkaHostSettings
from polaris_synapse.bus.kafka.wire import Record, Source, headers_of, read_records
from polaris_synapse.domain.messages import HostStarted, Message, Tick

#: The sender of ticks in messages' ids.
TIME: str = "time"
_log = structlog.get_logger("polaris_synapse.bus.kafka")

Admit = Callable[[Record], Message | None]


class VolatileHost:
    """Runs cores made by ``make_core(partition)``, set up with ``set_up(partition)``.

    ``deliver`` gets every output for the shells of this process. ``admit`` may change or drop what comes over the
    brokers. ``changed`` is called with the partitions here after they came or went. The process that has partition 0
    sends everybody the time.
    """

    def __init__(
        self,
        *,
        room: str,
        group: str,
        make_core: Callable[[int], Core],
        set_up: Callable[[int], Sequence[Message]],
        settings: KafkaHostSettings,
        destinations: Destinations,
        outlet: Outlet,
        clock: Clock,
        metrics: KafkaMetrics,
        client: str,
        deliver: Callable[[Sequence[Local]], None],
        admit: Admit | None = None,
        changed: Callable[[frozenset[int]], None] | None = None,
    ) -> None:
        self.room = room
        self.topic = f"{room}.inbox"
        self._make_core = make_core
        self._set_up = set_up
        self._settings = settings
        self._destinations = destinations
        self._outlet = outlet
        self._clock = clock
        self._metrics = metrics
        self._deliver = deliver
        self._admit = admit or (lambda record: record.message)
        self._changed = changed
        self._cores: dict[int, Core] = {}
        #: The last record of each inbox here that was read, whoever wrote it.
        self._read_offsets: dict[int, int] = {}
        self._heights: dict[tuple[int, str], tuple[int, int]] = {}
        self._last_us = 0
        #: What each partition has said in this turn of the event loop.
        self._packers: dict[int, Packer] = {}
        self.dropped = 0
        self._reader = GroupReader(
            settings.group_consumer(group, client),
            settings.topic(self.topic),
            self,
            batch_max=settings.batch_messages_max,
            broker_seconds=settings.broker_seconds_max,
        )

    # --- life ---

    async def run(self) -> None:
        """Be a member of the group until cancelled or ``stop``."""
        await self._reader.run()

    def stop(self) -> None:
        """Leave the group; ``run`` then returns."""
        self._reader.stop()

    async def keep_time(self) -> None:
        """Send ticks to everybody while this process has partition 0, until cancelled."""
        while True:
            await self._clock.sleep(self._settings.tick_seconds)
            if 0 in self._cores:
                self._send_tick()
            self._reader.look_at_ends()
            self._metrics.hand_over(self.states(), self._outlet.waiting)

    def _send_tick(self) -> None:
        now_ns = self._clock.now_ns()
        tick = Tick(time_ns=now_ns)
        slot = int(now_ns // (self._settings.tick_seconds * 1e9))
        for topic, partition in self._destinations.of(tick):
            try:
                self._outlet.send(topic, partition, tick, headers_of(Source(TIME, 0, slot, 0)), None)
            except OutletFullError:
                self.dropped += 1

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that run here."""
        return frozenset(self._cores)

    def states(self) -> list[PartitionState]:
        """What is followed here, and how far its inbox was read. Nothing is replayed, so each is live at once."""
        return [
            PartitionState(
                core=self.room,
                partition=number,
                offset=offset,
                emitted_offset=offset,
                lag_messages=max(self._reader.ends.get(number, 0) - offset - 1, 0),
                live=True,
                skipped=0,
            )
            for number in sorted(self._cores)
            for offset in (self._read_offsets[number],)
        ]

    def owns(self, symbol: str) -> bool:
        """Whether a symbol is followed here."""
        return partition_of(symbol, self._destinations.partitions(self.topic)) in self._cores

    def readiness(self) -> dict[str, Callable[[], str | None]]:
        """Checks by name. A process without partitions is ready: it stands by."""
        return {f"{self.room} partitions": self._check}

    def _check(self) -> str | None:
        return self._reader.problem()

    # --- partitions come and go; see reader.Owner ---

    async def take_over(self, partitions: Mapping[int, Committed], /) -> Mapping[int, int]:
        """See reader.Owner: fresh cores, from now on."""
        for number, committed in partitions.items():
            self._read_offsets[number] = committed.log_end - 1
            core = self._cores[number] = self._make_core(number)
            for message in self._set_up(number):
                core.apply(message)
        _log.info("partitions_taken_over", topic=self.topic, partitions=sorted(partitions))
        self._tell()
        return {number: committed.log_end for number, committed in partitions.items()}

    async def let_go(self, partitions: Sequence[int], /) -> Mapping[int, int]:
        """See reader.Owner: there is nothing to keep."""
        self.lose(partitions)
        return {}

    def lose(self, partitions: Sequence[int], /) -> None:
        """See reader.Owner."""
        for number in partitions:
            self._cores.pop(number, None)
            self._read_offsets.pop(number, None)
        self._heights = {key: height for key, height in self._heights.items() if key[0] in self._cores}
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed(self.partitions)

    # --- messages ---

    def read(self, records: Sequence[Any], /) -> Fence | None:
        """See reader.Owner: what other services say."""
        for raw in records:
            if raw.partition() not in self._cores:
                continue
            self._read_offsets[raw.partition()] = raw.offset()
            for record in read_records(self.topic, raw):
                if not self._is_new(record):
                    continue
                message = self._admit(record)
                if message is not None and type(message) is not HostStarted:
                    self._apply(record.partition, message)
        return None

    def _is_new(self, record: Record) -> bool:
        source = record.source
        if source is None:
            return True
        key, height = (record.partition, source.name), (source.offset, source.index)
        if height <= self._heights.get(key, (-1, -1)):
            return False
        self._heights[key] = height
        return True

    def post(self, message: Message) -> None:
        """Apply what a feed says, where its symbol is followed here; else somebody else does."""
        symbol: str = message.symbol  # type: ignore[attr-defined]  # everything that a feed says has one
        partition = partition_of(symbol, self._destinations.partitions(self.topic))
        if partition in self._cores:
            self._apply(partition, message)

    def _apply(self, partition: int, message: Message) -> None:
        outputs = self._cores[partition].apply(message)
        if outputs:
            self.say(partition, outputs, here=True)

    def say(self, partition: int, outputs: Sequence[Message], *, here: bool) -> None:
        """Send what a partition says; with ``here`` to the shells of this process too.

        Never blocks: what the brokers do not take is dropped and counted, since the next says it again.
        """
        self._last_us = max(self._last_us + 1, self._clock.now_ns() // 1_000)
        packer = self._packers.get(partition)
        if packer is None:
            packer = self._packers[partition] = Packer(f"{self.room}/{partition}")
            if len(self._packers) == 1:
                asyncio.get_running_loop().call_soon(self._send)
        local: list[Local] = []
        for index, output in enumerate(outputs):
            source = Source(self.room, partition, self._last_us, index)
            if here:
                local.append(Local(output, source))
            for topic, target in self._destinations.of(output):
                packer.add(topic, target, output, source)
        if local:
            self._deliver(local)

    def _send(self) -> None:
        """Hand over what was said in this turn of the event loop."""
        packers, self._packers = self._packers, {}
        for packer in packers.values():
            for parcel in packer.take():
                try:
                    self._outlet.send_parcel(parcel, None)
                except OutletFullError:
                    self.dropped += parcel.messages
