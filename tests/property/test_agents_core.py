"""The agents core as a state machine: deterministic, restorable, bounded, never outside its mandate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.agents.markets import BTCUSDT, MANDATE, SECOND, SETTINGS, START, new_core, run, set_up, trending

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.agents.core.grounding import check_thesis
from polaris_synapse.agents.core.sizing import needs_approval
from polaris_synapse.agents.core.state import SNAPSHOT_VERSION, AgentsState, day_of
from polaris_synapse.agents.core.thesis import names_in
from polaris_synapse.bus.core import decode_state, encode_message
from polaris_synapse.domain.messages import (
    AccountMetrics,
    AgentControl,
    AgentSettings,
    AnalyseNow,
    Autonomy,
    BalanceChanged,
    DecisionRecorded,
    HostStarted,
    Mandate,
    Message,
    OrderUpdated,
    ProposalClosed,
    ProposalMade,
    SetMandate,
    Tick,
)
from polaris_synapse.domain.orders import Order, OrderState, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason

#: ``(minutes, drift in ticks a minute, lean in percent, healthy)``: one stretch of a market. Takers lean with it.
stretches = st.lists(
    st.builds(
        lambda minutes, drift, healthy: (minutes, drift, drift // 150, healthy),
        st.integers(5, 15),
        st.sampled_from((-9_000, -3_000, 0, 3_000, 9_000)),
        st.sampled_from((True, True, True, False)),
    ),
    min_size=4,
    max_size=6,
)
mandates = st.builds(
    lambda order, day, alone, enabled: replace(
        MANDATE,
        order_value_units_max=order * 10**8,
        daily_value_units_max=day * 10**8,
        approval_above_units=alone * 10**8,
        enabled=enabled,
    ),
    st.sampled_from((4, 500, 2_500, 50_000)),
    st.sampled_from((0, 900, 5_000, 100_000)),
    st.sampled_from((0, 2_500, 50_000)),
    st.sampled_from((True, True, True, False)),
)
agents = st.builds(
    lambda confidence, share, slippage, cooldown, interval: replace(
        SETTINGS,
        confidence_ppm_min=confidence,
        position_ppm_of_equity_max=share,
        slippage_ppm_max=slippage,
        cooldown_seconds=cooldown,
        interval_seconds=interval,
    ),
    st.integers(0, 700_000),
    st.sampled_from((0, 20_000, 100_000, 1_000_000)),
    st.integers(0, 2_000),
    st.integers(0, 300),
    st.integers(5, 90),
)
#: How an order ends, in thousandths filled, or None where nothing is heard of it.
fates = st.lists(st.none() | st.integers(-1, 1_000), min_size=1, max_size=20)


def market(parts: list[tuple[int, int, int, bool]]) -> Iterator[Message]:
    """Summaries and ticks of one stretch after the other; an unhealthy stretch is sent as such."""
    start, mid = START, 6_000_000
    for index, (minutes, drift, lean, healthy) in enumerate(parts):
        for message in trending(minutes, drift, lean=lean, start_ns=start, mid_ticks=mid, seed=index + 1):
            if not healthy and not isinstance(message, Tick):
                yield replace(message, healthy=False)
            else:
                yield message
        start += minutes * 60 * SECOND
        mid = max(mid + minutes * drift, 100_000)


def answer(proposal: ProposalMade, fate: int | None) -> list[Message]:
    """What the desk says of a proposal: nothing, a refusal, or an end with a share filled."""
    if fate is None:
        return []
    request, state = proposal.order, OrderState.EXPIRED
    filled = 0
    if fate < 0:
        state = OrderState.REFUSED
    else:
        filled = request.quantity_lots * fate // 1_000
        state = OrderState.FILLED if filled == request.quantity_lots else OrderState.EXPIRED
    order = Order(
        order_id=7, request=request, venue="paper", state=state, quantity_lots=request.quantity_lots,
        price_ticks=request.price_ticks, stop_price_ticks=0, filled_lots=filled,
        filled_notional_units=BTCUSDT.notional_units(request.price_ticks, filled),
    )  # fmt: skip
    return [OrderUpdated(time_ns=proposal.time_ns, order=order)]


class Ledger:
    """The account as the ledger would keep it, from the fills."""

    def __init__(self, cash: int, held_lots: int) -> None:
        self.cash_units, self.held_lots = cash, held_lots

    def take(self, update: OrderUpdated) -> list[Message]:
        """Book what filled and say the new balances."""
        order = update.order
        sign = 1 if order.request.side is Side.BUY else -1
        self.cash_units -= sign * order.filled_notional_units
        self.held_lots += sign * order.filled_lots
        return [
            BalanceChanged(
                time_ns=update.time_ns, account="jarvis", asset="USDT", total_units=self.cash_units, reserved_units=0
            ),
            BalanceChanged(
                time_ns=update.time_ns, account="jarvis", asset="BTC",
                total_units=self.held_lots * BTCUSDT.lot_units, reserved_units=0,
            ),
        ]  # fmt: skip


RISING = [(15, 3_000, 40, True)]
EAGER = replace(SETTINGS, confidence_ppm_min=0, position_ppm_of_equity_max=1_000_000, interval_seconds=10)
GENEROUS = replace(
    MANDATE,
    order_value_units_max=50_000 * 10**8,
    daily_value_units_max=100_000 * 10**8,
    approval_above_units=50_000 * 10**8,
)


@settings(max_examples=15)
# Each bound where it is the one that binds: cash, the equity share, the day.
@example(RISING, GENEROUS, EAGER, [1_000], 700, 0)
@example(RISING, GENEROUS, replace(EAGER, position_ppm_of_equity_max=20_000), [1_000], 25_000, 0)
@example(
    RISING, replace(GENEROUS, daily_value_units_max=900 * 10**8), replace(EAGER, cooldown_seconds=0), [400], 25_000, 0
)
@given(stretches, mandates, agents, fates, st.sampled_from((0, 700, 25_000)), st.sampled_from((0, 100, 50_000)))
def test_no_order_is_ever_outside_mandate_equity_or_funds(
    parts: list[tuple[int, int, int, bool]],
    mandate: Mandate,
    agent: AgentSettings,
    ends: list[int | None],
    cash: int,
    held_lots: int,
) -> None:
    """Mandate an order and a day, equity share, cash and holdings bound every order, whatever the market does."""
    core = new_core()
    held = BTCUSDT.format_quantity(held_lots)
    run(core, set_up(settings=agent, mandate=mandate, cash=cash, held=held))
    ledger = Ledger(cash * 10**8, held_lots)
    used: Counter[int] = Counter()
    equity = 25_000 * 10**8
    number = 0
    # Enough history first, so that the agent has something to say for the rest.
    for message in market([(22, 0, 0, True), *parts]):
        for output in core.apply(message):
            if isinstance(output, DecisionRecorded):
                assert check_thesis(output.thesis, output.facts, names=names_in(BTCUSDT, agent)) == []
                assert all(fact.time_ns <= output.time_ns for fact in output.facts)
            if not isinstance(output, ProposalMade):
                continue
            order = output.order
            worth = BTCUSDT.notional_units(order.price_ticks, order.quantity_lots)
            assert mandate.enabled
            assert BTCUSDT.min_notional_units <= worth <= mandate.order_value_units_max
            # Above the mandate's limit it waits for a person, so it may not be an order that ends at once.
            held_back = order.time_in_force is TimeInForce.GTD
            assert held_back is needs_approval(mandate, worth)
            assert held_back or worth <= mandate.approval_above_units or mandate.autonomy is Autonomy.AUTOPILOT
            assert used[day_of(output.time_ns)] + worth <= mandate.daily_value_units_max
            if order.side is Side.BUY:
                assert worth <= ledger.cash_units
                assert worth <= equity * agent.position_ppm_of_equity_max // 1_000_000
            else:
                assert 0 < order.quantity_lots <= ledger.held_lots
            fate = ends[number % len(ends)]
            number += 1
            for said in answer(output, fate):
                assert isinstance(said, OrderUpdated)
                used[day_of(output.time_ns)] += BTCUSDT.notional_units(order.price_ticks, said.order.filled_lots)
                run(core, [said, *ledger.take(said)])


def interferences() -> st.SearchStrategy[Message]:
    """Anything that may come in between."""
    when = st.integers(START, START + 3_600 * SECOND)
    return st.one_of(
        st.builds(lambda t: AnalyseNow(time_ns=t, agent="jarvis", symbol="BTCUSDT", request_id="a"), when),
        st.builds(lambda t, p: AgentControl(time_ns=t, agent="jarvis", paused=p), when, st.booleans()),
        st.builds(lambda t: HostStarted(time_ns=t), when),
        st.builds(lambda t, m: SetMandate(time_ns=t, mandate=m), when, mandates),
        st.builds(
            lambda t, n: ProposalClosed(
                time_ns=t, agent="jarvis", decision_id=f"D0-{n}", reason=Reason.RATE_LIMITED, detail=""
            ),
            when,
            st.integers(1, 40),
        ),
        st.builds(
            lambda t, e: AccountMetrics(
                time_ns=t, account="jarvis", equity_units=e, day_start_equity_units=e, peak_equity_units=e,
                exposure_units=0, open_orders_units=0,
            ),
            when,
            st.integers(-(10**12), 10**13),
        ),
    )  # fmt: skip


@settings(max_examples=15)
# A decision that was made before the snapshot and is scored after it.
@example([(30, 1_000, 10, True), (15, 0, 0, True)], [], 4_200)
@given(stretches, st.lists(st.tuples(st.integers(0, 10_000), interferences()), max_size=12), st.integers(0, 10_000))
def test_replay_and_restore_give_the_same_outputs_and_state(
    parts: list[tuple[int, int, int, bool]], extra: list[tuple[int, Message]], cut: int
) -> None:
    """Two folds of one log agree in every output and hash, and so does one that went through a snapshot half way."""
    messages = [*set_up(), *market(parts)]
    for position, message in extra:
        messages.insert(position % (len(messages) + 1), message)
    place = cut % len(messages)
    first, second = new_core(), new_core()
    outputs = run(first, messages)
    again = run(second, messages[:place])
    restored = AgentsCore(valuation=BTCUSDT.quote)
    restored.restore(second.snapshot())
    assert restored.state_hash() == second.state_hash()
    again += run(restored, messages[place:])
    assert [encode_message(message) for message in again] == [encode_message(message) for message in outputs]
    assert restored.state_hash() == first.state_hash()
    assert restored.snapshot() == first.snapshot()


@settings(max_examples=10)
@given(stretches, st.integers(0, 5))
def test_memory_is_bounded_by_time_and_not_by_decisions(parts: list[tuple[int, int, int, bool]], seed: int) -> None:
    """However long it runs, a core keeps a few windows and the decisions of one horizon."""
    settings_of_agent = replace(SETTINGS, interval_seconds=10, horizon_seconds=120)
    core = new_core()
    run(core, set_up(settings=settings_of_agent))
    for message in market([*parts, (5, seed, 0, True)]):
        core.apply(message)
    state = decode_state(SNAPSHOT_VERSION, AgentsState, core.snapshot())
    # One horizon, the grace of a price that does not come, and what was proposed within two minutes.
    assert len(state.tracked) <= (120 + 300) // 10 + 2
    market_state = state.markets["BTCUSDT/60"]
    assert len(market_state.flow_long.entries) <= 600
    assert len(market_state.indicators.volatility.history.values) <= 240
