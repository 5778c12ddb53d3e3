"""The market data core keeps books by update ids and says when they are not to be relied on."""

from __future__ import annotations

import pytest
from tests.unit.market_data.market_messages import (
    T0,
    depth,
    fold,
    only,
    snapshot,
    status,
    tick,
    ticker,
    trade,
)

from polaris_synapse.bus.core import SnapshotError, UnexpectedMessageError
from polaris_synapse.domain.messages import (
    BookChanged,
    BookHealthChanged,
    BookUpdated,
    HostStarted,
    Mark,
    MarketSummary,
    MarketTrade,
    ResyncNeeded,
    TopOfBook,
    TradePrinted,
)
from polaris_synapse.domain.orders import Side
from polaris_synapse.market_data.core import MarketDataCore, MarketDataCoreSettings


def test_a_depth_message_newer_than_the_snapshot_is_applied_after_it() -> None:
    """What came before the snapshot and reaches beyond it is not lost, and what ends before it is dropped."""
    core = MarketDataCore()
    out = fold(
        core,
        depth(90, 95, bids=[(99, 7)]),
        depth(96, 104, bids=[(100, 9)], asks=[(101, 0), (102, 3)]),
        snapshot(100),
    )
    assert core.markets["BTCUSDT"].book.top() == (100, 9, 102, 3)
    assert core.markets["BTCUSDT"].book.last_update_id == 104
    assert core.markets["BTCUSDT"].healthy
    assert only(out, ResyncNeeded) == []
    assert only(out, BookUpdated)[-1].is_snapshot


def test_a_gap_stops_one_symbol_and_asks_for_that_symbol_only() -> None:
    """A lost depth message makes its own book unhealthy at once, with a mark that says so; others go on."""
    core = MarketDataCore()
    fold(core, snapshot(100), snapshot(500, symbol="ETHUSDT"))
    out = fold(core, depth(103, 104, bids=[(100, 1)], at=1), depth(501, 502, bids=[(100, 2)], at=1, symbol="ETHUSDT"))
    assert [(m.symbol, m.cause) for m in only(out, ResyncNeeded)] == [("BTCUSDT", "gap")]
    assert [(m.symbol, m.healthy, m.cause) for m in only(out, BookHealthChanged)] == [("BTCUSDT", False, "gap")]
    assert [(m.symbol, m.healthy) for m in only(out, Mark) if m.symbol == "BTCUSDT"] == [("BTCUSDT", False)]
    assert core.markets["ETHUSDT"].healthy
    assert core.markets["BTCUSDT"].counters.gaps == 1


def test_a_snapshot_after_a_gap_heals_the_book_with_what_waited() -> None:
    """The message that revealed the gap and those after it are applied on top of the fresh snapshot."""
    core = MarketDataCore()
    fold(core, snapshot(100), depth(103, 104, bids=[(100, 1)]), depth(105, 106, asks=[(101, 8)]))
    out = fold(core, snapshot(103, at=1))
    assert core.markets["BTCUSDT"].book.top() == (100, 1, 101, 8)
    assert only(out, BookHealthChanged)[-1].healthy
    assert only(out, Mark)[-1].healthy


def test_a_snapshot_older_than_the_stream_is_not_used() -> None:
    """A snapshot that ends before the waiting messages begin would leave a hole, so another is asked for."""
    core = MarketDataCore()
    fold(core, snapshot(100), depth(110, 112, bids=[(100, 1)]))
    out = fold(core, snapshot(105, at=1))
    assert [m.cause for m in only(out, ResyncNeeded)] == ["the snapshot is older than the stream"]
    assert not core.markets["BTCUSDT"].healthy


def test_an_overlap_in_the_middle_of_a_stream_is_a_gap() -> None:
    """After the first message, each must begin exactly where the one before ended."""
    core = MarketDataCore()
    out = fold(core, snapshot(100), depth(99, 102), depth(102, 105), snapshot(101))
    assert [m.cause for m in only(out, ResyncNeeded)] == ["gap"]
    assert core.markets["BTCUSDT"].book.last_update_id == 105


