"""Bounds of conversations."""

from __future__ import annotations

from msgspec import Struct


class ConversationSettings(Struct, frozen=True, kw_only=True):
    """``confirmation_seconds_max``: how long a preview may be confirmed. ``price_move_ppm_max``: how far the estimate
    may have moved against the speaker by then; beyond it there is a new preview. ``price_distance_ppm_max``: a limit
    price farther from the market than that is asked about first. Idle sessions end, and the longest idle make room.
    """

    confirmation_seconds_max: int = 60
    price_move_ppm_max: int = 5_000
    price_distance_ppm_max: int = 50_000
    sessions_max: int = 1_000
    sessions_of_one_max: int = 20
    session_idle_seconds_max: int = 3_600
    rows_max: int = 20
    bookings_read_max: int = 1_000
