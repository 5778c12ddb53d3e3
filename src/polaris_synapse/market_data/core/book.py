"""A price book kept in step with its venue by update ids: Binance's U/u rule.

A snapshot is the book as of ``lastUpdateId``. A depth message carries the levels changed by updates ``U..u``. Messages
that come before the snapshot wait. Those with ``u <= lastUpdateId`` are old. The first one applied must cover
``lastUpdateId + 1``; every later one must start exactly where the one before ended. Anything else is a gap: the book
can no longer be trusted and needs a new snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct, field

from polaris_synapse.domain.messages import BookSnapshotReceived, DepthReceived
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.market_data.core.levels import BookSide


class Fold(Enum):
    """What became of a snapshot or a depth message."""

    APPLIED = "applied"
    OLD = "old"  # says nothing that the book does not know
    BUFFERED = "buffered"  # waits for a snapshot
    GAP = "gap"  # updates are missing between the book and the message, which now waits for a snapshot
    TOO_OLD = "too_old"  # the snapshot ends before the waiting messages begin


class SyncedBook(Struct):
    """Both sides, the update id they are as of, and the depth messages that wait for a snapshot.

    ``fresh`` is true between a snapshot and the first depth message applied to it, which alone may overlap.
    """

    bids: BookSide = field(default_factory=lambda: BookSide(1))
    asks: BookSide = field(default_factory=lambda: BookSide(-1))
    last_update_id: int = 0
    synced: bool = False
    fresh: bool = False
    waiting: list[DepthReceived] = []

    def desync(self) -> None:
        """Wait for a snapshot; the levels stay as they are, for people to look at, until it comes."""
        self.synced = False
        self.waiting.clear()

    def snapshot(self, message: BookSnapshotReceived, levels_max: int) -> Fold:
        """Start over from a snapshot and catch up with the messages that waited for it."""
        if self.synced and message.last_update_id < self.last_update_id:
            return Fold.OLD
        waiting = [depth for depth in self.waiting if depth.last_update_id > message.last_update_id]
        if waiting and waiting[0].first_update_id > message.last_update_id + 1:
            self.waiting = waiting
            return Fold.TOO_OLD
        self.bids.replace(message.bids, levels_max)
        self.asks.replace(message.asks, levels_max)
        self.last_update_id = message.last_update_id
        self.waiting.clear()
        self.synced = self.fresh = True
        # What waits has no gaps in itself (see `_wait`), so after the first everything follows.
        for depth in waiting:
            self._apply(depth)
        self.trim(levels_max)
        return Fold.APPLIED

    def depth(self, message: DepthReceived, waiting_max: int) -> Fold:
        """Apply a depth message, or say why not. The caller trims."""
        if not self.synced:
            return self._wait(message, waiting_max)
        if message.last_update_id <= self.last_update_id:
            return Fold.OLD
        first, expected = message.first_update_id, self.last_update_id + 1
        if first > expected or (first < expected and not self.fresh):
            self.desync()
            self.waiting.append(message)
            return Fold.GAP
        self._apply(message)
        return Fold.APPLIED

    def trim(self, levels_max: int) -> tuple[Sequence[Level], Sequence[Level]]:
        """Forget the levels beyond ``levels_max`` a side; returned as removals, so that mirrors can do the same."""
        return (
            [(price, 0) for price in self.bids.trim(levels_max)],
            [(price, 0) for price in self.asks.trim(levels_max)],
        )

    def top(self) -> tuple[int, int, int, int]:
        """``(bid price, bid lots, ask price, ask lots)``, zeros for an empty side."""
        return (*self.bids.best(), *self.asks.best())

    def crossed(self) -> bool:
        """Whether somebody bids as much as somebody asks: no real book, so updates were lost or wrong."""
        bids, asks = self.bids.keys, self.asks.keys
        return bool(bids and asks) and bids[-1] >= -asks[-1]

    def _apply(self, message: DepthReceived) -> None:
        self.bids.change(message.bids)
        self.asks.change(message.asks)
        self.last_update_id = message.last_update_id
        self.fresh = False

    def _wait(self, message: DepthReceived, waiting_max: int) -> Fold:
        waiting = self.waiting
        if waiting:
            last = waiting[-1].last_update_id
            if message.last_update_id <= last:
                return Fold.OLD
            if message.first_update_id != last + 1:
                # Only a snapshot beyond this hole can help, and it makes all that waited before the hole old.
                waiting.clear()
            elif len(waiting) >= waiting_max:
                del waiting[0]
        waiting.append(message)
        return Fold.BUFFERED
