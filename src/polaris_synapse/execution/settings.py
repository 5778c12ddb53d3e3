"""Settings of the execution room."""

from __future__ import annotations

from msgspec import Struct


class PaperSettings(Struct, frozen=True, kw_only=True):
    """The paper venue. ``latency_seconds``: what an order, cancel or change takes to reach it.

    ``market_backlog_messages_max``: how far it may fall behind the market before it starts again from a fresh book.
    """

    latency_seconds: float = 0.0
    market_backlog_messages_max: int = 200_000
    open_orders_max: int = 100_000
    requests_waiting_max: int = 10_000
    retry_seconds: float = 1.0


class ExecutionSettings(Struct, frozen=True, kw_only=True):
    """The execution service.

    ``real_trading`` is the desk's ENABLE_REAL_TRADING. ``request_timeout_seconds`` bounds one call of an adapter. It
    and ``request_age_seconds_max``, how long an order or a replacement may wait before it is sent, lie together below
    the core's own patience (ExecutionRules.acknowledge_timeout_ns): what the core has given up is never sent. Requests
    for one order follow each other; ``requests_at_once_max`` of different orders are under way at a venue, and
    ``cancels_at_once_max`` more for orders that are to be cancelled.
    """

    real_trading: bool = False
    request_timeout_seconds: float = 10.0
    request_age_seconds_max: float = 4.0
    requests_at_once_max: int = 32
    cancels_at_once_max: int = 256
    venue_requests_waiting_max: int = 8_192
    commands_backlog_messages_max: int = 20_000
    report_batches_waiting_max: int = 10_000
    reports_a_send_max: int = 1_000
    reconcile_seconds: float = 60.0
    balances_seconds: float = 15.0
    retry_seconds_max: float = 5.0
