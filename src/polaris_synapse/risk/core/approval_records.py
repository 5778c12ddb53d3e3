"""Requests for approval as records: held, found, expired. Deciding them is in ``approvals``.

An order that only lacks a person's approval is not refused but held here, bound to the hash of exactly what it says.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec
from msgspec import structs

from polaris_synapse.domain.messages import Answer, Approval, ApprovalChanged, ApprovalState, OrderUpdated, SubmitOrder
from polaris_synapse.domain.orders import Order, OrderRequest, OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.answers import answer
from polaris_synapse.risk.core.context import OrderContext, Refusal
from polaris_synapse.risk.core.state import SECOND_NS, Desk, MandateUse

#: Orders of one account that may wait for a person at a time.
PENDING_OF_ACCOUNT_MAX: Final = 100
#: Decided requests that are remembered; beyond it the oldest go.
DECIDED_MAX: Final = 2_000

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def hash_of_order(order: OrderRequest) -> str:
    """SHA-256 of every field of an order, 64 hex digits. What is not given counts as its default."""
    return sha256(_ENCODER.encode(order)).hexdigest()


def number_of(approval_id: str) -> int:
    """The running number in a request's id."""
    return int(approval_id.partition("-")[0])


def hold(desk: Desk, context: OrderContext, use: MandateUse, command: SubmitOrder, detail: str) -> None:
    """Keep an order for a person to decide on, and answer with the request's id."""
    state, order = desk.state, context.request
    waiting = sum(state.approvals[held].account == order.account for held in state.held.values())
    if waiting >= PENDING_OF_ACCOUNT_MAX:
        full = f"{waiting} orders of account {order.account} wait for approval; decide some of them first."
        refuse(desk, command, Refusal(Reason.APPROVALS_FULL, full))
        return
    state.approval_number += 1
    approval_id = f"{state.approval_number}-{state.partition}" if state.partition else str(state.approval_number)
    assert context.prospect is not None
    approval = Approval(
        approval_id=approval_id,
        account=order.account,
        agent=use.mandate.agent,
        actor=command.actor,
        order=order,
        order_hash=hash_of_order(order),
        value_units=context.prospect.value_units or 0,
        created_time_ns=desk.time_ns,
        expires_time_ns=desk.time_ns + use.mandate.approval_seconds_max * SECOND_NS,
        detail=detail,
    )
    state.held[_key(order)] = approval_id
    _keep(desk, approval)
    _say_held(desk, command, approval)


def answer_held(desk: Desk, command: SubmitOrder) -> bool:
    """Answer an order that is held already, word for word, with the request that waits."""
    approval_id = desk.state.held.get(_key(command.order))
    if approval_id is None:
        return False
    approval = desk.state.approvals[approval_id]
    if approval.order == command.order and approval.actor == command.actor:
        _say_held(desk, command, approval, duplicate=True)
    else:
        detail = f"Client order id {command.order.client_order_id} belongs to an order that waits for approval."
        refuse(desk, command, Refusal(Reason.DUPLICATE_CLIENT_ORDER_ID, detail))
    return True


def named_refusal(desk: Desk, approval_id: str, order: OrderRequest) -> Refusal:
    """Why an order that names an approval is not placed. An approval places its order itself, so none ever is."""
    approval = desk.state.approvals.get(approval_id)
    if approval is None or approval.account != order.account:
        return Refusal(Reason.APPROVAL_NOT_FOUND, f"Account {order.account} has no request for approval {approval_id}.")
    if hash_of_order(order) != approval.order_hash:
        detail = f"Approval {approval_id} is bound to another order: {approval.order_hash[:16]}."
        return Refusal(Reason.APPROVAL_ORDER_CHANGED, detail)
    return final_refusal(approval)


