"""Standing instructions in the shell: who holds which, how they read, and how a fired one's order is placed."""

from __future__ import annotations

from typing import Final, Protocol

import anyio
import structlog
from msgspec import Struct

from polaris_synapse.agents.settings import AgentsServiceSettings
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    Answer,
    CancelStanding,
    SetStanding,
    Standing,
    StandingChanged,
    StandingClosed,
    StandingState,
    StandingTrigger,
    StandingTriggered,
)
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

_log = structlog.get_logger(__name__)
#: Instructions that have ended and are still shown.
ENDED_MAX: Final = 500
_LIVE: Final = frozenset({StandingState.WATCHING, StandingState.ORDERED})
_SPANS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


class OwnerEntry(Protocol):
    """Places an order on behalf of a person, with the rights they have now."""

    async def submit_for(self, order: OrderRequest, /, *, owner: str) -> Answer:
        """Risk's verdict. Raises ApiError, also where ``owner`` may not order on the account any more, or BusError."""
        ...


class StandingRoster:
    """Every instruction as the core last described it; after a restart the core describes those alive again."""

    def __init__(self) -> None:
        self._known: dict[str, StandingChanged] = {}

    def take(self, changed: StandingChanged) -> None:
        """Remember an instruction's latest state."""
        before = self._known.pop(changed.standing_id, None)
        if before is not None and before.time_ns > changed.time_ns:
            # Read from the record first, and now heard: what is known is newer.
            changed = before
        self._known[changed.standing_id] = changed
        ended = [key for key, one in self._known.items() if one.state not in _LIVE]
        for key in ended[: max(len(ended) - ENDED_MAX, 0)]:
            del self._known[key]

    def seen_by(self, principal: Principal, *, alive_only: bool = False) -> list[StandingChanged]:
        """Those on the accounts of somebody, by number."""
        found = [one for one in self._known.values() if principal.may_use(one.standing.account)]
        found = [one for one in found if one.state in _LIVE or not alive_only]
        return sorted(found, key=lambda one: int(one.standing_id.removeprefix("S")))

    def get(self, standing_id: str) -> StandingChanged | None:
        """One instruction."""
        return self._known.get(standing_id.upper())


