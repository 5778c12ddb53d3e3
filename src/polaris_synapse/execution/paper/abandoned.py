"""The paper venue of a desk that is gone: its orders, read from its store, and cancelled there.

Only for whoever has made sure that no desk runs on the store, by holding the lock of the data directory. What is
cancelled here is durable; the desk learns of it when it starts again and asks about every open order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from msgspec.structs import replace

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import PAPER_VENUE
from polaris_synapse.domain.messages import VenueCancel, VenueOrderStatus, VenueReport
from polaris_synapse.domain.orders import OrderEvent, OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.paper.outbox import Outcome
from polaris_synapse.execution.paper.store import PaperStore, PaperStoreError
from polaris_synapse.execution.venues.port import VenueError, VenueNotSentError


class AbandonedPaperVenue:
    """A CancelPort over the store at ``path``. Raises VenueError where the store cannot be used."""

    def __init__(self, path: Path, clock: Clock, *, detail: str) -> None:
        self.name: str = PAPER_VENUE
        self._clock = clock
        self._detail = detail
        try:
            self._store = PaperStore(path)
        except PaperStoreError as error:
            raise VenueError(str(error)) from error

    async def open_orders(self) -> Sequence[VenueOrderStatus]:
        """Every open order."""
        return [
            VenueOrderStatus(
                time_ns=self._clock.now_ns(),
                venue=self.name,
                symbol=order.symbol,
                order_id=order.order_id,
                answered=True,
                found=True,
                state=order.state,
                venue_order_id=order.venue_order_id,
                quantity_lots=order.quantity_lots,
                price_ticks=order.price_ticks,
                stop_price_ticks=order.stop_price_ticks,
                filled_lots=order.filled_lots,
            )
            for order in self._store.open_orders()
        ]

    async def cancel(self, command: VenueCancel, /) -> Sequence[VenueReport]:
        """Cancel an open order by the venue's id for it. Raises VenueError where that cannot be made durable."""
        order = next((o for o in self._store.open_orders() if o.venue_order_id == command.venue_order_id), None)
        if order is None:
            return [self._report(command, OrderEvent.REJECT_CANCEL, Reason.BOOK_UNKNOWN_ORDER, "no such order is open")]
        ended = replace(order, state=OrderState.CANCELLED, reason=Reason.CANCELLED_BY_WATCHDOG, detail=self._detail)
        try:
            self._store.write([Outcome([], [ended], [])])
        except PaperStoreError as error:
            raise VenueNotSentError(str(error)) from error
        return [self._report(command, OrderEvent.CANCEL, Reason.CANCELLED_BY_WATCHDOG, self._detail)]

    def _report(self, command: VenueCancel, event: OrderEvent, reason: Reason, detail: str) -> VenueReport:
        return VenueReport(
            time_ns=self._clock.now_ns(),
            venue=self.name,
            symbol=command.symbol,
            order_id=command.order_id,
            event=event,
            venue_order_id=command.venue_order_id,
            reason=reason,
            detail=detail,
        )

    def __enter__(self) -> AbandonedPaperVenue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.close()
