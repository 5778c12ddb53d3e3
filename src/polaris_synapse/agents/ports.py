"""What the agents' shell needs from the rest of the desk."""

from __future__ import annotations

from typing import Protocol

from polaris_synapse.domain.messages import Answer
from polaris_synapse.domain.orders import OrderRequest


class OrderEntry(Protocol):
    """Places an agent's order the way everybody's orders are placed, as a principal of role AGENT."""

    async def submit(self, order: OrderRequest, /, *, agent: str) -> Answer:
        """Risk's durable verdict on an order of ``agent``, whose name is the principal's and chooses the mandate.

        Raises ApiError or BusError where the order never reached risk.

        Reason TIMED_OUT: the outcome is not known; the same ``client_order_id`` may be sent again, and has one effect.
        """
        ...
