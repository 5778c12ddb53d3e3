"""What must hold when all is quiet, and what a restart must have kept."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from polaris_synapse.bus.cascade import Cascade, Output
from polaris_synapse.bus.journal import JournalCorruptError
from polaris_synapse.domain.instruments import INTERNAL_VENUE, PAPER_VENUE
from polaris_synapse.domain.messages import Command, Message, VenueOrderStatus
from polaris_synapse.domain.orders import TERMINAL_STATES, Order, OrderState, Side
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.testing.simulation.checkers import MARKETS, hold, waits_in_list

if TYPE_CHECKING:
    from polaris_synapse.testing.simulation.world import World

_UNSETTLED = frozenset({OrderState.UNKNOWN, OrderState.PENDING_CANCEL, OrderState.PENDING_REPLACE, OrderState.APPROVED})


def unsettled(world: World) -> list[str]:
    """What is not in order yet, one sentence each; the desk may still be busy with it."""
    found: list[str] = []
    host, link = world.host, world.link
    if host is None or link is None:
        return ["the desk does not run"]
    if host.has_work or not link.is_idle:
        found.append("the desk has work to do")
    truths = dict(world.exchange.orders())
    for order_id, order in world.books.orders.items():
        if order.state in _UNSETTLED and not waits_in_list(order):
            found.append(f"order {order_id} is {order.state}")
        if order.venue != INTERNAL_VENUE:
            found += _differences(world, order, truths.pop(f"ps0-{order_id}", None))
    found += [f"the venue has {client_id}, the desk does not" for client_id in truths]
    return found + _balances(world)


def _balances(world: World) -> list[str]:
    """Where what the venue holds, what the core expects and what is a break do not fit together."""
    assert world.host is not None
    execution = world.host.cores["execution"]
    assert isinstance(execution, ExecutionCore)
    breaks = {found.symbol for found in world.books.open_breaks() if found.symbols}
    held, found = world.held(), []
    for watch in execution._state.balances.values():
        expected = watch.opening_units + watch.traded_units
        differs = held[watch.asset] != expected
        if not watch.opened:
            found.append(f"the balance of {watch.asset} is not known yet")
        elif differs != (watch.asset in breaks):
            found.append(
                f"the venue holds {held[watch.asset]} {watch.asset}, {expected} are expected, "
                f"and a break is {'open' if watch.asset in breaks else 'not open'}"
            )
    return found


def _differences(world: World, order: Order, truth: VenueOrderStatus | None) -> list[str]:
    """How an order differs at the desk and at the venue."""
    name = f"order {order.order_id}"
    if truth is None:
        if order.filled_lots or order.state not in TERMINAL_STATES:
            return [f"{name} is {order.state} with {order.filled_lots} filled, and the venue never had it"]
        return []
    found: list[str] = []
    ours = {trade: fill for (order_id, trade), fill in world.books.fills.items() if order_id == order.order_id}
    theirs = {fill.trade_id: fill for fill in truth.fills}
    if ours != theirs:
        found.append(f"{name} has trades {sorted(ours)}, at the venue {sorted(theirs)}")
    if (order.state in TERMINAL_STATES) != (truth.state in TERMINAL_STATES):
        found.append(f"{name} is {order.state}, at the venue {truth.state}")
    elif order.state not in TERMINAL_STATES:
        here = (order.state, order.quantity_lots, order.price_ticks, order.stop_price_ticks)
        there = (truth.state, truth.quantity_lots, truth.price_ticks, truth.stop_price_ticks)
        if here != there:
            found.append(f"{name} is {here}, at the venue {there}")
    return found


def check_acknowledged(world: World) -> None:
    """Nothing that was acknowledged is gone."""
    risk = _risk(world)
    accounts = risk._desk.state.accounts
    for (account, client_order_id), order_id in world.accepted.items():
        known = accounts[account].client_order_ids.get(client_order_id)
        hold(known == order_id, "acknowledged_kept", f"order {order_id} ({client_order_id}) of {account} is {known}")
    for account, reference in world.accepted_funds:
        hold(reference in accounts[account].fund_references, "acknowledged_kept", f"funds {reference} of {account}")
    for scope, level in world.books.kill_levels.items():
        hold(risk.kill_levels().get(scope, 0) == level, "acknowledged_kept", f"kill level {level} of {scope}")


def check_all(world: World) -> None:
    """Everything, after the desk has settled."""
    check_acknowledged(world)
    _check_money(world)
    _check_internal_book(world)
    _check_facts_complete(world)
    _check_replay(world)


def _risk(world: World) -> RiskCore:
    assert world.host is not None
    risk = world.host.cores["risk"]
    assert isinstance(risk, RiskCore)
    return risk


def _check_money(world: World) -> None:
    """Balances are the funds moved and the venue's own trades, nothing else; the internal book creates none."""
    risk, books = _risk(world), world.books
    expected: Counter[tuple[str, str]] = Counter()
    for (name, asset), units in books.ledger.items():
        if name.startswith("external:"):
            expected[name.removeprefix("external:"), asset] -= units
    truths = dict(world.exchange.orders())
    for order_id, order in books.orders.items():
        if order.venue == INTERNAL_VENUE:
            fills = [fill for (owner, _), fill in books.fills.items() if owner == order_id]
        else:
            truth = truths.get(f"ps0-{order_id}")
            fills = list(truth.fills) if truth is not None else []
        market, account = MARKETS[order.request.symbol], order.request.account
        sign = 1 if order.request.side is Side.BUY else -1
        for fill in fills:
            expected[account, market.base.code] += sign * market.base_units(fill.quantity_lots)
            expected[account, market.quote.code] -= sign * market.notional_units(fill.price_ticks, fill.quantity_lots)
            expected[account, fill.fee_asset] -= fill.fee_units
    for name, account_state in risk._desk.state.accounts.items():
        for asset, balance in account_state.balances.items():
            hold(
                balance.total_units == expected[name, asset],
                "fills_match",
                f"{name} has {balance.total_units} {asset}, funds and trades make {expected[name, asset]}",
            )
    at_venue = world.exchange.balances()
    for asset, totals in risk._desk.state.ledger.items():
        booked = -totals.get(f"venue:{PAPER_VENUE}", 0) - totals.get(f"fees:{PAPER_VENUE}", 0)
        hold(
            booked == at_venue[asset],
            "balances_match",
            f"the venue's trades make {at_venue[asset]} {asset}, the ledger says {booked}",
        )
        hold(not sum(totals.values()), "ledger_balanced", f"{asset} sums to {sum(totals.values())}")
        hold(not totals.get("venue:internal"), "ledger_balanced", f"the internal book keeps {asset}")


