"""The numbered conformance suite of the venue port: one suite over every adapter, the paper venue and the live ones.

A test module runs it so::

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    async def test_the_venue_conforms(case: Case) -> None:
        async with my_harness() as harness:
            await case.check(harness)

Numbers are those of the promises in ``execution.venues.port``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    VenueCancel,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import (
    TERMINAL_STATES,
    OrderEvent,
    OrderRequest,
    OrderState,
    OrderType,
    PostOnly,
    Side,
    TimeInForce,
)
from polaris_synapse.execution.venues.port import Venue, VenueError

_FILLS: Final = frozenset({OrderEvent.PARTIAL_FILL, OrderEvent.FILL})


class VenueHarness(Protocol):
    """One venue under test with a market that the suite can move.

    The market of ``symbol`` stands still between ``bid_ticks`` and ``ask_ticks`` and offers at least 100 lots there.
    ``instrument`` is ``symbol``'s. ``reports`` are all that the venue has returned or delivered. ``settle`` returns
    when it has nothing more to say.
    """

    symbol: str
    instrument: Instrument
    bid_ticks: int
    ask_ticks: int
    reports: list[VenueReport]

    @property
    def venue(self) -> Venue:
        """The adapter; another one after ``restart``."""
        ...

    async def settle(self) -> None:
        """Wait until everything that has happened was delivered."""
        ...

    async def trade_through(self, side: Side, price_ticks: int, lots: int) -> None:
        """Let the market trade ``lots`` so that resting orders of ``side`` at ``price_ticks`` fill."""
        ...

    async def restart(self) -> None:
        """Kill the desk's side and start it again."""
        ...


class Case(Struct, frozen=True):
    """One promise: its number, its name, and the check that raises AssertionError where it is broken."""

    number: int
    name: str
    check: Callable[[VenueHarness], Awaitable[None]]


CASES: list[Case] = []

_Check = Callable[[VenueHarness], Awaitable[None]]


def _case(number: int) -> Callable[[_Check], _Check]:
    def add(check: _Check) -> _Check:
        CASES.append(Case(number, f"{number:02d}_{check.__name__.strip('_')}", check))
        return check

    return add


def order(
    harness: VenueHarness,
    order_id: int,
    *,
    side: Side = Side.BUY,
    type_: OrderType = OrderType.LIMIT,
    lots: int = 10,
    price_ticks: int = 0,
    stop_price_ticks: int = 0,
    time_in_force: TimeInForce = TimeInForce.GTC,
    post_only: PostOnly = PostOnly.NO,
) -> VenueSubmit:
    """A submit command for the suite's market."""
    request = OrderRequest(
        account="alice",
        client_order_id=f"c{order_id}",
        symbol=harness.symbol,
        side=side,
        type=type_,
        quantity_lots=lots,
        price_ticks=price_ticks,
        stop_price_ticks=stop_price_ticks,
        time_in_force=time_in_force,
        post_only=post_only,
    )
    return VenueSubmit(
        time_ns=1,
        venue=harness.venue.name,
        symbol=harness.symbol,
        order_id=order_id,
        venue_client_id=f"ps0-{order_id}",
        request=request,
        quantity_lots=lots,
        price_ticks=price_ticks,
        stop_price_ticks=stop_price_ticks,
    )


def resting(harness: VenueHarness, order_id: int, *, lots: int = 10) -> VenueSubmit:
    """A buy order that rests below the market."""
    return order(harness, order_id, lots=lots, price_ticks=harness.bid_ticks - 5)


async def submit(harness: VenueHarness, command: VenueSubmit) -> None:
    """Submit and wait for what follows."""
    harness.reports.extend(await harness.venue.submit(command))
    await harness.settle()


async def cancel(harness: VenueHarness, order_id: int) -> None:
    """Cancel and wait for what follows."""
    command = VenueCancel(
        time_ns=1,
        venue=harness.venue.name,
        symbol=harness.symbol,
        order_id=order_id,
        venue_client_id=f"ps0-{order_id}",
        venue_order_id="",
    )
    harness.reports.extend(await harness.venue.cancel(command))
    await harness.settle()


async def replace(harness: VenueHarness, order_id: int, *, lots: int, price_ticks: int) -> None:
    """Replace and wait for what follows."""
    command = VenueReplace(
        time_ns=1,
        venue=harness.venue.name,
        symbol=harness.symbol,
        order_id=order_id,
        venue_client_id=f"ps0-{order_id}",
        venue_order_id="",
        quantity_lots=lots,
        price_ticks=price_ticks,
        stop_price_ticks=0,
    )
    harness.reports.extend(await harness.venue.replace(command))
    await harness.settle()


async def query(harness: VenueHarness, order_id: int) -> VenueOrderStatus:
    """What the venue knows of an order."""
    command = VenueQuery(
        time_ns=1,
        venue=harness.venue.name,
        symbol=harness.symbol,
        order_id=order_id,
        venue_client_id=f"ps0-{order_id}",
    )
    return await harness.venue.query(command)


