"""What is written into the audit log, and how the chain is made."""

from __future__ import annotations

import hashlib
import json

import pytest
from msgspec.structs import replace
from tests.unit.compliance.samples import (
    BTCUSDT,
    START_NS,
    Desk,
    execution,
    funds,
    mark,
    open_account,
    order_updated,
    review,
    usdt,
)

from polaris_synapse.bus.core import SnapshotError, UnexpectedMessageError
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.compliance.core.audit_chain import AuditHead, genesis_hash, hash_of
from polaris_synapse.compliance.core.audit_trail import Record
from polaris_synapse.compliance.core.recording import append
from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import (
    AgentControl,
    AgentSettings,
    Answer,
    AuditNote,
    BreakChanged,
    BreakerChanged,
    HostStarted,
    KillLevel,
    KillLevelChanged,
    KycState,
    LedgerPosted,
    LimitBreached,
    ListInstrument,
    Mandate,
    Message,
    ReenableAccount,
    RiskLimits,
    SetAgents,
    SetFeeTiers,
    SetInstrumentStatus,
    SetLimits,
    SetMandate,
)
from polaris_synapse.domain.orders import OrderEvent, OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import COMPLIANCE, ROUTES


def test_the_chain_is_as_documented() -> None:
    """Genesis, canonical JSON and links can be made by anybody with a SHA-256 and the written rule."""
    desk = Desk()
    desk.tell(AuditNote(time_ns=5, actor="user:ölga", action="login.accepted", subject="s", detail='say "hi"\n\x01'))
    previous = hashlib.sha256(b"polaris-synapse audit chain v1, partition 0").hexdigest()
    for sequence, entry in enumerate(desk.entries(), start=1):
        fields: dict[str, object] = {"action": entry.action, "actor": entry.actor, "detail": entry.detail}
        fields |= {"sequence": sequence, "subject": entry.subject, "time_ns": entry.time_ns}
        canonical = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        assert entry.previous_hash == previous
        previous = hashlib.sha256(previous.encode() + canonical.encode()).hexdigest()
        assert entry.entry_hash == previous == hash_of(entry)
    assert desk.entries()[-1].actor == "user:ölga"


def test_partitions_have_chains_of_their_own() -> None:
    """The chain of one partition cannot stand in for another's."""
    assert len({genesis_hash(partition) for partition in range(5)}) == 5


def test_entries_have_a_bound() -> None:
    """However long the text that comes in, an entry stays small."""
    record = Record("a" * 10_000, "x", "s" * 10_000, "d" * 10_000)
    entry = append(AuditHead(0, genesis_hash()), record, 1)
    assert (len(entry.actor), len(entry.subject), len(entry.detail)) == (200, 200, 2_000)
    assert hash_of(entry) == entry.entry_hash


@pytest.mark.parametrize(
    "state, event, action",
    [
        (OrderState.APPROVED, None, "order.accepted"),
        (OrderState.REFUSED, None, "order.refused"),
        (OrderState.FILLED, OrderEvent.FILL, "order.filled"),
        (OrderState.CANCELLED, OrderEvent.CANCEL, "order.cancelled"),
        (OrderState.EXPIRED, OrderEvent.EXPIRE, "order.expired"),
        (OrderState.REJECTED, OrderEvent.REJECT, "order.rejected"),
        (OrderState.UNKNOWN, OrderEvent.LOSE, "order.unknown"),
        (OrderState.PENDING_CANCEL, OrderEvent.REQUEST_CANCEL, "order.cancel_requested"),
        (OrderState.WORKING, OrderEvent.ACKNOWLEDGE, None),
        (OrderState.PARTIALLY_FILLED, OrderEvent.PARTIAL_FILL, None),
        (OrderState.ARMED, OrderEvent.ARM, None),
    ],
)
def test_orders_are_recorded_at_their_turning_points(
    state: OrderState, event: OrderEvent | None, action: str | None
) -> None:
    """Accepted, refused, ended, lost and asked to change are recorded with who did it; the steps between are not."""
    desk = Desk()
    before = len(desk.entries())
    desk.tell(order_updated(state, event))
    recorded = [(entry.action, entry.actor) for entry in desk.entries()[before:]]
    assert recorded == ([] if action is None else [(action, "user:tom")])


def test_a_refused_order_is_named_by_its_client_id_and_reason() -> None:
    """An order that never got a number is found by account and client order id, and the reason is in the detail."""
    desk = Desk()
    desk.tell(order_updated(OrderState.REFUSED, order_id=0, reason=Reason.INSUFFICIENT_FUNDS))
    entry = desk.entries()[-1]
    assert entry.subject == "order:alice/c-7"
    assert "INSUFFICIENT_FUNDS" in entry.detail
    assert "BUY 0.01 BTCUSDT LIMIT at 60000 GTC" in entry.detail


