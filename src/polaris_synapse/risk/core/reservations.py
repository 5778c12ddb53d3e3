"""What open orders hold: funds reserved, and lots counted against position limits.

A BUY reserves quote: at its limit price, or at the worst price a MARKET order is expected to meet (the mark or stop
price plus the price collar), or what is left of its quote amount. A SELL reserves the base it may deliver. Fees need
no reservation, they come out of what is received. While a replacement is under way an order holds the larger of what
its old and its new values need. In a terminal state it holds nothing.

Invariant, checked by ``RiskCore.check``: an account's reserved units of an asset are the sum of what its open orders
need of it, and its open lots of an instrument the sum of what they may still trade.
"""

from __future__ import annotations

from typing import Final

from polaris_synapse.domain.instruments import PARTS_PER_MILLION
from polaris_synapse.domain.money import divide_rounding_up
from polaris_synapse.domain.orders import LIMIT_PRICED, TERMINAL_STATES, OrderRequest, Side
from polaris_synapse.risk.core.ledger import balance_of
from polaris_synapse.risk.core.members import BUY, LIMIT, SELL, TRAILING_STOP
from polaris_synapse.risk.core.positions import position_of
from polaris_synapse.risk.core.state import Account, Desk, Market, OrderRecord

#: How far beyond the mark a MARKET order is expected to fill where the account has no price collar.
MARKET_RESERVE_PPM: Final = 50_000


def trailing_offset(request: OrderRequest, mark_ticks: int) -> int:
    """A trailing stop's offset in ticks at the mark, rounded up."""
    if request.trailing_offset_ticks:
        return request.trailing_offset_ticks
    return divide_rounding_up(mark_ticks * request.trailing_offset_bps, 10_000)


def stop_at_submission(request: OrderRequest, mark_ticks: int) -> int:
    """The price at which the order would trigger now: its stop price, or a trailing stop's; 0 for one without."""
    if request.type is not TRAILING_STOP:
        return request.stop_price_ticks
    offset = trailing_offset(request, mark_ticks)
    return mark_ticks + offset if request.side is BUY else max(mark_ticks - offset, 1)


def worst_buy_ticks(request: OrderRequest, mark_ticks: int, collar_ppm: int) -> int:
    """The highest price a BUY without a limit price is expected to pay: 0 for other orders."""
    if request.side is not BUY or request.type is LIMIT or request.quote_amount_units:
        return 0
    if request.type in LIMIT_PRICED:
        return 0
    start = stop_at_submission(request, mark_ticks) or mark_ticks
    return divide_rounding_up(start * (PARTS_PER_MILLION + (collar_ppm or MARKET_RESERVE_PPM)), PARTS_PER_MILLION)


def worst_lots_of_amount(request: OrderRequest, market: Market, mark_ticks: int, collar_ppm: int) -> int:
    """The most lots that an order by quote amount is expected to trade: at the mark less the collar. 0 for others."""
    if not request.quote_amount_units:
        return 0
    collar = min(collar_ppm or MARKET_RESERVE_PPM, PARTS_PER_MILLION - 1)
    lowest = max(mark_ticks * (PARTS_PER_MILLION - collar) // PARTS_PER_MILLION, 1)
    return divide_rounding_up(request.quote_amount_units, lowest * market.multiplier)


def need(
    record: OrderRecord, market: Market, quantity_lots: int, price_ticks: int, stop_price_ticks: int
) -> tuple[int, int]:
    """What an order with these values holds: ``(units of its need asset, lots that may still trade)``."""
    order = record.order
    request = order.request
    if request.quote_amount_units:
        lots = max(record.worst_lots - order.filled_lots, 0)
        if request.side is BUY:
            return max(request.quote_amount_units - order.filled_notional_units, 0), lots
        return lots * market.lot_units, lots
    lots = max(quantity_lots - order.filled_lots, 0)
    if request.side is SELL:
        return lots * market.lot_units, lots
    if request.type is LIMIT or request.type in LIMIT_PRICED:
        return lots * price_ticks * market.multiplier, lots
    worst = record.worst_ticks
    if stop_price_ticks > order.request.stop_price_ticks:
        # A stop moved up by a replacement meets a worse price than the one it was reserved for.
        worst = worst * stop_price_ticks // order.request.stop_price_ticks + 1
    return lots * worst * market.multiplier, lots


def current_need(record: OrderRecord, market: Market) -> tuple[int, int]:
    """What an order must hold in its present state."""
    order = record.order
    if order.state in TERMINAL_STATES:
        return 0, 0
    gone = 0
    if record.leg is not None:
        if record.leg.waits or record.leg.covered:
            return 0, 0
        gone = record.leg.sibling_lots
    units, lots = need(record, market, order.quantity_lots - gone, order.price_ticks, order.stop_price_ticks)
    pending = record.pending
    if pending is not None:
        new_units, new_lots = need(
            record, market, pending.quantity_lots - gone, pending.price_ticks, pending.stop_price_ticks
        )
        return max(units, new_units), max(lots, new_lots)
    return units, lots


def settle(account: Account, market: Market, record: OrderRecord) -> bool:
    """Make the account hold exactly what the order needs now. Answers whether reserved funds changed."""
    units, lots = current_need(record, market)
    if lots != record.exposed_lots:
        position = position_of(account, market.symbol)
        if record.order.request.side is BUY:
            position.open_buy_lots += lots - record.exposed_lots
        else:
            position.open_sell_lots += lots - record.exposed_lots
        record.exposed_lots = lots
    if units == record.need_units:
        return False
    balance = balance_of(account, record.need_asset)
    balance.reserved_units += units - record.need_units
    record.need_units = units
    return True


def problems(desk: Desk) -> list[str]:
    """Where what is held differs from what open orders need, one sentence each; empty when all is well."""
    found: list[str] = []
    for name in desk.account_names():
        account = desk.state.accounts[name]
        reserved: dict[str, int] = {}
        open_lots: dict[tuple[str, Side], int] = {}
        for order_id in account.open_orders:
            record = desk.orders[order_id]
            request = record.order.request
            units, lots = current_need(record, desk.state.markets[request.symbol])
            if (units, lots) != (record.need_units, record.exposed_lots):
                found.append(f"order {order_id} holds {record.need_units}, {record.exposed_lots}, not {units}, {lots}")
            reserved[record.need_asset] = reserved.get(record.need_asset, 0) + units
            key = (request.symbol, request.side)
            open_lots[key] = open_lots.get(key, 0) + lots
        for asset, balance in account.balances.items():
            if balance.reserved_units != reserved.get(asset, 0):
                found.append(f"{name} reserves {balance.reserved_units} {asset}, orders need {reserved.get(asset, 0)}")
        for symbol, position in account.positions.items():
            held = (position.open_buy_lots, position.open_sell_lots)
            wanted = (open_lots.get((symbol, BUY), 0), open_lots.get((symbol, SELL), 0))
            if held != wanted:
                found.append(f"{name} counts {held} open lots of {symbol}, orders have {wanted}")
    return found
