"""Levels in order, orders in their queues, and the heap of expiries. Ladder numbers and keys: see store.pxd."""

from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from polaris_synapse.matching.core.native.store cimport (
    ASKS,
    BLOCK_KEYS,
    RESTING,
    STOPS_ABOVE,
    Block,
    Extra,
    Ladder,
    Level,
    Order,
    Queue,
    Store,
    find_level,
    give_back,
    grow,
    level_hash_key,
    table_add,
    table_remove,
    tag_of,
)


cdef inline int64_t price_of(int ladder, int64_t key) noexcept:
    return -key if ladder == ASKS or ladder == STOPS_ABOVE else key


cdef inline int64_t key_of(int ladder, int64_t price) noexcept:
    return -price if ladder == ASKS or ladder == STOPS_ABOVE else price


cdef inline int64_t best_price(Store* store, int ladder) noexcept:
    """The best price, 0 where the side is empty."""
    return price_of(ladder, store.ladders[ladder].best_key) if store.ladders[ladder].levels else 0


cdef inline void note_best(Ladder* ladder) noexcept:
    """Remember the last key of all."""
    cdef Block* block
    if not ladder.count:
        ladder.best_key, ladder.best_level = INT64_MIN, 0
        return
    block = ladder.blocks[ladder.count - 1]
    ladder.best_key, ladder.best_level = block.keys[block.count - 1], block.levels[block.count - 1]


cdef inline uint32_t block_for(Ladder* ladder, int64_t key) noexcept:
    """The block that holds a key or should: the last one that does not begin behind it, else the first."""
    cdef uint32_t low = 0, high = ladder.count - 1, middle
    if key >= ladder.blocks[high].keys[0]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if ladder.blocks[middle].keys[0] <= key:
            low = middle
        else:
            high = middle - 1
    return low


cdef inline uint32_t place_in(Block* block, int64_t key) noexcept:
    """How many keys of a block are less than ``key``."""
    cdef uint32_t low = 0, high = block.count, middle
    while low < high:
        middle = (low + high) // 2
        if block.keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline Block* add_block(Ladder* ladder, uint32_t at) noexcept:
    """An empty block at a place in the run of blocks, NULL where memory runs out."""
    cdef Block* block
    cdef Block** larger
    if ladder.count == ladder.room:
        larger = <Block**>realloc(ladder.blocks, (<size_t>ladder.room * 2 + 8) * sizeof(void*))
        if larger == NULL:
            return NULL
        ladder.blocks, ladder.room = larger, ladder.room * 2 + 8
    block = <Block*>malloc(sizeof(Block))
    if block == NULL:
        return NULL
    block.count = 0
    memmove(ladder.blocks + at + 1, ladder.blocks + at, (ladder.count - at) * sizeof(void*))
    ladder.blocks[at] = block
    ladder.count += 1
    return block


cdef inline void drop_block(Ladder* ladder, uint32_t at) noexcept:
    free(ladder.blocks[at])
    ladder.count -= 1
    memmove(ladder.blocks + at, ladder.blocks + at + 1, (ladder.count - at) * sizeof(void*))


cdef inline bint add_key(Ladder* ladder, int64_t key, uint32_t level) noexcept:
    """Put a new key in its place. False where memory runs out."""
    cdef uint32_t at, place, half = BLOCK_KEYS // 2
    cdef Block* block
    cdef Block* upper
    if not ladder.count and add_block(ladder, 0) == NULL:
        return False
    at = block_for(ladder, key) if ladder.blocks[ladder.count - 1].count else 0
    block = ladder.blocks[at]
    if block.count == BLOCK_KEYS:
        upper = add_block(ladder, at + 1)
        if upper == NULL:
            return False
        memcpy(upper.keys, block.keys + half, half * sizeof(int64_t))
        memcpy(upper.levels, block.levels + half, half * sizeof(uint32_t))
        block.count, upper.count = half, half
        if key > upper.keys[0]:
            block = upper
    place = place_in(block, key)
    memmove(block.keys + place + 1, block.keys + place, (block.count - place) * sizeof(int64_t))
    memmove(block.levels + place + 1, block.levels + place, (block.count - place) * sizeof(uint32_t))
    block.keys[place], block.levels[place] = key, level
    block.count += 1
    ladder.levels += 1
    note_best(ladder)
    return True


