"""Polls every source on its own, has what it brings read, and puts the scores on the bus.

A source that fails is tried again, ever more slowly, and troubles nobody else. Nothing of a text is logged, put into an
error, or kept anywhere but in the short memory that people read titles from.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

import anyio
import structlog
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from polaris_synapse.agents.sources.meaning import flow_mark, net_flows, scored_funding, scored_item
from polaris_synapse.agents.sources.metrics import SourcesMetrics
from polaris_synapse.agents.sources.port import (
    Event,
    Failure,
    Flow,
    FlowMark,
    Funding,
    Item,
    Polled,
    Source,
    SourceError,
    SourceState,
)
from polaris_synapse.agents.sources.reader import Reader, Reading, bounded
from polaris_synapse.agents.sources.settings import ChainAsset, SourcesSettings
from polaris_synapse.agents.sources.state_file import SourceStates, StatesNotSavedError
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Message

_log = structlog.get_logger(__name__)
_NS: Final = 1_000_000_000
_DOUBLINGS_MAX: Final = 16
#: Events whose scores go to the bus together.
_GROUP: Final = 20


class WiredSource(Struct, frozen=True, kw_only=True):
    """A source with what the service keeps of it. ``key`` changes with its address, and its state begins anew then.

    ``assets``: of a chain, by code. ``close`` is called when the service ends.
    """

    source: Source
    key: str
    assets: Mapping[str, ChainAsset] = {}
    close: Callable[[], Awaitable[None]] | None = None


class SourceStatus(Struct, frozen=True, kw_only=True):
    """How a source does. ``state`` is WAITING, OK or FAILING; ``detail`` says what is wrong and what to do."""

    name: str
    kind: str
    state: str = "WAITING"
    failure: str = ""
    detail: str = ""
    polls: int = 0
    failures_in_a_row: int = 0
    events: int = 0
    dropped: int = 0
    published: int = 0
    withheld: int = 0
    last_poll_time_ns: int = 0
    last_success_time_ns: int = 0
    next_poll_time_ns: int = 0


class _Tally(Struct):
    """What one poll came to."""

    events: int = 0
    published: int = 0
    withheld: int = 0


class ReadItem(Struct, frozen=True, kw_only=True):
    """An item and what it was read as."""

    item: Item
    reading: Reading


class SourcesService:
    """See the module. ``run()`` is its work; without any source it does nothing."""

    def __init__(
        self,
        *,
        bus: Bus,
        clock: Clock,
        registry: CollectorRegistry,
        sources: Iterable[WiredSource],
        reader: Reader,
        instruments: Callable[[], Sequence[Instrument]],
        states: SourceStates,
        settings: SourcesSettings,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._sources = tuple(sources)
        self._reader = reader
        self._instruments = instruments
        self._states_kept = states
        self._settings = settings
        self._metrics = SourcesMetrics(registry)
        self._states: dict[str, SourceState] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._saving = anyio.Lock()
        #: Whether this process reads the sources now.
        self.polling = False
        self._statuses: dict[str, SourceStatus] = {}
        self._readings: deque[ReadItem] = deque(maxlen=settings.readings_max)
        for wired in self._sources:
            source = wired.source
            self._statuses[source.name] = SourceStatus(name=source.name, kind=source.kind)
            self._metrics.known(source.name)

    @property
    def stands_by(self) -> bool:
        """Whether there are sources, and another process reads them, or nobody does yet."""
        return bool(self._sources) and not self.polling

    def statuses(self) -> list[SourceStatus]:
        """How every source does, in the order of the settings."""
        return list(self._statuses.values())

    def readings(self, *, symbol: str = "", limit: int = 100) -> list[ReadItem]:
        """What was read last, newest first; with ``symbol``, what says something about it."""
        found = (
            one
            for one in reversed(self._readings)
            if not symbol or any(view.symbol == symbol for view in one.reading.views)
        )
        return list(islice(found, limit))

    async def run(self) -> None:
        """Poll until cancelled, and let go of the sources' connections."""
        try:
            await self.poll_until_cancelled()
        finally:
            with anyio.CancelScope(shield=True):
                await self.close()

    async def poll_until_cancelled(self) -> None:
        """Poll every source; may be begun again, going on from what was kept last, by this process or another."""
        if not self._sources:
            return
        await self._recall()
        self.polling = True
        try:
            async with anyio.create_task_group() as tasks:
                for wired in self._sources:
                    tasks.start_soon(self._poll_for_ever, wired)
        finally:
            self.polling = False

    async def close(self) -> None:
        """Let go of the sources' connections."""
        for wired in self._sources:
            if wired.close is not None:
                await wired.close()

    async def _recall(self) -> None:
        """Go on where the last process was. States of sources that are gone are forgotten."""
        known = await self._states_kept.load()
        self._states = {wired.key: known[wired.key] for wired in self._sources if wired.key in known}
        for state in self._states.values():
            self._remember(state.seen)

    async def poll_all(self) -> None:
        """Poll every source once, one after the other."""
        for wired in self._sources:
            await self._poll(wired)

    async def _poll_for_ever(self, wired: WiredSource) -> None:
        while True:
            wait = await self._poll(wired)
            await self._clock.sleep(wait)

    async def _poll(self, wired: WiredSource) -> float:
        """One poll; returns how many seconds to wait before the next."""
        source = wired.source
        try:
            await self._poll_once(wired)
        except SourceError as error:
            wait = self._failed(source, error.failure, str(error), error.retry_after_seconds)
        except TimeoutError:
            seconds = self._settings.poll_seconds_max
            wait = self._failed(source, Failure.TIMED_OUT, f"A poll took longer than {seconds} seconds.", 0)
        except BusError as error:
            wait = self._failed(source, Failure.INTERNAL, f"The desk did not take the scores ({error.reason.name}).", 0)
        except Exception as error:
            # A bug in one adapter must not stop the others. The error's own text may quote what came from outside.
            place = _place(error)
            _log.error("source_broke", source=source.name, error=type(error).__name__, place=place)
            sentence = f"The adapter failed ({type(error).__name__} at {place}); please report it."
            wait = self._failed(source, Failure.INTERNAL, sentence, 0)
        else:
            wait = source.interval_seconds
        self._change(source.name, next_poll_time_ns=self._clock.now_ns() + wait * _NS)
        return float(wait)

    async def _poll_once(self, wired: WiredSource) -> None:
        source = wired.source
        before = self._states.get(wired.key, SourceState())
        with anyio.fail_after(self._settings.poll_seconds_max):
            polled = await source.poll(before)
        new = self._new(polled.events)
        flows = self._flows(before, new)
        tally = await self._publish(wired, new, flows)
        digests = [event.digest for event in new[: tally.events]]
        self._remember(digests)
        # What there was no time to read is fetched again: the next poll goes on from the same place as this one.
        after = polled.state if tally.events == len(new) else before
        seen = (*before.seen, *digests)[-self._settings.digests_max :]
        await self._save(wired.key, replace(after, seen=seen, flows=flows))
        self._succeeded(source, polled, tally)

    async def _publish(self, wired: WiredSource, new: Sequence[Event], flows: Sequence[FlowMark]) -> _Tally:
        """Read new events in time and put their scores on the bus, group by group. Raises BusError."""
        deadline_ns = self._clock.now_ns() + self._settings.poll_seconds_max * _NS
        tally = _Tally()
        kept = {flow.digest for flow in flows}
        moved = [(one.asset, one.label_kind) for one in new if isinstance(one, Flow) and one.digest in kept]
        messages: list[Message] = [
            *net_flows(wired.source.name, flows, moved, wired.assets, self._instruments(), self._clock.now_ns())
        ]
        for start in range(0, len(new), _GROUP):
            if self._clock.now_ns() > deadline_ns:
                break
            group = new[start : start + _GROUP]
            for event in group:
                if isinstance(event, Item):
                    reading = await self._read(event)
                    tally.withheld += reading.withheld
                    messages += scored_item(event, reading, self._clock.now_ns())
                elif isinstance(event, Funding):
                    messages.append(scored_funding(event, self._clock.now_ns()))
            if messages:
                await self._bus.send(messages)
            tally.events += len(group)
            tally.published += len(messages)
            messages = []
        return tally

    def _new(self, events: Sequence[Event]) -> list[Event]:
        """Events that were not seen before, whichever source brought them first."""
        fresh: dict[str, Event] = {}
        for event in events:
            if event.digest not in self._seen:
                fresh.setdefault(event.digest, event)
        return list(fresh.values())

    def _remember(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self._seen[digest] = None
        maximum = self._settings.digests_max * max(1, len(self._sources))
        while len(self._seen) > maximum:
            self._seen.popitem(last=False)

    def _flows(self, before: SourceState, new: Sequence[Event]) -> tuple[FlowMark, ...]:
        oldest_ns = self._clock.now_ns() - self._settings.flow_window_seconds * _NS
        marks = {mark.digest: mark for mark in before.flows}
        marks |= {event.digest: flow_mark(event) for event in new if isinstance(event, Flow)}
        return tuple(mark for mark in marks.values() if mark.time_ns >= oldest_ns)[-self._settings.flows_max :]

    async def _read(self, item: Item) -> Reading:
        symbols = [instrument.symbol for instrument in self._instruments()]
        reading = bounded(await self._reader.read(item), symbols)
        self._readings.append(ReadItem(item=item, reading=reading))
        self._metrics.read(item.source, reading)
        return reading

    async def _save(self, key: str, state: SourceState) -> None:
        self._states[key] = state
        async with self._saving:
            try:
                await self._states_kept.save(dict(self._states))
            except StatesNotSavedError as error:
                # What was published stays published; after a restart some of it comes again and counts once.
                _log.warning("sources_state_not_saved", error=str(error))

    def _succeeded(self, source: Source, polled: Polled, tally: _Tally) -> None:
        now_ns = self._clock.now_ns()
        old = self._statuses[source.name]
        if old.state == "FAILING":
            _log.info("source_recovered", source=source.name, failures=old.failures_in_a_row)
        self._change(
            source.name,
            state="OK",
            failure="",
            detail="",
            polls=old.polls + 1,
            failures_in_a_row=0,
            events=old.events + tally.events,
            dropped=old.dropped + polled.dropped,
            published=old.published + tally.published,
            withheld=old.withheld + tally.withheld,
            last_poll_time_ns=now_ns,
            last_success_time_ns=now_ns,
        )
        self._metrics.polled(
            source.name, events=tally.events, dropped=polled.dropped, unchanged=polled.unchanged, now_ns=now_ns
        )
        self._metrics.published(source.name, tally.published)

    def _failed(self, source: Source, failure: Failure, sentence: str, retry_after_seconds: int) -> int:
        """Record a failed poll; returns how many seconds to wait."""
        old = self._statuses[source.name]
        failures = old.failures_in_a_row + 1
        if old.state != "FAILING" or old.failure != failure.value:
            _log.warning("source_failed", source=source.name, failure=failure.value, detail=sentence)
        self._change(
            source.name,
            state="FAILING",
            failure=failure.value,
            detail=sentence,
            polls=old.polls + 1,
            failures_in_a_row=failures,
            last_poll_time_ns=self._clock.now_ns(),
        )
        self._metrics.failed(source.name, failure)
        slower = source.interval_seconds << min(failures, _DOUBLINGS_MAX)
        longest = max(self._settings.backoff_seconds_max, source.interval_seconds)
        return max(min(slower, longest), retry_after_seconds)

    def _change(self, name: str, **fields: object) -> None:
        self._statuses[name] = replace(self._statuses[name], **fields)


def _place(error: BaseException) -> str:
    """The file and line where an error was raised, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
