"""The compliance service on a running host: its HTTP interface, its audit log and its checkpoints."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import HTTPConnection
from tests.unit.compliance.record import RecordingCore
from tests.unit.compliance.samples import BTCUSDT, funds, usdt

from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.compliance.audit import verify_file
from polaris_synapse.compliance.checkpoints import public_key_path, read_checkpoints
from polaris_synapse.compliance.service import ComplianceService
from polaris_synapse.compliance.settings import ComplianceSettings
from polaris_synapse.domain.messages import AuditNote, ComplianceRules, ListInstrument
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.testing.bus import running_host
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.journal import MemoryJournal
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

pytestmark = pytest.mark.anyio

PEOPLE = {
    "olga": Principal("olga", Role.COMPLIANCE_OFFICER, ("*",)),
    "root": Principal("root", Role.ADMIN, ("*",)),
    "tom": Principal("tom", Role.TRADER, ("alice",)),
    "vera": Principal("vera", Role.VIEWER, ("alice",)),
    "rita": Principal("rita", Role.RISK_OFFICER, ("*",)),
    "jarvis": Principal("jarvis", Role.AGENT, ("alice",)),
}
OPEN_ALICE = {"account": "alice", "holder_name": "Alice Adams"}


class HeaderAuthenticator:
    """Believes the header X-Person."""

    async def authenticate(self, connection: HTTPConnection, /) -> Principal:
        """The person named, or NOT_AUTHENTICATED."""
        person = PEOPLE.get(connection.headers.get("x-person", ""))
        if person is None:
            raise ApiError(Reason.NOT_AUTHENTICATED)
        return person


class Running:
    """A service at work on a host, and a client for it."""

    def __init__(self, host: EmbeddedHost, core: RecordingCore, clock: ManualClock, service: ComplianceService) -> None:
        self.host, self.core, self.clock, self.service = host, core, clock, service
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=service.api()), base_url="http://localhost")

    async def ask(
        self, method: str, path: str, *, person: str = "olga", body: object = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and body of a request."""
        response = await self.client.request(method, path, headers={"x-person": person}, json=body)
        found: dict[str, Any] = response.json()
        return response.status_code, found

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has become true."""
        with anyio.fail_after(10):
            while not condition():  # noqa: ASYNC110  # files and counters have no event to wait for
                await anyio.sleep(0.002)

    async def kept_up(self) -> None:
        """Wait until the keeper has taken every entry."""
        await self.until(lambda: self.service.keeper.last_sequence == len(self.core.entries))


@asynccontextmanager
async def running(
    directory: Path,
    *,
    journal: MemoryJournal | None = None,
    core: RecordingCore | None = None,
    settings: ComplianceSettings | None = None,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[Running]:
    """A host with the compliance core, and the service running beside it."""
    core, clock = core or RecordingCore(), ManualClock()
    registry = registry or CollectorRegistry()
    async with running_host([core], journal=journal, clock=clock) as host:
        service = ComplianceService(
            host, clock, registry, core, HeaderAuthenticator(), settings or ComplianceSettings.under(directory)
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.run)
            desk = Running(host, core, clock, service)
            await desk.until(lambda: all(check() is None for check in service.readiness().values()) or broken(service))
            yield desk
            await desk.client.aclose()
            tasks.cancel_scope.cancel()


def broken(service: ComplianceService) -> bool:
    """Whether the keeper has found a contradiction."""
    return "signed for" in (service.keeper.problem or "")


async def test_an_account_goes_from_opening_to_trading_and_back(tmp_path: Path) -> None:
    """Opening, identity check, hold, block and restriction each answer with the account as it now stands."""
    async with running(tmp_path) as desk:
        status, body = await desk.ask("POST", "/accounts", body=OPEN_ALICE)
        assert (status, body["kyc"], body["version"]) == (201, "PENDING", 1)
        status, body = await desk.ask("POST", "/accounts/alice/kyc", body={"state": "APPROVED", "note": "papers seen"})
        assert (status, body["kyc"]) == (200, "APPROVED")
        status, body = await desk.ask("POST", "/accounts/alice/sanctions-hold", body={"held": True})
        assert (status, body["sanctions_hold"]) == (200, True)
        status, body = await desk.ask("POST", "/accounts/alice/block", body={"blocked": True})
        assert (status, body["blocked"]) == (200, True)
        await desk.host.send([ListInstrument(time_ns=1, instrument=BTCUSDT)])
        restriction = {"account": "*", "symbol": "BTCUSDT", "restricted": True}
        assert await desk.ask("POST", "/restrictions", body=restriction) == (200, {"changed": True})
        assert await desk.ask("POST", "/restrictions", body=restriction) == (200, {"changed": False})
        _, body = await desk.ask("GET", "/accounts/alice", person="tom")
        assert (body["restricted_symbols"], body["version"]) == (["BTCUSDT"], 5)


@pytest.mark.parametrize(
    "path, body, status, reason",
    [
        ("/accounts", OPEN_ALICE, 409, "ACCOUNT_EXISTS"),
        ("/accounts", {"account": "*", "holder_name": "x"}, 400, "INVALID_VALUE"),
        ("/accounts", {"account": "bob", "holder_name": "x", "date_of_birth": "1980-02-31"}, 400, "INVALID_VALUE"),
        ("/accounts", {"account": "bob"}, 400, "MISSING_FIELD"),
        ("/accounts", OPEN_ALICE | {"vip": True}, 400, "UNKNOWN_FIELD"),
        ("/accounts/alice/kyc", {"state": "EXPIRED"}, 409, "KYC_TRANSITION_NOT_ALLOWED"),
        ("/accounts/alice/kyc", {"state": "GREAT"}, 400, "INVALID_VALUE"),
        ("/accounts/nobody/kyc", {"state": "APPROVED"}, 404, "ACCOUNT_NOT_FOUND"),
        ("/accounts/nobody/block", {"blocked": True}, 404, "ACCOUNT_NOT_FOUND"),
        ("/restrictions", {"account": "alice", "symbol": "NOPE", "restricted": True}, 404, "SYMBOL_NOT_FOUND"),
        ("/alerts/structuring-00/review", {"disposition": "CONFIRMED"}, 404, "CASE_NOT_FOUND"),
        ("/alerts/../review", {"disposition": "CONFIRMED"}, 404, "NOT_FOUND"),
    ],
)
async def test_refusals_say_why(tmp_path: Path, path: str, body: dict[str, object], status: int, reason: str) -> None:
    """What cannot be done is refused with its own reason and status, and changes nothing."""
    async with running(tmp_path) as desk:
        await desk.ask("POST", "/accounts", body=OPEN_ALICE)
        before = desk.core.state_hash()
        found, answer = await desk.ask("POST", path, body=body)
        assert (found, answer["reason"]) == (status, reason)
        assert desk.core.state_hash() == before


async def test_customers_never_learn_of_alerts(tmp_path: Path) -> None:
    """Alerts and the audit log are closed to everybody but compliance officers and admins, on every route."""
    routes = [
        ("GET", "/alerts", None),
        ("GET", "/audit", None),
        ("GET", "/audit/verify", None),
        ("GET", "/audit/checkpoints", None),
        ("POST", "/alerts/structuring-00/review", {"disposition": "CONFIRMED"}),
        ("POST", "/accounts", OPEN_ALICE),
        ("POST", "/accounts/alice/kyc", {"state": "APPROVED"}),
        ("POST", "/accounts/alice/block", {"blocked": False}),
        ("POST", "/accounts/alice/sanctions-hold", {"held": False}),
        ("POST", "/restrictions", {"account": "*", "symbol": "BTCUSDT", "restricted": False}),
    ]
    async with running(tmp_path) as desk:
        for method, path, body in routes:
            for person in ("tom", "vera", "jarvis", "rita"):
                status, answer = await desk.ask(method, path, person=person, body=body)
                assert (status, answer["reason"]) == (403, "ROLE_NOT_ALLOWED"), (path, person)
            status, _ = await desk.ask(method, path, person="stranger", body=body)
            assert status == 401
            status, _ = await desk.ask(method, path, person="root", body=body)
            assert status != 403


async def test_people_see_their_own_accounts_only(tmp_path: Path) -> None:
    """A trader lists their own account and is refused another one, whether it exists or not."""
    async with running(tmp_path) as desk:
        await desk.ask("POST", "/accounts", body=OPEN_ALICE)
        await desk.ask("POST", "/accounts", body={"account": "bob", "holder_name": "Bob"})
        _, everyone = await desk.ask("GET", "/accounts")
        _, own = await desk.ask("GET", "/accounts", person="tom")
        names = [[account["account"] for account in body["accounts"]] for body in (everyone, own)]
        assert names == [["alice", "bob"], ["alice"]]
        for account in ("bob", "nobody"):
            status, answer = await desk.ask("GET", f"/accounts/{account}", person="tom")
            assert (status, answer["reason"]) == (403, "ACCOUNT_NOT_ALLOWED")
        status, answer = await desk.ask("GET", "/accounts/nobody")
        assert (status, answer["reason"]) == (404, "ACCOUNT_NOT_FOUND")


async def test_an_alert_is_raised_listed_counted_and_reviewed(tmp_path: Path) -> None:
    """A large deposit shows under /alerts and in the metrics, and a review closes it."""
    registry = CollectorRegistry()
    async with running(tmp_path, registry=registry) as desk:
        await desk.ask("POST", "/accounts", body=OPEN_ALICE)
        await desk.host.send([funds(usdt(10_000), entry_id=1, time_ns=desk.clock.now_ns())])
        _, body = await desk.ask("GET", "/alerts?status=OPEN&account=alice")
        (alert,) = body["alerts"]
        assert (alert["rule"], alert["severity"]) == ("large_transaction", "MEDIUM")
        await desk.kept_up()
        text = generate_latest(registry).decode()
        assert 'polaris_compliance_alerts_total{rule="large_transaction"} 1.0' in text
        assert 'polaris_compliance_accounts{kyc="PENDING"} 1.0' in text
        path = f"/alerts/{alert['alert_id']}/review"
        assert (await desk.ask("POST", path, body={"disposition": "CONFIRMED", "note": "ours"}))[0] == 200
        assert (await desk.ask("POST", path, body={"disposition": "CONFIRMED"}))[0] == 404
        assert (await desk.ask("GET", "/alerts?status=OPEN"))[1] == {"alerts": []}


async def test_the_audit_log_is_paged_and_verified(tmp_path: Path) -> None:
    """Pages join up without a gap, the newest come in order, and the whole log verifies against its checkpoints."""
    async with running(tmp_path) as desk:
        await desk.host.send([AuditNote(time_ns=n, actor="user:x", action="login.accepted") for n in range(250)])
        await desk.kept_up()
        sequences: list[int] = []
        after = 0
        while True:
            _, body = await desk.ask("GET", f"/audit?after_sequence={after}&limit=100")
            page = [entry["sequence"] for entry in body["entries"]]
            if not page:
                break
            sequences += page
            after = body["next_after_sequence"]
        assert sequences == list(range(1, len(desk.core.entries) + 1))
        _, body = await desk.ask("GET", "/audit?newest=true&limit=3")
        assert [entry["sequence"] for entry in body["entries"]] == sequences[-3:]
        await desk.service.keeper.sign()
        _, report = await desk.ask("GET", "/audit/verify")
        assert (report["valid"], report["entries"], report["checkpoints"]) == (True, len(sequences), 1)
        assert (report["unsigned_entries"], report["signatures_checked"]) == (0, True)
        _, body = await desk.ask("GET", "/audit/checkpoints")
        assert str(body["public_key"]).startswith("-----BEGIN PUBLIC KEY-----")
        status, answer = await desk.ask("GET", "/audit?newest=true&after_sequence=5")
        assert (status, answer["reason"]) == (400, "CONTRADICTORY_FIELDS")


async def test_tampering_with_the_record_is_found_by_verify(tmp_path: Path) -> None:
    """An entry edited behind the desk's back is named by GET /audit/verify."""
    async with running(tmp_path) as desk:
        await desk.host.send([AuditNote(time_ns=n, actor="user:x", action="login.accepted") for n in range(50)])
        await desk.kept_up()
        desk.core.entries[30] = replace(desk.core.entries[30], actor="user:y")
        _, report = await desk.ask("GET", "/audit/verify")
        assert (report["valid"], report["bad_sequence"], report["tampering"]) == (False, 31, "EDITED")


