"""What conversations need of the other rooms: order entry as whoever speaks, and the market as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from polaris_synapse.agents.conversation.ports import OrderOutcome, OrderPreview, OrderTicket
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Mark
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.orders import PostOnly, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.market_data.views import MarketViews
from polaris_synapse.order_gateway.answers import Outcome
from polaris_synapse.order_gateway.entry import OrderKey
from polaris_synapse.order_gateway.order_params import OrderParams, ReplaceParams
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.order_gateway.views import OrderAnswer
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.errors import ApiError

#: How long a reply waits for the venue after risk's verdict.
_WAIT_MS: Final = 1_500
#: The entry that order metrics name.
_ENTRY: Final = "chat"


class ChatTrading:
    """agents.conversation.ports.Trading over the gateway: the same entry, checks and budgets as REST."""

    def __init__(self, gateway: GatewayService) -> None:
        self._gateway = gateway

    async def preview(self, principal: Principal, ticket: OrderTicket, /) -> OrderPreview:
        """See Trading."""
        found = await self._gateway.reads.preview(principal, _params(ticket))
        return msgspec.convert(found, OrderPreview, from_attributes=True)

    async def submit(self, principal: Principal, ticket: OrderTicket, /) -> OrderOutcome:
        """See Trading."""
        return _outcome(await self._gateway.answers.submit(principal, _params(ticket), wait_ms=_WAIT_MS, entry=_ENTRY))

    async def cancel(self, principal: Principal, account: str, order_id: int, /) -> OrderOutcome:
        """See Trading."""
        key = OrderKey(order_id, "", account)
        return _outcome(await self._gateway.answers.cancel(principal, key, wait_ms=_WAIT_MS))

    async def cancel_all(
        self, principal: Principal, account: str, symbol: str, side: Side | None, /
    ) -> tuple[int, ...]:
        """See Trading."""
        found = await self._gateway.answers.cancel_all(principal, account=account, symbol=symbol, side=side)
        return found.order_ids

    async def replace(
        self, principal: Principal, account: str, order_id: int, quantity: str, price: str, stop_price: str, /
    ) -> OrderOutcome:
        """See Trading."""
        params = ReplaceParams(quantity=quantity or None, price=price or None, stop_price=stop_price or None)
        key = OrderKey(order_id, "", account)
        return _outcome(await self._gateway.answers.replace(principal, key, params, wait_ms=_WAIT_MS))

    async def settled(self, principal: Principal, account: str, order_id: int, /) -> OrderOutcome:
        """See Trading."""
        key = OrderKey(order_id, "", account)
        return _outcome(await self._gateway.answers.settled(principal, key, wait_ms=_WAIT_MS))


class ChatMarket:
    """agents.conversation.ports.Market over the gateway's marks and views of the books."""

    def __init__(self, gateway: GatewayService, views: MarketViews, notes: Callable[[], Mapping[str, str]]) -> None:
        self._gateway = gateway
        self._views = views
        self._notes = notes

    def mark(self, instrument: Instrument, /) -> Mark | None:
        """See Market."""
        return self._gateway.markets.mark(instrument)

    def book(self, symbol: str, levels: int, /) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """See Market."""
        view = self._views.get(symbol)
        return view.book(levels) if view is not None and view.sequence else ((), ())

    def notes(self) -> dict[str, str]:
        """See Market."""
        return dict(self._notes())


def _params(ticket: OrderTicket) -> OrderParams:
    """A ticket as order entry reads it. Raises ApiError for an account's or a client's name that it does not take."""
    given = {name: value for name, value in msgspec.structs.asdict(ticket).items() if value not in ("", 0, None)}
    given["post_only"] = PostOnly.REJECT if ticket.post_only else PostOnly.NO
    try:
        return msgspec.convert(given, OrderParams)
    except msgspec.ValidationError as error:
        raise ApiError(Reason.INVALID_VALUE, f"{error}.") from None


def _outcome(outcome: Outcome) -> OrderOutcome:
    body = outcome.body
    if not isinstance(body, OrderAnswer):
        return OrderOutcome(known=False, client_order_id=body.client_order_id)
    order = body.order
    return OrderOutcome(
        known=True,
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        state=order.state,
        quantity=order.quantity,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
        message=order.message,
        how=next((fill.how for fill in body.fills if fill.simulated), ""),
    )
