"""What the agents know of accounts: the ledger's own facts, folded."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.domain.messages import AccountMetrics, BalanceChanged, PositionChanged

#: Accounts that are remembered before any agent trades them, so that an agent set up later knows its account.
#: Beyond it only the accounts of agents are followed.
ACCOUNTS_MAX: Final = 10_000
#: Assets and symbols remembered of one account; more than any account of this desk has.
HOLDINGS_MAX: Final = 1_000


class Holding(Struct):
    """A balance in minor units. ``reserved_units`` is what open orders need."""

    total_units: int
    reserved_units: int
    time_ns: int

    @property
    def free_units(self) -> int:
        """What a new order may use."""
        return max(self.total_units - self.reserved_units, 0)


class Position(Struct):
    """What an account traded into: signed lots and what they cost, quote minor units."""

    quantity_lots: int
    cost_units: int
    time_ns: int


class AccountBook(Struct):
    """One account. ``metrics_time_ns`` 0: its equity is not known yet."""

    holdings: dict[str, Holding] = {}
    positions: dict[str, Position] = {}
    equity_units: int = 0
    metrics_time_ns: int = 0

    def take_balance(self, message: BalanceChanged) -> None:
        """Fold a balance."""
        holding = self.holdings.get(message.asset)
        if holding is not None:
            holding.total_units = message.total_units
            holding.reserved_units = message.reserved_units
            holding.time_ns = message.time_ns
        elif len(self.holdings) < HOLDINGS_MAX:
            self.holdings[message.asset] = Holding(
                total_units=message.total_units, reserved_units=message.reserved_units, time_ns=message.time_ns
            )

    def take_position(self, message: PositionChanged) -> None:
        """Fold a position."""
        position = self.positions.get(message.symbol)
        if position is not None:
            position.quantity_lots = message.quantity_lots
            position.cost_units = message.cost_units
            position.time_ns = message.time_ns
        elif len(self.positions) < HOLDINGS_MAX:
            self.positions[message.symbol] = Position(
                quantity_lots=message.quantity_lots, cost_units=message.cost_units, time_ns=message.time_ns
            )

    def take_metrics(self, message: AccountMetrics) -> None:
        """Fold a valuation."""
        self.equity_units = message.equity_units
        self.metrics_time_ns = message.time_ns

    def holding(self, asset: str) -> Holding:
        """A balance, zero where nothing was ever said of it."""
        return self.holdings.get(asset) or Holding(total_units=0, reserved_units=0, time_ns=0)
