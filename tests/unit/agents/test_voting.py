"""How agents' views become one: log-odds, weights from records, outside evidence, and what a vote may not do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.agents.markets import MANDATE, SECOND, SETTINGS, START, new_core, run, set_up, trending

from polaris_synapse.agents.core.evidence import (
    ITEMS_A_SYMBOL_MAX,
    SUBJECTIVITY_LEAN_PPM_MAX,
    Item,
    item_of,
    keep,
    known_at,
    read_mood,
)
from polaris_synapse.agents.core.fixed import PPM
from polaris_synapse.agents.core.fusion import FACT, SUBJECTIVITY, Record, fuse, votes_of, weight_ppm
from polaris_synapse.agents.core.log_odds import LEAN_PPM_MAX, lean_ppm, log_odds_nano
from polaris_synapse.agents.core.point_in_time import LookAheadError, PointInTime
from polaris_synapse.agents.core.reflection import count, lesson_of, recall, trial_ppm
from polaris_synapse.agents.core.view import Direction, View
from polaris_synapse.domain.messages import (
    AnalyseNow,
    DecisionRecorded,
    Message,
    OnchainObserved,
    SentimentScored,
    SourceKind,
)
from polaris_synapse.domain.reasons import Reason

MINUTES = 30
NOW = START + MINUTES * 60 * SECOND


def scored(
    score: int = PPM,
    *,
    kind: SourceKind = SourceKind.NEWS,
    confidence: int = PPM,
    published: int = NOW - SECOND,
    seen: int = NOW - SECOND,
    digest: str = "d",
    symbol: str = "BTCUSDT",
    time_ns: int = NOW - SECOND,
) -> SentimentScored:
    """An item of the news, a second old."""
    return SentimentScored(
        time_ns=time_ns, symbol=symbol, source_kind=kind, source="test", score_ppm=score, confidence_ppm=confidence,
        published_time_ns=published, seen_time_ns=seen, item_digest=digest,
    )  # fmt: skip


def everything(score: int, digest: str = "") -> list[SentimentScored | OnchainObserved]:
    """All kinds of sources saying the same with full confidence."""
    found: list[SentimentScored | OnchainObserved] = [
        scored(score, kind=kind, digest=f"{kind}{digest}") for kind in SourceKind if kind is not SourceKind.ONCHAIN
    ]
    chain = OnchainObserved(
        time_ns=NOW - SECOND, symbol="BTCUSDT", source="chain", metric="flow", value="1", unit="BTC", score_ppm=score,
        confidence_ppm=PPM, period_end_time_ns=NOW - 3 * SECOND, published_time_ns=NOW - 2 * SECOND,
        seen_time_ns=NOW - SECOND, item_digest=f"chain{digest}",
    )  # fmt: skip
    return [*found, chain]


def decided(
    before: Sequence[Message], *, drift: int = 3_000, lean: int = 30, **given_settings: object
) -> DecisionRecorded:
    """A decision in a rising market after ``before``."""
    core = new_core()
    settings = replace(SETTINGS, **given_settings)
    run(core, [*set_up(settings=settings), *trending(MINUTES, drift, lean=lean, ticks=False), *before])
    outputs = run(core, [AnalyseNow(time_ns=NOW, agent="jarvis", symbol="BTCUSDT", request_id="now")])
    return next(output for output in outputs if isinstance(output, DecisionRecorded))


def view(direction: Direction, confidence: int) -> View:
    """A market's view."""
    return View(direction=direction, score_ppm=0, agreement_ppm=0, confidence_ppm=confidence, signals={}, weights={})


@given(st.integers(-LEAN_PPM_MAX, LEAN_PPM_MAX))
def test_log_odds_are_the_real_ones_and_come_back(lean: int) -> None:
    """Fixed-point log-odds agree with the logarithm to a millionth, and turn back into what they were made from."""
    share = (PPM + lean) / (2 * PPM)
    assert abs(log_odds_nano(lean) / 1e9 - math.log(share / (1 - share))) < 1e-6
    assert lean_ppm(log_odds_nano(lean)) == lean
    assert log_odds_nano(-lean) == -log_odds_nano(lean)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**6))
def test_more_log_odds_are_never_less_confidence(value: int, more: int) -> None:
    """The way back never falls and stays within its bound, however large the sum."""
    assert lean_ppm(value) <= lean_ppm(value + more)
    assert abs(lean_ppm(value)) <= LEAN_PPM_MAX


