"""The subjectivity agent: what outside items said, how much each still counts, and the lean they add up to.

Items come as typed scores; their text never reaches a core. An item counts from the moment this desk had it
(``seen_time_ns``) and fades by half in a time that depends on its kind. Kinds are averaged by what is left of their
confidence, so a hundred copies of one rumour do not outvote a funding rate, and the whole lean is capped: outside
evidence may sharpen or soften a view of the market, it never makes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core.fixed import PPM, clamp, divide_rounding
from polaris_synapse.agents.core.flow import NANOSECONDS
from polaris_synapse.agents.core.point_in_time import PointInTime
from polaris_synapse.domain.messages import OnchainObserved, SentimentScored, SourceKind

#: Items kept for one symbol, newest seen first to stay.
ITEMS_A_SYMBOL_MAX: Final = 200
#: Symbols of which items are kept.
EVIDENCE_SYMBOLS_MAX: Final = 501
#: An item is forgotten after this many of its half-lives, when a thousandth is left of it.
HALF_LIVES_MAX: Final = 10
#: The most that all outside evidence together may lean: a claim of 75 % for one direction.
SUBJECTIVITY_LEAN_PPM_MAX: Final = 500_000
#: The symbol of items that concern every instrument.
EVERY_SYMBOL: Final = "*"
#: Names of sources and digests are bounded, so that no item can bloat a snapshot.
TEXT_CHARACTERS_MAX: Final = 80

#: ``{kind: (half-life in seconds, weight in ppm)}``. Numbers (funding, chain) outlast and outweigh words.
KINDS: Final[dict[SourceKind, tuple[int, int]]] = {
    SourceKind.NEWS: (7_200, 250_000),
    SourceKind.SOCIAL: (3_600, 100_000),
    SourceKind.NARRATIVE: (86_400, 150_000),
    SourceKind.FUNDING: (28_800, 250_000),
    SourceKind.ONCHAIN: (86_400, 250_000),
}


class Item(Struct, frozen=True, kw_only=True):
    """One item as it is kept. ``series`` and ``period_end_ns`` name a number that may be revised later."""

    kind: SourceKind
    source: str
    score_ppm: int
    confidence_ppm: int
    published_ns: int
    seen_ns: int
    digest: str
    series: str = ""
    period_end_ns: int = 0


class KindScore(Struct, frozen=True, kw_only=True):
    """What one kind says: its averaged score, and how much faded confidence stands behind it."""

    kind: SourceKind
    items: int
    score_ppm: int
    confidence_ppm: int
    newest_ns: int


class Mood(Struct, frozen=True, kw_only=True):
    """What all outside evidence says. ``lean_ppm`` is a signed confidence, 0 where there is none."""

    lean_ppm: int
    kinds: tuple[KindScore, ...] = ()


def item_of(message: SentimentScored | OnchainObserved) -> Item | None:
    """The item of a message, or None for one that may not be used: no date, impossible dates or numbers out of range.

    Refused rather than raised on, because what comes from outside must not stop a desk.
    """
    published, seen = message.published_time_ns, message.seen_time_ns
    series, period_end, kind = "", 0, SourceKind.ONCHAIN
    if isinstance(message, OnchainObserved):
        series, period_end = message.metric, message.period_end_time_ns
        if not 0 < period_end <= published:
            return None
    else:
        kind = message.source_kind
    texts = (message.source, message.item_digest, series)
    if (
        not 0 < published <= seen <= message.time_ns
        or not abs(message.score_ppm) <= PPM
        or not 0 <= message.confidence_ppm <= PPM
        or not message.item_digest
        or any(len(text) > TEXT_CHARACTERS_MAX for text in texts)
    ):
        return None
    return Item(
        kind=kind,
        source=message.source,
        score_ppm=message.score_ppm,
        confidence_ppm=message.confidence_ppm,
        published_ns=published,
        seen_ns=seen,
        digest=message.item_digest,
        series=series,
        period_end_ns=period_end,
    )


def keep(items: list[Item], item: Item) -> list[Item]:
    """``items`` with one more, in the order seen; a repetition changes nothing, and the oldest make room."""
    if any(known.digest == item.digest and known.kind is item.kind for known in items):
        return items
    kept = sorted([*items, item], key=lambda known: (known.seen_ns, known.published_ns, known.digest))
    return kept[-ITEMS_A_SYMBOL_MAX:]


def known_at(items: Iterable[Item], clock_ns: int) -> tuple[Item, ...]:
    """The items that count at a clock: seen by then and not faded; of a revised number the vintage known then."""
    counted: list[Item] = []
    latest: dict[tuple[str, str, str], Item] = {}
    for item in items:
        life_ns = KINDS[item.kind][0] * HALF_LIVES_MAX * NANOSECONDS
        if item.seen_ns > clock_ns or clock_ns - item.published_ns > life_ns:
            continue
        if not item.series:
            counted.append(item)
            continue
        key = (item.kind.value, item.source, item.series)
        known = latest.get(key)
        if known is None or (known.period_end_ns, known.published_ns) <= (item.period_end_ns, item.published_ns):
            latest[key] = item
    counted += latest.values()
    return tuple(sorted(counted, key=lambda item: (item.seen_ns, item.published_ns, item.digest)))


def read_mood(items: Sequence[Item], gate: PointInTime) -> Mood:
    """Add the items up at the gate's clock. Raises LookAheadError for one from after it."""
    for item in items:
        gate.admit(item.published_ns, f"the publication of an item of {item.source}")
        gate.admit(item.seen_ns, f"an item of {item.source}")
    kinds = tuple(score for kind in SourceKind if (score := _kind_score(kind, items, gate.clock_ns)) is not None)
    weight = sum(KINDS[score.kind][1] * score.confidence_ppm for score in kinds)
    if not weight:
        return Mood(lean_ppm=0, kinds=kinds)
    total = sum(KINDS[score.kind][1] * score.confidence_ppm * score.score_ppm for score in kinds)
    # A single kind that speaks is not as sure as all of them: what is silent counts as no confidence.
    sure = min(divide_rounding(weight, sum(share for _, share in KINDS.values())), PPM)
    lean = divide_rounding(divide_rounding(total, weight) * sure, PPM)
    return Mood(lean_ppm=clamp(lean, SUBJECTIVITY_LEAN_PPM_MAX), kinds=kinds)


def _kind_score(kind: SourceKind, items: Sequence[Item], clock_ns: int) -> KindScore | None:
    own = [item for item in items if item.kind is kind]
    if not own:
        return None
    weights = [_faded_ppm(item, clock_ns) for item in own]
    total = sum(weights)
    score = (
        divide_rounding(sum(w * item.score_ppm for w, item in zip(weights, own, strict=True)), total) if total else 0
    )
    return KindScore(
        kind=kind,
        items=len(own),
        score_ppm=score,
        # More items make a kind surer, but never surer than its surest item was when it was fresh.
        confidence_ppm=min(total, max(item.confidence_ppm for item in own)),
        newest_ns=max(item.seen_ns for item in own),
    )


def _faded_ppm(item: Item, clock_ns: int) -> int:
    """The confidence that is left: halved each half-life, in straight lines between the halvings."""
    half_life_ns = KINDS[item.kind][0] * NANOSECONDS
    halvings, rest = divmod(max(clock_ns - item.published_ns, 0), half_life_ns)
    if halvings >= HALF_LIVES_MAX:
        return 0
    return divide_rounding(item.confidence_ppm * (2 * half_life_ns - rest), 2 * half_life_ns) >> halvings
