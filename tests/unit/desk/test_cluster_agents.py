"""The agents' part of a cluster before it meets a broker: records, books, who tells people, where services are."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path

import anyio
import httpx2
import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs
from tests.unit.execution.fake_bus import FakeBus, wait_until
from tests.unit.risk.bench import Bench, ready, usdt

from polaris_synapse.agents.authority import Authority
from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.kafka.routing import partition_of
from polaris_synapse.cli.connection import CommandError, DeskClient
from polaris_synapse.compliance.checkpoints import load_or_make_key
from polaris_synapse.desk import place
from polaris_synapse.desk.first_start import prepare_directory
from polaris_synapse.desk.loading import load_settings
from polaris_synapse.desk.place import (
    ASKS_MAX,
    DEFAULT_PORTS,
    DeskPlace,
    ServicePlace,
    asks_for_another,
    in_turn,
    read_services,
    services_folder,
)
from polaris_synapse.desk.records import CoreRecords, SqlRecords
from polaris_synapse.desk.services.agents import Books, LlmAgents
from polaris_synapse.desk.services.alerts import ClusterAlerts
from polaris_synapse.desk.services.app import ClusterApp
from polaris_synapse.desk.services.base import ServiceParts
from polaris_synapse.desk.services.views import RiskCores
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.monitoring.alerts.alert import Alert, Severity
from polaris_synapse.monitoring.alerts.service import AlertService
from polaris_synapse.monitoring.alerts.settings import AlertSettings
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.storage.database import Database, open_database
from polaris_synapse.storage.fact_writing import write_facts
from polaris_synapse.storage.migrate import upgrade_compliance, upgrade_orders
from polaris_synapse.storage.port import ReadModelsLagError
from polaris_synapse.storage.projections import COMPLIANCE_PROJECTIONS, ORDER_PROJECTIONS
from polaris_synapse.storage.read_models import SqlReadModels
from polaris_synapse.testing.alert_servers import post_server
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.servers.process import free_ports
from polaris_synapse.web.bodies import json_response
from polaris_synapse.web.errors import ApiError

pytestmark = pytest.mark.anyio


def envelopes(messages: Sequence[m.Message], kinds: Container[type[m.Message]]) -> list[Envelope]:
    """The facts of some kinds, with a place each."""
    return [
        Envelope(topic="", core="risk", partition=0, offset=1, index=index, message=message)  # type: ignore[arg-type]  # any of them
        for index, message in enumerate(messages)
        if type(message) in kinds
    ]


async def written(directory: Path, messages: Sequence[m.Message]) -> tuple[Database, Database]:
    """Databases with what facts became in them."""
    orders, compliance = (open_database(f"sqlite:///{directory}/{name}.db") for name in ("orders", "compliance"))
    await upgrade_orders(orders)
    await upgrade_compliance(compliance)
    for database, projections in ((orders, ORDER_PROJECTIONS), (compliance, COMPLIANCE_PROJECTIONS)):
        await database.write(partial(write_facts, projections=projections, facts=envelopes(messages, projections)))
    return orders, compliance


async def nothing() -> None:
    """The databases are up."""


def busy_bench() -> Bench:
    """An account with a mandate partly used, limits of its own, and requests in three states."""
    bench = ready()
    bench.open_account("bob")
    bench.limits(order_value_units_max=usdt(9_000), messages_per_second_max=100)
    bench.limits("bob", order_value_units_max=usdt(7), messages_per_second_max=100)
    bench.mandate(approval_above_units=usdt(500))
    bench.mandate(agent="other", enabled=False)
    for asset, share in (("BTC", 500_000), ("ETH", 5)):
        bench.ask(m.SetHoldingLimit(time_ns=bench.now, account="alice", asset=asset, share_ppm_max=share))
    bench.ask(m.SetHoldingLimit(time_ns=bench.now, account="alice", asset="ETH", share_ppm_max=0))
    for approve in (True, False, None):
        held = bench.submit(actor="agent:jarvis")
        approval = bench.core.approval(held.approval_id)
        assert approval is not None
        if approve is not None:
            command = m.DecideApproval(
                time_ns=bench.now, actor="user:alice", account="alice", approval_id=approval.approval_id,
                order_hash=approval.order_hash, approve=approve, approver_role="TRADER",
            )  # fmt: skip
            assert bench.ask(command).reason is Reason.NONE
        bench.now += 10
    bench.tick()
    return bench


async def test_the_read_models_say_what_the_core_says(tmp_path: Path) -> None:
    """Mandates and their use, limits and requests: read from SQL by any instance, the same as from the core itself."""
    bench = busy_bench()
    standings = [
        m.AccountStanding(
            time_ns=1, account=name, account_kind=m.AccountKind.PERSON, kyc=m.KycState.APPROVED, sanctions_hold=False,
            blocked=False, restricted_symbols=(), version=1,
        )
        for name in ("alice", "bob")
    ]  # fmt: skip
    orders, compliance = await written(tmp_path, [*bench.history, *standings])
    core: Authority = CoreRecords(bench.core)
    sql: Authority = SqlRecords(SqlReadModels(orders, compliance, nothing))
    assert len(await core.mandates()) == 2
    assert await sql.mandates() == await core.mandates()
    assert (await core.mandate_use("alice", "jarvis"))[0] > 0
    for account, agent in (("alice", "jarvis"), ("alice", "other"), ("alice", "nobody"), ("bob", "jarvis")):
        assert await sql.mandate_use(account, agent) == await core.mandate_use(account, agent)
    requests = await core.approvals()
    assert {one.state.value for one in requests} == {"APPROVED", "REJECTED", "PENDING"}
    assert await sql.approvals() == requests
    for state in m.ApprovalState:
        assert await sql.approvals(state=state) == await core.approvals(state=state)
    for one in requests:
        assert await sql.approval(one.approval_id) == one
        found = await sql.approvals_of_order("alice", one.order.client_order_id)
        assert found == await core.approvals_of_order("alice", one.order.client_order_id) == [one]
    assert await sql.approvals_of_order("bob", requests[0].order.client_order_id) == []
    assert await core.holding_limits("alice") == {"BTC": 500_000}
    for account in ("alice", "bob", "*", "nobody"):
        assert await sql.limits_of(account) == await core.limits_of(account), account
        assert await sql.holding_limits(account) == await core.holding_limits(account)
    for database in (orders, compliance):
        await database.close()


async def test_records_that_are_behind_are_not_ready(tmp_path: Path) -> None:
    """Whoever decided a moment ago never reads that it is undecided: a database that is behind says to ask again."""
    orders, compliance = await written(tmp_path, [])

    async def behind() -> None:
        raise ReadModelsLagError("the read models did not catch up within 5 s")

    records = SqlRecords(SqlReadModels(orders, compliance, behind))
    with pytest.raises(ApiError) as refused:
        await records.approval("1")
    assert refused.value.reason is Reason.NOT_READY
    for database in (orders, compliance):
        await database.close()
    gone = open_database(f"sqlite:///{tmp_path}/nowhere/orders.db")
    with pytest.raises(ApiError) as away:
        await SqlRecords(SqlReadModels(gone, gone, nothing)).mandates()
    assert away.value.reason is Reason.NOT_READY
    await gone.close()


def book(sequence: int, *, snapshot: bool, symbol: str = "BTCUSDT") -> m.BookUpdated:
    """A book or a change of one."""
    bids: tuple[Level, ...] = ((100 + sequence, 5),)
    return m.BookUpdated(
        time_ns=1, symbol=symbol, source="simulated", sequence=sequence, bids=bids, asks=((200, 5),),
        is_snapshot=snapshot,
    )  # fmt: skip


async def test_books_are_followed_from_the_next_time_they_are_said_in_full() -> None:
    """Changes before the first whole book are passed over; a missing one empties the book until it is said again."""
    bus = FakeBus()
    books = Books(bus)
    assert "no book" in books.sentence()
    async with anyio.create_task_group() as group:
        group.start_soon(books.run)
        await wait_until(lambda: bus.subscriptions == 1)
        for message, bids in (
            (book(6, snapshot=False), ()),
            (book(7, snapshot=True), ((107, 5),)),
            (book(8, snapshot=False), ((108, 5), (107, 5))),
            (book(10, snapshot=False), ()),
            (book(12, snapshot=True), ((112, 5),)),
        ):
            bus.publish(message)
            await wait_until(lambda: bus.unread == 0)
            await anyio.sleep(0.01)
            view = books.views.get("BTCUSDT")
            assert view is not None
            assert (view.book(5)[0] if view.sequence else ()) == bids
        assert books.sentence() == "Market data: simulated"
        group.cancel_scope.cancel()


class Channel:
    """Keeps what it was given."""

    name = "kept"
    severity_min = Severity.INFO

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def send(self, alert: Alert, /) -> None:
        """Keep it."""
        self.keys.append(alert.key)


def alerts(tmp_path: Path, clock: ManualClock, channel: Channel) -> ClusterAlerts:
    """The alerts of one gateway."""
    prepare_directory(tmp_path)
    parts = ServiceParts("order-gateway", load_settings("development"), tmp_path, clock, facts=())
    service = AlertService(clock, CollectorRegistry(), AlertSettings(repeat_seconds=0), [channel])
    return ClusterAlerts(parts, service)


async def test_who_takes_over_tells_what_was_said_meanwhile(tmp_path: Path) -> None:
    """Standing by it tells nothing; leading, what it heard in the time that a takeover takes, and all from then on."""
    clock, channel = ManualClock(), Channel()
    found = alerts(tmp_path, clock, channel)
    found.hear(Alert(key="long ago", severity=Severity.WARNING, title="t"))
    clock.advance(60)
    found.hear(Alert(key="as the leader died", severity=Severity.WARNING, title="t"))
    clock.advance(5)
    assert channel.keys == []
    async with anyio.create_task_group() as group:
        group.start_soon(found.tell)
        await wait_until(lambda: channel.keys == ["as the leader died"])
        found.hear(Alert(key="leading", severity=Severity.WARNING, title="t"))
        await wait_until(lambda: channel.keys == ["as the leader died", "leading"])
        group.cancel_scope.cancel()
    found.hear(Alert(key="another leads", severity=Severity.WARNING, title="t"))
    await anyio.sleep(0.01)
    assert channel.keys == ["as the leader died", "leading"]


def test_nobody_is_chosen_to_tell_nobody(tmp_path: Path) -> None:
    """Without a channel in the settings no gateway joins the group of those that tell."""
    prepare_directory(tmp_path)
    parts = ServiceParts("order-gateway", load_settings("development"), tmp_path, ManualClock(), facts=())
    assert ClusterAlerts(parts).members() == ()
    assert len(alerts(tmp_path, ManualClock(), Channel()).members()) == 1


def test_the_command_finds_the_services_of_this_machine(tmp_path: Path) -> None:
    """Of each service the instance that was started last; one whose process is gone is passed over."""
    assert read_services(tmp_path) is None
    folder = services_folder(tmp_path)
    folder.mkdir()
    place = ServicePlace(service="llm-agents", client="a", host="127.0.0.1", port=1, process_id=os.getpid())
    gone = replace(place, client="c", port=3, process_id=2**22 + 7)
    for number, one in enumerate((place, replace(place, client="b", port=2), gone)):
        path = folder / f"{one.client}.json"
        path.write_bytes(msgspec.json.encode(one))
        os.utime(path, (number, number))
    (folder / "half.json").write_bytes(b'{"service":')
    found = read_services(tmp_path)
    assert found is not None
    assert found.ports == DEFAULT_PORTS | {"llm_agents": 2}
    assert found.url("risk") == "http://127.0.0.1:8083"
    assert found.urls("llm_agents") == ("http://127.0.0.1:2", "http://127.0.0.1:1")
    assert found.urls("risk") == (found.url("risk"),)


def test_a_stop_is_said_to_the_next_instance_while_one_does_not_answer() -> None:
    """Of two risk managers the one that listens is told; where none does, the exit code is not that of no desk."""
    (silent,) = free_ports(1)
    with post_server() as risk:
        place = DeskPlace("127.0.0.1", {"risk": silent}, further_ports={"risk": (int(risk.url.rpartition(":")[2]),)})
        assert DeskClient(place, None).stop("/kill-switch", {"level": 2}) == {}
        assert [(one.path, one.body) for one in risk.posted] == [("/kill-switch", b'{"level":2}')]
    with pytest.raises(CommandError) as refused:
        DeskClient(DeskPlace("127.0.0.1", {"risk": silent}), None).stop("/kill-switch", {"level": 2})
    assert refused.value.exit_code == 1
    assert "No desk answers" in str(refused.value)


def test_what_another_instance_looks_after_is_asked_of_that_one() -> None:
    """An instance that has done nothing and names another one is not the last to be asked; other refusals stand."""
    with post_server() as first, post_server() as second:
        first.answers, first.retry_after, first.body = [503], "1", b'{"code":1501,"reason":"NOT_READY"}'
        second.body = b'{"done":true}'
        ports = [int(one.url.rpartition(":")[2]) for one in (first, second)]
        desk = DeskClient(DeskPlace("127.0.0.1", {"risk": ports[0]}, further_ports={"risk": (ports[1],)}), None)
        assert desk.post("risk", "/limits/main", {}) == {"done": True}
        assert (len(first.posted), len(second.posted)) == (1, 1)
        first.answers, first.body = [503], b'{"code":1502,"reason":"JOURNAL_UNAVAILABLE"}'
        with pytest.raises(CommandError, match="JOURNAL_UNAVAILABLE"):
            desk.post("risk", "/limits/main", {})
        assert len(second.posted) == 1
        alone = DeskClient(DeskPlace("127.0.0.1", {"risk": ports[0]}), None)
        first.answers, first.body = [503] * ASKS_MAX, b'{"code":1501,"reason":"NOT_READY"}'
        with pytest.raises(CommandError, match="NOT_READY"):
            alone.post("risk", "/limits/main", {})
        assert first.answers == []


def test_a_service_that_is_only_slow_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every instance is asked once however long it takes, and more often only while there is time."""
    monkeypatch.setattr(place, "ASK_PAUSE_SECONDS", 0.0)
    assert list(in_turn(("a", "b"))) == ["a", "b", "a", "b", "a"]
    monkeypatch.setattr(place, "ASK_SECONDS_MAX", -1.0)
    assert list(in_turn(("a", "b"))) == ["a", "b"]


