"""Which facts of the desk a person should hear of, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from polaris_synapse.domain import topics
from polaris_synapse.domain.messages import (
    ApprovalChanged,
    ApprovalState,
    BookHealthChanged,
    BreakChanged,
    BreakerChanged,
    ComplianceAlert,
    KillLevel,
    KillLevelChanged,
    LimitBreached,
    Message,
)
from polaris_synapse.domain.reasons import explain
from polaris_synapse.monitoring.alerts.alert import Alert, Severity

#: The topics that carry them.
TOPICS: Final = (topics.RISK_EVENTS, topics.COMPLIANCE_ALERTS, topics.MARKET_DATA_MARKS)

_EVERYWHERE: Final = "*"


def alert_of(message: Message) -> Alert | None:
    """The alert that a fact is worth, or None."""
    make = _MAKERS.get(type(message))
    return make(message) if make is not None else None


def _breaker(message: BreakerChanged) -> Alert:
    where = "the whole desk" if message.scope == _EVERYWHERE else message.scope.replace(":", " ")
    if not message.tripped:
        return Alert(
            key=f"breaker {message.scope} closed",
            severity=Severity.INFO,
            title=f"Circuit breaker closed: {where} trades again",
            body=f"By {message.actor}. {message.note}",
            time_ns=message.time_ns,
        )
    return Alert(
        key=f"breaker {message.scope} tripped",
        severity=Severity.CRITICAL,
        title=f"Circuit breaker tripped: no new orders for {where}",
        body=f"{explain(message.reason)} By {message.actor}. {message.note}",
        time_ns=message.time_ns,
    )


_KILL_WORDS: Final = {
    KillLevel.OFF: "off",
    KillLevel.NO_NEW_RISK: "no new risk",
    KillLevel.CANCEL_ALL: "cancel all",
    KillLevel.FLATTEN: "flatten",
}


def _kill(message: KillLevelChanged) -> Alert:
    who = "the whole desk" if message.account == _EVERYWHERE else f"the account {message.account}"
    return Alert(
        key=f"kill {message.account} {int(message.level)}",
        severity=Severity.CRITICAL if message.level else Severity.INFO,
        title=f"Kill switch of {who}: {_KILL_WORDS[message.level]}",
        body=f"By {message.actor}; {len(message.order_ids)} orders are cancelled. {message.note}",
        time_ns=message.time_ns,
    )


def _limit(message: LimitBreached) -> Alert:
    return Alert(
        key=f"limit {message.account} {message.reason.name} {message.symbol}",
        severity=Severity.CRITICAL,
        title=f"Limit hit by {message.account or 'the desk'}: {message.reason.name}",
        body=message.detail,
        time_ns=message.time_ns,
    )


def _compliance(message: ComplianceAlert) -> Alert | None:
    if message.status != "OPEN":
        return None
    return Alert(
        key=f"compliance {message.rule} {message.account}",
        severity=Severity.CRITICAL if message.severity.upper() in {"HIGH", "CRITICAL"} else Severity.WARNING,
        title=f"Compliance: {message.rule} on {message.account}",
        body=f"{message.summary} (alert {message.alert_id})",
        time_ns=message.time_ns,
    )


def _break(message: BreakChanged) -> Alert:
    if not message.is_open:
        return Alert(
            key=f"break {message.break_id} resolved",
            severity=Severity.INFO,
            title=f"Break {message.break_id} with {message.venue} resolved",
            time_ns=message.time_ns,
        )
    return Alert(
        key=f"break {message.break_id}",
        severity=Severity.CRITICAL,
        title=f"Break with {message.venue}: {message.symbol} takes no new risk",
        body=f"{message.detail} Look at it with: polaris breaks",
        time_ns=message.time_ns,
    )


def _health(message: BookHealthChanged) -> Alert:
    return Alert(
        key=f"book {message.symbol} {'well' if message.healthy else message.cause}",
        severity=Severity.INFO if message.healthy else Severity.WARNING,
        title=f"Market data of {message.symbol} {'is well again' if message.healthy else f'stopped: {message.cause}'}",
        body=f"Source: {message.source}.",
        time_ns=message.time_ns,
    )


def _approval(message: ApprovalChanged) -> Alert | None:
    approval = message.approval
    if approval.state is not ApprovalState.PENDING:
        return None
    order = approval.order
    return Alert(
        key=f"approval {approval.approval_id}",
        severity=Severity.WARNING,
        title=f"{approval.agent} asks: {order.side.value} {order.symbol} on {approval.account}",
        body=f"See it with: polaris approvals show {approval.approval_id}",
        time_ns=message.time_ns,
    )


_MAKERS: Final[dict[type[Message], Callable[[Any], Alert | None]]] = {
    BreakerChanged: _breaker,
    KillLevelChanged: _kill,
    LimitBreached: _limit,
    ComplianceAlert: _compliance,
    BreakChanged: _break,
    BookHealthChanged: _health,
    ApprovalChanged: _approval,
}
