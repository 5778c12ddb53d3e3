"""Answers about the desk and its agents: what they decided and why, whether trading is stopped, what the limits are."""

from __future__ import annotations

from typing import Final

from polaris_synapse.agents.conversation.intents import Ask
from polaris_synapse.agents.conversation.moments import clock_time, moment, since_ns
from polaris_synapse.agents.conversation.view import Said, Table, View, count, sentence
from polaris_synapse.agents.explain import explain
from polaris_synapse.agents.roster import Roster
from polaris_synapse.domain.messages import DecisionRecorded, KillLevel
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.orders import Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.reasons import explain as explain_reason

_ORDERED: Final = frozenset({"PLACED", "FILLED", "PARTLY_FILLED", "UNFILLED"})
_DECISION_COLUMNS: Final = ("id", "time, UTC", "agent", "symbol", "view", "confidence", "action", "reason")


async def why(view: View, ask: Ask) -> Said:
    """The explanation of one decision: the one named, else the newest that fits the question."""
    if ask.decision_id:
        decision = await view.reads.decision(ask.decision_id)
        if decision is None or not view.principal.may_use(decision.account):
            return Said(f"There is no decision {ask.decision_id} that is yours to see.")
        return _explained(decision)
    found = await view.decisions(symbol=ask.symbol)
    about = f" on {ask.symbol}" if ask.symbol else ""
    if ask.side is not None:
        ordered = [row for row in found if row.view == ask.side and row.action in _ORDERED]
        if not ordered:
            verb = "bought" if ask.side is Side.BUY else "sold"
            latest = f" The newest decision{about} is {found[0].decision_id}: {_line(found[0])}" if found else ""
            return Said(f"No agent has {verb} anything{about}.{latest}")
        found = ordered
    if not found:
        return Said(f"The agents have decided nothing{about} yet.")
    return _explained(found[0])


def _explained(decision: DecisionRecorded) -> Said:
    parts = explain(decision)
    return Said(parts.text, simulated=bool(parts.notice))


def _line(decision: DecisionRecorded) -> str:
    reason = "" if decision.reason is Reason.NONE else f", because: {explain_reason(decision.reason)}"
    return f"{decision.view} on {decision.symbol}, {decision.action}{reason or '.'}"


async def decisions(view: View, ask: Ask) -> Said:
    """The newest decisions."""
    start = since_ns(ask.since, view.now_ns)
    found = [row for row in await view.decisions(symbol=ask.symbol) if row.decided_time_ns >= start]
    if not found:
        return Said(
            "The agents have decided nothing yet." if not start else f"Nothing was decided since {moment(start)}."
        )
    shown = found[: view.settings.rows_max]
    rows = tuple(_decision_row(row) for row in shown)
    text = f"The newest decision is {found[0].decision_id}: {_line(found[0])}"
    return Said(text, Table("Decisions", _DECISION_COLUMNS, rows))


def _decision_row(row: DecisionRecorded) -> tuple[str, ...]:
    return (
        row.decision_id,
        clock_time(row.decided_time_ns or row.time_ns),
        row.agent,
        row.symbol,
        row.view,
        f"{format_units(row.confidence_ppm, 4)} %",
        row.action,
        "" if row.reason is Reason.NONE else row.reason.name,
    )


async def advice(view: View, ask: Ask) -> Said:
    """No advice: what the agents' newest view is, and where its reasons are."""
    found = await view.decisions(symbol=ask.symbol)
    if not found:
        return Said("I give no advice, and the agents have no view yet.")
    latest = found[0]
    return Said(
        f"I give no advice. {latest.agent}'s newest view on {latest.symbol} is {latest.view} with "
        f"{format_units(latest.confidence_ppm, 4)} % confidence, at "
        f"{moment(latest.decided_time_ns or latest.time_ns)}. "
        f"For its reasons, ask: why {latest.decision_id}?"
    )


