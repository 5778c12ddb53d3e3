"""The risk core's records as the agents' room asks for them: from a core in this process, or from the read models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from polaris_synapse.domain.messages import Approval, ApprovalState, Mandate, RiskLimits
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.storage.database import DatabaseUnavailableError
from polaris_synapse.storage.port import ROWS_MAX, ReadModels, ReadModelsLagError
from polaris_synapse.web.errors import ApiError

T = TypeVar("T")
_EVERYBODY: Final = "*"
#: How long a reply waits until what it says can be read, and how often it looks.
_RECORDED_SECONDS_MAX: Final = 3.0
_LOOK_SECONDS: Final = 0.01


class CoreRecords:
    """agents.authority.Authority over the core itself: what it says is true at once."""

    def __init__(self, core: RiskCore) -> None:
        self._core = core

    async def mandates(self) -> list[Mandate]:
        """See Authority."""
        return self._core.mandates()

    async def mandate_use(self, account: str, agent: str, /) -> tuple[int, int]:
        """See Authority."""
        return self._core.mandate_use(account, agent)

    async def approvals(self, *, state: ApprovalState | None = None) -> list[Approval]:
        """See Authority."""
        return [one for one in reversed(self._core.approvals()) if state is None or one.state is state]

    async def approvals_of_order(self, account: str, client_order_id: str, /) -> list[Approval]:
        """See Authority."""
        wanted = (account, client_order_id)
        return [one for one in self._core.approvals() if (one.account, one.order.client_order_id) == wanted]

    async def approval(self, approval_id: str, /) -> Approval | None:
        """See Authority."""
        return self._core.approval(approval_id)

    async def decided(self, approval_id: str, /) -> Approval | None:
        """See Authority."""
        return self._core.approval(approval_id)

    async def in_force(self, mandate: Mandate, /) -> None:
        """See Authority: it is."""

    async def holding_limits(self, account: str, /) -> dict[str, int]:
        """See Authority."""
        return self._core.holding_limits(account)

    async def limits_of(self, account: str, /) -> RiskLimits | None:
        """See Authority."""
        return self._core.limits_of(account)


class SqlRecords:
    """agents.authority.Authority over the read models, which any process can read.

    Each read waits until what was said before it is there, so that whoever decided sees the decision, and a decision
    of somebody else over another instance too. What is used of a mandate is as of the account's last valuation.
    """

    def __init__(self, reads: ReadModels) -> None:
        self._reads = reads

    async def mandates(self) -> list[Mandate]:
        """See Authority."""
        return await self._now(self._reads.mandates)

    async def mandate_use(self, account: str, agent: str, /) -> tuple[int, int]:
        """See Authority."""
        # As old as the last valuation in any case: waiting would make it no newer.
        found = await self._read(lambda: self._reads.account_metrics(account=account))
        used = [one for metrics in found for one in metrics.mandates if one.agent == agent]
        return (used[0].used_units, used[0].profit_units) if used else (0, 0)

    async def approvals(self, *, state: ApprovalState | None = None) -> list[Approval]:
        """See Authority."""
        return await self._now(lambda: self._reads.approvals(state=state, limit=ROWS_MAX))

    async def approvals_of_order(self, account: str, client_order_id: str, /) -> list[Approval]:
        """See Authority."""
        found = await self._now(lambda: self._reads.approvals(client_order_id=client_order_id, limit=ROWS_MAX))
        return [one for one in reversed(found) if one.account == account]

    async def approval(self, approval_id: str, /) -> Approval | None:
        """See Authority."""
        return await self._now(lambda: self._reads.approval(approval_id))

    async def decided(self, approval_id: str, /) -> Approval | None:
        """See Authority. An answer and the fact that it is about travel apart, and either may be the first."""

        async def decided() -> Approval | None:
            found = await self._reads.approval(approval_id)
            return found if found is not None and found.state is not ApprovalState.PENDING else None

        return await self._recorded(decided)

    async def in_force(self, mandate: Mandate, /) -> None:
        """See Authority."""

        async def in_force() -> bool:
            return mandate in await self._reads.mandates()

        await self._recorded(in_force)

    @staticmethod
    async def _recorded(read: Callable[[], Awaitable[T]]) -> T | None:
        """What a read finds as soon as it finds something; None after a while, or where the database is away."""
        with anyio.move_on_after(_RECORDED_SECONDS_MAX):
            while True:
                try:
                    if found := await read():
                        return found
                except DatabaseUnavailableError:
                    return None
                await anyio.sleep(_LOOK_SECONDS)
        return None

    async def holding_limits(self, account: str, /) -> dict[str, int]:
        """See Authority."""
        return await self._now(lambda: self._reads.holding_limits(account=account))

    async def limits_of(self, account: str, /) -> RiskLimits | None:
        """See Authority."""
        limits = await self._now(self._reads.limits)
        default = limits.get(_EVERYBODY, RiskLimits())
        if account == _EVERYBODY:
            return default
        known = {standing.account for standing in await self._read(self._reads.accounts)}
        return limits.get(account, default) if account in known else None

    async def _now(self, read: Callable[[], Awaitable[T]]) -> T:
        """What a read finds once everything that was said before is there."""
        try:
            await self._reads.caught_up()
        except ReadModelsLagError as error:
            raise ApiError(Reason.NOT_READY, f"{error}; ask again.", headers={"retry-after": "1"}) from None
        return await self._read(read)

    @staticmethod
    async def _read(read: Callable[[], Awaitable[T]]) -> T:
        try:
            return await read()
        except DatabaseUnavailableError:
            raise ApiError(
                Reason.NOT_READY, "The database cannot be read at the moment; ask again.", headers={"retry-after": "1"}
            ) from None
