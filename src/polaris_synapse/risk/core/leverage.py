"""How far an order could take exposure over equity: one sum for an account's limit and for mandates."""

from __future__ import annotations

from polaris_synapse.risk.core.context import OrderContext, share_ppm
from polaris_synapse.risk.core.valuation import refresh


def beyond_leverage(context: OrderContext, limit_ppm: int) -> tuple[int, int] | None:
    """Exposure and equity, in minor units of the valuation asset, where the order could pass ``limit_ppm``.

    Open orders count as if they had filled. None where it stays within, where the limit is 0, and for an order that
    reduces a position or spends another asset.
    """
    desk, prospect, account = context.desk, context.prospect, context.account
    assert prospect is not None
    assert account is not None
    cash = desk.state.valuation_asset
    if not limit_ppm or prospect.reducing or prospect.need_asset != cash:
        return None
    refresh(desk, account)
    balance = account.balances.get(cash)
    exposure = account.exposure_units + (balance.reserved_units if balance is not None else 0) + prospect.extra_units
    equity = account.equity_units
    if equity > 0 and share_ppm(exposure, equity) <= limit_ppm:
        return None
    return exposure, equity
