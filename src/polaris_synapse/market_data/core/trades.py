"""Public trades by their ids: each once, however often and in whatever order they come."""

from __future__ import annotations

from msgspec import Struct


class TradeSequence(Struct):
    """Which trade ids of a symbol have been seen.

    ``missing`` are ranges of ids that were jumped over, oldest first; a trade that fills one later is welcome.
    """

    last_id: int = -1
    accepted: int = 0
    duplicates: int = 0
    gaps: int = 0
    missing: list[tuple[int, int]] = []

    def accept(self, trade_id: int, ranges_max: int) -> bool:
        """Whether this id is new. Counts what it jumps over."""
        last = self.last_id
        if trade_id > last:
            if trade_id > last + 1 and last >= 0:
                self.gaps += 1
                self.missing.append((last + 1, trade_id - 1))
                if len(self.missing) > ranges_max:
                    del self.missing[0]
            self.last_id = trade_id
        elif not self._fill(trade_id):
            self.duplicates += 1
            return False
        self.accepted += 1
        return True

    def missing_trades(self) -> int:
        """How many ids are known to be missing."""
        return sum(last - first + 1 for first, last in self.missing)

    def _fill(self, trade_id: int) -> bool:
        for index, (first, last) in enumerate(self.missing):
            if first <= trade_id <= last:
                rest = [(first, trade_id - 1), (trade_id + 1, last)]
                self.missing[index : index + 1] = [(low, high) for low, high in rest if low <= high]
                return True
        return False
