"""The numbers of a fault run's report as figures: what programs compare from one run to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

import msgspec

from polaris_synapse.monitoring.figures import Figure

#: How a field's name ends, and what its number is then.
_UNITS: Final = (
    ("_seconds", "s"),
    ("milliseconds", "ms"),
    ("_ms", "ms"),
    ("_bytes", "B"),
    ("_mb", "MB"),
    ("_per_second", "1/s"),
    ("_a_second", "1/s"),
)
_UNITLESS: Final = frozenset({"load_average", "seed"})
#: Fields by which the members of a list are told apart, instead of by their place.
_NAMING: Final = ("fault", "name", "run")


def figures_of(report: Any) -> list[Figure]:
    """Every number of a report, named by its way through it.

    Of a list of numbers the median and the largest; lists of texts, such as violations, by their length.
    """
    return list(_numbers("", msgspec.to_builtins(report)))


def _numbers(path: str, value: Any) -> Iterator[Figure]:
    if isinstance(value, bool):
        yield Figure(path, int(value), "yes or no")
    elif isinstance(value, (int, float)):
        yield Figure(path, value, _unit(path))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(f"{path}, {_words(key)}" if path else _words(key), inner)
    elif isinstance(value, (list, tuple)):
        yield from _members(path, value)


def _members(path: str, members: Sequence[Any]) -> Iterator[Figure]:
    if not members or isinstance(members[0], str):
        yield Figure(path, len(members), "count")
        return
    if isinstance(members[0], (int, float)):
        yield Figure(f"{path}, p50", median(members), _unit(path))
        yield Figure(f"{path}, most", max(members), _unit(path))
        return
    for number, member in enumerate(members):
        name = next((str(member[key]) for key in _NAMING if key in member), str(number))
        yield from _numbers(f"{path}, {name}", member)


def _words(key: str) -> str:
    return key if key.isupper() else key.replace("_", " ")


def _unit(path: str) -> str:
    last = path.rpartition(", ")[2].replace(" ", "_")
    if last in _UNITLESS:
        return "1"
    if last == "seconds":
        return "s"
    return next((unit for ending, unit in _UNITS if last.endswith(ending)), "count")
