"""Settings of the risk service."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages import RiskLimits


class RiskSettings(Struct, frozen=True, kw_only=True):
    """How the risk service starts.

    ``limits`` are the desk's default: put into force through the log at each start where they differ from those in
    force, so the configuration rules over a default that somebody changed at run time. Accounts' own limits stay.
    ``metric_accounts_max``: accounts with metrics of their own; all of them count in the totals.
    """

    limits: RiskLimits = RiskLimits()
    backlog_messages_max: int = 100_000
    metric_accounts_max: int = 200
