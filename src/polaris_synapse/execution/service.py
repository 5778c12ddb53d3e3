"""The execution service: carries the core's commands to venue adapters and what they say back to the core.

What an adapter raises after it may have sent something is an unknown outcome, never a failure. Commands are never
sent again from here: after a crash the core asks the venue about everything that it had sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

import anyio
import anyio.abc
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.messages import (
    ConfigureVenues,
    Message,
    VenueBalances,
    VenueCancel,
    VenueListing,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import OrderEvent
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import VENUE_COMMANDS
from polaris_synapse.execution.dispatch import Dispatch, VenueCommand
from polaris_synapse.execution.metrics import ExecutionMetrics
from polaris_synapse.execution.settings import ExecutionSettings
from polaris_synapse.execution.venues.port import Venue, VenueNotSentError
from polaris_synapse.execution.view import OpenOrdersView, VenueOrderView

_log = structlog.get_logger("polaris_synapse.execution")

#: Whether the kill switch keeps an order that risk has approved from leaving; asked when its turn has come.
Stopped = Callable[[VenueSubmit], bool]

_RETRY_SECONDS: Final = 0.05
_LATENCIES_KEPT: Final = 0.9

#: What a refused or lost request is called in a report.
_REFUSALS: Final[dict[type[Message], OrderEvent]] = {
    VenueSubmit: OrderEvent.REJECT,
    VenueCancel: OrderEvent.REJECT_CANCEL,
    VenueReplace: OrderEvent.REJECT_REPLACE,
}
_REQUEST_NAMES: Final[dict[type[Message], str]] = {
    VenueSubmit: "submit",
    VenueCancel: "cancel",
    VenueReplace: "replace",
    VenueQuery: "query",
}


def dated(status: VenueOrderStatus) -> VenueOrderStatus:
    """The answer with the time it was given: the journal puts ``time_ns`` forward where other messages overtake it."""
    return replace(status, answered_ns=status.answered_ns or status.time_ns)


class VenueHealth(Struct, frozen=True, kw_only=True):
    """A venue as people see it. ``submit_milliseconds``: the recent mean of its answers, 0 before the first."""

    name: str
    mode: str
    connected: bool
    detail: str
    open_orders: int
    submit_milliseconds: float


class _VenueLink:
    """One venue with what waits for it; what the adapter says goes to the service's outgoing queue."""

    def __init__(self, venue: Venue, dispatch: Dispatch, say: Callable[[Sequence[Message]], Awaitable[None]]) -> None:
        self.venue = venue
        self.dispatch = dispatch
        self.submit_seconds = 0.0
        self.must_ask = anyio.Event()
        self.arrived = anyio.Event()
        self._say = say

    async def deliver(self, reports: Sequence[VenueReport], /) -> None:
        """See VenueEvents."""
        await self._say(tuple(reports))

    def reconnected(self) -> None:
        """See VenueEvents."""
        self.must_ask.set()

    def note_latency(self, seconds: float) -> None:
        """Take one answer into the recent mean."""
        kept = self.submit_seconds
        self.submit_seconds = seconds if not kept else kept * _LATENCIES_KEPT + seconds * (1 - _LATENCIES_KEPT)


