"""What a simulated market is like. Floats are fine here: this is a generator of data, not a keeper of money."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

SECOND_NS: Final = 1_000_000_000
#: Seconds of a year: crypto never closes.
YEAR_SECONDS: Final = 365 * 86_400


class SymbolCharacter(Struct, frozen=True, kw_only=True):
    """One symbol: where its price starts (quote units a base unit) and how much it moves in a year (0.5: 50 %)."""

    start_price: float = 100.0
    yearly_volatility: float = 0.8


#: Plausible characters by symbol; any other symbol gets the default one.
CHARACTERS: Final[Mapping[str, SymbolCharacter]] = {
    "BTCUSDT": SymbolCharacter(start_price=61_000.0, yearly_volatility=0.55),
    "ETHUSDT": SymbolCharacter(start_price=2_650.0, yearly_volatility=0.75),
}


class SimulationSettings(Struct, frozen=True, kw_only=True):
    """The market's shape. Rates are per second and symbol, values in quote units.

    ``correlation`` is that of the symbols' values. ``volatility_swing`` and ``calm_seconds`` say how far, and for how
    long, volatility strays from its mean (as a standard deviation of its logarithm).
    """

    characters: dict[str, SymbolCharacter] = field(default_factory=lambda: dict(CHARACTERS))
    step_ms: int = 25
    depth_ms: int = 100
    correlation: float = 0.75
    volatility_swing: float = 0.6
    calm_seconds: float = 90.0
    jumps_per_minute: float = 0.4
    bursts_per_minute: float = 0.6
    makers: int = 5
    maker_refreshes: float = 3.0
    noise_takes: float = 1.6
    passive_orders: float = 8.0
    take_value: float = 350.0
    make_value: float = 9_000.0
    warm_up_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.step_ms < 1 or self.depth_ms % self.step_ms or not 0 <= self.correlation <= 1 or self.makers < 1:
            raise ValueError(
                "simulation: depth_ms is a multiple of step_ms, correlation within 0 to 1, one maker at least"
            )
