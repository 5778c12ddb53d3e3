"""The embedded host: every core in one process, over one journal.

Its loop does three things with all that waits: journal it in one commit, apply it, release what the cores said. It
never awaits in between, so whoever runs next finds everything durable applied and published. A commit on the event
loop costs less than handing it to a thread and back; what arrives meanwhile makes the next group.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from typing import Final

import anyio
import anyio.lowlevel
import structlog
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.cascade import Cascade, CascadeError, CoreFailedError, Output, VolatileCores
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.held import HeldCommands
from polaris_synapse.bus.intake import Batch, Intake, Together
from polaris_synapse.bus.journal import (
    WITHOUT_CONSEQUENCE,
    JournalStore,
    JournalWriteError,
    Snapshot,
    UnwritableMessageError,
    encode_group,
    is_repeated_soon,
)
from polaris_synapse.bus.metrics import HostMetrics
from polaris_synapse.bus.port import BusError
from polaris_synapse.bus.publishing import publish_outputs
from polaris_synapse.bus.recovery import HOST_PART, HostFailedError, Recovery, RecoveryReport, SetUp
from polaris_synapse.bus.requests import WaitingRequests
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.bus.snapshots import recorders_reach_a_snapshot, take_snapshot
from polaris_synapse.bus.subscriptions import BusSubscription, Subscriptions, is_accepted
from polaris_synapse.domain.messages import (
    ActivateBreaker,
    Answer,
    CancelAll,
    CancelOrder,
    Command,
    HostStarted,
    ListInstrument,
    Message,
    SetKillLevel,
    Tick,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import ROUTES, VOLATILE_INBOXES

#: Commands that make the desk safer; they use the reserve of the queue and pass a slow subscriber.
SAFETY_COMMANDS: Final[frozenset[type[Message]]] = frozenset({CancelOrder, CancelAll, SetKillLevel, ActivateBreaker})
_ORDINARY_COMMANDS: Final = frozenset(kind for kind in ROUTES if issubclass(kind, Command)) - SAFETY_COMMANDS

_log = structlog.get_logger("polaris_synapse.bus")


class _State(Enum):
    NEW = "new"
    RECOVERED = "recovered"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class EmbeddedHost:
    """A Bus that runs ``cores`` (by name) over ``journal``. The journal is closed with the host.

    Life: ``recover`` brings the cores back, ``open`` tells them that the host has started and takes messages;
    ``start`` is both. Subscribe between the two where the first thing the cores say must be heard. ``stop`` refuses
    new messages, works off what waits, takes a snapshot and closes. ``wait_stopped`` ends with the host, and raises
    HostFailedError where a core failed: the process should then end, since a restart is the recovery.
    """

    def __init__(
        self,
        journal: JournalStore,
        cores: Mapping[str, Core],
        clock: Clock,
        settings: HostSettings,
        registry: CollectorRegistry,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._metrics = HostMetrics(registry)
        volatile = {name: core for name, core in cores.items() if f"{core.name}.inbox" in VOLATILE_INBOXES}
        self._durable = {name: core for name, core in cores.items() if name not in volatile}
        self._cascade = Cascade(self._durable)
        self._volatile = VolatileCores(volatile.values())
        self._subscriptions = Subscriptions()
        self._recorders: list[BusSubscription] = []
        self._requests = WaitingRequests(settings.request_timeout_seconds)
        self._set_up = SetUp()
        self._held = HeldCommands()

        self._state = _State.NEW
        self._failure: BaseException | None = None
        self._journal_problem = ""
        self._overloaded_by = ""
        self._intake = Intake(settings.batch_messages_max, settings.derived_messages_max)
        self._task: asyncio.Task[None] | None = None
        self._volatile_offset = 0
        self._released_offset = 0
        self._must_synchronise = False
        self._since_snapshot = 0
        self._due_snapshot: Snapshot | None = None

    # --- life ---

    async def start(self) -> RecoveryReport:
        """``recover`` and ``open``."""
        report = await self.recover()
        await self.open()
        return report

    async def recover(self) -> RecoveryReport:
        """Bring the cores to the end of the journal. Nothing is sent to the world again.

        Facts that a recording subscriber (see ``attach``) lacks are published to it, so it must be running already.
        Raises JournalError or HostFailedError.
        """
        assert self._state is _State.NEW, "a host starts once"
        report = await Recovery(self._journal, self._durable, self._set_up, self._recorders).run(self._settle)
        self._intake.last_time_ns = self._journal.last_time_ns
        # Ids of volatile envelopes must not repeat after a restart; microseconds grow faster than they do.
        self._volatile_offset = max(self._clock.now_ns(), self._intake.last_time_ns) // 1_000
        # What had to be replayed counts towards the next snapshot, or restarts in a row would take ever longer.
        self._since_snapshot = report.replayed_messages
        self._metrics.replay_seconds.set(report.seconds)
        self._metrics.replayed_messages.set(report.replayed_messages)
        self._metrics.journal_up.set(1)
        self._state = _State.RECOVERED
        if report.torn_tail is not None:
            torn = report.torn_tail
            _log.warning("journal_tail_cut", offset=torn.offset, messages=torn.messages, detail=torn.detail)
        for name, (first, last) in report.missing_facts.items():
            _log.error("facts_missing", subscriber=name, first_offset=first, last_offset=last)
        _log.info(
            "journal_replayed",
            snapshot_offset=report.snapshot_offset,
            last_offset=report.last_offset,
            messages=report.replayed_messages,
            seconds=round(report.seconds, 3),
        )
        return report

    async def open(self) -> None:
        """Tell the cores that the host has started and begin to take messages. Raises JournalWriteError."""
        assert self._state is _State.RECOVERED, "a host opens after it has recovered"
        self._state = _State.RUNNING
        self._apply_volatile(list(self._set_up.messages))
        self._intake.add(HostStarted(time_ns=self._clock.now_ns(), replayed_offset=self._journal.last_offset))
        self._turn()
        if self._failure is not None:
            raise self._failure
        if self._journal_problem:
            self._state = _State.STOPPED
            raise JournalWriteError(self._journal_problem)
        self._task = asyncio.create_task(self._run(), name="polaris embedded host")

    async def stop(self) -> None:
        """Work off what waits, take a snapshot, end the subscriptions and close the journal."""
        if self._state is _State.RUNNING:
            self._state = _State.STOPPING
            self._intake.wake()
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._state in {_State.STOPPING, _State.RECOVERED}:
            self._state = _State.STOPPED
            self._write_last_snapshot()
        self._requests.refuse_all(Reason.SHUTTING_DOWN, "the desk is shutting down")
        self._subscriptions.close()
        self._journal.close()

    async def wait_stopped(self) -> None:
        """Wait until the host stops. Raises HostFailedError where a bug stopped it."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._failure is not None:
            raise self._failure

    async def run(self) -> None:
        """``start``, then serve until cancelled, then ``stop``. Raises HostFailedError where a bug stops the host."""
        try:
            await self.start()
            await self.wait_stopped()
        finally:
            with anyio.CancelScope(shield=True):
                await self.stop()

    # --- the bus ---

    async def request(self, command: Command, /) -> Answer:
        """See Bus.request."""
        command = self._admitted(command)
        future = self._requests.wait_for(command.request_id)
        self._intake.add(command)
        return await future

    def request_soon(self, command: Command, done: Callable[[Answer | BusError], None], /) -> None:
        """See Bus.request_soon."""
        command = self._admitted(command)
        self._requests.call_when_done(command.request_id, done)
        self._intake.add(command)

    def hold(self, command: Command, done: Callable[[], None], /) -> None:
        """Take a stop although the journal cannot be written: it will be the first input when it can.

        ``command`` has a request id of its own; ``done`` is called once it is durable. Raises BusError.
        """
        self._held.hold(command, done)
        if not self._journal_problem:
            self._intake.add(command)

    def _admitted(self, command: Command) -> Command:
        """The command with a request id, where it can be taken. Raises BusError."""
        self._admit(1, ordinary=type(command) not in SAFETY_COMMANDS)
        return command if command.request_id else replace(command, request_id=self._requests.new_id())

    async def send(self, messages: Iterable[Message], /) -> int:
        """See Bus.send. Commands among them may be refused for a slow subscriber; reports and notes are not."""
        group = tuple(messages)
        if not group:
            return self._journal.last_offset
        self._admit(len(group), ordinary=any(type(message) in _ORDINARY_COMMANDS for message in group))
        for message in group:
            if not self._cascade.takes(type(message)):
                raise ValueError(f"{type(message).__name__} is in no durable inbox of this host; use post")
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._intake.add_together(Together(group, future))
        return await future

    def post(self, message: Message, /) -> None:
        """See Bus.post. Does nothing while the host is not running."""
        if self._state is not _State.RUNNING:
            return
        self._apply_volatile((message,))
        self._subscriptions.flush()

    def subscribe(
        self, topics: Iterable[str], /, *, name: str, backlog_messages_max: int, droppable: bool
    ) -> AbstractAsyncContextManager[BusSubscription]:
        """See Bus.subscribe. Raises ValueError for a topic that nothing is published on."""
        subscription = BusSubscription(
            topics, name=name, backlog_messages_max=backlog_messages_max, droppable=droppable
        )
        return self._subscribed(subscription)

    @asynccontextmanager
    async def _subscribed(self, subscription: BusSubscription) -> AsyncIterator[BusSubscription]:
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    def attach(self, subscription: BusSubscription, *, records: bool) -> None:
        """Add a subscription made by the caller. Before ``recover`` where it ``records``.

        One that records keeps, in its own store, the offset up to which it has everything (``recorded_offset``).
        Recovery publishes to it all facts after that offset, and the journal keeps what it still needs.
        """
        if records:
            assert self._state is _State.NEW, "who records must listen before the journal is replayed"
            self._recorders.append(subscription)
        self._subscriptions.add(subscription)

    def detach(self, subscription: BusSubscription) -> None:
        """Take a subscription out; it ends after what is waiting."""
        self._subscriptions.remove(subscription)

    # --- what it knows ---

    @property
    def last_offset(self) -> int:
        """The offset of the newest durable input."""
        return self._journal.last_offset

    @property
    def released_offset(self) -> int:
        """The offset up to which everything that follows from the inputs has been published."""
        return self._released_offset

    @property
    def subscribers(self) -> frozenset[str]:
        """The names of those who listen at the moment."""
        return self._subscriptions.names

    def state_hashes(self) -> dict[str, str]:
        """The state hash of each durable core. Between two inputs, so they belong together."""
        return {name: core.state_hash() for name, core in self._durable.items()}

    def readiness(self) -> dict[str, Callable[[], str | None]]:
        """Checks by name: each says None when all is well, else what is wrong in one sentence."""
        return {"host": self._check_host, "journal": self._check_journal, "subscribers": self._check_subscribers}

    def _check_host(self) -> str | None:
        if self._state is _State.RUNNING:
            return None
        return f"the host is {self._state.value}" + (f": {self._failure}" if self._failure else "")

    def _check_journal(self) -> str | None:
        return self._journal_problem or None

    def _check_subscribers(self) -> str | None:
        slow = self._subscriptions.overloaded_by()
        return f"{slow} is so far behind that new orders are refused" if slow else None

    # --- taking messages in ---

    def _admit(self, count: int, *, ordinary: bool) -> None:
        """Raise BusError where ``count`` more messages cannot be taken."""
        if self._state is not _State.RUNNING:
            if self._state in {_State.NEW, _State.RECOVERED}:
                raise BusError(Reason.NOT_READY, "the desk is starting")
            raise BusError(Reason.SHUTTING_DOWN, "the desk is shutting down")
        if self._journal_problem:
            raise BusError(Reason.JOURNAL_UNAVAILABLE, self._journal_problem)
        places = self._settings.queue_messages_max + (0 if ordinary else self._settings.queue_reserve_messages)
        if self._intake.messages + count > places:
            raise BusError(Reason.OVERLOADED, f"{self._intake.messages} messages wait for the journal already")
        if ordinary and self._overloaded_by:
            self._overloaded_by = self._subscriptions.overloaded_by()
            if self._overloaded_by:
                raise BusError(Reason.OVERLOADED, f"the subscriber {self._overloaded_by} is too far behind")

    def _apply_volatile(self, messages: Sequence[Message]) -> None:
        """Apply to the volatile cores, publish what they say, and queue what durable cores must know."""
        for message in messages:
            self._volatile_offset += 1
            outputs: list[Output] = []
            derived: list[Message] = []
            try:
                self._volatile.apply(message, outputs, derived)
            except CoreFailedError as error:
                self._fail(self._journal.last_offset, error)
                return
            publish_outputs(outputs, self._volatile_offset, self._subscriptions.listeners, [])
            if derived:
                self._metrics.dropped += self._intake.add_derived(derived)

    # --- the loop ---

    async def _run(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep_time)
                group.start_soon(self._probe_journal)
                await self._work()
                group.cancel_scope.cancel()
        except Exception as error:
            if self._failure is None:
                self._fail(self._journal.last_offset, error)

    async def _work(self) -> None:
        while self._state in {_State.RUNNING, _State.STOPPING}:
            if self._intake:
                await self._intake.gather()
                self._turn()
                self._intake.pace(time.perf_counter())
                # Lets those run who were answered, and whatever arrived meanwhile queue up for the next commit.
                await anyio.lowlevel.checkpoint()
            elif self._state is _State.STOPPING:
                return
            else:
                await self._intake.wait()

    def _turn(self) -> None:
        """Commit, apply and release one batch."""
        batch = self._intake.take()
        messages = batch.messages
        began = time.perf_counter()
        try:
            last_offset = self._journal.append(messages, self._due_snapshot)
        except UnwritableMessageError:
            self._refuse_unwritable(batch)
            return
        except JournalWriteError as error:
            self._journal_failed(error, batch)
            return
        self._intake.committed(now := time.perf_counter())
        self._metrics.commit_seconds.observe(now - began)
        self._metrics.batch_messages.observe(len(messages))
        if self._due_snapshot is not None:
            self._due_snapshot = None
            self._truncate()
        first_offset = last_offset - len(messages) + 1
        answers = self._apply(messages, first_offset, batch.derived)
        if self._failure is not None:
            for send in batch.sends:
                send.fail(BusError(Reason.SHUTTING_DOWN, "the desk stopped because of a bug"))
            return
        if self._must_synchronise:
            # Something follows from a group that a power cut could still take back: not before it is safe.
            self._must_synchronise = False
            try:
                self._journal.synchronise()
            except JournalWriteError as error:
                self._fail(last_offset, error)
                return
        self._subscriptions.flush()
        self._released_offset = last_offset
        for answer in answers:
            self._requests.answer(answer)
        if self._held:
            for answer in answers:
                self._held.answered(answer)
        for send in batch.sends:
            send.succeed(first_offset)
        self._overloaded_by = self._overloaded_by or self._subscriptions.overloaded_by()
        self._since_snapshot += len(messages)
        if self._since_snapshot >= self._settings.snapshot_interval_messages:
            self._due_snapshot = self._snapshot()

    def _apply(self, batch: list[Message], first_offset: int, derived_count: int) -> list[Answer]:
        """Apply a durable batch, publish what follows, and return the answers in it."""
        run, heard = self._cascade.run, self._subscriptions.heard
        listeners, counts = self._subscriptions.listeners, self._metrics.inputs
        administrative = self._subscriptions.accepted.keys() | {ListInstrument}
        answers: list[Answer] = []
        outputs: list[Output] = []
        for_volatile: list[Message] = []
        offset, produced = first_offset - 1, 0
        unsafe = is_repeated_soon(batch)
        for message in batch:
            offset += 1
            kind = type(message)
            counts[kind] = counts.get(kind, 0) + 1
            # Derived messages were published when the volatile core said them.
            if kind in listeners and offset - first_offset >= derived_count:
                self._subscriptions.publish("input", offset, 0, message)
            try:
                produced += run(message, heard, outputs, for_volatile)
            except (CoreFailedError, CascadeError) as error:
                self._fail(offset, error)
                return []
            if (
                kind in administrative
                and isinstance(message, Command)
                and is_accepted(message, (output for _, _, output in outputs))
            ):
                self._set_up.see(message)
                self._subscriptions.publish_accepted(offset, message)
            if outputs:
                publish_outputs(outputs, offset, listeners, answers)
                if unsafe and any(type(output) not in WITHOUT_CONSEQUENCE for _, _, output in outputs):
                    self._must_synchronise = True
                outputs.clear()
            if for_volatile:
                self._apply_volatile(for_volatile)
                for_volatile.clear()
        self._metrics.outputs += produced
        return answers

    def _journal_failed(self, error: JournalWriteError, batch: Batch) -> None:
        """Nothing of the batch has an effect: say so to all who wait, and take nothing more until a probe succeeds."""
        self._journal_problem = str(error)
        self._metrics.journal_failures += 1
        self._metrics.journal_up.set(0)
        _log.error("journal_write_failed", error=str(error), messages=len(batch.messages))
        waiting, derived = self._intake.clear()
        self._metrics.dropped += batch.derived + derived
        refusal = BusError(Reason.JOURNAL_UNAVAILABLE, str(error))
        for item in (*batch.messages, *batch.sends, *waiting):
            self._refuse(item, refusal)

    def _refuse_unwritable(self, batch: Batch) -> None:
        """Refuse the messages that JSON cannot hold, and queue the others again in front of all that waits."""
        good: list[Message | Together] = []
        for item in batch.items():
            try:
                encode_group(item.messages if isinstance(item, Together) else (item,))
            except UnwritableMessageError as error:
                _log.warning("message_unwritable", error=str(error))
                self._refuse(item, BusError(Reason.INVALID_VALUE, str(error)))
            else:
                good.append(item)
        self._intake.put_back(good)

    def _refuse(self, item: Message | Together, refusal: BusError) -> None:
        if isinstance(item, Together):
            item.fail(refusal)
        elif isinstance(item, Command):
            self._requests.refuse(item.request_id, refusal.reason, str(refusal))

    async def _probe_journal(self) -> None:
        while True:
            await self._clock.sleep(self._settings.probe_seconds)
            if not self._journal_problem:
                continue
            try:
                self._journal.synchronise()
            except JournalWriteError as error:
                self._journal_problem = str(error)
                continue
            for command in self._held.commands():
                self._intake.add(command)
            self._journal_problem = ""
            self._metrics.journal_up.set(1)
            _log.info("journal_writable_again", offset=self._journal.last_offset)

    async def _keep_time(self) -> None:
        settings = self._settings
        while True:
            await self._clock.sleep(settings.tick_seconds)
            places = settings.queue_messages_max + settings.queue_reserve_messages
            if not self._journal_problem and self._intake.messages < places:
                self._intake.add(Tick(time_ns=self._clock.now_ns()))
            waiting = self._intake.messages + self._intake.derived_messages
            self._metrics.hand_over(waiting, self._subscriptions.backlogs)
            self._metrics.journal_offset.set(self._journal.last_offset)

    # --- snapshots and the end ---

    def _snapshot(self) -> Snapshot | None:
        """The state now, or None where it cannot be had or must wait: the journal alone is enough to start from."""
        if not (self._settings.journal_keep_all or recorders_reach_a_snapshot(self._journal, self._recorders)):
            self._since_snapshot = 0
            return None
        began = time.perf_counter()
        set_up = {HOST_PART: encode_group(self._set_up.messages)}
        time_ns = self._intake.last_time_ns
        try:
            snapshot = take_snapshot(self._durable.values(), self._journal.last_offset, time_ns, set_up)
        except (ValueError, TypeError, OverflowError) as error:
            _log.error("snapshot_failed", offset=self._journal.last_offset, error=str(error), exc_info=error)
            self._since_snapshot = 0
            return None
        self._metrics.snapshot_seconds.set(time.perf_counter() - began)
        self._since_snapshot = 0
        return snapshot

    def _truncate(self) -> None:
        size = self._journal.size()
        self._metrics.journal_bytes.set(size.bytes_on_disk)
        if self._settings.journal_keep_all:
            return
        recorded = min((recorder.recorded_offset for recorder in self._recorders), default=size.last_offset)
        try:
            removed = self._journal.truncate_before(recorded + 1)
        except JournalWriteError as error:
            _log.warning("journal_truncate_failed", error=str(error))
            return
        _log.info("journal_truncated", messages=removed)

    def _write_last_snapshot(self) -> None:
        if self._journal.last_offset in self._journal.snapshots()[:1] or self._journal_problem:
            return
        snapshot = self._snapshot()
        if snapshot is None:
            return
        try:
            self._journal.write_snapshot(snapshot)
        except JournalWriteError as error:
            # The journal alone is enough to start from; the next start only takes longer.
            _log.warning("snapshot_write_failed", error=str(error))

    def _fail(self, offset: int, error: BaseException) -> None:
        self._state = _State.FAILED
        self._failure = HostFailedError(offset, f"the host stopped at offset {offset}: {error}")
        self._failure.__cause__ = error
        _log.critical("host_failed", offset=offset, error=str(error), exc_info=error)
        self._requests.refuse_all(Reason.SHUTTING_DOWN, "the desk stopped because of a bug; its log has the details")
        refusal = BusError(Reason.SHUTTING_DOWN, "the desk stopped because of a bug")
        for item in self._intake.clear()[0]:
            self._refuse(item, refusal)
        self._subscriptions.close()
        self._intake.wake()

    async def _settle(self, offset: int) -> None:
        """Hand over what replay published up to ``offset`` and wait while a recorder is full.

        Raises HostFailedError where a recorder takes nothing for replay_stall_seconds_max.
        """
        self._subscriptions.flush()
        self._released_offset = offset
        await anyio.lowlevel.checkpoint()
        taken, since = -1, time.monotonic()
        while slow := self._subscriptions.overloaded_by():
            now_taken = sum(recorder.taken for recorder in self._recorders)
            if now_taken != taken:
                taken, since = now_taken, time.monotonic()
            elif time.monotonic() - since > self._settings.replay_stall_seconds_max:
                raise HostFailedError(self._journal.last_offset, f"{slow} does not take the facts that replay makes")
            await anyio.sleep(0.01)
