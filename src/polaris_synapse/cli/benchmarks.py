"""`polaris bench`: measurements of this machine. Every one takes --json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polaris_synapse.cli.output import JsonOption, console, print_json, print_table

bench_app = typer.Typer(help="Measure the desk on this machine.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(bench_app, name="bench", rich_help_panel="Prove")


@bench_app.command(epilog="Example:  polaris bench replay btcusdt.gz ethusdt.gz --runs 3")
def replay(
    recordings: Annotated[list[Path], typer.Argument(help="Recorded files.", exists=True, dir_okay=False)],
    runs: Annotated[int, typer.Option(min=2, max=20, help="How often; the state must be the same each time.")] = 3,
    json_output: JsonOption = False,
) -> None:
    """Replay recorded market data at full speed: events a second, memory, and how it compares with the venue."""
    from polaris_synapse.market_data.replay_benchmark import run

    if not json_output:
        console().print(f"Replaying {len(recordings)} recordings {runs} times …", style="dim")
    report = run(recordings, runs=runs)
    if json_output:
        print_json(report)
        return
    print_table(
        "Replay",
        ["figure", "value", "unit"],
        ([figure.name, figure.value, figure.unit] for figure in report.figures),
        empty="Nothing was measured.",
        right=("value",),
    )
