"""The memory of the compiled book: orders, levels, and the tables that find them, in C arrays that grow by doubling.

Everything is named by its number in an array; number 0 is nobody, and its place may be written to. Where memory runs
out ``failed`` is set and number 0 handed out, so that a command can run to its end harmlessly; the book then refuses
further work, because what it holds is no longer what it should.
"""

from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef extern from *:
    """
    /* Arrays that begin at a cache line, so that what has the size of a line, or goes into one evenly, lies in one and is
       not fetched as two. What malloc gives begins 16 bytes behind one as a rule. How far the array begins behind what
       malloc gave stands before it. */
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #define POLARIS_LINE 64
    static inline uint32_t polaris_line_shift(const void *raw) {
        return POLARIS_LINE - (uint32_t)((uintptr_t)raw % POLARIS_LINE);
    }
    static inline void *polaris_lines_at(char *raw) {
        uint32_t shift = polaris_line_shift(raw);
        ((uint32_t *)(raw + shift))[-1] = shift;
        return raw + shift;
    }
    static inline void polaris_lines_free(void *array) {
        if (array)
            free((char *)array - ((uint32_t *)array)[-1]);
    }
    /* All zero. NULL where memory runs out. */
    static inline void *polaris_lines_new(size_t bytes) {
        char *raw = (char *)calloc(1, bytes + POLARIS_LINE);
        return raw ? polaris_lines_at(raw) : NULL;
    }
    /* Larger, what is new not set. NULL where memory runs out, and the array is as it was. */
    static inline void *polaris_lines_grown(void *array, size_t bytes, size_t bytes_before) {
        uint32_t shift = ((uint32_t *)array)[-1];
        char *raw = (char *)realloc((char *)array - shift, bytes + POLARIS_LINE);
        if (!raw)
            return NULL;
        if (polaris_line_shift(raw) != shift)
            memmove(raw + polaris_line_shift(raw), raw + shift, bytes_before);
        return polaris_lines_at(raw);
    }
    """
    void* polaris_lines_new(size_t size) noexcept
    void* polaris_lines_grown(void* array, size_t size, size_t size_before) noexcept
    void polaris_lines_free(void* array) noexcept

