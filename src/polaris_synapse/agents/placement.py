"""Hands proposals to order entry, once each, and tells the core of those that came to nothing."""

from __future__ import annotations

from typing import Final

import anyio
import structlog

from polaris_synapse.agents.metrics import AgentsMetrics
from polaris_synapse.agents.ports import OrderEntry
from polaris_synapse.agents.settings import AgentsServiceSettings
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.messages import Answer, ProposalClosed, ProposalMade
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.errors import ApiError

_log = structlog.get_logger(__name__)
_NS: Final = 1_000_000_000


class Placement:
    """Places one proposal at a time, in the order in which they were made."""

    def __init__(
        self,
        *,
        bus: Bus,
        order_entry: OrderEntry,
        clock: Clock,
        metrics: AgentsMetrics,
        settings: AgentsServiceSettings,
    ) -> None:
        self._bus = bus
        self._order_entry = order_entry
        self._clock = clock
        self._metrics = metrics
        self._settings = settings

    async def place(self, proposal: ProposalMade) -> None:
        """Submit a proposal unless it is too old. Nothing is repeated except after TIMED_OUT, and that a few times."""
        reason, detail = Reason.TIMED_OUT, ""
        for _ in range(self._settings.submit_attempts_max):
            age_ns = self._clock.now_ns() - proposal.time_ns
            if age_ns > self._settings.proposal_seconds_max * _NS:
                if not detail:
                    reason = Reason.AGENT_PROPOSAL_EXPIRED
                    detail = f"The proposal was older than {self._settings.proposal_seconds_max} seconds."
                break
            reason, detail = await self._submit(proposal)
            self._metrics.submission(reason)
            if reason is not Reason.TIMED_OUT:
                break
        if reason is not Reason.NONE:
            await self._tell(proposal, reason, detail)

    async def _submit(self, proposal: ProposalMade) -> tuple[Reason, str]:
        try:
            with anyio.fail_after(self._settings.submit_seconds_max):
                answer: Answer = await self._order_entry.submit(proposal.order, agent=proposal.agent)
        except TimeoutError:
            return Reason.TIMED_OUT, f"Order entry did not answer within {self._settings.submit_seconds_max} seconds."
        except ApiError as error:
            return error.reason, error.detail
        except BusError as error:
            return error.reason, str(error)
        except Exception:
            # A bug in order entry must stop neither the other proposals nor this one's record.
            _log.exception("order entry failed", decision=proposal.decision_id)
            return Reason.INTERNAL_ERROR, "Order entry failed; the log has the details."
        if answer.approval_id:
            # Held for a person: the core hears of it from risk, and the order may still come of it.
            return Reason.NONE, ""
        return answer.reason, answer.detail or ("Nothing was answered in time." if answer.reason else "")

    async def _tell(self, proposal: ProposalMade, reason: Reason, detail: str) -> None:
        """The core hears of every proposal without an order, and gives up by itself on those it hears nothing of."""
        _log.info("proposal not placed", decision=proposal.decision_id, reason=reason.name, detail=detail)
        closed = ProposalClosed(
            time_ns=self._clock.now_ns(),
            agent=proposal.agent,
            decision_id=proposal.decision_id,
            reason=reason,
            detail=detail,
        )
        try:
            await self._bus.send([closed])
        except BusError as error:
            _log.warning("proposal's end not recorded", decision=proposal.decision_id, reason=error.reason.name)
