"""Answers about accounts: balances, positions, profit, orders, fills. Every number is the read models' or exact "
"sums."""

from __future__ import annotations

from collections import defaultdict

from polaris_synapse.agents.conversation.intents import Ask, Topic
from polaris_synapse.agents.conversation.moments import clock_time, moment, since_ns
from polaris_synapse.agents.conversation.view import Said, Table, View, count, sentence
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import ExecutionRecorded
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.orders import Order
from polaris_synapse.domain.reasons import Reason, explain


async def balances(view: View, ask: Ask) -> Said:
    """What is held of one asset or of all."""
    held = await view.holdings()
    if ask.asset:
        row = next((row for row in held if row.asset.code == ask.asset), None)
        if row is None or not row.total_units:
            return Said(f"There is no {ask.asset} on {view.whose}.")
        total, free = (format_units(units, row.asset.decimals) for units in (row.total_units, row.free_units))
        text = f"{sentence(view.whose)}: {total} {ask.asset}, of which {free} free."
        if row.mark is not None and row.instrument is not None and row.value_units is not None:
            price = row.instrument.format_price(row.mark.mark_ticks)
            text += f" At the mark of {price} that is worth {view.money(row.value_units)}."
        return Said(text, simulated=view.is_simulated(row.mark))
    rows = tuple(
        (
            row.asset.code,
            format_units(row.total_units, row.asset.decimals),
            format_units(row.free_units, row.asset.decimals),
            format_units(row.value_units, view.valuation.decimals) if row.value_units is not None else "no price",
        )
        for row in held
        if row.total_units
    )
    if not rows:
        return Said(f"There is nothing on {view.whose}.")
    total = view.money(sum(row.value_units or 0 for row in held))
    text = f"{sentence(view.whose)}: {count(len(rows), 'asset')}, worth {total} at the marks now."
    table = Table("Balances", ("asset", "total", "free", f"value, {view.valuation.code}"), rows)
    return Said(text, table, view.is_simulated(*(row.mark for row in held)))


async def positions(view: View, ask: Ask) -> Said:
    """What has been traded into."""
    instruments = await view.instruments()
    found = await view.over(lambda name: view.reads.positions(account=name))
    rows = []
    marks = []
    for row in sorted(found, key=lambda row: (row.account, row.symbol)):
        instrument = instruments.get(row.symbol)
        if not row.quantity_lots or instrument is None or ask.symbol not in ("", row.symbol):
            continue
        mark = view.market.mark(instrument)
        marks.append(mark)
        value = instrument.notional_units(mark.mark_ticks, row.quantity_lots) if mark is not None else None
        quote = instrument.quote.decimals
        rows.append((
            row.account,
            row.symbol,
            instrument.format_quantity(row.quantity_lots),
            format_units(row.cost_units, quote),
            format_units(value, quote) if value is not None else "no price",
            format_units(value - row.cost_units, quote) if value is not None else "no price",
        ))  # fmt: skip
    if not rows:
        held = await balances(view, Ask(topic=Topic.BALANCES))
        return Said(f"Nothing has been traded into on {view.whose}. {held.text}", held.table, held.simulated)
    columns = ("account", "symbol", "quantity", "cost", "value", "unrealised")
    text = f"{count(len(rows), 'open position')} on {view.whose}, valued at the marks now."
    return Said(text, Table("Positions", columns, tuple(rows)), view.is_simulated(*marks))


