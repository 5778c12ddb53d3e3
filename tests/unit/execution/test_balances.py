"""What a venue holds, compared with the trades that are known here."""

from __future__ import annotations

import pytest
from tests.unit.execution.miniature import Miniature

from polaris_synapse.domain.messages import BreakChanged
from polaris_synapse.domain.orders import OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.core.model import AssetBalance
from polaris_synapse.testing.venues import Fault

#: Answers after which a difference that stays has opened its break.
ENOUGH = 8


def watch(desk: Miniature, asset: str = "BTC") -> AssetBalance:
    """What the core knows of an asset."""
    return desk.core._state.balances[f"scripted/{asset}"]


def traded(lots: int = 10) -> Miniature:
    """A desk that has compared, then bought some."""
    desk = Miniature()
    desk.venue.deposits["USDT"] = 10**12
    desk.compare_balances()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, lots, 100)
    desk.work_off()
    return desk


def test_what_was_there_before_is_taken_as_it_is() -> None:
    """A deposit that the desk did not make explains itself while it has traded nothing there."""
    desk = traded()
    desk.compare_balances(ENOUGH)
    assert desk.open_breaks() == []
    assert watch(desk, "USDT").opening_units == 10**12
    assert watch(desk).seen == 0


@pytest.mark.parametrize("units", [1, -(10**9)])
def test_a_balance_that_moved_opens_a_break_that_stops_what_trades_in_it(units: int) -> None:
    """One minor unit is enough; the break names the asset, both amounts and the symbols."""
    desk = traded()
    desk.venue.deposits["BTC"] += units
    desk.compare_balances(ENOUGH)
    (found,) = desk.open_breaks()
    assert (found.symbol, found.symbols, found.venue) == ("BTC", ("BTCUSDT",), "scripted")
    assert found.detail.startswith("scripted holds ")
    desk.compare_balances(ENOUGH)
    assert len(desk.breaks) == 1


def test_a_break_closes_by_rule_when_the_balance_is_back() -> None:
    """Nobody need do anything where the venue corrects itself."""
    desk = traded()
    desk.venue.deposits["BTC"] += 5
    desk.compare_balances(ENOUGH)
    desk.venue.deposits["BTC"] -= 5
    desk.compare_balances()
    assert desk.open_breaks() == []
    (closed,) = [one for one in desk.sent if isinstance(one, BreakChanged) and not one.is_open]
    assert "agree again" in closed.detail
    assert closed.symbols == ("BTCUSDT",)


def test_a_person_takes_a_balance_for_what_it_is() -> None:
    """After that the same balance opens nothing, and another one does."""
    desk = traded()
    desk.venue.deposits["BTC"] += 5
    desk.compare_balances(ENOUGH)
    (found,) = desk.open_breaks()
    assert desk.resolve(found.break_id).reason is Reason.NONE
    desk.compare_balances(ENOUGH)
    assert desk.open_breaks() == []
    desk.venue.deposits["BTC"] += 7
    desk.compare_balances(ENOUGH)
    assert len(desk.open_breaks()) == 1


def test_one_wrong_answer_opens_nothing() -> None:
    """A venue may misreport once: what it does not repeat is no difference."""
    desk = traded()
    for _ in range(ENOUGH):
        desk.venue.deposits["BTC"] += 5
        desk.compare_balances(2)
        desk.venue.deposits["BTC"] -= 5
        desk.compare_balances()
    assert desk.breaks == {}


def test_a_missed_fill_is_found_by_its_balance() -> None:
    """A trade that no report told of moves the balance; its order is asked about at once, and no break opens."""
    desk = traded(lots=4)
    desk.venue.fill("ps0-1024", 3, 100, heard=False)
    desk.compare_balances(2)
    desk.tick(2)
    assert desk.order().filled_lots == 7
    desk.compare_balances(ENOUGH)
    assert desk.breaks == {}


def test_an_order_in_doubt_explains_a_difference() -> None:
    """While an outcome is unknown, what it may have traded is nobody's break."""
    desk = traded()
    desk.venue.script("submit", Fault.LOST_AFTER)
    desk.venue.answers = False
    client_id = desk.place(2048)
    desk.work_off()
    desk.venue.fill(client_id, 10, 100, heard=False)
    desk.compare_balances(ENOUGH)
    assert desk.state(2048) is OrderState.UNKNOWN
    assert desk.breaks == {}
    desk.venue.answers = True
    desk.tick(70)
    desk.compare_balances(ENOUGH)
    assert desk.state(2048) is OrderState.FILLED
    assert desk.breaks == {}


def test_a_desk_that_traded_before_it_asked_takes_the_balance_when_all_is_quiet() -> None:
    """An old journal meets balances for the first time: they are believed once nothing is in doubt, then watched."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 10, 100)
    desk.work_off()
    desk.venue.deposits["BTC"] = 77
    desk.compare_balances(ENOUGH)
    assert watch(desk).opened
    assert watch(desk).opening_units == 77
    desk.venue.deposits["BTC"] = 78
    desk.compare_balances(ENOUGH)
    assert len(desk.open_breaks()) == 1


def test_a_late_trade_that_fills_a_cancelled_order_leaves_no_doubt() -> None:
    """A cancelled order that its last trade fills is waited for no more, so that balances are compared again."""
    desk = traded(lots=4)
    desk.cancel()
    desk.work_off()
    desk.venue.fill("ps0-1024", 6, 100)
    desk.work_off()
    assert desk.state() is OrderState.FILLED
    desk.venue.deposits["BTC"] += 1
    desk.compare_balances(ENOUGH)
    assert [found.symbol for found in desk.open_breaks()] == ["BTC"]


def test_a_settled_trade_does_not_open_a_second_break() -> None:
    """A person accounts for a trade that could not be booked; the balance that it made is taken with it."""
    desk = traded()
    desk.venue.fill("ps0-1024", 3, 100)
    desk.work_off()
    desk.compare_balances(ENOUGH)
    (found,) = desk.open_breaks()
    assert found.symbol == "BTCUSDT"
    desk.resolve(found.break_id)
    desk.tick(70)
    desk.compare_balances(ENOUGH)
    assert desk.open_breaks() == []
