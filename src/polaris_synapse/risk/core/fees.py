"""Fees by tier: what an account pays by how much it traded in the last 30 days.

A day's volume is the worth of its fills in the valuation asset, as they were when they were posted. At 00:00 UTC, which
comes with the first message of the new day, each account's tier follows from the 30 whole days before; a volume of
today counts from tomorrow on. The rates replace the instrument's own where the desk itself charges the fee: on its own
book and on the paper exchange. A venue's fee is the venue's.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, structs

from polaris_synapse.domain.instruments import INTERNAL_VENUE, PAPER_VENUE, fee_units
from polaris_synapse.domain.messages import FeeTier, FeeTierChanged, SetFeeTiers
from polaris_synapse.domain.orders import Fill, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.answers import answer
from polaris_synapse.risk.core.members import BUY, MAKER
from polaris_synapse.risk.core.state import AMOUNT_UNITS_MAX, COUNTER_UNITS_MAX, Account, Desk, Market
from polaris_synapse.risk.core.valuation import value_of

#: Names the tiers of the accounts without their own.
EVERYBODY: Final = "*"
VOLUME_DAYS: Final = 30
FEE_TIERS_MAX: Final = 50
RATE_PPM_MAX: Final = 100_000
#: A rebate beyond this would pay for trading with oneself even against the highest usual taker fee.
REBATE_PPM_MAX: Final = 1_000
_CHARGED_BY_THE_DESK: Final = frozenset({INTERNAL_VENUE, PAPER_VENUE})


class FeeStanding(Struct, frozen=True, kw_only=True):
    """What an account pays and why. ``tier`` counts from 1; 0: each instrument's own rates are in force.

    ``volume_units``: traded in the 30 days before ``day``, which the tier follows from. ``today_units``: since then.
    """

    account: str
    day: int
    tier: int
    tiers: tuple[FeeTier, ...]
    volume_units: int
    today_units: int


def set_fee_tiers(desk: Desk, command: SetFeeTiers) -> None:
    """Set the tiers of one account, or of all that have none of their own."""
    problem = _tiers_problem(command.tiers)
    if problem:
        answer(desk, command, Reason.INVALID_VALUE, f"{problem}.")
        return
    state = desk.state
    if command.account == EVERYBODY:
        changed = [state.accounts[name] for name in desk.account_names()]
        duplicate, state.default_fee_tiers = state.default_fee_tiers == command.tiers, command.tiers
    elif command.account in state.accounts:
        account = state.accounts[command.account]
        duplicate, account.own_fee_tiers = account.own_fee_tiers == command.tiers, command.tiers
        changed = [account]
    else:
        answer(desk, command, Reason.ACCOUNT_NOT_FOUND, f"There is no account {command.account}.")
        return
    for account in changed:
        choose_tier(desk, account)
    answer(desk, command, duplicate=duplicate)


def _tiers_problem(tiers: tuple[FeeTier, ...]) -> str:
    """Why tiers make no sense, in words; empty when they do."""
    if len(tiers) > FEE_TIERS_MAX:
        return f"There are at most {FEE_TIERS_MAX} tiers, not {len(tiers)}"
    volumes = [tier.volume_units_min for tier in tiers]
    if tiers and (volumes[0] != 0 or volumes[-1] > AMOUNT_UNITS_MAX or volumes != sorted(set(volumes))):
        return f"Tiers begin at a volume of 0 and rise, up to {AMOUNT_UNITS_MAX}"
    for tier in tiers:
        if not -REBATE_PPM_MAX <= tier.maker_ppm <= RATE_PPM_MAX or not 0 <= tier.taker_ppm <= RATE_PPM_MAX:
            return f"A maker rate lies between -{REBATE_PPM_MAX} and {RATE_PPM_MAX} ppm, a taker rate is not negative"
        if tier.maker_ppm + tier.taker_ppm < 0:
            return "A rebate is no more than the taker pays, or trading with oneself would earn money"
    return ""


def start_fee_day(desk: Desk, account: Account) -> None:
    """A new UTC day: yesterday's volume joins the window, and the tier follows from it."""
    day = desk.state.day
    gone = day - account.volume_day
    if gone <= 0:
        return
    if account.volume_day:
        account.volumes_units = [*account.volumes_units, account.volume_today_units, *([0] * (min(gone, 31) - 1))]
        account.volumes_units = account.volumes_units[-VOLUME_DAYS:]
        account.volume_today_units = 0
    account.volume_day = day
    choose_tier(desk, account)


def tiers_of(desk: Desk, account: Account) -> tuple[FeeTier, ...]:
    """The tiers that count for an account."""
    return account.own_fee_tiers or desk.state.default_fee_tiers


def choose_tier(desk: Desk, account: Account) -> None:
    """Put the rates in force that the account's volume gives it, and say so where they change."""
    tiers, volume = tiers_of(desk, account), sum(account.volumes_units)
    number = sum(tier.volume_units_min <= volume for tier in tiers)
    rates = (tiers[number - 1].maker_ppm, tiers[number - 1].taker_ppm) if number else ()
    if rates == account.fee_rates_ppm:
        return
    account.fee_rates_ppm = rates
    maker, taker = rates or (0, 0)
    desk.out.append(
        FeeTierChanged(
            time_ns=desk.time_ns,
            account=account.name,
            tier=number,
            maker_ppm=maker,
            taker_ppm=taker,
            volume_units=min(volume, COUNTER_UNITS_MAX),
            day=desk.state.day,
        )
    )


def charge(desk: Desk, account: Account, market: Market, venue: str, side: Side, fill: Fill, notional: int) -> Fill:
    """Count a fill's volume, and give it the fee of the account's tier where the desk charges one."""
    worth = notional if market.quote == desk.state.valuation_asset else value_of(desk, market.quote, notional) or 0
    account.volume_today_units += worth
    rates = account.fee_rates_ppm
    if not rates or venue not in _CHARGED_BY_THE_DESK:
        return fill
    received = fill.quantity_lots * market.lot_units if side is BUY else notional
    fee = fee_units(received, rates[0] if fill.liquidity is MAKER else rates[1])
    return fill if fee == fill.fee_units else structs.replace(fill, fee_units=fee)


def standing_of(desk: Desk, account: Account) -> FeeStanding:
    """What an account pays and why."""
    tiers, volume = tiers_of(desk, account), sum(account.volumes_units)
    return FeeStanding(
        account=account.name,
        day=desk.state.day,
        tier=sum(tier.volume_units_min <= volume for tier in tiers),
        tiers=tiers,
        volume_units=volume,
        today_units=account.volume_today_units,
    )


def default_standing(desk: Desk) -> FeeStanding:
    """The tiers of the accounts without their own, which nobody is in and no volume counts for."""
    return FeeStanding(
        account=EVERYBODY,
        day=desk.state.day,
        tier=0,
        tiers=desk.state.default_fee_tiers,
        volume_units=0,
        today_units=0,
    )
