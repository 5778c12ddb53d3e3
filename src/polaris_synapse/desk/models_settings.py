"""Settings of language models: whom to ask, what it may cost, how long calls are kept.

Keys are not set here: they come from ``OPENAI_PROD_API_KEY`` and ``ANTHROPIC_PROD_API_KEY``. Prices are written down by
whoever runs the desk, because a price list from the network would be one more thing to trust.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from polaris_synapse.agents.models.settings import (
    Allowance,
    BudgetSettings,
    ModelsSettings,
    OutputMode,
    ProviderSettings,
    StoreSettings,
    Vendor,
)
from polaris_synapse.domain.money import parse_units

_NS: Final = 1_000_000_000
_USD_DECIMALS: Final = 6
_ADDRESSES: Final = {Vendor.OPENAI: "https://api.openai.com/v1", Vendor.ANTHROPIC: "https://api.anthropic.com"}

#: Dollars as text such as "2.50", to a millionth.
UsdText = Annotated[str, StringConstraints(pattern=r"^\d{1,9}(\.\d{1,6})?$")]
ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9\-]{0,31}$")]
Purpose = Literal["fact", "subjectivity", "quarantine", "chat"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProviderSection(_Section):
    """One language model. ``compatible`` is any server that speaks OpenAI's format, at ``base_url``.

    ``output``: how it is made to answer in JSON; ``tool`` and ``prompt`` are for servers without structured output.
    ``training_cutoff``: the last day of its training data; results from before it are marked as no evidence.
    """

    name: ProviderName
    vendor: Vendor
    model: str = Field(min_length=1, max_length=100)
    base_url: str = ""
    output: OutputMode = OutputMode.SCHEMA
    input_usd_per_million_tokens: UsdText = "0"
    output_usd_per_million_tokens: UsdText = "0"
    training_cutoff: date | None = None

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc):
            raise ValueError("base_url looks like http://127.0.0.1:11434/v1 and holds no password")
        return value

    @model_validator(mode="after")
    def _has_an_address(self) -> ProviderSection:
        if self.vendor is Vendor.COMPATIBLE and not self.base_url:
            raise ValueError(f"the provider {self.name} is compatible with OpenAI and needs a base_url")
        priced = (self.input_usd_per_million_tokens, self.output_usd_per_million_tokens)
        if self.vendor is not Vendor.COMPATIBLE and any(parse_units(text, _USD_DECIMALS) == 0 for text in priced):
            raise ValueError(
                f"the provider {self.name} is paid by the token: set input_usd_per_million_tokens and "
                "output_usd_per_million_tokens from its price list, or its budget would hold nothing"
            )
        return self


class AllowanceSection(_Section):
    """A limit on all that is spent. Tokens count both ways."""

    tokens_max: int = Field(ge=0)
    seconds_max: int = Field(ge=0)
    usd_max: UsdText


class ModelBudgetSection(_Section):
    """Limits that hold at once. A call is not made where one of them would be passed."""

    decision: AllowanceSection = AllowanceSection(tokens_max=40_000, seconds_max=120, usd_max="0.20")
    day: AllowanceSection = AllowanceSection(tokens_max=2_000_000, seconds_max=14_400, usd_max="5")
    purposes: dict[Purpose, AllowanceSection] = {}


class ModelStoreSection(_Section):
    """How long calls and decisions' inputs are kept, whichever limit is reached first."""

    days_max: int = Field(default=90, ge=1, le=3_650)
    bytes_max: int = Field(default=2_000_000_000, ge=1_000_000)


class ModelsSection(_Section):
    """Language models, asked in order until one answers. Without any, the desk decides without."""

    providers: tuple[ProviderSection, ...] = ()
    attempts_max: int = Field(default=3, ge=1, le=10)
    retry_seconds_max: float = Field(default=5.0, ge=0, le=60)
    calls_at_once_max: int = Field(default=8, ge=1, le=64)
    budget: ModelBudgetSection = ModelBudgetSection()
    store: ModelStoreSection = ModelStoreSection()

    @model_validator(mode="after")
    def _names_differ(self) -> ModelsSection:
        names = [provider.name for provider in self.providers]
        if len(set(names)) != len(names):
            raise ValueError("two providers have the same name")
        return self

    def problems(self, *, openai_key: SecretStr | None, anthropic_key: SecretStr | None) -> list[str]:
        """What the providers lack, a sentence each."""
        keys = {
            Vendor.OPENAI: (openai_key, "OPENAI_PROD_API_KEY"),
            Vendor.ANTHROPIC: (anthropic_key, "ANTHROPIC_PROD_API_KEY"),
        }
        return [
            f"the provider {provider.name} needs {keys[provider.vendor][1]}, which is not set"
            for provider in self.providers
            if provider.vendor in keys and keys[provider.vendor][0] is None
        ]


def models_settings(
    section: ModelsSection, *, openai_key: SecretStr | None, anthropic_key: SecretStr | None
) -> ModelsSettings:
    """The section as the agents' room takes it, each provider with its own vendor's key and no other."""
    keys: dict[Vendor, SecretStr | None] = {Vendor.OPENAI: openai_key, Vendor.ANTHROPIC: anthropic_key}
    return ModelsSettings(
        providers=tuple(
            ProviderSettings(
                name=provider.name,
                vendor=provider.vendor,
                model=provider.model,
                base_url=provider.base_url or _ADDRESSES[provider.vendor],
                api_key=keys.get(provider.vendor),
                output_mode=provider.output,
                input_micro_usd_per_million=parse_units(provider.input_usd_per_million_tokens, _USD_DECIMALS),
                output_micro_usd_per_million=parse_units(provider.output_usd_per_million_tokens, _USD_DECIMALS),
                training_cutoff_ns=_end_of(provider.training_cutoff),
            )
            for provider in section.providers
        ),
        attempts_max=section.attempts_max,
        retry_seconds_max=section.retry_seconds_max,
        calls_at_once_max=section.calls_at_once_max,
        budget=BudgetSettings(
            decision=_allowance(section.budget.decision),
            day=_allowance(section.budget.day),
            purposes={str(purpose): _allowance(part) for purpose, part in section.budget.purposes.items()},
        ),
        store=StoreSettings(days_max=section.store.days_max, bytes_max=section.store.bytes_max),
    )


def _allowance(section: AllowanceSection) -> Allowance:
    return Allowance(
        tokens_max=section.tokens_max,
        seconds_max=section.seconds_max,
        micro_usd_max=parse_units(section.usd_max, _USD_DECIMALS),
    )


def _end_of(day: date | None) -> int:
    """The end of a UTC day, in nanoseconds since 1970; 0 for no day."""
    if day is None:
        return 0
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (int(midnight.timestamp()) + 86_400) * _NS