@given(st.integers(1, LEAN_PPM_MAX), st.integers(1, LEAN_PPM_MAX))
def test_two_voices_that_agree_are_surer_than_one(one: int, other: int) -> None:
    """Agreement strengthens, contradiction weakens, and the order of voices does not matter."""
    market = view(Direction.BUY, one)
    agreed = fuse(market, votes_of({FACT: one, SUBJECTIVITY: other}, {}))
    against = fuse(market, votes_of({FACT: one, SUBJECTIVITY: -other}, {}))
    assert agreed.direction is Direction.BUY
    assert agreed.confidence_ppm >= max(min(one, LEAN_PPM_MAX), min(other, LEAN_PPM_MAX))
    assert against.confidence_ppm <= max(one, other)
    assert agreed == fuse(market, votes_of({SUBJECTIVITY: other, FACT: one}, {}))


def test_one_unmeasured_voice_is_left_as_it_is() -> None:
    """Where only the market speaks and has no record, the vote is the market's view itself."""
    market = view(Direction.SELL, 612_345)
    assert fuse(market, votes_of({FACT: -612_345}, {})) is market


@dataclass(frozen=True)
class _Case:
    right: int
    wrong: int
    least: int
    most: int


@pytest.mark.parametrize(
    "case",
    [
        _Case(0, 0, PPM, PPM),
        _Case(0, 4 * PPM, 0, 0),
        _Case(0, 1_000 * PPM, 0, 0),
        _Case(60 * PPM, 40 * PPM, 990_000, 1_010_000),
        _Case(70 * PPM, 30 * PPM, 1_700_000, 2 * PPM),
        _Case(1_000 * PPM, 0, 2 * PPM, 2 * PPM),
    ],
)
def test_a_weight_follows_the_record(case: _Case) -> None:
    """Full without a record and at the prior's rate, none at a coin's, never negative and never above two."""
    assert case.least <= weight_ppm(Record(right_ppm=case.right, wrong_ppm=case.wrong)) <= case.most


def test_a_voice_that_is_mostly_wrong_is_silenced() -> None:
    """It is not believed in reverse: its weight is zero and the others decide."""
    records = {SUBJECTIVITY: Record(right_ppm=0, wrong_ppm=50 * PPM)}
    votes = votes_of({FACT: 500_000, SUBJECTIVITY: -500_000}, records)
    fused = fuse(view(Direction.BUY, 500_000), votes)
    assert (fused.direction, fused.confidence_ppm) == (Direction.BUY, 500_000)


def test_evidence_that_agrees_makes_a_decision_surer() -> None:
    """The same market with good news is bought with more confidence, with bad news with less."""
    alone, good, bad = decided([]), decided(everything(PPM)), decided(everything(-PPM))
    assert alone.view == good.view == "BUY"
    assert good.confidence_ppm > alone.confidence_ppm > bad.confidence_ppm
    assert [vote.voter for vote in good.votes] == [FACT, SUBJECTIVITY]
    assert "The agents voted" in good.thesis
    assert "The agents voted" not in alone.thesis


def test_evidence_alone_never_orders() -> None:
    """In a market that says nothing, the loudest news comes to no order, even where the threshold is nothing."""
    decision = decided(everything(PPM), drift=0, lean=0, confidence_ppm_min=0)
    assert decision.order is None
    assert decision.reason in {Reason.AGENT_VETOED, Reason.AGENT_NO_VIEW}


def test_a_vote_that_the_market_does_not_carry_is_vetoed() -> None:
    """Where only other voices than the market speak for an order, the risk agent says no and why."""
    decision = decided(everything(-PPM), drift=0, lean=0, confidence_ppm_min=0)
    assert (decision.view, decision.reason) == ("SELL", Reason.AGENT_VETOED)
    assert "the market itself does not speak for it" in decision.detail


def test_the_lean_of_evidence_is_capped() -> None:
    """However much agrees, outside evidence leans half at most."""
    core_items = [item for message in everything(PPM) if (item := item_of(message)) is not None]
    mood = read_mood(core_items, PointInTime(NOW))
    assert 0 < mood.lean_ppm <= SUBJECTIVITY_LEAN_PPM_MAX


def test_copies_of_a_rumour_count_once() -> None:
    """A thousand items of one kind are no surer than their surest, and the same digest is one item."""
    item = item_of(scored())
    assert item is not None
    assert keep(keep([], item), item) == [item]
    many = [replace(item, digest=str(number)) for number in range(1_000)]
    one = read_mood([item], PointInTime(NOW))
    crowd = read_mood(many, PointInTime(NOW))
    assert crowd.lean_ppm <= one.lean_ppm + 100


