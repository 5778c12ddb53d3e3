"""Venues: what risk asks execution for, what execution asks a venue for, and what comes back."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages.base import Command, Message
from polaris_synapse.domain.orders import Fill, Order, OrderEvent, OrderRequest, OrderState, RiskApproved
from polaris_synapse.domain.reasons import Reason


class ExecuteOrder(Message, frozen=True, kw_only=True, gc=False):
    """Carry out an approved order at its venue."""

    symbol: str
    approved: RiskApproved[Order]


class ExecuteOrderList(Message, frozen=True, kw_only=True, gc=False):
    """Carry out the approved orders of an OCO at their venue: all of them or none, and one ends the others."""

    symbol: str
    list_id: int
    approved: tuple[RiskApproved[Order], ...]


class ExecuteCancel(Message, frozen=True, kw_only=True, gc=False):
    """Cancel an order at its venue."""

    symbol: str
    order_id: int


class ExecuteReplace(Message, frozen=True, kw_only=True, gc=False):
    """Change an order at its venue. All three are the values wanted; ``quantity_lots`` is the new total."""

    symbol: str
    order_id: int
    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int


class VenueSubmit(Message, frozen=True, kw_only=True, gc=False):
    """To a venue adapter: send this order. ``venue_client_id`` is deterministic and journaled before the send.

    ``list_id`` and ``also``: it is the first order of an OCO, and these are the others, to be taken with it or not at
    all. Only for venues that offer order lists.
    """

    venue: str
    symbol: str
    order_id: int
    venue_client_id: str
    request: OrderRequest
    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int
    list_id: int = 0
    also: tuple[VenueSubmit, ...] = ()


class VenueCancel(Message, frozen=True, kw_only=True, gc=False):
    """To a venue adapter: cancel."""

    venue: str
    symbol: str
    order_id: int
    venue_client_id: str
    venue_order_id: str


class VenueReplace(Message, frozen=True, kw_only=True, gc=False):
    """To a venue adapter: change quantity or prices."""

    venue: str
    symbol: str
    order_id: int
    venue_client_id: str
    venue_order_id: str
    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int


class VenueQuery(Message, frozen=True, kw_only=True, gc=False):
    """To a venue adapter: say what you know of this order, by id and by trade history."""

    venue: str
    symbol: str
    order_id: int
    venue_client_id: str
    venue_order_id: str = ""


class VenueReport(Message, frozen=True, kw_only=True, gc=False):
    """From a venue adapter: something happened to an order. The same ``fill.trade_id`` twice has one effect."""

    venue: str
    symbol: str
    order_id: int
    event: OrderEvent
    fill: Fill | None = None
    venue_order_id: str = ""
    quantity_lots: int = 0
    price_ticks: int = 0
    stop_price_ticks: int = 0
    reason: Reason = Reason.NONE
    detail: str = ""


class VenueOrderStatus(Message, frozen=True, kw_only=True, gc=False):
    """From a venue adapter: the whole truth about one order, in answer to VenueQuery.

    ``found`` false with ``trades_checked`` true proves absence; ``answered`` false means the venue could not be asked.
    ``answered_ns``: when it answered, by the desk's clock; ``time_ns`` is put forward where other messages overtake it.
    """

    venue: str
    symbol: str
    order_id: int
    answered: bool
    found: bool = False
    trades_checked: bool = False
    state: OrderState = OrderState.UNKNOWN
    venue_order_id: str = ""
    quantity_lots: int = 0
    price_ticks: int = 0
    stop_price_ticks: int = 0
    filled_lots: int = 0
    fills: tuple[Fill, ...] = ()
    reason: Reason = Reason.NONE
    detail: str = ""
    answered_ns: int = 0

    @property
    def true_at_ns(self) -> int:
        """The time of which it tells."""
        return self.answered_ns or self.time_ns


class VenueBalance(Struct, frozen=True, kw_only=True):
    """What a venue holds of one asset for the desk, free and locked together, in the asset's minor units."""

    asset: str
    total_units: int


class VenueBalances(Message, frozen=True, kw_only=True, gc=False):
    """From a venue adapter: all that the venue holds for the desk; an asset that is not named is not there.

    ``answered_ns``: when it answered, by the desk's clock.
    """

    venue: str
    balances: tuple[VenueBalance, ...] = ()
    answered_ns: int = 0


class BreakChanged(Message, frozen=True, kw_only=True, gc=False):
    """A difference with a venue that reconciliation cannot explain, open or resolved. Open, it stops new risk.

    Where a balance differs, ``symbol`` names the asset and ``symbols`` what trades in it there.
    """

    break_id: str
    venue: str
    symbol: str
    account: str
    is_open: bool
    detail: str
    symbols: tuple[str, ...] = ()


class ResolveBreak(Command, frozen=True, kw_only=True, gc=False):
    """A named person closes a break."""

    break_id: str
    note: str


class VenueListing(Struct, frozen=True, kw_only=True):
    """A venue that the desk has an adapter for. ``simulated``: nothing real is bought or sold there."""

    name: str
    simulated: bool


class ConfigureVenues(Message, frozen=True, kw_only=True, gc=False):
    """The venues that orders may go to from now on, complete. Journaled, so that a replay decides as the desk did."""

    venues: tuple[VenueListing, ...]
    real_trading: bool = False