cdef extern from *:
    """
    /* Memory in pages of 2 MiB, where the system has them: a book of many orders is read all over, and each of the usual
       pages of 4 KiB would have to be looked up first. A wish, so it does not matter whether it is granted. */
    #if defined(__linux__)
    #include <stdint.h>
    #include <sys/mman.h>
    #endif
    static inline void polaris_large_pages(void *memory, size_t bytes) {
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        uintptr_t first = ((uintptr_t)memory + 4095) & ~(uintptr_t)4095;
        uintptr_t end = ((uintptr_t)memory + bytes) & ~(uintptr_t)4095;
        if (bytes >= (size_t)4 << 20 && end > first)
            (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
    #else
        (void)memory; (void)bytes;
    #endif
    }
    """
    void polaris_large_pages(void* memory, size_t size) noexcept

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define polaris_fetch(address) __builtin_prefetch((address), 1)
    #else
    #define polaris_fetch(address) ((void)(address))
    #endif
    """
    void polaris_fetch(const void* address) noexcept

cdef extern from *:
    """
    /* Counters of a book's whole life, and products of prices and parts per million. */
    typedef __int128 polaris_wide;
    """
    ctypedef long long wide "polaris_wide"

# Where an order is.
cdef enum:
    FREE = 0
    TAKING = 1
    RESTING = 2
    WAITING = 3
    TRAILING = 4
    FIRED = 5

# Ladders by number: bids and asks as their sides are coded, then stops that fire above and stops that fire below.
# Keys are signed so that the greatest is the best, or the next to fire: -price of asks and of stops above.
cdef enum:
    BIDS = 0
    ASKS = 1
    STOPS_ABOVE = 2
    STOPS_BELOW = 3
    LADDERS = 4

cdef enum:
    BLOCK_KEYS = 256
    EVENT_WIDTH = 8
    COMMAND_WIDTH = 12

# Exactly a cache line: what a match reads and writes. ``extra`` is 0 for an order without rare columns.
cdef struct Order:
    int64_t order_id
    int64_t account
    int64_t price
    int64_t open_lots
    int64_t shown_lots
    uint32_t before
    uint32_t after
    uint32_t level
    uint32_t extra
    uint16_t flags
    uint8_t place
    uint8_t held

# What only amending, writing down and checking read. ``arrival`` orders the orders.
cdef struct Standing:
    int64_t quantity_lots
    int64_t arrival

# The columns that most orders leave at 0. ``heap_place`` is where the expiry heap holds the order, 0 for not.
cdef struct Extra:
    int64_t stop_price
    int64_t trailing
    int64_t display_lots
    int64_t minimum_lots
    int64_t expire_ns
    int64_t watermark
    int64_t armed
    uint32_t heap_place
    uint32_t next_free

# A queue of orders, first in first out.
cdef struct Queue:
    uint32_t head
    uint32_t tail

cdef struct Level:
    int64_t key
    int64_t lots
    Queue queue
    uint32_t live
    uint8_t ladder

# Open addressing with linear probing; ``tag`` is the key's hash, which says where the search for it begins.
cdef struct Cell:
    uint32_t number
    uint32_t tag

cdef struct Table:
    Cell* cells
    uint32_t bits
    uint32_t count

# A sorted run of a ladder's keys, and their levels.
cdef struct Block:
    uint32_t count
    int64_t keys[BLOCK_KEYS]
    uint32_t levels[BLOCK_KEYS]

# All keys in order, the best at the very end. ``best_key`` is INT64_MIN where there is none.
cdef struct Ladder:
    Block** blocks
    uint32_t count
    uint32_t room
    uint32_t levels
    uint32_t best_level
    int64_t best_key

cdef struct Store:
    Order* orders
    Standing* standings
    uint32_t orders_room
    uint32_t orders_used
    uint32_t orders_free
    Extra* extras
    uint32_t extras_room
    uint32_t extras_used
    uint32_t extras_free
    Level* levels
    uint32_t levels_room
    uint32_t levels_used
    uint32_t levels_free
    Table by_id
    Table by_key
    Ladder ladders[LADDERS]
    Queue trailing
    Queue fired
    uint32_t waiting
    uint32_t fired_count
    uint32_t* heap
    uint32_t heap_count
    uint32_t heap_room
    int64_t* seen
    uint32_t seen_count
    uint32_t seen_room
    int64_t* events
    int64_t events_count
    int64_t events_room
    int64_t events_base
    int64_t arrivals
    int64_t armings
    # The state, as port.BookState names it.
    int64_t status
    int64_t now_ns
    int64_t last_price
    int64_t reference_price
    int64_t interruption_end_ns
    wide entered_lots
    wide traded_lots
    wide removed_lots
    # The settings, and what follows from them.
    int64_t orders_max
    int64_t events_max
    int64_t band_ppm
    int64_t interruption_ppm
    int64_t interruption_ns
    int stepwise
    int64_t low
    int64_t high
    # Of the taker under way.
    int64_t base_price
    int64_t stopped
    int failed
    # Of the last order that a single call brought.
    int64_t last_id


cdef inline bint grow(void** array, uint32_t* room, size_t item_bytes, uint32_t room_min) noexcept:
    """Double an array until it holds ``room_min`` items; the new ones are zero. False where memory runs out."""
    cdef uint32_t wanted = room[0] if room[0] else 16
    cdef char* larger
    while wanted < room_min:
        if wanted > 0x7FFFFFFF:
            return False
        wanted *= 2
    if wanted == room[0]:
        return True
    if array[0] == NULL:
        larger = <char*>polaris_lines_new(wanted * item_bytes)
    else:
        larger = <char*>polaris_lines_grown(array[0], wanted * item_bytes, room[0] * item_bytes)
    if larger == NULL:
        return False
    polaris_large_pages(larger, wanted * item_bytes)
    memset(larger + room[0] * item_bytes, 0, (wanted - room[0]) * item_bytes)
    array[0] = larger
    room[0] = wanted
    return True


cdef inline uint32_t tag_of(uint64_t key) noexcept:
    """The upper half of a key's hash: ids that follow each other spread evenly, and so do ids in any steps.

    Keeping neighbours together was tried and measured slower, in one run of cells and in lines of eight: their runs
    fill up and lengthen every search.
    """
    return <uint32_t>((key * <uint64_t>0x9E3779B97F4A7C15) >> 32)


cdef inline uint32_t home_of(const Table* table, uint32_t tag) noexcept:
    """The cell at which the search for a tag begins."""
    return tag >> (32 - table.bits)


cdef inline void fetch_cell(const Table* table, uint32_t tag) noexcept:
    """Ask for the memory in which the search for a tag begins."""
    polaris_fetch(&table.cells[home_of(table, tag)])


cdef inline bint table_open(Table* table, uint32_t bits) noexcept:
    table.cells = <Cell*>polaris_lines_new(sizeof(Cell) << bits)
    table.bits, table.count = bits, 0
    if table.cells != NULL:
        polaris_large_pages(table.cells, sizeof(Cell) << bits)
    return table.cells != NULL


cdef inline void table_put(Table* table, uint32_t tag, uint32_t number) noexcept:
    """Into the first free cell from its home on."""
    cdef uint32_t mask = (<uint32_t>1 << table.bits) - 1
    cdef uint32_t cell = home_of(table, tag)
    while table.cells[cell].number:
        cell = (cell + 1) & mask
    table.cells[cell].number, table.cells[cell].tag = number, tag


cdef inline bint table_add(Table* table, uint32_t tag, uint32_t number) noexcept:
    """Add what is not there yet; at five eighths full the table doubles. False where memory runs out."""
    cdef Table larger
    cdef size_t cell
    if <uint64_t>table.count * 8 >= (<uint64_t>5 << table.bits):
        if table.bits >= 31 or not table_open(&larger, table.bits + 1):
            return False
        for cell in range(<size_t>1 << table.bits):
            if table.cells[cell].number:
                table_put(&larger, table.cells[cell].tag, table.cells[cell].number)
        larger.count = table.count
        polaris_lines_free(table.cells)
        table[0] = larger
    table_put(table, tag, number)
    table.count += 1
    return True


cdef inline void table_remove(Table* table, uint32_t tag, uint32_t number) noexcept:
    """Remove what is there; those behind it move up, so that no cell is ever marked as deleted."""
    cdef uint32_t mask = (<uint32_t>1 << table.bits) - 1
    cdef uint32_t hole = home_of(table, tag), cell, home
    while table.cells[hole].number != number:
        if not table.cells[hole].number:
            return
        hole = (hole + 1) & mask
    cell = hole
    while True:
        cell = (cell + 1) & mask
        if not table.cells[cell].number:
            break
        home = home_of(table, table.cells[cell].tag)
        if ((cell - home) & mask) >= ((cell - hole) & mask):
            table.cells[hole] = table.cells[cell]
            hole = cell
    table.cells[hole].number = 0
    table.count -= 1


cdef inline uint32_t find_order(Store* store, int64_t order_id) noexcept:
    """The number of a held order, 0 for none."""
    cdef uint32_t tag = tag_of(<uint64_t>order_id)
    cdef uint32_t mask = (<uint32_t>1 << store.by_id.bits) - 1
    cdef uint32_t cell = home_of(&store.by_id, tag), number
    while True:
        number = store.by_id.cells[cell].number
        if not number:
            return 0
        if store.by_id.cells[cell].tag == tag and store.orders[number].order_id == order_id:
            return number
        cell = (cell + 1) & mask


cdef inline uint64_t level_hash_key(int ladder, int64_t key) noexcept:
    return <uint64_t>key * LADDERS + <uint64_t>ladder


cdef inline uint32_t find_level(Store* store, int ladder, int64_t key) noexcept:
    """The number of the level at a key, 0 for none."""
    cdef uint32_t tag = tag_of(level_hash_key(ladder, key))
    cdef uint32_t mask = (<uint32_t>1 << store.by_key.bits) - 1
    cdef uint32_t cell = home_of(&store.by_key, tag), number
    while True:
        number = store.by_key.cells[cell].number
        if not number:
            return 0
        if store.levels[number].key == key and store.levels[number].ladder == ladder:
            return number
        cell = (cell + 1) & mask


cdef inline uint32_t take_order(Store* store) noexcept:
    """A free place for an order."""
    cdef uint32_t number = store.orders_free, room
    if number:
        store.orders_free = store.orders[number].after
        # What the next order will lie in.
        polaris_fetch(&store.orders[store.orders_free])
        polaris_fetch(&store.standings[store.orders_free])
        return number
    if store.orders_used >= store.orders_room:
        room = store.orders_room
        if not grow(<void**>&store.standings, &room, sizeof(Standing), store.orders_used + 1):
            store.failed = 1
            return 0
        if not grow(<void**>&store.orders, &store.orders_room, sizeof(Order), store.orders_used + 1):
            store.failed = 1
            return 0
    number = store.orders_used
    store.orders_used += 1
    return number


cdef inline uint32_t take_extra(Store* store) noexcept:
    """A free place for rare columns."""
    cdef uint32_t number = store.extras_free
    if number:
        store.extras_free = store.extras[number].next_free
        return number
    if store.extras_used >= store.extras_room:
        if not grow(<void**>&store.extras, &store.extras_room, sizeof(Extra), store.extras_used + 1):
            store.failed = 1
            return 0
    number = store.extras_used
    store.extras_used += 1
    return number


cdef inline void give_back(Store* store, uint32_t number) noexcept:
    """Free an order's place."""
    cdef Order* order = &store.orders[number]
    if order.extra:
        store.extras[order.extra].next_free = store.extras_free
        store.extras_free = order.extra
        order.extra = 0
    order.place = FREE
    order.held = 0
    if number:
        order.after = store.orders_free
        store.orders_free = number


