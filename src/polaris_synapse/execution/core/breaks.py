"""Breaks: differences with a venue that nothing explains. One is open a kind and order until it is explained."""

from __future__ import annotations

from typing import Final

from polaris_synapse.domain.messages import BreakChanged
from polaris_synapse.domain.orders import OrderEvent
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.core.model import NO_TERMS, AssetBalance, OpenBreak, Terms, VenueOrder
from polaris_synapse.execution.core.orders import Orders, Out, assets_of, is_legal, trade_key

#: The venue counts other lots as filled than its trades and the desk's add up to.
FILLS: Final = "fills"
#: A trade that the order cannot have: more than ordered, or of an order that the venue had turned away.
TRADE: Final = "trade"
#: A trade id that belongs to another order already.
TRADE_ID: Final = "trade_id"
#: An order that the venue had acknowledged and now denies.
VANISHED: Final = "vanished"
#: An order that ended here and lives there.
REVIVED: Final = "revived"
#: Quantity or prices at the venue that nobody here asked for.
TERMS: Final = "terms"
#: An order at the venue that the desk did not send.
STRANGER: Final = "stranger"
#: The venue holds more or less of an asset than the trades booked here make.
BALANCE: Final = "balance"

KINDS: Final = (FILLS, TRADE, TRADE_ID, VANISHED, REVIVED, TERMS, STRANGER, BALANCE)
#: Kinds whose settlement says that trades are accounted for which were never booked here.
_UNBOOKED: Final = frozenset({FILLS, TRADE, TRADE_ID})


