"""Answers about the market: prices, books, volumes, and what can be traded."""

from __future__ import annotations

from typing import Final

from polaris_synapse.agents.conversation.intents import Ask
from polaris_synapse.agents.conversation.moments import clock_time
from polaris_synapse.agents.conversation.view import Said, Table, View
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Mark
from polaris_synapse.domain.money import format_units

_BOOK_LEVELS: Final = 5
_CANDLE_SECONDS: Final = 60
_CANDLES: Final = 60


async def price(view: View, ask: Ask) -> Said:
    """The mark and the touch of one instrument or of all."""
    chosen = await _chosen(view, ask)
    marks = [view.market.mark(instrument) for instrument in chosen]
    if len(chosen) == 1:
        instrument, mark = chosen[0], marks[0]
        if mark is None:
            return Said(f"There is no price for {instrument.symbol} yet.")
        text = (
            f"{instrument.symbol} stands at {instrument.format_price(mark.mark_ticks)} {instrument.quote.code}: bid "
            f"{_price(instrument, mark.bid_ticks)}, ask {_price(instrument, mark.ask_ticks)}, last "
            f"{_price(instrument, mark.last_ticks)}, at {clock_time(mark.time_ns)} UTC."
        )
        if mark.symbol != instrument.symbol:
            text += f" That is the price of {mark.symbol}: nothing has traded here."
        if not mark.healthy:
            text += " The market data is not healthy at the moment."
        return Said(text, simulated=view.is_simulated(mark))
    rows = tuple(
        (
            instrument.symbol,
            _price(instrument, mark.mark_ticks) if mark is not None else "no price",
            _price(instrument, mark.bid_ticks) if mark is not None else "",
            _price(instrument, mark.ask_ticks) if mark is not None else "",
        )
        for instrument, mark in zip(chosen, marks, strict=True)
    )
    return Said("Prices now:", Table("Prices", ("symbol", "mark", "bid", "ask"), rows), view.is_simulated(*marks))


async def spread(view: View, ask: Ask) -> Said:
    """Ask less bid, in price and in hundredths of a percent of the mark."""
    rows = []
    marks: list[Mark | None] = []
    for instrument in await _chosen(view, ask):
        mark = view.market.mark(instrument)
        # The bid and ask of the instrument that a price is borrowed from are not this one's.
        if mark is None or mark.symbol != instrument.symbol or not mark.bid_ticks or not mark.ask_ticks:
            continue
        marks.append(mark)
        ticks = mark.ask_ticks - mark.bid_ticks
        # Thousandths of a basis point, rounded down.
        share = format_units(ticks * 10_000_000 // mark.mark_ticks, 3)
        rows.append((
            instrument.symbol,
            _price(instrument, mark.bid_ticks),
            _price(instrument, mark.ask_ticks),
            instrument.format_price(ticks),
            share,
        ))  # fmt: skip
    if not rows:
        return Said(f"There is no bid and ask{f' for {ask.symbol}' if ask.symbol else ''} at the moment.")
    simulated = view.is_simulated(*marks)
    if len(rows) == 1:
        symbol, bid, offer, difference, share = rows[0]
        text = f"The spread of {symbol} is {difference} ({share} basis points): bid {bid}, ask {offer}."
        return Said(text, simulated=simulated)
    columns = ("symbol", "bid", "ask", "spread", "basis points")
    return Said("Spreads now:", Table("Spreads", columns, tuple(rows)), simulated)


async def book(view: View, ask: Ask) -> Said:
    """The best levels of one book."""
    chosen = await _chosen(view, ask)
    if not ask.symbol and len(chosen) > 1:
        return Said(f"The book of which instrument? There are {', '.join(one.symbol for one in chosen)}.")
    instrument = chosen[0]
    bids, asks = view.market.book(instrument.symbol, _BOOK_LEVELS)
    if not bids and not asks:
        return Said(f"The book of {instrument.symbol} is empty, or not known yet.")
    rows = []
    for level in range(max(len(bids), len(asks))):
        bid = _level(instrument, bids[level]) if level < len(bids) else ("", "")
        offer = _level(instrument, asks[level]) if level < len(asks) else ("", "")
        rows.append((bid[1], bid[0], offer[0], offer[1]))
    text = f"The best {len(rows)} levels of {instrument.symbol}."
    table = Table("Book", ("bid quantity", "bid", "ask", "ask quantity"), tuple(rows))
    return Said(text, table, view.is_simulated(view.market.mark(instrument)))


async def volume(view: View, ask: Ask) -> Said:
    """What traded in the last hour's closed one-minute candles."""
    rows = []
    marks = []
    for instrument in await _chosen(view, ask):
        candles = await view.reads.candles(symbol=instrument.symbol, interval_seconds=_CANDLE_SECONDS, limit=_CANDLES)
        start = view.now_ns - (_CANDLES + 1) * _CANDLE_SECONDS * 1_000_000_000
        recent = [candle for candle in candles if candle.open_time_ns >= start]
        lots = sum(candle.volume_lots for candle in recent)
        notional = sum(candle.notional_tick_lots for candle in recent) * instrument.notional_multiplier
        marks.append(view.market.mark(instrument))
        rows.append((
            instrument.symbol,
            f"{instrument.format_quantity(lots)} {instrument.base.code}",
            f"{format_units(notional, instrument.quote.decimals)} {instrument.quote.code}",
            str(sum(candle.trades for candle in recent)),
            str(len(recent)),
        ))  # fmt: skip
    columns = ("symbol", "volume", "worth", "trades", "minutes")
    text = "Volume in the one-minute candles that closed within the last hour."
    if len(rows) == 1:
        symbol, lots_text, worth, trades, minutes = rows[0]
        text = f"{symbol} traded {lots_text} worth {worth} in {trades} trades, over the last {minutes} closed minutes."
    table = Table("Volume", columns, tuple(rows)) if len(rows) > 1 else None
    return Said(text, table, view.is_simulated(*marks))


async def instruments(view: View, ask: Ask) -> Said:
    """What can be traded."""
    rows = tuple(
        (
            one.symbol,
            one.venue,
            one.status,
            one.tick_size,
            one.lot_size,
            f"{format_units(one.min_notional_units, one.quote.decimals)} {one.quote.code}",
        )
        for one in (await view.instruments()).values()
    )
    text = f"{len(rows)} instruments can be traded here." if len(rows) != 1 else "One instrument can be traded here."
    return Said(text, Table("Instruments", ("symbol", "venue", "status", "tick", "lot", "least order"), rows))


async def _chosen(view: View, ask: Ask) -> list[Instrument]:
    known = await view.instruments()
    return [known[ask.symbol]] if ask.symbol in known else list(known.values())


def _price(instrument: Instrument, ticks: int) -> str:
    return instrument.format_price(ticks) if ticks else "none"


def _level(instrument: Instrument, level: tuple[int, int]) -> tuple[str, str]:
    return instrument.format_price(level[0]), instrument.format_quantity(level[1])
