"""Held orders: bound to their hash, decided once, in time, by a person who may; each refusal has its own reason."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from msgspec import structs
from tests.unit.risk.bench import SECOND, Bench, of_type, ready, usdt

from polaris_synapse.domain.messages import (
    Answer,
    ApprovalChanged,
    ApprovalState,
    DecideApproval,
    ExecuteOrder,
    KillLevel,
    OrderUpdated,
    SubmitOrder,
)
from polaris_synapse.domain.orders import OrderRequest, OrderState, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.approval_records import DECIDED_MAX, PENDING_OF_ACCOUNT_MAX, hash_of_order


def asking(**changes: Any) -> Bench:
    """A bench on which agent jarvis needs approval for everything above 500 USDT."""
    bench = ready()
    bench.mandate(**{"approval_above_units": usdt(500)} | changes)
    return bench


def held(bench: Bench, order: OrderRequest | None = None) -> Answer:
    """Submit an order of 600 USDT as the agent."""
    return bench.submit(order or bench.request(), actor="agent:jarvis")


def decide(bench: Bench, number: str, **changes: Any) -> Answer:
    """Approve as user alice, or what ``changes`` says."""
    approval = bench.core.approval(number)
    command = DecideApproval(
        time_ns=bench.now,
        actor="user:alice",
        account="alice",
        approval_id=number,
        order_hash=approval.order_hash if approval is not None else "",
        approve=True,
        approver_role="TRADER",
        via="test",
    )
    return bench.ask(structs.replace(command, **changes))


def sent(bench: Bench) -> list[ExecuteOrder]:
    """What left for a venue."""
    return of_type(bench.history, ExecuteOrder)


def test_an_order_above_the_limit_is_held_and_nothing_leaves() -> None:
    """The answer names the request; no order exists, nothing is reserved, and the request says exactly what waits."""
    bench = asking()
    answer = held(bench)
    assert (answer.reason, answer.approval_id, answer.order) == (Reason.MANDATE_REQUIRES_APPROVAL, "1", None)
    (changed,) = of_type(bench.history, ApprovalChanged)
    approval = changed.approval
    assert approval.order_hash == hash_of_order(approval.order)
    assert (approval.state, approval.agent, approval.actor) == (ApprovalState.PENDING, "jarvis", "agent:jarvis")
    assert approval.value_units == usdt(600)
    assert approval.expires_time_ns == bench.now + 900 * SECOND
    assert sent(bench) == []
    assert bench.core.open_order_ids("alice") == ()
    assert bench.core.check() == []


def test_an_approval_places_the_order_once() -> None:
    """The first yes places it as the agent's; the second is told what came of the first."""
    bench = asking()
    held(bench)
    placed = decide(bench, "1")
    assert placed.order is not None
    assert placed.order.request == of_type(bench.history, ApprovalChanged)[0].approval.order
    approval = bench.core.approval("1")
    assert approval is not None
    assert (approval.state, approval.order_id) == (ApprovalState.APPROVED, placed.order.order_id)
    assert (approval.decided_by, approval.decided_role, approval.via) == ("user:alice", "TRADER", "test")
    accepted = [one for one in of_type(bench.history, OrderUpdated) if one.order.state is OrderState.APPROVED]
    assert [one.actor for one in accepted] == ["agent:jarvis"]
    again = decide(bench, "1")
    assert again.reason is Reason.APPROVAL_USED
    assert str(placed.order.order_id) in again.detail
    assert len(sent(bench)) == 1


def test_the_agent_asking_again_gets_the_same_request_then_the_order() -> None:
    """Word for word the same order is one request, and after its approval one order."""
    bench = asking()
    request = bench.request()
    first, second = held(bench, request), held(bench, request)
    assert (first.approval_id, second.approval_id, second.duplicate) == ("1", "1", True)
    other = held(bench, structs.replace(request, quantity_lots=1_001))
    assert other.reason is Reason.DUPLICATE_CLIENT_ORDER_ID
    placed = decide(bench, "1").order
    repeated = held(bench, request)
    assert repeated.order == placed
    assert repeated.duplicate
    assert len(sent(bench)) == 1


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"order_hash": "0" * 64}, Reason.APPROVAL_ORDER_CHANGED),
        ({"order_hash": ""}, Reason.APPROVAL_ORDER_CHANGED),
        ({"actor": "agent:jarvis"}, Reason.APPROVER_NOT_ALLOWED),
        ({"actor": "agent:other", "approver_role": "ADMIN"}, Reason.APPROVER_NOT_ALLOWED),
        ({"approver_role": "VIEWER"}, Reason.APPROVER_NOT_ALLOWED),
        ({"approver_role": "AGENT"}, Reason.APPROVER_NOT_ALLOWED),
        ({"approver_role": ""}, Reason.APPROVER_NOT_ALLOWED),
        ({"approval_id": "2"}, Reason.APPROVAL_NOT_FOUND),
        ({"account": "bob"}, Reason.APPROVAL_NOT_FOUND),
        ({"note": "x" * 1_001}, Reason.INVALID_VALUE),
    ],
)
def test_a_decision_that_does_not_fit_changes_nothing(changes: dict[str, Any], reason: Reason) -> None:
    """Another order, an agent, a role that may not, another account: refused, and the request still waits."""
    bench = asking()
    held(bench)
    before = bench.core.state_hash()
    assert decide(bench, "1", **changes).reason is reason
    assert bench.core.state_hash() == before
    assert sent(bench) == []
    assert decide(bench, "1").reason is Reason.NONE


