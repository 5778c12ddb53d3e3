"""What the agents decide: views, sizes, and every reason to do nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace
from tests.unit.agents.markets import (
    BTCUSDT,
    MANDATE,
    SECOND,
    SETTINGS,
    START,
    new_core,
    run,
    set_up,
    summary,
    trending,
)

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.agents.core.facts import FactSheet
from polaris_synapse.agents.core.grounding import check_thesis
from polaris_synapse.agents.core.point_in_time import LookAheadError, PointInTime
from polaris_synapse.agents.core.signals import WEIGHTS
from polaris_synapse.agents.core.state import SNAPSHOT_VERSION, AgentsState
from polaris_synapse.agents.core.thesis import names_in
from polaris_synapse.bus.core import decode_state, encode_state
from polaris_synapse.domain.instruments import Instrument, InstrumentStatus
from polaris_synapse.domain.messages import (
    AgentControl,
    AgentSettings,
    AnalyseNow,
    Answer,
    Autonomy,
    BalanceChanged,
    DecisionRecorded,
    ListInstrument,
    Mandate,
    Message,
    ProposalMade,
    Tick,
)
from polaris_synapse.domain.money import Asset, parse_units
from polaris_synapse.domain.orders import OrderType, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason

MINUTES = 30


def made(outputs: list[Message]) -> list[DecisionRecorded]:
    """Decisions when they were made."""
    return [output for output in outputs if isinstance(output, DecisionRecorded) and output.revision == 0]


def last_decision(
    *, drift: int = 3_000, lean: int = 30, minutes: int = MINUTES, before: list[Message] | None = None, **given: object
) -> DecisionRecorded:
    """The last decision in a trending market, with what was set up changed as given."""
    core = new_core()
    run(core, set_up(**given))  # type: ignore[arg-type]  # each test names what it changes
    run(core, trending(minutes, drift, lean=lean, ticks=False))
    run(core, before or [])
    asked = AnalyseNow(time_ns=START + minutes * 60 * SECOND, agent="jarvis", symbol="BTCUSDT", request_id="now")
    return made(run(core, [asked]))[-1]


def value_of(decision: DecisionRecorded, name: str) -> str:
    """The value of a fact by its name."""
    return next(fact.value for fact in decision.facts if fact.name == name)


@pytest.mark.parametrize(
    "changes", [{"approval_above_units": 0}, {"autonomy": Autonomy.PROPOSE}, {"approval_above_units": 10 * 10**8}]
)
def test_an_order_that_a_person_will_decide_on_rests_for_a_while(changes: dict[str, object]) -> None:
    """It is proposed at its full size, and its time runs out a minute after the last moment to approve it."""
    mandate = replace(MANDATE, approval_seconds_max=300, **changes)
    decision = last_decision(mandate=mandate)
    order = decision.order
    assert order is not None
    assert order.time_in_force is TimeInForce.GTD
    assert order.expire_time_ns == decision.decided_time_ns + 360 * SECOND
    alone = last_decision(mandate=replace(mandate, autonomy=Autonomy.AUTOPILOT)).order
    assert alone is not None
    assert (alone.time_in_force, alone.quantity_lots) == (TimeInForce.IOC, order.quantity_lots)


def test_a_rising_market_is_bought() -> None:
    """A clear rise with buyers behind it becomes a limit order that cannot rest, under the mandate."""
    decision = last_decision()
    assert (decision.view, decision.action, decision.reason) == ("BUY", "PROPOSED", Reason.NONE)
    order = decision.order
    assert order is not None
    assert (order.side, order.type, order.time_in_force) == (Side.BUY, OrderType.LIMIT, TimeInForce.IOC)
    assert order.decision_id == decision.decision_id == "D0-1"
    assert order.client_order_id == "D0-1-jarvis"
    bid, ask = (BTCUSDT.parse_price(value_of(decision, name)) for name in ("bid", "ask"))
    assert order.price_ticks == ask + ask * SETTINGS.slippage_ppm_max // 1_000_000
    assert bid < ask
    assert BTCUSDT.notional_units(order.price_ticks, order.quantity_lots) <= MANDATE.order_value_units_max


def test_the_size_follows_equity_confidence_and_volatility() -> None:
    """The target is the equity share times confidence, cut where a day's volatility is above three percent."""
    decision = last_decision()
    assert parse_units(value_of(decision, "volatility"), 4) < 30_000
    share = SETTINGS.position_ppm_of_equity_max * decision.confidence_ppm // 1_000_000
    assert parse_units(value_of(decision, "target position"), 8) == 25_000 * 10**8 * share // 1_000_000
    wild = last_decision(drift=9_000)
    volatility = parse_units(value_of(wild, "volatility"), 4)
    assert volatility > 30_000
    share = SETTINGS.position_ppm_of_equity_max * wild.confidence_ppm // 1_000_000 * 30_000 // volatility
    assert parse_units(value_of(wild, "target position"), 8) == 25_000 * 10**8 * share // 1_000_000


