"""Which alerts go out now: each one once in a while, and at night only what cannot wait. Pure: time comes in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from polaris_synapse.monitoring.alerts.alert import Alert, Severity
from polaris_synapse.monitoring.alerts.settings import AlertSettings

_NS: Final = 10**9
_MINUTES_OF_DAY: Final = 24 * 60
#: Titles that a morning's summary lists; it counts the rest.
_SUMMARY_TITLES_MAX: Final = 20


class AlertPolicy:
    """Takes every alert and says what to send. Remembers at most ``known_keys_max`` keys, the latest."""

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        #: Key to when it was last sent and how often it came since.
        self._sent: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._held: OrderedDict[str, tuple[Alert, int]] = OrderedDict()
        self._held_uncounted = 0

    def take(self, alert: Alert, now_ns: int) -> Alert | None:
        """The alert to send now, or None where it is a repetition or has to wait for the morning."""
        before = self._sent.get(alert.key)
        if before is not None and now_ns - before[0] < self._settings.repeat_seconds * _NS:
            self._sent[alert.key] = (before[0], before[1] + 1)
            return None
        if self.is_quiet(now_ns) and alert.severity < Severity.CRITICAL:
            self._hold(alert)
            return None
        self._sent[alert.key] = (now_ns, 0)
        self._sent.move_to_end(alert.key)
        while len(self._sent) > self._settings.known_keys_max:
            self._sent.popitem(last=False)
        if before is not None and before[1]:
            again = f"{alert.body} It came {before[1]} more times since the last alert of it."
            return msgspec.structs.replace(alert, body=again.strip())
        return alert

    def morning(self, now_ns: int) -> Alert | None:
        """What was held while it was quiet, as one alert, once it is not quiet any more."""
        if self.is_quiet(now_ns) or not (self._held or self._held_uncounted):
            return None
        held = list(self._held.values())
        count = sum(times for _, times in held) + self._held_uncounted
        severity = max((alert.severity for alert, _ in held), default=Severity.WARNING)
        self._held.clear()
        self._held_uncounted = 0
        return Alert(
            key=f"quiet hours {now_ns}",
            severity=severity,
            title=f"{count} alerts during the quiet hours",
            body=_listed(held),
            time_ns=now_ns,
        )

    def is_quiet(self, now_ns: int) -> bool:
        """Whether the UTC minute of the day lies within the quiet hours, which may go over midnight."""
        if self._settings.quiet_minutes is None:
            return False
        begin, end = self._settings.quiet_minutes
        minute = now_ns // (60 * _NS) % _MINUTES_OF_DAY
        return begin <= minute < end if begin <= end else minute >= begin or minute < end

    def _hold(self, alert: Alert) -> None:
        known = self._held.get(alert.key)
        if known is not None:
            self._held[alert.key] = (alert, known[1] + 1)
        elif len(self._held) < self._settings.waiting_max:
            self._held[alert.key] = (alert, 1)
        else:
            self._held_uncounted += 1


def _listed(held: Sequence[tuple[Alert, int]]) -> str:
    lines = [f"{alert.title}{f' ({times} times)' if times > 1 else ''}" for alert, times in held[:_SUMMARY_TITLES_MAX]]
    if len(held) > _SUMMARY_TITLES_MAX:
        lines.append(f"and {len(held) - _SUMMARY_TITLES_MAX} others")
    return "; ".join(lines) + "."
