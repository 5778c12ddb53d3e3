"""Settings of the embedded host."""

from __future__ import annotations

from msgspec import Struct


class HostSettings(Struct, frozen=True, kw_only=True):
    """Bounds of the embedded host.

    ``queue_messages_max``: inputs that may wait for the journal. ``queue_reserve_messages``: places on top of them for
    what must get through under overload: cancels, stops, venue reports and ticks. ``batch_messages_max``: inputs in
    one commit. ``derived_messages_max``: marks and summaries that may wait; the oldest goes first.
    ``snapshot_interval_messages``: inputs between two snapshots. ``snapshots_kept``: how many stay.
    ``journal_keep_all``: False deletes inputs that every kept snapshot and every recording subscriber is past.
    ``verify_on_start_bytes_max``: a journal up to this size is checked whole at each start.
    """

    queue_messages_max: int = 20_000
    queue_reserve_messages: int = 20_000
    batch_messages_max: int = 2_000
    derived_messages_max: int = 10_000
    snapshot_interval_messages: int = 250_000
    snapshots_kept: int = 2
    journal_keep_all: bool = True
    verify_on_start_bytes_max: int = 256 * 1024 * 1024
    request_timeout_seconds: float = 10.0
    tick_seconds: float = 1.0
    probe_seconds: float = 1.0
    replay_stall_seconds_max: float = 60.0