def test_a_falling_market_is_sold_where_something_is_held() -> None:
    """A clear fall sells what the account holds, at most what the mandate allows."""
    decision = last_decision(drift=-3_000, lean=-30, held="0.01")
    assert (decision.view, decision.action) == ("SELL", "PROPOSED")
    assert decision.order is not None
    assert (decision.order.side, decision.order.quantity_lots) == (Side.SELL, 1_000)
    capped = last_decision(drift=-3_000, lean=-30, held="1")
    assert capped.order is not None
    ask = BTCUSDT.parse_price(value_of(capped, "ask"))
    assert BTCUSDT.notional_units(ask, capped.order.quantity_lots) <= MANDATE.order_value_units_max
    assert BTCUSDT.notional_units(ask, capped.order.quantity_lots + 1) > MANDATE.order_value_units_max


def test_a_falling_market_without_holdings_is_left_alone() -> None:
    """Spot accounts do not sell short: the view is SELL and nothing is ordered."""
    decision = last_decision(drift=-3_000, lean=-30)
    assert (decision.view, decision.action, decision.reason) == ("SELL", "HELD", Reason.AGENT_SIZE_TOO_SMALL)
    assert decision.order is None


def test_reserved_holdings_are_not_sold_again() -> None:
    """What an open order needs is not there for another."""
    reserved = BalanceChanged(
        time_ns=START, account="jarvis", asset="BTC", total_units=10**6, reserved_units=10**6 - 400_000
    )
    decision = last_decision(drift=-3_000, lean=-30, held="0.01", before=[reserved])
    assert decision.order is not None
    assert decision.order.quantity_lots == 400


def test_a_directionless_market_is_held() -> None:
    """Without trend and flow the signals add up to nothing."""
    decision = last_decision(drift=0, lean=0)
    assert (decision.view, decision.action, decision.reason) == ("HOLD", "HELD", Reason.AGENT_NO_VIEW)


@pytest.mark.parametrize(
    "given, reason",
    [
        ({"settings": replace(SETTINGS, confidence_ppm_min=999_000)}, Reason.AGENT_CONFIDENCE_TOO_LOW),
        ({"settings": replace(SETTINGS, enabled=False)}, Reason.AGENT_PAUSED),
        ({"before": [AgentControl(time_ns=START, agent="jarvis", paused=True)]}, Reason.AGENT_PAUSED),
        ({"mandate": None}, Reason.MANDATE_MISSING),
        ({"mandate": replace(MANDATE, enabled=False)}, Reason.MANDATE_MISSING),
        ({"mandate": replace(MANDATE, symbols=("ETHUSDT",))}, Reason.MANDATE_SYMBOL),
        ({"mandate": replace(MANDATE, daily_value_units_max=0)}, Reason.MANDATE_DAILY_VALUE),
        ({"mandate": replace(MANDATE, order_value_units_max=10**8)}, Reason.AGENT_SIZE_TOO_SMALL),
        ({"held": "0.1"}, Reason.AGENT_POSITION_ALREADY_HELD),
        ({"cash": 0}, Reason.INSUFFICIENT_FUNDS),
        ({"cash": 4}, Reason.INSUFFICIENT_FUNDS),
        (
            {"before": [ListInstrument(time_ns=START, instrument=replace(BTCUSDT, status=InstrumentStatus.HALTED))]},
            Reason.INSTRUMENT_NOT_TRADING,
        ),
        ({"minutes": 10}, Reason.AGENT_NO_VIEW),
        ({"before": [summary(START + MINUTES * 60 * SECOND, 6_000_000, healthy=False)]}, Reason.AGENT_NO_VIEW),
    ],
)
def test_every_obstacle_has_its_reason(given: dict[str, object], reason: Reason) -> None:
    """Each thing that stands between a view and an order is named, and nothing is proposed."""
    decision = last_decision(**given)  # type: ignore[arg-type]  # as above
    assert (decision.action, decision.reason, decision.order) == ("HELD", reason, None)
    assert decision.detail