cdef inline void join_blocks(Ladder* ladder, uint32_t at) noexcept:
    """Join a block with the one behind it where both are nearly empty, so that memory follows what is there."""
    cdef Block* block
    cdef Block* upper
    if at + 1 >= ladder.count:
        return
    block, upper = ladder.blocks[at], ladder.blocks[at + 1]
    if block.count + upper.count > BLOCK_KEYS // 4:
        return
    memcpy(block.keys + block.count, upper.keys, upper.count * sizeof(int64_t))
    memcpy(block.levels + block.count, upper.levels, upper.count * sizeof(uint32_t))
    block.count += upper.count
    drop_block(ladder, at + 1)


cdef inline void remove_key(Ladder* ladder, int64_t key) noexcept:
    """Take out a key that is there."""
    cdef uint32_t at = block_for(ladder, key), place
    cdef Block* block = ladder.blocks[at]
    block.count -= 1
    ladder.levels -= 1
    if not block.count:
        drop_block(ladder, at)
    else:
        if block.keys[block.count] != key:
            place = place_in(block, key)
            memmove(block.keys + place, block.keys + place + 1, (block.count - place) * sizeof(int64_t))
            memmove(block.levels + place, block.levels + place + 1, (block.count - place) * sizeof(uint32_t))
        if block.count < BLOCK_KEYS // 8:
            join_blocks(ladder, at)
    note_best(ladder)


cdef inline uint32_t open_level(Store* store, int ladder, int64_t key) noexcept:
    """The level at a key, made where there is none."""
    cdef uint32_t number = find_level(store, ladder, key)
    cdef Level* level
    if number:
        return number
    number = store.levels_free
    if number:
        store.levels_free = store.levels[number].queue.head
    elif store.levels_used < store.levels_room or grow(
        <void**>&store.levels, &store.levels_room, sizeof(Level), store.levels_used + 1
    ):
        number = store.levels_used
        store.levels_used += 1
    else:
        store.failed = 1
        return 0
    level = &store.levels[number]
    level.key, level.lots, level.live, level.ladder = key, 0, 0, ladder
    level.queue.head = level.queue.tail = 0
    if not table_add(&store.by_key, tag_of(level_hash_key(ladder, key)), number):
        store.failed = 1
        return 0
    if not add_key(&store.ladders[ladder], key, number):
        store.failed = 1
    return number


cdef inline void close_level(Store* store, uint32_t number) noexcept:
    """Give up a level without orders."""
    cdef Level* level = &store.levels[number]
    if not number:
        return
    table_remove(&store.by_key, tag_of(level_hash_key(level.ladder, level.key)), number)
    remove_key(&store.ladders[level.ladder], level.key)
    level.queue.head = store.levels_free
    store.levels_free = number


cdef inline void queue_join(Store* store, Queue* queue, uint32_t number) noexcept:
    """To the back of a queue."""
    cdef Order* order = &store.orders[number]
    order.before, order.after = queue.tail, 0
    if queue.tail:
        store.orders[queue.tail].after = number
    else:
        queue.head = number
    queue.tail = number


cdef inline void queue_leave(Store* store, Queue* queue, uint32_t number) noexcept:
    cdef Order* order = &store.orders[number]
    if order.before:
        store.orders[order.before].after = order.after
    else:
        queue.head = order.after
    if order.after:
        store.orders[order.after].before = order.before
    else:
        queue.tail = order.before


cdef inline void ladder_join(Store* store, int ladder, int64_t key, uint32_t number, uint8_t place) noexcept:
    """To the back of the level at a key."""
    cdef uint32_t at = open_level(store, ladder, key)
    cdef Level* level = &store.levels[at]
    cdef Order* order = &store.orders[number]
    level.lots += order.shown_lots
    level.live += 1
    order.level = at
    order.place = place
    queue_join(store, &level.queue, number)


