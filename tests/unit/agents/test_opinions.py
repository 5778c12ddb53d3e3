"""Language models in a decision: asked only before an order, held against the facts, and never needed for safety."""

from __future__ import annotations

import json
from typing import Final

import pytest
from msgspec.structs import replace
from tests.unit.agents.markets import BTCUSDT, SECOND, SETTINGS, START, new_core, run, set_up, summary, trending

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.agents.core.deliberation import ANSWER_GRACE_SECONDS, PRIVATE_SOURCES
from polaris_synapse.agents.core.grounding import check_thesis
from polaris_synapse.agents.core.thesis import names_in
from polaris_synapse.agents.explain import explain
from polaris_synapse.agents.questions import question
from polaris_synapse.domain.messages import (
    AnalyseNow,
    DecisionRecorded,
    HostStarted,
    Message,
    OpinionGiven,
    OpinionWanted,
    ProposalMade,
    SetAgents,
    Tick,
)
from polaris_synapse.domain.reasons import Reason

MINUTES: Final = 30
NOW: Final = START + MINUTES * 60 * SECOND
ASKING: Final = replace(SETTINGS, model_roles=("fact",), model_seconds_max=10)


def asked(core: AgentsCore, *, roles: tuple[str, ...] = ("fact",), drift: int = 3_000) -> list[Message]:
    """What a core says when it is asked for a decision in a rising market."""
    run(core, set_up(settings=replace(ASKING, model_roles=roles)))
    run(core, trending(MINUTES, drift, lean=30, ticks=False))
    return run(core, [AnalyseNow(time_ns=NOW, agent="jarvis", symbol="BTCUSDT", request_id="now")])


def wanted_of(outputs: list[Message]) -> OpinionWanted:
    """The question among them."""
    return next(output for output in outputs if isinstance(output, OpinionWanted))


def decision_of(outputs: list[Message]) -> DecisionRecorded:
    """The decision among them."""
    return next(output for output in outputs if isinstance(output, DecisionRecorded))


def fact_text(wanted: OpinionWanted, name: str) -> str:
    """A fact as a model has to write it."""
    fact = next(fact for fact in wanted.facts if fact.name == name)
    return f"{fact.value} {fact.unit} [{fact.fact_id}]" if fact.unit else f"{fact.value} [{fact.fact_id}]"


def given(
    wanted: OpinionWanted,
    *,
    role: str = "fact",
    view: str = "BUY",
    conviction: str = "medium",
    argument: str | None = None,
    output: str | None = None,
    cutoff: int = START - SECOND,
    after_ns: int = SECOND,
) -> OpinionGiven:
    """A model's answer, a second later."""
    said = {
        "view": view,
        "conviction": conviction,
        "argument": argument if argument is not None else f"The score is {fact_text(wanted, 'score')}.",
    }
    return OpinionGiven(
        time_ns=NOW + after_ns, agent="jarvis", decision_id=wanted.decision_id, role=role,
        output=output if output is not None else json.dumps(said), model="test/m", call_digest="c" * 64,
        cost_micro_usd=1_500, training_cutoff_ns=cutoff,
    )  # fmt: skip


def test_a_model_is_asked_before_an_order_and_only_then() -> None:
    """A decision that code alone would not order is made at once; one that it would waits for the model."""
    outputs = asked(new_core())
    assert wanted_of(outputs).roles == ("fact",)
    assert not any(isinstance(output, DecisionRecorded | ProposalMade) for output in outputs)
    quiet = asked(new_core(), drift=0)
    assert not any(isinstance(output, OpinionWanted) for output in quiet)
    assert decision_of(quiet).order is None


