"""The price of a call auction."""

from __future__ import annotations

from itertools import accumulate

from polaris_synapse.matching.core.ladder import Ladder


def open_lots_by_price(ladder: Ladder) -> dict[int, int]:
    """All open lots at each price of a side, hidden ones included."""
    return {
        key * ladder.sign: sum(entry.open_lots for entry in level.alive())
        for key, level in sorted(ladder.levels.items())
    }


def call_price(bids: dict[int, int], asks: dict[int, int], reference: int) -> int:
    """The price at which a call auction trades most, 0 where nothing can trade. ``bids``, ``asks``: lots by price.

    Among prices with the same volume: first the least surplus (what stays open at the price or better on the heavier
    side); then, where all of them leave buyers over, the highest; where all leave sellers over, the lowest; otherwise
    the price nearest to ``reference`` between the lowest and the highest of them, or, where that is 0, the middle
    rounded down.
    """
    if not bids or not asks or max(bids) < min(asks):
        return 0
    low, high = min(asks), max(bids)
    # Between two orders' prices the sums are the same at every tick, so each gap is looked at by its two ends.
    ends = {near for price in bids.keys() | asks.keys() for near in (price - 1, price, price + 1)}
    prices = sorted(price for price in ends if low <= price <= high)
    supply = list(accumulate(asks.get(price, 0) for price in prices))
    demand = list(accumulate(bids.get(price, 0) for price in reversed(prices)))[::-1]
    volume_max = max(map(min, demand, supply))
    surpluses = {
        price: wanted - offered
        for price, wanted, offered in zip(prices, demand, supply, strict=True)
        if min(wanted, offered) == volume_max
    }
    least = min(map(abs, surpluses.values()))
    tied = {price: surplus for price, surplus in surpluses.items() if abs(surplus) == least}
    lowest, highest = min(tied), max(tied)
    if least and all(surplus > 0 for surplus in tied.values()):
        return highest
    if least and all(surplus < 0 for surplus in tied.values()):
        return lowest
    return min(max(reference or (lowest + highest) // 2, lowest), highest)