def test_a_wide_spread_is_not_crossed() -> None:
    """Where the spread alone costs more than the slippage allowed, nothing is ordered."""
    wide = replace(summary(START + MINUTES * 60 * SECOND, 6_100_000), bid_ticks=6_080_000, ask_ticks=6_120_000)
    decision = last_decision(before=[wide])
    assert decision.action == "HELD"
    assert "spread" in decision.detail


def test_another_quote_asset_is_not_traded() -> None:
    """A mandate in one asset says nothing about orders in another."""
    other = Instrument(
        symbol="BTCUSDT",
        base=BTCUSDT.base,
        quote=Asset(code="EUR", decimals=8),
        tick_units=BTCUSDT.tick_units,
        lot_units=BTCUSDT.lot_units,
    )
    decision = last_decision(instrument=other)
    assert (decision.action, decision.reason) == ("HELD", Reason.AGENT_NO_VIEW)
    assert "not quoted in USDT" in decision.detail


def test_every_thesis_is_grounded_and_every_fact_is_from_the_past() -> None:
    """All numbers of all theses are cited facts; ids are unique over decisions; no fact is later than its decision."""
    core = new_core()
    decisions = made(run(core, set_up() + trending(45, 2_000, lean=20)))
    decisions += made(run(core, trending(45, -4_000, lean=-40, start_ns=START + 45 * 60 * SECOND, mid_ticks=6_090_000)))
    assert {decision.action for decision in decisions} == {"HELD", "PROPOSED"}
    ids = [fact.fact_id for decision in decisions for fact in decision.facts]
    assert len(set(ids)) == len(ids)
    for decision in decisions:
        assert check_thesis(decision.thesis, decision.facts, names=names_in(BTCUSDT, SETTINGS)) == []
        assert decision.thesis
        assert all(fact.time_ns <= decision.time_ns for fact in decision.facts)


def test_a_symbol_that_looks_like_a_number_is_traded_all_the_same() -> None:
    """Digits in names of assets, symbols, agents and accounts are no ungrounded numbers."""
    base = Asset(code="1INCH", decimals=8)
    instrument = replace(BTCUSDT, symbol="1INCHUSDT", base=base)
    settings = AgentSettings(agent="jarvis2", account="desk7", symbols=("1INCHUSDT",))
    mandate = replace(MANDATE, account="desk7", agent="jarvis2", symbols=("1INCHUSDT",))
    core = new_core()
    run(core, set_up(settings=settings, mandate=mandate, instrument=instrument))
    market = [replace(item, symbol="1INCHUSDT") for item in trending(MINUTES, 3_000, lean=30, ticks=False)]
    run(core, market)
    asked = AnalyseNow(time_ns=START + MINUTES * 60 * SECOND, agent="jarvis2", symbol="1INCHUSDT")
    decision = made(run(core, [asked]))[0]
    assert (decision.action, decision.detail) == ("PROPOSED", "")


def test_a_decision_knows_nothing_of_what_comes_after() -> None:
    """Decisions up to a moment are the same whatever follows it: the log's past decides, not its future."""
    past = set_up() + trending(MINUTES, 1_500, lean=10)
    futures = [
        trending(10, drift, lean=lean, start_ns=START + MINUTES * 60 * SECOND, seed=drift)
        for drift, lean in ((20_000, 90), (-20_000, -90))
    ]
    moment = START + MINUTES * 60 * SECOND
    seen = [
        [decision for decision in made(run(new_core(), past + future)) if decision.time_ns <= moment]
        for future in futures
    ]
    assert seen[0] == seen[1]
    assert seen[0]


