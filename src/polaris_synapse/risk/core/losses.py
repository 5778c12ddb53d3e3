"""The day's loss and the drawdown of an account.

Both are measured on equity at marks, against baselines that follow deposits and withdrawals. The day starts at 00:00
UTC by the messages' time, once: a clock that is set back does not start it again.
"""

from __future__ import annotations

from polaris_synapse.domain.instruments import PARTS_PER_MILLION
from polaris_synapse.domain.messages import LimitBreached
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import text
from polaris_synapse.risk.core.breakers import trip
from polaris_synapse.risk.core.fees import start_fee_day
from polaris_synapse.risk.core.mandates import start_mandate_day
from polaris_synapse.risk.core.members import NO_REASON
from polaris_synapse.risk.core.state import DAY_NS, Account, Desk
from polaris_synapse.risk.core.valuation import refresh


def loss_of(desk: Desk, account: Account) -> tuple[Reason, str]:
    """Which loss limit the account has reached, with a sentence; NONE when it has reached neither."""
    limits = account.limits
    if not (limits.daily_loss_units_max or limits.drawdown_ppm_max):
        return NO_REASON, ""
    refresh(desk, account)
    lost = account.day_start_equity_units - account.equity_units
    if limits.daily_loss_units_max and lost >= limits.daily_loss_units_max:
        limit = text.value(desk, limits.daily_loss_units_max)
        detail = f"Account {account.name} has lost {text.value(desk, lost)} today, the limit is {limit}."
        return Reason.DAILY_LOSS_LIMIT, detail
    peak = account.peak_equity_units
    fallen = peak - account.equity_units
    if limits.drawdown_ppm_max and peak > 0 and fallen * PARTS_PER_MILLION >= peak * limits.drawdown_ppm_max:
        detail = (
            f"Account {account.name} has fallen by {text.value(desk, fallen)} from its peak of "
            f"{text.value(desk, peak)}, the limit is {text.percent(limits.drawdown_ppm_max)}."
        )
        return Reason.DRAWDOWN_LIMIT, detail
    return NO_REASON, ""


def watch_losses(desk: Desk, account: Account) -> None:
    """Say once that a loss limit was reached, and trip the account's breaker."""
    reason, detail = loss_of(desk, account)
    if reason is NO_REASON:
        account.drawdown_told = False
        return
    if reason is Reason.DAILY_LOSS_LIMIT:
        if account.daily_loss_told:
            return
        account.daily_loss_told = True
    else:
        if account.drawdown_told:
            return
        account.drawdown_told = True
    desk.out.append(LimitBreached(time_ns=desk.time_ns, account=account.name, reason=reason, detail=detail))
    trip(desk, f"account:{account.name}", reason, note=detail.removesuffix("."), actor="desk")


def start_day(desk: Desk) -> None:
    """A new day by the messages' time: today's losses and the mandates' daily values count from here."""
    desk.state.day = desk.time_ns // DAY_NS
    desk.next_day_ns = (desk.state.day + 1) * DAY_NS
    for name in desk.account_names():
        account = desk.state.accounts[name]
        refresh(desk, account)
        account.day_start_equity_units = account.equity_units
        account.daily_loss_told = False
        start_mandate_day(desk, account)
        start_fee_day(desk, account)


def move_baselines(account: Account, worth: int) -> None:
    """Funds came in (or went out): neither a profit nor a loss."""
    account.day_start_equity_units += worth
    account.peak_equity_units += worth


def accept_drawdown(desk: Desk, account: Account) -> None:
    """A person reset the breaker that a drawdown tripped: it is measured from here on."""
    refresh(desk, account)
    account.peak_equity_units = account.equity_units
    account.drawdown_told = False