async def activity(view: View, ask: Ask, roster: Roster) -> Said:
    """What the agents are at."""
    seen = [row for row in roster.all() if view.principal.may_use(row.settings.account)]
    open_orders = await view.orders()
    text = f"{count(len(open_orders), 'open order')} on {view.whose}."
    if not seen:
        return Said(f"No agent works on accounts that are yours to see. {text}")
    rows = tuple(
        (
            row.agent,
            "paused" if row.paused or not row.settings.enabled else "working",
            ", ".join(row.settings.symbols),
            f"{row.settings.interval_seconds} s",
            str(row.decisions_made),
            str(row.proposals_made),
        )
        for row in seen
    )
    latest = await view.decisions()
    newest = f" The newest decision is {latest[0].decision_id}: {_line(latest[0])}" if latest else ""
    columns = ("agent", "state", "symbols", "every", "decisions", "proposals")
    return Said(f"{text}{newest}", Table("Agents", columns, rows))


async def mandate(view: View, ask: Ask, roster: Roster) -> Said:
    """What the agents may do, as far as they tell it themselves."""
    seen = [row for row in roster.all() if view.principal.may_use(row.settings.account)]
    if not seen:
        return Said("No agent works on accounts that are yours to see.")
    rows = tuple(
        (
            row.agent,
            row.settings.account,
            ", ".join(row.settings.symbols),
            f"{format_units(row.settings.position_ppm_of_equity_max, 4)} %",
            view.money(row.day_value_units),
        )
        for row in seen
    )
    columns = ("agent", "account", "symbols", "share of equity", "used of today's mandate")
    text = "An agent trades its own account only, on these symbols, within its mandate and the limits of that account."
    return Said(text, Table("Agents", columns, rows))


async def limits(view: View, ask: Ask) -> Said:
    """The limits in force."""
    account = view.account or (view.accounts[0] if view.accounts is not None and len(view.accounts) == 1 else "*")
    found = await view.limits(account)
    if found is None:
        return Said(f"There is no account {account}.")
    defaults = "the desk's default" if account == "*" else f"account {account}"

    def worth(units: int) -> str:
        return view.money(units) if units else "no limit"

    def rate(ppm: int) -> str:
        return f"{format_units(ppm, 4)} %" if ppm else "no limit"

    rows = (
        ("value of one order", worth(found.order_value_units_max)),
        ("value of one position", worth(found.position_value_units_max)),
        ("exposure", worth(found.exposure_units_max)),
        ("share in one instrument", rate(found.concentration_ppm_max)),
        ("leverage", rate(found.leverage_ppm_max)),
        ("loss in a day", worth(found.daily_loss_units_max)),
        ("drawdown", rate(found.drawdown_ppm_max)),
        ("price away from the market", rate(found.price_collar_ppm)),
        ("open orders", str(found.open_orders_max) if found.open_orders_max else "no limit"),
        ("messages a second", str(found.messages_per_second_max) if found.messages_per_second_max else "no limit"),
    )
    return Said(f"The limits of {defaults}. A risk officer can change them, not this conversation.",
                Table("Limits", ("limit", "at most"), rows))  # fmt: skip


async def status(view: View, ask: Ask) -> Said:
    """Whether trading goes on: breakers, kill switches, differences with venues, the feed."""
    stopped = await stops(view)
    breaks = [row for row in await view.reads.breaks(open_only=True) if view.principal.may_use(row.account)]
    notes = view.market.notes()
    text = "Trading is stopped." if any(row[0] == "desk" for row in stopped) else "The desk is trading."
    if stopped and text.startswith("The"):
        text += " Some of it is stopped."
    if breaks:
        text += f" Open differences with venues: {len(breaks)}."
    text += "".join(f" {sentence(note.rstrip('.'))}." for note in notes.values())
    table = Table("Stops", ("scope", "what", "why", "by"), stopped) if stopped else None
    return Said(text, table)


async def stops(view: View) -> tuple[tuple[str, str, str, str], ...]:
    """Tripped breakers and raised kill switches that the principal may see."""
    rows = []
    for breaker in await view.reads.breakers():
        hidden = breaker.scope.startswith("account:") and not view.principal.may_use(breaker.scope[8:])
        if breaker.tripped and not hidden:
            scope = "desk" if breaker.scope == "*" else breaker.scope
            rows.append((scope, "circuit breaker", breaker.note or breaker.reason.name, breaker.actor))
    for level in await view.reads.kill_levels():
        if level.level is not KillLevel.OFF and (level.account == "*" or view.principal.may_use(level.account)):
            scope = "desk" if level.account == "*" else f"account:{level.account}"
            rows.append((scope, f"kill switch: {level.level.name}", level.note, level.actor))
    return tuple(rows)
