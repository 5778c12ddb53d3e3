"""Risk: limits, mandates, stops, and the ledger's facts."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct

from polaris_synapse.domain.messages.base import Command, Message
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason


class RiskLimits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits of one account. Zero switches a limit off. Values are minor units of the desk's valuation asset.

    Rates are parts per million. ``repeated_orders_max``: the same order (symbol, side, quantity, price) within
    ``repeated_order_window_seconds`` before the account is stopped until a named person re-enables it.
    ``breaker_mark_jump_ppm`` counts in the desk's default (``"*"``) only: a mark that jumps further from the one before
    trips its symbol's circuit breaker.
    """

    order_quantity_lots_max: int = 0
    order_value_units_max: int = 0
    price_collar_ppm: int = 50_000
    market_data_age_seconds_max: int = 5
    messages_per_second_max: int = 50
    message_burst_max: int = 100
    repeated_orders_max: int = 20
    repeated_order_window_seconds: int = 10
    open_orders_max: int = 500
    position_value_units_max: int = 0
    exposure_units_max: int = 0
    concentration_ppm_max: int = 0
    leverage_ppm_max: int = 1_000_000
    daily_loss_units_max: int = 0
    drawdown_ppm_max: int = 0
    breaker_mark_jump_ppm: int = 100_000


class Autonomy(StrEnum):
    """How much an agent decides alone."""

    PROPOSE = "propose"  # every order waits for a person
    APPROVE_ABOVE = "approve_above"  # orders above a value wait for a person
    AUTOPILOT = "autopilot"  # nothing waits


class TradingWindow(Struct, frozen=True, kw_only=True):
    """From ``start_minute`` up to, but not at, ``end_minute`` of the UTC day (0 to 1440), on ``days``: 0 is Monday."""

    days: tuple[int, ...]
    start_minute: int
    end_minute: int


class Mandate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent may do on an account. Values in minor units of the valuation asset.

    With APPROVE_ABOVE an order above ``approval_above_units`` is held for a person's approval; 0 holds every order.
    ``approval_seconds_max`` bounds how long it is held. ``leverage_ppm_max``: exposure over the account's equity after
    the order. ``loss_units_max``: what the agent's own trades may have lost since 00:00 UTC, valued at marks; beyond it
    only orders that reduce a position pass. 0 switches either off. No ``windows``: at any time.
    """

    account: str
    agent: str
    symbols: tuple[str, ...]
    order_value_units_max: int
    daily_value_units_max: int
    approval_above_units: int
    enabled: bool = True
    autonomy: Autonomy = Autonomy.APPROVE_ABOVE
    leverage_ppm_max: int = 0
    loss_units_max: int = 0
    windows: tuple[TradingWindow, ...] = ()
    approval_seconds_max: int = 900


class ApprovalState(StrEnum):
    """Where a held order stands. All but PENDING are final."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"  # and placed
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    REFUSED = "REFUSED"  # approved, but a check stood against the order by then


class Approval(Struct, frozen=True, kw_only=True):
    """An agent's order that waits, or waited, for a person. ``order_hash`` is of exactly this ``order``.

    ``actor`` is who submitted it and ``agent`` whose mandate it comes under. ``value_units`` is its worth when it was
    held. ``decided_by`` and ``decided_role`` name the person; ``order_id`` is the order it became.
    """

    approval_id: str
    account: str
    agent: str
    actor: str
    order: OrderRequest
    order_hash: str
    value_units: int
    created_time_ns: int
    expires_time_ns: int
    state: ApprovalState = ApprovalState.PENDING
    decided_by: str = ""
    decided_role: str = ""
    decided_time_ns: int = 0
    via: str = ""
    note: str = ""
    order_id: int = 0
    reason: Reason = Reason.NONE
    detail: str = ""


class KillLevel(IntEnum):
    """How hard trading is stopped. Each level includes the one before it. Cancels always pass."""

    OFF = 0
    NO_NEW_RISK = 1  # only orders that reduce a position
    CANCEL_ALL = 2  # nothing new, and every open order is cancelled
    FLATTEN = 3  # and every position is closed at the market


class MoveFunds(Command, frozen=True, kw_only=True, gc=False):
    """A deposit (positive) or withdrawal (negative) of minor units. ``reference`` is unique per account for ever."""

    account: str
    asset: str
    amount_units: int
    reference: str


class SetLimits(Command, frozen=True, kw_only=True, gc=False):
    """Set the limits of ``account``; ``"*"`` sets the default for accounts without their own."""

    account: str
    limits: RiskLimits


class SetMandate(Command, frozen=True, kw_only=True, gc=False):
    """Give, change or (``enabled=False``) take back an agent's mandate."""

    mandate: Mandate


class DecideApproval(Command, frozen=True, kw_only=True, gc=False):
    """A person approves or rejects a held order. ``order_hash`` is of the order that they were shown.

    ``approver_role`` is the role that the shell established for ``actor``; ``via`` says over what it came.
    """

    account: str
    approval_id: str
    order_hash: str
    approve: bool
    approver_role: str
    via: str = ""
    note: str = ""


