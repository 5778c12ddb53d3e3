"""Settings of outside sources: a list of typed entries. None is the default, so a desk calls nobody unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_\-]{0,31}$")]
HttpUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+(/[^\s@#]*)?(\?[^\s#]*)?$", max_length=2_000)
]
Amount = Annotated[str, StringConstraints(pattern=r"^\d{1,30}(\.\d{1,18})?$")]


class _Source(BaseModel):
    """What every source has. ``weight_ppm``: how much of its confidence a reading of this source keeps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: SourceName
    enabled: bool = True
    interval_seconds: int = Field(default=300, ge=5, le=86_400)
    weight_ppm: int = Field(default=1_000_000, ge=0, le=1_000_000)


class _HttpSource(_Source):
    """A source at an address. ``api_key`` or the file that holds it, never both."""

    url: HttpUrl
    allowed_hosts: tuple[str, ...] = ()
    requests_per_minute_max: int = Field(default=120, ge=1, le=6_000)
    body_bytes_max: int = Field(default=2_097_152, ge=1_024, le=33_554_432)
    api_key: SecretStr | None = None
    api_key_file: Path | None = None

    @field_validator("api_key_file")
    @classmethod
    def _one_key(cls, value: Path | None, info: object) -> Path | None:
        data = getattr(info, "data", {})
        if value is not None and data.get("api_key") is not None:
            raise ValueError("give api_key or api_key_file, not both")
        return value


class DocumentSourceSettings(_HttpSource):
    """Texts from an address: a feed, a news service, or the JSON that a bridge to X or Reddit serves."""

    kind: Literal["rss", "json_feed", "cryptopanic", "newsapi", "x", "reddit"]


class FolderSourceSettings(_Source):
    """Texts from a folder: notes that are dropped there, or exports of X and Reddit."""

    kind: Literal["folder", "x_export", "reddit_export"]
    folder: Path


class FundingSourceSettings(_HttpSource):
    """Funding rates, as Binance's futures interface tells them."""

    kind: Literal["funding"]


class AddressSettings(BaseModel):
    """An address that is watched, and what it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(pattern=r"^(0x[0-9a-fA-F]{40}|[1-9A-HJ-NP-Za-km-z]{32,44})$")
    label: SourceName
    kind: Literal["exchange", "treasury", "issuer", "whale"] = "exchange"


class ChainAssetSettings(BaseModel):
    """An asset on a chain. ``contract``: the token's, absent for the chain's own coin.

    Transfers of less than ``amount_min`` do not count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(pattern=r"^[A-Z0-9]{2,12}$")
    decimals: int = Field(ge=0, le=18)
    contract: str = Field(default="", pattern=r"^(0x[0-9a-fA-F]{40}|[1-9A-HJ-NP-Za-km-z]{32,44})?$")
    amount_min: Amount = "0"


class ChainSourceSettings(_HttpSource):
    """Transfers of a chain, from a node's JSON-RPC. ``confirmations`` and ``chain_id`` are Ethereum's."""

    kind: Literal["ethereum", "solana"]
    addresses: tuple[AddressSettings, ...] = Field(min_length=1, max_length=200)
    assets: tuple[ChainAssetSettings, ...] = Field(min_length=1, max_length=50)
    confirmations: int = Field(default=12, ge=1, le=100)
    chain_id: int = Field(default=1, ge=1)
    blocks_per_poll_max: int = Field(default=20, ge=1, le=200)


SourceSettings = Annotated[
    DocumentSourceSettings | FolderSourceSettings | FundingSourceSettings | ChainSourceSettings,
    Field(discriminator="kind"),
]
