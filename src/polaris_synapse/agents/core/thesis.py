"""The sentences of a decision. Every number in them is a cited fact; ``grounding`` checks that."""

from __future__ import annotations

from typing import Final

from polaris_synapse.agents.core.facts import FactSheet, cite
from polaris_synapse.agents.core.opinions import Opinion
from polaris_synapse.agents.core.signals import NoReading, Reading, Signal
from polaris_synapse.agents.core.sizing import Declined, Sized
from polaris_synapse.agents.core.view import Direction, View
from polaris_synapse.agents.core.vote_facts import is_plain
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import AgentSettings, Vote
from polaris_synapse.domain.orders import Side
from polaris_synapse.domain.reasons import Reason, explain

#: A signal weaker than this has not spoken: it is not named in a thesis and not counted when decisions are scored.
SPOKEN_PPM_MIN: Final = 100_000

_ABOUT_MODELS: Final = frozenset(
    {Reason.AGENT_MODEL_UNAVAILABLE, Reason.AGENT_MODEL_BUDGET, Reason.AGENT_MODEL_INVALID}
)
_LEANING: Final = {
    Direction.BUY: "points up",
    Direction.SELL: "points down",
    Direction.HOLD: "does not add up to a direction",
}
#: ``{signal: (words before the number, the fact, words after it)}``.
_CLAUSES: Final = {
    Signal.TREND: ("the gap between the fast and the slow average is", "gap between fast and slow average", ""),
    Signal.REVERSION: ("the last close lies", "distance from the mean", "from its mean"),
    Signal.FLOW: ("takers leaned by", "taker flow of the last minute", "(plus: buying)"),
    Signal.BOOK: ("the resting book leans by", "lean of the book", "(plus: to the bids)"),
}


def no_view_thesis(symbol: str, missing: NoReading, sheet: FactSheet) -> str:
    """Why nothing can be said."""
    if missing.candles is None:
        return f"There is no view. {missing.detail}"
    have, needed = cite(sheet["closed candles"]), cite(sheet["candles needed"])
    return f"There is no view on {symbol} yet: {have} of the {needed} that a view takes have closed."


def view_thesis(symbol: str, reading: Reading, view: View, sheet: FactSheet) -> str:
    """What was seen and how it adds up, the weightiest signals first."""
    spoken = [signal for signal, value in view.signals.items() if abs(value) >= SPOKEN_PPM_MIN]
    spoken.sort(key=lambda signal: -abs(view.signals[signal] * view.weights[signal]))
    clauses = "; ".join(_clause(signal, sheet) for signal in spoken) or "no signal speaks"
    return (
        f"The evidence on {symbol} at {cite(sheet['mid'])} {_LEANING[view.direction]}, with a confidence of "
        f"{cite(sheet['confidence'])}: {clauses}. The market is {reading.regime}, with a volatility of "
        f"{cite(sheet['volatility'])} a day."
    )


def _clause(signal: Signal, sheet: FactSheet) -> str:
    before, fact, after = _CLAUSES[signal]
    return f"{before} {cite(sheet[fact])} {after}".rstrip()


def vote_thesis(votes: tuple[Vote, ...], sheet: FactSheet) -> str:
    """How the agents voted; empty where only the market spoke."""
    if is_plain(votes):
        return ""
    voices = "; ".join(
        f"{vote.voter} {cite(sheet[f'{vote.voter} lean'])} at weight {cite(sheet[f'{vote.voter} vote weight'])}"
        for vote in votes
    )
    return f" The agents voted (plus: buying): {voices}."


def argued_thesis(opinion: Opinion) -> str:
    """A model's argument, which was checked by itself before."""
    return f" The {opinion.voter} argues: {opinion.argument}"


def order_thesis(sized: Sized, sheet: FactSheet) -> str:
    """What is proposed."""
    quantity, limit, value = cite(sheet["quantity"]), cite(sheet["limit price"]), cite(sheet["order value"])
    if sized.side is Side.BUY:
        return (
            f" The agent buys {quantity} at {limit} or better, worth {value} at most, towards a position of "
            f"{cite(sheet['target position'])}; it holds {cite(sheet['held'])}."
        )
    return f" The agent sells {quantity} of the {cite(sheet['held'])} held, at {limit} or better, worth {value}."


def held_thesis(declined: Declined, sheet: FactSheet) -> str:
    """Why nothing is proposed."""
    if declined.reason is Reason.AGENT_CONFIDENCE_TOO_LOW:
        least = cite(sheet["confidence needed"])
        return f" Nothing is ordered: the confidence is below the {least} that the agent asks for."
    if declined.reason in _ABOUT_MODELS:
        # The detail counts tokens or statements, and a thesis has no number that is not a fact.
        return f" {explain(declined.reason)}"
    return f" Nothing is ordered. {declined.detail}"


def names_in(instrument: Instrument, settings: AgentSettings) -> tuple[str, ...]:
    """Texts of a thesis that may hold digits and are no numbers: an instrument such as 1INCHUSDT, the agent."""
    return (instrument.symbol, instrument.base.code, instrument.quote.code, settings.agent, settings.account)
