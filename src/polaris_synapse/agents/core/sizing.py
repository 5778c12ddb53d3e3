"""The risk agent: how much of what a view asks for the ledger and the mandate allow.

It counts what it has used of its mandate itself, and the risk room counts again. Nothing here can make an order larger
than the mandate, the equity share or the money there is: every step takes the minimum. Orders are LIMIT IOC. A market
order has no worst price; a resting order would leave a promise in the book that nobody watches until the next decision.
The limit lies the allowed slippage beyond the touch: an immediate order fills at the prices that rest there, so the
limit is only the worst price that is still accepted. What does not fill at once is cancelled.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core.accounts import AccountBook
from polaris_synapse.agents.core.fixed import PPM
from polaris_synapse.agents.core.flow import NANOSECONDS
from polaris_synapse.agents.core.signals import Reading
from polaris_synapse.agents.core.view import Direction, View
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import AgentSettings, Autonomy, Mandate
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason

#: The volatility of a day at which a position has its full size; a wilder market gets less in proportion.
VOLATILITY_DAY_PPM_REFERENCE: Final = 30_000
#: How long an approved order may rest after the last moment at which it could have been approved.
REST_SECONDS: Final = 60


class Means(Struct, frozen=True, kw_only=True):
    """What an order can be made of. Amounts in minor units of the quote asset, which is the desk's valuation asset.

    ``promised_units`` is what other proposals of the same account will need that no balance shows yet.
    """

    settings: AgentSettings
    mandate: Mandate
    account: AccountBook
    day_used_units: int
    promised_units: int = 0


class Sized(Struct, frozen=True, kw_only=True):
    """An order's size and how it came about. ``target_units`` is the value that the position should have."""

    side: Side
    quantity_lots: int
    limit_ticks: int
    value_units: int
    held_lots: int
    held_units: int
    target_units: int
    cap_units: int


class Declined(Struct, frozen=True, kw_only=True):
    """Why there is no order."""

    reason: Reason
    detail: str


def size_order(view: View, reading: Reading, instrument: Instrument, means: Means) -> Sized | Declined:
    """Turn a BUY or SELL view into a size. The first obstacle in the order below answers.

    Position held or not, remaining mandate (per order, per day), money, smallest order.
    """
    limit = limit_price(view.direction, reading, means.settings.slippage_ppm_max)
    unit_value = instrument.notional_multiplier
    holding = means.account.holding(instrument.base.code)
    held_lots = holding.total_units // instrument.lot_units
    held_units = held_lots * reading.half_ticks * unit_value // 2
    cap = _mandate_cap(means)
    if isinstance(cap, Declined):
        return cap
    buying = view.direction is Direction.BUY
    target = target_value(view, reading, means) if buying else 0
    if buying:
        if held_units >= target:
            return Declined(
                reason=Reason.AGENT_POSITION_ALREADY_HELD, detail="The position is at its target or above it."
            )
        cash = max(means.account.holding(instrument.quote.code).free_units - means.promised_units, 0)
        wanted = min(target - held_units, cap, cash)
        short_of_money = cash == min(target - held_units, cap, cash) and cash < instrument.min_notional_units
        lots = wanted // (limit * unit_value)
        if short_of_money:
            return Declined(
                reason=Reason.INSUFFICIENT_FUNDS,
                detail=f"The free {instrument.quote.code} does not pay for the smallest order.",
            )
    else:
        if not held_lots:
            return Declined(
                reason=Reason.AGENT_SIZE_TOO_SMALL,
                detail=f"The account holds no {instrument.base.code} to sell, and it does not sell short.",
            )
        # Whoever values the sale at the mark or the bid finds less than this: the ask is the dearest of the three.
        lots = min(holding.free_units // instrument.lot_units, cap // (reading.ask_ticks * unit_value))
    lots = min(lots, instrument.max_quantity_lots)
    if lots < instrument.min_quantity_lots or instrument.notional_units(limit, lots) < instrument.min_notional_units:
        return Declined(reason=Reason.AGENT_SIZE_TOO_SMALL, detail="What is left to trade is below the smallest order.")
    return Sized(
        side=Side.BUY if buying else Side.SELL,
        quantity_lots=lots,
        limit_ticks=limit,
        value_units=instrument.notional_units(limit if buying else reading.ask_ticks, lots),
        held_lots=held_lots,
        held_units=held_units,
        target_units=target,
        cap_units=cap,
    )


def target_value(view: View, reading: Reading, means: Means) -> int:
    """The value a bought position should have: the equity share allowed, times confidence, less in wild markets."""
    share = means.settings.position_ppm_of_equity_max * view.confidence_ppm // PPM
    if reading.volatility_day_ppm > VOLATILITY_DAY_PPM_REFERENCE:
        share = share * VOLATILITY_DAY_PPM_REFERENCE // reading.volatility_day_ppm
    return max(means.account.equity_units, 0) * share // PPM


def limit_price(direction: Direction, reading: Reading, slippage_ppm_max: int) -> int:
    """The worst price that is accepted, in ticks: the touch plus or minus the slippage, never worse than that."""
    if direction is Direction.BUY:
        return reading.ask_ticks + reading.ask_ticks * slippage_ppm_max // PPM
    return max(reading.bid_ticks - reading.bid_ticks * slippage_ppm_max // PPM, 1)


def _mandate_cap(means: Means) -> int | Declined:
    """The most that one order may be worth now."""
    mandate = means.mandate
    left = mandate.daily_value_units_max - means.day_used_units
    if left <= 0:
        return Declined(reason=Reason.MANDATE_DAILY_VALUE, detail="The mandate's value for today is used up.")
    return min(mandate.order_value_units_max, left)


def needs_approval(mandate: Mandate, value_units: int) -> bool:
    """Whether a person will be asked before an order of that value, as risk decides it."""
    if mandate.autonomy is Autonomy.APPROVE_ABOVE:
        return value_units > mandate.approval_above_units
    return mandate.autonomy is Autonomy.PROPOSE


def order_of(
    sized: Sized,
    instrument: Instrument,
    settings: AgentSettings,
    decision_id: str,
    mandate: Mandate | None = None,
    clock_ns: int = 0,
) -> OrderRequest:
    """The order. Its client order id begins with the decision's, which alone makes it unique for ever.

    One that a person has to approve first rests at its limit for a while, because the market moves while they think.
    """
    time_in_force, expires_ns = TimeInForce.IOC, 0
    if mandate is not None and needs_approval(mandate, sized.value_units):
        time_in_force = TimeInForce.GTD
        expires_ns = clock_ns + (mandate.approval_seconds_max + REST_SECONDS) * NANOSECONDS
    return OrderRequest(
        account=settings.account,
        client_order_id=f"{decision_id}-{settings.agent}"[:36],
        symbol=instrument.symbol,
        side=sized.side,
        type=OrderType.LIMIT,
        quantity_lots=sized.quantity_lots,
        price_ticks=sized.limit_ticks,
        time_in_force=time_in_force,
        expire_time_ns=expires_ns,
        decision_id=decision_id,
    )
