"""The double-entry ledger, in integer minor units.

The chart of accounts is short. ``client:<account>`` is what a client holds; ``external:<account>`` is the world that
their deposits come from and withdrawals go to; ``venue:<venue>`` is the other side of every trade there; and
``fees:<venue>`` is what was charged (negative: paid back). Every entry sums to zero per asset, so each asset's ledger
does. On the internal venue both sides of a trade are the desk's clients, so ``venue:internal`` returns to zero.
"""

from __future__ import annotations

from polaris_synapse.domain.messages import BalanceChanged, LedgerPosted, Posting
from polaris_synapse.domain.orders import Fill, Side
from polaris_synapse.risk.core.members import SELL
from polaris_synapse.risk.core.state import PARTITIONS_MAX, Account, Balance, Desk, Market


def balance_of(account: Account, asset: str) -> Balance:
    """The account's balance of an asset, made when it is first touched."""
    balance = account.balances.get(asset)
    if balance is None:
        balance = account.balances[asset] = Balance()
    return balance


def post(
    desk: Desk,
    account: Account,
    postings: tuple[Posting, ...],
    cause: str,
    reference: str,
    symbol: str = "",
    notional_units: int = 0,
    actor: str = "",
) -> None:
    """Post one balanced entry: the ledger, the client's balances, and the fact."""
    state = desk.state
    client = f"client:{account.name}"
    ledger = state.ledger
    for posting in postings:
        asset, units = posting.asset, posting.units
        totals = ledger.get(asset)
        if totals is None:
            totals = ledger[asset] = {}
        totals[posting.ledger_account] = totals.get(posting.ledger_account, 0) + units
        if posting.ledger_account == client:
            balance = balance_of(account, asset)
            balance.total_units += units
    account.holdings_version += 1
    state.entry_number += 1
    desk.out.append(
        LedgerPosted(
            time_ns=desk.time_ns,
            entry_id=state.entry_number * PARTITIONS_MAX + state.partition,
            account=account.name,
            cause=cause,
            reference=reference,
            postings=postings,
            symbol=symbol,
            notional_units=notional_units,
            actor=actor,
        )
    )


def fill_postings(account: Account, market: Market, venue: str, side: Side, fill: Fill) -> tuple[Posting, ...]:
    """The legs of a fill and its fee."""
    base_units = fill.quantity_lots * market.lot_units
    quote_units = fill.price_ticks * fill.quantity_lots * market.multiplier
    if side is SELL:
        base_units, quote_units = -base_units, -quote_units
    client, clearing = f"client:{account.name}", f"venue:{venue}"
    legs = (
        Posting(client, market.base, base_units),
        Posting(clearing, market.base, -base_units),
        Posting(client, market.quote, -quote_units),
        Posting(clearing, market.quote, quote_units),
    )
    if not fill.fee_units:
        return legs
    return (
        *legs,
        Posting(client, fill.fee_asset, -fill.fee_units),
        Posting(f"fees:{venue}", fill.fee_asset, fill.fee_units),
    )


def funds_postings(account: Account, asset: str, units: int) -> tuple[Posting, ...]:
    """The legs of a deposit (positive) or withdrawal (negative)."""
    return (
        Posting(f"client:{account.name}", asset, units),
        Posting(f"external:{account.name}", asset, -units),
    )


def say_balance(desk: Desk, account: Account, asset: str) -> None:
    """Publish a balance after a change."""
    balance = balance_of(account, asset)
    desk.out.append(
        BalanceChanged(
            time_ns=desk.time_ns,
            account=account.name,
            asset=asset,
            total_units=balance.total_units,
            reserved_units=balance.reserved_units,
        )
    )
