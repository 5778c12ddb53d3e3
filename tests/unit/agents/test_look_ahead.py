"""Ten ways in which trading agents have looked into the future, each of them closed, live and in a backtest alike.

The core is the same in both: a backtest is its messages, in order, and there is no other way in.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.agents.markets import BTCUSDT, SECOND, SETTINGS, START, new_core, run, set_up, summary, trending
from tests.unit.agents.test_opinions import asked, decision_of, given, wanted_of
from tests.unit.agents.test_voting import NOW, decided, scored

import polaris_synapse.agents.core as core_package
from polaris_synapse.agents.core.case import Case, decode_case
from polaris_synapse.agents.core.decide import decide
from polaris_synapse.agents.core.evidence import Item, item_of, known_at
from polaris_synapse.agents.core.point_in_time import LookAheadError
from polaris_synapse.agents.core.reflection import lesson_of, recall
from polaris_synapse.agents.questions import question
from polaris_synapse.domain.messages import (
    AnalyseNow,
    Answer,
    DecisionCase,
    DecisionRecorded,
    ListInstrument,
    OnchainObserved,
    SetAgents,
    Tick,
)
from polaris_synapse.domain.reasons import Reason


def a_case() -> Case:
    """The case of a decision that came to an order."""
    core = new_core()
    run(core, [*set_up(), *trending(30, 3_000, lean=30, ticks=False), scored()])
    outputs = run(core, [AnalyseNow(time_ns=NOW, agent="jarvis", symbol="BTCUSDT")])
    case = decode_case(next(output for output in outputs if isinstance(output, DecisionCase)).case)
    assert decide(case).record.order is not None
    return case


def test_1_a_live_quote_at_a_past_date_raises() -> None:
    """A market summary from after the decision's clock cannot be decided on, whoever put it into the case."""
    case = a_case()
    assert case.reading is not None
    for late in (
        replace(case.reading, time_ns=case.clock_ns + 1),
        replace(case.reading, candle_time_ns=case.clock_ns + 1),
    ):
        with pytest.raises(LookAheadError):
            decide(replace(case, reading=late))


def test_2_nothing_in_a_decision_or_a_question_reads_a_clock() -> None:
    """No module of the core imports time or datetime, and the time in a question is the decision's own."""
    for path in Path(core_package.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"time", "datetime", "random"} & {name.split(".")[0] for name in names}, path.name
    wanted = wanted_of(asked(new_core()))
    assert "2026-01-01 00:30:00 UTC" in question(wanted, "fact", seconds=1.0).prompt


def test_3_a_post_from_today_does_not_reach_a_past_decision() -> None:
    """An item is used from the moment it could be seen; one that is put into a case before that raises."""
    item = item_of(scored())
    assert item is not None
    assert known_at([item], item.seen_ns - 1) == ()
    case = a_case()
    with pytest.raises(LookAheadError):
        decide(replace(case, items=(replace(item, seen_ns=case.clock_ns + 1),)))


def test_4_undated_news_does_not_pass() -> None:
    """Without a date nobody knows whether it was known: refused and counted, not used."""
    assert item_of(scored(published=0)) is None
    assert len(decided([scored(published=0)]).votes) == 1


def vintage(published: int, score: int, digest: str) -> OnchainObserved:
    """One vintage of a series' value for one period."""
    return OnchainObserved(
        time_ns=published, symbol="BTCUSDT", source="chain", metric="flow", value="1", unit="BTC", score_ppm=score,
        confidence_ppm=1_000_000, period_end_time_ns=START, published_time_ns=published, seen_time_ns=published,
        item_digest=digest,
    )  # fmt: skip


def test_5_a_revision_does_not_change_the_past() -> None:
    """Each clock sees the vintage that was published by then; the revision counts from its own publication on."""
    items: list[Item] = []
    for message in (vintage(START + SECOND, 100, "first"), vintage(START + 60 * SECOND, -900, "revised")):
        item = item_of(message)
        assert item is not None
        items.append(item)
    assert [item.digest for item in known_at(items, START + 59 * SECOND)] == ["first"]
    assert [item.digest for item in known_at(items, START + 60 * SECOND)] == ["revised"]


