"""How an order takes, as in the plain book's ``taking``; the names are the same ones."""

from libc.stdint cimport INT64_MAX, int64_t, uint16_t, uint32_t, uint64_t

from polaris_synapse.matching.core.native.codes cimport (
    AUCTION,
    BOOK_COMMAND_LIMIT,
    BOOK_FILL_OR_KILL_UNFILLABLE,
    BOOK_IMMEDIATE_REMAINDER,
    BOOK_MIN_QUANTITY_UNMET,
    BOOK_NO_LIQUIDITY,
    BOOK_POST_ONLY_WOULD_TAKE,
    BOOK_PRICE_BAND,
    BOOK_SELF_TRADE_PREVENTED,
    DECREMENTED,
    EXPIRED,
    FOK,
    FORCE_SHIFT,
    LIMIT,
    MARKET,
    PARTS_PER_MILLION,
    POST_REPRICE,
    POST_SHIFT,
    REFILLED,
    REJECTED,
    REPRICED,
    RESTED,
    RESTING_BITS,
    STATUS,
    STOP_LIMIT,
    STP_BOTH,
    STP_DECREMENT,
    STP_MAKER,
    STP_SHIFT,
    STP_TAKER,
    TAKE_PROFIT_LIMIT,
    TRADE,
    TRADING,
    TRAILING_BPS,
    TRIGGERED,
    TYPE_SHIFT,
    column_max,
    price_max,
    quantity_max,
)
from polaris_synapse.matching.core.native.ladder cimport (
    best_price,
    forget,
    ladder_leave,
    price_of,
    queue_join,
    queue_leave,
    reduce_order,
    rest,
)
from polaris_synapse.matching.core.native.store cimport (
    ASKS,
    BIDS,
    TAKING,
    Block,
    Ladder,
    Level,
    Order,
    Store,
    fetch_cell,
    polaris_fetch,
    say,
    tag_of,
    wide,
)
from polaris_synapse.matching.core.native.triggers cimport note_seen, observe


cdef inline void refresh(Store* store) noexcept:
    """Compute what follows from the settings and the reference price."""
    cdef wide width, high
    store.low, store.high = 1, price_max()
    if store.reference_price and store.band_ppm:
        width = <wide>store.reference_price * store.band_ppm // PARTS_PER_MILLION
        high = width + store.reference_price
        # Nothing is priced beyond 2**40, so a higher bound is as good as the greatest number.
        store.high = <int64_t>high if high < column_max() else INT64_MAX
        store.low = <int64_t>(store.reference_price - width) if width < store.reference_price else 1


cdef inline bint interrupts(Store* store, int64_t price) noexcept:
    """Whether a trade at ``price`` lies so far from the last before the taker that trading stops for an auction."""
    cdef int64_t base = store.base_price
    cdef int64_t distance = price - base if price > base else base - price
    return base > 0 and <wide>distance * PARTS_PER_MILLION > <wide>base * store.interruption_ppm


cdef inline bint crosses(Store* store, int64_t flags, int64_t price) noexcept:
    """Whether a limit order would take at once."""
    if store.status != TRADING:
        return False
    if flags & 1:
        return store.ladders[BIDS].best_key >= price
    return store.ladders[ASKS].best_key >= -price


cdef inline int64_t slice_lots(Store* store, Order* order) noexcept:
    """What an order shows when it (again) joins a queue."""
    cdef int64_t display = store.extras[order.extra].display_lots if order.extra else 0
    return display if 0 < display < order.open_lots else order.open_lots


cdef inline void end(Store* store, uint32_t number, int64_t lots, int64_t reason) noexcept:
    """End an order that is in no queue."""
    cdef Order* order = &store.orders[number]
    store.removed_lots += lots
    say(store, EXPIRED, order.order_id, order.flags & 1, 0, 0, lots, reason, 0)
    forget(store, number)


cdef inline void expire_resting(Store* store, uint32_t number, int64_t reason) noexcept:
    cdef Order* order = &store.orders[number]
    store.removed_lots += order.open_lots
    say(
        store, EXPIRED, order.order_id, order.flags & 1, order.price,
        order.shown_lots, order.open_lots, reason, 0,
    )
    ladder_leave(store, number)
    forget(store, number)


cdef inline void decrement_resting(Store* store, uint32_t number, int64_t lots) noexcept:
    cdef Order* order = &store.orders[number]
    reduce_order(store, number, order.open_lots - lots)
    store.standings[number].quantity_lots -= lots
    store.removed_lots += lots
    say(
        store, DECREMENTED, order.order_id, order.flags & 1, order.price,
        order.shown_lots, order.open_lots, BOOK_SELF_TRADE_PREVENTED, lots,
    )