cdef inline int64_t* new_event(Store* store) noexcept:
    """The next event row, every column 0."""
    cdef int64_t* row
    cdef int64_t* larger
    cdef size_t size
    if store.events_count >= store.events_room:
        size = <size_t>store.events_room * EVENT_WIDTH * sizeof(int64_t)
        larger = <int64_t*>polaris_lines_grown(store.events, 2 * size, size)
        if larger == NULL:
            store.failed = 1
            store.events_count = store.events_room - 1
        else:
            store.events = larger
            store.events_room *= 2
    row = store.events + store.events_count * EVENT_WIDTH
    store.events_count += 1
    return row


cdef inline void say(
    Store* store, int64_t kind, int64_t order_id, int64_t side, int64_t price,
    int64_t quantity, int64_t open_lots, int64_t reason, int64_t extra,
) noexcept:
    """Write an event."""
    cdef int64_t* row = new_event(store)
    row[0], row[1], row[2], row[3] = kind, order_id, side, price
    row[4], row[5], row[6], row[7] = quantity, open_lots, reason, extra


cdef inline void close_store(Store* store) noexcept:
    """Free everything."""
    cdef int ladder
    cdef uint32_t block
    if store == NULL:
        return
    for ladder in range(LADDERS):
        for block in range(store.ladders[ladder].count):
            free(store.ladders[ladder].blocks[block])
        free(store.ladders[ladder].blocks)
    polaris_lines_free(store.orders)
    polaris_lines_free(store.standings)
    polaris_lines_free(store.extras)
    polaris_lines_free(store.levels)
    polaris_lines_free(store.by_id.cells)
    polaris_lines_free(store.by_key.cells)
    polaris_lines_free(store.heap)
    polaris_lines_free(store.seen)
    polaris_lines_free(store.events)
    free(store)