def test_repeated_and_old_messages_change_nothing() -> None:
    """Delivery at least once is harmless: an old depth message and an old snapshot are dropped and counted."""
    core = MarketDataCore()
    fold(core, snapshot(100), depth(101, 103, bids=[(100, 2)]))
    before = core.markets["BTCUSDT"].book.top()
    assert fold(core, depth(101, 103, bids=[(100, 7)])) == []
    (update,) = fold(core, snapshot(99, bids=[(50, 1)]))
    assert isinstance(update, BookUpdated)
    assert (update.is_snapshot, update.bids) == (True, ((100, 2),)), "whoever asked gets the newer book"
    assert core.markets["BTCUSDT"].book.top() == before
    assert core.markets["BTCUSDT"].counters.depths_old == 1


def test_a_crossed_book_is_unhealthy_until_a_snapshot_uncrosses_it() -> None:
    """A bid at or above an ask cannot be, so the book is given up and asked for again."""
    core = MarketDataCore()
    out = fold(core, snapshot(100), depth(101, 102, bids=[(101, 4)]))
    assert [m.cause for m in only(out, ResyncNeeded)] == ["crossed"]
    assert only(out, BookHealthChanged)[-1].cause == "crossed"
    assert only(out, TopOfBook)[-1].bid_ticks == 100
    out = fold(core, snapshot(102, at=1))
    assert only(out, BookHealthChanged)[-1].healthy


def test_silence_makes_a_book_stale_and_the_next_message_heals_it() -> None:
    """Without depth messages a book turns stale after the limit; one that follows on proves that nothing was lost."""
    core = MarketDataCore(MarketDataCoreSettings(stale_seconds=3))
    fold(core, snapshot(100))
    assert only(fold(core, tick(2.9)), BookHealthChanged) == []
    assert [m.cause for m in only(fold(core, tick(3.0)), BookHealthChanged)] == ["stale"]
    assert only(fold(core, depth(101, 101, bids=[(100, 6)], at=4)), BookHealthChanged)[-1].healthy


def test_a_disconnect_makes_the_book_unhealthy_until_it_is_connected_and_in_step() -> None:
    """Neither the connection alone nor a late snapshot alone is enough."""
    core = MarketDataCore()
    fold(core, status(True), snapshot(100))
    causes = [
        m.cause
        for m in only(fold(core, status(False, at=1), snapshot(120, at=2), status(True, at=3)), BookHealthChanged)
    ]
    assert causes == ["disconnected", "resyncing"]
    assert only(fold(core, snapshot(130, at=4)), BookHealthChanged)[-1].healthy


def test_an_unanswered_resync_is_asked_for_again() -> None:
    """A book that waits too long for its snapshot asks once more, and not at every tick."""
    core = MarketDataCore(MarketDataCoreSettings(resync_seconds=5))
    fold(core, status(True))
    asked = [at for at in range(1, 13) if only(fold(core, tick(at)), ResyncNeeded)]
    assert asked == [5, 10]


def test_a_second_source_does_not_mix_into_a_book() -> None:
    """Only a source that says it connected takes a market over; stray messages of another are counted."""
    core = MarketDataCore()
    fold(core, status(True), snapshot(100))
    stray = depth(101, 101, bids=[(100, 9)])
    object_of_other = type(stray)(
        time_ns=T0,
        symbol="BTCUSDT",
        source="other",
        first_update_id=101,
        last_update_id=101,
        bids=((100, 9),),
        asks=(),
    )
    assert fold(core, object_of_other) == []
    assert core.markets["BTCUSDT"].counters.other_source == 1
    fold(core, status(True, source="other", at=1))
    assert core.markets["BTCUSDT"].source == "other"
    assert not core.markets["BTCUSDT"].healthy


def test_an_empty_side_is_said_and_not_traded_on() -> None:
    """A book without asks is unhealthy, with its own cause."""
    core = MarketDataCore()
    out = fold(core, snapshot(100), depth(101, 101, asks=[(101, 0)]))
    assert only(out, BookHealthChanged)[-1].cause == "one_sided"
    assert only(out, TopOfBook)[-1].ask_ticks == 0


