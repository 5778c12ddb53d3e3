"""What the execution core remembers: orders at venues, breaks, and the rules by which it waits and asks again."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import VenueListing
from polaris_synapse.domain.orders import TERMINAL_STATES, OrderRequest, OrderState

#: The version of the snapshot's shape.
SNAPSHOT_VERSION: Final = 1

_SECOND: Final = 1_000_000_000

#: The values in force of an order: total lots, price and stop price in ticks.
Terms = tuple[int, int, int]
NO_TERMS: Final[Terms] = (0, 0, 0)


class ExecutionRules(Struct, frozen=True, kw_only=True):
    """How long the core waits and how often it asks. All times in nanoseconds of logical time.

    ``acknowledge_timeout_ns``: a send without an answer for so long is lost; longer than any adapter's own timeout.
    ``freshness_ns``: an open order that nothing was heard of for so long is asked about. ``settle_ticks``: what the
    venue denies counts only so many of the host's ticks after the send, because a slow order may still be on its way;
    ticks, because a clock that is set forwards lets no time pass. They cover what an order may wait for its turn
    (ExecutionSettings.request_age_seconds_max, twice as long by a clock that was set back) and travel.
    ``confirmations``: how many answers in a row must say the same before absence, or a difference, is believed.
    ``balance_ticks``: how long a difference of a venue's balance must stand, with every order behind it asked about,
    before it counts. ``query_wait_ns`` and ``query_wait_max_ns``: the first and the longest wait for an answer before
    the question is repeated.
    """

    acknowledge_timeout_ns: int = 15 * _SECOND
    freshness_ns: int = 60 * _SECOND
    settle_ticks: int = 14
    balance_ticks: int = 30
    confirmations: int = 2
    query_wait_ns: int = 2 * _SECOND
    query_wait_max_ns: int = 60 * _SECOND
    queries_per_tick_max: int = 200
    closed_orders_max: int = 10_000
    resolved_breaks_max: int = 1_000
    ignored_orders_max: int = 1_000


class VenueOrder(Struct, kw_only=True):
    """One order at a venue as the core sees it; ``state`` moves only by the order table, with each report to risk.

    ``*_sent_ns`` say since when an answer to that request is awaited, 0 for not at all. ``settled_lots`` are lots that
    the venue counts and a person has accounted for outside of the order. ``total_lots`` are what the venue says that a
    filled order by quote amount traded in all, 0 before it says so. ``unanswered``, ``denials`` and ``disputes``
    count queries in a row that got no answer, that said "no such order", and that contradicted what is known here;
    ``queried_ns`` is when the last one was sent and ``counted_ns`` the one whose answer was counted, so that a
    repeated or late answer to the same question never counts twice; ``heard_ns`` is when risk was last told something.
    ``final_check``: it has ended (at ``ended_ns``), and the venue is still to be asked whether that was all.
    ``submit_tick``, ``changed_tick``, ``queried_tick`` and ``ended_tick`` count the host's ticks up to the order's
    send, its last cancel or replacement, the last question and the end; ``answered_tick`` is that of the last question
    which was answered.
    """

    order_id: int
    venue: str
    client_id: str
    request: OrderRequest
    state: OrderState
    quantity_lots: int
    price_ticks: int
    stop_price_ticks: int
    filled_lots: int = 0
    settled_lots: int = 0
    total_lots: int = 0
    venue_order_id: str = ""
    seen_at_venue: bool = False
    submit_sent_ns: int = 0
    cancel_sent_ns: int = 0
    replace_sent_ns: int = 0
    cancel_wanted: bool = False
    wanted_terms: Terms = NO_TERMS
    accepted_terms: Terms = NO_TERMS
    trade_ids: list[str] = []
    check_ns: int = 0
    queried_ns: int = 0
    counted_ns: int = 0
    heard_ns: int = 0
    unanswered: int = 0
    denials: int = 0
    disputes: int = 0
    final_check: bool = False
    ended_ns: int = 0
    submit_tick: int = 0
    changed_tick: int = 0
    ended_tick: int = 0
    queried_tick: int = 0
    answered_tick: int = 0

    @property
    def is_terminal(self) -> bool:
        """Whether the order has ended as far as risk was told."""
        return self.state in TERMINAL_STATES

    @property
    def by_quote_amount(self) -> bool:
        """Whether the venue, not the quantity, says when the order is filled."""
        return self.request.quote_amount_units > 0

    @property
    def terms(self) -> Terms:
        """The values in force."""
        return (self.quantity_lots, self.price_ticks, self.stop_price_ticks)

    @property
    def enlarges(self) -> bool:
        """Whether a replacement to a larger quantity is in doubt."""
        return self.replace_sent_ns > 0 and self.wanted_terms[0] > self.quantity_lots

    @property
    def oldest_request_ns(self) -> int:
        """When the oldest request without an answer was sent, 0 when there is none."""
        return min((t for t in (self.submit_sent_ns, self.cancel_sent_ns, self.replace_sent_ns) if t), default=0)


class OpenBreak(Struct, kw_only=True):
    """A difference with a venue that is not explained. ``kind`` is one of breaks.KINDS.

    ``difference_lots``: by how much the venue counts more than the desk. ``trade_id``: the trade that did not fit.
    ``asset``, ``difference_units`` and ``symbols`` are a balance's: what differs, by how much, and what trades in it.
    """

    break_id: str
    kind: str
    order_id: int
    venue: str
    symbol: str
    account: str
    detail: str
    difference_lots: int = 0
    trade_id: str = ""
    venue_order_id: str = ""
    terms: Terms = NO_TERMS
    asset: str = ""
    difference_units: int = 0
    symbols: tuple[str, ...] = ()


class AssetBalance(Struct, kw_only=True):
    """What the desk expects of one asset at one venue, in the asset's minor units.

    ``opening_units`` is what was there besides the trades booked here, once it is known (``opened``), and what people
    have accepted since; ``traded_units`` what those trades made of it. A balance that differs by ``suspect_units``
    since ``suspect_tick`` was seen ``seen`` times in a row, 0 where it does not differ; ``compared_units`` is what
    ``traded_units`` was at the last answer.
    """

    venue: str
    asset: str
    opened: bool = False
    opening_units: int = 0
    traded_units: int = 0
    suspect_units: int = 0
    suspect_tick: int = 0
    seen: int = 0
    compared_units: int = 0


class ExecutionState(Struct, kw_only=True):
    """The core's whole state, as it stands in a snapshot.

    ``trades`` names the order of every trade id that an order in memory has: ``{"venue/symbol/trade_id": order_id}``.
    ``closed`` are ended orders, oldest first; the oldest are forgotten. ``ticks`` counts the host's ticks for ever.
    ``balances`` are what venues hold for the desk: ``{"venue/asset": …}``.
    """

    partition: int
    now_ns: int = 0
    ticks: int = 0
    balances: dict[str, AssetBalance] = {}
    real_trading: bool = False
    venues: dict[str, VenueListing] = {}
    instruments: dict[str, Instrument] = {}
    orders: dict[int, VenueOrder] = {}
    closed: list[int] = []
    trades: dict[str, int] = {}
    breaks: dict[str, OpenBreak] = {}
    breaks_opened: int = 0
    resolved_breaks: list[str] = []
    ignored_orders: list[str] = []


class SavedState(Struct, kw_only=True):
    """A snapshot: the state with its orders as a list by id, because ordered encoding knows text keys only."""

    orders: list[VenueOrder]
    rest: ExecutionState