def test_a_valid_opinion_leads_to_the_order() -> None:
    """The decision names the voices, the model's argument with its facts, its call and its price."""
    core = new_core()
    wanted = wanted_of(asked(core))
    run(core, [summary(NOW + SECOND, 6_090_000)])
    outputs = run(core, [given(wanted)])
    decision = decision_of(outputs)
    assert decision.decision_id == wanted.decision_id
    assert (decision.view, decision.action, decision.not_evidence) == ("BUY", "PROPOSED", "")
    assert [vote.voter for vote in decision.votes] == ["fact", "fact model"]
    assert decision.call_digests == ("c" * 64,)
    assert decision.cost_micro_usd == 1_500
    assert f"The fact model argues: The score is {fact_text(wanted, 'score')}." in decision.thesis
    assert check_thesis(decision.thesis, decision.facts, names=names_in(BTCUSDT, ASKING)) == []
    assert any(isinstance(output, ProposalMade) for output in outputs)
    text = explain(decision).text
    assert "[Q" in text
    assert "How the agents voted" in text


def test_price_and_size_are_those_of_the_end() -> None:
    """A model that thinks for a second does not order at the price of a second ago."""
    core = new_core()
    wanted = wanted_of(asked(core))
    run(core, [summary(NOW + SECOND, 6_100_000)])
    decision = decision_of(run(core, [given(wanted)]))
    assert decision.order is not None
    assert decision.order.price_ticks == 6_100_001 + 6_100_001 * SETTINGS.slippage_ppm_max // 1_000_000
    assert decision.decided_time_ns == NOW + SECOND


@pytest.mark.parametrize(
    "change",
    [
        {"argument": "The score is 99 [D0-1q.1]."},
        {"argument": "It will rise 5 percent."},
        {"argument": "It may well double."},
        {"argument": "Trust me."},
        {"argument": "x" * 1_001},
        {"argument": "Hidden\u202etext."},
        {"output": "not json"},
        {"output": '{"view": "BUY"}'},
        {"output": '{"view": "BUY", "conviction": "certain", "argument": "a"}'},
        {"output": '{"view": "BUY", "conviction": "high", "argument": "a", "size": 1000000}'},
        {"output": "\udcff"},
    ],
)
def test_an_opinion_that_does_not_hold_orders_nothing(change: dict[str, str]) -> None:
    """Invented numbers, no citation, hidden characters, the wrong form: the decision says so, and orders nothing."""
    core = new_core()
    wanted = wanted_of(asked(core))
    run(core, [summary(NOW + SECOND, 6_090_000)])
    decision = decision_of(run(core, [given(wanted, **change)]))  # type: ignore[arg-type]  # each row names one
    assert (decision.order, decision.reason) == (None, Reason.AGENT_MODEL_INVALID)
    assert "rejected" in decision.detail
    assert all(vote.voter == "fact" for vote in decision.votes)


@pytest.mark.parametrize(
    "reason", [Reason.AGENT_MODEL_BUDGET, Reason.AGENT_MODEL_UNAVAILABLE, Reason.AGENT_MODEL_INVALID]
)
def test_no_answer_means_no_trade(reason: Reason) -> None:
    """Over budget, down or invalid: nothing is ordered, with that reason and its sentence."""
    core = new_core()
    wanted = wanted_of(asked(core))
    run(core, [summary(NOW + SECOND, 6_090_000)])
    none = OpinionGiven(
        time_ns=NOW + SECOND, agent="jarvis", decision_id=wanted.decision_id, role="fact", reason=reason, detail="Why."
    )
    decision = decision_of(run(core, [none]))
    assert (decision.order, decision.reason, decision.detail) == (None, reason, "Why.")


def test_the_deadline_decides_without_an_answer() -> None:
    """Silence is no opinion: at the deadline the decision is made, without an order; an answer after it is ignored."""
    core = new_core()
    wanted = wanted_of(asked(core))
    late = wanted.deadline_ns + ANSWER_GRACE_SECONDS * SECOND
    early = run(core, [summary(late - SECOND, 6_090_000), Tick(time_ns=late - 1)])
    assert wanted.decision_id not in [output.decision_id for output in early if isinstance(output, DecisionRecorded)]
    decision = decision_of(run(core, [Tick(time_ns=late)]))
    assert decision.decision_id == wanted.decision_id
    assert (decision.order, decision.reason) == (None, Reason.AGENT_MODEL_UNAVAILABLE)
    assert run(core, [given(wanted, after_ns=20 * SECOND)]) == []


