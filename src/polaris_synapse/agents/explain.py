"""A decision in words: what was seen, why this size, what became of the order, and how it turned out. Pure text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from polaris_synapse.domain.messages import DecisionRecorded, Fact
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.reasons import explain as explain_reason

_NOT_LIVE: Final = {
    "simulated": "The market was simulated: these prices were made by this desk and are no evidence of anything real.",
    "replay": "The market was a replay of recorded data: nothing here was happening when it was decided.",
}
_ACTIONS: Final = {
    "HELD": "Nothing was ordered.",
    "PROPOSED": "An order was proposed; nothing is known of it yet.",
    "AWAITING_APPROVAL": "The order is held until a person approves or rejects it.",
    "NOT_PLACED": "An order was proposed, and none was placed.",
    "REFUSED": "The order was refused.",
    "PLACED": "The order was placed and has not ended yet.",
    "FILLED": "The order was filled.",
    "PARTLY_FILLED": "A part of the order was filled; the rest ended unfilled.",
    "UNFILLED": "The order ended without a fill.",
}
#: The facts that tell how a size came about, in the order in which they bound it.
_SIZE: Final = (
    "equity",
    "share of equity allowed",
    "confidence",
    "volatility",
    "target position",
    "value held",
    "mandate for an order",
    "mandate without approval",
    "mandate left today",
    "free cash",
    "quantity",
    "limit price",
    "order value",
)
_FILLS: Final = ("filled quantity", "filled value", "average price", "fee in ", "fills", "simulated fills")
_QUESTION_CITATION: Final = re.compile(r"\[[^\[\]\s]*q\.(\d+)\]")
_CITATION: Final = re.compile(r"\[[^\[\]\s]*\.(\d+)\]")
_WIDTH: Final = 44


class Explanation(Struct, frozen=True, kw_only=True):
    """The parts of an explanation, each ready to print. ``notice`` is empty for a live market."""

    headline: str
    notice: str
    thesis: str
    votes: tuple[str, ...]
    size: tuple[str, ...]
    order: tuple[str, ...]
    score: tuple[str, ...]
    facts: tuple[str, ...]

    @property
    def text(self) -> str:
        """Everything, as ``polaris why`` shows it."""
        parts = [self.headline]
        if self.notice:
            parts.append(self.notice)
        parts.append(self.thesis)
        for title, lines in (
            ("How the agents voted", self.votes),
            ("How the size came about", self.size),
            ("What became of it", self.order),
            ("How it turned out", self.score),
            ("Facts", self.facts),
        ):
            if lines:
                parts.append("\n".join([title, *(f"  {line}" for line in lines)]))
        return "\n\n".join(parts)


def explain(decision: DecisionRecorded) -> Explanation:
    """Explain a decision at the revision given. Citations are shortened to the fact's number: ``[F3]``."""
    # Facts of a question to a model stand beside the decision's own under the same names, and only back an argument.
    by_name = {fact.name: fact for fact in decision.facts if fact.fact_id.startswith(f"{decision.decision_id}.")}
    decided = decision.decided_time_ns or decision.time_ns
    confidence = f" with {_percent(decision.confidence_ppm)} confidence" if decision.confidence_ppm else ""
    return Explanation(
        headline=f"{decision.decision_id}  {_time(decided)}  {decision.agent} on {decision.symbol}: "
        f"{decision.view}{confidence}, {decision.action}",
        notice=" ".join(filter(None, (_notice(decision.facts), decision.not_evidence))),
        thesis=_CITATION.sub(r"[F\1]", _QUESTION_CITATION.sub(r"[Q\1]", decision.thesis)),
        votes=tuple(_vote_lines(decision)),
        size=tuple(_row(by_name[name]) for name in _SIZE if name in by_name) if decision.order is not None else (),
        order=tuple(_order_lines(decision)),
        score=tuple(_score_lines(decision, by_name)),
        facts=tuple(_row(fact, with_source=True) for fact in decision.facts),
    )


def _notice(facts: Iterable[Fact]) -> str:
    feeds = {fact.source.partition("/")[0] for fact in facts}
    return " ".join(sentence for feed, sentence in _NOT_LIVE.items() if feed in feeds)


def _vote_lines(decision: DecisionRecorded) -> Iterable[str]:
    """Who said what and how much it counted; nothing where only the market spoke and has no record yet."""
    if len(decision.votes) < 2 and not any(vote.right_ppm or vote.wrong_ppm for vote in decision.votes):
        return
    for vote in decision.votes:
        leaning = "buy" if vote.lean_ppm > 0 else "sell" if vote.lean_ppm < 0 else "nothing"
        trials = format_units(vote.right_ppm + vote.wrong_ppm, 6)
        yield (
            f"{vote.voter:<18} says {leaning} at {_percent(abs(vote.lean_ppm))}, counts {_percent(vote.weight_ppm)} "
            f"(right in {format_units(vote.right_ppm, 6)} of {trials} independent trials)"
        )
    if decision.call_digests:
        dollars = format_units(decision.cost_micro_usd, 6)
        yield f"Asked {len(decision.call_digests)} language models, for {dollars} USD."


def _order_lines(decision: DecisionRecorded) -> Iterable[str]:
    yield _ACTIONS.get(decision.action, decision.action)
    if decision.reason is not Reason.NONE:
        yield f"{decision.reason.name} ({int(decision.reason)}): {explain_reason(decision.reason)}"
    if decision.detail:
        yield decision.detail
    if decision.order is None:
        return
    order = decision.order
    known = f"order {decision.order_id}, {decision.order_state}" if decision.order_state else "no order known"
    yield f"{order.side} {order.type} {order.time_in_force} on {order.account}, {order.client_order_id}: {known}"
    for fact in decision.facts:
        if fact.name.startswith(_FILLS):
            yield _row(fact)
    simulated = [fact for fact in decision.facts if fact.name.startswith("simulated fills")]
    if simulated and simulated[-1].value != "0":
        how = simulated[-1].source.partition(": ")[2]
        yield "Fills were simulated, not traded on a real market" + (f": {how}" if how else ".")


def _score_lines(decision: DecisionRecorded, by_name: dict[str, Fact]) -> Iterable[str]:
    if decision.score_ppm is None:
        if decision.confidence_ppm and "Not scored" not in decision.detail:
            yield "Not scored yet: its horizon has not passed."
        return
    for name in ("mid", "mid at the horizon", "move to the horizon", "fee of one way"):
        if name in by_name:
            yield _row(by_name[name])
    if decision.view == "HOLD":
        yield "No direction was taken, so the score is zero."
    else:
        verb = "gained" if decision.score_ppm > 0 else "lost"
        rate = _percent(abs(decision.score_ppm))
        yield f"A full {decision.view} round trip over that time would have {verb} {rate} after fees on both ways."
    for fact in decision.facts:
        if fact.unit == "times so far":
            yield _row(fact)
    if decision.lesson:
        yield f"Lesson: {decision.lesson}"


def _row(fact: Fact, *, with_source: bool = False) -> str:
    prefix, _, number = fact.fact_id.rpartition(".")
    value = f"{fact.value} {fact.unit}".rstrip()
    row = f"{'Q' if prefix.endswith('q') else 'F'}{number:<3} {fact.name:<{_WIDTH}} {value}"
    return f"{row:<80}  {fact.source}, {_time(fact.time_ns)}" if with_source else row


def _percent(ppm: int) -> str:
    return f"{format_units(ppm, 4)} %"


def _time(time_ns: int) -> str:
    if not time_ns:
        return "never"
    seconds, rest = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03}Z"
