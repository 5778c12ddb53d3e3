"""Explanations: readable, complete, and honest about what was simulated."""

from __future__ import annotations

from msgspec.structs import replace
from tests.unit.agents.markets import SECOND, START, new_core, run, set_up, summary, trending
from tests.unit.agents.test_outcomes import HORIZON, NOW, executed, proposed, records, updated

from polaris_synapse.agents.explain import explain
from polaris_synapse.domain.messages import AnalyseNow, DecisionRecorded, Tick
from polaris_synapse.domain.orders import OrderState
from polaris_synapse.domain.reasons import Reason


def decision_on(source: str) -> DecisionRecorded:
    """A proposal on a market of a source."""
    core = new_core()
    run(core, set_up() + trending(30, 3_000, lean=30, source=source, ticks=False))
    return records(run(core, [AnalyseNow(time_ns=NOW, agent="jarvis", symbol="BTCUSDT")]))[0]


def test_an_explanation_shows_view_facts_and_size() -> None:
    """Headline, thesis with short citations, the sizing facts and every fact with source and time are there."""
    decision = decision_on("binance")
    parts = explain(decision)
    assert parts.headline.startswith("D0-1  2026-01-01 00:30:00.000Z  jarvis on BTCUSDT: BUY with ")
    assert parts.headline.endswith("confidence, PROPOSED")
    assert "D0-1." not in parts.thesis
    assert "[F3]" in parts.thesis
    assert len(parts.facts) == len(decision.facts)
    assert all(fact.value in row for fact, row in zip(decision.facts, parts.facts, strict=True))
    assert [row.split(None, 1)[1].split("  ")[0] for row in parts.size][:3] == [
        "equity", "share of equity allowed", "confidence",
    ]  # fmt: skip
    assert parts.score == ("Not scored yet: its horizon has not passed.",)
    assert all(part in parts.text for part in (parts.headline, parts.thesis, *parts.facts))


def test_a_simulated_or_replayed_market_is_called_one() -> None:
    """Only a live market goes without a notice."""
    assert explain(decision_on("binance")).notice == ""
    assert "simulated" in explain(decision_on("simulated")).notice
    assert "replay" in explain(decision_on("replay")).notice


def test_the_order_and_the_score_are_told() -> None:
    """What was filled, at what cost, that it was simulated and how, and what the view was worth."""
    core, proposal = proposed()
    lots = proposal.order.quantity_lots
    run(core, [updated(proposal.order, OrderState.APPROVED)])
    run(
        core,
        [updated(proposal.order, OrderState.FILLED, filled=lots, later=2), executed(proposal.order, lots, later=2)],
    )
    run(core, [summary(NOW + HORIZON, 6_000_000)])
    found = [r for r in records(run(core, [Tick(time_ns=NOW + HORIZON)])) if r.decision_id == proposal.decision_id]
    parts = explain(found[-1])
    assert parts.order[0] == "The order was filled."
    assert "order 1024, FILLED" in parts.order[1]
    assert parts.order[-1] == ("Fills were simulated, not traded on a real market: taken from the mirrored book")
    assert any("would have lost" in line for line in parts.score)
    assert any("trend was wrong" in line for line in parts.score)


def test_a_refusal_is_explained_with_its_code() -> None:
    """The reason's number, name and sentence stand in the explanation."""
    core, proposal = proposed()
    (step,) = records(run(core, [updated(proposal.order, OrderState.REFUSED, reason=Reason.KILL_SWITCH)]))
    lines = explain(step).order
    assert lines[0] == "The order was refused."
    assert lines[1] == "KILL_SWITCH (2000): The kill switch is on: no new risk is taken."


def test_a_decision_without_a_view_is_explained_too() -> None:
    """Before there is any history the explanation says how much is missing, and promises no score."""
    core = new_core()
    run(core, [*set_up(), summary(START + SECOND, 6_000_000)])
    decision = records(run(core, [AnalyseNow(time_ns=START + SECOND, agent="jarvis", symbol="BTCUSDT")]))[0]
    parts = explain(decision)
    assert parts.thesis == (
        "There is no view on BTCUSDT yet: 0 candles [F1] of the 20 candles [F2] that a view takes have closed."
    )
    assert (parts.size, parts.score) == ((), ())
    assert parts.order[1].startswith("AGENT_NO_VIEW (6000)")


def test_a_hold_is_scored_in_words() -> None:
    """A decision without a direction says that its score is zero, and shows the move."""
    core = new_core()
    run(core, set_up() + trending(30, 0, ticks=False))
    run(core, [AnalyseNow(time_ns=NOW, agent="jarvis", symbol="BTCUSDT"), summary(NOW + HORIZON, 6_600_000)])
    found = [r for r in records(run(core, [Tick(time_ns=NOW + HORIZON)])) if r.score_ppm is not None]
    lines = explain(found[0]).score
    assert "No direction was taken, so the score is zero." in lines
    assert any("move to the horizon" in line for line in lines)


def test_an_explanation_of_an_old_record_needs_no_decided_time() -> None:
    """A record without the time of its decision is dated by its own."""
    decision = replace(decision_on("binance"), decided_time_ns=0)
    assert "2026-01-01 00:30:00.000Z" in explain(decision).headline
