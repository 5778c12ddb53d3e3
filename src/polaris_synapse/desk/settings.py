"""The desk's settings: one typed tree. An unknown or contradictory setting is an error with one clear sentence.

Values come from, strongest first: options of the command, environment variables, ``.env``, the YAML file. The
environment variables of the deployment (``BINANCE_PROD_API_KEY`` and so on) keep their plain names; every other setting
is ``POLARIS_`` and its path, such as ``POLARIS_FEED__MODE=replay``.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from polaris_synapse.desk.alert_settings import AlertsSection, alert_settings
from polaris_synapse.desk.bus_settings import BusSection
from polaris_synapse.desk.data_settings import DEPLOYMENT_VARIABLES, CacheSection, DatabasesSection
from polaris_synapse.desk.models_settings import ModelsSection
from polaris_synapse.desk.source_settings import SourceSettings
from polaris_synapse.domain.money import DECIMAL_TEXT_CHARACTERS_MAX

ENVIRONMENT_PREFIX: Final = "POLARIS_"
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
JWT_SECRET_BYTES_MIN: Final = 32
#: In ``limits``: the accounts that have none of their own.
EVERY_ACCOUNT: Final = "*"

#: Decimal text such as "0.01": quoted in YAML, so that no digit is lost on the way.
DecimalText = Annotated[
    str, StringConstraints(pattern=r"^\d{1,30}(\.\d{1,18})?$", max_length=DECIMAL_TEXT_CHARACTERS_MAX)
]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Z0-9.\-]{1,23}$")]
AssetCode = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{2,12}$")]
AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_\-]{0,31}$")]
Port = Annotated[int, Field(ge=0, le=65_535)]


def _proxy_network(text: str) -> str:
    """A network as its usual text. Raises ValueError for what is none, and for one that everybody is in."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{text[:50]!r} is no network or address such as 172.30.82.0/24 or 127.0.0.1") from None
    if network.prefixlen == 0:
        raise ValueError(f"{network} trusts everybody to say who they are; name the network of the proxies")
    return str(network)


