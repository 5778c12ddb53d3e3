"""The kill switch: no new risk, cancel all, flatten. Its level is state, so it survives a restart.

FLATTEN is an aim, not one act: while it is on, every tick and every ended order looks at each position again and sends
one MARKET order towards zero. It first lets the cancels confirm, because what resting orders reserve cannot be sold;
after ``FLATTEN_WAIT_SECONDS`` it goes on with what is free (an UNKNOWN order may stay unresolved for long). Its orders
pass every check but the kill switch; throttles and the count of open orders, which meter the client, do not count
them. They are cut to the limits on one order, so a large position closes in steps. What is too small to sell is said
once in LimitBreached and left.
"""

from __future__ import annotations

from typing import Final

from polaris_synapse.domain.messages import KillLevel, KillLevelChanged, LimitBreached, SetKillLevel
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import text
from polaris_synapse.risk.core.answers import answer
from polaris_synapse.risk.core.checks import first_refusal
from polaris_synapse.risk.core.context import OrderContext
from polaris_synapse.risk.core.members import FLATTEN
from polaris_synapse.risk.core.orders import CANCELS_AT_ONCE_MAX, accept, cancel_these, cancellable
from polaris_synapse.risk.core.positions import position_lots
from polaris_synapse.risk.core.reservations import worst_buy_ticks
from polaris_synapse.risk.core.state import (
    FLATTEN_PREFIX,
    NOTE_CHARACTERS_MAX,
    SECOND_NS,
    Account,
    Desk,
    Market,
    Position,
)
from polaris_synapse.risk.core.valuation import last_price

#: How long flattening waits for cancels to confirm before it closes what is free.
FLATTEN_WAIT_SECONDS: Final = 10
#: How long it waits after an attempt that closed nothing, and how many such attempts it makes.
FLATTEN_RETRY_SECONDS: Final = 5
FLATTEN_ATTEMPTS_MAX: Final = 1_000


def level_of(desk: Desk, account: Account) -> KillLevel:
    """The level in force for an account: the desk's or its own, whichever stops more."""
    everywhere, here = desk.state.kill_level, account.kill_level
    return here if here > everywhere else everywhere


def set_level(desk: Desk, command: SetKillLevel) -> None:
    """Set the level of one account or of all, cancel what it cancels, and begin to flatten.

    The level is in force at once. Where more is open than one input may cancel, ``order_ids`` names all of it, and the
    rest is cancelled by the ticks and by the CancelAll with which the shell hurries them on.
    """
    state, everyone = desk.state, command.account == "*"
    if not everyone and command.account not in state.accounts:
        answer(desk, command, Reason.ACCOUNT_NOT_FOUND, f"There is no account {command.account}.")
        return
    if len(command.note) > NOTE_CHARACTERS_MAX:
        answer(desk, command, Reason.INVALID_VALUE, f"A note has at most {NOTE_CHARACTERS_MAX} characters.")
        return
    names = desk.account_names() if everyone else [command.account]
    if everyone:
        state.kill_level = command.level
    else:
        state.accounts[command.account].kill_level = command.level
    state.kill_number += 1
    cancelled: tuple[int, ...] = ()
    if command.level >= KillLevel.CANCEL_ALL:
        cancelled = cancellable(desk, names, flattening=command.level is not KillLevel.FLATTEN)
        cancel_these(desk, cancelled[:CANCELS_AT_ONCE_MAX], Reason.CANCELLED_BY_KILL_SWITCH, command.actor)
    desk.out.append(
        KillLevelChanged(
            time_ns=desk.time_ns,
            account=command.account,
            level=command.level,
            note=command.note,
            actor=command.actor,
            order_ids=cancelled,
        )
    )
    for name in names:
        account = state.accounts[name]
        for position in account.positions.values():
            position.flatten_attempts = 0
            position.flatten_after_ns = desk.time_ns + FLATTEN_WAIT_SECONDS * SECOND_NS
            position.flatten_told = Reason.NONE
        flatten(desk, account)
    answer(desk, command, order_ids=cancelled)


def keep_stopped(desk: Desk) -> None:
    """Each tick: ask for the cancels that are left or were refused, so many at once, and go on flattening."""
    places = CANCELS_AT_ONCE_MAX
    for name in desk.account_names():
        account = desk.state.accounts[name]
        level = level_of(desk, account)
        if level >= KillLevel.CANCEL_ALL:
            found = cancellable(desk, [name], flattening=level is not KillLevel.FLATTEN)[:places]
            cancel_these(desk, found, Reason.CANCELLED_BY_KILL_SWITCH, "desk")
            places -= len(found)
            flatten(desk, account)