def events(harness: VenueHarness, order_id: int) -> list[OrderEvent]:
    """What was reported of an order, in order."""
    return [report.event for report in harness.reports if report.order_id == order_id]


def filled(reports: Sequence[VenueReport], order_id: int) -> int:
    """Lots of distinct reported trades of an order."""
    trades = {r.fill.trade_id: r.fill.quantity_lots for r in reports if r.order_id == order_id and r.fill is not None}
    return sum(trades.values())


@_case(1)
async def _a_submitted_order_is_known_by_its_client_id(harness: VenueHarness) -> None:
    await submit(harness, resting(harness, 1024))
    assert OrderEvent.ACKNOWLEDGE in events(harness, 1024)
    status = await query(harness, 1024)
    assert status.answered
    assert status.found
    assert status.order_id == 1024
    assert status.venue_order_id
    assert status.state is OrderState.WORKING


@_case(2)
async def _every_report_names_venue_and_symbol(harness: VenueHarness) -> None:
    await submit(harness, resting(harness, 1024))
    await cancel(harness, 1024)
    assert harness.reports
    assert {(report.venue, report.symbol) for report in harness.reports} == {(harness.venue.name, harness.symbol)}


@_case(3)
async def _a_client_id_used_twice_has_one_effect(harness: VenueHarness) -> None:
    command = resting(harness, 1024)
    await submit(harness, command)
    refused = False
    try:
        await submit(harness, command)
    except VenueError:
        refused = True
    await harness.settle()
    assert refused or OrderEvent.LOSE in events(harness, 1024)
    assert not set(events(harness, 1024)) & {OrderEvent.REJECT, OrderEvent.CANCEL, OrderEvent.EXPIRE}
    assert (await query(harness, 1024)).state is OrderState.WORKING
    assert len([one for one in await harness.venue.open_orders() if one.order_id == 1024]) == 1


@_case(3)
async def _a_client_id_is_used_up_also_after_its_order_ended(harness: VenueHarness) -> None:
    await submit(harness, resting(harness, 1024))
    await cancel(harness, 1024)
    refused = False
    try:
        await submit(harness, resting(harness, 1024))
    except VenueError:
        refused = True
    await harness.settle()
    assert refused or OrderEvent.LOSE in events(harness, 1024)
    assert (await query(harness, 1024)).state is OrderState.CANCELLED


@_case(4)
async def _fills_add_up_and_trade_ids_are_unique(harness: VenueHarness) -> None:
    price_ticks = harness.bid_ticks - 5
    await submit(harness, resting(harness, 1024, lots=10))
    await submit(harness, resting(harness, 2048, lots=10))
    for _ in range(6):
        await harness.trade_through(Side.BUY, price_ticks, 4)
    fills = [report.fill for report in harness.reports if report.fill is not None]
    by_id = {fill.trade_id: fill for fill in fills}
    assert sum(fill.quantity_lots for fill in by_id.values()) == 20
    assert len({(fill.trade_id, fill) for fill in fills}) == len(by_id)
    assert filled(harness.reports, 1024) == filled(harness.reports, 2048) == 10
    assert OrderEvent.FILL in events(harness, 1024)


@_case(4)
async def _no_fill_is_worse_than_the_limit(harness: VenueHarness) -> None:
    limit_ticks = harness.ask_ticks
    await submit(harness, order(harness, 1024, lots=10, price_ticks=limit_ticks, time_in_force=TimeInForce.IOC))
    await harness.trade_through(Side.BUY, limit_ticks, 10)
    assert all(r.fill.price_ticks <= limit_ticks for r in harness.reports if r.fill is not None)


@_case(5)
async def _a_query_tells_the_whole_truth(harness: VenueHarness) -> None:
    command = resting(harness, 1024)
    await submit(harness, command)
    await harness.trade_through(Side.BUY, command.price_ticks, 4)
    status = await query(harness, 1024)
    assert status.state is OrderState.PARTIALLY_FILLED
    assert (status.quantity_lots, status.price_ticks) == (10, command.price_ticks)
    assert status.filled_lots == sum(fill.quantity_lots for fill in status.fills) == 4
    reported = [report.fill for report in harness.reports if report.fill is not None]
    assert list(status.fills) == reported


@_case(5)
async def _a_query_knows_orders_that_ended(harness: VenueHarness) -> None:
    command = resting(harness, 1024)
    await submit(harness, command)
    await harness.trade_through(Side.BUY, command.price_ticks, 4)
    await cancel(harness, 1024)
    status = await query(harness, 1024)
    assert status.state is OrderState.CANCELLED
    assert status.filled_lots == 4
    assert len(status.fills) >= 1


@_case(6)
async def _an_order_that_never_arrived_is_proved_absent(harness: VenueHarness) -> None:
    status = await query(harness, 777 * 1024)
    assert status.answered
    assert not status.found
    assert status.trades_checked
    assert status.fills == ()


