"""The compiled order book: port.OrderBook over C arrays, event for event what the plain book does.

Every column of a row that makes an order fits 64 bits with room to spare (port.PRICE_MAX and its neighbours), and so
does what a level sums; what a whole life sums is kept in 128 bits. A column that does not fit 64 bits is taken as the
nearest number that does, which is out of every range as well, and the answer repeats the column as it was given.
"""

from cpython.object cimport PyObject
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint32_t
from libc.string cimport memset

from polaris_synapse.matching.core.native cimport codes, commands
from polaris_synapse.matching.core.native.ahead cimport Ahead, expect_next, look_ahead, pays_ahead
from polaris_synapse.matching.core.native.checking cimport broken_invariant
from polaris_synapse.matching.core.native.commands cimport is_command, run
from polaris_synapse.matching.core.native.ladder cimport best_price, hold, queue_join, rest
from polaris_synapse.matching.core.native.reading cimport ladder_ids, levels_of, order_row, queue_ids, queue_of, whole
from polaris_synapse.matching.core.native.store cimport (
    ASKS,
    BIDS,
    COMMAND_WIDTH,
    EVENT_WIDTH,
    FIRED,
    FREE,
    LADDERS,
    RESTING,
    TRAILING,
    WAITING,
    Block,
    Extra,
    Level,
    Order,
    Store,
    close_store,
    find_level,
    find_order,
    open_store,
    polaris_lines_free,
    polaris_lines_new,
    take_extra,
    take_order,
    wide,
)
from polaris_synapse.matching.core.native.taking cimport refresh
from polaris_synapse.matching.core.native.triggers cimport arm

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import port
from polaris_synapse.matching.core.auction import call_price
from polaris_synapse.matching.core.port import BookInvariantError, BookSettings, BookState
from polaris_synapse.matching.core.state import hash_of

cdef extern from *:
    """
    /* A number of a row: small ones, which are nearly all, are read in place. */
    static inline long long polaris_number(PyObject *number, int *overflow) {
        *overflow = 0;
        if (PyLong_CheckExact(number)) {
    #if PY_VERSION_HEX >= 0x030C0000
            if (PyUnstable_Long_IsCompact((PyLongObject *)number))
                return (long long)PyUnstable_Long_CompactValue((PyLongObject *)number);
    #else
            switch (Py_SIZE(number)) {
                case 0: return 0;
                case 1: return (long long)((PyLongObject *)number)->ob_digit[0];
                case 2: return (long long)((PyLongObject *)number)->ob_digit[0]
                             | (long long)((PyLongObject *)number)->ob_digit[1] << PyLong_SHIFT;
            }
    #endif
        }
        return PyLong_AsLongLongAndOverflow(number, overflow);
    }
    """
    long long polaris_number(PyObject* number, int* overflow) except? -1

# As in C: with references that the caller counts.
cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* thing)
    void Py_INCREF(PyObject* thing)
    bint PyLong_CheckExact(PyObject* thing)
    PyObject* PyLong_FromLongLong(long long value) except NULL
    PyObject* PyTuple_New(Py_ssize_t length) except NULL
    PyObject* PyTuple_GET_ITEM(tuple row, Py_ssize_t index)
    void PyTuple_SET_ITEM(PyObject* row, Py_ssize_t index, PyObject* thing)
    list PyList_New(Py_ssize_t length)
    void PyList_SET_ITEM(list row, Py_ssize_t index, PyObject* thing)

cdef object _CALL_PRICE = call_price
# Small integers, which most columns of an event are, are kept ready.
cdef enum:
    _READY_COUNT = 1024
    # Of a command, the columns up to its quantity: what an event may repeat.
    _BROUGHT_COUNT = 6

cdef PyObject* _READY[_READY_COUNT]
_ready = list(range(_READY_COUNT))
for _index in range(_READY_COUNT):
    _READY[_index] = <PyObject*>_ready[_index]
cdef int64_t _LOW_BITS = (<int64_t>1 << 62) - 1


