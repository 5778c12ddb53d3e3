"""From an intended order to the exact one: shares and amounts become quantities, and odd prices are noticed."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from polaris_synapse.agents.conversation.intents import Ambiguous, PlaceOrder, Unclear
from polaris_synapse.agents.conversation.ports import OrderTicket
from polaris_synapse.domain.instruments import Instrument, InstrumentError
from polaris_synapse.domain.messages import BalanceChanged, Mark
from polaris_synapse.domain.money import MoneyError, format_units, parse_amount
from polaris_synapse.domain.orders import LIMIT_PRICED, STOP_PRICED, OrderType, Side

_PPM: Final = 1_000_000
_RISES: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT})


def free_units(balances: list[BalanceChanged], asset: str) -> int:
    """What is free of an asset, in minor units."""
    return sum(row.total_units - row.reserved_units for row in balances if row.asset == asset)


def make_ticket(
    order: PlaceOrder, instrument: Instrument, balances: list[BalanceChanged], account: str, client_order_id: str
) -> OrderTicket | Ambiguous:
    """The ticket. ``balances`` are the account's. An amount or share that the instrument cannot express is rounded down
    to whole lots, never up; a quantity that was written out is never rounded.
    """
    quantity, quote_amount = order.quantity, order.quote_amount
    if order.percent:
        asset = instrument.quote if order.side is Side.BUY else instrument.base
        units = int(free_units(balances, asset.code) * Decimal(order.percent) / 100)
        if units <= 0:
            return Ambiguous(
                about=Unclear.QUANTITY, question=f"Account {account} has no free {asset.code}. How much do you mean?"
            )
        if order.side is Side.SELL:
            quantity = instrument.format_quantity(units // instrument.lot_units)
        else:
            quote_amount = format_units(units, asset.decimals)
    if quote_amount and order.type is not OrderType.MARKET:
        found = _lots_for(quote_amount, order, instrument)
        if isinstance(found, Ambiguous):
            return found
        quantity, quote_amount = instrument.format_quantity(found), ""
    bps = 0
    if order.trailing_percent:
        hundredths = Decimal(order.trailing_percent) * 100
        if hundredths != int(hundredths) or not 1 <= hundredths <= 10_000:
            return Ambiguous(
                about=Unclear.PRICE,
                question="A stop trails by 0.01 % to 100 %, in steps of 0.01 %. By how much should it?",
            )
        bps = int(hundredths)
    return OrderTicket(
        account=account,
        client_order_id=client_order_id,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        quantity=quantity,
        quote_amount=quote_amount,
        price=order.price,
        stop_price=order.stop_price,
        trailing_offset=order.trailing_offset,
        trailing_offset_bps=bps,
        time_in_force=order.time_in_force,
        post_only=order.post_only,
    )


def _lots_for(quote_amount: str, order: PlaceOrder, instrument: Instrument) -> int | Ambiguous:
    price = order.price or order.stop_price
    if not price:
        return Ambiguous(about=Unclear.QUANTITY, question="That kind of order needs a quantity. How much, exactly?")
    try:
        one_lot = instrument.notional_units(instrument.parse_price(price), 1)
        lots = parse_amount(quote_amount, instrument.quote) // one_lot
    except (InstrumentError, MoneyError, ZeroDivisionError) as error:
        return Ambiguous(about=Unclear.PRICE, question=f"That does not work: {error}.")
    return lots


def price_question(
    order: PlaceOrder, instrument: Instrument, mark: Mark | None, distance_ppm_max: int
) -> Ambiguous | None:
    """What to ask about a price that looks like a slip of the hand; None for one that does not."""
    if mark is None or mark.mark_ticks <= 0:
        return None
    market = instrument.format_price(mark.mark_ticks)
    for said, kinds in ((order.price, LIMIT_PRICED), (order.stop_price, STOP_PRICED)):
        if order.type not in kinds or not said:
            continue
        try:
            ticks = instrument.parse_price(said)
        except InstrumentError as error:
            return Ambiguous(about=Unclear.PRICE, question=f"{_sentence(str(error))} At which price?")
        away_ppm = abs(ticks - mark.mark_ticks) * _PPM // mark.mark_ticks
        if away_ppm > distance_ppm_max:
            where = "below" if ticks < mark.mark_ticks else "above"
            return Ambiguous(
                about=Unclear.PRICE,
                question=f"{said} is {format_units(away_ppm, 4)} % {where} the market at {market}. If you mean it, say "
                "the same order again; otherwise say it with another price.",
            )
    if order.type in STOP_PRICED and order.stop_price:
        return _wrong_side(order, instrument.parse_price(order.stop_price), mark.mark_ticks, market)
    return None


def _wrong_side(order: PlaceOrder, stop_ticks: int, mark_ticks: int, market: str) -> Ambiguous | None:
    """A trigger on the wrong side of the market would trigger at once."""
    waits_for_a_rise = (order.side is Side.BUY) == (order.type in _RISES)
    if stop_ticks != mark_ticks and (stop_ticks > mark_ticks) == waits_for_a_rise:
        return None
    needed = "above" if waits_for_a_rise else "below"
    return Ambiguous(
        about=Unclear.PRICE,
        question=f"That would trigger at once: the market is at {market}, and the price must lie {needed} it. At which "
        "price?",
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
