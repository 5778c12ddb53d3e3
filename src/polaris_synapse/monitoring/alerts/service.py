"""The alerts' service: listens to the desk's facts and tells people. Nothing here can slow or stop trading."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import anyio
import structlog
from prometheus_client import CollectorRegistry, Counter

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, SlowConsumerError
from polaris_synapse.monitoring.alerts.alert import Alert
from polaris_synapse.monitoring.alerts.channels import Channel, ChannelError, channel_of
from polaris_synapse.monitoring.alerts.facts import TOPICS, alert_of
from polaris_synapse.monitoring.alerts.policy import AlertPolicy
from polaris_synapse.monitoring.alerts.settings import AlertSettings

_log = structlog.get_logger(__name__)
_BACKLOG_MESSAGES_MAX: Final = 50_000
_MORNING_LOOK_SECONDS: Final = 30.0
_FIRST_RETRY_SECONDS: Final = 1.0


class AlertMetrics:
    """What Prometheus is told about alerts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter("polaris_alerts_sent", "Alerts sent, by channel.", ("channel",), registry=registry)
        self.failed = Counter(
            "polaris_alerts_failed", "Alerts that did not get out, by channel.", ("channel",), registry=registry
        )
        self.kept_back = Counter(
            "polaris_alerts_kept_back", "Alerts that were repetitions or wait for the morning.", registry=registry
        )


class AlertService:
    """Sends what the policy lets through, on every channel by itself: one that is down holds up no other."""

    def __init__(
        self,
        clock: Clock,
        registry: CollectorRegistry,
        settings: AlertSettings,
        channels: Sequence[Channel] | None = None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._policy = AlertPolicy(settings)
        self._metrics = AlertMetrics(registry)
        self._channels = (
            [channel_of(entry, settings.timeout_seconds) for entry in settings.channels]
            if channels is None
            else list(channels)
        )
        self._waiting: dict[str, deque[Alert]] = {channel.name: deque() for channel in self._channels}
        self._told = anyio.Event()
        for channel in self._channels:
            self._metrics.sent.labels(channel.name)
            self._metrics.failed.labels(channel.name)

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._channels)

    def tell(self, alert: Alert) -> None:
        """Take an alert. Never blocks: where a channel cannot keep up, its newest alert is dropped and counted."""
        now_ns = self._clock.now_ns()
        chosen = self._policy.take(alert.cut(), now_ns)
        if chosen is None:
            self._metrics.kept_back.inc()
            return
        self._put(chosen)

    async def run(self, bus: Bus) -> None:
        """Listen to the facts of ``bus`` and send until cancelled."""
        if not self.is_wanted:
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.send)
            while True:
                try:
                    await self._listen(bus)
                    return
                except SlowConsumerError:
                    _log.warning("alerts_fell_behind")

    async def send(self) -> None:
        """Send what was told until cancelled, without listening to a bus."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._mornings)
            for channel in self._channels:
                tasks.start_soon(self._serve, channel)

    async def tell_now(self, alert: Alert) -> list[str]:
        """Send one alert through every channel that carries it, past the policy; the problems, one sentence each."""
        problems: list[str] = []

        async def one(channel: Channel) -> None:
            try:
                await self._deliver(channel, alert.cut())
            except ChannelError as error:
                problems.append(f"{channel.name}: {error}.")

        async with anyio.create_task_group() as tasks:
            for channel in self._channels:
                if alert.severity >= channel.severity_min:
                    tasks.start_soon(one, channel)
        return sorted(problems)

    async def _listen(self, bus: Bus) -> None:
        async with bus.subscribe(
            TOPICS, name="alerts", backlog_messages_max=_BACKLOG_MESSAGES_MAX, droppable=True
        ) as facts:
            async for batch in facts:
                for envelope in batch:
                    alert = alert_of(envelope.message)
                    if alert is not None:
                        self.tell(alert)

    async def _mornings(self) -> None:
        while True:
            await self._clock.sleep(_MORNING_LOOK_SECONDS)
            summary = self._policy.morning(self._clock.now_ns())
            if summary is not None:
                self._put(summary.cut())

    def _put(self, alert: Alert) -> None:
        for channel in self._channels:
            if alert.severity < channel.severity_min:
                continue
            waiting = self._waiting[channel.name]
            if len(waiting) < self._settings.waiting_max:
                waiting.append(alert)
            else:
                self._metrics.failed.labels(channel.name).inc()
                _log.warning("alert_dropped", channel=channel.name, key=alert.key, waiting=len(waiting))
        told, self._told = self._told, anyio.Event()
        told.set()

    async def _serve(self, channel: Channel) -> None:
        waiting = self._waiting[channel.name]
        while True:
            while waiting:
                alert = waiting.popleft()
                try:
                    await self._deliver(channel, alert)
                except ChannelError as error:
                    _log.error("alert_not_sent", channel=channel.name, key=alert.key, error=str(error))
            await self._told.wait()

    async def _deliver(self, channel: Channel, alert: Alert) -> None:
        """Send with a few tries. Raises ChannelError."""
        pause = _FIRST_RETRY_SECONDS
        for attempt in range(1, self._settings.attempts_max + 1):
            try:
                await channel.send(alert)
            except ChannelError as error:
                if not error.again or attempt == self._settings.attempts_max:
                    self._metrics.failed.labels(channel.name).inc()
                    raise
                await self._clock.sleep(min(max(pause, error.wait_seconds), self._settings.retry_seconds_max))
                pause *= 4
            else:
                self._metrics.sent.labels(channel.name).inc()
                return