class ExecutionService:
    """Runs the adapters in ``venues``. ``settings.real_trading`` false keeps orders away from those that are real."""

    def __init__(
        self,
        *,
        bus: Bus,
        clock: Clock,
        registry: CollectorRegistry,
        settings: ExecutionSettings,
        venues: Sequence[Venue],
        stopped: Stopped = lambda _: False,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._metrics = ExecutionMetrics(registry)
        self._view = OpenOrdersView()
        self._outgoing: MemoryObjectSendStream[Sequence[Message]] | None = None
        self._links = {venue.name: _VenueLink(venue, self.new_dispatch(), self._say) for venue in venues}
        self._running = False
        self._stopped = stopped
        self._halts: dict[str, Callable[[], bool]] = {}

    # -- for the API --------------------------------------------------------------------------------------------

    def venues(self) -> list[VenueHealth]:
        """How every venue stands."""
        return [
            VenueHealth(
                name=name,
                mode="simulated" if link.venue.capabilities.simulated else "real",
                connected=link.venue.state.connected,
                detail=link.venue.state.detail,
                open_orders=self._view.count(name),
                submit_milliseconds=round(link.submit_seconds * 1000, 3),
            )
            for name, link in sorted(self._links.items())
        ]

    def orders(self) -> list[VenueOrderView]:
        """Open orders as the venues report them, newest first."""
        return self._view.all()

    def readiness(self) -> Mapping[str, Callable[[], str | None]]:
        """Checks by name: None when all is well, else one sentence."""
        return {"execution": self._check_running, "venues": self._check_venues}

    def _check_running(self) -> str | None:
        return None if self._running else "the execution service is not running"

    def _check_venues(self) -> str | None:
        down = [health for health in self.venues() if not health.connected]
        return "; ".join(f"{health.name}: {health.detail or 'not connected'}" for health in down) or None

    # -- running ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled."""
        settings = self._settings
        subscription = self._bus.subscribe(
            (VENUE_COMMANDS,),
            name="execution",
            backlog_messages_max=settings.commands_backlog_messages_max,
            droppable=False,
        )
        self._outgoing, waiting = anyio.create_memory_object_stream[Sequence[Message]](
            settings.report_batches_waiting_max
        )
        try:
            async with subscription as commands, anyio.create_task_group() as tasks:
                await self._send([self._configuration()])
                tasks.start_soon(self._send_reports, waiting)
                for link in self._links.values():
                    tasks.start_soon(self._work_off, link)
                    tasks.start_soon(self._keep_running, link)
                    tasks.start_soon(self._reconcile, link)
                    tasks.start_soon(self._watch_balances, link)
                    tasks.start_soon(self._ask_after_gaps, link)
                self._running = True
                async for batch in commands:
                    for envelope in batch:
                        await self._route(envelope.message)
                tasks.cancel_scope.cancel()
        finally:
            self._running = False
            self._outgoing.close()
            waiting.close()

    def new_dispatch(self) -> Dispatch:
        """What orders the requests of one venue."""
        settings = self._settings
        return Dispatch(
            at_once=settings.requests_at_once_max,
            cancels_at_once=settings.cancels_at_once_max,
            waiting_max=settings.venue_requests_waiting_max,
        )

    def _configuration(self) -> ConfigureVenues:
        listings = [
            VenueListing(name=name, simulated=link.venue.capabilities.simulated)
            for name, link in sorted(self._links.items())
        ]
        return ConfigureVenues(
            time_ns=self._clock.now_ns(), venues=tuple(listings), real_trading=self._settings.real_trading
        )

    # -- stopping without the journal ---------------------------------------------------------------------------

    async def stop_now(self, account: str, order_ids: Collection[int], in_force: Callable[[], bool]) -> list[int]:
        """Send nothing more to a venue for an account ("*": for any) until ``in_force``, and cancel these orders.

        Returns the orders whose cancels are on their way. What the venues answer goes to the core like any report.
        """
        self._halts[account] = in_force
        wanted = frozenset(order_ids)
        sent: list[int] = []
        for order in self._view.all():
            link = self._links.get(order.venue)
            if order.order_id in wanted and link is not None:
                # Behind what waits of the order itself, so a cancel never overtakes what it cancels.
                command = VenueCancel(
                    time_ns=self._clock.now_ns(),
                    venue=order.venue,
                    symbol=order.symbol,
                    order_id=order.order_id,
                    venue_client_id=order.venue_client_id,
                    venue_order_id=order.venue_order_id,
                )
                await self._enqueue(link, command)
                sent.append(order.order_id)
        return sent

    def _is_halted(self, command: VenueSubmit | VenueReplace) -> bool:
        """Whether a stop that the core does not know yet forbids this."""
        for account in [account for account, in_force in self._halts.items() if in_force()]:
            del self._halts[account]
        if not self._halts or "*" in self._halts:
            return bool(self._halts)
        # A replacement does not say whose it is. It only waits: nobody loses by being refused for a moment.
        return isinstance(command, VenueReplace) or command.request.account in self._halts

    async def _keep_running(self, link: _VenueLink) -> None:
        """Run an adapter; one that fails is started again, less and less often, and its orders are asked about."""
        wait_seconds = _RETRY_SECONDS
        while True:
            try:
                await link.venue.run(link)
                return
            except Exception as error:
                _log.exception("venue failed", venue=link.venue.name, error=str(error))
            await self._clock.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, self._settings.retry_seconds_max)
            link.reconnected()

    async def _route(self, message: Message) -> None:
        if not isinstance(message, VenueSubmit | VenueCancel | VenueReplace | VenueQuery):
            return
        link = self._links.get(message.venue)
        if link is None:
            await self._say(self._refused(message, Reason.VENUE_NOT_CONFIGURED, f"no adapter for {message.venue}"))
            return
        if isinstance(message, VenueSubmit) and not (link.venue.capabilities.simulated or self._settings.real_trading):
            await self._say(self._refused(message, Reason.REAL_TRADING_DISABLED, f"{message.venue} trades for real"))
            return
        await self._enqueue(link, message)

    async def _enqueue(self, link: _VenueLink, command: VenueCommand) -> None:
        """Let a request wait for its turn. It never waits here, or the cancels behind it would wait with it."""
        self._view.note(command)
        if link.dispatch.put(command):
            link.arrived.set()
        else:
            detail = f"{link.dispatch.waiting} requests wait for {link.venue.name} already"
            await self._say(self._refused(command, Reason.VENUE_UNAVAILABLE, detail))

    async def _work_off(self, link: _VenueLink) -> None:
        async with anyio.create_task_group() as requests:
            while True:
                link.arrived = anyio.Event()
                while (command := link.dispatch.take()) is not None:
                    requests.start_soon(self._request, link, command)
                await link.arrived.wait()

    async def _request(self, link: _VenueLink, command: VenueCommand) -> None:
        """One request, from its turn to the report of what is known of it."""
        await self._say(await self._carry_out(link, command))
        link.dispatch.done(command.order_id)
        link.arrived.set()

    async def _carry_out(self, link: _VenueLink, command: VenueCommand) -> Sequence[Message]:
        """One call of an adapter; what is known after it."""
        held_back = self.held_back(link.dispatch, command)
        if held_back is not None:
            return held_back
        venue, name = link.venue, _REQUEST_NAMES[type(command)]
        started_ns = self._clock.now_ns()
        try:
            with anyio.fail_after(self._settings.request_timeout_seconds):
                if isinstance(command, VenueQuery):
                    return (dated(await venue.query(command)),)
                if isinstance(command, VenueSubmit):
                    reports = await venue.submit(command)
                    seconds = (self._clock.now_ns() - started_ns) / 1e9
                    self._metrics.submit_seconds.labels(venue.name).observe(seconds)
                    link.note_latency(seconds)
                    return reports
                if isinstance(command, VenueCancel):
                    return await venue.cancel(command)
                return await venue.replace(command)
        except VenueNotSentError as error:
            _log.warning("venue request not sent", venue=venue.name, request=name, order_id=command.order_id)
            return self._refused(command, Reason.VENUE_UNAVAILABLE, str(error))
        except Exception as error:
            # Whatever went wrong, it may have gone wrong after the venue acted: the core asks the venue.
            text = str(error) or type(error).__name__
            _log.warning("venue outcome unknown", venue=venue.name, request=name, order_id=command.order_id, error=text)
            self._metrics.unknown_outcomes.labels(venue.name, name).inc()
            return self._lost(command, f"{name}: {text}"[:200])

    def held_back(self, dispatch: Dispatch, command: VenueCommand) -> Sequence[Message] | None:
        """The reports of a command that must not leave now that its turn has come; None for one that may."""
        if isinstance(command, VenueSubmit):
            if dispatch.is_cancelled(command.order_id):
                # Somebody has stopped it, the kill switch perhaps: what has not left must not leave after that.
                return self._reports(command, OrderEvent.CANCEL, Reason.NONE, "it was cancelled before it was sent")
            if self._stopped(command):
                return self._refused(command, Reason.KILL_SWITCH, "the kill switch was pulled before it was sent")
        waited_seconds = (self._clock.now_ns() - command.time_ns) / 1e9
        if isinstance(command, VenueSubmit | VenueReplace) and waited_seconds > self._settings.request_age_seconds_max:
            # The core may be about to take its absence for proved, so it must not arrive any more.
            detail = f"it waited {waited_seconds:.1f} s for the venue and was not sent"
            return self._refused(command, Reason.VENUE_UNAVAILABLE, detail)
        if self._halts and isinstance(command, VenueSubmit | VenueReplace) and self._is_halted(command):
            return self._refused(command, Reason.KILL_SWITCH, "the kill switch was pulled before it was sent")
        return None

    def _refused(self, command: VenueCommand, reason: Reason, detail: str) -> Sequence[Message]:
        """The reports of a request that certainly had no effect."""
        if isinstance(command, VenueQuery):
            return self._lost(command, detail)
        if isinstance(command, VenueCancel) and reason is Reason.VENUE_UNAVAILABLE:
            # Not refused by the venue but not sent: as a lost one it is asked about, and sent again while it is wanted.
            return self._lost(command, detail)
        return self._reports(command, _REFUSALS[type(command)], reason, detail)

    def _lost(self, command: VenueCommand, detail: str) -> Sequence[Message]:
        """The reports of a request whose outcome is not known."""
        if isinstance(command, VenueQuery):
            return (
                VenueOrderStatus(
                    time_ns=self._clock.now_ns(),
                    venue=command.venue,
                    symbol=command.symbol,
                    order_id=command.order_id,
                    answered=False,
                    detail=detail,
                ),
            )
        return self._reports(command, OrderEvent.LOSE, Reason.VENUE_UNKNOWN_OUTCOME, detail)

    def _reports(self, command: VenueCommand, event: OrderEvent, reason: Reason, detail: str) -> Sequence[Message]:
        """One report for each order of a request."""
        parts = (command, *command.also) if isinstance(command, VenueSubmit) else (command,)
        return [self._report(part, event, reason, detail) for part in parts]

    def _report(self, command: VenueCommand, event: OrderEvent, reason: Reason, detail: str) -> VenueReport:
        return VenueReport(
            time_ns=self._clock.now_ns(),
            venue=command.venue,
            symbol=command.symbol,
            order_id=command.order_id,
            event=event,
            reason=reason,
            detail=detail,
        )

    # -- back to the core ---------------------------------------------------------------------------------------

    async def _say(self, messages: Sequence[Message]) -> None:
        if messages and self._outgoing is not None:
            await self._outgoing.send(messages)

    async def _send_reports(self, waiting: MemoryObjectReceiveStream[Sequence[Message]]) -> None:
        """Send what waits, all of it together."""
        async for first in waiting:
            batch = [*first]
            while len(batch) < self._settings.reports_a_send_max:
                try:
                    batch += waiting.receive_nowait()
                except anyio.WouldBlock:
                    break
            await self._send(batch)
            for message in batch:
                self._note(message)
            for name in self._links:
                self._metrics.open_orders.labels(name).set(self._view.count(name))

    async def _send(self, messages: Sequence[Message]) -> None:
        """Hand messages to the bus until it takes them: each is true however late, and twice has one effect."""
        wait_seconds = _RETRY_SECONDS
        while True:
            try:
                await self._bus.send(messages)
                return
            except BusError as error:
                self._metrics.send_failures.inc()
                _log.warning("bus does not take reports", reason=error.reason.name, messages=len(messages))
            await self._clock.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, self._settings.retry_seconds_max)

    def _note(self, message: Message) -> None:
        self._view.note(message)
        if isinstance(message, VenueReport):
            self._metrics.reports.labels(message.venue, message.event.value).inc()
            if message.fill is not None:
                self._metrics.fills.labels(message.venue, message.fill.liquidity.value).inc()

    # -- reconciliation -----------------------------------------------------------------------------------------

    async def _ask_after_gaps(self, link: _VenueLink) -> None:
        """After a gap in a venue's stream ask about each of its open orders."""
        while True:
            await link.must_ask.wait()
            link.must_ask = anyio.Event()
            for order in self._view.of_venue(link.venue.name):
                query = VenueQuery(
                    time_ns=self._clock.now_ns(),
                    venue=order.venue,
                    symbol=order.symbol,
                    order_id=order.order_id,
                    venue_client_id=order.venue_client_id,
                    venue_order_id=order.venue_order_id,
                )
                await self._enqueue(link, query)
            await self._say_balances(link)

    async def _watch_balances(self, link: _VenueLink) -> None:
        """Tell the core what a venue holds, now and then; it compares."""
        while True:
            await self._say_balances(link)
            await self._clock.sleep(self._settings.balances_seconds)

    async def _say_balances(self, link: _VenueLink) -> None:
        name = link.venue.name
        try:
            with anyio.fail_after(self._settings.request_timeout_seconds):
                balances = await link.venue.balances()
        except Exception as error:
            _log.info("venue's balances not known", venue=name, error=str(error) or type(error).__name__)
            return
        now_ns = self._clock.now_ns()
        await self._say((VenueBalances(time_ns=now_ns, venue=name, balances=tuple(balances), answered_ns=now_ns),))

    async def _reconcile(self, link: _VenueLink) -> None:
        """Look through a venue's open orders now and then for any that the desk does not know.

        Orders that it knows are asked about by the core, each at its own time. An order counts as unknown when it
        was seen twice in a row, since one that is just being sent looks the same.
        """
        suspects: set[str] = set()
        while True:
            name = link.venue.name
            link_state = link.venue.state
            self._metrics.connected.labels(name).set(1 if link_state.connected else 0)
            await self._clock.sleep(self._settings.reconcile_seconds)
            try:
                with anyio.fail_after(self._settings.request_timeout_seconds):
                    statuses = await link.venue.open_orders()
            except Exception as error:
                _log.warning("venue's open orders not known", venue=name, error=str(error) or type(error).__name__)
                continue
            strangers = {
                status.venue_order_id or str(status.order_id): status
                for status in statuses
                if not status.order_id or status.order_id not in self._view
            }
            await self._say([status for key, status in strangers.items() if key in suspects])
            suspects = set(strangers)