class SetHoldingLimit(Command, frozen=True, kw_only=True, gc=False):
    """The most of ``asset`` that orders may take ``account`` to, in ppm of its equity; 0 takes the limit away."""

    account: str
    asset: str
    share_ppm_max: int


class ActivateBreaker(Command, frozen=True, kw_only=True, gc=False):
    """Trip the circuit breaker: no new orders in ``scope`` (``"*"``, ``"symbol:X"`` or ``"account:X"``)."""

    scope: str = "*"
    note: str = ""


class ResetBreaker(Command, frozen=True, kw_only=True, gc=False):
    """Close a tripped breaker again. Takes a person: nothing resets itself."""

    scope: str = "*"
    note: str = ""


class SetKillLevel(Command, frozen=True, kw_only=True, gc=False):
    """Set the kill switch, for every account (``"*"``) or one."""

    level: KillLevel
    account: str = "*"
    note: str = ""


class ReenableAccount(Command, frozen=True, kw_only=True, gc=False):
    """A named person lets an account trade again after the repeated-order throttle stopped it."""

    account: str
    note: str = ""


class Posting(Struct, frozen=True, gc=False):
    """One leg of a double entry: ``units`` minor units of ``asset`` onto ``ledger_account`` (negative: off it)."""

    ledger_account: str
    asset: str
    units: int


class LedgerPosted(Message, frozen=True, kw_only=True, gc=False):
    """A balanced set of postings: per asset they sum to zero. ``cause``: ``fill``, ``fee``, ``funds``.

    ``actor`` names who asked for the movement, where somebody did.
    """

    entry_id: int
    account: str
    cause: str
    reference: str
    postings: tuple[Posting, ...]
    symbol: str = ""
    notional_units: int = 0
    actor: str = ""


class BalanceChanged(Message, frozen=True, kw_only=True, gc=False):
    """What an account holds of an asset, in minor units. ``reserved_units`` is the part that open orders need."""

    account: str
    asset: str
    total_units: int
    reserved_units: int


class PositionChanged(Message, frozen=True, kw_only=True, gc=False):
    """What an account has traded into: signed lots, their cost and the profit realised so far, in quote minor units."""

    account: str
    symbol: str
    quantity_lots: int
    cost_units: int
    realised_pnl_units: int
    fees_units: int
    traded_notional_units: int = 0


class MandateUsed(Struct, frozen=True, kw_only=True, gc=False):
    """What is used of an agent's mandate today, and what its trades gained (or lost) since 00:00 UTC."""

    agent: str
    used_units: int
    profit_units: int


class AccountMetrics(Message, frozen=True, kw_only=True, gc=False):
    """An account valued at current marks, in minor units of the valuation asset. At a bounded rate.

    ``mandates``: what its agents have used today, by agent.
    """

    account: str
    equity_units: int
    day_start_equity_units: int
    peak_equity_units: int
    exposure_units: int
    open_orders_units: int
    open_orders: int = 0
    unpriced_assets: tuple[str, ...] = ()
    mandates: tuple[MandateUsed, ...] = ()


class BreakerChanged(Message, frozen=True, kw_only=True, gc=False):
    """The circuit breaker of a scope tripped or was reset."""

    scope: str
    tripped: bool
    reason: Reason
    note: str
    actor: str


class SymbolStopped(Message, frozen=True, kw_only=True, gc=False):
    """What one partition of risk saw of a venue stops a symbol: every other partition trips its breaker as well."""

    symbol: str
    reason: Reason
    note: str


class KillLevelChanged(Message, frozen=True, kw_only=True, gc=False):
    """The kill switch moved. ``cancelled`` lists the orders that it asked to cancel."""

    account: str
    level: KillLevel
    note: str
    actor: str
    order_ids: tuple[int, ...] = ()


class LimitBreached(Message, frozen=True, kw_only=True, gc=False):
    """A limit was hit by something other than one order's check: a daily loss, a drawdown, a runaway account."""

    account: str
    reason: Reason
    detail: str
    symbol: str = ""


class ApprovalChanged(Message, frozen=True, kw_only=True, gc=False):
    """A request for approval was made, or decided."""

    approval: Approval


class MandateChanged(Message, frozen=True, kw_only=True, gc=False):
    """An agent's mandate as it is in force from now on, or with ``enabled=False`` taken back."""

    mandate: Mandate
    actor: str


class LimitsChanged(Message, frozen=True, kw_only=True, gc=False):
    """The limits of ``account`` from now on; ``"*"``: those of all accounts that have none of their own."""

    account: str
    limits: RiskLimits
    actor: str


class HoldingLimitChanged(Message, frozen=True, kw_only=True, gc=False):
    """What an account may hold of an asset at most, in ppm of its equity; 0: no limit any more."""

    account: str
    asset: str
    share_ppm_max: int
    actor: str
