"""What all messages share, the desk's own messages, and the answer to a command."""

from __future__ import annotations

import re

from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument, InstrumentStatus
from polaris_synapse.domain.order_lists import OrderList
from polaris_synapse.domain.orders import Order
from polaris_synapse.domain.reasons import Reason

_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")


def _snake_case(name: str) -> str:
    return _WORD_START.sub("_", name).lower()


class Message(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="kind", tag=_snake_case):
    """Anything that is said on the bus. ``time_ns``: logical time, nanoseconds since 1970 UTC."""

    time_ns: int


class Command(Message, frozen=True, kw_only=True, gc=False):
    """A message that somebody waits for: exactly one Answer with the same ``request_id`` follows.

    ``actor`` names who asked, for the audit log: ``"user:alice"``, ``"key:9f3a"``, ``"agent:jarvis"``, ``"desk"``.
    """

    request_id: str = ""
    actor: str = ""


class Answer(Message, frozen=True, kw_only=True, gc=False):
    """What became of a command. ``reason`` NONE means done.

    ``order`` is the order it made, changed or found. ``order_ids`` are the orders that a wider command touched.
    ``duplicate`` marks the repetition of a command that had its effect before. ``approval_id`` names the request for
    approval under which an agent's order is held. ``order_list``: of a command on a list.
    """

    request_id: str
    reason: Reason = Reason.NONE
    detail: str = ""
    order: Order | None = None
    order_ids: tuple[int, ...] = ()
    duplicate: bool = False
    approval_id: str = ""
    order_list: OrderList | None = None


class Tick(Message, frozen=True, kw_only=True, gc=False):
    """Time passes: cores have no other clock. About one a second."""


class HostStarted(Message, frozen=True, kw_only=True, gc=False):
    """The host has replayed its log and runs again: whatever was on its way to a venue has an unknown outcome."""

    replayed_offset: int = 0


class ListInstrument(Command, frozen=True, kw_only=True, gc=False):
    """Add an instrument, or change one with the same symbol (its tick and lot may not change)."""

    instrument: Instrument


class SetInstrumentStatus(Command, frozen=True, kw_only=True, gc=False):
    """Open, halt or restrict an instrument."""

    symbol: str
    status: InstrumentStatus


class AuditNote(Message, frozen=True, kw_only=True, gc=False):
    """Something a shell did that belongs in the audit log: a login, a refused signature, a key change."""

    actor: str
    action: str
    subject: str = ""
    detail: str = ""