async def test_checkpoints_come_by_count_by_time_and_at_the_end(tmp_path: Path) -> None:
    """A checkpoint follows enough entries, enough time, and the end of the service; never for nothing new."""
    settings = replace(ComplianceSettings.under(tmp_path), checkpoint_entries=100, checkpoint_seconds=60)

    def sizes() -> list[int]:
        return [checkpoint.size for checkpoint in read_checkpoints(settings.checkpoint_file)]

    async with running(tmp_path, settings=settings) as desk:
        await desk.kept_up()
        await desk.host.send([AuditNote(time_ns=n, actor="user:x", action="login.accepted") for n in range(150)])
        await desk.until(lambda: len(sizes()) == 1)
        await desk.kept_up()
        # By time: one entry more, and the clock moves on past the interval.
        await desk.host.send([AuditNote(time_ns=1, actor="user:x", action="login.accepted")])
        await desk.kept_up()
        desk.clock.advance(61)
        await desk.until(lambda: sizes()[-1] == len(desk.core.entries))
        signed = len(sizes())
        desk.clock.advance(61)
        # At the end: whatever came since.
        await desk.host.send([AuditNote(time_ns=1, actor="user:x", action="login.accepted")])
        await desk.kept_up()
    assert len(sizes()) in (signed + 1, signed + 2)
    assert sizes()[-1] == len(desk.core.entries)
    assert sizes() == sorted(set(sizes()))
    key = public_key_path(settings.signing_key_file)
    report = verify_file(settings.audit_directory, settings.checkpoint_file, key)
    assert (report.valid, report.entries, report.unsigned_entries) == (True, len(desk.core.entries), 0)


