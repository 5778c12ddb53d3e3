"""The commands, as in the plain book's ``book`` and ``entry_rules``, over rows of COMMAND_WIDTH numbers."""

from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc, qsort

from polaris_synapse.matching.core.native.calling cimport change_status
from polaris_synapse.matching.core.native.codes cimport (
    ACCEPTED,
    AMEND_REFUSED,
    ARMED,
    AUCTION,
    BASIS_POINTS,
    BOOK_DUPLICATE_ORDER,
    BOOK_EXPIRED,
    BOOK_FULL,
    BOOK_NOT_OPEN,
    BOOK_POST_ONLY_WOULD_TAKE,
    BOOK_PRICE_BAND,
    BOOK_TRIGGER_IMMEDIATE,
    BOOK_UNKNOWN_ORDER,
    CANCELLED,
    CANCEL_ONLY,
    CANCEL_REFUSED,
    FORCE_SHIFT,
    GTC,
    HALTED,
    LIMIT,
    MARKET,
    ORDER_FIELDS_INVALID,
    POST_REJECT,
    POST_REPRICE,
    POST_SHIFT,
    REDUCED,
    REJECTED,
    REPLACED,
    REPLACE_INVALID,
    STOP_LIMIT,
    STP_DECREMENT,
    STP_SHIFT,
    TAKE_PROFIT_LIMIT,
    TRADING,
    TRAILING_BPS,
    TRAILING_STOP,
    TYPE_SHIFT,
    column_max,
    price_max,
    quantity_max,
)
from polaris_synapse.matching.core.native.ladder cimport forget, hold, ladder_leave, reduce_order
from polaris_synapse.matching.core.native.store cimport (
    FREE,
    RESTING,
    TAKING,
    TRAILING,
    WAITING,
    Order,
    Store,
    find_order,
    say,
    take_extra,
    take_order,
)
from polaris_synapse.matching.core.native.taking cimport crosses, end, enter, expire_resting, fire_next, refresh, settle
from polaris_synapse.matching.core.native.triggers cimport arm, fires_above, is_triggered, stop_waiting


# port.Operation; book.pyx checks at import that they are the same.
cdef enum:
    SUBMIT = 0
    CANCEL = 1
    AMEND = 2
    CANCEL_ALL = 3
    SET_STATUS = 4
    ADVANCE_TIME = 5
    SET_REFERENCE = 6
    STEP = 7


cdef inline bint is_command(const int64_t* row) noexcept:
    """Whether a row is one that a book carries out, if only to refuse it."""
    if row[0] == SET_STATUS:
        return TRADING <= row[1] <= AUCTION
    if row[0] == SET_REFERENCE:
        return 0 < row[1] < price_max()
    if row[0] == ADVANCE_TIME:
        return row[1] < column_max()
    return SUBMIT <= row[0] <= STEP


cdef inline bint fields_fit(const int64_t* row) noexcept:
    """Whether the columns of a SUBMIT row make an order; see entry_rules."""
    cdef int64_t flags = row[1], price = row[4], quantity = row[5], stop = row[6], trailing = row[7]
    cdef int64_t display = row[8], minimum = row[9], budget = row[10], expire = row[11]
    cdef int64_t type_ = flags >> TYPE_SHIFT & 7, force = flags >> FORCE_SHIFT & 3
    cdef int64_t post = flags >> POST_SHIFT & 3, prevention = flags >> STP_SHIFT & 7
    cdef bint limit_priced = type_ == LIMIT or type_ == STOP_LIMIT or type_ == TAKE_PROFIT_LIMIT
    cdef bint stop_priced = MARKET < type_ < TRAILING_STOP
    if not 0 <= flags < 2 * TRAILING_BPS or type_ > TRAILING_STOP or force > 2:
        return False
    if post > POST_REPRICE or prevention > STP_DECREMENT:
        return False
    if not 0 < row[2] < column_max() or not 0 <= row[3] < column_max() or not 0 <= expire < column_max():
        return False
    if not (0 < price < price_max() if limit_priced else price == 0):
        return False
    if not (0 < stop < price_max() if stop_priced else stop == 0):
        return False
    if type_ == TRAILING_STOP:
        if not 0 < trailing < (BASIS_POINTS if flags & TRAILING_BPS else price_max()):
            return False
    elif trailing or flags & TRAILING_BPS:
        return False
    if budget:
        return type_ == MARKET and 0 < budget < column_max() and not (
            quantity or display or minimum or expire or post
        )
    if not 0 < quantity < quantity_max() or not 0 <= display <= quantity or not 0 <= minimum <= quantity:
        return False
    if (post or display) and not (limit_priced and force == GTC):
        return False
    if expire and (type_ == MARKET or (type_ == LIMIT and force != GTC)):
        return False
    return not (post and minimum)