def final_refusal(approval: Approval) -> Refusal:
    """Why a request that was decided before, or is still open, has no further effect."""
    said = f"Request {approval.approval_id}"
    if approval.state is ApprovalState.EXPIRED:
        return Refusal(Reason.APPROVAL_EXPIRED, f"{said} ran out before anybody decided it.")
    if approval.state is ApprovalState.REJECTED:
        return Refusal(Reason.APPROVAL_REJECTED, f"{said} was rejected by {approval.decided_by}.")
    if approval.state is ApprovalState.PENDING:
        return Refusal(Reason.MANDATE_REQUIRES_APPROVAL, f"{said} waits for a person.")
    became = f"became order {approval.order_id}" if approval.order_id else f"was refused: {approval.reason.name}"
    return Refusal(Reason.APPROVAL_USED, f"{said} was approved by {approval.decided_by} and {became}.")


def expire_due(desk: Desk) -> None:
    """End the requests whose time has run out. Once a second."""
    state = desk.state
    if not state.held:
        return
    due = [one for one in state.held.values() if desk.time_ns >= state.approvals[one].expires_time_ns]
    for approval_id in sorted(due, key=number_of):
        expire(desk, state.approvals[approval_id])


def expire(desk: Desk, approval: Approval) -> Approval:
    """End one request whose time has run out."""
    return close(
        desk,
        approval,
        ApprovalState.EXPIRED,
        reason=Reason.APPROVAL_EXPIRED,
        detail=f"Nobody decided request {approval.approval_id} in time.",
    )


def close(desk: Desk, approval: Approval, state: ApprovalState, **changes: object) -> Approval:
    """Move a pending request to its final state and publish it; without an order, the order is refused."""
    closed = structs.replace(approval, state=state, **changes)
    desk.state.held.pop(_key(approval.order), None)
    _keep(desk, closed)
    if not closed.order_id:
        desk.out.append(OrderUpdated(time_ns=desk.time_ns, order=_refused(desk, closed), actor=closed.actor))
    return closed


def refuse(desk: Desk, command: SubmitOrder, refusal: Refusal, venue: str = "") -> None:
    """Refuse an order: published and answered, it never had an id."""
    order = _refused_order(desk, command.order, refusal.reason, refusal.detail, venue)
    desk.out.append(OrderUpdated(time_ns=desk.time_ns, order=order, actor=command.actor))
    answer(desk, command, refusal.reason, refusal.detail, order=order)


def _refused(desk: Desk, approval: Approval) -> Order:
    market = desk.state.markets.get(approval.order.symbol)
    venue = approval.order.venue if market is None else market.instrument.venue
    return _refused_order(desk, approval.order, approval.reason, approval.detail, venue)


def _refused_order(desk: Desk, request: OrderRequest, reason: Reason, detail: str, venue: str) -> Order:
    return Order(
        order_id=0,
        request=request,
        venue=venue or request.venue,
        state=OrderState.REFUSED,
        quantity_lots=request.quantity_lots,
        price_ticks=request.price_ticks,
        stop_price_ticks=request.stop_price_ticks,
        reason=reason,
        detail=detail,
        created_time_ns=desk.time_ns,
        updated_time_ns=desk.time_ns,
    )


def _keep(desk: Desk, approval: Approval) -> None:
    state = desk.state
    state.approvals[approval.approval_id] = approval
    desk.out.append(ApprovalChanged(time_ns=desk.time_ns, approval=approval))
    if len(state.approvals) - len(state.held) > DECIDED_MAX:
        waiting = set(state.held.values())
        del state.approvals[min((one for one in state.approvals if one not in waiting), key=number_of)]


def _say_held(desk: Desk, command: SubmitOrder, approval: Approval, *, duplicate: bool = False) -> None:
    desk.out.append(
        Answer(
            time_ns=desk.time_ns,
            request_id=command.request_id,
            reason=Reason.MANDATE_REQUIRES_APPROVAL,
            detail=f"{approval.detail} It is held as request {approval.approval_id} until a person decides.",
            approval_id=approval.approval_id,
            duplicate=duplicate,
        )
    )


def _key(order: OrderRequest) -> str:
    return f"{order.account}\n{order.client_order_id}"
