"""What is shown of a book's last 24 hours, the same over HTTP and on the stream."""

from __future__ import annotations

from polaris_synapse.domain.money import format_amount
from polaris_synapse.matching.api_types import DayBody
from polaris_synapse.matching.core.market import Market


def day_of(market: Market) -> DayBody:
    """The statistics of a book as they are now."""
    instrument, day = market.instrument, market.statistics.summary()
    price = instrument.format_price
    return DayBody(
        sequence=market.trades,
        open=price(day.open_ticks),
        high=price(day.high_ticks),
        low=price(day.low_ticks),
        close=price(day.close_ticks),
        last=price(market.book.last_price),
        volume=instrument.format_quantity(day.volume_lots),
        turnover=format_amount(day.turnover * instrument.notional_multiplier, instrument.quote),
        trades=day.trades,
    )
