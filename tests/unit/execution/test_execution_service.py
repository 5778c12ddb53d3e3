"""The execution service over a scripted venue: what it sends, what it makes of failures, and its HTTP interface."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection
from tests.unit.execution.fake_bus import FakeBus, wait_until

from polaris_synapse.domain.messages import (
    BreakChanged,
    ConfigureVenues,
    Message,
    ResolveBreak,
    VenueBalances,
    VenueCancel,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import OrderEvent, OrderRequest, OrderState, OrderType, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.api import build_api
from polaris_synapse.execution.service import ExecutionService
from polaris_synapse.execution.settings import ExecutionSettings
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.venues import Fault, ScriptedVenue
from polaris_synapse.web.authentication import Principal, Role

pytestmark = pytest.mark.anyio


class Desk:
    """A running service with its bus and venues."""

    def __init__(self, *, real_trading: bool = False, timeout_seconds: float = 5.0) -> None:
        self.bus = FakeBus()
        self.clock = ManualClock()
        self.venue = ScriptedVenue(clock=self.clock)
        self.real = ScriptedVenue(name="binance", simulated=False, clock=self.clock)
        self.registry = CollectorRegistry()
        self.service = ExecutionService(
            bus=self.bus,
            clock=self.clock,
            registry=self.registry,
            settings=ExecutionSettings(real_trading=real_trading, request_timeout_seconds=timeout_seconds),
            venues=[self.venue, self.real],
        )

    def submit(self, order_id: int = 1024, *, venue: str = "scripted") -> VenueSubmit:
        """A submit command."""
        request = OrderRequest(
            account="alice",
            client_order_id=f"c{order_id}",
            symbol="BTCUSDT",
            side=Side.BUY,
            type=OrderType.LIMIT,
            quantity_lots=10,
            price_ticks=100,
        )
        return VenueSubmit(
            time_ns=self.clock.now_ns(),
            venue=venue,
            symbol="BTCUSDT",
            order_id=order_id,
            venue_client_id=f"ps0-{order_id}",
            request=request,
            quantity_lots=10,
            price_ticks=100,
            stop_price_ticks=0,
        )

    def about(self, kind: type[Any], order_id: int = 1024, **fields: Any) -> Any:
        """Another command about an order."""
        return kind(
            time_ns=self.clock.now_ns(),
            venue=fields.pop("venue", "scripted"),
            symbol="BTCUSDT",
            order_id=order_id,
            venue_client_id=f"ps0-{order_id}",
            venue_order_id="",
            **fields,
        )

    async def answers(self, *commands: Message, count: int = 1) -> Sequence[Any]:
        """Publish commands and wait for ``count`` messages to the core."""
        before = len(self.bus.sent)
        self.bus.publish(*commands)
        await wait_until(lambda: len(self.bus.sent) >= before + count)
        return self.bus.sent[before:]

    def metric(self, name: str, **labels: str) -> float:
        """A sample."""
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running(desk: Desk) -> AsyncIterator[Desk]:
    """Run the service."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.service.run)
        await wait_until(lambda: desk.service.readiness()["execution"]() is None)
        # It has said what its venues are, and what each of the two holds.
        await wait_until(lambda: len(desk.bus.sent) >= 3)
        yield desk
        tasks.cancel_scope.cancel()


async def test_a_slow_order_does_not_hold_up_the_others() -> None:
    """Orders numbered as risk numbers them go their own ways: one that hangs delays few others, not all."""
    async with running(Desk()) as desk:
        desk.venue.script("submit", Fault.HANGS)
        orders = [desk.submit(1024 * number) for number in range(1, 41)]
        desk.bus.publish(*orders)
        await wait_until(lambda: len(desk.venue.accepted) >= 30)


async def test_it_tells_the_core_its_venues() -> None:
    """The first thing sent is the list of venues and whether real trading is on."""
    async with running(Desk(real_trading=True)) as desk:
        configured = desk.bus.sent[0]
        assert isinstance(configured, ConfigureVenues)
        assert [(v.name, v.simulated) for v in configured.venues] == [("binance", False), ("scripted", True)]
        assert configured.real_trading


