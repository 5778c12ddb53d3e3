"""Properties of the compliance core over all histories."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.compliance.samples import (
    BTCUSDT,
    SECOND_NS,
    START_NS,
    Desk,
    execution,
    funds,
    mark,
    open_account,
    order_updated,
    review,
)

from polaris_synapse.compliance.audit import verify_audit
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.compliance.core.activity import MOVEMENTS_MAX, TRADE_BUCKETS, Activity, Movement, horizon_ns
from polaris_synapse.compliance.core.kyc import KYC_TRANSITIONS, kyc_may_move
from polaris_synapse.domain.messages import (
    AccountStanding,
    Answer,
    AuditEntry,
    Command,
    ComplianceAlert,
    ComplianceRules,
    HostStarted,
    KycState,
    ListInstrument,
    Message,
    OpenAccount,
    RestrictInstrument,
    ReviewAlert,
    ReviewKyc,
    SetAccountBlock,
    SetComplianceRules,
    SetSanctionsHold,
    Tick,
)
from polaris_synapse.domain.orders import OrderState
from polaris_synapse.domain.reasons import Reason

#: Thresholds low enough for short histories to trip every rule.
SHARP = ComplianceRules(
    large_units=1_000,
    rapid_funds_count=3,
    rapid_funds_window_seconds=100,
    rapid_trades_count=3,
    rapid_trades_window_seconds=60,
    pass_through_units_min=10,
    structuring_units=500,
    structuring_count_min=2,
    new_account_units=2_000,
)

accounts = st.sampled_from(["alice", "bob", "carol", "nobody"])
units = st.integers(-1_200, 1_200).filter(bool)
flags = st.booleans()


def commands() -> st.SearchStrategy[Message]:
    """Any command about a few accounts, sensible or not."""
    return st.one_of(
        st.builds(open_account, st.sampled_from(["alice", "bob", "carol", ""])),
        st.builds(review, accounts, st.sampled_from(KycState)),
        st.builds(lambda a, f: SetSanctionsHold(time_ns=0, account=a, held=f), accounts, flags),
        st.builds(lambda a, f: SetAccountBlock(time_ns=0, account=a, blocked=f), accounts, flags),
        st.builds(
            lambda a, s, f: RestrictInstrument(time_ns=0, account=a, symbol=s, restricted=f),
            st.sampled_from(["alice", "nobody", "*"]),
            st.sampled_from(["BTCUSDT", "NOPE"]),
            flags,
        ),
        st.builds(
            lambda d: ReviewAlert(time_ns=0, alert_id="nothing", disposition=d), st.sampled_from(["CONFIRMED", "?"])
        ),
        st.builds(
            lambda large, seconds: SetComplianceRules(
                time_ns=0, rules=replace(SHARP, large_units=large, rapid_trades_window_seconds=seconds)
            ),
            st.integers(0, 2),
            st.integers(30, 31),
        ),
    )


def facts() -> st.SearchStrategy[Message]:
    """Any of the facts that other cores send."""
    return st.one_of(
        st.builds(
            lambda u, e, a, asset: funds(u, entry_id=e, account=a, asset=asset),
            units,
            st.integers(1, 10**6),
            accounts,
            st.sampled_from(["USDT", "BTC", "DOGE"]),
        ),
        st.builds(
            lambda u, e, o, a: execution(u, execution_id=str(e), order_id=o, account=a),
            st.integers(1, 1_200),
            st.integers(1, 10**6),
            st.integers(1, 4),
            accounts,
        ),
        st.builds(order_updated, st.sampled_from([OrderState.APPROVED, OrderState.REFUSED, OrderState.FILLED])),
        st.builds(mark, st.sampled_from(["BTCUSDT", "NOPE"]), st.integers(0, 10**7)),
        st.just(ListInstrument(time_ns=0, instrument=BTCUSDT)),
        st.just(Tick(time_ns=0)),
        st.just(HostStarted(time_ns=0)),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    """Messages in the order of their times, with pauses from none to longer than any window."""
    messages = draw(st.lists(st.one_of(commands(), facts()), max_size=40))
    now, stamped = START_NS, []
    for message in messages:
        now += draw(st.sampled_from([0, 1, 30 * SECOND_NS, 3_600 * SECOND_NS, 200_000 * SECOND_NS]))
        stamped.append(replace(message, time_ns=now))
    return stamped


def fold(core: ComplianceCore, messages: Sequence[Message]) -> list[Message]:
    """What a core says to some messages."""
    return [output for message in messages for output in core.apply(message)]


@given(histories(), st.integers(0, 40))
def test_replay_and_snapshots_change_nothing(history: list[Message], cut: int) -> None:
    """Replaying a history, and going on from a snapshot of any moment of it, give the same outputs and state."""
    live, again, resumed = (ComplianceCore(SHARP) for _ in range(3))
    said = fold(live, history)
    assert fold(again, history) == said
    before = ComplianceCore(SHARP)
    first = fold(before, history[:cut])
    resumed.restore(before.snapshot())
    assert first + fold(resumed, history[cut:]) == said
    assert live.state_hash() == again.state_hash() == resumed.state_hash()


@given(histories())
def test_invariants_of_every_history(history: list[Message]) -> None:
    """Commands are answered once, standings count up by one, alert ids are unique, and the audit chain verifies."""
    core = ComplianceCore(SHARP)
    entries: list[AuditEntry] = []
    raised: list[str] = []
    versions: dict[str, int] = {}
    for message in history:
        outputs = core.apply(message)
        answers = [output for output in outputs if isinstance(output, Answer)]
        core_answers = isinstance(message, Command) and not isinstance(message, ListInstrument)
        assert len(answers) == (1 if core_answers else 0)
        if answers and answers[0].reason is not Reason.NONE:
            assert len(outputs) == 1
        for output in outputs:
            assert output.time_ns == message.time_ns
            if isinstance(output, AccountStanding):
                versions[output.account] = versions.get(output.account, 0) + 1
                assert output.version == versions[output.account]
            elif isinstance(output, ComplianceAlert) and output.status == "OPEN":
                raised.append(output.alert_id)
                assert output.evidence
            elif isinstance(output, AuditEntry):
                entries.append(output)
    assert len(raised) == len(set(raised)) or _same_trigger_twice(history)
    report = verify_audit(entries)
    assert (report.valid, report.entries) == (True, len(entries))


def _same_trigger_twice(history: list[Message]) -> bool:
    """Whether the history repeats a transaction's id, which the desk never does."""
    ids = [getattr(message, "execution_id", None) or getattr(message, "entry_id", None) for message in history]
    known = [found for found in ids if found is not None]
    return len(known) != len(set(known))


