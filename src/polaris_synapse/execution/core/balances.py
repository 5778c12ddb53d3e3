"""What venues hold for the desk, compared with what the trades booked here make.

A venue's answer is always a little older or newer than the trades that are known here, so one that differs proves
nothing. A difference counts while nothing is traded, nothing of the asset is in doubt, and the venue repeats it; it
first makes the core ask about every open order behind it. What is still there then opens a break. The first balance is
taken as it is: the desk did not put it there.
"""

from __future__ import annotations

from collections.abc import Iterator

from polaris_synapse.domain.messages import VenueBalances
from polaris_synapse.domain.orders import Fill, OrderState, Side
from polaris_synapse.execution.core.breaks import BALANCE, Breaks
from polaris_synapse.execution.core.model import AssetBalance, VenueOrder
from polaris_synapse.execution.core.orders import Orders, Out, assets_of

#: Times that a difference is seen before the open orders behind it are asked about.
_SEEN_BEFORE_ASKING = 2


class Balances:
    """Folds VenueBalances and the trades that are booked."""

    def __init__(self, orders: Orders, breaks: Breaks) -> None:
        self._orders = orders
        self._breaks = breaks

    def traded(self, order: VenueOrder, fill: Fill) -> None:
        """A trade was booked."""
        instrument = self._orders.state.instruments.get(order.request.symbol)
        if instrument is None:
            return
        sign = 1 if order.request.side is Side.BUY else -1
        notional_units = instrument.notional_units(fill.price_ticks, fill.quantity_lots)
        self._move(order.venue, instrument.base.code, sign * instrument.base_units(fill.quantity_lots))
        self._move(order.venue, instrument.quote.code, -sign * notional_units)
        if fill.fee_units:
            self._move(order.venue, fill.fee_asset, -fill.fee_units)

    def _move(self, venue: str, asset: str, units: int) -> None:
        self._watch(venue, asset).traded_units += units

    def _watch(self, venue: str, asset: str) -> AssetBalance:
        balances, key = self._orders.state.balances, f"{venue}/{asset}"
        watch = balances.get(key)
        if watch is None:
            watch = balances[key] = AssetBalance(venue=venue, asset=asset)
        return watch

    def apply(self, out: Out, said: VenueBalances) -> None:
        """Fold one answer."""
        held = {balance.asset: balance.total_units for balance in said.balances}
        state = self._orders.state
        never_traded = not any(order.venue == said.venue for order in state.orders.values())
        for asset in sorted(self._assets(said.venue)):
            watch = self._watch(said.venue, asset)
            units = held.get(asset, 0)
            if never_traded and not watch.opened and not watch.traded_units:
                watch.opened, watch.opening_units = True, units
            self._compare(out, watch, units)

    def _assets(self, venue: str) -> set[str]:
        """What trades at the venue, and what was traded or charged there."""
        state = self._orders.state
        found = {watch.asset for watch in state.balances.values() if watch.venue == venue}
        for instrument in state.instruments.values():
            if instrument.venue == venue:
                found |= {instrument.base.code, instrument.quote.code}
        return found

    def _compare(self, out: Out, watch: AssetBalance, units: int) -> None:
        difference = units - watch.opening_units - watch.traded_units
        quiet, watch.compared_units = watch.compared_units == watch.traded_units, watch.traded_units
        if watch.opened and not difference:
            watch.suspect_units = watch.seen = 0
            self._breaks.explain_balance(out, watch)
        elif not watch.seen or difference != watch.suspect_units:
            watch.suspect_units, watch.seen = difference, 1
        elif quiet:
            self._count(out, watch, units)

    def _count(self, out: Out, watch: AssetBalance, units: int) -> None:
        """The same difference again, and nothing was booked meanwhile."""
        state, rules = self._orders.state, self._orders.rules
        if watch.seen < _SEEN_BEFORE_ASKING:
            watch.seen += 1
            watch.suspect_tick = state.ticks
            for order in self._open_orders(watch):
                self._orders.look_again(order, self._orders.now_ns)
            return
        if state.ticks - watch.suspect_tick < rules.balance_ticks or self._is_in_doubt(watch):
            return
        watch.seen += 1
        if watch.seen < _SEEN_BEFORE_ASKING + rules.confirmations:
            return
        if watch.opened:
            symbols = tuple(sorted(self._symbols(watch)))
            self._breaks.open_balance(out, watch, self._sentence(watch, units, symbols), symbols)
        else:
            watch.opened = True
            watch.opening_units += watch.suspect_units
            watch.suspect_units = watch.seen = 0

    def _is_in_doubt(self, watch: AssetBalance) -> bool:
        """Whether an order or another break may yet explain it."""
        for found in self._orders.state.breaks.values():
            shares = watch.asset in assets_of(self._orders.state, found.symbol)
            if found.kind != BALANCE and found.venue == watch.venue and shares:
                return True
        return any(
            order.final_check
            if order.is_terminal
            else order.state is OrderState.UNKNOWN
            or order.oldest_request_ns
            or order.answered_tick < watch.suspect_tick
            for order in self._orders_of(watch)
        )

    def _open_orders(self, watch: AssetBalance) -> Iterator[VenueOrder]:
        return (order for order in self._orders_of(watch) if not order.is_terminal)

    def _orders_of(self, watch: AssetBalance) -> Iterator[VenueOrder]:
        state = self._orders.state
        return (
            order
            for order in state.orders.values()
            if order.venue == watch.venue and watch.asset in assets_of(state, order.request.symbol)
        )

    def _symbols(self, watch: AssetBalance) -> set[str]:
        """What trades in the asset at the venue; everything there, where the asset is only charged as a fee."""
        state = self._orders.state
        there = {symbol for symbol, instrument in state.instruments.items() if instrument.venue == watch.venue}
        there |= {order.request.symbol for order in state.orders.values() if order.venue == watch.venue}
        return {symbol for symbol in there if watch.asset in assets_of(state, symbol)} or there

    def _sentence(self, watch: AssetBalance, units: int, symbols: tuple[str, ...]) -> str:
        expected = units - watch.suspect_units
        text = self._orders.units_text
        return (
            f"{watch.venue} holds {text(watch.asset, units)}, the trades known here make "
            f"{text(watch.asset, expected)}; stopped: {', '.join(symbols) or 'nothing'}"
        )
