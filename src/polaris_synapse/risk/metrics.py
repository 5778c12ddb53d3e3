"""The risk service's Prometheus metrics, made from published facts. Amounts are whole units of the valuation asset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from polaris_synapse.domain.messages import (
    AccountMetrics,
    BreakerChanged,
    ExecutionRecorded,
    KillLevel,
    KillLevelChanged,
    LimitBreached,
    Message,
    OrderUpdated,
    PositionChanged,
)
from polaris_synapse.domain.orders import OrderState

#: The label of totals over all accounts.
ALL: Final = "*"


class RiskMetrics:
    """Counters and gauges of the room. ``decimals``: of the valuation asset."""

    def __init__(self, registry: CollectorRegistry, *, accounts_max: int, decimals: int = 8) -> None:
        self._unit = 10**decimals
        self._accounts_max = accounts_max
        self._named: set[str] = set()
        self._totals: dict[str, AccountMetrics] = {}
        self._realised: dict[tuple[str, str], int] = {}
        self._tripped: set[str] = set()
        self._stale_accounts: set[str] = set()
        self.refusals = Counter(
            "polaris_risk_refusals", "Orders refused by the checks, by reason.", ["reason"], registry=registry
        )
        self.accepted = Counter("polaris_risk_orders_accepted", "Orders accepted.", registry=registry)
        self.executions = Counter("polaris_risk_executions", "Fills posted to the ledger.", registry=registry)
        self.breaches = Counter(
            "polaris_risk_limits_breached", "Limits hit outside an order's checks.", ["reason"], registry=registry
        )
        self.breakers = Gauge(
            "polaris_risk_breakers_tripped", "Tripped circuit breakers by kind of scope.", ["kind"], registry=registry
        )
        self.kill_level = Gauge("polaris_risk_kill_level", "The desk's kill switch, 0 to 3.", registry=registry)
        self.equity = Gauge("polaris_risk_equity", "Equity at marks.", ["account"], registry=registry)
        self.exposure = Gauge("polaris_risk_exposure", "Exposure at marks.", ["account"], registry=registry)
        self.day_profit = Gauge(
            "polaris_risk_day_profit", "Equity less that of 00:00 UTC.", ["account"], registry=registry
        )
        self.realised = Gauge(
            "polaris_risk_realised_profit", "Realised profit, all quotes as one.", ["account"], registry=registry
        )
        for kind in ("desk", "symbol", "account"):
            self.breakers.labels(kind).set(0)

    def stops(self, tripped: Mapping[str, object], level: KillLevel) -> None:
        """Start from the core's own stops."""
        self._tripped = set(tripped)
        self._show_breakers()
        self.kill_level.set(level)

    def take(self, message: Message) -> None:
        """Fold a fact; ``show`` brings what takes adding up."""
        if isinstance(message, OrderUpdated):
            if message.order.state is OrderState.REFUSED:
                self.refusals.labels(message.order.reason.name).inc()
            elif message.event is None:
                self.accepted.inc()
        elif isinstance(message, ExecutionRecorded):
            self.executions.inc()
        elif isinstance(message, AccountMetrics):
            self._totals[message.account] = message
            self._show_account(message)
        elif isinstance(message, PositionChanged):
            self._realised[message.account, message.symbol] = message.realised_pnl_units
            self._stale_accounts.add(message.account)
        elif isinstance(message, LimitBreached):
            self.breaches.labels(message.reason.name).inc()
        elif isinstance(message, BreakerChanged):
            (self._tripped.add if message.tripped else self._tripped.discard)(message.scope)
            self._show_breakers()
        elif isinstance(message, KillLevelChanged) and message.account == ALL:
            self.kill_level.set(message.level)

    def _show_breakers(self) -> None:
        for kind in ("desk", "symbol", "account"):
            count = sum((scope == ALL) if kind == "desk" else scope.startswith(f"{kind}:") for scope in self._tripped)
            self.breakers.labels(kind).set(count)

    def _label(self, account: str) -> str | None:
        """The account's own label, as long as there is room for one."""
        if account not in self._named and len(self._named) < self._accounts_max:
            self._named.add(account)
        return account if account in self._named else None

    def _show_account(self, metrics: AccountMetrics) -> None:
        everyone = list(self._totals.values())
        rows = [(ALL, everyone)]
        label = self._label(metrics.account)
        if label is not None:
            rows.append((label, [metrics]))
        for name, included in rows:
            equity = sum(one.equity_units for one in included)
            self.equity.labels(name).set(equity / self._unit)
            self.exposure.labels(name).set(sum(one.exposure_units for one in included) / self._unit)
            start = sum(one.day_start_equity_units for one in included)
            self.day_profit.labels(name).set((equity - start) / self._unit)

    def show(self) -> None:
        """Show what was folded since the last time and takes adding up: once for many facts."""
        if not self._stale_accounts:
            return
        self.realised.labels(ALL).set(sum(self._realised.values()) / self._unit)
        for account in self._stale_accounts:
            label = self._label(account)
            if label is not None:
                own = sum(units for (owner, _), units in self._realised.items() if owner == account)
                self.realised.labels(label).set(own / self._unit)
        self._stale_accounts.clear()
