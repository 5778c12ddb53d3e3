"""Approvals under random commands, with a crash at any point: nothing leaves without one, none works twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.unit.risk.bench import NOON, SECOND, ready, usdt

from polaris_synapse.domain.messages import (
    Approval,
    ApprovalChanged,
    ApprovalState,
    Autonomy,
    Command,
    DecideApproval,
    ExecuteOrder,
    KillLevel,
    Mandate,
    Mark,
    Message,
    SetKillLevel,
    SetMandate,
    SubmitOrder,
    Tick,
)
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.approval_records import hash_of_order

LIMIT = usdt(500)
#: One lot is worth 0.6 USDT at the mark.
_LOTS = st.sampled_from([100, 800, 834, 1_000, 5_000])
_IDS = st.sampled_from([str(number) for number in range(1, 9)])

_SUBMIT = st.tuples(
    st.just("submit"),
    st.integers(0, 5),
    _LOTS,
    st.sampled_from(["agent:jarvis", "user:alice"]),
    st.sampled_from(["", "1", "2"]),
)
_DECIDE = st.tuples(
    st.just("decide"),
    _IDS,
    st.booleans(),
    st.sampled_from(["right", "right", "right", "wrong", "empty"]),
    st.sampled_from(
        [("user:alice", "TRADER"), ("user:olga", "RISK_OFFICER"), ("agent:jarvis", "ADMIN"), ("user:v", "VIEWER")]
    ),
)
_REST = st.one_of(
    st.tuples(st.just("tick"), st.integers(1, 8)),
    st.tuples(st.just("kill"), st.sampled_from([KillLevel.OFF, KillLevel.CANCEL_ALL])),
    st.tuples(st.just("mandate"), st.sampled_from(list(Autonomy)), st.booleans()),
    st.tuples(st.just("crash")),
)
STEPS = st.lists(st.one_of(_SUBMIT, _SUBMIT, _DECIDE, _DECIDE, _REST), max_size=40)


class Run:
    """A core that is restored from a snapshot, or replayed from the start, wherever a step says crash."""

    def __init__(self) -> None:
        bench = ready()
        self.log: list[Message] = []
        self.snapshot = bench.core.snapshot()
        self.core = bench.core
        self.now = bench.now
        self.out: list[Message] = []
        #: Autonomy in force, and whether the mandate is, at the moment of each output.
        self.mandate = self._mandate(Autonomy.APPROVE_ABOVE, enabled=True)
        self.apply(SetMandate(time_ns=self.now, mandate=self.mandate))

    def _mandate(self, autonomy: Autonomy, *, enabled: bool) -> Mandate:
        return Mandate(
            account="alice",
            agent="jarvis",
            symbols=("BTCUSDT",),
            order_value_units_max=usdt(100_000),
            daily_value_units_max=usdt(1_000_000),
            approval_above_units=LIMIT,
            autonomy=autonomy,
            enabled=enabled,
            approval_seconds_max=10,
        )

    def apply(self, message: Message) -> Sequence[Message]:
        """Journal, then apply."""
        self.log.append(message)
        out = self.core.apply(message)
        self.out += out
        return out

    def crash(self) -> None:
        """Lose the process: what the journal says is all that is left, and it says the same."""
        before = self.core.state_hash()
        self.core = RiskCore()
        self.core.restore(self.snapshot)
        for message in self.log:
            self.core.apply(message)
        assert self.core.state_hash() == before
        self.core.restore(self.core.snapshot())
        assert self.core.state_hash() == before

    def step(self, step: tuple[Any, ...]) -> None:
        """Do what a step says, and hold what must hold of its outputs."""
        kind, *rest = step
        if kind == "crash":
            self.crash()
            return
        before = {one.approval_id: one for one in self.core.approvals()}
        command = self._command(kind, rest)
        out = self.apply(command)
        self.apply(Mark(time_ns=self.now, symbol="BTCUSDT", source="test", mark_ticks=6_000_000, bid_ticks=5_999_999,
                        ask_ticks=6_000_001, last_ticks=6_000_000, healthy=True))  # fmt: skip
        self._hold(command, out, before)

    def _command(self, kind: str, rest: list[Any]) -> Command | Tick:
        if kind == "tick":
            self.now += rest[0] * SECOND
            return Tick(time_ns=self.now)
        if kind == "kill":
            return SetKillLevel(time_ns=self.now, level=rest[0], actor="user:officer")
        if kind == "mandate":
            self.mandate = self._mandate(rest[0], enabled=rest[1])
            return SetMandate(time_ns=self.now, mandate=self.mandate)
        if kind == "submit":
            number, lots, actor, approval_id = rest
            order = OrderRequest(account="alice", client_order_id=f"c{number}", symbol="BTCUSDT", side=Side.BUY,
                                 type=OrderType.LIMIT, quantity_lots=lots, price_ticks=6_000_000)  # fmt: skip
            return SubmitOrder(time_ns=self.now, order=order, actor=actor, approval_id=approval_id)
        approval_id, approve, hashed, (actor, role) = rest
        known = self.core.approval(approval_id)
        right = known.order_hash if known is not None else "0" * 64
        given = {"right": right, "wrong": right[::-1] + "0", "empty": ""}[hashed]
        return DecideApproval(time_ns=self.now, actor=actor, account="alice", approval_id=approval_id, order_hash=given,
                              approve=approve, approver_role=role)  # fmt: skip

    def _hold(self, command: Message, out: Sequence[Message], before: dict[str, Approval]) -> None:
        sent = [one.approved.subject.request for one in out if isinstance(one, ExecuteOrder)]
        assert len(sent) <= 1
        for order in sent:
            if isinstance(command, SubmitOrder):
                needs = command.actor.startswith("agent:") and self._needs(order)
                assert not needs, "an agent's order above its limit left without an approval"
                continue
            assert isinstance(command, DecideApproval)
            approval = before[command.approval_id]
            assert approval.state is ApprovalState.PENDING
            assert approval.order == order
            assert command.approve
            assert command.order_hash == hash_of_order(order) == approval.order_hash
            assert self.now < approval.expires_time_ns
            assert not command.actor.startswith("agent:")
            assert command.approver_role in {"TRADER", "RISK_OFFICER", "ADMIN"}
        assert self.core.check() == []

    def _needs(self, order: OrderRequest) -> bool:
        worth = order.quantity_lots * usdt(6) // 10
        if self.mandate.autonomy is Autonomy.APPROVE_ABOVE:
            return worth > LIMIT
        return self.mandate.autonomy is Autonomy.PROPOSE


@given(steps=STEPS)
@settings(max_examples=120, deadline=None)
def test_nothing_leaves_without_a_matching_approval_and_none_works_twice(steps: list[tuple[Any, ...]]) -> None:
    """Over random submissions, decisions, expiries, kill switches, mandates and crashes at any point."""
    run = Run()
    for step in steps:
        run.step(step)
    run.crash()
    placed: dict[str, int] = {}
    final: dict[str, ApprovalState] = {}
    for message in run.out:
        if not isinstance(message, ApprovalChanged):
            continue
        approval = message.approval
        assert final.get(approval.approval_id, ApprovalState.PENDING) is ApprovalState.PENDING, "decided twice"
        final[approval.approval_id] = approval.state
        if approval.order_id:
            placed[approval.approval_id] = placed.get(approval.approval_id, 0) + 1
    assert all(count == 1 for count in placed.values())
    ids = [one.approved.subject.order_id for one in run.out if isinstance(one, ExecuteOrder)]
    assert len(ids) == len(set(ids))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_change_of_the_hash_is_refused(data: st.DataObject) -> None:
    """One character of the hash anywhere, and the approval is about another order."""
    bench = ready()
    bench.mandate(approval_above_units=0)
    bench.submit(bench.request(), actor="agent:jarvis")
    approval = bench.core.approval("1")
    assert approval is not None
    place = data.draw(st.integers(0, 63))
    other = data.draw(st.sampled_from([c for c in "0123456789abcdef" if c != approval.order_hash[place]]))
    changed = approval.order_hash[:place] + other + approval.order_hash[place + 1 :]
    command = DecideApproval(time_ns=NOON, actor="user:alice", account="alice", approval_id="1", order_hash=changed,
                             approve=True, approver_role="TRADER")  # fmt: skip
    assert bench.ask(command).reason.name == "APPROVAL_ORDER_CHANGED"
    assert bench.ask(structs.replace(command, order_hash=approval.order_hash)).order is not None
