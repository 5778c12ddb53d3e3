"""Alerts: which facts are worth one, when they are sent, and that each channel speaks its protocol."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import anyio
import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from polaris_synapse.domain.messages import (
    BookHealthChanged,
    BreakChanged,
    BreakerChanged,
    ComplianceAlert,
    KillLevel,
    KillLevelChanged,
    LimitBreached,
    Message,
    Tick,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.monitoring.alerts.alert import BODY_CHARACTERS_MAX, Alert, Severity
from polaris_synapse.monitoring.alerts.channels import SIGNATURE_HEADER
from polaris_synapse.monitoring.alerts.facts import alert_of
from polaris_synapse.monitoring.alerts.policy import AlertPolicy
from polaris_synapse.monitoring.alerts.service import AlertService
from polaris_synapse.monitoring.alerts.settings import AlertSettings, ChannelKind, ChannelSettings
from polaris_synapse.testing.alert_servers import mail_server, post_server
from polaris_synapse.testing.bus import running_host
from polaris_synapse.testing.cascade import FunctionCore
from polaris_synapse.testing.clock import START_NS, ManualClock

pytestmark = pytest.mark.anyio

_MINUTE_NS = 60 * 10**9
SECRET = "xoxb-very-secret-value"


def alert(key: str = "k", severity: Severity = Severity.WARNING, **fields: Any) -> Alert:
    """An alert of a kind."""
    return Alert(key=key, severity=severity, title=fields.pop("title", f"title of {key}"), **fields)


def breaker(*, tripped: bool = True, note: str = "") -> BreakerChanged:
    """The whole desk's breaker."""
    return BreakerChanged(
        time_ns=1, scope="*", tripped=tripped, reason=Reason.CIRCUIT_BREAKER, note=note, actor="user:olga"
    )


