"""What an agent's mandate asks of an order: each rule with a reason of its own, in one literal order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from polaris_synapse.domain.messages import Autonomy, Mandate, MandateUsed, TradingWindow
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import text
from polaris_synapse.risk.core.context import OrderContext, Refusal
from polaris_synapse.risk.core.leverage import beyond_leverage
from polaris_synapse.risk.core.state import AMOUNT_UNITS_MAX, DAY_NS, SECOND_NS, Account, Desk, MandateUse
from polaris_synapse.risk.core.valuation import value_of

#: 1 January 1970 was a Thursday; 0 is Monday.
_FIRST_WEEKDAY: Final = 3
_MINUTE_NS: Final = 60 * SECOND_NS
MINUTES_A_DAY: Final = 1_440
WINDOWS_MAX: Final = 50
SYMBOLS_MAX: Final = 500
APPROVAL_SECONDS_MAX: Final = 7 * 86_400
PPM_MAX: Final = 100_000_000
_DAY_NAMES: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def mandate_problem(mandate: Mandate) -> str:
    """Why a mandate makes no sense, in a sentence; empty when it does."""
    amounts = (
        mandate.order_value_units_max,
        mandate.daily_value_units_max,
        mandate.approval_above_units,
        mandate.loss_units_max,
    )
    if not mandate.agent or min(amounts) < 0 or max(amounts) > AMOUNT_UNITS_MAX:
        return f"A mandate names its agent, and its values lie between 0 and {AMOUNT_UNITS_MAX}."
    if not 0 <= mandate.leverage_ppm_max <= PPM_MAX:
        return f"leverage_ppm_max lies between 0 and {PPM_MAX}."
    if not 1 <= mandate.approval_seconds_max <= APPROVAL_SECONDS_MAX:
        return f"approval_seconds_max lies between 1 and {APPROVAL_SECONDS_MAX}."
    if len(mandate.windows) > WINDOWS_MAX or len(mandate.symbols) > SYMBOLS_MAX:
        return f"A mandate has at most {SYMBOLS_MAX} symbols and {WINDOWS_MAX} trading windows."
    for window in mandate.windows:
        if not window.days or not all(0 <= day <= 6 for day in window.days):
            return "A trading window names its days: 0 for Monday to 6 for Sunday."
        if not 0 <= window.start_minute < window.end_minute <= MINUTES_A_DAY:
            return f"A trading window starts before it ends, within minute 0 and {MINUTES_A_DAY} of the day."
    return ""


def is_open(windows: tuple[TradingWindow, ...], time_ns: int) -> bool:
    """Whether ``time_ns`` lies in one of the windows; without any, always."""
    if not windows:
        return True
    weekday = (time_ns // DAY_NS + _FIRST_WEEKDAY) % 7
    minute = time_ns % DAY_NS // _MINUTE_NS
    return any(weekday in one.days and one.start_minute <= minute < one.end_minute for one in windows)


def profit_of(desk: Desk, use: MandateUse) -> int:
    """What the agent's fills are worth now, all that they gave and took together, in the valuation asset."""
    return sum(value_of(desk, asset, units) or 0 for asset, units in use.moved_units.items())


def mandates_used(desk: Desk, account: Account) -> tuple[MandateUsed, ...]:
    """What each of an account's agents has used today, by agent."""
    return tuple(mandate_used(desk, use) for _, use in sorted(account.mandates.items()))


def mandate_used(desk: Desk, use: MandateUse) -> MandateUsed:
    """What is used of one mandate today."""
    return MandateUsed(
        agent=use.mandate.agent,
        used_units=use.used_units if use.day == desk.state.day else 0,
        profit_units=profit_of(desk, use) - use.day_start_profit_units,
    )


def check_order_value(context: OrderContext, use: MandateUse) -> Refusal | None:
    """One order's value."""
    desk, mandate, worth = context.desk, use.mandate, _worth(context)
    if worth <= mandate.order_value_units_max:
        return None
    return Refusal(
        Reason.MANDATE_ORDER_VALUE,
        f"The order is worth {text.value(desk, worth)}, the mandate of agent {mandate.agent} allows "
        f"{text.value(desk, mandate.order_value_units_max)} an order.",
    )


def check_daily_value(context: OrderContext, use: MandateUse) -> Refusal | None:
    """The day's value, this order counted and the one it replaces not."""
    desk, mandate, worth, before = context.desk, use.mandate, _worth(context), context.replaces
    replaced = before.mandate_units if before is not None and before.mandate_day == desk.state.day else 0
    used = use.used_units if use.day == desk.state.day else 0
    if used + worth - replaced <= mandate.daily_value_units_max:
        return None
    return Refusal(
        Reason.MANDATE_DAILY_VALUE,
        f"{text.value(desk, used)} of the {text.value(desk, mandate.daily_value_units_max)} a day of agent "
        f"{mandate.agent} are used, the order is worth {text.value(desk, worth)}.",
    )


