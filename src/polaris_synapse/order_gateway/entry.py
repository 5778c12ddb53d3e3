"""Order entry: the one path that every order, cancel and replace takes, whoever sends it and however it arrives.

Role, account, budget, parsing, then risk. REST, WebSocket and the agents in this process all come through here.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from typing import Final

import anyio
from msgspec import Struct

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.messages import Answer, CancelAll, CancelOrder, Command, ReplaceOrder, SubmitOrder
from polaris_synapse.domain.orders import Order, OrderRequest, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.limits import RateLimiter, spend, spend_now
from polaris_synapse.order_gateway.markets import Markets
from polaris_synapse.order_gateway.metrics import GatewayMetrics
from polaris_synapse.order_gateway.order_params import OrderParams, ReplaceParams
from polaris_synapse.order_gateway.order_parsing import parse_order, parse_price, parse_quantity
from polaris_synapse.order_gateway.settings import GatewaySettings
from polaris_synapse.order_gateway.tracker import OrderTracker
from polaris_synapse.risk.core.orders import CANCELS_AT_ONCE_MAX
from polaris_synapse.storage.port import ReadModels, ReadModelsLagError
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError, http_status

#: Who may take risk, and who may only take it off.
TRADING_ROLES: Final = (Role.TRADER, Role.AGENT)
CANCELLING_ROLES: Final = (Role.TRADER, Role.AGENT, Role.RISK_OFFICER)


class OrderKey(Struct, frozen=True):
    """One order as a client names it: by the desk's id, or by the client's own id on an account."""

    order_id: int = 0
    client_order_id: str = ""
    account: str = ""


class OrderEntry:
    """Takes orders, cancels and replaces from principals and answers with what risk decided."""

    def __init__(
        self,
        *,
        bus: Bus,
        read_models: ReadModels,
        clock: Clock,
        markets: Markets,
        tracker: OrderTracker,
        limiter: RateLimiter,
        metrics: GatewayMetrics,
        settings: GatewaySettings,
    ) -> None:
        self._bus = bus
        self._read_models = read_models
        self._clock = clock
        self._markets = markets
        self._tracker = tracker
        self._limiter = limiter
        self._metrics = metrics
        self._settings = settings
        self._id_prefix = secrets.token_hex(8)
        self._ids = itertools.count(1)

    async def parse(self, principal: Principal, params: OrderParams) -> OrderRequest:
        """The order that ``params`` ask for, on an account that the principal may use. Raises ApiError."""
        principal.require(*TRADING_ROLES)
        account = the_account(principal, params.account)
        instrument = self._markets.known(params.symbol) or await self._markets.instrument(params.symbol)
        client_order_id = params.client_order_id or _client_order_id()
        return parse_order(params, instrument, account=account, client_order_id=client_order_id)

    async def submit(
        self,
        principal: Principal,
        order: OrderRequest | OrderParams,
        *,
        approval_id: str = "",
        entry: str = "process",
    ) -> Answer:
        """Place an order and answer with risk's durable verdict. Raises ApiError where it never reached risk.

        An Answer with reason TIMED_OUT: the outcome is not known yet; ask by ``client_order_id``.
        """
        principal.require(*TRADING_ROLES)
        await spend(self._limiter, self._settings.orders, principal.actor)
        if isinstance(order, OrderParams):
            approval_id = approval_id or order.approval_id
            order = await self.parse(principal, order)
        else:
            principal.require_account(order.account)
        begun = self._metrics.now_ns()
        answer = await self._ask("submit", self._submission(principal, order, approval_id))
        self._metrics.order_seconds.observe_ns(entry, self._metrics.now_ns() - begun)
        return answer

    def submit_soon(
        self, principal: Principal, params: OrderParams, done: Callable[[Answer], None], *, entry: str
    ) -> str | None:
        """``submit`` without a coroutine: ``done`` gets risk's verdict. Returns the account that the order is for.

        None: something has to be waited for before the order can be sent, so use ``submit``; nothing was done. Raises
        ApiError where the order never reaches risk.
        """
        principal.require(*TRADING_ROLES)
        instrument = self._markets.known(params.symbol)
        if instrument is None or not spend_now(self._limiter, self._settings.orders, principal.actor):
            return None
        account = the_account(principal, params.account)
        client_order_id = params.client_order_id or _client_order_id()
        order = parse_order(params, instrument, account=account, client_order_id=client_order_id)
        command = self._submission(principal, order, params.approval_id)
        metrics = self._metrics
        begun = metrics.now_ns()

        def answered(result: Answer | BusError) -> None:
            answer = _refused(command, result) if isinstance(result, BusError) else result
            metrics.command("submit", answer.reason)
            metrics.order_seconds.observe_ns(entry, metrics.now_ns() - begun)
            done(answer)

        try:
            self._bus.request_soon(command, answered)
        except BusError as error:
            raise self._unsent("submit", error) from None
        return account

    def _submission(self, principal: Principal, order: OrderRequest, approval_id: str) -> SubmitOrder:
        return SubmitOrder(
            time_ns=self._clock.now_ns(),
            request_id=self._request_id(),
            actor=principal.actor,
            order=order,
            approval_id=approval_id,
        )

    async def cancel(self, principal: Principal, key: OrderKey) -> Answer:
        """Cancel one order. Raises ApiError(ORDER_NOT_FOUND) for an order of somebody else's account too."""
        principal.require(*CANCELLING_ROLES)
        await spend(self._limiter, self._settings.cancels, principal.actor)
        account = await self._account_of(principal, key)
        return await self._ask(
            "cancel",
            CancelOrder(
                time_ns=self._clock.now_ns(),
                request_id=self._request_id(),
                actor=principal.actor,
                account=account,
                order_id=key.order_id,
                client_order_id=key.client_order_id,
            ),
        )

    async def cancel_all(
        self,
        principal: Principal,
        *,
        account: str = "",
        symbol: str = "",
        side: Side | None = None,
        reason: Reason = Reason.CANCELLED_BY_USER,
        metered: bool = True,
    ) -> Answer:
        """Cancel every open order that matches, on the account given or on every one of the principal's.

        Not ``metered``: the desk does it for a client that is gone, which no budget may prevent.
        """
        principal.require(*CANCELLING_ROLES)
        accounts = principal.account_filter(account)
        if metered:
            await spend(self._limiter, self._settings.cancels, principal.actor)
        order_ids: list[int] = []
        answer: Answer | None = None
        for name in ("",) if accounts is None else accounts:
            more = True
            while more:
                answer = await self._ask(
                    "cancel_all",
                    CancelAll(
                        time_ns=self._clock.now_ns(),
                        request_id=self._request_id(),
                        actor=principal.actor,
                        account=name,
                        symbol=symbol,
                        side=side,
                        reason=reason,
                    ),
                )
                if answer.reason is not Reason.NONE:
                    return answer
                order_ids += answer.order_ids
                # The core cancels so many at once and leaves the rest to the next time that it is asked.
                more = len(answer.order_ids) >= CANCELS_AT_ONCE_MAX
        if answer is None:
            raise ApiError(Reason.ACCOUNT_NOT_ALLOWED, "There is no account that is yours to use.")
        return Answer(time_ns=answer.time_ns, request_id=answer.request_id, order_ids=tuple(order_ids))

    async def replace(self, principal: Principal, key: OrderKey, params: ReplaceParams) -> Answer:
        """Change an open order's quantity or prices. Raises ApiError."""
        principal.require(*TRADING_ROLES)
        if params.quantity is None and params.price is None and params.stop_price is None:
            raise ApiError(Reason.MISSING_FIELD, "Say what to change: quantity, price or stop_price.")
        await spend(self._limiter, self._settings.orders, principal.actor)
        order = await self.find(principal, key)
        instrument = await self._markets.instrument(order.request.symbol)
        return await self._ask(
            "replace",
            ReplaceOrder(
                time_ns=self._clock.now_ns(),
                request_id=self._request_id(),
                actor=principal.actor,
                account=order.request.account,
                order_id=order.order_id,
                quantity_lots=parse_quantity(instrument, "quantity", params.quantity),
                price_ticks=parse_price(instrument, "price", params.price),
                stop_price_ticks=parse_price(instrument, "stop_price", params.stop_price),
            ),
        )

    async def find(self, principal: Principal, key: OrderKey) -> Order:
        """An order of the principal's accounts. Raises ApiError(ORDER_NOT_FOUND) for everything else."""
        if key.account:
            principal.require_account(key.account)
        found = self._tracker.order(key.order_id) if key.order_id else None
        if found is None:
            await self.caught_up()
            found = await self._stored(principal, key)
        if found is None or not principal.may_use(found.request.account):
            raise ApiError(Reason.ORDER_NOT_FOUND)
        if key.account and found.request.account != key.account:
            raise ApiError(Reason.ORDER_NOT_FOUND)
        return found

    async def _stored(self, principal: Principal, key: OrderKey) -> Order | None:
        if key.order_id:
            return await self._read_models.order(account=key.account or None, order_id=key.order_id)
        # A client order id is unique on one account only.
        account = the_account(principal, key.account or None)
        return await self._read_models.order(account=account, client_order_id=key.client_order_id)

    async def _account_of(self, principal: Principal, key: OrderKey) -> str:
        """The account to cancel on. Whoever has just one needs no look-up, so cancels pass when reads are down."""
        if key.account:
            principal.require_account(key.account)
            return key.account
        if not principal.all_accounts and len(principal.accounts) == 1:
            return principal.accounts[0]
        return (await self.find(principal, key)).request.account

    async def caught_up(self) -> None:
        """Wait until reads show everything durable. Raises ApiError(NOT_READY) where that takes too long."""
        try:
            with anyio.fail_after(self._settings.read_seconds_max):
                await self._read_models.caught_up()
        except (TimeoutError, ReadModelsLagError):
            raise ApiError(Reason.NOT_READY, "The read models are behind.", headers={"retry-after": "1"}) from None

    async def ask(self, kind: str, principal: Principal, command: Command) -> Answer:
        """Send a command of the principal's that is no order: funds, say."""
        await spend(self._limiter, self._settings.orders, principal.actor)
        return await self._ask(kind, command)

    async def cancel_command(self, kind: str, principal: Principal, command: Command) -> Answer:
        """Send a command of the principal's that cancels: it has the budget of cancels."""
        principal.require(*CANCELLING_ROLES)
        await spend(self._limiter, self._settings.cancels, principal.actor)
        return await self._ask(kind, command)

    async def _ask(self, kind: str, command: Command) -> Answer:
        try:
            # The bus bounds the wait itself and says TIMED_OUT.
            answer = await self._bus.request(command)
        except BusError as error:
            if error.reason is not Reason.TIMED_OUT:
                raise self._unsent(kind, error) from None
            answer = _refused(command, error)
        self._metrics.command(kind, answer.reason)
        return answer

    def _unsent(self, kind: str, error: BusError) -> ApiError:
        """The refusal of a command that the bus did not take."""
        self._metrics.command(kind, error.reason)
        again = {"retry-after": "1"} if http_status(error.reason) == 503 else None
        return ApiError(error.reason, str(error), headers=again)

    def _request_id(self) -> str:
        # A random start and a count are as unique as random ids, at a tenth of the price.
        return f"{self._id_prefix}{next(self._ids):08x}"


def _refused(command: Command, error: BusError) -> Answer:
    """What the bus said, as an answer. TIMED_OUT: the outcome is not known."""
    detail = "" if error.reason is Reason.TIMED_OUT else str(error)
    return Answer(time_ns=command.time_ns, request_id=command.request_id, reason=error.reason, detail=detail)


def _client_order_id() -> str:
    return f"gw-{secrets.token_hex(12)}"


def the_account(principal: Principal, account: str | None) -> str:
    """The account asked for, or the principal's only one. Raises ApiError."""
    if account:
        principal.require_account(account)
        return account
    if principal.all_accounts or len(principal.accounts) != 1:
        raise ApiError(Reason.MISSING_FIELD, "The field account is missing: you may use more than one.")
    return principal.accounts[0]