cdef wide _wide(object number) except? -1:
    """Python's number as a 128-bit one. Raises OverflowError where it is too great."""
    cdef int64_t upper = number >> 62, lower = number & _LOW_BITS
    return ((<wide>upper) << 62) + lower


cdef class _EventRows:
    """Packed events, lent out as a memoryview; a book uses the memory again once nobody looks at it."""

    cdef int64_t* memory
    cdef int64_t room
    cdef Py_ssize_t numbers
    cdef Py_ssize_t stride

    def __dealloc__(self):
        polaris_lines_free(self.memory)

    def __getbuffer__(self, Py_buffer* view, int flags):
        self.stride = sizeof(int64_t)
        view.buf, view.obj, view.len = self.memory, self, self.numbers * self.stride
        view.readonly, view.itemsize, view.format, view.ndim = 0, self.stride, b"q", 1
        view.shape, view.strides, view.suboffsets, view.internal = &self.numbers, &self.stride, NULL, NULL


cdef int _read(tuple row, int64_t* columns) except -1:
    """Fill the columns from a row, zeros behind it. 1 where one did not fit and the nearest number stands for it.

    Raises ValueError for a row that is too short or, a SUBMIT row, too long.
    """
    cdef Py_ssize_t count = len(row), column
    cdef int overflow, any_overflow = 0
    cdef int64_t operation
    for column in range(min(count, COMMAND_WIDTH)):
        columns[column] = polaris_number(PyTuple_GET_ITEM(row, column), &overflow)
        if overflow:
            columns[column] = INT64_MAX if overflow > 0 else INT64_MIN
            any_overflow = 1
    if count == COMMAND_WIDTH:
        return any_overflow
    operation = columns[0] if count else -1
    if (
        operation == commands.SUBMIT
        or count < 2
        or (operation == commands.CANCEL and count < 3)
        or (operation == commands.AMEND and count < 7)
    ):
        raise ValueError(f"{row!r} is no command of a book")
    for column in range(count, COMMAND_WIDTH):
        columns[column] = 0
    return any_overflow


cdef inline PyObject* _number(int64_t value, int64_t given, PyObject* number) except NULL:
    """A number of an event, as a new reference: one kept ready, or an object at hand where ``given`` is its value."""
    if 0 <= value < _READY_COUNT:
        number = _READY[value]
    # Something that only behaves like an integer does not go into an event.
    elif value != given or not PyLong_CheckExact(number):
        return PyLong_FromLongLong(value)
    Py_INCREF(number)
    return number


cdef list _tuples(const Store* store, const int64_t* columns, tuple command):
    """The events of a command as tuples."""
    cdef const int64_t* row = store.events
    cdef list found = PyList_New(store.events_count)
    cdef PyObject* brought[_BROUGHT_COUNT]
    cdef Py_ssize_t index, count = min(len(command), _BROUGHT_COUNT)
    cdef int64_t price
    cdef PyObject* event
    # Where the command has no such column, ``columns`` has a 0, which is among those that are kept ready.
    for index in range(count):
        brought[index] = PyTuple_GET_ITEM(command, index)
    for index in range(count, _BROUGHT_COUNT):
        brought[index] = NULL
    price = columns[4]
    for index in range(store.events_count):
        event = PyTuple_New(EVENT_WIDTH)
        PyList_SET_ITEM(found, index, event)
        PyTuple_SET_ITEM(event, 0, _number(row[0], 0, NULL))
        PyTuple_SET_ITEM(event, 1, _number(row[1], columns[2], brought[2]))
        PyTuple_SET_ITEM(event, 2, _number(row[2], 0, NULL))
        PyTuple_SET_ITEM(event, 3, _number(row[3], price, brought[4]))
        PyTuple_SET_ITEM(event, 4, _number(row[4], columns[5], brought[5]))
        PyTuple_SET_ITEM(event, 5, _number(row[5], columns[5], brought[5]))
        PyTuple_SET_ITEM(event, 6, _number(row[6], columns[1], brought[1]))
        PyTuple_SET_ITEM(event, 7, _number(row[7], 0, NULL))
        # Trades mostly come several at a price.
        price, brought[4] = row[3], PyTuple_GET_ITEM(<tuple>event, 3)
        row += EVENT_WIDTH
    return found


