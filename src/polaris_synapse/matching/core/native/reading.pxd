"""What a book shows: levels, queues and orders as Python's lists and tuples."""

from libc.stdint cimport int64_t, uint32_t

from polaris_synapse.matching.core.native.ladder cimport price_of
from polaris_synapse.matching.core.native.store cimport Extra, Ladder, Level, Order, Store, wide


cdef inline object whole(wide number):
    """A 128-bit number as Python's."""
    cdef int64_t upper = <int64_t>(number >> 62), lower = <int64_t>(number & (((<int64_t>1) << 62) - 1))
    return (<object>upper << 62) + lower


cdef inline list level_numbers(Store* store, int ladder, Py_ssize_t depth):
    """The levels of a ladder, best first, all of them where ``depth`` is 0."""
    cdef list found = []
    cdef Ladder* side = &store.ladders[ladder]
    cdef uint32_t at = side.count, place
    while at:
        at -= 1
        place = side.blocks[at].count
        while place:
            place -= 1
            found.append(side.blocks[at].levels[place])
            if depth and len(found) == depth:
                return found
    return found


cdef inline list levels_of(Store* store, int ladder, Py_ssize_t depth):
    """``(price, displayed lots)`` of a side, best first."""
    cdef list found = []
    cdef uint32_t number
    cdef Level* level
    for number in level_numbers(store, ladder, depth):
        level = &store.levels[number]
        found.append((price_of(ladder, level.key), level.lots))
    return found


cdef inline list queue_of(Store* store, int ladder, Py_ssize_t limit):
    """``(order_id, price, displayed lots)`` of a side in priority order, ``limit`` 0 for all."""
    cdef list found = []
    cdef uint32_t level, number
    cdef Order* order
    for level in level_numbers(store, ladder, limit):
        number = store.levels[level].queue.head
        while number:
            order = &store.orders[number]
            found.append((order.order_id, order.price, order.shown_lots))
            if len(found) == limit:
                return found
            number = order.after
    return found


cdef inline list queue_ids(Store* store, uint32_t number):
    """The ids of a queue, from one of its orders on."""
    cdef list found = []
    while number:
        found.append(store.orders[number].order_id)
        number = store.orders[number].after
    return found


cdef inline list ladder_ids(Store* store, int ladder):
    """The ids of a side in priority order."""
    cdef list found = []
    cdef uint32_t level
    for level in level_numbers(store, ladder, 0):
        found += queue_ids(store, store.levels[level].queue.head)
    return found


cdef inline tuple order_row(Store* store, uint32_t number):
    """An order as port.BookState has it."""
    cdef Order* order = &store.orders[number]
    # Number 0 stands for no rare columns, and all of its are 0.
    cdef Extra* extra = &store.extras[order.extra]
    return (
        order.order_id, order.account, order.flags, order.price, order.open_lots, order.shown_lots,
        store.standings[number].quantity_lots, extra.stop_price, extra.trailing, extra.display_lots,
        extra.minimum_lots, extra.expire_ns,
    )
