"""The execution service's work without an event loop: turns, ages, time-outs, gaps, and the road to the bus and back.

What is said of a request that was refused or lost is the real service's own doing; the rest follows ``service.py`` line
for line, with the world's schedule in place of tasks. One link lives as long as its process.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final, Protocol

from msgspec.structs import replace

from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.port import BusError
from polaris_synapse.domain.instruments import PAPER_VENUE
from polaris_synapse.domain.messages import (
    Message,
    VenueBalance,
    VenueBalances,
    VenueCancel,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.dispatch import VenueCommand
from polaris_synapse.execution.service import ExecutionService, dated
from polaris_synapse.execution.settings import ExecutionSettings
from polaris_synapse.execution.venues.port import VenueError
from polaris_synapse.testing.simulation.checkers import hold
from polaris_synapse.testing.simulation.clock import ProcessClock
from polaris_synapse.testing.simulation.exchange import Exchange
from polaris_synapse.testing.simulation.faults import Faults
from polaris_synapse.testing.simulation.host import SimulatedHost

#: No request and no report travels longer than this, however slow the network.
TRAVEL_SECONDS_MAX: Final = 4.5
_RETRY_SECONDS: Final = 0.05


class Surroundings(Protocol):
    """What a link needs of the world."""

    outage: bool

    def after(self, seconds: float, call: Callable[[], None], *, survives: bool = False) -> None:
        """Call later; unless it ``survives`` only while the process lives."""
        ...

    def note(self, label: str, what: object) -> None:
        """Put something into the trace."""
        ...

    def sends(self, command: VenueSubmit) -> None:
        """An order is leaving the desk now."""
        ...

    def stream(self, reports: Sequence[VenueReport]) -> None:
        """The exchange has said something."""
        ...

    def held(self) -> Counter[str]:
        """What the venue holds of each asset."""
        ...


class ExecutionLink:
    """Between the bus and the exchange."""

    def __init__(
        self,
        world: Surroundings,
        rng: Random,
        faults: Faults,
        clock: ProcessClock,
        host: SimulatedHost,
        exchange: Exchange,
        service: ExecutionService,
    ) -> None:
        self._world = world
        self._rng = rng
        self._faults = faults
        self._clock = clock
        self._host = host
        self._exchange = exchange
        self._service = service
        self._settings: ExecutionSettings = service._settings
        self._view = service._view
        self._dispatch = service.new_dispatch()
        self._outgoing: deque[Sequence[Message]] = deque()
        self._sending = False
        self._retry_seconds = _RETRY_SECONDS
        self._configured = False
        self._early: list[Message] = []
        self._suspects: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._outgoing and not self._sending and self._dispatch.is_idle

    def start(self) -> None:
        """Configure the venues and begin."""
        self._say([self._service._configuration()])
        self._world.after(self._settings.reconcile_seconds, self._reconcile)
        self._watch_balances()

    # -- commands ------------------------------------------------------------------------------------------------

    def take(self, batch: Sequence[Envelope]) -> None:
        """Venue commands that the host released."""
        for envelope in batch:
            if self._configured:
                self._route(envelope.message)
            else:
                self._early.append(envelope.message)

    def _route(self, message: Message) -> None:
        if isinstance(message, VenueSubmit | VenueCancel | VenueReplace | VenueQuery):
            self._view.note(message)
            if self._dispatch.put(message):
                self._work_off()
            else:
                self._say(self._service._refused(message, Reason.VENUE_UNAVAILABLE, "too many wait"))

    def _work_off(self) -> None:
        while (command := self._dispatch.take()) is not None:
            held_back = self._service.held_back(self._dispatch, command)
            if held_back is None:
                self._carry_out(command, partial(self._done, command.order_id))
            else:
                self._done(command.order_id, held_back)

    def _done(self, order_id: int, said: Sequence[Message]) -> None:
        self._say(said)
        self._dispatch.done(order_id)
        self._work_off()

    def _carry_out(self, command: VenueCommand, done: Callable[[Sequence[Message]], None]) -> None:
        """One request: what the network and the venue make of it, and what the service knows afterwards."""
        world, rng, faults = self._world, self._rng, self._faults
        if rng.random() < faults.request_not_sent:
            done(self._service._refused(command, Reason.VENUE_UNAVAILABLE, "nothing was sent"))
            return
        world.note("sent", command)
        if isinstance(command, VenueSubmit):
            world.sends(command)
        ended = False

        def end(said: Sequence[Message]) -> None:
            nonlocal ended
            if not ended:
                ended = True
                done(said)

        def fail(why: str) -> None:
            end(self._service._lost(command, why))

        world.after(self._settings.request_timeout_seconds, lambda: fail("timed out"))
        there, back = self._travel(), self._travel()
        kind = self._fate()
        error_seconds = rng.choice((0.01, 0.5, 3.0, 60.0))
        if kind == "lost":
            world.after(error_seconds, lambda: fail("503"))
            return
        if kind == "overtaken":
            world.after(rng.random() * there, lambda: fail("connection reset"))

        def arrive() -> None:
            said, error = self._at_venue(command)
            if kind == "answer lost":
                world.after(min(error_seconds, 10.0), lambda: fail("502"))
            elif kind == "arrives":
                world.after(back, lambda: fail(error) if error else end(said))

        world.after(there, arrive, survives=True)

    def _fate(self) -> str:
        """What the network does with the next request."""
        if self._world.outage:
            return "lost"
        faults, chance = self._faults, self._rng.random()
        for kind, rate in (
            ("lost", faults.request_lost),
            ("answer lost", faults.request_answer_lost),
            ("overtaken", faults.request_overtaken),
            ("hangs", faults.request_hangs),
        ):
            chance -= rate
            if chance < 0:
                return kind
        return "arrives"

    def _at_venue(self, command: VenueCommand) -> tuple[Sequence[Message], str]:
        """The request arrives: the answer's reports, or the error."""
        exchange, error = self._exchange, ""
        self._world.note("arrived", command)
        if isinstance(command, VenueQuery):
            return (dated(exchange.query(command)),), ""
        try:
            if isinstance(command, VenueSubmit):
                exchange.submit(command)
                times = exchange.accepted[command.venue_client_id]
                hold(times == 1, "client_id_once", f"the venue accepted {command.venue_client_id} {times} times")
            elif isinstance(command, VenueCancel):
                exchange.cancel(command)
            else:
                exchange.replace(command)
        except VenueError as problem:
            error = str(problem)
        reports = exchange.take_reports()
        self._world.stream(reports)
        now_ns = self._clock.now_ns()
        mine = [replace(report, time_ns=now_ns) for report in reports if report.order_id == command.order_id]
        return (mine if self._rng.random() < 0.3 else ()), error

    def _travel(self) -> float:
        slow = self._rng.random() < self._faults.request_slow
        return self._rng.random() * (TRAVEL_SECONDS_MAX if slow else 0.02)

    # -- what comes back -----------------------------------------------------------------------------------------

    def deliver(self, report: VenueReport) -> None:
        """A report arrived on the venue's stream."""
        self._say((report,))

    def reconnected(self) -> None:
        """The stream had a gap: ask about every open order."""
        for order in self._view.all():
            self._route(
                VenueQuery(
                    time_ns=self._clock.now_ns(),
                    venue=order.venue,
                    symbol=order.symbol,
                    order_id=order.order_id,
                    venue_client_id=order.venue_client_id,
                    venue_order_id=order.venue_order_id,
                )
            )
        self._ask_balances()

    def _watch_balances(self) -> None:
        self._ask_balances()
        self._world.after(self._settings.balances_seconds, self._watch_balances)

    def _ask_balances(self) -> None:
        """What the venue says that it holds; an answer that does not come is not asked for again at once."""
        if self._fate() not in ("arrives", "overtaken"):
            return

        def arrive() -> None:
            held = self._world.held()
            if self._rng.random() < self._faults.balance_misreported:
                held[self._rng.choice(sorted(held) or ["BTC"])] += self._rng.choice((-1, 1, 10**7))
            said = tuple(VenueBalance(asset=asset, total_units=units) for asset, units in sorted(held.items()))
            self._world.after(self._travel(), partial(self._say_balances, said))

        self._world.after(self._travel(), arrive)

    def _say_balances(self, said: tuple[VenueBalance, ...]) -> None:
        now_ns = self._clock.now_ns()
        self._say((VenueBalances(time_ns=now_ns, venue=PAPER_VENUE, balances=said, answered_ns=now_ns),))

    def _say(self, messages: Sequence[Message]) -> None:
        if messages:
            self._outgoing.append(messages)
            self._send()

    def _send(self) -> None:
        """Send what waits, all of it together, one batch at a time."""
        if self._sending or not self._outgoing:
            return
        batch: list[Message] = []
        while self._outgoing and len(batch) < self._settings.reports_a_send_max:
            batch += self._outgoing.popleft()
        self._sending = True
        self._hand_over(batch)

    def _hand_over(self, batch: list[Message]) -> None:
        def said(taken: bool) -> None:
            if taken:
                self._sending = False
                self._retry_seconds = _RETRY_SECONDS
                for message in batch:
                    self._view.note(message)
                self._begin()
                self._send()
            else:
                self._again(batch)

        try:
            self._host.send_group(batch, said)
        except BusError:
            self._again(batch)

    def _again(self, batch: list[Message]) -> None:
        self._world.after(self._retry_seconds, lambda: self._hand_over(batch))
        self._retry_seconds = min(self._retry_seconds * 2, self._settings.retry_seconds_max)

    def _begin(self) -> None:
        if not self._configured:
            self._configured = True
            early, self._early = self._early, []
            for message in early:
                self._route(message)

    def _reconcile(self) -> None:
        """Look for open orders at the venue that the desk does not know; twice in a row counts."""
        self._world.after(self._settings.reconcile_seconds, self._reconcile)
        if self._world.outage:
            return
        strangers = {
            status.venue_order_id or str(status.order_id): status
            for status in self._exchange.open_orders()
            if not status.order_id or status.order_id not in self._view
        }
        self._say([status for key, status in strangers.items() if key in self._suspects])
        self._suspects = set(strangers)
