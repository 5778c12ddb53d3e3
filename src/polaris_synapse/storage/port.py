"""What shells may ask of the read models, whichever database holds them."""

from __future__ import annotations

from typing import Final, Protocol

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    AccountMetrics,
    AccountStanding,
    AgentStanding,
    Approval,
    ApprovalState,
    AuditEntry,
    BalanceChanged,
    BreakChanged,
    BreakerChanged,
    Candle,
    ComplianceAlert,
    DecisionRecorded,
    ExecutionRecorded,
    KillLevelChanged,
    LedgerPosted,
    Mandate,
    PositionChanged,
    RiskLimits,
    StandingChanged,
)
from polaris_synapse.domain.order_lists import OrderList
from polaris_synapse.domain.orders import Order

#: Most rows that one question returns.
ROWS_MAX: Final = 1000


class ReadModels(Protocol):
    """Questions about what has happened. They see a moment ago; ``caught_up`` makes that moment now.

    ``account=None`` means every account. Lists are newest first unless said otherwise. ``limit`` is cut to 1..ROWS_MAX.
    ``before_...`` continues a list: rows with a smaller id or an earlier time; 0 begins at the newest.
    """

    async def caught_up(self) -> None:
        """Return once everything that is durable now is visible to reads. Raises ReadModelsLagError after a while."""
        ...

    async def order(self, *, account: str | None, order_id: int = 0, client_order_id: str = "") -> Order | None:
        """One order by its id or, when that is 0, by its client order id.

        For a client order id without an order: the newest refusal of it, whose ``order_id`` is 0.
        """
        ...

    async def orders(
        self,
        *,
        account: str | None,
        symbol: str = "",
        open_only: bool = False,
        limit: int = 100,
        before_order_id: int = 0,
    ) -> list[Order]:
        """Orders by descending id. Refused ones never became orders and are not among them."""
        ...

    async def order_list(self, *, account: str | None, list_id: int = 0, client_list_id: str = "") -> OrderList | None:
        """One order list by its id or, when that is 0, by its client list id."""
        ...

    async def order_lists(
        self, *, account: str | None, open_only: bool = False, limit: int = 100, before_list_id: int = 0
    ) -> list[OrderList]:
        """Order lists by descending id."""
        ...

    async def executions(
        self, *, account: str | None, symbol: str = "", order_id: int = 0, limit: int = 100, before_time_ns: int = 0
    ) -> list[ExecutionRecorded]:
        """Fills."""
        ...

    async def balances(self, *, account: str | None) -> list[BalanceChanged]:
        """What is held, by account and asset."""
        ...

    async def positions(self, *, account: str | None) -> list[PositionChanged]:
        """Positions, flat ones with a history included, by account and symbol."""
        ...

    async def account_metrics(self, *, account: str | None) -> list[AccountMetrics]:
        """The latest valuation of each account."""
        ...

    async def ledger(self, *, account: str | None, limit: int = 100, before_entry_id: int = 0) -> list[LedgerPosted]:
        """Ledger entries by descending id."""
        ...

    async def accounts(self) -> list[AccountStanding]:
        """Every account's standing, by name."""
        ...

    async def instruments(self) -> list[Instrument]:
        """Every instrument with its present status, by symbol."""
        ...

    async def breakers(self) -> list[BreakerChanged]:
        """The latest change of each breaker, by scope."""
        ...

    async def kill_levels(self) -> list[KillLevelChanged]:
        """The latest change of each kill switch, by account."""
        ...

    async def decisions(self, *, symbol: str = "", limit: int = 20) -> list[DecisionRecorded]:
        """Decisions at their latest revision, by the time they were made."""
        ...

    async def decision(self, decision_id: str) -> DecisionRecorded | None:
        """One decision at its latest revision."""
        ...

    async def candles(
        self, *, symbol: str, interval_seconds: int, limit: int = 100, before_time_ns: int = 0
    ) -> list[Candle]:
        """Closed candles by descending open time."""
        ...

    async def alerts(self, *, account: str | None = None, status: str = "", limit: int = 100) -> list[ComplianceAlert]:
        """Compliance alerts at their latest status."""
        ...

    async def audit_entries(self, *, after_sequence: int = 0, limit: int = 1000) -> list[AuditEntry]:
        """The audit chain, ascending."""
        ...

    async def last_audit_sequence(self) -> int:
        """The sequence of the newest audit entry; 0 for none."""
        ...

    async def mandates(self) -> list[Mandate]:
        """Every mandate, by account and agent; those taken back too."""
        ...

    async def limits(self) -> dict[str, RiskLimits]:
        """The limits that were set, by account; ``"*"``: of all accounts that have none of their own."""
        ...

    async def holding_limits(self, *, account: str) -> dict[str, int]:
        """The largest shares of equity that an account set for itself, by asset in ppm."""
        ...

    async def approvals(
        self, *, state: ApprovalState | None = None, client_order_id: str = "", limit: int = 100
    ) -> list[Approval]:
        """Requests for approval at their latest state, by the time they were made."""
        ...

    async def approval(self, approval_id: str) -> Approval | None:
        """One request for approval."""
        ...

    async def agents(self) -> list[AgentStanding]:
        """Every agent as it last was, by name."""
        ...

    async def standing_instructions(self, *, limit: int = ROWS_MAX) -> list[StandingChanged]:
        """Standing instructions at their latest state, by their latest change."""
        ...

    async def breaks(self, *, open_only: bool = True) -> list[BreakChanged]:
        """Differences with venues at their latest state."""
        ...


class ReadModelsLagError(RuntimeError):
    """The read models did not catch up in time: their database is slow or gone."""
