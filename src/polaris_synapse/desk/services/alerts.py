"""Alerts of a cluster: every order gateway listens, and one of them tells people.

Where the one that tells dies, another takes over once the group has noticed. So each remembers what it has heard in
that time, and whoever takes over tells it: an alert may come twice, which is better than never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from polaris_synapse.bus.kafka.leader import Leader
from polaris_synapse.bus.port import SlowConsumerError
from polaris_synapse.desk.alert_settings import alert_settings
from polaris_synapse.desk.services.base import Member, ServiceParts
from polaris_synapse.domain.topics import SYSTEM_HEARTBEATS
from polaris_synapse.monitoring.alerts.alert import Alert
from polaris_synapse.monitoring.alerts.facts import TOPICS, alert_of
from polaris_synapse.monitoring.alerts.service import AlertService

_NS: Final = 1_000_000_000
_BACKLOG_MAX: Final = 50_000
_REMEMBERED_MAX: Final = 1_000
#: What the group takes to give the work to another, beside the time after which it counts a process as dead.
_HAND_OVER_SECONDS: Final = 10.0
_log = structlog.get_logger(__name__)


class ClusterAlerts:
    """``run`` listens, in every instance; ``members()`` has what makes one of them tell."""

    def __init__(self, parts: ServiceParts, service: AlertService | None = None) -> None:
        self._bus = parts.bus
        self._clock = parts.clock
        self._service = service or AlertService(parts.clock, parts.registry, alert_settings(parts.settings))
        self._remembered_ns = int((parts.kafka.session_seconds + _HAND_OVER_SECONDS) * _NS)
        self._heard: deque[tuple[int, Alert]] = deque(maxlen=_REMEMBERED_MAX)
        self._leads = False
        self._telling = Leader(
            parts.kafka,
            group="alerts-group",
            topic=SYSTEM_HEARTBEATS,
            client=f"{parts.client}-alerts",
            work=self.tell,
        )

    def members(self) -> Sequence[Member]:
        """Nothing where the settings name nobody to tell."""
        return (self._telling,) if self._service.is_wanted else ()

    async def run(self) -> None:
        """Listen until cancelled."""
        if not self._service.is_wanted:
            return
        while True:
            try:
                await self._listen()
                return
            except SlowConsumerError:
                _log.warning("alerts_fell_behind")

    async def _listen(self) -> None:
        async with self._bus.subscribe(
            TOPICS, name="alerts", backlog_messages_max=_BACKLOG_MAX, droppable=True
        ) as facts:
            async for batch in facts:
                for envelope in batch:
                    alert = alert_of(envelope.message)
                    if alert is not None:
                        self.hear(alert)

    def hear(self, alert: Alert) -> None:
        """Tell it, or remember it for the case that who tells has died."""
        if self._leads:
            self._service.tell(alert)
        else:
            self._heard.append((self._clock.now_ns(), alert))

    async def tell(self) -> None:
        """Tell what was heard lately, and from now on everything, until cancelled: a leader's work."""
        oldest_ns = self._clock.now_ns() - self._remembered_ns
        self._leads = True
        try:
            for heard_ns, alert in self._heard:
                if heard_ns >= oldest_ns:
                    self._service.tell(alert)
            self._heard.clear()
            await self._service.send()
        finally:
            self._leads = False