@pytest.mark.parametrize("field", OrderRequest.__struct_fields__)
def test_every_field_of_an_order_is_in_its_hash(field: str) -> None:
    """An order that differs in any one field has another hash."""
    bench = ready()
    request = bench.request()
    value = getattr(request, field)
    changed: Any = f"{value}x"
    if isinstance(value, Enum):
        changed = next(other for other in type(value) if other is not value)
    elif isinstance(value, int):
        changed = value + 1
    assert hash_of_order(structs.replace(request, **{field: changed})) != hash_of_order(request)


def test_a_request_expires_to_the_nanosecond() -> None:
    """Right before its time it can be approved; at its time it cannot, and the order is published as refused."""
    early = asking(approval_seconds_max=10)
    held(early)
    early.now += 10 * SECOND - 1
    early.mark(60_000)
    assert decide(early, "1").reason is Reason.NONE
    late = asking(approval_seconds_max=10)
    held(late)
    late.now += 10 * SECOND
    late.mark(60_000)
    assert decide(late, "1").reason is Reason.APPROVAL_EXPIRED
    assert sent(late) == []
    refused = [one.order for one in of_type(late.history, OrderUpdated)]
    assert [(one.state, one.reason) for one in refused] == [(OrderState.REFUSED, Reason.APPROVAL_EXPIRED)]
    assert decide(late, "1").reason is Reason.APPROVAL_EXPIRED


def test_time_alone_ends_a_request() -> None:
    """Nobody has to look at it: a tick after its time expires it, once."""
    bench = asking(approval_seconds_max=10)
    held(bench)
    bench.tick(10)
    bench.tick(10)
    states = [one.approval.state for one in of_type(bench.history, ApprovalChanged)]
    assert states == [ApprovalState.PENDING, ApprovalState.EXPIRED]


def test_a_rejection_is_final() -> None:
    """After a no there is no yes; the order is published as refused, and the same order may ask anew."""
    bench = asking()
    request = bench.request()
    held(bench, request)
    assert decide(bench, "1", approve=False, note="not now").reason is Reason.NONE
    assert decide(bench, "1").reason is Reason.APPROVAL_REJECTED
    assert sent(bench) == []
    assert held(bench, request).approval_id == "2"


def test_every_check_looks_again_when_a_person_approves() -> None:
    """What stands against the order by then refuses it, and the approval is used up all the same."""
    bench = asking()
    held(bench)
    bench.kill(KillLevel.CANCEL_ALL)
    assert decide(bench, "1").reason is Reason.KILL_SWITCH
    bench.kill(KillLevel.OFF)
    assert decide(bench, "1").reason is Reason.APPROVAL_USED
    assert sent(bench) == []
    approval = bench.core.approval("1")
    assert approval is not None
    assert (approval.state, approval.reason) == (ApprovalState.REFUSED, Reason.KILL_SWITCH)


def test_a_mandate_taken_back_meanwhile_counts() -> None:
    """An approval never goes beyond the mandate of the moment: neither its end nor its day's value."""
    gone = asking()
    held(gone)
    gone.mandate(enabled=False)
    assert decide(gone, "1").reason is Reason.MANDATE_MISSING
    full = asking(daily_value_units_max=usdt(1_000))
    held(full)
    held(full)
    assert decide(full, "1").reason is Reason.NONE
    assert decide(full, "2").reason is Reason.MANDATE_DAILY_VALUE


def test_an_order_that_names_an_approval_gets_no_further_by_it() -> None:
    """An id is no approval: each order that only names one is refused with what is wrong about it."""
    bench = asking()
    request = bench.request()

    def named(order: OrderRequest, approval_id: str, actor: str = "agent:jarvis") -> Reason:
        return bench.ask(SubmitOrder(time_ns=bench.now, order=order, actor=actor, approval_id=approval_id)).reason

    assert named(request, "1") is Reason.APPROVAL_NOT_FOUND
    held(bench, request)
    changed = structs.replace(request, client_order_id="other", quantity_lots=2_000)
    assert named(changed, "1") is Reason.APPROVAL_ORDER_CHANGED
    assert named(structs.replace(request, client_order_id="other"), "1") is Reason.APPROVAL_ORDER_CHANGED
    decide(bench, "1", approve=False)
    assert named(request, "1") is Reason.APPROVAL_REJECTED
    assert named(bench.request(side=Side.SELL), "9", "user:alice") is Reason.APPROVAL_NOT_FOUND
    assert sent(bench) == []


def test_requests_are_bounded() -> None:
    """An agent cannot bury a person in requests, and decided ones are forgotten in the end, oldest first."""
    bench = asking()
    bench.limits(messages_per_second_max=0, repeated_orders_max=0)
    for _ in range(PENDING_OF_ACCOUNT_MAX):
        assert held(bench).approval_id
    assert held(bench).reason is Reason.APPROVALS_FULL
    for number in range(1, PENDING_OF_ACCOUNT_MAX + 1):
        decide(bench, str(number), approve=False)
    for _ in range(DECIDED_MAX):
        decide(bench, held(bench).approval_id, approve=False)
    known = bench.core.approvals()
    assert len(known) == DECIDED_MAX
    assert known[0].approval_id == str(PENDING_OF_ACCOUNT_MAX + 1)


def test_a_restart_at_any_moment_keeps_the_request_and_its_end() -> None:
    """Held, restored, decided, restored: the order is placed exactly once."""
    bench = asking()
    held(bench)
    second = Bench(RiskCore())
    second.core.restore(bench.core.snapshot())
    second.now = bench.now
    assert decide(second, "1").order is not None
    third = Bench(RiskCore())
    third.core.restore(second.core.snapshot())
    third.now = bench.now
    assert decide(third, "1").reason is Reason.APPROVAL_USED
    assert (len(sent(bench)), len(sent(second)), len(sent(third))) == (0, 1, 0)
