"""Publishers over HTTP: one adapter for every kind of document that is fetched from an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from polaris_synapse.agents.sources.documents import Times, items_of
from polaris_synapse.agents.sources.feeds import (
    Parser,
    parse_cryptopanic,
    parse_feed,
    parse_json_feed,
    parse_newsapi,
    parse_reddit_export,
    parse_x_export,
)
from polaris_synapse.agents.sources.fetch import JSON_TYPES, XML_TYPES, Fetcher
from polaris_synapse.agents.sources.port import Polled, SourceState
from polaris_synapse.agents.sources.settings import SourcesSettings
from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.messages import SourceKind

#: For each kind in the settings: how its documents are read, their media types, and what kind of evidence they are.
DOCUMENTS: Final[dict[str, tuple[Parser, Sequence[str], SourceKind]]] = {
    "rss": (parse_feed, XML_TYPES, SourceKind.NEWS),
    "json_feed": (parse_json_feed, JSON_TYPES, SourceKind.NEWS),
    "cryptopanic": (parse_cryptopanic, JSON_TYPES, SourceKind.NEWS),
    "newsapi": (parse_newsapi, JSON_TYPES, SourceKind.NEWS),
    "x": (parse_x_export, JSON_TYPES, SourceKind.SOCIAL),
    "reddit": (parse_reddit_export, JSON_TYPES, SourceKind.SOCIAL),
}


class DocumentSource:
    """See the module. ``kind`` is a key of DOCUMENTS; ``headers`` hold the key of a service that wants one."""

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        url: str,
        fetcher: Fetcher,
        clock: Clock,
        interval_seconds: int,
        settings: SourcesSettings,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.interval_seconds = interval_seconds
        self._parse, self._types, self._evidence = DOCUMENTS[kind]
        self._url = url
        self._fetcher = fetcher
        self._clock = clock
        self._settings = settings
        self._headers = dict(headers or {})

    async def poll(self, state: SourceState, /) -> Polled:
        """See Source."""
        fetched = await self._fetcher.get(
            self._url,
            types=self._types,
            headers=self._headers,
            etag=state.etag,
            last_modified=state.last_modified,
        )
        if fetched.unchanged:
            return Polled(events=(), state=state, unchanged=True)
        times = Times(
            now_ns=self._clock.now_ns(),
            age_seconds_max=self._settings.item_age_seconds_max,
            future_seconds_max=self._settings.item_future_seconds_max,
        )
        items, dropped = items_of(
            self._parse(fetched.body),
            source=self.name,
            kind=self._evidence,
            times=times,
            items_max=self._settings.items_max,
        )
        after = replace(state, etag=fetched.etag, last_modified=fetched.last_modified)
        return Polled(events=tuple(items), state=after, dropped=dropped)
