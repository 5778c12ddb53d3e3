"""What changed since a moment, and the briefings made of it."""

from __future__ import annotations

from typing import Final

from polaris_synapse.agents.conversation import answers
from polaris_synapse.agents.conversation.desk_answers import stops
from polaris_synapse.agents.conversation.intents import Ask, Briefing, Topic
from polaris_synapse.agents.conversation.moments import moment, since_ns
from polaris_synapse.agents.conversation.view import Said, Table, View, count
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.orders import OPEN_STATES
from polaris_synapse.web.authentication import Role

#: Candles by which a price of some time ago is found, finest first, and how many of each are kept in reach.
_CANDLES: Final = ((60, 1_000), (900, 1_000), (3_600, 1_000))
_NS: Final = 1_000_000_000
_MAY_SEE_ALERTS: Final = frozenset({Role.COMPLIANCE_OFFICER, Role.ADMIN})


async def changes(view: View, ask: Ask) -> Said:
    """What happened since a moment; today's where none was named."""
    start = since_ns(ask.since or "today", view.now_ns)
    return await _summary(view, start, f"Since {moment(start)}")


async def briefing(view: View, wanted: Briefing) -> Said:
    """Equity and stops first, then what happened: overnight in the morning, today at the end of the day."""
    start = since_ns("today" if wanted.end_of_day else "overnight", view.now_ns)
    worth = await answers.equity(view, Ask(topic=Topic.EQUITY))
    exposed = await answers.exposure(view, Ask(topic=Topic.EXPOSURE))
    stopped = await stops(view)
    parts = [worth.text, exposed.text]
    if stopped:
        parts.append("Stopped: " + "; ".join(f"{scope}, {what}" for scope, what, _, _ in stopped) + ".")
    if wanted.end_of_day:
        for topic in (Topic.FEES, Topic.BEST_TRADE, Topic.WORST_TRADE):
            ask = Ask(topic=topic, since="today")
            said = await (answers.fees if topic is Topic.FEES else answers.extreme_trade)(view, ask)
            parts.append(said.text)
    summary = await _summary(view, start, "Today" if wanted.end_of_day else f"Overnight, since {moment(start)}")
    simulated = summary.simulated or worth.simulated or exposed.simulated
    return Said(" ".join([*parts, summary.text]), summary.table, simulated)


async def _summary(view: View, start: int, title: str) -> Said:
    filled = await view.fills(since_ns=start)
    instruments = await view.instruments()
    counted = [row for row in filled if instruments[row.symbol].quote.code == view.valuation.code]
    orders = [row for row in await view.orders(open_only=False) if row.updated_time_ns >= start]
    decided = [row for row in await view.decisions() if (row.decided_time_ns or row.time_ns) >= start]
    open_now = await view.orders()
    rows: list[tuple[str, str]] = [
        ("fills", str(len(filled))),
        ("realised", view.money(sum(row.realised_pnl_units for row in counted))),
        ("orders that ended", str(sum(row.state not in OPEN_STATES for row in orders))),
        ("open orders now", str(len(open_now))),
        ("decisions", f"{len(decided)}, of which {sum(row.order is not None for row in decided)} with an order"),
    ]
    marks = []
    for instrument in instruments.values():
        mark = view.market.mark(instrument)
        then = await _close_at(view, instrument.symbol, start)
        if mark is None or not then or instrument.reference_symbol:
            continue
        marks.append(mark)
        # Hundredths of a percent, towards zero.
        moved = abs(mark.mark_ticks - then[1]) * 10_000 // then[1]
        sign = "-" if mark.mark_ticks < then[1] else "+"
        since = "" if then[0] <= start + 120 * _NS else f", since {moment(then[0])}"
        rows.append((
            instrument.symbol,
            (f"{instrument.format_price(then[1])} to {instrument.format_price(mark.mark_ticks)}, {sign}"
            f"{format_units(moved, 2)} %{since}"),
        ))  # fmt: skip
    rows += await _stops_and_alerts(view, start)
    text = f"{title}: {count(len(filled), 'fill')}, {count(len(decided), 'decision')}, "
    text += f"{count(len(open_now), 'open order')} now."
    simulated = view.is_simulated(*marks) or any(row.fill.simulated for row in filled)
    return Said(text, Table(title, ("what", "how much"), tuple(rows)), simulated)


async def _close_at(view: View, symbol: str, start: int) -> tuple[int, int] | None:
    """The end and the close of the first candle that is known to have closed at or after a moment."""
    for seconds, limit in _CANDLES:
        candles = await view.reads.candles(symbol=symbol, interval_seconds=seconds, limit=limit)
        if not candles:
            continue
        reaches_back = candles[-1].open_time_ns <= start
        if reaches_back or len(candles) < limit or seconds == _CANDLES[-1][0]:
            length = seconds * _NS
            later = [candle for candle in candles if candle.open_time_ns + length >= start]
            return (later[-1].open_time_ns + length, later[-1].close_ticks) if later else None
    return None


async def _stops_and_alerts(view: View, start: int) -> list[tuple[str, str]]:
    rows = []
    for breaker in await view.reads.breakers():
        seen = not breaker.scope.startswith("account:") or view.principal.may_use(breaker.scope[8:])
        if breaker.time_ns >= start and seen:
            rows.append((f"breaker {breaker.scope}", "tripped" if breaker.tripped else "reset"))
    rows += [
        (f"kill switch {level.account}", level.level.name)
        for level in await view.reads.kill_levels()
        if level.time_ns >= start and (level.account == "*" or view.principal.may_use(level.account))
    ]
    if view.principal.role in _MAY_SEE_ALERTS:
        alerts = await view.reads.alerts(status="OPEN")
        rows.append(("open compliance alerts", str(len(alerts))))
    return rows