async def test_a_restart_continues_the_same_log(tmp_path: Path) -> None:
    """After a restart the files and checkpoints go on where they ended, each entry once."""
    journal, core = MemoryJournal(), RecordingCore()
    for _ in range(3):
        async with running(tmp_path, journal=journal, core=core) as desk:
            await desk.host.send([AuditNote(time_ns=1, actor="user:x", action="login.accepted")] * 5)
            await desk.kept_up()
        entries = core.entries
        core = RecordingCore()
        core.entries = entries
    settings = ComplianceSettings.under(tmp_path)
    report = verify_file(settings.audit_directory, settings.checkpoint_file, public_key_path(settings.signing_key_file))
    assert (report.valid, report.entries, report.checkpoints) == (True, len(entries), 3)


@pytest.mark.parametrize("attack", ["truncate", "rewrite"])
async def test_a_desk_whose_log_was_cut_or_rewritten_signs_nothing(tmp_path: Path, attack: str) -> None:
    """A record that no longer holds what was signed for makes the service not ready, and nothing is signed over it."""
    async with running(tmp_path) as desk:
        await desk.host.send([AuditNote(time_ns=n, actor="user:x", action="login.accepted") for n in range(20)])
        await desk.kept_up()
    core = RecordingCore()
    if attack == "rewrite":
        for n in range(40):
            core.apply(AuditNote(time_ns=n, actor="user:nobody", action="nothing.happened"))
    before = ComplianceSettings.under(tmp_path).checkpoint_file.read_bytes()
    async with running(tmp_path, core=core) as desk:
        await desk.until(lambda: broken(desk.service))
        response = await desk.client.get("/ready")
        assert response.status_code == 503
        assert "signed for" in response.json()["failing"]["audit"]
        _, report = await desk.ask("GET", "/audit/verify")
        assert report["valid"] is False
    assert ComplianceSettings.under(tmp_path).checkpoint_file.read_bytes() == before