@pytest.mark.parametrize(
    "message, action, actor, subject",
    [
        (HostStarted(time_ns=1, replayed_offset=9), "desk.started", "desk", "desk"),
        (AuditNote(time_ns=1, actor="user:x", action="login.refused"), "login.refused", "user:x", ""),
        (
            BreakerChanged(time_ns=1, scope="*", tripped=True, reason=Reason.NONE, note="test", actor="user:r"),
            "breaker.tripped",
            "user:r",
            "breaker:*",
        ),
        (
            KillLevelChanged(time_ns=1, account="*", level=KillLevel.CANCEL_ALL, note="", actor="user:r"),
            "kill.level_set",
            "user:r",
            "account:*",
        ),
        (
            LimitBreached(time_ns=1, account="alice", reason=Reason.DAILY_LOSS_LIMIT, detail="d"),
            "limit.breached",
            "desk",
            "account:alice",
        ),
        (
            BreakChanged(
                time_ns=1, break_id="b1", venue="paper", symbol="BTCUSDT", account="alice", is_open=True, detail="d"
            ),
            "break.opened",
            "desk",
            "break:b1",
        ),
        (
            SetLimits(time_ns=1, actor="user:r", account="alice", limits=RiskLimits()),
            "limits.set",
            "user:r",
            "account:alice",
        ),
        (
            SetFeeTiers(time_ns=1, actor="user:r", account="*", tiers=()),
            "fees.set",
            "user:r",
            "account:*",
        ),
        (
            SetMandate(
                time_ns=1,
                actor="user:r",
                mandate=Mandate(
                    account="alice",
                    agent="jarvis",
                    symbols=(),
                    order_value_units_max=1,
                    daily_value_units_max=1,
                    approval_above_units=1,
                ),
            ),
            "mandate.set",
            "user:r",
            "account:alice",
        ),
        (
            ReenableAccount(time_ns=1, actor="user:r", account="alice"),
            "account.reenabled",
            "user:r",
            "account:alice",
        ),
        (
            ListInstrument(time_ns=1, actor="user:r", instrument=BTCUSDT),
            "instrument.listed",
            "user:r",
            "instrument:BTCUSDT",
        ),
        (
            SetInstrumentStatus(time_ns=1, actor="user:r", symbol="BTCUSDT", status=InstrumentStatus.HALTED),
            "instrument.status_set",
            "user:r",
            "instrument:BTCUSDT",
        ),
        (
            SetAgents(
                time_ns=1, actor="user:r", settings=AgentSettings(agent="jarvis", account="alice", symbols=("BTCUSDT",))
            ),
            "agent.set",
            "user:r",
            "agent:jarvis",
        ),
        (
            AgentControl(time_ns=1, actor="user:r", agent="jarvis", paused=True),
            "agent.paused",
            "user:r",
            "agent:jarvis",
        ),
        (funds(usdt(5), entry_id=3), "funds.deposited", "user:olga", "account:alice"),
        (funds(-usdt(5), entry_id=3), "funds.withdrawn", "user:olga", "account:alice"),
        (execution(1, execution_id="e1"), "execution.recorded", "desk", "execution:e1"),
        (review("alice", KycState.APPROVED), "account.kyc_reviewed", "user:olga", "account:alice"),
        (open_account("bob"), "account.opened", "user:olga", "account:bob"),
    ],
)
def test_what_matters_is_recorded_with_who_did_it(message: Message, action: str, actor: str, subject: str) -> None:
    """Each of these leaves one entry that names the action, the actor and the subject."""
    desk = Desk()
    before = len(desk.entries())
    desk.tell(message)
    (entry,) = desk.entries()[before:]
    assert (entry.action, entry.actor, entry.subject, entry.time_ns) == (action, actor, subject, message.time_ns)


def test_fills_and_fees_in_the_ledger_are_not_recorded_twice() -> None:
    """The ledger entries of an execution add nothing to its own record."""
    desk = Desk()
    fee = LedgerPosted(time_ns=1, entry_id=1, account="alice", cause="fee", reference="r", postings=())
    assert desk.tell(fee) == []


def test_no_personal_data_enters_the_chain() -> None:
    """A log that can never be edited names accounts, not their holders."""
    desk = Desk()
    assert all("Adams" not in entry.detail for entry in desk.entries())


def test_every_message_of_the_inbox_is_taken() -> None:
    """The core has a handler for each type that is routed to it, and for nothing else."""
    core = ComplianceCore()
    routed = {kind for kind, route in ROUTES.items() if COMPLIANCE in route.topics}
    assert set(core._handlers) == routed
    with pytest.raises(UnexpectedMessageError):
        core.apply(Answer(time_ns=1, request_id="x"))


def test_a_snapshot_of_something_else_is_refused() -> None:
    """Bytes that are no snapshot of this core raise the error that hosts expect."""
    with pytest.raises(SnapshotError):
        ComplianceCore().restore(b"\x93\x01\x02\x03")


def test_a_listing_with_another_tick_does_not_change_values() -> None:
    """A listing that risk refuses, for it would change the tick, leaves the valuation as it was."""
    desk = Desk()
    desk.tell(mark("BTCUSDT", 6_000_000))
    desk.tell(ListInstrument(time_ns=START_NS, instrument=replace(BTCUSDT, tick_units=10**7)))
    assert desk.core._valuation.value_units("BTC", 10**8) == usdt(60_000)
