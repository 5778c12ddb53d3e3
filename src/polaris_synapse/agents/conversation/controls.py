"""Stopping and starting from a conversation: the same commands, and the same roles, as everywhere else."""

from __future__ import annotations

from typing import Final

from polaris_synapse.agents.conversation.intents import Control, ControlTrading
from polaris_synapse.agents.roster import Roster
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.messages import (
    ActivateBreaker,
    AgentControl,
    Answer,
    Command,
    KillLevel,
    ResetBreaker,
    SetKillLevel,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

_NOTE: Final = "asked for in a conversation"
_AGENT: Final = frozenset({Control.PAUSE_AGENT, Control.RESUME_AGENT})

#: Halting one's own account waits for no confirmation: stopping is easier than starting.
IMMEDIATE: Final = frozenset({Control.HALT})


class Controls:
    """Checks who may, and sends the command."""

    def __init__(self, bus: Bus, reads: ReadModels, roster: Roster, clock: Clock) -> None:
        self._bus = bus
        self._reads = reads
        self._roster = roster
        self._clock = clock

    def check(self, principal: Principal, wanted: ControlTrading, account: str) -> None:
        """Refuse what the principal may not do. Raises ApiError."""
        if wanted.action in _AGENT:
            principal.require(Role.TRADER, *([Role.RISK_OFFICER] if wanted.action is Control.PAUSE_AGENT else []))
            self._agent(principal)
            return
        own_stop = wanted.action in {Control.HALT, Control.FLATTEN} and wanted.scope == "account"
        principal.require(Role.RISK_OFFICER, *([Role.TRADER] if own_stop else []))
        if wanted.scope == "account":
            principal.require_account(account)

    def describe(self, wanted: ControlTrading, account: str) -> str:
        """What would be done, as the end of a sentence."""
        scope = {"account": f"account {account}", "desk": "the whole desk"}.get(wanted.scope, wanted.scope)
        return {
            Control.HALT: f"stop new risk on {scope}",
            Control.FLATTEN: f"cancel every open order of {scope} and sell every position at the market",
            Control.RESUME: f"let {scope} trade again",
            Control.TRIP_BREAKER: f"trip the circuit breaker of {scope}",
            Control.RESET_BREAKER: f"reset the circuit breaker of {scope}",
            Control.PAUSE_AGENT: "pause the agent",
            Control.RESUME_AGENT: "let the agent decide again",
        }[wanted.action]

    async def carry_out(self, principal: Principal, wanted: ControlTrading, account: str) -> str:
        """Do it and say so in a sentence. Raises ApiError."""
        self.check(principal, wanted, account)
        now_ns = self._clock.now_ns()
        if wanted.action in {Control.HALT, Control.FLATTEN, Control.RESUME}:
            target = "*" if wanted.scope == "desk" else account
            level = await self._level(wanted.action, target)
            answer = await self._ask(
                SetKillLevel(time_ns=now_ns, actor=principal.actor, level=level, account=target, note=_NOTE)
            )
        elif wanted.action in _AGENT:
            answer = await self._ask(
                AgentControl(
                    time_ns=now_ns,
                    actor=principal.actor,
                    agent=self._agent(principal),
                    paused=wanted.action is Control.PAUSE_AGENT,
                )
            )
        else:
            scope = "*" if wanted.scope == "desk" else f"symbol:{wanted.scope}"
            kind = ActivateBreaker if wanted.action is Control.TRIP_BREAKER else ResetBreaker
            answer = await self._ask(kind(time_ns=now_ns, actor=principal.actor, scope=scope, note=_NOTE))
        cancelled = f" Orders being cancelled: {len(answer.order_ids)}." if answer.order_ids else ""
        already = " It was so already." if answer.duplicate else ""
        return f"Done: {self.describe(wanted, account)}.{already}{cancelled}"

    async def _level(self, action: Control, target: str) -> KillLevel:
        if action is Control.RESUME:
            return KillLevel.OFF
        wanted = KillLevel.FLATTEN if action is Control.FLATTEN else KillLevel.NO_NEW_RISK
        known = [row.level for row in await self._reads.kill_levels() if row.account == target]
        # A halt never lowers a kill switch that is higher already.
        return max([wanted, *known])

    def _agent(self, principal: Principal) -> str:
        """The one agent that the principal may control. Raises ApiError."""
        found = [row.agent for row in self._roster.all() if principal.may_use(row.settings.account)]
        if len(found) == 1:
            return found[0]
        if not found:
            raise ApiError(Reason.NOT_FOUND, "No agent works on accounts that are yours to use.")
        raise ApiError(Reason.NOT_FOUND, f"There are several agents: {', '.join(found)}. Use: polaris agents.")

    async def _ask(self, command: Command) -> Answer:
        try:
            answer = await self._bus.request(command)
        except BusError as error:
            detail = str(error)
            if error.reason is Reason.JOURNAL_UNAVAILABLE:
                detail = (
                    "The journal cannot be written. POST /kill-switch of the risk service stops trading all the same."
                )
            raise ApiError(error.reason, detail) from None
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return answer
