"""Settings of the SQL read models."""

from __future__ import annotations

from msgspec import Struct


class StorageSettings(Struct, frozen=True, kw_only=True):
    """Where the read models live and how far they may fall behind.

    The URLs are SQLAlchemy's: ``sqlite:///relative/or//absolute/path`` or ``postgresql+asyncpg://user:secret@host/name``.
    ``backlog_messages_max``: facts that may wait for the database before new orders are refused.
    ``caught_up_seconds_max``: how long a reader waits for its own write. ``retry_seconds_max``: the longest pause
    between two attempts while the database is gone. ``readers_max``: reads that run at the same time.
    ``gather_seconds``: how long facts gather for one transaction while nobody waits to read them.
    ``..._replica_url``: where reads go while that server has caught up with what they must see; empty for none.
    ``writer_processes``: whether SQLite files are written by processes of their own, beside the one that takes orders.
    ``progress_seconds``: how often a quiet database records that it has missed nothing, so that replay can begin late.
    """

    orders_url: str
    compliance_url: str
    orders_replica_url: str = ""
    compliance_replica_url: str = ""
    backlog_messages_max: int = 200_000
    batch_messages_max: int = 5_000
    caught_up_seconds_max: float = 5.0
    retry_seconds_max: float = 5.0
    gather_seconds: float = 0.1
    progress_seconds: float = 1.0
    readers_max: int = 2
    writer_processes: bool = False

    def __repr__(self) -> str:
        """Without the URLs, which may hold a password."""
        return f"StorageSettings(backlog_messages_max={self.backlog_messages_max})"