ProxyNetwork = Annotated[str, AfterValidator(_proxy_network)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ports(_Section):
    """One port a service. 0 lets the system choose, which tests use."""

    llm_agents: Port = 8000
    compliance: Port = 8080
    market_data: Port = 8081
    gateway: Port = 8082
    risk: Port = 8083
    matching: Port = 8084
    execution: Port = 8085

    @model_validator(mode="after")
    def _differ(self) -> Ports:
        chosen = [port for port in self.model_dump().values() if port]
        if len(set(chosen)) != len(chosen):
            raise ValueError("two services have the same port")
        return self


class OrderPortSection(_Section):
    """Orders over plain TCP, for programs that trade fast: see docs/how-to/order-port.md. ``port`` 0: any free one."""

    enabled: bool = False
    port: Port = 8087
    connections_max: int = Field(default=200, ge=1)


class FeedMode(StrEnum):
    """Where market data comes from. AUTO: live where the network allows it, otherwise simulated."""

    AUTO = "auto"
    BINANCE = "binance"
    REPLAY = "replay"
    SIMULATED = "simulated"


class FeedSettings(_Section):
    """The market data feed. ``speed`` of a replay: 1 is as recorded, 10 ten times as fast, 0 as fast as possible."""

    mode: FeedMode = FeedMode.AUTO
    seed: int = 1
    speed: float = Field(default=1.0, ge=0)
    repeat: bool = True
    recordings: tuple[Path, ...] = ()
    record_directory: Path | None = None
    binance_rest_url: str = "https://api.binance.com"
    binance_stream_url: str = "wss://stream.binance.com:9443"
    probe_seconds_max: float = Field(default=1.5, gt=0, le=30)
    marks_per_second_max: int = Field(default=4, ge=1, le=100)
    stale_seconds: int = Field(default=5, ge=1, le=3600)


class AssetSettings(_Section):
    """A currency or token and the decimal places of its minor unit."""

    code: AssetCode
    decimals: int = Field(ge=0, le=18)


class InstrumentSettings(_Section):
    """One tradable pair.

    On the desk's own book: ``price_band_ppm`` is how far from the day's reference price orders may lie and trade;
    ``interruption_ppm`` how far one order may move the price before trading stops for a call auction of
    ``interruption_seconds`` (0: until somebody opens it). 0 switches each off.
    """

    symbol: Symbol
    base: AssetCode
    quote: AssetCode
    tick_size: DecimalText
    lot_size: DecimalText
    min_quantity: DecimalText | None = None
    max_quantity: DecimalText | None = None
    min_notional: DecimalText = "0"
    maker_fee_ppm: int = Field(default=1000, ge=-1000, le=100_000)
    taker_fee_ppm: int = Field(default=1000, ge=0, le=100_000)
    venue: Literal["paper", "internal"] = "paper"
    reference_symbol: Symbol | None = None
    price_band_ppm: int = Field(default=0, ge=0, lt=1_000_000)
    interruption_ppm: int = Field(default=0, ge=0, lt=1_000_000)
    interruption_seconds: int = Field(default=0, ge=0, le=86_400)

    @model_validator(mode="after")
    def _guards_have_a_book(self) -> InstrumentSettings:
        """Bands and interruptions are the own book's: a venue has its own."""
        if self.venue != "internal" and (self.price_band_ppm or self.interruption_ppm or self.interruption_seconds):
            raise ValueError(f"{self.symbol} trades at {self.venue}, so it has no price band and no interruption")
        return self


class FeeTierSettings(_Section):
    """Fee rates from a 30-day volume on, in the valuation asset; ppm of what is received."""

    volume_min: DecimalText = "0"
    maker_ppm: int = Field(ge=-1000, le=100_000)
    taker_ppm: int = Field(ge=0, le=100_000)


class AccountSettings(_Section):
    """An account that exists from the first start, with what is paid in once. Paper money."""

    name: AccountName
    holder: str = Field(min_length=1, max_length=100)
    kind: Literal["PERSON", "ENTITY", "AGENT"] = "PERSON"
    country: str = Field(default="", pattern=r"^([A-Z]{2})?$")
    deposits: dict[AssetCode, DecimalText] = {}
    kyc_approved: bool = True


class LimitSettings(_Section):
    """Risk limits of one account, in the valuation asset. What is absent is not limited."""

    order_value_max: DecimalText | None = None
    position_value_max: DecimalText | None = None
    exposure_max: DecimalText | None = None
    daily_loss_max: DecimalText | None = None
    drawdown_ppm_max: int | None = Field(default=None, gt=0, le=1_000_000)
    concentration_ppm_max: int | None = Field(default=None, gt=0)
    leverage_ppm_max: int = Field(default=1_000_000, gt=0)
    price_collar_ppm: int = Field(default=50_000, gt=0, lt=1_000_000)
    market_data_age_seconds_max: int = Field(default=5, gt=0, le=3600)
    messages_per_second_max: int = Field(default=50, gt=0)
    message_burst_max: int = Field(default=100, gt=0, le=1_000_000)
    repeated_orders_max: int = Field(default=20, gt=0, le=10_000)
    repeated_order_window_seconds: int = Field(default=10, gt=0, le=3_600)
    open_orders_max: int = Field(default=500, gt=0)
    breaker_mark_jump_ppm: int = Field(default=100_000, ge=0)


class MandateSettings(_Section):
    """What an agent may do on an account without asking, in the valuation asset."""

    account: AccountName
    agent: AccountName
    symbols: tuple[Symbol, ...]
    order_value_max: DecimalText
    daily_value_max: DecimalText
    approval_above: DecimalText


class AgentSection(_Section):
    """The analyst. ``model_roles``: its parts that also ask a language model before an order; empty, none is asked."""

    name: AccountName = "jarvis"
    account: AccountName = "jarvis"
    enabled: bool = True
    symbols: tuple[Symbol, ...] = ()
    interval_seconds: int = Field(default=60, ge=5, le=86_400)
    confidence_ppm_min: int = Field(default=600_000, ge=0, le=1_000_000)
    position_ppm_of_equity_max: int = Field(default=100_000, ge=0, le=1_000_000)
    candle_seconds: int = Field(default=60, ge=1, le=3_600)
    cooldown_seconds: int = Field(default=180, ge=0, le=86_400)
    horizon_seconds: int = Field(default=900, ge=60, le=86_400)
    slippage_ppm_max: int = Field(default=500, ge=0, le=100_000)
    model_roles: tuple[Literal["fact", "subjectivity"], ...] = ()
    model_seconds_max: int = Field(default=20, ge=1, le=120)


class ComplianceSection(_Section):
    """The transaction rules, in the valuation asset. A count or an amount of 0 switches its rule off."""

    rules_version: int = Field(default=1, ge=1)
    large_transaction: DecimalText = "50000"
    rapid_funds_count: int = Field(default=10, ge=0)
    rapid_funds_window_seconds: int = Field(default=3_600, ge=1)
    rapid_trades_count: int = Field(default=1_000, ge=0)
    rapid_trades_window_seconds: int = Field(default=60, ge=1)
    flow_through_min: DecimalText = "1000"
    structuring_below: DecimalText = "10000"
    structuring_count: int = Field(default=3, ge=0)
    new_account_activity: DecimalText = "250000"
    checkpoint_entries: int = Field(default=1_000, ge=1)
    checkpoint_seconds: int = Field(default=300, ge=1)


class JournalSection(_Section):
    """The journal and its snapshots."""

    snapshot_interval_messages: int = Field(default=250_000, ge=100)
    snapshots_kept: int = Field(default=2, ge=1)
    queue_messages_max: int = Field(default=20_000, ge=100)
    batch_messages_max: int = Field(default=2_000, ge=1)
    keep_all: bool = True


class GatewaySection(_Section):
    """The order gateway. Rates are per principal and second.

    ``trusted_proxies``: the networks, or addresses, of proxies in front of this desk's ports, all services' included.
    Their X-Forwarded-For says where a request comes from; anybody else's is not looked at.
    """

    session_minutes: int = Field(default=60, ge=1, le=1440)
    signature_window_ms: int = Field(default=5_000, ge=1, le=60_000)
    orders_per_second_max: int = Field(default=500, ge=1)
    reads_per_second_max: int = Field(default=200, ge=1)
    connections_max: int = Field(default=200, ge=1)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[ProxyNetwork, ...] = ()


class LoggingSection(_Section):
    """Logs are JSON lines in files; the terminal shows what a person wants to read."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    directory: Path | None = None


class DeskSettings(BaseSettings):
    """Everything about one desk."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    environment: Literal["development", "production"] = "development"
    data_directory: Path | None = None
    host: str = "127.0.0.1"
    ports: Ports = Ports()
    order_port: OrderPortSection = OrderPortSection()
    valuation_asset: AssetCode = "USDT"
    assets: tuple[AssetSettings, ...]
    instruments: tuple[InstrumentSettings, ...]
    accounts: tuple[AccountSettings, ...]
    limits: dict[str, LimitSettings] = {}
    fee_tiers: dict[str, tuple[FeeTierSettings, ...]] = {}
    mandates: tuple[MandateSettings, ...] = ()
    feed: FeedSettings = FeedSettings()
    agent: AgentSection = AgentSection()
    models: ModelsSection = ModelsSection()
    compliance: ComplianceSection = ComplianceSection()
    journal: JournalSection = JournalSection()
    gateway: GatewaySection = GatewaySection()
    bus: BusSection = BusSection()
    databases: DatabasesSection = DatabasesSection()
    cache: CacheSection = CacheSection()
    sources: tuple[SourceSettings, ...] = ()
    alerts: AlertsSection = AlertsSection()
    logging: LoggingSection = LoggingSection()

    enable_real_trading: bool = Field(default=False, validation_alias=AliasChoices("ENABLE_REAL_TRADING"))
    binance_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("BINANCE_PROD_API_KEY"))
    binance_api_secret: SecretStr | None = Field(default=None, validation_alias=AliasChoices("BINANCE_PROD_API_SECRET"))
    coinbase_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("COINBASE_PROD_API_KEY"))
    coinbase_api_secret: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("COINBASE_PROD_API_SECRET")
    )
    openai_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OPENAI_PROD_API_KEY"))
    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("ANTHROPIC_PROD_API_KEY"))
    db_password: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DB_PASSWORD"))
    compliance_db_password: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("COMPLIANCE_DB_PASSWORD")
    )
    db_owner_password: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DB_OWNER_PASSWORD"))
    redis_password: SecretStr | None = Field(default=None, validation_alias=AliasChoices("REDIS_PASSWORD"))
    jwt_secret: SecretStr | None = Field(default=None, validation_alias=AliasChoices("JWT_SECRET"))
    grafana_password: SecretStr | None = Field(default=None, validation_alias=AliasChoices("GRAFANA_PROD_PASSWORD"))
    slack_webhook_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("SLACK_WEBHOOK_URL"))
    telegram_bot_token: SecretStr | None = Field(default=None, validation_alias=AliasChoices("TELEGRAM_BOT_TOKEN"))
    smtp_password: SecretStr | None = Field(default=None, validation_alias=AliasChoices("SMTP_PASSWORD"))
    alert_webhook_secret: SecretStr | None = Field(default=None, validation_alias=AliasChoices("ALERT_WEBHOOK_SECRET"))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, environment, .env, YAML: strongest first."""
        return (init_settings, env_settings, dotenv_settings, YamlConfigSettingsSource(settings_cls))

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, values: Any) -> Any:
        """A secret left empty in ``.env`` is one that is not set; what compose alone reads there is passed over."""
        if isinstance(values, dict):
            return {key: value for key, value in values.items() if value != "" and key not in DEPLOYMENT_VARIABLES}
        return values

    @model_validator(mode="after")
    def _agrees(self) -> DeskSettings:
        """What one setting says must fit the others."""
        for problem in self._contradictions():
            raise ValueError(problem)
        return self

    def _contradictions(self) -> list[str]:
        problems: list[str] = []
        assets = {asset.code for asset in self.assets}
        symbols = {instrument.symbol for instrument in self.instruments}
        accounts = {account.name for account in self.accounts}
        for what, names in (
            ("asset", [asset.code for asset in self.assets]),
            ("instrument", [instrument.symbol for instrument in self.instruments]),
            ("account", [account.name for account in self.accounts]),
            ("source", [source.name for source in self.sources]),
        ):
            problems += [
                f"the {what} {name} is given twice" for name in sorted({n for n in names if names.count(n) > 1})
            ]
        try:
            alert_settings(self)
        except ValueError as error:
            problems.append(str(error))
        if self.valuation_asset not in assets:
            problems.append(f"valuation_asset {self.valuation_asset} is not among the assets")
        for instrument in self.instruments:
            for code in (instrument.base, instrument.quote):
                if code not in assets:
                    problems.append(f"the instrument {instrument.symbol} uses {code}, which is not among the assets")
            if instrument.reference_symbol and instrument.reference_symbol not in symbols:
                problems.append(
                    f"the instrument {instrument.symbol} refers to {instrument.reference_symbol}, which does not exist"
                )
        for account in self.accounts:
            problems += [
                f"the account {account.name} is paid {code}, which is not among the assets"
                for code in account.deposits
                if code not in assets
            ]
        if (
            self.order_port.enabled
            and self.order_port.port
            and self.order_port.port in self.ports.model_dump().values()
        ):
            problems.append(f"order_port.port {self.order_port.port} is a service's port as well")
        problems += [
            f"{what} are set for {name}, which is no account"
            for what, names in (("limits", self.limits), ("fee_tiers", self.fee_tiers))
            for name in names
            if name not in accounts | {EVERY_ACCOUNT}
        ]
        for mandate in self.mandates:
            if mandate.account not in accounts:
                problems.append(f"a mandate names the account {mandate.account}, which does not exist")
            problems += [
                f"the mandate of {mandate.agent} names {symbol}, which is no instrument"
                for symbol in mandate.symbols
                if symbol not in symbols
            ]
        if self.agent.enabled and self.agent.account not in accounts:
            problems.append(
                f"the agent {self.agent.name} trades the account {self.agent.account}, which does not exist"
            )
        problems += self.models.problems(openai_key=self.openai_api_key, anthropic_key=self.anthropic_api_key)
        if self.agent.model_roles and not self.models.providers:
            problems.append("agent.model_roles asks language models, but models.providers names none")
        if self.feed.mode is FeedMode.REPLAY and not self.feed.recordings:
            problems.append("feed.mode is replay, but feed.recordings names no file (polaris up: --recording FILE)")
        if self.jwt_secret is not None and len(self.jwt_secret.get_secret_value().encode()) < JWT_SECRET_BYTES_MIN:
            problems.append(
                f"JWT_SECRET is shorter than {JWT_SECRET_BYTES_MIN} bytes; make one with: openssl rand -hex 32"
            )
        if self.enable_real_trading:
            problems.append(
                "ENABLE_REAL_TRADING is true, but this version has no live venue adapter yet; set it to false to trade "
                "on paper"
            )
        return problems

    @property
    def is_loopback(self) -> bool:
        """Whether the desk listens to this machine only."""
        return self.host in LOOPBACK_HOSTS
