"""What this room's shell needs to know of who may do what: mandates, held orders, and the people of the desk."""

from __future__ import annotations

from typing import Protocol

from polaris_synapse.domain.messages import Approval, Mandate
from polaris_synapse.web.authentication import Principal


class Authority(Protocol):
    """The risk core's own records, read only."""

    def mandates(self) -> list[Mandate]:
        """Every mandate, by account and agent; those taken back too."""
        ...

    def mandate_use(self, account: str, agent: str, /) -> tuple[int, int]:
        """What is used of the mandate's day, and what the agent's trades gained today, in minor units."""
        ...

    def approvals(self) -> list[Approval]:
        """Every request for approval that is remembered, oldest first."""
        ...

    def approval(self, approval_id: str, /) -> Approval | None:
        """One request for approval."""
        ...

    def holding_limits(self, account: str, /) -> dict[str, int]:
        """The largest shares of equity that an account set for itself, by asset in ppm."""
        ...


class People(Protocol):
    """Who may use the desk, as of now."""

    def principal(self, actor: str, /) -> Principal | None:
        """The person or key that ``actor`` names (``user:alice``), or None where there is none any more."""
        ...
