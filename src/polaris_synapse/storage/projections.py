"""What each fact becomes in SQL: one function a message type, from an envelope to rows of tables."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Table

from polaris_synapse.bus.core import Envelope
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.order_lists import ListState
from polaris_synapse.domain.orders import OPEN_STATES, OrderState
from polaris_synapse.storage import schema

#: A table and one row of it by column. ``body`` is the struct itself: only rows that are written become JSON.
Row = tuple[Table, dict[str, Any]]
Projection = Callable[[Envelope, Any], Iterator[Row]]


def _order(envelope: Envelope, updated: m.OrderUpdated) -> Iterator[Row]:
    order, request = updated.order, updated.order.request
    if order.state is OrderState.REFUSED:
        yield (
            schema.order_refusals,
            {
                "journal_offset": envelope.offset,
                "output_index": envelope.index,
                "account": request.account,
                "client_order_id": request.client_order_id,
                "symbol": request.symbol,
                "reason": int(order.reason),
                "detail": order.detail,
                "time_ns": updated.time_ns,
                "body": order,
            },
        )
        return
    yield (
        schema.orders,
        {
            "order_id": order.order_id,
            "account": request.account,
            "client_order_id": request.client_order_id,
            "symbol": request.symbol,
            "venue": order.venue,
            "side": request.side.value,
            "type": request.type.value,
            "state": order.state.value,
            "is_open": int(order.state in OPEN_STATES),
            "quantity_lots": str(order.quantity_lots),
            "filled_lots": str(order.filled_lots),
            "price_ticks": str(order.price_ticks),
            "reason": int(order.reason),
            "decision_id": request.decision_id,
            "created_time_ns": order.created_time_ns,
            "updated_time_ns": order.updated_time_ns,
            "body": order,
        },
    )


def _order_list(_: Envelope, updated: m.OrderListUpdated) -> Iterator[Row]:
    order_list, request = updated.order_list, updated.order_list.request
    yield (
        schema.order_lists,
        {
            "list_id": order_list.list_id,
            "account": request.account,
            "client_list_id": request.client_list_id,
            "symbol": request.legs[0].symbol,
            "type": request.kind.value,
            "state": order_list.state.value,
            "is_open": int(order_list.state is ListState.EXECUTING),
            "created_time_ns": order_list.created_time_ns,
            "updated_time_ns": order_list.updated_time_ns,
            "body": order_list,
        },
    )


def _execution(envelope: Envelope, execution: m.ExecutionRecorded) -> Iterator[Row]:
    fill = execution.fill
    yield (
        schema.executions,
        {
            "execution_id": execution.execution_id,
            "order_id": execution.order_id,
            "account": execution.account,
            "symbol": execution.symbol,
            "venue": execution.venue,
            "side": execution.side.value,
            "price_ticks": str(fill.price_ticks),
            "quantity_lots": str(fill.quantity_lots),
            "notional_units": str(execution.notional_units),
            "fee_units": str(fill.fee_units),
            "fee_asset": fill.fee_asset,
            "simulated": int(fill.simulated),
            "time_ns": execution.time_ns,
            "journal_offset": envelope.offset,
            "output_index": envelope.index,
            "body": execution,
        },
    )


def _balance(_: Envelope, balance: m.BalanceChanged) -> Iterator[Row]:
    yield (
        schema.balances,
        {
            "account": balance.account,
            "asset": balance.asset,
            "total_units": str(balance.total_units),
            "reserved_units": str(balance.reserved_units),
            "time_ns": balance.time_ns,
            "body": balance,
        },
    )


def _position(_: Envelope, position: m.PositionChanged) -> Iterator[Row]:
    yield (
        schema.positions,
        {
            "account": position.account,
            "symbol": position.symbol,
            "quantity_lots": str(position.quantity_lots),
            "cost_units": str(position.cost_units),
            "realised_pnl_units": str(position.realised_pnl_units),
            "fees_units": str(position.fees_units),
            "time_ns": position.time_ns,
            "body": position,
        },
    )


def _metrics(_: Envelope, metrics: m.AccountMetrics) -> Iterator[Row]:
    yield (
        schema.account_metrics,
        {
            "account": metrics.account,
            "equity_units": str(metrics.equity_units),
            "exposure_units": str(metrics.exposure_units),
            "time_ns": metrics.time_ns,
            "body": metrics,
        },
    )


def _ledger(_: Envelope, entry: m.LedgerPosted) -> Iterator[Row]:
    yield (
        schema.ledger_entries,
        {
            "entry_id": entry.entry_id,
            "account": entry.account,
            "cause": entry.cause,
            "reference": entry.reference,
            "symbol": entry.symbol,
            "time_ns": entry.time_ns,
            "body": entry,
        },
    )
    for leg, posting in enumerate(entry.postings):
        yield (
            schema.ledger_postings,
            {
                "entry_id": entry.entry_id,
                "leg": leg,
                "ledger_account": posting.ledger_account,
                "asset": posting.asset,
                "units": str(posting.units),
            },
        )


def _instrument(_: Envelope, listed: m.ListInstrument) -> Iterator[Row]:
    instrument = listed.instrument
    yield (
        schema.instruments,
        {
            "symbol": instrument.symbol,
            "venue": instrument.venue,
            "status": instrument.status.value,
            "time_ns": listed.time_ns,
            "body": instrument,
        },
    )


def _breaker(_: Envelope, breaker: m.BreakerChanged) -> Iterator[Row]:
    yield (
        schema.breakers,
        {
            "scope": breaker.scope,
            "tripped": int(breaker.tripped),
            "time_ns": breaker.time_ns,
            "body": breaker,
        },
    )


def _kill_level(_: Envelope, change: m.KillLevelChanged) -> Iterator[Row]:
    yield (
        schema.kill_levels,
        {
            "account": change.account,
            "level": int(change.level),
            "time_ns": change.time_ns,
            "body": change,
        },
    )


def _decision(_: Envelope, decision: m.DecisionRecorded) -> Iterator[Row]:
    yield (
        schema.decisions,
        {
            "decision_id": decision.decision_id,
            "agent": decision.agent,
            "account": decision.account,
            "symbol": decision.symbol,
            "view": decision.view,
            "action": decision.action,
            "revision": decision.revision,
            "decided_time_ns": decision.decided_time_ns or decision.time_ns,
            "body": decision,
        },
    )


def _candle(_: Envelope, closed: m.CandleClosed) -> Iterator[Row]:
    candle = closed.candle
    yield (
        schema.candles,
        {
            "symbol": candle.symbol,
            "interval_seconds": candle.interval_seconds,
            "open_time_ns": candle.open_time_ns,
            "source": closed.source,
            "open_ticks": str(candle.open_ticks),
            "high_ticks": str(candle.high_ticks),
            "low_ticks": str(candle.low_ticks),
            "close_ticks": str(candle.close_ticks),
            "volume_lots": str(candle.volume_lots),
            "body": candle,
        },
    )


def _break(_: Envelope, change: m.BreakChanged) -> Iterator[Row]:
    yield (
        schema.breaks,
        {
            "break_id": change.break_id,
            "venue": change.venue,
            "symbol": change.symbol,
            "account": change.account,
            "is_open": int(change.is_open),
            "time_ns": change.time_ns,
            "body": change,
        },
    )


def _standing(_: Envelope, standing: m.AccountStanding) -> Iterator[Row]:
    yield (
        schema.account_standings,
        {
            "account": standing.account,
            "account_kind": standing.account_kind.value,
            "kyc": standing.kyc.value,
            "sanctions_hold": int(standing.sanctions_hold),
            "blocked": int(standing.blocked),
            "version": standing.version,
            "time_ns": standing.time_ns,
            "body": standing,
        },
    )


def _alert(_: Envelope, alert: m.ComplianceAlert) -> Iterator[Row]:
    yield (
        schema.alerts,
        {
            "alert_id": alert.alert_id,
            "account": alert.account,
            "rule": alert.rule,
            "severity": alert.severity,
            "status": alert.status,
            "symbol": alert.symbol,
            "raised_time_ns": alert.time_ns,
            "time_ns": alert.time_ns,
            "body": alert,
        },
    )


def _audit(_: Envelope, entry: m.AuditEntry) -> Iterator[Row]:
    yield (
        schema.audit_entries,
        {
            "sequence": entry.sequence,
            "time_ns": entry.time_ns,
            "actor": entry.actor,
            "action": entry.action,
            "subject": entry.subject,
            "detail": entry.detail,
            "previous_hash": entry.previous_hash,
            "entry_hash": entry.entry_hash,
        },
    )


#: These change an instrument's row and are handled by the projector itself.
STATUS_CHANGES: Final = (m.SetInstrumentStatus, m.BookStatusChanged)
#: What the database of orders holds, besides STATUS_CHANGES.
ORDER_PROJECTIONS: Final[dict[type[m.Message], Projection]] = {
    m.OrderUpdated: _order,
    m.OrderListUpdated: _order_list,
    m.ExecutionRecorded: _execution,
    m.BalanceChanged: _balance,
    m.PositionChanged: _position,
    m.AccountMetrics: _metrics,
    m.LedgerPosted: _ledger,
    m.ListInstrument: _instrument,
    m.BreakerChanged: _breaker,
    m.KillLevelChanged: _kill_level,
    m.DecisionRecorded: _decision,
    m.CandleClosed: _candle,
    m.BreakChanged: _break,
}
#: What the database of compliance holds.
COMPLIANCE_PROJECTIONS: Final[dict[type[m.Message], Projection]] = {
    m.AccountStanding: _standing,
    m.ComplianceAlert: _alert,
    m.AuditEntry: _audit,
}


def _order_key(updated: m.OrderUpdated) -> Hashable | None:
    # Refusals have no order id, and each is a row of its own.
    return updated.order.order_id or None


def newest_only(facts: Sequence[Envelope]) -> list[Envelope]:
    """Facts without those whose row a later one replaces wholly: an order changes often within one transaction."""
    seen_of: dict[type[m.Message], set[Hashable]] = {kind: set() for kind in _REPLACING}
    kept: list[Envelope] = []
    for fact in reversed(facts):
        message = fact.message
        key_of = _REPLACING.get(type(message))
        if key_of is not None and (key := key_of(message)) is not None:
            seen = seen_of[type(message)]
            if key in seen:
                continue
            seen.add(key)
        kept.append(fact)
    kept.reverse()
    return kept


#: Facts that replace the whole row of the one before, and what names the row; None where a fact replaces nothing.
_REPLACING: Final[dict[type[m.Message], Callable[[Any], Hashable | None]]] = {
    m.OrderUpdated: _order_key,
    m.BalanceChanged: lambda balance: (balance.account, balance.asset),
    m.PositionChanged: lambda position: (position.account, position.symbol),
    m.AccountMetrics: lambda metrics: metrics.account,
}
