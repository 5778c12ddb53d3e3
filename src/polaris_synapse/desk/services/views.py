"""The cores of one process, seen as one core: what the rooms' APIs read where there may be several partitions.

An account's or a symbol's partition may be in another process. Then the answer is a refusal that says so, with 503: a
proxy tries the next instance.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any, Final

from polaris_synapse.bus.core import Core
from polaris_synapse.bus.kafka.routing import partition_of
from polaris_synapse.domain.messages import Approval, KillLevel, Mandate, RiskLimits
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.core.market import Market
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.fees import FeeStanding
from polaris_synapse.risk.core.state import Breaker
from polaris_synapse.web.errors import ApiError

EVERYBODY: Final = "*"


class RiskCores(RiskCore):
    """The partitions of risk in this process, to read from. It folds nothing itself."""

    def __init__(self, partitions: int, valuation_asset: str) -> None:
        super().__init__(valuation_asset=valuation_asset)
        self._partitions = partitions
        self._cores: dict[int, RiskCore] = {}

    def show(self, cores: Mapping[int, Core]) -> None:
        """These are here from now on."""
        self._cores = {number: core for number, core in cores.items() if isinstance(core, RiskCore)}

    def elsewhere(self, account: str) -> str:
        """Why another instance is to be asked about an account, in a sentence; empty where its partition is here."""
        if account == EVERYBODY or partition_of(account, self._partitions) in self._cores:
            return ""
        return f"Account {account} is looked after by another instance of risk-manager; ask again."

    def _of(self, account: str) -> RiskCore:
        core = self._cores.get(partition_of(account, self._partitions))
        if core is None:
            raise ApiError(Reason.NOT_READY, self.elsewhere(account), headers={"retry-after": "1"})
        return core

    def _first(self) -> RiskCore | None:
        """What is the same in every partition is read from one of them."""
        return next(iter(self._cores.values()), None)

    def limits_of(self, account: str) -> RiskLimits | None:
        """See RiskCore."""
        if account == EVERYBODY:
            first = self._first()
            return super().limits_of(account) if first is None else first.limits_of(account)
        return self._of(account).limits_of(account)

    def valuation_asset(self) -> tuple[str, int | None]:
        """See RiskCore."""
        first = self._first()
        return super().valuation_asset() if first is None else first.valuation_asset()

    def mandates(self) -> list[Mandate]:
        """Those of the accounts here."""
        found = [mandate for core in self._cores.values() for mandate in core.mandates()]
        return sorted(found, key=lambda mandate: (mandate.account, mandate.agent))

    def mandate_use(self, account: str, agent: str) -> tuple[int, int]:
        """See RiskCore."""
        return self._of(account).mandate_use(account, agent)

    def approvals(self) -> list[Approval]:
        """Those of the accounts here."""
        return [approval for core in self._cores.values() for approval in core.approvals()]

    def approval(self, approval_id: str) -> Approval | None:
        """See RiskCore."""
        found = (core.approval(approval_id) for core in self._cores.values())
        return next((approval for approval in found if approval is not None), None)

    def holding_limits(self, account: str) -> dict[str, int]:
        """See RiskCore."""
        return self._of(account).holding_limits(account)

    def fee_standing(self, account: str) -> FeeStanding | None:
        """See RiskCore."""
        return self._of(account).fee_standing(account)

    def breakers(self) -> dict[str, Breaker]:
        """See RiskCore: what any partition here has tripped."""
        return {scope: breaker for core in self._cores.values() for scope, breaker in core.breakers().items()}

    def kill_levels(self) -> dict[str, KillLevel]:
        """See RiskCore."""
        found: dict[str, KillLevel] = {EVERYBODY: KillLevel.OFF}
        for core in self._cores.values():
            for account, level in core.kill_levels().items():
                found[account] = max(level, found.get(account, KillLevel.OFF))
        return found

    def keeps_back(self, request: OrderRequest) -> bool:
        """See RiskCore."""
        return self._of(request.account).keeps_back(request)

    def keeps_stopped(self, scope: str) -> bool:
        """See RiskCore."""
        if scope == EVERYBODY:
            return any(core.keeps_stopped(scope) for core in self._cores.values())
        return self._of(scope).keeps_stopped(scope)

    def stopped_accounts(self) -> tuple[str, ...]:
        """Those of the accounts here."""
        return tuple(sorted(name for core in self._cores.values() for name in core.stopped_accounts()))

    def open_order_ids(self, account: str) -> tuple[int, ...]:
        """See RiskCore."""
        if account != EVERYBODY:
            return self._of(account).open_order_ids(account)
        return tuple(sorted(one for core in self._cores.values() for one in core.open_order_ids(account)))


class MatchingCores(MatchingCore):
    """The partitions of the book in this process, to read from. It folds nothing itself."""

    def show(self, cores: Mapping[int, Core]) -> None:
        """These are here from now on."""
        books: list[Any] = [core.markets for core in cores.values() if isinstance(core, MatchingCore)]
        # Not a copy: a market that is listed later is seen too.
        merged: Any = ChainMap(*books)
        self.markets: dict[str, Market] = merged
