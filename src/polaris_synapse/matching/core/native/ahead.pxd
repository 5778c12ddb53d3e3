"""Memory that the next rows of a batch will need, fetched while the rows before them are carried out.

A book of many orders lies mostly outside the processor's caches, and a row waits for one place after the other: the
cell of its order's id, the order, its level and its neighbours. A batch knows its rows, so it asks for the first of
these places some rows ahead, for the second when the first should have come, and so on. Nothing is decided here: what
is found may be out of date when its row's turn comes, and every number is a place of an array either way.

A book that the caches hold is only made slower by this: 95 % cancels over a few orders took a third longer.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from polaris_synapse.matching.core.native.commands cimport AMEND, CANCEL, SUBMIT
from polaris_synapse.matching.core.native.ladder cimport key_of
from polaris_synapse.matching.core.native.store cimport (
    COMMAND_WIDTH,
    Order,
    Store,
    Table,
    home_of,
    level_hash_key,
    tag_of,
)

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define polaris_fetch(address) __builtin_prefetch((address), 1)
    #else
    #define polaris_fetch(address) ((void)(address))
    #endif
    """
    void polaris_fetch(const void* address) noexcept

# How many numbers ahead each place is asked for, and from how many cells of the orders' table on: with 19 bits it has
# 4 MiB, and the orders beside it ten or more.
cdef enum:
    CELLS_AHEAD = 12 * COMMAND_WIDTH
    RECORDS_AHEAD = 8 * COMMAND_WIDTH
    NEIGHBOURS_AHEAD = 4 * COMMAND_WIDTH
    TABLE_BITS_MIN = 19


cdef inline uint32_t likely(const Table* table, uint32_t tag) noexcept:
    """What is most likely filed under a tag, without a look at it; 0 for nothing."""
    cdef uint32_t mask = (<uint32_t>1 << table.bits) - 1
    cdef uint32_t cell = home_of(table, tag)
    while table.cells[cell].number and table.cells[cell].tag != tag:
        cell = (cell + 1) & mask
    return table.cells[cell].number


cdef inline uint32_t level_tag(const int64_t* row) noexcept:
    cdef int ladder = <int>(row[1] & 1)
    return tag_of(level_hash_key(ladder, key_of(ladder, row[4])))


cdef inline void fetch_cells(Store* store, const int64_t* row) noexcept:
    """The cells in which a row's search for its order and its level begins."""
    if SUBMIT <= row[0] <= AMEND:
        polaris_fetch(&store.by_id.cells[home_of(&store.by_id, tag_of(<uint64_t>row[2]))])
    if row[0] == SUBMIT:
        polaris_fetch(&store.by_key.cells[home_of(&store.by_key, level_tag(row))])


cdef inline void fetch_records(Store* store, const int64_t* row) noexcept:
    """The order of a row that names one, the level of a row that brings one."""
    cdef uint32_t number
    if row[0] == SUBMIT:
        polaris_fetch(&store.levels[likely(&store.by_key, level_tag(row))])
    elif row[0] == CANCEL or row[0] == AMEND:
        number = likely(&store.by_id, tag_of(<uint64_t>row[2]))
        polaris_fetch(&store.orders[number])
        if row[0] == AMEND:
            polaris_fetch(&store.standings[number])


cdef inline void fetch_neighbours(Store* store, const int64_t* row) noexcept:
    """The orders beside a row's order or place in the queue, and an order's level."""
    cdef Order* order
    if row[0] == SUBMIT:
        polaris_fetch(&store.orders[store.levels[likely(&store.by_key, level_tag(row))].queue.tail])
    elif row[0] == CANCEL or row[0] == AMEND:
        order = &store.orders[likely(&store.by_id, tag_of(<uint64_t>row[2]))]
        polaris_fetch(&store.levels[order.level])
        polaris_fetch(&store.orders[order.before])
        polaris_fetch(&store.orders[order.after])


cdef inline bint pays_ahead(const Store* store) noexcept:
    """Whether a book is so large that looking ahead saves more than it costs."""
    return store.by_id.bits >= TABLE_BITS_MIN


cdef inline void look_ahead(Store* store, const int64_t* row, Py_ssize_t numbers) noexcept:
    """Ask for what the rows behind ``row`` will need; ``numbers`` are left of the batch, this row's included."""
    if CELLS_AHEAD < numbers:
        fetch_cells(store, row + CELLS_AHEAD)
    if RECORDS_AHEAD < numbers:
        fetch_records(store, row + RECORDS_AHEAD)
    if NEIGHBOURS_AHEAD < numbers:
        fetch_neighbours(store, row + NEIGHBOURS_AHEAD)
