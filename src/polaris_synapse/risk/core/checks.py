"""The checks before an order, as one literal sequence. The first that refuses decides; each has its own reasons.

The order of the sequence is that of the field's control lists (US SEC rule 15c3-5, EU RTS 6, FIA): is trading stopped;
is it a duplicate; may this account trade this; is the order well-formed; is there a market to measure it against; is
its price, size and rate sane; is it covered; does it keep the limits; was the agent allowed. A repetition of an order
that was accepted before is answered with that order ahead of all checks: it asks for nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from polaris_synapse.domain.instruments import PARTS_PER_MILLION, InstrumentStatus
from polaris_synapse.domain.messages import KillLevel
from polaris_synapse.domain.orders import LIMIT_PRICED, STOP_PRICED, TRIGGERED, OrderRequest, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import text
from polaris_synapse.risk.core.capabilities import CAPABILITIES, missing_feature
from polaris_synapse.risk.core.check_limits import LIMIT_CHECKS
from polaris_synapse.risk.core.context import OrderContext, Refusal
from polaris_synapse.risk.core.members import (
    DAY,
    FOK,
    GTD,
    KYC_APPROVED,
    LIMIT,
    MARKET,
    NOT_POST_ONLY,
    NOT_STOPPED,
    TRADING,
    TRAILING_STOP,
)
from polaris_synapse.risk.core.reservations import stop_at_submission
from polaris_synapse.risk.core.state import CLIENT_ORDER_ID_CHARACTERS_MAX, FLATTEN_PREFIX, SECOND_NS
from polaris_synapse.risk.core.valuation import last_price, value_of

#: Trips that stop an account from losing more still let it out of what it holds.
_REDUCING_PASSES: Final = frozenset({Reason.DAILY_LOSS_LIMIT, Reason.DRAWDOWN_LIMIT})
_IMMEDIATE: Final = frozenset({TimeInForce.IOC, TimeInForce.FOK})


def check_kill_switch(context: OrderContext) -> Refusal | None:
    """Kill state: level 1 lets through what reduces a position, higher levels only the switch's own orders."""
    desk, account = context.desk, context.account
    level = desk.state.kill_level
    if account is not None and account.kill_level > level:
        level = account.kill_level
    if level is NOT_STOPPED or context.flattens:
        return None
    if level is KillLevel.NO_NEW_RISK and context.prospect is not None and context.prospect.reducing:
        return None
    where = "every account" if desk.state.kill_level >= level else f"account {context.request.account}"
    return Refusal(Reason.KILL_SWITCH, f"The kill switch is at {level.name} for {where}.")


def check_circuit_breaker(context: OrderContext) -> Refusal | None:
    """Breakers of the desk, the symbol and the account."""
    breakers = context.desk.state.breakers
    if not breakers:
        return None
    for scope in ("*", f"symbol:{context.request.symbol}", f"account:{context.request.account}"):
        tripped = breakers.get(scope)
        if tripped is None:
            continue
        if tripped.reason in _REDUCING_PASSES and context.prospect is not None and context.prospect.reducing:
            continue
        name = "the whole desk" if scope == "*" else scope.replace(":", " ")
        why = tripped.note.removesuffix(".") or tripped.reason.name
        return Refusal(Reason.CIRCUIT_BREAKER, f"The circuit breaker of {name} has tripped: {why}.")
    return None


def check_client_order_id(context: OrderContext) -> Refusal | None:
    """The client order id is not another accepted order's. (The same order again never gets this far.)"""
    account = context.account
    client_order_id = context.request.client_order_id
    if account is None or context.replaces is not None:
        return None
    if client_order_id in account.client_order_ids or client_order_id in account.archived_ids:
        return Refusal(
            Reason.DUPLICATE_CLIENT_ORDER_ID,
            f"Client order id {client_order_id} belongs to an accepted order with different content.",
        )
    return None


def check_account(context: OrderContext) -> Refusal | None:
    """The account exists: compliance has said where it stands."""
    if context.account is None:
        return Refusal(Reason.ACCOUNT_NOT_FOUND, f"There is no account {context.request.account}.")
    return None


