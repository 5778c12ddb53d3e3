"""Funding rates of perpetuals, as Binance's futures interface tells them: context about who pays whom, not news."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from polaris_synapse.agents.sources.fetch import JSON_TYPES, Fetcher, decode_json
from polaris_synapse.agents.sources.port import Failure, Funding, Polled, SourceError, SourceState
from polaris_synapse.bus.clock import Clock

_MS: Final = 1_000_000
_RATE: Final = re.compile(r"-?\d{1,3}\.\d{1,9}|-?\d{1,3}")
_PPB_DIGITS: Final = 9
_AGE_NS_MAX: Final = 86_400_000_000_000


class FundingSource:
    """See the module. ``symbols``: the instruments to take rates for; a perpetual has its spot pair's name."""

    kind = "funding"

    def __init__(
        self,
        *,
        name: str,
        url: str,
        fetcher: Fetcher,
        clock: Clock,
        interval_seconds: int,
        symbols: Sequence[str],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.interval_seconds = interval_seconds
        self._url = url
        self._fetcher = fetcher
        self._clock = clock
        self._symbols = frozenset(symbols)
        self._headers = dict(headers or {})

    async def poll(self, state: SourceState, /) -> Polled:
        """See Source. Takes ``premiumIndex`` (one symbol or all) and ``fundingRate`` (history) alike."""
        fetched = await self._fetcher.get(self._url, types=JSON_TYPES, headers=self._headers)
        document = decode_json(fetched.body)
        rows: list[Any] = document if isinstance(document, list) else [document]
        if not all(isinstance(row, dict) for row in rows):
            raise SourceError(Failure.MALFORMED, "The answer holds no funding rates.")
        wanted = [row for row in rows if row.get("symbol") in self._symbols]
        now_ns = self._clock.now_ns()
        rates = [rate for row in wanted if (rate := self._rate(row, now_ns)) is not None]
        newest = {rate.symbol: rate for rate in sorted(rates, key=lambda rate: rate.published_time_ns)}
        return Polled(
            events=tuple(newest.values()), state=state, dropped=len(wanted) - len(rates), unchanged=not newest
        )

    def _rate(self, row: dict[str, Any], now_ns: int) -> Funding | None:
        value = row.get("lastFundingRate", row.get("fundingRate"))
        time_ms = row.get("time", row.get("fundingTime"))
        if not isinstance(value, str) or not _RATE.fullmatch(value):
            return None
        if isinstance(time_ms, bool) or not isinstance(time_ms, int):
            return None
        published_ns = time_ms * _MS
        if not now_ns - _AGE_NS_MAX <= published_ns <= now_ns + 300_000 * _MS:
            return None
        return Funding(
            source=self.name,
            symbol=row["symbol"],
            rate_ppb=_ppb(value),
            value=value,
            published_time_ns=min(published_ns, now_ns),
            seen_time_ns=now_ns,
        )


def _ppb(text: str) -> int:
    """Decimal text in parts per billion, exact."""
    digits, _, fraction = text.removeprefix("-").partition(".")
    size = int(digits + fraction.ljust(_PPB_DIGITS, "0"))
    return -size if text.startswith("-") else size
