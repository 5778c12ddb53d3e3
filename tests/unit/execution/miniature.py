"""A desk in miniature: the execution core, a stand-in for risk that insists on the order table, and a hostile venue."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

from msgspec.structs import replace

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    Answer,
    BreakChanged,
    ConfigureVenues,
    ExecuteCancel,
    ExecuteOrder,
    ExecuteReplace,
    HostStarted,
    ListInstrument,
    Message,
    OrderReport,
    ResolveBreak,
    Tick,
    VenueBalances,
    VenueCancel,
    VenueListing,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import (
    TERMINAL_STATES,
    TRANSITIONS,
    Order,
    OrderEvent,
    OrderRequest,
    OrderState,
    OrderType,
    RiskApproved,
    Side,
    next_state,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.execution.venues.port import VenueError, VenueNotSentError
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.venues import Fault, ScriptedVenue

SECOND_NS = 1_000_000_000
SYMBOL = "BTCUSDT"
BTCUSDT = Instrument(
    symbol=SYMBOL,
    base=Asset("BTC", 8),
    quote=Asset("USDT", 8),
    tick_units=1_000_000,
    lot_units=1_000,
    venue="scripted",
)
VenueCommand = VenueSubmit | VenueCancel | VenueReplace | VenueQuery


class RiskStandIn:
    """Moves orders by the order table and books each trade; raises where the core breaks the contract."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.trades: dict[tuple[int, str], int] = {}
        self.reports: list[OrderReport] = []

    def take(self, report: OrderReport) -> None:
        """Apply one report as risk does."""
        self.reports.append(report)
        order = self.orders[report.order_id]
        filled = order.filled_lots
        if report.fill is not None:
            assert report.event in (OrderEvent.PARTIAL_FILL, OrderEvent.FILL)
            key = (report.order_id, report.fill.trade_id)
            assert key not in self.trades, f"trade {key} was booked twice"
            self.trades[key] = report.fill.quantity_lots
            filled += report.fill.quantity_lots
        quantity, price = order.quantity_lots, order.price_ticks
        if report.event is OrderEvent.REPLACE:
            quantity, price = report.quantity_lots, report.price_ticks
        if not order.request.quote_amount_units:
            assert filled <= quantity, "more was filled than ordered"
        state = next_state(order.state, report.event, filled_lots=filled)
        self.orders[report.order_id] = replace(
            order, state=state, filled_lots=filled, quantity_lots=quantity, price_ticks=price, reason=report.reason
        )

    def ask(self, order_id: int, event: OrderEvent) -> bool:
        """Move an order as risk does before it asks for a cancel or a replacement; False where it would refuse."""
        order = self.orders[order_id]
        if (order.state, event) not in TRANSITIONS:
            return False
        self.orders[order_id] = replace(order, state=next_state(order.state, event, filled_lots=order.filled_lots))
        return True


