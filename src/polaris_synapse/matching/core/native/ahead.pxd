"""Memory that the next rows of a batch will need, fetched while the rows before them are carried out.

A book of many orders lies mostly outside the processor's nearest caches, and a row waits for one place after the other:
the cell of its order's id, the order, its level and its neighbours. A batch knows its rows, so it asks for the first of
these places some rows ahead, for the second when the first should have come, and so on. Nothing is decided here: what
is found may be out of date when its row's turn comes, and every number is a place of an array either way.

Which rows need what is not asked either, since a guess that the processor gets wrong costs more than a place fetched in
vain: a row that names no order is taken as one that names number 0.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from polaris_synapse.matching.core.native.ladder cimport key_of
from polaris_synapse.matching.core.native.store cimport (
    COMMAND_WIDTH,
    Cell,
    Order,
    Store,
    Table,
    fetch_cell,
    home_of,
    level_hash_key,
    polaris_fetch,
    tag_of,
)

# How many rows ahead each place is asked for (the ring of RING rows remembers what the second step found), and from
# how many cells of the tables on: with 13 bits that of the orders has 64 KiB, and the orders beside it half a MiB.
cdef enum:
    CELLS_AHEAD = 12
    RECORDS_AHEAD = 8
    NEIGHBOURS_AHEAD = 4
    RING = 16
    ORDERS_BITS_MIN = 13
    LEVELS_BITS_MIN = 13

cdef struct Ahead:
    uint32_t named[RING]


cdef inline uint32_t likely(const Table* table, uint32_t tag) noexcept:
    """What is most likely filed under a tag, by a look at the cell where its search begins and the next; or 0."""
    cdef uint32_t cell = home_of(table, tag), mask = (<uint32_t>1 << table.bits) - 1
    cdef Cell first = table.cells[cell], second = table.cells[(cell + 1) & mask]
    cdef uint32_t number = first.number & -<uint32_t>(first.tag == tag)
    return number | (second.number & -<uint32_t>(second.tag == tag and first.tag != tag))


cdef inline uint32_t level_tag(const int64_t* row) noexcept:
    cdef int ladder = <int>(row[1] & 1)
    return tag_of(level_hash_key(ladder, key_of(ladder, row[4])))


cdef inline bint pays_ahead(const Store* store) noexcept:
    """Whether a book is so large that looking ahead saves more than it costs."""
    return store.by_id.bits >= ORDERS_BITS_MIN


cdef inline void look_ahead(Store* store, Ahead* ahead, const int64_t* row, Py_ssize_t turn, Py_ssize_t rows) noexcept:
    """Ask for what the rows behind ``row`` will need; it is number ``turn`` of ``rows``."""
    cdef const int64_t* later
    cdef Order* order
    cdef uint32_t number
    cdef bint deep = store.by_key.bits >= LEVELS_BITS_MIN
    if turn + CELLS_AHEAD < rows:
        later = row + CELLS_AHEAD * COMMAND_WIDTH
        fetch_cell(&store.by_id, tag_of(<uint64_t>later[2]))
        if deep:
            fetch_cell(&store.by_key, level_tag(later))
    if turn + RECORDS_AHEAD < rows:
        later = row + RECORDS_AHEAD * COMMAND_WIDTH
        number = likely(&store.by_id, tag_of(<uint64_t>later[2]))
        ahead.named[(turn + RECORDS_AHEAD) % RING] = number
        polaris_fetch(&store.orders[number])
        if deep:
            polaris_fetch(&store.levels[likely(&store.by_key, level_tag(later))])
    if turn + NEIGHBOURS_AHEAD < rows:
        order = &store.orders[ahead.named[(turn + NEIGHBOURS_AHEAD) % RING]]
        polaris_fetch(&store.orders[order.before])
        polaris_fetch(&store.orders[order.after])
        if deep:
            polaris_fetch(&store.levels[order.level])
            later = row + NEIGHBOURS_AHEAD * COMMAND_WIDTH
            polaris_fetch(&store.orders[store.levels[likely(&store.by_key, level_tag(later))].queue.tail])


cdef inline void expect_next(Store* store, int64_t order_id) noexcept:
    """Ask for the cell of the next order's id, which lies as far from this one as this one from the last."""
    fetch_cell(&store.by_id, tag_of(2 * <uint64_t>order_id - <uint64_t>store.last_id))
    store.last_id = order_id
