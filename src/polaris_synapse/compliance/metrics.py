"""What Prometheus is told about compliance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from polaris_synapse.compliance.core.aml import RULES
from polaris_synapse.domain.messages import AccountStanding, ComplianceAlert, KycState

_OPEN: Final = "OPEN"


class ComplianceMetrics:
    """Alerts by rule, accounts by identity check, and the audit log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._alerts = Counter("polaris_compliance_alerts", "Alerts raised, by rule.", ("rule",), registry=registry)
        self._accounts = Gauge(
            "polaris_compliance_accounts", "Accounts, by the state of the identity check.", ("kyc",), registry=registry
        )
        self._held = Gauge(
            "polaris_compliance_accounts_stopped",
            "Accounts under a sanctions hold or a block.",
            ("cause",),
            registry=registry,
        )
        self._entries = Counter("polaris_audit_entries", "Audit entries taken by the keeper.", registry=registry)
        self._sequence = Gauge("polaris_audit_sequence", "Sequence of the last audit entry.", registry=registry)
        self._signed = Gauge("polaris_audit_signed_sequence", "Last audit entry signed for.", registry=registry)
        self._broken = Gauge(
            "polaris_audit_broken", "1 where the audit log contradicts what was signed for.", registry=registry
        )
        self._dropped = Counter(
            "polaris_compliance_fallbacks",
            "Times that the service fell behind the bus and read the record instead.",
            registry=registry,
        )
        self._standings: dict[str, AccountStanding] = {}
        self._counts: dict[KycState, int] = dict.fromkeys(KycState, 0)
        self._stopped: dict[str, int] = {"sanctions_hold": 0, "block": 0}
        for rule in RULES:
            self._alerts.labels(rule.name)
        self._tell_accounts()

    def alert(self, alert: ComplianceAlert) -> None:
        """An alert was said; only a new one counts."""
        if alert.status == _OPEN:
            self._alerts.labels(alert.rule).inc()

    def standings(self, standings: Iterable[AccountStanding]) -> None:
        """Accounts as they stand now; an older version of one that is known changes nothing."""
        for standing in standings:
            known = self._standings.get(standing.account)
            if known is not None:
                if known.version > standing.version:
                    continue
                self._count(known, -1)
            self._standings[standing.account] = standing
            self._count(standing, 1)
        self._tell_accounts()

    def _count(self, standing: AccountStanding, by: int) -> None:
        self._counts[standing.kyc] += by
        self._stopped["sanctions_hold"] += by * standing.sanctions_hold
        self._stopped["block"] += by * standing.blocked

    def _tell_accounts(self) -> None:
        for state, count in self._counts.items():
            self._accounts.labels(state.value).set(count)
        for cause, count in self._stopped.items():
            self._held.labels(cause).set(count)

    def entries(self, count: int, last_sequence: int) -> None:
        """Audit entries were taken."""
        self._entries.inc(count)
        self._sequence.set(last_sequence)

    def checkpoint(self, size: int) -> None:
        """A checkpoint covers the log up to ``size``."""
        self._signed.set(size)

    def broken(self) -> None:
        """The audit log contradicts what was signed for."""
        self._broken.set(1)

    def fell_behind(self) -> None:
        """The service was dropped by the bus for being slow."""
        self._dropped.inc()
