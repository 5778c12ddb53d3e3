"""Binance's public REST calls within their limits: weights are budgeted, and Retry-After is obeyed by every call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import httpx2
import msgspec
from msgspec import Struct

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument, InstrumentError
from polaris_synapse.market_data.feeds.binance_settings import BinanceFeedSettings

_SECOND_NS: Final = 1_000_000_000
#: Binance bans for 2 minutes to 3 days; an absurd Retry-After is cut to this.
_RETRY_AFTER_SECONDS_MAX: Final = 3 * 86_400
_BODY_BYTES_MAX: Final = 32 * 1024 * 1024
#: Weights of the calls, from Binance's documentation (2026).
_TIME_WEIGHT, _TRADES_WEIGHT, _EXCHANGE_INFO_WEIGHT = 1, 25, 20


class RestError(RuntimeError):
    """A call that brought nothing. ``retry`` says whether it may help to ask again."""

    def __init__(self, message: str, *, retry: bool, status: int = 0) -> None:
        super().__init__(message)
        self.retry = retry
        self.status = status


class _ServerTime(Struct):
    time_ms: int = msgspec.field(name="serverTime")


class _Filter(Struct):
    kind: str = msgspec.field(name="filterType")
    tick_size: str = msgspec.field(name="tickSize", default="")
    step_size: str = msgspec.field(name="stepSize", default="")


class _SymbolInfo(Struct):
    symbol: str
    status: str
    filters: list[_Filter]


class _ExchangeInfo(Struct):
    symbols: list[_SymbolInfo]


class _WeightBudget:
    """A token bucket of request weight that refills evenly over a minute."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._left = float(per_minute)
        self._at_ns = clock.now_ns()

    async def take(self, weight: int) -> None:
        """Wait until the budget allows ``weight``."""
        while True:
            now = self._clock.now_ns()
            refill = (now - self._at_ns) / _SECOND_NS * self._per_minute / 60
            self._left = min(self._per_minute, self._left + refill)
            self._at_ns = now
            if self._left >= weight:
                self._left -= weight
                return
            await self._clock.sleep((weight - self._left) * 60 / self._per_minute)


class BinanceRest:
    """The calls that the feed makes. Each raises RestError, for whatever reason it brought nothing.

    ``rate_limited`` counts answers 429 and 418. After one of them every call fails at once, without a request, until
    the time in Retry-After has passed: asking during a ban makes it longer.
    """

    def __init__(self, client: httpx2.AsyncClient, clock: Clock, settings: BinanceFeedSettings) -> None:
        self._client = client
        self._clock = clock
        self._budget = _WeightBudget(clock, settings.request_weight_per_minute_max)
        self._banned_until_ns = 0
        self.rate_limited = 0

    @property
    def banned_seconds(self) -> float:
        """How long no call can be made, 0 when calls can."""
        return max(0.0, (self._banned_until_ns - self._clock.now_ns()) / _SECOND_NS)

    async def depth(self, symbol: str, levels: int) -> bytes:
        """The body of a depth snapshot."""
        weight = 5 if levels <= 100 else 25 if levels <= 500 else 50 if levels <= 1000 else 250
        return await self._get("/api/v3/depth", {"symbol": symbol, "limit": str(levels)}, weight)

    async def trades_from(self, symbol: str, trade_id: int) -> bytes:
        """The body of up to 1000 trades from ``trade_id`` on. Falls back to the latest 1000 where that is refused."""
        query = {"symbol": symbol, "limit": "1000"}
        try:
            return await self._get("/api/v3/historicalTrades", query | {"fromId": str(trade_id)}, _TRADES_WEIGHT)
        except RestError as error:
            # Some hosts and regions still ask for a key here; the latest trades never did.
            if error.retry or error.status not in {400, 401, 403, 404}:
                raise
            return await self._get("/api/v3/trades", query, _TRADES_WEIGHT)

    async def clock_offset_ms(self) -> float:
        """How far Binance's clock is ahead of the desk's, to half the round trip."""
        before = self._clock.now_ns()
        body = await self._get("/api/v3/time", {}, _TIME_WEIGHT)
        after = self._clock.now_ns()
        try:
            server_ms = msgspec.json.decode(body, type=_ServerTime).time_ms
        except msgspec.MsgspecError as error:
            raise RestError(f"/api/v3/time: {error}", retry=True) from error
        return server_ms - (before + after) / 2 / 1_000_000

    async def instrument_faults(self, instruments: Iterable[Instrument]) -> list[str]:
        """How the desk's instruments differ from Binance's, one sentence each; empty when all agree."""
        ours = {instrument.symbol: instrument for instrument in instruments}
        names = msgspec.json.encode(sorted(ours)).decode()
        body = await self._get("/api/v3/exchangeInfo", {"symbols": names}, _EXCHANGE_INFO_WEIGHT)
        try:
            theirs = {info.symbol: info for info in msgspec.json.decode(body, type=_ExchangeInfo).symbols}
        except msgspec.MsgspecError as error:
            raise RestError(f"/api/v3/exchangeInfo: {error}", retry=True) from error
        faults: list[str] = []
        for symbol, instrument in ours.items():
            if symbol not in theirs:
                faults.append(f"Binance has no symbol {symbol}.")
            else:
                faults += _differences(instrument, theirs[symbol])
        return faults

    async def _get(self, path: str, query: dict[str, str], weight: int) -> bytes:
        if self.banned_seconds:
            raise RestError(f"{path}: Binance asked for silence for {self.banned_seconds:.0f} s more", retry=True)
        await self._budget.take(weight)
        try:
            response = await self._client.get(path, params=query)
        except httpx2.HTTPError as error:
            raise RestError(f"{path}: {type(error).__name__}: {error}", retry=True) from error
        if response.status_code in {429, 418}:
            self.rate_limited += 1
            self._banned_until_ns = self._clock.now_ns() + int(_retry_after(response) * _SECOND_NS)
            raise RestError(f"{path}: rate limited ({response.status_code})", retry=True, status=response.status_code)
        if response.status_code != 200:
            retry = response.status_code >= 500
            raise RestError(f"{path}: answer {response.status_code}", retry=retry, status=response.status_code)
        if len(response.content) > _BODY_BYTES_MAX:
            raise RestError(f"{path}: an answer of {len(response.content)} bytes", retry=False)
        return response.content


def _retry_after(response: httpx2.Response) -> float:
    """Seconds to wait: the header's, else what Binance's shortest ban lasts (418) or its counters' minute (429)."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit() and len(text) <= 9:
        return min(float(text), _RETRY_AFTER_SECONDS_MAX)
    return 120.0 if response.status_code == 418 else 60.0


def _differences(instrument: Instrument, info: _SymbolInfo) -> list[str]:
    faults = []
    if info.status != "TRADING":
        faults.append(f"{instrument.symbol} has the status {info.status} at Binance.")
    for found in info.filters:
        try:
            if found.kind == "PRICE_FILTER" and instrument.parse_price(found.tick_size) != 1:
                faults.append(f"{instrument.symbol}: Binance's tick is {found.tick_size}, not {instrument.tick_size}.")
            if found.kind == "LOT_SIZE" and instrument.parse_quantity(found.step_size) != 1:
                faults.append(f"{instrument.symbol}: Binance's lot is {found.step_size}, not {instrument.lot_size}.")
        except InstrumentError as error:
            faults.append(f"{instrument.symbol}: Binance's {found.kind}: {error}.")
    return faults
