"""Settings of the agents' shell."""

from __future__ import annotations

from msgspec import Struct


class AgentsServiceSettings(Struct, frozen=True, kw_only=True):
    """Limits of the shell that hands proposals to order entry.

    ``proposal_seconds_max``: an older proposal is dropped, because the market it was made for is gone.
    ``submit_attempts_max``: tries in all for one proposal, repeated only after TIMED_OUT and with the same client order
    id, which makes repeating safe. ``proposals_max`` and ``decisions_max`` bound what may wait on the bus.
    """

    proposal_seconds_max: int = 10
    submit_seconds_max: int = 5
    submit_attempts_max: int = 2
    proposals_max: int = 1_000
    decisions_max: int = 10_000