cdef inline int64_t refusal_of(Store* store, const int64_t* row) noexcept:
    """Why an order cannot come in; 0 when it can."""
    cdef int64_t flags = row[1], price = row[4], stop = row[6], minimum = row[9], expire = row[11]
    cdef int64_t type_ = flags >> TYPE_SHIFT & 7, force = flags >> FORCE_SHIFT & 3
    if find_order(store, row[2]):
        return BOOK_DUPLICATE_ORDER
    if not fields_fit(row):
        return ORDER_FIELDS_INVALID
    if store.status == HALTED or store.status == CANCEL_ONLY:
        return BOOK_NOT_OPEN
    if store.status == AUCTION and (type_ == MARKET or (type_ == LIMIT and (force or minimum))):
        return BOOK_NOT_OPEN
    if expire and expire <= store.now_ns:
        return BOOK_EXPIRED
    if price and not store.low <= price <= store.high:
        return BOOK_PRICE_BAND
    if store.by_id.count >= store.orders_max and (type_ > MARKET or (type_ == LIMIT and force == GTC)):
        return BOOK_FULL
    if stop and is_triggered(fires_above(flags), stop, store.last_price):
        return BOOK_TRIGGER_IMMEDIATE
    return 0


cdef inline uint32_t new_order(Store* store, const int64_t* row) noexcept:
    """An order of a SUBMIT row, in no queue yet."""
    cdef uint32_t number = take_order(store), extra = 0
    cdef Order* order
    if row[6] or row[7] or row[8] or row[9] or row[11]:
        extra = take_extra(store)
        store.extras[extra].stop_price = row[6]
        store.extras[extra].trailing = row[7]
        store.extras[extra].display_lots = row[8]
        store.extras[extra].minimum_lots = row[9]
        store.extras[extra].expire_ns = row[11]
        store.extras[extra].watermark = 0
        store.extras[extra].heap_place = 0
    order = &store.orders[number]
    order.order_id, order.account, order.price = row[2], row[3], row[4]
    order.open_lots, order.shown_lots = row[5], 0
    order.flags = <uint16_t>row[1]
    order.extra, order.place, order.held = extra, TAKING, 0
    store.standings[number].quantity_lots = row[5]
    return number


cdef inline void submit(Store* store, const int64_t* row) noexcept:
    cdef int64_t flags = row[1], quantity = row[5], stop_now
    cdef int64_t refusal = refusal_of(store, row)
    cdef uint32_t number
    if not refusal and (flags >> POST_SHIFT & 3) == POST_REJECT and (flags >> TYPE_SHIFT & 7) == LIMIT:
        if crosses(store, flags, row[4]):
            refusal = BOOK_POST_ONLY_WOULD_TAKE
    if refusal:
        say(store, REJECTED, row[2], flags & 1, row[4], 0, quantity, refusal, 0)
        return
    number = new_order(store, row)
    store.entered_lots += quantity
    if flags >> TYPE_SHIFT & 7 > MARKET:
        hold(store, number)
        stop_now = arm(store, number, store.last_price)
        say(store, ARMED, row[2], flags & 1, stop_now, 0, quantity, 0, 0)
        return
    enter(store, number, row[10], ACCEPTED)
    settle(store)