def check_standing(context: OrderContext) -> Refusal | None:
    """Compliance: blocked, identity check, sanctions, restricted instrument, in that order."""
    assert context.account is not None
    standing = context.account.standing
    if standing.blocked:
        return Refusal(Reason.COMPLIANCE_ACCOUNT_BLOCKED, f"Account {standing.account} is blocked.")
    if standing.kyc is not KYC_APPROVED:
        return Refusal(
            Reason.COMPLIANCE_KYC_INCOMPLETE, f"The identity check of account {standing.account} is {standing.kyc}."
        )
    if standing.sanctions_hold:
        return Refusal(Reason.COMPLIANCE_SANCTIONED, f"Account {standing.account} is under a sanctions hold.")
    if context.request.symbol in standing.restricted_symbols:
        return Refusal(
            Reason.COMPLIANCE_INSTRUMENT_RESTRICTED,
            f"{context.request.symbol} is restricted for account {standing.account}.",
        )
    return None


def check_symbol(context: OrderContext) -> Refusal | None:
    """The instrument exists, at the venue that the order names."""
    request, market = context.request, context.market
    if market is None:
        return Refusal(Reason.SYMBOL_NOT_FOUND, f"There is no instrument {request.symbol}.")
    venue = market.instrument.venue
    if request.venue and request.venue != venue:
        return Refusal(Reason.VENUE_NOT_CONFIGURED, f"{request.symbol} trades at {venue}, not at {request.venue}.")
    if venue not in CAPABILITIES:
        return Refusal(Reason.VENUE_NOT_CONFIGURED, f"The desk does not trade at {venue}.")
    return None


def check_status(context: OrderContext) -> Refusal | None:
    """The instrument is open for this order; before an auction's call orders may rest but not ask for a match."""
    assert context.market is not None
    status = context.market.instrument.status
    if status is TRADING:
        return None
    request = context.request
    if status is InstrumentStatus.AUCTION:
        if request.type is not MARKET and request.time_in_force not in _IMMEDIATE:
            return None
        return Refusal(
            Reason.INSTRUMENT_NOT_TRADING, f"{request.symbol} is in an auction: only orders that can rest are taken."
        )
    return Refusal(Reason.INSTRUMENT_NOT_TRADING, f"{request.symbol} is {status}.")


def check_venue_support(context: OrderContext) -> Refusal | None:
    """The venue takes the order's type and its time in force."""
    assert context.market is not None
    venue, request = context.market.instrument.venue, context.request
    offered = CAPABILITIES[venue]
    if request.type not in offered.types:
        return Refusal(Reason.ORDER_TYPE_NOT_SUPPORTED, f"{venue} does not take {request.type} orders.")
    if request.time_in_force not in offered.times_in_force:
        return Refusal(Reason.TIME_IN_FORCE_NOT_SUPPORTED, f"{venue} does not take {request.time_in_force} orders.")
    return None


def check_fields(context: OrderContext) -> Refusal | None:
    """Each order type has the fields it needs and no others."""
    wrong = ""
    if context.request.client_order_id.startswith(FLATTEN_PREFIX) and not context.flattens:
        wrong = f"Client order ids that begin with {FLATTEN_PREFIX} belong to the kill switch"
    wrong = wrong or _wrong_numbers(context.request) or _wrong_types(context.request) or _wrong_options(context.request)
    expires = context.request.time_in_force is GTD
    if not wrong and expires and context.request.expire_time_ns <= context.time_ns:
        wrong = "A GTD order needs an expiry time that lies in the future"
    return Refusal(Reason.ORDER_FIELDS_INVALID, f"{wrong}.") if wrong else None


def _wrong_numbers(request: OrderRequest) -> str:
    """What is wrong with the numbers as such, in words."""
    if (
        request.quantity_lots < 0
        or request.quote_amount_units < 0
        or request.price_ticks < 0
        or request.stop_price_ticks < 0
        or request.trailing_offset_ticks < 0
        or request.trailing_offset_bps < 0
        or request.display_lots < 0
        or request.min_quantity_lots < 0
        or request.expire_time_ns < 0
    ):
        return "No number of an order may be negative"
    if not request.client_order_id or len(request.client_order_id) > CLIENT_ORDER_ID_CHARACTERS_MAX:
        return f"An order needs a client order id of 1 to {CLIENT_ORDER_ID_CHARACTERS_MAX} characters"
    return ""


