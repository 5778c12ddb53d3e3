"""One side of a price book: prices in order, and their quantities beside them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from msgspec import Struct

from polaris_synapse.domain.messages.market_data import Level


class BookSide(Struct):
    """Price levels of one side, the best at the end.

    ``sign`` is 1 for bids and -1 for asks. ``keys`` holds ``sign * price`` in ascending order and ``lots`` the
    quantities in the same order, so for both sides most changes are near the end of the lists, where inserting and
    deleting move little memory. A depth message of 36 levels takes 14 microseconds here; a dictionary beside a sorted
    list took 10, which is not worth a state that can disagree with itself and has no canonical form for snapshots.
    """

    sign: int
    keys: list[int] = []
    lots: list[int] = []

    def replace(self, levels: Iterable[Level], levels_max: int) -> None:
        """Forget everything and hold the best ``levels_max`` of ``levels``."""
        lots_by_key = {self.sign * price: lots for price, lots in levels if lots}
        self.keys = sorted(lots_by_key)[-levels_max:]
        self.lots = [lots_by_key[key] for key in self.keys]

    def change(self, levels: Sequence[Level]) -> None:
        """Set levels to their new quantities; 0 lots removes a level, and removing an unknown one does nothing."""
        keys, all_lots, sign = self.keys, self.lots, self.sign
        for price, lots in levels:
            key = sign * price
            place = bisect_left(keys, key)
            known = place < len(keys) and keys[place] == key
            if lots:
                if known:
                    all_lots[place] = lots
                else:
                    keys.insert(place, key)
                    all_lots.insert(place, lots)
            elif known:
                del keys[place], all_lots[place]

    def trim(self, levels_max: int) -> list[int]:
        """Forget the worst levels beyond ``levels_max`` and return their prices."""
        surplus = len(self.keys) - levels_max
        if surplus <= 0:
            return []
        prices = [self.sign * key for key in self.keys[:surplus]]
        del self.keys[:surplus], self.lots[:surplus]
        return prices

    def best(self) -> Level:
        """The best level, ``(0, 0)`` when the side is empty."""
        return (self.sign * self.keys[-1], self.lots[-1]) if self.keys else (0, 0)

    def top(self, depth: int) -> tuple[Level, ...]:
        """The best ``depth`` levels, best first."""
        sign = self.sign
        return tuple(
            (sign * key, lots)
            for key, lots in zip(self.keys[: -depth - 1 : -1], self.lots[: -depth - 1 : -1], strict=True)
        )

    def depth_lots(self, depth: int) -> int:
        """The sum of lots over the best ``depth`` levels."""
        return sum(self.lots[-depth:])
