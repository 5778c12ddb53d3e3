"""The part of the desk's read models that compliance needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from polaris_synapse.domain.messages import AccountStanding, AuditEntry, ComplianceAlert

#: Rows that one read gives at most.
PAGE_ROWS_MAX: Final = 1_000


class ComplianceRecords(Protocol):
    """Reads of the compliance record. The desk's read models are one."""

    async def caught_up(self) -> None:
        """Return once everything durable when called is visible to reads. Raises ReadModelsLagError after a while."""
        ...

    async def accounts(self) -> Sequence[AccountStanding]:
        """The latest standing of every account."""
        ...

    async def alerts(
        self, *, account: str | None = None, status: str = "", limit: int = 100
    ) -> Sequence[ComplianceAlert]:
        """Alerts as they stand, newest first; an empty status means all."""
        ...

    async def audit_entries(self, *, after_sequence: int = 0, limit: int = PAGE_ROWS_MAX) -> Sequence[AuditEntry]:
        """Audit entries, ascending."""
        ...

    async def last_audit_sequence(self) -> int:
        """The sequence of the newest audit entry; 0 for none."""
        ...
