"""What the agents know of accounts: the ledger's own facts, folded."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

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

    def holding(self, asset: str) -> Holding:
        """A balance, zero where nothing was ever said of it."""
        return self.holdings.get(asset) or Holding(total_units=0, reserved_units=0, time_ns=0)
