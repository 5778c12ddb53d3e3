"""What every order passes through: its records in the audit chain, and the watch over its executions."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from polaris_synapse.bus.core import NOTHING, Handler, dispatch
from polaris_synapse.compliance.core.accounts import Account
from polaris_synapse.compliance.core.alerts import AlertBox
from polaris_synapse.compliance.core.aml import TransactionMonitor
from polaris_synapse.compliance.core.audit_chain import (
    ACTOR_CHARACTERS_MAX,
    DETAIL_CHARACTERS_MAX,
    ENCODER,
    SUBJECT_CHARACTERS_MAX,
    AuditHead,
    Content,
)
from polaris_synapse.compliance.core.audit_trail import DESK, FUNDS, Record, customer_leg, funds_record
from polaris_synapse.compliance.core.state import ComplianceState
from polaris_synapse.compliance.core.valuation import Valuation
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    AuditEntry,
    ComplianceAlert,
    ExecutionRecorded,
    LedgerPosted,
    Message,
    OrderUpdated,
)
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.orders import Order, OrderEvent, OrderRequest, OrderState

#: Steps in an order's life that are recorded, by their event. Partial fills are not: their executions are.
_ORDER_ACTIONS: Final[dict[OrderEvent, str]] = {
    OrderEvent.FILL: "order.filled",
    OrderEvent.CANCEL: "order.cancelled",
    OrderEvent.EXPIRE: "order.expired",
    OrderEvent.REJECT: "order.rejected",
    OrderEvent.LOSE: "order.unknown",
    OrderEvent.REPLACE: "order.replaced",
    OrderEvent.REQUEST_CANCEL: "order.cancel_requested",
    OrderEvent.REQUEST_REPLACE: "order.replace_requested",
}
#: What is recorded of an order that comes without an event, by its state: risk's own decision about it.
_ORDER_DECISIONS: Final[dict[OrderState, str]] = {
    OrderState.APPROVED: "order.accepted",
    OrderState.REFUSED: "order.refused",
}


class Recording:
    """The part of the compliance core that orders pass through; ``ComplianceCore`` adds its commands."""

    __slots__ = ("_alerts", "_handlers", "_monitor", "_state", "_valuation")

    def __init__(self, state: ComplianceState, valuation: Valuation, monitor: TransactionMonitor) -> None:
        self._state = state
        self._alerts = AlertBox()
        self._valuation = valuation
        self._monitor = monitor
        self._handlers: dict[type[Message], Handler] = {
            OrderUpdated: self._on_order,
            ExecutionRecorded: self._on_execution,
            LedgerPosted: self._on_ledger,
        }

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Fold one message. Raises UnexpectedMessageError for a type that the inbox does not carry."""
        handler = self._handlers.get(type(message))
        # The table's own look-up, since this is called four times an order; what is not in it is a bug.
        return dispatch(self._handlers, message, "compliance") if handler is None else handler(message)

    def _on_order(self, message: OrderUpdated) -> Sequence[Message]:
        instrument = self._state.instruments.get(message.order.request.symbol)
        record = order_record(message, instrument)
        return NOTHING if record is None else (append(self._state.audit, record, message.time_ns),)

    def _on_execution(self, message: ExecutionRecorded) -> Sequence[Message]:
        state = self._state
        record = execution_record(message, state.instruments.get(message.symbol))
        entry = append(state.audit, record, message.time_ns)
        account: Account | None = state.accounts.get(message.account)
        alerts = self._monitor.on_execution(message, None if account is None else account.opened_time_ns)
        return (entry, *self._raise(alerts)) if alerts else (entry,)

    def _on_ledger(self, message: LedgerPosted) -> Sequence[Message]:
        if message.cause != FUNDS:
            return NOTHING
        leg = customer_leg(message)
        entry = append(self._state.audit, funds_record(message, leg, self._valuation), message.time_ns)
        if leg is None:
            return (entry,)
        account: Account | None = self._state.accounts.get(message.account)
        alerts = self._monitor.on_funds(
            account=message.account,
            opened_time_ns=None if account is None else account.opened_time_ns,
            time_ns=message.time_ns,
            entry_id=message.entry_id,
            asset=leg.asset,
            units=leg.units,
        )
        return (entry, *self._raise(alerts))

    def _raise(self, alerts: Sequence[ComplianceAlert]) -> list[Message]:
        """New alerts with their audit entries, and whatever alert had to make room for them."""
        messages: list[Message] = []
        for alert in alerts:
            pushed_out = self._alerts.add(alert)
            for action, said in (("alert.raised", alert), ("alert.left_unreviewed", pushed_out)):
                if said is not None:
                    detail = f"{said.severity} {said.rule}, account {said.account}: {said.summary}"
                    record = Record(DESK, action, f"alert:{said.alert_id}", detail)
                    messages += (said, append(self._state.audit, record, alert.time_ns))
        return messages


