"""The fast, synchronised book against a naive twin, over streams that lose, repeat and delay messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polaris_synapse.domain.messages import BookSnapshotReceived, DepthReceived
from polaris_synapse.market_data.core import MarketDataCore
from polaris_synapse.market_data.core.levels import BookSide

Levels = tuple[tuple[int, int], ...]

CHANGES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=6, unique_by=lambda level: level[0])


class Venue:
    """The truth: every update applied one by one to two dictionaries, and every state remembered."""

    def __init__(self, batches: list[tuple[list[tuple[int, int]], list[tuple[int, int]], int]]) -> None:
        self.states: dict[int, tuple[dict[int, int], dict[int, int]]] = {}
        self.depths: list[DepthReceived] = []
        bids: dict[int, int] = {1: 1}
        asks: dict[int, int] = {200: 1}
        last = 100
        self.states[last] = (dict(bids), dict(asks))
        for bid_changes, ask_changes, width in batches:
            first, last = last + 1, last + width
            ask_changes = [(price + 100, lots) for price, lots in ask_changes]
            for side, changes in ((bids, bid_changes), (asks, ask_changes)):
                for price, lots in changes:
                    side[price] = lots
                    if not lots:
                        del side[price]
            self.states[last] = (dict(bids), dict(asks))
            self.depths.append(depth(first, last, tuple(bid_changes), tuple(ask_changes)))

    def snapshot(self, index: int) -> BookSnapshotReceived:
        """The book after ``index`` batches."""
        last = sorted(self.states)[index]
        bids, asks = self.states[last]
        return BookSnapshotReceived(
            time_ns=1,
            symbol="X",
            source="s",
            last_update_id=last,
            bids=tuple(bids.items()),
            asks=tuple(asks.items()),
        )


def depth(first: int, last: int, bids: Levels, asks: Levels) -> DepthReceived:
    """A depth message."""
    return DepthReceived(
        time_ns=1, symbol="X", source="s", first_update_id=first, last_update_id=last, bids=bids, asks=asks
    )


BATCHES = st.lists(st.tuples(CHANGES, CHANGES, st.integers(1, 4)), min_size=1, max_size=25)


@given(st.data(), BATCHES)
def test_a_synced_book_is_always_the_venues_book_of_its_update_id(
    data: st.DataObject, batches: list[tuple[list[tuple[int, int]], list[tuple[int, int]], int]]
) -> None:
    """Whatever is lost, repeated or late, a book that says it is in step equals the venue's as of the same update."""
    venue = Venue(batches)
    core = MarketDataCore()
    delivered = 0
    asked = True
    for _ in range(len(batches) * 2):
        action = data.draw(st.sampled_from(["deliver", "deliver", "deliver", "lose", "repeat", "snapshot"]))
        if action == "snapshot" and asked:
            index = data.draw(st.integers(0, min(delivered + 2, len(batches))))
            out = core.apply(venue.snapshot(index))
        elif action == "repeat" and delivered:
            out = core.apply(venue.depths[data.draw(st.integers(0, delivered - 1))])
        elif action == "lose":
            delivered = min(delivered + 1, len(batches))
            out = ()
        elif delivered < len(batches):
            out = core.apply(venue.depths[delivered])
            delivered += 1
        else:
            out = ()
        asked = asked or any(type(m).__name__ == "ResyncNeeded" for m in out)
        market = core.markets.get("X")
        if market is not None and market.book.synced:
            bids, asks = venue.states[market.book.last_update_id]
            assert dict(market.book.bids.top(1000)) == bids
            assert dict(market.book.asks.top(1000)) == asks
            assert market.healthy == bool(bids and asks)


@given(BATCHES, st.integers(0, 25), st.integers(0, 25))
def test_any_snapshot_taken_during_the_stream_leads_to_the_same_book(
    batches: list[tuple[list[tuple[int, int]], list[tuple[int, int]], int]], when: int, of: int
) -> None:
    """Wherever in the stream the snapshot arrives, and whichever of the states so far it shows, the end is the same."""
    venue = Venue(batches)
    when = min(when, len(batches))
    of = min(of, when)
    core = MarketDataCore()
    for message in [*venue.depths[:when], venue.snapshot(of), *venue.depths[when:]]:
        core.apply(message)
    book = core.markets["X"].book
    bids, asks = venue.states[max(venue.states)]
    assert book.synced
    assert (dict(book.bids.top(1000)), dict(book.asks.top(1000))) == (bids, asks)
    assert core.markets["X"].counters.gaps == 0


@given(st.sampled_from([1, -1]), st.lists(CHANGES, max_size=30), st.integers(1, 10))
def test_a_side_keeps_its_levels_sorted_and_bounded(
    sign: int, changes: list[list[tuple[int, int]]], levels_max: int
) -> None:
    """A side equals a plain dictionary cut to its best levels, best first, after every change."""
    side = BookSide(sign)
    twin: dict[int, int] = {}
    for change in changes:
        side.change(change)
        side.trim(levels_max)
        twin.update(change)
        best = sorted((price for price, lots in twin.items() if lots), key=lambda price: -sign * price)
        twin = {price: twin[price] for price in best[:levels_max]}
        assert side.top(1000) == tuple(twin.items())
        assert side.best() == next(iter(twin.items()), (0, 0))
        assert side.depth_lots(3) == sum(list(twin.values())[:3])