def test_deep_levels_are_forgotten_and_their_removal_is_told() -> None:
    """The bound on levels holds, and a mirror that follows the updates ends with the same levels."""
    core = MarketDataCore(MarketDataCoreSettings(levels_max=3))
    out = fold(
        core,
        snapshot(100, bids=[(price, 1) for price in range(96, 101)]),
        depth(101, 101, bids=[(98, 4), (97, 5)]),
        depth(102, 102, bids=[(99, 0)]),
        depth(103, 103, bids=[(97, 5), (96, 1)]),
    )
    mirror: dict[int, int] = {}
    for update in only(out, BookUpdated):
        if update.is_snapshot:
            mirror.clear()
        mirror.update(update.bids)
    mirror = {price: lots for price, lots in mirror.items() if lots}
    assert mirror == dict(core.markets["BTCUSDT"].book.bids.top(10)) == {100: 1, 98: 4, 97: 5}


def test_marks_keep_to_their_rate_and_the_last_price_is_not_lost() -> None:
    """However fast the top moves, marks come at most so often, and what was held back is said later."""
    core = MarketDataCore(MarketDataCoreSettings(marks_per_second_max=4))
    fold(core, snapshot(100))
    marks: list[Mark] = []
    for number in range(1, 101):
        marks += only(fold(core, depth(100 + number, 100 + number, bids=[(100, number + 5)], at=number / 100)), Mark)
        marks += only(fold(core, trade(number, price=100 + number, at=number / 100)), Mark)
    assert 3 <= len(marks) <= 5
    assert only(fold(core, tick(2)), Mark)[-1].last_ticks == 200


def test_a_quiet_healthy_market_repeats_its_mark_each_second() -> None:
    """Whoever asks how old the price is must see that the book still stands, even if nothing moves."""
    core = MarketDataCore()
    fold(core, snapshot(100))
    assert [len(only(fold(core, tick(at)), Mark)) for at in (1, 2, 3)] == [1, 1, 1]


def test_the_mark_is_the_mid_rounded_down() -> None:
    """A mid between two ticks is the lower one."""
    core = MarketDataCore()
    mark = only(fold(core, snapshot(100, bids=[(100, 5)], asks=[(105, 5)])), Mark)[-1]
    assert (mark.mark_ticks, mark.bid_ticks, mark.ask_ticks, mark.healthy) == (102, 100, 105, True)


def test_each_second_is_summed_up_once() -> None:
    """A summary tells the second's trades by aggressor and the depth of the best levels, then starts over."""
    core = MarketDataCore()
    fold(core, snapshot(100, bids=[(100, 5), (99, 6)], asks=[(101, 7)]))
    fold(core, trade(1, lots=3, at=0.2), trade(2, lots=4, at=0.3, side=Side.SELL))
    first = only(fold(core, tick(1)), MarketSummary)
    assert [(s.bought_lots, s.sold_lots, s.trades, s.bid_depth_lots, s.ask_depth_lots) for s in first] == [
        (3, 4, 2, 11, 7)
    ]
    assert only(fold(core, tick(1.5)), MarketSummary) == []
    assert [s.trades for s in only(fold(core, tick(2)), MarketSummary)] == [0]


def test_each_trade_id_counts_once_and_missing_ones_may_come_late() -> None:
    """Duplicates are dropped, jumps are counted, and a fetched trade fills its place without moving the last price."""
    core = MarketDataCore()
    out = fold(core, trade(1), trade(2), trade(2), trade(6, price=106), trade(4, price=104), trade(4), trade(1))
    market = core.markets["BTCUSDT"]
    assert [m.trade_id for m in only(out, MarketTrade)] == [1, 2, 6, 4]
    assert (market.trades.duplicates, market.trades.gaps, market.trades.missing_trades()) == (3, 1, 2)
    assert market.last_ticks == 106


def test_tops_are_compared_with_tickers_exactly_once_the_ids_allow_it() -> None:
    """The last ticker at or before an update decides, whichever of the two comes first; a wrong top is counted."""
    core = MarketDataCore()
    fold(core, snapshot(100), ticker(99, (100, 5), (101, 5)))
    tops = core.markets["BTCUSDT"].tops
    assert (tops.compared, tops.equal) == (0, 0), "a later ticker at or before 100 may still come"
    fold(core, ticker(104, (100, 8), (101, 5)))
    assert (tops.compared, tops.equal) == (1, 1)
    fold(core, depth(101, 104, bids=[(100, 8)]))
    assert (tops.compared, tops.equal) == (2, 2), "the ticker's id is the book's"
    fold(core, depth(105, 107, bids=[(100, 9)]), ticker(106, (100, 10), (101, 5)), ticker(109, (100, 1), (101, 5)))
    assert (tops.compared, tops.equal) == (3, 2)
    assert tops.differing == ((107, 100, 9, 101, 5), (106, 100, 10, 101, 5))


