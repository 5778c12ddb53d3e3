"""Which answer belongs to which question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from polaris_synapse.agents.conversation import answers, briefing, desk_answers, market_answers
from polaris_synapse.agents.conversation.intents import Ask, Briefing, Topic
from polaris_synapse.agents.conversation.shock import answer_shock
from polaris_synapse.agents.conversation.view import Said, View
from polaris_synapse.agents.roster import Roster

_Answer = Callable[[View, Ask], Awaitable[Said]]

_ANSWERS: Final[dict[Topic, _Answer]] = {
    Topic.ADVICE: desk_answers.advice,
    Topic.BALANCES: answers.balances,
    Topic.BEST_TRADE: answers.extreme_trade,
    Topic.BOOK: market_answers.book,
    Topic.CHANGES: briefing.changes,
    Topic.DECISIONS: desk_answers.decisions,
    Topic.EQUITY: answers.equity,
    Topic.EXPOSURE: answers.exposure,
    Topic.FEES: answers.fees,
    Topic.FILLS: answers.fills,
    Topic.INSTRUMENTS: market_answers.instruments,
    Topic.LIMITS: desk_answers.limits,
    Topic.OPEN_ORDERS: answers.open_orders,
    Topic.ORDER: answers.one_order,
    Topic.PNL: answers.pnl,
    Topic.POSITIONS: answers.positions,
    Topic.PRICE: market_answers.price,
    Topic.SPREAD: market_answers.spread,
    Topic.STATUS: desk_answers.status,
    Topic.VOLUME: market_answers.volume,
    Topic.WHY: desk_answers.why,
    Topic.WORST_TRADE: answers.extreme_trade,
}


class Questions:
    """Answers questions for a view. Reads only."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    async def answer(self, view: View, asked: Ask | Briefing) -> Said:
        """The answer. Raises ApiError where reads are behind."""
        await view.caught_up()
        if isinstance(asked, Briefing):
            return await briefing.briefing(view, asked)
        if asked.topic is Topic.SHOCK:
            return await answer_shock(view, asked.symbol, asked.change_percent)
        if asked.topic is Topic.ACTIVITY:
            return await desk_answers.activity(view, asked, self._roster)
        if asked.topic is Topic.MANDATE:
            return await desk_answers.mandate(view, asked, self._roster)
        return await _ANSWERS[asked.topic](view, asked)
