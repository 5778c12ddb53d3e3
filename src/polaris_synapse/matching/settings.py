"""Settings of the matching service."""

from __future__ import annotations

from msgspec import Struct


class MatchingSettings(Struct, frozen=True, kw_only=True):
    """``watch_seconds``: how often the service looks for books that stopped or opened, to log it.

    ``tick_age_seconds_max``: how long the books may go without being told the time before the service is not ready.
    ``stream_*``: connections of the stream, and what may wait for each; ``facts_backlog_messages_max``: for all.
    """

    watch_seconds: int = 1
    tick_age_seconds_max: int = 30
    stream_connections_max: int = 100
    stream_backlog_messages_max: int = 2_000
    facts_backlog_messages_max: int = 50_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} is {value}; it is at least 1")
