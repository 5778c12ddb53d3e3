"""Standing instructions: what to do when something happens, kept by the agents core until it does."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from polaris_synapse.domain.messages.base import Command, Message
from polaris_synapse.domain.orders import OrderRequest, Side
from polaris_synapse.domain.reasons import Reason


class StandingTrigger(StrEnum):
    """What is waited for."""

    PRICE_ABOVE = "PRICE_ABOVE"  # the mid is at the level or above it
    PRICE_BELOW = "PRICE_BELOW"
    FALLS = "FALLS"  # from the highest mid of the window
    RISES = "RISES"  # from the lowest mid of the window
    SHARE_ABOVE = "SHARE_ABOVE"  # the base asset's share of the account's equity
    SHARE_BELOW = "SHARE_BELOW"


class StandingState(StrEnum):
    """Where an instruction stands. WATCHING and ORDERED are alive, the others final."""

    WATCHING = "WATCHING"
    ORDERED = "ORDERED"  # it has fired, and its order has not ended
    DONE = "DONE"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"  # it fired, and its order was refused or not placed


class Standing(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instruction. Exactly one of ``level_ticks``, ``move_ppm`` (with ``window_seconds``) and ``share_ppm``.

    The order is a MARKET order of ``quantity_lots``, of ``quote_amount_units`` (BUY), or of ``portion_ppm`` of what is
    free when it fires: of the base asset for SELL, of the quote asset for BUY. ``owner`` is the person on whose behalf
    it is placed. It fires ``shots_max`` times, at least ``pause_seconds`` apart. ``words`` is what was confirmed.
    """

    account: str
    owner: str
    symbol: str
    trigger: StandingTrigger
    side: Side
    expires_time_ns: int
    level_ticks: int = 0
    move_ppm: int = 0
    window_seconds: int = 0
    share_ppm: int = 0
    quantity_lots: int = 0
    quote_amount_units: int = 0
    portion_ppm: int = 0
    shots_max: int = 1
    pause_seconds: int = 300
    words: str = ""


class SetStanding(Command, frozen=True, kw_only=True, gc=False):
    """Begin to watch. The answer's detail is the instruction's id."""

    standing: Standing


class CancelStanding(Command, frozen=True, kw_only=True, gc=False):
    """Watch no more. An order that has been placed already is not touched."""

    account: str
    standing_id: str


class StandingChanged(Message, frozen=True, kw_only=True, gc=False):
    """An instruction after a change. ``shots`` counts its orders so far, ``order_id`` is the latest one's."""

    standing_id: str
    standing: Standing
    state: StandingState
    shots: int = 0
    order_id: int = 0
    reason: Reason = Reason.NONE
    detail: str = ""
    actor: str = ""


class StandingTriggered(Message, frozen=True, kw_only=True, gc=False):
    """An instruction fires: the shell hands this order to the gateway as its owner's."""

    standing_id: str
    owner: str
    order: OrderRequest


class StandingClosed(Message, frozen=True, kw_only=True, gc=False):
    """From the shell: the order of a shot could not be placed. TIMED_OUT means that it may have been."""

    standing_id: str
    client_order_id: str
    reason: Reason
    detail: str = ""
