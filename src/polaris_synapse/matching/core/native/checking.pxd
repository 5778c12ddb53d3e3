"""The invariants of the compiled book, its own tables' among them. Each function says the first one that is broken."""

from libc.stdint cimport INT64_MIN, int64_t, uint32_t

from polaris_synapse.matching.core.native.codes cimport TRADING
from polaris_synapse.matching.core.native.ladder cimport best_price, price_of
from polaris_synapse.matching.core.native.reading cimport level_numbers, whole
from polaris_synapse.matching.core.native.store cimport (
    ASKS,
    BIDS,
    FIRED,
    FREE,
    LADDERS,
    RESTING,
    TRAILING,
    WAITING,
    Level,
    Order,
    Store,
    find_level,
    find_order,
)


cdef inline str broken_level(Store* store, int ladder, uint32_t level_number, dict places):
    """A level's queue is linked both ways, counted and summed, and its orders belong there."""
    cdef Level* level = &store.levels[level_number]
    cdef Order* order
    cdef uint32_t number = level.queue.head, before = 0, live = 0
    cdef int64_t lots = 0
    if find_level(store, ladder, level.key) != level_number:
        return "a level is found by its key"
    while number:
        order = &store.orders[number]
        lots, live = lots + order.shown_lots, live + 1
        if order.before != before or order.level != level_number:
            return "a queue is linked both ways"
        if number in places:
            return "an order is in one queue"
        places[number] = RESTING if ladder <= ASKS else WAITING
        if not 0 < order.open_lots <= store.standings[number].quantity_lots or order.shown_lots > order.open_lots:
            return "lots shown, open and in all"
        if ladder <= ASKS:
            if order.flags & 1 != ladder or order.price != price_of(ladder, level.key):
                return "an order stands on its side at its price"
        elif store.extras[order.extra].stop_price != price_of(ladder, level.key):
            return "a stop waits at its price"
        before, number = number, order.after
    if not live or live != level.live or lots != level.lots or before != level.queue.tail:
        return "a level counts and sums its orders, and has one"
    return ""


cdef inline str broken_ladder(Store* store, int ladder, dict places):
    """Keys are in order and counted, and every level is sound."""
    cdef uint32_t number
    numbers = level_numbers(store, ladder, 0)
    keys = [store.levels[number].key for number in numbers]
    if keys != sorted(set(keys), reverse=True) or len(keys) != store.ladders[ladder].levels:
        return "the keys of a ladder are in order, and counted"
    if store.ladders[ladder].best_key != (keys[0] if keys else INT64_MIN):
        return "a ladder knows its best key"
    for number in numbers:
        broken = broken_level(store, ladder, number, places)
        if broken:
            return broken
    return ""


cdef inline str broken_heap(Store* store):
    """The expiries are a heap, and each knows its place."""
    cdef uint32_t place, number, above
    for place in range(1, store.heap_count + 1):
        number, above = store.heap[place], store.heap[place // 2]
        if store.extras[store.orders[number].extra].heap_place != place:
            return "an expiry knows its place"
        if place > 1 and (
            store.extras[store.orders[above].extra].expire_ns > store.extras[store.orders[number].extra].expire_ns
        ):
            return "the expiries are a heap"
    return ""


cdef inline str broken_orders(Store* store, dict places):
    """Every order is in one place, knows it, is found by its id, and no lot is lost or gained."""
    cdef uint32_t number, counted = 0
    cdef Order* order
    held = 0
    for number in range(1, store.orders_used):
        order = &store.orders[number]
        if places.get(number, FREE) != order.place:
            return "an order rests, waits, or has fired, and knows it"
        if order.place == FREE:
            continue
        counted += 1
        held += order.open_lots
        if find_order(store, order.order_id) != number:
            return "an order is found by its id"
        if (order.shown_lots > 0) != (order.place == RESTING):
            return "what rests shows lots, and nothing else does"
    if counted != store.by_id.count or counted != len(places):
        return "the orders are counted"
    entered, gone = whole(store.entered_lots), 2 * whole(store.traded_lots) + whole(store.removed_lots)
    if entered != gone + held:
        return f"lots in ({entered}) = traded, ended and held ({gone + held})"
    return ""


cdef inline str broken_invariant(Store* store):
    """The first invariant that does not hold, in words; empty where all do."""
    cdef int ladder
    cdef uint32_t number
    cdef dict places = {}
    for ladder in range(LADDERS):
        broken = broken_ladder(store, ladder, places)
        if broken:
            return broken
    for place, number in ((TRAILING, store.trailing.head), (FIRED, store.fired.head)):
        while number:
            places[number] = place
            number = store.orders[number].after
    found = list(places.values())
    if found.count(WAITING) + found.count(TRAILING) != store.waiting or found.count(FIRED) != store.fired_count:
        return "those that wait and those that fired are counted"
    if store.status == TRADING and store.ladders[BIDS].levels and store.ladders[ASKS].levels:
        if best_price(store, BIDS) >= best_price(store, ASKS):
            return "the book is not crossed while it trades"
    return broken_orders(store, places) or broken_heap(store)
