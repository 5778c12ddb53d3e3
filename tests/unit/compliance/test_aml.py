"""The transaction rules: each just below and just above what it looks for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.compliance.samples import (
    BTCEUR,
    EURUSDT,
    SECOND_NS,
    START_NS,
    Desk,
    execution,
    funds,
    mark,
    usdt,
)

from polaris_synapse.compliance.core import ComplianceCore, activity, alerts
from polaris_synapse.compliance.core.aml import RULES, alert_id
from polaris_synapse.domain.messages import (
    ComplianceAlert,
    ComplianceRules,
    ListInstrument,
    ReviewAlert,
    SetComplianceRules,
    Tick,
)
from polaris_synapse.domain.reasons import Reason

#: Every rule off; each test switches on the one it is about.
OFF = ComplianceRules(
    large_units=0,
    rapid_funds_count=0,
    rapid_trades_count=0,
    pass_through_units_min=0,
    structuring_units=0,
    new_account_units=0,
)
DAY = 86_400


def at(seconds: int) -> int:
    """A time after the start."""
    return START_NS + seconds * SECOND_NS


@pytest.mark.parametrize("units, expected", [(usdt(10_000) - 1, 0), (usdt(10_000), 1), (-usdt(10_000), 1)])
def test_large_movement(units: int, expected: int) -> None:
    """A deposit or withdrawal is large from the threshold on, to the minor unit."""
    desk = Desk(replace(OFF, large_units=usdt(10_000)))
    desk.tell(funds(units, entry_id=1))
    assert len(desk.alerts("large_transaction")) == expected


def test_large_order_counts_all_its_executions() -> None:
    """An order that fills in pieces is one transaction: it alerts once, at the fill that crosses the threshold."""
    desk = Desk(replace(OFF, large_units=usdt(10_000)))
    desk.tell(execution(usdt(9_999), execution_id="a"), execution(usdt(9_999), execution_id="b", order_id=2))
    assert desk.alerts("large_transaction") == []
    desk.tell(execution(usdt(1), execution_id="c"), execution(usdt(9_000), execution_id="d"))
    (alert,) = desk.alerts("large_transaction")
    assert alert.evidence == ("rule:large_transaction@1.1", "order:1", "execution:c")
    assert (alert.symbol, alert.severity, alert.status) == ("BTCUSDT", "MEDIUM", "OPEN")
    assert "10000 USDT" in alert.summary


def test_other_assets_are_valued_at_the_last_mark() -> None:
    """A deposit of bitcoin is large or not by the latest mark of BTCUSDT."""
    desk = Desk(replace(OFF, large_units=usdt(10_000)))
    desk.tell(mark("BTCUSDT", 6_000_000), funds(16_666_666, entry_id=1, asset="BTC"))
    assert desk.alerts("large_transaction") == []
    desk.tell(funds(16_666_667, entry_id=2, asset="BTC"))
    assert len(desk.alerts("large_transaction")) == 1
    desk.tell(mark("BTCUSDT", 7_000_000), funds(16_666_666, entry_id=3, asset="BTC"))
    assert len(desk.alerts("large_transaction")) == 2


def test_a_trade_quoted_in_another_asset_is_valued_through_it() -> None:
    """BTCEUR trades are worth their euros at the mark of EURUSDT, whose euro has other decimals."""
    desk = Desk(replace(OFF, large_units=usdt(11_000)))
    desk.tell(*(ListInstrument(time_ns=START_NS, instrument=listed) for listed in (EURUSDT, BTCEUR)))
    desk.tell(mark("EURUSDT", 11_000), execution(999_999, execution_id="a", symbol="BTCEUR"))
    assert desk.alerts("large_transaction") == []
    desk.tell(execution(1_000_000, execution_id="b", order_id=2, symbol="BTCEUR"))
    assert len(desk.alerts("large_transaction")) == 1


def test_what_has_no_price_is_said_once_a_day() -> None:
    """Amounts that cannot be judged raise their own alert instead of passing in silence."""
    desk = Desk(OFF)
    desk.tell(funds(5, entry_id=1, asset="DOGE"), funds(5, entry_id=2, asset="DOGE", time_ns=at(DAY - 1)))
    assert len(desk.alerts("unpriced_transaction")) == 1
    desk.tell(execution(1, execution_id="a", symbol="NOPE", time_ns=at(DAY)))
    assert len(desk.alerts("unpriced_transaction")) == 2


def test_money_on_an_unopened_account_is_said() -> None:
    """Money that moves on an account compliance never opened is an alert of its own."""
    desk = Desk(OFF)
    desk.tell(funds(1, entry_id=1, account="mallory"), funds(1, entry_id=2, account="mallory"))
    (alert,) = desk.alerts("unopened_account")
    assert (alert.account, alert.severity) == ("mallory", "HIGH")
    assert [alert.account for alert in desk.alerts("unopened_account")] == ["mallory"]


def test_rapid_funds() -> None:
    """The n-th movement alerts while the first is within the window, and not once it has left."""
    rules = replace(OFF, rapid_funds_count=3, rapid_funds_window_seconds=60)
    just_in, just_out = Desk(rules), Desk(rules)
    for desk, last in ((just_in, 59), (just_out, 60)):
        desk.tell(funds(1, entry_id=1), funds(-1, entry_id=2, time_ns=at(30)))
        assert desk.alerts("rapid_funds") == []
        desk.tell(funds(1, entry_id=3, time_ns=at(last)))
    (alert,) = just_in.alerts("rapid_funds")
    assert alert.evidence[1:] == ("ledger:1", "ledger:2", "ledger:3")
    assert just_out.alerts("rapid_funds") == []


def test_a_rule_that_spoke_is_quiet_for_its_window() -> None:
    """Going on within the window adds no second alert; a new burst after it does."""
    desk = Desk(replace(OFF, rapid_funds_count=2, rapid_funds_window_seconds=60))
    desk.tell(*(funds(1, entry_id=n, time_ns=at(n)) for n in range(50)))
    assert len(desk.alerts("rapid_funds")) == 1
    desk.tell(*(funds(1, entry_id=n, time_ns=at(n)) for n in range(100, 110)))
    assert len(desk.alerts("rapid_funds")) == 2


def test_rapid_trading() -> None:
    """The n-th execution within the window alerts; one that comes after the window does not."""
    rules = replace(OFF, rapid_trades_count=100, rapid_trades_window_seconds=60)
    fast, slow = Desk(rules), Desk(rules)
    for desk, last in ((fast, 58), (slow, 61)):
        desk.tell(*(execution(1, execution_id=str(n), order_id=n) for n in range(99)))
        assert desk.alerts("rapid_trading") == []
        desk.tell(execution(1, execution_id="last", time_ns=at(last)))
    assert [len(desk.alerts("rapid_trading")) for desk in (fast, slow)] == [1, 0]


PASS_THROUGH = replace(
    OFF,
    pass_through_units_min=usdt(1_000),
    pass_through_ppm_min=800_000,
    pass_through_traded_ppm_max=50_000,
    pass_through_window_seconds=3_600,
)


@pytest.mark.parametrize(
    "deposit, traded, withdrawal, seconds, expected",
    [
        (usdt(1_000), 0, usdt(800), 3_599, 1),
        (usdt(1_000), 0, usdt(800) - 1, 3_599, 0),
        (usdt(1_000) - 1, 0, usdt(999), 3_599, 0),
        (usdt(1_000), 0, usdt(800), 3_600, 0),
        (usdt(1_000), usdt(50), usdt(800), 60, 0),
        (usdt(1_000), usdt(50) - 1, usdt(800), 60, 1),
    ],
)
def test_pass_through(deposit: int, traded: int, withdrawal: int, seconds: int, expected: int) -> None:
    """Money that comes in and soon goes out again untraded alerts at each edge of what was asked."""
    desk = Desk(PASS_THROUGH)
    # Trading before the money came in is no excuse.
    desk.tell(execution(usdt(5_000), execution_id="before"), funds(deposit, entry_id=1))
    if traded:
        desk.tell(execution(traded, execution_id="x", time_ns=at(1)))
    desk.tell(funds(-withdrawal, entry_id=2, time_ns=at(seconds)))
    assert len(desk.alerts("pass_through")) == expected


def test_pass_through_adds_up_split_withdrawals() -> None:
    """Several withdrawals that together take most of the deposit out are found at the one that does."""
    desk = Desk(PASS_THROUGH)
    desk.tell(funds(usdt(1_000), entry_id=1), funds(-usdt(400), entry_id=2, time_ns=at(5)))
    assert desk.alerts("pass_through") == []
    desk.tell(funds(-usdt(400), entry_id=3, time_ns=at(9)))
    (alert,) = desk.alerts("pass_through")
    assert alert.evidence[1:] == ("ledger:1", "ledger:2", "ledger:3")


STRUCTURING = replace(
    OFF,
    structuring_units=usdt(10_000),
    structuring_floor_ppm=700_000,
    structuring_count_min=3,
    structuring_window_seconds=DAY,
)


@pytest.mark.parametrize(
    "amounts, last_second, expected",
    [
        ((9_000, 9_000, 9_000), DAY - 1, 1),
        ((9_000, 9_000, 9_000), DAY, 0),
        ((9_000, 9_000), 5, 0),
        ((7_000, 7_000, 7_000), 5, 1),
        ((6_999, 7_000, 7_000), 5, 0),
        ((10_000, 9_000, 9_000), 5, 0),
        ((9_000, -9_000, 9_000), 5, 0),
        ((-9_000, -9_000, -9_000), 5, 1),
        ((9_000, 9_000, 9_000, 50), 5, 1),
        ((9_000, 9_000, 50), 5, 0),
    ],
)
def test_structuring(amounts: tuple[int, ...], last_second: int, expected: int) -> None:
    """Movements one way, each just below the threshold, within the window: the n-th of them alerts."""
    desk = Desk(STRUCTURING)
    desk.tell(*(funds(usdt(amount), entry_id=n, time_ns=at(n)) for n, amount in enumerate(amounts[:-1])))
    desk.tell(funds(usdt(amounts[-1]), entry_id=99, time_ns=at(last_second)))
    assert len(desk.alerts("structuring")) == expected


def test_structuring_needs_the_sum_to_reach_the_threshold() -> None:
    """With a low floor, small movements alert only once they come to the threshold together."""
    desk = Desk(replace(STRUCTURING, structuring_floor_ppm=300_000))
    desk.tell(*(funds(usdt(3_000), entry_id=n, time_ns=at(n)) for n in range(3)))
    assert desk.alerts("structuring") == []
    desk.tell(funds(usdt(3_000), entry_id=3, time_ns=at(3)))
    (alert,) = desk.alerts("structuring")
    assert "4 deposits just below 10000 USDT, together 12000 USDT" in alert.summary


@pytest.mark.parametrize("second, expected", [(DAY - 1, 1), (DAY, 0)])
def test_new_account(second: int, expected: int) -> None:
    """Deposits, withdrawals and trades of a new account add up during its first day and no longer."""
    desk = Desk(replace(OFF, new_account_units=usdt(50_000)))
    desk.tell(funds(usdt(20_000), entry_id=1), execution(usdt(20_000) - 1, execution_id="a", time_ns=at(5)))
    desk.tell(funds(-usdt(10_000), entry_id=2, time_ns=at(6)))
    assert desk.alerts("new_account_activity") == []
    desk.tell(funds(1, entry_id=3, time_ns=at(second)), funds(usdt(9), entry_id=4, time_ns=at(second)))
    assert len(desk.alerts("new_account_activity")) == expected


def test_alert_ids_are_functions_of_their_causes() -> None:
    """The same rule about the same account and transaction has the same id; anything else has another."""
    ids = {alert_id(rule, account, trigger) for rule in RULES for account in "ab" for trigger in "xy"}
    assert len(ids) == len(RULES) * 4
    assert alert_id(RULES[0], "a", "x") == alert_id(RULES[0], "a", "x")


def test_rules_change_through_the_log() -> None:
    """New rules are in force from their message on, are recorded, and the same ones again change nothing."""
    desk = Desk(OFF)
    desk.tell(funds(usdt(10_000), entry_id=1))
    command = SetComplianceRules(
        time_ns=START_NS, actor="user:olga", rules=replace(OFF, version=2, large_units=usdt(10_000))
    )
    assert desk.answer(command).duplicate is False
    assert desk.answer(command).duplicate is True
    desk.tell(funds(usdt(10_000), entry_id=2))
    (alert,) = desk.alerts("large_transaction")
    assert alert.evidence == ("rule:large_transaction@1.2", "ledger:2")
    (entry,) = [entry for entry in desk.entries() if entry.action == "rules.changed"]
    assert (entry.actor, "large_units 0 to 1000000000000" in entry.detail) == ("user:olga", True)


def test_a_restored_core_keeps_the_rules_of_its_snapshot() -> None:
    """Rules are state: a core made with others takes over the snapshot's."""
    desk = Desk(replace(OFF, large_units=7))
    other = ComplianceCore()
    other.restore(desk.core.snapshot())
    assert other.rules.large_units == 7
    assert other.state_hash() == desk.core.state_hash()


