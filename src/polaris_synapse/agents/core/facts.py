"""Facts: the numbers of a decision as exact decimal text, each with an id, a unit, a source and a time.

A source reads ``<where>/<what>``. Where is the feed's own name (``binance``, ``replay``, ``simulated``) for what was
measured on the market, ``ledger`` for balances, ``mandate`` for limits, and ``agent`` for what was computed from those.
"""

from __future__ import annotations

from polaris_synapse.agents.core.fixed import PPM
from polaris_synapse.agents.core.point_in_time import PointInTime
from polaris_synapse.agents.core.signals import Reading
from polaris_synapse.agents.core.view import View
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages.agents import Fact
from polaris_synapse.domain.money import Asset, format_amount, format_units

PERCENT = "%"


class FactSheet:
    """Collects the facts of one decision in order. Ids are ``<decision>.<number>``, unique over all decisions."""

    def __init__(self, decision_id: str, gate: PointInTime, facts: tuple[Fact, ...] = ()) -> None:
        self._decision_id = decision_id
        self._gate = gate
        self._facts = list(facts)
        self._by_name = {fact.name: fact for fact in facts}

    def add(self, name: str, value: str, unit: str, source: str, time_ns: int) -> Fact:
        """Add a fact. Raises LookAheadError for one from after the decision's clock."""
        self._gate.admit(time_ns, name)
        fact = Fact(
            fact_id=f"{self._decision_id}.{len(self._facts) + 1}",
            name=name,
            value=value,
            unit=unit,
            source=source,
            time_ns=time_ns,
        )
        self._facts.append(fact)
        self._by_name[name] = fact
        return fact

    def ppm(self, name: str, value_ppm: int, source: str, time_ns: int) -> Fact:
        """A rate, shown in percent: 1,234 ppm is 0.1234 %."""
        return self.add(name, format_units(value_ppm, 4), PERCENT, source, time_ns)

    def ratio(self, name: str, value_ppm: int, source: str, time_ns: int, unit: str = "") -> Fact:
        """A bare ratio: 1,500,000 ppm is 1.5."""
        return self.add(name, format_units(value_ppm, 6), unit, source, time_ns)

    def amount(self, name: str, units: int, asset: Asset, source: str, time_ns: int) -> Fact:
        """Minor units of an asset."""
        return self.add(name, format_amount(units, asset), asset.code, source, time_ns)

    def price(self, name: str, half_ticks: int, instrument: Instrument, source: str, time_ns: int) -> Fact:
        """A price in half ticks, exact to half a tick."""
        text = format_units(half_ticks * instrument.tick_units * 5, instrument.quote.decimals + 1)
        return self.add(name, text, instrument.quote.code, source, time_ns)

    def quantity(self, name: str, lots: int, instrument: Instrument, source: str, time_ns: int) -> Fact:
        """A quantity in lots."""
        return self.add(name, instrument.format_quantity(lots), instrument.base.code, source, time_ns)

    def count(self, name: str, number: int, unit: str, source: str, time_ns: int) -> Fact:
        """A whole number of something."""
        return self.add(name, str(number), unit, source, time_ns)

    def quote(self, facts: tuple[Fact, ...]) -> None:
        """Take facts of an earlier sheet over as they are, with their own ids, for a text that cites them.

        They stay behind this sheet's own under the same name. Raises LookAheadError like ``add``.
        """
        known = {fact.fact_id for fact in self._facts}
        for fact in facts:
            self._gate.admit(fact.time_ns, fact.name)
            if fact.fact_id not in known:
                known.add(fact.fact_id)
                self._facts.append(fact)

    def __getitem__(self, name: str) -> Fact:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All so far."""
        return tuple(self._facts)


def cite(fact: Fact) -> str:
    """A fact as a thesis writes it: ``65123.5 USDT [D0-7.1]``."""
    return f"{fact.value} {fact.unit} [{fact.fact_id}]" if fact.unit else f"{fact.value} [{fact.fact_id}]"


def add_market_facts(sheet: FactSheet, reading: Reading, instrument: Instrument) -> None:
    """What was measured."""
    summary, candles = f"{reading.source}/market summary", f"{reading.source}/candles of {reading.candle_seconds} s"
    now, closed = reading.time_ns, reading.candle_time_ns
    sheet.price("bid", 2 * reading.bid_ticks, instrument, summary, now)
    sheet.price("ask", 2 * reading.ask_ticks, instrument, summary, now)
    sheet.price("mid", reading.half_ticks, instrument, summary, now)
    sheet.price("spread", 2 * (reading.ask_ticks - reading.bid_ticks), instrument, summary, now)
    sheet.ppm("relative spread", reading.spread_ppm, summary, now)
    sheet.count("closed candles", reading.candles, "candles", candles, closed)
    sheet.price("last close", reading.close_half_ticks, instrument, candles, closed)
    sheet.ppm("gap between fast and slow average", reading.trend_gap_ppm, candles, closed)
    sheet.ratio("gap in usual candle ranges", reading.trend_gap_in_ranges_ppm, candles, closed)
    sheet.ratio("convergence histogram in usual candle ranges", reading.histogram_in_ranges_ppm, candles, closed)
    sheet.add("momentum", format_units(reading.momentum_ppb, 7), PERCENT, candles, closed)
    sheet.ratio("momentum in usual moves", reading.momentum_in_deviations_ppm, candles, closed)
    sheet.add("relative strength index", format_units(reading.rsi_ppm, 4), "", candles, closed)
    sheet.ratio("distance from the mean", reading.bollinger_ppm, candles, closed, "standard deviations")
    if reading.vwap_distance_ppm is not None:
        sheet.ppm("distance from the average price paid", reading.vwap_distance_ppm, summary, now)
    sheet.ppm("volatility", reading.volatility_day_ppm, candles, closed)
    if reading.volatility_ratio_ppm is not None:
        ratio = reading.volatility_ratio_ppm
        sheet.ratio("volatility against its own history", ratio, candles, closed, "times the usual")
    sheet.ppm("taker flow of the last minute", reading.flow_minute_ppm, summary, now)
    sheet.ppm("taker flow of the last minutes", reading.flow_long_ppm, summary, now)
    sheet.count("trades of the last minute", reading.flow_trades, "trades", summary, now)
    sheet.ppm("lean of the book", reading.book_ppm, summary, now)


def add_view_facts(sheet: FactSheet, view: View, time_ns: int) -> None:
    """How the market's signals add up. The confidence is the whole vote's: see ``vote_facts``."""
    for signal, value in view.signals.items():
        sheet.ratio(f"{signal} signal", value, "agent/signal", time_ns)
        sheet.ppm(f"{signal} weight", view.weights[signal], "agent/weight", time_ns)
    sheet.ratio("score", view.score_ppm, "agent/vote", time_ns)
    sheet.ppm("agreement", view.agreement_ppm, "agent/vote", time_ns)


def average_price_ticks(notional_units: int, lots: int, instrument: Instrument) -> int:
    """The average price of fills, rounded down to a tick."""
    return notional_units // (lots * instrument.notional_multiplier)


def ppm_of(part: int, whole: int) -> int:
    """``part / whole`` in ppm, rounded down; 0 of nothing."""
    return part * PPM // whole if whole > 0 else 0
