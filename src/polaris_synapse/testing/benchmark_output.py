"""How the scripts in benchmarks/ print: lines for people, one JSON object for programs, progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import msgspec

from polaris_synapse.monitoring.figures import Figure, figure_text


def progress_line(text: str, share: float) -> None:
    """What is measured now, on one line of the terminal; nothing where there is none."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + (f"{share:4.0%}  {text}" if share < 1 else ""))
        sys.stderr.flush()


def print_json(report: object) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")


def print_figures(figures: Sequence[Figure], sentences: Iterable[str]) -> None:
    """One line a figure, and what else there is to say."""
    width = max((len(figure.name) for figure in figures), default=0)
    for figure in figures:
        sys.stdout.write(f"{figure.name:{width}} {figure_text(figure.value):>12} {figure.unit}\n")
    for sentence in sentences:
        sys.stdout.write(sentence + "\n")