class Breaks:
    """The open breaks, and what it means to resolve each kind."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def find(self, order_id: int, kind: str) -> OpenBreak | None:
        """The open break of a kind on an order."""
        breaks = self._orders.state.breaks.values()
        return next((found for found in breaks if found.order_id == order_id and found.kind == kind), None)

    def open(
        self,
        out: Out,
        order: VenueOrder,
        kind: str,
        detail: str,
        *,
        difference_lots: int = 0,
        trade_id: str = "",
        terms: Terms = NO_TERMS,
    ) -> None:
        """Open a break on an order. The same difference opens no second one."""
        for known in self._orders.state.breaks.values():
            if (known.order_id, known.kind, known.trade_id) == (order.order_id, kind, trade_id):
                known.difference_lots, known.terms = difference_lots, terms
                return
        self._add(
            out,
            OpenBreak(
                break_id=self._next_id(),
                kind=kind,
                order_id=order.order_id,
                venue=order.venue,
                symbol=order.request.symbol,
                account=order.request.account,
                detail=f"order {order.order_id} ({order.client_id}): {detail}",
                difference_lots=difference_lots,
                trade_id=trade_id,
                venue_order_id=order.venue_order_id,
                terms=terms,
            ),
        )

    def open_stranger(self, out: Out, *, venue: str, symbol: str, order_id: int, venue_order_id: str) -> None:
        """Open a break for an order at the venue that the desk knows nothing of."""
        state = self._orders.state
        name = f"{venue}/{symbol}/{venue_order_id or order_id}"
        known = any(found.kind == STRANGER and found.trade_id == name for found in state.breaks.values())
        if known or name in state.ignored_orders:
            return
        self._add(
            out,
            OpenBreak(
                break_id=self._next_id(),
                kind=STRANGER,
                order_id=order_id,
                venue=venue,
                symbol=symbol,
                account="",
                detail=f"{venue} has an order {venue_order_id or order_id} that the desk did not send",
                trade_id=name,
                venue_order_id=venue_order_id,
            ),
        )

    def find_balance(self, watch: AssetBalance) -> OpenBreak | None:
        """The open break of a venue's asset."""
        breaks = self._orders.state.breaks.values()
        return next((b for b in breaks if b.kind == BALANCE and (b.venue, b.asset) == (watch.venue, watch.asset)), None)

    def open_balance(self, out: Out, watch: AssetBalance, detail: str, symbols: tuple[str, ...]) -> None:
        """Open a break for an asset, or take over by how much it differs now."""
        known = self.find_balance(watch)
        if known is not None:
            known.difference_units = watch.suspect_units
            return
        self._add(
            out,
            OpenBreak(
                break_id=self._next_id(),
                kind=BALANCE,
                order_id=0,
                venue=watch.venue,
                symbol=watch.asset,
                account="",
                detail=detail,
                asset=watch.asset,
                difference_units=watch.suspect_units,
                symbols=symbols,
            ),
        )

    def explain_balance(self, out: Out, watch: AssetBalance) -> None:
        """Close an asset's break by rule: the venue holds what it should again."""
        found = self.find_balance(watch) if self._orders.state.breaks else None
        if found is not None:
            self._close(out, found, "explained: the venue and the desk agree again")

    def explain(self, out: Out, order: VenueOrder, kind: str) -> None:
        """Close a break by rule: what the venue says agrees again."""
        if not self._orders.state.breaks:
            return
        found = self.find(order.order_id, kind)
        if found is not None:
            self._close(out, found, "explained: the venue and the desk agree again")

    def resolve(self, out: Out, break_id: str, actor: str, note: str) -> tuple[Reason, bool]:
        """Close a break because a person says so; returns the answer's reason and whether it was closed before.

        The difference then counts as accounted for outside of the order, so that it does not open again; an order
        that the venue has lost ends as cancelled; a balance is taken for what it is at the venue.
        """
        state = self._orders.state
        found = state.breaks.get(break_id)
        if found is None:
            return (Reason.NONE, True) if break_id in state.resolved_breaks else (Reason.NOT_FOUND, False)
        order = state.orders.get(found.order_id)
        if found.kind == STRANGER:
            state.ignored_orders.append(found.trade_id)
            del state.ignored_orders[: -self._orders.rules.ignored_orders_max]
        elif found.kind == BALANCE:
            watch = state.balances[f"{found.venue}/{found.asset}"]
            watch.opening_units += found.difference_units
            watch.suspect_units = watch.seen = 0
        elif order is not None:
            self._settle(out, order, found)
        self._close(out, found, f"resolved by {actor or 'somebody'}: {note}")
        return Reason.NONE, False

    def _settle(self, out: Out, order: VenueOrder, found: OpenBreak) -> None:
        order.disputes = 0
        if found.kind in _UNBOOKED:
            order.settled_lots += found.difference_lots
            self._forget_balances(order)
        if found.kind == TRADE:
            order.trade_ids.append(found.trade_id)
            key = trade_key(order.venue, order.request.symbol, found.trade_id)
            self._orders.state.trades.setdefault(key, order.order_id)
        if found.kind == TRADE_ID:
            order.trade_ids.append(found.trade_id)
        if found.kind == TERMS:
            order.accepted_terms = found.terms
        if found.kind == VANISHED and is_legal(order, OrderEvent.CANCEL):
            self._orders.report(
                out, order, OrderEvent.CANCEL, reason=Reason.VENUE_ORDER_ABSENT, detail="the venue has lost the order"
            )
        elif order.is_terminal:
            order.final_check = True
            self._orders.look_again(order, self._orders.now_ns + 1)
        else:
            self._orders.look_again(order, self._orders.now_ns + 1)

    def _forget_balances(self, order: VenueOrder) -> None:
        """What a settled trade moved is not known here, so what the venue holds next is taken as it is."""
        state = self._orders.state
        for asset in assets_of(state, order.request.symbol):
            watch = state.balances.get(f"{order.venue}/{asset}")
            if watch is not None:
                watch.opened = False
                watch.suspect_units = watch.seen = 0

    def _next_id(self) -> str:
        state = self._orders.state
        state.breaks_opened += 1
        return f"break-{state.partition}-{state.breaks_opened}"

    def _add(self, out: Out, found: OpenBreak) -> None:
        self._orders.state.breaks[found.break_id] = found
        out.append(self._changed(found, is_open=True, detail=found.detail))

    def _close(self, out: Out, found: OpenBreak, how: str) -> None:
        state = self._orders.state
        del state.breaks[found.break_id]
        state.resolved_breaks.append(found.break_id)
        del state.resolved_breaks[: -self._orders.rules.resolved_breaks_max]
        out.append(self._changed(found, is_open=False, detail=f"{found.detail}; {how}"))

    def _changed(self, found: OpenBreak, *, is_open: bool, detail: str) -> BreakChanged:
        return BreakChanged(
            time_ns=self._orders.now_ns,
            break_id=found.break_id,
            venue=found.venue,
            symbol=found.symbol,
            account=found.account,
            is_open=is_open,
            detail=detail,
            symbols=found.symbols,
        )