class Miniature:
    """Everything between risk and the venue, driven by hand. ``mangle``: how the stream from the venue suffers."""

    def __init__(self, *, core: ExecutionCore | None = None, configured: bool = True) -> None:
        self.clock = ManualClock()
        self.core = core or ExecutionCore()
        self.risk = RiskStandIn()
        self.venue = ScriptedVenue(clock=self.clock)
        self.venue.instruments[BTCUSDT.symbol] = BTCUSDT
        self.commands: deque[VenueCommand] = deque()
        self.breaks: dict[str, BreakChanged] = {}
        self.answers: list[Answer] = []
        self.inputs: list[Message] = []
        self.sent: list[Message] = []
        self.feed(ListInstrument(time_ns=self.now_ns, instrument=BTCUSDT))
        if configured:
            self.configure(VenueListing(name="scripted", simulated=True))

    @property
    def now_ns(self) -> int:
        """Logical time."""
        return self.clock.now_ns()

    def configure(self, *listings: VenueListing, real_trading: bool = False) -> None:
        """Tell the core its venues."""
        self.feed(ConfigureVenues(time_ns=self.now_ns, venues=listings, real_trading=real_trading))

    def feed(self, message: Message) -> list[Message]:
        """Give the core one input and hand on what it says; venue commands wait in ``commands``."""
        self.inputs.append(message)
        said = list(self.core.apply(message))
        self.sent += said
        for out in said:
            if isinstance(out, OrderReport):
                self.risk.take(out)
            elif isinstance(out, BreakChanged):
                self.breaks[out.break_id] = out
            elif isinstance(out, Answer):
                self.answers.append(out)
            else:
                assert isinstance(out, VenueSubmit | VenueCancel | VenueReplace | VenueQuery)
                self.commands.append(out)
        return said

    # -- risk ----------------------------------------------------------------------------------------------------

    def place(
        self,
        order_id: int = 1024,
        *,
        lots: int = 10,
        price_ticks: int = 100,
        type_: OrderType = OrderType.LIMIT,
        venue: str = "scripted",
        quote_amount_units: int = 0,
    ) -> str:
        """Let risk approve an order; its client id at the venue."""
        request = OrderRequest(
            account="alice",
            client_order_id=f"c{order_id}",
            symbol=SYMBOL,
            side=Side.BUY,
            type=type_,
            quantity_lots=lots,
            price_ticks=price_ticks,
            stop_price_ticks=90 if type_ is OrderType.STOP_LIMIT else 0,
            quote_amount_units=quote_amount_units,
        )
        order = Order(
            order_id=order_id,
            request=request,
            venue=venue,
            state=OrderState.APPROVED,
            quantity_lots=lots,
            price_ticks=price_ticks,
            stop_price_ticks=request.stop_price_ticks,
        )
        self.risk.orders[order_id] = order
        self.feed(ExecuteOrder(time_ns=self.now_ns, symbol=SYMBOL, approved=RiskApproved(order)))
        return f"ps0-{order_id}"

    def cancel(self, order_id: int = 1024) -> None:
        """Let risk ask for a cancel."""
        if self.risk.ask(order_id, OrderEvent.REQUEST_CANCEL):
            self.feed(ExecuteCancel(time_ns=self.now_ns, symbol=SYMBOL, order_id=order_id))

    def replace(self, order_id: int = 1024, *, lots: int, price_ticks: int) -> None:
        """Let risk ask for a replacement."""
        if self.risk.ask(order_id, OrderEvent.REQUEST_REPLACE):
            stop = self.risk.orders[order_id].stop_price_ticks
            self.feed(
                ExecuteReplace(
                    time_ns=self.now_ns,
                    symbol=SYMBOL,
                    order_id=order_id,
                    quantity_lots=lots,
                    price_ticks=price_ticks,
                    stop_price_ticks=stop,
                )
            )

    def resolve(self, break_id: str) -> Answer:
        """A person closes a break."""
        self.feed(
            ResolveBreak(time_ns=self.now_ns, request_id="r1", actor="user:olga", break_id=break_id, note="checked")
        )
        return self.answers[-1]

    # -- the venue -----------------------------------------------------------------------------------------------

    def carry_out(self, command: VenueCommand) -> None:
        """What the service does with one command."""
        if isinstance(command, VenueQuery):
            self.feed(self.venue.query_now(command))
            return
        if not isinstance(command, VenueCancel) and self.now_ns - command.time_ns > 4 * SECOND_NS:
            # The service sends nothing that has waited too long, and says so.
            submits = isinstance(command, VenueSubmit)
            self._report(command, OrderEvent.REJECT if submits else OrderEvent.REJECT_REPLACE)
            return
        try:
            if isinstance(command, VenueSubmit):
                self.venue.submit_now(command)
            elif isinstance(command, VenueCancel):
                self.venue.cancel_now(command)
            else:
                self.venue.replace_now(command)
        except VenueNotSentError:
            events = {VenueSubmit: OrderEvent.REJECT, VenueReplace: OrderEvent.REJECT_REPLACE}
            self._report(command, events.get(type(command), OrderEvent.LOSE))
        except VenueError:
            self._report(command, OrderEvent.LOSE)

    def _report(self, command: VenueCommand, event: OrderEvent) -> None:
        reason = Reason.VENUE_UNAVAILABLE if event is OrderEvent.REJECT else Reason.VENUE_UNKNOWN_OUTCOME
        self.feed(
            VenueReport(
                time_ns=self.now_ns,
                venue=command.venue,
                symbol=command.symbol,
                order_id=command.order_id,
                event=event,
                reason=reason,
            )
        )

    def work_off(self) -> None:
        """Carry out every command and deliver every report until all is quiet."""
        while self.commands or self.venue.stream:
            if self.commands:
                self.carry_out(self.commands.popleft())
            else:
                self.feed(self.venue.stream.popleft())

    def deliver_badly(self, rng: random.Random) -> None:
        """Deliver the stream shuffled, with doubles and losses."""
        reports: list[VenueReport] = []
        for report in self.venue.stream:
            reports += [report] * rng.choice((0, 1, 1, 1, 2))
        self.venue.stream.clear()
        rng.shuffle(reports)
        for report in reports:
            self.feed(report)

    # -- time ----------------------------------------------------------------------------------------------------

    def tick(self, seconds: int = 1, *, work: bool = True) -> None:
        """Let time pass, a tick a second."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.feed(Tick(time_ns=self.now_ns))
            if work:
                self.work_off()

    def crash(self) -> None:
        """The desk stops: commands on their way out and reports on their way in are gone; then it starts again."""
        self.commands.clear()
        self.venue.stream.clear()
        before = self.core.state_hash()
        core = ExecutionCore()
        for message in self.inputs:
            core.apply(message)
        assert core.state_hash() == before, "replay gave another state"
        restored = ExecutionCore()
        restored.restore(self.core.snapshot())
        assert restored.state_hash() == before, "the snapshot gave another state"
        self.core = core
        self.feed(HostStarted(time_ns=self.now_ns))

    def compare_balances(self, times: int = 1) -> None:
        """The venue says what it holds, as it does every 15 seconds."""
        for _ in range(times):
            self.feed_balances()
            self.tick(15)

    def feed_balances(self) -> None:
        """The venue says what it holds now."""
        held = tuple(self.venue.balances_now())
        self.feed(VenueBalances(time_ns=self.now_ns, venue="scripted", balances=held))

    # -- what to look at -----------------------------------------------------------------------------------------

    def state(self, order_id: int = 1024) -> OrderState:
        """The order's state as risk knows it."""
        return self.risk.orders[order_id].state

    def order(self, order_id: int = 1024) -> Order:
        """The order as risk knows it."""
        return self.risk.orders[order_id]

    def events(self, order_id: int = 1024) -> list[OrderEvent]:
        """What risk was told of an order."""
        return [report.event for report in self.risk.reports if report.order_id == order_id]

    def open_breaks(self) -> list[BreakChanged]:
        """Breaks that are open."""
        return [found for found in self.breaks.values() if found.is_open]

    def agrees_with_venue(self) -> None:
        """Assert that risk and the venue hold the same truth about every order."""
        for order_id, ours in self.risk.orders.items():
            theirs = self.venue.orders.get(f"ps0-{order_id}")
            if theirs is None:
                assert ours.state in (OrderState.REJECTED, OrderState.CANCELLED), (order_id, ours.state)
                assert ours.filled_lots == 0
                continue
            assert ours.filled_lots == theirs.filled_lots, order_id
            assert self.trade_ids(order_id) == {fill.trade_id for fill in theirs.fills}
            ended = theirs.state in TERMINAL_STATES
            assert (ours.state in TERMINAL_STATES) == ended, (order_id, ours.state, theirs.state)
            if not ended:
                assert (ours.quantity_lots, ours.price_ticks) == (theirs.quantity_lots, theirs.price_ticks)

    def trade_ids(self, order_id: int) -> set[str]:
        """Trades of an order that risk booked."""
        return {trade_id for owner, trade_id in self.risk.trades if owner == order_id}


def sent(messages: Sequence[Message], kind: type[Message]) -> int:
    """How many messages of a kind."""
    return sum(isinstance(message, kind) for message in messages)


__all__ = ["BTCUSDT", "SECOND_NS", "SYMBOL", "Fault", "Miniature", "VenueOrderStatus", "sent"]
