"""One message under way, and the reply to it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.agents.conversation import intents as i
from polaris_synapse.agents.conversation.ports import OrderPreview
from polaris_synapse.agents.conversation.sessions import Session
from polaris_synapse.agents.conversation.view import Table
from polaris_synapse.domain.money import parse_units
from polaris_synapse.domain.orders import Side
from polaris_synapse.web.authentication import Principal

_PPM: Final = 1_000_000
_PRICE_DECIMALS: Final = 18


class Confirmation(Struct, frozen=True, kw_only=True):
    """What a yes would be bound to. Say ``yes``, or ``confirm CODE``; it works once, until ``expires_time_ns``."""

    code: str
    order_hash: str
    expires_time_ns: int


class Reply(Struct, frozen=True, kw_only=True):
    """An answer. ``reason`` names a refusal by the desk; ``placed`` lists the ids of orders that were placed.

    ``understood_with_model``: the grammar did not know the message, and a language model picked what it means.
    """

    session: str
    reply: str
    intent: i.AnyIntent
    table: Table | None = None
    preview: tuple[OrderPreview, ...] = ()
    confirmation: Confirmation | None = None
    placed: tuple[int, ...] = ()
    simulated: bool = False
    reason: str = ""
    understood_with_model: bool = False


class Turn(Struct, frozen=True):
    """One message under way."""

    session: Session
    principal: Principal
    intent: i.AnyIntent
    account: str


def moved_against(before: OrderPreview, now: OrderPreview) -> int:
    """How far the price has moved to the speaker's disadvantage, in parts per million; below 0 for the better."""
    then, current = (parse_units(one.price, _PRICE_DECIMALS) for one in (before, now))
    worse = current - then if now.side == Side.BUY else then - current
    return worse * _PPM // then if then else 0
