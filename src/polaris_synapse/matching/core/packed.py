"""Rows of a book in arrays of 64-bit integers, and what makes a row a command."""

from __future__ import annotations

from array import array
from typing import Final

from polaris_synapse.matching.core.port import (
    AUCTION,
    COLUMN_MAX,
    COMMAND_COLUMNS,
    PRICE_MAX,
    TRADING,
    CommandRow,
    EventRow,
    Operation,
    PackedRows,
)

#: The least columns of a row, by its operation.
_COLUMNS_MIN: Final[dict[int, int]] = {
    Operation.SUBMIT: COMMAND_COLUMNS,
    Operation.CANCEL: 3,
    Operation.AMEND: 7,
    Operation.CANCEL_ALL: 2,
    Operation.SET_STATUS: 2,
    Operation.ADVANCE_TIME: 2,
    Operation.SET_REFERENCE: 2,
    Operation.STEP: 2,
}


def no_command(row: CommandRow) -> ValueError:
    """What is raised for a row that is no command."""
    return ValueError(f"{row!r} is no command of a book")


def require_command(row: CommandRow) -> None:
    """Raise ValueError for a row that a book cannot even refuse; see port."""
    operation = row[0]
    columns_min = _COLUMNS_MIN.get(operation)
    if columns_min is None or len(row) < columns_min or (operation == Operation.SUBMIT and len(row) > COMMAND_COLUMNS):
        raise no_command(row)
    if _out_of_range(row):
        raise no_command(row)


def _out_of_range(row: CommandRow) -> bool:
    operation, value = row[0], row[1]
    return (
        (operation == Operation.SET_STATUS and not TRADING <= value <= AUCTION)
        or (operation == Operation.ADVANCE_TIME and value >= COLUMN_MAX)
        or (operation == Operation.SET_REFERENCE and not 0 < value < PRICE_MAX)
    )


def pack_commands(rows: list[CommandRow]) -> array[int]:
    """Rows as one array, short ones filled up with zeros. Raises OverflowError for a column beyond 64 bits."""
    packed = array("q")
    for row in rows:
        packed.extend(row)
        packed.extend([0] * (COMMAND_COLUMNS - len(row)))
    return packed


def unpack_commands(packed: PackedRows) -> list[CommandRow]:
    """The rows of an array, each COMMAND_COLUMNS long. Raises ValueError where one is no command."""
    if len(packed) % COMMAND_COLUMNS:
        raise ValueError(f"{len(packed)} numbers are no whole rows of {COMMAND_COLUMNS}")
    columns = iter(packed)
    rows = list(zip(*[columns] * COMMAND_COLUMNS, strict=True))
    for number, row in enumerate(rows):
        if not 0 <= row[0] < len(Operation) or _out_of_range(row):
            raise ValueError(f"row {number} is no command of a book")
    return rows


def pack_events(events: list[EventRow]) -> memoryview[int]:
    """Event rows in one array."""
    packed = array("q")
    for event in events:
        packed.extend(event)
    return memoryview(packed)
