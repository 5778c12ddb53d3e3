"""The kill switch as the execution service sees it, so that an approved order on its way does not leave after it."""

from __future__ import annotations

from typing import Final

from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.messages import KillLevel, KillLevelChanged
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.topics import RISK_EVENTS
from polaris_synapse.risk.core.state import FLATTEN_PREFIX
from polaris_synapse.storage.port import ReadModels

_BACKLOG_MAX: Final = 100_000
_EVERYBODY: Final = "*"


class KillLevels:
    """Follows the switch's levels. Before the first fact it knows what the read models have."""

    def __init__(self, bus: Bus, reads: ReadModels) -> None:
        self._bus = bus
        self._reads = reads
        self._levels: dict[str, KillLevel] = {}

    def keeps_back(self, request: OrderRequest) -> bool:
        """Whether the switch keeps an approved order from leaving. Its own orders, which flatten, may leave."""
        found = (self._levels.get(name, KillLevel.OFF) for name in (_EVERYBODY, request.account))
        level = max(found)
        flattens = request.client_order_id.startswith(FLATTEN_PREFIX)
        return level >= KillLevel.CANCEL_ALL and not (level is KillLevel.FLATTEN and flattens)

    async def run(self) -> None:
        """Follow until cancelled."""
        async with self._bus.subscribe(
            (RISK_EVENTS,), name="execution-stops", backlog_messages_max=_BACKLOG_MAX, droppable=False
        ) as subscription:
            for change in await self._reads.kill_levels():
                self._levels[change.account] = change.level
            async for batch in subscription:
                for envelope in batch:
                    if isinstance(envelope.message, KillLevelChanged):
                        self._levels[envelope.message.account] = envelope.message.level
