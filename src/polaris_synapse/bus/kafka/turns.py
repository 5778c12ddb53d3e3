"""How much of what has come one turn of the event loop deals with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

#: Some hundreds of messages: whoever else needs the loop waits for milliseconds, not for seconds.
_BYTES_MAX: Final = 262_144


def turns(records: list[Any]) -> Iterator[list[Any]]:
    """The records of confluent-kafka in groups of bounded size, at least one in each."""
    group: list[Any] = []
    size_bytes = 0
    for record in records:
        value = record.value() if record.error() is None else None
        length = len(value) if value is not None else 0
        if group and size_bytes + length > _BYTES_MAX:
            yield group
            group, size_bytes = [], 0
        group.append(record)
        size_bytes += length
    if group:
        yield group
