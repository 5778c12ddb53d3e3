"""A compliance record in memory, filled by the core itself as it speaks."""

from __future__ import annotations

from collections.abc import Sequence

from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.domain.messages import AccountStanding, AuditEntry, ComplianceAlert, Message
from polaris_synapse.storage.port import ReadModelsLagError


class RecordingCore(ComplianceCore):
    """A core whose facts are at once the record; a replay says the same again and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.standings: dict[str, AccountStanding] = {}
        self.raised: dict[str, ComplianceAlert] = {}
        self.entries: list[AuditEntry] = []
        self.lags_left = 0

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Fold a message and keep what was said."""
        outputs = super().apply(message)
        for output in outputs:
            if isinstance(output, AccountStanding):
                self.standings[output.account] = output
            elif isinstance(output, ComplianceAlert):
                self.raised[output.alert_id] = output
            elif isinstance(output, AuditEntry) and output.sequence > len(self.entries):
                self.entries.append(output)
        return outputs

    async def caught_up(self) -> None:
        """Everything is visible at once, except for as many times as ``lags_left`` says."""
        if self.lags_left:
            self.lags_left -= 1
            raise ReadModelsLagError("the record lags")

    async def accounts(self) -> Sequence[AccountStanding]:
        """The latest standing of every account."""
        return list(self.standings.values())

    async def alerts(
        self, *, account: str | None = None, status: str = "", limit: int = 100
    ) -> Sequence[ComplianceAlert]:
        """Alerts as they stand, newest first."""
        found = [
            alert
            for alert in reversed(self.raised.values())
            if account in (None, alert.account) and status in ("", alert.status)
        ]
        return found[:limit]

    async def audit_entries(self, *, after_sequence: int = 0, limit: int = 1_000) -> Sequence[AuditEntry]:
        """Audit entries, ascending, by the sequences they bear."""
        return [entry for entry in self.entries if entry.sequence > after_sequence][:limit]

    async def last_audit_sequence(self) -> int:
        """The newest one's sequence."""
        return self.entries[-1].sequence if self.entries else 0