cdef inline int64_t prevent(Store* store, uint32_t taker, int64_t lots, uint32_t maker) noexcept:
    """Keep an account from trading with itself; the lots left of the taker (``stopped`` set if it must end)."""
    cdef int64_t mode = store.orders[taker].flags >> STP_SHIFT & 7, both
    if mode == STP_TAKER:
        store.stopped = BOOK_SELF_TRADE_PREVENTED
        return lots
    if mode == STP_DECREMENT:
        both = min(lots, store.orders[maker].open_lots)
        if both < store.orders[maker].open_lots:
            decrement_resting(store, maker, both)
        else:
            expire_resting(store, maker, BOOK_SELF_TRADE_PREVENTED)
        if both == lots:
            store.stopped = BOOK_SELF_TRADE_PREVENTED
            return lots
        store.standings[taker].quantity_lots -= both
        store.removed_lots += both
        say(
            store, DECREMENTED, store.orders[taker].order_id, store.orders[taker].flags & 1, 0,
            0, lots - both, BOOK_SELF_TRADE_PREVENTED, both,
        )
        return lots - both
    expire_resting(store, maker, BOOK_SELF_TRADE_PREVENTED)
    if mode == STP_BOTH:
        store.stopped = BOOK_SELF_TRADE_PREVENTED
    return lots


cdef inline void fetch_maker(Store* store, uint32_t number) noexcept:
    """Ask for what a match with an order will need: the cell that it leaves, and the order behind it."""
    polaris_fetch(&store.orders[store.orders[number].after])
    fetch_cell(&store.by_id, tag_of(<uint64_t>store.orders[number].order_id))


cdef inline int64_t match(Store* store, uint32_t number, int64_t lots, int64_t limit_key) noexcept:
    """Trade up to ``lots`` with the far side down to ``limit_key``; what is left (``stopped`` set: cut short)."""
    cdef int64_t order_id = store.orders[number].order_id, account = store.orders[number].account
    cdef int64_t flags = store.orders[number].flags, before = lots, prevented = 0
    cdef int64_t side = flags & 1, first = 0, price = 0, here, shown, left
    cdef bint prevents = (flags >> STP_SHIFT & 7) != 0
    cdef int far_side = BIDS if side else ASKS
    cdef Ladder* far = &store.ladders[far_side]
    cdef uint32_t at, maker
    cdef Level* level
    cdef Order* order
    while lots and far.levels and far.best_key >= limit_key:
        at = far.best_level
        level = &store.levels[at]
        here = price_of(far_side, level.key)
        if store.interruption_ppm and interrupts(store, here):
            store.stopped = BOOK_PRICE_BAND
            break
        while lots:
            maker = level.queue.head
            order = &store.orders[maker]
            if prevents and order.account == account:
                left = prevent(store, number, lots, maker)
                prevented += lots - left
                lots = left
                if store.stopped or not level.live:
                    break
                continue
            if store.events_count - store.events_base >= store.events_max:
                store.stopped = BOOK_COMMAND_LIMIT
                break
            if price != here:
                price = here
                if not first:
                    first = here
                if store.waiting:
                    note_seen(store, here)
            shown = order.shown_lots
            if lots < shown:
                order.open_lots -= lots
                order.shown_lots = shown - lots
                level.lots -= lots
                say(store, TRADE, order_id, side, here, lots, 0, order.order_id, order.open_lots)
                lots = 0
                break
            fetch_maker(store, order.after)
            lots -= shown
            order.open_lots -= shown
            say(store, TRADE, order_id, side, here, shown, lots, order.order_id, order.open_lots)
            if order.open_lots:
                # An iceberg shows its next slice and goes to the back of its level.
                order.shown_lots = slice_lots(store, order)
                level.lots += order.shown_lots - shown
                queue_leave(store, &level.queue, maker)
                queue_join(store, &level.queue, maker)
                say(
                    store, REFILLED, order.order_id, side ^ 1, here,
                    order.shown_lots, order.open_lots, 0, 0,
                )
                continue
            ladder_leave(store, maker)
            forget(store, maker)
            if not level.live:
                break
        if store.stopped:
            break
    if first:
        store.last_price = price
        store.traded_lots += before - lots - prevented
        if not store.reference_price:
            store.reference_price = first
            refresh(store)
        fetch_maker(store, store.levels[far.best_level].queue.head)
    return lots


