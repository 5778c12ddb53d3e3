"""The transaction rules. Each judges one deposit, withdrawal or execution against what the account did before.

A finding is a reason to look, not a verdict. What each rule looks for stands in ``ComplianceRules``; this module holds
their names, versions and severities. A rule that spoke about an account is quiet for the length of its own window.
Splitting an order is ordinary trading, so structuring looks at deposits and withdrawals only; an order that fills in
pieces counts as one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from polaris_synapse.compliance.core.activity import (
    DAY_NS,
    SECOND_NS,
    Activities,
    Activity,
    Movement,
    horizon_ns,
    movements_window_ns,
)
from polaris_synapse.compliance.core.valuation import Valuation
from polaris_synapse.domain.messages import ComplianceAlert, ComplianceRules, ExecutionRecorded

PPM: Final = 1_000_000
#: Ids of transactions that one alert names; the latest ones where there are more.
EVIDENCE_MAX: Final = 20


class Rule(Struct, frozen=True):
    """A rule's name in alerts and metrics, the version of its code, and how urgent what it finds is."""

    name: str
    version: int
    severity: str


LARGE: Final = Rule("large_transaction", 1, "MEDIUM")
RAPID_FUNDS: Final = Rule("rapid_funds", 1, "MEDIUM")
RAPID_TRADING: Final = Rule("rapid_trading", 1, "LOW")
PASS_THROUGH: Final = Rule("pass_through", 1, "HIGH")
STRUCTURING: Final = Rule("structuring", 1, "HIGH")
NEW_ACCOUNT: Final = Rule("new_account_activity", 1, "MEDIUM")
# Neither of these should happen; if one does, somebody must know that the other rules were blind.
UNPRICED: Final = Rule("unpriced_transaction", 1, "LOW")
UNOPENED: Final = Rule("unopened_account", 1, "HIGH")

RULES: Final = (LARGE, RAPID_FUNDS, RAPID_TRADING, PASS_THROUGH, STRUCTURING, NEW_ACCOUNT, UNPRICED, UNOPENED)


def alert_id(rule: Rule, account: str, trigger: str) -> str:
    """The id of the alert that ``rule`` raises about ``account`` because of one transaction: the same one each time."""
    digest = blake2b(f"{rule.name}\n{rule.version}\n{account}\n{trigger}".encode(), digest_size=8).hexdigest()
    return f"{rule.name}-{digest}"