def test_evidence_fades() -> None:
    """After a half-life half of the confidence is left, after ten nothing."""
    item = item_of(scored(kind=SourceKind.SOCIAL, published=START, seen=START))
    assert item is not None
    fresh, later, gone = (
        read_mood([item], PointInTime(START + seconds * SECOND)).kinds[0].confidence_ppm
        for seconds in (0, 3_600, 36_000)
    )
    assert (fresh, later, gone) == (PPM, PPM // 2, 0)
    assert known_at([item], START + 36_001 * SECOND) == ()


def test_items_of_one_symbol_are_bounded() -> None:
    """The oldest make room."""
    items: list[Item] = []
    for number in range(ITEMS_A_SYMBOL_MAX + 10):
        item = item_of(scored(seen=NOW - SECOND, published=START + number, digest=str(number)))
        assert item is not None
        items = keep(items, item)
    assert len(items) == ITEMS_A_SYMBOL_MAX
    assert items[0].digest == "10"


@pytest.mark.parametrize(
    "message",
    [
        scored(published=0),
        scored(published=NOW + SECOND),
        scored(seen=NOW + SECOND),
        scored(published=NOW - SECOND, seen=NOW - 2 * SECOND),
        scored(PPM + 1),
        scored(confidence=-1),
        scored(digest=""),
        scored(digest="x" * 81),
        scored(symbol="NOSUCH"),
    ],
)
def test_an_item_that_cannot_be_is_refused_and_counted(message: SentimentScored) -> None:
    """No date, impossible dates, numbers out of range and unknown symbols change nothing but the count."""
    core = new_core()
    run(core, set_up())
    before = core.snapshot()
    assert run(core, [message]) == []
    assert core.snapshot() != before
    decision = decided([message])
    assert decision.votes[0].voter == FACT
    assert len(decision.votes) == 1


def test_a_market_wide_item_counts_for_every_symbol() -> None:
    """The symbol ``*`` stands for every instrument."""
    assert [vote.voter for vote in decided([scored(symbol="*")]).votes] == [FACT, SUBJECTIVITY]


def test_a_trial_is_the_part_of_the_horizon_that_passed() -> None:
    """Overlapping decisions are no independent trials, so each counts as its share of one."""
    assert trial_ppm(0, 900) == PPM
    assert trial_ppm(60, 900) == 66_666
    assert trial_ppm(9_000, 900) == PPM


def test_reliability_counts_only_voices_that_spoke() -> None:
    """A voice that hardly spoke, and a market that did not move, count nothing."""
    records: dict[str, Record] = {}
    count(records, {FACT: 500_000, SUBJECTIVITY: 10_000, "quiet": 0}, 100, PPM)
    assert records == {FACT: Record(right_ppm=PPM)}
    count(records, {FACT: 500_000}, 0, PPM)
    count(records, {FACT: 500_000}, -5, PPM // 2)
    assert records == {FACT: Record(right_ppm=PPM, wrong_ppm=PPM // 2)}


def test_scores_change_the_next_vote_and_leave_a_lesson() -> None:
    """Once a horizon has passed, the voices' records and a lesson in words are part of the agent."""
    core = new_core()
    run(core, set_up(settings=replace(SETTINGS, horizon_seconds=60, cooldown_seconds=0), mandate=MANDATE))
    outputs = run(core, trending(MINUTES + 10, 3_000, lean=30))
    revised = [o for o in outputs if isinstance(o, DecisionRecorded) and o.score_ppm is not None and o.view == "BUY"]
    assert revised
    assert revised[-1].lesson.startswith("In a ")
    last = [o for o in outputs if isinstance(o, DecisionRecorded) and o.revision == 0][-1]
    assert last.votes[0].right_ppm > 0


def test_lessons_are_recalled_by_regime_and_weight() -> None:
    """Lessons of the same regime come first, the dearest before the others, and none from the future."""
    lessons = [
        lesson_of(
            decision_id=f"D0-{number}", symbol="BTCUSDT", regime=regime, view="BUY", score_ppm=score, move_ppm=1,
            learned_ns=number,
        )
        for number, (regime, score) in enumerate((("calm", 5), ("normal", -50), ("normal", 3), ("normal", 9_000)))
    ]  # fmt: skip
    recalled = recall(lessons, regime="normal", clock_ns=2)
    assert [lesson.decision_id for lesson in recalled] == ["D0-1", "D0-2", "D0-0"]


def test_mood_from_the_future_raises() -> None:
    """The gate stands before every item, however it came there."""
    item = item_of(scored())
    assert item is not None
    with pytest.raises(LookAheadError):
        read_mood([item], PointInTime(NOW - 2 * SECOND))
