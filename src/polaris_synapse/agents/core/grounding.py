"""The check that a thesis says nothing in numbers that the facts do not say.

In a thesis every number stands after white space or a bracket, as ``<decimal> [<fact id>]`` or
``<decimal> <unit> [<fact id>]``, equal in value and unit to the fact it cites. No other digit may occur, in any script,
except inside the names that are given as allowed (a symbol such as ``1INCHUSDT``). Numbers hidden in words ("doubled",
"ninety") cannot be checked, so the words that carry an amount are refused. The check is pure and knows nothing of how a
thesis was written: it is the same for one made by code and one made by a model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from polaris_synapse.domain.messages.agents import Fact

#: A longer thesis is refused unread.
THESIS_CHARACTERS_MAX: Final = 4_000

_CITED_NUMBER = re.compile(
    r"(?:^|(?<=[\s(]))(?<![-+\u2010-\u2015\u2212] )"  # no sign may stand apart from its number
    r"(?P<value>[+-]?\d+(?:\.\d+)?)"
    r"(?: (?P<unit>[^\s\[\]][^\[\]]{0,31}?))?"
    r" \[(?P<fact>[^\[\]\s]{1,64})\]",
    re.ASCII,
)
_CITATION = re.compile(r"\[([^\[\]]*)\]")
_NUMBER_WORDS: Final = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundreds?|thousands?|millions?|billions?|half|halve[sd]?|third|"
    r"quarters?|dozens?|twice|thrice|minus|negative|doubl(?:e[sd]?|ing)|tripl(?:e[sd]?|ing)|percent)\b",
    re.IGNORECASE,
)


def check_thesis(thesis: str, facts: Sequence[Fact], *, names: Iterable[str] = ()) -> list[str]:
    """What is wrong with a thesis, a sentence each; an empty list when every number in it is grounded.

    ``names`` are texts with digits in them that are no numbers, such as the symbol.
    """
    if len(thesis) > THESIS_CHARACTERS_MAX:
        return [f"The thesis has {len(thesis)} characters, {THESIS_CHARACTERS_MAX} are allowed."]
    known = {fact.fact_id: fact for fact in facts}
    if len(known) != len(facts):
        return ["Two facts have the same id."]
    problems: list[str] = []
    rest: list[str] = []
    end = 0
    for match in _CITED_NUMBER.finditer(thesis):
        rest.append(thesis[end : match.start()])
        end = match.end()
        problems += _compare(match, known.get(match["fact"]))
    rest.append(thesis[end:])
    for part in rest:
        problems += _uncited(part, known, names)
    return problems


def _compare(match: re.Match[str], fact: Fact | None) -> list[str]:
    said = match["value"] + (f" {match['unit']}" if match["unit"] else "")
    if fact is None:
        return [f"{said} cites {match['fact']}, which is no fact of this decision."]
    try:
        meant = Decimal(fact.value)
    except ArithmeticError:
        return [f"{said} cites {fact.fact_id}, whose value {fact.value!r} is no number."]
    if Decimal(match["value"]) != meant or (match["unit"] or "") != fact.unit:
        true = fact.value + (f" {fact.unit}" if fact.unit else "")
        return [f"{said} cites {fact.fact_id}, which is {true}."]
    return []


def _uncited(text: str, known: dict[str, Fact], names: Iterable[str]) -> list[str]:
    """Problems of the text between the cited numbers."""
    problems = [f"[{cited}] is no fact of this decision." for cited in _CITATION.findall(text) if cited not in known]
    plain = _CITATION.sub(" ", text)
    for name in sorted(names, key=len, reverse=True):
        plain = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", plain)
    # Compatibility forms show what a look-alike stands for: a circled or full-width digit is a digit.
    shown = unicodedata.normalize("NFKC", plain)
    problems += [
        f"{word} has a digit and no citation." for word in shown.split() if any(letter.isnumeric() for letter in word)
    ]
    problems += [f"{word} is an amount in words." for word in _NUMBER_WORDS.findall(shown)]
    return problems
