"""What the risk core remembers: plain mutable records, all of which are in the snapshot.

The lookups that only speed things up (which market prices an asset) are in ``Desk`` and are made again from the state.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    AccountMetrics,
    AccountStanding,
    Approval,
    FeeTier,
    KillLevel,
    Mandate,
    Message,
    RiskLimits,
)
from polaris_synapse.domain.order_lists import OrderList
from polaris_synapse.domain.orders import Order
from polaris_synapse.domain.reasons import Reason

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS

#: No amount, balance or order may be larger: it keeps every number of every message inside 63 bits.
AMOUNT_UNITS_MAX: Final = 4 * 10**18
#: Running totals that only inform (notional traded, fees paid) stop counting here rather than overflow.
COUNTER_UNITS_MAX: Final = 2**63 - 1

#: Order and entry ids are a counter times this plus the partition, so that partitions never give the same one.
PARTITIONS_MAX: Final = 1024
ACCOUNTS_MAX: Final = 100_000
INSTRUMENTS_MAX: Final = 10_000
MANDATES_PER_ACCOUNT_MAX: Final = 100
CLIENT_ORDER_ID_CHARACTERS_MAX: Final = 64
#: The kill switch names its own orders so; nobody else may.
FLATTEN_PREFIX: Final = "flatten-"
REFERENCE_CHARACTERS_MAX: Final = 128
NOTE_CHARACTERS_MAX: Final = 1_000
#: Fills that one order may have; beyond it a fill still posts, but is no longer recognised when it comes again.
FILLS_PER_ORDER_MAX: Final = 100_000
#: Closed orders that stay in memory for late fills. Older ones keep only their client order id.
CLOSED_ORDERS_MAX: Final = 100_000


class Balance(Struct):
    """Minor units of one asset: all of it, and the part that open orders need."""

    total_units: int = 0
    reserved_units: int = 0

    @property
    def free_units(self) -> int:
        """What may be spent or withdrawn."""
        return self.total_units - self.reserved_units


class Position(Struct):
    """What an account has traded into on one instrument.

    ``base_units`` are signed base minor units after fees taken in base, ``cost_units`` carries the same sign. The open
    lots are what open orders may still buy or sell. The flatten fields pace the orders that close the position.
    """

    base_units: int = 0
    cost_units: int = 0
    realised_pnl_units: int = 0
    fees_units: int = 0
    traded_notional_units: int = 0
    open_buy_lots: int = 0
    open_sell_lots: int = 0
    flatten_attempts: int = 0
    flatten_after_ns: int = 0
    flatten_told: Reason = Reason.NONE


class MandateUse(Struct):
    """A mandate, and the value of the orders it let through on ``day`` (less what of them did not fill).

    ``moved_units`` is what all fills of the agent's orders gave (positive) and took, by asset; valued at marks it is
    their profit, which ``day_start_profit_units`` was when the day began.
    """

    mandate: Mandate
    day: int = 0
    used_units: int = 0
    moved_units: dict[str, int] = {}
    day_start_profit_units: int = 0


class Account(Struct, kw_only=True):
    """One account. ``limits`` are those in force: its own, or the desk's default.

    ``client_order_ids`` are of orders still in ``Desk.orders``; ``archived_ids`` of older ones, each as 16 bytes: the
    order id and a digest of the request. ``baseline`` values follow deposits and withdrawals, so that only trading
    and prices move equity against them.
    """

    name: str
    standing: AccountStanding
    own_limits: RiskLimits | None = None
    limits: RiskLimits = RiskLimits()
    kill_level: KillLevel = KillLevel.OFF
    balances: dict[str, Balance] = {}
    positions: dict[str, Position] = {}
    mandates: dict[str, MandateUse] = {}
    #: The largest share of equity by asset that orders may take the account to, in ppm.
    holding_limits_ppm: dict[str, int] = {}
    open_orders: set[int] = set()
    #: Lists that are remembered, by client list id.
    client_list_ids: dict[str, int] = {}
    client_order_ids: dict[str, int] = {}
    archived_ids: dict[str, bytes] = {}
    fund_references: dict[str, tuple[str, int]] = {}
    #: The token bucket counts in nanoseconds times messages a second, so that it needs no division.
    bucket_level: int = -1
    bucket_time_ns: int = 0
    #: When the same order was last sent, by its fingerprint, in two generations so that old ones go for free.
    repeats: dict[str, tuple[int, ...]] = {}
    repeats_before: dict[str, tuple[int, ...]] = {}
    repeats_since_ns: int = 0
    stopped: bool = False
    equity_units: int = 0
    exposure_units: int = 0
    day_start_equity_units: int = 0
    peak_equity_units: int = 0
    #: ``Desk.state.price_version`` and this account's holdings version that equity was computed for.
    holdings_version: int = 0
    valued_price_version: int = -1
    valued_holdings_version: int = -1
    unpriced_assets: tuple[str, ...] = ()
    daily_loss_told: bool = False
    drawdown_told: bool = False
    overdrawn_told: bool = False
    metrics: AccountMetrics | None = None
    #: See fees: volumes of whole days before ``volume_day``, oldest first; maker and taker rate, empty without tiers.
    own_fee_tiers: tuple[FeeTier, ...] = ()
    fee_rates_ppm: tuple[int, ...] = ()
    volume_day: int = 0
    volume_today_units: int = 0
    volumes_units: list[int] = []


class Market(Struct, kw_only=True):
    """An instrument with its price.

    ``price_ticks`` is the last price that was healthy and plausible: what holdings are valued at. ``mark_ticks`` is the
    newest, usable for orders while ``healthy``. A mark that jumps is a ``suspect`` until the next one agrees with it.
    """

    instrument: Instrument
    symbol: str
    base: str
    quote: str
    lot_units: int
    multiplier: int
    base_unit_count: int
    price_ticks: int = 0
    price_time_ns: int = 0
    bid_ticks: int = 0
    ask_ticks: int = 0
    healthy: bool = False
    mark_time_ns: int = 0
    suspect_ticks: int = 0
    #: Open breaks by id, with the account that each concerns (empty: all).
    breaks: dict[str, str] = {}


class Replacement(Struct, frozen=True):
    """Values that a replace under way would put in force."""

    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int


class ListLeg(Struct):
    """An order's place in a list. ``waits``: for its working order; ``covered``: another order of it holds for both.

    ``sibling_lots``: what the other order of its OCO has filled, which this one cannot fill any more.
    """

    list_id: int
    waits: bool = False
    covered: bool = False
    sibling_lots: int = 0


class OrderRecord(Struct, kw_only=True, gc=False):
    """An order with what it holds: ``need_units`` of ``need_asset`` reserved, ``exposed_lots`` counted as open.

    ``worst_ticks`` prices a BUY without a limit price; ``worst_lots`` bounds an order by quote amount.
    """

    order: Order
    need_asset: str
    need_units: int = 0
    exposed_lots: int = 0
    worst_ticks: int = 0
    worst_lots: int = 0
    pending: Replacement | None = None
    trade_ids: set[str] | None = None
    cancel_reason: Reason = Reason.NONE
    flattens: bool = False
    agent: str = ""
    mandate_units: int = 0
    mandate_day: int = 0
    leg: ListLeg | None = None


class Breaker(Struct, frozen=True):
    """A tripped scope: why, what was said, and by whom."""

    reason: Reason
    note: str
    actor: str
    time_ns: int


class RiskState(Struct, kw_only=True):
    """The whole state. ``orders`` is filled for snapshots only; at work they are in ``Desk.orders``."""

    partition: int
    valuation_asset: str
    time_ns: int = 0
    day: int = 0
    order_number: int = 0
    entry_number: int = 0
    kill_number: int = 0
    price_version: int = 0
    kill_level: KillLevel = KillLevel.OFF
    default_limits: RiskLimits = RiskLimits()
    accounts: dict[str, Account] = {}
    markets: dict[str, Market] = {}
    decimals: dict[str, int] = {}
    breakers: dict[str, Breaker] = {}
    #: Asset to ledger account to minor units: the sum over each asset is zero.
    ledger: dict[str, dict[str, int]] = {}
    orders: list[OrderRecord] = []
    closed: list[int] = []
    list_number: int = 0
    #: Order lists by id as text, and those that have ended, oldest first.
    lists: dict[str, OrderList] = {}
    closed_lists: list[int] = []
    default_fee_tiers: tuple[FeeTier, ...] = ()
    approval_number: int = 0
    #: Requests for approval by id, and which of them wait: by account, a line feed and the client order id.
    approvals: dict[str, Approval] = {}
    held: dict[str, str] = {}


def _pricing_rank(market: Market) -> tuple[bool, bool, str]:
    return (market.price_ticks == 0, bool(market.instrument.reference_symbol), market.symbol)


class Desk:
    """The state at work, the messages going out, and lookups made from the state."""

    __slots__ = ("closed_orders_max", "next_day_ns", "orders", "out", "pricing", "state", "time_ns")

    def __init__(self, state: RiskState, closed_orders_max: int) -> None:
        self.state = state
        self.closed_orders_max = closed_orders_max
        self.out: list[Message] = []
        self.orders: dict[int, OrderRecord] = {record.order.order_id: record for record in state.orders}
        state.orders = []
        self.time_ns = state.time_ns
        self.next_day_ns = (state.day + 1) * DAY_NS
        self.pricing: dict[str, Market] = {}
        self.find_pricing_markets()

    def find_pricing_markets(self) -> None:
        """Choose the market that values each asset: quoted in the valuation asset, one with a price of its own first.

        Made again whenever an instrument is listed or gets its first price, so it is always a function of the state.
        """
        self.pricing = {}
        valuation = self.state.valuation_asset
        for market in sorted(self.state.markets.values(), key=_pricing_rank):
            if market.quote == valuation and market.base != valuation:
                self.pricing.setdefault(market.base, market)

    def account_names(self) -> list[str]:
        """Names in the order that snapshots keep, so that a restored core goes through them as the first did."""
        return sorted(self.state.accounts)
