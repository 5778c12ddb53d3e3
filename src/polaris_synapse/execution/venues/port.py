"""The venue port: what an adapter of an exchange promises, numbered as its conformance suite tests it.

1. A submitted order is known to the venue under its ``venue_client_id`` and reported by its ``order_id``.
2. Outcomes that are certain come as VenueReports, returned by the call or delivered, each at least once. What is not
   certain is an exception: ``VenueNotSentError`` when nothing left the desk, any other when it may have.
3. A client id is used once. A second submit with it has no effect on the market and never ends the first order.
4. Fills carry trade ids that are unique for the venue and symbol for ever, and never add up to more than was ordered.
5. ``query`` tells the whole truth of the moment by id and by trade history: state, terms, filled lots, every fill.
6. ``query`` of an order that never arrived says ``found`` false and ``trades_checked`` true; a venue that cannot be
   asked says ``answered`` false. It does not raise for either.
7. A cancel ends the order, or is refused with REJECT_CANCEL when it has ended. Late fills are reported all the same.
8. A replacement is in force when REPLACE was reported, and is refused with REJECT_REPLACE otherwise.
9. After a crash of the desk everything that was reported is still known, and nothing has happened twice.
10. ``open_orders`` lists every open order of the account at the venue, also those that the desk did not send.
11. ``balances`` tells what the venue holds for the desk, free and locked together; each trade moves it by exactly what
    its fill says, fee included, and nothing else that the desk does moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from polaris_synapse.domain.messages import (
    VenueBalance,
    VenueCancel,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import OrderType, TimeInForce


class VenueError(RuntimeError):
    """The outcome at the venue is not known: a timeout, a lost connection, a 5xx, an answer that makes no sense."""


class VenueNotSentError(VenueError):
    """Nothing has left the desk, so nothing has happened at the venue; the message says why in one sentence."""


class VenueCapabilities(Struct, frozen=True, kw_only=True):
    """What a venue takes. ``simulated``: nothing real is bought or sold there."""

    simulated: bool
    order_types: frozenset[OrderType]
    times_in_force: frozenset[TimeInForce]
    post_only: bool = True
    icebergs: bool = False
    quote_amounts: bool = False
    replace: bool = False
    order_lists: bool = False


class VenueState(Struct, frozen=True, kw_only=True):
    """How the connection to a venue stands. ``detail`` says what is wrong, in one sentence."""

    connected: bool
    detail: str = ""


class VenueEvents(Protocol):
    """What an adapter tells its service while it runs."""

    async def deliver(self, reports: Sequence[VenueReport], /) -> None:
        """Reports in order. Returns when they are taken over; the adapter may wait for it, and must not drop any."""
        ...

    def reconnected(self) -> None:
        """The stream had a gap: reports may be missing, so the service asks about every open order."""
        ...


class CancelPort(Protocol):
    """As much of a Venue as a watchdog needs, which any Venue is."""

    name: str

    async def cancel(self, command: VenueCancel, /) -> Sequence[VenueReport]:
        """See Venue."""
        ...

    async def open_orders(self) -> Sequence[VenueOrderStatus]:
        """See Venue."""
        ...


class Venue(Protocol):
    """An exchange behind one adapter. ``name`` is the venue's in instruments and messages."""

    name: str
    capabilities: VenueCapabilities

    @property
    def state(self) -> VenueState:
        """How the connection stands now."""
        ...

    async def run(self, events: VenueEvents, /) -> None:
        """Keep the connection and deliver what it says, until cancelled."""
        ...

    async def submit(self, command: VenueSubmit, /) -> Sequence[VenueReport]:
        """Send an order; the reports that the venue's answer amounts to. Raises VenueError."""
        ...

    async def cancel(self, command: VenueCancel, /) -> Sequence[VenueReport]:
        """Cancel an order. Raises VenueError."""
        ...

    async def replace(self, command: VenueReplace, /) -> Sequence[VenueReport]:
        """Change an order. Raises VenueError."""
        ...

    async def query(self, command: VenueQuery, /) -> VenueOrderStatus:
        """The whole truth about one order."""
        ...

    async def open_orders(self) -> Sequence[VenueOrderStatus]:
        """Every open order at the venue; ``order_id`` 0 for those whose client id is none of the desk's."""
        ...

    async def balances(self) -> Sequence[VenueBalance]:
        """What the venue holds now; an asset that it does not hold may be left out. Raises VenueError."""
        ...
