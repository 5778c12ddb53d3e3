"""The second half of the sequence: sizes, rates, cover, limits, losses and mandates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from polaris_synapse.domain.messages import LimitBreached
from polaris_synapse.domain.orders import TRIGGERED, OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import text
from polaris_synapse.risk.core.approval_records import named_refusal
from polaris_synapse.risk.core.capabilities import CAPABILITIES
from polaris_synapse.risk.core.context import AGENT_PREFIX, OrderContext, Refusal, share_ppm, value_of_lots
from polaris_synapse.risk.core.leverage import beyond_leverage
from polaris_synapse.risk.core.losses import loss_of, watch_losses
from polaris_synapse.risk.core.mandates import outside_mandate
from polaris_synapse.risk.core.members import BUY, MARKET, NO_REASON, SELF_TRADES_ALLOWED, SELL
from polaris_synapse.risk.core.positions import position_lots
from polaris_synapse.risk.core.state import AMOUNT_UNITS_MAX, SECOND_NS, Account, MandateUse, Market
from polaris_synapse.risk.core.valuation import refresh, value_of


def check_order_size(context: OrderContext) -> Refusal | None:
    """The account's largest quantity and value of one order."""
    market, prospect, limits = context.market, context.prospect, context.limits
    assert market is not None
    assert prospect is not None
    if limits.order_quantity_lots_max and prospect.lots > limits.order_quantity_lots_max:
        return Refusal(
            Reason.ORDER_QUANTITY_LIMIT,
            f"{text.quantity(market, prospect.lots)} is more than the "
            f"{text.quantity(market, limits.order_quantity_lots_max)} that one order of account "
            f"{context.request.account} may have.",
        )
    worth = prospect.value_units or 0
    value_max = limits.order_value_units_max or AMOUNT_UNITS_MAX
    if worth > value_max or prospect.notional_units > AMOUNT_UNITS_MAX or prospect.extra_units > AMOUNT_UNITS_MAX:
        return Refusal(
            Reason.ORDER_VALUE_LIMIT,
            f"The order is worth {text.value(context.desk, worth)}, one order of account {context.request.account} may "
            f"be worth {text.value(context.desk, value_max)}.",
        )
    return None


def check_message_rate(context: OrderContext) -> Refusal | None:
    """The account's token bucket of orders and replacements."""
    if context.has_token:
        return None
    return Refusal(
        Reason.MESSAGE_THROTTLE,
        f"Account {context.request.account} sends more than {context.limits.messages_per_second_max} orders a second "
        f"(bursts of {context.limits.message_burst_max}).",
    )


def check_repeated_orders(context: OrderContext) -> Refusal | None:
    """The same order again and again stops the account until a named person re-enables it."""
    account, limits = context.account, context.limits
    assert account is not None
    if context.flattens:
        return None
    if account.stopped:
        return Refusal(
            Reason.REPEATED_ORDER_THROTTLE,
            f"Account {account.name} was stopped for repeating one order; a risk officer must re-enable it.",
        )
    if not limits.repeated_orders_max or context.replaces is not None:
        return None
    window_ns = limits.repeated_order_window_seconds * SECOND_NS
    if not _repeats_too_often(account, _fingerprint(context), context.time_ns, limits.repeated_orders_max, window_ns):
        return None
    account.stopped = True
    detail = (
        f"Account {account.name} sent the same order on {context.request.symbol} more than "
        f"{limits.repeated_orders_max} times within {limits.repeated_order_window_seconds} s and is stopped."
    )
    context.desk.out.append(
        LimitBreached(
            time_ns=context.time_ns,
            account=account.name,
            reason=Reason.REPEATED_ORDER_THROTTLE,
            detail=detail,
            symbol=context.request.symbol,
        )
    )
    return Refusal(Reason.REPEATED_ORDER_THROTTLE, detail)


def _fingerprint(context: OrderContext) -> str:
    """What makes two orders the same order: symbol, side, size and price."""
    request = context.request
    size = request.quantity_lots or -request.quote_amount_units
    side = "B" if request.side is BUY else "S"
    return f"{request.symbol}{side}{size}@{request.price_ticks or request.stop_price_ticks}"


def _repeats_too_often(account: Account, fingerprint: str, time_ns: int, repeats_max: int, window_ns: int) -> bool:
    """Note one sending and answer whether it makes more than ``repeats_max`` within the window."""
    if abs(time_ns - account.repeats_since_ns) > window_ns:
        account.repeats_before = account.repeats
        account.repeats = {}
        account.repeats_since_ns = time_ns
    times = account.repeats.get(fingerprint)
    if times is None:
        earlier = account.repeats_before
        times = earlier.pop(fingerprint, None) if earlier else None
        if times is None:
            account.repeats[fingerprint] = (time_ns,)
            return False
    account.repeats[fingerprint] = times = (*times, time_ns)[-repeats_max - 1 :]
    return len(times) > repeats_max and abs(time_ns - times[0]) <= window_ns