async def test_who_asks_the_wrong_instance_keeps_the_signature() -> None:
    """What another instance has is refused before the room, and with it the nonce, has seen the request."""
    risk = RiskCores(2, "USDT")
    names = {partition_of(name, 2): name for name in ("a", "b", "c", "d", "e")}
    risk.show({0: RiskCore(0, "USDT")})
    seen: list[str] = []

    async def room(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await json_response({}, 200)(scope, receive, send)

    app = ClusterApp(
        room, service="risk-manager", client="x", checks=dict, states=list,
        elsewhere=lambda path: risk.elsewhere(path.removeprefix("/limits/")),
    )  # fmt: skip
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://desk") as client:
        refused = await client.patch(f"/limits/{names[1]}", json={})
        assert (refused.status_code, refused.json()["reason"]) == (503, "NOT_READY")
        assert asks_for_another(refused.status_code, refused.headers, refused.content)
        assert seen == []
        for account in (names[0], "*"):
            assert (await client.get(f"/limits/{account}")).status_code == 200
        assert (await client.get("/ready")).json()["ready"]
    assert seen == [f"/limits/{names[0]}", "/limits/*"]


async def test_unsigned_receipts_are_told_of_at_the_start(tmp_path: Path) -> None:
    """Without the audit log's key the service warns, once, and says when the key has come."""
    prepare_directory(tmp_path)
    clock = ManualClock()
    parts = ServiceParts("llm-agents", load_settings("development"), tmp_path, clock, facts=LlmAgents.FACTS)
    room = LlmAgents(parts)
    with capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(room.say_what_is_unsigned)
            await wait_until(lambda: bool(logs))
            clock.advance(60)
            key = tmp_path / "keys" / "audit-signing.pem"
            assert logs == [{"event": "receipts_are_not_signed", "log_level": "warning", "missing_key": str(key)}]
            load_or_make_key(key)
            with anyio.fail_after(10):
                while len(logs) < 2:
                    clock.advance(60)
                    await anyio.sleep(0.01)
    assert [entry["event"] for entry in logs][1:] == ["receipts_are_signed_from_now_on"]
