"""The desk's settings handed to each room in the room's own terms."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from polaris_synapse.bus.settings import HostSettings
from polaris_synapse.compliance.settings import ComplianceSettings
from polaris_synapse.desk.data_settings import with_password
from polaris_synapse.desk.reference_data import assets_of, limits_of
from polaris_synapse.desk.settings import EVERY_ACCOUNT, DeskSettings, LimitSettings
from polaris_synapse.domain.messages import ComplianceRules
from polaris_synapse.domain.money import parse_amount
from polaris_synapse.market_data.core.settings import MarketDataCoreSettings
from polaris_synapse.market_data.feeds.binance_settings import BinanceFeedSettings
from polaris_synapse.market_data.settings import MarketDataSettings
from polaris_synapse.order_gateway.order_port_settings import OrderPortSettings
from polaris_synapse.order_gateway.settings import Budget, GatewaySettings
from polaris_synapse.risk.settings import RiskSettings
from polaris_synapse.storage.cache.port import SharedCache
from polaris_synapse.storage.settings import StorageSettings


def host_settings(settings: DeskSettings) -> HostSettings:
    """The embedded host's."""
    journal = settings.journal
    return HostSettings(
        queue_messages_max=journal.queue_messages_max,
        batch_messages_max=journal.batch_messages_max,
        snapshot_interval_messages=journal.snapshot_interval_messages,
        snapshots_kept=journal.snapshots_kept,
        journal_keep_all=journal.keep_all,
    )


def storage_settings(directory: Path, settings: DeskSettings | None = None) -> StorageSettings:
    """The read models': PostgreSQL where the settings name it, else two SQLite files."""
    orders_file = f"sqlite:///{directory / 'orderdb.sqlite3'}"
    compliance_file = f"sqlite:///{directory / 'compliancedb.sqlite3'}"
    if settings is None:
        return StorageSettings(orders_url=orders_file, compliance_url=compliance_file)
    section = settings.databases
    orders = partial(with_password, password=settings.db_password)
    compliance = partial(with_password, password=settings.compliance_db_password)
    return StorageSettings(
        orders_url=orders(section.orders_url) or orders_file,
        compliance_url=compliance(section.compliance_url) or compliance_file,
        orders_replica_url=orders(section.orders_replica_url),
        compliance_replica_url=compliance(section.compliance_replica_url),
        readers_max=section.readers_max,
        writer_processes=section.writer_processes,
    )


def shared_cache(settings: DeskSettings) -> SharedCache | None:
    """The cache that several gateways share, or None where each keeps to itself. Connects when first used."""
    url = with_password(settings.cache.url, settings.redis_password)
    if not url:
        return None
    from polaris_synapse.storage.cache.redis import RedisCache

    return RedisCache(url, operation_seconds_max=settings.cache.operation_seconds_max)


def market_data_settings(settings: DeskSettings) -> MarketDataSettings:
    """The market data room's."""
    feed = settings.feed
    return MarketDataSettings(
        feed=feed.mode.value,
        auto_seconds_max=feed.probe_seconds_max,
        replay_paths=tuple(str(path) for path in feed.recordings),
        replay_speed=feed.speed,
        replay_loop=feed.repeat,
        simulation_seed=feed.seed,
        record_folder=str(feed.record_directory) if feed.record_directory else "",
        core=MarketDataCoreSettings(stale_seconds=feed.stale_seconds, marks_per_second_max=feed.marks_per_second_max),
        binance=BinanceFeedSettings(stream_url=feed.binance_stream_url, rest_url=feed.binance_rest_url),
    )


def gateway_settings(settings: DeskSettings) -> GatewaySettings:
    """The order gateway's. Orders and cancels have budgets of their own, twice their rate at once."""
    gateway = settings.gateway
    orders, reads = gateway.orders_per_second_max, gateway.reads_per_second_max
    return GatewaySettings(
        auth_database="auth.sqlite3",
        session_minutes=gateway.session_minutes,
        signature_window_ms=gateway.signature_window_ms,
        orders=Budget("orders", float(orders), 2 * orders),
        cancels=Budget("cancels", float(orders), 2 * orders),
        reads=Budget("reads", float(reads), 2 * reads),
        connections_max=gateway.connections_max,
        allowed_hosts=gateway.allowed_hosts,
        allowed_origins=gateway.allowed_origins,
    )


def order_port_settings(settings: DeskSettings) -> OrderPortSettings:
    """The order port's: on the address that the services listen on."""
    section = settings.order_port
    return OrderPortSettings(host=settings.host, port=section.port, connections_max=section.connections_max)


def compliance_settings(settings: DeskSettings, directory: Path) -> ComplianceSettings:
    """The compliance room's."""
    section, valuation = settings.compliance, assets_of(settings)[settings.valuation_asset]
    rules = ComplianceRules(
        version=section.rules_version,
        valuation_asset=valuation,
        large_units=parse_amount(section.large_transaction, valuation),
        rapid_funds_count=section.rapid_funds_count,
        rapid_funds_window_seconds=section.rapid_funds_window_seconds,
        rapid_trades_count=section.rapid_trades_count,
        rapid_trades_window_seconds=section.rapid_trades_window_seconds,
        pass_through_units_min=parse_amount(section.flow_through_min, valuation),
        structuring_units=parse_amount(section.structuring_below, valuation),
        structuring_count_min=section.structuring_count,
        new_account_units=parse_amount(section.new_account_activity, valuation),
    )
    return ComplianceSettings(
        audit_directory=directory / "audit",
        checkpoint_file=directory / "audit-checkpoints" / "checkpoints.jsonl",
        signing_key_file=directory / "keys" / "audit-signing.pem",
        rules=rules,
        checkpoint_entries=section.checkpoint_entries,
        checkpoint_seconds=section.checkpoint_seconds,
    )


def risk_settings(settings: DeskSettings) -> RiskSettings:
    """The risk room's: the limits of every account that has none of its own."""
    valuation = assets_of(settings)[settings.valuation_asset]
    return RiskSettings(limits=limits_of(settings.limits.get(EVERY_ACCOUNT, LimitSettings()), valuation))