async def test_falling_behind_loses_nothing(tmp_path: Path) -> None:
    """A service that the bus dropped for being slow reads the record instead and misses no entry."""
    settings = replace(ComplianceSettings.under(tmp_path), backlog_messages_max=10)
    registry = CollectorRegistry()
    async with running(tmp_path, settings=settings, registry=registry) as desk:
        await desk.host.send([AuditNote(time_ns=n, actor="user:x", action="login.accepted") for n in range(500)])
        await desk.kept_up()
        assert desk.service.keeper.problem is None
    assert (registry.get_sample_value("polaris_compliance_fallbacks_total") or 0) >= 1
    assert verify_file(settings.audit_directory).entries == len(desk.core.entries) > 500


async def test_a_full_disk_is_said_and_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the files cannot be written the service says so and signs nothing; with room again nothing is missing."""
    settings = ComplianceSettings.under(tmp_path)
    notes = [AuditNote(time_ns=n, actor="user:x", action="login.accepted") for n in range(20)]
    async with running(tmp_path, settings=settings) as desk:
        await desk.kept_up()
        with monkeypatch.context() as full:

            def no_space(descriptor: int, data: bytes) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

            full.setattr(os, "write", no_space)
            await desk.host.send(notes)
            await desk.until(lambda: "No space left" in (desk.service.keeper.problem or ""))
            response = await desk.client.get("/ready")
            assert (response.status_code, "audit" in response.json()["failing"]) == (503, True)
            assert await desk.service.keeper.sign() is None
        await desk.host.send(notes)
        await desk.until(lambda: desk.service.keeper.problem is None)
        await desk.kept_up()
    report = verify_file(settings.audit_directory, settings.checkpoint_file, public_key_path(settings.signing_key_file))
    assert (report.valid, report.entries, report.unsigned_entries) == (True, len(desk.core.entries), 0)


async def test_a_record_that_lags_is_waited_for(tmp_path: Path) -> None:
    """While the record cannot be read the service waits; a command that took effect says so instead of failing."""
    core = RecordingCore()
    core.lags_left = 2
    clock = ManualClock()
    async with running_host([core], clock=clock) as host:
        service = ComplianceService(
            host, clock, CollectorRegistry(), core, HeaderAuthenticator(), ComplianceSettings.under(tmp_path)
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.run)
            desk = Running(host, core, clock, service)

            def ready_with_time() -> bool:
                clock.advance(1)
                return service.keeper.problem is None and service.keeper.last_sequence > 0

            await desk.until(ready_with_time)
            core.lags_left = 1
            status, body = await desk.ask("POST", "/accounts", body=OPEN_ALICE)
            assert (status, body["reason"]) == (504, "TIMED_OUT")
            assert (await desk.ask("GET", "/accounts/alice"))[0] == 200
            core.lags_left = 1
            assert (await desk.ask("GET", "/audit/verify"))[0] == 504
            await desk.client.aclose()
            tasks.cancel_scope.cancel()


async def test_the_rules_of_the_settings_are_put_into_the_log(tmp_path: Path) -> None:
    """The service puts its rules into force once; a restart with the same ones leaves no second entry."""
    settings = replace(ComplianceSettings.under(tmp_path), rules=ComplianceRules(version=7, large_units=5))
    journal, core = MemoryJournal(), RecordingCore()
    async with running(tmp_path, settings=settings, journal=journal, core=core) as desk:
        await desk.kept_up()
    again = RecordingCore()
    again.entries = core.entries
    async with running(tmp_path, settings=settings, journal=journal, core=again) as desk:
        await desk.kept_up()
    assert again.rules == settings.rules
    assert [entry.action for entry in again.entries].count("rules.changed") == 1


async def test_the_interface_documents_itself(tmp_path: Path) -> None:
    """Every route is in the OpenAPI document with its refusals."""
    async with running(tmp_path) as desk:
        document = (await desk.client.get("/openapi.json")).json()
        operations = {(method, path) for path, item in document["paths"].items() for method in item}
        assert {
            ("get", "/accounts"),
            ("post", "/accounts/{account}/kyc"),
            ("post", "/alerts/{alert_id}/review"),
            ("get", "/audit/verify"),
        } <= operations
        kyc = document["paths"]["/accounts/{account}/kyc"]["post"]["responses"]
        assert {"200", "400", "401", "403", "404", "409", "413", "415"} <= set(kyc)
