"""Everything that is set rather than traded: instruments, accounts' standing, funds, limits, mandates, breakers."""

from __future__ import annotations

from msgspec import structs

from polaris_synapse.domain.instruments import INTERNAL_VENUE, PARTS_PER_MILLION, Instrument, InstrumentStatus
from polaris_synapse.domain.messages import (
    AccountStanding,
    ActivateBreaker,
    BookStatusChanged,
    BreakChanged,
    HoldingLimitChanged,
    LimitsChanged,
    ListInstrument,
    MandateChanged,
    MoveFunds,
    ReenableAccount,
    ResetBreaker,
    RiskLimits,
    SetHoldingLimit,
    SetInstrumentStatus,
    SetLimits,
    SetMandate,
    SymbolStopped,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import text
from polaris_synapse.risk.core.answers import answer
from polaris_synapse.risk.core.breakers import reset, scope_problem, trip
from polaris_synapse.risk.core.ledger import balance_of, funds_postings, post, say_balance
from polaris_synapse.risk.core.losses import accept_drawdown, move_baselines
from polaris_synapse.risk.core.mandates import mandate_problem
from polaris_synapse.risk.core.state import (
    ACCOUNTS_MAX,
    AMOUNT_UNITS_MAX,
    INSTRUMENTS_MAX,
    MANDATES_PER_ACCOUNT_MAX,
    NOTE_CHARACTERS_MAX,
    REFERENCE_CHARACTERS_MAX,
    Account,
    Desk,
    MandateUse,
    Market,
)
from polaris_synapse.risk.core.valuation import raise_baselines, value_of


def list_instrument(desk: Desk, command: ListInstrument) -> None:
    """Add an instrument or change one; what its holdings are counted in may not change."""
    instrument = command.instrument
    problem = _listing_problem(desk, instrument)
    if problem:
        answer(desk, command, Reason.INVALID_VALUE, problem)
        return
    known = desk.state.markets.get(instrument.symbol)
    if known is None and len(desk.state.markets) >= INSTRUMENTS_MAX:
        answer(desk, command, Reason.OVERLOADED, f"The desk lists at most {INSTRUMENTS_MAX} instruments.")
        return
    duplicate = known is not None and known.instrument == instrument
    had_price = value_of(desk, instrument.base.code, 1) is not None
    if known is not None:
        known.instrument = instrument
    else:
        desk.state.markets[instrument.symbol] = Market(
            instrument=instrument,
            symbol=instrument.symbol,
            base=instrument.base.code,
            quote=instrument.quote.code,
            lot_units=instrument.lot_units,
            multiplier=instrument.notional_multiplier,
            base_unit_count=instrument.base.unit_count,
        )
        for asset in (instrument.base, instrument.quote):
            desk.state.decimals[asset.code] = asset.decimals
    if not duplicate:
        # A new reference can give a price to what had none.
        desk.find_pricing_markets()
        desk.state.price_version += 1
        if not had_price and value_of(desk, instrument.base.code, 1) is not None:
            raise_baselines(desk, instrument.base.code)
    answer(desk, command, duplicate=duplicate)


def _listing_problem(desk: Desk, instrument: Instrument) -> str:
    """Why an instrument cannot be listed like this, in a sentence; empty when it can."""
    for asset in (instrument.base, instrument.quote):
        decimals = desk.state.decimals.get(asset.code, asset.decimals)
        if decimals != asset.decimals:
            return f"{asset.code} has {decimals} decimals on this desk, not {asset.decimals}."
    if instrument.base.code == instrument.quote.code or instrument.reference_symbol == instrument.symbol:
        return f"{instrument.symbol} cannot be priced in itself."
    if not 0 < instrument.min_quantity_lots <= instrument.max_quantity_lots or instrument.min_notional_units < 0:
        return f"The quantity limits of {instrument.symbol} leave nothing to trade."
    known = desk.state.markets.get(instrument.symbol)
    if known is None:
        return ""
    old = known.instrument
    fixed = ("base", "quote", "tick_units", "lot_units", "venue")
    changed = [name for name in fixed if getattr(old, name) != getattr(instrument, name)]
    return f"{', '.join(changed)} of {instrument.symbol} cannot change." if changed else ""


def set_instrument_status(desk: Desk, command: SetInstrumentStatus) -> None:
    """Open, halt or restrict an instrument."""
    market = desk.state.markets.get(command.symbol)
    if market is None:
        answer(desk, command, Reason.SYMBOL_NOT_FOUND, f"There is no instrument {command.symbol}.")
        return
    if command.status is InstrumentStatus.AUCTION and market.instrument.venue != INTERNAL_VENUE:
        detail = f"{command.symbol} trades at {market.instrument.venue}; only the desk's own book holds auctions."
        answer(desk, command, Reason.FEATURE_NOT_SUPPORTED, detail)
        return
    duplicate = market.instrument.status is command.status
    market.instrument = structs.replace(market.instrument, status=command.status)
    answer(desk, command, duplicate=duplicate)


def take_book_status(desk: Desk, change: BookStatusChanged) -> None:
    """The book stopped or opened, perhaps by itself: orders that it would turn away are refused here from now on."""
    market = desk.state.markets.get(change.symbol)
    if market is not None and market.instrument.status is not change.status:
        market.instrument = structs.replace(market.instrument, status=change.status)


def take_standing(desk: Desk, standing: AccountStanding) -> None:
    """Where an account stands with compliance; the first word of it opens the account here. Older words are ignored."""
    account = desk.state.accounts.get(standing.account)
    if account is not None:
        if standing.version > account.standing.version:
            account.standing = standing
    elif len(desk.state.accounts) < ACCOUNTS_MAX:
        desk.state.accounts[standing.account] = Account(
            name=standing.account, standing=standing, limits=desk.state.default_limits
        )


def take_break(desk: Desk, change: BreakChanged) -> None:
    """A break opened or closed; open, it stops new orders on its symbol, or on all that trade in its asset."""
    for symbol in change.symbols or (change.symbol,):
        market = desk.state.markets.get(symbol)
        if market is not None and change.is_open:
            market.breaks[change.break_id] = change.account
        elif market is not None:
            market.breaks.pop(change.break_id, None)


def move_funds(desk: Desk, command: MoveFunds) -> None:
    """A deposit or withdrawal, once for each reference."""
    account = desk.state.accounts.get(command.account)
    if account is None:
        answer(desk, command, Reason.ACCOUNT_NOT_FOUND, f"There is no account {command.account}.")
        return
    asset, units = command.asset, command.amount_units
    before = account.fund_references.get(command.reference)
    if before == (asset, units):
        answer(desk, command, duplicate=True)
        return
    reason, detail = _funds_problem(desk, account, command)
    if before is not None:
        reason = Reason.AMOUNT_INVALID
        detail = f"Reference {command.reference} belongs to a movement of {text.amount(desk, before[0], before[1])}."
    if reason is not Reason.NONE:
        answer(desk, command, reason, detail)
        return
    account.fund_references[command.reference] = (asset, units)
    post(
        desk,
        account,
        funds_postings(account, asset, units),
        cause="funds",
        reference=command.reference,
        notional_units=abs(units),
        actor=command.actor,
    )
    move_baselines(account, value_of(desk, asset, units) or 0)
    say_balance(desk, account, asset)
    answer(desk, command)


def _funds_problem(desk: Desk, account: Account, command: MoveFunds) -> tuple[Reason, str]:
    """Why funds cannot move like this; NONE when they can."""
    asset, units = command.asset, command.amount_units
    if asset not in desk.state.decimals:
        return Reason.AMOUNT_INVALID, f"The desk does not hold {asset}: no listed instrument has it."
    if not units:
        return Reason.AMOUNT_INVALID, "An amount is not zero."
    if not 0 < len(command.reference) <= REFERENCE_CHARACTERS_MAX:
        return Reason.AMOUNT_INVALID, f"A reference has 1 to {REFERENCE_CHARACTERS_MAX} characters."
    if units > 0:
        held = sum(total for name, total in desk.state.ledger.get(asset, {}).items() if name.startswith("client:"))
        if units > AMOUNT_UNITS_MAX - held:
            limit = text.amount(desk, asset, AMOUNT_UNITS_MAX)
            return Reason.AMOUNT_INVALID, f"The desk can hold {limit} for all its clients together."
        return Reason.NONE, ""
    standing = account.standing
    if standing.sanctions_hold:
        return Reason.COMPLIANCE_SANCTIONED, f"Account {account.name} is under a sanctions hold."
    if standing.blocked:
        return Reason.COMPLIANCE_ACCOUNT_BLOCKED, f"Account {account.name} is blocked."
    free = balance_of(account, asset).free_units
    if -units > free:
        detail = f"{text.amount(desk, asset, -units)} is asked for, {text.amount(desk, asset, max(free, 0))} is free."
        return Reason.INSUFFICIENT_FUNDS, detail
    return Reason.NONE, ""


def set_limits(desk: Desk, command: SetLimits) -> None:
    """Limits of one account, or of all that have none of their own."""
    problem = _limits_problem(command.limits)
    if problem:
        answer(desk, command, Reason.INVALID_VALUE, problem)
        return
    state = desk.state
    if command.account == "*":
        state.default_limits = command.limits
        for account in state.accounts.values():
            if account.own_limits is None:
                account.limits = command.limits
    elif command.account in state.accounts:
        account = state.accounts[command.account]
        account.own_limits = account.limits = command.limits
    else:
        answer(desk, command, Reason.ACCOUNT_NOT_FOUND, f"There is no account {command.account}.")
        return
    desk.out.append(
        LimitsChanged(time_ns=desk.time_ns, account=command.account, limits=command.limits, actor=command.actor)
    )
    answer(desk, command)


def _limits_problem(limits: RiskLimits) -> str:
    """Why limits make no sense, in a sentence; empty when they do."""
    for name in limits.__struct_fields__:
        if not 0 <= getattr(limits, name) <= AMOUNT_UNITS_MAX:
            return f"{name} lies between 0 and {AMOUNT_UNITS_MAX}."
    if limits.price_collar_ppm >= 1_000_000:
        return "price_collar_ppm is less than 1000000."
    if limits.repeated_orders_max > 10_000 or limits.message_burst_max > 1_000_000:
        return "repeated_orders_max is at most 10000 and message_burst_max at most 1000000."
    if limits.repeated_orders_max and not 0 < limits.repeated_order_window_seconds <= 3_600:
        return "repeated_order_window_seconds lies between 1 and 3600."
    return ""


def set_mandate(desk: Desk, command: SetMandate) -> None:
    """Give, change or take back an agent's mandate. What it used of today stays used."""
    mandate = command.mandate
    account = desk.state.accounts.get(mandate.account)
    if account is None:
        answer(desk, command, Reason.ACCOUNT_NOT_FOUND, f"There is no account {mandate.account}.")
        return
    problem = mandate_problem(mandate)
    if problem:
        answer(desk, command, Reason.INVALID_VALUE, problem)
        return
    use = account.mandates.get(mandate.agent)
    if use is None and len(account.mandates) >= MANDATES_PER_ACCOUNT_MAX:
        answer(desk, command, Reason.OVERLOADED, f"An account has at most {MANDATES_PER_ACCOUNT_MAX} mandates.")
        return
    if use is None:
        account.mandates[mandate.agent] = MandateUse(mandate)
    else:
        use.mandate = mandate
    desk.out.append(MandateChanged(time_ns=desk.time_ns, mandate=mandate, actor=command.actor))
    answer(desk, command)


def set_holding_limit(desk: Desk, command: SetHoldingLimit) -> None:
    """The most of one asset that orders may take an account to; 0 takes the limit away."""
    account = desk.state.accounts.get(command.account)
    share = command.share_ppm_max
    if account is None:
        answer(desk, command, Reason.ACCOUNT_NOT_FOUND, f"There is no account {command.account}.")
        return
    if command.asset not in desk.state.decimals or not 0 <= share <= PARTS_PER_MILLION:
        detail = f"A limit names a known asset and a share between 0 and 1000000 ppm, not {command.asset} and {share}."
        answer(desk, command, Reason.INVALID_VALUE, detail)
        return
    before = account.holding_limits_ppm.get(command.asset, 0)
    if share:
        account.holding_limits_ppm[command.asset] = share
    else:
        account.holding_limits_ppm.pop(command.asset, None)
    if share != before:
        desk.out.append(
            HoldingLimitChanged(
                time_ns=desk.time_ns,
                account=command.account,
                asset=command.asset,
                share_ppm_max=share,
                actor=command.actor,
            )
        )
    answer(desk, command, duplicate=share == before)


def activate_breaker(desk: Desk, command: ActivateBreaker) -> None:
    """A person (or an alarm) trips a scope."""
    reason, detail = _breaker_problem(desk, command)
    if reason is not Reason.NONE:
        answer(desk, command, reason, detail)
        return
    changed = trip(desk, command.scope, Reason.CIRCUIT_BREAKER, note=command.note, actor=command.actor)
    answer(desk, command, duplicate=not changed)


def take_stop(desk: Desk, stopped: SymbolStopped) -> None:
    """Another partition's accounts met what stops a symbol for everybody. Where it is stopped already, nothing."""
    if stopped.symbol in desk.state.markets:
        trip(desk, f"symbol:{stopped.symbol}", stopped.reason, note=stopped.note, actor="desk")


def reset_breaker(desk: Desk, command: ResetBreaker) -> None:
    """A person closes a scope again. After a drawdown that accepts it: it is measured from here on."""
    reason, detail = _breaker_problem(desk, command)
    if reason is not Reason.NONE:
        answer(desk, command, reason, detail)
        return
    before = reset(desk, command.scope, note=command.note, actor=command.actor)
    if before is not None and before.reason is Reason.DRAWDOWN_LIMIT:
        accept_drawdown(desk, desk.state.accounts[command.scope.removeprefix("account:")])
    answer(desk, command, duplicate=before is None)


def _breaker_problem(desk: Desk, command: ActivateBreaker | ResetBreaker) -> tuple[Reason, str]:
    if len(command.note) > NOTE_CHARACTERS_MAX:
        return Reason.INVALID_VALUE, f"A note has at most {NOTE_CHARACTERS_MAX} characters."
    return scope_problem(desk, command.scope)


def reenable_account(desk: Desk, command: ReenableAccount) -> None:
    """A named person lets an account trade again after it repeated one order too often."""
    account = desk.state.accounts.get(command.account)
    if account is None:
        answer(desk, command, Reason.ACCOUNT_NOT_FOUND, f"There is no account {command.account}.")
        return
    duplicate = not account.stopped
    account.stopped = False
    account.repeats, account.repeats_before = {}, {}
    answer(desk, command, duplicate=duplicate)
