"""Compliance: who may trade what, alerts, and the audit chain."""

from __future__ import annotations

from enum import StrEnum

from polaris_synapse.domain.messages.base import Command, Message


class AccountKind(StrEnum):
    """Who stands behind an account."""

    PERSON = "PERSON"
    ENTITY = "ENTITY"
    AGENT = "AGENT"


class KycState(StrEnum):
    """Where the identity check stands."""

    NONE = "NONE"
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


class OpenAccount(Command, frozen=True, kw_only=True, gc=False):
    """Open an account for ``holder_name``. Trading starts when its KYC is APPROVED and nothing holds it."""

    account: str
    holder_name: str
    account_kind: AccountKind = AccountKind.PERSON
    country: str = ""
    date_of_birth: str = ""
    operator: str = ""


class ReviewKyc(Command, frozen=True, kw_only=True, gc=False):
    """A compliance officer moves an account's identity check."""

    account: str
    state: KycState
    note: str = ""


class SetSanctionsHold(Command, frozen=True, kw_only=True, gc=False):
    """Put an account under a sanctions hold or lift it."""

    account: str
    held: bool
    note: str = ""


class SetAccountBlock(Command, frozen=True, kw_only=True, gc=False):
    """Block an account for any other compliance reason, or lift the block."""

    account: str
    blocked: bool
    note: str = ""


class RestrictInstrument(Command, frozen=True, kw_only=True, gc=False):
    """Restrict an instrument for an account, or for every account (``"*"``), or lift it."""

    account: str
    symbol: str
    restricted: bool
    note: str = ""


class ReviewAlert(Command, frozen=True, kw_only=True, gc=False):
    """A compliance officer closes an alert with a finding."""

    alert_id: str
    disposition: str
    note: str = ""


class AccountStanding(Message, frozen=True, kw_only=True, gc=False):
    """All that gates an account's orders, complete after each change. Risk refuses by it."""

    account: str
    account_kind: AccountKind
    kyc: KycState
    sanctions_hold: bool
    blocked: bool
    restricted_symbols: tuple[str, ...]
    version: int


class ComplianceAlert(Message, frozen=True, kw_only=True, gc=False):
    """Something a compliance officer should look at. ``rule`` names the rule, ``evidence`` the ids behind it."""

    alert_id: str
    account: str
    rule: str
    severity: str
    summary: str
    evidence: tuple[str, ...] = ()
    symbol: str = ""
    status: str = "OPEN"


class AuditEntry(Message, frozen=True, kw_only=True, gc=False):
    """One link of the audit chain.

    ``entry_hash`` is the SHA-256 (hex) of ``previous_hash`` and the canonical JSON of the other fields.
    """

    sequence: int
    actor: str
    action: str
    subject: str
    detail: str
    previous_hash: str
    entry_hash: str
