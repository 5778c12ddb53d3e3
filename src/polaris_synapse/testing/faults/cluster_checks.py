"""What must hold of a desk of services after faults. Each check compares two accounts of the same thing, exactly.

The client's promises, the venue's own record, the log folded anew and the SQL read models are four accounts of what
happened; none is trusted.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from polaris_synapse.domain.instruments import INTERNAL_VENUE, PAPER_VENUE, Instrument, fee_units
from polaris_synapse.domain.messages import ExecutionRecorded
from polaris_synapse.domain.orders import TERMINAL_STATES, Liquidity, OrderState, Side
from polaris_synapse.testing.faults.cluster_evidence import Evidence
from polaris_synapse.testing.faults.cluster_refold import Refold

#: More of one kind than this are counted, not told.
_TOLD_MAX: Final = 5


def judge(
    evidence: Evidence,
    refold: Refold,
    instruments: Mapping[str, Instrument],
    deposits: Mapping[tuple[str, str], int],
) -> list[str]:
    """Everything that does not hold, one sentence each. ``deposits``: what each account began with, in minor units."""
    found: list[str] = []
    for check in (
        lost_orders(evidence, instruments),
        doubled_orders(evidence),
        refused_orders(evidence),
        wrong_executions(evidence),
        wrong_venue_fills(evidence),
        wrong_trades(evidence, refold),
        wrong_balances(evidence, instruments, deposits),
        wrong_ledger(evidence),
        wrong_read_models(evidence, refold),
        wrong_states(evidence, refold),
        wrong_facts(refold),
        refold.problems,
    ):
        found += _shortened(list(check))
    return found


def _shortened(problems: list[str]) -> list[str]:
    if len(problems) <= _TOLD_MAX:
        return problems
    return [*problems[:_TOLD_MAX], f"... and {len(problems) - _TOLD_MAX} more like these"]


def lost_orders(evidence: Evidence, instruments: Mapping[str, Instrument]) -> Iterator[str]:
    """Orders that were promised and are not there, or are there as something else, or never came to an end."""
    for promise in evidence.promises:
        order = evidence.read_models.orders.get(promise.order_id)
        what = f"order {promise.order_id} ({promise.client_order_id} of {promise.account})"
        if order is None:
            yield f"{what} was acknowledged and is not there"
            continue
        asked = order.request
        lots = instruments[promise.symbol].parse_quantity(promise.quantity)
        if (asked.account, asked.client_order_id, asked.symbol, asked.side.value, asked.quantity_lots) != (
            promise.account,
            promise.client_order_id,
            promise.symbol,
            promise.side,
            lots,
        ):
            yield f"{what} was acknowledged as another one than is there: {asked}"
        if order.state not in TERMINAL_STATES:
            yield f"{what} is {order.state} after everything was cancelled"


def doubled_orders(evidence: Evidence) -> Iterator[str]:
    """Two orders under one client order id."""
    seen: dict[tuple[str, str], int] = {}
    for order_id, order in evidence.read_models.orders.items():
        key = (order.request.account, order.request.client_order_id)
        if key in seen:
            yield f"{key[1]} of {key[0]} is order {seen[key]} and order {order_id}"
        seen[key] = order_id


def refused_orders(evidence: Evidence) -> Iterator[str]:
    """Orders that were refused the first time they were sent, and are there all the same."""
    there = {(order.request.account, order.request.client_order_id) for order in evidence.read_models.orders.values()}
    for account, client_order_id in evidence.refused:
        if (account, client_order_id) in there:
            yield f"{client_order_id} of {account} was refused and is there"


def wrong_executions(evidence: Evidence) -> Iterator[str]:
    """Orders whose executions are not what they say has been filled, or are more than was ordered."""
    filled: dict[int, int] = defaultdict(int)
    for execution in evidence.read_models.executions.values():
        filled[execution.order_id] += execution.fill.quantity_lots
    for order_id, order in evidence.read_models.orders.items():
        lots = filled.pop(order_id, 0)
        if lots > order.request.quantity_lots:
            yield f"order {order_id} of {order.request.quantity_lots} lots has executions of {lots}"
        if lots != order.filled_lots:
            yield f"order {order_id} says {order.filled_lots} lots are filled, its executions say {lots}"
        if (order.state is OrderState.FILLED) != (lots == order.quantity_lots):
            yield f"order {order_id} of {order.quantity_lots} lots is {order.state} with {lots} filled"
    for order_id in filled:
        yield f"there are executions of order {order_id}, which is not there"


def wrong_venue_fills(evidence: Evidence) -> Iterator[str]:
    """Fills of the paper venue that are not booked once and as they were, and what is booked and was never filled."""
    booked = {one.execution_id: one for one in evidence.read_models.executions.values() if one.venue == PAPER_VENUE}
    for theirs in evidence.venue:
        execution = booked.pop(f"{theirs.order_id}-{theirs.fill.trade_id}", None)
        if execution is None:
            yield f"trade {theirs.fill.trade_id} of order {theirs.order_id} is the venue's and not booked"
        elif execution.fill != theirs.fill or execution.symbol != theirs.symbol:
            yield f"execution {execution.execution_id} is booked otherwise than the venue made it"
    for execution_id in booked:
        yield f"execution {execution_id} is booked and not the venue's"


def wrong_trades(evidence: Evidence, refold: Refold) -> Iterator[str]:
    """Trades of the desk's own books without exactly one buyer and one seller who have booked them alike."""
    booked = {one.execution_id: one for one in evidence.read_models.executions.values() if one.venue == INTERNAL_VENUE}
    for trade in refold.trades:
        trade_id = f"{trade.symbol}-{trade.trade_id}"
        sides: list[ExecutionRecorded | None] = [
            booked.pop(f"{order_id}-{trade_id}", None) for order_id in (trade.maker_order_id, trade.taker_order_id)
        ]
        terms = {
            (one.fill.price_ticks, one.fill.quantity_lots, one.symbol) if one is not None else None for one in sides
        }
        if terms != {(trade.price_ticks, trade.quantity_lots, trade.symbol)}:
            yield f"trade {trade_id} is not booked as it was made, by both sides"
        elif {one.side for one in sides if one is not None} != {Side.BUY, Side.SELL}:
            yield f"trade {trade_id} has no buyer or no seller"
    for execution_id in booked:
        yield f"execution {execution_id} is booked and no trade of the desk's own book"


