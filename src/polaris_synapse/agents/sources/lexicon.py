"""The reader that needs no model: a lexicon with negation, relief, hedging and contrast, clause by clause.

Deterministic and in integers: the same text always gives the same reading.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.sources.assets import AssetNames
from polaris_synapse.agents.sources.lexicon_words import (
    CONCESSIONS,
    DROPPED,
    FADES,
    HEDGES,
    NEGATIONS,
    PHRASE_WORDS_MAX,
    PHRASES,
    RELIEF,
    STRENGTHENERS,
    TURNS,
    WEAKENERS,
    WORDS,
)
from polaris_synapse.agents.sources.normalise import WITHHELD, Flag, normalise
from polaris_synapse.agents.sources.port import Item
from polaris_synapse.agents.sources.reader import PPM, Category, Reading, SymbolView, bounded

#: How many words a negation reaches ahead.
_NEGATION_WORDS: Final = 4
#: One point, so that shares of it stay whole.
_POINT: Final = 120
#: Points at which a score reaches half of its range.
_HALF: Final = 3 * _POINT
#: A title says what the text is about.
_TITLE_WEIGHT: Final = 2
#: What a reading's confidence keeps, in ppm, for each flag it has.
_FLAG_KEEPS: Final[dict[Flag, int]] = {
    Flag.HIDDEN_TEXT: 250_000,
    Flag.DIRECTION: 250_000,
    Flag.LOOKALIKE: 250_000,
    Flag.ENCODED: 250_000,
    Flag.INSTRUCTIONS: 0,
    Flag.SECRETS: 0,
    Flag.REPETITION: 500_000,
    Flag.LONG: 900_000,
    Flag.FOREIGN: 500_000,
}
_TOKEN: Final = re.compile(r"\$?[a-z0-9]+(?:'[a-z]+)?%?|[.!?;:\n]|,")
_CLAUSE_END: Final = re.compile(r"[.!?;\n]+(?=\s|$)|\n|\s(?:while|as|whereas|and meanwhile)\s")
_PRICE_MOVE: Final = re.compile(r"([+\-])\s?(\d{1,3})(?:\.\d+)?\s?%")


class _Tally(Struct):
    """What was found in a clause or a text, in points times _POINT."""

    points: int = 0
    size: int = 0
    hits: int = 0
    hedges: int = 0
    asks: bool = False

    def add(self, other: _Tally, weight: int) -> None:
        self.points += other.points * weight
        self.size += other.size * weight
        self.hits += other.hits
        self.hedges += other.hedges


class LexiconReader:
    """See the module. ``source_weights_ppm``: how much of its confidence a source's items keep; 1,000,000 is all."""

    def __init__(self, names: AssetNames, *, source_weights_ppm: Mapping[str, int] | None = None) -> None:
        self._names = names
        self._weights = dict(source_weights_ppm or {})

    async def read(self, item: Item, /) -> Reading:
        """See Reader."""
        return self.read_text(item.title, item.body, weight_ppm=self._weights.get(item.source, PPM))

    def read_text(self, title: str, body: str, *, weight_ppm: int = PPM) -> Reading:
        """A text's reading; ``weight_ppm`` is its source's weight."""
        normalised = normalise(title, body)
        flags = normalised.flags
        if flags & WITHHELD:
            return Reading(flags=tuple(sorted(flags)), withheld=True)
        clauses = self._clauses(normalised.text)
        title_clauses = len(self._clauses(title))
        subjects = self._names.named("\n".join(clauses[:title_clauses])) or self._names.named(normalised.text)
        whole_market = not subjects and self._names.is_about_the_market(normalised.text)
        if whole_market:
            subjects = self._names.bases
        tallies: dict[str, _Tally] = {base: _Tally() for base in subjects}
        categories: Counter[Category] = Counter()
        meant = subjects
        for number, clause in enumerate(clauses):
            tally = _tally(clause, categories, is_question=_asks(normalised.text, clause))
            here = self._names.named(clause)
            meant = here or (subjects if number < title_clauses or not meant else meant)
            for base in meant:
                tallies.setdefault(base, _Tally()).add(tally, _TITLE_WEIGHT if number < title_clauses else 1)
        keeps = weight_ppm // (2 if whole_market else 1)
        for flag in flags:
            keeps = keeps * _FLAG_KEEPS[flag] // PPM
        views = [
            SymbolView(symbol=symbol, score_ppm=_score(tally), confidence_ppm=_confidence(tally) * keeps // PPM)
            for base, tally in tallies.items()
            if tally.hits
            for symbol in self._names.symbols_of((base,))
        ]
        category = max(sorted(categories), key=lambda one: categories[one]) if categories else Category.OTHER
        reading = Reading(views=tuple(views), category=category, flags=tuple(flags))
        return bounded(reading, self._names.symbols)

    def _clauses(self, text: str) -> list[str]:
        """Sentences, their parts around words such as *while*, and parts after a comma that name another asset."""
        clauses: list[str] = []
        for sentence in _CLAUSE_END.split(text):
            clause, *parts = sentence.split(", ")
            for part in parts:
                named, before = self._names.named(part), self._names.named(clause)
                if named and before and named != before:
                    clauses.append(clause)
                    clause = part
                else:
                    clause = f"{clause}, {part}"
            clauses.append(clause)
        return [clause for clause in clauses if clause.strip()]


def _asks(text: str, clause: str) -> bool:
    """Whether the clause ends in a question mark."""
    after = text.find(clause) + len(clause)
    return text[after : after + 1] == "?"


def _tally(clause: str, categories: Counter[Category], *, is_question: bool) -> _Tally:
    words = [token.replace("'", "") for token in _TOKEN.findall(clause.lower().replace("-", " "))]
    turn = max((place for place, word in enumerate(words) if word in TURNS), default=-1)
    conceded = _conceded(words)
    tally = _Tally(hedges=sum(word in HEDGES for word in words) + is_question)
    place = 0
    while place < len(words):
        length, points, category = _match(words, place)
        if not length or (length == 1 and words[place] in DROPPED and _is_about_law(words)):
            place += 1
            continue
        value = _in_context(points * _POINT, words, place, length)
        if place in conceded:
            value = value // 4 if value >= 0 else -(-value // 4)
        if turn >= 0:
            value = value * 3 // 2 if place > turn else value // 2
        tally.points += value
        tally.size += abs(value)
        tally.hits += 1
        categories[category] += abs(value)
        place += length
    for sign, number in _PRICE_MOVE.findall(clause):
        size = min(int(number), 30) * _POINT // 8
        tally.points += size if sign == "+" else -size
        tally.size += size
        tally.hits += 1
        categories[Category.MARKET] += size
    if tally.hedges:
        tally.points = tally.points * 2 // 3
    return tally


def _in_context(value: int, words: list[str], place: int, length: int) -> int:
    """A word's or phrase's value as the words around it leave it."""
    before, after = words[max(0, place - 2) : place], words[place + length : place + length + 2]
    own = words[place] if length == 1 else ""
    if _is_negated(words, place):
        value = -value * 2 // 3
    elif own not in RELIEF and own not in DROPPED:
        ends = RELIEF | DROPPED if value < 0 and _is_about_law(words) else RELIEF
        # Bad news that ends is good wherever that stands; good news that ends is bad where it says so at once.
        if any(word in ends for word in words) if value < 0 else any(word in FADES for word in after):
            value = -value // 2
    if any(word in STRENGTHENERS for word in (*before, *after)):
        value = value * 3 // 2
    if any(word in WEAKENERS for word in (*before, *after)):
        value = value // 2
    return value


def _is_about_law(words: list[str]) -> bool:
    return any(word in WORDS and WORDS[word][1] is Category.REGULATION and WORDS[word][0] < 0 for word in words)


def _conceded(words: list[str]) -> range:
    """The places of what is conceded: from a word such as *despite* to the next comma, or to the end."""
    start = next((place for place, word in enumerate(words) if word in CONCESSIONS), -1)
    if start < 0:
        return range(0)
    return range(start, words.index(",", start) if "," in words[start:] else len(words))


def _match(words: list[str], place: int) -> tuple[int, int, Category]:
    """The longest phrase or the word at a place: how many words, its points and its category; 0 words for none."""
    for length in range(min(PHRASE_WORDS_MAX, len(words) - place), 1, -1):
        found = PHRASES.get(tuple(words[place : place + length]))
        if found is not None:
            return length, *found
    found = WORDS.get(words[place])
    return (1, *found) if found is not None else (0, 0, Category.OTHER)


def _is_negated(words: list[str], place: int) -> bool:
    before = words[max(0, place - _NEGATION_WORDS) : place]
    reach = before[len(before) - before[::-1].index(",") :] if "," in before else before
    return sum(word in NEGATIONS for word in reach) % 2 == 1


def _score(tally: _Tally) -> int:
    """Points squashed into -1,000,000..1,000,000, the same for good as for bad."""
    size = abs(tally.points) * PPM // (abs(tally.points) + _HALF)
    return size if tally.points >= 0 else -size


def _confidence(tally: _Tally) -> int:
    """More words that agree give more confidence, never certainty; hedges and contradictions take some away."""
    agreement = abs(tally.points) * PPM // tally.size if tally.size else 0
    amount = PPM - PPM // (1 + tally.hits)
    confidence = min(900_000, (agreement + amount) // 2)
    for _ in range(min(tally.hedges, 3)):
        confidence = confidence * 3 // 4
    return confidence
