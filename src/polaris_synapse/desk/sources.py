"""The sources of the settings as adapters, wired for the agents' room. Nothing connects here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import assert_never

from prometheus_client import CollectorRegistry

from polaris_synapse.agents.models.port import LanguageModel
from polaris_synapse.agents.sources.assets import AssetNames
from polaris_synapse.agents.sources.ethereum import EthereumSource
from polaris_synapse.agents.sources.fetch import Fetcher, new_client
from polaris_synapse.agents.sources.files import FolderSource
from polaris_synapse.agents.sources.funding import FundingSource
from polaris_synapse.agents.sources.http_sources import DocumentSource
from polaris_synapse.agents.sources.lexicon import LexiconReader
from polaris_synapse.agents.sources.model_reader import ModelReader
from polaris_synapse.agents.sources.port import LabelKind, Source, digest_of
from polaris_synapse.agents.sources.reader import Reader
from polaris_synapse.agents.sources.service import SourcesService, WiredSource
from polaris_synapse.agents.sources.settings import (
    ChainAsset,
    ChainSettings,
    FetchSettings,
    LabelledAddress,
    SourcesSettings,
)
from polaris_synapse.agents.sources.solana import SolanaSource
from polaris_synapse.agents.sources.state_file import SourceStates
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.desk.source_settings import (
    ChainSourceSettings,
    DocumentSourceSettings,
    FolderSourceSettings,
    FundingSourceSettings,
    SourceSettings,
)
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.money import MoneyError, parse_units
from polaris_synapse.monitoring.redaction import register_secret

#: The header that a service wants its key in; nodes and bridges take a bearer token.
_KEY_HEADERS = {"newsapi": ("x-api-key", ""), "cryptopanic": ("authorization", "Token ")}
_BEARER = ("authorization", "Bearer ")

Close = Callable[[], Awaitable[None]]


def sources_service(
    *,
    settings: DeskSettings,
    states: SourceStates,
    bus: Bus,
    clock: Clock,
    registry: CollectorRegistry,
    instruments: Sequence[Instrument],
    model: LanguageModel | None,
) -> SourcesService:
    """The sources with their reader: the lexicon alone, or beside it a ``model``. Raises ConfigurationError."""
    limits = SourcesSettings()
    names = AssetNames(instruments)
    weights = source_weights(settings)
    reader: Reader = LexiconReader(names, source_weights_ppm=weights)
    if model is not None:
        reader = ModelReader(model, names, reader, seconds_max=limits.model_seconds_max, source_weights_ppm=weights)
    return SourcesService(
        bus=bus,
        clock=clock,
        registry=registry,
        sources=wired_sources(settings, clock, limits),
        reader=reader,
        instruments=lambda: instruments,
        states=states,
        settings=limits,
    )


def wired_sources(settings: DeskSettings, clock: Clock, limits: SourcesSettings) -> Iterator[WiredSource]:
    """An adapter for every enabled source. Raises ConfigurationError for a key file that cannot be read."""
    for one in settings.sources:
        if one.enabled:
            source, close = _source(one, settings, clock, limits)
            place = str(one.folder) if isinstance(one, FolderSourceSettings) else one.url
            assets = {}
            if isinstance(one, ChainSourceSettings):
                assets = {asset.code: asset for asset in _assets(one)}
            key = f"{one.name}.{digest_of(one.kind, place)[:12]}"
            yield WiredSource(source=source, key=key, assets=assets, close=close)


def source_weights(settings: DeskSettings) -> dict[str, int]:
    """How much of its confidence each source's readings keep, in ppm."""
    return {one.name: one.weight_ppm for one in settings.sources}


def _source(
    one: SourceSettings, settings: DeskSettings, clock: Clock, limits: SourcesSettings
) -> tuple[Source, Close | None]:
    if isinstance(one, FolderSourceSettings):
        folder = FolderSource(
            name=one.name,
            kind=one.kind,
            folder=one.folder,
            clock=clock,
            interval_seconds=one.interval_seconds,
            settings=limits,
            fetch=FetchSettings(),
        )
        return folder, None
    fetch = FetchSettings(body_bytes_max=one.body_bytes_max, requests_per_minute_max=one.requests_per_minute_max)
    client = new_client(fetch)
    fetcher = Fetcher(client, clock, fetch, allowed_hosts=one.allowed_hosts)
    return _http_source(one, settings, clock, limits, fetcher), client.aclose


def _http_source(
    one: DocumentSourceSettings | FundingSourceSettings | ChainSourceSettings,
    settings: DeskSettings,
    clock: Clock,
    limits: SourcesSettings,
    fetcher: Fetcher,
) -> Source:
    headers = _headers(one)
    if isinstance(one, DocumentSourceSettings):
        return DocumentSource(
            name=one.name,
            kind=one.kind,
            url=one.url,
            fetcher=fetcher,
            clock=clock,
            interval_seconds=one.interval_seconds,
            settings=limits,
            headers=headers,
        )
    if isinstance(one, FundingSourceSettings):
        return FundingSource(
            name=one.name,
            url=one.url,
            fetcher=fetcher,
            clock=clock,
            interval_seconds=one.interval_seconds,
            symbols=[instrument.symbol for instrument in settings.instruments if not instrument.reference_symbol],
            headers=headers,
        )
    if isinstance(one, ChainSourceSettings):
        make = EthereumSource if one.kind == "ethereum" else SolanaSource
        return make(
            name=one.name,
            fetcher=fetcher,
            clock=clock,
            interval_seconds=one.interval_seconds,
            chain=_chain(one),
            headers=headers,
        )
    assert_never(one)


def _headers(one: DocumentSourceSettings | FundingSourceSettings | ChainSourceSettings) -> dict[str, str]:
    """The header with the source's key, where it has one."""
    key = one.api_key.get_secret_value() if one.api_key is not None else ""
    if one.api_key_file is not None:
        try:
            key = one.api_key_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError(
                f"The key file of the source {one.name} cannot be read; check api_key_file."
            ) from None
    if not key:
        return {}
    if not key.isprintable() or not key.isascii():
        raise ConfigurationError(f"The key of the source {one.name} holds characters that no header can.")
    register_secret(key)
    name, prefix = _KEY_HEADERS.get(one.kind, _BEARER)
    return {name: prefix + key}


def _assets(one: ChainSourceSettings) -> tuple[ChainAsset, ...]:
    try:
        return tuple(
            ChainAsset(
                code=asset.code,
                decimals=asset.decimals,
                contract=asset.contract,
                amount_units_min=max(parse_units(asset.amount_min, asset.decimals), 1),
            )
            for asset in one.assets
        )
    except MoneyError as error:
        raise ConfigurationError(f"An amount_min of the source {one.name} is not usable: {error}.") from None


def _chain(one: ChainSourceSettings) -> ChainSettings:
    return ChainSettings(
        url=one.url,
        addresses=tuple(
            LabelledAddress(address=given.address, label=given.label, kind=LabelKind(given.kind))
            for given in one.addresses
        ),
        assets=_assets(one),
        chain_id=one.chain_id,
        confirmations=one.confirmations,
        blocks_per_poll_max=one.blocks_per_poll_max,
    )
