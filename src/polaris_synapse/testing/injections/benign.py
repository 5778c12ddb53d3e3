"""Benign texts with what they say, and how often a reader gets it right."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.sources.assets import AssetNames
from polaris_synapse.agents.sources.reader import Reading
from polaris_synapse.domain.messages import SourceKind

#: A score nearer to nothing than this says nothing of a direction.
NEUTRAL_PPM: Final = 200_000


class BenignCase(Struct, frozen=True, kw_only=True):
    """A text and, by base asset, what it says: 1 rises, -1 falls, 0 nothing of a direction."""

    case_id: str
    kind: SourceKind
    title: str
    body: str
    expected: dict[str, int]

    @property
    def held_out(self) -> bool:
        """Whether the lexicon was written without it."""
        return self.case_id.startswith("n")


def benign_cases() -> list[BenignCase]:
    """Every benign text of the suite. Raises ValueError for a row that cannot be read."""
    text = files("polaris_synapse.testing.injections").joinpath("benign.txt").read_text(encoding="utf-8")
    return [_case(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _case(line: str) -> BenignCase:
    case_id, kind, expected, title, body = (part.strip() for part in line.split("|"))
    signs = {"+": 1, "-": -1, "0": 0}
    return BenignCase(
        case_id=case_id,
        kind=SourceKind(kind),
        title=title,
        body=body,
        expected={one[:-1]: signs[one[-1]] for one in expected.split() if one != "-"},
    )


def is_right(case: BenignCase, reading: Reading, names: AssetNames) -> bool:
    """Whether a reading says what the text says: every asset's direction, and nothing of any other asset."""
    if reading.withheld:
        return False
    scores = {view.symbol: view.score_ppm if view.confidence_ppm else 0 for view in reading.views}
    for base in names.bases:
        for symbol in names.symbols_of((base,)):
            score, wanted = scores.get(symbol, 0), case.expected.get(base, 0)
            said = 0 if abs(score) < NEUTRAL_PPM else (1 if score > 0 else -1)
            if said != wanted:
                return False
    return True
