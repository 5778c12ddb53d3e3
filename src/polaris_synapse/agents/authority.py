"""What this room's shell needs to know of who may do what: mandates, held orders, and the people of the desk."""

from __future__ import annotations

from typing import Protocol

from polaris_synapse.domain.messages import Approval, ApprovalState, Mandate, RiskLimits
from polaris_synapse.web.authentication import Principal


class Authority(Protocol):
    """The risk core's records, read only, as of now. Where they are read from a database that is behind or away, the
    reads raise ApiError(NOT_READY).
    """

    async def mandates(self) -> list[Mandate]:
        """Every mandate, by account and agent; those taken back too."""
        ...

    async def mandate_use(self, account: str, agent: str, /) -> tuple[int, int]:
        """What is used of the mandate's day, and what the agent's trades gained today, in minor units."""
        ...

    async def approvals(self, *, state: ApprovalState | None = None) -> list[Approval]:
        """The requests for approval that are remembered, newest first."""
        ...

    async def approvals_of_order(self, account: str, client_order_id: str, /) -> list[Approval]:
        """The requests that were made for one order, oldest first."""
        ...

    async def approval(self, approval_id: str, /) -> Approval | None:
        """One request for approval."""
        ...

    async def decided(self, approval_id: str, /) -> Approval | None:
        """A request that was decided a moment ago, once every reader sees so; None where that takes too long."""
        ...

    async def in_force(self, mandate: Mandate, /) -> None:
        """Return once every reader sees a mandate that was set a moment ago, or when that takes too long."""
        ...

    async def holding_limits(self, account: str, /) -> dict[str, int]:
        """The largest shares of equity that an account set for itself, by asset in ppm."""
        ...

    async def limits_of(self, account: str, /) -> RiskLimits | None:
        """The limits in force for an account, None where there is no such account."""
        ...


class People(Protocol):
    """Who may use the desk, as of now."""

    def principal(self, actor: str, /) -> Principal | None:
        """The person or key that ``actor`` names (``user:alice``), or None where there is none any more."""
        ...