def test_6_lessons_and_scores_wait_for_their_time() -> None:
    """No outcome before its horizon has passed, no lesson before it was learned, and one from later raises."""
    core = new_core()
    run(core, set_up(settings=replace(SETTINGS, horizon_seconds=600)))
    outputs = run(core, trending(30, 3_000, lean=30))
    for output in outputs:
        if isinstance(output, DecisionRecorded) and output.score_ppm is not None:
            score = next(fact for fact in output.facts if fact.name == "score" and fact.unit == "%")
            assert score.time_ns >= output.decided_time_ns + 600 * SECOND
    lesson = lesson_of(
        decision_id="D0-1", symbol="BTCUSDT", regime="normal", view="BUY", score_ppm=1, move_ppm=1, learned_ns=NOW
    )
    assert recall([lesson], regime="normal", clock_ns=NOW - 1) == ()
    case = a_case()
    with pytest.raises(LookAheadError):
        decide(replace(case, lessons=(replace(lesson, learned_time_ns=case.clock_ns + 1),)))


def test_7_nothing_can_be_looked_up_and_the_future_is_refused() -> None:
    """A question offers no tool, and an item that was published after it was seen cannot be."""
    request = question(wanted_of(asked(new_core())), "fact", seconds=1.0)
    assert not hasattr(request, "tools")
    assert item_of(scored(published=NOW + SECOND, seen=NOW - SECOND)) is None
    assert item_of(scored(published=NOW + SECOND, seen=NOW + SECOND)) is None


def test_8_a_decision_does_not_see_the_candle_it_trades_in() -> None:
    """Whatever happens within the running candle, what is computed from candles stays the same."""
    decisions = []
    for last in (6_090_000, 6_500_000):
        core = new_core()
        run(core, [*set_up(), *trending(30, 3_000, lean=30, ticks=False)])
        run(core, [summary(NOW + 5 * SECOND, last)])
        outputs = run(core, [AnalyseNow(time_ns=NOW + 6 * SECOND, agent="jarvis", symbol="BTCUSDT")])
        decisions.append(decision_of(outputs))
    one, other = (
        {fact.name: fact.value for fact in decision.facts if "/candles" in fact.source} for decision in decisions
    )
    assert one == other


@pytest.mark.parametrize(
    "cutoff, word", [(NOW + 10**18, "from after this decision"), (0, "Nobody has set when"), (START - SECOND, "")]
)
def test_9_a_model_that_may_remember_the_outcome_is_no_evidence(cutoff: int, word: str) -> None:
    """A decision within a model's training time, or with an unknown cut-off, says that it proves nothing."""
    core = new_core()
    wanted = wanted_of(asked(core))
    run(core, [summary(NOW + SECOND, 6_090_000)])
    decision = decision_of(run(core, [given(wanted, cutoff=cutoff)]))
    assert (word in decision.not_evidence) if word else decision.not_evidence == ""


def test_10_an_instrument_is_traded_from_its_listing_on() -> None:
    """A universe chosen with hindsight has no effect: before its listing a symbol is not decided on."""
    core = new_core()
    run(core, [SetAgents(time_ns=START, settings=SETTINGS, request_id="set")])
    outputs = run(core, [*trending(2, 0), AnalyseNow(time_ns=START + 120 * SECOND, agent="jarvis", symbol="BTCUSDT")])
    assert not any(isinstance(output, DecisionRecorded) for output in outputs)
    refused = [output.reason for output in outputs if isinstance(output, Answer)]
    assert refused == [Reason.SYMBOL_NOT_FOUND]
    listed = run(
        core, [ListInstrument(time_ns=START + 121 * SECOND, instrument=BTCUSDT), *_ticks(START + 240 * SECOND)]
    )
    assert "Nothing has been heard of" in decision_of(listed).detail
    case = a_case()
    with pytest.raises(LookAheadError):
        decide(replace(case, listed_time_ns=case.clock_ns + 1))


def _ticks(until_ns: int) -> list[Tick]:
    return [Tick(time_ns=until_ns)]


def test_facts_of_a_question_from_the_future_raise() -> None:
    """A model's facts pass the same gate as everything else."""
    core = new_core()
    wanted = wanted_of(asked(core))
    case = a_case()
    late = replace(wanted.facts[0], time_ns=case.clock_ns + 1)
    with pytest.raises(LookAheadError):
        decide(replace(case, asked=(late,)))
