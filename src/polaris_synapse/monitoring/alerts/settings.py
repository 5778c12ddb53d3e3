"""Settings of the alerts."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from polaris_synapse.monitoring.alerts.alert import Severity


class ChannelKind(StrEnum):
    """Ways out of the desk."""

    SLACK = "slack"
    TELEGRAM = "telegram"
    EMAIL = "email"
    WEBHOOK = "webhook"


class ChannelSettings(Struct, frozen=True, kw_only=True):
    """One way out. ``secret``: Slack's address, Telegram's token, the mail password, or the webhook's signing key.

    ``url``: the webhook's address, or another server that speaks Slack's or Telegram's protocol. ``target``:
    Telegram's chat. ``encryption`` of mail: ``tls``, ``starttls`` or ``none``. ``severity_min``: what it carries.
    """

    name: str
    kind: ChannelKind
    secret: str = ""
    url: str = ""
    target: str = ""
    host: str = ""
    port: int = 587
    encryption: str = "starttls"
    username: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    severity_min: Severity = Severity.WARNING

    def __repr__(self) -> str:
        """Without the secret and without addresses, which may hold one."""
        return f"ChannelSettings(name={self.name!r}, kind={self.kind.value!r})"


class AlertSettings(Struct, frozen=True, kw_only=True):
    """``quiet_minutes``: minutes of the UTC day from and to which only CRITICAL is sent at once; the rest waits.

    ``repeat_seconds``: how long the same alert is counted instead of sent again. ``waiting_max``: alerts that may
    wait for one channel. ``attempts_max`` and ``timeout_seconds``: how often and how long one sending is tried.
    """

    channels: tuple[ChannelSettings, ...] = ()
    repeat_seconds: int = 1_800
    quiet_minutes: tuple[int, int] | None = None
    waiting_max: int = 200
    known_keys_max: int = 10_000
    attempts_max: int = 4
    timeout_seconds: float = 10.0
    retry_seconds_max: float = 30.0
