"""A venue that fills too much for one account stops the symbol for the accounts of every partition."""

from __future__ import annotations

from tests.unit.risk.bench import Bench, of_type, ready

from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.domain import topics as t
from polaris_synapse.domain.messages import BreakerChanged, ResetBreaker, SymbolStopped
from polaris_synapse.domain.reasons import Reason


def overfilled(bench: Bench) -> list[SymbolStopped]:
    """What the others are told of an order that filled more than it asked for."""
    order = bench.accepted(lots=1_000)
    return of_type(bench.fill(order, 1_500, 60_000), SymbolStopped)


def test_an_overfill_is_told_to_the_other_partitions_once() -> None:
    """The first overfill says so to all of risk; while the symbol is stopped nothing more is said."""
    bench = ready()
    other = bench.accepted(lots=1_000)
    (told,) = overfilled(bench)
    assert (told.symbol, told.reason) == ("BTCUSDT", Reason.VENUE_OVERFILL)
    assert of_type(bench.fill(other, 1_500, 60_000), SymbolStopped) == []
    places = Destinations({t.RISK: 3}).of(told)
    assert list(places) == [(t.RISK, 0), (t.RISK, 1), (t.RISK, 2)]


def test_who_is_told_stops_the_symbol_until_a_person_resets_it() -> None:
    """New orders in the symbol are refused, others are not; told again nothing happens, and nothing is passed on."""
    (told,) = overfilled(ready())
    bench = ready()
    (changed,) = of_type(bench.send(told), BreakerChanged)
    assert (changed.scope, changed.tripped, changed.reason) == ("symbol:BTCUSDT", True, Reason.VENUE_OVERFILL)
    assert changed.actor == "desk"
    assert bench.submit().reason is Reason.CIRCUIT_BREAKER
    assert bench.submit(symbol="BTCUSDT.INT").reason is not Reason.CIRCUIT_BREAKER
    assert bench.send(told) == []
    assert (
        bench.ask(ResetBreaker(time_ns=bench.now, scope="symbol:BTCUSDT", actor="user:officer")).reason is Reason.NONE
    )
    assert bench.submit().reason is not Reason.CIRCUIT_BREAKER


def test_what_comes_back_to_its_own_partition_does_nothing() -> None:
    """The partition that saw the overfill is told as well, where the symbol is stopped already."""
    bench = ready()
    (told,) = overfilled(bench)
    before = bench.core.state_hash()
    assert bench.send(told) == []
    assert bench.core.state_hash() == before


def test_a_symbol_that_is_not_listed_is_left_alone() -> None:
    """A partition that does not know the symbol yet has no orders in it to stop."""
    bench = ready()
    stop = SymbolStopped(time_ns=bench.now, symbol="DOGEUSDT", reason=Reason.VENUE_OVERFILL, note="x")
    assert bench.send(stop) == []