cdef inline void cancel_order(Store* store, uint32_t number, int64_t reason) noexcept:
    """Cancel a held order; the book is not halted."""
    cdef Order* order = &store.orders[number]
    store.removed_lots += order.open_lots
    if order.place == RESTING:
        say(
            store, CANCELLED, order.order_id, order.flags & 1, order.price,
            order.shown_lots, order.open_lots, reason, 0,
        )
        ladder_leave(store, number)
    else:
        say(store, CANCELLED, order.order_id, order.flags & 1, 0, 0, order.open_lots, reason, 0)
        stop_waiting(store, number)
    forget(store, number)


cdef inline void cancel(Store* store, const int64_t* row) noexcept:
    cdef uint32_t number = find_order(store, row[2])
    if not number:
        say(store, CANCEL_REFUSED, row[2], 0, 0, 0, 0, BOOK_UNKNOWN_ORDER, 0)
    elif store.status == HALTED:
        say(
            store, CANCEL_REFUSED, row[2], store.orders[number].flags & 1, 0,
            0, store.orders[number].open_lots, BOOK_NOT_OPEN, 0,
        )
    else:
        cancel_order(store, number, row[1])


cdef struct Arrival:
    int64_t turn
    uint32_t number


cdef inline int by_arrival(const void* one, const void* other) noexcept nogil:
    cdef int64_t first = (<const Arrival*>one).turn, second = (<const Arrival*>other).turn
    return (first > second) - (first < second)


cdef inline void cancel_all(Store* store, const int64_t* row) noexcept:
    """Cancel what fits account and side, in order of arrival."""
    cdef int64_t reason = row[1], account = row[3], side = row[6]
    cdef uint32_t number
    cdef size_t chosen = 0, index
    cdef Arrival* arrivals
    cdef Order* order
    if store.status == HALTED or not store.by_id.count:
        return
    arrivals = <Arrival*>malloc(store.by_id.count * sizeof(Arrival))
    if arrivals == NULL:
        store.failed = 1
        return
    for number in range(1, store.orders_used):
        order = &store.orders[number]
        if order.place == FREE or (account and order.account != account):
            continue
        if side and (order.flags & 1) + 1 != side:
            continue
        arrivals[chosen].turn, arrivals[chosen].number = store.standings[number].arrival, number
        chosen += 1
    qsort(arrivals, chosen, sizeof(Arrival), by_arrival)
    for index in range(chosen):
        cancel_order(store, arrivals[index].number, reason)
    free(arrivals)


cdef inline int64_t amend_refusal_of(Store* store, uint32_t number, const int64_t* row) noexcept:
    """Why an order cannot be changed to these values; 0 when it can."""
    cdef int64_t price = row[4], quantity = row[5], stop = row[6], filled, old_stop = 0, least = 0
    cdef Order* order = &store.orders[number]
    cdef bint waits
    if not number:
        return BOOK_UNKNOWN_ORDER
    waits = order.place == WAITING or order.place == TRAILING
    if store.status == HALTED or store.status == CANCEL_ONLY or not (order.place == RESTING or waits):
        return BOOK_NOT_OPEN
    if order.extra:
        old_stop = store.extras[order.extra].stop_price
        least = max(store.extras[order.extra].display_lots, store.extras[order.extra].minimum_lots)
    filled = store.standings[number].quantity_lots - order.open_lots
    if not filled < quantity < quantity_max() or (price != 0) != (order.price != 0) or not 0 <= price < price_max():
        return REPLACE_INVALID
    if stop != old_stop and not (waits and old_stop and 0 < stop < price_max()):
        return REPLACE_INVALID
    if waits and quantity < least:
        return REPLACE_INVALID
    if price and not store.low <= price <= store.high:
        return BOOK_PRICE_BAND
    if waits:
        if old_stop and is_triggered(fires_above(order.flags), stop, store.last_price):
            return BOOK_TRIGGER_IMMEDIATE
    elif (order.flags >> POST_SHIFT & 3) == POST_REJECT and crosses(store, order.flags, price):
        return BOOK_POST_ONLY_WOULD_TAKE
    return 0