async def test_it_tells_the_core_what_venues_hold() -> None:
    """Balances go to the core at the start, now and then, and after a gap; one that cannot be had is left out."""

    def told() -> list[VenueBalances]:
        return [one for one in desk.bus.sent if isinstance(one, VenueBalances) and one.venue == "scripted"]

    async with running(Desk()) as desk:
        await wait_until(lambda: len(told()) == 1)
        desk.venue.deposits["BTC"] = 5
        await wait_until(lambda: desk.clock.sleepers >= 4)
        desk.clock.advance(15)
        await wait_until(lambda: len(told()) == 2)
        assert [(one.asset, one.total_units) for one in told()[-1].balances] == [("BTC", 5)]
        desk.service._links["scripted"].reconnected()
        await wait_until(lambda: len(told()) == 3)


async def test_an_order_goes_out_and_its_reports_come_back() -> None:
    """A submit reaches the adapter, its reports reach the core, and the view and the metrics follow."""
    async with running(Desk()) as desk:
        (report,) = await desk.answers(desk.submit())
        assert (report.event, report.order_id) == (OrderEvent.ACKNOWLEDGE, 1024)
        await wait_until(lambda: desk.metric("polaris_execution_open_orders", venue="scripted") == 1)
        assert [(o.order_id, o.state) for o in desk.service.orders()] == [(1024, OrderState.WORKING)]
        desk.venue.fill("ps0-1024", 10, 100)
        await wait_until(lambda: not desk.service.orders())
        await wait_until(lambda: desk.metric("polaris_execution_fills_total", venue="scripted", liquidity="MAKER") == 1)
        assert desk.metric("polaris_execution_submit_seconds_count", venue="scripted") == 1


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.HANGS])
async def test_a_failure_after_the_send_is_unknown(fault: Fault) -> None:
    """A timeout or an exception of the adapter is reported as LOSE, never as a rejection, and nothing is sent again."""
    async with running(Desk(timeout_seconds=0.05)) as desk:
        desk.venue.script("submit", fault)
        found = await desk.answers(desk.submit(), count=2 if fault is Fault.HANGS else 1)
        assert [r.event for r in found][-1] is OrderEvent.LOSE
        assert desk.venue.submits["ps0-1024"] <= 1
        assert desk.metric("polaris_execution_unknown_outcomes_total", venue="scripted", request="submit") == 1


async def test_what_was_not_sent_is_certain() -> None:
    """A submit or replacement that never left is refused; such a cancel is lost, because it is still wanted."""
    async with running(Desk()) as desk:
        for name in ("submit", "replace", "cancel"):
            desk.venue.script(name, Fault.NOT_SENT)
        terms = {"quantity_lots": 5, "price_ticks": 100, "stop_price_ticks": 0}
        (first,) = await desk.answers(desk.submit())
        (second,) = await desk.answers(desk.about(VenueReplace, **terms))
        (third,) = await desk.answers(desk.about(VenueCancel))
        assert [m.event for m in (first, second, third)] == [
            OrderEvent.REJECT,
            OrderEvent.REJECT_REPLACE,
            OrderEvent.LOSE,
        ]
        assert first.reason is Reason.VENUE_UNAVAILABLE


async def test_orders_that_waited_too_long_are_not_sent() -> None:
    """An order whose command is older than the limit is refused: the core may have given it up already."""
    async with running(Desk()) as desk:
        command = desk.submit()
        desk.clock.advance(4.5)
        (report,) = await desk.answers(command)
        assert (report.event, report.reason) == (OrderEvent.REJECT, Reason.VENUE_UNAVAILABLE)
        assert not desk.venue.submits


@pytest.mark.parametrize(
    "venue, real_trading, reason",
    [
        ("kraken", False, Reason.VENUE_NOT_CONFIGURED),
        ("binance", False, Reason.REAL_TRADING_DISABLED),
        ("binance", True, Reason.NONE),
    ],
)
async def test_real_venues_are_kept_apart(venue: str, real_trading: bool, reason: Reason) -> None:
    """The service refuses by itself what the core should not have sent."""
    async with running(Desk(real_trading=real_trading)) as desk:
        (report,) = await desk.answers(desk.submit(venue=venue))
        assert report.reason is reason


async def test_a_query_is_answered() -> None:
    """A query brings the venue's status; one for a venue that is not there says that it was not answered."""
    async with running(Desk()) as desk:
        (status,) = await desk.answers(desk.about(VenueQuery))
        assert isinstance(status, VenueOrderStatus)
        assert (status.answered, status.found, status.trades_checked) == (True, False, True)
        (status,) = await desk.answers(desk.about(VenueQuery, venue="kraken"))
        assert not status.answered


