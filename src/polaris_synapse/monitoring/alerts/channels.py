"""The ways out: Slack, Telegram, mail and any server that takes a signed POST. One port, four implementations."""

from __future__ import annotations

import hashlib
import hmac
import smtplib
import ssl
from email.message import EmailMessage
from typing import Final, Protocol

import anyio
import httpx2
import msgspec

from polaris_synapse.monitoring.alerts.alert import Alert, Severity
from polaris_synapse.monitoring.alerts.settings import ChannelKind, ChannelSettings

TELEGRAM_URL: Final = "https://api.telegram.org"
SIGNATURE_HEADER: Final = "x-polaris-signature-256"
_MARKS: Final = {Severity.INFO: "i", Severity.WARNING: "!", Severity.CRITICAL: "!!!"}
_HTTP_TOO_MANY: Final = 429
_HTTP_SERVER_ERROR: Final = 500
_HTTP_OK_END: Final = 300


class ChannelError(Exception):
    """An alert did not get out. The message names no secret. ``again``: whether another try may help.

    ``wait_seconds``: how long the other side asked to be left alone; 0 where it did not say.
    """

    def __init__(self, message: str, *, again: bool, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.again = again
        self.wait_seconds = wait_seconds


class Channel(Protocol):
    """One way to tell a person."""

    @property
    def name(self) -> str:
        """As the settings call it."""
        ...

    @property
    def severity_min(self) -> Severity:
        """The least that it carries."""
        ...

    async def send(self, alert: Alert, /) -> None:
        """Send one alert. Raises ChannelError."""
        ...


class _Settled:
    """What every channel has from its settings."""

    def __init__(self, settings: ChannelSettings, timeout_seconds: float) -> None:
        self._settings = settings
        self._timeout_seconds = timeout_seconds

    @property
    def name(self) -> str:
        """As the settings call it."""
        return self._settings.name

    @property
    def severity_min(self) -> Severity:
        """The least that it carries."""
        return self._settings.severity_min

    async def _post(self, url: str, body: object, headers: dict[str, str] | None = None) -> None:
        content = msgspec.json.encode(body)
        everything = {"content-type": "application/json", **(headers or {})}
        try:
            # Redirects are not followed: an alert goes where the settings say, and nowhere else.
            async with httpx2.AsyncClient(timeout=self._timeout_seconds, trust_env=False) as client:
                response = await client.post(url, content=content, headers=everything)
        except httpx2.TransportError as error:
            # Its text may hold the address, and the address may hold a secret.
            raise ChannelError(f"{type(error).__name__} while sending", again=True) from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            raise ChannelError("the address is not usable", again=False) from None
        if response.status_code < _HTTP_OK_END:
            return
        again = response.status_code == _HTTP_TOO_MANY or response.status_code >= _HTTP_SERVER_ERROR
        wait = response.headers.get("retry-after", "")
        raise ChannelError(
            f"it answered with status {response.status_code}",
            again=again,
            wait_seconds=float(wait) if wait.isascii() and wait.isdigit() else 0.0,
        )


class SlackChannel(_Settled):
    """An incoming webhook of Slack, or of a server that takes the same."""

    async def send(self, alert: Alert, /) -> None:
        """Post the alert as one message."""
        text = f"*{_slack_text(_headline(alert))}*"
        if alert.body:
            text += f"\n{_slack_text(alert.body)}"
        # Links that somebody wrote into a note do not unfold.
        await self._post(self._settings.secret, {"text": text, "unfurl_links": False, "unfurl_media": False})


class TelegramChannel(_Settled):
    """A Telegram bot that writes to one chat. Plain text: nothing in it is read as markup."""

    async def send(self, alert: Alert, /) -> None:
        """Send the alert as one message; silently unless it is critical."""
        base = self._settings.url or TELEGRAM_URL
        body = {
            "chat_id": self._settings.target,
            "text": f"{_headline(alert)}\n{alert.body}".strip(),
            "disable_notification": alert.severity < Severity.CRITICAL,
            "link_preview_options": {"is_disabled": True},
        }
        await self._post(f"{base}/bot{self._settings.secret}/sendMessage", body)


class WebhookChannel(_Settled):
    """Any server: the alert as JSON, with HMAC-SHA256 over the body in ``X-Polaris-Signature-256``."""

    async def send(self, alert: Alert, /) -> None:
        """Post the alert."""
        body = {
            "key": alert.key,
            "severity": alert.severity.name,
            "title": alert.title,
            "body": alert.body,
            "time_ns": alert.time_ns,
        }
        headers = {}
        if self._settings.secret:
            digest = hmac.new(self._settings.secret.encode(), msgspec.json.encode(body), hashlib.sha256).hexdigest()
            headers[SIGNATURE_HEADER] = f"sha256={digest}"
        await self._post(self._settings.url, body, headers)


class EmailChannel(_Settled):
    """Mail through a server that the settings name."""

    async def send(self, alert: Alert, /) -> None:
        """Send one mail to all recipients."""
        message = EmailMessage()
        message["Subject"] = _headline(alert)
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.recipients)
        message["X-Polaris-Key"] = hashlib.sha256(alert.key.encode()).hexdigest()[:16]
        message.set_content(f"{alert.title}\n\n{alert.body}\n")
        await anyio.to_thread.run_sync(self._deliver, message, abandon_on_cancel=True)

    def _deliver(self, message: EmailMessage) -> None:
        settings = self._settings
        context = ssl.create_default_context()
        try:
            if settings.encryption == "tls":
                server: smtplib.SMTP = smtplib.SMTP_SSL(
                    settings.host, settings.port, timeout=self._timeout_seconds, context=context
                )
            else:
                server = smtplib.SMTP(settings.host, settings.port, timeout=self._timeout_seconds)
            with server:
                if settings.encryption == "starttls":
                    server.starttls(context=context)
                if settings.username:
                    server.login(settings.username, settings.secret)
                server.send_message(message)
        except smtplib.SMTPAuthenticationError:
            raise ChannelError("the mail server refused the login", again=False) from None
        except smtplib.SMTPResponseException as error:
            temporary = 400 <= error.smtp_code < 500
            raise ChannelError(f"the mail server answered {error.smtp_code}", again=temporary) from None
        except (smtplib.SMTPException, OSError) as error:
            raise ChannelError(f"{type(error).__name__} while sending", again=True) from None


def channel_of(settings: ChannelSettings, timeout_seconds: float) -> Channel:
    """The channel of some settings."""
    return _KINDS[settings.kind](settings, timeout_seconds)


_KINDS: Final[dict[ChannelKind, type[SlackChannel | TelegramChannel | WebhookChannel | EmailChannel]]] = {
    ChannelKind.SLACK: SlackChannel,
    ChannelKind.TELEGRAM: TelegramChannel,
    ChannelKind.WEBHOOK: WebhookChannel,
    ChannelKind.EMAIL: EmailChannel,
}


def _headline(alert: Alert) -> str:
    return f"[{_MARKS[alert.severity]}] {alert.title}"


def _slack_text(text: str) -> str:
    """Text as Slack wants it, so that nothing in it is a link, a mention or markup."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A word joiner after each mark keeps pairs of them from meaning anything.
    return "".join(f"{part}\u2060" if part in "*_~`" else part for part in escaped)
