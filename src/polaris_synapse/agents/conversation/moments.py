"""Moments as people name them, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_NS: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _NS
#: Overnight begins at this hour, UTC, of the day before.
EVENING_HOUR: Final = 20
_LENGTHS: Final = {"m": 60, "h": 3_600, "d": 86_400}


def since_ns(since: str, now_ns: int) -> int:
    """The moment that ``overnight``, ``today``, ``yesterday`` or a length such as ``2h`` begins; 0 for no moment."""
    midnight = now_ns - now_ns % _DAY_NS
    if since == "today":
        return midnight
    if since == "yesterday":
        return midnight - _DAY_NS
    if since == "overnight":
        return midnight - _DAY_NS + EVENING_HOUR * 3_600 * _NS
    length = re.fullmatch(r"(\d+)([mhd])", since)
    return now_ns - int(length.group(1)) * _LENGTHS[length.group(2)] * _NS if length is not None else 0


def moment(time_ns: int) -> str:
    """``2026-11-22 20:00:00 UTC``."""
    return f"{datetime.fromtimestamp(time_ns // _NS, UTC):%Y-%m-%d %H:%M:%S} UTC" if time_ns else "never"


def clock_time(time_ns: int) -> str:
    """``20:00:00``."""
    return f"{datetime.fromtimestamp(time_ns // _NS, UTC):%H:%M:%S}"