def check_open_orders(context: OrderContext) -> Refusal | None:
    """The number of open orders."""
    account, orders_max = context.account, context.limits.open_orders_max
    assert account is not None
    if not orders_max or context.replaces is not None or context.flattens or len(account.open_orders) < orders_max:
        return None
    return Refusal(
        Reason.OPEN_ORDERS_LIMIT, f"Account {account.name} has {len(account.open_orders)} open orders of {orders_max}."
    )


def check_self_match(context: OrderContext) -> Refusal | None:
    """An order that asks for no self-trade prevention must not be able to meet the account's own."""
    request, market, account = context.request, context.market, context.account
    if request.self_trade_prevention is not SELF_TRADES_ALLOWED:
        return None
    assert market is not None
    assert account is not None
    if not CAPABILITIES[market.instrument.venue].own_orders_meet:
        return None
    if request.type in TRIGGERED:
        return Refusal(
            Reason.SELF_MATCH,
            f"A {request.type} order takes at a time nobody knows yet, so it needs a self-trade prevention mode.",
        )
    for order_id in sorted(account.open_orders):
        other = context.desk.orders[order_id].order
        if other.request.symbol != request.symbol or other.request.side is request.side or not other.price_ticks:
            continue
        if other.state is OrderState.ARMED:
            continue
        gap = request.price_ticks - other.price_ticks
        if request.type is MARKET or (gap >= 0 if request.side is BUY else gap <= 0):
            return Refusal(
                Reason.SELF_MATCH,
                f"The order would meet the account's own order {order_id} at {text.price(market, other.price_ticks)}.",
            )
    return None


def check_buying_power(context: OrderContext) -> Refusal | None:
    """Free funds cover what the order needs. Open and UNKNOWN orders keep theirs reserved."""
    prospect, account = context.prospect, context.account
    assert prospect is not None
    assert account is not None
    balance = account.balances.get(prospect.need_asset)
    free = balance.total_units - balance.reserved_units if balance is not None else 0
    if prospect.extra_units <= free:
        return None
    return Refusal(
        Reason.INSUFFICIENT_FUNDS,
        f"The order needs {text.amount(context.desk, prospect.need_asset, prospect.extra_units)}, "
        f"{text.amount(context.desk, prospect.need_asset, max(free, 0))} is free.",
    )


def check_position(context: OrderContext) -> Refusal | None:
    """The position if every open order on this side filled, valued at the mark."""
    limit = context.limits.position_value_units_max
    prospect, market, account = context.prospect, context.market, context.account
    assert prospect is not None
    assert market is not None
    assert account is not None
    if not limit or prospect.reducing:
        return None
    lots = _worst_lots(context, account, market)
    worth = value_of_lots(context.desk, market, lots, context.mark_ticks or prospect.price_ticks)
    if worth <= limit:
        return None
    return Refusal(
        Reason.POSITION_LIMIT,
        f"The position in {market.symbol} could reach {text.quantity(market, lots)} worth "
        f"{text.value(context.desk, worth)}, the limit is {text.value(context.desk, limit)}.",
    )


def _worst_lots(context: OrderContext, account: Account, market: Market) -> int:
    """The size of the position if the order and every open one on its side filled."""
    assert context.prospect is not None
    position = account.positions.get(market.symbol)
    lots = context.prospect.extra_lots
    if position is None:
        return lots
    held = position_lots(position, market)
    if context.request.side is BUY:
        return abs(held + position.open_buy_lots + lots)
    return abs(held - position.open_sell_lots - lots)


def check_exposure(context: OrderContext) -> Refusal | None:
    """Everything held beside the valuation asset, and what open orders would turn into such; and its leverage."""
    limits, prospect, account, desk = context.limits, context.prospect, context.account, context.desk
    assert prospect is not None
    assert account is not None
    cash = desk.state.valuation_asset
    if not (limits.exposure_units_max or limits.leverage_ppm_max) or prospect.reducing or prospect.need_asset != cash:
        return None  # only an order that spends the valuation asset adds exposure
    refresh(desk, account)
    balance = account.balances.get(cash)
    exposure = account.exposure_units + (balance.reserved_units if balance is not None else 0) + prospect.extra_units
    if limits.exposure_units_max and exposure > limits.exposure_units_max:
        return Refusal(
            Reason.EXPOSURE_LIMIT,
            f"The exposure of account {account.name} could reach {text.value(desk, exposure)}, the limit is "
            f"{text.value(desk, limits.exposure_units_max)}.",
        )
    return None


def check_concentration(context: OrderContext) -> Refusal | None:
    """The share of equity that one base asset could reach."""
    limit, prospect, account = context.limits.concentration_ppm_max, context.prospect, context.account
    market, desk = context.market, context.desk
    assert prospect is not None
    assert market is not None
    assert account is not None
    if not limit or prospect.reducing or context.request.side is SELL:
        return None
    worth = _worst_worth_of_base(context, account, market)
    if account.equity_units > 0 and share_ppm(worth, account.equity_units) <= limit:
        return None
    return Refusal(
        Reason.CONCENTRATION_LIMIT,
        f"{market.base} could reach {text.value(desk, worth)} of the {text.value(desk, account.equity_units)} that "
        f"account {account.name} is worth, the limit is {text.percent(limit)}.",
    )