def test_a_restart_decides_without_an_answer() -> None:
    """What was asked before a restart is never answered: the decision is closed without an order."""
    core = new_core()
    asked(core)
    again = new_core()
    again.restore(core.snapshot())
    decision = decision_of(run(again, [HostStarted(time_ns=NOW + SECOND)]))
    assert (decision.order, decision.reason) == (None, Reason.AGENT_MODEL_UNAVAILABLE)
    assert "restarted" in decision.detail


def test_all_roles_are_waited_for() -> None:
    """Two roles are asked at once; the decision is made when both are there, in any order, each counted once."""
    core = new_core()
    wanted = wanted_of(asked(core, roles=("fact", "subjectivity")))
    run(core, [summary(NOW + SECOND, 6_090_000)])
    assert run(core, [given(wanted, role="subjectivity"), given(wanted, role="subjectivity", view="SELL")]) == []
    assert run(core, [given(wanted, role="nobody"), replace(given(wanted), agent="other")]) == []
    decision = decision_of(run(core, [given(wanted)]))
    assert [vote.voter for vote in decision.votes] == ["fact", "fact model", "subjectivity model"]


def test_a_contrary_model_makes_the_agent_less_sure() -> None:
    """A model against the market lowers the confidence, and cannot turn the order round."""
    decisions = []
    for view, conviction in (("BUY", "high"), ("HOLD", "high"), ("SELL", "high")):
        core = new_core()
        wanted = wanted_of(asked(core))
        run(core, [summary(NOW + SECOND, 6_090_000)])
        decisions.append(decision_of(run(core, [given(wanted, view=view, conviction=conviction)])))
    surer, same, less = (decision.confidence_ppm for decision in decisions)
    assert surer > same > less
    assert decisions[2].view == "BUY"


def test_a_symbol_that_waits_is_not_asked_about_again() -> None:
    """While a model thinks, another decision on the symbol orders nothing and asks nobody."""
    core = new_core()
    asked(core)
    outputs = run(core, [AnalyseNow(time_ns=NOW + 2 * SECOND, agent="jarvis", symbol="BTCUSDT")])
    decision = decision_of(outputs)
    assert decision.reason is Reason.AGENT_COOLING_DOWN
    assert "language model" in decision.detail


def test_a_symbol_that_is_dropped_meanwhile_is_decided_no_more() -> None:
    """Settings that leave the symbol out end its pending decision without a word."""
    core = new_core()
    wanted = wanted_of(asked(core))
    run(core, [SetAgents(time_ns=NOW, settings=replace(ASKING, symbols=()))])
    assert run(core, [given(wanted)]) == []


def test_a_question_holds_no_account_and_no_foreign_text() -> None:
    """What goes to a vendor: facts of the market and the vote, lessons of our own, and the decision's own time."""
    wanted = wanted_of(asked(new_core()))
    assert not any(fact.source.startswith(PRIVATE_SOURCES) for fact in wanted.facts)
    for role in ("fact", "subjectivity"):
        request = question(wanted, role, seconds=5.0)
        assert "25000" not in request.prompt
        assert "2026-01-01 00:30:00 UTC" in request.prompt
        assert request.decision_id == wanted.decision_id


def test_replaying_the_log_gives_the_same_state() -> None:
    """Answers are messages: the same log gives the same decisions and the same hash, also over a snapshot."""
    first, second = new_core(), new_core()
    wanted = wanted_of(asked(first))
    after = [summary(NOW + SECOND, 6_090_000), given(wanted), Tick(time_ns=NOW + 2 * SECOND)]
    asked(second)
    halfway = new_core()
    halfway.restore(second.snapshot())
    assert run(first, after) == run(halfway, after)
    assert first.state_hash() == halfway.state_hash()


@pytest.mark.parametrize("roles", [("nobody",), ("fact", "fact")])
def test_roles_are_of_a_closed_list(roles: tuple[str, ...]) -> None:
    """Settings with an unknown or repeated role are refused."""
    outputs = run(new_core(), set_up(settings=replace(SETTINGS, model_roles=roles)))
    assert Reason.INVALID_VALUE in [getattr(output, "reason", None) for output in outputs]
