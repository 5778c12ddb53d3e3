"""Reads: what a principal may see, from the read models, in decimal text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from polaris_synapse.domain.messages import AccountMetrics, DecisionRecorded, PositionChanged
from polaris_synapse.domain.money import Asset, format_units
from polaris_synapse.domain.orders import Order
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway import viewing, views
from polaris_synapse.order_gateway.entry import OrderEntry
from polaris_synapse.order_gateway.markets import Markets
from polaris_synapse.order_gateway.order_params import OrderParams
from polaris_synapse.order_gateway.preview import preview
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.errors import ApiError

T = TypeVar("T")

_DECISIONS_READ_MAX = 1_000


class Reads:
    """Answers questions about a principal's accounts. Every answer shows all that was durable when it was asked."""

    def __init__(self, read_models: ReadModels, entry: OrderEntry, markets: Markets, valuation: str) -> None:
        self._read_models = read_models
        self._entry = entry
        self._markets = markets
        self._valuation = valuation

    async def _over(
        self, principal: Principal, account: str, read: Callable[[str | None], Awaitable[list[T]]]
    ) -> list[T]:
        """Rows of the account asked for, or of every account of the principal's."""
        accounts = principal.account_filter(account)
        await self._entry.caught_up()
        if accounts is None:
            return await read(None)
        return [row for name in accounts for row in await read(name)]

    async def orders(
        self, principal: Principal, *, account: str, symbol: str, open_only: bool, limit: int, before_order_id: int
    ) -> views.OrdersAnswer:
        """Orders, newest first."""

        async def read(name: str | None) -> list[Order]:
            return await self._read_models.orders(
                account=name, symbol=symbol, open_only=open_only, limit=limit, before_order_id=before_order_id
            )

        found = await self._over(principal, account, read)
        found.sort(key=lambda order: order.order_id, reverse=True)
        page = found[:limit]
        shown = [viewing.order_view(order, await self._markets.instrument(order.request.symbol)) for order in page]
        last = page[-1].order_id if len(found) >= limit and page else 0
        return views.OrdersAnswer(orders=shown, next_before_order_id=last)

    async def executions(
        self, principal: Principal, *, account: str, symbol: str, order_id: int, limit: int, before_time_ns: int
    ) -> views.ExecutionsAnswer:
        """Fills, newest first."""
        found = await self._over(
            principal,
            account,
            lambda name: self._read_models.executions(
                account=name, symbol=symbol, order_id=order_id, limit=limit, before_time_ns=before_time_ns
            ),
        )
        found.sort(key=lambda execution: execution.time_ns, reverse=True)
        # A page ends between two moments, since the next one begins before its last: it may be longer than ``limit``.
        moment = found[limit - 1].time_ns if len(found) >= limit else 0
        page = [execution for execution in found if execution.time_ns >= moment]
        shown = [
            viewing.execution_view(
                execution,
                await self._markets.instrument(execution.symbol),
                self._markets.asset(execution.fill.fee_asset),
            )
            for execution in page
        ]
        last = page[-1].time_ns if len(found) >= limit and page else 0
        return views.ExecutionsAnswer(executions=shown, next_before_time_ns=last)

    async def balances(self, principal: Principal, account: str) -> views.BalancesAnswer:
        """Balances by account and asset."""
        found = await self._over(principal, account, lambda name: self._read_models.balances(account=name))
        found.sort(key=lambda balance: (balance.account, balance.asset))
        return views.BalancesAnswer(
            balances=[
                viewing.balance_view(balance, asset)
                for balance in found
                if (asset := self._markets.asset(balance.asset)) is not None
            ]
        )

    async def positions(self, principal: Principal, account: str) -> views.PositionsAnswer:
        """Positions by account and symbol, at their marks."""
        found = await self._over(principal, account, lambda name: self._read_models.positions(account=name))
        found.sort(key=lambda position: (position.account, position.symbol))
        return views.PositionsAnswer(positions=[await self._position(position) for position in found])

    async def _position(self, position: PositionChanged) -> views.PositionView:
        instrument = await self._markets.instrument(position.symbol)
        return viewing.position_view(position, instrument, self._markets.mark(instrument))

    async def pnl(self, principal: Principal, account: str) -> views.PnlAnswer:
        """Profit and loss by account, in the desk's valuation asset."""
        positions = await self._over(principal, account, lambda name: self._read_models.positions(account=name))
        metrics = await self._over(principal, account, lambda name: self._read_models.account_metrics(account=name))
        valued = {row.account: row for row in metrics}
        by_account: dict[str, list[PositionChanged]] = {name: [] for name in valued}
        for position in positions:
            by_account.setdefault(position.account, []).append(position)
        return views.PnlAnswer(
            accounts=[await self._pnl_of(name, by_account[name], valued.get(name)) for name in sorted(by_account)]
        )

    async def _pnl_of(
        self, account: str, positions: list[PositionChanged], metrics: AccountMetrics | None
    ) -> views.PnlView:
        asset = self._markets.asset(self._valuation) or Asset(self._valuation, 8)
        unrealised = realised = fees = 0
        unpriced = set(metrics.unpriced_assets) if metrics else set()
        shown = []
        for position in sorted(positions, key=lambda position: position.symbol):
            instrument = await self._markets.instrument(position.symbol)
            mark = self._markets.mark(instrument)
            shown.append(viewing.position_view(position, instrument, mark))
            if instrument.quote.code != asset.code:
                unpriced.add(instrument.quote.code)
                continue
            profit = viewing.unrealised_units(position, instrument, mark)
            if profit is None:
                unpriced.add(instrument.base.code)
            unrealised += profit or 0
            realised += position.realised_pnl_units
            fees += position.fees_units

        def text(units: int) -> str:
            return format_units(units, asset.decimals)

        return views.PnlView(
            account=account,
            asset=asset.code,
            equity=text(metrics.equity_units) if metrics else "",
            day_pnl=text(metrics.equity_units - metrics.day_start_equity_units) if metrics else "",
            unrealised_pnl=text(unrealised),
            realised_pnl=text(realised),
            fees=text(fees),
            exposure=text(metrics.exposure_units) if metrics else "",
            valued_time=viewing.iso_time(metrics.time_ns) if metrics else "",
            unpriced_assets=tuple(sorted(unpriced)),
            positions=tuple(shown),
        )

    async def accounts(self, principal: Principal) -> views.AccountsAnswer:
        """The accounts that are the principal's to see."""
        await self._entry.caught_up()
        found = [row for row in await self._read_models.accounts() if principal.may_use(row.account)]
        return views.AccountsAnswer(
            accounts=[viewing.account_view(row) for row in sorted(found, key=lambda row: row.account)]
        )

    async def instruments(self) -> views.InstrumentsAnswer:
        """What can be traded."""
        await self._markets.refresh()
        return views.InstrumentsAnswer(
            instruments=[
                viewing.instrument_view(instrument, self._markets.mark(instrument))
                for instrument in self._markets.instruments()
            ]
        )

    async def decisions(self, principal: Principal, *, symbol: str, limit: int) -> views.DecisionsAnswer:
        """Decisions on the principal's accounts, newest first."""
        await self._entry.caught_up()
        # Others' decisions are left out afterwards, so more are read than asked for.
        read_max = limit if principal.all_accounts else _DECISIONS_READ_MAX
        found = await self._read_models.decisions(symbol=symbol, limit=read_max)
        return views.DecisionsAnswer(decisions=[row for row in found if principal.may_use(row.account)][:limit])

    async def decision(self, principal: Principal, decision_id: str) -> DecisionRecorded:
        """One decision. Raises ApiError(DECISION_NOT_FOUND), also for somebody else's."""
        await self._entry.caught_up()
        found = await self._read_models.decision(decision_id)
        if found is None or not principal.may_use(found.account):
            raise ApiError(Reason.DECISION_NOT_FOUND)
        return found

    async def preview(self, principal: Principal, params: OrderParams) -> views.PreviewAnswer:
        """What an order would cost. Places and reserves nothing."""
        request = await self._entry.parse(principal, params)
        instrument = await self._markets.instrument(request.symbol)
        await self._entry.caught_up()
        balances = await self._read_models.balances(account=request.account)
        return preview(request, instrument, self._markets.mark(instrument), balances)
