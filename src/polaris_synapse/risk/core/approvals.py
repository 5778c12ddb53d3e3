"""A person decides on a held order: approved, it is checked anew and placed in the same step; an approval works once.

Because holding, deciding and placing are one core's state, there is no moment at which an approval exists apart from
its order: a crash leaves the request either undecided or decided with its effect.
"""

from __future__ import annotations

import hmac
from typing import Final

from polaris_synapse.domain.messages import ApprovalState, DecideApproval
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.answers import answer
from polaris_synapse.risk.core.approval_records import close, expire, final_refusal, hash_of_order
from polaris_synapse.risk.core.checks import first_refusal
from polaris_synapse.risk.core.context import AGENT_PREFIX, OrderContext
from polaris_synapse.risk.core.orders import accept
from polaris_synapse.risk.core.state import NOTE_CHARACTERS_MAX, Desk

#: Roles that may approve. The shell holds them to their accounts; this holds the shell.
APPROVER_ROLES: Final = frozenset({"TRADER", "RISK_OFFICER", "ADMIN"})


def decide(desk: Desk, command: DecideApproval) -> None:
    """Approve or reject one held order, once, in time, by somebody who may, and exactly the order they were shown."""
    approval = desk.state.approvals.get(command.approval_id)
    if approval is None or approval.account != command.account:
        detail = f"Account {command.account} has no request for approval {command.approval_id}."
        answer(desk, command, Reason.APPROVAL_NOT_FOUND, detail)
        return
    if command.actor.startswith(AGENT_PREFIX) or command.approver_role not in APPROVER_ROLES:
        detail = f"{command.actor} in the role {command.approver_role or 'none'} may not decide on orders of agents."
        answer(desk, command, Reason.APPROVER_NOT_ALLOWED, detail)
        return
    if len(command.note) > NOTE_CHARACTERS_MAX:
        answer(desk, command, Reason.INVALID_VALUE, f"A note has at most {NOTE_CHARACTERS_MAX} characters.")
        return
    # The stored order is hashed again: nothing that happened to it meanwhile could pass unseen.
    actual = hash_of_order(approval.order)
    if not (
        hmac.compare_digest(command.order_hash.encode(), approval.order_hash.encode())
        and hmac.compare_digest(actual.encode(), approval.order_hash.encode())
    ):
        detail = f"Request {approval.approval_id} is about another order; look at it again before you decide."
        answer(desk, command, Reason.APPROVAL_ORDER_CHANGED, detail)
        return
    if approval.state is ApprovalState.PENDING and desk.time_ns >= approval.expires_time_ns:
        approval = expire(desk, approval)
    if approval.state is not ApprovalState.PENDING:
        refusal = final_refusal(approval)
        answer(desk, command, refusal.reason, refusal.detail)
        return
    decided = {
        "decided_by": command.actor,
        "decided_role": command.approver_role,
        "decided_time_ns": desk.time_ns,
        "via": command.via,
        "note": command.note,
    }
    if not command.approve:
        detail = f"{command.actor} rejected it{f': {command.note}' if command.note else ''}."
        close(desk, approval, ApprovalState.REJECTED, reason=Reason.APPROVAL_REJECTED, detail=detail, **decided)
        answer(desk, command)
        return
    # The market, the funds and the limits are those of now: every check looks again.
    context = OrderContext(desk, approval.order, actor=approval.actor, approved=True)
    standing_against = first_refusal(context)
    if standing_against is not None:
        reason, detail = standing_against.reason, standing_against.detail
        close(desk, approval, ApprovalState.REFUSED, reason=reason, detail=detail, **decided)
        answer(desk, command, reason, detail)
        return
    record = accept(desk, context)
    order_id = record.order.order_id
    close(desk, approval, ApprovalState.APPROVED, order_id=order_id, detail="", **decided)
    answer(desk, command, order=record.order, order_ids=(order_id,))