@pytest.mark.parametrize(
    "changes",
    [
        {"large_units": -1},
        {"structuring_floor_ppm": 1_000_001},
        {"rapid_funds_window_seconds": 0},
        {"new_account_window_seconds": 8 * DAY},
    ],
)
def test_rules_that_cannot_be_are_errors(changes: dict[str, int]) -> None:
    """Negative amounts, rates above one and windows without bound are refused where rules are made."""
    (name,) = changes
    with pytest.raises(ValueError, match=name):
        replace(ComplianceRules(), **changes)


def test_review_moves_an_alert_along_its_table() -> None:
    """An alert is escalated, then closed, and after that is not there to be reviewed."""
    desk = Desk(replace(OFF, large_units=1))
    desk.tell(funds(1, entry_id=1))
    (alert,) = desk.all(ComplianceAlert)

    def review(disposition: str) -> tuple[Reason, str]:
        command = ReviewAlert(
            time_ns=at(9), actor="user:olga", alert_id=alert.alert_id, disposition=disposition, note="seen"
        )
        answer = desk.answer(command)
        return answer.reason, desk.all(ComplianceAlert)[-1].status

    assert review("NONSENSE") == (Reason.INVALID_VALUE, "OPEN")
    assert review("ESCALATED") == (Reason.NONE, "ESCALATED")
    assert review("ESCALATED") == (Reason.INVALID_VALUE, "ESCALATED")
    assert review("CONFIRMED") == (Reason.NONE, "CONFIRMED")
    assert review("CONFIRMED") == (Reason.CASE_NOT_FOUND, "CONFIRMED")
    actions = [(entry.action, entry.actor) for entry in desk.entries()]
    assert actions.count(("alert.reviewed", "user:olga")) == 2
    assert actions.count(("alert.raised", "desk")) == 1


