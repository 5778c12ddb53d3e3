"""What becomes of decisions: orders followed to their end, restarts, lost proposals, scores and hit rates."""

from __future__ import annotations

from msgspec.structs import replace
from tests.unit.agents.markets import BTCUSDT, SECOND, SETTINGS, START, new_core, run, set_up, summary, trending

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.domain.messages import (
    AgentStanding,
    AnalyseNow,
    DecisionRecorded,
    ExecutionRecorded,
    HostStarted,
    Message,
    OrderUpdated,
    ProposalClosed,
    ProposalMade,
    Tick,
)
from polaris_synapse.domain.orders import Fill, Liquidity, Order, OrderRequest, OrderState
from polaris_synapse.domain.reasons import Reason

NOW = START + 30 * 60 * SECOND
HORIZON = SETTINGS.horizon_seconds * SECOND


def proposed(drift: int = 3_000, lean: int = 30, held: str = "0") -> tuple[AgentsCore, ProposalMade]:
    """A core that has just proposed an order."""
    core = new_core()
    run(core, set_up(held=held))
    run(core, trending(30, drift, lean=lean, ticks=False))
    outputs = run(core, [AnalyseNow(time_ns=NOW, agent="jarvis", symbol="BTCUSDT")])
    return core, next(output for output in outputs if isinstance(output, ProposalMade))


def order_of(request: OrderRequest, state: OrderState, *, filled: int = 0, reason: Reason = Reason.NONE) -> Order:
    """The proposed order in a state, filled at its limit."""
    return Order(
        order_id=0 if state is OrderState.REFUSED else 1_024,
        request=request,
        venue="paper",
        state=state,
        quantity_lots=request.quantity_lots,
        price_ticks=request.price_ticks,
        stop_price_ticks=0,
        filled_lots=filled,
        filled_notional_units=BTCUSDT.notional_units(request.price_ticks, filled),
        reason=reason,
    )


def updated(request: OrderRequest, state: OrderState, *, later: int = 1, **given: object) -> OrderUpdated:
    """What risk says of the order."""
    return OrderUpdated(time_ns=NOW + later, order=order_of(request, state, **given))  # type: ignore[arg-type]


def executed(request: OrderRequest, lots: int, *, later: int = 1) -> ExecutionRecorded:
    """What risk says of a simulated fill."""
    return ExecutionRecorded(
        time_ns=NOW + later,
        execution_id=f"e{later}",
        order_id=1_024,
        client_order_id=request.client_order_id,
        account=request.account,
        symbol=request.symbol,
        venue="paper",
        side=request.side,
        fill=Fill(
            trade_id="1",
            price_ticks=request.price_ticks,
            quantity_lots=lots,
            liquidity=Liquidity.TAKER,
            fee_units=lots,
            fee_asset="BTC",
            simulated=True,
            how="taken from the mirrored book",
        ),
        notional_units=BTCUSDT.notional_units(request.price_ticks, lots),
        decision_id=request.decision_id,
    )


def records(outputs: list[Message]) -> list[DecisionRecorded]:
    """The decisions among the outputs."""
    return [output for output in outputs if isinstance(output, DecisionRecorded)]


def used_today(core: AgentsCore) -> int:
    """What the agent says it has used of its mandate."""
    standing = next(o for o in core.apply(HostStarted(time_ns=NOW)) if isinstance(o, AgentStanding))
    return standing.day_value_units


def test_a_filled_order_is_followed_to_its_end() -> None:
    """Each step that matters is a revision; the last carries what was filled, at what cost, and how simulated."""
    core, proposal = proposed()
    request = proposal.order
    lots = request.quantity_lots
    steps = records(
        run(
            core,
            [
                updated(request, OrderState.APPROVED),
                updated(request, OrderState.WORKING),
                updated(request, OrderState.PARTIALLY_FILLED, filled=1),
                executed(request, 1),
                updated(request, OrderState.FILLED, filled=lots, later=2),
                executed(request, lots - 1, later=2),
            ],
        )
    )
    assert [(step.action, step.order_state, step.revision) for step in steps] == [
        ("PLACED", "APPROVED", 1),
        ("FILLED", "FILLED", 2),
        ("FILLED", "FILLED", 3),
    ]
    facts = {fact.name: fact.value for fact in steps[-1].facts}
    assert facts["filled quantity"] == BTCUSDT.format_quantity(lots)
    assert facts["average price, rounded down"] == BTCUSDT.format_price(request.price_ticks)
    assert facts["simulated fills"] == "2"
    assert facts["fee in BTC"] == BTCUSDT.format_quantity(1).replace("0.00001", f"0.{lots:08}").rstrip("0")
    assert steps[-1].decided_time_ns == proposal.time_ns < steps[-1].time_ns


