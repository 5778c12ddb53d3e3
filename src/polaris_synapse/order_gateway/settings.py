"""The gateway's settings. Every bound stands here, with its unit last."""

from __future__ import annotations

from msgspec import Struct


class Budget(Struct, frozen=True):
    """A rate that a client may use: ``per_second`` on average, ``burst`` at once."""

    name: str
    per_second: float
    burst: int


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """How the gateway treats its clients.

    Budgets hold per principal, those of log-ins and failures per address. Cancels have their own, so that no flood of
    orders or reads keeps anybody from getting out.
    """

    auth_database: str = "auth.sqlite"
    session_minutes: int = 60
    signature_window_ms: int = 5_000
    signature_ahead_ms: int = 1_000
    nonces_max: int = 200_000
    tokens_cached_max: int = 10_000

    orders: Budget = Budget("orders", 500.0, 1_000)
    cancels: Budget = Budget("cancels", 500.0, 1_000)
    reads: Budget = Budget("reads", 200.0, 400)
    logins_of_user: Budget = Budget("logins_of_user", 0.5, 30)
    logins_of_user_and_address: Budget = Budget("logins_of_user_and_address", 0.1, 5)
    logins_of_address: Budget = Budget("logins_of_address", 0.5, 20)
    failures_of_address: Budget = Budget("failures_of_address", 5.0, 50)
    limiter_keys_max: int = 20_000

    read_seconds_max: float = 3.0
    wait_ms_max: int = 5_000
    instruments_refresh_seconds: float = 5.0
    orders_remembered_max: int = 50_000

    connections_max: int = 200
    connections_per_principal_max: int = 20
    login_seconds_max: float = 10.0
    connection_requests_in_flight_max: int = 256
    connection_backlog_messages_max: int = 2_048
    connection_channels_max: int = 64
    facts_backlog_messages_max: int = 20_000
    market_backlog_messages_max: int = 5_000

    audit_notes_max: int = 1_000
    audit_notes_per_address_and_minute_max: int = 20

    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