def test_the_candle_in_the_making_decides_nothing() -> None:
    """A wild move within the present minute leaves every candle fact as it was."""
    quiet = last_decision()
    jump: list[Message] = [summary(START + MINUTES * 60 * SECOND + 1, 7_000_000)]
    wild = last_decision(before=jump)
    closed = [[fact.value for fact in decision.facts if fact.source.endswith("candles")] for decision in (quiet, wild)]
    assert closed[0] == closed[1]
    assert value_of(quiet, "mid") != value_of(wild, "mid")


def test_a_fact_from_the_future_raises() -> None:
    """No fact can be put on a decision's sheet from after its clock: that is a bug, not a decision."""
    sheet = FactSheet("D0-1", PointInTime(START))
    sheet.count("now", 1, "", "agent", START)
    with pytest.raises(LookAheadError):
        sheet.count("later", 1, "", "agent", START + 1)


def test_state_from_the_future_raises_in_the_core() -> None:
    """A core whose market is ahead of its own clock stops instead of deciding on it."""
    core = new_core()
    run(core, set_up() + trending(1, 0, ticks=False))
    state = decode_state(SNAPSHOT_VERSION, AgentsState, core.snapshot())
    state.clock_ns = START
    tampered = new_core()
    tampered.restore(encode_state(SNAPSHOT_VERSION, state))
    with pytest.raises(LookAheadError):
        tampered.apply(AnalyseNow(time_ns=START + SECOND, agent="jarvis", symbol="BTCUSDT"))


def test_a_command_that_was_overtaken_decides_at_the_logs_time() -> None:
    """A request stamped before the last summary is no look-ahead: it decides at the summary's time."""
    core = new_core()
    run(core, set_up() + trending(MINUTES, 0, ticks=False))
    late = START + MINUTES * 60 * SECOND
    decision = made(run(core, [AnalyseNow(time_ns=late - 5 * SECOND, agent="jarvis", symbol="BTCUSDT")]))[0]
    assert decision.time_ns == late


