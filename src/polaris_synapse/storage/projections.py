"""What each fact becomes in SQL: one function a message type, from an envelope to rows of tables."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec
from sqlalchemy import Table

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.order_lists import ListState
from polaris_synapse.domain.orders import OPEN_STATES, OrderState
from polaris_synapse.storage import schema

_encoder: Final = msgspec.json.Encoder()


class PlacedFact(Protocol):
    """A fact and its place in the log: output number ``index`` of the input at ``offset``."""

    @property
    def offset(self) -> int:
        """Of the input that it follows from."""
        ...

    @property
    def index(self) -> int:
        """Among what follows from that input."""
        ...

    @property
    def message(self) -> m.Message:
        """What it says."""
        ...


#: One row in the order of its table's columns.
Values = tuple[Any, ...]
Projection = Callable[[PlacedFact, Any], Iterator[tuple[Table, Values]]]
F = TypeVar("F", bound=PlacedFact)


def _json(body: object) -> str:
    return _encoder.encode(body).decode()


def _order(fact: PlacedFact, updated: m.OrderUpdated) -> Iterator[tuple[Table, Values]]:
    order, request = updated.order, updated.order.request
    if order.state is OrderState.REFUSED:
        yield (
            schema.order_refusals,
            (
                fact.offset,
                fact.index,
                request.account,
                request.client_order_id,
                request.symbol,
                int(order.reason),
                order.detail,
                updated.time_ns,
                _json(order),
            ),
        )
        return
    yield (
        schema.orders,
        (
            order.order_id,
            request.account,
            request.client_order_id,
            request.symbol,
            order.venue,
            request.side.value,
            request.type.value,
            order.state.value,
            int(order.state in OPEN_STATES),
            str(order.quantity_lots),
            str(order.filled_lots),
            str(order.price_ticks),
            int(order.reason),
            request.decision_id,
            order.created_time_ns,
            order.updated_time_ns,
            _json(order),
        ),
    )


def _order_list(_: PlacedFact, updated: m.OrderListUpdated) -> Iterator[tuple[Table, Values]]:
    order_list, request = updated.order_list, updated.order_list.request
    yield (
        schema.order_lists,
        (
            order_list.list_id,
            request.account,
            request.client_list_id,
            request.legs[0].symbol,
            request.kind.value,
            order_list.state.value,
            int(order_list.state is ListState.EXECUTING),
            order_list.created_time_ns,
            order_list.updated_time_ns,
            _json(order_list),
        ),
    )


def _execution(fact: PlacedFact, execution: m.ExecutionRecorded) -> Iterator[tuple[Table, Values]]:
    fill = execution.fill
    yield (
        schema.executions,
        (
            execution.execution_id,
            execution.order_id,
            execution.account,
            execution.symbol,
            execution.venue,
            execution.side.value,
            str(fill.price_ticks),
            str(fill.quantity_lots),
            str(execution.notional_units),
            str(fill.fee_units),
            fill.fee_asset,
            int(fill.simulated),
            execution.time_ns,
            fact.offset,
            fact.index,
            _json(execution),
        ),
    )


def _balance(_: PlacedFact, balance: m.BalanceChanged) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.balances,
        (
            balance.account,
            balance.asset,
            str(balance.total_units),
            str(balance.reserved_units),
            balance.time_ns,
            _json(balance),
        ),
    )


def _position(_: PlacedFact, position: m.PositionChanged) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.positions,
        (
            position.account,
            position.symbol,
            str(position.quantity_lots),
            str(position.cost_units),
            str(position.realised_pnl_units),
            str(position.fees_units),
            position.time_ns,
            _json(position),
        ),
    )


def _metrics(_: PlacedFact, metrics: m.AccountMetrics) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.account_metrics,
        (
            metrics.account,
            str(metrics.equity_units),
            str(metrics.exposure_units),
            metrics.time_ns,
            _json(metrics),
        ),
    )


def _ledger(_: PlacedFact, entry: m.LedgerPosted) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.ledger_entries,
        (
            entry.entry_id,
            entry.account,
            entry.cause,
            entry.reference,
            entry.symbol,
            entry.time_ns,
            _json(entry),
        ),
    )
    for leg, posting in enumerate(entry.postings):
        yield (
            schema.ledger_postings,
            (
                entry.entry_id,
                leg,
                posting.ledger_account,
                posting.asset,
                str(posting.units),
            ),
        )


def _instrument(_: PlacedFact, listed: m.ListInstrument) -> Iterator[tuple[Table, Values]]:
    instrument = listed.instrument
    yield (
        schema.instruments,
        (
            instrument.symbol,
            instrument.venue,
            instrument.status.value,
            listed.time_ns,
            _json(instrument),
        ),
    )


def _breaker(_: PlacedFact, breaker: m.BreakerChanged) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.breakers,
        (
            breaker.scope,
            int(breaker.tripped),
            breaker.time_ns,
            _json(breaker),
        ),
    )


def _kill_level(_: PlacedFact, change: m.KillLevelChanged) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.kill_levels,
        (
            change.account,
            int(change.level),
            change.time_ns,
            _json(change),
        ),
    )


def _decision(_: PlacedFact, decision: m.DecisionRecorded) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.decisions,
        (
            decision.decision_id,
            decision.agent,
            decision.account,
            decision.symbol,
            decision.view,
            decision.action,
            decision.revision,
            decision.decided_time_ns or decision.time_ns,
            _json(decision),
        ),
    )


def _mandate(_: PlacedFact, change: m.MandateChanged) -> Iterator[tuple[Table, Values]]:
    mandate = change.mandate
    yield (
        schema.mandates,
        (
            mandate.account,
            mandate.agent,
            int(mandate.enabled),
            change.time_ns,
            _json(mandate),
        ),
    )


def _limits(_: PlacedFact, change: m.LimitsChanged) -> Iterator[tuple[Table, Values]]:
    yield schema.account_limits, (change.account, change.time_ns, _json(change.limits))


def _holding_limit(_: PlacedFact, change: m.HoldingLimitChanged) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.holding_limits,
        (
            change.account,
            change.asset,
            change.share_ppm_max,
            change.time_ns,
            _json(change),
        ),
    )


def _approval(_: PlacedFact, change: m.ApprovalChanged) -> Iterator[tuple[Table, Values]]:
    approval = change.approval
    yield (
        schema.approvals,
        (
            approval.approval_id,
            approval.account,
            approval.agent,
            approval.order.client_order_id,
            approval.state.value,
            approval.order_id,
            approval.created_time_ns,
            _json(approval),
        ),
    )


def _agent(_: PlacedFact, standing: m.AgentStanding) -> Iterator[tuple[Table, Values]]:
    yield schema.agents, (standing.agent, standing.settings.account, standing.time_ns, _json(standing))


def _standing_instruction(_: PlacedFact, change: m.StandingChanged) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.standing_instructions,
        (
            change.standing_id,
            change.standing.account,
            change.state.value,
            change.time_ns,
            _json(change),
        ),
    )


def _candle(_: PlacedFact, closed: m.CandleClosed) -> Iterator[tuple[Table, Values]]:
    candle = closed.candle
    yield (
        schema.candles,
        (
            candle.symbol,
            candle.interval_seconds,
            candle.open_time_ns,
            closed.source,
            str(candle.open_ticks),
            str(candle.high_ticks),
            str(candle.low_ticks),
            str(candle.close_ticks),
            str(candle.volume_lots),
            _json(candle),
        ),
    )


def _break(_: PlacedFact, change: m.BreakChanged) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.breaks,
        (
            change.break_id,
            change.venue,
            change.symbol,
            change.account,
            int(change.is_open),
            change.time_ns,
            _json(change),
        ),
    )


def _standing(_: PlacedFact, standing: m.AccountStanding) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.account_standings,
        (
            standing.account,
            standing.account_kind.value,
            standing.kyc.value,
            int(standing.sanctions_hold),
            int(standing.blocked),
            standing.version,
            standing.time_ns,
            _json(standing),
        ),
    )


def _alert(_: PlacedFact, alert: m.ComplianceAlert) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.alerts,
        (
            alert.alert_id,
            alert.account,
            alert.rule,
            alert.severity,
            alert.status,
            alert.symbol,
            alert.time_ns,
            alert.time_ns,
            _json(alert),
        ),
    )


def _audit(_: PlacedFact, entry: m.AuditEntry) -> Iterator[tuple[Table, Values]]:
    yield (
        schema.audit_entries,
        (
            entry.sequence,
            entry.time_ns,
            entry.actor,
            entry.action,
            entry.subject,
            entry.detail,
            entry.previous_hash,
            entry.entry_hash,
        ),
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
    m.MandateChanged: _mandate,
    m.LimitsChanged: _limits,
    m.HoldingLimitChanged: _holding_limit,
    m.ApprovalChanged: _approval,
    m.AgentStanding: _agent,
    m.StandingChanged: _standing_instruction,
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


def newest_only(facts: Sequence[F]) -> list[F]:
    """Facts without those whose row a later one replaces wholly: an order changes often within one transaction."""
    seen_of: dict[type[m.Message], set[Hashable]] = {kind: set() for kind in _REPLACING}
    kept: list[F] = []
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
