"""The last prices as the processes of a desk share them: who has just started knows them at once.

The marks themselves come over the bus and are what counts. The cache fills the time until a symbol's next mark, which
for a quiet or a halted market may be long. Without the cache a gateway shows no price of such a symbol until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import structlog

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.messages import Mark
from polaris_synapse.order_gateway.markets import Markets
from polaris_synapse.storage.cache.port import CacheUnavailableError, SharedCache

_READ_SECONDS: Final = 1.0
_WRITE_SECONDS: Final = 0.25
_log = structlog.get_logger(__name__)


class LastPrices:
    """Reads the prices that a gateway has not heard of itself."""

    def __init__(self, cache: SharedCache, clock: Clock, markets: Markets) -> None:
        self._cache = cache
        self._clock = clock
        self._markets = markets

    async def read(self) -> None:
        """Take the marks of instruments that have none yet. One that cannot be read is left out."""
        heard = self._markets.marks()
        wanted = [one.symbol for one in self._markets.instruments() if one.symbol not in heard]
        try:
            found = await self._cache.prices(wanted)
        except CacheUnavailableError:
            return
        for symbol, payload in found.items():
            try:
                mark = msgspec.msgpack.decode(payload, type=Mark)
            except msgspec.DecodeError as error:
                # Written by another version of the desk; the next mark replaces it.
                _log.warning("cached_price_not_read", symbol=symbol, problem=str(error))
                continue
            # While the cache answered, the mark itself may have come.
            if mark.symbol == symbol and symbol not in self._markets.marks():
                self._markets.take_mark(mark)

    async def run(self) -> None:
        """Read again and again until cancelled."""
        while True:
            await self.read()
            await self._clock.sleep(_READ_SECONDS)


class LastPricesWriter:
    """Writes the newest mark of each symbol, where the marks are made: each symbol has one writer."""

    def __init__(self, cache: SharedCache, clock: Clock, marks: Callable[[], Iterable[Mark]]) -> None:
        self._cache = cache
        self._clock = clock
        self._marks = marks
        self._written: dict[str, Mark] = {}

    async def write(self) -> None:
        """Write what changed since the last time."""
        changed = {mark.symbol: mark for mark in self._marks() if self._written.get(mark.symbol) != mark}
        try:
            await self._cache.put_prices({symbol: msgspec.msgpack.encode(mark) for symbol, mark in changed.items()})
        except CacheUnavailableError:
            # All of them again once it is back: it may have lost what it had.
            self._written.clear()
            return
        self._written.update(changed)

    async def run(self) -> None:
        """Write four times a second until cancelled."""
        while True:
            await self.write()
            await self._clock.sleep(_WRITE_SECONDS)
