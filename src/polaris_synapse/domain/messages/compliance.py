"""Compliance: who may trade what, alerts, and the audit chain."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from polaris_synapse.domain.messages.base import Command, Message
from polaris_synapse.domain.money import Asset


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


#: No rule looks further back than this, so that what compliance remembers of an account stays bounded.
RULE_WINDOW_SECONDS_MAX: Final = 7 * 86_400


class ComplianceRules(Struct, frozen=True, kw_only=True):
    """What the transaction rules look for. Amounts are minor units of ``valuation_asset``, rates parts per million.

    A count or an amount of 0 switches its rule off. ``version`` is the author's; every alert names it in its evidence.

    *large*: one deposit or withdrawal, or the executions of one order together, worth ``large_units`` or more.
    *rapid funds*, *rapid trading*: that many deposits and withdrawals, or executions, within the window.
    *pass-through*: withdrawals of at least ``pass_through_ppm_min`` of what came in within the window, where at least
    ``pass_through_units_min`` came in and less than ``pass_through_traded_ppm_max`` of it was traded meanwhile.
    *structuring*: ``structuring_count_min`` movements one way within the window, each below ``structuring_units`` but
    no smaller than ``structuring_floor_ppm`` of it, that together reach it.
    *new account*: deposits, withdrawals and trades worth ``new_account_units`` within the window after opening.
    """

    version: int = 1
    valuation_asset: Asset = Asset("USDT", 8)
    large_units: int = 10_000 * 10**8
    rapid_funds_count: int = 10
    rapid_funds_window_seconds: int = 3_600
    rapid_trades_count: int = 1_000
    rapid_trades_window_seconds: int = 60
    pass_through_units_min: int = 1_000 * 10**8
    pass_through_ppm_min: int = 800_000
    pass_through_traded_ppm_max: int = 50_000
    pass_through_window_seconds: int = 6 * 3_600
    structuring_units: int = 10_000 * 10**8
    structuring_floor_ppm: int = 700_000
    structuring_count_min: int = 3
    structuring_window_seconds: int = 86_400
    new_account_units: int = 50_000 * 10**8
    new_account_window_seconds: int = 86_400

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name == "valuation_asset":
                continue
            if value < 0:
                raise ValueError(f"{name} is {value}; it cannot be negative")
            if name.endswith("window_seconds") and not 1 <= value <= RULE_WINDOW_SECONDS_MAX:
                raise ValueError(f"{name} is {value}; it lies between 1 and {RULE_WINDOW_SECONDS_MAX}")
            if "_ppm" in name and value > 1_000_000:
                raise ValueError(f"{name} is {value}; parts per million end at 1000000")


class SetComplianceRules(Command, frozen=True, kw_only=True, gc=False):
    """Change what the transaction rules look for. In the log, so that replay judges the past by its own rules."""

    rules: ComplianceRules


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