def check_hours(context: OrderContext, use: MandateUse) -> Refusal | None:
    """The hours at which the agent may trade."""
    if is_open(use.mandate.windows, context.time_ns):
        return None
    spans = "; ".join(window_text(window) for window in use.mandate.windows)
    return Refusal(Reason.MANDATE_HOURS, f"Agent {use.mandate.agent} may trade only: {spans} (UTC).")


def check_leverage(context: OrderContext, use: MandateUse) -> Refusal | None:
    """Exposure over equity that the mandate allows, which may be less than the account's own limit."""
    desk, limit = context.desk, use.mandate.leverage_ppm_max
    beyond = beyond_leverage(context, limit)
    if beyond is None:
        return None
    exposure, equity = beyond
    return Refusal(
        Reason.MANDATE_LEVERAGE,
        f"The exposure could reach {text.value(desk, exposure)} on an equity of {text.value(desk, equity)}; the "
        f"mandate of agent {use.mandate.agent} allows {text.percent(limit)}.",
    )


def check_loss(context: OrderContext, use: MandateUse) -> Refusal | None:
    """What the agent's own trades have lost today. Beyond the limit it may only reduce."""
    desk, limit = context.desk, use.mandate.loss_units_max
    assert context.prospect is not None
    if not limit or context.prospect.reducing:
        return None
    lost = use.day_start_profit_units - profit_of(desk, use)
    if lost < limit:
        return None
    return Refusal(
        Reason.MANDATE_LOSS,
        f"The trades of agent {use.mandate.agent} have lost {text.value(desk, lost)} today, its mandate allows "
        f"{text.value(desk, limit)}.",
    )


def check_autonomy(context: OrderContext, use: MandateUse) -> Refusal | None:
    """Whether a person has to be asked first. Last, so that nobody is asked about what could not be placed anyway."""
    desk, mandate, worth = context.desk, use.mandate, _worth(context)
    if context.approved or mandate.autonomy is Autonomy.AUTOPILOT:
        return None
    if mandate.autonomy is Autonomy.PROPOSE:
        return Refusal(
            Reason.MANDATE_REQUIRES_APPROVAL, f"Agent {mandate.agent} only proposes: a person approves each order."
        )
    if worth <= mandate.approval_above_units:
        return None
    return Refusal(
        Reason.MANDATE_REQUIRES_APPROVAL,
        f"Agent {mandate.agent} needs a person's approval above {text.value(desk, mandate.approval_above_units)}, the "
        f"order is worth {text.value(desk, worth)}.",
    )


#: The rules, in order. The symbol was looked at when the mandate was chosen.
MANDATE_RULES: Final[tuple[Callable[[OrderContext, MandateUse], Refusal | None], ...]] = (
    check_order_value,
    check_daily_value,
    check_hours,
    check_leverage,
    check_loss,
    check_autonomy,
)


def outside_mandate(context: OrderContext, use: MandateUse) -> Refusal | None:
    """The first rule that stands against the order. It has a prospect with a value: earlier checks saw to it."""
    for rule in MANDATE_RULES:
        refusal = rule(context, use)
        if refusal is not None:
            return refusal
    return None


def take_agent_fill(account: Account, agent: str, asset: str, units: int) -> None:
    """Count what a fill of an agent's order gave (positive) or took of one asset, fees included."""
    use = account.mandates.get(agent)
    if use is not None and units:
        use.moved_units[asset] = use.moved_units.get(asset, 0) + units


def start_mandate_day(desk: Desk, account: Account) -> None:
    """A new day: the agents' losses count from here."""
    for use in account.mandates.values():
        if use.moved_units:
            use.day_start_profit_units = profit_of(desk, use)


def window_text(window: TradingWindow) -> str:
    """``Mon-Fri 08:00-18:00``."""
    days = sorted(set(window.days))
    names = [_DAY_NAMES[day] for day in days]
    together = len(days) > 2 and days == list(range(days[0], days[-1] + 1))
    said = f"{names[0]}-{names[-1]}" if together else " ".join(names)
    return f"{said} {_clock(window.start_minute)}-{_clock(window.end_minute)}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _worth(context: OrderContext) -> int:
    assert context.prospect is not None
    return context.prospect.value_units or 0