async def exposure(view: View, ask: Ask) -> Said:
    """How much is in what, at the marks now."""
    held = await view.holdings()
    total = sum(row.value_units or 0 for row in held)
    instruments = await view.instruments()
    base = instruments[ask.symbol].base.code if ask.symbol in instruments else ""
    rows = []
    exposed = 0
    for row in held:
        if row.asset.code == view.valuation.code or not row.total_units or base not in ("", row.asset.code):
            continue
        value = row.value_units
        exposed += value or 0
        # Hundredths of a percent, rounded down.
        share = format_units(value * 10_000 // total, 2) if value is not None and total > 0 else "?"
        rows.append((
            row.asset.code,
            format_units(row.total_units, row.asset.decimals),
            format_units(value, view.valuation.decimals) if value is not None else "no price",
            f"{share} %",
        ))  # fmt: skip
    if not rows:
        return Said(f"{sentence(view.whose)} has no exposure{f' to {base}' if base else ''}.")
    open_orders = await view.orders(symbol=ask.symbol)
    text = (
        f"Exposure of {view.whose}{f' to {base}' if base else ''}: {view.money(exposed)} of {view.money(total)} in all."
    )
    text += f" Open orders: {len(open_orders)}." if open_orders else ""
    columns = ("asset", "held", f"value, {view.valuation.code}", "share")
    return Said(text, Table("Exposure", columns, tuple(rows)), view.is_simulated(*(row.mark for row in held)))


async def equity(view: View, ask: Ask) -> Said:
    """What the accounts are worth, by risk's own valuation."""
    found = await view.over(lambda name: view.reads.account_metrics(account=name))
    rows = tuple(
        (
            row.account,
            format_units(row.equity_units, view.valuation.decimals),
            format_units(row.equity_units - row.day_start_equity_units, view.valuation.decimals),
            clock_time(row.time_ns),
        )
        for row in sorted(found, key=lambda row: row.account)
    )
    if not rows:
        return Said(f"Risk has not valued {view.whose} yet.")
    total = sum(row.equity_units for row in found)
    day = total - sum(row.day_start_equity_units for row in found)
    text = f"Equity of {view.whose}: {view.money(total)}, {view.money(day)} since 00:00 UTC."
    code = view.valuation.code
    marks = [row.mark for row in await view.holdings()]
    columns = ("account", f"equity, {code}", f"today, {code}", "valued at, UTC")
    table = Table("Equity", columns, rows) if len(rows) > 1 else None
    return Said(text, table, view.is_simulated(*marks))


async def pnl(view: View, ask: Ask) -> Said:
    """Profit and loss: today's by equity, otherwise realised and unrealised."""
    if ask.since == "today" and not ask.symbol:
        return await equity(view, ask)
    if ask.since:
        return await _realised_since(view, ask)
    instruments = await view.instruments()
    realised = unrealised = 0
    unpriced = set()
    marks = []
    for row in await view.over(lambda name: view.reads.positions(account=name)):
        instrument = instruments.get(row.symbol)
        if instrument is None or ask.symbol not in ("", row.symbol):
            continue
        if instrument.quote.code != view.valuation.code:
            unpriced.add(instrument.quote.code)
            continue
        realised += row.realised_pnl_units
        if row.quantity_lots:
            mark = view.market.mark(instrument)
            marks.append(mark)
            if mark is None:
                unpriced.add(instrument.base.code)
            else:
                unrealised += instrument.notional_units(mark.mark_ticks, row.quantity_lots) - row.cost_units
    about = f" on {ask.symbol}" if ask.symbol else ""
    text = (
        f"P&L of {view.whose}{about}: {view.money(realised)} realised and {view.money(unrealised)} unrealised at "
        "the marks "
        "now."
    )
    if unpriced:
        text += f" Without a price, and not counted: {', '.join(sorted(unpriced))}."
    if not ask.symbol:
        day = await equity(view, ask)
        text += f" {day.text}"
    return Said(text, simulated=view.is_simulated(*marks))


async def _realised_since(view: View, ask: Ask) -> Said:
    start = since_ns(ask.since, view.now_ns)
    instruments = await view.instruments()
    found = await view.fills(symbol=ask.symbol, since_ns=start)
    counted = [row for row in found if _quoted_in(instruments.get(row.symbol), view)]
    total = sum(row.realised_pnl_units for row in counted)
    text = f"Realised on {view.whose} since {moment(start)}: {view.money(total)} in {count(len(found), 'fill')}."
    return Said(text, simulated=any(row.fill.simulated for row in found))


def _quoted_in(instrument: Instrument | None, view: View) -> bool:
    return instrument is not None and instrument.quote.code == view.valuation.code


async def open_orders(view: View, ask: Ask) -> Said:
    """Open orders."""
    instruments = await view.instruments()
    found = [row for row in await view.orders(symbol=ask.symbol) if ask.side in (None, row.request.side)]
    about = f" for {ask.symbol}" if ask.symbol else ""
    if not found:
        return Said(f"There is no open order{about} on {view.whose}.")
    shown = [order_row(row, instruments[row.request.symbol]) for row in found[: view.settings.rows_max]]
    text = f"{count(len(found), 'open order')}{about} on {view.whose}."
    if len(found) > len(shown):
        text += f" The newest {len(shown)} of them:"
    return Said(text, Table("Open orders", ORDER_COLUMNS, tuple(shown)))


ORDER_COLUMNS = ("id", "account", "symbol", "side", "type", "price", "stop", "quantity", "filled", "state")


def order_row(order: Order, instrument: Instrument) -> tuple[str, ...]:
    """An order as a row."""
    return (
        str(order.order_id),
        order.request.account,
        order.request.symbol,
        order.request.side,
        order.request.type,
        instrument.format_price(order.price_ticks) if order.price_ticks else "",
        instrument.format_price(order.stop_price_ticks) if order.stop_price_ticks else "",
        instrument.format_quantity(order.quantity_lots),
        instrument.format_quantity(order.filled_lots),
        order.state,
    )


async def one_order(view: View, ask: Ask) -> Said:
    """One order by its number."""
    accounts = view.accounts
    found = None
    for name in accounts if accounts is not None else (None,):
        found = found or await view.reads.order(account=name, order_id=ask.order_id)
    if found is None or not ask.order_id:
        return Said(f"There is no order {ask.order_id} on {view.whose}.")
    instrument = (await view.instruments())[found.request.symbol]
    text = (
        f"Order {found.order_id} is {found.state}: {found.request.side} "
        f"{instrument.format_quantity(found.quantity_lots)} {found.request.symbol}, "
        f"{instrument.format_quantity(found.filled_lots)} filled."
    )
    if found.reason is not Reason.NONE:
        text += f" {explain(found.reason)}"
    return Said(text, Table("Order", ORDER_COLUMNS, (order_row(found, instrument),)))


async def fills(view: View, ask: Ask) -> Said:
    """Fills, newest first."""
    instruments = await view.instruments()
    start = since_ns(ask.since, view.now_ns)
    found = [row for row in await view.fills(symbol=ask.symbol, since_ns=start) if ask.side in (None, row.side)]
    about = f" of {ask.symbol}" if ask.symbol else ""
    verb = {None: "filled", "BUY": "bought", "SELL": "sold"}[ask.side]
    since = f" since {moment(start)}" if start else ""
    if not found:
        return Said(f"Nothing{about} was {verb} on {view.whose}{since}.")
    shown = found[: view.settings.rows_max]
    table = Table("Fills", FILL_COLUMNS, tuple(fill_row(row, instruments) for row in shown))
    text = f"{count(len(found), 'fill')}{about} on {view.whose}{since}."
    if len(found) > len(shown):
        text += f" The newest {len(shown)} of them:"
    return Said(text, table, any(row.fill.simulated for row in found))


FILL_COLUMNS = ("time, UTC", "order", "account", "symbol", "side", "quantity", "price", "fee", "realised")


def fill_row(row: ExecutionRecorded, instruments: dict[str, Instrument]) -> tuple[str, ...]:
    """A fill as a row."""
    instrument = instruments[row.symbol]
    return (
        moment(row.time_ns).removesuffix(" UTC"),
        str(row.order_id),
        row.account,
        row.symbol,
        row.side,
        instrument.format_quantity(row.fill.quantity_lots),
        instrument.format_price(row.fill.price_ticks),
        f"{_fee(row, instruments)} {row.fill.fee_asset}",
        format_units(row.realised_pnl_units, instrument.quote.decimals),
    )


def _fee(row: ExecutionRecorded, instruments: dict[str, Instrument]) -> str:
    instrument = instruments[row.symbol]
    asset = instrument.base if row.fill.fee_asset == instrument.base.code else instrument.quote
    return format_units(row.fill.fee_units, asset.decimals)


async def fees(view: View, ask: Ask) -> Said:
    """Fees paid, by the asset in which they were taken, with their worth at the marks now."""
    instruments = await view.instruments()
    start = since_ns(ask.since, view.now_ns)
    found = await view.fills(symbol=ask.symbol, since_ns=start)
    paid: dict[str, int] = defaultdict(int)
    for row in found:
        paid[row.fill.fee_asset] += row.fill.fee_units
    since = f" since {moment(start)}" if start else ""
    if not found:
        return Said(f"No fee was paid on {view.whose}{since}: nothing has filled.")
    assets = {asset.code: asset for one in instruments.values() for asset in (one.base, one.quote)}
    listed = " and ".join(
        f"{format_units(units, assets[code].decimals)} {code}" for code, units in sorted(paid.items())
    )
    worth, complete = 0, True
    marks = []
    for code, units in paid.items():
        holding = view.holding(assets[code], units, units, instruments.values())
        marks.append(holding.mark)
        complete = complete and holding.value_units is not None
        worth += holding.value_units or 0
    text = f"Fees paid on {view.whose}{since}: {listed}, in {count(len(found), 'fill')}."
    if complete:
        text += f" At the marks now that is worth {view.money(worth)}."
    if len(found) >= view.settings.bookings_read_max:
        text += f" Older fills than the last {view.settings.bookings_read_max} are not in it."
    return Said(text, simulated=any(row.fill.simulated for row in found) or view.is_simulated(*marks))


async def extreme_trade(view: View, ask: Ask) -> Said:
    """The fill that realised the most, or lost the most."""
    instruments = await view.instruments()
    start = since_ns(ask.since, view.now_ns)
    found = [
        row
        for row in await view.fills(symbol=ask.symbol, since_ns=start)
        if row.realised_pnl_units and _quoted_in(instruments.get(row.symbol), view)
    ]
    best = ask.topic is Topic.BEST_TRADE
    wanted = [row for row in found if (row.realised_pnl_units > 0) == best]
    since = f" since {moment(start)}" if start else ""
    if not wanted:
        return Said(f"No fill on {view.whose}{since} has realised a {'profit' if best else 'loss'}.")
    row = (max if best else min)(wanted, key=lambda row: row.realised_pnl_units)
    text = (
        f"The {'best' if best else 'worst'} trade on {view.whose}{since} realised "
        f"{view.money(row.realised_pnl_units)}: "
        f"{row.side} {instruments[row.symbol].format_quantity(row.fill.quantity_lots)} {row.symbol} at "
        f"{instruments[row.symbol].format_price(row.fill.price_ticks)}."
    )
    return Said(text, Table("Fill", FILL_COLUMNS, (fill_row(row, instruments),)), row.fill.simulated)