cdef class FastBook:
    """An order book (port.OrderBook). Raises MemoryError, and from then on for every command, where memory ran out."""

    cdef Store* store
    cdef _EventRows lent
    cdef _EventRows lent_before
    cdef readonly object settings

    def __cinit__(self):
        self.store = open_store()
        if self.store == NULL:
            raise MemoryError

    def __init__(self, settings=None, *, int status=port.TRADING):
        self.store.status = status
        self.configure(settings or BookSettings())

    def __dealloc__(self):
        close_store(self.store)

    def apply(self, row, /):
        """Carry out one command row and return its event rows. Raises ValueError for a row that is no command."""
        cdef int64_t columns[COMMAND_WIDTH]
        cdef tuple command = <tuple>row if type(row) is tuple else tuple(row)
        cdef Store* store = self.store
        if _read(command, columns):
            return self._apply_wide(command, columns)
        if not is_command(columns):
            raise ValueError(f"{row!r} is no command of a book")
        store.events_count = 0
        self._run(columns)
        if columns[0] == commands.SUBMIT:
            expect_next(store, columns[2])
        return _tuples(store, columns, command)

    cdef int _run(self, const int64_t* columns) except -1:
        if self.store.failed:
            raise MemoryError("the book ran out of memory; load it from its last snapshot")
        run(self.store, columns, _CALL_PRICE)
        if self.store.failed:
            raise MemoryError("the book ran out of memory; load it from its last snapshot")
        return 0

    cdef list _apply_wide(self, tuple row, const int64_t* columns):
        """A row with a column beyond 64 bits: nothing but an answer, which repeats that column."""
        if not is_command(columns):
            raise ValueError(f"{row!r} is no command of a book")
        self.store.events_count = 0
        self._run(columns)
        events = _tuples(self.store, columns, row)
        operation = columns[0]
        # A column that stood in for a greater number is not the number that the caller gave.
        for index, event in enumerate(events):
            kind, order_id, side, price, quantity, open_lots, reason, extra = event
            last = index == len(events) - 1
            if kind == codes.CANCELLED and operation in (commands.CANCEL, commands.CANCEL_ALL):
                reason = row[1]
            elif last and kind == codes.REJECTED and operation == commands.SUBMIT:
                order_id, side, price, open_lots = row[2], row[1] & 1, row[4], row[5]
            elif last and kind == codes.CANCEL_REFUSED:
                order_id = row[2]
            elif last and kind == codes.AMEND_REFUSED:
                order_id, price, quantity = row[2], row[4], row[5]
            events[index] = (kind, order_id, side, price, quantity, open_lots, reason, extra)
        return events

    def apply_batch(self, rows, /):
        """Carry out command rows one after the other and return all their event rows."""
        cdef int64_t columns[COMMAND_WIDTH]
        cdef tuple command
        cdef list events = []
        for row in rows:
            command = <tuple>row if type(row) is tuple else tuple(row)
            if _read(command, columns):
                events += self._apply_wide(command, columns)
                continue
            if not is_command(columns):
                raise ValueError(f"{row!r} is no command of a book")
            self.store.events_count = 0
            self._run(columns)
            events += _tuples(self.store, columns, command)
        return events

    def apply_packed(self, const int64_t[::1] commands, /):
        """Carry out packed rows and return the packed events; see port.OrderBook."""
        cdef Py_ssize_t numbers = commands.shape[0], at
        cdef const int64_t* first = &commands[0] if numbers else NULL
        cdef Store* store = self.store
        cdef int64_t* own_events = store.events
        cdef int64_t own_room = store.events_room
        cdef _EventRows rows
        cdef Ahead ahead
        if numbers % COMMAND_WIDTH:
            raise ValueError(f"{numbers} numbers are no whole rows of {COMMAND_WIDTH}")
        for at in range(0, numbers, COMMAND_WIDTH):
            if not is_command(first + at):
                raise ValueError(f"row {at // COMMAND_WIDTH} is no command of a book")
        rows = self._idle_rows()
        store.events, store.events_room, store.events_count = rows.memory, rows.room, 0
        memset(&ahead, 0, sizeof(Ahead))
        try:
            for at in range(numbers // COMMAND_WIDTH):
                if pays_ahead(store):
                    look_ahead(store, &ahead, first, at, numbers // COMMAND_WIDTH)
                self._run(first)
                first += COMMAND_WIDTH
        finally:
            rows.memory, rows.room = store.events, store.events_room
            rows.numbers = store.events_count * EVENT_WIDTH
            store.events, store.events_room = own_events, own_room
        self.lent_before, self.lent = self.lent, rows
        return memoryview(rows)

    cdef _EventRows _idle_rows(self):
        """Memory for events: lent out before and looked at by nobody any more, or new."""
        cdef _EventRows rows
        if self.lent_before is not None and Py_REFCNT(<PyObject*>self.lent_before) == 1:
            return self.lent_before
        rows = _EventRows.__new__(_EventRows)
        rows.room = 64
        rows.memory = <int64_t*>polaris_lines_new(<size_t>rows.room * EVENT_WIDTH * sizeof(int64_t))
        if rows.memory == NULL:
            raise MemoryError
        return rows

    def submit(self, order):
        """Place an order."""
        return self.apply(order.pack())

    def cancel(self, order_id, reason=Reason.CANCELLED_BY_USER):
        """Cancel an order."""
        return self.apply((1, int(reason), order_id))

    def amend(self, order_id, *, quantity_lots, price_ticks, stop_price_ticks=0):
        """Change an order to these values; ``quantity_lots`` is the new total, filled lots included."""
        return self.apply((2, 0, order_id, 0, price_ticks, quantity_lots, stop_price_ticks))

    def cancel_all(self, *, account=0, side=None, reason=Reason.CANCELLED_BY_USER):
        """Cancel every order of an account (0: of all) and side (None: both), in order of arrival."""
        return self.apply((3, int(reason), 0, account, 0, 0, 0 if side is None else side + 1))

    def set_status(self, status):
        """Open, halt or restrict the book. Coming to TRADING, a crossed book is uncrossed by a call auction first."""
        return self.apply((4, status))

    def advance_time(self, now_ns):
        """Time passes: orders end, a volatility interruption ends. Time that runs backwards is ignored."""
        return self.apply((5, now_ns))

    def configure(self, settings):
        """Change the bounds and guards; what the book holds already stays."""
        self.store.orders_max = settings.orders_max
        self.store.events_max = settings.command_events_max
        self.store.band_ppm = settings.price_band_ppm
        self.store.interruption_ppm = settings.interruption_ppm
        self.store.interruption_ns = settings.interruption_ns
        self.store.stepwise = settings.stepwise
        self.settings = settings
        refresh(self.store)

    @property
    def status(self):
        """The status code."""
        return self.store.status

    @property
    def now_ns(self):
        """The time that the book was told last."""
        return self.store.now_ns

    @property
    def last_price(self):
        """The last trade's price in ticks, 0 before there is one."""
        return self.store.last_price

    @property
    def reference_price(self):
        """The middle of the static price band in ticks, 0 before there is one."""
        return self.store.reference_price

    def best_bid(self):
        """The best bid in ticks, 0 where there is none."""
        return best_price(self.store, BIDS)

    def best_ask(self):
        """The best ask in ticks, 0 where there is none."""
        return best_price(self.store, ASKS)

    def level_count(self, int side):
        """How many prices a side has."""
        return self.store.ladders[side & 1].levels

    def levels(self, Py_ssize_t depth=0):
        """Bids and asks as ``(price, displayed lots)``, best first; ``depth`` 0 means all."""
        return levels_of(self.store, BIDS, depth), levels_of(self.store, ASKS, depth)

    def level_lots(self, int side, price):
        """Displayed lots at a price, 0 where there is no level."""
        if not 0 < price < port.PRICE_MAX:
            return 0
        number = find_level(self.store, side & 1, -price if side & 1 else price)
        return self.store.levels[number].lots if number else 0

    def queue(self, int side, Py_ssize_t limit=0):
        """``(order_id, price, displayed lots)`` of a side in priority order, ``limit`` 0 for all."""
        return queue_of(self.store, side & 1, limit)

    def __len__(self):
        return self.store.by_id.count

    cdef uint32_t _find(self, object order_id):
        return find_order(self.store, order_id) if 0 < order_id < port.COLUMN_MAX else 0

    def __contains__(self, order_id):
        return isinstance(order_id, int) and self._find(order_id) != 0

    def waits(self, order_id):
        """Whether an order waits for its trigger, or has fired and waits for its turn."""
        number = self._find(order_id)
        return number != 0 and self.store.orders[number].place != RESTING

    def waiting_orders(self):
        """How many wait for their trigger, or have fired and wait for their turn."""
        return self.store.waiting + self.store.fired_count

    def stop_price(self, order_id):
        """An order's stop price in ticks, 0 for one without and for an order that the book does not hold."""
        number = self._find(order_id)
        extra = self.store.orders[number].extra if number else 0
        return self.store.extras[extra].stop_price if extra else 0

    def dump(self):
        """The whole state."""
        cdef Store* store = self.store
        cdef Order* order
        cdef Extra* extra
        cdef uint32_t number
        arrived, armed = [], []
        for number in range(1, store.orders_used):
            order = &store.orders[number]
            if order.place == FREE:
                continue
            arrived.append((store.standings[number].arrival, order_row(store, number)))
            if order.place == WAITING or order.place == TRAILING:
                extra = &store.extras[order.extra]
                armed.append((extra.armed, (order.order_id, extra.watermark)))
        return BookState(
            status=store.status,
            now_ns=store.now_ns,
            last_price=store.last_price,
            reference_price=store.reference_price,
            interruption_end_ns=store.interruption_end_ns,
            entered_lots=whole(store.entered_lots),
            traded_lots=whole(store.traded_lots),
            removed_lots=whole(store.removed_lots),
            orders=[row for _, row in sorted(arrived)],
            bids=ladder_ids(store, BIDS),
            asks=ladder_ids(store, ASKS),
            triggers=[row for _, row in sorted(armed)],
            pending=queue_ids(store, store.fired.head),
        )

    def load(self, state, /):
        """Replace the state. Raises ValueError for one that no book can be in, and leaves the book as it was."""
        cdef FastBook fresh = FastBook(self.settings)
        fresh._load(state)
        broken = broken_invariant(fresh.store)
        if broken:
            raise ValueError(f"this is no state of a book: {broken}")
        self.store, fresh.store = fresh.store, self.store

    cdef int _load(self, object state) except -1:
        cdef Store* store = self.store
        cdef uint32_t number
        store.status, store.now_ns = state.status, state.now_ns
        store.last_price, store.reference_price = state.last_price, state.reference_price
        store.interruption_end_ns = state.interruption_end_ns
        store.entered_lots, store.traded_lots = _wide(state.entered_lots), _wide(state.traded_lots)
        store.removed_lots = _wide(state.removed_lots)
        refresh(store)
        for row in state.orders:
            self._load_order(row)
        for ladder, order_ids in ((BIDS, state.bids), (ASKS, state.asks)):
            for order_id in order_ids:
                number = self._known(order_id)
                if store.orders[number].flags & 1 != ladder:
                    raise ValueError(f"order {order_id} is on the wrong side")
                rest(store, number)
        for order_id, watermark in state.triggers:
            number = self._known(order_id)
            extra = store.orders[number].extra
            if not extra or not (store.extras[extra].stop_price or store.extras[extra].trailing):
                raise ValueError(f"order {order_id} waits for nothing")
            arm(store, number, watermark)
        for order_id in state.pending:
            number = self._known(order_id)
            if not store.orders[number].extra:
                raise ValueError(f"order {order_id} never waited")
            store.orders[number].place = FIRED
            queue_join(store, &store.fired, number)
            store.fired_count += 1
        if store.failed:
            raise MemoryError
        return 0

    cdef int _load_order(self, tuple row) except -1:
        cdef Store* store = self.store
        cdef uint32_t number, extra = 0
        cdef Order* order
        order_id, account, flags, price, open_lots, shown, quantity, stop, trailing, display, minimum, expire = row
        sound = (
            0 < order_id < port.COLUMN_MAX and 0 <= account < port.COLUMN_MAX and 0 <= flags < 2 * port.TRAILING_BPS
            and 0 <= price < port.PRICE_MAX and 0 <= shown <= open_lots <= quantity < port.QUANTITY_MAX and open_lots
            and 0 <= stop < port.PRICE_MAX and 0 <= trailing < port.PRICE_MAX and 0 <= display and 0 <= minimum
            and 0 <= expire < port.COLUMN_MAX and (display or shown in (0, open_lots)) and (price or not shown)
            and not self._find(order_id)
        )
        if not sound:
            raise ValueError(f"{row!r} is no order of a book")
        number = take_order(store)
        if stop or trailing or display or minimum or expire:
            extra = take_extra(store)
            memset(&store.extras[extra], 0, sizeof(Extra))
            store.extras[extra].stop_price, store.extras[extra].trailing = stop, trailing
            store.extras[extra].display_lots, store.extras[extra].minimum_lots = display, minimum
            store.extras[extra].expire_ns = expire
        order = &store.orders[number]
        order.order_id, order.account, order.price = order_id, account, price
        order.open_lots, order.shown_lots, order.flags = open_lots, shown, flags
        order.extra, order.held, order.place = extra, 0, FREE
        store.standings[number].quantity_lots = quantity
        hold(store, number)
        return 0

    cdef uint32_t _known(self, object order_id) except 0:
        """An order of the state that is being loaded and has no place yet."""
        number = self._find(order_id)
        if not number or self.store.orders[number].place != FREE:
            raise ValueError(f"order {order_id} is unknown, or in two places")
        return number

    def state_hash(self):
        """A hash of the state."""
        return hash_of(self.dump())

    def memory_bytes(self):
        """How much memory the arrays take, what is reserved for growth included."""
        cdef Store* store = self.store
        cdef int ladder
        found = sizeof(Store) + store.events_room * EVENT_WIDTH * sizeof(int64_t)
        found += store.orders_room * (sizeof(Order) + 2 * sizeof(int64_t)) + store.extras_room * sizeof(Extra)
        found += store.levels_room * sizeof(Level) + (store.heap_room + 2 * store.seen_room) * sizeof(uint32_t)
        found += ((<size_t>1 << store.by_id.bits) + (<size_t>1 << store.by_key.bits)) * 8
        for ladder in range(LADDERS):
            found += store.ladders[ladder].count * sizeof(Block) + store.ladders[ladder].room * sizeof(void*)
        return found

    def check(self):
        """Raise BookInvariantError where an invariant does not hold."""
        broken = broken_invariant(self.store)
        if broken:
            raise BookInvariantError(f"broken: {broken}")


#: The numbers that this module was compiled with, by their names in the port and among the reasons.
CODES = {
    "EventKind": {
        "ACCEPTED": codes.ACCEPTED, "RESTED": codes.RESTED, "TRADE": codes.TRADE,
        "AUCTION_TRADE": codes.AUCTION_TRADE, "REFILLED": codes.REFILLED, "CANCELLED": codes.CANCELLED,
        "EXPIRED": codes.EXPIRED, "REJECTED": codes.REJECTED, "ARMED": codes.ARMED, "TRIGGERED": codes.TRIGGERED,
        "REPLACED": codes.REPLACED, "REDUCED": codes.REDUCED, "DECREMENTED": codes.DECREMENTED,
        "REPRICED": codes.REPRICED, "CANCEL_REFUSED": codes.CANCEL_REFUSED, "AMEND_REFUSED": codes.AMEND_REFUSED,
        "STATUS": codes.STATUS,
    },
    "Operation": {
        "SUBMIT": commands.SUBMIT, "CANCEL": commands.CANCEL, "AMEND": commands.AMEND,
        "CANCEL_ALL": commands.CANCEL_ALL, "SET_STATUS": commands.SET_STATUS,
        "ADVANCE_TIME": commands.ADVANCE_TIME, "SET_REFERENCE": commands.SET_REFERENCE, "STEP": commands.STEP,
    },
    "port": {
        "TRADING": codes.TRADING, "HALTED": codes.HALTED, "CANCEL_ONLY": codes.CANCEL_ONLY, "AUCTION": codes.AUCTION,
        "LIMIT": codes.LIMIT, "MARKET": codes.MARKET, "STOP": codes.STOP, "STOP_LIMIT": codes.STOP_LIMIT,
        "TAKE_PROFIT": codes.TAKE_PROFIT, "TAKE_PROFIT_LIMIT": codes.TAKE_PROFIT_LIMIT,
        "TRAILING_STOP": codes.TRAILING_STOP, "GTC": codes.GTC, "FOK": codes.FOK,
        "POST_REJECT": codes.POST_REJECT, "POST_REPRICE": codes.POST_REPRICE, "STP_TAKER": codes.STP_TAKER,
        "STP_MAKER": codes.STP_MAKER, "STP_BOTH": codes.STP_BOTH, "STP_DECREMENT": codes.STP_DECREMENT,
        "TYPE_SHIFT": codes.TYPE_SHIFT, "FORCE_SHIFT": codes.FORCE_SHIFT, "POST_SHIFT": codes.POST_SHIFT,
        "STP_SHIFT": codes.STP_SHIFT, "TRAILING_BPS": codes.TRAILING_BPS, "PRICE_MAX": codes.price_max(),
        "QUANTITY_MAX": codes.quantity_max(), "COLUMN_MAX": codes.column_max(), "COMMAND_COLUMNS": COMMAND_WIDTH,
        "EVENT_COLUMNS": EVENT_WIDTH,
    },
    "Reason": {
        "ORDER_FIELDS_INVALID": codes.ORDER_FIELDS_INVALID, "REPLACE_INVALID": codes.REPLACE_INVALID,
        "BOOK_POST_ONLY_WOULD_TAKE": codes.BOOK_POST_ONLY_WOULD_TAKE,
        "BOOK_FILL_OR_KILL_UNFILLABLE": codes.BOOK_FILL_OR_KILL_UNFILLABLE,
        "BOOK_NO_LIQUIDITY": codes.BOOK_NO_LIQUIDITY, "BOOK_IMMEDIATE_REMAINDER": codes.BOOK_IMMEDIATE_REMAINDER,
        "BOOK_SELF_TRADE_PREVENTED": codes.BOOK_SELF_TRADE_PREVENTED, "BOOK_NOT_OPEN": codes.BOOK_NOT_OPEN,
        "BOOK_PRICE_BAND": codes.BOOK_PRICE_BAND, "BOOK_UNKNOWN_ORDER": codes.BOOK_UNKNOWN_ORDER,
        "BOOK_DUPLICATE_ORDER": codes.BOOK_DUPLICATE_ORDER, "BOOK_EXPIRED": codes.BOOK_EXPIRED,
        "BOOK_MIN_QUANTITY_UNMET": codes.BOOK_MIN_QUANTITY_UNMET,
        "BOOK_TRIGGER_IMMEDIATE": codes.BOOK_TRIGGER_IMMEDIATE, "BOOK_FULL": codes.BOOK_FULL,
        "BOOK_COMMAND_LIMIT": codes.BOOK_COMMAND_LIMIT,
    },
}