async def test_reports_wait_for_a_bus_that_is_full() -> None:
    """While the bus refuses, reports are kept and sent later."""
    async with running(Desk()) as desk:
        desk.bus.refusals = 3
        desk.bus.publish(desk.submit())

        def later() -> bool:
            desk.clock.advance(1)
            return any(isinstance(message, VenueReport) for message in desk.bus.sent)

        await wait_until(later)
        assert desk.metric("polaris_execution_send_failures_total") == 3


async def test_a_gap_in_the_stream_asks_about_every_open_order() -> None:
    """When an adapter reports a gap, each open order at that venue is queried."""
    async with running(Desk()) as desk:
        await desk.answers(desk.submit(1024), desk.submit(2048), count=2)
        before = desk.venue.queries
        desk.service._links["scripted"].reconnected()
        await wait_until(lambda: desk.venue.queries == before + 2)


async def test_an_order_that_nobody_sent_is_told_to_the_core() -> None:
    """An open order at the venue that the desk does not know reaches the core after it was seen twice."""
    async with running(Desk()) as desk:
        desk.venue.submit_now(desk.submit(7 * 1024))
        desk.venue.stream.clear()

        def later() -> bool:
            desk.clock.advance(61)
            return any(isinstance(message, VenueOrderStatus) for message in desk.bus.sent)

        await wait_until(later)
        status = next(message for message in desk.bus.sent if isinstance(message, VenueOrderStatus))
        assert status.order_id == 7 * 1024


class _Roles:
    """Authenticates everybody as one role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def authenticate(self, connection: HTTPConnection, /) -> Principal:
        """Whoever it is."""
        return Principal("olga", self.role, ("*",))


@asynccontextmanager
async def client(desk: Desk, role: Role) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service's interface."""
    opened = BreakChanged(
        time_ns=1, break_id="break-0-1", venue="scripted", symbol="BTCUSDT", account="a", is_open=True, detail="d"
    )

    async def breaks(open_only: bool) -> list[BreakChanged]:
        return [opened] if open_only else [opened, replace(opened, break_id="break-0-0", is_open=False)]

    app = build_api(
        service=desk.service,
        bus=desk.bus,
        clock=desk.clock,
        breaks=breaks,
        authenticator=_Roles(role),
        registry=desk.registry,
    )
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened_client:
        yield opened_client


async def test_venues_say_how_they_trade() -> None:
    """Every venue says whether it is simulated and connected."""
    async with running(Desk()) as desk, client(desk, Role.VIEWER) as http:
        body = (await http.get("/venues")).json()
        assert [(v["name"], v["mode"]) for v in body["venues"]] == [("binance", "real"), ("scripted", "simulated")]
        assert body["real_trading"] is False
        assert (await http.get("/ready")).status_code == 200


async def test_orders_and_breaks_are_for_staff() -> None:
    """Open orders and breaks are listed for officers and refused to others."""
    async with running(Desk()) as desk:
        await desk.answers(desk.submit())
        async with client(desk, Role.RISK_OFFICER) as http:
            body = (await http.get("/orders", params={"venue": "scripted"})).json()
            assert (body["total"], body["orders"][0]["venue_client_id"]) == (1, "ps0-1024")
            assert (await http.get("/orders", params={"limit": "0"})).status_code == 400
            assert len((await http.get("/breaks", params={"open_only": "false"})).json()["breaks"]) == 2
        async with client(desk, Role.TRADER) as http:
            assert (await http.get("/orders")).status_code == 403
            assert (await http.get("/breaks")).status_code == 403


async def test_a_break_is_resolved_by_a_risk_officer_with_a_note() -> None:
    """Resolving needs the role and a note, names the person, and passes the core's refusal on."""
    desk = Desk()
    async with client(desk, Role.TRADER) as http:
        assert (await http.post("/breaks/break-0-1/resolve", json={"note": "seen"})).status_code == 403
    async with client(desk, Role.RISK_OFFICER) as http:
        assert (await http.post("/breaks/break-0-1/resolve", json={})).status_code == 400
        answer = await http.post("/breaks/break-0-1/resolve", json={"note": "seen"})
        assert (answer.status_code, answer.json()) == (200, {"break_id": "break-0-1", "already": False})
        (command,) = desk.bus.requests
        assert isinstance(command, ResolveBreak)
        assert (command.actor, command.break_id, command.note) == ("user:olga", "break-0-1", "seen")
        desk.bus.answer = Reason.NOT_FOUND
        assert (await http.post("/breaks/none/resolve", json={"note": "seen"})).status_code == 404
