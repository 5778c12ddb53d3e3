"""The order port's settings. Every bound stands here, with its unit last."""

from __future__ import annotations

from msgspec import Struct


class OrderPortSettings(Struct, frozen=True, kw_only=True):
    """Where the port listens, and what a connection may ask of it. ``port`` 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0
    connections_max: int = 200
    connections_per_principal_max: int = 20
    frame_bytes_max: int = 65_536
    requests_in_flight_max: int = 1_024
    login_seconds_max: float = 10.0
    frame_seconds_max: float = 10.0
    stalled_write_seconds_max: float = 20.0
    shutdown_seconds_max: float = 5.0
