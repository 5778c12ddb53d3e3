"""Settings of the matching service."""

from __future__ import annotations

from msgspec import Struct


class MatchingSettings(Struct, frozen=True, kw_only=True):
    """``watch_seconds``: how often the service looks for books that stopped or opened, to log it.

    ``tick_age_seconds_max``: how long the books may go without being told the time before the service is not ready.
    """

    watch_seconds: int = 1
    tick_age_seconds_max: int = 30

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} is {value}; it is at least 1")
