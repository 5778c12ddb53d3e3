"""Fee tiers: which rates are in force, from which volume, and what is charged and posted."""

from __future__ import annotations

import pytest
from tests.unit.risk.bench import SECOND, Bench, of_type, ready, usdt

from polaris_synapse.domain.messages import ExecutionRecorded, FeeTier, FeeTierChanged, LedgerPosted, SetFeeTiers, Tick
from polaris_synapse.domain.orders import Fill, Liquidity, OrderEvent
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import RiskCore

DAY = 86_400 * SECOND
TIERS = (
    FeeTier(volume_units_min=0, maker_ppm=1_000, taker_ppm=2_000),
    FeeTier(volume_units_min=usdt(1_000), maker_ppm=-100, taker_ppm=500),
)


def set_tiers(bench: Bench, *tiers: FeeTier, account: str = "*") -> Reason:
    """Set tiers and say what risk thinks of them."""
    return bench.ask(SetFeeTiers(time_ns=bench.now, account=account, tiers=tiers)).reason


def trade(bench: Bench, liquidity: Liquidity = Liquidity.TAKER) -> tuple[ExecutionRecorded, LedgerPosted]:
    """Buy 0.01 BTC at 60,000; the venue charges 1,000 ppm."""
    order = bench.accepted()
    bench.count += 1
    fill = Fill(
        trade_id=f"t{bench.count}",
        price_ticks=6_000_000,
        quantity_lots=1_000,
        liquidity=liquidity,
        fee_units=1_000,
        fee_asset="BTC",
    )
    out = bench.report(order, OrderEvent.FILL, fill)
    return of_type(out, ExecutionRecorded)[0], of_type(out, LedgerPosted)[0]


def next_day(bench: Bench, days: int = 1) -> list[FeeTierChanged]:
    """Let days pass."""
    bench.now += days * DAY
    changes = of_type(bench.send(Tick(time_ns=bench.now)), FeeTierChanged)
    bench.mark(60_000)
    return changes


def test_without_tiers_the_venue_s_fee_stands() -> None:
    """Nothing is changed of what the book or the venue charged."""
    bench = ready()
    execution, _ = trade(bench)
    assert execution.fill.fee_units == 1_000
    standing = bench.core.fee_standing("alice")
    assert standing is not None
    assert (standing.tier, standing.today_units) == (0, usdt(600))


def test_the_tier_in_force_is_charged_and_posted() -> None:
    """Maker and taker rates of the tier replace the fee, and the ledger still balances."""
    bench = ready()
    assert set_tiers(bench, *TIERS) is Reason.NONE
    taken, entry = trade(bench)
    assert taken.fill.fee_units == 1_000_000 * 2_000 // 1_000_000
    assert sum(leg.units for leg in entry.postings if leg.asset == "BTC") == 0
    made, _ = trade(bench, Liquidity.MAKER)
    assert made.fill.fee_units == 1_000
    assert bench.core.check() == []


def test_a_day_s_volume_counts_from_the_next_day_on() -> None:
    """Traded today: nothing changes; at midnight the tier follows, with its rebate; after 30 days it is gone."""
    bench = ready()
    set_tiers(bench, *TIERS)
    next_day(bench)
    for _ in range(2):
        assert trade(bench)[0].fill.fee_units == 2_000
    (change,) = next_day(bench)
    assert (change.tier, change.maker_ppm, change.taker_ppm, change.volume_units) == (2, -100, 500, usdt(1_200))
    assert trade(bench)[0].fill.fee_units == 500
    assert trade(bench, Liquidity.MAKER)[0].fill.fee_units == -100
    assert next_day(bench, 30) == []
    assert [change.tier for change in next_day(bench)] == [1]


def test_an_account_s_own_tiers_come_before_the_default() -> None:
    """Its own are taken back by setting none."""
    bench = ready()
    set_tiers(bench, *TIERS)
    own = FeeTier(volume_units_min=0, maker_ppm=0, taker_ppm=100)
    assert set_tiers(bench, own, account="alice") is Reason.NONE
    assert trade(bench)[0].fill.fee_units == 100
    assert set_tiers(bench, account="alice") is Reason.NONE
    assert trade(bench)[0].fill.fee_units == 2_000
    assert set_tiers(bench, own, account="nobody") is Reason.ACCOUNT_NOT_FOUND


@pytest.mark.parametrize(
    "tiers",
    [
        (FeeTier(volume_units_min=1, maker_ppm=0, taker_ppm=0),),
        (TIERS[0], TIERS[0]),
        (FeeTier(volume_units_min=0, maker_ppm=-200, taker_ppm=100),),
        (FeeTier(volume_units_min=0, maker_ppm=0, taker_ppm=-1),),
        (FeeTier(volume_units_min=0, maker_ppm=0, taker_ppm=100_001),),
        tuple(FeeTier(volume_units_min=number, maker_ppm=0, taker_ppm=0) for number in range(51)),
    ],
)
def test_tiers_that_make_no_sense_are_refused(tiers: tuple[FeeTier, ...]) -> None:
    """They begin at nothing and rise, and no rebate pays more than the taker gives."""
    assert set_tiers(ready(), *tiers) is Reason.INVALID_VALUE


def test_volumes_and_tiers_survive_a_restart() -> None:
    """A core restored from its snapshot charges the same and forgets the same day."""
    bench = ready()
    set_tiers(bench, *TIERS)
    next_day(bench)
    for _ in range(2):
        trade(bench)
    core = RiskCore()
    core.restore(bench.core.snapshot())
    assert core.state_hash() == bench.core.state_hash()
    assert core.fee_standing("alice") == bench.core.fee_standing("alice")
    bench.core = core
    (change,) = next_day(bench)
    assert change.tier == 2