def _check_internal_book(world: World) -> None:
    """The internal book holds exactly the open orders that risk has there, but those that wait to be placed."""
    assert world.host is not None
    matching = world.host.cores["matching"]
    assert isinstance(matching, MatchingCore)
    here = {
        order_id: order.open_lots
        for order_id, order in world.books.orders.items()
        if order.venue == INTERNAL_VENUE and order.state not in TERMINAL_STATES and not waits_in_list(order)
    }
    # A row of a book's dump begins with order id, account, flags, price and open lots.
    there = {row[0]: row[4] for market in matching.markets.values() for row in market.dump().book.orders}
    hold(here == there, "internal_book", f"risk has {here}, the book {there}")


def _check_facts_complete(world: World) -> None:
    """Who reads nothing but facts knows what risk knows."""
    risk, books = _risk(world), world.books
    desk = risk._desk
    for order_id, record in desk.orders.items():
        hold(books.orders.get(order_id) == record.order, "facts_complete", f"order {order_id} was not said last")
    for name, account in desk.state.accounts.items():
        for asset, balance in account.balances.items():
            said = books.said_balances.get((name, asset), (0, 0))
            held = (balance.total_units, balance.reserved_units)
            hold(said == held, "facts_complete", f"{name}'s {asset} is {held} and was said to be {said}")
    assert world.host is not None
    asked: Counter[str] = Counter()
    for _, messages in world.host._journal.read(1):
        asked.update(message.request_id for message in messages if isinstance(message, Command))
    for request_id, count in asked.items():
        found = books.answers[request_id]
        hold(found == count, "answered_once", f"{request_id} was journaled {count} times and answered {found} times")


def _check_replay(world: World) -> None:
    """Every way to make the state again gives the live one: the whole journal, and each snapshot with its rest."""
    host = world.host
    assert host is not None
    live, journal = host.state_hashes(), host._journal
    starts = [*journal.snapshots(), *([0] if journal.first_offset == 1 else [])]
    for start in starts:
        cores = world.make_cores()
        if start:
            try:
                journal.load_snapshot(start)
            except JournalCorruptError:
                continue
            parts = {part.core: part.data for part in world.disk.snapshots[start].parts}
            for name, core in cores.items():
                core.restore(parts[name])
        cascade = Cascade(cores)
        outputs: list[Output] = []
        volatile: list[Message] = []
        for _, messages in journal.read(start + 1):
            for message in messages:
                cascade.run(message, frozenset(), outputs, volatile)
        wrong = [name for name, core in cores.items() if core.state_hash() != live[name]]
        hold(not wrong, "replay_equals_live", f"from offset {start}: {', '.join(wrong)}")
