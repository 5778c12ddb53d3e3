"""What every command prints with: JSON for programs, tables and short sentences for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: ``--json`` on every command that reads.
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

#: How narrow a column of long text may become.
_FOLDED_COLUMNS = 24

GOOD, BAD, QUIET, SIMULATED = "green", "red", "dim", "yellow"


def console(*, stderr: bool = False) -> Console:
    """The terminal. Colours only where a terminal is. ``stderr`` where standard output is for programs."""
    return Console(highlight=False, stderr=stderr)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str,
    right: Sequence[str] = (),
    long: Sequence[str] = (),
) -> None:
    """A table, or the sentence ``empty`` when it has no row. ``right`` names the right-aligned columns.

    Only the columns in ``long`` are folded where the table is too wide; the rest stays whole, and a terminal that is
    narrower still breaks the lines itself.
    """
    listed = [[_cell(value) for value in row] for row in rows]
    if not listed:
        console().print(empty, style=QUIET)
        return
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    needed = 0
    for number, column in enumerate(columns):
        width = max(Text.from_markup(cell).cell_len for cell in (column, *(row[number] for row in listed)))
        needed += 2 + (min(width, _FOLDED_COLUMNS) if column in long else width)
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in long,
            overflow="fold",
        )
    for row in listed:
        table.add_row(*row)
    Console(highlight=False, width=max(console().width, needed)).print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(value)


def side_text(side: str) -> str:
    """BUY in green, SELL in red."""
    return f"[{GOOD if side == 'BUY' else BAD}]{side}[/]"


def signed(text: str) -> str:
    """An amount in green when it is a gain, in red when it is a loss."""
    if text.startswith("-"):
        return f"[{BAD}]{text}[/]"
    return text if text.strip("0.") == "" else f"[{GOOD}]{text}[/]"


def shortened(text: str, decimals: int = 2) -> str:
    """Decimal text cut (not rounded) to ``decimals`` places, for reading; JSON has all of them."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction[:decimals].ljust(decimals, '0')}" if decimals else whole


def grouped(text: str, decimals: int = 2) -> str:
    """Like ``shortened``, with thousands separated."""
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, _, fraction = shortened(digits, decimals).partition(".")
    return f"{sign}{int(whole or '0'):,}" + (f".{fraction}" if fraction else "")


def clock_text(time_ns: int) -> str:
    """A time of day in UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%H:%M:%S")


def rows_of(answer: Any, key: str) -> list[dict[str, Any]]:
    """The list in an answer, whether it is bare or under ``key``."""
    found = answer.get(key, []) if isinstance(answer, dict) else answer
    return [row for row in found if isinstance(row, dict)]
