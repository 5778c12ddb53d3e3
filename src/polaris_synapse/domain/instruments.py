"""Instruments: what can be traded, in which steps, at which cost.

Prices are counted in *ticks* and quantities in *lots*, so an order holds two small integers. The notional of a trade
in quote minor units is ``price_ticks * quantity_lots * notional_multiplier``, exactly.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from polaris_synapse.domain.money import Asset, MoneyError, divide_rounding_up, format_units, parse_units

#: Fees are parts per million of what is received: 1000 ppm is 0.1 %.
PARTS_PER_MILLION = 1_000_000

#: The venue name of the desk's own order book.
INTERNAL_VENUE = "internal"
#: The venue name of the paper exchange over mirrored market data.
PAPER_VENUE = "paper"


class InstrumentStatus(StrEnum):
    """What an instrument's book accepts at the moment."""

    TRADING = "TRADING"
    HALTED = "HALTED"  # nothing in, nothing out
    CANCEL_ONLY = "CANCEL_ONLY"
    AUCTION = "AUCTION"  # orders rest, nothing matches until the call


class InstrumentError(ValueError):
    """A price or quantity that the instrument cannot represent; ``field`` says which one."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Instrument(Struct, frozen=True, kw_only=True):
    """One tradable pair at one venue.

    ``tick_units``: one tick in quote minor units per whole base unit. ``lot_units``: one lot in base minor units.
    ``min_notional_units``: in quote minor units. ``price_band_ppm``: how far from the day's reference price an order of
    the internal book may lie or trade; ``interruption_ppm``: how far one order may move its price before trading stops
    for a call auction of ``interruption_seconds`` (0: until somebody opens it); 0 switches each off.
    ``reference_symbol``: the instrument whose mark stands in when this one has none of its own.
    """

    symbol: str
    base: Asset
    quote: Asset
    tick_units: int
    lot_units: int
    min_quantity_lots: int = 1
    max_quantity_lots: int = 10**12
    min_notional_units: int = 0
    maker_fee_ppm: int = 1000
    taker_fee_ppm: int = 1000
    status: InstrumentStatus = InstrumentStatus.TRADING
    venue: str = PAPER_VENUE
    reference_symbol: str = ""
    price_band_ppm: int = 0
    interruption_ppm: int = 0
    interruption_seconds: int = 0

    def __post_init__(self) -> None:
        if self.tick_units <= 0 or self.lot_units <= 0:
            raise ValueError(f"{self.symbol}: tick and lot must be positive")
        if self.tick_units * self.lot_units % self.base.unit_count:
            raise ValueError(
                f"{self.symbol}: one tick times one lot is not a whole number of {self.quote.code} minor units; "
                f"give {self.quote.code} more decimals"
            )

    @property
    def notional_multiplier(self) -> int:
        """Quote minor units in one tick times one lot."""
        return self.tick_units * self.lot_units // self.base.unit_count

    def notional_units(self, price_ticks: int, quantity_lots: int) -> int:
        """What ``quantity_lots`` cost at ``price_ticks``, in quote minor units, exactly."""
        return price_ticks * quantity_lots * self.notional_multiplier

    def base_units(self, quantity_lots: int) -> int:
        """``quantity_lots`` in base minor units."""
        return quantity_lots * self.lot_units

    def parse_price(self, text: str) -> int:
        """Decimal text to ticks. Raises InstrumentError(field="price") when it is not on the tick grid."""
        try:
            units = parse_units(text, self.quote.decimals)
        except MoneyError as error:
            raise InstrumentError("price", str(error)) from None
        ticks, rest = divmod(units, self.tick_units)
        if rest:
            raise InstrumentError("price", f"{text} is not a multiple of {self.symbol}'s tick size {self.tick_size}")
        return ticks

    def parse_quantity(self, text: str) -> int:
        """Decimal text to lots. Raises InstrumentError(field="quantity") when it is not on the lot grid."""
        try:
            units = parse_units(text, self.base.decimals)
        except MoneyError as error:
            raise InstrumentError("quantity", str(error)) from None
        lots, rest = divmod(units, self.lot_units)
        if rest:
            raise InstrumentError("quantity", f"{text} is not a multiple of {self.symbol}'s lot size {self.lot_size}")
        return lots

    def format_price(self, ticks: int) -> str:
        """Ticks to exact decimal text."""
        return format_units(ticks * self.tick_units, self.quote.decimals)

    def format_quantity(self, lots: int) -> str:
        """Lots to exact decimal text."""
        return format_units(lots * self.lot_units, self.base.decimals)

    @property
    def tick_size(self) -> str:
        """The tick as decimal text."""
        return self.format_price(1)

    @property
    def lot_size(self) -> str:
        """The lot as decimal text."""
        return self.format_quantity(1)

    def fee_ppm(self, *, maker: bool) -> int:
        """The fee rate of one side of a trade, in parts per million."""
        return self.maker_fee_ppm if maker else self.taker_fee_ppm


def fee_units(received_units: int, fee_ppm: int) -> int:
    """The fee on ``received_units`` of an asset, rounded up to its minor unit. A negative rate is a rebate."""
    return divide_rounding_up(received_units * fee_ppm, PARTS_PER_MILLION)