FACTS: dict[str, tuple[Message, Severity | None]] = {
    "breaker": (breaker(), Severity.CRITICAL),
    "breaker closed": (breaker(tripped=False), Severity.INFO),
    "kill switch": (
        KillLevelChanged(time_ns=1, account="*", level=KillLevel.FLATTEN, note="", actor="o"),
        Severity.CRITICAL,
    ),
    "kill switch off": (
        KillLevelChanged(time_ns=1, account="main", level=KillLevel.OFF, note="", actor="o"),
        Severity.INFO,
    ),
    "limit": (
        LimitBreached(time_ns=1, account="main", reason=Reason.DAILY_LOSS_LIMIT, detail="Lost 5."),
        Severity.CRITICAL,
    ),
    "structuring": (
        ComplianceAlert(
            time_ns=1, alert_id="A1", account="main", rule="structuring", severity="HIGH", summary="Five of 9,900."
        ),
        Severity.CRITICAL,
    ),
    "large": (
        ComplianceAlert(time_ns=1, alert_id="A1", account="main", rule="large", severity="MEDIUM", summary="One."),
        Severity.WARNING,
    ),
    "closed alert": (
        ComplianceAlert(
            time_ns=1, alert_id="A1", account="main", rule="large", severity="HIGH", summary="One.", status="CLOSED"
        ),
        None,
    ),
    "break": (
        BreakChanged(
            time_ns=1, break_id="B1", venue="paper", symbol="BTCUSDT", account="", is_open=True, detail="2 lots."
        ),
        Severity.CRITICAL,
    ),
    "stale book": (
        BookHealthChanged(time_ns=1, symbol="BTCUSDT", source="binance", healthy=False, cause="stale"),
        Severity.WARNING,
    ),
    "time": (Tick(time_ns=1), None),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_worth_an_alert(name: str) -> None:
    """What stops trading or breaks a rule is critical, what ends that is information, and the rest is no alert."""
    fact, severity = FACTS[name]
    made = alert_of(fact)
    assert (made.severity if made else None) is severity


def test_a_trip_and_its_end_are_told_apart() -> None:
    """The end of something is no repetition of its beginning."""
    first, last = alert_of(breaker()), alert_of(breaker(tripped=False))
    assert first is not None
    assert last is not None
    assert first.key != last.key


def test_repetitions_are_counted_instead_of_sent() -> None:
    """The same alert goes out once a while, and the next one says how often it came in between."""
    policy = AlertPolicy(AlertSettings(repeat_seconds=60))
    assert policy.take(alert(body="Once."), START_NS) is not None
    assert [policy.take(alert(), START_NS + n) for n in range(1, 4)] == [None, None, None]
    assert policy.take(alert("other"), START_NS + 4) is not None
    again = policy.take(alert(body="Again."), START_NS + _MINUTE_NS)
    assert again is not None
    assert again.body == "Again. It came 3 more times since the last alert of it."
    fresh = policy.take(alert(body="Later."), START_NS + 3 * _MINUTE_NS)
    assert fresh is not None
    assert fresh.body == "Later."


@pytest.mark.parametrize(
    "quiet, minute, is_quiet",
    [
        ((22 * 60, 6 * 60), 23 * 60, True),
        ((22 * 60, 6 * 60), 5 * 60 + 59, True),
        ((22 * 60, 6 * 60), 6 * 60, False),
        ((60, 120), 60, True),
        ((60, 120), 120, False),
        (None, 0, False),
    ],
)
def test_quiet_hours_may_go_over_midnight(quiet: tuple[int, int] | None, minute: int, is_quiet: bool) -> None:
    """The beginning belongs to the quiet hours and the end does not."""
    assert AlertPolicy(AlertSettings(quiet_minutes=quiet)).is_quiet(START_NS + minute * _MINUTE_NS) is is_quiet


def test_the_morning_tells_of_the_night() -> None:
    """At night only what is critical goes out; the rest comes as one summary, worst severity first said."""
    policy = AlertPolicy(AlertSettings(quiet_minutes=(0, 60), waiting_max=2))
    night = START_NS + 5 * _MINUTE_NS
    assert policy.take(alert("a"), night) is None
    assert policy.take(alert("a"), night + 1) is None
    assert policy.take(alert("b", Severity.INFO), night + 2) is None
    assert policy.take(alert("beyond the bound"), night + 3) is None
    assert policy.take(alert("c", Severity.CRITICAL), night + 4) is not None
    assert policy.morning(night + 5) is None
    summary = policy.morning(START_NS + 60 * _MINUTE_NS)
    assert summary is not None
    assert (summary.title, summary.severity) == ("4 alerts during the quiet hours", Severity.WARNING)
    assert summary.body == "title of a (2 times); title of b."
    assert policy.morning(START_NS + 61 * _MINUTE_NS) is None


def test_text_is_cut_and_kept_on_its_line() -> None:
    """Whatever a note holds, an alert is short and has no control characters."""
    made = alert(title="a\r\nBcc: you@example.org\x1b[31m", body="b" * 5_000).cut()
    assert made.title == "a Bcc: you@example.org [31m"
    assert len(made.body) == BODY_CHARACTERS_MAX


def service(*channels: ChannelSettings, clock: ManualClock | None = None, **settings: Any) -> AlertService:
    """The service over some channels."""
    everything = AlertSettings(channels=channels, timeout_seconds=5.0, **settings)
    return AlertService(clock or ManualClock(), CollectorRegistry(), everything)


async def test_slack_gets_text_that_is_no_markup() -> None:
    """Links, mentions and emphasis in a note arrive as the characters they are."""
    with post_server() as server:
        alerts = service(ChannelSettings(name="s", kind=ChannelKind.SLACK, secret=f"{server.url}/{SECRET}"))
        assert await alerts.tell_now(alert(title="<!channel> & *all*", body="<http://evil|bank>")) == []
    (posted,) = server.posted
    text = msgspec.json.decode(posted.body)["text"]
    assert posted.path == f"/{SECRET}"
    assert "<" not in text
    assert "&lt;!channel&gt; &amp;" in text
    assert "*all*" not in text


async def test_telegram_gets_a_message_for_its_chat() -> None:
    """The bot's token is in the address, the chat in the body, and only what is critical makes a sound."""
    channel = ChannelSettings(name="t", kind=ChannelKind.TELEGRAM, secret="1:abc", target="42")
    with post_server() as server:
        alerts = service(msgspec.structs.replace(channel, url=server.url))
        await alerts.tell_now(alert(severity=Severity.CRITICAL, body="body"))
        await alerts.tell_now(alert(severity=Severity.WARNING))
    assert [posted.path for posted in server.posted] == ["/bot1:abc/sendMessage"] * 2
    loud, silent = (msgspec.json.decode(posted.body) for posted in server.posted)
    assert (loud["chat_id"], loud["text"]) == ("42", "[!!!] title of k\nbody")
    assert (loud["disable_notification"], silent["disable_notification"]) == (False, True)


async def test_a_webhook_can_check_who_sent_it() -> None:
    """The signature covers exactly the bytes that arrive."""
    with post_server() as server:
        channel = ChannelSettings(name="w", kind=ChannelKind.WEBHOOK, url=f"{server.url}/hook", secret=SECRET)
        assert await service(channel).tell_now(alert(time_ns=7)) == []
    (posted,) = server.posted
    digest = hmac.new(SECRET.encode(), posted.body, hashlib.sha256).hexdigest()
    assert posted.headers[SIGNATURE_HEADER] == f"sha256={digest}"
    assert msgspec.json.decode(posted.body) == {
        "key": "k",
        "severity": "WARNING",
        "title": "title of k",
        "body": "",
        "time_ns": 7,
    }


async def test_mail_reaches_its_server() -> None:
    """Subject, sender and recipients are the settings'; a refusal is a sentence."""
    with mail_server() as server:
        channel = ChannelSettings(
            name="m",
            kind=ChannelKind.EMAIL,
            host="127.0.0.1",
            port=server.port,
            encryption="none",
            sender="desk@example.org",
            recipients=("a@example.org", "b@example.org"),
        )
        alerts = service(channel)
        assert await alerts.tell_now(alert(body="What happened.")) == []
        (mail,) = server.mails
        assert "Subject: [!] title of k" in mail
        assert "To: a@example.org, b@example.org" in mail
        assert "What happened." in mail
        server.refusal = "554 no"
        assert await alerts.tell_now(alert()) == ["m: the mail server answered 554."]


async def test_a_channel_that_fails_for_a_while_is_tried_again() -> None:
    """A busy server is asked again after the time it names; one that says no is not."""
    clock = ManualClock()
    with post_server() as server:
        server.answers, server.retry_after = [429, 503], "7"
        alerts = service(ChannelSettings(name="w", kind=ChannelKind.WEBHOOK, url=server.url), clock=clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alerts.send)
            alerts.tell(alert())
            for expected in (1, 2):
                await anyio.to_thread.run_sync(server.wait, expected)
                # The morning's look sleeps too; the second sleeper is the channel's pause.
                while clock.sleepers < 2:  # noqa: ASYNC110  # the clock has no event for it
                    await anyio.sleep(0.005)
                clock.advance(6.9)
                assert len(server.posted) == expected
                clock.advance(0.1)
            await anyio.to_thread.run_sync(server.wait, 3)
            tasks.cancel_scope.cancel()
        server.answers = [403]
        assert await alerts.tell_now(alert()) == ["w: it answered with status 403."]
        assert len(server.posted) == 4


async def test_no_secret_is_told() -> None:
    """Neither a problem's sentence nor a repr nor the metrics hold an address or a key."""
    registry = CollectorRegistry()
    channel = ChannelSettings(name="s", kind=ChannelKind.SLACK, secret=f"http://127.0.0.1:9/{SECRET}")
    settings = AlertSettings(channels=(channel,), attempts_max=1)
    alerts = AlertService(ManualClock(), registry, settings)
    problems = await alerts.tell_now(alert())
    assert problems == ["s: ConnectError while sending."]
    assert SECRET not in repr(settings) + str(problems) + generate_latest(registry).decode()


async def test_facts_of_the_desk_become_alerts() -> None:
    """A breaker that trips on the bus is told once, and by every channel that carries its severity."""

    def trips(message: Message) -> list[Message]:
        return [breaker(note="volatile")] if isinstance(message, Tick) else []

    with post_server() as server:
        loud = ChannelSettings(name="loud", kind=ChannelKind.WEBHOOK, url=f"{server.url}/loud")
        picky = msgspec.structs.replace(loud, name="picky", url=f"{server.url}/picky", severity_min=Severity.CRITICAL)
        alerts = service(loud, picky)
        async with running_host([FunctionCore("risk", trips)]) as host, anyio.create_task_group() as tasks:
            tasks.start_soon(alerts.run, host)
            while "alerts" not in host.subscribers:  # noqa: ASYNC110  # nor has the host
                await anyio.sleep(0.005)
            await host.send([Tick(time_ns=START_NS + 1), Tick(time_ns=START_NS + 2)])
            await anyio.to_thread.run_sync(server.wait, 2)
            tasks.cancel_scope.cancel()
    assert sorted(posted.path for posted in server.posted) == ["/loud", "/picky"]


async def test_a_channel_that_hangs_holds_up_nobody() -> None:
    """A full queue drops and counts the newest; telling never waits."""
    registry = CollectorRegistry()
    channel = ChannelSettings(name="w", kind=ChannelKind.WEBHOOK, url="http://127.0.0.1:9")
    alerts = AlertService(ManualClock(), registry, AlertSettings(channels=(channel,), waiting_max=2))
    for number in range(5):
        alerts.tell(alert(f"k{number}"))
    assert 'polaris_alerts_failed_total{channel="w"} 3.0' in generate_latest(registry).decode()
