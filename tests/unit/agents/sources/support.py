"""What the tests of the sources share."""

from __future__ import annotations

from pathlib import Path

import httpx2

from polaris_synapse.agents.sources.assets import AssetNames
from polaris_synapse.agents.sources.fetch import Fetcher, new_client
from polaris_synapse.agents.sources.http_sources import DocumentSource
from polaris_synapse.agents.sources.settings import FetchSettings, SourcesSettings
from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.money import Asset
from polaris_synapse.testing.clock import START_NS, ManualClock

DATA = Path(__file__).resolve().parents[3] / "data" / "sources"
SECOND = 1_000_000_000
#: Half an hour after the day on which everything in tests/data/sources was published.
NOW = START_NS + 1_800 * SECOND

#: Clients that a test opened; ``conftest.py`` closes them.
CLIENTS: list[httpx2.AsyncClient] = []

_USDT = Asset(code="USDT", decimals=8)
INSTRUMENTS = tuple(
    Instrument(
        symbol=f"{code}USDT", base=Asset(code=code, decimals=8), quote=_USDT, tick_units=1_000_000, lot_units=10_000
    )
    for code in ("BTC", "ETH")
)
NAMES = AssetNames(INSTRUMENTS)


def fetcher(clock: Clock | None = None, settings: FetchSettings | None = None, *allowed: str) -> Fetcher:
    """A fetcher without a rate limit that would be felt."""
    given = settings or FetchSettings(requests_per_minute_max=10**12)
    client = new_client(given)
    CLIENTS.append(client)
    return Fetcher(client, clock or ManualClock(NOW), given, allowed_hosts=allowed)


def document_source(kind: str, url: str, clock: Clock | None = None, fetch: Fetcher | None = None) -> DocumentSource:
    """A source of documents at an address."""
    return DocumentSource(
        name="wire",
        kind=kind,
        url=url,
        fetcher=fetch or fetcher(clock),
        clock=clock or ManualClock(NOW),
        interval_seconds=60,
        settings=SourcesSettings(),
    )
