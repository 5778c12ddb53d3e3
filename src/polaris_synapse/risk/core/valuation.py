"""What things are worth: marks, the price an order is measured against, equity and exposure.

Holdings are valued at the last plausible price, healthy or not today; orders need a healthy and recent mark. A market
with a ``reference_symbol`` is measured by its reference's mark while it has no usable one of its own.
"""

from __future__ import annotations

from typing import Final

from polaris_synapse.domain.instruments import PARTS_PER_MILLION
from polaris_synapse.domain.messages import AccountMetrics, Mark
from polaris_synapse.risk.core.state import SECOND_NS, Account, Desk, Market

#: Two healthy marks further apart in time than this are not compared: a market may move while nobody looks.
MARK_JUMP_SECONDS_MAX: Final = 60


def convert_ticks(ticks: int, source: Market, target: Market) -> int:
    """A price of ``source`` in ticks of ``target``, rounded down; 0 where their quotes count differently."""
    if source.instrument.quote != target.instrument.quote:
        return 0
    return ticks * source.instrument.tick_units // target.instrument.tick_units


def is_usable(market: Market, time_ns: int, age_seconds_max: int) -> bool:
    """Whether a market's own mark may be traded on. A clock that jumps either way makes a mark too old, not fresh."""
    if market.price_ticks <= 0 or not market.healthy:
        return False
    return not age_seconds_max or abs(time_ns - market.mark_time_ns) <= age_seconds_max * SECOND_NS


def usable_mark(desk: Desk, market: Market, time_ns: int, age_seconds_max: int) -> int:
    """The mark in ticks that an order may be measured against, or 0."""
    if is_usable(market, time_ns, age_seconds_max):
        return market.price_ticks
    reference = desk.state.markets.get(market.instrument.reference_symbol)
    if reference is not None and is_usable(reference, time_ns, age_seconds_max):
        return convert_ticks(reference.price_ticks, reference, market)
    return 0


def last_price(desk: Desk, market: Market) -> int:
    """The last plausible price in ticks, however old, or 0."""
    if market.price_ticks:
        return market.price_ticks
    reference = desk.state.markets.get(market.instrument.reference_symbol)
    return convert_ticks(reference.price_ticks, reference, market) if reference is not None else 0


def value_of(desk: Desk, asset: str, units: int) -> int | None:
    """``units`` of ``asset`` in minor units of the valuation asset, rounded down; None while it has no price."""
    if asset == desk.state.valuation_asset:
        return units
    market = desk.pricing.get(asset)
    if market is None:
        return None if units else 0
    ticks = market.price_ticks or last_price(desk, market)
    if not ticks:
        return None if units else 0
    return units * ticks * market.instrument.tick_units // market.base_unit_count


def is_jump(before_ticks: int, after_ticks: int, jump_ppm: int) -> bool:
    """Whether two prices lie further apart than ``jump_ppm`` of the first."""
    return abs(after_ticks - before_ticks) * PARTS_PER_MILLION > before_ticks * jump_ppm


def take_mark(desk: Desk, market: Market, mark: Mark, jump_ppm: int) -> bool:
    """Fold a mark. Answers whether it jumped.

    A price that jumps is not believed at once: it becomes the price when the next mark agrees with it, so one wild
    mark never values anybody's holdings.
    """
    near = mark.time_ns - market.price_time_ns <= MARK_JUMP_SECONDS_MAX * SECOND_NS
    market.mark_time_ns = mark.time_ns
    market.healthy = mark.healthy and mark.mark_ticks > 0
    market.bid_ticks, market.ask_ticks = mark.bid_ticks, mark.ask_ticks
    if not market.healthy:
        return False
    suspect = market.suspect_ticks
    jumped = bool(jump_ppm and market.price_ticks and near and is_jump(market.price_ticks, mark.mark_ticks, jump_ppm))
    if jumped and (not suspect or is_jump(suspect, mark.mark_ticks, jump_ppm)):
        market.suspect_ticks = mark.mark_ticks
        market.healthy = False
        return True
    market.suspect_ticks = 0
    market.price_time_ns = mark.time_ns
    if mark.mark_ticks != market.price_ticks:
        first = market.price_ticks == 0
        without_price = _assets_without_price(desk, market) if first else []
        market.price_ticks = mark.mark_ticks
        desk.state.price_version += 1
        if first:
            desk.find_pricing_markets()
        for asset in without_price:
            raise_baselines(desk, asset)
    return False


def _assets_without_price(desk: Desk, market: Market) -> list[str]:
    """The assets that ``market``'s first price may be about to value, of those that nothing values yet."""
    followers = (m.base for m in desk.state.markets.values() if m.instrument.reference_symbol == market.symbol)
    return [asset for asset in sorted({market.base, *followers}) if value_of(desk, asset, 1) is None]


def raise_baselines(desk: Desk, asset: str) -> None:
    """An asset gets its first price: what it is worth was there before, so it is no profit."""
    for account in desk.state.accounts.values():
        balance = account.balances.get(asset)
        if balance is not None and balance.total_units:
            worth = value_of(desk, asset, balance.total_units) or 0
            account.day_start_equity_units += worth
            account.peak_equity_units += worth


def refresh(desk: Desk, account: Account) -> None:
    """Bring the account's equity, exposure and peak up to date with prices and holdings."""
    state = desk.state
    if (
        account.valued_price_version == state.price_version
        and account.valued_holdings_version == account.holdings_version
    ):
        return
    equity = exposure = 0
    unpriced: list[str] = []
    for asset, balance in account.balances.items():
        worth = value_of(desk, asset, balance.total_units)
        if worth is None:
            unpriced.append(asset)
            continue
        equity += worth
        if asset != state.valuation_asset:
            exposure += abs(worth)
    account.equity_units = equity
    account.exposure_units = exposure
    account.unpriced_assets = tuple(sorted(unpriced))
    account.peak_equity_units = max(account.peak_equity_units, equity)
    account.valued_price_version = state.price_version
    account.valued_holdings_version = account.holdings_version


def open_orders_value(desk: Desk, account: Account) -> int:
    """What the account's open orders hold reserved, in minor units of the valuation asset."""
    return sum(
        value_of(desk, asset, balance.reserved_units) or 0
        for asset, balance in account.balances.items()
        if balance.reserved_units
    )


def metrics_of(desk: Desk, account: Account, time_ns: int) -> AccountMetrics:
    """The account's metrics at the current prices."""
    refresh(desk, account)
    return AccountMetrics(
        time_ns=time_ns,
        account=account.name,
        equity_units=account.equity_units,
        day_start_equity_units=account.day_start_equity_units,
        peak_equity_units=account.peak_equity_units,
        exposure_units=account.exposure_units,
        open_orders_units=open_orders_value(desk, account),
        open_orders=len(account.open_orders),
        unpriced_assets=account.unpriced_assets,
    )
