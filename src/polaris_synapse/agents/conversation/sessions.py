"""What a conversation remembers: one thing to confirm, or one thing that was asked back. Bounded, in memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Struct

from polaris_synapse.agents.conversation.authority_talk import AuthorityAction
from polaris_synapse.agents.conversation.intents import (
    Ambiguous,
    CancelOrders,
    ControlTrading,
    PlaceOrder,
    ReplaceOrder,
)
from polaris_synapse.agents.conversation.ports import OrderPreview, OrderTicket
from polaris_synapse.agents.conversation.settings import ConversationSettings
from polaris_synapse.web.authentication import Principal

_NS = 1_000_000_000


class PlaceTickets(Struct, frozen=True, tag="place", tag_field="intent"):
    """Place these orders, one after the other."""

    tickets: tuple[OrderTicket, ...]


class Pending(Struct, frozen=True, kw_only=True):
    """Something that waits for a yes. ``order_hash`` binds the yes to exactly this ``action`` of this speaker here.

    ``fresh``: it is what was said last, so that a bare yes can mean nothing else.
    """

    action: PlaceTickets | CancelOrders | ReplaceOrder | ControlTrading | AuthorityAction
    order_hash: str
    expires_time_ns: int
    sentence: str
    previews: tuple[OrderPreview, ...] = ()
    fresh: bool = True

    @property
    def code(self) -> str:
        """How the speaker may name it."""
        return self.order_hash[:8]


def hash_of(session: str, actor: str, action: object) -> str:
    """SHA-256 of exactly what would be done, by whom and in which conversation."""
    return hashlib.sha256(msgspec.json.encode([session, actor, action], order="deterministic")).hexdigest()


class Remembered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a session remembers, as another process reads it."""

    pending: Pending | None = None
    asked: Ambiguous | None = None
    warned: PlaceOrder | None = None
    decision_id: str = ""


class SessionStore(Protocol):
    """Sessions that several processes share. Losing one costs what waited for a yes, and nothing was done then."""

    async def load(self, actor: str, session_id: str, /, *, since_ns: int) -> Remembered | None:
        """A session that was used since then; None where there is none, or it cannot be read."""
        ...

    async def save(self, actor: str, session_id: str, state: Remembered, /, *, now_ns: int, since_ns: int) -> None:
        """Remember a session. Those that were not used since then are forgotten."""
        ...


class Session:
    """One conversation of one principal."""

    def __init__(self, session_id: str, actor: str, now_ns: int) -> None:
        self.id = session_id
        self.actor = actor
        self.used_ns = now_ns
        self.pending: Pending | None = None
        #: The last thing that was asked back, with what is known of the order.
        self.asked: Ambiguous | None = None
        #: An order whose price was called unusual: said again, it is meant.
        self.warned: PlaceOrder | None = None
        #: The decision that was spoken of last: a bare "why?" means it.
        self.decision_id = ""

    def remembered(self) -> Remembered:
        """What it remembers now."""
        return Remembered(pending=self.pending, asked=self.asked, warned=self.warned, decision_id=self.decision_id)

    def recall(self, state: Remembered) -> None:
        """Remember this, and nothing else."""
        self.pending, self.asked, self.warned = state.pending, state.asked, state.warned
        self.decision_id = state.decision_id

    def take_pending(self) -> Pending | None:
        """What waits for a yes; it never does again, so a yes has one effect at most."""
        found, self.pending = self.pending, None
        return found


class Sessions:
    """All conversations. A session belongs to the actor who began it, and to nobody else."""

    def __init__(self, settings: ConversationSettings, new_id: Callable[[], str]) -> None:
        self._settings = settings
        self._new_id = new_id
        self._sessions: OrderedDict[tuple[str, str], Session] = OrderedDict()

    def of(self, principal: Principal, session_id: str, now_ns: int, kept: Remembered | None = None) -> Session:
        """The session of that id, or a new one where the principal has none of that id any more.

        ``kept``: what the session remembers according to the store that all processes share, if there is one.
        """
        self._forget(now_ns)
        key = (principal.actor, session_id)
        found = self._sessions.pop(key, None)
        if found is None:
            found = Session(session_id if kept is not None else self._new_id(), principal.actor, now_ns)
            key = (principal.actor, found.id)
            self._make_room(principal.actor)
        if kept is not None:
            found.recall(kept)
        found.used_ns = now_ns
        # The order of the dictionary is the order of use.
        self._sessions[key] = found
        return found

    def __len__(self) -> int:
        return len(self._sessions)

    def _forget(self, now_ns: int) -> None:
        idle_ns = self._settings.session_idle_seconds_max * _NS
        for key, session in list(self._sessions.items()):
            if now_ns - session.used_ns <= idle_ns:
                return
            del self._sessions[key]

    def _make_room(self, actor: str) -> None:
        own = [key for key in self._sessions if key[0] == actor]
        if len(own) >= self._settings.sessions_of_one_max:
            del self._sessions[own[0]]
        elif len(self._sessions) >= self._settings.sessions_max:
            self._sessions.popitem(last=False)