def test_a_full_box_says_which_alert_went_unreviewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the bound on open alerts is reached, the oldest is marked UNREVIEWED and recorded, not lost."""
    monkeypatch.setattr(alerts, "OPEN_ALERTS_MAX", 2)
    desk = Desk(replace(OFF, large_units=1))
    desk.tell(*(funds(1, entry_id=n) for n in range(3)))
    raised = desk.alerts("large_transaction")
    assert [alert.status for alert in raised] == ["OPEN", "OPEN", "OPEN", "UNREVIEWED"]
    assert raised[3].alert_id == raised[0].alert_id
    assert [entry.action for entry in desk.entries()].count("alert.left_unreviewed") == 1


def test_bounds_on_accounts_and_orders_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many accounts and orders the longest silent are forgotten first."""
    monkeypatch.setattr(activity, "ACTIVITIES_MAX", 3)
    monkeypatch.setattr(activity, "ORDERS_MAX", 2)
    remembered = activity.Activities()
    for account in ("a", "b", "c", "a", "d"):
        remembered.touch(account, START_NS, opened_time_ns=None)
    assert list(remembered.by_account) == ["c", "a", "d"]
    for order_id in (1, 2, 1, 3):
        remembered.add_order_value(order_id, 1, START_NS)
    assert list(remembered.by_order) == [1, 3]


def test_silence_empties_the_memory() -> None:
    """After a silence longer than every window nothing is remembered of accounts and orders."""
    desk = Desk()
    empty = Desk()
    desk.tell(funds(1, entry_id=1), execution(1, execution_id="a"))
    horizon = activity.horizon_ns(desk.core.rules)
    audit_only = len(desk.core.snapshot()) - len(empty.core.snapshot())
    desk.tell(Tick(time_ns=START_NS + horizon - 1))
    assert len(desk.core.snapshot()) - len(empty.core.snapshot()) == audit_only > 0
    desk.tell(Tick(time_ns=START_NS + horizon))
    assert len(desk.core.snapshot()) == len(empty.core.snapshot())
