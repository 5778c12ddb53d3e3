"""What a conversation needs from the rest of the desk. Everything that counts is decimal text."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Mark, RiskLimits
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.orders import OrderType, Side, TimeInForce
from polaris_synapse.web.authentication import Principal


class OrderTicket(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order ready to be placed: what is previewed, hashed, confirmed and submitted is this and nothing else."""

    account: str
    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    quantity: str = ""
    quote_amount: str = ""
    price: str = ""
    stop_price: str = ""
    trailing_offset: str = ""
    trailing_offset_bps: int = 0
    time_in_force: TimeInForce | None = None
    post_only: bool = False


class OrderPreview(Struct, frozen=True, kw_only=True):
    """What a ticket would cost at ``price``, as order entry estimates it. ``problems`` are refusals known already."""

    account: str
    symbol: str
    side: str
    type: str
    quantity: str
    price: str
    price_source: str
    notional: str
    notional_asset: str
    fee: str
    fee_asset: str
    pays: str
    pays_asset: str
    receives: str
    receives_asset: str
    free: str
    enough: bool
    problems: tuple[str, ...]


class OrderOutcome(Struct, frozen=True, kw_only=True):
    """What became of an order command. ``known`` false: the outcome is not known yet.

    ``how`` says how simulated fills came about; it is empty where nothing was simulated.
    """

    known: bool
    order_id: int = 0
    client_order_id: str = ""
    symbol: str = ""
    side: str = ""
    type: str = ""
    state: str = ""
    quantity: str = ""
    filled_quantity: str = ""
    average_price: str = ""
    message: str = ""
    how: str = ""


class Trading(Protocol):
    """Order entry: the path that everybody's orders take, as the principal given. Raises ApiError for refusals."""

    async def preview(self, principal: Principal, ticket: OrderTicket, /) -> OrderPreview:
        """What the ticket would cost. Places and reserves nothing."""
        ...

    async def submit(self, principal: Principal, ticket: OrderTicket, /) -> OrderOutcome:
        """Place the order."""
        ...

    async def cancel(self, principal: Principal, account: str, order_id: int, /) -> OrderOutcome:
        """Cancel one order; an empty ``account`` means whichever of the principal's it is on."""
        ...

    async def cancel_all(
        self, principal: Principal, account: str, symbol: str, side: Side | None, /
    ) -> tuple[int, ...]:
        """Cancel all open orders that match, and name them."""
        ...

    async def replace(
        self, principal: Principal, account: str, order_id: int, quantity: str, price: str, stop_price: str, /
    ) -> OrderOutcome:
        """Change an open order; an empty text leaves a value as it is."""
        ...

    async def settled(self, principal: Principal, account: str, order_id: int, /) -> OrderOutcome:
        """What has become of an order that was placed a moment ago, waited for shortly."""
        ...


class Market(Protocol):
    """The market as it stands."""

    def mark(self, instrument: Instrument, /) -> Mark | None:
        """The latest mark of an instrument, or of the one it refers to."""
        ...

    def book(self, symbol: str, levels: int, /) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """The best bids and asks."""
        ...

    def notes(self) -> dict[str, str]:
        """Sentences about the feed and how trading is done here."""
        ...


class Limits(Protocol):
    """The limits in force."""

    async def __call__(self, account: str, /) -> RiskLimits | None:
        """An account's limits, None where there is no such account."""
        ...
