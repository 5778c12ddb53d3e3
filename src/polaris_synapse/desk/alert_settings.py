"""Settings of the alerts: who is told, how, and when not. Secrets stay in the environment, never in the YAML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from polaris_synapse.monitoring.alerts.alert import Severity
from polaris_synapse.monitoring.alerts.settings import AlertSettings, ChannelKind, ChannelSettings

if TYPE_CHECKING:
    from polaris_synapse.desk.settings import DeskSettings

SeverityName = Literal["INFO", "WARNING", "CRITICAL"]
MailAddress = Annotated[str, StringConstraints(pattern=r"^[^@\s,;<>]{1,64}@[^@\s,;<>]{1,190}$")]
_HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]{1,1000}$")]
_QUIET: Final = r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$"
#: Channel: what it cannot do without, and the variable that holds its secret.
_NEEDS: Final = {
    ChannelKind.SLACK: ((), "SLACK_WEBHOOK_URL"),
    ChannelKind.TELEGRAM: (("chat",), "TELEGRAM_BOT_TOKEN"),
    ChannelKind.EMAIL: (("host", "sender", "recipients"), ""),
    ChannelKind.WEBHOOK: (("url",), ""),
}


class ChannelSection(BaseModel):
    """One way to tell a person. Its secret is in the environment:

    ``SLACK_WEBHOOK_URL``, ``TELEGRAM_BOT_TOKEN``, ``SMTP_PASSWORD`` (with ``username``), ``ALERT_WEBHOOK_SECRET``
    (signs what a webhook is sent, where it is set). ``url`` of Telegram: a server of one's own that speaks for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ChannelKind
    severity: SeverityName = "WARNING"
    url: _HttpUrl | None = None
    chat: str | None = Field(default=None, min_length=1, max_length=64)
    host: str | None = Field(default=None, min_length=1, max_length=255)
    port: int = Field(default=587, ge=1, le=65_535)
    encryption: Literal["tls", "starttls", "none"] = "starttls"
    username: str | None = Field(default=None, min_length=1, max_length=255)
    sender: MailAddress | None = None
    recipients: tuple[MailAddress, ...] = Field(default=(), max_length=50)

    @model_validator(mode="after")
    def _is_complete(self) -> ChannelSection:
        for field in _NEEDS[self.kind][0]:
            if not getattr(self, field):
                raise ValueError(f"an alert channel of kind {self.kind.value} needs {field}")
        return self


class AlertsSection(BaseModel):
    """Whom the desk tells when something happens.

    Without channels, a ``SLACK_WEBHOOK_URL`` in the environment is one. ``quiet_hours``, in UTC such as
    ``"22:00-06:30"``: only CRITICAL is sent, the rest comes as one summary afterwards. ``repeat_minutes``: how long
    the same alert is counted instead of sent again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[ChannelSection, ...] = Field(default=(), max_length=20)
    quiet_hours: Annotated[str, StringConstraints(pattern=_QUIET)] | None = None
    repeat_minutes: int = Field(default=30, ge=0, le=1_440)


def alert_settings(settings: DeskSettings) -> AlertSettings:
    """The alerts' settings with their secrets. Raises ValueError for a channel whose secret is not set."""
    section = settings.alerts
    channels = section.channels
    if not channels and settings.slack_webhook_url is not None:
        channels = (ChannelSection(kind=ChannelKind.SLACK),)
    quiet = None
    if section.quiet_hours is not None:
        begin, _, end = section.quiet_hours.partition("-")
        quiet = (_minute(begin), _minute(end))
    return AlertSettings(
        channels=tuple(_channel(settings, entry, number) for number, entry in enumerate(channels, 1)),
        repeat_seconds=60 * section.repeat_minutes,
        quiet_minutes=quiet,
    )


def _channel(settings: DeskSettings, entry: ChannelSection, number: int) -> ChannelSettings:
    secrets = {
        ChannelKind.SLACK: settings.slack_webhook_url,
        ChannelKind.TELEGRAM: settings.telegram_bot_token,
        ChannelKind.EMAIL: settings.smtp_password if entry.username else None,
        ChannelKind.WEBHOOK: settings.alert_webhook_secret,
    }
    secret = secrets[entry.kind]
    variable = _NEEDS[entry.kind][1] or ("SMTP_PASSWORD" if entry.username else "")
    if variable and secret is None:
        raise ValueError(f"the alert channel {number} ({entry.kind.value}) needs {variable} in the environment or .env")
    return ChannelSettings(
        name=f"{number}-{entry.kind.value}",
        kind=entry.kind,
        secret=secret.get_secret_value() if secret is not None else "",
        url=entry.url or "",
        target=entry.chat or "",
        host=entry.host or "",
        port=entry.port,
        encryption=entry.encryption,
        username=entry.username or "",
        sender=entry.sender or "",
        recipients=entry.recipients,
        severity_min=Severity[entry.severity],
    )


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return 60 * int(hours) + int(minutes)
