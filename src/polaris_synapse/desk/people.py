"""The people and keys of the desk as other rooms ask for them, and orders placed on behalf of one of them."""

from __future__ import annotations

from polaris_synapse.domain.messages import Answer
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.errors import ApiError


class DeskPeople:
    """agents.authority.People and agents.standing.OwnerEntry over the gateway's credentials and entry."""

    def __init__(self, gateway: GatewayService) -> None:
        self._gateway = gateway

    def principal(self, actor: str, /) -> Principal | None:
        """See People. Roles and accounts are those of now; agents are nobody here."""
        kind, _, name = actor.partition(":")
        store = self._gateway.credentials
        if kind == "user":
            user = store.user(name)
            return user.principal if user is not None and not user.disabled else None
        if kind == "key":
            key = store.key(name)
            now_ns = self._gateway.clock.now_ns()
            if key is None or key.revoked or (key.expires_time_ns and key.expires_time_ns <= now_ns):
                return None
            return key.principal if key.principal.actor == actor else None
        return None

    async def submit_for(self, order: OrderRequest, /, *, owner: str) -> Answer:
        """See OwnerEntry."""
        principal = self.principal(owner)
        if principal is None:
            raise ApiError(Reason.ACCOUNT_NOT_ALLOWED, f"{owner} may not use this desk any more.")
        return await self._gateway.entry.submit(principal, order, entry="standing")