class StandingDesk:
    """Sets and cancels instructions for principals."""

    def __init__(self, bus: Bus, roster: StandingRoster, clock: Clock) -> None:
        self._bus = bus
        self.roster = roster
        self._clock = clock

    async def set(self, principal: Principal, standing: Standing) -> str:
        """Begin to watch; the instruction's id. Raises ApiError."""
        principal.require(Role.TRADER)
        principal.require_account(standing.account)
        answer = await self._bus.request(
            SetStanding(time_ns=self._clock.now_ns(), actor=principal.actor, standing=standing)
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return answer.detail

    async def cancel(self, principal: Principal, standing_id: str) -> None:
        """Watch no more. Raises ApiError(STANDING_NOT_FOUND), also for somebody else's."""
        principal.require(Role.TRADER, Role.RISK_OFFICER)
        known = self.roster.get(standing_id)
        if known is None or not principal.may_use(known.standing.account):
            raise ApiError(Reason.STANDING_NOT_FOUND, f"You have no standing instruction {standing_id}.")
        answer = await self._bus.request(
            CancelStanding(
                time_ns=self._clock.now_ns(),
                actor=principal.actor,
                account=known.standing.account,
                standing_id=known.standing_id,
            )
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)


class StandingPlacement:
    """Hands a fired instruction's order to order entry, as its owner's."""

    def __init__(self, *, bus: Bus, entry: OwnerEntry, clock: Clock, settings: AgentsServiceSettings) -> None:
        self._bus = bus
        self._entry = entry
        self._clock = clock
        self._settings = settings

    async def place(self, fired: StandingTriggered) -> None:
        """Submit once; after TIMED_OUT again with the same client order id, which has one effect."""
        reason, detail = Reason.TIMED_OUT, ""
        for _ in range(self._settings.submit_attempts_max):
            reason, detail = await self._submit(fired)
            if reason is not Reason.TIMED_OUT:
                break
        if reason is Reason.NONE:
            return
        _log.info("standing order not placed", standing=fired.standing_id, reason=reason.name, detail=detail)
        closed = StandingClosed(
            time_ns=self._clock.now_ns(),
            standing_id=fired.standing_id,
            client_order_id=fired.order.client_order_id,
            reason=reason,
            detail=detail,
        )
        try:
            await self._bus.send([closed])
        except BusError as error:
            _log.warning("standing order's end not recorded", standing=fired.standing_id, reason=error.reason.name)

    async def _submit(self, fired: StandingTriggered) -> tuple[Reason, str]:
        try:
            with anyio.fail_after(self._settings.submit_seconds_max):
                answer = await self._entry.submit_for(fired.order, owner=fired.owner)
        except TimeoutError:
            return Reason.TIMED_OUT, f"Order entry did not answer within {self._settings.submit_seconds_max} seconds."
        except ApiError as error:
            return error.reason, error.detail
        except BusError as error:
            return error.reason, str(error)
        except Exception:
            # A bug in order entry must stop neither the other orders nor this one's record.
            _log.exception("order entry failed", standing=fired.standing_id)
            return Reason.INTERNAL_ERROR, "Order entry failed; the log has the details."
        return answer.reason, answer.detail


class StandingView(Struct, frozen=True, kw_only=True):
    """An instruction as it is shown."""

    standing_id: str
    account: str
    state: StandingState
    words: str
    owner: str
    shots: int
    shots_max: int
    order_id: int
    expires_time_ns: int
    reason: str
    detail: str


def view_of(changed: StandingChanged) -> StandingView:
    """An instruction for people."""
    standing = changed.standing
    return StandingView(
        standing_id=changed.standing_id,
        account=standing.account,
        state=changed.state,
        words=standing.words,
        owner=standing.owner,
        shots=changed.shots,
        shots_max=standing.shots_max,
        order_id=changed.order_id,
        expires_time_ns=standing.expires_time_ns,
        reason=changed.reason.name,
        detail=changed.detail,
    )


def standing_words(standing: Standing, instrument: Instrument) -> str:
    """Exactly what an instruction does, as one sentence without its end."""
    side = standing.side.value
    if standing.quantity_lots:
        what = f"{side} {instrument.format_quantity(standing.quantity_lots)} {instrument.base.code}"
    elif standing.quote_amount_units:
        amount = format_units(standing.quote_amount_units, instrument.quote.decimals)
        what = f"{side} {amount} {instrument.quote.code} of {instrument.base.code}"
    else:
        asset = instrument.base if side == "SELL" else instrument.quote
        portion = format_units(standing.portion_ppm, 4)
        with_it = "" if side == "SELL" else f" for {instrument.base.code}"
        what = f"{side} {portion} % of the free {asset.code}{with_it}"
    times = "once" if standing.shots_max == 1 else f"up to {standing.shots_max} times"
    return f"{what} at the market, {times}, {_condition(standing, instrument)}"


def _condition(standing: Standing, instrument: Instrument) -> str:
    symbol, trigger = standing.symbol, standing.trigger
    if trigger in {StandingTrigger.PRICE_ABOVE, StandingTrigger.PRICE_BELOW}:
        way = "above" if trigger is StandingTrigger.PRICE_ABOVE else "below"
        return f"when the mid price of {symbol} is at {instrument.format_price(standing.level_ticks)} or {way}"
    if trigger in {StandingTrigger.FALLS, StandingTrigger.RISES}:
        way, end = ("falls", "highest") if trigger is StandingTrigger.FALLS else ("rises", "lowest")
        move = format_units(standing.move_ppm, 4)
        return f"when {symbol} {way} {move} % from its {end} mid price of the last {span(standing.window_seconds)}"
    way = "or more" if trigger is StandingTrigger.SHARE_ABOVE else "or less"
    share = format_units(standing.share_ppm, 4)
    return f"when {instrument.base.code} is {share} % {way} of the account's equity"


def span(seconds: int) -> str:
    """``90`` seconds as ``90 seconds``, ``3600`` as ``1 hour``."""
    for length, name in _SPANS:
        if seconds % length == 0 and seconds >= length:
            count = seconds // length
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