def wrong_balances(
    evidence: Evidence, instruments: Mapping[str, Instrument], deposits: Mapping[tuple[str, str], int]
) -> Iterator[str]:
    """Balances that are not what was paid in and what the trades made of it, worked out again from the fills."""
    expected: dict[tuple[str, str], int] = defaultdict(int, deposits)
    for execution in evidence.read_models.executions.values():
        instrument, fill = instruments[execution.symbol], execution.fill
        base = instrument.base_units(fill.quantity_lots)
        quote = instrument.notional_units(fill.price_ticks, fill.quantity_lots)
        maker = fill.liquidity is Liquidity.MAKER
        if execution.side is Side.BUY:
            expected[execution.account, instrument.quote.code] -= quote
            expected[execution.account, instrument.base.code] += base - fee_units(base, instrument.fee_ppm(maker=maker))
        else:
            expected[execution.account, instrument.base.code] -= base
            expected[execution.account, instrument.quote.code] += quote - fee_units(
                quote, instrument.fee_ppm(maker=maker)
            )
    there = {key: balance.total_units for key, balance in evidence.read_models.balances.items()}
    for key in sorted(expected.keys() | there.keys()):
        if expected.get(key, 0) != there.get(key, 0):
            yield f"{key[0]} has {there.get(key, 0)} {key[1]}, its deposits and fills make {expected.get(key, 0)}"
    for (account, asset), balance in evidence.read_models.balances.items():
        if balance.reserved_units:
            yield f"{account} has {balance.reserved_units} {asset} reserved with no order open"