def flatten(desk: Desk, account: Account) -> None:
    """Send what closes the account's positions, as far as that can be done now. Does nothing below FLATTEN."""
    if level_of(desk, account) is not FLATTEN:
        return
    for symbol in sorted(account.positions):
        position, market = account.positions[symbol], desk.state.markets[symbol]
        lots = position_lots(position, market)
        if lots and _may_go(desk, account, symbol, position):
            _close_position(desk, account, market, position, lots)


def _may_go(desk: Desk, account: Account, symbol: str, position: Position) -> bool:
    """Whether the time has come for the next order: nothing of the account is in its way, or it waited long enough."""
    waiting = desk.time_ns < position.flatten_after_ns
    if position.open_buy_lots or position.open_sell_lots:
        return not waiting and not any(
            desk.orders[order_id].flattens and desk.orders[order_id].order.request.symbol == symbol
            for order_id in account.open_orders
        )
    return not (position.flatten_attempts and waiting)


def _close_position(desk: Desk, account: Account, market: Market, position: Position, lots: int) -> None:
    """Send one order towards zero, or say once why none can be sent."""
    if position.flatten_attempts >= FLATTEN_ATTEMPTS_MAX:
        _tell(
            desk, account, market, position, Reason.TIMED_OUT,
            f"{text.quantity(market, abs(lots))} could not be closed in {FLATTEN_ATTEMPTS_MAX} attempts.",
        )  # fmt: skip
        return
    side = Side.SELL if lots > 0 else Side.BUY
    size = _size(desk, account, market, side, abs(lots))
    price_ticks = last_price(desk, market)
    instrument = market.instrument
    if size < instrument.min_quantity_lots or (
        price_ticks and price_ticks * size * market.multiplier < instrument.min_notional_units
    ):
        _tell(
            desk, account, market, position, Reason.QUANTITY_TOO_SMALL,
            f"Of the position of {text.quantity(market, abs(lots))} only {text.quantity(market, size)} can be closed "
            f"now, which is less than one order of {market.symbol} may have.",
        )  # fmt: skip
        return
    position.flatten_attempts += 1
    position.flatten_after_ns = desk.time_ns + FLATTEN_RETRY_SECONDS * SECOND_NS
    request = OrderRequest(
        account=account.name,
        client_order_id=f"{FLATTEN_PREFIX}{desk.state.kill_number}-{desk.state.order_number + 1}",
        symbol=market.symbol,
        side=side,
        type=OrderType.MARKET,
        quantity_lots=size,
        time_in_force=TimeInForce.IOC,
    )
    context = OrderContext(desk, request, actor="desk", flattens=True)
    refusal = first_refusal(context)
    if refusal is not None:
        _tell(desk, account, market, position, refusal.reason, f"The position cannot be closed: {refusal.detail}")
        return
    position.flatten_told = Reason.NONE
    accept(desk, context)


def _size(desk: Desk, account: Account, market: Market, side: Side, lots: int) -> int:
    """The part of ``lots`` that one order may trade: what is free, and no more than the limits on one order."""
    limits, mark = account.limits, last_price(desk, market)
    lots = min(lots, market.instrument.max_quantity_lots)
    if limits.order_quantity_lots_max:
        lots = min(lots, limits.order_quantity_lots_max)
    if limits.order_value_units_max and mark and market.quote == desk.state.valuation_asset:
        lots = min(lots, limits.order_value_units_max // (mark * market.multiplier))
    balance = account.balances.get(market.base if side is Side.SELL else market.quote)
    free = max(balance.free_units, 0) if balance is not None else 0
    if side is Side.SELL:
        return min(lots, free // market.lot_units)
    probe = OrderRequest(
        account=account.name, client_order_id="", symbol=market.symbol, side=side, type=OrderType.MARKET
    )
    worst = worst_buy_ticks(probe, mark, limits.price_collar_ppm)
    return min(lots, free // (worst * market.multiplier)) if worst else lots


def _tell(desk: Desk, account: Account, market: Market, position: Position, reason: Reason, detail: str) -> None:
    """Say why a position stays open, once a reason."""
    if position.flatten_told is reason:
        return
    position.flatten_told = reason
    desk.out.append(
        LimitBreached(time_ns=desk.time_ns, account=account.name, reason=reason, detail=detail, symbol=market.symbol)
    )