cdef inline void ladder_leave(Store* store, uint32_t number) noexcept:
    """Out of its level, which goes with its last order. The order's own lots stay as they are."""
    cdef Order* order = &store.orders[number]
    cdef uint32_t at = order.level
    cdef Level* level = &store.levels[at]
    queue_leave(store, &level.queue, number)
    level.lots -= order.shown_lots
    level.live -= 1
    if not level.live:
        close_level(store, at)


cdef inline void reduce_order(Store* store, uint32_t number, int64_t open_lots) noexcept:
    """Lower a resting order's open lots to a number above 0, in its place."""
    cdef Order* order = &store.orders[number]
    cdef int64_t shown = min(order.shown_lots, open_lots)
    store.levels[order.level].lots -= order.shown_lots - shown
    order.open_lots, order.shown_lots = open_lots, shown


cdef inline bint ends_sooner(Store* store, uint32_t one, uint32_t other) noexcept:
    """Whether one order's time runs out before the other's; equal times go by arrival."""
    cdef int64_t first = store.extras[store.orders[one].extra].expire_ns
    cdef int64_t second = store.extras[store.orders[other].extra].expire_ns
    if first != second:
        return first < second
    return store.standings[one].arrival < store.standings[other].arrival


cdef inline void heap_set(Store* store, uint32_t place, uint32_t number) noexcept:
    store.heap[place] = number
    store.extras[store.orders[number].extra].heap_place = place


cdef inline void heap_settle(Store* store, uint32_t place, uint32_t number) noexcept:
    """Put an order at a place of the heap, or above or below it, where it belongs. Places count from 1."""
    cdef uint32_t next_place
    while place > 1 and ends_sooner(store, number, store.heap[place // 2]):
        heap_set(store, place, store.heap[place // 2])
        place = place // 2
    while 2 * place <= store.heap_count:
        next_place = 2 * place
        if next_place < store.heap_count and ends_sooner(store, store.heap[next_place + 1], store.heap[next_place]):
            next_place += 1
        if not ends_sooner(store, store.heap[next_place], number):
            break
        heap_set(store, place, store.heap[next_place])
        place = next_place
    heap_set(store, place, number)


cdef inline void heap_add(Store* store, uint32_t number) noexcept:
    """Note when an order's time runs out."""
    if store.heap_count + 2 > store.heap_room:
        if not grow(<void**>&store.heap, &store.heap_room, sizeof(uint32_t), store.heap_count + 2):
            store.failed = 1
            return
    store.heap_count += 1
    heap_settle(store, store.heap_count, number)


cdef inline void heap_remove(Store* store, uint32_t number) noexcept:
    cdef Extra* extra = &store.extras[store.orders[number].extra]
    cdef uint32_t place = extra.heap_place, last
    if not place:
        return
    extra.heap_place = 0
    last = store.heap[store.heap_count]
    store.heap_count -= 1
    if last != number:
        heap_settle(store, place, last)


cdef inline void hold(Store* store, uint32_t number) noexcept:
    """Keep an order that may stay."""
    cdef Order* order = &store.orders[number]
    if order.held or not number:
        return
    if not table_add(&store.by_id, tag_of(<uint64_t>order.order_id), number):
        store.failed = 1
        return
    order.held = 1
    store.arrivals += 1
    store.standings[number].arrival = store.arrivals
    if order.extra and store.extras[order.extra].expire_ns:
        heap_add(store, number)


cdef inline void forget(Store* store, uint32_t number) noexcept:
    """Let go of an order that is in no queue any more."""
    cdef Order* order = &store.orders[number]
    if order.held:
        table_remove(&store.by_id, tag_of(<uint64_t>order.order_id), number)
        if order.extra:
            heap_remove(store, number)
    give_back(store, number)


cdef inline void rest(Store* store, uint32_t number) noexcept:
    """On the book, at the back of its price's queue."""
    cdef Order* order = &store.orders[number]
    cdef int ladder = order.flags & 1
    hold(store, number)
    ladder_join(store, ladder, key_of(ladder, order.price), number, RESTING)