def wrong_ledger(evidence: Evidence) -> Iterator[str]:
    """Entries that do not sum to zero, rows that are not the entry's, and clients whose ledger is not their balance."""
    by_entry: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    for entry_id, account, asset, units in evidence.read_models.postings:
        by_entry[entry_id].append((account, asset, units))
    for entry_id, entry in evidence.read_models.entries.items():
        rows = by_entry.pop(entry_id, [])
        if sorted(rows) != sorted((one.ledger_account, one.asset, one.units) for one in entry.postings):
            yield f"the postings of ledger entry {entry_id} are not the entry's own"
        sums: dict[str, int] = defaultdict(int)
        for _, asset, units in rows:
            sums[asset] += units
        yield from (f"ledger entry {entry_id} sums to {total} {asset}" for asset, total in sums.items() if total)
    for entry_id in by_entry:
        yield f"there are postings of ledger entry {entry_id}, which is not there"
    yield from unbalanced(
        ((account, asset, units) for _, account, asset, units in evidence.read_models.postings),
        ((*key, balance.total_units) for key, balance in evidence.read_models.balances.items()),
    )


def wrong_read_models(evidence: Evidence, refold: Refold) -> Iterator[str]:
    """Rows that are not what the log says when it is folded anew: missing, more, or different."""
    models = evidence.read_models
    pairs: tuple[tuple[str, Mapping[Any, Any], Mapping[Any, Any]], ...] = (
        ("order", models.orders, refold.orders),
        ("execution", models.executions, refold.executions),
        ("balance", models.balances, refold.balances),
        ("ledger entry", models.entries, refold.entries),
    )
    for what, rows, folded in pairs:
        for key in sorted(rows.keys() | folded.keys()):
            if rows.get(key) != folded.get(key):
                where = "the log only" if key not in rows else "SQL only" if key not in folded else "both, differently"
                yield f"{what} {key} is in {where}"


def wrong_states(evidence: Evidence, refold: Refold) -> Iterator[str]:
    """Snapshots that are not the state that the log makes."""
    for key, wanted in sorted(evidence.snapshots.items()):
        if refold.hashes.get(key) != wanted:
            core, partition, offset = key
            yield f"{core}/{partition} at offset {offset} is not in the state that its snapshot has"


def wrong_facts(refold: Refold) -> Iterator[str]:
    """Topics of facts on which there is not exactly what the cores say, each once and in its order."""
    for stream in sorted(refold.said.keys() | refold.written.keys()):
        said, written = refold.said.get(stream, array("L")), refold.written.get(stream, array("L"))
        if written != said[: len(written)]:
            yield f"what {stream[2]} said is on {stream[0]}/{stream[1]} otherwise than it says it again"
        elif len(written) < refold.firm.get(stream, 0):
            yield f"{stream[0]}/{stream[1]} has {len(written)} facts of {stream[2]}, which said {refold.firm[stream]}"


def unbalanced(postings: Iterable[tuple[str, str, int]], balances: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    """Assets whose ledger does not sum to zero, or whose client accounts differ from the balances."""
    totals: dict[str, int] = defaultdict(int)
    clients: dict[tuple[str, str], int] = defaultdict(int)
    for account, asset, units in postings:
        totals[asset] += units
        if account.startswith("client:"):
            clients[account.removeprefix("client:"), asset] += units
    yield from (f"the ledger of {asset} sums to {total}" for asset, total in sorted(totals.items()) if total)
    for account, asset, units in balances:
        if clients[account, asset] != units:
            yield f"{account} has {units} {asset}, its ledger says {clients[account, asset]}"


def unbalanced_assets(directory: Path) -> list[str]:
    """``unbalanced`` of a desk whose read models are SQLite files in its directory."""
    connection = sqlite3.connect(f"file:{directory / 'orderdb.sqlite3'}?mode=ro", uri=True)
    try:
        postings = connection.execute("SELECT ledger_account, asset, CAST(units AS INTEGER) FROM ledger_postings")
        balances = connection.execute("SELECT account, asset, CAST(total_units AS INTEGER) FROM balances")
        return list(unbalanced(postings, balances))
    finally:
        connection.close()