def test_the_internal_book_needs_no_feed() -> None:
    """BookChanged and TradePrinted alone make a book, trades and a mark, and it never turns stale."""
    core = MarketDataCore()
    out = fold(
        core,
        BookChanged(time_ns=T0, symbol="X.INT", sequence=1, bids=((10, 4),)),
        BookChanged(time_ns=T0, symbol="X.INT", sequence=2, asks=((12, 4),)),
        TradePrinted(
            time_ns=T0,
            symbol="X.INT",
            trade_id=1,
            price_ticks=12,
            quantity_lots=1,
            aggressor=Side.BUY,
            maker_order_id=1,
            taker_order_id=2,
        ),
        tick(60),
    )
    assert [m.cause for m in only(out, BookHealthChanged)] == ["one_sided", ""]
    assert only(out, Mark)[-1].mark_ticks == 11
    assert only(out, MarketTrade)[0].source == "internal"


def test_a_hole_in_the_internal_book_asks_for_its_levels() -> None:
    """The internal book follows the same rule: a jump of its sequence asks for a snapshot, which heals it."""
    core = MarketDataCore()
    out = fold(core, BookChanged(time_ns=T0, symbol="X.INT", sequence=7, bids=((10, 4),)))
    assert [(m.symbol, m.source) for m in only(out, ResyncNeeded)] == [("X.INT", "internal")]
    healing = type(snapshot(7))(
        time_ns=T0, symbol="X.INT", source="internal", last_update_id=7, bids=((10, 4),), asks=((12, 1),)
    )
    assert only(fold(core, healing), BookHealthChanged)[-1].healthy


def test_symbols_are_bounded() -> None:
    """A feed that invents symbols cannot grow the core without end."""
    core = MarketDataCore(MarketDataCoreSettings(symbols_max=1))
    assert fold(core, snapshot(1), snapshot(1, symbol="ETHUSDT")) != []
    assert list(core.markets) == ["BTCUSDT"]
    assert core.symbols_refused == 1


def test_messages_that_wait_for_a_snapshot_are_bounded() -> None:
    """The oldest go first, since a later snapshot makes just them needless."""
    core = MarketDataCore(MarketDataCoreSettings(buffered_depths_max=3))
    fold(core, *[depth(i, i) for i in range(1, 11)])
    assert [d.first_update_id for d in core.markets["BTCUSDT"].book.waiting] == [8, 9, 10]
    fold(core, snapshot(7))
    assert core.markets["BTCUSDT"].book.last_update_id == 10


def test_a_restored_core_goes_on_exactly_like_the_one_it_was_taken_from() -> None:
    """Snapshot and restore lose nothing: the same messages give the same outputs and the same hash."""
    core = MarketDataCore()
    fold(
        core,
        snapshot(100),
        snapshot(5, symbol="ADAUSDT"),
        trade(1),
        trade(5),
        depth(103, 104),
        ticker(90, (1, 1), (2, 2)),
    )
    twin = MarketDataCore()
    twin.restore(core.snapshot())
    rest = [snapshot(104, at=1), trade(3, at=1), depth(105, 106, bids=[(100, 3)], at=1), tick(2), tick(70)]
    assert fold(core, *rest) == fold(twin, *rest)
    assert core.state_hash() == twin.state_hash()


def test_bytes_that_are_no_snapshot_are_refused() -> None:
    """A foreign or damaged snapshot is an error with its own type."""
    with pytest.raises(SnapshotError):
        MarketDataCore().restore(b"\x92\x09\x80")


def test_a_message_of_another_inbox_is_a_routing_bug() -> None:
    """Only what its inbox carries is taken."""
    with pytest.raises(UnexpectedMessageError):
        MarketDataCore().apply(HostStarted(time_ns=T0))


def test_settings_without_room_are_refused() -> None:
    """A bound of zero is a mistake, not a switch."""
    with pytest.raises(ValueError, match="levels_max"):
        MarketDataCoreSettings(levels_max=0)