def test_symbols_take_turns() -> None:
    """Two symbols of one agent are looked at once an interval each, half an interval apart."""
    other = replace(BTCUSDT, symbol="ETHUSDT")
    settings = replace(SETTINGS, symbols=("BTCUSDT", "ETHUSDT"))
    core = new_core()
    run(core, [*set_up(settings=settings), ListInstrument(time_ns=START, instrument=other)])
    ticks = [Tick(time_ns=START + second * SECOND) for second in range(1, 181)]
    seen = [(d.symbol, (d.time_ns - START) // SECOND) for d in made(run(core, ticks))]
    assert seen == [
        ("ETHUSDT", 30), ("BTCUSDT", 60), ("ETHUSDT", 90), ("BTCUSDT", 120), ("ETHUSDT", 150), ("BTCUSDT", 180),
    ]  # fmt: skip


def test_a_pause_of_the_clock_is_one_decision() -> None:
    """After ticks were missing for an hour each symbol is looked at once, not sixty times."""
    core = new_core()
    run(core, set_up())
    assert len(made(run(core, [Tick(time_ns=START + 3_600 * SECOND)]))) == 1
    assert made(run(core, [Tick(time_ns=START + 3_601 * SECOND)])) == []


def test_a_paused_agent_decides_nothing_by_itself() -> None:
    """Scheduled decisions stop while paused and go on after; asked, it still gives its view without an order."""
    core = new_core()
    run(core, set_up())
    run(core, [AgentControl(time_ns=START, agent="jarvis", paused=True)])
    assert made(run(core, trending(MINUTES, 3_000, lean=30))) == []
    now = START + MINUTES * 60 * SECOND
    asked = made(run(core, [AnalyseNow(time_ns=now, agent="jarvis", symbol="BTCUSDT")]))
    assert [(d.view, d.reason) for d in asked] == [("BUY", Reason.AGENT_PAUSED)]
    run(core, [AgentControl(time_ns=now, agent="jarvis", paused=False)])
    assert made(run(core, trending(2, 3_000, lean=30, start_ns=now, mid_ticks=6_090_000)))


def test_a_symbol_is_left_alone_after_an_order() -> None:
    """While a proposal's order has not ended, and for the cooldown after it, nothing more is proposed."""
    core = new_core()
    outputs = run(core, set_up() + trending(40, 3_000, lean=30))
    proposals = [output for output in outputs if isinstance(output, ProposalMade)]
    times = [proposal.time_ns for proposal in proposals]
    assert len(times) > 1
    assert all(later - earlier >= SETTINGS.cooldown_seconds * SECOND for earlier, later in pairwise(times))
    assert any(d.reason is Reason.AGENT_COOLING_DOWN and d.view == "BUY" for d in made(outputs))


def test_commands_are_answered_once_each() -> None:
    """Unknown agents, unknown and foreign symbols, haste and success each get their answer."""
    core = new_core()
    run(core, [*set_up(), ListInstrument(time_ns=START, instrument=replace(BTCUSDT, symbol="ETHUSDT"))])

    def ask(agent: str, symbol: str, later: int = 0) -> Answer:
        answers = [
            output
            for output in core.apply(
                AnalyseNow(time_ns=START + later, agent=agent, symbol=symbol, request_id=f"{agent}-{symbol}-{later}")
            )
            if isinstance(output, Answer)
        ]
        assert [answer.request_id for answer in answers] == [f"{agent}-{symbol}-{later}"]
        return answers[0]

    assert ask("nobody", "BTCUSDT").reason is Reason.NOT_FOUND
    assert ask("jarvis", "XYZUSDT").reason is Reason.SYMBOL_NOT_FOUND
    assert ask("jarvis", "ETHUSDT").reason is Reason.INVALID_VALUE
    assert (ask("jarvis", "BTCUSDT").reason, ask("jarvis", "BTCUSDT", 1).reason) == (
        Reason.NONE,
        Reason.AGENT_COOLING_DOWN,
    )
    assert ask("jarvis", "BTCUSDT", SECOND).detail == "D0-2"


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": ""},
        {"account": "a" * 33},
        {"symbols": ("BTCUSDT", "BTCUSDT")},
        {"symbols": tuple(f"S{number}" for number in range(101))},
        {"interval_seconds": 0},
        {"confidence_ppm_min": 1_000_001},
        {"position_ppm_of_equity_max": -1},
        {"cooldown_seconds": -1},
        {"horizon_seconds": 59},
        {"slippage_ppm_max": 100_001},
    ],
)
def test_unusable_settings_are_refused(changes: dict[str, object]) -> None:
    """Settings out of range are answered with a sentence and change nothing."""
    core: AgentsCore = new_core()
    before = core.state_hash()
    answer = core.apply(replace(set_up()[1], time_ns=0, settings=replace(SETTINGS, **changes)))
    assert [output.reason for output in answer if isinstance(output, Answer)] == [Reason.INVALID_VALUE]
    assert core.state_hash() == before


def test_an_instruments_grid_never_changes() -> None:
    """A listing with another tick is ignored, as risk refuses it; other changes are taken."""
    core = new_core()
    run(core, set_up())
    before = core.state_hash()
    run(core, [ListInstrument(time_ns=START, instrument=replace(BTCUSDT, tick_units=10**7, taker_fee_ppm=1))])
    assert core.state_hash() == before
    run(core, [ListInstrument(time_ns=START, instrument=replace(BTCUSDT, taker_fee_ppm=1))])
    assert core.state_hash() != before


def test_weights_of_each_regime_sum_to_one() -> None:
    """No regime lets the signals together say more than one."""
    assert {sum(weights.values()) for weights in WEIGHTS.values()} == {1_000_000}


def test_a_mirrored_market_gives_the_mirrored_view() -> None:
    """Signals have no side that they like better: down is up with the sign turned."""
    up, down = (last_decision(drift=drift, lean=0, minutes=25) for drift in (3_000, -3_000))
    assert (up.view, down.view) == ("BUY", "SELL")
    gap = abs(parse_units(value_of(up, "score"), 6) + parse_units(value_of(down, "score"), 6))
    assert gap < 50_000


def test_a_mandate_for_somebody_else_is_none() -> None:
    """A mandate names its account and agent; nobody else may use it."""
    foreign = Mandate(
        account="main", agent="jarvis", symbols=("BTCUSDT",), order_value_units_max=10**12,
        daily_value_units_max=10**12, approval_above_units=10**12,
    )  # fmt: skip
    assert last_decision(mandate=foreign).reason is Reason.MANDATE_MISSING
