"""Limits of the sources, and what each kind of source is told."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.agents.sources.port import LabelKind


class FetchSettings(Struct, frozen=True, kw_only=True):
    """How an adapter may use the network. ``request_seconds_max`` bounds a whole answer, however slowly it comes."""

    connect_seconds_max: int = 5
    request_seconds_max: int = 20
    body_bytes_max: int = 2_097_152
    redirects_max: int = 3
    requests_per_minute_max: int = 120
    retry_after_seconds_max: int = 86_400


class SourcesSettings(Struct, frozen=True, kw_only=True):
    """Limits of the service that polls and reads.

    ``item_age_seconds_max``: older items are history, not news. ``readings_max``: how many readings ``GET /sentiment``
    remembers. ``digests_max``: how many items a source remembers having seen. ``backoff_seconds_max``: the longest time
    between two tries of a source that fails, unless it asked for more itself. ``flow_window_seconds``: over how long
    the flows of a chain are added up, and ``flows_max`` how many of them are remembered.
    """

    items_max: int = 200
    item_age_seconds_max: int = 86_400
    item_future_seconds_max: int = 300
    backoff_seconds_max: int = 3_600
    readings_max: int = 500
    digests_max: int = 5_000
    flow_window_seconds: int = 86_400
    flows_max: int = 5_000
    poll_seconds_max: int = 300
    model_seconds_max: int = 20


class LabelledAddress(Struct, frozen=True, kw_only=True):
    """An address whose transfers are watched. ``label`` is the desk's name for it."""

    address: str
    label: str
    kind: LabelKind = LabelKind.EXCHANGE


class ChainAsset(Struct, frozen=True, kw_only=True):
    """An asset on a chain. ``contract``: the token's, "" for the chain's own coin. Smaller transfers are not told."""

    code: str
    decimals: int
    contract: str = ""
    amount_units_min: int = 1


class ChainSettings(Struct, frozen=True, kw_only=True):
    """What is watched on a chain. ``confirmations``: blocks that must lie on top before a transfer counts."""

    url: str
    addresses: tuple[LabelledAddress, ...]
    assets: tuple[ChainAsset, ...]
    chain_id: int = 1
    confirmations: int = 12
    blocks_per_poll_max: int = 20
    signatures_per_poll_max: int = 500