def append(head: AuditHead, record: Record, time_ns: int) -> AuditEntry:
    """The next entry of a chain; the head moves onto it."""
    sequence, previous = head.sequence + 1, head.head_hash
    actor, subject = record.actor[:ACTOR_CHARACTERS_MAX], record.subject[:SUBJECT_CHARACTERS_MAX]
    action, detail = record.action, record.detail[:DETAIL_CHARACTERS_MAX]
    # ``entry_hash`` of these, written out: every order makes two entries.
    content = ENCODER.encode(Content(action, actor, detail, sequence, subject, time_ns))
    digest = sha256(previous.encode() + content).hexdigest()
    head.sequence = sequence
    head.head_hash = digest
    return AuditEntry(
        time_ns=time_ns,
        sequence=sequence,
        actor=actor,
        action=action,
        subject=subject,
        detail=detail,
        previous_hash=previous,
        entry_hash=digest,
    )


def order_record(message: OrderUpdated, instrument: Instrument | None) -> Record | None:
    """The record of an order's step, or None for the steps between."""
    order = message.order
    action = _ORDER_DECISIONS.get(order.state) if message.event is None else _ORDER_ACTIONS.get(message.event)
    if action is None:
        return None
    request = order.request
    order_id = order.order_id
    subject = f"order:{order_id}" if order_id else f"order:{request.account}/{request.client_order_id}"
    detail = _order_text(order, request, instrument)
    if order.filled_lots:
        detail += f", filled {_quantity(order.filled_lots, instrument)}"
    if order.reason:
        detail += f", {order.reason.name}"
        if order.detail:
            detail += f": {order.detail}"
    return Record(message.actor or DESK, action, subject, detail)


def _order_text(order: Order, request: OrderRequest, instrument: Instrument | None) -> str:
    if request.quote_amount_units:
        amount = f"for {request.quote_amount_units} quote minor units"
    else:
        amount = _quantity(order.quantity_lots, instrument)
    price = f" at {_price(order.price_ticks, instrument)}" if order.price_ticks else ""
    if order.stop_price_ticks:
        price += f" stop {_price(order.stop_price_ticks, instrument)}"
    # An f-string asks each name of an enumeration how it wants to be written, which costs more than the writing.
    text = "".join((  # noqa: FLY002  # for the reason above
        "account ", request.account, ", ", request.side, " ", amount, " ", request.symbol, " ", request.type, price,
        " ", request.time_in_force, ", client order id ", request.client_order_id,
    ))  # fmt: skip
    return f"{text}, decision {request.decision_id}" if request.decision_id else text


def _quantity(lots: int, instrument: Instrument | None) -> str:
    return f"{lots} lots" if instrument is None else format_units(lots * instrument.lot_units, instrument.base.decimals)


def _price(ticks: int, instrument: Instrument | None) -> str:
    if instrument is None:
        return f"{ticks} ticks"
    return format_units(ticks * instrument.tick_units, instrument.quote.decimals)


def execution_record(message: ExecutionRecorded, instrument: Instrument | None) -> Record:
    """The record of an execution."""
    fill = message.fill
    detail = "".join((
        "account ", message.account, ", order ", str(message.order_id), ", ", message.side, " ",
        _quantity(fill.quantity_lots, instrument), " ", message.symbol, " at ", _price(fill.price_ticks, instrument),
        " on ", message.venue, ", trade ", fill.trade_id, ", simulated" if fill.simulated else "",
    ))  # fmt: skip
    return Record(DESK, "execution.recorded", f"execution:{message.execution_id}", detail)