@given(st.sampled_from(KycState), st.sampled_from(KycState))
def test_kyc_over_all_pairs(state: KycState, target: KycState) -> None:
    """An identity check makes exactly the moves of the table, and a refused move leaves no trace."""
    desk = Desk()
    for step in _way_to(state):
        assert desk.answer(review("alice", step)).reason is Reason.NONE
    if state is KycState.NONE:
        desk = Desk(opened=False)
        desk.tell(OpenAccount(time_ns=START_NS, account="alice", holder_name=""))
    before = desk.core.state_hash()
    answer = desk.answer(ReviewKyc(time_ns=START_NS, account="alice", state=target))
    if target in KYC_TRANSITIONS[state]:
        assert answer.reason is Reason.NONE
        assert desk.standing().kyc is target
    else:
        assert answer.reason is Reason.KYC_TRANSITION_NOT_ALLOWED
        assert desk.core.state_hash() == before
    assert kyc_may_move(state, target) is (answer.reason is Reason.NONE)


def _way_to(state: KycState) -> tuple[KycState, ...]:
    ways: dict[KycState, tuple[KycState, ...]] = {
        KycState.NONE: (),
        KycState.PENDING: (),
        KycState.APPROVED: (KycState.APPROVED,),
        KycState.REJECTED: (KycState.REJECTED,),
        KycState.EXPIRED: (KycState.APPROVED, KycState.EXPIRED),
    }
    return ways[state]


@given(
    st.lists(st.tuples(st.integers(0, 10**11), st.integers(-5, 5)), max_size=200),
    st.integers(1, 10**12),
)
def test_windows_hold_what_lies_in_them_and_no_more(steps: list[tuple[int, int]], window_ns: int) -> None:
    """Movements are those within the window, executions at most those, and both within their bounds."""
    activity = Activity(opened_time_ns=0)
    now, times = START_NS, []
    for pause, value in steps:
        now += pause
        times.append(now)
        activity.add_movement(Movement(now, len(times), value, 0), window_ns=window_ns)
        counted = activity.count_trade(now, window_ns=window_ns)
        inside = [time for time in times if time > now - window_ns]
        assert [movement.time_ns for movement in activity.movements] == inside[-MOVEMENTS_MAX:]
        # A sixtieth of the window may be missing at its far end, never more, and nothing older counts.
        surely = sum(time > now - window_ns * (TRADE_BUCKETS - 1) // TRADE_BUCKETS for time in times)
        assert surely <= counted <= len(inside)
        assert len(activity.trade_buckets) <= TRADE_BUCKETS
        assert counted == sum(count for _, count in activity.trade_buckets)


@settings(max_examples=30)
@given(histories())
def test_nothing_is_remembered_after_silence(history: list[Message]) -> None:
    """However much went on, a tick after the longest window leaves no account or order in the windows."""
    core = ComplianceCore(SHARP)
    fold(core, history)
    last = history[-1].time_ns if history else START_NS
    core.apply(Tick(time_ns=last + horizon_ns(core.rules)))
    assert core._activities.by_account == {}
    assert core._activities.by_order == {}


def test_memory_of_one_busy_account_is_bounded() -> None:
    """Thousands of movements and executions within every window stay within the documented bounds."""
    core = Desk().core
    for number in range(5_000):
        core.apply(funds(1, entry_id=number, time_ns=START_NS + number))
        core.apply(execution(1, execution_id=str(number), time_ns=START_NS + number))
    activity = core._activities.by_account["alice"]
    assert len(activity.movements) == MOVEMENTS_MAX
    assert len(activity.trade_buckets) == 1
    assert len(core._activities.by_order) == 1
    assert len(core.snapshot()) < 100_000
