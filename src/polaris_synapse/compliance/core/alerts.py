"""Alerts that await a compliance officer, and how a review moves one."""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import Final

from msgspec.structs import replace

from polaris_synapse.domain.messages import ComplianceAlert
from polaris_synapse.domain.reasons import Reason

#: Alerts kept for review at once. The oldest makes room for a new one and is marked UNREVIEWED, never just dropped.
OPEN_ALERTS_MAX: Final = 20_000


class AlertStatus(StrEnum):
    """Where an alert stands. ESCALATED still awaits a finding."""

    OPEN = "OPEN"
    ESCALATED = "ESCALATED"
    FALSE_POSITIVE = "FALSE_POSITIVE"
    CONFIRMED = "CONFIRMED"
    UNREVIEWED = "UNREVIEWED"


#: The dispositions an officer may give, by the alert's status. What is not here is refused.
ALERT_TRANSITIONS: Final[dict[AlertStatus, frozenset[AlertStatus]]] = {
    AlertStatus.OPEN: frozenset({AlertStatus.ESCALATED, AlertStatus.FALSE_POSITIVE, AlertStatus.CONFIRMED}),
    AlertStatus.ESCALATED: frozenset({AlertStatus.FALSE_POSITIVE, AlertStatus.CONFIRMED}),
    AlertStatus.FALSE_POSITIVE: frozenset(),
    AlertStatus.CONFIRMED: frozenset(),
    AlertStatus.UNREVIEWED: frozenset(),
}
#: Alerts with these are still on somebody's desk.
AWAITING_REVIEW: Final = frozenset({AlertStatus.OPEN, AlertStatus.ESCALATED})


class AlertBox:
    """The alerts that await review, the oldest first."""

    def __init__(self) -> None:
        self.waiting: OrderedDict[str, ComplianceAlert] = OrderedDict()

    def add(self, alert: ComplianceAlert) -> ComplianceAlert | None:
        """Take a new alert in. Where the box was full, the oldest one, now UNREVIEWED, comes out."""
        pushed_out = None
        if len(self.waiting) >= OPEN_ALERTS_MAX:
            _, oldest = self.waiting.popitem(last=False)
            pushed_out = replace(oldest, status=AlertStatus.UNREVIEWED.value, time_ns=alert.time_ns)
        self.waiting[alert.alert_id] = alert
        return pushed_out

    def review(self, alert_id: str, disposition: str, *, time_ns: int) -> tuple[ComplianceAlert | None, Reason, str]:
        """The alert after a review, or why there is none: the reason and one sentence."""
        alert = self.waiting.get(alert_id)
        if alert is None:
            return None, Reason.CASE_NOT_FOUND, f"no alert {alert_id} awaits review"
        allowed = ALERT_TRANSITIONS[AlertStatus(alert.status)]
        if disposition not in allowed:
            return None, Reason.INVALID_VALUE, f"disposition: one of {', '.join(sorted(allowed))}"
        status = AlertStatus(disposition)
        reviewed = replace(alert, status=status.value, time_ns=time_ns)
        if status in AWAITING_REVIEW:
            self.waiting[alert_id] = reviewed
        else:
            del self.waiting[alert_id]
        return reviewed, Reason.NONE, ""
