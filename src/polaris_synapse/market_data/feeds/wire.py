"""Messages to Binance's wire format: for recordings of the simulated market and for the local test server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    BookSnapshotReceived,
    BookTickerReceived,
    DepthReceived,
    Message,
    TradeReceived,
)
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.orders import Side

_MILLISECOND_NS: Final = 1_000_000


def _fixed(units: int, decimals: int) -> str:
    """All decimals, as Binance writes numbers: ``61837.63000000``."""
    digits = str(units).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


def _price(instrument: Instrument, ticks: int) -> str:
    return _fixed(ticks * instrument.tick_units, instrument.quote.decimals)


def _quantity(instrument: Instrument, lots: int) -> str:
    return _fixed(lots * instrument.lot_units, instrument.base.decimals)


def _levels(instrument: Instrument, levels: Sequence[Level]) -> list[tuple[str, str]]:
    return [(_price(instrument, ticks), _quantity(instrument, lots)) for ticks, lots in levels]


def encode_frame(message: Message, instrument: Instrument) -> bytes:
    """A feed message as Binance would have sent it: a combined-stream frame, or a REST body for a snapshot.

    Raises TypeError for a message that no Binance frame carries.
    """
    stream = instrument.symbol.lower()
    if isinstance(message, BookSnapshotReceived):
        body: dict[str, object] = {
            "lastUpdateId": message.last_update_id,
            "bids": _levels(instrument, message.bids),
            "asks": _levels(instrument, message.asks),
        }
        return msgspec.json.encode(body)
    if isinstance(message, DepthReceived):
        kind = "depth@100ms"
        body = {
            "e": "depthUpdate",
            "E": (message.event_time_ns or message.time_ns) // _MILLISECOND_NS,
            "s": instrument.symbol,
            "U": message.first_update_id,
            "u": message.last_update_id,
            "b": _levels(instrument, message.bids),
            "a": _levels(instrument, message.asks),
        }
    elif isinstance(message, TradeReceived):
        kind = "trade"
        body = {
            "e": "trade",
            "E": message.time_ns // _MILLISECOND_NS,
            "s": instrument.symbol,
            "t": message.trade_id,
            "p": _price(instrument, message.price_ticks),
            "q": _quantity(instrument, message.quantity_lots),
            "T": (message.trade_time_ns or message.time_ns) // _MILLISECOND_NS,
            "m": message.aggressor is Side.SELL,
            "M": True,
        }
    elif isinstance(message, BookTickerReceived):
        kind = "bookTicker"
        body = {
            "u": message.update_id,
            "s": instrument.symbol,
            "b": _price(instrument, message.bid_ticks),
            "B": _quantity(instrument, message.bid_lots),
            "a": _price(instrument, message.ask_ticks),
            "A": _quantity(instrument, message.ask_lots),
        }
    else:
        raise TypeError(f"no Binance frame carries a {type(message).__name__}")
    return msgspec.json.encode({"stream": f"{stream}@{kind}", "data": body})
