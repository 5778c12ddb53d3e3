"""What clients see: decimal text for everything that counts, names for everything that is a code."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages import DecisionRecorded
from polaris_synapse.web.errors import ErrorBody


class View(Struct, frozen=True, kw_only=True):
    """Something that is only ever written out."""


class OrderView(View, frozen=True, kw_only=True):
    """An order as it stands. Empty texts stand for what it does not have.

    ``reason_code``, ``reason`` and ``message`` say why it ended or was refused; ``NONE`` where nothing stopped it.
    """

    order_id: int
    client_order_id: str
    account: str
    symbol: str
    venue: str
    side: str
    type: str
    state: str
    open: bool
    quantity: str
    quote_amount: str
    price: str
    stop_price: str
    trailing_offset: str
    trailing_offset_bps: int
    time_in_force: str
    expire_time: str
    post_only: str
    display_quantity: str
    min_quantity: str
    self_trade_prevention: str
    filled_quantity: str
    open_quantity: str
    filled_notional: str
    average_price: str
    reason_code: int
    reason: str
    message: str
    detail: str
    decision_id: str
    venue_order_id: str
    client_list_id: str
    created_time: str
    created_time_ns: int
    updated_time_ns: int
    version: int


class ExecutionView(View, frozen=True, kw_only=True):
    """A fill. ``simulated``: no real market made it, and ``how`` says how it came about."""

    execution_id: str
    trade_id: str
    order_id: int
    client_order_id: str
    account: str
    symbol: str
    venue: str
    side: str
    quantity: str
    price: str
    notional: str
    liquidity: str
    fee: str
    fee_asset: str
    realised_pnl: str
    simulated: bool
    how: str
    decision_id: str
    time: str
    time_ns: int


class BalanceView(View, frozen=True, kw_only=True):
    """What an account holds of an asset; ``reserved`` is what open orders need, ``free`` the rest."""

    account: str
    asset: str
    total: str
    reserved: str
    free: str


class PositionView(View, frozen=True, kw_only=True):
    """What an account has traded into. ``mark_source`` says which price values it: ``mark``, ``last``, or empty."""

    account: str
    symbol: str
    asset: str
    quantity: str
    average_price: str
    cost: str
    mark_price: str
    mark_source: str
    mark_healthy: bool
    market_value: str
    unrealised_pnl: str
    realised_pnl: str
    fees: str


class PnlView(View, frozen=True, kw_only=True):
    """An account's profit and loss in ``asset``.

    ``equity`` and ``day_pnl`` are risk's last valuation; ``unrealised_pnl`` stands at the marks in ``positions``.
    ``unpriced_assets`` are held without a price and count for nothing here.
    """

    account: str
    asset: str
    equity: str
    day_pnl: str
    unrealised_pnl: str
    realised_pnl: str
    fees: str
    exposure: str
    valued_time: str
    unpriced_assets: tuple[str, ...]
    positions: tuple[PositionView, ...]


class InstrumentView(View, frozen=True, kw_only=True):
    """What can be traded, in which steps, at which cost."""

    symbol: str
    base: str
    quote: str
    venue: str
    status: str
    tick_size: str
    lot_size: str
    min_quantity: str
    max_quantity: str
    min_notional: str
    maker_fee_ppm: int
    taker_fee_ppm: int
    reference_symbol: str
    mark_price: str
    bid: str
    ask: str
    healthy: bool


class AccountView(View, frozen=True, kw_only=True):
    """An account's standing with compliance."""

    account: str
    kind: str
    kyc: str
    sanctions_hold: bool
    blocked: bool
    restricted_symbols: tuple[str, ...]


class OrderAnswer(View, frozen=True, kw_only=True):
    """One order. ``duplicate``: the same client order id was used before and this is what it made then."""

    order: OrderView
    duplicate: bool = False
    fills: tuple[ExecutionView, ...] = ()


class PendingAnswer(View, frozen=True, kw_only=True):
    """The outcome is not known yet. Ask at ``link``; the same client order id again never orders twice.

    With an ``approval_id`` it is an agent's order that waits for a person; its link is of the agents' service.
    """

    reason_code: int
    reason: str
    message: str
    account: str
    client_order_id: str
    link: str
    approval_id: str = ""


class BatchItem(View, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one order of a batch: ``status`` is what the order alone would have been answered with.

    Exactly one of the others is there: ``result`` for 200 and 201, ``pending`` for 202, ``error`` for a refusal.
    """

    status: int
    result: OrderAnswer | None = None
    pending: PendingAnswer | None = None
    error: ErrorBody | None = None


class BatchAnswer(View, frozen=True, kw_only=True):
    """One item for each order of the batch, in the same order."""

    results: list[BatchItem]


class OrdersAnswer(View, frozen=True, kw_only=True):
    """Orders, newest first. ``next_before_order_id`` continues the list; 0 at its end."""

    orders: list[OrderView]
    next_before_order_id: int = 0


class ExecutionsAnswer(View, frozen=True, kw_only=True):
    """Fills, newest first. ``next_before_time_ns`` continues the list; 0 at its end.

    Fills of one moment are never torn apart, so a page may be longer than the limit by the rest of its last moment.
    """

    executions: list[ExecutionView]
    next_before_time_ns: int = 0


class BalancesAnswer(View, frozen=True, kw_only=True):
    """Balances by account and asset."""

    balances: list[BalanceView]


class PositionsAnswer(View, frozen=True, kw_only=True):
    """Positions by account and symbol."""

    positions: list[PositionView]


class PnlAnswer(View, frozen=True, kw_only=True):
    """Profit and loss by account."""

    accounts: list[PnlView]


class InstrumentsAnswer(View, frozen=True, kw_only=True):
    """Instruments by symbol."""

    instruments: list[InstrumentView]


class AccountsAnswer(View, frozen=True, kw_only=True):
    """The accounts that the principal may see."""

    accounts: list[AccountView]


class DecisionsAnswer(View, frozen=True, kw_only=True):
    """The agents' decisions, newest first."""

    decisions: list[DecisionRecorded]


class CancelledAnswer(View, frozen=True, kw_only=True):
    """The orders that are being cancelled."""

    order_ids: tuple[int, ...]


class PreviewAnswer(View, frozen=True, kw_only=True):
    """What an order would cost, estimated at ``price`` from ``price_source``. Nothing was placed or reserved.

    ``pays`` is what leaves the account and ``free`` what it has of that asset; ``problems`` are refusals that can be
    told without asking risk.
    """

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