def test_a_refusal_is_on_the_record_and_gives_the_mandate_back() -> None:
    """The reason of the refusal stands in the decision, and the refused value may be used again."""
    core, proposal = proposed()
    before = used_today_after(core, proposal)
    assert before > 0
    core, proposal = proposed()
    refused = updated(proposal.order, OrderState.REFUSED, reason=Reason.EXPOSURE_LIMIT)
    (step,) = records(run(core, [refused]))
    assert (step.action, step.reason, step.order_state) == ("REFUSED", Reason.EXPOSURE_LIMIT, "REFUSED")
    assert used_today(core) == 0


def used_today_after(core: AgentsCore, proposal: ProposalMade) -> int:
    """What a placed order takes of the mandate."""
    run(core, [updated(proposal.order, OrderState.APPROVED)])
    return used_today(core)


def test_an_order_that_ends_gives_back_what_did_not_fill() -> None:
    """A third filled takes a third of its value of the day's mandate, rounded up."""
    core, proposal = proposed()
    whole = used_today_after(core, proposal)
    lots = proposal.order.quantity_lots
    (step,) = records(run(core, [updated(proposal.order, OrderState.EXPIRED, filled=lots // 3, later=2)]))
    assert step.action == "PARTLY_FILLED"
    assert used_today(core) == whole - whole * (lots - lots // 3) // lots


def test_an_unfilled_and_a_rejected_order_say_so() -> None:
    """An immediate order without a fill ends UNFILLED; one that the venue turned away is REFUSED."""
    for state, action in (
        (OrderState.EXPIRED, "UNFILLED"),
        (OrderState.CANCELLED, "UNFILLED"),
        (OrderState.REJECTED, "REFUSED"),
    ):
        core, proposal = proposed()
        (step,) = records(run(core, [updated(proposal.order, state)]))
        assert step.action == action


def test_an_unknown_outcome_is_told_and_blocks_the_symbol() -> None:
    """While nobody knows what became of an order, the record says so and nothing more is proposed on the symbol."""
    core, proposal = proposed()
    steps = records(run(core, [updated(proposal.order, OrderState.UNKNOWN)]))
    assert [(step.action, step.order_state) for step in steps] == [("PLACED", "UNKNOWN")]
    later = run(core, trending(10, 3_000, lean=30, start_ns=NOW, mid_ticks=6_090_000))
    assert not any(isinstance(output, ProposalMade) for output in later)
    assert any(d.reason is Reason.AGENT_COOLING_DOWN for d in records(later))


def test_a_fill_after_the_end_corrects_the_record() -> None:
    """A venue may report a fill of an order that it had ended: the record then says what was filled in truth."""
    core, proposal = proposed()
    request = proposal.order
    run(core, [updated(request, OrderState.EXPIRED)])
    steps = records(run(core, [updated(request, OrderState.EXPIRED, filled=5, later=2), executed(request, 5, later=3)]))
    assert [step.action for step in steps] == ["PARTLY_FILLED", "PARTLY_FILLED"]
    assert any(fact.name == "filled quantity" for fact in steps[0].facts)


def test_orders_of_others_are_ignored() -> None:
    """An order that only carries a decision's id, on another account or under another id, changes nothing."""
    core, proposal = proposed()
    before = core.state_hash()
    for changes in ({"account": "main"}, {"client_order_id": "mine"}, {"decision_id": ""}, {"decision_id": "D0-9"}):
        stranger = replace(proposal.order, **changes)
        message = replace(updated(stranger, OrderState.APPROVED), time_ns=NOW)
        assert run(core, [message, replace(executed(stranger, 1), time_ns=NOW)]) == []
    assert core.state_hash() == before


def test_a_restart_closes_proposals_without_an_order() -> None:
    """After a restart a proposal that nothing is known of is on record as not placed, and its value is free again."""
    core, proposal = proposed()
    outputs = run(core, [HostStarted(time_ns=NOW + SECOND)])
    (step,) = records(outputs)
    assert (step.action, step.reason) == ("NOT_PLACED", Reason.AGENT_PROPOSAL_EXPIRED)
    assert step.detail == "The desk restarted before the order was placed."
    assert used_today(core) == 0
    assert run(core, [replace(updated(proposal.order, OrderState.APPROVED), time_ns=NOW + 2 * SECOND)])


def test_a_restart_leaves_placed_orders_alone() -> None:
    """An order that was in the journal is followed on after a restart."""
    core, proposal = proposed()
    run(core, [updated(proposal.order, OrderState.APPROVED)])
    assert records(run(core, [HostStarted(time_ns=NOW + SECOND)])) == []
    (step,) = records(
        run(core, [updated(proposal.order, OrderState.FILLED, filled=proposal.order.quantity_lots, later=2 * SECOND)])
    )
    assert step.action == "FILLED"


def test_an_order_that_appears_after_all_is_followed() -> None:
    """A late order takes its decision back from NOT_PLACED and counts against the mandate."""
    core, proposal = proposed()
    run(core, [HostStarted(time_ns=NOW + SECOND)])
    (step,) = records(run(core, [updated(proposal.order, OrderState.APPROVED, later=2 * SECOND)]))
    assert (step.action, step.reason, step.order_id) == ("PLACED", Reason.NONE, 1_024)
    assert used_today(core) > 0


def test_a_proposal_that_nobody_answers_is_given_up() -> None:
    """After two minutes without an order the proposal is closed, so the symbol is not blocked for ever."""
    core, _ = proposed()
    assert not [r for r in records(run(core, [Tick(time_ns=NOW + 120 * SECOND)])) if r.revision]
    closed = [r for r in records(run(core, [Tick(time_ns=NOW + 121 * SECOND)])) if r.revision]
    assert [(step.action, step.reason) for step in closed] == [("NOT_PLACED", Reason.AGENT_PROPOSAL_EXPIRED)]


def test_what_the_shell_says_of_a_proposal_is_recorded_once() -> None:
    """A refusal before risk is on the record; repeated, misdirected, or with the order known, it is nothing."""
    core, proposal = proposed()
    said = ProposalClosed(
        time_ns=NOW + 1, agent="jarvis", decision_id=proposal.decision_id, reason=Reason.OVERLOADED, detail="Busy."
    )
    assert run(core, [replace(said, agent="other"), replace(said, decision_id="D0-99")]) == []
    (step,) = records(run(core, [said]))
    assert (step.action, step.reason, step.detail) == ("REFUSED", Reason.OVERLOADED, "Busy.")
    assert run(core, [said]) == []
    core, proposal = proposed()
    run(core, [updated(proposal.order, OrderState.APPROVED)])
    assert run(core, [said]) == []


def test_an_unknown_submission_waits_for_its_order() -> None:
    """TIMED_OUT leaves the proposal open: its order may still come, or it is given up in time."""
    core, proposal = proposed()
    said = ProposalClosed(time_ns=NOW + 1, agent="jarvis", decision_id=proposal.decision_id, reason=Reason.TIMED_OUT)
    (step,) = records(run(core, [said]))
    assert (step.action, step.reason) == ("PROPOSED", Reason.TIMED_OUT)
    assert used_today(core) == 0  # the restart inside used_today closes it
    (late,) = records(run(core, [updated(proposal.order, OrderState.APPROVED, later=3)]))
    assert late.action == "PLACED"


def scored(view_drift: int, lean: int, held: str, end_mid: int) -> DecisionRecorded:
    """A decision after its horizon, at a mid of ``end_mid`` ticks."""
    core, proposal = proposed(view_drift, lean, held)
    run(core, [updated(proposal.order, OrderState.EXPIRED)])
    due = NOW + HORIZON
    run(core, [summary(due, end_mid)])
    found = [r for r in records(run(core, [Tick(time_ns=due)])) if r.decision_id == proposal.decision_id]
    assert len(found) == 1
    return found[0]


def mid_of(decision: DecisionRecorded, name: str = "mid") -> int:
    """A mid of the record in ticks."""
    return BTCUSDT.parse_price(next(fact.value for fact in decision.facts if fact.name == name))


def test_a_decision_is_scored_after_fees() -> None:
    """A view returns the move in its direction less the taker fee on both ways."""
    up = scored(3_000, 30, "0", 6_200_000)
    move = round((6_200_000 - mid_of(up)) * 1_000_000 / mid_of(up))
    assert abs(up.score_ppm or 0 - (move - 2_000)) <= abs(move)
    assert up.score_ppm == move - 2_000
    down = scored(-3_000, -30, "0.01", 6_200_000)
    move = round((6_200_000 - mid_of(down)) * 1_000_000 / mid_of(down))
    assert down.score_ppm == -move - 2_000
    assert down.action == "UNFILLED"


def test_a_hold_scores_nothing_and_shows_the_move() -> None:
    """Without a direction the score is zero, and what was missed or spared is on the record."""
    core = new_core()
    run(core, set_up() + trending(30, 0, ticks=False))
    run(core, [AnalyseNow(time_ns=NOW, agent="jarvis", symbol="BTCUSDT"), summary(NOW + HORIZON, 6_600_000)])
    found = [r for r in records(run(core, [Tick(time_ns=NOW + HORIZON)])) if r.score_ppm is not None]
    assert [(r.view, r.score_ppm) for r in found] == [("HOLD", 0)]
    move = next(fact.value for fact in found[0].facts if fact.name == "move to the horizon")
    assert 9 < int(move.split(".")[0]) < 11


def test_no_score_comes_from_before_the_horizon_or_from_bad_data() -> None:
    """A decision waits for a usable price at its horizon or later, and is given up openly when none comes."""
    core, proposal = proposed()
    run(core, [updated(proposal.order, OrderState.EXPIRED)])
    due = NOW + HORIZON

    def seen(messages: list[Message]) -> list[DecisionRecorded]:
        return [r for r in records(run(core, messages)) if r.decision_id == proposal.decision_id]

    assert seen([summary(due - 1, 6_000_000), Tick(time_ns=due - 1)]) == []
    assert seen([Tick(time_ns=due)]) == []
    assert seen([summary(due + 1, 6_000_000, healthy=False), Tick(time_ns=due + 1)]) == []
    (given_up,) = seen([Tick(time_ns=due + 300 * SECOND)])
    assert given_up.score_ppm is None
    assert given_up.detail == "Not scored: there was no usable price when its horizon had passed."
    assert seen([summary(due + 301 * SECOND, 6_000_000), Tick(time_ns=due + 301 * SECOND)]) == []


def test_signals_are_counted_right_or_wrong() -> None:
    """Each signal that spoke is held against the move; the counts are told with the agent's standing."""
    core, proposal = proposed()
    run(core, [updated(proposal.order, OrderState.EXPIRED), summary(NOW + HORIZON, 6_300_000)])
    standing = next(o for o in run(core, [Tick(time_ns=NOW + HORIZON)]) if isinstance(o, AgentStanding))
    counts = {record.signal: (record.right, record.wrong) for record in standing.signals}
    assert counts["trend"] == counts["order flow"] == counts["order book"] == (1, 0)
    assert counts["mean reversion"] in {(0, 1), (0, 0)}
    assert (standing.decisions_made, standing.proposals_made) == (2, 1)


def test_standings_come_every_ten_seconds() -> None:
    """Whoever listens learns of every agent within ten seconds, without asking."""
    core = new_core()
    run(core, set_up())
    ticks = [Tick(time_ns=START + second * SECOND) for second in range(1, 31)]
    told = [output for output in run(core, ticks) if isinstance(output, AgentStanding)]
    assert [(standing.time_ns - START) // SECOND for standing in told] == [1, 11, 21]