def _wrong_types(request: OrderRequest) -> str:
    """Which price or size field is missing or too much for the order's type, in words."""
    kind = request.type
    others = request.quote_amount_units or request.stop_price_ticks
    offsets = (request.trailing_offset_ticks > 0) + (request.trailing_offset_bps > 0)
    if kind is LIMIT and request.quantity_lots and request.price_ticks and not others and not offsets:
        return ""  # by far the most common order; the rest only words what is wrong
    if request.quote_amount_units:
        if kind is not MARKET:
            return f"A {kind} order is sized by quantity, only a MARKET order may be by quote amount"
        if request.quantity_lots:
            return "A MARKET order has a quantity or a quote amount, not both"
    elif not request.quantity_lots:
        return f"A {kind} order needs a quantity"
    if kind in LIMIT_PRICED and not request.price_ticks:
        return f"A {kind} order needs a price"
    if kind not in LIMIT_PRICED and request.price_ticks:
        return f"A {kind} order has no price"
    if kind in STOP_PRICED and not request.stop_price_ticks:
        return f"A {kind} order needs a stop price"
    if kind not in STOP_PRICED and request.stop_price_ticks:
        return f"A {kind} order has no stop price"
    if kind is TRAILING_STOP:
        if offsets != 1:
            return "A TRAILING_STOP order needs one trailing offset, as a price or in basis points"
        if request.trailing_offset_bps >= 10_000:
            return "A trailing offset is less than 10000 basis points"
    elif offsets:
        return f"A {kind} order has no trailing offset"
    return ""


def _wrong_options(request: OrderRequest) -> str:
    """Which option does not go with the others, in words."""
    kind, time_in_force = request.type, request.time_in_force
    immediate = time_in_force in _IMMEDIATE
    if kind is MARKET and time_in_force in (GTD, DAY):
        return f"A MARKET order does not wait, so it cannot be {time_in_force}"
    if request.expire_time_ns and time_in_force is not GTD:
        return f"Only a GTD order has an expiry time, this one is {time_in_force}"
    if request.post_only is not NOT_POST_ONLY:
        if kind not in LIMIT_PRICED:
            return f"A {kind} order takes liquidity, so it cannot be post-only"
        if immediate:
            return f"A post-only order rests, so it cannot be {time_in_force}"
        if request.min_quantity_lots:
            return "A post-only order does not match on arrival, so it has no minimum quantity"
    if request.display_lots:
        if kind not in LIMIT_PRICED or immediate:
            return "Only an order that rests at a limit price can show a part of its quantity"
        if request.display_lots > request.quantity_lots:
            return "The displayed quantity is larger than the order"
    if request.min_quantity_lots > request.quantity_lots and not request.quote_amount_units:
        return "The minimum quantity is larger than the order"
    if request.min_quantity_lots and (time_in_force is FOK or request.quote_amount_units):
        return "A minimum quantity does not go with FOK or a quote amount"
    return ""


def check_features(context: OrderContext) -> Refusal | None:
    """The venue offers every feature that the order uses."""
    assert context.market is not None
    venue = context.market.instrument.venue
    feature = missing_feature(context.request, CAPABILITIES[venue])
    return Refusal(Reason.FEATURE_NOT_SUPPORTED, f"{venue} does not offer {feature}.") if feature else None


def check_instrument_filters(context: OrderContext) -> Refusal | None:
    """The instrument's own minimum and maximum quantity and minimum value."""
    market, prospect = context.market, context.prospect
    assert market is not None
    assert prospect is not None
    instrument = market.instrument
    lots = prospect.lots
    if context.request.quote_amount_units and not context.mark_ticks:
        return None  # not to be measured; the next check refuses it for want of a price
    if lots < instrument.min_quantity_lots:
        return Refusal(
            Reason.QUANTITY_TOO_SMALL,
            f"{text.quantity(market, lots)} is below the minimum of "
            f"{text.quantity(market, instrument.min_quantity_lots)}.",
        )
    if lots > instrument.max_quantity_lots:
        return Refusal(
            Reason.QUANTITY_TOO_LARGE,
            f"{text.quantity(market, lots)} is above the maximum of "
            f"{text.quantity(market, instrument.max_quantity_lots)}.",
        )
    if prospect.price_ticks and prospect.notional_units < instrument.min_notional_units:
        return Refusal(
            Reason.NOTIONAL_TOO_SMALL,
            f"The order is worth {text.amount(context.desk, market.quote, prospect.notional_units)}, the minimum is "
            f"{text.amount(context.desk, market.quote, instrument.min_notional_units)}.",
        )
    return None


