"""The real embedded host without an event loop: the world calls its turns, its ticks and its probes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from msgspec import Struct
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Core, Envelope
from polaris_synapse.bus.embedded import SAFETY_COMMANDS, EmbeddedHost, _State
from polaris_synapse.bus.intake import Together
from polaris_synapse.bus.journal import WITHOUT_CONSEQUENCE, JournalStore, JournalWriteError
from polaris_synapse.bus.recovery import RecoveryReport
from polaris_synapse.bus.requests import WaitingRequests
from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.bus.subscriptions import BusSubscription
from polaris_synapse.domain.messages import Answer, Command, HostStarted, Message, Tick
from polaris_synapse.domain.reasons import Reason

T = TypeVar("T")


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, to its end."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine of the simulation waited for something")


class AnswerBox(WaitingRequests):
    """Hands answers and refusals on at once instead of ending waits."""

    def __init__(self, answered: Callable[[Answer], None], refused: Callable[[str, Reason], None]) -> None:
        super().__init__(timeout_seconds=0)
        self._answered = answered
        self._refused = refused

    def answer(self, answer: Answer) -> None:
        """See WaitingRequests."""
        self._answered(answer)

    def refuse(self, request_id: str, reason: Reason, message: str) -> None:
        """See WaitingRequests."""
        self._refused(request_id, reason)


class DirectSubscription(BusSubscription):
    """Hands each batch to ``handler`` as the host releases it, and remembers how far it has come."""

    def __init__(
        self,
        topics: Iterable[str],
        handler: Callable[[Sequence[Envelope]], None],
        *,
        name: str,
        recorded_offset: int = 0,
        fact_offset: int = 0,
    ) -> None:
        super().__init__(
            topics,
            name=name,
            backlog_messages_max=1_000_000,
            droppable=False,
            recorded_offset=recorded_offset,
            fact_offset=fact_offset,
        )
        self._handler = handler

    def flush(self) -> None:
        """See BusSubscription."""
        batch, self.pending = self.pending, []
        self.published += len(batch)
        self.taken += len(batch)
        for envelope in batch:
            self.recorded_offset = max(self.recorded_offset, envelope.offset)
            if envelope.core != "input" and type(envelope.message) not in WITHOUT_CONSEQUENCE:
                self.fact_offset = max(self.fact_offset, envelope.offset)
        self._handler(batch)


class _Sent(Struct):
    """Stands in for the future of one send."""

    said: Callable[[bool], None]

    def done(self) -> bool:
        """Never ended before it is told."""
        return False

    def set_result(self, _: int) -> None:
        """The group is durable and applied."""
        self.said(True)

    def set_exception(self, _: Exception) -> None:
        """Nothing of the group happened."""
        self.said(False)


class SimulatedHost(EmbeddedHost):
    """EmbeddedHost, one call at a time. Raises SimulatedCrash where its disk or a subscriber does."""

    def __init__(
        self, journal: JournalStore, cores: Mapping[str, Core], clock: Clock, settings: HostSettings, answers: AnswerBox
    ) -> None:
        super().__init__(journal, cores, clock, settings, CollectorRegistry())
        self._requests = answers
        self.cores = cores

    async def _settle(self, offset: int) -> None:
        """Hand over what replay published; whoever listens here takes it at once."""
        self._subscriptions.flush()
        self._released_offset = offset

    def recover_now(self) -> RecoveryReport:
        """See EmbeddedHost.recover."""
        return drive(self.recover())

    def open_now(self) -> None:
        """See EmbeddedHost.open; the world takes the place of the host's loop. Raises JournalWriteError."""
        assert self._state is _State.RECOVERED
        self._state = _State.RUNNING
        self._intake.add(HostStarted(time_ns=self._clock.now_ns(), replayed_offset=self._journal.last_offset))
        self._turn()
        if self._failure is None and self._journal_problem:
            raise JournalWriteError(self._journal_problem)

    @property
    def failure(self) -> BaseException | None:
        """The bug that stopped the host."""
        return self._failure

    @property
    def has_work(self) -> bool:
        """Whether something waits for the journal."""
        return bool(self._intake) and self._state is _State.RUNNING

    def turn(self) -> None:
        """Commit, apply and release one batch."""
        self._turn()

    def command(self, command: Command) -> None:
        """What ``request`` does before it waits. Raises BusError."""
        self._admit(1, ordinary=type(command) not in SAFETY_COMMANDS)
        self._intake.add(command)

    def send_group(self, messages: Sequence[Message], said: Callable[[bool], None]) -> None:
        """What ``send`` does before it waits; ``said`` hears whether the group was taken. Raises BusError."""
        self._admit(len(messages), ordinary=False)
        future = cast("asyncio.Future[int]", _Sent(said))
        self._intake.add_together(Together(tuple(messages), future))

    def mark(self, messages: Sequence[Message]) -> None:
        """What the market data core says: it is dropped while the host does not run."""
        if self._state is _State.RUNNING:
            self._intake.add_derived(messages)

    def tick(self) -> None:
        """One round of the host's own clock."""
        places = self._settings.queue_messages_max + self._settings.queue_reserve_messages
        if not self._journal_problem and self._intake.messages < places:
            self._intake.add(Tick(time_ns=self._clock.now_ns()))

    def probe(self) -> None:
        """One round of the host's look at a journal that failed."""
        if self._journal_problem:
            try:
                self._journal.synchronise()
            except JournalWriteError as error:
                self._journal_problem = str(error)
            else:
                self._journal_problem = ""

    def finish(self) -> None:
        """An orderly end, as ``stop``: work off what waits and write the last snapshot."""
        while self.has_work:
            self._turn()
        if self._state is _State.RUNNING:
            self._state = _State.STOPPED
            self._write_last_snapshot()
