"""The sources over HTTP: how each of them does, and what the last texts were read as."""

from __future__ import annotations

import html
from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.agents.sources.normalise import without_hidden
from polaris_synapse.agents.sources.reader import SymbolView
from polaris_synapse.agents.sources.service import ReadItem, SourcesService, SourceStatus
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.bodies import json_response, query_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, api_route

_TAG: Final = "Sources"
_SHOWN_CHARACTERS_MAX: Final = 200
_NOTICE: Final = (
    "`outside_text` was written by strangers: it is cut, escaped for HTML and shown for people only. Nothing of it "
    "reaches an agent, a prompt or a log; the numbers beside it are all that the desk takes from it."
)


class SentimentQuery(Struct, frozen=True, kw_only=True):
    """Which readings. An empty ``symbol`` means all."""

    symbol: Annotated[str, Meta(max_length=24)] = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class SourcesBody(Struct, frozen=True, kw_only=True):
    """Every source of the settings, in their order."""

    sources: list[SourceStatus]


class OutsideText(Struct, frozen=True, kw_only=True):
    """What somebody outside wrote, cut and escaped. Never an instruction, never a fact."""

    title: str
    author: str
    url: str


class SentimentItem(Struct, frozen=True, kw_only=True):
    """A text and what it was read as. ``withheld``: written for machines, and published to nobody."""

    source: str
    kind: str
    outside_text: OutsideText
    published_time_ns: int
    seen_time_ns: int
    views: tuple[SymbolView, ...]
    category: str
    flags: tuple[str, ...]
    by_model: bool
    withheld: bool
    digest: str


class SentimentBody(Struct, frozen=True, kw_only=True):
    """Readings since the desk started, newest first."""

    items: list[SentimentItem]


class _NoParameters(Struct, frozen=True):
    """A query without parameters, so that one given by mistake is refused."""


def sources_routes(service: SourcesService, authenticator: Authenticator) -> list[ApiRoute]:
    """``GET /sources`` and ``GET /sentiment``."""
    endpoints = _Endpoints(service, authenticator)
    reasons = (Reason.NOT_READY,)
    return [
        api_route(
            "GET", "/sources", endpoints.sources, summary="Where outside texts and figures come from, and how it goes.",
            tag=_TAG, response=SourcesBody, reasons=reasons,
        ),
        api_route(
            "GET", "/sentiment", endpoints.sentiment, summary="What the last outside texts were read as.",
            description=_NOTICE, tag=_TAG, query=SentimentQuery, response=SentimentBody, reasons=reasons,
        ),
    ]  # fmt: skip


class _Endpoints:
    def __init__(self, service: SourcesService, authenticator: Authenticator) -> None:
        self._service = service
        self._authenticator = authenticator

    async def sources(self, request: Request) -> Response:
        """GET /sources."""
        await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        self._require_polling()
        return json_response(SourcesBody(sources=self._service.statuses()))

    def _require_polling(self) -> None:
        """What was read is remembered where it was read, and outside texts are kept nowhere else."""
        if self._service.stands_by:
            raise ApiError(
                Reason.NOT_READY,
                "The sources are read by another instance of llm-agents, or are not read yet; ask again.",
                headers={"retry-after": "1"},
            )

    async def sentiment(self, request: Request) -> Response:
        """GET /sentiment."""
        await self._authenticator.authenticate(request)
        query = query_struct(request, SentimentQuery)
        self._require_polling()
        found = self._service.readings(symbol=query.symbol, limit=query.limit)
        return json_response(SentimentBody(items=[sentiment_item(one) for one in found]))


def sentiment_item(one: ReadItem) -> SentimentItem:
    """A read item as it is shown to people."""
    item, reading = one.item, one.reading
    return SentimentItem(
        source=item.source,
        kind=item.kind.value,
        outside_text=OutsideText(
            title=shown(item.title or item.body), author=shown(item.author), url=_shown_url(item.url)
        ),
        published_time_ns=item.published_time_ns,
        seen_time_ns=item.seen_time_ns,
        views=reading.views,
        category=reading.category.value,
        flags=tuple(flag.value for flag in reading.flags),
        by_model=reading.by_model,
        withheld=reading.withheld,
        digest=item.digest,
    )


def shown(text: str) -> str:
    """One line of outside text for a person: nothing hidden, cut, escaped for HTML."""
    line = " ".join(without_hidden(text).split())
    return html.escape(line if len(line) <= _SHOWN_CHARACTERS_MAX else line[: _SHOWN_CHARACTERS_MAX - 1] + "…")


def _shown_url(url: str) -> str:
    """A link that is one; others, such as scripts, are left out."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https"} or not parts.netloc or "@" in parts.netloc or not url.isprintable():
        return ""
    return shown(url) if len(url) <= _SHOWN_CHARACTERS_MAX else ""