def _worst_worth_of_base(context: OrderContext, account: Account, market: Market) -> int:
    """What the base asset could be worth if this order and every open one that buys it filled."""
    desk, prospect = context.desk, context.prospect
    assert prospect is not None
    refresh(desk, account)
    worth = value_of_lots(desk, market, prospect.extra_lots, context.mark_ticks or prospect.price_ticks)
    held = account.balances.get(market.base)
    if held is not None:
        worth += abs(value_of(desk, market.base, held.total_units) or 0)
    for symbol, position in account.positions.items():
        other = desk.state.markets[symbol]
        if other.base == market.base and position.open_buy_lots:
            worth += value_of(desk, market.base, position.open_buy_lots * other.lot_units) or 0
    return worth


def check_holding(context: OrderContext) -> Refusal | None:
    """The share of equity that the account set as its most for this one asset."""
    prospect, account, market, desk = context.prospect, context.account, context.market, context.desk
    assert prospect is not None
    assert market is not None
    assert account is not None
    limit = account.holding_limits_ppm.get(market.base, 0)
    if not limit or prospect.reducing or context.request.side is SELL:
        return None
    worth = _worst_worth_of_base(context, account, market)
    if account.equity_units > 0 and share_ppm(worth, account.equity_units) <= limit:
        return None
    return Refusal(
        Reason.HOLDING_LIMIT,
        f"{market.base} could reach {text.value(desk, worth)} of the {text.value(desk, account.equity_units)} that "
        f"account {account.name} is worth; its own limit for {market.base} is {text.percent(limit)}.",
    )


def check_leverage(context: OrderContext) -> Refusal | None:
    """Exposure over equity, open orders counted."""
    desk, limit = context.desk, context.limits.leverage_ppm_max
    beyond = beyond_leverage(context, limit)
    if beyond is None:
        return None
    exposure, equity = beyond
    return Refusal(
        Reason.LEVERAGE_LIMIT,
        f"The exposure could reach {text.value(desk, exposure)} on an equity of {text.value(desk, equity)}, the limit "
        f"is {text.percent(limit)}.",
    )


def check_losses(context: OrderContext) -> Refusal | None:
    """After the day's loss limit or the drawdown limit only orders that reduce a position are taken."""
    limits, prospect, account, desk = context.limits, context.prospect, context.account, context.desk
    assert prospect is not None
    assert account is not None
    if not (limits.daily_loss_units_max or limits.drawdown_ppm_max) or prospect.reducing:
        return None
    reason, detail = loss_of(desk, account)
    if reason is NO_REASON:
        return None
    watch_losses(desk, account)
    return Refusal(reason, detail)


def check_mandate(context: OrderContext) -> Refusal | None:
    """An agent's order: a mandate for this account, symbol, size and day, and a person's approval above its limit."""
    use = _mandate_use(context)
    if isinstance(use, Refusal):
        return use
    if use is not None:
        refusal = outside_mandate(context, use)
        if refusal is not None and not (context.approval_id and refusal.reason is Reason.MANDATE_REQUIRES_APPROVAL):
            return refusal
    if context.approval_id:
        # A held order is placed by its approval itself; one that only names an approval has none.
        return named_refusal(context.desk, context.approval_id, context.request)
    return None


def _mandate_use(context: OrderContext) -> MandateUse | Refusal | None:
    """The mandate that must cover the order; None for a person's own order; a refusal where there is none."""
    account, request = context.account, context.request
    assert account is not None
    if context.flattens:
        return None
    if context.actor.startswith(AGENT_PREFIX):
        agent = context.actor.removeprefix(AGENT_PREFIX)
        names = [agent]
    elif request.decision_id:
        agent = f"behind decision {request.decision_id}"
        names = sorted(account.mandates)
    else:
        return None
    enabled = [
        account.mandates[name] for name in names if name in account.mandates and account.mandates[name].mandate.enabled
    ]
    if not enabled:
        return Refusal(Reason.MANDATE_MISSING, f"Agent {agent} has no mandate on account {account.name}.")
    # A person who carries out a decision may do so under any mandate that covers the symbol.
    covering = [use for use in enabled if request.symbol in use.mandate.symbols]
    if not covering:
        return Refusal(Reason.MANDATE_SYMBOL, f"The mandate of agent {agent} does not cover {request.symbol}.")
    return covering[0]


def covering_mandate(context: OrderContext) -> MandateUse | None:
    """The mandate that an accepted order was taken under; None for a person's own order."""
    if not context.request.decision_id and not context.actor.startswith(AGENT_PREFIX):
        return None
    use = _mandate_use(context)
    return use if isinstance(use, MandateUse) else None


#: The second half of ``checks.CHECKS``.
LIMIT_CHECKS: Final[tuple[Callable[[OrderContext], Refusal | None], ...]] = (
    check_order_size,
    check_message_rate,
    check_repeated_orders,
    check_open_orders,
    check_self_match,
    check_buying_power,
    check_position,
    check_exposure,
    check_concentration,
    check_leverage,
    check_holding,
    check_losses,
    check_mandate,
)
