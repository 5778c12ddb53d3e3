"""Whether our book's top is the venue's: an exact comparison with its ``bookTicker`` stream.

A ticker says the best bid and ask as of one update id, and one is sent for every change of the top. So the top after
update ``u`` is what the last ticker with an id of at most ``u`` says. Which one is the last is known once a ticker
beyond ``u`` has come, or when a ticker's id is ``u`` itself. Our tops and the tickers are therefore merged by id, and
each top is compared once, exactly, however late the tickers are. A top is left uncompared when no ticker came before
it on the same connection, or when tickers stay away for so long that the bound on waiting tops is reached.
"""

from __future__ import annotations

from msgspec import Struct

#: ``(update id, bid price, bid lots, ask price, ask lots)``.
TopAt = tuple[int, int, int, int, int]


class TopComparison(Struct):
    """The merge and its counters: ``tops`` we had, how many were ``compared`` and how many of those were ``equal``.

    ``differing`` is the last pair that differed, ours first.
    """

    tops: int = 0
    tickers: int = 0
    compared: int = 0
    equal: int = 0
    differing: tuple[TopAt, TopAt] | None = None
    waiting_tops: list[TopAt] = []
    waiting_tickers: list[TopAt] = []
    current: TopAt | None = None

    def restart(self) -> None:
        """Forget what waits: after a disconnect a ticker may be missing. The counters stay."""
        self.waiting_tops.clear()
        self.waiting_tickers.clear()
        self.current = None

    def top(self, top: TopAt, waiting_max: int) -> None:
        """Our top after an update."""
        self.tops += 1
        self.waiting_tops.append(top)
        if len(self.waiting_tops) > waiting_max:
            del self.waiting_tops[0]
        self._merge()

    def ticker(self, ticker: TopAt, waiting_max: int) -> None:
        """The venue's top. One that is out of order is left out of the merge."""
        self.tickers += 1
        waiting = self.waiting_tickers
        last = waiting[-1] if waiting else self.current
        if last is not None and ticker[0] < last[0]:
            return
        waiting.append(ticker)
        if len(waiting) > waiting_max:
            self.current = waiting.pop(0)
        if self.waiting_tops:
            self._merge()

    def _merge(self) -> None:
        tops, tickers = self.waiting_tops, self.waiting_tickers
        while tops:
            ours = tops[0]
            passed = 0
            while passed < len(tickers) and tickers[passed][0] <= ours[0]:
                passed += 1
            if passed:
                self.current = tickers[passed - 1]
                del tickers[:passed]
            current = self.current
            if not tickers and (current is None or current[0] != ours[0]):
                return
            del tops[0]
            if current is not None and current[0] <= ours[0]:
                self.compared += 1
                if current[1:] == ours[1:]:
                    self.equal += 1
                else:
                    self.differing = (ours, current)
