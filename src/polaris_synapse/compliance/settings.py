"""Settings of the compliance service."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from polaris_synapse.domain.messages import ComplianceRules


class ComplianceSettings(Struct, frozen=True, kw_only=True):
    """Where the audit log lies and how often it is signed for.

    ``rules`` are put into the log at each start where they differ from those in force. ``audit_directory`` takes the
    daily files of the audit log. ``checkpoint_file`` and ``signing_key_file`` belong on another disk, or at least out
    of reach of whoever can write to the first: together they are what proves the log. A checkpoint is signed after
    ``checkpoint_entries`` entries, after ``checkpoint_seconds`` where there are any, and when the desk stops.
    ``backlog_messages_max``: facts that may wait before the service falls back to reading them from the record.
    """

    audit_directory: Path
    checkpoint_file: Path
    signing_key_file: Path
    rules: ComplianceRules = ComplianceRules()
    checkpoint_entries: int = 1_000
    checkpoint_seconds: int = 300
    backlog_messages_max: int = 50_000

    def __post_init__(self) -> None:
        for name in ("checkpoint_entries", "checkpoint_seconds", "backlog_messages_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is at least 1")

    @classmethod
    def under(cls, directory: Path, *, rules: ComplianceRules | None = None) -> ComplianceSettings:
        """Everything in one data directory, with the defaults for the rest."""
        return cls(
            audit_directory=directory / "audit",
            checkpoint_file=directory / "audit-checkpoints" / "checkpoints.jsonl",
            signing_key_file=directory / "keys" / "audit-signing.pem",
            rules=rules or ComplianceRules(),
        )
