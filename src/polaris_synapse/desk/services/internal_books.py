"""How market data gets the books of the desk's own venue: the matching core says each in full when it is asked.

It is asked by a ``HostStarted`` in its inbox; what it says in answer carries that record's offset, so that the whole
book is told from a change. Until then the changes of a symbol are not looked at.
"""

from __future__ import annotations

import asyncio

import structlog

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.kafka.outlet import Outlet
from polaris_synapse.bus.kafka.routing import Destinations, partition_of
from polaris_synapse.bus.kafka.wire import Record, headers_of
from polaris_synapse.domain.instruments import INTERNAL_VENUE
from polaris_synapse.domain.messages import BookChanged, BookSnapshotReceived, HostStarted, Message, TradePrinted
from polaris_synapse.domain.topics import MATCHING

_log = structlog.get_logger(__name__)
#: Of a symbol that was asked for and whose question is still on its way to the log.
_ASKED = 2**62


class InternalBooks:
    """Asks for books and recognises the answers."""

    def __init__(self, outlet: Outlet, destinations: Destinations, clock: Clock) -> None:
        self._outlet = outlet
        self._partitions = destinations.partitions(MATCHING)
        self._clock = clock
        #: The offset of the question by symbol; a symbol that is not here is followed change by change.
        self._awaited: dict[str, int] = {}

    def ask(self, symbol: str) -> None:
        """Ask for a symbol's whole book; its changes are left out until it comes."""
        self._awaited[symbol] = _ASKED

        def delivered(offset: int, error: str) -> None:
            if error:
                _log.warning("internal_book_not_asked_for", symbol=symbol, error=error)
                asyncio.get_running_loop().call_later(1.0, self.ask, symbol)
            else:
                self._awaited[symbol] = offset

        partition = partition_of(symbol, self._partitions)
        question = HostStarted(time_ns=self._clock.now_ns())
        self._outlet.send(MATCHING, partition, question, headers_of(None), delivered)

    def admit(self, record: Record) -> Message | None:
        """What the market data core is given for a record; None for nothing."""
        message = record.message
        if not isinstance(message, BookChanged | TradePrinted):
            return message
        awaited = self._awaited.get(message.symbol)
        if awaited is None:
            return message
        if record.source is None or record.source.offset < awaited:
            return None
        if record.source.offset > awaited:
            # The answer was said before this process could hear it.
            self.ask(message.symbol)
            return None
        if not isinstance(message, BookChanged):
            return None
        del self._awaited[message.symbol]
        return BookSnapshotReceived(
            time_ns=message.time_ns,
            symbol=message.symbol,
            source=INTERNAL_VENUE,
            last_update_id=message.sequence,
            bids=message.bids,
            asks=message.asks,
        )
