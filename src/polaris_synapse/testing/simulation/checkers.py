"""What must hold, by name. The books here are kept from published facts alone, apart from every core.

``Books`` folds facts as a read model would, also those that a restart makes again, and raises Violation at the first
one that breaks a rule. The functions compare the books, the cores and the exchange with each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.journal import WITHOUT_CONSEQUENCE
from polaris_synapse.compliance.core.audit_chain import genesis_hash, hash_of
from polaris_synapse.domain.instruments import INTERNAL_VENUE
from polaris_synapse.domain.messages import (
    Answer,
    AuditEntry,
    BalanceChanged,
    BreakChanged,
    ExecutionRecorded,
    KillLevel,
    KillLevelChanged,
    LedgerPosted,
    LimitBreached,
    Message,
    OrderUpdated,
    PositionChanged,
)
from polaris_synapse.domain.orders import (
    OPEN_STATES,
    TERMINAL_STATES,
    TRANSITIONS,
    Fill,
    Order,
    OrderEvent,
    OrderState,
    Side,
    next_state,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import (
    ANSWERS,
    AUDIT,
    COMPLIANCE_ALERTS,
    COMPLIANCE_DECISIONS,
    EXECUTIONS,
    RISK_EVENTS,
    TRADING_DECISIONS,
    TRANSACTIONS_ALL,
)
from polaris_synapse.testing.simulation.clients import INSTRUMENTS, LIMITS

#: What the books listen to.
FACT_TOPICS: Final = (
    ANSWERS,
    EXECUTIONS,
    RISK_EVENTS,
    TRANSACTIONS_ALL,
    COMPLIANCE_DECISIONS,
    COMPLIANCE_ALERTS,
    TRADING_DECISIONS,
    AUDIT,
)
MARKETS: Final = {instrument.symbol: instrument for instrument in INSTRUMENTS}
_CASH: Final = "USDT"


class Violation(Exception):  # noqa: N818  # it is no error of the program that finds it
    """A checker found the desk wrong. ``checker`` is its name."""

    def __init__(self, checker: str, detail: str) -> None:
        super().__init__(f"{checker}: {detail}")
        self.checker = checker
        self.detail = detail


def hold(condition: bool, checker: str, detail: object) -> None:
    """Raise a Violation unless the condition holds."""
    if not condition:
        raise Violation(checker, str(detail))


class Books:
    """Everything that the facts say, checked as they come. ``low_price`` gives a symbol's lowest price of late.

    ``moved`` says by how much the venue moved an asset's balance by itself.
    """

    def __init__(self, low_price: Callable[[str], int], moved: Callable[[str], int]) -> None:
        self._low_price = low_price
        self._moved_by_venue = moved
        self.recorded_offset = 0
        self.fact_offset = 0
        self._last_place = (0, "", -1)
        self.orders: dict[int, Order] = {}
        self.client_ids: dict[tuple[str, str], int] = {}
        self.fills: dict[tuple[int, str], Fill] = {}
        self.ledger: Counter[tuple[str, str]] = Counter()
        self.positions: Counter[tuple[str, str]] = Counter()
        self.said_balances: dict[tuple[str, str], tuple[int, int]] = {}
        self.said_positions: dict[tuple[str, str], int] = {}
        self.answers: Counter[str] = Counter()
        self.kill_levels: dict[str, KillLevel] = {}
        self.breaks: dict[str, BreakChanged] = {}
        self.funds: set[tuple[str, str]] = set()
        self.unknown = 0
        self._audit_sequence = 0
        self._audit_hash = genesis_hash()
        self._handlers: dict[type[Message], Callable[..., None]] = {
            OrderUpdated: self._order,
            ExecutionRecorded: self._execution,
            LedgerPosted: self._posted,
            BalanceChanged: self._balance,
            PositionChanged: self._position,
            Answer: self._answer,
            KillLevelChanged: self._kill,
            BreakChanged: self._break,
            LimitBreached: self._breach,
            AuditEntry: self._audit,
        }

    def take(self, batch: Sequence[Envelope]) -> None:
        """Fold facts as they are released, or as a restart makes them again."""
        for envelope in batch:
            if envelope.core == "input" or type(envelope.message) in WITHOUT_CONSEQUENCE:
                # A power cut may take the input back that such a fact came from, and give its offset to another.
                continue
            place = (envelope.offset, envelope.core, envelope.index)
            hold(
                envelope.offset > self._last_place[0]
                or (envelope.offset == self._last_place[0] and envelope.index > self._last_place[2]),
                "facts_once",
                f"fact {place} after {self._last_place}",
            )
            self._last_place = place
            handler = self._handlers.get(type(envelope.message))
            if handler is not None:
                handler(envelope.message)

    # -- orders --------------------------------------------------------------------------------------------------

    def _order(self, fact: OrderUpdated) -> None:
        order = fact.order
        if not order.order_id:
            hold(order.state is OrderState.REFUSED, "order_table", f"an order without an id is {order.state}")
            return
        before = self.orders.get(order.order_id)
        self.orders[order.order_id] = order
        self.unknown += fact.event is OrderEvent.LOSE
        if before is None:
            hold(order.state is OrderState.APPROVED, "order_table", f"order {order.order_id} begins as {order.state}")
            key = (order.request.account, order.request.client_order_id)
            hold(key not in self.client_ids, "client_id_once", f"{key} was accepted twice by the desk")
            self.client_ids[key] = order.order_id
            self._accepted(order)
            return
        hold(fact.event is not None, "order_table", f"order {order.order_id} was said again without an event")
        hold(order.version > before.version, "order_table", f"order {order.order_id} went back to an old version")
        if fact.event is not None:
            self._moved(before, order, fact.event)
        if not order.request.quote_amount_units:
            hold(
                order.filled_lots <= order.quantity_lots,
                "never_overfilled",
                f"order {order.order_id} filled {order.filled_lots} of {order.quantity_lots}",
            )

    def _moved(self, before: Order, order: Order, event: OrderEvent) -> None:
        allowed = {before.state} if (before.state, event) not in TRANSITIONS else set()
        for actual in (event, OrderEvent.FILL if event is OrderEvent.PARTIAL_FILL else event):
            if (before.state, actual) in TRANSITIONS:
                allowed.add(next_state(before.state, actual, filled_lots=order.filled_lots))
        hold(
            order.state in allowed,
            "order_table",
            f"order {order.order_id} went from {before.state} by {event} to {order.state}",
        )

    def _accepted(self, order: Order) -> None:
        """The limits, with every open order counted, whatever its state."""
        request = order.request
        limits = LIMITS.get(request.account)
        market = MARKETS[request.symbol]
        mine = [one for one in self.orders.values() if one.request.account == request.account and _is_open(one)]
        flattens = request.client_order_id.startswith("flatten-")
        stops = [found.break_id for found in self.open_breaks() if request.symbol in (found.symbol, *found.symbols)]
        hold(not stops, "break_stops", f"order {order.order_id} on {request.symbol} was taken while {stops} are open")
        mine = one_of_each_list(mine)
        self._covered(order, mine)
        if limits is None or flattens:
            return
        name = f"order {order.order_id} of {request.account}"
        if limits.open_orders_max and not request.client_list_id:
            hold(len(mine) <= limits.open_orders_max, "limits_kept", f"{name} is open order number {len(mine)}")
        if limits.order_quantity_lots_max:
            hold(order.quantity_lots <= limits.order_quantity_lots_max, "limits_kept", f"{name} is too large")
        if limits.order_value_units_max and order.price_ticks:
            worth = market.notional_units(order.price_ticks, order.quantity_lots)
            hold(worth <= limits.order_value_units_max, "limits_kept", f"{name} is worth {worth}")
        held = self.positions[request.account, request.symbol]
        same = sum(
            one.open_lots * market.lot_units
            for one in mine
            if one.request.symbol == request.symbol and one.request.side is request.side
        )
        signed = same if request.side is Side.BUY else -same
        reducing = held * signed < 0 and abs(signed) <= abs(held)
        if limits.position_value_units_max and not reducing:
            lots = max(abs(held + signed) // market.lot_units - 1, 0)
            worth = market.notional_units(self._low_price(request.symbol), lots)
            hold(
                worth <= limits.position_value_units_max,
                "limits_kept",
                f"{name} could take {request.symbol} to {lots} lots worth {worth} at least",
            )

    def _covered(self, order: Order, mine: list[Order]) -> None:
        """Free funds cover every open order, those in doubt too: at least what limit orders and sales need."""
        account, market = order.request.account, MARKETS[order.request.symbol]
        asset = market.base.code if order.request.side is Side.SELL else market.quote.code
        needed = 0
        for one in mine:
            instrument = MARKETS[one.request.symbol]
            if one.request.side is Side.SELL and instrument.base.code == asset:
                needed += one.open_lots * instrument.lot_units
            elif one.request.side is Side.BUY and instrument.quote.code == asset and one.price_ticks:
                needed += instrument.notional_units(one.price_ticks, one.open_lots)
        held = self.ledger[f"client:{account}", asset]
        hold(needed <= held, "limits_kept", f"{account} holds {held} {asset}, its open orders need {needed}")

    def _execution(self, fact: ExecutionRecorded) -> None:
        key = (fact.order_id, fact.fill.trade_id)
        hold(key not in self.fills, "fills_match", f"trade {key} was booked twice")
        self.fills[key] = fact.fill
        units = fact.fill.quantity_lots * MARKETS[fact.symbol].lot_units
        sign = 1 if fact.side is Side.BUY else -1
        fee = fact.fill.fee_units if fact.fill.fee_asset == MARKETS[fact.symbol].base.code else 0
        self.positions[fact.account, fact.symbol] += sign * units - fee

    # -- money ---------------------------------------------------------------------------------------------------

    def _posted(self, fact: LedgerPosted) -> None:
        sums: Counter[str] = Counter()
        for posting in fact.postings:
            sums[posting.asset] += posting.units
            self.ledger[posting.ledger_account, posting.asset] += posting.units
        hold(not any(sums.values()), "ledger_balanced", f"entry {fact.entry_id} sums to {dict(sums)}")
        if fact.cause == "funds":
            key = (fact.account, fact.reference)
            hold(key not in self.funds, "fills_match", f"funds {key} moved twice")
            self.funds.add(key)

    def _balance(self, fact: BalanceChanged) -> None:
        self.said_balances[fact.account, fact.asset] = (fact.total_units, fact.reserved_units)

    def _position(self, fact: PositionChanged) -> None:
        self.said_positions[fact.account, fact.symbol] = fact.quantity_lots

    # -- the rest ------------------------------------------------------------------------------------------------

    def _answer(self, fact: Answer) -> None:
        self.answers[fact.request_id] += 1

    def _kill(self, fact: KillLevelChanged) -> None:
        self.kill_levels[fact.account] = fact.level

    def _break(self, fact: BreakChanged) -> None:
        self.breaks[fact.break_id] = fact
        explained = not fact.is_open or (fact.symbols and self._moved_by_venue(fact.symbol))
        hold(bool(explained), "nothing_unexplained", f"break {fact.break_id}: {fact.detail}")

    def open_breaks(self) -> list[BreakChanged]:
        """The breaks that are open."""
        return [found for found in self.breaks.values() if found.is_open]

    def _breach(self, fact: LimitBreached) -> None:
        wrong = fact.reason in (Reason.INTERNAL_ERROR, Reason.ORDER_NOT_FOUND, Reason.VENUE_OVERFILL)
        hold(not wrong, "nothing_unexplained", f"{fact.reason.name}: {fact.detail}")

    def _audit(self, entry: AuditEntry) -> None:
        hold(
            entry.sequence == self._audit_sequence + 1 and entry.previous_hash == self._audit_hash,
            "audit_chain",
            f"entry {entry.sequence} does not follow entry {self._audit_sequence}",
        )
        hold(hash_of(entry) == entry.entry_hash, "audit_chain", f"entry {entry.sequence} does not match its hash")
        self._audit_sequence, self._audit_hash = entry.sequence, entry.entry_hash


def _is_open(order: Order) -> bool:
    return order.state in OPEN_STATES


def waits_in_list(order: Order) -> bool:
    """Whether an order is not placed yet: it waits for the working order of its list."""
    return order.state is OrderState.APPROVED and bool(order.request.client_list_id) and bool(order.detail)


def one_of_each_list(orders: list[Order]) -> list[Order]:
    """The orders that count: of a list one of those that end each other, and none that waits."""
    counted: dict[str, Order] = {}
    for order in orders:
        request = order.request
        if not waits_in_list(order):
            name = f"{request.client_list_id}{request.side}" if request.client_list_id else str(order.order_id)
            counted[name] = order
    return list(counted.values())


def open_venue_orders(books: Books) -> dict[int, Order]:
    """Orders at the venue that the desk takes for open."""
    return {
        order_id: order
        for order_id, order in books.orders.items()
        if order.venue != INTERNAL_VENUE and order.state not in TERMINAL_STATES
    }
