"""Which request goes to a venue next: of one order one after the other, of different orders side by side.

Cancels, and what waits before them of the same order, go first and have places of their own: a kill switch does not
stand behind the orders that it is to stop. Pure, so that the simulator runs the same code as the service.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from polaris_synapse.domain.messages import VenueCancel, VenueQuery, VenueReplace, VenueSubmit

VenueCommand = VenueSubmit | VenueCancel | VenueReplace | VenueQuery


class Dispatch:
    """The requests that wait for one venue, and the orders that have one under way.

    At most ``at_once`` requests are under way, and ``cancels_at_once`` more of orders that are to be cancelled.
    ``waiting_max`` bounds what waits; cancels have a reserve of as many places again.
    """

    def __init__(self, *, at_once: int, cancels_at_once: int, waiting_max: int) -> None:
        self._at_once = at_once
        self._cancels_at_once = cancels_at_once
        self._waiting_max = waiting_max
        self._of_order: dict[int, deque[VenueCommand]] = {}
        #: Orders whose turn it is, in their order; an ordered set, since one can come to stand there twice.
        self._ready: OrderedDict[int, None] = OrderedDict()
        self._urgent: OrderedDict[int, None] = OrderedDict()
        #: Orders with a request under way, and whether it took one of the places for cancels.
        self._under_way: dict[int, bool] = {}
        self._urgent_under_way = 0
        #: Cancels that wait, by order.
        self._cancels: dict[int, int] = {}
        #: Orders whose submission is on its way as part of another's: their requests stand behind that one.
        self._part_of: dict[int, int] = {}
        self.waiting = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self.waiting and not self._under_way

    def put(self, command: VenueCommand) -> bool:
        """Take a request in; False where too many wait already."""
        cancels = isinstance(command, VenueCancel)
        if self.waiting >= self._waiting_max * (2 if cancels else 1):
            return False
        order_id = self._part_of.get(command.order_id, command.order_id)
        if isinstance(command, VenueSubmit):
            self._part_of.update((other.order_id, order_id) for other in command.also)
        self._of_order.setdefault(order_id, deque()).append(command)
        self.waiting += 1
        if cancels:
            self._cancels[order_id] = self._cancels.get(order_id, 0) + 1
        if order_id not in self._under_way:
            (self._urgent if cancels else self._ready)[order_id] = None
        return True

    def is_cancelled(self, order_id: int) -> bool:
        """Whether a cancel of the order waits: what else waits of it does not leave any more."""
        return self._part_of.get(order_id, order_id) in self._cancels

    def take(self) -> VenueCommand | None:
        """The next request that may leave now; it is under way until ``done``."""
        if self._urgent_under_way < self._cancels_at_once:
            command = self._next_of(self._urgent, urgent=True)
            if command is not None:
                return command
        if len(self._under_way) - self._urgent_under_way < self._at_once:
            return self._next_of(self._ready, urgent=False)
        return None

    def _next_of(self, orders: OrderedDict[int, None], *, urgent: bool) -> VenueCommand | None:
        while orders:
            order_id, _ = orders.popitem(last=False)
            waiting = self._of_order.get(order_id)
            # An order can stand in both rows, and be gone from one by the time that it comes up in the other.
            if waiting is None or order_id in self._under_way:
                continue
            command = waiting.popleft()
            self.waiting -= 1
            if not waiting:
                del self._of_order[order_id]
            if isinstance(command, VenueCancel):
                self._cancels[order_id] -= 1
                if not self._cancels[order_id]:
                    del self._cancels[order_id]
            self._under_way[order_id] = urgent
            self._urgent_under_way += urgent
            return command
        return None

    def done(self, order_id: int) -> None:
        """The order's request has ended."""
        order_id = self._part_of.get(order_id, order_id)
        self._urgent_under_way -= self._under_way.pop(order_id)
        if order_id in self._of_order:
            (self._urgent if order_id in self._cancels else self._ready)[order_id] = None
        elif self._part_of:
            self._part_of = {part: whole for part, whole in self._part_of.items() if whole != order_id}
