"""The call auction: the plain book's price finder, and its pairing by priority in C."""

from libc.stdint cimport int64_t, uint32_t

from polaris_synapse.matching.core.native.codes cimport (
    AUCTION_TRADE,
    BOOK_SELF_TRADE_PREVENTED,
    STATUS,
    STP_DECREMENT,
    STP_MAKER,
    STP_SHIFT,
    STP_TAKER,
    TRADING,
)
from polaris_synapse.matching.core.native.ladder cimport forget, ladder_leave, price_of, reduce_order
from polaris_synapse.matching.core.native.store cimport ASKS, BIDS, Block, Ladder, Order, Store, say
from polaris_synapse.matching.core.native.taking cimport decrement_resting, expire_resting, refresh, settle
from polaris_synapse.matching.core.native.triggers cimport note_seen


cdef inline dict open_lots_by_price(Store* store, int ladder):
    """All open lots at each price of a side, hidden ones included."""
    cdef Ladder* side = &store.ladders[ladder]
    cdef uint32_t at, place, number
    cdef Block* block
    cdef int64_t lots
    found = {}
    for at in range(side.count):
        block = side.blocks[at]
        for place in range(block.count):
            lots = 0
            number = store.levels[block.levels[place]].queue.head
            while number:
                lots += store.orders[number].open_lots
                number = store.orders[number].after
            found[price_of(ladder, block.keys[place])] = lots
    return found


cdef inline void prevent_in_call(Store* store, uint32_t taker, uint32_t maker) noexcept:
    """Keep an account from trading with itself in a call auction, by the later order's mode."""
    cdef int64_t mode = store.orders[taker].flags >> STP_SHIFT & 7
    cdef int64_t lots = min(store.orders[taker].open_lots, store.orders[maker].open_lots)
    cdef uint32_t number
    if mode != STP_TAKER:
        if mode == STP_DECREMENT and store.orders[maker].open_lots > lots:
            decrement_resting(store, maker, lots)
        else:
            expire_resting(store, maker, BOOK_SELF_TRADE_PREVENTED)
    if mode != STP_MAKER:
        if mode == STP_DECREMENT and store.orders[taker].open_lots > lots:
            decrement_resting(store, taker, lots)
        else:
            expire_resting(store, taker, BOOK_SELF_TRADE_PREVENTED)


cdef inline void give(Store* store, uint32_t number, int64_t lots) noexcept:
    """Take traded lots off a resting order."""
    if store.orders[number].open_lots > lots:
        reduce_order(store, number, store.orders[number].open_lots - lots)
    else:
        ladder_leave(store, number)
        forget(store, number)


cdef inline int64_t trade_at(Store* store, int64_t price) noexcept:
    """Pair both sides by priority at ``price``, hidden lots included; the lots traded."""
    cdef int64_t volume = 0, lots
    cdef uint32_t bid, ask, taker, maker
    cdef Order* taken
    cdef Order* made
    while store.ladders[BIDS].best_key >= price and store.ladders[ASKS].best_key >= -price:
        bid = store.levels[store.ladders[BIDS].best_level].queue.head
        ask = store.levels[store.ladders[ASKS].best_level].queue.head
        taker, maker = bid, ask
        if store.orders[bid].order_id < store.orders[ask].order_id:
            taker, maker = ask, bid
        taken, made = &store.orders[taker], &store.orders[maker]
        if taken.account == made.account and taken.flags >> STP_SHIFT & 7:
            prevent_in_call(store, taker, maker)
            continue
        lots = min(taken.open_lots, made.open_lots)
        volume += lots
        say(
            store, AUCTION_TRADE, taken.order_id, taken.flags & 1, price,
            lots, taken.open_lots - lots, made.order_id, made.open_lots - lots,
        )
        give(store, bid, lots)
        give(store, ask, lots)
    return volume


cdef inline int change_status(Store* store, int64_t status, object call_price) except -1:
    """Open, halt or restrict the book. Coming to TRADING, a crossed book is uncrossed first, again while self-trade
    prevention left it crossed."""
    cdef int64_t price = 0, volume = 0, call
    store.events_base = store.events_count
    while status == TRADING:
        call = call_price(
            open_lots_by_price(store, BIDS),
            open_lots_by_price(store, ASKS),
            store.last_price if store.last_price else store.reference_price,
        )
        if not call:
            break
        price = call
        volume += trade_at(store, call)
    if volume:
        store.last_price = store.reference_price = price
        store.traded_lots += volume
        if store.waiting:
            note_seen(store, price)
    say(store, STATUS, 0, 0, price, status, volume, 0, store.status)
    store.status = status
    refresh(store)
    settle(store)
    return 0
