"""`polaris simulate`: the whole desk against thousands of seeds of bad luck."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from polaris_synapse.cli.output import BAD, GOOD, QUIET, JsonOption, console, print_json, print_table

if TYPE_CHECKING:
    from polaris_synapse.testing.simulation.runner import SeedOutcome, SimulationReport

_TRACE_LINE_CHARACTERS_MAX = 400
_TRACE_LINES_MAX = 40


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Prove", epilog="Example:  polaris simulate --seeds 10000")(simulate)


def simulate(
    seeds: Annotated[int, typer.Option(min=1, max=100_000_000, help="How many seeds to run.")] = 1_000,
    start: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="Run this seed alone and show what it found.")] = None,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="What people ask for in each run.")] = 60,
    jobs: Annotated[int, typer.Option(min=0, max=1_024, help="Processes; 0 for one a processor.")] = 0,
    json_output: JsonOption = False,
) -> None:
    """Run the desk's cores and host with simulated disk, network, venue and people, and check it at every turn.

    Each seed is a run of its own, the same on every machine: crashes, power cuts, lost messages, a full disk, ...

    A failing seed prints the command that runs it again.
    """
    from polaris_synapse.testing.simulation.runner import default_jobs

    report = _run(
        [seed] if seed is not None else range(start, start + seeds), steps, jobs or default_jobs(), json_output
    )
    if json_output:
        print_json({"figures": report.figures, "failures": report.failures})
    else:
        _show(report)
    if report.failures:
        sys.exit(1)


def _run(seeds: Sequence[int], steps: int, jobs: int, json_output: bool) -> SimulationReport:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from polaris_synapse.testing.simulation.runner import run_seeds

    failed = 0
    columns = (
        TextColumn("Simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    )
    with Progress(*columns, console=console(), transient=True, disable=json_output) as progress:
        task = progress.add_task("", total=len(seeds), failed="")

        def done(outcomes: Sequence[SeedOutcome]) -> None:
            nonlocal failed
            failed += sum(bool(outcome.checker) for outcome in outcomes)
            progress.update(task, advance=len(outcomes), failed=f"[{BAD}]{failed} failed[/]" if failed else "")

        return run_seeds(seeds, steps, jobs=min(jobs, len(seeds)), done=done)


def _show(report: SimulationReport) -> None:
    out = console()
    if len(report.failures) == 1:
        lines = report.failures[0].trace[-_TRACE_LINES_MAX:]
        out.print("The last messages:", style=QUIET)
        for line in lines:
            out.print(line[:_TRACE_LINE_CHARACTERS_MAX], style=QUIET, markup=False)
    for failure in report.failures:
        out.print(f"[{BAD}]seed {failure.seed}[/] broke [bold]{failure.checker}[/]")
        out.print(failure.detail, markup=False)
        out.print(f"  again: {failure.replay_command}", style=QUIET)
    print_table(
        "Simulation",
        ["figure", "value", "unit"],
        ([figure.name, f"{figure.value:,}", figure.unit] for figure in report.figures),
        empty="Nothing ran.",
        right=("value",),
    )
    if not report.failures:
        out.print(f"[{GOOD}]Nothing broke in {report.seeds:,} seeds.[/]")
