"""Bodies and parameters of the compliance interface."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from polaris_synapse.compliance.audit import AuditReport, Tampering
from polaris_synapse.compliance.checkpoints import Checkpoint
from polaris_synapse.compliance.core.alerts import AlertStatus
from polaris_synapse.domain.messages import AccountKind, AccountStanding, AuditEntry, ComplianceAlert, KycState

AccountName = Annotated[str, Meta(min_length=1, max_length=64, description="An account's name.")]
Note = Annotated[str, Meta(max_length=1_000, description="Why, for the audit log.")]
Limit = Annotated[int, Meta(ge=1, le=1_000, description="How many at most.")]


class AccountPath(Struct, frozen=True):
    """An account in the path."""

    account: AccountName


class AlertPath(Struct, frozen=True):
    """An alert in the path."""

    alert_id: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[a-z_]+-[0-9a-f]+$")]


class OpenAccountBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An account to open. ``country`` is two capital letters, ``date_of_birth`` as 1980-12-31."""

    account: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    holder_name: Annotated[str, Meta(min_length=1, max_length=200)]
    account_kind: AccountKind = AccountKind.PERSON
    country: Annotated[str, Meta(pattern=r"^([A-Z]{2})?$")] = ""
    date_of_birth: Annotated[str, Meta(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""
    operator: Annotated[str, Meta(max_length=200)] = ""


class KycBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The state to move an identity check to."""

    state: KycState
    note: Note = ""


class SanctionsHoldBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A sanctions hold to put on or lift."""

    held: bool
    note: Note = ""


class BlockBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A block to put on or lift."""

    blocked: bool
    note: Note = ""


class RestrictionBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An instrument to restrict, or to lift the restriction of, for an account or for all (``"*"``)."""

    account: AccountName
    symbol: Annotated[str, Meta(min_length=1, max_length=64)]
    restricted: bool
    note: Note = ""


class ReviewBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A finding about an alert: ESCALATED, FALSE_POSITIVE or CONFIRMED."""

    disposition: AlertStatus
    note: Note = ""


class AccountBody(Struct, frozen=True, kw_only=True):
    """All that gates an account's orders. ``version`` grows with each change."""

    account: str
    account_kind: AccountKind
    kyc: KycState
    sanctions_hold: bool
    blocked: bool
    restricted_symbols: tuple[str, ...]
    version: int
    changed_time_ns: int

    @classmethod
    def of(cls, standing: AccountStanding) -> AccountBody:
        """The body of a standing."""
        return cls(
            account=standing.account,
            account_kind=standing.account_kind,
            kyc=standing.kyc,
            sanctions_hold=standing.sanctions_hold,
            blocked=standing.blocked,
            restricted_symbols=standing.restricted_symbols,
            version=standing.version,
            changed_time_ns=standing.time_ns,
        )


class AccountsBody(Struct, frozen=True, kw_only=True):
    """Accounts by name."""

    accounts: list[AccountBody]


class DoneBody(Struct, frozen=True, kw_only=True):
    """A command had its effect. ``changed`` is false where things were so already."""

    changed: bool


class AlertBody(Struct, frozen=True, kw_only=True):
    """Something to look at. ``evidence`` names the rule with its versions, then the transactions behind it."""

    alert_id: str
    account: str
    rule: str
    severity: str
    summary: str
    evidence: tuple[str, ...]
    symbol: str
    status: AlertStatus
    time_ns: int

    @classmethod
    def of(cls, alert: ComplianceAlert) -> AlertBody:
        """The body of an alert."""
        return cls(
            alert_id=alert.alert_id,
            account=alert.account,
            rule=alert.rule,
            severity=alert.severity,
            summary=alert.summary,
            evidence=alert.evidence,
            symbol=alert.symbol,
            status=AlertStatus(alert.status),
            time_ns=alert.time_ns,
        )


class AlertsBody(Struct, frozen=True, kw_only=True):
    """Alerts, newest first."""

    alerts: list[AlertBody]


class AlertsQuery(Struct, frozen=True, kw_only=True):
    """Which alerts."""

    account: Annotated[str, Meta(max_length=64)] = ""
    status: AlertStatus | None = None
    limit: Limit = 100


class AuditEntryBody(Struct, frozen=True, kw_only=True):
    """One link of the audit chain."""

    sequence: int
    time_ns: int
    actor: str
    action: str
    subject: str
    detail: str
    previous_hash: str
    entry_hash: str

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditEntryBody:
        """The body of an entry."""
        return cls(**{name: getattr(entry, name) for name in cls.__struct_fields__})


class AuditBody(Struct, frozen=True, kw_only=True):
    """Entries in their order. Ask on with ``after_sequence`` set to ``next_after_sequence``."""

    entries: list[AuditEntryBody]
    next_after_sequence: int
    last_sequence: int


class AuditQuery(Struct, frozen=True, kw_only=True):
    """Which entries: those after a sequence, or with ``newest`` the last ones."""

    after_sequence: Annotated[int, Meta(ge=0, le=2**62)] = 0
    newest: bool = False
    limit: Limit = 100


class AuditReportBody(Struct, frozen=True, kw_only=True):
    """What verifying found. ``bad_sequence`` is 0 and ``tampering`` null where nothing was."""

    valid: bool
    entries: int
    head_hash: str
    checkpoints: int
    signatures_checked: bool
    unsigned_entries: int
    bad_sequence: int
    tampering: Tampering | None
    problem: str

    @classmethod
    def of(cls, report: AuditReport) -> AuditReportBody:
        """The body of a report."""
        return cls(**{name: getattr(report, name) for name in cls.__struct_fields__})


class CheckpointsBody(Struct, frozen=True, kw_only=True):
    """Signed checkpoints in their order, and the key they verify with, as PEM."""

    public_key: str
    checkpoints: list[Checkpoint]


class CheckpointsQuery(Struct, frozen=True, kw_only=True):
    """Which checkpoints: those after a number."""

    after_number: Annotated[int, Meta(ge=0, le=2**62)] = 0
    limit: Limit = 100
