"""What the simulated assets are worth: correlated, with volatility that clusters and jumps now and then."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final

from polaris_synapse.market_data.simulation.settings import YEAR_SECONDS, SimulationSettings, SymbolCharacter

#: A weak pull towards the start price keeps a desk that runs for weeks at plausible prices.
_PULL_SECONDS: Final = 6 * 3600
#: A jump, in standard deviations of one second.
_JUMP_SIZE: Final = 6.0


class LatentValue:
    """One asset's value. ``volatility`` is the standard deviation of its logarithm over one second, at the moment."""

    def __init__(self, character: SymbolCharacter) -> None:
        self.start = self.value = character.start_price
        self._base_volatility = character.yearly_volatility / math.sqrt(YEAR_SECONDS)
        self.volatility = self._base_volatility

    def move(self, seconds: float, shock: float, log_volatility: float, drift: float) -> None:
        """Move on by ``seconds`` with a standard normal ``shock`` and ``drift`` standard deviations a second."""
        self.volatility = self._base_volatility * math.exp(log_volatility)
        pull = -math.log(self.value / self.start) * seconds / _PULL_SECONDS
        change = self.volatility * (shock * math.sqrt(seconds) + drift * seconds) + pull
        self.value *= math.exp(change)

    def jump(self, shock: float) -> None:
        """Move at once."""
        self.value *= math.exp(self._base_volatility * _JUMP_SIZE * shock)


class LatentValues:
    """All assets together."""

    def __init__(
        self, characters: Sequence[SymbolCharacter], settings: SimulationSettings, chance: random.Random
    ) -> None:
        self.assets = [LatentValue(character) for character in characters]
        self._settings = settings
        self._chance = chance
        self._log_volatility = 0.0

    def step(self, seconds: float, drifts: Sequence[float]) -> None:
        """Move all assets on; ``drifts`` come from what traders are doing to them."""
        chance, settings = self._chance, self._settings
        # Ornstein-Uhlenbeck: strays, and comes back within about `calm_seconds`.
        back = seconds / settings.calm_seconds
        swing = settings.volatility_swing * math.sqrt(2 * back)
        self._log_volatility += -back * self._log_volatility + swing * chance.gauss(0, 1)
        common = chance.gauss(0, 1)
        common_weight, own_weight = math.sqrt(settings.correlation), math.sqrt(1 - settings.correlation)
        for asset, drift in zip(self.assets, drifts, strict=True):
            shock = common_weight * common + own_weight * chance.gauss(0, 1)
            asset.move(seconds, shock, self._log_volatility, drift)
        if chance.random() < settings.jumps_per_minute / 60 * seconds:
            shock = chance.gauss(0, 1)
            for asset in self.assets:
                asset.jump(shock * common_weight + chance.gauss(0, 1) * own_weight)