class TransactionMonitor:
    """Runs the rules. ``activities`` belongs to the caller's state; the rules and prices are the caller's to change."""

    def __init__(self, rules: ComplianceRules, activities: Activities, valuation: Valuation) -> None:
        self._rules = rules
        self._activities = activities
        self._valuation = valuation
        self._movements_window_ns = movements_window_ns(rules)
        self._horizon_ns = horizon_ns(rules)
        self._trades_window_ns = SECOND_NS * rules.rapid_trades_window_seconds

    def forget_silent(self, time_ns: int) -> None:
        """Let go of everything that no window reaches back to."""
        self._activities.forget_silent(time_ns, horizon_ns=self._horizon_ns)

    def on_funds(
        self, *, account: str, opened_time_ns: int | None, time_ns: int, entry_id: int, asset: str, units: int
    ) -> list[ComplianceAlert]:
        """Judge a deposit (positive) or withdrawal (negative) of minor units of an asset."""
        activity = self._activities.touch(account, time_ns, opened_time_ns=opened_time_ns)
        trigger = f"ledger:{entry_id}"
        alerts = self._unopened(activity, account, opened_time_ns, time_ns, trigger)
        value = self._valuation.value_units(asset, units)
        if value is None:
            alerts += self._unpriced(activity, account, time_ns, trigger, self._valuation.amount_text(asset, units))
            value = 0
        movement = Movement(time_ns, entry_id, value, activity.traded_units)
        activity.add_movement(movement, window_ns=self._movements_window_ns)
        rules = self._rules
        if rules.large_units and abs(value) >= rules.large_units:
            verb = "deposit" if units > 0 else "withdrawal"
            amount = self._valuation.amount_text(asset, abs(units))
            summary = f"A {verb} of {amount}, worth {self._valuation.value_text(abs(value))}, at or above the threshold"
            alerts.append(self._alert(LARGE, account, time_ns, summary, (trigger,)))
        alerts += self._rapid_funds(activity, account, time_ns)
        alerts += self._structuring(activity, account, movement)
        if value < 0:
            alerts += self._pass_through(activity, account, time_ns)
        alerts += self._new_account(activity, account, time_ns, abs(value), trigger)
        return alerts

    def on_execution(self, message: ExecutionRecorded, opened_time_ns: int | None) -> list[ComplianceAlert]:
        """Judge an execution."""
        account, time_ns = message.account, message.time_ns
        activity = self._activities.touch(account, time_ns, opened_time_ns=opened_time_ns)
        trigger = f"execution:{message.execution_id}"
        alerts: list[ComplianceAlert] = []
        if opened_time_ns is None:
            alerts += self._unopened(activity, account, opened_time_ns, time_ns, trigger)
        rules = self._rules
        trades = activity.count_trade(time_ns, window_ns=self._trades_window_ns)
        if (
            rules.rapid_trades_count
            and trades >= rules.rapid_trades_count
            and activity.may_speak(RAPID_TRADING.name, time_ns, quiet_ns=self._trades_window_ns)
        ):
            summary = f"{trades} executions within {rules.rapid_trades_window_seconds} s"
            alerts.append(self._alert(RAPID_TRADING, account, time_ns, summary, (trigger,), message.symbol))
        value = self._valuation.notional_value_units(message.symbol, message.notional_units)
        if value is None:
            what = f"a trade of {message.notional_units} minor units on {message.symbol}"
            return alerts + self._unpriced(activity, account, time_ns, trigger, what)
        activity.traded_units += value
        before, after = self._activities.add_order_value(message.order_id, value, time_ns)
        if before < rules.large_units <= after:
            text = self._valuation.value_text(after)
            summary = f"An order's executions came to {text}, at or above the threshold"
            evidence = (f"order:{message.order_id}", trigger)
            alerts.append(self._alert(LARGE, account, time_ns, summary, evidence, message.symbol))
        if rules.new_account_units:
            alerts += self._new_account(activity, account, time_ns, value, trigger)
        return alerts

    def _rapid_funds(self, activity: Activity, account: str, time_ns: int) -> list[ComplianceAlert]:
        wanted, window_ns = self._rules.rapid_funds_count, SECOND_NS * self._rules.rapid_funds_window_seconds
        recent = _since(activity.movements, time_ns - window_ns)
        if not wanted or len(recent) < wanted:
            return []
        if not activity.may_speak(RAPID_FUNDS.name, time_ns, quiet_ns=window_ns):
            return []
        summary = f"{len(recent)} deposits and withdrawals within {self._rules.rapid_funds_window_seconds} s"
        return [self._alert(RAPID_FUNDS, account, time_ns, summary, _evidence(recent))]

    def _structuring(self, activity: Activity, account: str, movement: Movement) -> list[ComplianceAlert]:
        rules = self._rules
        threshold, window_ns = rules.structuring_units, SECOND_NS * rules.structuring_window_seconds
        if not threshold or not rules.structuring_count_min:
            return []
        floor = max(threshold * rules.structuring_floor_ppm // PPM, 1)
        sign = 1 if movement.value_units > 0 else -1
        recent = _since(activity.movements, movement.time_ns - window_ns)
        just_below = [other for other in recent if floor <= other.value_units * sign < threshold]
        # Only a movement that is itself just below adds to the pattern.
        if not just_below or just_below[-1] is not movement or len(just_below) < rules.structuring_count_min:
            return []
        total = sum(other.value_units for other in just_below) * sign
        way = "deposits" if sign > 0 else "withdrawals"
        if total < threshold or not activity.may_speak(
            f"{STRUCTURING.name}:{way}", movement.time_ns, quiet_ns=window_ns
        ):
            return []
        text = self._valuation.value_text
        summary = f"{len(just_below)} {way} just below {text(threshold)}, together {text(total)}"
        return [self._alert(STRUCTURING, account, movement.time_ns, summary, _evidence(just_below))]

    def _pass_through(self, activity: Activity, account: str, time_ns: int) -> list[ComplianceAlert]:
        rules, window_ns = self._rules, SECOND_NS * self._rules.pass_through_window_seconds
        if not rules.pass_through_units_min:
            return []
        recent = _since(activity.movements, time_ns - window_ns)
        first = next((index for index, movement in enumerate(recent) if movement.value_units > 0), None)
        if first is None:
            return []
        recent = recent[first:]
        came_in = sum(movement.value_units for movement in recent if movement.value_units > 0)
        went_out = -sum(movement.value_units for movement in recent if movement.value_units < 0)
        traded = activity.traded_units - recent[0].traded_before_units
        if (
            came_in < rules.pass_through_units_min
            or went_out * PPM < came_in * rules.pass_through_ppm_min
            or traded * PPM >= came_in * rules.pass_through_traded_ppm_max
            or not activity.may_speak(PASS_THROUGH.name, time_ns, quiet_ns=window_ns)
        ):
            return []
        text = self._valuation.value_text
        summary = f"{text(came_in)} came in and {text(went_out)} went out again, with {text(traded)} traded meanwhile"
        return [self._alert(PASS_THROUGH, account, time_ns, summary, _evidence(recent))]

    def _new_account(
        self, activity: Activity, account: str, time_ns: int, value_units: int, trigger: str
    ) -> list[ComplianceAlert]:
        rules = self._rules
        window_ns = SECOND_NS * rules.new_account_window_seconds
        if not rules.new_account_units or time_ns >= activity.opened_time_ns + window_ns:
            return []
        activity.new_account_units += value_units
        if activity.new_account_units < rules.new_account_units:
            return []
        if not activity.may_speak(NEW_ACCOUNT.name, time_ns, quiet_ns=window_ns):
            return []
        text = self._valuation.value_text(activity.new_account_units)
        age = (time_ns - activity.opened_time_ns) // SECOND_NS
        summary = f"{text} moved and traded within {age} s of the account's opening"
        return [self._alert(NEW_ACCOUNT, account, time_ns, summary, (trigger,))]

    def _unpriced(
        self, activity: Activity, account: str, time_ns: int, trigger: str, what: str
    ) -> list[ComplianceAlert]:
        if not activity.may_speak(UNPRICED.name, time_ns, quiet_ns=DAY_NS):
            return []
        summary = f"There is no price for {what}, so the rules on amounts could not judge it"
        return [self._alert(UNPRICED, account, time_ns, summary, (trigger,))]

    def _unopened(
        self, activity: Activity, account: str, opened_time_ns: int | None, time_ns: int, trigger: str
    ) -> list[ComplianceAlert]:
        if opened_time_ns is not None or not activity.may_speak(UNOPENED.name, time_ns, quiet_ns=DAY_NS):
            return []
        summary = "Money moved on an account that compliance never opened"
        return [self._alert(UNOPENED, account, time_ns, summary, (trigger,))]

    def _alert(
        self, rule: Rule, account: str, time_ns: int, summary: str, evidence: tuple[str, ...], symbol: str = ""
    ) -> ComplianceAlert:
        return ComplianceAlert(
            time_ns=time_ns,
            alert_id=alert_id(rule, account, evidence[-1]),
            account=account,
            rule=rule.name,
            severity=rule.severity,
            summary=summary,
            evidence=(f"rule:{rule.name}@{rule.version}.{self._rules.version}", *evidence),
            symbol=symbol,
        )


def _since(movements: Sequence[Movement], oldest_ns: int) -> list[Movement]:
    """The movements later than ``oldest_ns``."""
    return [movement for movement in movements if movement.time_ns > oldest_ns]


def _evidence(movements: Sequence[Movement]) -> tuple[str, ...]:
    return tuple(f"ledger:{movement.entry_id}" for movement in movements[-EVIDENCE_MAX:])
