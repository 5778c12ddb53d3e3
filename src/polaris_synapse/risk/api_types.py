"""What the risk service's HTTP interface takes and gives. Amounts are whole minor units of the valuation asset."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct, structs

from polaris_synapse.domain.messages import KillLevel, RiskLimits

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Scope = Annotated[str, Meta(min_length=1, max_length=128)]
Note = Annotated[str, Meta(max_length=1_000)]
Count = Annotated[int, Meta(ge=0, le=4 * 10**18)]


class AccountPath(Struct, frozen=True):
    """An account in the path; ``*`` stands for the desk's default where there is one."""

    account: Name


class AccountQuery(Struct, frozen=True, kw_only=True):
    """Which account to read; empty for all of yours."""

    account: Annotated[str, Meta(max_length=64)] = ""


class BreakersQuery(Struct, frozen=True, kw_only=True):
    """Whether to list resolved breaks as well."""

    open_only: bool = True


class BreakerBody(Struct, frozen=True, kw_only=True):
    """Which breaker: ``*``, ``symbol:NAME`` or ``account:NAME``, and why."""

    scope: Scope = "*"
    note: Note = ""


class TrippedBody(Struct, frozen=True, kw_only=True):
    """A tripped breaker."""

    scope: str
    reason: str
    note: str
    actor: str
    time_ns: int


class BreakersBody(Struct, frozen=True, kw_only=True):
    """The tripped breakers, and the accounts that were stopped for repeating one order."""

    tripped: list[TrippedBody]
    stopped_accounts: list[str]


class ChangedBody(Struct, frozen=True, kw_only=True):
    """Whether the request changed anything, and the orders that it asked to cancel.

    ``journaled`` false (HTTP 202): the journal cannot be written, and the stop is in force all the same; ``detail``
    says how far.
    """

    changed: bool
    order_ids: list[int] = []
    journaled: bool = True
    detail: str = ""


class KillSwitchBody(Struct, frozen=True, kw_only=True):
    """The wanted level: 0 off, 1 no new risk, 2 cancel all, 3 flatten. ``account`` ``*`` is every account."""

    level: KillLevel
    account: Name = "*"
    note: Note = ""


class KillLevelsBody(Struct, frozen=True, kw_only=True):
    """The level of the desk, and of accounts that have one of their own."""

    level: KillLevel
    accounts: dict[str, KillLevel]


class ReenableBody(Struct, frozen=True, kw_only=True):
    """Why the account may trade again."""

    note: Note = ""


class LimitsFields(Struct, frozen=True, kw_only=True):
    """The limits; 0 switches one off, a field that is left out takes its default. Rates are parts per million."""

    order_quantity_lots_max: Count = 0
    order_value_units_max: Count = 0
    price_collar_ppm: Annotated[int, Meta(ge=0, lt=1_000_000)] = 50_000
    market_data_age_seconds_max: Count = 5
    messages_per_second_max: Count = 50
    message_burst_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 100
    repeated_orders_max: Annotated[int, Meta(ge=0, le=10_000)] = 20
    repeated_order_window_seconds: Annotated[int, Meta(ge=1, le=3_600)] = 10
    open_orders_max: Count = 500
    position_value_units_max: Count = 0
    exposure_units_max: Count = 0
    concentration_ppm_max: Count = 0
    leverage_ppm_max: Count = 1_000_000
    daily_loss_units_max: Count = 0
    drawdown_ppm_max: Count = 0
    breaker_mark_jump_ppm: Count = 100_000

    @classmethod
    def of(cls, limits: RiskLimits) -> LimitsFields:
        """The fields of limits in force."""
        return cls(**structs.asdict(limits))

    def limits(self) -> RiskLimits:
        """The limits that they ask for."""
        return RiskLimits(**structs.asdict(self))


def changed_limits(limits: RiskLimits, change: Struct) -> RiskLimits:
    """``limits`` with the fields of a LimitsChange that were given."""
    return structs.replace(
        limits, **{name: value for name, value in structs.asdict(change).items() if value is not UNSET}
    )


#: The same fields, each of which may be left out: what is left out stays as it is.
LimitsChange = defstruct(
    "LimitsChange",
    [(field.name, field.type | UnsetType, UNSET) for field in structs.fields(LimitsFields)],
    frozen=True,
    kw_only=True,
    module=__name__,
)


class LimitsBody(Struct, frozen=True, kw_only=True):
    """The limits in force for an account.

    Fields ending in ``_units_max`` count minor units of ``valuation_asset``, which has ``valuation_decimals``.
    """

    account: str
    limits: LimitsFields
    valuation_asset: str
    valuation_decimals: int | None


class PositionBody(Struct, frozen=True, kw_only=True):
    """A position: signed lots, cost and profit in quote minor units."""

    symbol: str
    quantity_lots: int
    cost_units: int
    realised_pnl_units: int
    fees_units: int


class ExposureBody(Struct, frozen=True, kw_only=True):
    """An account at current marks."""

    account: str
    equity_units: int
    day_start_equity_units: int
    peak_equity_units: int
    exposure_units: int
    open_orders_units: int
    open_orders: int
    unpriced_assets: list[str]
    positions: list[PositionBody]
    time_ns: int


class ExposuresBody(Struct, frozen=True, kw_only=True):
    """The exposure of your accounts."""

    accounts: list[ExposureBody]


class BreakBody(Struct, frozen=True, kw_only=True):
    """A difference with a venue that reconciliation could not explain."""

    break_id: str
    venue: str
    symbol: str
    account: str
    is_open: bool
    detail: str
    time_ns: int


class BreaksBody(Struct, frozen=True, kw_only=True):
    """Breaks, newest first."""

    breaks: list[BreakBody]