@_case(7)
async def _a_cancel_ends_the_order(harness: VenueHarness) -> None:
    await submit(harness, resting(harness, 1024))
    await cancel(harness, 1024)
    assert events(harness, 1024)[-1] is OrderEvent.CANCEL
    assert (await query(harness, 1024)).state is OrderState.CANCELLED


@_case(7)
async def _a_cancel_of_an_ended_order_is_refused(harness: VenueHarness) -> None:
    command = resting(harness, 1024)
    await submit(harness, command)
    await harness.trade_through(Side.BUY, command.price_ticks, 10)
    await cancel(harness, 1024)
    found = events(harness, 1024)
    assert found[-1] is OrderEvent.REJECT_CANCEL
    assert OrderEvent.CANCEL not in found
    assert (await query(harness, 1024)).state is OrderState.FILLED


@_case(8)
async def _a_replacement_is_in_force_once_it_was_reported(harness: VenueHarness) -> None:
    if not harness.venue.capabilities.replace:
        return
    command = resting(harness, 1024)
    await submit(harness, command)
    await replace(harness, 1024, lots=6, price_ticks=command.price_ticks - 1)
    report = next(report for report in harness.reports if report.event is OrderEvent.REPLACE)
    assert (report.quantity_lots, report.price_ticks) == (6, command.price_ticks - 1)
    status = await query(harness, 1024)
    assert (status.quantity_lots, status.price_ticks) == (6, command.price_ticks - 1)


@_case(8)
async def _a_replacement_below_what_filled_is_refused(harness: VenueHarness) -> None:
    if not harness.venue.capabilities.replace:
        return
    command = resting(harness, 1024)
    await submit(harness, command)
    await harness.trade_through(Side.BUY, command.price_ticks, 4)
    await replace(harness, 1024, lots=4, price_ticks=command.price_ticks)
    assert events(harness, 1024)[-1] is OrderEvent.REJECT_REPLACE
    assert (await query(harness, 1024)).quantity_lots == 10


@_case(9)
async def _what_was_reported_survives_a_crash(harness: VenueHarness) -> None:
    command = resting(harness, 1024)
    await submit(harness, command)
    await harness.trade_through(Side.BUY, command.price_ticks, 4)
    before = await query(harness, 1024)
    await harness.restart()
    after = await query(harness, 1024)
    assert (after.state, after.filled_lots, after.fills) == (before.state, before.filled_lots, before.fills)
    await cancel(harness, 1024)
    assert events(harness, 1024)[-1] is OrderEvent.CANCEL
    assert filled(harness.reports, 1024) == 4


@_case(9)
async def _ids_stay_used_up_after_a_crash(harness: VenueHarness) -> None:
    await submit(harness, resting(harness, 1024))
    await harness.restart()
    refused = False
    try:
        await submit(harness, resting(harness, 1024))
    except VenueError:
        refused = True
    await harness.settle()
    assert refused or OrderEvent.LOSE in events(harness, 1024)
    assert len([one for one in await harness.venue.open_orders() if one.order_id == 1024]) == 1


@_case(10)
async def _open_orders_are_all_open_orders(harness: VenueHarness) -> None:
    for number in (1, 2, 3):
        await submit(harness, resting(harness, number * 1024))
    await cancel(harness, 2048)
    found = await harness.venue.open_orders()
    assert {one.order_id for one in found} == {1024, 3072}
    assert all(one.found and one.state not in TERMINAL_STATES for one in found)


async def _held(harness: VenueHarness) -> Counter[str]:
    """The balances that are not zero."""
    found = await harness.venue.balances()
    return Counter({one.asset: one.total_units for one in found if one.total_units})


@_case(11)
async def _balances_move_with_trades_and_nothing_else(harness: VenueHarness) -> None:
    before = await _held(harness)
    buys = order(harness, 1024, price_ticks=harness.ask_ticks, lots=10, time_in_force=TimeInForce.IOC)
    await submit(harness, buys)
    command = resting(harness, 2048)
    await submit(harness, command)
    await harness.trade_through(Side.BUY, command.price_ticks, 4)
    await submit(harness, order(harness, 3072, side=Side.SELL, price_ticks=harness.ask_ticks + 50))
    await cancel(harness, 3072)
    expected, instrument = Counter(before), harness.instrument
    fills = {report.fill.trade_id: report.fill for report in harness.reports if report.fill is not None}
    assert fills
    for fill in fills.values():
        expected[instrument.base.code] += instrument.base_units(fill.quantity_lots)
        expected[instrument.quote.code] -= instrument.notional_units(fill.price_ticks, fill.quantity_lots)
        expected[fill.fee_asset] -= fill.fee_units
    assert await _held(harness) == expected


@_case(11)
async def _balances_survive_a_crash(harness: VenueHarness) -> None:
    await submit(harness, resting(harness, 1024))
    await harness.trade_through(Side.BUY, harness.bid_ticks - 5, 4)
    before = await _held(harness)
    assert before
    await harness.restart()
    assert await _held(harness) == before