def check_market_data(context: OrderContext) -> Refusal | None:
    """There is a healthy and recent mark to measure the order against, and a value for its quote asset."""
    market, desk = context.market, context.desk
    assert market is not None
    age_seconds_max = context.limits.market_data_age_seconds_max
    if not context.mark_ticks:
        known = last_price(desk, market)
        if known and market.price_ticks and not market.healthy:
            return Refusal(
                Reason.MARKET_DATA_STALE, f"The market data of {market.symbol} is not healthy at the moment."
            )
        if known:
            seconds = abs(context.time_ns - market.mark_time_ns) // SECOND_NS
            age = f"{seconds} s old" if market.price_ticks else "too old at its reference market"
            return Refusal(
                Reason.MARKET_DATA_STALE,
                f"The price of {market.symbol} is {age}, at most {age_seconds_max} s are allowed.",
            )
        # A limit order carries its own price: an account without an age limit may open a market that has none yet.
        if age_seconds_max or context.request.type not in LIMIT_PRICED:
            return Refusal(Reason.MARKET_DATA_MISSING, f"There is no price of {market.symbol} yet.")
    if value_of(desk, market.quote, 1) is None:
        return Refusal(Reason.MARKET_DATA_MISSING, f"There is no price of {market.quote} yet.")
    return None


def check_break(context: OrderContext) -> Refusal | None:
    """No unexplained difference with the venue is open on the instrument for this account."""
    assert context.market is not None
    breaks = context.market.breaks
    if not breaks:
        return None
    for break_id in sorted(breaks):
        if breaks[break_id] in ("", "*", context.request.account):
            return Refusal(Reason.POSITION_BREAK_OPEN, f"Break {break_id} is open on {context.request.symbol}.")
    return None


def check_price_collar(context: OrderContext) -> Refusal | None:
    """Limit and stop prices lie near the mark."""
    market, mark, request = context.market, context.mark_ticks, context.request
    assert market is not None
    collar_ppm = context.limits.price_collar_ppm
    if not collar_ppm or not mark:
        return None
    name, ticks = "price", request.price_ticks
    is_outside = _is_outside(ticks, mark, collar_ppm)
    if not is_outside and request.type is not LIMIT and request.type in TRIGGERED:
        name, ticks = "stop price", stop_at_submission(request, mark)
        is_outside = _is_outside(ticks, mark, collar_ppm)
    if not is_outside:
        return None
    return Refusal(
        Reason.PRICE_OUTSIDE_COLLAR,
        f"The {name} {text.price(market, ticks)} is more than {text.percent(collar_ppm)} away from the mark "
        f"{text.price(market, mark)}.",
    )


def _is_outside(ticks: int, mark: int, collar_ppm: int) -> bool:
    return ticks > 0 and abs(ticks - mark) * PARTS_PER_MILLION > mark * collar_ppm


Check = Callable[[OrderContext], Refusal | None]

#: The sequence for a new order. The first refusal counts.
CHECKS: Final[tuple[Check, ...]] = (
    check_kill_switch,
    check_circuit_breaker,
    check_client_order_id,
    check_account,
    check_standing,
    check_symbol,
    check_status,
    check_venue_support,
    check_fields,
    check_features,
    check_instrument_filters,
    check_market_data,
    check_break,
    check_price_collar,
    *LIMIT_CHECKS,
)


def first_refusal(context: OrderContext, sequence: Sequence[Check] = CHECKS) -> Refusal | None:
    """Run the sequence, or another one."""
    for check in sequence:
        refusal = check(context)
        if refusal is not None:
            return refusal
    return None
