"""What the compliance core remembers, as its snapshot has it."""

from __future__ import annotations

from msgspec import Struct, field

from polaris_synapse.compliance.core.accounts import Account
from polaris_synapse.compliance.core.activity import Activity, OrderValue
from polaris_synapse.compliance.core.audit_chain import AuditHead
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import ComplianceAlert, ComplianceRules


class ComplianceState(Struct, kw_only=True):
    """The snapshot. What is evicted by age is a list here, because a mapping would come back in another order."""

    rules: ComplianceRules
    audit: AuditHead
    accounts: dict[str, Account] = field(default_factory=dict)
    restricted_for_all: set[str] = field(default_factory=set)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    activities: list[tuple[str, Activity]] = field(default_factory=list)
    orders: list[tuple[int, OrderValue]] = field(default_factory=list)
    alerts: list[ComplianceAlert] = field(default_factory=list)