cdef inline int64_t limit_key_of(Store* store, Order* order) noexcept:
    """The worst key of the far side that an order may trade at."""
    cdef int64_t side = order.flags & 1
    cdef int64_t band_key = store.low if side else -store.high
    if order.flags >> TYPE_SHIFT & 7 == MARKET:
        return band_key
    return max(order.price if side else -order.price, band_key)


cdef inline bint can_fill(Store* store, uint32_t number, int64_t limit_key, int64_t wanted, int64_t budget) noexcept:
    """Whether the far side could give ``wanted`` lots, or take all of ``budget``, in one command."""
    cdef Order* taker = &store.orders[number]
    cdef int far_side = BIDS if taker.flags & 1 else ASKS
    cdef Ladder* far = &store.ladders[far_side]
    cdef int64_t prevention = taker.flags >> STP_SHIFT & 7, events = 0, left = wanted, hidden, price, display
    cdef uint32_t at = far.count, place, maker
    cdef Block* block
    cdef Order* order
    while at:
        at -= 1
        block = far.blocks[at]
        place = block.count
        while place:
            place -= 1
            price = price_of(far_side, block.keys[place])
            if block.keys[place] < limit_key or (store.interruption_ppm and interrupts(store, price)):
                return False
            maker = store.levels[block.levels[place]].queue.head
            while maker:
                order = &store.orders[maker]
                maker = order.after
                if prevention and order.account == taker.account:
                    if prevention == STP_MAKER:
                        continue
                    return False
                hidden = order.open_lots - order.shown_lots
                events += 1
                if hidden:
                    display = store.extras[order.extra].display_lots
                    events += 2 * ((hidden + display - 1) // display)
                if events > store.events_max:
                    return False
                if budget:
                    left = budget // price
                left -= order.open_lots
                if left <= 0:
                    return True
                # Now the order's worth is less than the budget, so it fits 64 bits.
                if budget:
                    budget -= order.open_lots * price
    return False


cdef inline void interrupt(Store* store) noexcept:
    """A volatility interruption: trading stops for a call auction."""
    say(store, STATUS, 0, 0, 0, AUCTION, 0, BOOK_PRICE_BAND, store.status)
    store.status = AUCTION
    store.interruption_end_ns = store.now_ns + store.interruption_ns if store.interruption_ns else 0


cdef inline void spend(Store* store, uint32_t number, int64_t limit_key, int64_t budget) noexcept:
    """Take for a quote budget: level by level, as many lots as it still buys. Done when it buys none at a price."""
    cdef int far_side = BIDS if store.orders[number].flags & 1 else ASKS
    cdef Ladder* far = &store.ladders[far_side]
    cdef int64_t reason = 0, key, price, lots, left
    cdef bint interrupted
    while not reason:
        if not far.levels:
            reason = BOOK_NO_LIQUIDITY
            break
        key = far.best_key
        if key < limit_key:
            reason = BOOK_PRICE_BAND
            break
        price = price_of(far_side, key)
        lots = min(budget // price, quantity_max())
        if not lots:
            reason = BOOK_IMMEDIATE_REMAINDER
            break
        left = match(store, number, lots, key)
        store.entered_lots += lots - left
        if not left:
            forget(store, number)
            return
        budget -= (lots - left) * price
        reason = store.stopped
    interrupted = store.stopped == BOOK_PRICE_BAND
    store.stopped = 0
    if interrupted:
        interrupt(store)
    end(store, number, 0, reason)


cdef inline void finish(Store* store, uint32_t number, int64_t left) noexcept:
    """What becomes of a taker after its match: done, ended or resting."""
    cdef Order* order = &store.orders[number]
    cdef int64_t stopped = store.stopped, reason
    cdef bint rests = not order.flags & RESTING_BITS
    store.stopped = 0
    order.open_lots = left
    if not left:
        forget(store, number)
        return
    if stopped == BOOK_PRICE_BAND:
        interrupt(store)
    elif stopped:
        rests = False
    if rests:
        order.shown_lots = slice_lots(store, order)
        rest(store, number)
        order = &store.orders[number]
        say(store, RESTED, order.order_id, order.flags & 1, order.price, order.shown_lots, left, 0, 0)
        return
    reason = stopped
    if not reason:
        if order.flags >> TYPE_SHIFT & 7 != MARKET:
            reason = BOOK_IMMEDIATE_REMAINDER
        elif store.ladders[BIDS if order.flags & 1 else ASKS].levels:
            reason = BOOK_PRICE_BAND
        else:
            reason = BOOK_NO_LIQUIDITY
    end(store, number, left, reason)


cdef inline void enter_behind(Store* store, uint32_t number) noexcept:
    """A post-only order that would take: turned away, or put one tick behind the far side."""
    cdef Order* order = &store.orders[number]
    cdef int64_t side = order.flags & 1, asked = order.price, reason = BOOK_POST_ONLY_WOULD_TAKE
    cdef int64_t price = best_price(store, BIDS) + 1 if side else best_price(store, ASKS) - 1
    cdef bint reprices = (order.flags >> POST_SHIFT & 3) == POST_REPRICE
    if not reprices or not max(store.low, 1) <= price <= store.high:
        if reprices and price > 0:
            reason = BOOK_PRICE_BAND
        store.removed_lots += order.open_lots
        say(store, REJECTED, order.order_id, side, asked, 0, order.open_lots, reason, 0)
        forget(store, number)
        return
    order.price, order.shown_lots = price, slice_lots(store, order)
    say(store, REPRICED, order.order_id, side, price, 0, order.open_lots, 0, asked)
    say(store, RESTED, order.order_id, side, price, order.shown_lots, order.open_lots, 0, 0)
    rest(store, number)


cdef inline void enter(Store* store, uint32_t number, int64_t budget, int64_t arrival) noexcept:
    """Let an order take and rest. ``arrival``: the event that says it is in, 0 where one has said so."""
    cdef Order* order = &store.orders[number]
    cdef int64_t flags = order.flags, side = flags & 1, force = flags >> FORCE_SHIFT & 3, limit_key, wanted
    cdef int64_t minimum = store.extras[order.extra].minimum_lots if order.extra else 0
    if not flags & RESTING_BITS and not minimum and not crosses(store, flags, order.price):
        order.shown_lots = slice_lots(store, order)
        say(
            store, arrival if arrival else RESTED, order.order_id, side, order.price,
            order.shown_lots, order.open_lots, 0, 0,
        )
        rest(store, number)
        return
    if arrival:
        say(store, arrival, order.order_id, side, order.price, 0, order.open_lots, 0, 0)
    if flags >> POST_SHIFT & 3:
        enter_behind(store, number)
        return
    store.base_price = store.last_price
    limit_key = limit_key_of(store, order)
    if force == FOK or minimum:
        wanted = order.open_lots if force == FOK else minimum
        if not can_fill(store, number, limit_key, wanted, budget):
            end(
                store, number, order.open_lots,
                BOOK_FILL_OR_KILL_UNFILLABLE if force == FOK else BOOK_MIN_QUANTITY_UNMET,
            )
            return
    if budget:
        spend(store, number, limit_key, budget)
    else:
        finish(store, number, match(store, number, order.open_lots, limit_key))


cdef inline void fire_next(Store* store) noexcept:
    """Let the triggered order whose turn it is enter."""
    cdef uint32_t number
    cdef Order* order
    cdef int64_t type_
    number = store.fired.head
    queue_leave(store, &store.fired, number)
    store.fired_count -= 1
    order = &store.orders[number]
    order.place = TAKING
    say(
        store, TRIGGERED, order.order_id, order.flags & 1, store.extras[order.extra].stop_price,
        0, order.open_lots, 0, 0,
    )
    type_ = order.flags >> TYPE_SHIFT & 7
    type_ = LIMIT if type_ == LIMIT or type_ == STOP_LIMIT or type_ == TAKE_PROFIT_LIMIT else MARKET
    order.flags = <uint16_t>((order.flags & ~(7 << TYPE_SHIFT) & ~TRAILING_BPS) | type_ << TYPE_SHIFT)
    if order.price and not store.low <= order.price <= store.high:
        store.removed_lots += order.open_lots
        say(
            store, REJECTED, order.order_id, order.flags & 1, order.price,
            0, order.open_lots, BOOK_PRICE_BAND, 0,
        )
        forget(store, number)
    else:
        enter(store, number, 0, 0)


cdef inline void settle(Store* store) noexcept:
    """Show the triggers the trades, and let what fires enter, until all is quiet or the bound is reached."""
    cdef uint32_t index
    while True:
        for index in range(store.seen_count):
            observe(store, store.seen[index])
        store.seen_count = 0
        if (
            not store.fired_count
            or store.status != TRADING
            or store.events_count - store.events_base >= store.events_max
            or store.stepwise
        ):
            return
        fire_next(store)
