"""A conversation: every message is read, answered or previewed, and only a yes to exactly what was shown acts."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from polaris_synapse.agents.conversation import intents as i
from polaris_synapse.agents.conversation import wording
from polaris_synapse.agents.conversation.authority_talk import (
    AuthorityAction,
    AuthorityTalk,
    HoldAtMost,
    Proposal,
    PutMandate,
    Told,
    WatchFor,
)
from polaris_synapse.agents.conversation.controls import IMMEDIATE, Controls
from polaris_synapse.agents.conversation.grammar import complete_order, read_message
from polaris_synapse.agents.conversation.line import Names
from polaris_synapse.agents.conversation.ports import Limits, Market, OrderOutcome, OrderPreview, OrderTicket, Trading
from polaris_synapse.agents.conversation.replies import Questions
from polaris_synapse.agents.conversation.sessions import Pending, PlaceTickets, Session, Sessions, SessionStore, hash_of
from polaris_synapse.agents.conversation.settings import ConversationSettings
from polaris_synapse.agents.conversation.tickets import free_units, make_ticket, price_question
from polaris_synapse.agents.conversation.turns import Confirmation, Reply, Turn, moved_against
from polaris_synapse.agents.conversation.understanding import Understanding
from polaris_synapse.agents.conversation.view import Said, Table, View, count
from polaris_synapse.agents.roster import Roster
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import BalanceChanged
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import Side
from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

_NS: Final = 1_000_000_000
_PPM: Final = 1_000_000
_PRICE_DECIMALS: Final = 18
_NO_AUTHORITY: Final = "This desk keeps neither approvals nor standing instructions. Nothing was done."
#: What a bare word may be asked back about while something waits for a yes, and then means no.
_BARE_NO: Final = frozenset({"cancel", "stop", "abort", "cancel!", "stop!"})


class Conversation:
    """Answers messages of principals. ``run`` is not needed: nothing happens between messages."""

    def __init__(
        self,
        *,
        bus: Bus,
        reads: ReadModels,
        trading: Trading,
        market: Market,
        limits: Limits,
        roster: Roster,
        clock: Clock,
        valuation: Asset,
        settings: ConversationSettings | None = None,
        authority: AuthorityTalk | None = None,
        understanding: Understanding | None = None,
        store: SessionStore | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(12),
    ) -> None:
        self._reads = reads
        self._trading = trading
        self._market = market
        self._limits = limits
        self._clock = clock
        self._valuation = valuation
        self._settings = settings or ConversationSettings()
        self._authority = authority
        self._understanding = understanding
        self._store = store
        self._new_id = new_id
        self._sessions = Sessions(self._settings, new_id)
        self._questions = Questions(roster)
        self._controls = Controls(bus, reads, roster, clock)

    async def say(self, principal: Principal, message: str, *, session_id: str = "", account: str = "") -> Reply:
        """Answer one message. ``account`` is meant where the message names none. Refusals are answers, not errors."""
        if self._store is None:
            return await self._say(
                self._sessions.of(principal, session_id, self._clock.now_ns()), principal, message, account
            )
        now_ns = self._clock.now_ns()
        since_ns = now_ns - self._settings.session_idle_seconds_max * _NS
        kept = await self._store.load(principal.actor, session_id, since_ns=since_ns) if session_id else None
        session = self._sessions.of(principal, session_id, now_ns, kept)
        try:
            return await self._say(session, principal, message, account)
        finally:
            await self._store.save(principal.actor, session.id, session.remembered(), now_ns=now_ns, since_ns=since_ns)

    async def _say(self, session: Session, principal: Principal, message: str, account: str) -> Reply:
        names = Names.of(await self._reads.instruments())
        intent = self._read(session, message, names)
        with_model = isinstance(intent, i.NotUnderstood) and self._understanding is not None
        if with_model and self._understanding is not None:
            intent = await self._understanding.read(message, names)
            with_model = not isinstance(intent, i.NotUnderstood)
        named = await self._account_named(principal, getattr(intent, "account", ""))
        turn = Turn(session, principal, intent, named or account)
        try:
            reply = await self._answer(turn)
        except ApiError as error:
            reply = self._refused(turn, error.reason, error.detail)
        except BusError as error:
            reply = self._refused(turn, error.reason, str(error))
        if with_model:
            return replace(reply, reply=f"{wording.WITH_MODEL} {reply.reply}", understood_with_model=True)
        return reply

    def _read(self, session: Session, message: str, names: Names) -> i.AnyIntent:
        if session.pending is not None and message.strip().lower() in _BARE_NO:
            return i.Decline()
        asked, session.asked = session.asked, None
        intent = read_message(message, names)
        incomplete = isinstance(intent, i.NotUnderstood | i.Ambiguous) or (
            isinstance(intent, i.Ask) and intent.topic is i.Topic.PRICE
        )
        if asked is not None and asked.partial is not None and incomplete:
            return complete_order(asked.partial, asked.about, message, names) or intent
        return intent

    async def _answer(self, turn: Turn) -> Reply:
        session, intent = turn.session, turn.intent
        # An unusual price is meant only where the same order is said twice in a row.
        warned, session.warned = session.warned, None
        if isinstance(intent, i.Confirm):
            return await self._confirm(turn, intent)
        pending = session.pending
        if pending is not None:
            # A bare yes may mean only what was shown last.
            session.pending = replace(pending, fresh=False)
        if isinstance(intent, i.Decline):
            dropped = session.take_pending()
            return self._plain(turn, "Left as it was: nothing was done." if dropped else "Good: nothing was done.")
        if isinstance(intent, i.Ambiguous):
            session.asked = intent
            return self._plain(turn, intent.question or "What exactly do you mean?")
        if isinstance(intent, i.Refused):
            session.take_pending()
            return self._plain(turn, wording.REFUSALS[intent.why])
        if isinstance(intent, i.Help):
            return self._plain(turn, wording.HELP)
        if isinstance(intent, i.NotUnderstood):
            return self._plain(turn, wording.NOT_UNDERSTOOD)
        if isinstance(intent, i.Ask) and intent.topic in {i.Topic.APPROVALS, i.Topic.STANDING}:
            return await self._listed(turn, intent.topic)
        if isinstance(intent, i.Ask | i.Briefing):
            said = await self._questions.answer(self._view(turn), _meant(intent, session))
            return self._said(turn, said)
        # A new command takes the place of what waited.
        session.take_pending()
        if isinstance(intent, i.PlaceOrder):
            return await self._propose(turn, (intent,), said_again=warned == intent)
        if isinstance(intent, i.WhatIfOrder):
            return await self._propose(turn, (intent.order,), only_asked=True)
        if isinstance(intent, i.ClosePosition):
            return await self._close(turn, intent)
        if isinstance(intent, i.StandingInstruction):
            return await self._standing(turn, intent)
        if isinstance(intent, i.DecideRequest | i.ProposeTrade | i.GiveMandate | i.CancelStanding):
            return await self._authorise(turn, intent)
        return await self._command(turn, intent)

    # What agents may do, and what waits for a person.

    async def _listed(self, turn: Turn, topic: i.Topic) -> Reply:
        if self._authority is None:
            return self._plain(turn, _NO_AUTHORITY)
        if topic is i.Topic.STANDING:
            return self._said(turn, self._authority.list_standing(turn.principal))
        return self._said(turn, await self._authority.list_approvals(turn.principal))

    async def _authorise(
        self, turn: Turn, intent: i.DecideRequest | i.ProposeTrade | i.GiveMandate | i.CancelStanding
    ) -> Reply:
        authority, principal = self._authority, turn.principal
        if authority is None:
            return self._plain(turn, _NO_AUTHORITY)
        if isinstance(intent, i.DecideRequest):
            return self._told(turn, await authority.decide(principal, intent))
        if isinstance(intent, i.ProposeTrade):
            return self._told(turn, await authority.propose(principal, intent))
        if isinstance(intent, i.CancelStanding):
            return self._said(turn, await authority.cancel_standing(principal, intent))
        return self._offer(turn, await authority.read_mandate(principal, intent))

    def _told(self, turn: Turn, told: Told) -> Reply:
        turn.session.decision_id = told.decision_id
        return replace(self._said(turn, told.said), placed=told.placed)

    def _offer(self, turn: Turn, found: Proposal | i.Ambiguous) -> Reply:
        """Show what would be set, and wait for a yes; or ask."""
        if isinstance(found, i.Ambiguous):
            return self._ask_back(turn, found)
        return self._wait(turn, found.action, found.text)

    def _view(self, turn: Turn) -> View:
        return View(
            principal=turn.principal,
            account=turn.account,
            reads=self._reads,
            market=self._market,
            limits=self._limits,
            valuation=self._valuation,
            now_ns=self._clock.now_ns(),
            settings=self._settings,
        )

    async def _account_named(self, principal: Principal, said: str) -> str:
        """The account that a message names in lower-case letters, as it is spelt; unchanged where none is known."""
        if not said:
            return ""
        own = [row.account for row in await self._reads.accounts()] if principal.all_accounts else principal.accounts
        alike = [name for name in own if name.lower() == said]
        return alike[0] if len(alike) == 1 else said

    # Orders.

    def _trading_account(self, turn: Turn) -> str | i.Ambiguous:
        """The one account that an order is for. Raises ApiError for somebody else's."""
        principal = turn.principal
        if turn.account:
            principal.require_account(turn.account)
            return turn.account
        if not principal.all_accounts and len(principal.accounts) == 1:
            return principal.accounts[0]
        return i.Ambiguous(
            about=i.Unclear.ACTION, question="On which account? You may use more than one: end with 'on account NAME'."
        )

    async def _propose(
        self,
        turn: Turn,
        orders: tuple[i.PlaceOrder, ...],
        *,
        only_asked: bool = False,
        said_again: bool = False,
        before: str = "",
    ) -> Reply:
        """Show what orders would do, and wait for a yes unless it was only a question."""
        turn.principal.require(Role.TRADER)
        account = self._trading_account(turn)
        if isinstance(account, i.Ambiguous):
            return self._ask_back(turn, account)
        instruments = {one.symbol: one for one in await self._reads.instruments()}
        await self._view(turn).caught_up()
        balances = await self._reads.balances(account=account)
        tickets: list[OrderTicket] = []
        for order in orders:
            instrument = instruments[order.symbol]
            if not said_again and not only_asked:
                odd = price_question(
                    order, instrument, self._market.mark(instrument), self._settings.price_distance_ppm_max
                )
                if odd is not None:
                    turn.session.warned = order
                    return self._ask_back(turn, odd)
            ticket = make_ticket(order, instrument, balances, account, f"chat-{self._new_id()}")
            if isinstance(ticket, i.Ambiguous):
                return self._ask_back(turn, ticket)
            tickets.append(ticket)
        previews = [await self._trading.preview(turn.principal, ticket) for ticket in tickets]
        return self._show(turn, tuple(tickets), tuple(previews), only_asked=only_asked, before=before)

    def _show(
        self,
        turn: Turn,
        tickets: tuple[OrderTicket, ...],
        previews: tuple[OrderPreview, ...],
        *,
        only_asked: bool = False,
        before: str = "",
    ) -> Reply:
        shown = " ".join(wording.preview_words(*pair) for pair in zip(tickets, previews, strict=True))
        hindrances = [problem for preview in previews for problem in preview.problems]
        hindrances += [f"There is not enough free {one.pays_asset}." for one in previews if not one.enough]
        text = f"{before} {shown}".strip()
        simulated = "paper" in self._market.notes().get("trading", "")
        if hindrances:
            text += f" It would be refused: {' '.join(dict.fromkeys(hindrances))} Nothing was ordered."
            return self._reply(turn, text, preview=previews, simulated=simulated)
        if only_asked:
            text += " Nothing was ordered, and nothing waits for a yes: to order it, say so without asking."
            return self._reply(turn, text, preview=previews, simulated=simulated)
        return self._wait(turn, PlaceTickets(tickets), text, previews, simulated=simulated)

    def _wait(
        self,
        turn: Turn,
        action: PlaceTickets | i.CancelOrders | i.ReplaceOrder | i.ControlTrading | AuthorityAction,
        text: str,
        previews: tuple[OrderPreview, ...] = (),
        *,
        simulated: bool = False,
    ) -> Reply:
        seconds = self._settings.confirmation_seconds_max
        pending = Pending(
            action=action,
            order_hash=hash_of(turn.session.id, turn.principal.actor, [self._new_id(), action]),
            expires_time_ns=self._clock.now_ns() + seconds * _NS,
            sentence=text,
            previews=previews,
        )
        turn.session.pending = pending
        confirmation = Confirmation(
            code=pending.code, order_hash=pending.order_hash, expires_time_ns=pending.expires_time_ns
        )
        text += f" Say yes within {seconds} seconds to do exactly this, or no."
        return self._reply(turn, text, preview=previews, confirmation=confirmation, simulated=simulated)

    async def _close(self, turn: Turn, intent: i.ClosePosition) -> Reply:
        account = self._trading_account(turn)
        if isinstance(account, i.Ambiguous):
            return self._ask_back(turn, account)
        await self._view(turn).caught_up()
        balances = await self._reads.balances(account=account)
        symbols = [intent.symbol]
        if not intent.symbol:
            listed = [one for one in await self._reads.instruments() if not one.reference_symbol]
            symbols = [one.symbol for one in listed if self._sellable(one, balances)]
        if not symbols:
            return self._plain(turn, f"There is nothing to close on account {account}.")
        orders = tuple(
            i.PlaceOrder(side=Side.SELL, symbol=symbol, percent=intent.percent, percent_of=i.Base.POSITION)
            for symbol in symbols
        )
        return await self._propose(turn, orders)

    def _sellable(self, instrument: Instrument, balances: list[BalanceChanged]) -> bool:
        """Whether what is free of an instrument's base is enough for an order; dust is not."""
        lots = free_units(balances, instrument.base.code) // instrument.lot_units
        mark = self._market.mark(instrument)
        worth = instrument.notional_units(mark.mark_ticks, lots) if mark is not None else instrument.min_notional_units
        return lots >= instrument.min_quantity_lots and worth >= instrument.min_notional_units

    async def _standing(self, turn: Turn, intent: i.StandingInstruction) -> Reply:
        """Show what would be watched for; where it cannot be, say so plainly, and offer no promise instead."""
        account = self._trading_account(turn)
        if isinstance(account, i.Ambiguous):
            return self._ask_back(turn, account)
        turn.principal.require(Role.TRADER, Role.RISK_OFFICER)
        found = None
        if self._authority is not None:
            found = await self._authority.read_standing(turn.principal, intent, account, self._market)
        if found is None:
            return self._plain(
                turn,
                f"Understood: {wording.standing_words(intent)}. The desk cannot carry out standing instructions of "
                "that kind, so nothing was set up and nothing watches for it.",
            )
        return self._offer(turn, found)

    # Everything else that changes something.

    async def _command(self, turn: Turn, intent: i.CancelOrders | i.ReplaceOrder | i.ControlTrading) -> Reply:
        principal = turn.principal
        if isinstance(intent, i.ControlTrading):
            account = ""
            if intent.scope == "account" and intent.action not in {i.Control.PAUSE_AGENT, i.Control.RESUME_AGENT}:
                found = self._trading_account(turn)
                if isinstance(found, i.Ambiguous):
                    return self._ask_back(turn, found)
                account = found
            self._controls.check(principal, intent, account)
            action = replace(intent, account=account)
            if intent.action in IMMEDIATE:
                return self._plain(turn, await self._controls.carry_out(principal, action, account))
            return self._wait(turn, action, f"This would {self._controls.describe(intent, account)}.")
        if isinstance(intent, i.CancelOrders):
            principal.require(Role.TRADER, Role.RISK_OFFICER)
            if turn.account:
                principal.require_account(turn.account)
            words = wording.cancel_words(intent, turn.account)
            return self._wait(turn, replace(intent, account=turn.account), f"This would {words}.")
        principal.require(Role.TRADER)
        if turn.account:
            principal.require_account(turn.account)
        return self._wait(turn, replace(intent, account=turn.account), f"This would {wording.replace_words(intent)}.")

    async def _confirm(self, turn: Turn, intent: i.Confirm) -> Reply:
        """A yes: single use, in time, to what was shown, and only while that still holds."""
        session = turn.session
        pending = session.pending
        if pending is None:
            return self._plain(turn, "There is nothing to confirm: nothing was done.")
        if self._clock.now_ns() > pending.expires_time_ns:
            session.take_pending()
            return self._plain(turn, "That is too late: the preview has expired and nothing was done. Say it again.")
        if intent.code and not pending.order_hash.startswith(intent.code):
            session.take_pending()
            return self._plain(turn, "That code belongs to nothing that waits here: nothing was done. Say it again.")
        if not intent.code and not pending.fresh:
            return self._plain(
                turn, f"Yes to what? This waits: {pending.sentence} Say 'confirm {pending.code}' to do exactly that."
            )
        # Taken before anything is awaited, so that no second yes finds it.
        session.take_pending()
        action = pending.action
        if isinstance(action, PlaceTickets):
            return await self._place(turn, pending, action)
        if isinstance(action, i.ControlTrading):
            return self._plain(turn, await self._controls.carry_out(turn.principal, action, action.account))
        if isinstance(action, PutMandate | WatchFor | HoldAtMost):
            assert self._authority is not None
            return self._plain(turn, await self._authority.carry_out(turn.principal, action))
        if isinstance(action, i.ReplaceOrder):
            outcome = await self._trading.replace(
                turn.principal, action.account, action.order_id, action.quantity, action.price, action.stop_price
            )
            return self._plain(turn, wording.outcome_words(outcome))
        if action.everything:
            ids = await self._trading.cancel_all(turn.principal, action.account, action.symbol, action.side)
            return self._plain(
                turn, f"Asked to cancel {count(len(ids), 'open order')}." if ids else "There was no open order."
            )
        outcome = await self._trading.cancel(turn.principal, action.account, action.order_id)
        return self._plain(turn, wording.outcome_words(outcome))

    async def _place(self, turn: Turn, pending: Pending, action: PlaceTickets) -> Reply:
        """Place what was confirmed, unless the estimate has meanwhile moved too far against the speaker."""
        previews = tuple([await self._trading.preview(turn.principal, ticket) for ticket in action.tickets])
        for before, now in zip(pending.previews, previews, strict=True):
            if moved_against(before, now) > self._settings.price_move_ppm_max:
                note = f"The price has moved from {before.price} to {now.price} since; nothing was ordered. Now it is:"
                return self._show(turn, action.tickets, previews, before=note)
        outcomes: list[OrderOutcome] = []
        refused: ApiError | None = None
        for ticket in action.tickets:
            try:
                outcomes.append(await self._trading.submit(turn.principal, ticket))
            except ApiError as error:
                # What was placed before is told all the same, and what follows is not tried.
                refused = error
                break
        if refused is not None and not outcomes:
            raise refused
        said = [wording.outcome_words(outcome) for outcome in outcomes]
        if refused is not None:
            left = wording.order_words(action.tickets[len(outcomes)])
            said.append(f"Not done, nor what follows it: {left}. {explain(refused.reason)} {refused.detail}".strip())
        reply = self._reply(
            turn,
            " ".join(said),
            placed=tuple(outcome.order_id for outcome in outcomes if outcome.order_id),
            simulated=any(outcome.how for outcome in outcomes),
        )
        return reply if refused is None else replace(reply, reason=refused.reason.name)

    # Replies.

    def _ask_back(self, turn: Turn, question: i.Ambiguous) -> Reply:
        return self._reply(turn, question.question, intent=question)

    def _plain(self, turn: Turn, text: str) -> Reply:
        return self._reply(turn, text)

    def _said(self, turn: Turn, said: Said) -> Reply:
        return self._reply(turn, said.text, table=said.table, simulated=said.simulated)

    def _refused(self, turn: Turn, reason: Reason, detail: str) -> Reply:
        text = f"Not done: {explain(reason)} {detail}".strip()
        return replace(self._reply(turn, text), reason=reason.name)

    def _reply(
        self,
        turn: Turn,
        text: str,
        *,
        intent: i.AnyIntent | None = None,
        table: Table | None = None,
        preview: tuple[OrderPreview, ...] = (),
        confirmation: Confirmation | None = None,
        placed: tuple[int, ...] = (),
        simulated: bool = False,
    ) -> Reply:
        return Reply(
            session=turn.session.id,
            reply=f"{text}\n{wording.SIMULATED}" if simulated else text,
            intent=intent or turn.intent,
            table=table,
            preview=preview,
            confirmation=confirmation,
            placed=placed,
            simulated=simulated,
        )


def _meant(asked: i.Ask | i.Briefing, session: Session) -> i.Ask | i.Briefing:
    """A bare "why?" is about the decision that was spoken of last."""
    bare = isinstance(asked, i.Ask) and asked == i.Ask(topic=i.Topic.WHY, account=asked.account)
    return replace(asked, decision_id=session.decision_id) if bare and session.decision_id else asked
