"""How an agent's order enters the desk: like anybody's, as a principal of its own."""

from __future__ import annotations

from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain.messages import Answer
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.web.authentication import Principal, Role


class AgentEntry:
    """Hands an agent's order to the gateway as a principal of role AGENT, for the agent's own account only."""

    def __init__(self, gateway: GatewayService, settings: DeskSettings) -> None:
        self._gateway = gateway
        self._accounts = {settings.agent.name: (settings.agent.account,)}

    async def submit(self, order: OrderRequest, /, *, agent: str) -> Answer:
        """See agents.ports.OrderEntry."""
        principal = Principal(name=agent, role=Role.AGENT, accounts=self._accounts.get(agent, ()), kind="agent")
        return await self._gateway.entry.submit(principal, order, entry="agent")
