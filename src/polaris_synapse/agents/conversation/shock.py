"""What a move of the market would do to what is held, exactly."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Final

from polaris_synapse.agents.conversation.numbers import plain
from polaris_synapse.agents.conversation.view import Holding, Said, Table, View, count
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.orders import Order, OrderType, Side

_DIGITS: Final = 60


def shocked_units(units: int, change_percent: str) -> Decimal:
    """What a change of so many percent does to an amount of minor units, exactly (a fraction of a unit can be left)."""
    with localcontext() as context:
        context.prec = _DIGITS
        return units * Decimal(change_percent) / 100


def _text(units: Decimal, decimals: int) -> str:
    with localcontext() as context:
        context.prec = _DIGITS
        return plain(units.scaleb(-decimals))


async def answer_shock(view: View, symbol: str, change_percent: str) -> Said:
    """The change of every holding that the move concerns, and of the whole."""
    if Decimal(change_percent) < -100:
        return Said("A price cannot fall by more than 100 %.")
    instruments = await view.instruments()
    base = instruments[symbol].base.code if symbol in instruments else ""
    holdings = await view.holdings()
    moved = [row for row in holdings if row.instrument is not None and row.value_units and base in ("", row.asset.code)]
    what = base or "every price"
    direction = f"{change_percent} %" if change_percent.startswith("-") else f"+{change_percent} %"
    unpriced = [row.asset.code for row in holdings if row.value_units is None and row.total_units]
    if not moved:
        held = f" You hold {', '.join(unpriced)} without a price." if unpriced else ""
        return Said(f"{direction} in {what} would change nothing: there is none of it on {view.whose}.{held}")
    before = sum(row.value_units or 0 for row in holdings)
    decimals, code = view.valuation.decimals, view.valuation.code
    change = sum((shocked_units(row.value_units or 0, change_percent) for row in moved), Decimal(0))
    rows = tuple(_row(row, change_percent, decimals) for row in moved)
    text = (
        f"{direction} in {what} would change {view.whose} by {_text(change, decimals)} {code}, from "
        f"{format_units(before, decimals)} to {_text(Decimal(before) + change, decimals)} {code}."
    )
    crossed = await _orders_crossed(view, moved, change_percent)
    if crossed:
        text += f" {count(crossed, 'open order')} would be reached on the way; their effect is not in it."
    if unpriced:
        text += f" Held without a price, and not counted: {', '.join(unpriced)}."
    columns = ("asset", "held", "price now", f"value now, {code}", f"change, {code}")
    table = Table(f"{direction} in {what}", columns, rows)
    return Said(text, table, view.is_simulated(*(row.mark for row in moved)))


def _row(row: Holding, change_percent: str, decimals: int) -> tuple[str, ...]:
    assert row.instrument is not None
    assert row.mark is not None
    value = row.value_units or 0
    return (
        row.asset.code,
        format_units(row.total_units, row.asset.decimals),
        row.instrument.format_price(row.mark.mark_ticks),
        format_units(value, decimals),
        _text(shocked_units(value, change_percent), decimals),
    )


async def _orders_crossed(view: View, moved: list[Holding], change_percent: str) -> int:
    """Open orders with a price between the market and where it would go."""
    crossed = 0
    for row in moved:
        assert row.instrument is not None
        assert row.mark is not None
        start = Decimal(row.mark.mark_ticks)
        end = start + shocked_units(row.mark.mark_ticks, change_percent)
        low, high = min(start, end), max(start, end)
        for order in await view.orders(symbol=row.instrument.symbol):
            ticks = _reached_at(order, row.instrument)
            crossed += bool(ticks and low <= ticks <= high)
    return crossed


def _reached_at(order: Order, instrument: Instrument) -> int:
    if order.stop_price_ticks:
        return order.stop_price_ticks
    # A resting purchase lies below the market, a sale above it: the move reaches it either way.
    limited = order.request.type is OrderType.LIMIT and order.request.side in (Side.BUY, Side.SELL)
    return order.price_ticks if limited and instrument.symbol == order.request.symbol else 0
