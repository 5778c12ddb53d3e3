"""Instruments and marks as the gateway knows them: read models for the first, published marks for the second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument, InstrumentStatus
from polaris_synapse.domain.messages import Mark
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.errors import ApiError

#: An unknown symbol asks the read models again at most this often.
_MISS_INTERVAL_NS = 1_000_000_000


class Markets:
    """What can be traded, and at which price it stands."""

    def __init__(self, load: Callable[[], Awaitable[list[Instrument]]], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._instruments: dict[str, Instrument] = {}
        self._assets: dict[str, Asset] = {}
        self._marks: dict[str, Mark] = {}
        self._loaded_ns = 0

    async def refresh(self) -> None:
        """Read the instruments again."""
        self._loaded_ns = self._clock.now_ns()
        found = await self._load()
        self._instruments = {instrument.symbol: instrument for instrument in found}
        self._assets = {asset.code: asset for instrument in found for asset in (instrument.base, instrument.quote)}

    def known(self, symbol: str) -> Instrument | None:
        """An instrument, if it has been read already."""
        return self._instruments.get(symbol)

    async def instrument(self, symbol: str) -> Instrument:
        """An instrument. Raises ApiError: SYMBOL_NOT_FOUND, or NOT_READY while none at all is known."""
        found = self._instruments.get(symbol)
        if found is None and self._clock.now_ns() - self._loaded_ns >= _MISS_INTERVAL_NS:
            await self.refresh()
            found = self._instruments.get(symbol)
        if not self._instruments:
            raise ApiError(Reason.NOT_READY, "No instrument is known here yet; try again in a moment.")
        if found is None:
            raise ApiError(Reason.SYMBOL_NOT_FOUND, f"There is no instrument {symbol}.")
        return found

    def instruments(self) -> list[Instrument]:
        """All instruments, by symbol."""
        return sorted(self._instruments.values(), key=lambda instrument: instrument.symbol)

    def asset(self, code: str) -> Asset | None:
        """An asset that some instrument trades."""
        return self._assets.get(code)

    def take_status(self, symbol: str, status: InstrumentStatus) -> None:
        """An instrument's book stopped or opened."""
        instrument = self._instruments.get(symbol)
        if instrument is not None:
            self._instruments[symbol] = replace(instrument, status=status)

    def take_mark(self, mark: Mark) -> None:
        """A new price."""
        self._marks[mark.symbol] = mark

    def mark(self, instrument: Instrument) -> Mark | None:
        """The mark of an instrument, or of the one it refers to when it has none of its own."""
        own = self._marks.get(instrument.symbol)
        if own is not None and own.mark_ticks > 0:
            return own
        referred = self._marks.get(instrument.reference_symbol) if instrument.reference_symbol else None
        return referred if referred is not None and referred.mark_ticks > 0 else None

    def marks(self) -> dict[str, Mark]:
        """The latest mark of each symbol."""
        return dict(self._marks)