cdef inline Store* open_store() noexcept:
    """An empty store, or NULL where memory runs out."""
    cdef Store* store = <Store*>calloc(1, sizeof(Store))
    cdef uint32_t room = 0
    cdef int ladder
    cdef bint good
    if store == NULL:
        return NULL
    store.events_room = 64
    store.events = <int64_t*>polaris_lines_new(<size_t>store.events_room * EVENT_WIDTH * sizeof(int64_t))
    good = store.events != NULL and table_open(&store.by_id, 6) and table_open(&store.by_key, 6)
    good = good and grow(<void**>&store.standings, &room, sizeof(Standing), 16)
    good = good and grow(<void**>&store.orders, &store.orders_room, sizeof(Order), 16)
    good = good and grow(<void**>&store.extras, &store.extras_room, sizeof(Extra), 16)
    good = good and grow(<void**>&store.levels, &store.levels_room, sizeof(Level), 16)
    good = good and grow(<void**>&store.heap, &store.heap_room, sizeof(uint32_t), 16)
    good = good and grow(<void**>&store.seen, &store.seen_room, sizeof(int64_t), 16)
    if not good:
        close_store(store)
        return NULL
    store.orders_used = store.extras_used = store.levels_used = 1
    for ladder in range(LADDERS):
        store.ladders[ladder].best_key = INT64_MIN
    return store