cdef inline void amend(Store* store, const int64_t* row) noexcept:
    cdef int64_t price = row[4], quantity = row[5], stop = row[6], before, left, side
    cdef uint32_t number = find_order(store, row[2])
    cdef int64_t refusal = amend_refusal_of(store, number, row)
    cdef Order* order = &store.orders[number]
    if refusal:
        side = order.flags & 1 if number else 0
        left = order.open_lots if number else 0
        say(store, AMEND_REFUSED, row[2], side, price, quantity, left, refusal, 0)
        return
    side, before = order.flags & 1, order.price
    left = quantity - (store.standings[number].quantity_lots - order.open_lots)
    if order.place == RESTING and price == before and quantity <= store.standings[number].quantity_lots:
        # Less at the same price takes nothing from those behind, so the order keeps its place.
        store.removed_lots += order.open_lots - left
        reduce_order(store, number, left)
        store.standings[number].quantity_lots = quantity
        say(store, REDUCED, row[2], side, price, order.shown_lots, left, 0, before)
        return
    store.entered_lots += left
    store.removed_lots += order.open_lots
    say(store, REPLACED, row[2], side, price, 0, left, 0, before)
    if order.place == RESTING:
        ladder_leave(store, number)
        order.place = TAKING
        if order.extra:
            store.extras[order.extra].minimum_lots = 0
    else:
        stop_waiting(store, number)
        store.extras[order.extra].stop_price = stop
    order.price, order.open_lots, order.shown_lots = price, left, 0
    store.standings[number].quantity_lots = quantity
    if order.place == TAKING:
        enter(store, number, 0, 0)
        settle(store)
    else:
        arm(store, number, store.last_price)


cdef inline int advance_time(Store* store, int64_t now_ns, object call_price) except -1:
    cdef uint32_t number
    if now_ns <= store.now_ns:
        return 0
    store.now_ns = now_ns
    while store.heap_count and store.extras[store.orders[store.heap[1]].extra].expire_ns <= now_ns:
        number = store.heap[1]
        if store.orders[number].place == RESTING:
            expire_resting(store, number, BOOK_EXPIRED)
        else:
            stop_waiting(store, number)
            end(store, number, store.orders[number].open_lots, BOOK_EXPIRED)
    if store.interruption_end_ns and now_ns >= store.interruption_end_ns:
        store.interruption_end_ns = 0
        change_status(store, TRADING, call_price)
    return 0


cdef inline int run(Store* store, const int64_t* row, object call_price) except -1:
    """Carry out a row that is a command; its events follow those that are there."""
    if store.fired_count and store.status == TRADING:
        store.events_base = store.events_count
        settle(store)
    store.events_base = store.events_count
    if row[0] == SUBMIT:
        submit(store, row)
    elif row[0] == CANCEL:
        cancel(store, row)
    elif row[0] == AMEND:
        amend(store, row)
    elif row[0] == CANCEL_ALL:
        cancel_all(store, row)
    elif row[0] == SET_STATUS:
        store.interruption_end_ns = 0
        if row[1] != store.status:
            change_status(store, row[1], call_price)
    elif row[0] == ADVANCE_TIME:
        advance_time(store, row[1], call_price)
    elif row[0] == STEP:
        if store.fired_count and store.status == TRADING:
            fire_next(store)
        settle(store)
    else:
        store.reference_price = row[1]
        refresh(store)
    return 0
