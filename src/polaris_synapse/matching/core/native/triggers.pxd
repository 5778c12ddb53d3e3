"""When stops, take-profits and trailing stops fire, as in the plain book's ``triggers``; the names are the same ones."""

from libc.stdint cimport int64_t, uint32_t

from polaris_synapse.matching.core.native.codes cimport (
    BASIS_POINTS,
    STOP,
    STOP_LIMIT,
    TRAILING_BPS,
    TRAILING_STOP,
    TYPE_SHIFT,
)
from polaris_synapse.matching.core.native.ladder cimport (
    close_level,
    key_of,
    ladder_join,
    ladder_leave,
    queue_join,
    queue_leave,
)
from polaris_synapse.matching.core.native.store cimport (
    FIRED,
    STOPS_ABOVE,
    STOPS_BELOW,
    TRAILING,
    WAITING,
    Extra,
    Order,
    Store,
    grow,
)


cdef inline bint fires_above(int64_t flags) noexcept:
    """Whether an order fires at or above its stop price; otherwise it fires at or below."""
    cdef int64_t type_ = flags >> TYPE_SHIFT & 7
    return (type_ == STOP or type_ == STOP_LIMIT or type_ == TRAILING_STOP) == (not flags & 1)


cdef inline bint is_triggered(bint above, int64_t stop_price, int64_t last_price) noexcept:
    """Whether a last price reaches a stop price; 0 as last price reaches nothing."""
    if not last_price:
        return False
    return last_price >= stop_price if above else last_price <= stop_price


cdef inline int64_t trailing_price(Store* store, Order* order) noexcept:
    """Where a trailing stop fires now, 0 before it has seen a price."""
    cdef Extra* extra = &store.extras[order.extra]
    cdef int64_t offset = extra.trailing
    if not extra.watermark:
        return 0
    if order.flags & TRAILING_BPS:
        offset = max(extra.watermark * offset // BASIS_POINTS, 1)
    return max(extra.watermark - offset, 1) if order.flags & 1 else extra.watermark + offset


cdef inline int64_t arm(Store* store, uint32_t number, int64_t watermark) noexcept:
    """Let an order wait for its trigger; where that is now (0: no market yet)."""
    cdef Order* order = &store.orders[number]
    cdef Extra* extra = &store.extras[order.extra]
    cdef int ladder
    store.waiting += 1
    store.armings += 1
    extra.armed = store.armings
    if extra.trailing:
        extra.watermark = watermark
        order.place = TRAILING
        queue_join(store, &store.trailing, number)
        return trailing_price(store, order)
    extra.watermark = 0
    ladder = STOPS_ABOVE if fires_above(order.flags) else STOPS_BELOW
    ladder_join(store, ladder, key_of(ladder, extra.stop_price), number, WAITING)
    return extra.stop_price


cdef inline void stop_waiting(Store* store, uint32_t number) noexcept:
    """Out of the triggers, or of the queue of those that have fired."""
    cdef Order* order = &store.orders[number]
    if order.place == FIRED:
        queue_leave(store, &store.fired, number)
        store.fired_count -= 1
        return
    store.waiting -= 1
    if order.place == TRAILING:
        queue_leave(store, &store.trailing, number)
    else:
        ladder_leave(store, number)


cdef inline void fire(Store* store, uint32_t number) noexcept:
    store.waiting -= 1
    store.orders[number].place = FIRED
    queue_join(store, &store.fired, number)
    store.fired_count += 1


cdef inline void observe(Store* store, int64_t price) noexcept:
    """A trade at ``price``: move the trailing stops, and let fire, in order, what it reaches."""
    cdef int ladder
    cdef int64_t reach
    cdef uint32_t at, number, following
    cdef Extra* extra
    cdef Order* order
    for ladder in range(STOPS_ABOVE, STOPS_BELOW + 1):
        reach = key_of(ladder, price)
        while store.ladders[ladder].levels and store.ladders[ladder].best_key >= reach:
            at = store.ladders[ladder].best_level
            number = store.levels[at].queue.head
            while number:
                following = store.orders[number].after
                fire(store, number)
                number = following
            close_level(store, at)
    number = store.trailing.head
    while number:
        order = &store.orders[number]
        extra = &store.extras[order.extra]
        following = order.after
        # The old stop is tried first: one price cannot both pull a stop along and hit it.
        if extra.watermark and is_triggered(fires_above(order.flags), trailing_price(store, order), price):
            queue_leave(store, &store.trailing, number)
            fire(store, number)
        elif not extra.watermark:
            extra.watermark = price
        elif order.flags & 1:
            extra.watermark = max(extra.watermark, price)
        else:
            extra.watermark = min(extra.watermark, price)
        number = following


cdef inline void note_seen(Store* store, int64_t price) noexcept:
    """Keep a traded price for the triggers."""
    if store.seen_count == store.seen_room:
        if not grow(<void**>&store.seen, &store.seen_room, sizeof(int64_t), store.seen_count + 1):
            store.failed = 1
            return
    store.seen[store.seen_count] = price
    store.seen_count += 1
