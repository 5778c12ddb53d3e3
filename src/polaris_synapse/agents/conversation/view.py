"""The desk as one principal may see it: rows of the read models, marks, and exact sums over both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from msgspec import Struct

from polaris_synapse.agents.conversation.ports import Limits, Market
from polaris_synapse.agents.conversation.settings import ConversationSettings
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import BalanceChanged, DecisionRecorded, ExecutionRecorded, Mark
from polaris_synapse.domain.money import Asset, format_units
from polaris_synapse.domain.orders import Order
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.storage.port import ROWS_MAX, ReadModels, ReadModelsLagError
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.errors import ApiError

T = TypeVar("T")


class Table(Struct, frozen=True):
    """A small table: a title, the names of its columns, and rows of texts."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Said(Struct, frozen=True):
    """An answer: sentences, and a table where there is a list. ``simulated``: no real market stands behind it."""

    text: str
    table: Table | None = None
    simulated: bool = False


class Holding(Struct, frozen=True):
    """What is held of an asset in minor units, and what that is worth at ``mark`` in the valuation asset.

    ``value_units`` None: there is no price. Values are rounded down to the minor unit.
    """

    asset: Asset
    total_units: int
    free_units: int
    instrument: Instrument | None
    mark: Mark | None
    value_units: int | None


def count(number: int, one: str) -> str:
    """``1 fill``, ``2 fills``."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def sentence(text: str) -> str:
    """The same with a capital at its beginning; names inside keep theirs."""
    return text[:1].upper() + text[1:]


class View:
    """Reads for one principal and, where one was named, one account."""

    def __init__(
        self,
        *,
        principal: Principal,
        account: str,
        reads: ReadModels,
        market: Market,
        limits: Limits,
        valuation: Asset,
        now_ns: int,
        settings: ConversationSettings,
    ) -> None:
        self.principal = principal
        self.account = account
        #: None: every account. Raises ApiError for one that is not the principal's.
        self.accounts = principal.account_filter(account)
        self.reads = reads
        self.market = market
        self.limits = limits
        self.valuation = valuation
        self.now_ns = now_ns
        self.settings = settings

    async def caught_up(self) -> None:
        """Let reads show all that was durable. Raises ApiError(NOT_READY)."""
        try:
            await self.reads.caught_up()
        except ReadModelsLagError as error:
            raise ApiError(Reason.NOT_READY, str(error), headers={"retry-after": "1"}) from None

    async def over(self, read: Callable[[str | None], Awaitable[list[T]]]) -> list[T]:
        """Rows of every account that the view covers."""
        if self.accounts is None:
            return await read(None)
        return [row for name in self.accounts for row in await read(name)]

    @property
    def whose(self) -> str:
        """The accounts in words."""
        if self.account:
            return f"account {self.account}"
        return "all accounts" if self.accounts is None or len(self.accounts) != 1 else f"account {self.accounts[0]}"

    async def instruments(self) -> dict[str, Instrument]:
        """Every instrument, by symbol."""
        return {instrument.symbol: instrument for instrument in await self.reads.instruments()}

    async def balances(self) -> list[BalanceChanged]:
        """Balances of the accounts."""
        return await self.over(lambda name: self.reads.balances(account=name))

    async def orders(self, *, symbol: str = "", open_only: bool = True, limit: int = ROWS_MAX) -> list[Order]:
        """Orders, newest first."""
        found = await self.over(
            lambda name: self.reads.orders(account=name, symbol=symbol, open_only=open_only, limit=limit)
        )
        return sorted(found, key=lambda order: order.order_id, reverse=True)

    async def fills(self, *, symbol: str = "", since_ns: int = 0) -> list[ExecutionRecorded]:
        """Fills, newest first, at most ``bookings_read_max`` of each account."""
        limit = self.settings.bookings_read_max
        found = await self.over(lambda name: self.reads.executions(account=name, symbol=symbol, limit=limit))
        return sorted((row for row in found if row.time_ns >= since_ns), key=lambda row: row.time_ns, reverse=True)

    async def decisions(self, *, symbol: str = "") -> list[DecisionRecorded]:
        """Decisions on the accounts that the principal may use, newest first. The account asked for narrows nothing:
        agents trade on accounts of their own.
        """
        found = await self.reads.decisions(symbol=symbol, limit=ROWS_MAX)
        return [row for row in found if self.principal.may_use(row.account)]

    async def holdings(self) -> list[Holding]:
        """What is held, by asset, summed over the accounts."""
        instruments = await self.instruments()
        total: dict[str, int] = {}
        free: dict[str, int] = {}
        for row in await self.balances():
            total[row.asset] = total.get(row.asset, 0) + row.total_units
            free[row.asset] = free.get(row.asset, 0) + row.total_units - row.reserved_units
        assets = {asset.code: asset for one in instruments.values() for asset in (one.base, one.quote)}
        assets.setdefault(self.valuation.code, self.valuation)
        return [
            self.holding(assets[code], total[code], free[code], instruments.values())
            for code in sorted(total)
            if code in assets
        ]

    def holding(self, asset: Asset, total: int, free: int, instruments: Iterable[Instrument]) -> Holding:
        """What amounts of an asset are worth at its mark."""
        if asset.code == self.valuation.code:
            return Holding(asset, total, free, None, None, total)
        for instrument in instruments:
            priced = instrument.base.code == asset.code and instrument.quote.code == self.valuation.code
            if priced and not instrument.reference_symbol:
                mark = self.market.mark(instrument)
                if mark is not None:
                    return Holding(
                        asset, total, free, instrument, mark, value_units(instrument, mark.mark_ticks, total)
                    )
        return Holding(asset, total, free, None, None, None)

    def money(self, units: int) -> str:
        """Minor units of the valuation asset as exact text with its code."""
        return f"{format_units(units, self.valuation.decimals)} {self.valuation.code}"

    def is_simulated(self, *marks: Mark | None) -> bool:
        """Whether a mark comes from anything but a live market."""
        return any(mark is not None and mark.source in {"simulated", "replay"} for mark in marks)


def value_units(instrument: Instrument, price_ticks: int, base_units: int) -> int:
    """What ``base_units`` are worth at a price, in quote minor units, rounded down."""
    return price_ticks * instrument.tick_units * base_units // instrument.base.unit_count
