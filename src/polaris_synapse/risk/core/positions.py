"""Positions by average cost, in integers.

A position counts base minor units *after* fees taken in base: who buys 1 BTC and pays 0.001 BTC of it as the fee has a
position of 0.999 BTC, which is what can be sold again. Such a fee is valued at the fill's price and realised as a loss
at once, so the average cost stays the price paid. Fees in the quote asset, or in a third asset where it has a price,
are realised as a loss likewise.

Where part of a position is closed, the cost that leaves with it is rounded towards zero and the rest stays: closing
the whole position takes its whole cost. Hence, exactly, ``realised_pnl - cost`` is the account's net quote cash flow
from the instrument (fees in third assets aside).
"""

from __future__ import annotations

from polaris_synapse.domain.messages import PositionChanged
from polaris_synapse.domain.money import divide_rounding_up
from polaris_synapse.domain.orders import Fill, Side
from polaris_synapse.risk.core.members import SELL
from polaris_synapse.risk.core.state import COUNTER_UNITS_MAX, Account, Desk, Market, Position
from polaris_synapse.risk.core.valuation import value_of


def position_of(account: Account, symbol: str) -> Position:
    """The account's position on an instrument, made when it is first touched."""
    position = account.positions.get(symbol)
    if position is None:
        position = account.positions[symbol] = Position()
    return position


def position_lots(position: Position, market: Market) -> int:
    """Whole lots of a position, signed, rounded towards zero."""
    units = position.base_units
    return units // market.lot_units if units >= 0 else -(-units // market.lot_units)


def take_fill(desk: Desk, position: Position, market: Market, side: Side, fill: Fill) -> int:
    """Fold a fill into the position and answer the profit it realised, in quote minor units."""
    notional = fill.price_ticks * fill.quantity_lots * market.multiplier
    base_units = fill.quantity_lots * market.lot_units
    if side is SELL:
        base_units, value = -base_units, -notional
    else:
        value = notional
    fee_value = _fee_value(desk, market, fill)
    if fill.fee_asset == market.base and fill.fee_units:
        base_units -= fill.fee_units
        value -= fee_value
    realised = _move(position, base_units, value) - fee_value
    position.realised_pnl_units += realised
    position.fees_units = min(position.fees_units + fee_value, COUNTER_UNITS_MAX)
    position.traded_notional_units = min(position.traded_notional_units + notional, COUNTER_UNITS_MAX)
    return realised


def _fee_value(desk: Desk, market: Market, fill: Fill) -> int:
    """The fee in quote minor units, rounded against the account; 0 for an asset that has no price."""
    if not fill.fee_units or fill.fee_asset == market.quote:
        return fill.fee_units
    if fill.fee_asset == market.base:
        quote_per_unit = fill.price_ticks * market.instrument.tick_units
        return divide_rounding_up(fill.fee_units * quote_per_unit, market.base_unit_count)
    worth = value_of(desk, fill.fee_asset, fill.fee_units) or 0
    if market.quote == desk.state.valuation_asset:
        return worth
    whole = 10**market.instrument.quote.decimals
    per_whole = value_of(desk, market.quote, whole)
    return divide_rounding_up(worth * whole, per_whole) if per_whole else 0


def _move(position: Position, units: int, value: int) -> int:
    """Add ``units`` bought (negative: sold) for ``value`` (same sign) and answer the profit of what that closed."""
    held, cost = position.base_units, position.cost_units
    profit = 0
    if held and units and (held > 0) != (units > 0):
        closing = min(abs(held), abs(units))
        # What is left over after zero opens the other way at the same price.
        closing_value = _share(value, closing, abs(units))
        profit = -closing_value - _share(cost, closing, abs(held))
    position.base_units = held + units
    # By construction realised profit minus cost follows the cash, whatever was rounded.
    position.cost_units = cost + value + profit
    return profit


def _share(amount: int, part: int, whole: int) -> int:
    """``amount * part / whole`` rounded towards zero, so that rounding does not depend on the side."""
    return amount * part // whole if amount >= 0 else -(-amount * part // whole)


def say_position(desk: Desk, account: Account, market: Market, position: Position) -> None:
    """Publish a position after a change."""
    desk.out.append(
        PositionChanged(
            time_ns=desk.time_ns,
            account=account.name,
            symbol=market.symbol,
            quantity_lots=position_lots(position, market),
            cost_units=position.cost_units,
            realised_pnl_units=position.realised_pnl_units,
            fees_units=position.fees_units,
            traded_notional_units=position.traded_notional_units,
        )
    )
