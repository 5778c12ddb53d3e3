"""All simulated symbols in step: the same seed and start give the same stream, message for message."""

from __future__ import annotations

import random
from collections.abc import Iterable

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import BookSnapshotReceived, Message
from polaris_synapse.market_data.simulation.settings import SECOND_NS, SimulationSettings, SymbolCharacter
from polaris_synapse.market_data.simulation.traders import SymbolTraders
from polaris_synapse.market_data.simulation.values import LatentValues
from polaris_synapse.market_data.simulation.venue import SimulatedVenue

_MILLISECOND_NS = 1_000_000


class SimulatedExchange:
    """Markets for ``instruments`` from ``start_ns`` on.

    Ids begin at the start's milliseconds, so a later run never repeats those of an earlier one, as long as a symbol
    trades less than a thousand times a second on average.
    """

    def __init__(
        self,
        instruments: Iterable[Instrument],
        *,
        seed: int,
        start_ns: int,
        settings: SimulationSettings | None = None,
    ) -> None:
        self._settings = settings or SimulationSettings()
        known = sorted(instruments, key=lambda instrument: instrument.symbol)
        if not known:
            raise ValueError("a simulated exchange needs at least one instrument")
        chance = random.Random(seed)  # noqa: S311  # a market that repeats from its seed, nothing secret
        default = SymbolCharacter()
        characters = [self._settings.characters.get(instrument.symbol, default) for instrument in known]
        self._values = LatentValues(characters, self._settings, chance)
        self._venues = [SimulatedVenue(i, first_id=start_ns // _MILLISECOND_NS) for i in known]
        self._traders = [
            SymbolTraders(instrument, venue, self._settings, random.Random(chance.getrandbits(64)))  # noqa: S311  # as above
            for instrument, venue in zip(known, self._venues, strict=True)
        ]
        self.step_ns = self._settings.step_ms * _MILLISECOND_NS
        self._steps_a_depth = self._settings.depth_ms // self._settings.step_ms
        self._steps = 0
        warm_up_steps = round(self._settings.warm_up_seconds * SECOND_NS / self.step_ns)
        self.now_ns = start_ns - warm_up_steps * self.step_ns
        for venue, traders, asset in zip(self._venues, self._traders, self._values.assets, strict=True):
            venue.advance(self.now_ns)
            traders.seed_book(asset)
        for _ in range(warm_up_steps):
            self.step()

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is traded here."""
        return tuple(venue.instrument.symbol for venue in self._venues)

    def snapshots(self) -> list[BookSnapshotReceived]:
        """All books as of now."""
        return [venue.snapshot() for venue in self._venues]

    def snapshot(self, symbol: str) -> BookSnapshotReceived:
        """One book as of now. Raises KeyError for a symbol that is not traded here."""
        return {venue.instrument.symbol: venue for venue in self._venues}[symbol].snapshot()

    def step(self) -> list[Message]:
        """The next ``step_ns`` of all markets: what their streams said, stamped with the simulation's time."""
        self.now_ns += self.step_ns
        self._steps += 1
        seconds = self.step_ns / SECOND_NS
        # A rush in one symbol pulls the others along.
        rushes = [traders.drift for traders in self._traders]
        together = self._settings.correlation * sum(rushes)
        self._values.step(seconds, [together + (1 - self._settings.correlation) * own for own in rushes])
        out: list[Message] = []
        for venue, traders, asset in zip(self._venues, self._traders, self._values.assets, strict=True):
            venue.advance(self.now_ns)
            traders.step(self.now_ns, seconds, asset)
            if self._steps % self._steps_a_depth == 0:
                venue.flush_depth()
            out += venue.take()
        return out
