"""What outside material becomes on the bus: scored messages, from readings of texts and from figures of chains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from polaris_synapse.agents.sources.port import Direction, Flow, FlowMark, Funding, Item, LabelKind, digest_of
from polaris_synapse.agents.sources.reader import PPM, Reading
from polaris_synapse.agents.sources.settings import ChainAsset
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import OnchainObserved, SentimentScored, SourceKind
from polaris_synapse.domain.money import format_units

#: How many of its threshold's size make a net flow half of the strongest score.
_FLOW_HALF: Final = 20
#: A rate of 0.05 % an interval makes half of the strongest score; beyond it the crowd is on one side.
_FUNDING_HALF_PPB: Final = 500_000
_FUNDING_CONFIDENCE_PPM: Final = 250_000

#: What coins arriving at an address say about their price; leaving says the opposite.
_ARRIVING: Final[dict[LabelKind, int]] = {
    LabelKind.EXCHANGE: -1,  # to be sold
    LabelKind.TREASURY: 1,
    LabelKind.ISSUER: 1,  # supply is taken back
    LabelKind.WHALE: 1,
}
_FLOW_CONFIDENCE_PPM: Final[dict[LabelKind, int]] = {
    LabelKind.EXCHANGE: 400_000,
    LabelKind.TREASURY: 300_000,
    LabelKind.ISSUER: 300_000,
    LabelKind.WHALE: 200_000,
}


def scored_item(item: Item, reading: Reading, now_ns: int) -> list[SentimentScored]:
    """The messages of a text: one for each instrument it says something about; none for one that is withheld."""
    if reading.withheld:
        return []
    return [
        SentimentScored(
            time_ns=now_ns,
            symbol=view.symbol,
            source_kind=item.kind,
            source=item.source,
            score_ppm=view.score_ppm,
            confidence_ppm=view.confidence_ppm,
            published_time_ns=item.published_time_ns,
            seen_time_ns=item.seen_time_ns,
            item_digest=item.digest,
        )
        for view in reading.views
        if view.score_ppm and view.confidence_ppm
    ]


def scored_funding(funding: Funding, now_ns: int) -> SentimentScored:
    """A funding rate's message. Who pays to hold a position is crowded, so a high rate leans against it, softly."""
    size = abs(funding.rate_ppb) * PPM // (abs(funding.rate_ppb) + _FUNDING_HALF_PPB)
    return SentimentScored(
        time_ns=now_ns,
        symbol=funding.symbol,
        source_kind=SourceKind.FUNDING,
        source=funding.source,
        score_ppm=-size if funding.rate_ppb > 0 else size,
        confidence_ppm=_FUNDING_CONFIDENCE_PPM,
        published_time_ns=funding.published_time_ns,
        seen_time_ns=funding.seen_time_ns,
        item_digest=funding.digest,
    )


def flow_mark(flow: Flow) -> FlowMark:
    """What is remembered of a flow."""
    net = flow.amount_units if flow.direction is Direction.IN else -flow.amount_units
    return FlowMark(
        digest=flow.digest,
        asset=flow.asset,
        label_kind=flow.label_kind,
        net_units=net,
        time_ns=flow.published_time_ns,
    )


def net_flows(
    source: str,
    flows: Sequence[FlowMark],
    changed: Iterable[tuple[str, LabelKind]],
    assets: Mapping[str, ChainAsset],
    instruments: Iterable[Instrument],
    now_ns: int,
) -> list[OnchainObserved]:
    """What arrived less what left, over the remembered ``flows``, for each (asset, kind of label) that changed.

    It speaks for the asset's own instruments, or, for a quote asset, for what it buys: a quote asset that arrives at an
    exchange comes to buy, so its sign is the other one, and it says less.
    """
    listed = [one for one in instruments if not one.reference_symbol]
    messages: list[OnchainObserved] = []
    for code, kind in sorted(set(changed)):
        own = [flow for flow in flows if (flow.asset, flow.label_kind) == (code, kind)]
        asset = assets[code]
        net = sum(flow.net_units for flow in own)
        newest_ns = max(flow.time_ns for flow in own)
        as_base = sorted(one.symbol for one in listed if one.base.code == code)
        as_quote = sorted(one.symbol for one in listed if one.quote.code == code) if not as_base else []
        sign = _ARRIVING[kind] if as_base else -_ARRIVING[kind]
        confidence = _FLOW_CONFIDENCE_PPM[kind] // (1 if as_base else 2)
        size = abs(net) * PPM // (abs(net) + _FLOW_HALF * max(asset.amount_units_min, 1))
        messages += [
            OnchainObserved(
                time_ns=now_ns,
                symbol=symbol,
                source=source,
                metric=f"{kind.value}_netflow",
                value=format_units(net, asset.decimals),
                unit=code,
                score_ppm=sign * size if net >= 0 else -sign * size,
                confidence_ppm=confidence,
                period_end_time_ns=newest_ns,
                published_time_ns=newest_ns,
                seen_time_ns=now_ns,
                item_digest=digest_of(source, code, kind.value, *(flow.digest for flow in own)),
            )
            for symbol in as_base or as_quote
        ]
    return messages
